package policy_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"callgate/audit"
	"callgate/firewall"
	"callgate/firewall/policy"
	"callgate/identity"

	"pgregory.net/rapid"
)

// enough makes rapid try n policies, unless -rapid.checks says otherwise.
func enough(t *testing.T, n string) {
	if !slices.ContainsFunc(os.Args, func(arg string) bool { return strings.Contains(arg, "rapid.checks") }) {
		if err := flag.Set("rapid.checks", n); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = flag.Set("rapid.checks", "100") })
	}
}

// Small alphabets, so that rows and calls often meet.
var (
	tenantsOf  = []string{"*", "*", "default", "default", "other"}
	subjectsOf = []string{"agent:a", "agent:b", "user:u", "role:r1", "role:r2", "role:r3", "role:r4", "group:g", "group:everyone"}
	objectsOf  = []string{"tool:s/x", "tool:s/y", "tool:s/*", "tool:s*", "tool:*", "tool:t/x", "model:*", "class:c1", "class:c2", "class:c3"}
	namesOf    = []string{"tool:s/x", "tool:s/y", "tool:t/x", "class:c1", "class:c2"}
	conditions = []string{"true", "true", "true", "true", "true", "true", "true", "true", "r.env.args.n <= 5", "r.env.args.n > 3 && r.env.args.s == 'a'", "r.env.args.s in ('a', 'b')",
		"r.env.args.yes", "!r.env.args.yes || r.env.args.n == 1", "r.env.agent == 'agent:a'", "r.env.depth > 0 && r.env.args.n > 0",
		"r.env.actor == '' || r.env.args.o.n < 2", "r.env.time.hour < 12", "r.env.model == ''", "'a' in r.env.args.list", "r.env.root == 'user:u'", "r.env.tool.readOnly", "!r.env.tool.destructive && r.env.args.n > 0",
		"'untrusted' in r.env.labels", "!('secret' in r.env.labels) && r.env.args.n <= 5", "r.env.orphan", "r.env.approved || r.env.args.n < 3", "r.env.session.calls < 3",
		"r.env.session.cost <= 0.5 && r.env.cost < 1", "r.env.tokens > 100", "!r.env.priced", "r.env.net.ip == '10.0.0.1'", "r.env.parent == 'agent:b'"}
	argsOf = []string{"", `{}`, `{"n":1,"s":"a","yes":true,"o":{"n":1},"list":["a"]}`, `{"n":4,"s":"a","yes":false,"o":{"n":3},"list":[]}`,
		`{"n":9,"s":"b","yes":true,"o":null,"list":null}`, `{"n":"1","s":1,"yes":"no","o":1,"list":{}}`, `{"n":null}`, `[1]`, `"n"`}
)

// anyPolicy is the rows of a policy that Load takes.
func anyPolicy(t *rapid.T) []string {
	one := func(of []string, label string) string { return rapid.SampledFrom(of).Draw(t, label) }
	var rows []string
	for i := range rapid.IntRange(2, 14).Draw(t, "rules") {
		object := one(objectsOf, "object")
		actions := []string{"call", "call", "*", "approve"}
		if object == "model:*" {
			actions = []string{"generate", "*"}
		}
		rows = append(rows, fmt.Sprintf("p, %s, %s, %s, %s, \"%s\", %s, R%d", one(subjectsOf, "subject"), one(tenantsOf, "tenant"), object,
			one(actions, "action"), one(conditions, "condition"), one([]string{"allow", "allow", "allow", "deny"}, "effect"), i))
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "duties") {
		rows = append(rows, fmt.Sprintf("p2, %s, %s, %s, *, \"%s\", allow, %s, O%d", one(subjectsOf, "subject"), one(tenantsOf, "tenant"),
			one(objectsOf, "object"), one(conditions, "condition"), one([]string{"require_approval:group:g1", "require_approval:group:g2", "limit:calls=5/1h", "limit:calls=1/1m;per=run"}, "duty"), i))
	}
	for range rapid.IntRange(0, 6).Draw(t, "links") { // upwards only: no cycles
		from := rapid.IntRange(0, 6).Draw(t, "from")
		to := rapid.IntRange(max(from+1, 3), 7).Draw(t, "to")
		rows = append(rows, fmt.Sprintf("g, %s, %s, %s", subjectsOf[from], subjectsOf[to], one([]string{"default", "default", "other"}, "tenant")))
	}
	for range rapid.IntRange(0, 3).Draw(t, "classes") {
		from := rapid.IntRange(0, len(namesOf)-1).Draw(t, "from")
		to := rapid.IntRange(min(max(from-1, 1), 3), 3).Draw(t, "to")
		rows = append(rows, fmt.Sprintf("g2, %s, class:c%d", namesOf[from], to))
	}
	return rows
}

