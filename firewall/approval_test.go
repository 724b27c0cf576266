package firewall_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
)

// held is a gate where tool:shop/pay needs the approval of group:finance, which
// user:ana and agent:bot are in, and what it has.
type held struct {
	*firewall.Gate
	t         *testing.T
	now       time.Time
	law       *asking
	store     *firewall.Memory
	approvals *firewall.Approvals
	log       *audit.Memory
}

// asking is a policy that asks the groups.
type asking struct {
	digest string
	groups []string
	limits []firewall.Obligation
	in     map[string][]string // groups
}

func (p *asking) Decide(call *firewall.Call) firewall.Decision {
	d := firewall.Decision{Effect: firewall.Allow, Rule: "R1", Policy: p.digest, Obligations: p.limits}
	for _, g := range p.groups {
		d.Effect, d.Rule, d.Reason = firewall.Ask, "O1", "rule O1 asks"
		d.Obligations = append(d.Obligations, firewall.Obligation{Do: firewall.RequireApproval, With: g, Rule: "O1"})
	}
	return d
}

func (p *asking) May(*identity.Principal, string, string) firewall.Answer { return firewall.Depends }

func (p *asking) Groups(_, subject string) []string { return p.in[subject] }

func (*asking) Names(*identity.Principal, string, string) bool { return false }

func (p *asking) Member(_, subject, group string) bool {
	return subject == "user:ana" || subject == "agent:bot" || subject == "user:"+strings.TrimPrefix(group, "group:")
}

func hold(t *testing.T, groups ...string) *held {
	h := &held{t: t, now: time.Unix(1e9, 0), law: &asking{digest: "p1", groups: groups}, store: new(firewall.Memory), log: new(audit.Memory)}
	h.restart()
	return h
}

// restart makes the gate anew, with what the store has kept.
func (h *held) restart() {
	h.t.Helper()
	now := func() time.Time { return h.now }
	h.approvals = firewall.NewApprovals(h.store, time.Hour, now)
	if err := h.approvals.Restore(context.Background()); err != nil {
		h.t.Fatal(err)
	}
	h.Gate = firewall.New(firewall.Config{Stops: new(identity.Revocations), Verify: verify, Log: h.log, Runs: firewall.NewRuns(0, new(firewall.Memory), now), Budgets: firewall.NewBudgets(now), Approvals: h.approvals, Now: now},
		&firewall.Law{Policy: h.law})
}

// pay makes a call and says what came of it: ok, or the code of the refusal, and
// the approval that it was about.
func (h *held) pay(call *firewall.Call) (string, string) {
	h.t.Helper()
	err := h.Do(context.Background(), call, &replies{events: []firewall.Event{event(`{}`, true)}}, func(firewall.Event) error { return nil })
	var e *firewall.Error
	if errors.As(err, &e) {
		return e.Code.String(), e.Approval
	}
	return "ok", call.Approval
}

func (h *held) decide(id, by string, yes bool) error {
	_, err := h.Approve(context.Background(), id, firewall.Vote{By: by, Yes: yes}, func(firewall.Approval) error { return nil })
	return err
}

