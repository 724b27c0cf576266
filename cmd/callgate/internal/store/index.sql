-- The index of the ledger. It is made from the ledger at any time, so it is not
-- migrated: when this file changes, so do its version below and in
-- db.go, and the index is made anew.

-- How far the index is, and of which ledger.
CREATE TABLE progress (
	one     BIGINT PRIMARY KEY CHECK (one = 1),
	version BIGINT NOT NULL, -- of this file
	ledger  TEXT   NOT NULL, -- id
	seq     BIGINT NOT NULL, -- of the last record indexed, 0: none
	place   BIGINT NOT NULL, -- where that is
	hash    TEXT   NOT NULL  -- of that
);
INSERT INTO progress (one, version, ledger, seq, place, hash) VALUES (1, 5, '', 0, 0, '');

-- What lists and filters need of each call. The rest is read from its records.
CREATE TABLE calls (
	seq       INTEGER PRIMARY KEY, -- of its first record
	id        TEXT   NOT NULL UNIQUE,
	at_us     BIGINT NOT NULL,
	agent     TEXT   NOT NULL,
	run       TEXT   NOT NULL,
	chain     TEXT   NOT NULL,
	kind      TEXT   NOT NULL,
	target    TEXT   NOT NULL,
	resource  TEXT   NOT NULL,
	args_hash TEXT   NOT NULL,
	effect    TEXT   NOT NULL,
	otherwise TEXT   NOT NULL, -- effect by a candidate, '' if it is the same
	outcome   TEXT   NOT NULL, -- '' as long as it is open
	credential TEXT  NOT NULL, -- names of those that were used, each with a space before and behind
	places    TEXT   NOT NULL  -- of its records, in order
);
CREATE INDEX calls_run       ON calls (run, seq)       WHERE run <> '';
CREATE INDEX calls_agent     ON calls (agent, seq);
CREATE INDEX calls_chain     ON calls (chain, seq)     WHERE chain <> '';
CREATE INDEX calls_otherwise ON calls (seq)            WHERE otherwise <> '';
CREATE INDEX calls_refused   ON calls (effect, seq)    WHERE effect IN ('ask', 'deny');

-- What calls of models have taken: the reply, and each try before it that took something.
CREATE TABLE spends (
	id          TEXT   NOT NULL, -- of the call
	try         BIGINT NOT NULL, -- 0 is the reply
	model       TEXT   NOT NULL, -- provider/model that answered, '' if it is the call's own
	input       BIGINT NOT NULL, -- tokens, and so on
	output      BIGINT NOT NULL,
	cache_read  BIGINT NOT NULL,
	cache_write BIGINT NOT NULL,
	reasoning   BIGINT NOT NULL,
	cost        BIGINT NOT NULL, -- in millionths of a US dollar, -1 if no price is known
	estimated   BIGINT NOT NULL, -- 1: not all of it was told by the provider
	PRIMARY KEY (id, try)
) WITHOUT ROWID;

-- What led to what.
CREATE TABLE links (
	from_id  TEXT NOT NULL,
	to_id    TEXT NOT NULL,
	kind     TEXT NOT NULL,
	method   TEXT NOT NULL,
	tool_use TEXT NOT NULL,
	PRIMARY KEY (from_id, to_id, kind, tool_use)
) WITHOUT ROWID;

-- What changed, apart from calls.
CREATE TABLE changes (
	seq   INTEGER PRIMARY KEY,
	at_us BIGINT NOT NULL,
	what  TEXT   NOT NULL,
	name  TEXT   NOT NULL,
	place BIGINT NOT NULL
);
