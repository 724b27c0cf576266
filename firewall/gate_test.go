package firewall_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"

	"github.com/google/go-cmp/cmp"
)

// verify knows two tokens, so that tests need no keys.
func verify(_ context.Context, token, _ string) (identity.Principal, error) {
	switch token {
	case "bot-token":
		return identity.Principal{Tenant: "default", Subject: "agent:bot", TokenID: "jti-1"}, nil
	case "other-token":
		return identity.Principal{Tenant: "default", Subject: "agent:other", TokenID: "jti-2"}, nil
	}
	return identity.Principal{}, errors.New("the token is not valid here")
}

// rules is a policy of exact objects.
type rules map[string]firewall.Effect

func (r rules) Decide(call *firewall.Call) firewall.Decision {
	switch call.Kind {
	case firewall.Session, firewall.List:
		return firewall.Decision{Effect: firewall.Allow, Rule: "identity", Policy: "p1"}
	}
	e, ok := r[call.Object()]
	if !ok {
		return firewall.Decision{Reason: "no rule allows " + call.Object(), Policy: "p1"}
	}
	d := firewall.Decision{Effect: e, Rule: "R1", Reason: "rule R1", Policy: "p1"}
	if e == firewall.Ask {
		d.Obligations = []firewall.Obligation{{Do: firewall.RequireApproval, With: "group:finance", Rule: "R1"}}
	}
	return d
}

func (rules) Member(_, _, _ string) bool { return false }

func (rules) Groups(_, _ string) []string { return nil }

func (rules) Names(*identity.Principal, string, string) bool { return false }

func (r rules) May(_ *identity.Principal, object, _ string) firewall.Answer {
	if r[object] == firewall.Deny {
		return firewall.No
	}
	return firewall.Yes
}

// replies is an upstream that yields what it is given and notes that it was asked.
type replies struct {
	events []firewall.Event
	err    error
	asked  int
	freed  bool
	before func() // called when asked
}

func (u *replies) Forward(context.Context, *firewall.Call) firewall.Events {
	u.asked++
	if u.before != nil {
		u.before()
	}
	return func(yield func(firewall.Event, error) bool) {
		defer func() { u.freed = true }()
		for _, ev := range u.events {
			if !yield(ev, nil) {
				return
			}
		}
		if u.err != nil {
			yield(firewall.Event{}, u.err)
		}
	}
}

func (u *replies) Read(*firewall.Event) {}

func newGate(log audit.Log, policy firewall.Policy, guards ...firewall.Guard) *firewall.Gate {
	return firewall.New(config(log), &firewall.Law{Policy: policy, Guards: guards})
}

