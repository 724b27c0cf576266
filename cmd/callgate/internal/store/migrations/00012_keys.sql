-- +goose Up
CREATE TABLE signing_keys (
	times  BIGINT NOT NULL PRIMARY KEY, -- one row: how often the keys were put
	sealed TEXT   NOT NULL              -- all of them, closed by age, in base64
);
