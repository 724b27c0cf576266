package store_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"callgate/audit"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Sums are those of the calls that their filters find, however the records came.
func TestSumsAreThoseOfTheCalls(t *testing.T) {
	const begin = 1795420800000000
	h := open(t, t.TempDir())
	r := rand.New(rand.NewPCG(9, 9))
	for i := range 5 {
		records := rich(r, random(r, 200*i, 100))
		for k := range records { // over some days
			records[k].At = begin + (records[k].At-begin)*300_000
		}
		h.put(t, records...)
	}
	calls := told(t, h)
	if err := h.index.Rebuild(t.Context()); err != nil { // in one batch
		t.Fatal(err)
	}
	for _, rebuilt := range []bool{false, true} {
		if rebuilt {
			h.put(t)
		}
		for _, by := range []string{"", "agent", "tool", "model,effect", "kind,outcome", "hour", "day,agent", "target,resource"} {
			for _, bounds := range [][2]time.Duration{{0, 0}, {7 * time.Hour, 0}, {30 * time.Hour, 61 * time.Hour}, {0, 25 * time.Hour}} {
				where, err := audit.ParseWhere([]string{"", "effect != deny", `tool = "shop/*" OR kind = model`}[r.IntN(3)], time.Now())
				if err != nil {
					t.Fatal(err)
				}
				f := audit.RollupFilter{Where: where}
				if by != "" {
					f.By = strings.Split(by, ",")
				}
				if bounds[0] > 0 {
					f.Since = time.UnixMicro(begin).Add(bounds[0])
				}
				if bounds[1] > 0 {
					f.Until = time.UnixMicro(begin).Add(bounds[1])
				}
				if !rebuilt && len(f.By) == 0 {
					continue
				}
				h.put(t)
				list, err := h.index.Rollup(t.Context(), f)
				if err != nil {
					t.Fatal(err)
				}
				covered := int64(0)
				for _, got := range list {
					w, err := audit.ParseWhere(got.Filter, time.Now())
					if err != nil {
						t.Fatalf("%s: %v", got.Filter, err)
					}
					want := audit.Rollup{By: got.By, Filter: got.Filter}
					for i := range calls {
						if c := &calls[i]; w.Fits(c) {
							add(&want, c)
						}
					}
					if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
						t.Fatalf("by %s, since %v: %s (-calls +sum)\n%s", by, bounds, got.Filter, diff)
					}
					covered += got.Calls
				}
				all := int64(0)
				for i := range calls {
					if c := &calls[i]; where.Fits(c) && (f.Since.IsZero() || c.At >= f.Since.Truncate(time.Hour).UnixMicro()) && (f.Until.IsZero() || c.At < f.Until.Add(time.Hour-1).Truncate(time.Hour).UnixMicro()) {
						all++
					}
				}
				if covered != all {
					t.Fatalf("by %s, since %v, %s: %d calls, want %d", by, bounds, where, covered, all)
				}
			}
		}
	}
}

// add adds a call to a sum.
func add(r *audit.Rollup, c *audit.Call) {
	r.Calls++
	switch {
	case c.Effect == "deny":
		r.Denied++
	case c.Effect == "ask":
		r.Held++
	case c.Outcome == audit.OutcomeOpen || c.Outcome == audit.OutcomeUnknown:
	case c.Outcome != "ok":
		r.Failed++
	}
	if c.Outcome == audit.OutcomeOpen || c.Outcome == audit.OutcomeUnknown {
		r.Open++
	}
	r.Bytes += c.Sent + c.Received
	took := func(u *audit.Usage, cost *int64) {
		if u != nil {
			r.Tokens += u.Input + u.Output
			if cost != nil {
				r.Cost += *cost
			}
		}
	}
	took(c.Usage, c.Cost)
	for _, a := range c.Attempts {
		took(a.Usage, a.Cost)
	}
}

func TestSumsAreOfSomeFields(t *testing.T) {
	h := open(t, t.TempDir())
	for _, f := range []audit.RollupFilter{{By: []string{"colour"}}, {Where: parsed(t, "token = x")}, {Where: parsed(t, "kind = tool OR NOT (cost > 1)")}} {
		if _, err := h.index.Rollup(t.Context(), f); err == nil || !strings.Contains(err.Error(), "and not by") {
			t.Errorf("%s by %v: error %v", f.Where, f.By, err)
		}
	}
}

func parsed(t *testing.T, text string) *audit.Where {
	t.Helper()
	w, err := audit.ParseWhere(text, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// What led to a call is followed as far as it goes, without what was shown not to be so.
func TestAncestorsAndDescendants(t *testing.T) {
	h := open(t, t.TempDir())
	var records []audit.Record
	call := func(id int, run string, links ...audit.Link) {
		records = append(records, audit.Record{Type: audit.Opened, At: int64(id), Call: fmt.Sprint("c", id), Run: run, Agent: "agent:a", Kind: "tool", Target: "s", Resource: "t", Links: links})
	}
	link := func(from int, kind string) audit.Link {
		return audit.Link{From: fmt.Sprint("c", from), Kind: kind, Method: "m"}
	}
	call(1, "r")
	call(2, "r", link(1, "proposed"))
	call(3, "r", link(1, "proposed"), link(2, "result"))
	call(4, "q", link(3, "delegated"))
	call(5, "q", link(2, "proposed")) // which was wrong:
	moved := link(4, "proposed")
	moved.To, moved.Conf = "c5", 100
	call(6, "q", moved, link(5, "result"))
	call(7, "x")
	h.put(t, records...)
	ids := func(c audit.Chain, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, x := range c.Calls {
			all = append(all, x.ID)
		}
		return strings.Join(all, " ")
	}
	for _, c := range []struct{ ask, got, want string }{
		{"ancestors of c5", ids(h.index.Ancestors(t.Context(), "c5")), "c1 c2 c3 c4 c5"},
		{"ancestors of c2", ids(h.index.Ancestors(t.Context(), "c2")), "c1 c2"},
		{"ancestors of none", ids(h.index.Ancestors(t.Context(), "c9")), ""},
		{"descendants of c2", ids(h.index.Descendants(t.Context(), "c2")), "c2 c3 c4 c5 c6"},
		{"descendants of c5", ids(h.index.Descendants(t.Context(), "c5")), "c5 c6"},
		{"descendants of run q", ids(h.index.Descendants(t.Context(), "q")), "c4 c5 c6"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.ask, c.got, c.want)
		}
	}
}
