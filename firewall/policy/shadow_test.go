package policy_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"callgate/firewall/policy"
)

func TestAShadowTellsWhereTheIndexIsNotCasbin(t *testing.T) {
	const rows = `
p, role:dev, *, tool:shop/*, call, true, allow, R1
p, role:dev, *, tool:shop/refund, call, r.env.args.amount > 5, deny, R2
p2, role:dev, *, tool:shop/pay, call, true, allow, require_approval:group:finance, O1`
	for _, tt := range []struct{ name, index, tool, args, want string }{
		{"an answer of Casbin's", rows, "list", `{}`, ""},
		{"a denial of Casbin's", rows, "refund", `{"amount":9}`, ""},
		{"a failure of Casbin's", rows, "refund", `{}`, ""},
		{"an obligation of Casbin's", rows, "pay", `{}`, ""},
		{"a deny that the index has lost", strings.Replace(rows, "deny", "allow", 1), "refund", `{"amount":9}`, `index says allow by "R1", Casbin says deny by "R2"`},
		{"a condition that the index has lost", strings.Replace(rows, "r.env.args.amount > 5", "true", 1), "refund", `{}`, "Casbin says deny by \"R2\" (error: "},
		{"another row", strings.Replace(rows, "R1", "R3", 1), "list", `{}`, `index says allow by "R3", Casbin says allow by "R1"`},
		{"an obligation that the index has lost", strings.Replace(rows, "shop/pay", "shop/pray", 1), "pay", `{}`, `index says allow by "R1", Casbin says ask by "O1"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := load(t, rows)
				p.Lie(load(t, tt.index))
				told := ""
				s := policy.NewShadow(func(_ *policy.Policy, how string) { told = how })
				ctx, cancel := context.WithCancel(t.Context())
				var all sync.WaitGroup
				all.Go(func() { s.Run(ctx) })
				call := tool(by("agent:bot", "role:dev"), "shop", tt.tool, tt.args)
				s.Of(p).Decide(call)
				copy(call.Body.JSON, strings.Repeat(" ", len(call.Body.JSON))) // the call is over
				synctest.Wait()
				cancel()
				all.Wait()
				if tt.want == "" && told != "" || !strings.Contains(told, tt.want) {
					t.Errorf("told %q, want %q", told, tt.want)
				}
				if checked, differed := s.Counts(); checked != 1 || differed != min(uint64(len(tt.want)), 1) {
					t.Errorf("%d checked, %d differed", checked, differed)
				}
			})
		})
	}
}

func TestAShadowRestsBetweenChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := policy.NewShadow(func(*policy.Policy, string) {})
		p := s.Of(load(t, "p, role:dev, *, tool:shop/*, call, true, allow, R1"))
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { s.Run(ctx) })
		decide := func(want uint64) {
			t.Helper()
			for range 100 {
				p.Decide(tool(by("agent:bot", "role:dev"), "shop", "x", "{}"))
			}
			synctest.Wait()
			if checked, _ := s.Counts(); checked != want {
				t.Errorf("%d checked, want %d", checked, want)
			}
		}
		decide(1)
		decide(1)
		time.Sleep(time.Second)
		decide(2)
		cancel()
		all.Wait()
	})
}
