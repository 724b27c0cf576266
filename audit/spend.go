package audit

import (
	"errors"
	"time"
)

// ErrFilter is that a question cannot be asked.
var ErrFilter = errors.New("no such question")

// A Spend is what calls of one kind have taken together. Money is only that of calls
// whose price was known.
type Spend struct {
	By         []string `json:"by"` // who or what it is, for each of what was asked for
	Calls      int64    `json:"calls"`
	Unpriced   int64    `json:"unpriced,omitempty"`  // of these, for which no price is known
	Estimated  int64    `json:"estimated,omitempty"` // of these, whose providers did not tell all that they took
	Input      int64    `json:"input_tokens"`
	Output     int64    `json:"output_tokens"`
	CacheRead  int64    `json:"cache_read_tokens,omitempty"`
	CacheWrite int64    `json:"cache_write_tokens,omitempty"`
	Reasoning  int64    `json:"reasoning_tokens,omitempty"`
	Cost       int64    `json:"cost_microusd"`
}

// A SpendFilter says what is added up, and by what.
type SpendFilter struct {
	By           []string // "agent", "model", "provider", "run", "chain", "day"; none: all in one
	Agent        string   // only of this one; "" is of all
	Since, Until time.Time
}
