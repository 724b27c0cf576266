-- +goose Up
CREATE TABLE agents (
	tenant      TEXT   NOT NULL,
	name        TEXT   NOT NULL,
	roles       TEXT   NOT NULL, -- JSON array
	owner       TEXT   NOT NULL,
	purpose     TEXT   NOT NULL,
	status      TEXT   NOT NULL,
	secret_hash TEXT   NOT NULL, -- hexadecimal
	max_ttl_us  BIGINT NOT NULL,
	epoch       BIGINT NOT NULL,
	created_us  BIGINT NOT NULL,
	revoked_us  BIGINT NOT NULL, -- 0: never
	source      TEXT   NOT NULL,
	PRIMARY KEY (tenant, name)
);
