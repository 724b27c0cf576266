package firewall

import (
	"context"

	"callgate/audit"
)

// A Meaning is a call that a model may mean by a tool call which it asks for.
type Meaning struct {
	Call *Call // as the front door for tools would make it, without who calls
	Err  error // why that would not take it; nil where it would
	Open bool  // what its arguments are decides more than the policy knows
}

// clients is the target of tools that are not behind the gate: functions of the agent's
// own program. They are its own affair, unless a row of the policy speaks of them.
const clients = "client"

// maxHeld bounds the bytes of a reply that are held back at once.
const maxHeld = 64 << 20

// A hold keeps back the tool calls that a reply asks for until they are whole, and asks
// of each whether the agent may make it. What may be made goes down as it came; what may
// not is taken out of the reply, with the reason in its place. Calls that are allowed
// whatever their arguments are not kept back, and nor is what is no tool call.
type hold struct {
	gate *Gate
	law  *Law
	call *Call
	up   Proposer // nil where nothing is asked for

	on   bool // some of the reply is kept back
	kept []Event
	size int
	more bool // the event before told the door to wait for the next one
}

func (g *Gate) hold(law *Law, call *Call, up Upstream) hold {
	p, _ := up.(Proposer)
	return hold{gate: g, law: law, call: call, up: p}
}

// lets says that ev may go down at once.
func (h *hold) lets(ev *Event) bool {
	if h.on || h.up != nil && h.watches(ev) {
		return false
	}
	h.more = ev.More
	return true
}

// keep keeps ev back, and is what may go down now: nothing, or all that was kept back.
func (h *hold) keep(ctx context.Context, ev Event) ([]Event, error) {
	begins := !h.on
	if begins {
		h.on, h.kept, h.size = true, nil, 0
	}
	if h.size += len(ev.Frame) + len(ev.Body.JSON); h.size > maxHeld {
		return nil, &Error{Code: Unavailable, Reason: "the model asks for a tool call that is too large to be judged"}
	}
	h.kept = append(h.kept, ev)
	switch {
	case !ev.Open || ev.Last:
		h.on, h.more = false, ev.More
		return h.release(ctx), nil
	case begins && h.more: // what waits at the door waited for this
		return []Event{{}}, nil
	}
	return nil, nil
}

// release judges the calls that are kept back, now that they are whole.
func (h *hold) release(ctx context.Context) []Event {
	var wants []Want
	refused := false
	for i := range h.kept {
		for _, w := range h.kept[i].Wants {
			w.Refused = h.gate.judgeWant(ctx, h.law, h.call, w)
			refused = refused || w.Refused != nil
			wants = append(wants, w)
		}
		h.kept[i].Wants = nil
	}
	out := h.kept
	if refused {
		last := h.kept[len(h.kept)-1]
		out = h.up.Without(h.kept, wants)
		end := &out[len(out)-1]
		end.Last, end.More, end.Fault = last.Last, last.More, last.Fault
		end.Usage = last.Usage
		for i := range h.kept {
			if u := h.kept[i].Usage; u != (Usage{}) {
				end.Usage = u
			}
		}
	}
	out[0].Wants = wants // on record before anything of them goes down
	return out
}

// watches says whether ev has any of a tool call that must be looked at before it goes
// down.
func (h *hold) watches(ev *Event) bool {
	for _, name := range ev.Begins {
		if h.careful(name) {
			return true
		}
	}
	for i := range ev.Wants {
		if h.careful(ev.Wants[i].Name) {
			return true
		}
	}
	return false
}

// careful says that of a tool call of a name, which may be none yet.
func (h *hold) careful(name string) bool {
	if name == "" {
		return true
	}
	meant := h.gate.meant(h.call, Want{Name: name})
	for _, m := range meant {
		if m.Open || m.Err != nil || h.gate.May(&h.call.Caller, Tool, m.Call.Target, m.Call.Resource) != Yes {
			return true
		}
	}
	if len(meant) > 0 {
		return false
	}
	if h.law.Client[name].Acting != nil {
		return true
	}
	return h.law.Policy.Names(&h.call.Caller, Object(Tool, clients, name), "call") && h.gate.May(&h.call.Caller, Tool, clients, name) != Yes
}

// meant is what a model may mean that asks for w.
func (g *Gate) meant(call *Call, w Want) []Meaning {
	if g.cfg.Tools == nil {
		return nil
	}
	return g.cfg.Tools(&call.Caller, w)
}

// judgeWant is why the agent of call may not make the tool call that its model asks for;
// nil if it may. One for which people must be asked may be made where the gate will see
// it: they are asked then.
// Where several may be meant, one that may be made is enough: whichever it is, it is
// judged again when it is made.
func (g *Gate) judgeWant(ctx context.Context, law *Law, call *Call, w Want) *Error {
	meant := g.meant(call, w)
	if len(meant) == 0 {
		own := &Call{Kind: Tool, Target: clients, Method: "tools/call", Resource: w.Name, ArgsAt: "arguments", Body: Body{JSON: append(append([]byte(`{"arguments":`), w.Args...), '}')}}
		return g.veto(ctx, law, call, own)
	}
	var first *Error
	for _, m := range meant {
		var e *Error
		if m.Err != nil {
			e = asError(m.Err)
		} else if d := g.asked(law, call, m.Call); d.Effect == Deny {
			e = &Error{Code: Denied, Rule: d.Rule, Reason: d.Reason}
		}
		if e == nil {
			return nil
		}
		if first == nil {
			first = e
		}
	}
	return first
}

// asked is what is decided of a tool call in the course of model call of: c, which its
// model asks for, or which the model's provider would make.
func (g *Gate) asked(law *Law, of, c *Call) Decision {
	c.ID, c.At, c.Caller, c.From = of.ID, g.cfg.Now(), of.Caller, of.From
	c.Run, c.Chain, c.Before = of.Run, of.Chain, of.Before
	c.Labels, c.mets = of.Labels|of.brought, of.mets
	c.Links = []audit.Link{{From: of.ID, Kind: "proposed", Method: "reply"}}
	d := c.Within(law.Policy.Decide(c))
	if d.Effect == Deny {
		return d
	}
	if what := g.stopped(c.Object(), c.Run, c.Chain); what != "" {
		return Decision{Rule: stoppedRule, Reason: what + " is stopped: ask whoever runs this gate"}
	}
	if err := c.given(); err != nil {
		e := asError(err)
		return Decision{Rule: e.Rule, Reason: e.Reason}
	}
	return d
}
