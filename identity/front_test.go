package identity_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"callgate/identity"

	"golang.org/x/oauth2"
)

const (
	adminToken = "0123456789abcdef0123456789abcdef"
	landing    = "http://127.0.0.1:3000/callback"
	verifier   = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	evilName   = `<script>alert(1)</script>"><img src=x onerror=alert(2)>`
)

// frontHouse is a house where people may log in, and its front door on a port.
type frontHouse struct {
	*house
	*httptest.Server
	vouchers *identity.MemoryVouchers
}

func newFrontHouse(t testing.TB, change func(*identity.FrontConfig)) *frontHouse {
	t.Helper()
	f := identity.FrontConfig{
		Admin: identity.NewSecret(adminToken), DefaultAgent: "bot", Vouchers: new(identity.MemoryVouchers),
	}
	if change != nil {
		change(&f)
	}
	h := &frontHouse{house: newHouseWith(t, f)}
	h.vouchers, _ = f.Vouchers.(*identity.MemoryVouchers)
	h.know(frontClients())
	create(t, h.registry, identity.Agent{Name: "bot"})
	h.Server = httptest.NewServer(h.handler())
	t.Cleanup(h.Close)
	return h
}

func (h *frontHouse) know(clients []identity.Client) {
	if err := h.Authority.SetClients(clients); err != nil {
		panic(err)
	}
}

func frontClients() []identity.Client {
	return []identity.Client{
		{ID: "code", Name: "Code", Redirects: []string{landing, "https://app.example/cb"}},
		{ID: "web", Name: "Web", Redirects: []string{"https://app.example/cb"}, SecretHash: identity.NewSecret("s3cret+/%").Hash()},
		{ID: "evil", Name: evilName, Redirects: []string{"http://localhost/cb"}},
	}
}

// A browser keeps cookies, and follows no redirects by itself.
type browser struct {
	*http.Client
	t    testing.TB
	base string
}

func (h *frontHouse) browser(t testing.TB) *browser {
	jar, _ := cookiejar.New(nil)
	return &browser{&http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, t, h.URL}
}

type shown struct {
	status   int
	header   http.Header
	body     string
	location *url.URL
}

func (b *browser) do(method, path string, form url.Values, change ...func(*http.Request)) shown {
	b.t.Helper()
	at := path
	if !strings.HasPrefix(at, "http") {
		at = b.base + path
	}
	r, err := http.NewRequest(method, at, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, f := range change {
		f(r)
	}
	resp, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	var body strings.Builder
	if _, err := copyAll(&body, resp); err != nil {
		b.t.Fatal(err)
	}
	s := shown{status: resp.StatusCode, header: resp.Header, body: body.String()}
	s.location, _ = resp.Location()
	return s
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="(\w+)" value="([^"]*)">`)

