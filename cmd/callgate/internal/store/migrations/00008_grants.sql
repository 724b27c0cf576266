-- +goose Up
CREATE TABLE grants (
	id           TEXT   NOT NULL PRIMARY KEY,
	body         TEXT   NOT NULL, -- JSON of identity.Grant
	not_after_us BIGINT NOT NULL
);
CREATE INDEX grants_not_after ON grants (not_after_us);
CREATE TABLE revocations (
	seq      BIGINT NOT NULL PRIMARY KEY, -- 1, 2, 3…
	kind     TEXT   NOT NULL, -- token, grant, chain, run, object, agent
	id       TEXT   NOT NULL,
	by_whom  TEXT   NOT NULL,
	at_us    BIGINT NOT NULL,
	until_us BIGINT NOT NULL, -- 0: for ever
	lift     BIGINT NOT NULL  -- 1: takes back the one before
);