func config(log audit.Log) firewall.Config {
	return firewall.Config{
		Stops:  new(identity.Revocations),
		Verify: verify, Log: log, Runs: firewall.NewRuns(0, new(firewall.Memory), time.Now), Budgets: firewall.NewBudgets(time.Now), Approvals: firewall.NewApprovals(new(firewall.Memory), 0, time.Now), Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
}

func toolCall(tool, args string) *firewall.Call {
	body, err := firewall.ParseBody([]byte(`{"name":"`+tool+`","arguments":`+args+`}`), firewall.Limits{})
	if err != nil {
		panic(err)
	}
	return &firewall.Call{Kind: firewall.Tool, Target: "shop", Method: "tools/call", Resource: tool, Token: "bot-token", Body: body, ArgsAt: "arguments"}
}

func modelCall(results ...string) *firewall.Call {
	return &firewall.Call{Kind: firewall.Model, Target: "openai", Method: "chat", Resource: "gpt", Token: "bot-token",
		Body: firewall.Body{JSON: []byte(`{}`)}, Hints: firewall.Hints{Results: results}}
}

func event(doc string, last bool) firewall.Event {
	return firewall.Event{Body: firewall.Body{JSON: []byte(doc)}, Last: last}
}

func types(records []audit.Record) string {
	var s []string
	for _, r := range records {
		s = append(s, strings.TrimSuffix(string(r.Type)+":"+r.Outcome, ":"))
	}
	return strings.Join(s, " ")
}

var everything = rules{"tool:shop/refund": firewall.Allow, "tool:shop/full-refund": firewall.Allow, "model:openai/gpt": firewall.Allow, "tool:shop/pay": firewall.Ask}

func TestEveryOutcomeOfACallIsOnRecord(t *testing.T) {
	boom := errors.New("connection reset")
	for _, tt := range []struct {
		name    string
		call    *firewall.Call
		up      *replies
		down    error
		code    firewall.Code
		records string
		asked   int
	}{
		{"an allowed call is opened before it is forwarded and closed before its last event", toolCall("refund", `{}`),
			&replies{events: []firewall.Event{event(`1`, true)}}, nil, 0, "opened closed:ok", 1},
		{"a call without a rule is refused and never forwarded", toolCall("drop", `{}`), &replies{}, nil, firewall.Denied, "refused:denied", 0},
		{"a call that needs a person is refused as pending", toolCall("pay", `{}`), &replies{}, nil, firewall.Pending, "refused:pending", 0},
		{"a caller without a valid token is refused", &firewall.Call{Kind: firewall.List, Token: "forged"}, &replies{}, nil, firewall.Unauthenticated, "refused:unauthenticated", 0},
		{"a caller without any token is refused", &firewall.Call{Kind: firewall.List}, &replies{}, nil, firewall.Unauthenticated, "refused:unauthenticated", 0},
		{"a call of no kind is refused", &firewall.Call{Token: "bot-token"}, &replies{}, nil, firewall.Denied, "refused:denied", 0},
		{"a list is told by one record", &firewall.Call{Kind: firewall.List, Method: "tools/list", Token: "bot-token"},
			&replies{events: []firewall.Event{event(`[]`, true)}}, nil, 0, "closed:ok", 1},
		{"an upstream that fails closes the call with its cause", toolCall("refund", `{}`), &replies{err: boom}, nil, firewall.Internal, "opened closed:internal", 1},
		{"an upstream that says why is believed", toolCall("refund", `{}`),
			&replies{err: firewall.Refuse(firewall.Timeout, "shop did not answer")}, nil, firewall.Timeout, "opened closed:timeout", 1},
		{"a stream that ends without its last event is closed all the same", modelCall(), &replies{events: []firewall.Event{event(`1`, false)}}, nil, 0, "opened closed:ok", 1},
		{"a stream that breaks is closed with the error", modelCall(),
			&replies{events: []firewall.Event{event(`1`, false)}, err: firewall.Refuse(firewall.Unavailable, "cut")}, nil, firewall.Unavailable, "opened closed:unavailable", 1},
		{"an agent that hangs up is on record", modelCall(), &replies{events: []firewall.Event{event(`1`, false)}}, boom, firewall.Canceled, "opened closed:canceled", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log audit.Memory
			err := newGate(&log, everything).Do(context.Background(), tt.call, tt.up, func(firewall.Event) error { return tt.down })
			var e *firewall.Error
			if errors.As(err, &e); (err != nil) != (e != nil) || e != nil && (e.Code != tt.code || e.Call != tt.call.ID) || e == nil && tt.code != 0 {
				t.Errorf("error = %v, want code %v of call %s", err, tt.code, tt.call.ID)
			}
			if got := types(log.Records()); got != tt.records {
				t.Errorf("records = %q, want %q", got, tt.records)
			}
			if tt.up.asked != tt.asked {
				t.Errorf("forwarded %d times, want %d", tt.up.asked, tt.asked)
			}
			if tt.asked > 0 && !tt.up.freed {
				t.Error("the upstream was not freed")
			}
			for _, r := range log.Records() {
				if r.Call != tt.call.ID {
					t.Errorf("record of call %q, want %q", r.Call, tt.call.ID)
				}
			}
		})
	}
}

func TestNothingHappensWithoutARecord(t *testing.T) {
	down := errors.New("no space left on device")
	for _, tt := range []struct {
		name  string
		call  *firewall.Call
		asked int
		want  string
	}{
		{"a tool is not called when its intent cannot be recorded", toolCall("refund", `{}`), 0, "could not be recorded"},
		{"a model's reply is held back when its intent cannot be recorded", modelCall(), 1, "could not be recorded"},
		{"a list is not answered when it cannot be recorded", &firewall.Call{Kind: firewall.List, Token: "bot-token"}, 1, "could not be recorded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log audit.Memory
			log.Fail(down)
			up := &replies{events: []firewall.Event{event(`1`, true)}}
			seen := 0
			err := newGate(&log, everything).Do(context.Background(), tt.call, up, func(firewall.Event) error { seen++; return nil })
			if !errors.Is(err, down) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v", err)
			}
			if up.asked != tt.asked || seen != 0 {
				t.Errorf("forwarded %d times, %d events went down; want %d and 0", up.asked, seen, tt.asked)
			}
		})
	}
}

