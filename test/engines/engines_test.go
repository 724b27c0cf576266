package engines

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"callgate/firewall"
	"callgate/firewall/policy"
	"callgate/identity"

	"github.com/cedar-policy/cedar-go"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// An engine answers whether a request is allowed. What it makes of a request
// beforehand is no part of the decision.
type engine struct {
	name  string
	most  int // rules that it is asked to hold
	build func(testing.TB, *book, []request) func(i int) bool
}

var all = []engine{
	{"callgate", 100_000, callgate},
	{"casbin", 1_000, casbinItself},
	{"cedar-go", 10_000, cedarGo},
	{"opa", 1_000, func(t testing.TB, b *book, list []request) func(int) bool { return opa(t, b, list, linear, false) }},
	{"opa-indexed", 100_000, func(t testing.TB, b *book, list []request) func(int) bool { return opa(t, b, list, indexed, true) }},
}

func calls(list []request) []*firewall.Call {
	var made []*firewall.Call
	for _, q := range list {
		kind, name, _ := strings.Cut(q.Object, ":")
		target, resource, _ := strings.Cut(name, "/")
		c := &firewall.Call{Kind: firewall.Tool, Target: target, Resource: resource, At: time.Unix(1e9, 0), ArgsAt: "arguments",
			Caller: identity.Principal{Tenant: "default", Subject: q.Agent}, Body: firewall.Body{JSON: []byte(fmt.Sprintf(`{"arguments":{"n":%d}}`, q.N))}}
		if kind == "model" {
			c.Kind, c.Method, c.ArgsAt = firewall.Model, "chat", ""
		}
		made = append(made, c)
	}
	return made
}

func loaded(t testing.TB, b *book) *policy.Policy {
	p, err := policy.Load(policy.Source{Name: "book", Text: []byte(b.csv())})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func callgate(t testing.TB, b *book, list []request) func(int) bool {
	p, made := loaded(t, b), calls(list)
	return func(i int) bool { return p.Decide(made[i]).Effect == firewall.Allow }
}

// casbinItself is Casbin under the model that callgate has built in, taken for one
// of another shape, so that no index is made.
func casbinItself(t testing.TB, b *book, list []request) func(int) bool {
	const model = `
[request_definition]
r = sub, dom, obj, act, env
[policy_definition]
p = sub, dom, obj, act, cond, eft, id
[role_definition]
g = _, _, _
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = (p.dom == '*' || p.dom == r.dom) && p.act == r.act && objMatch(r.obj, p.obj) && g(r.sub, p.sub, r.dom) && (p.cond == 'true' || eval(p.cond))
`
	p, err := policy.Load(policy.Source{Name: "model.conf", Text: []byte(model)}, policy.Source{Name: "book", Text: []byte(b.csv())})
	if err != nil {
		t.Fatal(err)
	}
	made := calls(list)
	for _, c := range made {
		p.Decide(c) // makes the enforcer of the caller, which is kept
	}
	return func(i int) bool { return p.Decide(made[i]).Effect == firewall.Allow }
}

func cedarGo(t testing.TB, b *book, list []request) func(int) bool {
	set, err := cedar.NewPolicySetFromBytes("book.cedar", []byte(b.cedar()))
	if err != nil {
		t.Fatal(err)
	}
	entities := cedar.EntityMap{}
	put := func(kind, id string, parents []string, attributes cedar.RecordMap) {
		e := cedar.Entity{UID: cedar.NewEntityUID(cedar.EntityType(kind), cedar.String(id)), Attributes: cedar.NewRecord(attributes)}
		var in []cedar.EntityUID
		for _, p := range parents {
			in = append(in, cedar.NewEntityUID("Role", cedar.String(p)))
		}
		e.Parents = cedar.NewEntityUIDSet(in...)
		entities[e.UID] = e
	}
	for agent, roles := range b.roles {
		put("Agent", agent, roles, nil)
	}
	for role, parent := range b.parents {
		put("Role", role, []string{parent}, nil)
	}
	var made []cedar.Request
	for _, q := range list {
		put("Object", q.Object, nil, cedar.RecordMap{"name": cedar.String(q.Object)})
		made = append(made, cedar.Request{
			Principal: cedar.NewEntityUID("Agent", cedar.String(q.Agent)), Action: cedar.NewEntityUID("Action", cedar.String(q.Action)),
			Resource: cedar.NewEntityUID("Object", cedar.String(q.Object)), Context: cedar.NewRecord(cedar.RecordMap{"n": cedar.Long(q.N)}),
		})
	}
	return func(i int) bool {
		decision, _ := cedar.Authorize(set, entities, made[i])
		return decision == cedar.Allow
	}
}

func opa(t testing.TB, b *book, list []request, module string, byRole bool) func(int) bool {
	ctx := context.Background()
	query, err := rego.New(rego.Query("data.gate.allow"), rego.Module("gate.rego", module), rego.Store(inmem.NewFromObject(b.data(byRole)))).PrepareForEval(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var made []map[string]any
	for _, q := range list {
		made = append(made, map[string]any{"agent": q.Agent, "object": q.Object, "action": q.Action, "n": q.N})
	}
	return func(i int) bool {
		results, err := query.Eval(ctx, rego.EvalInput(made[i]))
		if err != nil {
			t.Fatal(err)
		}
		return results.Allowed()
	}
}

func TestTheEnginesAgree(t *testing.T) {
	for _, n := range []int{10, 100, 1_000} {
		b := newBook(n)
		list := b.requests(256)
		want, allowed := callgate(t, b, list), 0
		for i := range list {
			if want(i) {
				allowed++
			}
		}
		if allowed < 32 || allowed > 224 {
			t.Errorf("%d rules: %d of %d requests are allowed: the requests say little", n, allowed, len(list))
		}
		for _, e := range all[1:] {
			asked := list
			if e.name == "opa" && n > 100 || e.name == "casbin" && n > 100 {
				asked = list[:32] // they are slow
			}
			got := e.build(t, b, asked)
			for i := range asked {
				if got(i) != want(i) {
					t.Errorf("%d rules: %s says %v to %+v, and callgate %v", n, e.name, got(i), list[i], want(i))
				}
			}
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 100, 1_000, 10_000, 100_000} {
		rules := newBook(n)
		list := rules.requests(256)
		for _, e := range all {
			if n > e.most {
				continue
			}
			b.Run(fmt.Sprintf("rules=%d/engine=%s", n, e.name), func(b *testing.B) {
				asked := list
				if e.name == "casbin" {
					asked = list[:32] // an enforcer is kept for 64 callers
				}
				decide := e.build(b, rules, asked)
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					decide(i % len(asked))
					i++
				}
			})
		}
	}
}
