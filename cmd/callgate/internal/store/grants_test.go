package store_test

import (
	"path/filepath"
	"testing"
	"time"

	"callgate/cmd/callgate/internal/store"
	"callgate/identity"

	"github.com/google/go-cmp/cmp"
)

var (
	_ identity.GrantStore      = (*store.Grants)(nil)
	_ identity.RevocationStore = (*store.Revocations)(nil)
)

func TestGrantsAndRevocationsOutliveTheProcess(t *testing.T) {
	t.Run("in a file", func(t *testing.T) { outlive(t, "") })
	t.Run("in PostgreSQL", func(t *testing.T) { outlive(t, postgres(t)) })
}

func outlive(t *testing.T, shared string) {
	path := filepath.Join(t.TempDir(), "callgate.db")
	now := time.Date(2026, 11, 23, 1, 2, 3, 456789000, time.UTC)
	depth, most := 1, 50.5
	g := identity.Grant{
		ID: "gr_1", Tenant: "default", Subject: "user:ana", Client: "https://client.example/id", Txn: "t", Path: "/mcp", Scope: "mcp:shop", Run: "r", MaxDepth: 3,
		Created: now, NotAfter: now.Add(time.Hour), Renews: true,
		Hops: []identity.Hop{{Agent: "agent:b", Grant: "gr_1", Epoch: 2, Life: time.Hour, Caps: []identity.Cap{{
			Type: identity.CapType, Actions: []string{"call"}, Locations: []string{"tool:shop/*"}, Arguments: map[string]identity.Bound{"amount": {Max: &most, OneOf: []string{"x"}, Prefix: "y"}},
			Limits: identity.Limits{Calls: 1, Tokens: 2, CostMicroUSD: 3, NotAfter: 4, Depth: &depth}}}}, {Agent: "agent:a", Grant: "gr_0", Epoch: 1}},
	}
	old := g
	old.ID, old.NotAfter = "gr_0", now
	revoked := []identity.Revocation{
		{Kind: identity.RevokedToken, ID: "j", By: "admin", At: now, Until: now.Add(time.Minute)},
		{Kind: identity.RevokedObject, ID: "tool:a/b", By: "user:ana", At: now},
		{Kind: identity.RevokedObject, ID: "tool:a/b", By: "user:ana", At: now, Until: now.Add(time.Hour), Lift: true},
	}
	db := openDB(t, path, shared)
	for _, g := range []identity.Grant{g, old} {
		if err := db.Grants().PutGrant(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	for i := range revoked {
		seq, err := db.Revocations().PutRevocation(t.Context(), revoked[i])
		if err != nil || seq != int64(i+1) {
			t.Fatal(seq, err)
		}
		revoked[i].Seq = seq
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, path, shared)
	defer db.Close()
	if err := db.Grants().DropGrants(t.Context(), now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	got, ok, err := db.Grants().Grant(t.Context(), "gr_1")
	if d := cmp.Diff(g, got); d != "" || !ok || err != nil {
		t.Error(ok, err, d)
	}
	if _, ok, err := db.Grants().Grant(t.Context(), "gr_0"); ok || err != nil {
		t.Error("the old one is still there", err)
	}
	list, err := db.Revocations().RevocationsAfter(t.Context(), 1)
	if d := cmp.Diff(revoked[1:], list); d != "" || err != nil {
		t.Error(err, d)
	}
	if err := db.Revocations().DropRevocations(t.Context(), now.Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	list, err = db.Revocations().RevocationsAfter(t.Context(), 0)
	if d := cmp.Diff(revoked[1:], list); d != "" || err != nil { // what is for ever, and the last
		t.Error(err, d)
	}
}

func openDB(t *testing.T, path, shared string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), path, shared)
	if err != nil {
		t.Fatal(err)
	}
	return db
}
