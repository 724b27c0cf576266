package main

import (
	"slices"
	"strings"

	"callgate/firewall/guards"

	"github.com/goccy/go-yaml/ast"
)

// Guards is what guards do that are not always on.
type Guards struct {
	PII PIIGuard `yaml:"pii"`
}

// PIIGuard is what is done about personal data.
type PIIGuard struct {
	Action    GuardAction `yaml:"action"`    // where no rule fits
	Kinds     []string    `yaml:"kinds"`     // none: all
	Approvers string      `yaml:"approvers"` // the group that is asked
	Rules     []GuardRule `yaml:"rules"`     // where it is otherwise; the first that fits
}

// A GuardRule says of which calls something else is done.
type GuardRule struct {
	Object string      `yaml:"object"` // as in the policy, may end in *
	Side   string      `yaml:"side"`   // request or reply; none: both
	Action GuardAction `yaml:"action"`
}

// A GuardAction is what is done about what is found.
type GuardAction guards.Action

func (a *GuardAction) read(r *reader, n ast.Node, key string) {
	s, ok := r.text(n, key)
	if !ok {
		return
	}
	action, known := guards.ParseAction(s)
	if !known {
		r.note(n, "%s: %.40q; write off, record, mask, ask or deny", key, s)
		return
	}
	*a = GuardAction(action)
}

func (g *PIIGuard) check(r *reader, n ast.Node, key string) {
	known := guards.PII{}.Kinds()
	for _, k := range g.Kinds {
		if !slices.Contains(known, k) {
			r.note(at(n, "kinds"), "%s.kinds: %.40q is none of %s", key, k, strings.Join(known, ", "))
		}
	}
	asks := g.Action == GuardAction(guards.Ask)
	for _, rule := range g.Rules {
		asks = asks || rule.Action == GuardAction(guards.Ask)
		if rule.Side != "" && rule.Side != "request" && rule.Side != "reply" {
			r.note(at(n, "rules"), "%s.rules.side: %.40q; write request or reply, or leave it away", key, rule.Side)
		}
	}
	switch {
	case g.Approvers != "" && !strings.HasPrefix(g.Approvers, "group:"):
		r.note(at(n, "approvers"), "%s.approvers: write group:NAME", key)
	case asks && g.Approvers == "":
		r.note(n, "%s: ask needs somebody who is asked; write approvers: group:NAME", key)
	}
}

// settings are the config's for the guard.
func (g *PIIGuard) settings() guards.Settings {
	s := guards.Settings{Action: guards.Action(g.Action), Kinds: g.Kinds, Approvers: g.Approvers}
	for _, rule := range g.Rules {
		s.Rules = append(s.Rules, guards.Rule{Object: rule.Object, Side: rule.Side, Action: guards.Action(rule.Action)})
	}
	return s
}
