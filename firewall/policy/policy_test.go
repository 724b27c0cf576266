package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"callgate/firewall"
	"callgate/firewall/policy"
	"callgate/identity"

	"github.com/google/go-cmp/cmp"
)

// load makes a policy of rows, which must be good.
func load(t testing.TB, rows string) *policy.Policy {
	t.Helper()
	p, err := policy.Load(policy.Source{Name: "policy.csv", Text: []byte(rows)})
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return p
}

// monday is when test calls are made.
var monday = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)

// by is an agent that acts alone, with roles of the registry.
func by(agent string, roles ...string) identity.Principal {
	return identity.Principal{Tenant: "default", Subject: agent, Roles: roles}
}

// request is a call of kind by caller; args are "" for none.
func request(caller identity.Principal, kind firewall.Kind, target, resource, args string) *firewall.Call {
	c := &firewall.Call{Kind: kind, Target: target, Resource: resource, Caller: caller, At: monday}
	if args != "" {
		c.Body.JSON, c.ArgsAt = []byte(`{"name":"x","arguments":`+args+`}`), "arguments"
	}
	return c
}

func tool(caller identity.Principal, server, name, args string) *firewall.Call {
	return request(caller, firewall.Tool, server, name, args)
}

// said is a decision in short: allow R1, ask O1 (group:finance), deny R2, error R3 or deny.
func said(d firewall.Decision) string {
	s := d.Effect.String()
	if strings.Contains(d.Reason, "could not be evaluated") {
		s = "error"
	}
	if d.Rule != "" {
		s += " " + d.Rule
	}
	for _, o := range d.Obligations {
		s += fmt.Sprintf(" %s:%s by %s", o.Do, o.With, o.Rule)
	}
	return s
}

// The rows of the reference, in the words of this version.
const shop = `
p,  role:dev, *, tool:github/*,       call,     true,                                               allow, R1
p,  role:dev, *, class:destructive,   call,     true,                                               deny,  R2
p,  role:pay, default, tool:stripe/refund, call, r.env.args.amount <= 100 && r.env.time.weekday < 6, allow, R3
p,  role:dev, *, model:anthropic/*,   generate, r.env.depth == 0,                                   allow, R4
p2, role:pay, *, tool:stripe/refund,  call,     r.env.args.amount > 50,                             allow, require_approval:group:finance, O1
g,  agent:bot, role:dev, default
g2, tool:github/delete_repo, class:destructive
`

func TestDecideAnswersWhatTheRowsSay(t *testing.T) {
	p := load(t, shop)
	bot := by("agent:bot", "role:pay")
	saturday := tool(bot, "stripe", "refund", `{"amount": 5}`)
	saturday.At = monday.AddDate(0, 0, 5)
	for _, tt := range []struct {
		name string
		call *firewall.Call
		want string
	}{
		{"a pattern allows what begins with it", tool(bot, "github", "list", `{}`), "allow R1"},
		{"a deny on a class beats an allow", tool(bot, "github", "delete_repo", `{}`), "deny R2"},
		{"a condition on an argument that holds allows", tool(bot, "stripe", "refund", `{"amount": 40}`), "allow R3"},
		{"an obligation makes an allowed call wait", tool(bot, "stripe", "refund", `{"amount": 90}`), "ask O1 require_approval:group:finance by O1"},
		{"an obligation adds nothing to a denied call", tool(bot, "stripe", "refund", `{"amount": 900}`), "deny"},
		{"a condition reads the day", saturday, "deny"},
		{"a model is an object like any other", request(bot, firewall.Model, "anthropic", "sonnet", ""), "allow R4"},
		{"embedding is not generating", &firewall.Call{Kind: firewall.Model, Target: "anthropic", Method: "embeddings", Resource: "x", Caller: bot}, "deny"},
		{"what no row names is denied", tool(bot, "other", "x", `{}`), "deny"},
		{"an argument that is missing denies", tool(bot, "stripe", "refund", `{}`), "error R3"},
		{"arguments that are missing deny", tool(bot, "stripe", "refund", ""), "error R3"},
		{"an argument of another sort denies", tool(bot, "stripe", "refund", `{"amount": "5"}`), "error R3"},
		{"an argument that is null denies", tool(bot, "stripe", "refund", `{"amount": null}`), "error R3"},
		{"arguments that are no object deny", tool(bot, "stripe", "refund", `[5]`), "error R3"},
		{"somebody else has none of it", tool(by("agent:other"), "github", "list", `{}`), "deny"},
		{"a role of the registry counts where the caller has it", tool(by("agent:other", "role:dev"), "github", "list", `{}`), "allow R1"},
		{"a session needs an identity and nothing more", request(by("agent:other"), firewall.Session, "", "", ""), "allow identity"},
		{"a list needs an identity and nothing more", request(by("agent:other"), firewall.List, "github", "", ""), "allow identity"},
		{"a list needs an identity", request(identity.Principal{}, firewall.List, "github", "", ""), "deny"},
		{"a caller without a tenant is not known", tool(identity.Principal{Subject: "agent:bot", Roles: []string{"role:dev"}}, "github", "list", `{}`), "deny"},
		{"an actor without a name is not known", request(identity.Principal{Tenant: "default", Subject: "agent:bot", Actors: []string{""}}, firewall.List, "", "", ""), "deny"},
		{"a call of no kind is denied", request(bot, 0, "github", "list", `{}`), "deny"},
		{"a call of no target is denied", tool(bot, "", "list", `{}`), "deny"},
		{"a call of nothing is denied", tool(bot, "github", "", `{}`), "deny"},
		{"a target that could be read as two names is denied", tool(bot, "github/x", "list", `{}`), "deny"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := p.Decide(tt.call)
			if got := said(d); got != tt.want {
				t.Errorf("Decide = %q (%s), want %q", got, d.Reason, tt.want)
			}
			if d.Policy != p.Digest() || len(d.Policy) != 12 {
				t.Errorf("Policy = %q, want the digest %q", d.Policy, p.Digest())
			}
			if d.Effect != firewall.Allow && d.Reason == "" {
				t.Error("a refusal without a reason")
			}
		})
	}
}

