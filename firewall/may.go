package firewall

import (
	"context"
	"fmt"
	"slices"

	"callgate/identity"
)

// May answers whether caller could use a thing, as far as is known before it
// does. It asks the policy that would decide.
func (g *Gate) May(caller *identity.Principal, kind Kind, target, resource string) Answer {
	object, act := Object(kind, target, resource), action(kind, "")
	if !permitted(caller, object) || g.cfg.Stops.Stopped(identity.RevokedObject, object) {
		return No
	}
	return min(g.law.Load().Policy.May(caller, object, act), may(caller, act, object))
}

// Delegate answers whether policy lets from have an agent act for it. It must be
// sure: conditions are about calls, and there is none yet.
func (g *Gate) Delegate(_ context.Context, from *identity.Principal, to string) error {
	if g.law.Load().Policy.May(from, to, "delegate") != Yes {
		return fmt.Errorf("no row of the policy allows %s to delegate to %s", from.Agent(), to)
	}
	return nil
}

// Approve notes what somebody says of the approval id; see [Approvals.Decide].
// Who belongs to a group is what the policy in force says, and the registry.
func (g *Gate) Approve(ctx context.Context, id string, v Vote, record func(Approval) error) (Approval, error) {
	var groups []string
	if g.cfg.Person != nil {
		var gone error
		if groups, gone = g.cfg.Person(v.By); gone != nil {
			return Approval{}, fmt.Errorf("%w: %w", ErrMayNot, gone)
		}
	}
	p := g.law.Load().Policy
	return g.cfg.Approvals.Decide(ctx, id, v, func(tenant, name, group string) bool {
		return p.Member(tenant, name, group) || slices.ContainsFunc(groups, func(of string) bool { return of == group || p.Member(tenant, of, group) })
	}, record)
}
