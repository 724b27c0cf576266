-- +goose Up
CREATE TABLE secrets (
	name       TEXT   NOT NULL PRIMARY KEY,
	version    BIGINT NOT NULL,
	targets    TEXT   NOT NULL, -- JSON: where it may be sent
	agents     TEXT   NOT NULL, -- JSON: on whose behalf
	created_us BIGINT NOT NULL,
	rotated_us BIGINT NOT NULL,
	expires_us BIGINT NOT NULL, -- 0: never
	removed_us BIGINT NOT NULL, -- 0: it is there
	sealed     TEXT   NOT NULL  -- by the seal key, for all of the above but removed_us; '' where it was removed
);