func TestAnActWhoseOutcomeCannotBeRecordedSaysSo(t *testing.T) {
	var log audit.Memory
	up := &replies{events: []firewall.Event{event(`1`, true)}, before: func() { log.Fail(errors.New("disk gone")) }}
	seen := 0
	err := newGate(&log, everything).Do(context.Background(), toolCall("refund", `{}`), up, func(firewall.Event) error { seen++; return nil })
	if err == nil || !strings.Contains(err.Error(), "audit_outcome_unrecorded") || seen != 0 {
		t.Errorf("error = %v after %d events", err, seen)
	}
}

func TestAPanicIsAnErrorOnRecord(t *testing.T) {
	var log audit.Memory
	up := &replies{before: func() { panic("bug") }}
	err := newGate(&log, everything).Do(context.Background(), toolCall("refund", `{}`), up, nil)
	var e *firewall.Error
	if !errors.As(err, &e) || e.Code != firewall.Internal || strings.Contains(e.Reason, "bug") {
		t.Errorf("error = %v", err)
	}
	if got := types(log.Records()); got != "opened closed:internal" {
		t.Errorf("records = %q", got)
	}
}

// guard is a guard made of functions.
type guard struct {
	request func(*firewall.Call) (firewall.Decision, error)
	reply   func(firewall.Events) firewall.Events
}

func (guard) Name() string { return "test" }
func (g guard) Request(_ context.Context, c *firewall.Call) (firewall.Decision, error) {
	if g.request == nil {
		return firewall.Decision{Effect: firewall.Allow}, nil
	}
	return g.request(c)
}
func (g guard) Reply(_ context.Context, _ *firewall.Call, ev firewall.Events) firewall.Events {
	if g.reply == nil {
		return ev
	}
	return g.reply(ev)
}

func TestTheStrictestOfPolicyAndGuardsWins(t *testing.T) {
	for _, tt := range []struct {
		name  string
		call  *firewall.Call
		guard guard
		code  firewall.Code
		rule  string
	}{
		{"a guard denies what the policy allows", toolCall("refund", `{}`),
			guard{request: func(*firewall.Call) (firewall.Decision, error) {
				return firewall.Decision{Effect: firewall.Deny, Rule: "G", Reason: "no"}, nil
			}}, firewall.Denied, "G"},
		{"a guard does not allow what the policy denies", toolCall("drop", `{}`), guard{}, firewall.Denied, ""},
		{"a guard that errs refuses, and is named", toolCall("refund", `{}`),
			guard{request: func(*firewall.Call) (firewall.Decision, error) { return firewall.Decision{}, errors.New("down") }}, firewall.Unavailable, "test"},
		{"a guard that forgets to answer denies", toolCall("refund", `{}`),
			guard{request: func(*firewall.Call) (firewall.Decision, error) { return firewall.Decision{}, nil }}, firewall.Denied, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log audit.Memory
			err := newGate(&log, everything, tt.guard).Do(context.Background(), tt.call, &replies{}, nil)
			var e *firewall.Error
			if !errors.As(err, &e) || e.Code != tt.code || e.Rule != tt.rule {
				t.Errorf("error = %#v, want %v by %q", e, tt.code, tt.rule)
			}
		})
	}
}

func TestARefusedCallIsMaskedBeforeItIsRecorded(t *testing.T) {
	var log audit.Memory
	mask := guard{request: func(c *firewall.Call) (firewall.Decision, error) {
		c.Body.Rewrite(func(_ int, s firewall.Span) (string, bool) { return strings.ReplaceAll(s.Text, "hunter2", "***"), true })
		return firewall.Decision{Effect: firewall.Allow}, nil
	}}
	newGate(&log, everything, mask).Do(context.Background(), toolCall("drop", `{"password":"hunter2"}`), &replies{}, nil)
	if got := string(log.Records()[0].Args); got != `{"password":"***"}` {
		t.Errorf("recorded arguments = %s", got)
	}
}

