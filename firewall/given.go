package firewall

import (
	"fmt"
	"slices"
	"time"

	"callgate/identity"
)

// given is why call is refused by those who were given less than policy allows, and act
// or let somebody act for them: each must have been given what is called. How much of it
// they were given is counted for each.
func (c *Call) given() error {
	action, object := c.Action(), c.Object()
	if object == "" { // for the gate itself an identity is enough
		return nil
	}
	for i := range c.Caller.Hops {
		hop := &c.Caller.Hops[i]
		at := permits(hop.Caps, action, object, c.Args(), c.At)
		if at < 0 || permits(hop.Scope, action, object, nil, c.At) < 0 {
			return &Error{Code: Denied, Rule: hop.Grant, Reason: fmt.Sprintf("%s was given less than policy allows: its grant %s does not let it %s %s like this", hop.Agent, hop.Grant, action, object)}
		}
		if at < len(hop.Caps) {
			c.limits = append(c.limits, counted(hop, at)...)
		}
	}
	return nil
}

// permits is the first of caps that permits an action; 0 where there are none, since
// then all is; -1 if none does.
func permits(caps []identity.Cap, action, object string, args []byte, at time.Time) int {
	if len(caps) == 0 {
		return 0
	}
	return slices.IndexFunc(caps, func(c identity.Cap) bool { return c.Permits(action, object, args, at) })
}

// counted are the limits of one cap of a hop.
func counted(hop *identity.Hop, at int) []Obligation {
	var list []Obligation
	limits := hop.Caps[at].Limits
	for _, l := range [...]struct {
		of     string
		amount int64
	}{{Calls, limits.Calls}, {Tokens, limits.Tokens}, {USD, limits.CostMicroUSD}} {
		if l.amount > 0 {
			list = append(list, Obligation{
				Do: LimitTo, With: fmt.Sprintf("%s=%d of cap %d", l.of, l.amount, at), Rule: hop.Grant,
				Limit: Limit{Of: l.of, Amount: l.amount, Window: hop.Life, Per: perGrant},
			})
		}
	}
	return list
}

// may is what was given to caller's chain of an action on object, whose arguments are
// not known yet.
func may(caller *identity.Principal, action, object string) Answer {
	answer := Yes
	for i := range caller.Hops {
		hop := &caller.Hops[i]
		answer = min(answer, named(hop.Caps, action, object), named(hop.Scope, action, object))
	}
	return answer
}

func named(caps []identity.Cap, action, object string) Answer {
	if len(caps) == 0 {
		return Yes
	}
	answer := No
	for i := range caps {
		if c := &caps[i]; c.Names(action, object) {
			if len(c.Arguments) == 0 {
				return Yes
			}
			answer = Depends
		}
	}
	return answer
}
