package firewall

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Limit is how much may be used within any Window.
type Limit struct {
	Of     string // [Calls], [Tokens] or [USD]
	Amount int64  // calls, tokens, or [MicroUSD]
	Window time.Duration
	Per    string // who is counted together: [PerAgent] and so on
}

// What a [Limit] counts.
const (
	Calls  = "calls"
	Tokens = "tokens"
	USD    = "usd"
)

// Who is counted together, apart from all others of the tenant.
const (
	PerAgent  = "agent"
	PerRun    = "run"
	PerTool   = "tool" // or model, prompt, resource: whoever calls it
	PerTenant = "tenant"
	perGrant  = "grant" // as Rule says, for as long as the grant lives
)

// CanLimitPer says whether per is one of these.
func CanLimitPer(per string) bool {
	return slices.Contains([]string{PerAgent, PerRun, PerTool, PerTenant}, per)
}

// Budgets counts what is limited. A call's share is taken before it is forwarded,
// from an estimate where it has to be, and set right when the call is over. It is
// used by many goroutines at once.
type Budgets struct {
	now    func() time.Time
	mu     sync.Mutex
	counts map[string]*count
}

// slots is into how many parts a window is cut. What was used leaves the count
// when the whole part is older than the window, so no window ever sees more than
// its limit, and room comes back late by at most one part.
const slots = 32

// count is what one limit has counted for one of those it is counted for. Its
// fields are guarded by Budgets.mu.
type count struct {
	window  time.Duration
	used    map[int64]int64 // by slot
	changed bool            // since it was last stored
}

// NewBudgets returns Budgets that have counted nothing.
func NewBudgets(now func() time.Time) *Budgets {
	return &Budgets{now: now, counts: make(map[string]*count)}
}

// share is what a call has taken of a count.
type share struct {
	of     *count
	what   string // as [Limit.Of]
	slot   int64
	amount int64
}

// reserve takes the call's share of every limit that it is under, or of none.
func (b *Budgets) reserve(call *Call) error {
	var shares []share
	for o := range call.limited() {
		s := share{what: o.Limit.Of, amount: max(1, call.Estimate.Calls)}
		switch o.Limit.Of {
		case Tokens:
			s.amount = call.Estimate.Tokens
		case USD:
			if s.amount = int64(call.Estimate.Cost); !call.Estimate.Priced && call.Kind == Model {
				return &Error{Code: Denied, Rule: o.Rule, Reason: "rule " + o.Rule + " limits what models may cost, and no price is known for " + call.Object()}
			}
		}
		shares = append(shares, s)
	}
	if shares == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now, i := b.now(), 0
	for o := range call.limited() {
		s := &shares[i]
		i++
		s.of = b.count(o, call)
		s.slot = s.of.slot(now)
		if wait, full := s.of.full(now, o.Limit.Amount-s.amount); full {
			return exhausted(o, call, wait)
		}
	}
	for _, s := range shares {
		s.of.add(s.slot, s.amount)
	}
	call.shares = shares
	return nil
}

// limited is every limit that c is under: by policy, and by what its callers were given.
func (c *Call) limited() iter.Seq[Obligation] {
	return func(yield func(Obligation) bool) {
		if c.Part {
			return
		}
		for _, list := range [...][]Obligation{c.Decision.Obligations, c.limits} {
			for _, o := range list {
				if o.Do == LimitTo && !yield(o) {
					return
				}
			}
		}
	}
}

// exhausted is the refusal of a call for which o has no room left until wait has
// passed, or ever, if wait is 0.
func exhausted(o Obligation, call *Call, wait time.Duration) error {
	whom := map[string]string{perGrant: call.Caller.Agent(), PerAgent: call.Caller.Agent(), PerRun: "a run", PerTool: call.Object(), PerTenant: "tenant " + call.Caller.Tenant}[o.Limit.Per]
	amount := fmt.Sprintf("%d %s", o.Limit.Amount, o.Limit.Of)
	if o.Limit.Amount == 1 {
		amount = strings.TrimSuffix(amount, "s")
	}
	if o.Limit.Of == USD {
		amount = fmt.Sprintf("%.2f US dollars", MicroUSD(o.Limit.Amount).USD())
	}
	e := &Error{Code: Exhausted, Rule: o.Rule, Retry: wait}
	if wait == 0 {
		e.Reason = fmt.Sprintf("rule %s allows %s %s in %s: this call alone would take more", o.Rule, whom, amount, short(o.Limit.Window))
	} else {
		e.Reason = fmt.Sprintf("rule %s allows %s %s in %s: there is room again in %s", o.Rule, whom, amount, short(o.Limit.Window), short(wait))
	}
	return e
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

// count is what o has counted for those that call is counted with.
func (b *Budgets) count(o Obligation, call *Call) *count {
	key := []string{o.Rule, o.With, call.Caller.Tenant}
	switch o.Limit.Per {
	case PerAgent:
		key = append(key, call.Caller.Agent())
	case PerRun:
		key = append(key, call.Run)
	case PerTool:
		key = append(key, call.Object())
	case perGrant: // which the rule names
	}
	name := strings.Join(key, "\x1f")
	c := b.counts[name]
	if c == nil {
		c = &count{window: o.Limit.Window, used: make(map[int64]int64)}
		b.counts[name] = c
	}
	return c
}

// slot is the part of time that t is in.
func (c *count) slot(t time.Time) int64 { return t.UnixMicro() / c.length() }

// length is that of a slot, in microseconds.
func (c *count) length() int64 { return max(c.window.Microseconds()/slots, 1) }

// full says that more than room is used, and how long until it is not; 0 if that
// is never.
func (c *count) full(now time.Time, room int64) (wait time.Duration, full bool) {
	first := c.slot(now) - slots // begun a whole window ago, and not over then
	sum := int64(0)
	var in []int64
	for slot, n := range c.used {
		if slot >= first {
			sum += n
			in = append(in, slot)
		} else {
			delete(c.used, slot)
		}
	}
	if sum <= room {
		return 0, false
	}
	if room < 0 {
		return 0, true
	}
	slices.Sort(in)
	for _, slot := range in {
		if sum -= c.used[slot]; sum <= room {
			free := time.UnixMicro((slot + slots + 1) * c.length())
			return max(free.Sub(now), time.Second), true
		}
	}
	return c.window, true // cannot be: without any slot the sum is 0
}

func (c *count) add(slot, n int64) {
	c.changed = true
	if c.used[slot] += n; c.used[slot] <= 0 {
		delete(c.used, slot)
	}
}

// settle sets right what was reserved for call, which is over, or was not
// forwarded at all. What a call used that nobody told stays as it was estimated,
// unless it failed and brought nothing.
func (b *Budgets) settle(call *Call, forwarded, failed bool) {
	if call.shares == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	told := call.Usage != Usage{}
	for _, s := range call.shares {
		took := s.amount
		switch {
		case !forwarded:
			took = 0
		case s.what == Calls:
		case told && s.what == Tokens:
			took = call.Usage.Input + call.Usage.Output
		case told:
			cost, _ := call.Price.of(call.Usage)
			took = int64(cost)
		case failed:
			took = 0
		}
		s.of.add(s.slot, took-s.amount)
	}
	call.shares = nil
}
