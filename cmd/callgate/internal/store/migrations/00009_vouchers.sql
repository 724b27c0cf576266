-- +goose Up
CREATE TABLE vouchers (
	hash       TEXT   NOT NULL PRIMARY KEY, -- SHA-256 of the secret, in hex
	kind       TEXT   NOT NULL, -- code, refresh, device, user_code, settled
	body       TEXT   NOT NULL, -- JSON
	expires_us BIGINT NOT NULL,
	used_us    BIGINT NOT NULL, -- 0: not yet
	answer     TEXT   NOT NULL  -- sealed, in base64; '' for none
);
CREATE INDEX vouchers_expires ON vouchers (expires_us);
