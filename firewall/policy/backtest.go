package policy

import (
	"cmp"
	"slices"

	"callgate/firewall"
)

// A Backtest asks a candidate about calls of the record, and counts where it says
// something else than was said then.
type Backtest struct {
	candidate *Policy
	samples   int
	changes   map[Shift]*Shifted
	hit       map[string]bool // rules that said something

	Calls   int            // that were compared
	Same    int            // of them
	Other   int            // that something else than the policy refused, which are not compared
	Unknown map[string]int // that are not compared, by what nobody has recorded of them
}

// A Shift is how the candidate differs, for one agent and object.
type Shift struct {
	Kind   string `json:"change"` // newly denied, newly allowed, newly asked, no longer asked, other duties
	Before string `json:"before"` // rule that decided then
	After  string `json:"after"`  // rule of the candidate, "" if none allows it
	Agent  string `json:"agent"`
	Object string `json:"object"`
}

// What the Kind of a [Shift] may be.
const (
	NewlyDenied   = "newly denied"
	NewlyAllowed  = "newly allowed"
	NewlyAsked    = "newly asked"
	NoLongerAsked = "no longer asked"
	OtherDuties   = "other duties"
)

// Shifted is the calls of one [Shift].
type Shifted struct {
	Shift
	Count   int      `json:"count"`
	Samples []string `json:"samples"` // ids of calls, the first ones
}

// NewBacktest returns a Backtest of candidate that notes so many samples of each
// change.
func NewBacktest(candidate *Policy, samples int) *Backtest {
	return &Backtest{candidate: candidate, samples: samples, changes: make(map[Shift]*Shifted), hit: make(map[string]bool), Unknown: make(map[string]int)}
}

// Add asks about one call.
func (b *Backtest) Add(past *firewall.Past) {
	d := b.candidate.Redecide(past)
	if d.Unknown != nil {
		b.Unknown[d.Unknown[0]]++
		return
	}
	b.Calls++
	b.note(d.Rule)
	b.note(d.Allowing)
	for _, o := range d.Obligations {
		b.note(o.Rule)
	}
	kind := shift(past, &d.Decision)
	if kind == "" {
		b.Same++
		return
	}
	s := Shift{Kind: kind, Before: past.Rule, After: d.Rule, Agent: past.Call.Caller.Agent(), Object: string(past.Call.Object())}
	c := b.changes[s]
	if c == nil {
		own(&s)
		c = &Shifted{Shift: s, Samples: []string{}}
		b.changes[s] = c
	}
	c.Count++
	if len(c.Samples) < b.samples {
		c.Samples = append(c.Samples, string([]byte(past.Call.ID)))
	}
}

// note notes that a rule said something.
func (b *Backtest) note(rule string) {
	if rule != "" && !b.hit[rule] {
		b.hit[rule] = true
	}
}

// own makes s hold no part of a record.
func own(s *Shift) {
	for _, text := range []*string{&s.Before, &s.Agent, &s.Object} {
		*text = string([]byte(*text))
	}
}

// shift is how d differs from what was decided, "" if it does not.
func shift(past *firewall.Past, d *firewall.Decision) string {
	switch {
	case d.Effect == past.Effect && d.Effect == firewall.Deny:
		return ""
	case d.Effect == firewall.Deny:
		return NewlyDenied
	case past.Effect == firewall.Deny && d.Effect == firewall.Ask, past.Effect == firewall.Allow && d.Effect == firewall.Ask:
		return NewlyAsked
	case past.Effect == firewall.Deny:
		return NewlyAllowed
	case past.Effect == firewall.Ask && d.Effect == firewall.Allow:
		return NoLongerAsked
	case len(past.Duties) == 0 && len(d.Obligations) == 0:
		return ""
	}
	then := slices.Compact(slices.Sorted(slices.Values(past.Duties)))
	if slices.Equal(then, duties(d.Obligations)) {
		return ""
	}
	return OtherDuties
}

// Changes is where the candidate differs, the most frequent first.
func (b *Backtest) Changes() []Shifted {
	all := []Shifted{}
	for _, c := range b.changes {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(x, y Shifted) int {
		return cmp.Or(y.Count-x.Count, cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Agent, y.Agent), cmp.Compare(x.Object, y.Object), cmp.Compare(x.Before, y.Before), cmp.Compare(x.After, y.After))
	})
	return all
}

// Idle is the rules of the candidate that said nothing about any call, in the
// order of the rows.
func (b *Backtest) Idle() []string {
	idle := []string{}
	if b.candidate.custom != nil { // whose rows may have no names
		return idle
	}
	for _, x := range []*index{b.candidate.verdict, b.candidate.duties} {
		for i := range x.rules {
			if !b.hit[x.rules[i].id] {
				idle = append(idle, x.rules[i].id)
			}
		}
	}
	return idle
}
