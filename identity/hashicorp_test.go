package identity_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/identity"
)

// A bank is a fake of HashiCorp Vault, by its documented HTTP API: KV version 2 at
// the mounts secret and team/kv, the methods approle and kubernetes, and tokens that
// end unless they are renewed.
type bank struct {
	mu       sync.Mutex
	now      time.Time
	kv       map[string][]map[string]any // versions, by mount and path
	tokens   map[string]time.Time        // until when each is good; zero: for ever
	ttl      time.Duration               // of tokens
	longest  time.Time                   // that a token can be renewed to; zero: for ever
	sealed   bool
	requests []string
	made     int
}

func newBank(t *testing.T) (*bank, *httptest.Server) {
	b := &bank{now: time.Now(), kv: make(map[string][]map[string]any), tokens: map[string]time.Time{"hvs.root": {}}, ttl: time.Hour}
	s := httptest.NewServer(b)
	t.Cleanup(s.Close)
	return b, s
}

func (b *bank) time() time.Time { b.mu.Lock(); defer b.mu.Unlock(); return b.now }

func (b *bank) do(f func()) { b.mu.Lock(); defer b.mu.Unlock(); f() }

// count is how many requests there were that begin so.
func (b *bank) count(begin string) (n int) {
	b.do(func() {
		for _, r := range b.requests {
			if strings.HasPrefix(r, begin) {
				n++
			}
		}
	})
	return n
}

func (b *bank) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	b.requests = append(b.requests, r.Method+" "+path)
	fail := func(status int, words ...string) {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]any{"errors": words})
	}
	var in map[string]string
	if r.Method == http.MethodPost {
		json.NewDecoder(r.Body).Decode(&in)
	}
	switch {
	case b.sealed:
		fail(http.StatusServiceUnavailable, "Vault is sealed")
		return
	case path == "auth/approle/login":
		if in["role_id"] != "role" || in["secret_id"] != "s.canary" {
			fail(http.StatusBadRequest, "invalid role or secret ID")
			return
		}
		b.login(w)
		return
	case path == "auth/k8s/login":
		if in["role"] != "callgate" || in["jwt"] != "jwt.canary" {
			fail(http.StatusForbidden, "permission denied")
			return
		}
		b.login(w)
		return
	}
	token := r.Header.Get("X-Vault-Token")
	until, known := b.tokens[token]
	if !known || !until.IsZero() && !b.now.Before(until) || r.Header.Get("X-Vault-Request") != "true" {
		fail(http.StatusForbidden, "permission denied", "token "+token) // which must not be repeated
		return
	}
	switch {
	case r.URL.Path == "/v1/auth/token/renew-self":
		if !until.IsZero() {
			until = b.now.Add(b.ttl)
			if !b.longest.IsZero() && until.After(b.longest) {
				until = b.longest
			}
			b.tokens[token] = until
		}
		b.auth(w, token, until)
	case r.URL.Path == "/v1/auth/token/lookup-self":
		ttl := 0
		if !until.IsZero() {
			ttl = int(until.Sub(b.now) / time.Second)
		}
		json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"ttl": ttl, "renewable": !until.IsZero(), "id": token}})
	default:
		versions, ok := b.kv[path]
		if !ok {
			fail(http.StatusNotFound)
			return
		}
		meta := map[string]any{"version": len(versions), "created_time": "2026-11-23T12:00:00Z", "deletion_time": "", "destroyed": false, "custom_metadata": nil}
		data := versions[len(versions)-1]
		if data == nil { // deleted
			w.WriteHeader(http.StatusNotFound)
			meta["deletion_time"] = "2026-11-23T13:00:00Z"
		}
		json.NewEncoder(w).Encode(map[string]any{"request_id": "1", "lease_id": "", "renewable": false, "lease_duration": 0, "data": map[string]any{"data": data, "metadata": meta}})
	}
}

func (b *bank) login(w http.ResponseWriter) {
	b.made++
	token := fmt.Sprintf("hvs.canary%d", b.made)
	b.tokens[token] = b.now.Add(b.ttl)
	b.auth(w, token, b.tokens[token])
}

func (b *bank) auth(w http.ResponseWriter, token string, until time.Time) {
	json.NewEncoder(w).Encode(map[string]any{"auth": map[string]any{
		"client_token": token, "accessor": "a", "policies": []string{"default"}, "lease_duration": int(until.Sub(b.now) / time.Second), "renewable": true}})
}

