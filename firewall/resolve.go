package firewall

import (
	"bytes"
	"context"
	"slices"
)

// resolve lets the front door look at what a call's arguments lead to outside of
// the call. It comes after the law has let the call pass, because to look is to act:
// how long that takes, and what comes of it, tells what is there. If the arguments
// are others then, the law is asked again, as if the client had written those.
func (g *Gate) resolve(ctx context.Context, law *Law, call *Call) error {
	if call.Resolve == nil {
		return nil
	}
	changed, err := call.Resolve(ctx)
	if err != nil || !changed {
		return err
	}
	next := *call
	next.Approval, next.Findings, next.limits = "", nil, nil // people agreed to what they saw, and to nothing else
	next.came = next.Args()
	d := law.Policy.Decide(&next)
	for _, guard := range law.Guards {
		also, err := guard.Request(ctx, &next)
		if err != nil {
			return &Error{Code: Unavailable, Rule: guard.Name(), Reason: "guard " + guard.Name() + " could not judge this call", Err: err}
		}
		d = d.And(also)
	}
	const led = "by links on this machine the arguments lead elsewhere"
	switch {
	case d.Effect == Deny:
		return &Error{Code: Denied, Rule: d.Rule, Reason: led + ", and there: " + d.Reason}
	case d.Effect == Ask:
		return &Error{Code: Denied, Rule: d.Rule, Reason: led + ", where an approval of its own is needed: name the place itself"}
	case !bytes.Equal(next.Body.JSON, call.Body.JSON) || slices.ContainsFunc(d.Obligations, func(o Obligation) bool { return !slices.Contains(call.Decision.Obligations, o) }):
		return &Error{Code: Denied, Rule: d.Rule, Reason: led + ", where other duties come with the call: name the place itself"}
	}
	if err := next.given(); err != nil {
		return err
	}
	if !slices.Equal(next.limits, call.limits) {
		return &Error{Code: Denied, Rule: d.Rule, Reason: led + ", which was given with other limits: name the place itself"}
	}
	call.Decision.Reason += "; " + led + ", to what stands on record"
	return nil
}
