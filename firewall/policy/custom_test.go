package policy_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"callgate/firewall"
	"callgate/firewall/policy"
	"callgate/identity"

	"pgregory.net/rapid"
)

// under makes a policy of rows under a model.
func under(model, rows string) (*policy.Policy, error) {
	return policy.Load(policy.Source{Name: "policy.conf", Text: []byte(model)}, policy.Source{Name: "policy.csv", Text: []byte(rows)})
}

func mustUnder(t testing.TB, model, rows string) *policy.Policy {
	t.Helper()
	p, err := under(model, rows)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const simple = `
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, eft
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = g(r.sub, p.sub) && keyMatch(r.obj, p.obj) && r.act == p.act
`

func TestTheBuiltInModelIsKnownHoweverItIsWritten(t *testing.T) {
	law := policy.Law
	for name, text := range map[string]string{
		"as it is":      law,
		"with comments": "# a model\n" + strings.ReplaceAll(law, "[matchers]", "# what fits\n[matchers]"),
		"other space":   strings.NewReplacer(" = ", "=", ", ", ",", " && ", "  &&  ", " || ", "||").Replace(law),
	} {
		p := mustUnder(t, text, shop)
		if _, custom := p.ByCasbin(); custom {
			t.Errorf("%s: it was not known", name)
		}
		if want := load(t, shop).Digest(); p.Digest() != want {
			t.Errorf("%s: digest %s, want %s", name, p.Digest(), want)
		}
	}
	for name, text := range map[string]string{
		"another effect":  strings.Replace(law, "e  = some(where (p.eft == allow)) && !some(where (p.eft == deny))", "e = some(where (p.eft == allow))", 1),
		"a matcher less":  strings.Replace(law, "(p.act == '*' || p.act == r.act) && ", "p.act == r.act && ", 1),
		"a space in text": strings.Replace(law, "p.dom == '*'", "p.dom == ' *'", 1),
	} {
		p := mustUnder(t, text, shop)
		if _, custom := p.ByCasbin(); !custom {
			t.Errorf("%s: taken for the built-in one", name)
		}
	}
}

// The built-in model with its matcher in another order means the same, and is not
// known to: so Casbin answers what the index does.
func TestCasbinAnswersUnderAModelOfItsOwn(t *testing.T) {
	enough(t, "1000")
	other := strings.ReplaceAll(policy.Law, "(p.dom == '*' || p.dom == r.dom)", "(p.dom == r.dom || p.dom == '*')")
	other = strings.ReplaceAll(other, "(p2.dom == '*' || p2.dom == r.dom)", "(p2.dom == r.dom || p2.dom == '*')")
	seen := tally{}
	rapid.Check(t, func(t *rapid.T) {
		rows := strings.Join(anyPolicy(t), "\n")
		index, err := policy.Load(policy.Source{Name: "p", Text: []byte(rows)})
		if err != nil {
			t.Skip(err)
		}
		p, err := under(other, rows)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			call := anyCall(t, anyCaller(t))
			want, got := index.Decide(call), p.Decide(call)
			same := want.Effect == got.Effect && fmt.Sprint(want.Obligations) == fmt.Sprint(got.Obligations)
			if failed := strings.Contains(want.Reason, "could not be evaluated"); !failed {
				same = same && want.Rule == got.Rule
			}
			if !same {
				t.Fatalf("index %s, casbin %s: %s", said(want), said(got), got.Reason)
			}
			seen[want.Effect.String()]++
		}
		if n, _ := p.ByCasbin(); n == 0 {
			t.Fatal("it was not Casbin that decided")
		}
	})
	for _, effect := range []string{"allow", "ask", "deny"} {
		if seen[effect] == 0 && !t.Failed() {
			t.Errorf("no decision was %s", effect)
		}
	}
}

