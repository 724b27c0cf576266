package providers_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/identity"
	"callgate/providers"
)

// locked is a provider that takes one key.
type locked struct {
	mu     sync.Mutex
	key    string
	bodies []string // of the requests that came
}

func (l *locked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	l.bodies = append(l.bodies, string(body))
	if r.Header.Get("Authorization") != "Bearer "+l.key {
		answer(http.StatusUnauthorized, "application/json", `{"error":{"message":"wrong key: `+r.Header.Get("Authorization")+`"}}`)(w, r)
		return
	}
	answer(http.StatusOK, "application/json", `{"id":"1","choices":[{"message":{"content":"hi"}}]}`)(w, r)
}

func (l *locked) change(key string) { l.mu.Lock(); defer l.mu.Unlock(); l.key, l.bodies = key, nil }

func openVault(t *testing.T) *identity.Vault {
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
	return v
}

// lab is a house with one provider, whose key is found by ref.
func lab(t *testing.T, v *identity.Vault, l *locked, ref string) *house {
	t.Helper()
	s := identity.NewSources(identity.SourcesConfig{Vault: v, Resolvers: map[string]identity.Resolver{"file": identity.Files{}}, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(s.Close)
	key, err := s.Credential(ref, "provider:lab")
	if err != nil {
		t.Fatal(err)
	}
	return newHouseWith(t, providers.Config{}, map[string]providers.Provider{"lab": {Kind: "openai", BaseURL: serve(t, l) + "/v1", APIKey: key, Models: []string{"m"}}})
}

const hello = `{"model":"lab/m","messages":[{"role":"user","content":"hello"}]}`

func TestAKeyIsFoundWhenItIsSentAndOnRecord(t *testing.T) {
	v, l := openVault(t), &locked{key: "one"}
	h := lab(t, v, l, "secret:lab")
	at := h.url(t)
	is := func(status int, outcome, credential string) {
		t.Helper()
		resp, body := post(t, at, "/v1/chat/completions", hello)
		all := h.records()
		last := all[len(all)-1]
		if resp.StatusCode != status || last.Outcome != outcome || last.Credential != credential || string(last.Type) != "closed" {
			t.Errorf("%d %s; on record %+v", resp.StatusCode, body, last)
		}
	}
	is(http.StatusServiceUnavailable, "unavailable", "")
	e, err := v.Put(t.Context(), "admin", identity.Entry{Name: "lab"}, identity.NewSecret("one"))
	if err != nil {
		t.Fatal(err)
	}
	is(http.StatusOK, "ok", "secret:lab@1")
	if _, err := v.Rotate(t.Context(), "admin", "lab", identity.NewSecret("two"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	l.change("two")
	is(http.StatusOK, "ok", "secret:lab@2")
	for _, scope := range []identity.Scope{{Targets: []string{"provider:openai"}}, {Agents: []string{"role:ops"}}} {
		l.change("two")
		if _, err := v.Rescope(t.Context(), "admin", e.Name, scope); err != nil {
			t.Fatal(err)
		}
		is(http.StatusForbidden, "denied", "")
		if len(l.bodies) != 0 {
			t.Errorf("the provider heard %q", l.bodies)
		}
	}
}

func TestAKeyThatIsRefusedIsAskedForAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	changed := time.Now().Add(-time.Hour)
	write := func(text string) {
		t.Helper()
		changed = changed.Add(time.Second) // its version is when it was changed, in milliseconds
		if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Chtimes(file, changed, changed)); err != nil {
			t.Fatal(err)
		}
	}
	write("sk-canary-old")
	l := &locked{key: "sk-canary-old"}
	h := lab(t, nil, l, "file:"+file)
	at := h.url(t)
	for _, test := range []struct {
		name, key, file string
		status, sent    int
	}{
		{"the key is right", "sk-canary-old", "sk-canary-old", 200, 1},
		{"another key is there already", "sk-canary-new", "sk-canary-new", 200, 2},
		{"there is no other key", "sk-canary-newer", "sk-canary-new", 401, 1},
		{"the other key is wrong, too", "sk-canary-newest", "sk-canary-wrong", 401, 2},
	} {
		l.change(test.key)
		write(test.file)
		resp, body := post(t, at, "/v1/chat/completions", hello)
		if strings.Contains(body, "canary") {
			t.Errorf("%s: the agent is told the key: %s", test.name, body)
		}
		if resp.StatusCode != test.status || len(l.bodies) != test.sent {
			t.Errorf("%s: %d after %d requests: %s", test.name, resp.StatusCode, len(l.bodies), body)
		}
		for _, sent := range l.bodies {
			if !strings.Contains(sent, "hello") {
				t.Errorf("%s: sent %q", test.name, sent)
			}
		}
	}
	all := h.records()
	if used := all[len(all)-1].Credential; strings.Count(used, "file:"+file+"@") != 2 {
		t.Errorf("on record: %q", used)
	}
}
