package store_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"callgate/cmd/callgate/internal/store"
	"callgate/identity"
	"callgate/mcp"
)

func TestTokensAreFoundAgainAndNotRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "callgate.db")
	if _, err := identity.OpenKeys(filepath.Join(dir, "keys"), identity.Secret{}); err != nil {
		t.Fatal(err)
	}
	seal, err := identity.OpenSeal(filepath.Join(dir, "keys"), identity.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	var db *store.DB
	memory := new(mcp.MemoryTokens)
	for name, open := range map[string]func() mcp.TokenStore{
		"memory": func() mcp.TokenStore { return memory },
		"SQLite": func() mcp.TokenStore {
			if db != nil {
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if db, err = store.Open(t.Context(), path, ""); err != nil {
				t.Fatal(err)
			}
			return db.Tokens(seal)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open()
			for _, put := range [][2]string{{"token\x00a\x00gate", "one"}, {"token\x00b\x00gate", "two"}, {"token\x00a\x00gate", "canary-7f3a"}} {
				if err := s.PutToken(t.Context(), put[0], identity.NewSecret(put[1])); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // twice is no error
				if err := s.DropToken(t.Context(), "token\x00b\x00gate"); err != nil {
					t.Fatal(err)
				}
			}
			kept, err := open().Tokens(t.Context())
			if err != nil || len(kept) != 1 || kept["token\x00a\x00gate"].Reveal() != "canary-7f3a" {
				t.Errorf("kept %d, %q: %v", len(kept), kept["token\x00a\x00gate"].Reveal(), err)
			}
		})
	}
	for _, file := range []string{path, path + "-wal"} {
		if text, _ := os.ReadFile(file); strings.Contains(string(text), "canary-7f3a") {
			t.Errorf("%s shows a token", file)
		}
	}
	other := filepath.Join(dir, "other")
	if _, err := identity.OpenKeys(other, identity.Secret{}); err != nil {
		t.Fatal(err)
	}
	wrong, err := identity.OpenSeal(other, identity.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Tokens(wrong).Tokens(t.Context()); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("read with another key: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
