package policy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/firewall/policy"
	"callgate/identity"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// yields is an upstream that answers at once.
type yields struct{}

func (yields) Forward(context.Context, *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		yield(firewall.Event{Body: firewall.Body{JSON: []byte(`{}`)}, Last: true}, nil)
	}
}

func (yields) Read(*firewall.Event) {}

// recorded makes calls through a gate under p, and is what that puts on record.
func recorded(t interface{ Fatal(...any) }, p *policy.Policy, calls []*firewall.Call) []audit.Record {
	var log audit.Memory
	var caller identity.Principal
	gate := firewall.New(firewall.Config{Stops: new(identity.Revocations),
		Verify: func(context.Context, string, string) (identity.Principal, error) { return caller, nil },
		Log:    &log, Runs: firewall.NewRuns(0, new(firewall.Memory), time.Now), Budgets: firewall.NewBudgets(time.Now), Approvals: firewall.NewApprovals(new(firewall.Memory), 0, time.Now), Now: time.Now,
	}, &firewall.Law{Policy: p})
	for _, c := range calls {
		caller = c.Caller
		c.Token = "x"
		var e *firewall.Error
		if err := gate.Do(context.Background(), c, yields{}, func(firewall.Event) error { return nil }); err != nil && !errors.As(err, &e) {
			t.Fatal(err)
		}
	}
	return log.Records()
}

// replay asks b about records, as they stand in a ledger.
func replay(records []audit.Record, add func(*firewall.Past)) (other int) {
	var past firewall.Past
	for i := range records {
		doc, _ := json.Marshal(&records[i])
		ok, why := past.Read(doc)
		if ok {
			add(&past)
		} else if why != "" {
			other++
		}
	}
	return other
}

// A policy that is asked about what it has decided itself decides it again: what
// is on record is enough.
func TestWhatWasDecidedIsDecidedAgain(t *testing.T) {
	enough(t, "500")
	compared, unknown := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		p, err := policy.Load(policy.Source{Name: "p", Text: []byte(strings.Join(anyPolicy(t), "\n"))})
		if err != nil {
			t.Skip(err)
		}
		var calls []*firewall.Call
		for range 4 {
			caller := anyCaller(t)
			if len(caller.Actors) == 0 { // a token of nobody's passes no gate
				caller.Subject = "agent:a"
			}
			call := anyCall(t, caller)
			call.Method, call.Approval = "tools/call", "" // which the gate gives it
			if call.Kind == firewall.Model {
				call.Method = "chat"
			}
			if strings.HasPrefix(string(call.Args()), "{") || call.ArgsAt == "" {
				calls = append(calls, call)
			}
		}
		b := policy.NewBacktest(p, 1)
		replay(recorded(t, p, calls), b.Add)
		if len(b.Changes()) > 0 {
			t.Fatalf("%+v", b.Changes())
		}
		compared += b.Same
		for _, n := range b.Unknown {
			unknown += n
		}
	})
	if compared == 0 || unknown > 0 {
		t.Errorf("%d calls were compared, and %d not", compared, unknown)
	}
}

func TestABacktestTellsWhatWouldBeOtherwise(t *testing.T) {
	then := load(t, `
p,  agent:a, *, tool:s/*,  call, true, allow, R1
p,  agent:a, *, tool:s/no, call, true, deny,  R2
p2, agent:a, *, tool:s/ask, call, true, allow, require_approval:group:g, R3
p2, agent:a, *, tool:s/few, call, true, allow, limit:calls=1/1h, R4
g,  user:u, group:g, default`)
	var calls []*firewall.Call
	for _, at := range []string{"x", "x", "y", "no", "ask", "few", "few", "z"} {
		calls = append(calls, tool(by("agent:a"), "s", at, fmt.Sprintf(`{"n":%d}`, len(calls))))
	}
	calls = append(calls, tool(by("agent:a"), "s", "big", `{"n":1,"text":"`+strings.Repeat("x", 9000)+`"}`), tool(by("agent:b"), "s", "x", `{}`))
	records := recorded(t, then, calls)
	masked := records[0]
	masked.Call, masked.Findings = "masked", []audit.Finding{{Guard: "secrets", Where: "request/arguments/n", Action: "mask"}}
	old := records[0]
	old.Call, old.Env = "old", nil
	b := policy.NewBacktest(load(t, `
p,  agent:a, *, tool:s/x,   call, r.env.args.n < 1, allow, N1
p,  agent:a, *, tool:s/no,  call, true, allow, N2
p,  agent:a, *, tool:s/ask, call, true, allow, N3
p,  agent:a, *, tool:s/few, call, true, allow, N4
p,  agent:a, *, tool:s/z,   call, true, allow, N5
p2, agent:a, *, tool:s/z,   call, true, allow, require_approval:group:g, N6
p,  agent:a, *, tool:s/big, call, r.env.args.n == 1, allow, N7
p,  agent:c, *, tool:s/big, call, true, allow, N8
g,  user:u, group:g, default`), 1)
	other := replay(append(records, masked, old), b.Add)
	var got []string
	for _, c := range b.Changes() {
		if len(c.Samples) != 1 || len(c.Samples[0]) != 36 {
			t.Errorf("samples of %+v", c)
		}
		got = append(got, fmt.Sprintf("%s %d: %s %s, %q then %q", c.Kind, c.Count, c.Agent, c.Object, c.Before, c.After))
	}
	want := []string{
		`newly allowed 1: agent:a tool:s/no, "R2" then "N2"`,
		`newly asked 1: agent:a tool:s/z, "R1" then "N6"`,
		`newly denied 1: agent:a tool:s/x, "R1" then ""`,
		`newly denied 1: agent:a tool:s/y, "R1" then ""`,
		`no longer asked 1: agent:a tool:s/ask, "R3" then "N3"`,
		`other duties 1: agent:a tool:s/few, "R1" then "N4"`,
		`other duties 1: agent:a tool:s/few, "Lcalls" then "N4"`,
	}
	want[6] = `other duties 1: agent:a tool:s/few, "R4" then "N4"` // the one that the limit refused was allowed by the policy, too
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"args.n": 2, "roles": 1}, b.Unknown); diff != "" {
		t.Errorf("not recorded: %s", diff)
	}
	if b.Calls != 9 || b.Same != 2 || other != 0 {
		t.Errorf("%d calls, %d the same, %d refused otherwise", b.Calls, b.Same, other)
	}
	if diff := cmp.Diff([]string{"N7", "N8"}, b.Idle()); diff != "" {
		t.Errorf("idle: %s", diff)
	}
}

