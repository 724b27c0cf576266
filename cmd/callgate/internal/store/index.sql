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
INSERT INTO progress (one, version, ledger, seq, place, hash) VALUES (1, 7, '', 0, 0, '');

-- What lists and filters need of each call. The rest is read from its records.
CREATE TABLE calls (
	seq       INTEGER PRIMARY KEY, -- of its first record
	id        TEXT   NOT NULL UNIQUE,
	at_us     BIGINT NOT NULL,
	agent     TEXT   NOT NULL,
	subject   TEXT   NOT NULL,
	token     TEXT   NOT NULL,
	run       TEXT   NOT NULL,
	chain     TEXT   NOT NULL,
	kind      TEXT   NOT NULL,
	target    TEXT   NOT NULL,
	resource  TEXT   NOT NULL,
	args_hash TEXT   NOT NULL,
	effect    TEXT   NOT NULL,
	rule      TEXT   NOT NULL,
	policy    TEXT   NOT NULL,
	otherwise TEXT   NOT NULL, -- effect by a candidate, '' if it is the same
	approval  TEXT   NOT NULL,
	signals   TEXT   NOT NULL, -- each with a space before and behind
	outcome   TEXT   NOT NULL, -- '' as long as it is open
	took_us   BIGINT NOT NULL, -- -1 as long as it is open
	bytes     BIGINT NOT NULL, -- of request and reply
	tokens    BIGINT NOT NULL, -- -1: none are known
	cost      BIGINT NOT NULL, -- in millionths of a US dollar, -1 if no price is known
	credential TEXT  NOT NULL, -- names of those that were used, each with a space before and behind
	places    TEXT   NOT NULL  -- of its records, in order
);
-- Each index is one to whose end, or to a few places of which, new rows go: one by
-- a hash would touch a page of its own for every call.
CREATE INDEX calls_run       ON calls (run, seq)              WHERE run <> '';
CREATE INDEX calls_agent     ON calls (agent, seq);
CREATE INDEX calls_thing     ON calls (target, resource, seq);
CREATE INDEX calls_chain     ON calls (chain, seq)            WHERE chain <> '';
CREATE INDEX calls_subject   ON calls (subject, seq)          WHERE subject <> '';
CREATE INDEX calls_token     ON calls (token, seq)            WHERE token <> '';
CREATE INDEX calls_approval  ON calls (approval, seq)         WHERE approval <> '';
CREATE INDEX calls_otherwise ON calls (seq)                   WHERE otherwise <> '';
CREATE INDEX calls_signals   ON calls (seq)                   WHERE signals <> '';
CREATE INDEX calls_refused   ON calls (effect, seq)           WHERE effect IN ('ask', 'deny');

-- Which calls came in an hour, so that a time is a range of positions.
CREATE TABLE hours (
	hour  BIGINT PRIMARY KEY, -- since 1970
	first BIGINT NOT NULL,    -- seq of the first call
	last  BIGINT NOT NULL
);

-- What calls came to, by hour and by day: calls that are open count, too.
CREATE TABLE rollups (
	span     BIGINT NOT NULL, -- 3600 or 86400
	start    BIGINT NOT NULL, -- in seconds since 1970, a multiple of span
	outcome  TEXT   NOT NULL, -- '': open
	agent    TEXT   NOT NULL,
	kind     TEXT   NOT NULL,
	target   TEXT   NOT NULL,
	resource TEXT   NOT NULL,
	effect   TEXT   NOT NULL,
	n        BIGINT NOT NULL, -- calls
	bytes    BIGINT NOT NULL, -- of requests and replies
	tokens   BIGINT NOT NULL, -- in and out, of all tries
	cost     BIGINT NOT NULL, -- of all tries, in millionths of a US dollar
	PRIMARY KEY (span, start, outcome, agent, kind, target, resource, effect)
) WITHOUT ROWID;

-- Tool calls that models asked for.
CREATE TABLE wants (
	seq      INTEGER PRIMARY KEY, -- of its record
	id       TEXT   NOT NULL,     -- of the model call
	tool_use TEXT   NOT NULL,
	name     TEXT   NOT NULL,
	effect   TEXT   NOT NULL      -- deny: it was taken out of the reply
);

-- Runs, from which is learned what agents are used to do.
CREATE TABLE runs (
	run      TEXT   PRIMARY KEY,
	agent    TEXT   NOT NULL,
	first_us BIGINT NOT NULL,
	last_us  BIGINT NOT NULL, -- when it began a call
	calls    BIGINT NOT NULL,
	cost     BIGINT NOT NULL, -- of all tries, in millionths of a US dollar
	tool     TEXT   NOT NULL  -- SERVER/TOOL that it called last
) WITHOUT ROWID;
CREATE INDEX runs_last ON runs (last_us);

-- What runs have done, of what was allowed.
CREATE TABLE traits (
	run   TEXT NOT NULL,
	what  TEXT NOT NULL, -- tool, model, host, label, order
	thing TEXT NOT NULL, -- as in audit.Habit
	PRIMARY KEY (run, what, thing)
) WITHOUT ROWID;

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
	conf     BIGINT NOT NULL, -- of 100
	tool_use TEXT NOT NULL,
	message  BIGINT NOT NULL,
	superseded BIGINT NOT NULL, -- 1: it was shown later that it was not so
	PRIMARY KEY (from_id, to_id, kind, tool_use)
) WITHOUT ROWID;
CREATE INDEX links_to ON links (to_id);

-- What changed, apart from calls.
CREATE TABLE changes (
	seq   INTEGER PRIMARY KEY,
	at_us BIGINT NOT NULL,
	what  TEXT   NOT NULL,
	name  TEXT   NOT NULL,
	place BIGINT NOT NULL
);
CREATE INDEX changes_what ON changes (what, seq);
CREATE INDEX changes_name ON changes (name, seq);
