-- +goose Up
CREATE TABLE pins (
	key TEXT NOT NULL PRIMARY KEY, -- server, view, kind, name
	pin TEXT NOT NULL -- JSON: all of it
);
