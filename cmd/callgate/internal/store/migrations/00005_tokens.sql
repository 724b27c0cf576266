-- +goose Up
CREATE TABLE tokens (
	name   TEXT   NOT NULL PRIMARY KEY, -- base64: what it is for
	sealed TEXT   NOT NULL, -- by the seal key
	at_us  BIGINT NOT NULL
);
