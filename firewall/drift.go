package firewall

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"callgate/audit"
)

// drift is how a run has departed from what is expected of its agent. It is guarded by
// Runs.mu.
type drift struct {
	told   map[string]bool // departures; true: people know, and the run goes on so
	before []byte          // the last tool that was called
	by     string          // the call to it
	labels [3]string       // the call that brought each label
}

const maxTold = 256 // departures that are told of one run

// gained notes which call brought labels.
func (d *drift) gained(l Labels, call string) {
	for i := range d.labels {
		if l&(1<<i) != 0 {
			d.labels[i] = call
		}
	}
}

// An hour is how many calls an agent has made in one.
type hour struct{ hour, calls int64 }

// A stray is something about a call that is not expected.
type stray struct {
	kind DriftKind
	key  string // what is told once of a run; "" is seen
	seen string
	expected,
	by, from string
}

// driftNouns stand before what is not expected.
var driftNouns = [driftKinds]string{"tool ", "model ", "host ", "label ", "", ""}

// allowed is what is said of calls that are as expected.
var allowed = Decision{Effect: Allow}

// driftRule stands where the rule would that decides.
const driftRule = "(drift)"

// strays says what is to be done about call, where it is not as is expected of its agent,
// and notes that.
func (g *Gate) strays(ctx context.Context, call *Call) Decision {
	x := g.expect.Load()
	if x == nil || call.run == nil || call.During != nil || call.idle() {
		return allowed
	}
	e := x.Agents[call.Caller.Agent()]
	if e == nil {
		call.findHosts(nil) // which are learned from the record
		return allowed
	}
	call.findHosts(e.Hosts)
	found := e.about(call)
	found = g.cfg.Runs.strays(call, e, found)
	if len(found) == 0 {
		return allowed
	}
	d := allowed
	for i := range found {
		var fresh bool
		var also Decision
		if fresh, also = g.astray(ctx, x, call, &found[i]); fresh {
			call.Drift = append(call.Drift, x.departure(&found[i]))
			call.signal(SignalDrift)
		}
		d = d.And(also)
	}
	return d
}

// got says whether the agent may see the reply to call, by the labels that it brings.
func (g *Gate) got(ctx context.Context, call *Call) error {
	x := g.expect.Load()
	if x == nil || call.brought == call.weighed || call.During != nil {
		return nil
	}
	call.weighed = call.brought
	e := x.Agents[call.Caller.Agent()]
	if e == nil || e.LabelsBy == "" {
		return nil
	}
	for _, s := range e.unlabelled(call.brought, nil) {
		s.from = call.ID
		fresh, d := g.astray(ctx, x, call, &s)
		if fresh {
			call.late = append(call.late, x.departure(&s))
		}
		if d.Effect == Deny {
			return &Error{Code: Denied, Rule: d.Rule, Reason: d.Reason}
		}
	}
	return nil
}

// about is what of call is not expected, as far as the call itself says.
func (e *Envelope) about(call *Call) (found []stray) {
	var buf [256]byte
	name := append(append(append(buf[:0], call.Target...), '/'), call.Resource...)
	switch call.Kind {
	case Tool:
		if _, ok := e.Tools.has(name); !ok {
			found = append(found, stray{kind: DriftTools, seen: string(name), expected: e.Tools.text, by: e.Tools.by, from: call.askedBy()})
		}
		for _, h := range call.hosts {
			if _, ok := e.Hosts.has([]byte(h)); !ok {
				found = append(found, stray{kind: DriftHosts, seen: h, expected: e.Hosts.text, by: e.Hosts.by, from: call.askedBy()})
			}
		}
	case Model:
		if _, ok := e.Models.has(name); !ok {
			found = append(found, stray{kind: DriftModels, seen: string(name), expected: e.Models.text, by: e.Models.by})
		}
	}
	if e.LabelsBy != "" && call.Labels&^e.Labels != 0 {
		found = e.unlabelled(call.Labels, found)
	}
	if n := call.Before.Calls + 1; e.RunCalls.By != "" && n > e.RunCalls.Max {
		found = append(found, stray{kind: DriftVolume, key: "calls", seen: fmt.Sprintf("%d calls in a run", n), expected: fmt.Sprintf("at most %d", e.RunCalls.Max), by: e.RunCalls.By})
	}
	if spent := call.Before.Spent; e.RunCost.By != "" && int64(spent) > e.RunCost.Max {
		found = append(found, stray{kind: DriftVolume, key: "usd", seen: dollars(int64(spent)) + " USD in a run", expected: "at most " + dollars(e.RunCost.Max), by: e.RunCost.By})
	}
	return found
}

func dollars(micro int64) string { return strconv.FormatFloat(float64(micro)/1e6, 'f', -1, 64) }

// askedBy is the model call that asked for this one, where one is known.
func (c *Call) askedBy() string {
	for _, l := range c.Links {
		if l.Kind == audit.LinkProposed && l.To == "" {
			return l.From
		}
	}
	return ""
}

// unlabelled adds labels that are not expected.
func (e *Envelope) unlabelled(l Labels, found []stray) []stray {
	for _, name := range (l &^ e.Labels).Names() {
		found = append(found, stray{kind: DriftLabels, seen: name, expected: e.labelled(), by: e.LabelsBy})
	}
	return found
}

