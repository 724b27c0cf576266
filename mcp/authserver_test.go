package mcp_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callgate/identity"
	"callgate/mcp"
)

// A lock is an authorization server, and the resource server in front of a
// fixture that takes its tokens alone. It does what the RFCs say; a test makes it
// do otherwise by its fields.
type lock struct {
	t     testing.TB
	url   string // of both: they are one HTTP server
	tools http.Handler
	clock *clock

	mu       sync.Mutex
	metadata map[string]any // of the authorization server; what is here stands in place of the truth
	resource map[string]any // of the protected resource
	issuer   string
	scopes   []string // that a request needs
	ttl      time.Duration
	answer   func(url.Values) // changes what the browser brings back
	slow     chan struct{}    // the token endpoint waits for its end
	waiting  chan struct{}    // gets a value when it does

	clients  map[string]map[string]any // registered, by id
	codes    map[string]url.Values     // authorization request by code
	tokens   map[string]*grantedToken  // by access token
	refresh  map[string]*grantedToken  // by refresh token; used ones are gone
	asked    []url.Values              // of the token endpoint
	askedBy  []http.Header
	reached  []*http.Request // that the resource server got
	revoked  []string
	everSeen []string // anything that came in, for tokens that must not
}

type grantedToken struct {
	client, user, resource, scope string
	expires                       time.Time
}

// A clock is what time it is.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time       { return time.Unix(1_800_000_000, c.ns.Load()) }
func (c *clock) pass(d time.Duration) { c.ns.Add(int64(d)) }

func newLock(t testing.TB, tools http.Handler) *lock {
	l := &lock{
		t: t, tools: tools, clock: new(clock), ttl: time.Hour, waiting: make(chan struct{}, 16), metadata: make(map[string]any), resource: make(map[string]any),
		clients: make(map[string]map[string]any), codes: make(map[string]url.Values), tokens: make(map[string]*grantedToken), refresh: make(map[string]*grantedToken),
	}
	ts := httptest.NewServer(l)
	t.Cleanup(ts.Close)
	l.url = ts.URL
	l.issuer = ts.URL + "/tenant"
	return l
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func with(doc, other map[string]any) map[string]any {
	for k, v := range other {
		if doc[k] = v; v == nil {
			delete(doc, k)
		}
	}
	return doc
}

func (l *lock) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.everSeen = append(l.everSeen, r.URL.String()+"\n"+fmt.Sprint(r.Header)+"\n"+string(body))
	switch r.URL.Path {
	case "/mcp":
		l.guard(w, r)
	case "/.well-known/oauth-protected-resource/mcp":
		reply(w, 200, with(map[string]any{"resource": l.url + "/mcp", "authorization_servers": []string{l.issuer}, "scopes_supported": []string{"tools"}}, l.resource))
	case "/.well-known/oauth-authorization-server/tenant":
		reply(w, 200, with(map[string]any{
			"issuer": l.issuer, "authorization_endpoint": l.url + "/authorize", "token_endpoint": l.url + "/token", "registration_endpoint": l.url + "/register",
			"revocation_endpoint": l.url + "/revoke", "code_challenge_methods_supported": []string{"S256"}, "authorization_response_iss_parameter_supported": true,
			"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post", "private_key_jwt"},
		}, l.metadata))
	case "/register":
		var doc map[string]any
		if json.Unmarshal(body, &doc) != nil || doc["application_type"] == nil {
			reply(w, 400, map[string]any{"error": "invalid_client_metadata"})
			return
		}
		doc["client_id"], doc["client_secret"] = rand.Text(), rand.Text()
		l.clients[doc["client_id"].(string)] = doc
		reply(w, 201, doc)
	case "/token":
		form, _ := url.ParseQuery(string(body))
		l.asked, l.askedBy = append(l.asked, form), append(l.askedBy, r.Header)
		if slow := l.slow; slow != nil {
			l.mu.Unlock()
			l.waiting <- struct{}{}
			<-slow
			l.mu.Lock()
		}
		l.token(w, r, form)
	case "/revoke":
		form, _ := url.ParseQuery(string(body))
		l.revoked = append(l.revoked, form.Get("token"))
	default:
		http.NotFound(w, r)
	}
}