func hashi(t *testing.T, b *bank, c identity.HashiConfig) *identity.Hashi {
	t.Helper()
	c.Now = b.time
	if c.Logger == nil {
		c.Logger = quiet()
	}
	h, err := identity.NewHashi(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHashiFindsWhatStandsInAField(t *testing.T) {
	b, s := newBank(t)
	b.kv["secret/data/openai"] = []map[string]any{{"key": "old"}, {"key": "sk-canary", "n": 7, "empty": ""}}
	b.kv["team/kv/data/a/b"] = []map[string]any{{"key": "deep"}}
	b.kv["secret/data/gone"] = []map[string]any{{"key": "x"}, nil}
	h := hashi(t, b, identity.HashiConfig{Address: s.URL + "/", Token: identity.NewSecret("hvs.root"), TTL: 10 * time.Minute})
	f, err := h.Resolve(t.Context(), "secret/openai#key", nil)
	if err != nil || f.Value.Reveal() != "sk-canary" || f.Version != "2" {
		t.Fatal(f, err)
	}
	if f.Renew.Sub(b.now) != 5*time.Minute || f.Expires.Sub(b.now) != 10*time.Minute {
		t.Errorf("renewed after %v, good for %v", f.Renew.Sub(b.now), f.Expires.Sub(b.now))
	}
	if f, err = h.Resolve(t.Context(), "team/kv/data/a/b#key", nil); err != nil || f.Value.Reveal() != "deep" {
		t.Error(f, err)
	}
	for place, want := range map[string]string{
		"secret/openai#other":  `no text there in the field "other"`,
		"secret/openai#n":      `no text there in the field "n"`,
		"secret/nothing#key":   "nothing there, or it was deleted",
		"secret/gone#key":      "nothing there, or it was deleted",
		"secret/openai":        "write vault:MOUNT/PATH#FIELD",
		"secret#key":           "write vault:MOUNT/PATH#FIELD",
		"secret/../sys/x#key":  "write vault:MOUNT/PATH#FIELD",
		"secret/a?list=1#key":  "write vault:MOUNT/PATH#FIELD",
		"secret/a%2e%2e/b#key": "write vault:MOUNT/PATH#FIELD",
	} {
		if f, err := h.Resolve(t.Context(), place, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v %v", place, f, err)
		}
	}
	b.do(func() { b.sealed = true })
	if _, err := h.Resolve(t.Context(), "secret/openai#key", nil); err == nil || !strings.Contains(err.Error(), "Vault is sealed") {
		t.Error(err)
	}
	h = hashi(t, b, identity.HashiConfig{Address: s.URL, Token: identity.NewSecret("hvs.canary-wrong")})
	b.do(func() { b.sealed = false })
	if _, err := h.Resolve(t.Context(), "secret/openai#key", nil); err == nil || !strings.Contains(err.Error(), "Vault denies it") || strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
	s.Close()
	if _, err := h.Resolve(t.Context(), "secret/openai#key", nil); err == nil || strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
}

func TestHashiFollowsNoRedirect(t *testing.T) {
	reached := false
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer thief.Close()
	s := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect))
	defer s.Close()
	h, err := identity.NewHashi(identity.HashiConfig{Address: s.URL, Token: identity.NewSecret("hvs.canary"), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Resolve(t.Context(), "secret/a#key", nil); err == nil || !strings.Contains(err.Error(), "no redirect is followed") || reached {
		t.Error(err, reached)
	}
}

func TestHashiLogsInAndStaysSo(t *testing.T) {
	for _, test := range []struct {
		name, login string
		config      identity.HashiConfig
	}{
		{"approle", "POST auth/approle/login", identity.HashiConfig{AppRole: &identity.AppRole{RoleID: "role", SecretID: identity.NewSecret("s.canary")}}},
		{"kubernetes", "POST auth/k8s/login", identity.HashiConfig{Kubernetes: &identity.KubernetesLogin{Mount: "k8s", Role: "callgate", JWT: identity.NewSecret("jwt.canary")}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, s := newBank(t)
			b.kv["secret/data/a"] = []map[string]any{{"key": "v"}}
			test.config.Address = s.URL
			h := hashi(t, b, test.config)
			good := func(logins, renewals int) {
				t.Helper()
				if f, err := h.Resolve(t.Context(), "secret/a#key", nil); err != nil || f.Value.Reveal() != "v" {
					t.Fatal(f, err)
				}
				if n, m := b.count(test.login), b.count("POST auth/token/renew-self"); n != logins || m != renewals {
					t.Fatalf("%d logins and %d renewals, want %d and %d", n, m, logins, renewals)
				}
			}
			good(1, 0)
			good(1, 0)
			h.Tend(t.Context())
			good(1, 0)
			b.do(func() { b.now = b.now.Add(41 * time.Minute) }) // two thirds of its life
			if wait := h.Tend(t.Context()); wait <= 0 || wait > time.Minute {
				t.Error(wait)
			}
			good(1, 1)
			b.do(func() { b.now = b.now.Add(2 * time.Hour) }) // nobody tended it
			good(2, 1)
			b.do(func() { clear(b.tokens) }) // revoked
			good(3, 1)
			b.do(func() { // it has come to the end of its longest life
				b.now = b.now.Add(41 * time.Minute)
				b.longest = b.now.Add(10 * time.Minute)
			})
			h.Tend(t.Context())
			b.do(func() { b.now = b.now.Add(7 * time.Minute) })
			h.Tend(t.Context())
			b.do(func() { b.longest = time.Time{}; b.now = b.now.Add(5 * time.Minute) })
			h.Tend(t.Context())
			good(4, 2)
		})
	}
}

func TestHashiIsRefusedALogin(t *testing.T) {
	b, s := newBank(t)
	var log bytes.Buffer
	h := hashi(t, b, identity.HashiConfig{Address: s.URL, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		AppRole: &identity.AppRole{RoleID: "role", SecretID: identity.NewSecret("canary-wrong")}})
	if _, err := h.Resolve(t.Context(), "secret/a#key", nil); err == nil || !strings.Contains(err.Error(), "does not let callgate log in by approle") || strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
	if strings.Contains(log.String(), "canary") {
		t.Error(log.String())
	}
}

// lending is a credential whose value may be changed.
type lending struct{ value identity.Secret }

func (l *lending) Use(context.Context, *identity.Principal) (identity.Loan, error) {
	if l.value == (identity.Secret{}) {
		return identity.Loan{}, &identity.Withheld{Reason: "gone", Err: errors.New("gone")}
	}
	return identity.Loan{Value: l.value}, nil
}

func TestATokenOfVaultIsRenewedAndMayBeRotated(t *testing.T) {
	b, s := newBank(t)
	b.kv["secret/data/a"] = []map[string]any{{"key": "v"}}
	b.tokens["hvs.one"], b.tokens["hvs.two"] = b.now.Add(time.Hour), b.now.Add(time.Hour)
	of := &lending{identity.NewSecret("hvs.one")}
	h := hashi(t, b, identity.HashiConfig{Address: s.URL, Token: of})
	h.Tend(t.Context())
	b.do(func() { b.now = b.now.Add(50 * time.Minute) })
	h.Tend(t.Context())
	b.do(func() { b.now = b.now.Add(50 * time.Minute) })
	if _, err := h.Resolve(t.Context(), "secret/a#key", nil); err != nil {
		t.Errorf("its token was not renewed: %v", err)
	}
	b.do(func() { b.tokens["hvs.two"] = b.now.Add(time.Hour); delete(b.tokens, "hvs.one") })
	of.value = identity.NewSecret("hvs.two")
	h.Tend(t.Context())
	if _, err := h.Resolve(t.Context(), "secret/a#key", nil); err != nil {
		t.Error(err)
	}
	of.value = identity.Secret{}
	if _, err := h.Resolve(t.Context(), "secret/a#key", nil); err == nil {
		t.Error("a token that is gone is used")
	}
}

func TestHashiTrustsOnlyItsCA(t *testing.T) {
	b, plain := newBank(t)
	b.kv["secret/data/a"] = []map[string]any{{"key": "v"}}
	plain.Close()
	s := httptest.NewTLSServer(b)
	defer s.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if _, err := hashi(t, b, identity.HashiConfig{Address: s.URL, Token: identity.NewSecret("hvs.root"), CA: ca}).Resolve(t.Context(), "secret/a#key", nil); err != nil {
		t.Error(err)
	}
	if _, err := hashi(t, b, identity.HashiConfig{Address: s.URL, Token: identity.NewSecret("hvs.root")}).Resolve(t.Context(), "secret/a#key", nil); err == nil {
		t.Error("a certificate of nobody is trusted")
	}
	if b.count("GET secret/data/a") != 1 {
		t.Error("the token went to a server that is not trusted")
	}
}

func TestHashiConfigsThatMakeNoSense(t *testing.T) {
	token := identity.NewSecret("t")
	for name, c := range map[string]identity.HashiConfig{
		"no address":       {Token: token},
		"another scheme":   {Address: "ftp://a", Token: token},
		"a user":           {Address: "https://u:p@a", Token: token},
		"a query":          {Address: "https://a?b", Token: token},
		"nobody":           {Address: "https://a"},
		"two at once":      {Address: "https://a", Token: token, AppRole: &identity.AppRole{}},
		"a CA that is not": {Address: "https://a", Token: token, CA: []byte("x")},
	} {
		if _, err := identity.NewHashi(c); !errors.Is(err, identity.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
