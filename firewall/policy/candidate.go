package policy

import (
	"slices"
	"sync/atomic"

	"callgate/firewall"
)

// A Rehearsal asks a candidate about the calls that another policy decides about.
// What it says has no effect; where it is something else, that stands in the
// call's record.
type Rehearsal struct {
	candidate *Policy
	asked     atomic.Uint64
	differed  atomic.Uint64
}

// NewRehearsal returns a Rehearsal of candidate.
func NewRehearsal(candidate *Policy) *Rehearsal { return &Rehearsal{candidate: candidate} }

// Of is p, with what the candidate would have said.
func (r *Rehearsal) Of(p firewall.Policy) firewall.Policy { return &rehearsed{p, r} }

// Counts are how many decisions were compared, and how many of them differed.
func (r *Rehearsal) Counts() (asked, differed uint64) { return r.asked.Load(), r.differed.Load() }

type rehearsed struct {
	firewall.Policy
	rehearsal *Rehearsal
}

// Decide implements [firewall.Policy].
func (p *rehearsed) Decide(call *firewall.Call) firewall.Decision {
	d := p.Policy.Decide(call)
	if d.Rule == byIdentity {
		return d
	}
	r := p.rehearsal
	r.asked.Add(1)
	if other := r.candidate.Decide(call); other.Effect != d.Effect || !sameDuties(other.Obligations, d.Obligations) {
		r.differed.Add(1)
		d.Otherwise = &other
	}
	return d
}

// sameDuties says whether a and b ask for the same, by whichever rules.
func sameDuties(a, b []firewall.Obligation) bool {
	if len(a) == 0 && len(b) == 0 {
		return true
	}
	return slices.Equal(duties(a), duties(b))
}

// duties is what obligations ask for, in order, each once.
func duties(list []firewall.Obligation) []string {
	var all []string
	for _, o := range list {
		all = append(all, o.String())
	}
	slices.Sort(all)
	return slices.Compact(all)
}
