package upstream

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	sorted "slices"
	"strings"
	"sync"
	"time"
)

// An OAuth is an authorization server, and the resource server in front of a
// fixture that takes its tokens alone. It does what the RFCs say; a test makes it
// do otherwise by its fields.
type OAuth struct {
	URL   string // of both: they are one HTTP server
	Tools http.Handler
	Now   func() time.Time

	sync.Mutex // guards what follows

	Metadata map[string]any // of the authorization server; what is here stands in place of the truth
	Resource map[string]any // of the protected resource
	Issuer   string
	Scopes   []string // that a request needs
	TTL      time.Duration
	Answer   func(url.Values) // changes what the browser brings back
	Slow     chan struct{}    // the token endpoint waits for its end
	Waiting  chan struct{}    // gets a value when it does

	Clients map[string]map[string]any // registered, by id
	Codes   map[string]url.Values     // authorization request by code
	Tokens  map[string]*Granted       // by access token
	Refresh map[string]*Granted       // by refresh token; used ones are gone
	Asked   []url.Values              // of the token endpoint
	AskedBy []http.Header
	Reached []*http.Request // that the tools got
	Revoked []string
	Seen    []string // all that came in, for tokens that must not
}

// Granted is what a token is for.
type Granted struct {
	Client, User, Resource, Scope string
	Expires                       time.Time
}

// NewOAuth is an authorization server, and a server that has tools for who has its
// tokens. It must be closed.
func NewOAuth(tools http.Handler, now func() time.Time) (*OAuth, *httptest.Server) {
	l := &OAuth{
		Tools: tools, Now: now, TTL: time.Hour, Waiting: make(chan struct{}, 16), Metadata: make(map[string]any), Resource: make(map[string]any),
		Clients: make(map[string]map[string]any), Codes: make(map[string]url.Values), Tokens: make(map[string]*Granted), Refresh: make(map[string]*Granted),
	}
	ts := httptest.NewServer(l)
	l.URL, l.Issuer = ts.URL, ts.URL+"/tenant"
	return l, ts
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

func (l *OAuth) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	l.Lock()
	defer l.Unlock()
	l.Seen = append(l.Seen, r.URL.String()+"\n"+fmt.Sprint(r.Header)+"\n"+string(body))
	switch r.URL.Path {
	case "/mcp":
		l.guard(w, r)
	case "/.well-known/oauth-protected-resource/mcp":
		reply(w, 200, with(map[string]any{"resource": l.URL + "/mcp", "authorization_servers": []string{l.Issuer}, "scopes_supported": []string{"tools"}}, l.Resource))
	case "/.well-known/oauth-authorization-server/tenant":
		reply(w, 200, with(map[string]any{
			"issuer": l.Issuer, "authorization_endpoint": l.URL + "/authorize", "token_endpoint": l.URL + "/token", "registration_endpoint": l.URL + "/register",
			"revocation_endpoint": l.URL + "/revoke", "code_challenge_methods_supported": []string{"S256"}, "authorization_response_iss_parameter_supported": true,
			"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post", "private_key_jwt"},
		}, l.Metadata))
	case "/register":
		var doc map[string]any
		if json.Unmarshal(body, &doc) != nil || doc["application_type"] == nil {
			reply(w, 400, map[string]any{"error": "invalid_client_metadata"})
			return
		}
		doc["client_id"], doc["client_secret"] = rand.Text(), rand.Text()
		l.Clients[doc["client_id"].(string)] = doc
		reply(w, 201, doc)
	case "/token":
		form, _ := url.ParseQuery(string(body))
		l.Asked, l.AskedBy = append(l.Asked, form), append(l.AskedBy, r.Header)
		if slow := l.Slow; slow != nil {
			l.Unlock()
			l.Waiting <- struct{}{}
			<-slow
			l.Lock()
		}
		l.token(w, r, form)
	case "/revoke":
		form, _ := url.ParseQuery(string(body))
		l.Revoked = append(l.Revoked, form.Get("token"))
	default:
		http.NotFound(w, r)
	}
}

