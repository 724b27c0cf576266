package audit

import "time"

// A Rollup is what calls of one lot came to.
type Rollup struct {
	By     []string `json:"by"` // who, what or when it is, for each of what was asked for
	Calls  int64    `json:"calls"`
	Denied int64    `json:"denied"` // effect deny
	Held   int64    `json:"held"`   // effect ask: people were asked
	Failed int64    `json:"failed"` // allowed, and neither ok nor open
	Open   int64    `json:"open"`   // no end is on record
	Bytes  int64    `json:"bytes"`  // of requests and replies
	Tokens int64    `json:"tokens"` // in and out
	Cost   int64    `json:"cost_microusd"`
	Filter string   `json:"filter"` // that finds these calls
}

// A RollupFilter says what is added up, and by what.
type RollupFilter struct {
	By           []string  // some of [RollupBy]; none: all in one
	Where        *Where    // of what rollups are made by: agent, kind, target, resource, tool, model, effect, outcome
	Since, Until time.Time // by whole hours: those that Since and Until are in count as a whole
	Limit        int       // lines; default 1,000, at most 10,000
}

// RollupBy is what calls can be added up by.
var RollupBy = []string{"agent", "tool", "model", "kind", "target", "resource", "effect", "outcome", "hour", "day"}