func TestARefusalSaysWhatHelps(t *testing.T) {
	p := load(t, shop+`
p, user:ana, *, resource:docs|*, read, r.env.args.secret == 'x', allow, R5
p, agent:bot, *, resource:docs|*, read, true, allow, R6
p, agent:bot, *, prompt:docs/*, get, true, deny, R7
`)
	bot := by("agent:bot", "role:pay")
	forAna := identity.Principal{Tenant: "default", Subject: "user:ana", Actors: []string{"agent:bot"}}
	for _, tt := range []struct {
		name string
		call *firewall.Call
		want string
	}{
		{"no rule", tool(bot, "files", "write_file", `{}`), "no rule allows agent:bot to call tool:files/write_file"},
		{"no rule for a model", request(bot, firewall.Model, "openai", "gpt", ""), "no rule allows agent:bot to generate with model:openai/gpt"},
		{"no rule for one that is acted for", tool(forAna, "github", "list", `{}`), "no rule allows user:ana, for whom agent:bot acts, to call tool:github/list"},
		{"a rule that denies", request(bot, firewall.Prompt, "docs", "x", ""), "rule R7 forbids agent:bot to get prompt:docs/x"},
		{"an argument that is missing", tool(bot, "stripe", "refund", `{}`), "rule R3 could not be evaluated for agent:bot, so the call is denied: the call has no argument amount"},
		{"an argument of another sort, without its value", tool(bot, "stripe", "refund", `{"amount":"4111 1111"}`),
			"rule R3 could not be evaluated for agent:bot, so the call is denied: an argument is of another sort than the condition was written for"},
		{"a person who must approve", tool(bot, "stripe", "refund", `{"amount":60}`), "rule O1 asks that someone of group:finance approves this call first"},
		{"a name that is long, in short", tool(bot, "files", strings.Repeat("ä", 1000), `{}`), "no rule allows agent:bot to call tool:files/" + strings.Repeat("ä", 94) + "…"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := p.Decide(tt.call).Reason; got != tt.want {
				t.Errorf("Reason = %q\nwant     %q", got, tt.want)
			}
		})
	}
}

