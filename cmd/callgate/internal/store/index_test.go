package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/audit"
	"callgate/cmd/callgate/internal/store"

	"github.com/google/go-cmp/cmp"
)

// house is a ledger with its index.
type house struct {
	ledger *audit.Ledger
	db     *store.DB
	index  *store.Index
	pause  func() // ends the work at the index
	resume func() // begins it
	stop   func()
}

// open opens what dir holds, with the index at work.
func open(t testing.TB, dir string) *house {
	t.Helper()
	l, err := audit.Open(filepath.Join(dir, "ledger"), audit.Config{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), filepath.Join(dir, "callgate.db"), "")
	if err != nil {
		t.Fatal(err)
	}
	h := &house{ledger: l, db: db, index: store.NewIndex(db, l, slog.New(slog.DiscardHandler))}
	h.resume = func() {
		ctx, cancel := context.WithCancel(context.Background())
		var work sync.WaitGroup
		work.Go(func() { h.index.Run(ctx) })
		h.pause = func() {
			cancel()
			work.Wait()
		}
	}
	h.resume()
	h.stop = sync.OnceFunc(func() {
		h.pause()
		if err := errors.Join(l.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(h.stop)
	return h
}

// append makes records durable.
func (h *house) append(t testing.TB, records ...audit.Record) {
	t.Helper()
	var last audit.Ticket
	for i := range records {
		last = h.ledger.Append(&records[i])
	}
	if err := last.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// put makes records durable and waits for the index.
func (h *house) put(t testing.TB, records ...audit.Record) {
	t.Helper()
	if len(records) > 0 {
		h.append(t, records...)
	}
	if _, _, err := h.index.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// random is a history of n records: calls of every kind, side by side. Their ids
// begin at from.
func random(r *rand.Rand, from, n int) []audit.Record {
	var records []audit.Record
	var open, ended []audit.Record // by their first record
	for i := from; i < from+n; i++ {
		at := int64(1795420800000000 + i*1000)
		pick := func(list ...string) string { return list[r.IntN(len(list))] }
		switch what := r.IntN(10); {
		case what == 0:
			records = append(records, audit.Record{Type: audit.Changed, At: at, What: pick("agent.created", "agent.revoked", "policy.activated"), Name: pick("agent:a", "agent:b")})
		case what < 5 || len(open) == 0:
			c := audit.Record{Type: audit.Opened, At: at, Call: fmt.Sprintf("019ab3c1-7c4e-7d52-9b6f-%012d", i), Agent: pick("agent:a", "agent:b"),
				Run: pick("run-1", "run-2", "run-3"), Chain: pick("", "", "trip"), Kind: pick("model", "tool"), Target: pick("shop", "files"), Resource: pick("x", "y \"q\""),
				ArgsHash: pick("h1", "h2", "h3"), Effect: "allow", Rule: "R"}
			for range r.IntN(3) {
				if len(ended) > 0 {
					l := audit.Link{From: ended[r.IntN(len(ended))].Call, Kind: pick("proposed", "result"), Method: pick("tool_use_id", "twin"), ID: pick("u1", "u2")}
					if !slices.Contains(c.Links, l) {
						c.Links = append(c.Links, l)
					}
				}
			}
			switch r.IntN(5) {
			case 0:
				c.Type, c.Effect, c.Outcome = audit.Refused, pick("deny", "ask"), pick("denied", "pending", "invalid")
				ended = append(ended, c)
			case 1:
				c.Type, c.Effect, c.Outcome = audit.Closed, "", "ok"
				ended = append(ended, c)
			default:
				open = append(open, c)
			}
			records = append(records, c)
		default:
			k := r.IntN(len(open))
			c := open[k]
			if r.IntN(3) == 0 {
				records = append(records, audit.Record{Type: audit.Proposed, At: at, Call: c.Call, Run: c.Run, Proposal: &audit.Proposal{ToolUse: pick("u1", "u2"), Name: "n"}})
				continue
			}
			records = append(records, audit.Record{Type: audit.Closed, At: at, Call: c.Call, Run: c.Run, Outcome: pick("ok", "fault", "timeout"), Bytes: 9})
			open = slices.Delete(open, k, k+1)
			ended = append(ended, c)
		}
	}
	return records
}

// sorted makes what comes in no certain order comparable.
func sorted(calls []audit.Call) []audit.Call {
	for i := range calls {
		slices.SortFunc(calls[i].Led, func(a, b audit.Edge) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		for k := range calls[i].Wants { // which of two equal proposals a call carried out is as good as open
			calls[i].Wants[k].Call, calls[i].Wants[k].Method = "", ""
		}
	}
	return calls
}

// compare says how what the index answers differs from what the records tell.
func compare(t *testing.T, h *house) {
	t.Helper()
	var records []audit.Record
	for r, err := range h.ledger.Records(1) {
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	calls := audit.Tell(records, h.ledger.Began())
	newest := slices.Clone(calls)
	slices.Reverse(newest)
	pick := func(fits func(*audit.Call) bool) []audit.Call {
		var list []audit.Call
		for i := range newest {
			if fits(&newest[i]) {
				list = append(list, newest[i])
			}
		}
		return list
	}
	since, until := time.UnixMicro(1795420800000000+50_000), time.UnixMicro(1795420800000000+150_000)
	for _, c := range []struct {
		name   string
		filter audit.Filter
		fits   func(*audit.Call) bool
	}{
		{"all", audit.Filter{}, func(*audit.Call) bool { return true }},
		{"an agent", audit.Filter{Agent: "agent:a"}, func(c *audit.Call) bool { return c.Agent == "agent:a" }},
		{"a run", audit.Filter{Run: "run-2"}, func(c *audit.Call) bool { return c.Run == "run-2" }},
		{"a chain", audit.Filter{Chain: "trip"}, func(c *audit.Call) bool { return c.Chain == "trip" }},
		{"a kind", audit.Filter{Kind: "tool"}, func(c *audit.Call) bool { return c.Kind == "tool" }},
		{"a target and a resource", audit.Filter{Target: "shop", Resource: "y \"q\""}, func(c *audit.Call) bool { return c.Target == "shop" && c.Resource == "y \"q\"" }},
		{"arguments", audit.Filter{ArgsHash: "h2"}, func(c *audit.Call) bool { return c.ArgsHash == "h2" }},
		{"what was denied", audit.Filter{Effect: "deny"}, func(c *audit.Call) bool { return c.Effect == "deny" }},
		{"what was allowed", audit.Filter{Effect: "allow"}, func(c *audit.Call) bool { return c.Effect == "allow" }},
		{"what failed", audit.Filter{Outcome: "fault"}, func(c *audit.Call) bool { return c.Outcome == "fault" }},
		{"what is open", audit.Filter{Outcome: audit.OutcomeOpen}, func(c *audit.Call) bool { return c.Outcome == audit.OutcomeOpen }},
		{"what nobody knows the end of", audit.Filter{Outcome: audit.OutcomeUnknown}, func(c *audit.Call) bool { return c.Outcome == audit.OutcomeUnknown }},
		{"a time", audit.Filter{Since: since, Until: until}, func(c *audit.Call) bool { return c.At >= since.UnixMicro() && c.At < until.UnixMicro() }},
		{"an agent's denied tools of a run", audit.Filter{Agent: "agent:b", Kind: "tool", Effect: "deny", Run: "run-1"}, func(c *audit.Call) bool {
			return c.Agent == "agent:b" && c.Kind == "tool" && c.Effect == "deny" && c.Run == "run-1"
		}},
		{"a name that nothing has", audit.Filter{Agent: "agent:' OR 1=1 --"}, func(*audit.Call) bool { return false }},
	} {
		var got []audit.Call
		for f := c.filter; ; f.Before = got[len(got)-1].Seq { // page by page
			f.Limit = 37
			page, err := h.index.Calls(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, page...)
			if len(page) < 37 {
				break
			}
		}
		if diff := cmp.Diff(sorted(pick(c.fits)), sorted(got)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	for _, id := range []string{"run-1", "trip", calls[0].ID, calls[len(calls)/2].ID} {
		got, err := h.index.Chain(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		want := audit.NewChain(pick(func(c *audit.Call) bool { return c.Run == id || c.Chain == id }))
		if len(want.Calls) == 0 {
			want = audit.NewChain(component(calls, id))
		}
		if diff := cmp.Diff(ids(want.Calls), ids(got.Calls)); diff != "" {
			t.Errorf("chain %s: %s", id, diff)
		}
		if diff := cmp.Diff(want.Edges, got.Edges); diff != "" {
			t.Errorf("edges of chain %s: %s", id, diff)
		}
	}
	for _, c := range []struct {
		filter audit.ChangeFilter
		fits   func(*audit.Record) bool
	}{
		{audit.ChangeFilter{}, func(*audit.Record) bool { return true }},
		{audit.ChangeFilter{What: "agent."}, func(r *audit.Record) bool { return strings.HasPrefix(r.What, "agent.") }},
		{audit.ChangeFilter{What: "agent.revoked", Name: "agent:b", Since: since}, func(r *audit.Record) bool {
			return r.What == "agent.revoked" && r.Name == "agent:b" && r.At >= since.UnixMicro()
		}},
	} {
		var want []audit.Record
		for _, r := range slices.Backward(records) {
			if r.Type == audit.Changed && c.fits(&r) {
				want = append(want, r)
			}
		}
		c.filter.Limit = 1000
		got, err := h.index.Changes(t.Context(), c.filter)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("changes %+v: %s", c.filter, diff)
		}
	}
}

func ids(calls []audit.Call) []string {
	var list []string
	for _, c := range calls {
		list = append(list, c.ID)
	}
	return list
}

// component is the calls that links connect to id.
func component(calls []audit.Call, id string) []audit.Call {
	in := map[string]bool{id: true}
	for grown := true; grown; {
		grown = false
		for _, c := range calls {
			for _, l := range c.Links {
				if in[c.ID] != in[l.From] {
					in[c.ID], in[l.From], grown = true, true, true
				}
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(calls), func(c audit.Call) bool { return !in[c.ID] })
}

// The index answers what the ledger tells, however it came about.
func TestTheIndexAnswersWhatTheLedgerTells(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("history ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			dir := t.TempDir()
			h := open(t, dir)
			for part := range slices.Chunk(random(r, 0, 300), 20) {
				switch r.IntN(6) {
				case 0: // the process ends
					h.stop()
					h = open(t, dir)
				case 1: // the index falls behind
					h.pause()
					h.append(t, part...)
					h.resume()
					continue
				case 2:
					h.append(t, part...)
					continue
				}
				h.put(t, part...)
			}
			h.put(t)
			compare(t, h)

			if err := h.index.Rebuild(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.put(t)
			compare(t, h)
		})
	}
}

func TestAnIndexThatIsOfNoUseIsMadeAnew(t *testing.T) {
	garbage := func(path string) error {
		return os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600)
	}
	for _, c := range []struct {
		name string
		do   func(index, dir string) error
	}{
		{"deleted", func(index, _ string) error { return os.Remove(index) }},
		{"overwritten", func(index, _ string) error { return garbage(index) }},
		{"damaged behind its first page", func(index, _ string) error {
			doc, err := os.ReadFile(index)
			for i := 8192; i < len(doc); i++ {
				doc[i] ^= 0x55
			}
			return errors.Join(err, os.WriteFile(index, doc, 0o600))
		}},
		{"of another ledger", func(_, dir string) error {
			other, err := audit.Open(filepath.Join(dir, "other"), audit.Config{})
			if err != nil {
				return err
			}
			for i := range 400 {
				other.Append(&audit.Record{Type: audit.Changed, At: int64(i), What: "other"})
			}
			for _, r := range random(rand.New(rand.NewPCG(9, 9)), 0, 100) {
				other.Append(&r)
			}
			return errors.Join(other.Close(), os.RemoveAll(filepath.Join(dir, "ledger")), os.Rename(filepath.Join(dir, "other"), filepath.Join(dir, "ledger")))
		}},
		{"of a ledger that was set back", func(_, dir string) error {
			return errors.Join(os.RemoveAll(filepath.Join(dir, "ledger")), os.CopyFS(filepath.Join(dir, "ledger"), os.DirFS(filepath.Join(dir, "backup"))))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			r := rand.New(rand.NewPCG(1, 1))
			h := open(t, dir)
			h.put(t, random(r, 0, 100)...)
			h.stop()
			if err := os.CopyFS(filepath.Join(dir, "backup"), os.DirFS(filepath.Join(dir, "ledger"))); err != nil {
				t.Fatal(err)
			}
			h = open(t, dir)
			h.put(t, random(r, 100, 100)...)
			h.stop()
			if err := c.do(filepath.Join(dir, "callgate-index.db"), dir); err != nil {
				t.Fatal(err)
			}
			h = open(t, dir)
			h.put(t, audit.Record{Type: audit.Changed, What: "after"})
			compare(t, h)
		})
	}
}

func TestTheIndexIsAskedWhileItIsWritten(t *testing.T) {
	h := open(t, t.TempDir())
	var writing sync.WaitGroup
	for w := range 4 {
		writing.Go(func() {
			for i := range 60 {
				id := fmt.Sprintf("%d-%d", w, i)
				h.append(t, audit.Record{Type: audit.Opened, Call: id, Agent: "agent:a", Kind: "tool"}, audit.Record{Type: audit.Closed, Call: id, Outcome: "ok"})
				if i%20 > 0 {
					continue
				}
				if _, _, err := h.index.Sync(t.Context()); err != nil {
					t.Error(err)
				}
				if c, ok, err := h.index.Call(t.Context(), id); err != nil || !ok || c.Outcome != "ok" {
					t.Errorf("%s: %+v, %v, %v", id, c, ok, err)
				}
			}
		})
	}
	writing.Wait()
	h.put(t)
	compare(t, h)
}

func TestRecordsThatCannotBeReadAreToldAsFarAsTheIndexKnows(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir)
	h.put(t, audit.Record{Type: audit.Opened, Call: "c", Agent: "agent:a", Kind: "tool", Effect: "allow"})
	segments, _ := filepath.Glob(filepath.Join(dir, "ledger", "*.seg"))
	if err := os.Remove(segments[0]); err != nil {
		t.Fatal(err)
	}
	c, ok, err := h.index.Call(t.Context(), "c")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if c.Agent != "agent:a" || !strings.Contains(c.Fault, "cannot be read") {
		t.Errorf("got %+v", c)
	}
}

func TestUnreadableRecordsDoNotStopTheIndex(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		h := open(t, dir)
		h.append(t, audit.Record{Type: audit.Closed, Call: fmt.Sprint(i), Agent: "agent:a", Kind: "list", Outcome: "ok"})
		h.stop()
	}
	segments, _ := filepath.Glob(filepath.Join(dir, "ledger", "*.seg"))
	doc, err := os.ReadFile(segments[1])
	if err != nil {
		t.Fatal(err)
	}
	doc[800] ^= 1
	if err := os.WriteFile(segments[1], doc, 0o600); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(dir, "callgate-index.db"))
	h := open(t, dir)
	h.put(t)
	calls, err := h.index.Calls(t.Context(), audit.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if got := ids(calls); !slices.Equal(got, []string{"2", "0"}) {
		t.Errorf("got %v", got)
	}
}

func TestWhoWaitsForTheIndexIsToldHowFarItIs(t *testing.T) {
	h := open(t, t.TempDir())
	h.put(t, audit.Record{Type: audit.Changed, What: "a"})
	h.pause()
	h.append(t, audit.Record{Type: audit.Changed, What: "b"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	indexed, head, err := h.index.Sync(ctx)
	if indexed != 1 || head != 2 || !errors.Is(err, context.Canceled) {
		t.Errorf("got %d of %d, %v", indexed, head, err)
	}
	h.resume()
	if indexed, head, err := h.index.Sync(t.Context()); indexed != 2 || head != 2 || err != nil {
		t.Errorf("got %d of %d, %v", indexed, head, err)
	}
}

func TestAChainIsBounded(t *testing.T) {
	h := open(t, t.TempDir())
	var records []audit.Record
	for i := range 1100 {
		r := audit.Record{Type: audit.Closed, Call: fmt.Sprintf("c%04d", i), Run: "long", Agent: "agent:a", Kind: "model", Outcome: "ok"}
		if i%2 == 1 {
			r.Links = []audit.Link{{From: "c0000", Kind: "result", Method: "tool_use_id"}}
		}
		records = append(records, r)
	}
	h.append(t, records...)
	h.put(t)
	chain, err := h.index.Chain(t.Context(), "long")
	if err != nil || len(chain.Calls) != 1000 || !chain.More || chain.Calls[0].ID != "c0000" {
		t.Errorf("%d calls, more=%v, %v", len(chain.Calls), chain.More, err)
	}
	chain, err = h.index.Chain(t.Context(), "c0007")
	if err != nil || len(chain.Calls) != 551 || chain.More {
		t.Errorf("%d calls, more=%v, %v", len(chain.Calls), chain.More, err)
	}
	chain, err = h.index.Chain(t.Context(), "nothing")
	if err != nil || len(chain.Calls) != 0 {
		t.Errorf("%d calls, %v", len(chain.Calls), err)
	}
}
