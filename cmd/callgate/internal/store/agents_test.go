package store_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"callgate/cmd/callgate/internal/store"
	"callgate/identity"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var _ identity.Store = (*store.Agents)(nil)

func TestAgentsOutliveTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "callgate.db")
	now := time.Date(2026, 11, 23, 1, 2, 3, 456789000, time.UTC)
	full := identity.Agent{
		Tenant: "default", Name: "bot", Roles: []string{"role:a", "role:b"}, Owner: "user:ana", Purpose: "it's \"for\" tests", Status: identity.Active,
		SecretHash: []byte{0, 1, 255}, MaxTTL: 90 * time.Minute, Epoch: 3, Created: now, Source: identity.FromAPI,
		Environment: "prod", Models: []string{"model:lab/*"}, Servers: []string{"server:shop", "server:till"}, Expires: now.Add(time.Hour), Since: now,
		SecretSince: now, OldSecret: []byte{7}, OldUntil: now.Add(time.Minute), JWKS: `{"keys":[]}`, JWKSURI: "https://a.example/jwks"}
	bare := identity.Agent{Tenant: "default", Name: "bare"}
	revoked := full
	revoked.Status, revoked.Revoked, revoked.Epoch, revoked.Roles, revoked.SecretHash = identity.Revoked, now.Add(time.Hour), 4, nil, nil
	for _, step := range []struct {
		name string
		put  []identity.Agent
		want []identity.Agent
	}{
		{"a new database", nil, nil},
		{"two agents", []identity.Agent{full, bare}, []identity.Agent{bare, full}},
		{"one of them changed", []identity.Agent{revoked}, []identity.Agent{bare, revoked}},
	} {
		t.Run(step.name, func(t *testing.T) {
			db, err := store.Open(t.Context(), path, "")
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range step.put {
				if err := db.Agents().PutAgent(t.Context(), a); err != nil {
					t.Fatal(err)
				}
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if db, err = store.Open(t.Context(), path, ""); err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			got, err := db.Agents().Agents(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(step.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOnlyTheOwnerReadsTheFiles(t *testing.T) {
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "callgate.db"), "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Agents().PutAgent(t.Context(), identity.Agent{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
	}
}

func TestADatabaseOfAgentsThatIsNoneIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "callgate.db")
	if err := os.WriteFile(path, []byte("this is no database, and it is long enough to be seen as none at all, is it not? yes it is, quite long"), 0o600); err != nil {
		t.Fatal(err)
	}
	if db, err := store.Open(t.Context(), path, ""); err == nil {
		db.Close()
		t.Fatal("it was opened")
	}
}

func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "callgate.db")
	for i := 0; b.Loop(); i++ {
		db, err := store.Open(b.Context(), path, "")
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func TestUsersAndWhenAgentsWereSeenOutliveTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "callgate.db")
	now := time.Date(2026, 11, 23, 1, 2, 3, 456789000, time.UTC)
	ana := identity.User{
		Tenant: "default", Name: "user:ana", Issuer: "https://idp.example", Subject: "a'b", Email: "ana@example.com", Claims: []string{"x", "y z"},
		Status: identity.Active, Source: identity.FromLogin, Epoch: 2, Created: now, Since: now, LastLogin: now.Add(time.Second)}
	again := func() *store.Agents {
		db, err := store.Open(t.Context(), path, "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db.Agents()
	}
	db := again()
	gone := ana
	gone.Status, gone.Claims, gone.LastLogin = identity.Offboarded, nil, time.Time{}
	bot := identity.Agent{Tenant: "default", Name: "bot"}
	for _, err := range []error{
		db.PutUser(t.Context(), ana), db.PutUser(t.Context(), gone), db.PutAgent(t.Context(), bot),
		db.PutSeen(t.Context(), "default", map[string]time.Time{"bot": now, "nobody": now}), db.PutAgent(t.Context(), bot),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	users, err := again().Users(t.Context(), "")
	if d := cmp.Diff([]identity.User{gone}, users, cmpopts.IgnoreUnexported(identity.User{})); err != nil || d != "" {
		t.Error(err, d)
	}
	agents, err := again().Agents(t.Context(), "")
	if err != nil || len(agents) != 1 || !agents[0].LastSeen.Equal(now) {
		t.Error(err, agents)
	}
}
