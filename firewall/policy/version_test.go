package policy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"callgate/firewall"
	"callgate/firewall/policy"
)

// cabinet is Versions, what they put in force, and what they put on record.
type cabinet struct {
	t                 *testing.T
	store             policy.VersionStore
	v                 *policy.Versions
	active, candidate *policy.Policy
	record            []string
	full              bool // the record takes nothing
}

func newCabinet(t *testing.T, store policy.VersionStore) *cabinet {
	return &cabinet{t: t, store: store}
}

// start is the start of a process whose files hold rows ("" is that there are none).
func (c *cabinet) start(rows string) []string {
	c.t.Helper()
	var err error
	c.active, c.candidate = nil, nil
	c.v, err = policy.OpenVersions(context.Background(), policy.VersionsConfig{
		Store: c.store, Now: time.Now, Enforce: func(a, b *policy.Policy) { c.active, c.candidate = a, b },
		Record: func(what, by, name, state string) error {
			if c.full {
				return errors.New("disk full")
			}
			c.record = append(c.record, what+" by "+by+": "+state)
			return nil
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return c.reload(rows)
}

func (c *cabinet) files(rows string) *policy.Policy {
	c.t.Helper()
	var sources []policy.Source
	if rows != "" {
		sources = append(sources, policy.Source{Name: "policy.csv", Text: []byte(rows)})
	}
	p, err := policy.Load(sources...)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

func (c *cabinet) reload(rows string) []string {
	c.t.Helper()
	changes, err := c.v.Configure(context.Background(), c.files(rows), "config")
	if err != nil {
		c.t.Fatal(err)
	}
	return changes
}

// state is which rule is in force, as which version, and the candidate's.
func (c *cabinet) state() string {
	rule := func(p *policy.Policy) string {
		if p == nil {
			return "none"
		}
		if d := p.Decide(tool(by("agent:a"), "s", "x", "")); d.Rule != "" {
			return d.Rule
		}
		return "empty"
	}
	s := c.v.Standing()
	text := fmt.Sprintf("%s v%d", rule(c.active), s.Version)
	if c.candidate != nil || s.Candidate != 0 {
		text += fmt.Sprintf(" and %s v%d", rule(c.candidate), s.Candidate)
	}
	if s.Broken != nil {
		text += " broken"
	}
	return text
}

func row1(id string) string { return "p, agent:a, *, tool:s/x, call, true, allow, " + id + "\n" }

func TestTheLastActCounts(t *testing.T) {
	ctx := context.Background()
	type step struct {
		does string
		want string
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"nothing at all", []step{{"start", "empty v0"}, {"reload", "empty v0"}, {"rollback", "empty v0: nothing to change"}}},
		{"files", []step{{"start A", "A v1"}, {"reload A", "A v1"}, {"reload B", "B v2"}, {"start B", "B v2"}, {"rollback", "A v1"}, {"rollback", "B v2"}}},
		{"a rollback outlives a restart and a reload, until the files change", []step{
			{"start A", "A v1"}, {"reload B", "B v2"}, {"rollback", "A v1"}, {"reload B", "A v1"}, {"start B", "A v1"}, {"reload C", "C v3"}, {"start C", "C v3"}}},
		{"files that were changed back are activated again", []step{{"start A", "A v1"}, {"reload B", "B v2"}, {"reload A", "A v1"}, {"start A", "A v1"}}},
		{"what was sent in", []step{{"start A", "A v1"}, {"apply D", "D v2"}, {"reload A", "D v2"}, {"start A", "D v2"}, {"apply D", "D v2"}, {"rollback", "A v1"}, {"activate 2", "D v2"},
			{"activate 2", "D v2: nothing to change"}, {"activate 7", "D v2: no such version"}}},
		{"without files", []step{{"start", "empty v0"}, {"apply D", "D v1"}, {"start", "D v1"}, {"start A", "A v2"}, {"start", "empty v3"}, {"start", "empty v3"}}},
		{"stored only", []step{{"start A", "A v1"}, {"store D", "A v1"}, {"activate 2", "D v2"}}},
		{"a candidate", []step{{"start A", "A v1"}, {"store D", "A v1"}, {"rehearse 2", "A v1 and D v2"}, {"rehearse 2", "A v1 and D v2: nothing to change"}, {"start A", "A v1 and D v2"},
			{"start B", "B v3 and D v2"}, {"end", "B v3"}, {"start B", "B v3"}, {"end", "B v3: nothing to change"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCabinet(t, new(policy.Memory))
			for _, s := range tt.steps {
				verb, what, _ := strings.Cut(s.does, " ")
				var err error
				rows, number := "", int64(0)
				if _, e := fmt.Sscan(what, &number); e != nil && what != "" {
					rows = row1(what)
				}
				switch verb {
				case "start":
					c.start(rows)
				case "reload":
					c.reload(rows)
				case "apply", "store":
					_, err = c.v.Add(ctx, c.files(rows), "user:ana", "", verb == "apply")
				case "rollback":
					_, err = c.v.Rollback(ctx, "user:ana", "")
				case "activate":
					err = c.v.Do(ctx, policy.Act{What: policy.Activate, Version: number, By: "user:ana"})
				case "rehearse":
					err = c.v.Do(ctx, policy.Act{What: policy.Rehearse, Version: number, By: "user:ana"})
				case "end":
					err = c.v.Do(ctx, policy.Act{What: policy.EndRehearsal, By: "user:ana"})
				}
				got := c.state()
				if errors.Is(err, policy.ErrInForce) {
					got += ": nothing to change"
				} else if errors.Is(err, policy.ErrNoVersion) {
					got += ": no such version"
				} else if err != nil {
					t.Fatal(err)
				}
				if got != s.want {
					t.Fatalf("after %q: %s, want %s", s.does, got, s.want)
				}
			}
		})
	}
}

func TestWhatCannotBePutOnRecordDoesNotComeIntoForce(t *testing.T) {
	c := newCabinet(t, new(policy.Memory))
	c.start(row1("A"))
	c.full = true
	if _, err := c.v.Configure(context.Background(), c.files(row1("B")), "admin"); err == nil {
		t.Error("a reload: no error")
	}
	if _, err := c.v.Add(context.Background(), c.files(row1("C")), "user:ana", "", true); err == nil {
		t.Error("a policy that is sent in: no error")
	}
	if got := c.state(); got != "A v1" {
		t.Errorf("in force: %s", got)
	}
	c.full = false
	c.reload(row1("B"))
	if got := c.record[len(c.record)-1]; !strings.HasPrefix(got, "policy.activated by config: version 2 instead of ") {
		t.Errorf("on record: %s", got)
	}
}

// flimsy is a store that loses what it is told to.
type flimsy struct {
	*policy.Memory
	damaged    int64
	fail, late bool // an act is not stored, or is, with an error
}

func (s *flimsy) Version(ctx context.Context, n int64) (policy.Version, error) {
	v, err := s.Memory.Version(ctx, n)
	if n == s.damaged {
		v.Files = []policy.Source{{Name: "policy.csv", Text: []byte(row1("EVIL"))}}
	}
	return v, err
}

func (s *flimsy) AddAct(ctx context.Context, a policy.Act) error {
	if !s.fail || s.late {
		if err := s.Memory.AddAct(ctx, a); err != nil {
			return err
		}
	}
	if s.fail {
		return errors.New("disk gone")
	}
	return nil
}

func TestAVersionThatIsDamagedDeniesEverything(t *testing.T) {
	store := &flimsy{Memory: new(policy.Memory)}
	c := newCabinet(t, store)
	c.start(row1("A"))
	if _, err := c.v.Add(context.Background(), c.files(row1("D")), "user:ana", "", true); err != nil {
		t.Fatal(err)
	}
	store.damaged = 2
	c.start(row1("A"))
	if got := c.state(); got != "empty v2 broken" {
		t.Fatalf("in force: %s", got)
	}
	if err := c.v.Do(context.Background(), policy.Act{What: policy.Activate, Version: 2, By: "user:ana"}); err == nil {
		t.Error("it was activated")
	}
	if _, err := c.v.Rollback(context.Background(), "user:ana", ""); err != nil {
		t.Fatal(err)
	}
	if got := c.state(); got != "A v1" {
		t.Errorf("after a rollback: %s", got)
	}
}

func TestAnActThatIsNotStoredHasNoEffect(t *testing.T) {
	for _, late := range []bool{false, true} {
		store := &flimsy{Memory: new(policy.Memory), late: late}
		c := newCabinet(t, store)
		c.start(row1("A"))
		store.fail = true
		if _, err := c.v.Add(context.Background(), c.files(row1("D")), "user:ana", "", true); err == nil {
			t.Error("no error")
		}
		if got := c.state(); got != "A v1" {
			t.Errorf("in force: %s", got)
		}
		store.fail = false
		c.start(row1("A"))
		want := map[bool]string{false: "A v1", true: "D v2"}[late] // what was stored all the same counts from the next start
		if got := c.state(); got != want {
			t.Errorf("after a restart: %s, want %s", got, want)
		}
	}
}

func TestACandidateChangesNothingAndIsOnRecord(t *testing.T) {
	active := load(t, "p, agent:a, *, tool:s/*, call, true, allow, R1\np2, agent:a, *, tool:s/y, call, true, allow, limit:calls=1/1h, R2")
	candidate := load(t, "p, agent:a, *, tool:s/x, call, r.env.args.n < 5, allow, N1\np, agent:a, *, tool:s/y, call, true, allow, N2\np2, agent:a, *, tool:s/y, call, true, allow, limit:calls=1/1h, N3\n"+
		"p, agent:a, *, tool:s/z, call, true, allow, N4\np2, agent:a, *, tool:s/z, call, true, allow, redact:args.n, N5")
	r := policy.NewRehearsal(candidate)
	p := r.Of(active)
	for _, tt := range []struct{ tool, args, want, otherwise string }{
		{"x", `{"n":1}`, "allow R1", ""},
		{"x", `{"n":9}`, "allow R1", "deny"},
		{"x", `{}`, "allow R1", "error N1"},
		{"y", `{}`, "allow R1 limit:calls=1/1h by R2", ""},
		{"z", `{}`, "allow R1", "allow N4 redact:args.n by N5"},
	} {
		d := p.Decide(tool(by("agent:a"), "s", tt.tool, tt.args))
		other := ""
		if d.Otherwise != nil {
			other = said(*d.Otherwise)
		}
		if said(d) != tt.want || other != tt.otherwise {
			t.Errorf("%s %s: %s, otherwise %q; want %s, otherwise %q", tt.tool, tt.args, said(d), other, tt.want, tt.otherwise)
		}
	}
	if asked, differed := r.Counts(); asked != 5 || differed != 3 {
		t.Errorf("counted %d and %d", asked, differed)
	}
	if d := p.Decide(&firewall.Call{Kind: firewall.List, Caller: by("agent:a")}); d.Effect != firewall.Allow || d.Otherwise != nil {
		t.Errorf("a list: %+v", d)
	}
}
