package store_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"callgate/cmd/callgate/internal/store"
	"callgate/identity"

	"github.com/google/go-cmp/cmp"
)

func TestSecretsAreFoundAgain(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 123000, time.UTC)
	first := identity.SealedEntry{Entry: identity.Entry{Name: "a", Version: 1, Created: at, Rotated: at}, Sealed: "x"}
	second := identity.SealedEntry{Entry: identity.Entry{
		Name: "a", Version: 2, Scope: identity.Scope{Targets: []string{"provider:a", "server:b"}, Agents: []string{"role:dev"}},
		Created: at, Rotated: at.Add(time.Hour), Expires: at.Add(2 * time.Hour)}, Sealed: "y"}
	gone := identity.SealedEntry{Entry: identity.Entry{Name: "b", Version: 3, Created: at, Rotated: at, Removed: at}}
	path := filepath.Join(t.TempDir(), "callgate.db")
	memory := new(identity.MemorySecrets)
	var db *store.DB
	for name, open := range map[string]func() identity.SecretStore{
		"memory": func() identity.SecretStore { return memory },
		"SQLite": func() identity.SecretStore {
			if db != nil {
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			}
			var err error
			if db, err = store.Open(t.Context(), path, ""); err != nil {
				t.Fatal(err)
			}
			return db.Secrets()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open()
			for _, e := range []identity.SealedEntry{first, gone, second} {
				if err := s.PutSecret(t.Context(), e); err != nil {
					t.Fatal(err)
				}
			}
			kept, err := open().Secrets(t.Context())
			slices.SortFunc(kept, func(a, b identity.SealedEntry) int { return strings.Compare(a.Name, b.Name) })
			if diff := cmp.Diff([]identity.SealedEntry{second, gone}, kept); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAVaultInSQLiteShowsNoValue(t *testing.T) {
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	if _, err := identity.OpenKeys(keys, identity.Secret{}); err != nil {
		t.Fatal(err)
	}
	seal, err := identity.OpenSeal(keys, identity.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "callgate.db")
	for n := range 2 {
		db, err := store.Open(t.Context(), path, "")
		if err != nil {
			t.Fatal(err)
		}
		v, err := identity.OpenVault(t.Context(), identity.VaultConfig{Store: db.Secrets(), Seal: seal})
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			if _, err := v.Put(t.Context(), "admin", identity.Entry{Name: "a", Scope: identity.Scope{Targets: []string{}, Agents: []string{"role:dev"}}, Expires: time.Now().Add(time.Hour)}, identity.NewSecret("canary-7f3a")); err != nil {
				t.Fatal(err)
			}
		} else if e, ok := v.Get("a"); !ok || e.Version != 1 {
			t.Errorf("%+v", e)
		}
		for _, file := range []string{path, path + "-wal"} {
			if text, _ := os.ReadFile(file); strings.Contains(string(text), "canary-7f3a") {
				t.Errorf("%s shows a value", file)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
