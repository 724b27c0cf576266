package firewall_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
)

// bounds is a gate for a caller with hops, and what can be revoked there.
func bounds(t *testing.T, log *audit.Memory, revoked *atomic.Bool, hops ...identity.Hop) (*firewall.Gate, *identity.Revocations) {
	t.Helper()
	stops, err := identity.OpenRevocations(t.Context(), new(identity.MemoryRevocations), time.Hour, time.Now, func(_, _, _, _ string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	who := func(_ context.Context, token, _ string) (identity.Principal, error) {
		if revoked.Load() {
			return identity.Principal{}, errors.New("the token was revoked")
		}
		return identity.Principal{Tenant: "default", Subject: "user:ana", Actors: []string{"agent:b", "agent:a"}, Hops: hops, Run: "r1"}, nil
	}
	return firewall.New(firewall.Config{
		Verify: who, Log: log, Runs: firewall.NewRuns(0, new(firewall.Memory), time.Now), Budgets: firewall.NewBudgets(time.Now), Stops: stops,
		Approvals: firewall.NewApprovals(new(firewall.Memory), 0, time.Now), Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}, &firewall.Law{Policy: everything}), stops
}

func hop(t *testing.T, grant, caps string) identity.Hop {
	t.Helper()
	h := identity.Hop{Agent: "agent:a", Grant: grant, Life: time.Hour}
	if caps != "" {
		list, err := identity.ParseCaps([]byte(caps))
		if err != nil {
			t.Fatal(err)
		}
		h.Caps = list
	}
	return h
}

func TestEveryHopMustHaveBeenGivenTheCall(t *testing.T) {
	refunds := `[{"type":"callgate_call","locations":["tool:shop/refund"],"arguments":{"amount":{"max":10}}}]`
	twice := `[{"type":"callgate_call","locations":["tool:shop/*"],"limits":{"calls":2}}]`
	scope, err := identity.ScopeCaps("mcp:bank")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		hops  []identity.Hop
		calls []*firewall.Call
		want  string // of each call: the code, or ok
		rule  string // of the last
	}{
		"what nobody narrowed":         {nil, []*firewall.Call{toolCall("refund", `{}`)}, "ok", ""},
		"what is within":               {[]identity.Hop{hop(t, "gr_1", refunds), hop(t, "gr_2", twice)}, []*firewall.Call{toolCall("refund", `{"amount":10}`)}, "ok", ""},
		"an argument beyond":           {[]identity.Hop{hop(t, "gr_1", refunds)}, []*firewall.Call{toolCall("refund", `{"amount":11}`)}, "denied", "gr_1"},
		"an argument that misses":      {[]identity.Hop{hop(t, "gr_1", refunds)}, []*firewall.Call{toolCall("refund", `{}`)}, "denied", "gr_1"},
		"an argument of another type":  {[]identity.Hop{hop(t, "gr_1", refunds)}, []*firewall.Call{toolCall("refund", `{"amount":"1"}`)}, "denied", "gr_1"},
		"another tool":                 {[]identity.Hop{hop(t, "gr_1", refunds)}, []*firewall.Call{toolCall("full-refund", `{"amount":1}`)}, "denied", "gr_1"},
		"a model":                      {[]identity.Hop{hop(t, "gr_1", twice)}, []*firewall.Call{modelCall()}, "denied", "gr_1"},
		"what another hop lacks":       {[]identity.Hop{hop(t, "gr_1", twice), hop(t, "gr_2", refunds)}, []*firewall.Call{toolCall("full-refund", `{}`)}, "denied", "gr_2"},
		"what the scope lacks":         {[]identity.Hop{{Agent: "agent:a", Grant: "gr_3", Scope: scope}}, []*firewall.Call{toolCall("refund", `{}`)}, "denied", "gr_3"},
		"what policy denies anyway":    {[]identity.Hop{hop(t, "gr_1", twice)}, []*firewall.Call{toolCall("drop", `{}`)}, "denied", ""},
		"once too often":               {[]identity.Hop{hop(t, "gr_1", ""), hop(t, "gr_2", twice)}, []*firewall.Call{toolCall("refund", `{}`), toolCall("refund", `{}`), toolCall("full-refund", `{}`)}, "ok ok exhausted", "gr_2"},
		"refused ones are not counted": {[]identity.Hop{hop(t, "gr_2", twice)}, []*firewall.Call{toolCall("drop", `{}`), toolCall("drop", `{}`), toolCall("refund", `{}`), toolCall("refund", `{}`)}, "denied denied ok ok", ""},
	} {
		t.Run(name, func(t *testing.T) {
			gate, _ := bounds(t, new(audit.Memory), new(atomic.Bool), test.hops...)
			var got []string
			var last firewall.Error
			for _, call := range test.calls {
				up := &replies{events: []firewall.Event{event(`1`, true)}}
				err := gate.Do(t.Context(), call, up, func(firewall.Event) error { return nil })
				var e *firewall.Error
				if errors.As(err, &e) {
					got, last = append(got, e.Code.String()), *e
				} else {
					got, last = append(got, "ok"), firewall.Error{}
				}
				if (err == nil) != (up.asked == 1) {
					t.Errorf("%v, forwarded %d times", err, up.asked)
				}
			}
			if strings.Join(got, " ") != test.want || last.Rule != test.rule {
				t.Errorf("%v by %q, want %s by %q", got, last.Rule, test.want, test.rule)
			}
		})
	}
	gate, _ := bounds(t, new(audit.Memory), new(atomic.Bool))
	for _, test := range []struct {
		hops []identity.Hop
		tool string
		want firewall.Answer
	}{
		{nil, "refund", firewall.Yes},
		{[]identity.Hop{hop(t, "gr_1", refunds)}, "refund", firewall.Depends},
		{[]identity.Hop{hop(t, "gr_1", twice)}, "refund", firewall.Yes},
		{[]identity.Hop{hop(t, "gr_1", refunds)}, "full-refund", firewall.No},
		{[]identity.Hop{{Scope: scope}}, "refund", firewall.No},
	} {
		p := identity.Principal{Tenant: "default", Subject: "agent:a", Hops: test.hops}
		if got := gate.May(&p, firewall.Tool, "shop", test.tool); got != test.want {
			t.Errorf("May %s of %v: %v, want %v", test.tool, test.hops, got, test.want)
		}
	}
}

func TestWhatIsUnderWayEndsWithTheRightToIt(t *testing.T) {
	for name, test := range map[string]struct {
		revoke func(*identity.Revocations, *atomic.Bool) error
		code   firewall.Code
		says   string
	}{
		"the token": {func(s *identity.Revocations, revoked *atomic.Bool) error {
			revoked.Store(true)
			return s.Revoke(context.Background(), identity.RevokedToken, "j", "admin")
		}, firewall.Unauthenticated, "revoked"},
		"the tool": {func(s *identity.Revocations, _ *atomic.Bool) error {
			return s.Revoke(context.Background(), identity.RevokedObject, "tool:shop/refund", "admin")
		}, firewall.Denied, "stopped while"},
		"the run": {func(s *identity.Revocations, _ *atomic.Bool) error {
			return s.Revoke(context.Background(), identity.RevokedRun, "r1", "admin")
		}, firewall.Denied, "run r1"},
	} {
		t.Run(name, func(t *testing.T) {
			log, revoked := new(audit.Memory), new(atomic.Bool)
			gate, stops := bounds(t, log, revoked)
			stream, done := gate.Attend(t.Context(), "bot-token", "/mcp")
			defer done()
			other := func(s *identity.Revocations) error {
				return s.Revoke(context.Background(), identity.RevokedObject, "tool:other/x", "admin")
			}
			up := hanging(func(ctx context.Context) {
				if err := other(stops); err != nil || ctx.Err() != nil {
					t.Error("what is about something else ended it", err)
				}
				if err := test.revoke(stops, revoked); err != nil {
					t.Error(err)
				}
			})
			err := gate.Do(t.Context(), toolCall("refund", `{}`), up, func(firewall.Event) error { return nil })
			var e *firewall.Error
			if !errors.As(err, &e) || e.Code != test.code || !strings.Contains(e.Reason, test.says) {
				t.Errorf("%v", err)
			}
			if got := types(log.Records()); got != "opened closed:"+test.code.String() {
				t.Error(got)
			}
			if ended := stream.Err() != nil; ended != revoked.Load() {
				t.Errorf("a stream beside it: ended %v", ended)
			}
		})
	}
}

// hanging is an upstream that answers nothing until its call ends.
type hanging func(ctx context.Context)

func (h hanging) Forward(ctx context.Context, _ *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		h(ctx)
		<-ctx.Done()
		yield(firewall.Event{}, ctx.Err())
	}
}

func (hanging) Read(*firewall.Event) {}
