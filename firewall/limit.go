package firewall

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Limit is how much may be used within any Window, or, of [Concurrent], at once.
type Limit struct {
	Of     string // [Calls], [Concurrent], [Tokens] or [USD]
	Amount int64  // calls, tokens, or [MicroUSD]
	Window time.Duration
	Per    string // who is counted together: [PerAgent] and so on
}

// What a [Limit] counts.
const (
	Calls      = "calls"
	Concurrent = "concurrent" // calls that are under way; there is no window
	Tokens     = "tokens"
	USD        = "usd"
)

// Who is counted together, apart from all others of the tenant. A call that an agent
// makes for another counts for both: what is left to a sub-agent is what is left to
// those above it, too.
const (
	PerAgent  = "agent"  // the agent, and each that it acts for
	PerRun    = "run"    // their runs
	PerChain  = "chain"  // the run of whoever is at the root of the delegation
	PerUser   = "user"   // the human at the root, or who answers for the agent there
	PerGroup  = "group"  // each group of that user
	PerTool   = "tool"   // or model, prompt, resource: whoever calls it
	PerModel  = "model"  // the same
	PerTenant = "tenant" // all
	perGrant  = "grant"  // as Rule says, for as long as the grant lives
)

// Pers are those that a policy can name, in words.
const Pers = "agent, run, chain, user, group, model, tool or tenant"

// CanLimitPer says whether per is one of these.
func CanLimitPer(per string) bool {
	return slices.Contains([]string{PerAgent, PerRun, PerChain, PerUser, PerGroup, PerTool, PerModel, PerTenant}, per)
}

// levels calls count for each of those for whom o counts c, by way of an object, until it
// says no: with what tells them apart, and with what they are called in a sentence.
func (c *Call) levels(o *Obligation, object string, t teams, count func(key, whom string) bool) {
	switch o.Limit.Per {
	case PerAgent:
		c.concerned(o, func(hop int) bool { return count(hopOf(c, hop), hopOf(c, hop)) })
	case PerRun:
		c.concerned(o, func(hop int) bool {
			if hop == 0 || hop > len(c.above) {
				return count(c.Run, "this run")
			}
			return count(c.above[hop-1], "the run of "+hopOf(c, hop))
		})
	case PerChain:
		root := c.Run
		if n := len(c.above); n > 0 {
			root = c.above[n-1]
		}
		count(root, "all that is done for "+c.Caller.Subject)
	case PerUser:
		user := c.user()
		count(user, user)
	case PerGroup:
		user := c.user()
		all := t.of(c.Caller.Tenant, user)
		if len(all) == 0 {
			count(user, user+", who is in no group,")
		}
		for _, g := range all {
			if !count(g, g) {
				return
			}
		}
	case PerTool, PerModel:
		count(object, object)
	case PerTenant:
		count("", "tenant "+c.Caller.Tenant)
	case perGrant: // which the rule names
		count("", c.Caller.Agent())
	}
}

// user is who answers for c: a human, or who is named for the agent at the root.
func (c *Call) user() string { return cmp.Or(c.Caller.User, c.Caller.Subject) }

// concerned calls each for the agents of the caller's chain that o is asked of, until it
// says no. What is asked of a human alone is asked of all the agents that act for them.
func (c *Call) concerned(o *Obligation, each func(hop int) bool) {
	found := false
	for _, all := range [...]bool{false, true} {
		for hop := range len(c.Caller.Actors) + 1 {
			if !(all || o.asks(hop)) || strings.HasPrefix(hopOf(c, hop), "user:") {
				continue
			}
			found = true
			if !each(hop) {
				return
			}
		}
		if found {
			return
		}
	}
	each(0) // a human who acts alone
}

// hopOf is a principal of c's chain: first the acting agent, last the root.
func hopOf(c *Call, i int) string {
	if i < len(c.Caller.Actors) {
		return c.Caller.Actors[i]
	}
	return c.Caller.Subject
}

// exhausted is the refusal of a call that o has no room for, counted for whom, until
// wait has passed, or ever, if wait is 0.
func exhausted(o *Obligation, whom string, wait time.Duration) error {
	e := &Error{Code: Exhausted, Rule: o.Rule, Retry: wait}
	said := fmt.Sprintf("rule %s allows %s %s", o.Rule, whom, o.Limit.amount())
	switch {
	case o.Limit.Of == Concurrent:
		e.Retry = time.Second
		e.Reason = said + " at once, and as many are under way: try again when one of them is over"
	case wait == 0:
		e.Reason = fmt.Sprintf("%s in %s: this call alone would take more", said, short(o.Limit.Window))
	default:
		e.Reason = fmt.Sprintf("%s in %s: there is room again in %s", said, short(o.Limit.Window), short(wait))
	}
	return e
}

// amount is how much l allows, in words.
func (l *Limit) amount() string {
	of := l.Of
	switch of {
	case USD:
		return fmt.Sprintf("%.2f US dollars", MicroUSD(l.Amount).USD())
	case Concurrent:
		of = Calls
	}
	if l.Amount == 1 {
		of = strings.TrimSuffix(of, "s")
	}
	return fmt.Sprintf("%d %s", l.Amount, of)
}

// short is d in words, without units that are zero.
func short(d time.Duration) string {
	unit := time.Second
	if d > 10*time.Minute {
		unit = time.Minute
	}
	s := max(d.Round(unit), unit).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