func TestAnApprovalIsForOneCallOnce(t *testing.T) {
	h := hold(t, "group:finance")
	code, id := h.pay(toolCall("pay", `{"amount":40, "to":"x"}`))
	if code != "pending" || id == "" {
		t.Fatalf("first call: %s, approval %q", code, id)
	}
	if code, again := h.pay(toolCall("pay", `{"to":"x","amount":40.0}`)); code != "pending" || again != id {
		t.Errorf("the same call, written otherwise: %s, approval %q, want pending by %q", code, again, id)
	}
	if err := h.decide(id, "user:ana", true); err != nil {
		t.Fatal(err)
	}
	other := toolCall("pay", `{"amount":40,"to":"x"}`)
	other.Token = "other-token"
	for name, call := range map[string]*firewall.Call{
		"another amount": toolCall("pay", `{"amount":41,"to":"x"}`), "an argument more": toolCall("pay", `{"amount":40,"to":"x","now":true}`),
		"another tool": toolCall("refund", `{"amount":40,"to":"x"}`), "another agent": other,
	} {
		if code, got := h.pay(call); code != "pending" || got == id {
			t.Errorf("%s: %s by approval %s", name, code, got)
		}
	}
	h.law.digest = "p2"
	if code, got := h.pay(toolCall("pay", `{"amount":40,"to":"x"}`)); code != "pending" || got == id {
		t.Errorf("under another policy: %s by approval %s", code, got)
	}
	h.law.digest = "p1"
	h.restart()
	if code, got := h.pay(toolCall("pay", `{"amount":40,"to":"x"}`)); code != "ok" || got != id {
		t.Errorf("the approved call: %s by %q, want ok by %q", code, got, id)
	}
	records := h.log.Records()
	if r := records[len(records)-2]; r.Type != audit.Opened || r.Approval != id || r.Effect != "allow" || r.Rule != "O1" {
		t.Errorf("on record: %s by %s with approval %q, rule %s", r.Type, r.Effect, r.Approval, r.Rule)
	}
	if code, got := h.pay(toolCall("pay", `{"amount":40,"to":"x"}`)); code != "pending" || got == id {
		t.Errorf("once more: %s by approval %s", code, got)
	}
	h.restart()
	if code, got := h.pay(toolCall("pay", `{"amount":40,"to":"x"}`)); code != "pending" || got == id {
		t.Errorf("and after a restart: %s by approval %s", code, got)
	}
}

