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
)

// A family is a gate where a token is a chain of names, the acting agent first, and
// behind a space who answers for the agent at its root: "child<lead user:ana".
type family struct {
	*firewall.Gate
	t   *testing.T
	law *asking
	log audit.Memory
	now time.Time
}

func newFamily(t *testing.T, limits ...firewall.Obligation) *family {
	f := &family{t: t, law: &asking{digest: "p1", limits: limits, in: map[string][]string{"user:ana": {"group:eng", "group:all"}, "user:bob": {"group:all"}}}, now: time.Unix(1e9, 0)}
	now := func() time.Time { return f.now }
	f.Gate = firewall.New(firewall.Config{Verify: chained, Log: &f.log, Runs: firewall.NewRuns(0, new(firewall.Memory), now), Budgets: firewall.NewBudgets(now),
		Approvals: firewall.NewApprovals(new(firewall.Memory), 0, now), Stops: new(identity.Revocations), Now: now, Logger: slog.New(slog.DiscardHandler)}, &firewall.Law{Policy: f.law})
	return f
}

func chained(_ context.Context, token, _ string) (identity.Principal, error) {
	names, user, _ := strings.Cut(token, " ")
	p := identity.Principal{Tenant: "default", User: user}
	for name := range strings.SplitSeq(names, "<") {
		if !strings.Contains(name, ":") {
			name = "agent:" + name
		}
		p.Actors = append(p.Actors, name)
	}
	p.Subject, p.Actors = p.Actors[len(p.Actors)-1], p.Actors[:len(p.Actors)-1]
	return p, nil
}

// ask makes a call and says "ok", or the code and reason of its refusal.
func (f *family) ask(call *firewall.Call, up firewall.Upstream) string {
	return told(f.Do(context.Background(), call, up, func(firewall.Event) error { return nil }))
}

func told(err error) string {
	var e *firewall.Error
	if errors.As(err, &e) {
		return e.Code.String() + ": " + e.Reason
	}
	return "ok"
}

func limit(of string, amount int64, per string, hops uint64) firewall.Obligation {
	l := firewall.Limit{Of: of, Amount: amount, Window: time.Hour, Per: per}
	if of == firewall.Concurrent {
		l.Window = 0
	}
	return firewall.Obligation{Do: firewall.LimitTo, With: of + per, Rule: "L", Limit: l, Hops: hops}
}

func TestASubAgentDrawsOnWhatIsLeftToThoseAbove(t *testing.T) {
	for _, tt := range []struct {
		name, per string
		hops      uint64
		first     []string // who calls
		then      string
		want      string // "" is that it passes
	}{
		{"an agent counts for itself", "agent", 0, []string{"lead", "lead"}, "lead", "agent:lead 2 calls"},
		{"and not for others", "agent", 0, []string{"lead", "lead"}, "other", ""},
		{"a child's calls are its parent's too", "agent", 0, []string{"a<lead", "b<lead"}, "lead", "agent:lead 2 calls"},
		{"and another child's", "agent", 0, []string{"a<lead", "b<lead"}, "c<lead", "agent:lead 2 calls"},
		{"and a grandchild's", "agent", 0, []string{"a<lead", "b<lead"}, "d<c<lead", "agent:lead 2 calls"},
		{"an agent that is full is full under another parent", "agent", 0, []string{"a<lead", "a<lead"}, "a<other", "agent:a 2 calls"},
		{"what is asked of the child is not asked of its parent", "agent", 1, []string{"a<lead", "b<lead"}, "c<lead", ""},
		{"what is asked of the parent counts all its children", "agent", 2, []string{"a<lead", "b<lead"}, "c<lead", "agent:lead 2 calls"},
		{"a human is no agent", "agent", 0, []string{"a<user:ana", "b<user:ana"}, "c<user:ana", ""},
		{"what is asked of a human is asked of each agent", "agent", 2, []string{"a<user:ana", "a<user:ana"}, "a<user:ana", "agent:a 2 calls"},
		{"and of its children", "agent", 4, []string{"a<lead<user:ana", "b<lead<user:ana"}, "c<lead<user:ana", "agent:lead 2 calls"},
		{"a run is the caller's", "run", 0, []string{"a<lead", "a<lead"}, "a<lead", "this run 2 calls"},
		{"and those above", "run", 0, []string{"a<lead", "lead"}, "b<lead", "the run of agent:lead 2 calls"},
		{"but for humans, whose agents have runs of their own", "run", 0, []string{"a<user:ana", "a<user:ana"}, "b<user:ana", ""},
		{"a chain is the root's run", "chain", 0, []string{"a<user:ana", "b<lead<user:ana"}, "c<user:ana", "all that is done for user:ana 2 calls"},
		{"of an agent, too", "chain", 0, []string{"lead", "a<lead"}, "b<a<lead", "all that is done for agent:lead 2 calls"},
		{"and nobody else's", "chain", 0, []string{"a<user:ana", "b<user:ana"}, "a<user:bob", ""},
		{"a user is at the root", "user", 0, []string{"a<user:ana user:ana", "b<user:ana user:ana"}, "a<user:ana user:ana", "user:ana 2 calls"},
		{"or answers for the agent there", "user", 0, []string{"a<user:ana user:ana", "lead user:ana"}, "x<other user:ana", "user:ana 2 calls"},
		{"an agent that nobody answers for is its own", "user", 0, []string{"lead", "other"}, "lead", ""},
		{"each group has its own", "group", 0, []string{"a user:ana", "b user:ana"}, "c user:bob", "group:all 2 calls"},
		{"and each must have room", "group", 0, []string{"c user:bob", "a user:ana"}, "a user:ana", "group:all 2 calls"},
		{"who is in no group is counted alone", "group", 0, []string{"c user:eve", "d user:eve"}, "e user:eve", "user:eve, who is in no group, 2 calls"},
		{"a model is counted for all", "model", 0, []string{"a", "b<lead"}, "c", "tool:shop/refund 2 calls"},
		{"a tenant, too", "tenant", 0, []string{"a", "b<lead"}, "c", "tenant default 2 calls"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFamily(t, limit(firewall.Calls, 2, tt.per, tt.hops))
			ask := func(token string) string {
				call := toolCall("refund", `{}`)
				call.Token = token
				return f.ask(call, &replies{events: []firewall.Event{event(`{}`, true)}})
			}
			for _, token := range tt.first {
				if got := ask(token); got != "ok" {
					t.Fatalf("%s: %s", token, got)
				}
			}
			want := "ok"
			if tt.want != "" {
				want = "exhausted: rule L allows " + tt.want + " in 1h: there is room again in "
			}
			if got := ask(tt.then); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s\nwant %s", tt.then, got, want)
			}
		})
	}
}

