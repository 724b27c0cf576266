-- +goose Up
CREATE TABLE clients (
	id   TEXT NOT NULL PRIMARY KEY, -- client_id
	body TEXT NOT NULL  -- JSON of identity.Client
);
