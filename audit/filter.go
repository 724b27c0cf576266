package audit

import "time"

// A Filter says which calls are asked for: those that fit every field that is set.
type Filter struct {
	Agent      string // "agent:support-bot"
	Run        string
	Chain      string // as the client named it
	Kind       string // "model", "tool"…
	Target     string
	Resource   string
	ArgsHash   string
	Effect     string    // "allow", "ask", "deny"
	Otherwise  string    // the same, as a candidate would have decided where that is something else; or [Any]
	Outcome    string    // as in [Call]
	Credential string    // that was used: secret:openai, in any version, or secret:openai@3
	Where      *Where    // in the filter language; nil: all
	Since      time.Time // not before
	Until      time.Time // before
	Before     uint64    // only calls whose Seq is smaller: the last one of the page before
	Limit      int       // most calls wanted, newest first; default 100, at most 1,000
}

// A Page is calls that a [Filter] asks for.
type Page struct {
	Calls   []Call
	Next    uint64 // to go on, as Before; 0: that was all
	Read    int    // calls that were read for it
	Reached int64  // how far back the reading came, in microseconds since 1970, where it was ended
	Note    string // why, and what to do
}

// Any is a value of a [Filter] that every value fits but that there is none.
const Any = "any"

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// Most is Limit, with its default and its bound.
func (f *Filter) Most() int { return most(f.Limit) }

// A ChangeFilter says which changes are asked for: those that fit every field that
// is set.
type ChangeFilter struct {
	What   string // "agent.created", or all that begin so: "agent."
	Name   string
	Since  time.Time // not before
	Until  time.Time // before
	Before uint64    // only records whose Seq is smaller
	Limit  int       // most records wanted, newest first; default 100, at most 1,000
}

// Most is Limit, with its default and its bound.
func (f *ChangeFilter) Most() int { return most(f.Limit) }

func most(limit int) int {
	if limit <= 0 {
		return defaultLimit
	}
	return min(limit, maxLimit)
}