// guard lets requests with a token for this resource and the scopes that they
// need through to the tools.
func (l *lock) guard(w http.ResponseWriter, r *http.Request) {
	scheme, access, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token := l.tokens[access]
	if scheme != "Bearer" || token == nil || token.resource != l.url+"/mcp" || l.clock.now().After(token.expires) {
		w.Header().Set("WWW-Authenticate", `Basic realm="x, Bearer", Bearer realm="a \"b\", c", resource_metadata="`+l.url+`/.well-known/oauth-protected-resource/mcp"`)
		w.WriteHeader(401)
		return
	}
	for _, scope := range l.scopes {
		if !slices.Contains(strings.Fields(token.scope), scope) {
			w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="`+strings.Join(l.scopes, " ")+`"`)
			w.WriteHeader(403)
			return
		}
	}
	l.reached = append(l.reached, r)
	l.mu.Unlock()
	defer l.mu.Lock()
	l.tools.ServeHTTP(w, r)
}

func (l *lock) token(w http.ResponseWriter, r *http.Request, form url.Values) {
	fail := func(code string) {
		reply(w, 400, map[string]any{"error": code, "error_description": "ask <b>root</b>"})
	}
	id, secret, basic := r.BasicAuth()
	if basic { // which carries both encoded as in a form
		id, _ = url.QueryUnescape(id)
		secret, _ = url.QueryUnescape(secret)
	} else {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	client := l.clients[id]
	if client == nil || client["client_secret"] != secret && form.Get("client_assertion") == "" {
		fail("invalid_client")
		return
	}
	given := &grantedToken{client: id, resource: form.Get("resource"), scope: form.Get("scope"), user: "svc:" + id}
	switch form.Get("grant_type") {
	case "authorization_code":
		q := l.codes[form.Get("code")]
		delete(l.codes, form.Get("code"))
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if q == nil || q.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || q.Get("client_id") != id || q.Get("redirect_uri") != form.Get("redirect_uri") || q.Get("resource") != given.resource {
			fail("invalid_grant")
			return
		}
		given.user, given.scope = q.Get("user"), q.Get("scope")
	case "refresh_token":
		old := l.refresh[form.Get("refresh_token")]
		delete(l.refresh, form.Get("refresh_token"))
		if old == nil || old.client != id || old.resource != given.resource {
			fail("invalid_grant")
			return
		}
		given.user, given.scope = old.user, old.scope
	case "client_credentials":
	case "urn:ietf:params:oauth:grant-type:token-exchange":
		given.user = "for:" + form.Get("subject_token")
	default:
		fail("unsupported_grant_type")
		return
	}
	given.expires = l.clock.now().Add(l.ttl)
	access, refresh := rand.Text(), rand.Text()
	l.tokens[access] = given
	doc := map[string]any{"access_token": access, "token_type": "bearer", "expires_in": l.ttl.Seconds(), "scope": given.scope}
	if !strings.HasPrefix(given.user, "svc:") && !strings.HasPrefix(given.user, "for:") {
		l.refresh[refresh] = given
		doc["refresh_token"] = refresh
	}
	reply(w, 200, doc)
}

// consent is the person at the browser: it reads the URL, agrees, and is sent to
// the address that comes back.
func (l *lock) consent(authorize, user string) string {
	l.t.Helper()
	u, err := url.Parse(authorize)
	if err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	q := u.Query()
	client := l.clients[q.Get("client_id")]
	if u.Path != "/authorize" || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || client == nil || !strings.Contains(fmt.Sprint(client["redirect_uris"]), q.Get("redirect_uri")) {
		l.t.Fatalf("the authorization server does not take %s", authorize)
	}
	q.Set("user", user)
	code := rand.Text()
	l.codes[code] = q
	back := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {l.issuer}}
	if l.answer != nil {
		l.answer(back)
	}
	return q.Get("redirect_uri") + "?" + back.Encode()
}

// users is whose tokens reached the tools.
func (l *lock) users() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []string
	for _, r := range l.reached {
		list = append(list, l.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")].user)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// expire ends all access tokens before their time.
func (l *lock) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, token := range l.tokens {
		token.expires = time.Time{}
	}
}

func (l *lock) count(grant string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, form := range l.asked {
		if form.Get("grant_type") == grant {
			n++
		}
	}
	return n
}

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
		c.URL = l.url + "/mcp"
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
	if code, page := s.visit(t, l.consent(begun.URL, user)); code != 200 {
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
