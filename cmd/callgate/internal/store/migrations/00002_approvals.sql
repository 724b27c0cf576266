-- +goose Up
CREATE TABLE approvals (
	id         TEXT   NOT NULL PRIMARY KEY, -- UUIDv7
	state      TEXT   NOT NULL,
	asked_us   BIGINT NOT NULL,
	expires_us BIGINT NOT NULL,
	approval   TEXT   NOT NULL -- JSON: all of it
);
CREATE TABLE counts (
	name      TEXT   NOT NULL PRIMARY KEY, -- rule, limit, and for whom
	window_us BIGINT NOT NULL,
	used      TEXT   NOT NULL -- JSON: amount by part of the window
);
CREATE TABLE labelled_runs (
	id     TEXT   NOT NULL PRIMARY KEY, -- UUIDv7
	caller TEXT   NOT NULL, -- tenant and chain
	labels BIGINT NOT NULL, -- bits
	at_us  BIGINT NOT NULL
);
