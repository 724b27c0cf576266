package firewall

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"callgate/audit"
)

// Expected is the things of one kind that are expected. It is never changed. nil expects
// anything.
type Expected struct {
	exact    map[string]string // to itself, so that a name can be had without a copy
	begin    []string          // what names begin with
	end      []string          // what they end with
	by, text string
}

// Who expects something.
const (
	ByConfig = "config"
	ByHabit  = "learned"
)

const maxExpected = 300 // bytes of words for what is expected

// NewExpected is names that are expected, by whom. A * at the end of a name stands for
// anything, and so does one at its beginning with a dot behind it: *.example.com.
func NewExpected(by string, names []string) *Expected {
	e := &Expected{exact: make(map[string]string, len(names)), by: by, text: "none"}
	for _, n := range names {
		switch {
		case strings.HasSuffix(n, "*"):
			e.begin = append(e.begin, n[:len(n)-1])
		case strings.HasPrefix(n, "*."):
			e.end = append(e.end, n[1:])
		default:
			e.exact[n] = n
		}
	}
	if sorted := slices.Sorted(slices.Values(names)); len(sorted) > 0 {
		e.text = clipText(strings.Join(sorted, ", "), maxExpected)
	}
	return e
}

// has says whether name is expected, and gives it without a copy where it can.
func (e *Expected) has(name []byte) (string, bool) {
	if e == nil {
		return "", true
	}
	if known, ok := e.exact[string(name)]; ok {
		return known, true
	}
	for _, b := range e.begin {
		if len(name) >= len(b) && string(name[:len(b)]) == b {
			return "", true
		}
	}
	for _, end := range e.end {
		if bytes.HasSuffix(name, []byte(end)) {
			return "", true
		}
	}
	return "", false
}

func (e *Expected) String() string {
	if e == nil {
		return "anything"
	}
	return e.text
}

// A Ceiling is how much of something is expected. The zero Ceiling is none.
type Ceiling struct {
	Max int64
	By  string
}

// An Order is which tools come right before another one.
type Order struct {
	After *Expected           // what may; [audit.AtStart] for nothing
	Among map[string]struct{} // what it is known of; nil: of anything
}

// An Envelope is what is expected of the runs of one agent. It is never changed. The
// zero Envelope expects anything.
type Envelope struct {
	Tools  *Expected // SERVER/TOOL
	Models *Expected // PROVIDER/MODEL
	Hosts  *Expected // that URLs in the arguments of tools name

	Labels   Labels // that a run may have, where LabelsBy says who expects that
	LabelsBy string

	RunCalls  Ceiling // calls of a run
	HourCalls Ceiling // calls of the agent in an hour of the clock
	RunCost   Ceiling // of a run, in millionths of a US dollar

	After map[string]Order // by tool

	Runs int // that were looked at to learn it; 0 where nothing was learned
}

// Expectations are what is expected of agents, and what is done about a run that departs
// from that. They are never changed, only replaced.
type Expectations struct {
	Agents    map[string]*Envelope // by agent: agent:bot; of others anything is expected
	Actions   [driftKinds]DriftAction
	Approvers string // the group that is asked, where an action is [DriftAsk]
}

// A DriftKind is in what a run may depart from what is expected.
type DriftKind uint8

// The kinds of drift.
const (
	DriftTools  DriftKind = iota // a tool that is not expected
	DriftModels                  // a model
	DriftHosts                   // a host that a URL in the arguments of a tool names
	DriftLabels                  // a label that the run has got
	DriftVolume                  // more calls, or more money
	DriftOrder                   // a tool right after another one
	driftKinds
)

var driftNames = [driftKinds]string{"tools", "models", "hosts", "labels", "volume", "order"}

func (k DriftKind) String() string { return driftNames[k] }

// DriftKinds are the names of all kinds, in order.
func DriftKinds() []string { return driftNames[:] }

// A DriftAction is what is done when a run departs. The zero DriftAction records it.
type DriftAction uint8

// The actions. Each of them records, but for the last one.
const (
	DriftRecord  DriftAction = iota
	DriftAlert               // whoever is to hear of it is told
	DriftAsk                 // the call is held until people have approved it; then the run may go on so
	DriftSuspend             // the agent is suspended, and the call refused
	DriftOff                 // nothing, and nothing is recorded
)

var driftActions = [...]string{"record", "alert", "ask", "suspend", "off"}

func (a DriftAction) String() string { return driftActions[a] }

// ParseDriftAction is the action of a name.
func ParseDriftAction(name string) (DriftAction, error) {
	if i := slices.Index(driftActions[:], name); i >= 0 {
		return DriftAction(i), nil
	}
	return 0, fmt.Errorf("%.40q is no action; write record, alert, ask, suspend or off", name)
}

const (
	fewRuns   = 2         // that must have done a thing for it to be usual: one run alone teaches nothing
	novelty   = 10        // percent of the runs that may do what no other did: where it is more, nothing is usual
	slackTime = 2         // as much again as usual is no departure
	slackRuns = 10        // nor are so many calls more
	slackCost = 1_000_000 // nor is so much money, in millionths of a US dollar
)