func anyCaller(t *rapid.T) identity.Principal {
	p := identity.Principal{
		Tenant:  rapid.SampledFrom([]string{"default", "default", "default", "other", "third", "*"}).Draw(t, "caller's tenant"),
		Subject: rapid.SampledFrom([]string{"agent:a", "agent:b", "user:u", "agent:unknown", "role:r1"}).Draw(t, "subject"),
		Actors:  rapid.SliceOfN(rapid.SampledFrom([]string{"agent:a", "agent:b", "agent:unknown"}), 0, 2).Draw(t, "actors"),
	}
	of := map[string][]string{} // the registry knows an agent by its name, wherever it is in a chain
	for i, name := range p.Chain() {
		if _, ok := of[name]; !ok && !strings.HasPrefix(name, "role:") { // what the registry knows is no role
			of[name] = rapid.SliceOfN(rapid.SampledFrom([]string{"role:r1", "role:r2", "role:r4", "role:unknown", "group:g", "agent:a"}), 0, 2).Draw(t, "roles")
		}
		if i == 0 {
			p.Roles = of[name]
		} else {
			p.Above = append(p.Above, of[name])
		}
	}
	return p
}

func anyCall(t *rapid.T, caller identity.Principal) *firewall.Call {
	call := tool(caller, rapid.SampledFrom([]string{"s", "s", "t", "u"}).Draw(t, "server"),
		rapid.SampledFrom([]string{"x", "x", "y", "z"}).Draw(t, "tool"), rapid.SampledFrom(argsOf).Draw(t, "args"))
	call.Impact = firewall.Impact(rapid.IntRange(0, 31).Draw(t, "impact"))
	if rapid.IntRange(0, 4).Draw(t, "model") == 0 {
		call = request(caller, firewall.Model, "s", "m", "")
		call.Estimate = firewall.Estimate{Tokens: 150, Cost: 2e5, Priced: rapid.Bool().Draw(t, "priced")}
	} else if rapid.Bool().Draw(t, "proposed") {
		call.Links = []audit.Link{{From: "m1", Kind: "proposed"}}
	}
	call.Labels = firewall.Labels(rapid.IntRange(0, 7).Draw(t, "labels"))
	call.Before = firewall.Progress{Calls: rapid.Int64Range(0, 5).Draw(t, "calls"), Spent: firewall.MicroUSD(rapid.Int64Range(0, 1e6).Draw(t, "spent"))}
	call.Approval = rapid.SampledFrom([]string{"", "A1"}).Draw(t, "approval")
	call.From = rapid.SampledFrom([]string{"10.0.0.1", "::1"}).Draw(t, "ip")
	return call
}

// How often each answer came, so that the test is known to test something.
type tally map[string]int

func TestTheIndexAnswersWhatCasbinAnswers(t *testing.T) {
	enough(t, "2000")
	seen := tally{}
	rapid.Check(t, func(t *rapid.T) {
		rows := anyPolicy(t)
		p, err := policy.Load(policy.Source{Name: "p", Text: []byte(strings.Join(rows, "\n"))})
		if err != nil {
			seen["refused"]++
			t.Skip(err)
		}
		for range 4 {
			call := anyCall(t, anyCaller(t))
			agrees(t, p, call)
			d := p.Decide(call)
			word, _, _ := strings.Cut(said(d), " ")
			if word == "deny" && d.Rule == "" {
				word = "none"
			}
			seen[word]++
		}
	})
	t.Logf("decisions: %v", seen)
	for _, word := range []string{"allow", "ask", "deny", "none", "error"} {
		if seen[word] == 0 && !t.Failed() {
			t.Errorf("no decision was %q", word)
		}
	}
}

func TestMayNeverContradictsTheCall(t *testing.T) {
	enough(t, "400")
	rapid.Check(t, func(t *rapid.T) {
		p, err := policy.Load(policy.Source{Name: "p", Text: []byte(strings.Join(anyPolicy(t), "\n"))})
		if err != nil {
			t.Skip(err)
		}
		caller := anyCaller(t)
		call := anyCall(t, caller)
		may := p.May(&caller, call.Object(), call.Action())
		for _, args := range argsOf {
			other := *call
			other.Body, other.ArgsAt = request(caller, call.Kind, call.Target, call.Resource, args).Body, "arguments"
			d := p.Decide(&other)
			if may == firewall.No && d.Effect != firewall.Deny || may == firewall.Yes && d.Effect != firewall.Allow {
				t.Fatalf("May = %v, and with arguments %s Decide = %s", may, args, said(d))
			}
		}
	})
}

