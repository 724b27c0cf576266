package firewall_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"

	"github.com/google/go-cmp/cmp"
)

// drifting is a gate with what is expected of agent:bot, and what it did about it.
type drifting struct {
	*firewall.Gate
	log       audit.Memory
	now       time.Time
	alerts    []string
	suspended []string
	failing   error
	approvals *firewall.Approvals
}

var open = rules{"tool:shop/find": firewall.Allow, "tool:shop/buy": firewall.Allow, "tool:shop/pay": firewall.Allow, "model:openai/gpt": firewall.Allow}

func newDrifting(t *testing.T, e *firewall.Envelope, actions ...firewall.DriftAction) *drifting {
	d := &drifting{now: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)}
	cfg := config(&d.log)
	now := func() time.Time { return d.now }
	d.approvals = firewall.NewApprovals(new(firewall.Memory), 0, now)
	cfg.Runs, cfg.Approvals, cfg.Now = firewall.NewRuns(0, new(firewall.Memory), now), d.approvals, now
	cfg.Drifted = func(_ *firewall.Call, x audit.Departure) {
		d.alerts = append(d.alerts, x.Kind+" "+x.Seen)
	}
	cfg.Suspend = func(_ context.Context, agent, why string) error {
		d.suspended = append(d.suspended, agent+": "+why)
		return d.failing
	}
	d.Gate = firewall.New(cfg, &firewall.Law{Policy: open})
	x := &firewall.Expectations{Agents: map[string]*firewall.Envelope{"agent:bot": e}, Approvers: "group:ops"}
	copy(x.Actions[:], actions)
	d.SetExpectations(x)
	return d
}

// do makes a call and says what came of it.
func (d *drifting) do(t *testing.T, call *firewall.Call) string {
	t.Helper()
	err := d.Do(t.Context(), call, &replies{events: []firewall.Event{event(`{}`, true)}}, func(firewall.Event) error { return nil })
	var e *firewall.Error
	if errors.As(err, &e) {
		return e.Code.String()
	}
	if err != nil {
		t.Fatal(err)
	}
	return "ok"
}

// told is what stands on record of departures, a line each.
func (d *drifting) told() (lines []string) {
	for _, r := range d.log.Records() {
		for _, x := range r.Drift {
			lines = append(lines, fmt.Sprintf("%s %s %s: %s, want %s by %s, %s", r.Type, r.Resource, x.Kind, x.Seen, x.Expected, x.By, x.Action))
		}
		if has := strings.Contains(strings.Join(r.Signals, " "), firewall.SignalDrift); has != (len(r.Drift) > 0) {
			lines = append(lines, "signals: "+strings.Join(r.Signals, " "))
		}
	}
	return lines
}

func envelope() *firewall.Envelope {
	after := map[string]firewall.Order{"shop/buy": {After: firewall.NewExpected(firewall.ByHabit, []string{"shop/find"})}}
	return &firewall.Envelope{
		Tools:    firewall.NewExpected(firewall.ByHabit, []string{"shop/find", "shop/buy"}),
		Models:   firewall.NewExpected(firewall.ByConfig, []string{"openai/g*"}),
		Hosts:    firewall.NewExpected(firewall.ByConfig, []string{"shop.example", "*.cdn.example"}),
		LabelsBy: firewall.ByHabit, RunCalls: firewall.Ceiling{Max: 5, By: firewall.ByHabit}, HourCalls: firewall.Ceiling{Max: 8, By: firewall.ByConfig},
		After: after,
	}
}

