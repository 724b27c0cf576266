package firewall

import (
	"slices"
	"sync"
	"time"
)

// Budgets counts what is limited. A call's share is taken before it is forwarded,
// from an estimate where it has to be, and set right when the call is over. It is
// used by many goroutines at once.
type Budgets struct {
	now    func() time.Time
	mu     sync.Mutex
	counts map[string]*count
	key    []byte // room for the name of a count
}

// slots is into how many parts a window is cut. What was used leaves the count
// when the whole part is older than the window, so no window ever sees more than
// its limit, and room comes back late by at most one part.
const slots = 32

// count is what one limit has counted for one of those it is counted for. Its
// fields are guarded by Budgets.mu.
type count struct {
	name    string // in Budgets.counts
	window  time.Duration
	used    map[int64]int64 // by slot; nil where there is no window
	open    int64           // calls that are under way, where that is what is counted
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
	ways   uint64 // of the call that are under the limit, a bit each
	slot   int64
	amount int64
}

// reserve takes the call's share of every limit that it is under, at every level, or of
// none. Ways for which there is no room are taken out, as long as another one is left.
func (b *Budgets) reserve(call *Call, t teams) error {
	ways := call.ways()
	if ways == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	var shares []share
	var why error
	left := ways[:0]
	for i := range ways {
		more, err := b.shares(shares, call, &ways[i], uint64(1)<<len(left), now, t)
		if err != nil {
			if why == nil {
				why = err
			}
			continue
		}
		shares, left = more, append(left, ways[i])
	}
	if len(left) == 0 {
		return why
	}
	if why != nil {
		call.keep(left)
	}
	for i := range shares {
		shares[i].of.add(&shares[i], shares[i].amount)
	}
	call.shares = shares
	return nil
}

// shares is list and what the call takes if it goes by way w, whose bit is given: of
// what several ways count the largest part. list itself is not changed if there is no
// room, or no price.
func (b *Budgets) shares(list []share, call *Call, w *Route, bit uint64, now time.Time, t teams) ([]share, error) {
	list = slices.Clone(list) // the ways before hold without this one
	object := Object(call.Kind, w.Target, w.Resource)
	var err error
	for o := range w.limits() {
		amount := max(1, call.Estimate.Calls)
		switch o.Limit.Of {
		case Concurrent:
			amount = 1
		case Tokens:
			amount = w.Estimate.Tokens
		case USD:
			if amount = int64(w.Estimate.Cost); !w.Estimate.Priced && call.Kind == Model {
				return nil, &Error{Code: Denied, Rule: o.Rule, Reason: "rule " + o.Rule + " limits what models may cost, and no price is known for " + object}
			}
		}
		call.levels(o, object, t, func(key, whom string) bool {
			of := b.count(o, call, key)
			slot := of.slot(now)
			if wait, full := of.full(now, o.Limit.Amount-amount); full {
				err = exhausted(o, whom, wait)
				return false
			}
			if i := slices.IndexFunc(list, func(s share) bool { return s.of == of }); i >= 0 {
				list[i].ways, list[i].amount = list[i].ways|bit, max(list[i].amount, amount)
			} else {
				list = append(list, share{of: of, what: o.Limit.Of, ways: bit, slot: slot, amount: amount})
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// count is what o has counted at the level of call that key names.
func (b *Budgets) count(o *Obligation, call *Call, key string) *count {
	b.key = b.key[:0]
	for i, part := range [...]string{o.Rule, o.With, call.Caller.Tenant, key} {
		if i > 0 && (i < 3 || key != "") {
			b.key = append(b.key, '\x1f')
		}
		b.key = append(b.key, part...)
	}
	c := b.counts[string(b.key)]
	if c == nil {
		c = &count{name: string(b.key), window: o.Limit.Window}
		if o.Limit.Of != Concurrent {
			c.used = make(map[int64]int64)
		}
		b.counts[c.name] = c
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
	if c.used == nil {
		return 0, c.open > room
	}
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

// add puts what s has taken to the count, or takes it back.
func (c *count) add(s *share, n int64) {
	if c.used == nil {
		c.open += n
		return
	}
	if n == 0 {
		return
	}
	c.changed = true
	if c.used[s.slot] += n; c.used[s.slot] <= 0 {
		delete(c.used, s.slot)
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
	for i := range call.shares {
		s := &call.shares[i]
		took := int64(0)
		if forwarded && s.what != Concurrent {
			took = call.took(s, failed)
		}
		s.of.add(s, took-s.amount)
		if s.of.used == nil && s.of.open == 0 {
			delete(b.counts, s.of.name)
		}
	}
	call.shares = nil
}