// form is what a page's form would send.
func (s shown) form(pairs ...string) url.Values {
	v := url.Values{}
	for _, m := range hiddenField.FindAllStringSubmatch(s.body, -1) {
		v.Set(m[1], html.UnescapeString(m[2]))
	}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

func (b *browser) login() {
	b.t.Helper()
	page := b.do("GET", "/oauth/login", nil)
	if s := b.do("POST", "/oauth/login", page.form("password", adminToken)); s.status != http.StatusSeeOther {
		b.t.Fatalf("login: %d %s", s.status, s.body)
	}
}

// ask is what a client asks at /oauth/authorize.
func ask(pairs ...string) string {
	challenge := sha256.Sum256([]byte(verifier))
	v := url.Values{"client_id": {"code"}, "redirect_uri": {landing}, "response_type": {"code"}, "state": {"st&=1"},
		"code_challenge": {b64(challenge[:])}, "code_challenge_method": {"S256"}}
	for i := 0; i < len(pairs); i += 2 {
		v.Del(pairs[i])
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return "/oauth/authorize?" + v.Encode()
}

// code is a code that a person who is logged in allows.
func (b *browser) code(path string) string {
	b.t.Helper()
	page := b.do("GET", path, nil)
	if page.status != http.StatusOK {
		b.t.Fatalf("consent: %d %s", page.status, page.body)
	}
	s := b.do("POST", "/oauth/authorize", page.form("decision", "allow"))
	if s.location == nil || s.location.Query().Get("code") == "" {
		b.t.Fatalf("no code: %d %v %s", s.status, s.location, s.body)
	}
	return s.location.Query().Get("code")
}

func (h *frontHouse) token(t testing.TB, pairs ...string) (int, map[string]any) {
	t.Helper()
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	w := post(h.handler(), v.Encode(), nil)
	return w.Code, fields(t, w)
}

func (h *frontHouse) redeem(t testing.TB, code string, pairs ...string) (int, map[string]any) {
	t.Helper()
	return h.token(t, append([]string{"grant_type", "authorization_code", "client_id", "code", "code", code, "code_verifier", verifier, "redirect_uri", landing}, pairs...)...)
}

func (h *frontHouse) refresh(t testing.TB, token string, pairs ...string) (int, map[string]any) {
	t.Helper()
	return h.token(t, append([]string{"grant_type", "refresh_token", "client_id", "code", "refresh_token", token}, pairs...)...)
}

// has says whether a record begins with a prefix and contains a text.
func (h *house) has(prefix, text string) bool {
	return slices.ContainsFunc(h.recorded(), func(l string) bool { return strings.HasPrefix(l, prefix) && strings.Contains(l, text) })
}

func (h *house) issuedNothing(t testing.TB) {
	t.Helper()
	for _, line := range h.recorded() {
		for _, what := range []string{"token.issued", "grant.given", "consent.given"} {
			if strings.HasPrefix(line, what) {
				t.Errorf("record: %s", line)
			}
		}
	}
}

func TestAPersonLetsAClientAct(t *testing.T) {
	h := newFrontHouse(t, nil)
	b := h.browser(t)
	path := ask("resource", gateURL+"/mcp/", "scope", "mcp:files")
	page := b.do("GET", path, nil)
	s := b.do("POST", "/oauth/login", page.form("password", adminToken))
	if s.location == nil || s.location.RequestURI() != path {
		t.Fatalf("after the login: %d %v", s.status, s.location)
	}
	page = b.do("GET", path, nil)
	for _, want := range []string{"Code", "127.0.0.1", "server files", "only at " + gateURL + "/mcp", "bot", "user:admin"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the page does not say %q: %s", want, page.body)
		}
	}
	s = b.do("POST", "/oauth/authorize", page.form("decision", "allow"))
	q := s.location.Query()
	if s.status != http.StatusSeeOther || !strings.HasPrefix(s.location.String(), landing+"?") || q.Get("state") != "st&=1" || q.Get("iss") != gateURL {
		t.Fatalf("%d %v", s.status, s.location)
	}
	status, got := h.redeem(t, q.Get("code"), "resource", gateURL+"/mcp")
	access, _ := got["access_token"].(string)
	if status != 200 || got["refresh_token"] == nil || got["scope"] != "mcp:files" {
		t.Fatal(status, got)
	}
	p, err := h.Verify(t.Context(), access, "/mcp/files")
	if err != nil || p.Subject != "user:admin" || !slices.Equal(p.Actors, []string{"agent:bot"}) || p.Client != "code" {
		t.Error(p, err)
	}
	if _, err := h.Verify(t.Context(), access, "/v1/models"); err == nil {
		t.Error("good for more than its resource")
	}
	for _, what := range []string{"login.done | user:admin", "consent.given | user:admin | agent:bot", "grant.given | user:admin | agent:bot", "token.issued | client:code | agent:bot"} {
		if !h.has(what, "") {
			t.Errorf("no record of %s: %q", what, h.recorded())
		}
	}
	h.pass(31 * 24 * time.Hour)
	if status, got := h.refresh(t, got["refresh_token"].(string)); status != 400 || got["error"] != "invalid_grant" {
		t.Error("a refresh token lives longer than what was allowed", status, got)
	}
}

func TestRedirectsThatAreNotTheClients(t *testing.T) {
	h := newFrontHouse(t, nil)
	b := h.browser(t)
	b.login()
	for _, uri := range []string{
		"", "https://evil.example/cb", landing + "/", landing + "?x=1", landing + "#x", "http://127.0.0.1:3000/Callback", "http://127.0.0.1/callback/../callback",
		"https://app.example:443/cb", "https://app.example:8443/cb", "https://APP.example/cb", "HTTPS://app.example/cb", "https://app.example/%63b", "https://app.example%2fcb", "https://app.example/cb%2f",
		"https://app.example@evil.example/cb", "https://evil.example@app.example/cb", "https://app.example\\@evil.example/cb", "https://app.example.evil.example/cb", "http://app.example/cb",
		"http://127.1:3000/callback", "http://2130706433/callback", "http://0x7f.1/callback", "http://127.0.0.1.evil.example/callback", "http://127.0.0.1:3000@evil.example/callback",
		"http://user@127.0.0.1/callback", "http://127.0.0.2/callback", "http://0.0.0.0/callback", "http://localhost/callback", "http://localhost.evil.example/callback", "http://[::1]/callback",
		"http://[::ffff:127.0.0.1]/callback", "http://127.0.0.1:0/callback", "http://127.0.0.1:/callback", "http://127.0.0.1:99999999/callback", "http://127.0.0.1:80:80/callback", "http://127.0.0.1%2f/callback",
		"https://127.0.0.1:3000/callback", "//127.0.0.1/callback", "/callback", "javascript:alert(1)", "data:text/html,x", " " + landing, landing + "\n", "http://127.0.0.1\t/callback", "http://127.0.0.1/callback\x00",
	} {
		before := len(h.recorded())
		s := b.do("GET", ask("redirect_uri", uri), nil)
		if s.status != http.StatusBadRequest || s.location != nil || strings.Contains(s.body, "name=\"token\"") {
			t.Errorf("%q: %d %v", uri, s.status, s.location)
		}
		if list := h.recorded()[before:]; len(list) != 1 || !strings.HasPrefix(list[0], "authorize.refused | ") {
			t.Errorf("%q: record %q", uri, list)
		}
		h.pass(time.Second)
	}
	h.issuedNothing(t)
	for _, uri := range []string{landing, "http://127.0.0.1/callback", "http://127.0.0.1:65000/callback", "https://app.example/cb"} {
		if s := b.do("GET", ask("redirect_uri", uri), nil); s.status != http.StatusOK {
			t.Errorf("%q: %d", uri, s.status)
		}
	}
}

func TestWhatAClientMayNotAskFor(t *testing.T) {
	h := newFrontHouse(t, nil)
	b := h.browser(t)
	for _, test := range []struct {
		name, path, code string
	}{
		{"no PKCE", ask("code_challenge", ""), "invalid_request"},
		{"plain PKCE", ask("code_challenge_method", "plain"), "invalid_request"},
		{"no PKCE method", ask("code_challenge_method", ""), "invalid_request"},
		{"a challenge that is none", ask("code_challenge", "x"), "invalid_request"},
		{"the implicit grant", ask("response_type", "token"), "unsupported_response_type"},
		{"another's resource", ask("resource", "https://evil.example"), "invalid_target"},
		{"two resources", ask("resource", gateURL) + "&resource=" + url.QueryEscape(gateURL), "invalid_target"},
		{"state twice", ask() + "&state=2", "invalid_request"},
		{"a scope that is none", ask("scope", "admin"), "invalid_scope"},
		{"details that are none", ask("authorization_details", "[]"), "invalid_authorization_details"},
		{"a request object", ask("request", "x"), "request_not_supported"},
		{"a fragment", ask("response_mode", "fragment"), "invalid_request"},
	} {
		s := b.do("GET", test.path, nil)
		if s.location == nil || !strings.HasPrefix(s.location.String(), landing+"?") || s.location.Query().Get("error") != test.code || s.location.Query().Get("iss") != gateURL || s.location.Query().Get("state") == "" {
			t.Errorf("%s: %d %v", test.name, s.status, s.location)
		}
		if !h.has("authorize.refused | client:code", test.code) {
			t.Errorf("%s: no record", test.name)
		}
	}
	for name, path := range map[string]string{"an unknown client": ask("client_id", "nobody"), "no client": ask("client_id", ""), "a client twice": ask() + "&client_id=evil", "a redirect twice": ask() + "&redirect_uri=" + url.QueryEscape(landing)} {
		if s := b.do("GET", path, nil); s.status != 400 || s.location != nil {
			t.Errorf("%s: %d %v", name, s.status, s.location)
		}
	}
	h.issuedNothing(t)
}

func TestPagesAreInNoFrameAndRunNothing(t *testing.T) {
	h := newFrontHouse(t, nil)
	clients := frontClients()
	clients[0].Redirects = append(clients[0].Redirects, "app://cb")
	h.know(clients)
	b := h.browser(t)
	check := func(s shown) {
		t.Helper()
		csp := s.header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "script-src") || strings.Contains(csp, "unsafe") ||
			s.header.Get("X-Frame-Options") != "DENY" || s.header.Get("Cache-Control") != "no-store" || strings.Contains(s.body, "<script") || strings.Contains(s.body, "<img") {
			t.Errorf("%d %v\n%s", s.status, s.header, s.body)
		}
	}
	check(b.do("GET", ask(), nil)) // login
	check(b.do("GET", ask("client_id", evilName), nil))
	check(b.do("GET", "/oauth/authorize", nil))
	b.login()
	evil := b.do("GET", ask("client_id", "evil", "redirect_uri", "http://localhost:9/cb"), nil)
	check(evil)
	if !strings.Contains(evil.body, "&lt;script&gt;") || !strings.Contains(evil.body, `id="local"`) {
		t.Errorf("name or warning is missing: %s", evil.body)
	}
	check(b.do("GET", "/oauth/login", nil))
	check(b.do("GET", "/oauth/device", nil))
	check(b.do("GET", "/oauth/device?user_code="+url.QueryEscape(evilName), nil))
	mixed := b.do("GET", ask("redirect_uri", "app://cb"), nil)
	check(mixed)
	if strings.Contains(mixed.body, `id="local"`) {
		t.Error("a client that leads elsewhere, too, is said to be local")
	}
	for csp, s := range map[string]shown{
		"form-action 'self' https: http: app:;": mixed,
		"form-action 'self' https: http:;":      evil, // and the login, where the client is told at once what is wrong
		"form-action 'self';":                   h.browser(t).do("GET", "/oauth/login", nil),
	} {
		if got := s.header.Get("Content-Security-Policy"); !strings.Contains(got, csp) {
			t.Errorf("want %s in %s", csp, got)
		}
	}
	for query, csp := range map[string]string{
		ask(): "form-action 'self' https: http:;", ask("redirect_uri", "https://app.example/cb"): "form-action 'self';",
	} {
		if got := h.browser(t).do("GET", query, nil).header.Get("Content-Security-Policy"); !strings.Contains(got, csp) {
			t.Errorf("login for %s: want %s in %s", query, csp, got)
		}
	}
}