// A call that one level has no room for takes nothing of the others.
func TestAllLevelsAreTakenOrNone(t *testing.T) {
	f := newFamily(t, limit(firewall.Calls, 3, firewall.PerAgent, 0), limit(firewall.Calls, 1, firewall.PerTool, 0), limit(firewall.Concurrent, 1, firewall.PerUser, 0))
	call := func(tool string) string {
		c := toolCall(tool, `{}`)
		c.Token = "a<lead user:ana"
		return f.ask(c, &replies{events: []firewall.Event{event(`{}`, true)}})
	}
	for _, tt := range [][2]string{{"x", "ok"}, {"x", "exhausted: rule L allows tool:shop/x"}, {"x", "exhausted: rule L allows tool:shop/x"}, {"y", "ok"}, {"z", "ok"}, {"v", "exhausted: rule L allows agent:a 3 calls"}} {
		if got := call(tt[0]); !strings.HasPrefix(got, tt[1]) {
			t.Fatalf("%s: %s, want %s", tt[0], got, tt[1])
		}
	}
}

// However a call ends, it is not under way any more.
func TestCallsUnderWayAreLimited(t *testing.T) {
	boom := errors.New("connection reset")
	hangUp := func(firewall.Event) error { return boom }
	fine := func(firewall.Event) error { return nil }
	for _, tt := range []struct {
		name string
		up   *replies
		down func(firewall.Event) error
	}{
		{"it ends well", &replies{events: []firewall.Event{event(`1`, true)}}, fine},
		{"its target fails", &replies{err: boom}, fine},
		{"its stream breaks off", &replies{events: []firewall.Event{event(`1`, false)}, err: boom}, fine},
		{"its stream just stops", &replies{events: []firewall.Event{event(`1`, false)}}, fine},
		{"the client hangs up", &replies{events: []firewall.Event{event(`1`, false), event(`2`, true)}}, hangUp},
		{"callgate panics", &replies{events: []firewall.Event{event(`1`, true)}}, func(firewall.Event) error { panic("x") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFamily(t, limit(firewall.Concurrent, 2, firewall.PerAgent, 0))
			call := func() *firewall.Call {
				c := toolCall("refund", `{}`)
				c.Token = "a<lead"
				return c
			}
			started, end := make(chan bool), make(chan bool)
			over := make(chan bool)
			tt.up.before = func() { started <- true; <-end }
			for range 2 {
				up := *tt.up
				go func() {
					_ = f.Do(context.Background(), call(), &up, tt.down)
					over <- true
				}()
				<-started
			}
			err := f.Do(context.Background(), call(), &replies{}, fine)
			var e *firewall.Error
			if !errors.As(err, &e) || e.Code != firewall.Exhausted || e.Retry != time.Second || e.Reason != "rule L allows agent:a 2 calls at once, and as many are under way: try again when one of them is over" {
				t.Errorf("a third: %+v", err)
			}
			other := call()
			other.Token = "b<other"
			if got := f.ask(other, &replies{events: []firewall.Event{event(`1`, true)}}); got != "ok" {
				t.Errorf("another agent: %s", got)
			}
			close(end)
			<-over
			<-over
			for range 3 {
				if got := f.ask(call(), &replies{events: []firewall.Event{event(`1`, true)}}); got != "ok" {
					t.Fatalf("when both are over: %s", got)
				}
			}
		})
	}
}

