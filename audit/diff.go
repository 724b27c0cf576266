package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Diff is how a call, or a run, is unlike one before it, and what changed between.
type Diff struct {
	Before  *Call        `json:"before,omitempty"` // none: nothing like After was there before
	After   *Call        `json:"after,omitempty"`  // none: Before has no counterpart
	Same    int          `json:"same"`             // calls that both runs begin with alike; of a single call 0
	Differs []Difference `json:"differs"`
	Changes []Change     `json:"changes"` // of policies, tools, agents and approvals between the two, in order
	Note    string       `json:"note"`    // what was compared, in words
}

// A Difference is a thing that is otherwise.
type Difference struct {
	What   string `json:"what"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// Compare tells what is otherwise with after than it was with before.
func Compare(before, after *Call) []Difference {
	list := []Difference{}
	add := func(what, a, b string) {
		if a != b {
			list = append(list, Difference{what, a, b})
		}
	}
	add("effect", before.Effect, after.Effect)
	add("rule", before.Rule, after.Rule)
	add("reason", before.Reason, after.Reason)
	add("outcome", before.Outcome, after.Outcome)
	add("policy", before.Policy, after.Policy)
	add("thing", before.Kind+" "+before.Target+"/"+before.Resource, after.Kind+" "+after.Target+"/"+after.Resource)
	add("arguments", string(before.Args), string(after.Args))
	if len(before.Args)+len(after.Args) == 0 {
		add("arguments", before.ArgsHash, after.ArgsHash)
	}
	add("subject", before.Subject, after.Subject)
	add("actors", strings.Join(before.Actors, " "), strings.Join(after.Actors, " "))
	add("duties", strings.Join(before.Obligations, " "), strings.Join(after.Obligations, " "))
	add("signals", strings.Join(before.Signals, " "), strings.Join(after.Signals, " "))
	add("proposed", asked(before), asked(after))
	a, b := cmp.Or(before.Env, &Env{}), cmp.Or(after.Env, &Env{})
	add("roles", strings.Join(a.Roles, " "), strings.Join(b.Roles, " "))
	add("labels of the run", strings.Join(a.Labels, " "), strings.Join(b.Labels, " "))
	add("what its server says of the tool", strings.Join(a.Hints, " "), strings.Join(b.Hints, " "))
	add("address", a.IP, b.IP)
	add("calls of the run before", fmt.Sprint(a.Calls), fmt.Sprint(b.Calls))
	add("spent by the run before, in millionths of a US dollar", fmt.Sprint(a.Spent), fmt.Sprint(b.Spent))
	return list
}

// asked is the tool calls that a reply asks for.
func asked(c *Call) string {
	var all []string
	for _, w := range c.Wants {
		all = append(all, w.Name+string(w.Args))
	}
	return strings.Join(all, " ")
}

// Alike says whether two calls do the same, with the same answer from the law.
func Alike(a, b *Call) bool {
	return a.Kind == b.Kind && a.Target == b.Target && a.Resource == b.Resource && a.Effect == b.Effect && (a.Outcome == "ok") == (b.Outcome == "ok") &&
		(a.Kind == "model" || a.ArgsHash == b.ArgsHash) && slices.EqualFunc(a.Wants, b.Wants, func(a, b Want) bool { return a.Name == b.Name && a.ArgsHash == b.ArgsHash && a.Effect == b.Effect })
}
