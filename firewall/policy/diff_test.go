package policy_test

import (
	"strings"
	"testing"

	"callgate/firewall/policy"
	"callgate/identity"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestADiffTellsWhoGainsAndLosesWhat(t *testing.T) {
	before := load(t, `
p,  role:support, *, tool:shop/*,      call,     true,                    allow, T1
p,  role:support, *, model:openai/*,   generate, true,                    allow, M1
p,  user:ana,     *, tool:shop/refund, call,     r.env.args.amount <= 50, allow, T2
g,  agent:bot, role:support, default`)
	after := load(t, `
# the same rows in another order and with other ids change nothing
p,  role:support, *, model:openai/*,     generate, true,                    allow, M2
p,  role:support, *, tool:shop/*,        call,     true,                    allow, T1
p,  user:ana,     *, tool:shop/refund,   call,     r.env.args.amount <= 90, allow, T2
p2, role:support, *, tool:shop/refund,   call,     true,                    allow, require_approval:group:finance, O1
p,  group:everyone, *, prompt:shop/help, get,      true,                    allow, P1
p,  role:support, *, class:money,        call,     true,                    deny,  D1
g2, tool:shop/payout, class:money`)
	got, err := policy.Diff(before, after)
	if err != nil {
		t.Fatal(err)
	}
	want := []policy.Change{
		{"agent:bot", "model:openai/*", "generate", "yes", "no"},
		{"agent:bot", "tool:shop/*", "call", "yes", "no"},
		{"agent:bot", "tool:shop/payout", "call", "yes", "no"},
		{"agent:bot", "tool:shop/refund", "call", "yes", "no"},
		{"group:everyone", "prompt:shop/help", "get", "no", "yes"},
		{"role:support", "tool:shop/payout", "call", "yes", "no"},
		{"role:support", "tool:shop/refund", "call", "yes", "require_approval:group:finance; yes"},
		{"user:ana", "tool:shop/refund", "call", "allow if r.env.args.amount <= 50", "allow if r.env.args.amount <= 90"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	same, err := policy.Diff(after, after)
	if err != nil || len(same) != 0 {
		t.Errorf("a policy differs from itself: %v %v", same, err)
	}
}

// Where nothing is told for a subject, no call of it is answered otherwise.
func TestWhatADiffDoesNotTellIsAnsweredAlike(t *testing.T) {
	enough(t, "1000")
	differ := 0
	rapid.Check(t, func(t *rapid.T) {
		a, errA := policy.Load(policy.Source{Name: "a", Text: []byte(strings.Join(anyPolicy(t), "\n"))})
		b, errB := policy.Load(policy.Source{Name: "b", Text: []byte(strings.Join(anyPolicy(t), "\n"))})
		if errA != nil || errB != nil {
			t.Skip(errA, errB)
		}
		changes, err := policy.Diff(a, b)
		if err != nil {
			t.Fatal(err)
		}
		caller := identity.Principal{Tenant: "default", Subject: rapid.SampledFrom([]string{"agent:a", "agent:b", "user:u"}).Draw(t, "subject")}
		for _, name := range []string{"x", "y"} {
			call := tool(caller, "s", name, rapid.SampledFrom(argsOf).Draw(t, "args"))
			x, y := a.Decide(call), b.Decide(call)
			if x.Effect == y.Effect {
				continue
			}
			differ++
			told := false
			for _, c := range changes {
				begin, wild := strings.CutSuffix(c.Object, "*")
				about := c.Object == call.Object() || wild && strings.HasPrefix(call.Object(), begin)
				told = told || about && (c.Subject == caller.Subject || c.Subject == "group:everyone")
			}
			if !told {
				t.Fatalf("%s %s: %s before, %s after, and the diff does not tell:\n%+v", caller.Subject, call.Object(), said(x), said(y), changes)
			}
		}
	})
	if differ == 0 && !t.Failed() {
		t.Error("no two policies answered differently")
	}
}
