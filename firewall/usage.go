package firewall

import (
	"slices"
	"strings"

	"callgate/audit"
	"callgate/identity"
)

// Usage is what a model call consumed, as the provider reported it. Input includes what
// was read from a cache or written to one; Output includes Reasoning, in every dialect;
// what is of sound or of pictures is in them, too. The zero Usage was not reported.
type Usage struct {
	Input, Output, CacheRead, CacheWrite, Reasoning int64 // tokens

	CacheWriteHour int64 // of CacheWrite: to be kept for an hour or more
	AudioIn        int64 // of Input
	AudioCached    int64 // of AudioIn and of CacheRead
	AudioOut       int64 // of Output
	ImageIn        int64 // of Input
	ImageOut       int64 // of Output
	Images         int64 // pictures that were made
	Searches       int64 // that the provider made on the web

	Tier      string // in which the call was served, where its price is another: TierBatch…
	Regional  bool   // the vendor kept it to one region, which may cost more
	Estimated bool   // not, or not all, told by the provider
	Unknown   string // names of what the provider told and callgate does not know, with spaces between them: not priced, or as Input
}

// The tiers that a provider may serve a call in, beside the usual one.
const (
	TierBatch    = "batch"
	TierFlex     = "flex"
	TierPriority = "priority"
	TierFast     = "fast"
)

// tokens is how many u is in all.
func (u *Usage) tokens() int64 { return u.Input + u.Output }

// A bill is what one try took that did not bring the reply.
type bill struct {
	way    uint64
	tokens int64
	cost   MicroUSD
}

// Tried notes a try to carry out c at the target that it has now. If it failed, what it
// took is in c.Usage, and that of the next one begins at nothing.
func (c *Call) Tried(a audit.Attempt) {
	a.Target, a.Resource = c.Target, c.Resource
	if a.Fault != "" {
		b, u := bill{way: c.way()}, c.Usage
		c.Usage = Usage{}
		if u != (Usage{}) {
			b.tokens = u.tokens()
			a.Usage = (*audit.Usage)(&u)
			if cost, known := c.Price.of(u); known {
				b.cost = cost
				a.Cost = (*int64)(&b.cost)
			}
		}
		c.bills = append(c.bills, b)
	}
	c.Attempts = append(c.Attempts, a)
}

// Rationed says whether a limit of tokens or money counts c.
func (c *Call) Rationed() bool {
	return slices.ContainsFunc(c.shares, func(s share) bool { return s.what == Tokens || s.what == USD })
}

// spent is what c has cost in all, as far as a price is known.
func (c *Call) spent() MicroUSD {
	cost, _ := c.Price.of(c.Usage)
	for i := range c.bills {
		cost += c.bills[i].cost
	}
	return cost
}

// took is what c, which is over, has taken of s.
func (c *Call) took(s *share, failed bool) int64 {
	here := c.way()&s.ways != 0
	sum, tried := int64(0), here
	for i := range c.bills {
		b := &c.bills[i]
		switch {
		case b.way&s.ways == 0:
			continue
		case s.what == Tokens:
			sum += b.tokens
		case s.what == USD:
			sum += int64(b.cost)
		}
		tried = true
	}
	told := c.Usage != Usage{}
	switch {
	case s.what == Calls && tried:
		return s.amount
	case s.what == Calls || !here || c.Cached:
	case told && s.what == Tokens:
		sum += c.Usage.tokens()
	case told:
		cost, _ := c.Price.of(c.Usage)
		sum += int64(cost)
	case !failed:
		sum += s.amount
	}
	return sum
}

// Fork is c, to be carried out by way of r while c is too. Nothing that is done to the one
// touches the other.
func (c *Call) Fork(r Route) *Call {
	f := *c
	f.Take(r)
	f.Attempts, f.Lossy, f.Findings, f.Checks, f.bills = nil, nil, slices.Clone(c.Findings), slices.Clone(c.Checks), nil
	return &f
}

// Join has c go on as f, which was forked from it.
func (c *Call) Join(f *Call) {
	c.Take(Route{Target: f.Target, Resource: f.Resource, Price: f.Price})
	c.Usage, c.Cached, c.Lossy = f.Usage, f.Cached, f.Lossy
	c.Attempts = append(c.Attempts, f.Attempts...)
	c.lent(f)
}

// Lost notes f, which was forked from c and is not the one that c goes on as: what it took
// is on c's bill.
func (c *Call) Lost(f *Call, a audit.Attempt) {
	a.Target, a.Resource = f.Target, f.Resource
	b := bill{way: f.way()}
	if u := f.Usage; u != (Usage{}) {
		b.tokens = u.tokens()
		a.Usage = (*audit.Usage)(&u)
		if cost, known := f.Price.of(u); known {
			b.cost = cost
			a.Cost = (*int64)(&b.cost)
		}
	}
	c.bills = append(c.bills, b)
	c.Attempts = append(append(c.Attempts, f.Attempts...), a)
	c.lent(f)
}

// Spent is what c has cost so far, as far as a price is known.
func (c *Call) Spent() MicroUSD { return c.spent() }

// lent notes the credentials that were used for f.
func (c *Call) lent(f *Call) {
	for name := range strings.FieldsSeq(f.credential) {
		c.Lent(identity.Loan{Name: name})
	}
}