// Whatever an agent did, the policy that is suggested for it allows it again.
func TestASuggestionAllowsWhatWasDone(t *testing.T) {
	enough(t, "400")
	done := 0
	rapid.Check(t, func(t *rapid.T) {
		everything, err := policy.Load(policy.Source{Name: "p", Text: []byte("p, group:everyone, *, tool:*, call, true, allow, R1\np, group:everyone, *, resource:*, read, true, allow, R2\np, group:everyone, *, model:*, generate, true, allow, R3")})
		if err != nil {
			t.Fatal(err)
		}
		var calls []*firewall.Call
		for i := range rapid.IntRange(1, 12).Draw(t, "calls") {
			caller := by("agent:a")
			if rapid.Bool().Draw(t, "for somebody") {
				caller = identity.Principal{Tenant: "default", Subject: "user:u", Actors: []string{"agent:a"}}
			}
			switch rapid.IntRange(0, 5).Draw(t, "kind") {
			case 0:
				c := request(caller, firewall.Resource, "files", fmt.Sprintf("file:///srv/%s/%d.txt", rapid.SampledFrom([]string{"a", "b"}).Draw(t, "folder"), i), "")
				c.Method = "resources/read"
				calls = append(calls, c)
			case 1:
				c := request(caller, firewall.Model, "openai", rapid.SampledFrom([]string{"gpt-5", "o, \"x\"", "a*b"}).Draw(t, "model"), "")
				c.Method = "chat"
				calls = append(calls, c)
			default:
				args := map[string]any{}
				for _, name := range []string{"n", "s", "yes", "api_key", "a-b", "mix"} {
					if rapid.IntRange(0, 4).Draw(t, "there") > 0 {
						args[name] = rapid.SampledFrom([]any{-5, 1.5, 1e300, "a", "it's", "r.txt", "2026-11-23", true, false, nil, []any{1}, "x y", "ana@example.com", "long " + strings.Repeat("x", 50)}).Draw(t, "value")
					}
				}
				doc, _ := json.Marshal(args)
				c := tool(caller, "s", rapid.SampledFrom([]string{"x", "y"}).Draw(t, "tool"), string(doc))
				c.Method = "tools/call"
				calls = append(calls, c)
			}
		}
		records := recorded(t, everything, calls)
		s := policy.NewSuggestion("agent:a")
		replay(records, s.Add)
		rows, n := s.Rows(time.Unix(0, 0), time.Now())
		if strings.Contains(string(rows), "ana@") || strings.Contains(string(rows), "api_key") {
			t.Fatalf("values that should not be written down:\n%s", rows)
		}
		p, err := policy.Load(policy.Source{Name: "suggested", Text: rows})
		if err != nil {
			t.Fatalf("%v\n%s", err, rows)
		}
		b := policy.NewBacktest(p, 1)
		replay(records, b.Add)
		for _, c := range b.Changes() {
			if !strings.Contains(string(rows), "# no row can say this") {
				t.Fatalf("%+v\n%s", c, rows)
			}
		}
		done += n
	})
	if done == 0 {
		t.Error("nothing was done")
	}
}

func TestASuggestionTellsRanges(t *testing.T) {
	p := load(t, "p, agent:a, *, tool:*, call, true, allow, R1\np, agent:a, *, resource:*, read, true, allow, R2")
	var calls []*firewall.Call
	for i := range 3 {
		calls = append(calls, tool(by("agent:a"), "s", "pay", fmt.Sprintf(`{"amount":%d,"to":"%s","currency":"EUR","force":false,"note":"n%d","password":"x","temperature":-%d}`, 10*i, []string{"bob", "ben", "bob"}[i], i, i)))
	}
	for i := range 9 {
		c := request(by("agent:a"), firewall.Resource, "files", fmt.Sprintf("file:///srv/docs/%d.txt", i), "")
		c.Method = "resources/read"
		calls = append(calls, c)
	}
	s := policy.NewSuggestion("agent:a")
	replay(recorded(t, p, calls), s.Add)
	rows, _ := s.Rows(time.Unix(0, 0), time.Now())
	var got []string
	for line := range strings.Lines(string(rows)) {
		if !strings.HasPrefix(line, "#") && line != "\n" {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := []string{
		"p, agent:a, *, resource:files|file:///srv/docs/*, read, true, allow, S1",
		`p, agent:a, *, tool:s/pay, call, "r.env.args.amount <= 20 && r.env.args.currency == 'EUR' && !r.env.args.force && r.env.args.note in ('n0', 'n1', 'n2') && r.env.args.temperature >= -2 && r.env.args.temperature <= 0 && r.env.args.to in ('ben', 'bob')", allow, S2`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}
