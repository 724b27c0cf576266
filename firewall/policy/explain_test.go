package policy_test

import (
	"slices"
	"strings"
	"testing"

	"callgate/firewall"
	"callgate/firewall/policy"
	"callgate/identity"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// What is explained must lead to what is decided.
func TestTheRowsOfAnExplanationDecide(t *testing.T) {
	enough(t, "1000")
	seen := tally{}
	rapid.Check(t, func(t *rapid.T) {
		p, err := policy.Load(policy.Source{Name: "p", Text: []byte(strings.Join(anyPolicy(t), "\n"))})
		if err != nil {
			t.Skip(err)
		}
		call := anyCall(t, anyCaller(t))
		d, rows := p.Explain(call)
		if diff := cmp.Diff(p.Decide(call), d); diff != "" {
			t.Fatalf("explained is another decision (-Decide +Explain):\n%s", diff)
		}
		if call.Caller.Tenant == "*" { // that of no caller: rows of * are all that there is
			return
		}
		effect, rule := retold(rows, call)
		if effect != d.Effect || rule != d.Rule {
			t.Fatalf("the rows say %v by %q, the decision is %v by %q\n%+v", effect, rule, d.Effect, d.Rule, rows)
		}
		seen[d.Effect.String()]++
	})
	for _, effect := range []string{"allow", "ask", "deny"} {
		if seen[effect] == 0 && !t.Failed() {
			t.Errorf("no decision was %s", effect)
		}
	}
}

// retold is the decision as a reader of the rows would find it: hop by hop.
func retold(rows []policy.Row, call *firewall.Call) (firewall.Effect, string) {
	hops := append(slices.Clone(call.Caller.Actors), call.Caller.Subject)
	allowed, duty := "", ""
	for i, hop := range hops {
		first := ""
		for _, r := range rows {
			if r.Principal != hop || r.Effect != "allow" && r.Effect != "deny" {
				continue
			}
			fails := strings.HasPrefix(r.Says, "cannot")
			switch {
			case fails || r.Says == policy.Applies && r.Effect == "deny":
				return firewall.Deny, r.ID
			case r.Says == policy.Applies && first == "":
				first = r.ID
			}
		}
		if first == "" {
			return firewall.Deny, ""
		}
		if i == 0 {
			allowed = first
		}
	}
	for _, r := range rows { // the first of the policy, whichever hop it is about
		counts := r.Says == policy.Applies || strings.HasPrefix(r.Says, "cannot")
		if strings.HasPrefix(r.Effect, "require_") && counts && (duty == "" || r.ID < duty) {
			duty = r.ID
		}
	}
	if duty != "" {
		return firewall.Ask, duty
	}
	return firewall.Allow, allowed
}

func TestAnExplanationTellsTheWayAndTheValues(t *testing.T) {
	p, err := policy.Load(policy.Source{Name: "p", Text: []byte(`
p, role:staff, *, tool:shop/*, call, r.env.args.amount <= 5 && r.env.depth == 0, allow, R1
p, group:everyone, *, class:money, approve, true, allow, R2
p, user:ana, *, tool:shop/refund, call, true, allow, R3
g, role:support, role:staff, default
g2, tool:shop/refund, class:money`)})
	if err != nil {
		t.Fatal(err)
	}
	caller := identity.Principal{Tenant: "default", Subject: "user:ana", Actors: []string{"agent:bot"}, Roles: []string{"role:support"}}
	_, rows := p.Explain(tool(caller, "shop", "refund", `{"amount":4}`))
	want := []policy.Row{
		{ID: "R1", Effect: "allow", Principal: "agent:bot", Path: []string{"agent:bot", "role:support", "role:staff"}, Object: "tool:shop/*", Action: "call",
			Condition: "r.env.args.amount <= 5 && r.env.depth == 0", Read: []string{"r.env.args.amount = 4", "r.env.depth = 1"}, Says: "condition is false"},
		{ID: "R2", Effect: "allow", Principal: "agent:bot", Path: []string{"agent:bot", "group:everyone"}, Object: "class:money", Action: "approve",
			Condition: "true", Says: "another action"},
		{ID: "R2", Effect: "allow", Principal: "user:ana", Path: []string{"user:ana", "group:everyone"}, Object: "class:money", Action: "approve",
			Condition: "true", Says: "another action"},
		{ID: "R3", Effect: "allow", Principal: "user:ana", Path: []string{"user:ana"}, Object: "tool:shop/refund", Action: "call", Condition: "true", Says: policy.Applies},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}
