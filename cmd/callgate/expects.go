package main

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"callgate/audit"
	"callgate/firewall"

	"github.com/goccy/go-yaml/ast"
)

// Expects is what the operator expects of the runs of an agent. What is left out is
// learned. docs/drift.md tells more.
type Expects struct {
	Tools  []string  `yaml:"tools"`  // SERVER/TOOL, SERVER/*
	Models []string  `yaml:"models"` // PROVIDER/MODEL, PROVIDER/*
	Hosts  []string  `yaml:"hosts"`  // that URLs in arguments name; *.example.com
	Labels OwnLabels `yaml:"labels"` // that a run may get
	Calls  struct {
		Run  Count `yaml:"run"`
		Hour Count `yaml:"hour"`
	} `yaml:"calls"`
	USD struct {
		Run Amount `yaml:"run"`
	} `yaml:"usd"`
	After map[string][]string `yaml:"after"` // by tool: what may come right before it
}

// A Drift is how runs are held against what is expected of their agents.
type Drift struct {
	Learn   Duration `yaml:"learn"`    // runs of how long a time tell what is usual
	MinRuns Count    `yaml:"min_runs"` // before which nothing is
	Every   Duration `yaml:"every"`    // how often that is looked at
	Breach  struct {
		Tools  Breach `yaml:"tools"`
		Models Breach `yaml:"models"`
		Hosts  Breach `yaml:"hosts"`
		Labels Breach `yaml:"labels"`
		Volume Breach `yaml:"volume"`
		Order  Breach `yaml:"order"`
	} `yaml:"breach"`
	Approvers string  `yaml:"approvers"` // the group that is asked
	Webhook   Webhook `yaml:"webhook"`
}

// A Webhook is where the operator is told of something.
type Webhook struct {
	URL    ServerURL `yaml:"url"`
	Secret Reference `yaml:"secret"` // that what is sent is signed with
}

// check notes what is wrong with w, of which n may be the node.
func (w *Webhook) check(r *reader, n ast.Node, key string) {
	switch {
	case w.URL != "" && !w.Secret.Given:
		r.note(n, "%s: write secret: env:NAME, with which what is sent is signed", key)
	case w.Secret.Given && len(w.Secret.Secret.Reveal()) < 32:
		r.note(at(n, "secret"), "%s.secret: want at least 32 characters; openssl rand -base64 32 makes such a one", key)
	}
}

// A Breach is what is done when a run departs from what is expected.
type Breach firewall.DriftAction

func (b *Breach) read(r *reader, n ast.Node, key string) {
	s, ok := r.text(n, key)
	if !ok {
		return
	}
	a, err := firewall.ParseDriftAction(s)
	if err != nil {
		r.note(n, "%s: %v", key, err)
	}
	*b = Breach(a)
}

const (
	defaultLearn   = 14 * 24 * time.Hour
	defaultMinRuns = 20
	defaultEvery   = time.Minute
)

var (
	expectedName = regexp.MustCompile(`^[a-z0-9-]+/([^\s*]+|[^\s*]*\*)$`)
	expectedHost = regexp.MustCompile(`^(\*\.)?[^\s*/:@A-Z]+$|^[0-9a-f:]+$`)
)

func (e *Expects) check(r *reader, n ast.Node, key string) {
	for _, x := range []struct {
		name, want string
		list       []string
		form       *regexp.Regexp
	}{
		{"tools", "write SERVER/TOOL or SERVER/*", e.Tools, expectedName},
		{"models", "write PROVIDER/MODEL or PROVIDER/*", e.Models, expectedName},
		{"hosts", "write a host in lower case, as api.example.com or *.example.com", e.Hosts, expectedHost},
	} {
		for i, s := range x.list {
			if !x.form.MatchString(s) {
				r.note(at(n, x.name).(*ast.SequenceNode).Values[i], "%s.%s: %.80q: %s", key, x.name, s, x.want)
			}
		}
	}
	for tool, before := range e.After {
		if !expectedName.MatchString(tool) || strings.HasSuffix(tool, "*") {
			r.note(at(n, "after"), "%s.after: %.80q: write SERVER/TOOL", key, tool)
		}
		for _, s := range before {
			if s != audit.AtStart && !expectedName.MatchString(s) {
				r.note(at(at(n, "after"), tool), "%s.after: %.80q: write SERVER/TOOL, SERVER/* or %s", key, s, audit.AtStart)
			}
		}
	}
}