// strays adds to found what is not expected of call by what went before.
func (r *Runs) strays(call *Call, e *Envelope, found []stray) []stray {
	var buf [256]byte
	var before []byte
	var by string
	r.mu.Lock()
	u := &call.run.drift
	order, ordered := e.order(call)
	if ordered {
		before, by = append(buf[:0], u.before...), u.by
	}
	for i := range found {
		if s := &found[i]; s.kind == DriftLabels {
			if l, ok := ParseLabel(s.seen); ok {
				s.from = u.labels[bitOf(l)]
			}
		}
	}
	hourly := int64(0)
	if e.HourCalls.By != "" {
		hourly = r.hourly(call)
	}
	r.mu.Unlock()
	if hourly > e.HourCalls.Max {
		found = append(found, stray{kind: DriftVolume, key: "hour", seen: fmt.Sprintf("%d calls in an hour", hourly), expected: fmt.Sprintf("at most %d", e.HourCalls.Max), by: e.HourCalls.By})
	}
	if !ordered {
		return found
	}
	if len(before) == 0 {
		before = append(before, audit.AtStart...)
	}
	if order.Among != nil {
		if _, known := order.Among[string(before)]; !known {
			return found
		}
	}
	if _, ok := order.After.has(before); !ok {
		found = append(found, stray{kind: DriftOrder, seen: call.Target + "/" + call.Resource + " right after " + string(before), expected: "after " + order.After.text, by: order.After.by, from: by})
	}
	return found
}

func bitOf(l Labels) (i int) {
	for l > 1 {
		l >>= 1
		i++
	}
	return i
}

// order is what may come before call.
func (e *Envelope) order(call *Call) (Order, bool) {
	if call.Kind != Tool || len(e.After) == 0 {
		return Order{}, false
	}
	var buf [256]byte
	o, ok := e.After[string(append(append(append(buf[:0], call.Target...), '/'), call.Resource...))]
	return o, ok
}

// hourly counts call, and is how many its agent has made in this hour.
func (r *Runs) hourly(call *Call) int64 {
	now := call.At.Truncate(time.Hour).Unix()
	h := r.hours[call.Caller.Agent()]
	if h == nil {
		h = new(hour)
		r.hours[call.Caller.Agent()] = h
	}
	if h.hour != now {
		*h = hour{hour: now}
	}
	h.calls++
	return h.calls
}

// departure is s as it stands on record.
func (x *Expectations) departure(s *stray) audit.Departure {
	return audit.Departure{Kind: s.kind.String(), Seen: clipText(s.seen, maxExpected), Expected: s.expected, By: s.by, Action: x.Actions[s.kind].String(), From: s.from}
}

// astray does what is to be done about s, and says whether it is told for the first time
// in its run, and what is decided by it.
func (g *Gate) astray(ctx context.Context, x *Expectations, call *Call, s *stray) (fresh bool, d Decision) {
	action := x.Actions[s.kind]
	if action == DriftOff {
		return false, allowed
	}
	key := s.key
	if key == "" {
		key = s.seen
	}
	key = s.kind.String() + " " + key
	fresh, settled := g.cfg.Runs.tellOnce(call, key)
	d = allowed
	if !settled {
		reason := driftNouns[s.kind] + clipText(s.seen, maxExpected) + " is not expected of " + call.Caller.Agent()
		switch action {
		case DriftAsk:
			call.strays = append(call.strays, key)
			d = Decision{Effect: Ask, Rule: driftRule, Reason: reason + ", so that people must approve it",
				Obligations: []Obligation{{Do: RequireApproval, With: x.Approvers, Rule: driftRule}}}
		case DriftSuspend:
			d = Decision{Rule: driftRule, Reason: reason + ", which is suspended: ask whoever runs this gate"}
			if err := g.suspend(ctx, call, reason); err == nil {
				g.cfg.Runs.settle(call, key) // who resumes it knows of this
			}
		}
	}
	if fresh && g.cfg.Drifted != nil {
		g.cfg.Drifted(call, x.departure(s))
	}
	return fresh, d
}

// suspend has the agent of call suspended. That it cannot be is logged, and the call is
// refused all the same.
func (g *Gate) suspend(ctx context.Context, call *Call, why string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := g.cfg.Suspend(ctx, strings.TrimPrefix(call.Caller.Agent(), "agent:"), why)
	if err != nil {
		g.cfg.Logger.ErrorContext(ctx, "an agent that departs from what is expected of it cannot be suspended", "agent", call.Caller.Agent(), "why", why, "error", err)
	}
	return err
}

// tellOnce says whether a departure of call's run is told for the first time, and whether
// people know of it already and let the run go on so.
func (r *Runs) tellOnce(call *Call, key string) (fresh, settled bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := &call.run.drift
	settled, known := u.told[key]
	if known || len(u.told) >= maxTold {
		return false, settled
	}
	if u.told == nil {
		u.told = make(map[string]bool)
	}
	u.told[key] = false
	return true, false
}

// settle notes that people know of a departure.
func (r *Runs) settle(call *Call, key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := call.run.drift.told[key]; known {
		call.run.drift.told[key] = true
	}
}

// went notes that call, as it is, is carried out: what people were asked for they have
// agreed to.
func (r *Runs) went(call *Call) {
	if call.run == nil || call.During != nil || call.Kind != Tool && len(call.strays) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	u := &call.run.drift
	if call.Kind == Tool {
		u.before = append(append(append(u.before[:0], call.Target...), '/'), call.Resource...)
		u.by = call.ID
	}
	for _, key := range call.strays {
		if _, known := u.told[key]; known {
			u.told[key] = true
		}
	}
}
