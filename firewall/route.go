package firewall

// A Route is another way to carry out a call: what it acts on there. A fallback is a
// call, so that only those are left that the law allows.
type Route struct {
	Target   string
	Resource string
	Price    *Price
	Estimate Estimate
}

// along is c as it would be by way of r.
func (c *Call) along(r Route) *Call {
	other := *c
	other.Target, other.Resource, other.Price, other.Estimate, other.Routes = r.Target, r.Resource, r.Price, r.Estimate, nil
	return &other
}

// Take has c go by way of r from now on.
func (c *Call) Take(r Route) { c.Target, c.Resource, c.Price = r.Target, r.Resource, r.Price }

// judge asks the policy about call and each of its routes. Those that are not allowed
// are taken out; where it is the first way that is denied, the next one that is allowed
// takes its place. The limits of all that are left hold, and the dearest is reserved.
func (g *Gate) judge(law *Law, call *Call) Decision {
	d := g.ask(law, call)
	if len(call.Routes) == 0 {
		return d
	}
	denied := d.Effect == Deny || !g.passable(call)
	left := call.Routes[:0:0]
	for _, r := range call.Routes {
		other := call.along(r)
		o := other.Within(g.ask(law, other))
		switch {
		case o.Effect != Allow || !g.passable(other):
		case denied:
			call.Take(r)
			call.Estimate, d, denied = r.Estimate, o, false
		default:
			left, d = append(left, r), d.And(o)
			call.Estimate = dearer(call.Estimate, r.Estimate)
		}
	}
	call.Routes = left
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

// passable says whether nobody has stopped what c acts on, and all in whose name it is
// made were given it.
func (g *Gate) passable(c *Call) bool {
	return permitted(&c.Caller, c.Object()) && g.stopped(c.Object(), c.Run, c.Chain) == "" && c.along(Route{c.Target, c.Resource, c.Price, c.Estimate}).given() == nil
}

// dearer is what must be reserved where it may come to a or b.
func dearer(a, b Estimate) Estimate {
	return Estimate{Tokens: max(a.Tokens, b.Tokens), Cost: max(a.Cost, b.Cost), Priced: a.Priced && b.Priced}
}
