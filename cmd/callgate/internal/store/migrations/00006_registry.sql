-- +goose Up
ALTER TABLE agents ADD COLUMN environment     TEXT   NOT NULL DEFAULT '';
ALTER TABLE agents ADD COLUMN models          TEXT   NOT NULL DEFAULT ''; -- JSON array
ALTER TABLE agents ADD COLUMN servers         TEXT   NOT NULL DEFAULT ''; -- JSON array
ALTER TABLE agents ADD COLUMN expires_us      BIGINT NOT NULL DEFAULT 0;  -- 0: never
ALTER TABLE agents ADD COLUMN since_us        BIGINT NOT NULL DEFAULT 0;
ALTER TABLE agents ADD COLUMN seen_us         BIGINT NOT NULL DEFAULT 0;  -- 0: never
ALTER TABLE agents ADD COLUMN secret_since_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE agents ADD COLUMN old_secret_hash TEXT   NOT NULL DEFAULT ''; -- hexadecimal
ALTER TABLE agents ADD COLUMN old_until_us    BIGINT NOT NULL DEFAULT 0;
ALTER TABLE agents ADD COLUMN jwks            TEXT   NOT NULL DEFAULT '';
ALTER TABLE agents ADD COLUMN jwks_uri        TEXT   NOT NULL DEFAULT '';
UPDATE agents SET since_us = CASE WHEN revoked_us > 0 THEN revoked_us ELSE created_us END;
UPDATE agents SET secret_since_us = created_us WHERE secret_hash <> '';

CREATE TABLE users (
	tenant     TEXT   NOT NULL,
	name       TEXT   NOT NULL,
	issuer     TEXT   NOT NULL,
	subject    TEXT   NOT NULL,
	email      TEXT   NOT NULL,
	claims     TEXT   NOT NULL, -- JSON array
	status     TEXT   NOT NULL,
	source     TEXT   NOT NULL,
	epoch      BIGINT NOT NULL,
	created_us BIGINT NOT NULL,
	since_us   BIGINT NOT NULL,
	login_us   BIGINT NOT NULL, -- 0: never
	PRIMARY KEY (tenant, name)
);