func TestWhatNoGuardHasReadIsNotRecorded(t *testing.T) {
	failing := guard{request: func(*firewall.Call) (firewall.Decision, error) { return firewall.Decision{}, errors.New("down") }}
	for _, tt := range []struct {
		name   string
		refuse func(*firewall.Gate, *firewall.Call)
	}{
		{"a caller who is not known", func(g *firewall.Gate, c *firewall.Call) {
			c.Token = "forged"
			g.Do(context.Background(), c, &replies{}, nil)
		}},
		{"a guard that fails", func(g *firewall.Gate, c *firewall.Call) { g.Do(context.Background(), c, &replies{}, nil) }},
		{"a front door that makes no call of it", func(g *firewall.Gate, c *firewall.Call) {
			g.Refuse(context.Background(), c, firewall.Refuse(firewall.Invalid, "no"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log audit.Memory
			tt.refuse(newGate(&log, everything, failing), toolCall("refund", `{"password":"hunter2"}`))
			if r := log.Records()[0]; r.Type != audit.Refused || r.Args != nil {
				t.Errorf("record = %s with arguments %s", r.Type, r.Args)
			}
		})
	}
}

// wanting is an upstream whose reply asks for tool calls.
type wanting struct {
	replies
	wants []firewall.Want
}

func (u *wanting) Read(ev *firewall.Event) {
	if ev.Last {
		ev.Wants = u.wants
	}
}

func TestTheTwoPlanesAreJoined(t *testing.T) {
	type step struct {
		call  *firewall.Call
		wants []firewall.Want
	}
	want := func(id, name, args string) firewall.Want {
		return firewall.Want{ID: id, Name: name, Args: []byte(args)}
	}
	as := func(c *firewall.Call, hint string) *firewall.Call { c.Hints.ToolUse = hint; return c }
	by := func(c *firewall.Call, token string) *firewall.Call { c.Token = token; return c }
	for _, tt := range []struct {
		name  string
		steps []step
		links []string // of each step, by index: "0 proposed arguments"
	}{
		{"a tool call is joined by name and canonical arguments", []step{
			{modelCall(), []firewall.Want{want("t1", "mcp__shop__refund", `{"b":2, "a":1.0}`)}},
			{toolCall("refund", `{"a":1,"b":2}`), nil},
		}, []string{"", "0 proposed arguments"}},
		{"a client that writes every sign as an underscore is understood", []step{
			{modelCall(), []firewall.Want{want("t1", "mcp__shop__full_refund", `{}`)}},
			{toolCall("full-refund", `{}`), nil},
		}, []string{"", "0 proposed arguments"}},
		{"a tool call is joined by the id that the client passes on", []step{
			{modelCall(), []firewall.Want{want("t1", "shop__refund", `{"a":1}`), want("t2", "shop__refund", `{"a":1}`)}},
			{as(toolCall("refund", `{"a":1}`), "t2"), nil},
		}, []string{"", "0 proposed tool_use_id"}},
		{"arguments that are not what the model asked for are told", []step{
			{modelCall(), []firewall.Want{want("t1", "shop__refund", `{"a":1}`)}},
			{as(toolCall("refund", `{"a":1000}`), "t1"), nil},
		}, []string{"", "0 proposed tool_use_id+args_changed"}},
		{"a result leads to the model call that carries it, once", []step{
			{modelCall(), []firewall.Want{want("t1", "refund", `{}`)}},
			{toolCall("refund", `{}`), nil},
			{modelCall("t1"), nil},
			{modelCall("t1"), nil},
		}, []string{"", "0 proposed arguments", "1 result tool_use_id", ""}},
		{"the same call asked for twice in one reply is taken in order", []step{
			{modelCall(), []firewall.Want{want("t1", "refund", `{}`), want("t2", "refund", `{}`)}},
			{toolCall("refund", `{}`), nil},
			{toolCall("refund", `{}`), nil},
		}, []string{"", "0 proposed twin", "0 proposed arguments"}},
		{"a call that two replies asked for is ambiguous", []step{
			{modelCall(), []firewall.Want{want("t1", "refund", `{}`)}},
			{modelCall(), []firewall.Want{want("t2", "refund", `{}`)}},
			{toolCall("refund", `{}`), nil},
		}, []string{"", "", "1 proposed ambiguous"}},
		{"other arguments, another tool and another agent are not joined", []step{
			{modelCall(), []firewall.Want{want("t1", "refund", `{"a":1}`), want("t2", "prerefund", `{}`)}},
			{toolCall("refund", `{"a":2}`), nil},
			{toolCall("refund", `{}`), nil},
			{by(toolCall("refund", `{"a":1}`), "other-token"), nil},
		}, []string{"", "", "", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log audit.Memory
			gate := newGate(&log, everything)
			index := map[string]int{}
			for i, s := range tt.steps {
				up := &wanting{replies{events: []firewall.Event{event(`1`, true)}}, s.wants}
				if err := gate.Do(context.Background(), s.call, up, func(firewall.Event) error { return nil }); err != nil {
					t.Fatal(err)
				}
				index[s.call.ID] = i
				var got []string
				for _, l := range s.call.Links {
					got = append(got, fmt.Sprint(index[l.From], " ", l.Kind, " ", l.Method))
				}
				if s := strings.Join(got, ", "); s != tt.links[i] {
					t.Errorf("step %d: links %q, want %q", i, s, tt.links[i])
				}
			}
		})
	}
}

func TestAProposalIsOnRecordBeforeTheAgentSeesIt(t *testing.T) {
	var log audit.Memory
	up := &wanting{replies{events: []firewall.Event{event(`1`, true)}}, []firewall.Want{{ID: "t1", Name: "refund", Args: []byte(`{"a":1}`)}}}
	err := newGate(&log, everything).Do(context.Background(), modelCall(), up, func(firewall.Event) error {
		if got := types(log.Records()); got != "opened proposed closed:ok" {
			t.Errorf("records when the event goes down = %q", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := log.Records()[1].Proposal; got.ToolUse != "t1" || string(got.Args) != `{"a":1}` || got.ArgsHash == "" {
		t.Errorf("proposal = %+v", got)
	}
}

func TestARunGoesOnUntilItsCallerIsIdle(t *testing.T) {
	now := time.Unix(1e9, 0)
	gate := firewall.New(firewall.Config{Stops: new(identity.Revocations),
		Verify: verify, Log: &audit.Memory{}, Runs: firewall.NewRuns(time.Minute, new(firewall.Memory), func() time.Time { return now }), Budgets: firewall.NewBudgets(time.Now),
		Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
	}, &firewall.Law{Policy: everything})
	run := func(token, name string) (string, string) {
		c := modelCall()
		c.Token, c.Hints.Run = token, name
		if err := gate.Do(context.Background(), c, &replies{events: []firewall.Event{event(`1`, true)}}, func(firewall.Event) error { return nil }); err != nil {
			t.Fatal(err)
		}
		return c.Run, c.Chain
	}
	first, _ := run("bot-token", "")
	now = now.Add(50 * time.Second)
	second, chain := run("bot-token", "mine")
	if second != first || chain != "mine" {
		t.Errorf("run %s, chain %s: a client's name must split the chain and never the run %s", second, chain, first)
	}
	if other, _ := run("other-token", "mine"); other == first {
		t.Error("two agents share a run")
	}
	now = now.Add(61 * time.Second)
	if third, _ := run("bot-token", ""); third == first {
		t.Error("the run went on after its idle time")
	}
}

func TestAndKeepsTheStricterAndJoinsObligations(t *testing.T) {
	a := firewall.Decision{Effect: firewall.Allow, Rule: "A", Policy: "p", Obligations: []firewall.Obligation{{Do: "redact", With: "x"}}}
	b := firewall.Decision{Effect: firewall.Deny, Rule: "B", Obligations: []firewall.Obligation{{Do: "redact", With: "y"}}}
	want := firewall.Decision{Effect: firewall.Deny, Rule: "B", Policy: "p", Obligations: []firewall.Obligation{{Do: "redact", With: "y"}, {Do: "redact", With: "x"}}}
	if d := cmp.Diff(want, a.And(b)); d != "" {
		t.Error(d)
	}
	if got := a.And(firewall.Decision{}).Effect; got != firewall.Deny {
		t.Errorf("And with the zero Decision = %v", got)
	}
}