// Learn is what is usual by a habit, with at least so many runs behind it; nil where there
// are fewer.
func Learn(h *audit.Habit, atLeast int) *Envelope {
	if h == nil || h.Runs < atLeast || h.Runs == 0 {
		return nil
	}
	usual := func(what string) *Expected {
		if h.Novel[what]*100 > h.Runs*novelty {
			return nil
		}
		var names []string
		for name, runs := range h.Traits[what] {
			if runs >= fewRuns {
				names = append(names, name)
			}
		}
		return learned(names)
	}
	e := &Envelope{
		Tools: usual(audit.TraitTool), Models: usual(audit.TraitModel), Hosts: usual(audit.TraitHost), Runs: h.Runs,
		RunCalls: Ceiling{slackTime*h.Calls + slackRuns, ByHabit}, RunCost: Ceiling{slackTime*h.Cost + slackCost, ByHabit},
	}
	if labels := usual(audit.TraitLabel); labels != nil {
		e.LabelsBy = ByHabit
		for name := range labels.exact {
			if l, ok := ParseLabel(name); ok {
				e.Labels |= l
			}
		}
	}
	e.After = learnOrder(h, atLeast)
	return e
}

// learned is names as they are: a * in one is a *.
func learned(names []string) *Expected {
	e := NewExpected(ByHabit, nil)
	for _, n := range names {
		e.exact[n] = n
	}
	if len(names) > 0 {
		slices.Sort(names)
		e.text = clipText(strings.Join(names, ", "), maxExpected)
	}
	return e
}

// learnOrder is what usually comes right before each tool that is known well, among those
// that are.
func learnOrder(h *audit.Habit, atLeast int) map[string]Order {
	if h.Novel[audit.TraitOrder]*100 > h.Runs*novelty {
		return nil
	}
	among := map[string]struct{}{audit.AtStart: {}}
	for tool, runs := range h.Traits[audit.TraitTool] {
		if runs >= atLeast {
			among[tool] = struct{}{}
		}
	}
	before := make(map[string][]string)
	for step, runs := range h.Traits[audit.TraitOrder] {
		if first, then, ok := strings.Cut(step, "\n"); ok && runs >= fewRuns {
			before[then] = append(before[then], first)
		}
	}
	after := make(map[string]Order)
	for tool := range among {
		if tool != audit.AtStart {
			after[tool] = Order{After: learned(before[tool]), Among: among}
		}
	}
	return after
}

// Over is e where it says something, and what was learned where it does not.
func (e Envelope) Over(learned *Envelope) *Envelope {
	if learned == nil {
		return &e
	}
	l := *learned
	for _, x := range []struct{ to, from **Expected }{{&l.Tools, &e.Tools}, {&l.Models, &e.Models}, {&l.Hosts, &e.Hosts}} {
		if *x.from != nil {
			*x.to = *x.from
		}
	}
	for _, x := range []struct{ to, from *Ceiling }{{&l.RunCalls, &e.RunCalls}, {&l.HourCalls, &e.HourCalls}, {&l.RunCost, &e.RunCost}} {
		if x.from.By != "" {
			*x.to = *x.from
		}
	}
	if e.LabelsBy != "" {
		l.Labels, l.LabelsBy = e.Labels, e.LabelsBy
	}
	if len(e.After) > 0 {
		after := make(map[string]Order, len(l.After)+len(e.After))
		for tool, o := range l.After {
			after[tool] = o
		}
		for tool, o := range e.After {
			after[tool] = o
		}
		l.After = after
	}
	return &l
}

// Anything says whether e expects anything at all.
func (e *Envelope) Anything() bool { return len(e.Lines()) == 0 }

// A Line is something that is expected, in words.
type Line struct {
	Kind         DriftKind
	Expected, By string
}

// Lines is what e expects, in words, by kind.
func (e *Envelope) Lines() (list []Line) {
	for _, x := range []struct {
		kind DriftKind
		e    *Expected
	}{{DriftTools, e.Tools}, {DriftModels, e.Models}, {DriftHosts, e.Hosts}} {
		if x.e != nil {
			list = append(list, Line{x.kind, x.e.text, x.e.by})
		}
	}
	if e.LabelsBy != "" {
		list = append(list, Line{DriftLabels, e.labelled(), e.LabelsBy})
	}
	if c := e.RunCalls; c.By != "" {
		list = append(list, Line{DriftVolume, fmt.Sprintf("at most %d calls in a run", c.Max), c.By})
	}
	if c := e.HourCalls; c.By != "" {
		list = append(list, Line{DriftVolume, fmt.Sprintf("at most %d calls in an hour", c.Max), c.By})
	}
	if c := e.RunCost; c.By != "" {
		list = append(list, Line{DriftVolume, "at most " + dollars(c.Max) + " USD in a run", c.By})
	}
	for _, tool := range slices.Sorted(maps.Keys(e.After)) {
		list = append(list, Line{DriftOrder, tool + " after " + e.After[tool].After.text, e.After[tool].After.by})
	}
	return list
}

// labelled is the labels that are expected, in words.
func (e *Envelope) labelled() string {
	if text := strings.Join(e.Labels.Names(), ", "); text != "" {
		return text
	}
	return "none"
}

// Names are the agents of which something is expected, in order.
func (x *Expectations) Names() []string { return slices.Sorted(maps.Keys(x.Agents)) }
