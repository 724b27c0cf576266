-- +goose Up
CREATE TABLE properties (
	kind     TEXT   NOT NULL, -- file, batch, response
	id       TEXT   NOT NULL, -- the target's
	owner    TEXT   NOT NULL, -- tenant and chain of who had it made
	target   TEXT   NOT NULL,
	model    TEXT   NOT NULL, -- that a response is of, or the calls in a file are for
	path     TEXT   NOT NULL, -- of these calls
	purpose  TEXT   NOT NULL, -- of a file
	calls    BIGINT NOT NULL, -- in a file
	input    BIGINT NOT NULL, -- tokens that they were estimated to take
	output   BIGINT NOT NULL, -- and to bring
	until_us BIGINT NOT NULL, -- when it is forgotten; 0 is never
	PRIMARY KEY (kind, id, owner)
);
CREATE INDEX properties_until ON properties (until_us);
