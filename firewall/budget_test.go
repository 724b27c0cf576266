package firewall_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callgate/firewall"
	"callgate/identity"
)

func limited(h *held, of string, amount int64, window time.Duration, per string) {
	h.law.limits = append(h.law.limits, firewall.Obligation{Do: firewall.LimitTo, With: of, Rule: "L" + of, Limit: firewall.Limit{Of: of, Amount: amount, Window: window, Per: per}})
}

func TestNoWindowSeesMoreCallsThanItsLimit(t *testing.T) {
	h := hold(t)
	limited(h, firewall.Calls, 3, time.Hour, firewall.PerAgent)
	var passed []time.Time
	for range 600 { // ten hours, a minute each
		if code, _ := h.pay(toolCall("refund", `{}`)); code == "ok" {
			passed = append(passed, h.now)
		} else if code != "exhausted" {
			t.Fatal(code)
		}
		h.now = h.now.Add(time.Minute)
	}
	for i := 3; i < len(passed); i++ {
		if d := passed[i].Sub(passed[i-3]); d < time.Hour {
			t.Errorf("four calls within %v", d)
		}
	}
	if len(passed) < 28 { // 30, but for the parts of windows
		t.Errorf("%d calls passed in ten hours", len(passed))
	}
}

func TestARefusalSaysWhenThereIsRoomAgain(t *testing.T) {
	h := hold(t)
	limited(h, firewall.Calls, 1, time.Hour, firewall.PerAgent)
	h.pay(toolCall("refund", `{}`))
	h.now = h.now.Add(20 * time.Minute)
	err := h.Do(context.Background(), toolCall("refund", `{}`), &replies{}, nil)
	var e *firewall.Error
	if !errors.As(err, &e) || e.Code != firewall.Exhausted || e.Rule != "Lcalls" || e.Retry < 40*time.Minute || e.Retry > 43*time.Minute {
		t.Fatalf("%+v", e)
	}
	h.now = h.now.Add(e.Retry)
	if code, _ := h.pay(toolCall("refund", `{}`)); code != "ok" {
		t.Errorf("then: %s", code)
	}
}

func TestWhoIsCountedTogether(t *testing.T) {
	for _, tt := range []struct {
		per                            string
		sameAgain, otherTool, stranger string
	}{
		{firewall.PerAgent, "exhausted", "exhausted", "ok"},
		{firewall.PerRun, "exhausted", "exhausted", "ok"},
		{firewall.PerTool, "exhausted", "ok", "exhausted"},
		{firewall.PerTenant, "exhausted", "exhausted", "exhausted"},
	} {
		for i, want := range []string{tt.sameAgain, tt.otherTool, tt.stranger} {
			h := hold(t)
			limited(h, firewall.Calls, 1, time.Hour, tt.per)
			h.pay(toolCall("refund", `{}`))
			call := toolCall("refund", `{}`)
			if i == 1 {
				call = toolCall("pay", `{}`)
			} else if i == 2 {
				call.Token = "other-token"
			}
			if code, _ := h.pay(call); code != want {
				t.Errorf("per %s, call %d: %s, want %s", tt.per, i, code, want)
			}
		}
	}
}

