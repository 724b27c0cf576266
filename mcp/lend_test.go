package mcp_test

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"callgate/identity"
	"callgate/mcp"

	"github.com/tidwall/gjson"
)

// A purse is a vault, and what finds its secrets.
type purse struct {
	*identity.Vault
	sources *identity.Sources
}

func newPurse(t *testing.T) *purse {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if _, err := identity.OpenKeys(dir, identity.Secret{}); err != nil {
		t.Fatal(err)
	}
	seal, err := identity.OpenSeal(dir, identity.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := identity.OpenVault(t.Context(), identity.VaultConfig{Store: new(identity.MemorySecrets), Seal: seal})
	if err != nil {
		t.Fatal(err)
	}
	s := identity.NewSources(identity.SourcesConfig{Vault: v, Resolvers: map[string]identity.Resolver{"file": identity.Files{}}, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(s.Close)
	return &purse{v, s}
}

func (p *purse) put(t *testing.T, name, value string, agents ...string) {
	t.Helper()
	if _, err := p.Put(t.Context(), "admin", identity.Entry{Name: name, Scope: identity.Scope{Targets: []string{"server:files"}, Agents: agents}}, identity.NewSecret(value)); err != nil {
		t.Fatal(err)
	}
}

func (p *purse) rotate(t *testing.T, name, value string) {
	t.Helper()
	if _, err := p.Rotate(t.Context(), "admin", name, identity.NewSecret(value), time.Time{}); err != nil {
		t.Fatal(err)
	}
}

func (p *purse) of(t *testing.T, ref string) identity.Credential {
	t.Helper()
	c, err := p.sources.Credential(ref, "server:files")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestACredentialIsForWhomItIsMeant(t *testing.T) {
	for _, test := range []struct {
		name string
		open func(t *testing.T, c identity.Credential) *mcp.Server
	}{
		{"modern HTTP", func(t *testing.T, c identity.Credential) *mcp.Server {
			return overHTTP(t, newWeb(true, false), func(s *mcp.ServerConfig) { s.Headers = map[string]identity.Credential{"x-key": c} })
		}},
		{"legacy HTTP", func(t *testing.T, c identity.Credential) *mcp.Server {
			return overHTTP(t, newWeb(false, true), func(s *mcp.ServerConfig) { s.Headers = map[string]identity.Credential{"x-key": c} })
		}},
		{"a process for all", func(t *testing.T, c identity.Credential) *mcp.Server {
			return overStdio(t, "legacy", func(s *mcp.ServerConfig) { s.Secrets = map[string]identity.Credential{"OWN": c} })
		}},
		{"a process for each", func(t *testing.T, c identity.Credential) *mcp.Server {
			return overStdio(t, "legacy", func(s *mcp.ServerConfig) {
				s.Shared, s.Secrets = false, map[string]identity.Credential{"OWN": c}
			})
		}},
		{"a modern process", func(t *testing.T, c identity.Credential) *mcp.Server {
			return overStdio(t, "modern", func(s *mcp.ServerConfig) { s.Secrets = map[string]identity.Credential{"OWN": c} })
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPurse(t)
			p.put(t, "key", "canary", "agent:ana")
			s := test.open(t, p.of(t, "secret:key"))
			if _, _, err := call(t.Context(), s, "ana", `{"name":"echo"}`); err != nil {
				t.Fatal(err)
			}
			_, _, err := call(t.Context(), s, "bob", `{"name":"echo"}`)
			if code(err) != "denied" || !strings.Contains(err.Error(), "secret:key may not be used by agent:bob") || strings.Contains(err.Error(), "canary") {
				t.Errorf("bob: %v", err)
			}
			if err := p.Remove(t.Context(), "admin", "key"); err != nil {
				t.Fatal(err)
			}
			if _, _, err := call(t.Context(), s, "ana", `{"name":"echo"}`); code(err) != "unavailable" || !strings.Contains(err.Error(), "an operator runs callgate secret put key") {
				t.Errorf("without the secret: %v", err)
			}
			for range 20 { // the server has no part in that
				_, _, _ = call(t.Context(), s, "ana", `{"name":"echo"}`)
			}
			p.put(t, "key", "canary")
			if _, _, err := call(t.Context(), s, "bob", `{"name":"echo"}`); err != nil {
				t.Errorf("with another scope: %v", err)
			}
		})
	}
}

func TestARotatedHeaderGoesWithTheNextRequest(t *testing.T) {
	for _, modern := range []bool{true, false} {
		p := newPurse(t)
		p.put(t, "key", "one")
		w := newWeb(modern, false)
		s := overHTTP(t, w, func(c *mcp.ServerConfig) {
			c.Headers = map[string]identity.Credential{"authorization": identity.NewPrefixed(p.of(t, "secret:key"), "Bearer ")}
		})
		for _, value := range []string{"one", "two"} {
			if _, _, err := call(t.Context(), s, "ana", `{"name":"echo"}`); err != nil {
				t.Fatal(err)
			}
			got := w.only(func(r *http.Request) bool { return r.Method == http.MethodPost })
			if is := got[len(got)-1].Header.Get("Authorization"); is != "Bearer "+value {
				t.Errorf("modern %v: sent %q, want %q", modern, is, value)
			}
			p.rotate(t, "key", "two")
		}
	}
}

func TestAServerThatRefusesAKeyIsAskedAgainWithANewOne(t *testing.T) {
	p := newPurse(t)
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWeb(true, false)
	good := "old"
	refused := 0
	s := overHTTP(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Key") != good {
			refused++
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.ServeHTTP(rw, r)
	}), func(c *mcp.ServerConfig) { c.Headers = map[string]identity.Credential{"X-Key": p.of(t, "file:"+file)} })
	if _, _, err := call(t.Context(), s, "ana", `{"name":"echo"}`); err != nil {
		t.Fatal(err)
	}
	good = "new"
	if err := os.WriteFile(file, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := call(t.Context(), s, "ana", `{"name":"echo"}`); err != nil || refused > 1 {
		t.Errorf("refused %d times: %v", refused, err)
	}
	good, refused = "another", 0
	if _, _, err := call(t.Context(), s, "ana", `{"name":"echo"}`); code(err) != "unavailable" || refused == 0 || refused > 3 {
		t.Errorf("refused %d times: %v", refused, err)
	}
}

func TestAProcessIsStartedAnewWithASecretThatHasChanged(t *testing.T) {
	for _, character := range []string{"legacy", "modern"} {
		p := newPurse(t)
		p.put(t, "key", "one")
		s := overStdio(t, character, func(c *mcp.ServerConfig) {
			c.Secrets = map[string]identity.Credential{"OWN": p.of(t, "secret:key")}
		})
		for _, value := range []string{"one", "two"} {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			_, m, err := call(ctx, s, "ana", `{"name":"env"}`)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			env := gjson.GetBytes(m.Result, "structuredContent").Array()
			if !slices.ContainsFunc(env, func(v gjson.Result) bool { return v.Str == "OWN="+value }) {
				t.Errorf("%s: the process does not have OWN=%s: %v", character, value, env)
			}
			p.rotate(t, "key", "two")
		}
	}
}