func TestASimpleModelDecides(t *testing.T) {
	p := mustUnder(t, simple, `
p, role:dev, tool:shop/*, call, allow
p, role:dev, tool:shop/refund, call, deny
p, group:everyone, model:openai/*, generate, allow
p, user:ana, tool:shop/look, call, allow
g, agent:bot, role:dev
g, user:ana, group:finance`)
	forAna := identity.Principal{Tenant: "default", Subject: "user:ana", Actors: []string{"agent:bot"}}
	for _, tt := range []struct {
		name string
		call *firewall.Call
		want string
	}{
		{"a role of the policy", tool(by("agent:bot"), "shop", "look", ""), "allow role:dev, tool:shop/*, call, allow"},
		{"a role of the registry", tool(by("agent:x", "role:dev"), "shop", "look", ""), "allow role:dev, tool:shop/*, call, allow"},
		{"a deny", tool(by("agent:bot"), "shop", "refund", ""), "deny role:dev, tool:shop/refund, call, deny"},
		{"no row", tool(by("agent:y"), "shop", "look", ""), "deny"},
		{"everyone", request(by("agent:y"), firewall.Model, "openai", "gpt", ""), "allow group:everyone, model:openai/*, generate, allow"},
		{"on behalf of who may", tool(forAna, "shop", "look", ""), "allow role:dev, tool:shop/*, call, allow"},
		{"on behalf of who may not", tool(forAna, "shop", "buy", ""), "deny"},
	} {
		if got := said(p.Decide(tt.call)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	bot := by("agent:bot")
	for object, want := range map[string]firewall.Answer{"tool:shop/look": firewall.Yes, "tool:shop/refund": firewall.No, "tool:bank/pay": firewall.No} {
		if got := p.May(&bot, object, "call"); got != want {
			t.Errorf("May %s = %v, want %v: the model reads no arguments", object, got, want)
		}
	}
	if !p.Member("default", "user:ana", "group:finance") || p.Member("default", "user:ben", "group:finance") {
		t.Error("who is in group:finance")
	}
	if _, err := policy.Diff(p, load(t, shop)); err == nil {
		t.Error("it was compared")
	}
	if d, rows := p.Explain(tool(bot, "shop", "look", "")); d.Effect != firewall.Allow || rows != nil {
		t.Errorf("explained: %s, %v", said(d), rows)
	}
}

func TestWhatAModelCannotBe(t *testing.T) {
	good := "p, role:a, tool:x/y, call, allow\n"
	for _, tt := range []struct{ name, model, rows, want string }{
		{"no model", "nonsense", good, "policy.conf:1: error: not a model of Casbin"},
		{"a request that nobody makes", strings.Replace(simple, "r = sub, obj, act", "r = sub, obj, act, ip", 1), good, `r has a field "ip"`},
		{"a request without object", strings.NewReplacer("r = sub, obj, act", "r = sub, act", "keyMatch(r.obj, p.obj)", "true").Replace(simple), good, "r has no field obj"},
		{"an effect that Casbin does not know", strings.Replace(simple, "!some(where (p.eft == deny))", "!some(where (p.eft == block))", 1), good, "e is none of the effects"},
		{"an effect in a row that none is", simple, "p, role:a, tool:x/y, call, DENY\n", `policy.csv:1: error: unknown effect "DENY"`},
		{"a row with too few columns", simple, "p, role:a, tool:x/y, call\n", `policy.csv:1: error: 4 columns, want the 5 of "p, sub, obj, act, eft"`},
		{"a row of a type that the model has not", simple, "p2, role:a, tool:x/y, call, allow\n", `policy.csv:1: error: unknown type of row "p2": the model has g, p`},
	} {
		_, err := under(tt.model, tt.rows)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	twice := []policy.Source{{Name: "a.conf", Text: []byte(simple)}, {Name: "b.conf", Text: []byte(simple)}}
	if _, err := policy.Load(twice...); err == nil || !strings.Contains(err.Error(), "b.conf:1: error: a second model") {
		t.Errorf("two models: %v", err)
	}
	problems := policy.Check(policy.Source{Name: "policy.conf", Text: []byte(strings.Replace(simple, "some(where (p.eft == allow)) && ", "", 1))}, policy.Source{Name: "policy.csv", Text: []byte(good)})
	if got := told(problems); !strings.Contains(got, "policy.conf:1: warning: a model of another shape") || !strings.Contains(got, "e allows whatever no row denies") {
		t.Errorf("warnings: %s", got)
	}
}

func TestAModelThatFailsDenies(t *testing.T) {
	broken := strings.Replace(simple, "r.act == p.act", "regexMatch(r.act, p.act)", 1)
	p := mustUnder(t, broken, "p, role:a, tool:x/y, (, allow\n")
	d := p.Decide(tool(by("agent:b", "role:a"), "x", "y", ""))
	if d.Effect != firewall.Deny || !strings.Contains(d.Reason, "could not be evaluated") {
		t.Errorf("%s: %s", said(d), d.Reason)
	}
}

func TestManyMayAskCasbinAtOnce(t *testing.T) {
	p := mustUnder(t, simple, "p, role:a, tool:x/*, call, allow\np, role:b, tool:x/no, call, deny\n")
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 100 {
				name, want := fmt.Sprintf("agent:%d", (i*100+j)%90), firewall.Allow // more than are kept
				resource := "yes"
				if j%3 == 0 {
					resource, want = "no", firewall.Deny
				}
				if d := p.Decide(tool(by(name, "role:a", "role:b"), "x", resource, "")); d.Effect != want {
					t.Errorf("%s %s: %s", name, resource, said(d))
				}
			}
		})
	}
	group.Wait()
}

func FuzzModel(f *testing.F) {
	f.Add(simple, "p, role:a, tool:x/y, call, allow\ng, agent:a, role:a")
	f.Add(policy.Law, shop)
	f.Add("[request_definition]\nr = sub, obj, act\n", "p")
	f.Fuzz(func(t *testing.T, model, rows string) {
		p, err := under(model, rows) // must not panic
		if err == nil {
			p.Decide(tool(by("agent:a"), "x", "y", `{"n":1}`))
		}
	})
}
