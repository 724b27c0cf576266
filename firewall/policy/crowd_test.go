package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"callgate/firewall/policy"
)

func TestACallMeetsABoundedNumberOfConditions(t *testing.T) {
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format+"\n", i, i)
		}
		return b.String()
	}
	for _, tt := range []struct{ name, rows, want string }{
		{"at the bound of a warning", many(64, "p, role:a, *, tool:s/x, call, r.env.args.n > %d, allow, R%d"), ""},
		{"beyond it", many(65, "p, role:a, *, tool:s/x, call, r.env.args.n > %d, allow, R%d"), "warning: a call of role:a to tool:s/x meets 65 rows"},
		{"at the bound", many(1024, "p, role:a, *, tool:s/x, call, r.env.args.n > %d, allow, R%d"), "warning: a call of role:a to tool:s/x meets 1024 rows"},
		{"beyond the bound", many(1025, "p, role:a, *, tool:s/x, call, r.env.args.n > %d, allow, R%d"), "error: a call of role:a to tool:s/x meets 1025 rows"},
		{"each for an object of its own", many(2000, "p, role:a, *, tool:s/x%d, call, r.env.args.n > 1, allow, R%d"), ""},
		{"without conditions", many(2000, "p, role:a, *, tool:s/*, call, true, allow, R%d%d"), "never decides"},
		{"of other tenants", many(40, "p, role:a, one, tool:s/x, call, r.env.args.n > %d, allow, R%d") + many(40, "p, role:a, two, tool:s/x, call, r.env.args.n > %d, allow, S%d"), "tenants one, two"},
		{"of a tenant of its own", many(65, "p, role:a, one, tool:s/x, call, r.env.args.n > %d, allow, R%d"), "warning: a call of role:a to tool:s/x meets 65 rows"},
		{"by patterns, roles, everyone and a class together", many(20, "p, role:a, *, tool:s/*, call, r.env.args.n > %d, allow, A%d") +
			many(20, "p, role:b, *, tool:*, call, r.env.args.n > %d, allow, B%d") + many(20, "p2, group:everyone, *, tool:s/x, call, r.env.args.n > %d, allow, require_approval:group:g, C%d") +
			many(20, "p, agent:x, *, class:c, call, r.env.args.n > %d, deny, D%d") + "g, agent:x, role:a, default\ng, role:a, role:b, default\ng2, tool:s/x, class:c\n",
			"warning: a call of agent:x to tool:s/x meets 80 rows"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, p := range policy.Check(policy.Source{Name: "p", Text: []byte(tt.rows)}) {
				got = append(got, p.String())
			}
			text := strings.Join(got, "\n")
			if !strings.Contains(text, tt.want) || tt.want == "" && text != "" || !strings.Contains(tt.want, "meets") && strings.Contains(text, "meets") {
				t.Errorf("told %q, want %q", text, tt.want)
			}
			if strings.Count(text, "meets") > 1 {
				t.Errorf("told more than once: %s", text)
			}
		})
	}
}