func TestTokensAndMoneyAreSettledWhenTheyAreKnown(t *testing.T) {
	price := &firewall.Price{Input: 1, Output: 10}
	ask := func(h *held, tokens int64, price *firewall.Price, used firewall.Usage, fault string, err error) string {
		call := modelCall()
		call.Price, call.Estimate = price, price.Estimate(firewall.Usage{Input: tokens})
		ev := event(`{}`, true)
		ev.Usage, ev.Fault = used, fault
		e := h.Do(context.Background(), call, &replies{events: []firewall.Event{ev}, err: err}, func(firewall.Event) error { return nil })
		var f *firewall.Error
		if errors.As(e, &f) {
			return f.Code.String()
		}
		return "ok"
	}
	for _, tt := range []struct {
		name, of  string
		limit     int64
		first     firewall.Usage
		fault     string
		then      int64
		want      string
		estimated int64
	}{
		{"less than estimated", firewall.Tokens, 1000, firewall.Usage{Input: 50, Output: 50}, "", 900, "ok", 800},
		{"more than estimated", firewall.Tokens, 1000, firewall.Usage{Input: 50, Output: 900}, "", 100, "exhausted", 10},
		{"not told: the estimate stays", firewall.Tokens, 1000, firewall.Usage{}, "", 300, "exhausted", 800},
		{"a call that failed costs nothing", firewall.Tokens, 1000, firewall.Usage{}, "http 500", 1000, "ok", 800},
		{"more than the limit at once", firewall.Tokens, 1000, firewall.Usage{Input: 1}, "", 1001, "exhausted", 1},
		{"money", firewall.USD, 1000, firewall.Usage{Input: 100, Output: 80}, "", 101, "exhausted", 10},
		{"money that is left", firewall.USD, 1000, firewall.Usage{Input: 100, Output: 80}, "", 100, "ok", 10},
	} {
		h := hold(t)
		limited(h, tt.of, tt.limit, time.Hour, firewall.PerAgent)
		if got := ask(h, tt.estimated, price, tt.first, tt.fault, nil); got != "ok" {
			t.Errorf("%s: the first call: %s", tt.name, got)
		}
		if got := ask(h, tt.then, price, firewall.Usage{}, "", nil); got != tt.want {
			t.Errorf("%s: then %s, want %s", tt.name, got, tt.want)
		}
	}
	h := hold(t)
	limited(h, firewall.USD, 1000, time.Hour, firewall.PerAgent)
	if got := ask(h, 1, nil, firewall.Usage{}, "", nil); got != "denied" {
		t.Errorf("a model without a price: %s", got)
	}
}

func TestLimitsHoldAmongManyAtOnce(t *testing.T) {
	h := hold(t)
	limited(h, firewall.Calls, 50, time.Hour, firewall.PerAgent)
	var passed atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				if err := h.Do(context.Background(), toolCall("refund", `{}`), &replies{events: []firewall.Event{event(`{}`, true)}}, func(firewall.Event) error { return nil }); err == nil {
					passed.Add(1)
				}
			}
		})
	}
	group.Wait()
	if passed.Load() != 50 {
		t.Errorf("%d calls passed a limit of 50", passed.Load())
	}
}

func TestCountsOutliveTheProcess(t *testing.T) {
	now := time.Unix(1e9, 0)
	clock := func() time.Time { return now }
	store := new(firewall.Memory)
	h := hold(t)
	limited(h, firewall.Calls, 2, time.Hour, firewall.PerAgent)
	make := func() *firewall.Budgets {
		b := firewall.NewBudgets(clock)
		if err := b.Restore(context.Background(), store); err != nil {
			t.Fatal(err)
		}
		h.Gate = firewall.New(firewall.Config{Stops: new(identity.Revocations), Verify: verify, Log: h.log, Runs: firewall.NewRuns(0, new(firewall.Memory), clock), Budgets: b, Approvals: h.approvals, Now: clock}, &firewall.Law{Policy: h.law})
		return b
	}
	b := make()
	h.pay(toolCall("refund", `{}`))
	h.pay(toolCall("refund", `{}`))
	if err := b.Save(context.Background(), store); err != nil {
		t.Fatal(err)
	}
	b = make()
	if code, _ := h.pay(toolCall("refund", `{}`)); code != "exhausted" {
		t.Errorf("after a restart: %s", code)
	}
	now = now.Add(3 * time.Hour)
	if err := b.Save(context.Background(), store); err != nil {
		t.Fatal(err)
	}
	if kept, _ := store.Counts(context.Background()); len(kept) != 0 {
		t.Errorf("what no window reaches is kept: %v", kept)
	}
}

func TestALimitDoesNotUseUpAnApproval(t *testing.T) {
	h := hold(t, "group:finance")
	limited(h, firewall.Calls, 1, time.Hour, firewall.PerAgent)
	_, id := h.pay(toolCall("pay", `{}`)) // is not forwarded, so it does not count
	if err := h.decide(id, "user:ana", true); err != nil {
		t.Fatal(err)
	}
	h.law.groups = nil
	if code, _ := h.pay(toolCall("refund", `{}`)); code != "ok" {
		t.Fatal(code)
	}
	h.law.groups = []string{"group:finance"}
	if code, _ := h.pay(toolCall("pay", `{}`)); code != "exhausted" {
		t.Errorf("beyond the limit: %s", code)
	}
	h.now = h.now.Add(55 * time.Minute)
	h.law.limits = nil
	if code, got := h.pay(toolCall("pay", `{}`)); code != "ok" || got != id {
		t.Errorf("without it: %s by %s, want ok by %s", code, got, id)
	}
}
