package store_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"

	"callgate/audit"
	"callgate/cmd/callgate/internal/store"
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
	db, err := store.Open(filepath.Join(dir, "callgate.db"))
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

// put makes records durable and waits for the index.
func (h *house) put(t testing.TB, records ...audit.Record) {
	t.Helper()
	for i := range records {
		if err := h.ledger.Append(&records[i]).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := h.index.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestACallIsFoundAndToldFromItsRecords(t *testing.T) {
	h := open(t, t.TempDir())
	h.put(t,
		audit.Record{Type: audit.Opened, Call: "m1", At: 1, Agent: "agent:a", Run: "r", Kind: "model"},
		audit.Record{Type: audit.Proposed, Call: "m1", At: 2, Run: "r", Proposal: &audit.Proposal{ToolUse: "u", Name: "shop__refund"}},
		audit.Record{Type: audit.Closed, Call: "m1", At: 3, Run: "r", Outcome: "ok"},
		audit.Record{Type: audit.Opened, Call: "t1", At: 4, Agent: "agent:a", Run: "r", Kind: "tool", Target: "shop", Resource: "refund",
			Links: []audit.Link{{From: "m1", Kind: "proposed", Method: "tool_use_id", ID: "u"}}},
	)
	c, _, err := h.index.Call(t.Context(), "m1")
	if err != nil {
		t.Fatal(err)
	}
	if c.Outcome != "ok" || len(c.Wants) != 1 || c.Wants[0].Call != "t1" || len(c.Led) != 1 {
		t.Errorf("%+v", c)
	}
	c, _, err = h.index.Call(t.Context(), "t1")
	if err != nil || c.Outcome != audit.OutcomeOpen {
		t.Errorf("%+v, %v", c, err)
	}
	chain, err := h.index.Chain(t.Context(), "t1")
	if err != nil || len(chain.Calls) != 2 || len(chain.Edges) != 1 {
		t.Errorf("%+v, %v", chain, err)
	}
}