func TestWhatIsNotExpectedIsToldOncePerRun(t *testing.T) {
	d := newDrifting(t, envelope())
	for _, c := range []*firewall.Call{
		toolCall("find", `{"at":"https://shop.example/a and HTTPS://IMG.cdn.example:8443/x"}`),
		toolCall("buy", `{}`),
		modelCall(),
	} {
		if got := d.do(t, c); got != "ok" {
			t.Fatal(got)
		}
	}
	if got := d.told(); len(got) > 0 {
		t.Fatalf("an ordinary run tells %q", got)
	}
	brings := toolCall("find", `{"at":"https:\/\/u:p@Evil.example:443\/?to=http://shop.example"}`)
	brings.Brings = firewall.Untrusted
	for _, c := range []*firewall.Call{toolCall("pay", `{}`), toolCall("buy", `{}`), brings, toolCall("find", `{"at":"https://evil.example"}`), toolCall("pay", `{}`)} {
		if got := d.do(t, c); got != "ok" {
			t.Fatal(got)
		}
	}
	want := []string{
		"opened pay tools: shop/pay, want shop/buy, shop/find by learned, record",
		"opened buy order: shop/buy right after shop/pay, want after shop/find by learned, record",
		"opened find hosts: evil.example, want *.cdn.example, shop.example by config, record",
		"opened find volume: 6 calls in a run, want at most 5 by learned, record",
		"closed  labels: untrusted, want none by learned, record",
	}
	if diff := cmp.Diff(want, d.told()); diff != "" {
		t.Fatalf("(-want +got)\n%s", diff)
	}
	d.do(t, toolCall("find", `{}`)) // the ninth of the hour
	d.now = d.now.Add(time.Hour)    // another run
	d.do(t, toolCall("pay", `{}`))
	d.do(t, toolCall("pay", `{}`))
	want = append(want, "opened find volume: 9 calls in an hour, want at most 8 by config, record", "opened pay tools: shop/pay, want shop/buy, shop/find by learned, record")
	if diff := cmp.Diff(want, d.told()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(d.alerts) != len(want) {
		t.Errorf("%d were handed on, want %d", len(d.alerts), len(want))
	}
}

func TestTheEdgeOfADepartureIsTheCallThatLedToIt(t *testing.T) {
	d := newDrifting(t, envelope(), firewall.DriftRecord, firewall.DriftRecord, firewall.DriftRecord, firewall.DriftOff)
	model := modelCall()
	up := &replies{events: []firewall.Event{{Body: firewall.Body{JSON: []byte(`{}`)}, Wants: []firewall.Want{{ID: "u1", Name: "shop__pay", Args: []byte(`{"n":1}`)}}, Last: true}}}
	if err := d.Do(t.Context(), model, up, func(firewall.Event) error { return nil }); err != nil {
		t.Fatal(err)
	}
	pay := toolCall("pay", `{"n":1}`)
	pay.Hints.ToolUse = "u1"
	d.do(t, pay)
	buy := toolCall("buy", `{}`)
	d.do(t, buy)
	var got []string
	for _, r := range d.log.Records() {
		for _, x := range r.Drift {
			got = append(got, x.Kind+" from "+x.From)
		}
	}
	if diff := cmp.Diff([]string{"tools from " + model.ID, "order from " + pay.ID}, got); diff != "" {
		t.Error(diff)
	}
}

func TestACallIsHeldOnceUntilPeopleHaveApproved(t *testing.T) {
	d := newDrifting(t, envelope(), firewall.DriftAsk)
	for range 2 { // and asked for again meanwhile
		if got := d.do(t, toolCall("pay", `{}`)); got != "pending" {
			t.Fatal(got)
		}
	}
	list := d.approvals.List()
	if len(list) != 1 || list[0].Groups[0] != "group:ops" || !strings.Contains(list[0].Reason, "tool shop/pay is not expected of agent:bot") {
		t.Fatalf("%+v", list)
	}
	if _, err := d.approvals.Decide(t.Context(), list[0].ID, firewall.Vote{By: "user:ana", Yes: true}, func(_, _, _ string) bool { return true }, func(firewall.Approval) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{`{}`, `{"again":1}`} { // the run may go on so
		if got := d.do(t, toolCall("pay", args)); got != "ok" {
			t.Fatal(got)
		}
	}
	if got := d.told(); len(got) != 1 || !strings.HasPrefix(got[0], "refused pay tools") {
		t.Error(got)
	}
	d.now = d.now.Add(time.Hour)
	if got := d.do(t, toolCall("pay", `{}`)); got != "pending" {
		t.Error("another run:", got)
	}
}

func TestAnAgentIsSuspended(t *testing.T) {
	d := newDrifting(t, envelope(), firewall.DriftSuspend, 0, 0, firewall.DriftSuspend)
	d.failing = errors.New("the disk is full")
	for range 2 { // refused, also where it cannot be stored
		if got := d.do(t, toolCall("pay", `{}`)); got != "denied" {
			t.Fatal(got)
		}
	}
	d.failing = nil
	if got := d.do(t, toolCall("pay", `{}`)); got != "denied" {
		t.Fatal(got)
	}
	if len(d.suspended) != 3 || d.suspended[0] != "bot: tool shop/pay is not expected of agent:bot" {
		t.Errorf("%q", d.suspended)
	}
	if got := d.do(t, toolCall("pay", `{}`)); got != "ok" { // somebody has resumed it
		t.Error(got)
	}
	brings := toolCall("find", `{}`)
	brings.Brings = firewall.Secret
	if got := d.do(t, brings); got != "denied" {
		t.Errorf("the reply is passed on: %s", got)
	}
	if got := d.told(); len(got) != 2 || !strings.HasPrefix(got[1], "closed  labels: secret") {
		t.Errorf("%q", got)
	}
}

func TestWhatIsOffIsNotTold(t *testing.T) {
	off := firewall.DriftOff
	d := newDrifting(t, envelope(), off, off, off, off, off, off)
	for range 9 {
		if got := d.do(t, toolCall("pay", `{"a":"http://evil.example"}`)); got != "ok" {
			t.Fatal(got)
		}
	}
	if got := d.told(); len(got)+len(d.alerts) > 0 {
		t.Error(got, d.alerts)
	}
	other := toolCall("pay", `{}`) // of whom nothing is expected
	other.Token = "other-token"
	if got := d.do(t, other); got != "ok" {
		t.Error(got)
	}
}

func TestHostsAreThoseOfURLs(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{`{"a":"nothing: //here"}`, ""},
		{`{"a":"http://A.Example"}`, "a.example"},
		{`{"a":"ftp://user:pw@b.example.:21/x?u=https://c.example#d"}`, "b.example c.example"},
		{`{"a":["s3://bucket/key",{"b":"wss://[2001:db8::1]:8/x"}]}`, "bucket 2001:db8::1"},
		{`{"a":"https:\u002f\u002fd.example\n"}`, "d.example"},
		{`{"a":"{\"b\":\"https://e.example\"}"}`, "e.example"},
		{`{"a":"https://f.example\\@g.example"}`, "f.example"},
		{`{"a":"://x https:///y https://@/"}`, ""},
		{`{"a":"http://h.example http://h.example/2"}`, "h.example"},
		{`{"a":"https://good.example@evil.example/"}`, "evil.example"},
	} {
		d := newDrifting(t, &firewall.Envelope{})
		d.do(t, toolCall("find", test.args))
		if got := strings.Join(d.log.Records()[0].Env.Hosts, " "); got != test.want {
			t.Errorf("%s: %q, want %q", test.args, got, test.want)
		}
	}
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, "http://h%d.example ", i)
	}
	e := &firewall.Envelope{Hosts: firewall.NewExpected("config", []string{"h*"})}
	d := newDrifting(t, e)
	d.do(t, toolCall("find", `{"a":"`+many.String()+`http://evil.example"}`))
	if got := d.told(); len(got) != 1 || !strings.Contains(got[0], "evil.example") {
		t.Errorf("behind many hosts: %q", got)
	}
}
