-- +goose Up
CREATE TABLE uses (
	key      TEXT   NOT NULL PRIMARY KEY, -- hash of what is good for once: an issuer and a jti
	until_us BIGINT NOT NULL
);
CREATE INDEX uses_until ON uses (until_us);
ALTER TABLE agents ADD COLUMN dpop BIGINT NOT NULL DEFAULT 0; -- 1: only tokens bound to a key are for it