func TestEveryPrincipalOfAChainMustBeAllowed(t *testing.T) {
	p := load(t, `
p, agent:bot, *, tool:shop/*, call, true, allow, BOT
p, agent:helper, *, tool:shop/read, call, true, allow, HELPER
p, user:ana, *, tool:shop/*, call, true, allow, ANA
p, user:eve, *, tool:shop/*, call, true, allow, EVE
p, user:eve, *, tool:shop/pay, call, true, deny, NOT-EVE
p, role:admin, *, tool:*, call, true, allow, ADMIN
p2, user:ana, *, tool:shop/pay, call, true, allow, require_approval:group:finance, ANA-PAYS
p2, group:everyone, *, tool:shop/pay, call, true, allow, require_approval:group:audit, ALL-PAY
`)
	chain := func(subject string, actors ...string) identity.Principal {
		return identity.Principal{Tenant: "default", Subject: subject, Actors: actors}
	}
	admin := chain("user:nobody", "agent:bot")
	admin.Roles = []string{"role:admin"}
	for _, tt := range []struct {
		name string
		call *firewall.Call
		want string
	}{
		{"both may", tool(chain("user:ana", "agent:bot"), "shop", "read", ""), "allow BOT"},
		{"three may", tool(chain("user:ana", "agent:helper", "agent:bot"), "shop", "read", ""), "allow HELPER"},
		{"the middle may not", tool(chain("user:ana", "agent:bot", "agent:helper"), "shop", "sell", ""), "deny"},
		{"the root may not", tool(chain("user:eve", "agent:bot"), "shop", "pay", ""), "deny NOT-EVE"},
		{"the agent's roles do not rub off on whom it acts for", tool(admin, "shop", "read", ""), "deny"},
		{"what the root owes, the call owes, and what all owe it owes once", tool(chain("user:ana", "agent:bot"), "shop", "pay", ""),
			"ask ANA-PAYS require_approval:group:finance by ANA-PAYS require_approval:group:audit by ALL-PAY"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := said(p.Decide(tt.call)); got != tt.want {
				t.Errorf("Decide = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestEachObligationIsAskedForAlone(t *testing.T) {
	p := load(t, `
p,  role:a, *, tool:x/y, call, true, allow, R1
p2, role:a, *, tool:x/y, call, r.env.args.missing == 1, allow, require_approval:group:one, O1
p2, role:a, *, tool:x/y, call, r.env.args.n > 5, allow, require_approval:group:two, O2
p2, role:a, *, tool:x/*, call, r.env.args.n > 0, allow, require_approval:group:three, O3
p2, role:b, *, tool:x/*, call, true, allow, require_approval:group:four, O4
`)
	call := tool(by("agent:a", "role:a"), "x", "y", `{"n": 1}`)
	if got, want := said(p.Decide(call)), "ask O1 require_approval:group:one by O1 require_approval:group:three by O3"; got != want {
		t.Errorf("Decide = %q, want %q: one that cannot be evaluated applies, and says nothing of the next", got, want)
	}
	agrees(t, p, call)
}

func TestConditionsReadTheCall(t *testing.T) {
	caller := identity.Principal{Tenant: "default", Subject: "user:ana", Actors: []string{"agent:bot", "agent:boss"}}
	args := `{"n": 5, "s": "text", "yes": true, "nil": null, "list": ["a", "b", 3], "deep": {"er": {"n": 7}}, "0": "zero", "_x": 1, "Größe": 9, "am\u006funt": 12, "objects": [{}], "big": 12345678901234567890}`
	for _, tt := range []struct{ condition, want string }{
		{"r.env.args.n == 5", "allow R"},
		{"r.env.args.n != 5", "deny"},
		{"r.env.args.n + 1 > 5 && r.env.args.n * 2 - 1 == 9", "allow R"},
		{"-r.env.args.n < -4", "allow R"},
		{"r.env.args.s == 'text'", "allow R"},
		{"r.env.args.s == 'Text'", "deny"},
		{"r.env.args.yes", "allow R"},
		{"!r.env.args.yes", "deny"},
		{"r.env.args.yes == true", "allow R"},
		{"r.env.args.nil == r.env.args.nil", "allow R"},
		{"r.env.args.nil == 0", "deny"},
		{"r.env.args.nil > 0", "error R"},
		{"'a' in r.env.args.list", "allow R"},
		{"3 in r.env.args.list", "allow R"},
		{"'z' in r.env.args.list", "deny"},
		{"'z' in r.env.args.s", "error R"},
		{"r.env.args.list in r.env.args.list", "deny"},
		{"r.env.args.deep in r.env.args.objects", "error R"},
		{`"r.env.args.s in ('a', 'text')"`, "allow R"},
		{"r.env.args.s in ('text')", "allow R"},
		{`"r.env.args.n in (-5, 4)"`, "deny"},
		{"r.env.args.deep.er.n == 7", "allow R"},
		{"r.env.args.deep.er.x == 7", "error R"},
		{"r.env.args.n.x == 7", "error R"},
		{"r.env.args.list.0 == 'a'", "error R"},
		{"r.env.args.0 == 'zero'", "allow R"},
		{"r.env.args._x == 1", "allow R"},
		{"r.env.args.Größe == 9", "allow R"},
		{"r.env.args.größe == 9", "error R"},
		{"r.env.args.amount == 12", "allow R"},
		{"r.env.args.big > 9007199254740992", "allow R"},
		{"r.env.args.n", "error R"},
		{"r.env.args.missing == 1", "error R"},
		{"r.env.agent == 'agent:bot' && r.env.actor == 'agent:bot' && r.env.root == 'user:ana' && r.env.depth == 2", "allow R"},
		{"r.env.agent == 'agent:eve' && r.env.args.missing == 1", "deny"},
		{"r.env.agent == 'agent:bot' || r.env.args.missing == 1", "allow R"},
		{"r.env.time.hour == 9 && r.env.time.weekday == 1 && r.env.time.unix == 1795426200", "allow R"},
		{"r.env.model == ''", "allow R"},
		{"(r.env.args.n > 1 && !(r.env.args.n > 9)) || false", "allow R"},
		{`"r.env.args.s == ""text"""`, "allow R"},
	} {
		t.Run(tt.condition, func(t *testing.T) {
			p := load(t, "p, group:everyone, *, tool:shop/x, call, "+tt.condition+", allow, R")
			call := tool(caller, "shop", "x", args)
			d := p.Decide(call)
			if got := said(d); got != tt.want {
				t.Errorf("Decide = %q (%s), want %q", got, d.Reason, tt.want)
			}
			agrees(t, p, call)
		})
	}
}

// agrees holds a decision to Casbin's own.
func agrees(t interface {
	Helper()
	Fatalf(string, ...any)
}, p *policy.Policy, call *firewall.Call) {
	t.Helper()
	got := p.Decide(call)
	want, err := p.Plain(call)
	failed := strings.Contains(got.Reason, "could not be evaluated")
	if failed != (err != nil) {
		t.Fatalf("Decide says %q, Casbin's error is %v", got.Reason, err)
	}
	if err != nil {
		want.Rule = got.Rule // Casbin does not name the row
	}
	got.Reason, want.Reason = "", ""
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("Casbin (-) and Decide (+) differ:\n%s", diff)
	}
}

func TestMayIsSureOnlyWhereTheCallCannotChangeIt(t *testing.T) {
	p := load(t, shop+`
p, role:dev, *, tool:shop/*, call, r.env.args.n > 1 && r.env.agent == 'agent:x', allow, R8
p, role:dev, *, tool:mail/*, call, r.env.agent == 'agent:x' && r.env.args.n > 1, allow, R9
p, role:dev, *, tool:sms/*, call, true, allow, R10
p, role:dev, *, tool:sms/send, call, r.env.time.hour < 8, deny, R11
p, role:dev, *, tool:fax/*, call, r.env.args.n > 1, allow, R12
p, role:dev, *, tool:fax/send, call, true, deny, R13
p, role:dev, *, tool:post/*, call, true, allow, R14
p2, role:dev, *, tool:post/send, call, true, allow, require_approval:group:finance, O2
p, role:dev, *, tool:wire/*, call, r.env.args.n > 1, allow, R16
p, role:dev, *, tool:wire/*, call, r.env.depth > 0, deny, R17
p, role:dev, *, tool:wire/*, call, r.env.depth == 0, allow, R18
p, role:dev, *, tool:ring/*, call, r.env.args.n > 1, deny, R19
p, role:dev, *, tool:ring/*, call, r.env.depth > 0, allow, R20
p, role:dev, *, model:openai/gpt, generate, r.env.model == 'openai/gpt', allow, R15
`)
	bot := by("agent:bot", "role:pay")
	forAna := identity.Principal{Tenant: "default", Subject: "user:ana", Actors: []string{"agent:bot"}}
	for _, tt := range []struct {
		name           string
		caller         identity.Principal
		object, action string
		want           firewall.Answer
	}{
		{"an allow without a condition is sure", bot, "tool:github/list", "call", firewall.Yes},
		{"a deny is sure", bot, "tool:github/delete_repo", "call", firewall.No},
		{"no rule is sure", bot, "tool:other/x", "call", firewall.No},
		{"another action is another question", bot, "tool:github/list", "read", firewall.No},
		{"no action is every action", bot, "tool:github/list", "*", firewall.No},
		{"nothing is no object", bot, "", "call", firewall.No},
		{"an argument may decide", bot, "tool:stripe/refund", "call", firewall.Depends},
		{"an argument that is read first may decide", bot, "tool:shop/x", "call", firewall.Depends},
		{"what is known already decides", bot, "tool:mail/x", "call", firewall.No},
		{"a deny may depend on the time", bot, "tool:sms/send", "call", firewall.Depends},
		{"a deny that is sure beats what may be", bot, "tool:fax/send", "call", firewall.No},
		{"a person may have to approve", bot, "tool:post/send", "call", firewall.Depends},
		{"an allow that is sure does not outweigh a condition that may fail", bot, "tool:wire/x", "call", firewall.Depends},
		{"where only a deny may hold, the answer is no", bot, "tool:ring/x", "call", firewall.No},
		{"the model is known", bot, "model:openai/gpt", "generate", firewall.Yes},
		{"nobody may anything", identity.Principal{}, "tool:github/list", "call", firewall.No},
		{"one of the chain may not", forAna, "tool:github/list", "call", firewall.No},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := p.May(&tt.caller, tt.object, tt.action); got != tt.want {
				t.Errorf("May = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestTheDigestIsOfWhatDecides(t *testing.T) {
	const rows = "p, role:a, *, tool:x/y, call, true, allow, R1\ng, agent:b, role:a, default\n"
	base := load(t, rows).Digest()
	for _, tt := range []struct {
		name, rows string
		same       bool
	}{
		{"comments, space and line ends do not count", "\uFEFF# mine\r\n\r\np,role:a,*,tool:x/y,  call, \"true\" ,allow,R1\r\n g, agent:b, role:a, default", true},
		{"another condition does", strings.Replace(rows, "true", "r.env.depth == 0", 1), false},
		{"another id does", strings.Replace(rows, "R1", "R2", 1), false},
		{"a row less does", "p, role:a, *, tool:x/y, call, true, allow, R1\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := load(t, strings.ReplaceAll(tt.rows, `"true" `, `"true"`)).Digest(); (got == base) != tt.same {
				t.Errorf("digest %s, base %s", got, base)
			}
		})
	}
	if none := load(t, "").Digest(); len(none) != 12 || none == base {
		t.Errorf("digest of no rows = %q", none)
	}
}

func TestWithoutRowsEveryCallIsDenied(t *testing.T) {
	p, err := policy.Load()
	if err != nil {
		t.Fatal(err)
	}
	if got := said(p.Decide(tool(by("agent:bot"), "x", "y", ""))); got != "deny" {
		t.Errorf("Decide = %q", got)
	}
	if got := said(p.Decide(request(by("agent:bot"), firewall.Session, "", "", ""))); got != "allow identity" {
		t.Errorf("Decide of a session = %q", got)
	}
}

func TestTheObjectThatIsLookedUpIsTheCallsOwn(t *testing.T) {
	for _, kind := range []firewall.Kind{firewall.Model, firewall.Tool, firewall.Resource, firewall.Prompt} {
		call := request(by("agent:bot"), kind, "x", "a/b|c", "")
		action := "*"
		p := load(t, "p, agent:bot, *, "+call.Object()+", "+action+", true, allow, R1\n")
		if got := said(p.Decide(call)); got != "allow R1" {
			t.Errorf("%s: a rule for %s says %q", kind, call.Object(), got)
		}
	}
}

func TestWhatATokenIsBoundToCanBeAskedFor(t *testing.T) {
	p := load(t, "p, agent:payer, *, tool:bank/*, call, r.env.bound == 'dpop' || r.env.bound == 'mtls', allow, B1\n")
	for bound, want := range map[string]firewall.Effect{"": firewall.Deny, identity.ByProof: firewall.Allow, identity.ByCertificate: firewall.Allow} {
		caller := by("agent:payer")
		caller.Bound = bound
		if d := p.Decide(request(caller, firewall.Tool, "bank", "pay", "{}")); d.Effect != want {
			t.Errorf("bound %q: %v, want %v", bound, d, want)
		}
	}
}