func TestOnlyThePersonsOwnFormAllows(t *testing.T) {
	h := newFrontHouse(t, nil)
	b, other := h.browser(t), h.browser(t)
	b.login()
	other.login()
	page := b.do("GET", ask(), nil)
	good := page.form("decision", "allow")
	with := func(name, value string) url.Values {
		v := url.Values{}
		for k := range good {
			v.Set(k, good.Get(k))
		}
		v.Set(name, value)
		return v
	}
	stranger := h.browser(t)
	for name, send := range map[string]func() shown{
		"no token":       func() shown { return b.do("POST", "/oauth/authorize", with("token", "")) },
		"another token":  func() shown { return b.do("POST", "/oauth/authorize", with("token", "x")) },
		"another's page": func() shown { return other.do("POST", "/oauth/authorize", good) },
		"nobody's":       func() shown { return stranger.do("POST", "/oauth/authorize", good) },
		"from another site": func() shown {
			return b.do("POST", "/oauth/authorize", good, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
		},
		"from another origin": func() shown {
			return b.do("POST", "/oauth/authorize", good, func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") })
		},
		"a token of elsewhere": func() shown {
			return b.do("POST", "/oauth/authorize", with("token", b.do("GET", "/oauth/login", nil).form().Get("token")))
		},
		"another request": func() shown {
			fresh := b.do("GET", ask(), nil).form("decision", "allow")
			fresh.Set("request", strings.TrimPrefix(ask("scope", "mcp:all"), "/oauth/authorize?"))
			return b.do("POST", "/oauth/authorize", fresh)
		},
		"another agent": func() shown {
			return b.do("POST", "/oauth/authorize", b.do("GET", ask(), nil).form("decision", "allow", "agent", "root"))
		},
	} {
		before := len(h.recorded())
		s := send()
		if s.status != http.StatusForbidden || s.location != nil {
			t.Errorf("%s: %d %v", name, s.status, s.location)
		}
		if !slices.ContainsFunc(h.recorded()[before:], func(l string) bool { return strings.Contains(l, ".refused | ") }) {
			t.Errorf("%s: no record", name)
		}
	}
	h.issuedNothing(t)
	if s := b.do("POST", "/oauth/authorize", good); s.location == nil || s.location.Query().Get("code") == "" {
		t.Fatalf("its own form: %d %s", s.status, s.body)
	}
	if s := b.do("POST", "/oauth/authorize", good); s.status != http.StatusForbidden {
		t.Errorf("twice: %d %v", s.status, s.location)
	}
	s := b.do("POST", "/oauth/authorize", b.do("GET", ask(), nil).form("decision", "deny"))
	if s.location == nil || s.location.Query().Get("error") != "access_denied" || s.location.Query().Get("iss") != gateURL || !h.has("consent.denied", "client:code") {
		t.Errorf("denied: %d %v", s.status, s.location)
	}
}

func TestCodesThatAreWrong(t *testing.T) {
	for _, test := range []struct {
		name  string
		pairs []string
		after time.Duration
		code  string
	}{
		{"without a verifier", []string{"code_verifier", ""}, 0, "invalid_request"},
		{"with another verifier", []string{"code_verifier", verifier[1:] + "x"}, 0, "invalid_grant"},
		{"with the challenge for a verifier", []string{"code_verifier", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, 0, "invalid_grant"},
		{"by another client", []string{"client_id", "evil"}, 0, "invalid_grant"},
		{"at another redirect", []string{"redirect_uri", "http://127.0.0.1:3001/callback"}, 0, "invalid_grant"},
		{"too late", nil, 60 * time.Second, "invalid_grant"},
		{"for more", []string{"scope", "mcp:all"}, 0, "invalid_scope"},
		{"for elsewhere", []string{"resource", "https://evil.example"}, 0, "invalid_target"},
		{"by a client with a secret, without it", []string{"client_id", "web"}, 0, "invalid_client"},
		{"by a public client with a secret", []string{"client_secret", "x"}, 0, "invalid_client"},
		{"by a client that is not there", []string{"client_id", "nobody"}, 0, "invalid_client"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newFrontHouse(t, nil)
			b := h.browser(t)
			b.login()
			code := b.code(ask())
			h.pass(test.after)
			form := url.Values{"grant_type": {"authorization_code"}, "client_id": {"code"}, "code": {code}, "code_verifier": {verifier}, "redirect_uri": {landing}}
			for i := 0; i < len(test.pairs); i += 2 {
				form.Set(test.pairs[i], test.pairs[i+1])
			}
			w := post(h.handler(), form.Encode(), nil)
			if got := fields(t, w); got["error"] != test.code || got["access_token"] != nil {
				t.Error(w.Code, got)
			}
			if h.has("token.issued", "") || h.has("grant.given", "") {
				t.Error("something was issued")
			}
			if test.code != "invalid_scope" && test.code != "invalid_target" && !h.has("token.refused", "") {
				t.Errorf("no record: %q", h.recorded())
			}
		})
	}
}

func TestACodeThatComesTwiceEndsAll(t *testing.T) {
	h := newFrontHouse(t, nil)
	b := h.browser(t)
	b.login()
	code := b.code(ask())
	_, got := h.redeem(t, code)
	access := got["access_token"].(string)
	if _, err := h.Verify(t.Context(), access, "/mcp"); err != nil {
		t.Fatal(err)
	}
	if status, got := h.redeem(t, code); status != 400 || got["error"] != "invalid_grant" {
		t.Error(status, got)
	}
	if _, err := h.Verify(t.Context(), access, "/mcp"); err == nil {
		t.Error("the first one's token is still good")
	}
	if status, got := h.refresh(t, got["refresh_token"].(string)); status != 400 || got["error"] != "invalid_grant" {
		t.Error("the first one's refresh token is still good", status, got)
	}
	if !h.has("grant.revoked | client:code", "") || !h.has("token.refused | client:code", "used before") {
		t.Errorf("%q", h.recorded())
	}
}

func TestRefreshTokensRotate(t *testing.T) {
	h := newFrontHouse(t, nil)
	b := h.browser(t)
	b.login()
	_, got := h.redeem(t, b.code(ask()))
	first := got["refresh_token"].(string)
	status, second := h.refresh(t, first)
	if status != 200 || second["refresh_token"] == first || second["access_token"] == got["access_token"] {
		t.Fatal(status, second)
	}
	h.pass(9 * time.Second)
	if status, again := h.refresh(t, first); status != 200 || again["refresh_token"] != second["refresh_token"] || again["access_token"] != second["access_token"] {
		t.Error("a lost reply is not told again", status, again)
	}
	status, third := h.refresh(t, second["refresh_token"].(string))
	if status != 200 {
		t.Fatal(status, third)
	}
	h.pass(2 * time.Second) // 11 s after the first
	if status, stolen := h.refresh(t, first); status != 400 || stolen["error"] != "invalid_grant" {
		t.Fatal(status, stolen)
	}
	if !h.has("grant.revoked | client:code", "") || !h.has("token.refused | client:code", "used before") {
		t.Errorf("%q", h.recorded())
	}
	if _, err := h.Verify(t.Context(), third["access_token"].(string), "/mcp"); err == nil {
		t.Error("what came of it is still good")
	}
	if status, got := h.refresh(t, third["refresh_token"].(string)); status != 400 {
		t.Error("the newest is still good", status, got)
	}
}

// mute is vouchers whose answers cannot be stored.
type mute struct {
	identity.MemoryVouchers
	broken bool
}

func (m *mute) AnswerVoucher(ctx context.Context, hash string, used time.Time, answer []byte) (bool, error) {
	if m.broken {
		return false, errors.New("the disk is full")
	}
	return m.MemoryVouchers.AnswerVoucher(ctx, hash, used, answer)
}

// A refresh token that callgate itself failed to answer is not one that was stolen.
func TestARefreshThatFailedIsDoneAgain(t *testing.T) {
	store := new(mute)
	h := newFrontHouse(t, func(f *identity.FrontConfig) { f.Vouchers = store })
	b := h.browser(t)
	b.login()
	_, got := h.redeem(t, b.code(ask()))
	first := got["refresh_token"].(string)
	store.broken = true
	if status, got := h.refresh(t, first); status != 500 {
		t.Fatal(status, got)
	}
	if status, got := h.refresh(t, first); status != 503 {
		t.Error("at once", status, got)
	}
	h.pass(11 * time.Second)
	if status, got := h.refresh(t, first); status != 500 {
		t.Error("while it still fails", status, got)
	}
	store.broken = false
	if status, got := h.refresh(t, first); status != 503 {
		t.Error("at once after another try", status, got)
	}
	h.pass(11 * time.Second)
	status, second := h.refresh(t, first)
	if status != 200 || second["refresh_token"] == first {
		t.Fatal("when it works again", status, second)
	}
	h.pass(11 * time.Second)
	if status, got := h.refresh(t, first); status != 400 || got["error"] != "invalid_grant" {
		t.Error("after it was answered", status, got)
	}
	if status, _ := h.refresh(t, second["refresh_token"].(string)); status != 400 {
		t.Error("what came of a stolen one is still good")
	}
}

func TestRefreshEndsWithWhatItCameOf(t *testing.T) {
	for name, end := range map[string]func(h *frontHouse, refresh string){
		"another client": nil,
		"the agent":      func(h *frontHouse, _ string) { _ = h.registry.Suspend(t.Context(), "bot", "admin") },
		"the person":     func(h *frontHouse, _ string) { _, _, _ = h.registry.Offboard(t.Context(), "user:admin", "admin", nil) },
		"revoked by client": func(h *frontHouse, refresh string) {
			postTo(h.handler(), "/oauth/revoke", "client_id=code&token="+refresh, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFrontHouse(t, nil)
			b := h.browser(t)
			b.login()
			_, got := h.redeem(t, b.code(ask()))
			refresh, by := got["refresh_token"].(string), "code"
			if end == nil {
				by = "evil"
			} else {
				end(h, refresh)
			}
			if status, got := h.refresh(t, refresh, "client_id", by); status != 400 || got["error"] != "invalid_grant" {
				t.Error(status, got)
			}
			if _, err := h.Verify(t.Context(), got["access_token"].(string), "/mcp"); err == nil {
				t.Error("the access token is still good")
			}
			if !h.has("token.refused | client:"+by, "") {
				t.Errorf("%q", h.recorded())
			}
			if n := len(slices.DeleteFunc(h.recorded(), func(l string) bool { return !strings.HasPrefix(l, "token.issued") })); n != 1 {
				t.Errorf("%d tokens", n)
			}
		})
	}
}

func TestWhatCannotBeRecordedIsNotAllowed(t *testing.T) {
	h := newFrontHouse(t, nil)
	b := h.browser(t)
	b.login()
	page := b.do("GET", ask(), nil)
	code := b.code(ask())
	h.unrecorded = errors.New("disk full")
	if s := b.do("POST", "/oauth/authorize", page.form("decision", "allow")); s.status != 500 || s.location != nil {
		t.Error(s.status, s.location)
	}
	if status, got := h.redeem(t, code); status != 500 || got["access_token"] != nil {
		t.Error(status, got)
	}
	if s := h.browser(t); s.do("POST", "/oauth/login", s.do("GET", "/oauth/login", nil).form("password", adminToken)).status != 500 {
		t.Error("logged in without a record")
	}
}

func TestLogin(t *testing.T) {
	h := newFrontHouse(t, nil)
	b := h.browser(t)
	page := b.do("GET", "/oauth/login", nil)
	if s := b.do("POST", "/oauth/login", page.form("password", "wrong")); s.status != 403 || !h.has("login.refused | user:admin", "wrong admin token") {
		t.Error(s.status, h.recorded())
	}
	if s := h.browser(t).do("POST", "/oauth/login", page.form("password", adminToken)); s.status != 403 {
		t.Error("a form of another browser logs in", s.status)
	}
	for _, next := range []string{"https://evil.example", "//evil.example", "/oauth/authorize\\evil", "/oauth/authorize/../x", "javascript:alert(1)"} {
		s := b.do("POST", "/oauth/login", page.form("password", adminToken, "next", next))
		if s.location == nil || s.location.Path != "/oauth/login" || !strings.HasPrefix(s.location.String(), h.URL) {
			t.Errorf("next %q: %d %v", next, s.status, s.location)
		}
	}
	s := b.do("POST", "/oauth/login", page.form("password", adminToken))
	cookie := s.header.Get("Set-Cookie")
	if !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Lax") {
		t.Error(cookie)
	}
	for range 20 {
		b.do("POST", "/oauth/login", page.form("password", "wrong"))
	}
	if s := b.do("POST", "/oauth/login", page.form("password", adminToken)); s.status != http.StatusTooManyRequests {
		t.Error("guessing is not slowed down", s.status)
	}
	welcome := b.do("GET", "/oauth/login", nil)
	if s := b.do("POST", "/oauth/logout", url.Values{"token": {"x"}}); s.status != 403 {
		t.Error(s.status)
	}
	if s := b.do("POST", "/oauth/logout", welcome.form()); s.status != 303 || strings.Contains(b.do("GET", "/oauth/login", nil).body, "user:admin") {
		t.Error("still logged in", s.status)
	}
	c := h.browser(t)
	h.pass(time.Minute)
	c.login()
	h.pass(8 * time.Hour)
	if s := c.do("GET", ask(), nil); !strings.Contains(s.body, `name="password"`) {
		t.Error("a session does not end")
	}
}

func TestAPersonChoosesAmongAgentsOfTheirs(t *testing.T) {
	h := newFrontHouse(t, func(f *identity.FrontConfig) { f.DefaultAgent = "" })
	b := h.browser(t)
	b.login()
	s := b.do("GET", ask(), nil)
	if s.status != 403 || !strings.Contains(s.body, "callgate agent create") || strings.Contains(s.body, `value="bot"`) {
		t.Errorf("%d %s", s.status, s.body)
	}
	create(t, h.registry, identity.Agent{Name: "one", Owner: "user:admin"})
	create(t, h.registry, identity.Agent{Name: "two", Owner: "user:admin"})
	create(t, h.registry, identity.Agent{Name: "hers", Owner: "user:ana"})
	page := b.do("GET", ask(), nil)
	if !strings.Contains(page.body, `value="one"`) || !strings.Contains(page.body, `value="two"`) || strings.Contains(page.body, "hers") {
		t.Error(page.body)
	}
	if s := b.do("POST", "/oauth/authorize", page.form("decision", "allow", "agent", "hers")); s.status != 403 {
		t.Error("another's agent", s.status)
	}
	s = b.do("POST", "/oauth/authorize", b.do("GET", ask(), nil).form("decision", "allow", "agent", "two"))
	_, got := h.redeem(t, s.location.Query().Get("code"))
	if p, err := h.Verify(t.Context(), got["access_token"].(string), "/mcp"); err != nil || p.Agent() != "agent:two" {
		t.Error(p, err)
	}
}

func TestOAuth2OfTheGoProject(t *testing.T) {
	h := newFrontHouse(t, nil)
	for _, id := range []string{"code", "web"} {
		cfg := &oauth2.Config{ClientID: id, RedirectURL: landing, Endpoint: oauth2.Endpoint{AuthURL: h.URL + "/oauth/authorize", TokenURL: h.URL + "/oauth/token"}}
		if id == "web" {
			cfg.ClientSecret, cfg.RedirectURL = "s3cret+/%", "https://app.example/cb"
		}
		b := h.browser(t)
		b.login()
		v := oauth2.GenerateVerifier()
		code := b.code(strings.TrimPrefix(cfg.AuthCodeURL("st", oauth2.S256ChallengeOption(v)), h.URL))
		token, err := cfg.Exchange(t.Context(), code, oauth2.VerifierOption(v))
		if err != nil {
			t.Fatal(id, err)
		}
		token.Expiry = time.Now().Add(-time.Hour)
		next, err := cfg.TokenSource(t.Context(), token).Token()
		if err != nil || next.AccessToken == token.AccessToken || next.RefreshToken == token.RefreshToken {
			t.Fatal(id, err)
		}
		if _, err := h.Verify(t.Context(), next.AccessToken, "/mcp"); err != nil {
			t.Error(id, err)
		}
	}
}

func TestDevice(t *testing.T) {
	h := newFrontHouse(t, nil)
	begin := func() (device, user string) {
		got := fields(t, postTo(h.handler(), "/oauth/device_authorization", "client_id=code&scope=mcp:files", nil))
		return got["device_code"].(string), got["user_code"].(string)
	}
	poll := func(device string, pairs ...string) (int, map[string]any) {
		return h.token(t, append([]string{"grant_type", "urn:ietf:params:oauth:grant-type:device_code", "client_id", "code", "device_code", device}, pairs...)...)
	}
	device, user := begin()
	if _, got := poll(device); got["error"] != "authorization_pending" {
		t.Fatal(got)
	}
	if _, got := poll(device); got["error"] != "slow_down" {
		t.Error(got)
	}
	h.pass(20 * time.Second)
	if _, got := poll(device, "client_id", "evil"); got["error"] != "invalid_grant" {
		t.Error("another client", got)
	}
	b := h.browser(t)
	b.login()
	page := b.do("GET", "/oauth/device?user_code="+strings.ToLower(user), nil)
	if !strings.Contains(page.body, user) || !strings.Contains(page.body, "server files") || !strings.Contains(page.body, "Code") {
		t.Fatal(page.body)
	}
	if s := b.do("POST", "/oauth/device", page.form("token", "x", "decision", "allow")); s.status != 403 {
		t.Error("without its token", s.status)
	}
	if s := b.do("POST", "/oauth/device", page.form("decision", "allow")); s.status != 200 {
		t.Fatal(s.status, s.body)
	}
	if s := b.do("GET", "/oauth/device?user_code="+user, nil); s.status != 400 {
		t.Error("a code that was used", s.status)
	}
	h.pass(10 * time.Second)
	status, got := poll(device)
	if status != 200 || got["refresh_token"] == nil {
		t.Fatal(status, got)
	}
	if p, err := h.Verify(t.Context(), got["access_token"].(string), "/mcp/files"); err != nil || p.Subject != "user:admin" {
		t.Error(p, err)
	}
	h.pass(10 * time.Second)
	if _, again := poll(device); again["error"] != "invalid_grant" {
		t.Error(again)
	}
	if _, err := h.Verify(t.Context(), got["access_token"].(string), "/mcp/files"); err == nil {
		t.Error("a device code came twice, and what it gave is still good")
	}
	device, user = begin()
	b.do("POST", "/oauth/device", b.do("GET", "/oauth/device?user_code="+user, nil).form("decision", "deny"))
	if _, got := poll(device); got["error"] != "access_denied" || !h.has("consent.denied", "device") {
		t.Error(got)
	}
	device, _ = begin()
	h.pass(10 * time.Minute)
	if _, got := poll(device); got["error"] != "expired_token" {
		t.Error(got)
	}
}

// unread is vouchers that cannot be read.
type unread struct{ identity.MemoryVouchers }

func (*unread) Voucher(context.Context, string) (identity.Voucher, bool, error) {
	return identity.Voucher{}, false, errors.New("disk at /var/lib/secret is gone")
}

func TestAPersonIsNotToldWhyTheStoreFails(t *testing.T) {
	h := newFrontHouse(t, func(f *identity.FrontConfig) { f.Vouchers = new(unread) })
	b := h.browser(t)
	b.login()
	if s := b.do("GET", "/oauth/device?user_code=BCDF-GHJK", nil); s.status != http.StatusInternalServerError || strings.Contains(s.body, "/var/lib") {
		t.Error(s.status, s.body)
	}
}

func TestRegistration(t *testing.T) {
	kept := new(identity.MemoryClients)
	h := newFrontHouse(t, func(f *identity.FrontConfig) { f.Registration, f.Registered = true, kept })
	send := func(doc string) *httptest.ResponseRecorder {
		return postTo(h.handler(), "/oauth/register", doc, func(r *http.Request) { r.Header.Set("Content-Type", "application/json") })
	}
	for _, doc := range []string{
		``, `[]`, `{}`, `{"redirect_uris":["javascript:alert(1)"]}`, `{"redirect_uris":["http://app.example/cb"]}`, `{"redirect_uris":["https://a.example/#x"]}`,
		`{"redirect_uris":["http://localhost/cb"],"token_endpoint_auth_method":"private_key_jwt"}`, `{"redirect_uris":["http://localhost/cb"],"grant_types":["client_credentials"]}`,
	} {
		if w := send(doc); w.Code != 400 || !h.has("client.refused", "") {
			t.Errorf("%s: %d %s", doc, w.Code, w.Body)
		}
	}
	h.pass(time.Hour)
	got := fields(t, send(`{"redirect_uris":["http://127.0.0.1/callback","https://vscode.dev/redirect"],"client_name":"`+"x"+`"}`))
	id, _ := got["client_id"].(string)
	if !strings.HasPrefix(id, "dcr_") || got["client_secret"] != nil || !h.has("client.registered | client:"+id, "") {
		t.Fatal(got)
	}
	b := h.browser(t)
	b.login()
	if status, got := h.redeem(t, b.code(ask("client_id", id)), "client_id", id); status != 200 {
		t.Error(status, got)
	}
	if c, ok, err := kept.Client(t.Context(), id); !ok || !c.Allowed {
		t.Error("a client that somebody has allowed something is to spare", ok, err)
	}
	h.pass(time.Hour)
	code := 0
	for range 20 {
		code = send(`{"redirect_uris":["http://127.0.0.1/callback"]}`).Code
	}
	if code != http.StatusTooManyRequests {
		t.Error("a flood is not held up", code)
	}
}

func copyAll(b *strings.Builder, resp *http.Response) (int64, error) { return io.Copy(b, resp.Body) }