func (d *Drift) check(r *reader, n ast.Node, key string) {
	asks, alerts := false, false
	for _, a := range d.actions() {
		asks, alerts = asks || a == firewall.DriftAsk, alerts || a == firewall.DriftAlert
	}
	switch {
	case d.Approvers != "" && !strings.HasPrefix(d.Approvers, "group:"):
		r.note(at(n, "approvers"), "%s.approvers: write group:NAME", key)
	case asks && d.Approvers == "":
		r.note(at(n, "breach"), "%s.breach: ask needs somebody who is asked; write approvers: group:NAME", key)
	}
	if alerts && d.Webhook.URL == "" {
		r.note(at(n, "breach"), "%s.breach: alert needs somewhere to tell it; write webhook: {url: https://…, secret: env:NAME}", key)
	}
}

// actions is what is done, by kind.
func (d *Drift) actions() (all [6]firewall.DriftAction) {
	b := &d.Breach
	for i, a := range []Breach{b.Tools, b.Models, b.Hosts, b.Labels, b.Volume, b.Order} {
		all[i] = firewall.DriftAction(a)
	}
	return all
}

// envelope is what e says, for the gate.
func (e *Expects) envelope() firewall.Envelope {
	var x firewall.Envelope
	for _, list := range []struct {
		to    **firewall.Expected
		names []string
	}{{&x.Tools, e.Tools}, {&x.Models, e.Models}, {&x.Hosts, e.Hosts}} {
		if list.names != nil { // an empty list expects none
			*list.to = firewall.NewExpected(firewall.ByConfig, list.names)
		}
	}
	if e.Labels.Given {
		x.Labels, x.LabelsBy = firewall.Labels(e.Labels.Labels), firewall.ByConfig
	}
	if n := e.Calls.Run; n > 0 {
		x.RunCalls = firewall.Ceiling{Max: int64(n), By: firewall.ByConfig}
	}
	if n := e.Calls.Hour; n > 0 {
		x.HourCalls = firewall.Ceiling{Max: int64(n), By: firewall.ByConfig}
	}
	if e.USD.Run.Given {
		x.RunCost = firewall.Ceiling{Max: int64(e.USD.Run.Value * 1e6), By: firewall.ByConfig}
	}
	if len(e.After) > 0 {
		x.After = make(map[string]firewall.Order, len(e.After))
		for tool, before := range e.After {
			x.After[tool] = firewall.Order{After: firewall.NewExpected(firewall.ByConfig, slices.Clone(before))}
		}
	}
	return x
}

// expectations is what cfg expects of agents, over what was learned of them.
func (c *Config) expectations(habits map[string]*audit.Habit) *firewall.Expectations {
	x := &firewall.Expectations{Agents: make(map[string]*firewall.Envelope), Approvers: c.Drift.Approvers}
	x.Actions = c.Drift.actions()
	for agent, h := range habits {
		if e := firewall.Learn(h, int(c.Drift.MinRuns)); e != nil {
			x.Agents[agent] = e
		}
	}
	for i := range c.Agents {
		a := &c.Agents[i]
		name := "agent:" + a.Name
		if e := a.Expects.envelope().Over(x.Agents[name]); !e.Anything() {
			x.Agents[name] = e
		}
	}
	return x
}

// Approvals is how people are asked about calls that a policy holds.
type Approvals struct {
	TTL     Duration `yaml:"ttl" restart:"yes"`  // of a question to people, and of their answer
	Wait    Duration `yaml:"wait" restart:"yes"` // of a held call, for their answer
	Webhook Webhook  `yaml:"webhook"`            // that is told of each question
}
