package store_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"callgate/cmd/callgate/internal/store"
	"callgate/firewall"

	"github.com/google/go-cmp/cmp"
)

// kept are the stores of what the firewall must find again, with a way to open
// them anew.
func kept(t *testing.T, try func(t *testing.T, approvals firewall.ApprovalStore, counts firewall.CountStore, again func() (firewall.ApprovalStore, firewall.CountStore))) {
	t.Run("memory", func(t *testing.T) {
		m := new(firewall.Memory)
		try(t, m, m, func() (firewall.ApprovalStore, firewall.CountStore) { return m, m })
	})
	t.Run("SQLite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "callgate.db")
		var db *store.DB
		open := func() (firewall.ApprovalStore, firewall.CountStore) {
			var err error
			if db != nil {
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if db, err = store.Open(t.Context(), path, ""); err != nil {
				t.Fatal(err)
			}
			return db.Approvals(), db.Counts()
		}
		approvals, counts := open()
		try(t, approvals, counts, open)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestApprovalsAreFoundAgain(t *testing.T) {
	now := time.Date(2026, 11, 23, 1, 2, 3, 456789000, time.UTC)
	asked := firewall.Approval{
		ID: "01", State: firewall.ApprovalAsked, Binding: "b1", Call: "c1", Run: "r1", Tenant: "default", Subject: "user:ana", Actors: []string{"agent:bot"},
		Action: "call", Object: "tool:shop/refund", Args: []byte(`{"amount":1.0,"s":"ü\u0000"}`), Labels: []string{"untrusted"},
		Policy: "p", Rule: "R2", Reason: "because", Groups: []string{"group:finance"}, Asked: now, Expires: now.Add(time.Hour)}
	granted := asked
	granted.State, granted.Votes = firewall.ApprovalGranted, []firewall.Vote{{By: "user:ben", Yes: true, For: []string{"group:finance"}, Note: "ok", At: now}}
	bare := firewall.Approval{ID: "02", State: firewall.ApprovalUsed, UsedBy: "c2", Asked: now, Expires: now}
	kept(t, func(t *testing.T, s firewall.ApprovalStore, _ firewall.CountStore, again func() (firewall.ApprovalStore, firewall.CountStore)) {
		for _, a := range []firewall.Approval{asked, bare, granted} {
			if err := s.PutApproval(t.Context(), a); err != nil {
				t.Fatal(err)
			}
		}
		s, _ = again()
		got, err := s.Approvals(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]firewall.Approval{granted, bare}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestOldApprovalsAreReadOnlyWhileTheyAreOpen(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "callgate.db"), "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for i := range 1010 {
		a := firewall.Approval{ID: fmt.Sprintf("%04d", i), State: firewall.ApprovalUsed}
		if i == 3 {
			a.State = firewall.ApprovalGranted
		}
		if err := db.Approvals().PutApproval(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	got, err := db.Approvals().Approvals(t.Context())
	if err != nil || len(got) != 1001 || got[0].ID != "0003" || got[1].ID != "0010" {
		t.Errorf("%d approvals, %v", len(got), err)
	}
}

func TestCountsAreFoundAgain(t *testing.T) {
	one := firewall.Count{Name: "L1\x1fcalls=5/1h\x1fdefault", Window: time.Hour, Used: map[int64]int64{123456: 3, 123457: 1 << 50}}
	two := firewall.Count{Name: "L2", Window: time.Minute, Used: map[int64]int64{1: 1}}
	over := firewall.Count{Name: "L2", Window: time.Minute}
	kept(t, func(t *testing.T, _ firewall.ApprovalStore, s firewall.CountStore, again func() (firewall.ApprovalStore, firewall.CountStore)) {
		for _, put := range [][]firewall.Count{{two, {Name: one.Name, Window: time.Second, Used: map[int64]int64{1: 1}}}, {one, over}} {
			if err := s.PutCounts(t.Context(), put); err != nil {
				t.Fatal(err)
			}
		}
		_, s = again()
		got, err := s.Counts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]firewall.Count{one}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAWriteThatCannotBeMadeIsAnError(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "callgate.db"), "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if db.Approvals().PutApproval(ctx, firewall.Approval{ID: "1"}) == nil || db.Counts().PutCounts(ctx, []firewall.Count{{Name: "x", Used: map[int64]int64{1: 1}}}) == nil {
		t.Error("stored")
	}
	if got, err := db.Approvals().Approvals(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestLabelsOfRunsAreFoundAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "callgate.db")
	now := time.Date(2026, 11, 23, 1, 2, 3, 456789000, time.UTC)
	db, err := store.Open(t.Context(), path, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []firewall.LabelledRun{{ID: "1", Key: "default\x1fagent:a", Labels: firewall.Untrusted, At: now}, {ID: "2", Key: "b", Labels: 1, At: now},
		{ID: "1", Key: "default\x1fagent:a", Labels: firewall.Secret, At: now.Add(time.Second)}} {
		if err := db.Runs().PutLabels(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(db.Runs().DropRun(t.Context(), "2"), db.Close()); err != nil {
		t.Fatal(err)
	}
	if db, err = store.Open(t.Context(), path, ""); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	got, err := db.Runs().LabelledRuns(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]firewall.LabelledRun{{ID: "1", Key: "default\x1fagent:a", Labels: firewall.Untrusted | firewall.Secret, At: now.Add(time.Second)}}, got); diff != "" {
		t.Error(diff)
	}
}
