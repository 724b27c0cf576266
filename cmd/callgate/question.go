package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
)

// A Question is a call that nobody makes, to ask a policy about.
type Question struct {
	Who    string          // agent:NAME
	Roles  []string        // that the agent is registered with
	Within identity.Within // what the agent is kept to by its registration
	For    string          // on whose behalf, if not its own
	Groups []string        // of the registry, that For is in
	What   string          // an object of the policy: tool:shop/refund
	Action string          // "" for the usual one of What
	Args   json.RawMessage // of a tool or prompt
	Hints  []string        // of a tool of a trusted server: readOnly, destructive, idempotent, openWorld
	Labels []string        // of what the run has read
	Env    map[string]any  // what else conditions read, by its name behind r.env.: numbers, texts, true and false
	At     time.Time
}

// call is the call that q is about. The error says what to write instead.
func (q *Question) call() (*firewall.Call, error) {
	if !strings.HasPrefix(q.Who, "agent:") || len(q.Who) == len("agent:") {
		return nil, fmt.Errorf("who is %q: want an agent, as agent:bot", q.Who)
	}
	call := &firewall.Call{At: q.At, Caller: identity.Principal{Tenant: "default", Subject: q.Who}}
	if q.For != "" {
		call.Caller.Subject, call.Caller.Actors = q.For, []string{q.Who}
	}
	for _, role := range q.Roles {
		if !strings.Contains(role, ":") {
			role = "role:" + role
		}
		call.Caller.Roles = append(call.Caller.Roles, role)
	}
	var held []string
	for _, group := range q.Groups {
		group, err := identity.GroupName(group)
		if err != nil {
			return nil, err
		}
		held = append(held, group)
	}
	if q.For != "" {
		call.Caller.Above = [][]string{held}
	}
	within, err := identity.NewWithin(q.Within.Models, q.Within.Servers)
	if err != nil {
		return nil, err
	}
	call.Caller.Within = []identity.Within{within}
	kind, name, _ := strings.Cut(q.What, ":")
	sign := "/"
	switch kind {
	case "model":
		call.Kind, call.Method = firewall.Model, "chat"
		switch q.Action {
		case "embed":
			call.Method = "embeddings"
		case "store":
			call.Method = "files/get"
		}
	case "tool":
		call.Kind, call.Method, call.ArgsAt = firewall.Tool, "tools/call", "arguments"
	case "resource":
		call.Kind, call.Method, sign = firewall.Resource, "resources/read", "|"
		if q.Action == "subscribe" {
			call.Method = "resources/subscribe"
		}
	case "prompt":
		call.Kind, call.Method, call.ArgsAt = firewall.Prompt, "prompts/get", "arguments"
	default:
		return nil, fmt.Errorf("what is %q: want model:PROVIDER/NAME, tool:SERVER/NAME, resource:SERVER|URI or prompt:SERVER/NAME", q.What)
	}
	var ok bool
	if call.Target, call.Resource, ok = strings.Cut(name, sign); !ok || call.Target == "" || call.Resource == "" {
		return nil, fmt.Errorf("what is %q: want %s:, a name, %s and a name", q.What, kind, sign)
	}
	for _, hint := range q.Hints {
		impact, known := firewall.ParseImpact(hint)
		if !known || call.Kind != firewall.Tool {
			return nil, fmt.Errorf("hint %q: want readOnly, destructive, idempotent or openWorld, of a tool", hint)
		}
		call.Impact |= impact | firewall.Declared
	}
	for _, name := range q.Labels {
		label, known := firewall.ParseLabel(name)
		if !known {
			return nil, fmt.Errorf("label %q: want untrusted, private or secret", name)
		}
		call.Labels |= label
	}
	if err := q.surround(call); err != nil {
		return nil, err
	}
	if q.Action != "" && q.Action != call.Action() {
		return nil, fmt.Errorf("nobody can %s a %s", q.Action, kind)
	}
	if len(q.Args) == 0 {
		return call, nil
	}
	if call.ArgsAt == "" {
		return nil, fmt.Errorf("a %s has no arguments that a policy reads", kind)
	}
	body, err := firewall.ParseBody([]byte(`{"arguments":`+string(q.Args)+`}`), firewall.Limits{})
	if err != nil {
		return nil, fmt.Errorf("arguments: %w", err)
	}
	call.Body = body
	return call, nil
}

// surround gives call what q says of the run and of what the gate knows besides. A
// tool call that nobody says is an orphan was asked for by a model.
func (q *Question) surround(call *firewall.Call) error {
	orphan := false
	for _, name := range slices.Sorted(maps.Keys(q.Env)) {
		value := q.Env[name]
		n, number := value.(float64)
		text, word := value.(string)
		yes, flag := value.(bool)
		switch {
		case name == "session.calls" && number:
			call.Before.Calls = int64(n)
		case name == "session.cost" && number:
			call.Before.Spent = firewall.MicroUSD(math.Round(n * 1e6))
		case name == "tokens" && number:
			call.Estimate.Tokens = int64(n)
		case name == "cost" && number:
			call.Estimate.Cost, call.Estimate.Priced = firewall.MicroUSD(math.Round(n*1e6)), true
		case name == "priced" && flag:
			call.Estimate.Priced = yes
		case name == "net.ip" && word:
			call.From = text
		case name == "bound" && word:
			call.Caller.Bound = text
		case name == "acts" && flag:
			if yes {
				call.Acting = new(firewall.Acting)
			}
		case name == "origin.to" && word, name == "origin.object" && word, name == "intent" && word:
			if err := of(call, name, text); err != nil {
				return err
			}
		case name == "orphan" && flag:
			orphan = yes
		case name == "loop" && flag:
			if yes {
				call.Signals = []string{firewall.SignalLoop}
			}
		case name == "approved" && flag:
			if yes {
				call.Approval = "approved"
			}
		default:
			return fmt.Errorf("env %s: want session.calls, session.cost, tokens or cost with a number, net.ip, bound, origin.to, origin.object or intent with a text, acts, orphan, loop, approved or priced with true or false", name)
		}
	}
	if call.Kind == firewall.Tool && !orphan {
		call.Links = []audit.Link{{Kind: "proposed"}}
	}
	return nil
}

// of says from where what a call acts on comes.
func of(call *firewall.Call, name, text string) error {
	o, ok := call.Origins(), false
	switch name {
	case "origin.to":
		o.To, ok = firewall.ParseOrigin(text)
	case "origin.object":
		o.Object, ok = firewall.ParseOrigin(text)
	default:
		o.Intent, ok = firewall.ParseIntent(text)
	}
	if !ok {
		return fmt.Errorf("env %s: %q means nothing; write none, user, trusted, resolved, composed or untrusted, and of intent asked, unasked or unknown", name, text)
	}
	call.SetOrigins(o)
	return nil
}
