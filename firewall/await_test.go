package firewall_test

import (
	"context"
	"testing"
	"time"

	"callgate/firewall"
	"callgate/identity"
)

// waits is what comes of a call to a gate that waits for people for as long as
// patience, when decide is called once they are asked.
func waits(t *testing.T, patience time.Duration, decide func(h *held, stops *identity.Revocations, id string)) (code, approval string, h *held) {
	t.Helper()
	h = hold(t, "group:finance")
	stops := revocations(t)
	h.Gate = firewall.New(firewall.Config{Stops: stops, Verify: verify, Log: h.log, Runs: firewall.NewRuns(0, new(firewall.Memory), time.Now), Budgets: firewall.NewBudgets(time.Now),
		Approvals: h.approvals, Patience: patience, Now: time.Now}, &firewall.Law{Policy: h.law})
	done := make(chan struct{})
	go func() {
		defer close(done)
		code, approval = h.pay(toolCall("pay", `{"amount":40}`))
	}()
	var asked []firewall.Approval
	for late := time.Now().Add(10 * time.Second); len(asked) == 0; asked = h.approvals.List() {
		if time.Now().After(late) {
			t.Fatal("nobody was asked")
		}
		time.Sleep(time.Millisecond)
	}
	decide(h, stops, asked[0].ID)
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the call still waits")
	}
	return code, approval, h
}

// revocations is a feed in memory.
func revocations(t *testing.T) *identity.Revocations {
	t.Helper()
	r, err := identity.OpenRevocations(context.Background(), new(feed), time.Hour, time.Now, func(_, _, _, _ string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// feed keeps nothing: what is revoked is in force without it.
type feed struct{}

func (*feed) PutRevocation(context.Context, identity.Revocation) (int64, error)      { return 1, nil }
func (*feed) RevocationsAfter(context.Context, int64) ([]identity.Revocation, error) { return nil, nil }
func (*feed) DropRevocations(context.Context, time.Time) error                       { return nil }

func TestAHeldCallWaitsForPeople(t *testing.T) {
	const long = time.Minute
	for _, tt := range []struct {
		name     string
		patience time.Duration
		decide   func(h *held, stops *identity.Revocations, id string)
		want     string
	}{
		{"they agree", long, func(h *held, _ *identity.Revocations, id string) {
			if err := h.decide(id, "user:ana", true); err != nil {
				t.Error(err)
			}
		}, "ok"},
		{"they do not", long, func(h *held, _ *identity.Revocations, id string) {
			if err := h.decide(id, "user:ana", false); err != nil {
				t.Error(err)
			}
		}, "denied"},
		{"they take too long", 20 * time.Millisecond, func(*held, *identity.Revocations, string) {}, "pending"},
		{"the run is stopped meanwhile", long, func(_ *held, stops *identity.Revocations, _ string) {
			if err := stops.Revoke(context.Background(), identity.RevokedObject, "tool:shop/pay", "user:ana"); err != nil {
				t.Error(err)
			}
		}, "denied"},
		{"the policy is another one meanwhile", long, func(h *held, _ *identity.Revocations, id string) {
			h.SetLaw(&firewall.Law{Policy: &asking{digest: "p2", groups: []string{"group:finance"}}})
			if err := h.decide(id, "user:ana", true); err != nil {
				t.Error(err)
			}
		}, "pending"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, approval, h := waits(t, tt.patience, tt.decide)
			if code != tt.want || approval == "" && tt.want != "denied" {
				t.Fatalf("got %s by approval %q, want %s", code, approval, tt.want)
			}
			state := map[string]string{"ok": firewall.ApprovalUsed}[tt.want]
			if got := h.approvals.List()[0].State; state != "" && got != state {
				t.Errorf("the approval is %s, want %s", got, state)
			}
		})
	}
}

func TestWhatHasReadALabelIsStopped(t *testing.T) {
	stops := revocations(t)
	gate := firewall.New(firewall.Config{Stops: stops, Verify: verify, Log: hold(t).log, Runs: firewall.NewRuns(0, new(firewall.Memory), time.Now), Budgets: firewall.NewBudgets(time.Now),
		Approvals: hold(t).approvals, Now: time.Now}, &firewall.Law{Policy: &asking{}})
	h := &held{Gate: gate, t: t}
	reads := func() *firewall.Call {
		c := toolCall("read", `{}`)
		c.Brings = firewall.Untrusted
		return c
	}
	if code, _ := h.pay(reads()); code != "ok" {
		t.Fatal(code)
	}
	if err := stops.Revoke(context.Background(), identity.RevokedLabel, "private", "user:ana"); err != nil {
		t.Fatal(err)
	}
	if code, _ := h.pay(toolCall("pay", `{}`)); code != "ok" {
		t.Error("another label was stopped:", code)
	}
	if err := stops.Revoke(context.Background(), identity.RevokedLabel, "untrusted", "user:ana"); err != nil {
		t.Fatal(err)
	}
	if code, _ := h.pay(toolCall("pay", `{}`)); code != "denied" {
		t.Error("got", code)
	}
	other := toolCall("pay", `{}`)
	other.Token = "other-token"
	if code, _ := h.pay(other); code != "ok" {
		t.Error("a run that has read nothing was stopped:", code)
	}
	if err := stops.Lift(context.Background(), identity.RevokedLabel, "untrusted", "user:ana"); err != nil {
		t.Fatal(err)
	}
	if code, _ := h.pay(toolCall("pay", `{}`)); code != "ok" {
		t.Error("it does not go on:", code)
	}
}
