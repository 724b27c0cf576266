-- +goose Up
CREATE TABLE policies (
	number     BIGINT NOT NULL PRIMARY KEY, -- 1, 2, 3…
	hash       TEXT   NOT NULL UNIQUE, -- SHA-256 of the files, hexadecimal
	digest     TEXT   NOT NULL, -- of the rows
	files      TEXT   NOT NULL, -- JSON: [{"name", "text"}]
	author     TEXT   NOT NULL,
	comment    TEXT   NOT NULL,
	created_us BIGINT NOT NULL
);
CREATE TABLE policy_acts (
	number  BIGINT NOT NULL PRIMARY KEY, -- 1, 2, 3…
	what    TEXT   NOT NULL, -- activate, rehearse, rehearsed
	version BIGINT NOT NULL,
	files   BIGINT NOT NULL, -- 1: by the configuration's files
	by_whom TEXT   NOT NULL,
	comment TEXT   NOT NULL,
	at_us   BIGINT NOT NULL
);