// ways is an upstream that tries the ways of a call in order, and says what each takes.
type ways struct {
	took map[string]firewall.Usage // by model; one that is not here is not tried, one that begins with ! fails
	went []string
}

func (u *ways) Forward(_ context.Context, call *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		for _, w := range append([]firewall.Route{{Target: call.Target, Resource: call.Resource, Price: call.Price}}, call.Routes...) {
			call.Take(w)
			u.went = append(u.went, w.Resource)
			if took, fails := u.took["!"+w.Resource]; fails {
				call.Usage = took
				call.Tried(audit.Attempt{Fault: "http 500"})
				continue
			}
			call.Tried(audit.Attempt{})
			ev := event(`{}`, true)
			ev.Usage = u.took[w.Resource]
			yield(ev, nil)
			return
		}
	}
}

func (u *ways) Read(*firewall.Event) {}

// Each way is under its own limits: where one has no room, or no price, the others are left.
func TestEachWayIsUnderItsOwnLimits(t *testing.T) {
	cheap, dear := &firewall.Price{Input: 1, Output: 1}, &firewall.Price{Input: 10, Output: 10}
	f := newFamily(t, limit(firewall.USD, 1000, firewall.PerModel, 0), limit(firewall.Calls, 3, firewall.PerModel, 0))
	ask := func(used map[string]firewall.Usage, models ...string) string {
		call := modelCall()
		call.Token = "a"
		var all []firewall.Route
		for _, m := range models {
			r := firewall.Route{Target: "lab", Resource: m, Price: map[byte]*firewall.Price{'c': cheap, 'd': dear}[m[0]]}
			r.Estimate = r.Price.Estimate(firewall.Usage{Input: 50})
			all = append(all, r)
		}
		call.Take(all[0])
		call.Estimate, call.Routes = all[0].Estimate, all[1:]
		up := &ways{took: used}
		return strings.TrimSpace(f.ask(call, up) + " " + fmt.Sprint(up.went))
	}
	used := func(n int64) firewall.Usage { return firewall.Usage{Input: n} }
	for i, tt := range []struct {
		used   map[string]firewall.Usage
		models []string
		want   string
	}{
		{map[string]firewall.Usage{"c1": used(40)}, []string{"free", "c1"}, "ok [c1]"}, // which has no price
		{nil, []string{"free", "gratis"}, "denied: rule L limits what models may cost, and no price is known for model:lab/free []"},
		{map[string]firewall.Usage{"!d1": used(60), "c1": used(40)}, []string{"d1", "c1"}, "ok [d1 c1]"}, // d1 600, c1 80
		{map[string]firewall.Usage{"c1": used(500)}, []string{"d1", "c1"}, "ok [c1]"},                    // 500 more are too much for d1; c1 580, 3 calls
		{nil, []string{"c1", "d1"}, "exhausted: rule L allows model:lab/c1 3 calls in 1h: there is room again in 1h []"},
		{map[string]firewall.Usage{"c2": used(1)}, []string{"c1", "c2"}, "ok [c2]"},
	} {
		if got := ask(tt.used, tt.models...); got != tt.want {
			t.Errorf("call %d: %s\nwant %s", i, got, tt.want)
		}
	}
	last := f.log.Records()
	for _, r := range last {
		if len(r.Attempts) == 2 {
			first := r.Attempts[0]
			if first.Cost == nil || *first.Cost != 600 || first.Usage.Input != 60 || *r.Cost != 40 || r.Usage.Input != 40 {
				t.Errorf("what each try took: %+v, %+v", first, r)
			}
			return
		}
	}
	t.Error("no call with two tries is on record")
}