// TestWhatAChangeOfThePolicyCannotDo changes a policy and asks the same again.
func TestWhatAChangeOfThePolicyCannotDo(t *testing.T) {
	enough(t, "400")
	passes := func(d firewall.Decision) bool { return d.Effect != firewall.Deny }
	rapid.Check(t, func(t *rapid.T) {
		rows := anyPolicy(t)
		load := func(rows []string) *policy.Policy {
			p, err := policy.Load(policy.Source{Name: "p", Text: []byte(strings.Join(rows, "\n"))})
			if err != nil {
				t.Skip(err)
			}
			return p
		}
		p := load(rows)
		shuffled := slices.Clone(rows)
		rand.New(rand.NewPCG(1, rapid.Uint64().Draw(t, "seed"))).Shuffle(len(rows), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		names := strings.NewReplacer("role:r1", "role:zz", "role:r2", "role:yy")
		renamed := names.Replace(strings.Join(rows, "\n"))
		reordered, others := load(shuffled), load([]string{renamed})
		denied := load(append(slices.Clone(rows), fmt.Sprintf("p, %s, *, %s, call, \"%s\", deny, NEW", rapid.SampledFrom(subjectsOf).Draw(t, "new subject"),
			rapid.SampledFrom(objectsOf).Draw(t, "new object"), rapid.SampledFrom(conditions).Draw(t, "new condition"))))
		foreign := load(append(slices.Clone(rows), "p, group:everyone, elsewhere, tool:*, *, true, deny, NEW", "g, agent:a, role:r4, elsewhere"))
		unlinked := load(slices.DeleteFunc(slices.Clone(rows), func(r string) bool { return strings.HasPrefix(r, "g, ") }))
		for range 4 {
			call := anyCall(t, anyCaller(t))
			before := p.Decide(call)
			if after := reordered.Decide(call); passes(after) != passes(before) {
				t.Fatalf("the order of rows made %s of %s", said(after), said(before))
			}
			if after := denied.Decide(call); passes(after) && !passes(before) {
				t.Fatalf("a deny more made %s of %s", said(after), said(before))
			}
			if after := foreign.Decide(call); said(after) != said(before) {
				t.Fatalf("rows of another tenant made %s of %s", said(after), said(before))
			}
			// A link may lead to a deny or to an error; without either it only allows.
			if before.Effect == firewall.Deny && before.Rule == "" {
				if after := unlinked.Decide(call); passes(after) {
					t.Fatalf("fewer links made %s of %s", said(after), said(before))
				}
			}
			other := *call
			other.Caller.Subject, other.Caller.Roles = names.Replace(call.Caller.Subject), slices.Clone(call.Caller.Roles)
			for i, r := range other.Caller.Roles {
				other.Caller.Roles[i] = names.Replace(r)
			}
			other.Caller.Above = nil
			for _, roles := range call.Caller.Above {
				renamed := slices.Clone(roles)
				for i, r := range renamed {
					renamed[i] = names.Replace(r)
				}
				other.Caller.Above = append(other.Caller.Above, renamed)
			}
			if after := others.Decide(&other); said(after) != said(before) {
				t.Fatalf("other names for roles made %s of %s", said(after), said(before))
			}
		}
	})
}

// anyCondition is an expression that looks like one of the language. Most are
// taken, and some fail for every call.
func anyCondition(t *rapid.T, depth int) string {
	one := func(of ...string) string { return rapid.SampledFrom(of).Draw(t, "part") }
	if depth == 0 {
		return one("r.env.args.n", "r.env.args.o.n", "r.env.args.s", "r.env.args.yes", "r.env.args.list", "r.env.depth", "r.env.agent", "r.env.time.hour", "1", "4", "2.5", "'a'", "'agent:a'", "true", "false")
	}
	sub := func() string { return anyCondition(t, rapid.IntRange(0, depth-1).Draw(t, "depth")) }
	switch rapid.IntRange(0, 6).Draw(t, "form") {
	case 0:
		return sub() + one(" && ", " || ") + sub()
	case 1:
		return "(" + sub() + ")"
	case 2:
		return one("!", "-") + "(" + sub() + ")"
	case 3:
		return sub() + one(" + ", " - ", " * ", " / ", " % ") + sub()
	case 4:
		return sub() + " in " + one("('a', 'b')", "(1, -4, 9)", "(4)", "r.env.args.list")
	}
	return sub() + one(" == ", " != ", " < ", " <= ", " > ", " >= ") + sub()
}

func TestConditionsMeanWhatCasbinMakesOfThem(t *testing.T) {
	enough(t, "3000")
	seen := tally{}
	rapid.Check(t, func(t *rapid.T) {
		condition := anyCondition(t, 4)
		p, err := policy.Load(policy.Source{Name: "p", Text: []byte("p, group:everyone, *, tool:s/x, call, \"" + condition + "\", allow, R")})
		if err != nil {
			seen["refused"]++
			return
		}
		for _, args := range argsOf {
			call := tool(by("agent:a"), "s", "x", args)
			agrees(t, p, call)
			word, _, _ := strings.Cut(said(p.Decide(call)), " ")
			seen[word]++
		}
	})
	t.Logf("decisions: %v", seen)
}

func TestManyMayAskAtOnce(t *testing.T) {
	p := load(t, shop)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 200 {
				amount, want := i*j%120, "allow R3"
				if amount > 100 {
					want = "deny"
				} else if amount > 50 {
					want = "ask O1 require_approval:group:finance by O1"
				}
				call := tool(by("agent:bot", "role:pay"), "stripe", "refund", fmt.Sprintf(`{"amount": %d}`, amount))
				if got := said(p.Decide(call)); got != want {
					t.Errorf("amount %d: %s, want %s", amount, got, want)
				}
			}
		})
	}
	group.Wait()
}