func TestWhoMayDecideAboutAnApproval(t *testing.T) {
	h := hold(t, "group:finance", "group:legal")
	_, id := h.pay(toolCall("pay", `{}`))
	for _, tt := range []struct {
		name, id, by string
		want         error
	}{
		{"an id of nothing", "none", "user:ana", firewall.ErrNoApproval},
		{"somebody who is in no group", id, "user:bob", firewall.ErrMayNot},
		{"the agent itself", id, "agent:bot", firewall.ErrMayNot},
	} {
		if err := h.decide(tt.id, tt.by, true); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if err := h.decide(id, "user:legal", true); err != nil {
		t.Fatal(err)
	}
	if code, _ := h.pay(toolCall("pay", `{}`)); code != "pending" {
		t.Errorf("with one of two groups: %s", code)
	}
	if err := h.decide(id, "user:finance", true); err != nil {
		t.Fatal(err)
	}
	if err := h.decide(id, "user:finance", true); !errors.Is(err, firewall.ErrDecided) {
		t.Errorf("twice: %v", err)
	}
	if err := h.decide(id, "user:ana", false); err != nil { // taken back in time
		t.Errorf("a no after all: %v", err)
	}
	if code, got := h.pay(toolCall("pay", `{}`)); code != "denied" || got != id {
		t.Errorf("after that: %s by %s", code, got)
	}
	h.now = h.now.Add(2 * time.Hour)
	if code, got := h.pay(toolCall("pay", `{}`)); code != "pending" || got == id {
		t.Errorf("when the no has expired: %s by %s", code, got)
	}
}

func TestAnApprovalExpires(t *testing.T) {
	h := hold(t, "group:finance")
	_, id := h.pay(toolCall("pay", `{}`))
	h.now = h.now.Add(61 * time.Minute)
	if err := h.decide(id, "user:ana", true); !errors.Is(err, firewall.ErrDecided) {
		t.Errorf("a late yes: %v", err)
	}
	_, id = h.pay(toolCall("pay", `{}`))
	if err := h.decide(id, "user:ana", true); err != nil {
		t.Fatal(err)
	}
	h.now = h.now.Add(61 * time.Minute)
	if code, got := h.pay(toolCall("pay", `{}`)); code != "pending" || got == id {
		t.Errorf("a yes that was not used in time: %s by %s", code, got)
	}
}

func TestADecisionThatIsNotOnRecordDoesNotCount(t *testing.T) {
	h := hold(t, "group:finance")
	_, id := h.pay(toolCall("pay", `{}`))
	full := errors.New("disk full")
	if _, err := h.Approve(context.Background(), id, firewall.Vote{By: "user:ana", Yes: true}, func(firewall.Approval) error { return full }); !errors.Is(err, full) {
		t.Fatal(err)
	}
	if code, _ := h.pay(toolCall("pay", `{}`)); code != "pending" {
		t.Errorf("the call: %s", code)
	}
}

// brittle is a store that fails, after it has stored or instead of it.
type brittle struct {
	*firewall.Memory
	fail, after bool
}

func (s *brittle) PutApproval(ctx context.Context, a firewall.Approval) error {
	if s.fail && !s.after {
		return errors.New("disk gone")
	}
	err := s.Memory.PutApproval(ctx, a)
	if s.fail {
		return errors.New("disk gone")
	}
	return err
}

func TestAnApprovalIsUsedOnceWhateverItsStoreDoes(t *testing.T) {
	for name, after := range map[string]bool{"a write that failed": false, "a write that failed but was stored": true} {
		h := hold(t, "group:finance")
		store := &brittle{Memory: h.store, after: after}
		h.approvals = firewall.NewApprovals(store, time.Hour, func() time.Time { return h.now })
		now := func() time.Time { return h.now }
		h.Gate = firewall.New(firewall.Config{Stops: new(identity.Revocations), Verify: verify, Log: h.log, Runs: firewall.NewRuns(0, new(firewall.Memory), now), Budgets: firewall.NewBudgets(now), Approvals: h.approvals, Now: now},
			&firewall.Law{Policy: h.law})
		_, id := h.pay(toolCall("pay", `{}`))
		if err := h.decide(id, "user:ana", true); err != nil {
			t.Fatal(err)
		}
		store.fail = true
		if code, _ := h.pay(toolCall("pay", `{}`)); code != "unavailable" {
			t.Errorf("%s: %s", name, code)
		}
		store.fail = false
		passed := 0
		for range 3 {
			if code, _ := h.pay(toolCall("pay", `{}`)); code == "ok" {
				passed++
			}
		}
		if passed != 1 {
			t.Errorf("%s: %d calls passed, want 1", name, passed)
		}
	}
}

func TestAnAgentCannotHaveMoreHeldThanPeopleCanRead(t *testing.T) {
	h := hold(t, "group:finance")
	for i := range 100 {
		if code, _ := h.pay(toolCall("pay", `{"n":`+strings.Repeat("1", i%15+1)+`,"i":`+time.Duration(i).String()[:1]+`,"j":"`+strings.Repeat("x", i)+`"}`)); code != "pending" {
			t.Fatal(code)
		}
	}
	if code, _ := h.pay(toolCall("pay", `{"one":"more"}`)); code != "exhausted" {
		t.Errorf("one more: %s", code)
	}
}

func TestPeopleSeeWhereValuesComeFromButNotWhatIsMasked(t *testing.T) {
	h := hold(t, "group:finance")
	call := toolCall("pay", `{"to":"eve","key":"[secret:pat]"}`)
	call.SetOrigins(firewall.Origins{Evidence: []firewall.Evidence{{Path: "/to", Value: "eve", Origin: "untrusted", Tool: "web/read"}, {Path: "/key", Value: "ghp_1234", Origin: "user"}}})
	if code, _ := h.pay(call); code != "pending" {
		t.Fatal(code)
	}
	want := []firewall.Evidence{{Path: "/to", Value: "eve", Origin: "untrusted", Tool: "web/read"}, {Path: "/key", Origin: "user"}}
	if got := h.approvals.List()[0].Evidence; !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
