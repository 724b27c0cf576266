package firewall_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
)

// seeing is a policy that allows everything and notes the labels that calls had.
type seeing struct {
	asking
	labels []string
}

func (p *seeing) Decide(call *firewall.Call) firewall.Decision {
	p.labels = call.Labels.Names()
	return firewall.Decision{Effect: firewall.Allow, Rule: "R1", Policy: "p"}
}

// reader is a gate whose runs are stored, and whose callers are their tokens: a
// chain, the acting agent first.
type reader struct {
	*firewall.Gate
	t     *testing.T
	now   time.Time
	law   seeing
	store firewall.RunStore
	runs  *firewall.Runs
	log   audit.Memory
}

func newReader(t *testing.T, store firewall.RunStore) *reader {
	r := &reader{t: t, now: time.Unix(1e9, 0), store: store}
	r.restart()
	return r
}

func (r *reader) restart() {
	r.t.Helper()
	now := func() time.Time { return r.now }
	r.runs = firewall.NewRuns(0, r.store, now)
	if err := r.runs.Restore(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	chains := map[string][]string{"bot": {"agent:bot"}, "other": {"agent:other"}, "child": {"agent:child", "agent:bot"}, "grandchild": {"agent:x", "agent:child", "agent:bot"}, "stranger": {"agent:child", "user:ana"}}
	r.Gate = firewall.New(firewall.Config{Stops: new(identity.Revocations),
		Verify: func(_ context.Context, token, _ string) (identity.Principal, error) {
			chain := chains[token]
			last := len(chain) - 1
			return identity.Principal{Tenant: "default", Subject: chain[last], Actors: chain[:last]}, nil
		},
		Log: &r.log, Runs: r.runs, Budgets: firewall.NewBudgets(now), Approvals: firewall.NewApprovals(new(firewall.Memory), 0, now), Now: now,
	}, &firewall.Law{Policy: &r.law})
}

// call makes a call whose reply brings labels, and says which labels its run had.
func (r *reader) call(who string, brings firewall.Labels) ([]string, error) {
	call := toolCall("read", `{}`)
	call.Token, call.Brings = who, brings
	err := r.Do(context.Background(), call, &replies{events: []firewall.Event{event(`{}`, false), event(`{}`, true)}}, func(firewall.Event) error { return nil })
	return r.law.labels, err
}

func (r *reader) had(name, who string, want ...string) {
	r.t.Helper()
	if got, err := r.call(who, 0); err != nil || !slices.Equal(got, want) {
		r.t.Errorf("%s: %s had %v, %v, want %v", name, who, got, err, want)
	}
}

func TestARunHasTheLabelsOfWhatItHasRead(t *testing.T) {
	r := newReader(t, new(firewall.Memory))
	r.had("at first", "bot")
	if got, err := r.call("bot", firewall.Untrusted); err != nil || len(got) > 0 {
		t.Errorf("the call that brings a label had it before: %v, %v", got, err)
	}
	records := r.log.Records()
	if last := records[len(records)-1]; !slices.Equal(last.Labels, []string{"untrusted"}) {
		t.Errorf("on record: %v", last.Labels)
	}
	r.call("bot", firewall.Untrusted|firewall.Secret)
	records = r.log.Records()
	if last := records[len(records)-1]; !slices.Equal(last.Labels, []string{"secret"}) {
		t.Errorf("on record: %v, want only what is new", last.Labels)
	}
	r.had("after two", "bot", "untrusted", "secret")
	r.had("another agent", "other")
	r.had("who acts for it", "child", "untrusted", "secret")
	r.had("who acts for that", "grandchild", "untrusted", "secret")
	r.had("who acts for somebody else", "stranger")
	r.restart()
	r.had("after a restart", "bot", "untrusted", "secret")
	r.had("who acts for it, after a restart", "child", "untrusted", "secret")
	r.now = r.now.Add(time.Hour)
	r.had("in a new run", "bot")
	if err := r.runs.Tidy(context.Background()); err != nil {
		t.Fatal(err)
	}
	if kept, _ := r.store.LabelledRuns(context.Background()); len(kept) != 0 {
		t.Errorf("a run that has ended is kept: %v", kept)
	}
}

func TestALongStopEndsRuns(t *testing.T) {
	r := newReader(t, new(firewall.Memory))
	r.call("bot", firewall.Private)
	r.now = r.now.Add(23 * time.Hour)
	r.restart()
	r.had("after a day", "bot", "private")
	r.now = r.now.Add(2 * time.Hour)
	r.restart()
	r.had("after more than a day", "bot")
}

// forgetful is a store of runs that fails.
type forgetful struct{ *firewall.Memory }

func (forgetful) PutLabels(context.Context, firewall.LabelledRun) error {
	return errors.New("disk gone")
}

func TestAReplyWhoseLabelsCannotBeStoredIsWithheld(t *testing.T) {
	r := newReader(t, forgetful{new(firewall.Memory)})
	_, err := r.call("bot", firewall.Private)
	var e *firewall.Error
	if !errors.As(err, &e) || e.Code != firewall.Unavailable {
		t.Errorf("%v", err)
	}
	r.had("nevertheless", "bot", "private")
}
