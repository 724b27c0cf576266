package policy_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"callgate/firewall"
	"callgate/firewall/policy"
)

// book is a policy of n rules in the proportions of a real one: most name a tool,
// some a server or a provider; a quarter have a condition, a tenth deny.
func book(n int) string {
	roles := max(4, n/10)
	var b strings.Builder
	for i := range n {
		role, object, action := fmt.Sprintf("role:r%d", i%roles), fmt.Sprintf("tool:s%d/t%d", i%17, i), "call"
		switch i % 10 {
		case 6, 7, 8:
			object = fmt.Sprintf("tool:s%d/*", i%17)
		case 9:
			object, action = fmt.Sprintf("model:p%d/*", i%5), "generate"
		}
		condition, effect := "true", "allow"
		if i%4 == 1 {
			condition = fmt.Sprintf("r.env.args.n <= %d", i)
		}
		if i%10 == 5 {
			effect = "deny"
		}
		fmt.Fprintf(&b, "p, %s, *, %s, %s, %s, %s, R%d\n", role, object, action, condition, effect, i)
	}
	for i := range n / 10 {
		fmt.Fprintf(&b, "g, agent:a%d, role:r%d, default\n", i, i%roles)
	}
	b.WriteString("g, agent:bot, role:r1, default\ng, role:r1, role:base, default\n")
	b.WriteString("p, role:base, *, tool:shop/look, call, true, allow, LOOK\n")
	b.WriteString("p, role:base, *, tool:shop/refund, call, r.env.args.amount <= 100, allow, REFUND\n")
	return b.String()
}

var sizes = []int{10, 100, 1_000, 10_000, 100_000}

func BenchmarkDecide(b *testing.B) {
	for _, n := range sizes {
		p := load(b, book(n))
		for _, bb := range []struct {
			name string
			call *firewall.Call
			want firewall.Effect
		}{
			{"without a condition", tool(by("agent:bot", "role:r2"), "shop", "look", `{"amount":40}`), firewall.Allow},
			{"with a condition", tool(by("agent:bot", "role:r2"), "shop", "refund", `{"reason":"late","amount":40}`), firewall.Allow},
			{"denied by default", tool(by("agent:bot", "role:r2"), "shop", "other", `{}`), firewall.Deny},
		} {
			b.Run(fmt.Sprintf("%d rules/%s", n, bb.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if d := p.Decide(bb.call); d.Effect != bb.want {
						b.Fatal(d)
					}
				}
			})
		}
	}
}

func BenchmarkMay(b *testing.B) {
	p := load(b, book(1_000))
	caller := by("agent:bot", "role:r2")
	b.ReportAllocs()
	for b.Loop() {
		if p.May(&caller, "tool:shop/refund", "call") != firewall.Depends {
			b.Fatal("not as written")
		}
	}
}

// BenchmarkList filters a list of 1,000 tools.
func BenchmarkList(b *testing.B) {
	p := load(b, book(10_000))
	caller := by("agent:bot", "role:r2")
	names := make([]string, 1_000)
	for i := range names {
		names[i] = fmt.Sprintf("tool:s%d/t%d", i%17, i)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, name := range names {
			p.May(&caller, name, "call")
		}
	}
}

// BenchmarkPlain is Casbin itself on the same policy and call, with the building
// of an enforcer that knows the caller.
func BenchmarkPlain(b *testing.B) {
	for _, n := range sizes[:2] {
		b.Run(fmt.Sprintf("%d rules", n), func(b *testing.B) {
			p := load(b, book(n))
			call := tool(by("agent:bot", "role:r2"), "shop", "look", `{"amount":40}`)
			for b.Loop() {
				if d, err := p.Plain(call); err != nil || d.Effect != firewall.Allow {
					b.Fatal(d, err)
				}
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		text := []byte(book(n))
		b.Run(fmt.Sprintf("%d rules", n), func(b *testing.B) {
			var p *policy.Policy
			before := inUse()
			for b.Loop() {
				var err error
				if p, err = policy.Load(policy.Source{Name: "p", Text: text}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(inUse()-before)/(1<<20), "MiB-kept")
			runtime.KeepAlive(p)
		})
	}
}

func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkManyConditions is the worst that a client can do to a rule book: a
// large document that all of many conditions read.
func BenchmarkManyConditions(b *testing.B) {
	var rows strings.Builder
	for i := range 500 {
		fmt.Fprintf(&rows, "p, role:a, *, tool:shop/*, call, r.env.args.amount > %d, allow, R%d\n", i+1000, i)
	}
	p := load(b, rows.String())
	call := tool(by("agent:bot", "role:a"), "shop", "x", `{"text":"`+strings.Repeat("x", 1<<20)+`","amount":1}`)
	b.ReportAllocs()
	for b.Loop() {
		if p.Decide(call).Effect != firewall.Deny {
			b.Fatal("not as written")
		}
	}
}
