package policy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"callgate/firewall"
	"callgate/identity"
)

// A Shadow asks Casbin itself what a policy has answered, off the calls' way. It
// takes a decision whenever it has time, and has a hundredth of a core.
type Shadow struct {
	differ   func(p *Policy, how string)
	busy     atomic.Bool
	next     chan decided
	checked  atomic.Uint64
	differed atomic.Uint64
}

// decided is a call as it was when p decided about it.
type decided struct {
	policy *Policy
	call   *firewall.Call
	answer firewall.Decision
}

const (
	maxShadowed = 10_000                 // rows; Casbin takes too long for more
	rest        = 99                     // times what a check took, until the next
	leastRest   = 100 * time.Microsecond // also where a clock cannot tell how long it took
)

// NewShadow returns a Shadow that tells differ of each answer that is not
// Casbin's. The words hold no arguments.
func NewShadow(differ func(p *Policy, how string)) *Shadow {
	return &Shadow{differ: differ, next: make(chan decided, 1)}
}

// Of is p, with decisions that the Shadow may look at. Policies of more than
// 10,000 rows it leaves alone, and those that Casbin decides about anyway.
func (s *Shadow) Of(p *Policy) firewall.Policy {
	if p.custom != nil || len(p.model["p"]["p"].Policy)+len(p.model["p"]["p2"].Policy) > maxShadowed {
		return p
	}
	return &shadowed{p, s}
}

// Counts are how many decisions were checked, and how many of them differed.
func (s *Shadow) Counts() (checked, differed uint64) { return s.checked.Load(), s.differed.Load() }

// Run checks until ctx ends.
func (s *Shadow) Run(ctx context.Context) {
	for {
		select {
		case d := <-s.next:
			began := time.Now()
			s.check(&d)
			timer := time.NewTimer(max(rest*time.Since(began), leastRest))
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
			s.busy.Store(false)
		case <-ctx.Done():
			return
		}
	}
}

func (s *Shadow) check(d *decided) {
	want, err := plainly(d.policy, d.call)
	s.checked.Add(1)
	failed := strings.HasPrefix(d.answer.Reason, "rule "+d.answer.Rule+" "+unevaluated)
	if err != nil {
		want.Rule = d.answer.Rule // Casbin does not name the row
	}
	if failed == (err != nil) && want.Effect == d.answer.Effect && want.Rule == d.answer.Rule && slices.Equal(want.Obligations, d.answer.Obligations) {
		return
	}
	s.differed.Add(1)
	s.differ(d.policy, fmt.Sprintf("%s to %s: the index says %s by %q, Casbin says %s by %q (error: %v)",
		d.call.Caller.Agent(), cut(d.call.Object()), d.answer.Effect, d.answer.Rule, want.Effect, want.Rule, err))
}

// plainly is Policy.Plain, where a panic is an error.
func plainly(p *Policy, call *firewall.Call) (d firewall.Decision, err error) {
	defer func() {
		if recover() != nil {
			d, err = firewall.Decision{}, errors.New("casbin panicked")
		}
	}()
	return p.Plain(call)
}

// shadowed is a policy in force that a Shadow looks at.
type shadowed struct {
	*Policy
	shadow *Shadow
}

// Decide implements [firewall.Policy].
func (p *shadowed) Decide(call *firewall.Call) firewall.Decision {
	d := p.Policy.Decide(call)
	if d.Rule != byIdentity && !call.Client && !p.shadow.busy.Load() && p.shadow.busy.CompareAndSwap(false, true) {
		p.shadow.next <- decided{p.Policy, kept(call), d}
	}
	return d
}

// kept is what decides about call, of which nothing is shared with it.
func kept(call *firewall.Call) *firewall.Call {
	caller := identity.Principal{
		Tenant: call.Caller.Tenant, Subject: call.Caller.Subject,
		Actors: slices.Clone(call.Caller.Actors), Roles: slices.Clone(call.Caller.Roles),
		Above: call.Caller.Above,
	}
	k := &firewall.Call{
		Kind: call.Kind, Target: strings.Clone(call.Target), Method: call.Method, Resource: strings.Clone(call.Resource),
		ArgsAt: call.ArgsAt, Impact: call.Impact, From: strings.Clone(call.From), Estimate: call.Estimate, At: call.At,
		Links: slices.Clone(call.Links), Signals: slices.Clone(call.Signals), Labels: call.Labels, Before: call.Before, Approval: call.Approval, Caller: caller, Body: firewall.Body{JSON: bytes.Clone(call.Body.JSON)},
	}
	if call.Acting != nil { // which are of what the run had met by then
		k.Acting = call.Acting
		k.SetOrigins(call.Origins())
	}
	return k
}
