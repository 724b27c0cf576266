package firewall

import (
	"iter"
	"slices"
)

// A Route is another way to carry out a call: what it acts on there. A fallback is a
// call, so that only those are left that the law allows.
type Route struct {
	Target   string
	Resource string
	Price    *Price
	Estimate Estimate
	When     func(*Call) (bool, error) // a call goes this way only where it says so; nil: any does

	decision Decision     // about it
	given    []Obligation // limits of what the callers were given of it
}

// along is c as it would be by way of r.
func (c *Call) along(r Route) *Call {
	other := *c
	other.Take(r)
	other.Estimate, other.Routes = r.Estimate, nil
	other.limits = nil
	return &other
}

// Take has c go by way of r from now on.
func (c *Call) Take(r Route) {
	c.Target, c.Resource, c.Price, c.When = r.Target, r.Resource, r.Price, r.When
}

// fits says whether the condition of the way that c goes holds. One that cannot be
// evaluated does not.
func (c *Call) fits() bool {
	if c.When == nil {
		return true
	}
	ok, err := c.When(c)
	return ok && err == nil
}

// judge asks the policy about call and each of its routes. Those that are not allowed
// are taken out; where it is the first way that is denied, the next one that is allowed
// takes its place.
func (g *Gate) judge(law *Law, call *Call) Decision {
	d := Decision{Reason: "none of the targets of the model is for a call like this one"}
	if call.fits() {
		d = g.ask(law, call)
	}
	if len(call.Routes) == 0 {
		return d
	}
	first := Route{Target: call.Target, Resource: call.Resource, Price: call.Price, Estimate: call.Estimate, When: call.When, decision: d}
	if call.order != nil { // it was judged before
		first.Estimate = call.order[0].Estimate
	}
	denied := d.Effect == Deny || !g.passable(call, &first)
	ways := []Route{first}
	for _, r := range call.Routes {
		other := call.along(r)
		if !other.fits() {
			continue
		}
		r.decision = other.Within(g.ask(law, other))
		switch {
		case r.decision.Effect != Allow || !g.passable(call, &r):
		case denied:
			ways[0], d, denied = r, r.decision, false
		default:
			ways, d = append(ways, r), d.And(r.decision)
		}
	}
	call.keep(ways)
	return d
}

// ask asks the policy about call by the way that it goes, and about each tool that its
// target would run by itself. For these nobody can be asked.
func (g *Gate) ask(law *Law, call *Call) Decision {
	d := law.Policy.Decide(call)
	for _, h := range call.Hosted {
		if d.Effect == Deny {
			break
		}
		t := g.asked(law, call, &Call{Kind: Tool, Target: call.Target, Method: "tools/call", Resource: h.Name})
		switch {
		case t.Effect == Allow || t.Effect == Deny && t.Rule == "" && !h.Remote:
		case h.Remote:
			d = d.And(Decision{Rule: t.Rule, Reason: t.Reason + "; the provider would reach that server by itself, past this gate: have it registered as an MCP server of callgate"})
		default:
			d = d.And(Decision{Rule: t.Rule, Reason: t.Reason + "; the provider would run it by itself: leave it out of tools"})
		}
	}
	return d
}

// keep has call go by the first of ways, and by the others where that fails. What is
// estimated is the dearest of them.
func (c *Call) keep(ways []Route) {
	c.order, c.Routes = ways, ways[1:]
	c.Take(ways[0])
	c.Estimate = ways[0].Estimate
	for _, r := range c.Routes {
		c.Estimate = dearer(c.Estimate, r.Estimate)
	}
}

// passable says whether nobody has stopped what call would act on by way of r, and all in
// whose name it is made were given it: how much of it is noted in r.
func (g *Gate) passable(call *Call, r *Route) bool {
	other := call.along(*r)
	if !permitted(&other.Caller, other.Object()) || g.stopped(other.Object(), other.Run, other.Chain) != "" || other.given() != nil {
		return false
	}
	r.given = other.limits
	return true
}

// dearer is what must be reserved where it may come to a or b.
func dearer(a, b Estimate) Estimate {
	return Estimate{Tokens: max(a.Tokens, b.Tokens), Cost: max(a.Cost, b.Cost), Priced: a.Priced && b.Priced, Input: max(a.Input, b.Input), Output: max(a.Output, b.Output)}
}

// ways are all those to carry out c, the first one first; nil where none is under a
// limit. The list may be changed.
func (c *Call) ways() []Route {
	limit := func(o Obligation) bool { return o.Do == LimitTo }
	if c.Part || !slices.ContainsFunc(c.Decision.Obligations, limit) && len(c.limits) == 0 && !slices.ContainsFunc(c.Routes, func(r Route) bool { return len(r.given) > 0 }) {
		return nil
	}
	if len(c.Routes) == 0 {
		return []Route{{c.Target, c.Resource, c.Price, c.Estimate, c.When, c.Decision, c.limits}}
	}
	return slices.Clone(c.order)
}

// way is the bit of the way that c goes by now.
func (c *Call) way() uint64 {
	for i := range c.order {
		if w := &c.order[i]; w.Target == c.Target && w.Resource == c.Resource {
			return 1 << i
		}
	}
	return 1
}

// limits are those that r is under: by policy, and by what its callers were given.
func (r *Route) limits() iter.Seq[*Obligation] {
	return func(yield func(*Obligation) bool) {
		for _, list := range [...][]Obligation{r.decision.Obligations, r.given} {
			for i := range list {
				if o := &list[i]; o.Do == LimitTo && !yield(o) {
					return
				}
			}
		}
	}
}