// guard lets requests with a token for this resource and the scopes that they
// need through to the tools.
func (l *OAuth) guard(w http.ResponseWriter, r *http.Request) {
	scheme, access, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token := l.Tokens[access]
	if scheme != "Bearer" || token == nil || token.Resource != l.URL+"/mcp" || l.Now().After(token.Expires) {
		w.Header().Set("WWW-Authenticate", `Basic realm="x, Bearer", Bearer realm="a \"b\", c", resource_metadata="`+l.URL+`/.well-known/oauth-protected-resource/mcp"`)
		w.WriteHeader(401)
		return
	}
	for _, scope := range l.Scopes {
		if !sorted.Contains(strings.Fields(token.Scope), scope) {
			w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="`+strings.Join(l.Scopes, " ")+`"`)
			w.WriteHeader(403)
			return
		}
	}
	l.Reached = append(l.Reached, r)
	l.Unlock()
	defer l.Lock()
	l.Tools.ServeHTTP(w, r)
}

func (l *OAuth) token(w http.ResponseWriter, r *http.Request, form url.Values) {
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
	client := l.Clients[id]
	if client == nil || client["client_secret"] != secret && form.Get("client_assertion") == "" {
		fail("invalid_client")
		return
	}
	given := &Granted{Client: id, Resource: form.Get("resource"), Scope: form.Get("scope"), User: "svc:" + id}
	switch form.Get("grant_type") {
	case "authorization_code":
		q := l.Codes[form.Get("code")]
		delete(l.Codes, form.Get("code"))
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if q == nil || q.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || q.Get("client_id") != id || q.Get("redirect_uri") != form.Get("redirect_uri") || q.Get("resource") != given.Resource {
			fail("invalid_grant")
			return
		}
		given.User, given.Scope = q.Get("user"), q.Get("scope")
	case "refresh_token":
		old := l.Refresh[form.Get("refresh_token")]
		delete(l.Refresh, form.Get("refresh_token"))
		if old == nil || old.Client != id || old.Resource != given.Resource {
			fail("invalid_grant")
			return
		}
		given.User, given.Scope = old.User, old.Scope
	case "client_credentials":
	case "urn:ietf:params:oauth:grant-type:token-exchange":
		given.User = "for:" + form.Get("subject_token")
	default:
		fail("unsupported_grant_type")
		return
	}
	given.Expires = l.Now().Add(l.TTL)
	access, refresh := rand.Text(), rand.Text()
	l.Tokens[access] = given
	doc := map[string]any{"access_token": access, "token_type": "bearer", "expires_in": l.TTL.Seconds(), "scope": given.Scope}
	if !strings.HasPrefix(given.User, "svc:") && !strings.HasPrefix(given.User, "for:") {
		l.Refresh[refresh] = given
		doc["refresh_token"] = refresh
	}
	reply(w, 200, doc)
}

// Consent is the person at the browser: it reads the URL, agrees, and is sent to
// the address that comes back.
func (l *OAuth) Consent(authorize, user string) (string, error) {
	u, err := url.Parse(authorize)
	if err != nil {
		return "", err
	}
	l.Lock()
	defer l.Unlock()
	q := u.Query()
	client := l.Clients[q.Get("client_id")]
	if u.Path != "/authorize" || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || client == nil || !strings.Contains(fmt.Sprint(client["redirect_uris"]), q.Get("redirect_uri")) {
		return "", fmt.Errorf("the authorization server does not take %s", authorize)
	}
	q.Set("user", user)
	code := rand.Text()
	l.Codes[code] = q
	back := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {l.Issuer}}
	if l.Answer != nil {
		l.Answer(back)
	}
	return q.Get("redirect_uri") + "?" + back.Encode(), nil
}

// Users is whose tokens reached the tools.
func (l *OAuth) Users() []string {
	l.Lock()
	defer l.Unlock()
	var list []string
	for _, r := range l.Reached {
		list = append(list, l.Tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")].User)
	}
	sorted.Sort(list)
	return sorted.Compact(list)
}

// Expire ends all access tokens before their time.
func (l *OAuth) Expire() {
	l.Lock()
	defer l.Unlock()
	for _, token := range l.Tokens {
		token.Expires = time.Time{}
	}
}

// Count is how often the token endpoint was asked for a grant.
func (l *OAuth) Count(grant string) int {
	l.Lock()
	defer l.Unlock()
	n := 0
	for _, form := range l.Asked {
		if form.Get("grant_type") == grant {
			n++
		}
	}
	return n
}
