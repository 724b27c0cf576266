package mcp_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callgate/identity"
	"callgate/mcp"
	fake "callgate/test/upstream"
)

// A lock is an authorization server and a server behind it, by a clock that tests
// set.
type lock struct {
	*fake.OAuth
	clock *clock
}

func newLock(t testing.TB, tools http.Handler) *lock {
	c := new(clock)
	o, ts := fake.NewOAuth(tools, c.now)
	t.Cleanup(ts.Close)
	return &lock{o, c}
}

// consent is a person who agrees.
func (l *lock) consent(t testing.TB, authorize, user string) string {
	t.Helper()
	back, err := l.Consent(authorize, user)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// A clock is what time it is.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time       { return time.Unix(1_800_000_000, c.ns.Load()) }
func (c *clock) pass(d time.Duration) { c.ns.Add(int64(d)) }

// A safe is a vault and what is around it.
type safe struct {
	*mcp.Vault
	store  *mcp.MemoryTokens
	mu     sync.Mutex
	record []string
}

const publicURL = "http://127.0.0.1:8700"

func newSafe(t testing.TB, l *lock, store *mcp.MemoryTokens) *safe {
	t.Helper()
	s := &safe{store: store}
	var err error
	s.Vault, err = mcp.OpenVault(t.Context(), mcp.VaultConfig{
		PublicURL: publicURL, Store: store, Now: l.clock.now, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Assert: func(_ context.Context, issuer, subject, audience string) (identity.Secret, error) {
			return identity.NewSecret("word." + issuer + "." + subject + "." + audience), nil
		},
		Record: func(what, by, name, state string) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.record = append(s.record, strings.Join([]string{what, by, name, state}, " | "))
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// recorded says whether something stands on record.
func (s *safe) recorded(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.record, func(line string) bool { return strings.Contains(line, text) })
}

// behind is a Server behind l, with its tokens in s.
func (s *safe) behind(t testing.TB, l *lock, set ...func(*mcp.OAuthConfig)) *mcp.Server {
	t.Helper()
	return newServer(t, func(c *mcp.ServerConfig) {
		c.URL = l.URL + "/mcp"
		c.OAuth = &mcp.OAuthConfig{Vault: s.Vault}
		for _, f := range set {
			f(c.OAuth)
		}
	})
}

// visit is a browser that goes to a URL of the gate.
func (s *safe) visit(t testing.TB, at string) (int, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, strings.TrimPrefix(at, publicURL), nil))
	return rec.Code, rec.Body.String()
}

// login logs user in at a server.
func (s *safe) login(t testing.TB, l *lock, to *mcp.Server, holder, user string, scopes ...string) mcp.Login {
	t.Helper()
	begun, err := to.BeginLogin(t.Context(), holder, scopes)
	if err != nil {
		t.Fatal(err)
	}
	if code, page := s.visit(t, l.consent(t, begun.URL, user)); code != 200 {
		t.Fatalf("HTTP %d: %s", code, page)
	}
	done, _ := s.Login(t.Context(), begun.ID)
	if done.State != mcp.LoginDone {
		t.Fatalf("%+v", done)
	}
	return done
}

func per(whose string) func(*mcp.OAuthConfig) {
	return func(c *mcp.OAuthConfig) { c.Per = whose }
}
