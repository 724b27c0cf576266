package mcp_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/firewall"
	"callgate/identity"
	"callgate/mcp"

	"github.com/google/go-cmp/cmp"
)

// reasonOf is what the agent is told.
func reasonOf(err error) string {
	var e *firewall.Error
	if !errors.As(err, &e) {
		return ""
	}
	return e.Code.String() + ": " + e.Reason
}

func TestALoginOpensAServer(t *testing.T) {
	for _, modern := range []bool{true, false} {
		l := newLock(t, newWeb(modern, false))
		s := newSafe(t, l, new(mcp.MemoryTokens))
		to := s.behind(t, l)
		_, _, err := call(t.Context(), to, "ana", `{"name":"echo"}`)
		if want := "unavailable: server files needs a login: an operator runs callgate mcp login files"; reasonOf(err) != want {
			t.Fatalf("before the login: %v, want %s", err, want)
		}
		done := s.login(t, l, to, "", "ana@example.com", "extra")
		if diff := cmp.Diff([]string{"extra", "tools"}, done.Scopes); diff != "" {
			t.Error(diff)
		}
		if _, _, err = call(t.Context(), to, "ana", `{"name":"echo"}`); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"ana@example.com"}, l.Users()); diff != "" {
			t.Error(diff)
		}
		for _, form := range l.Asked {
			if form.Get("resource") != l.URL+"/mcp" {
				t.Errorf("the token endpoint was asked for the resource %q", form.Get("resource"))
			}
		}
		if !s.recorded("mcp.login | admin | mcp:files | gate at " + l.Issuer) {
			t.Errorf("on record: %q", s.record)
		}

		// a gate that starts again goes on with what is stored
		again := newSafe(t, l, s.store)
		if _, _, err = call(t.Context(), again.behind(t, l), "bob", `{"name":"echo"}`); err != nil {
			t.Fatal(err)
		}

		// but not at another URL, for another client, or in another server's name
		for name, set := range map[string]func(*mcp.ServerConfig){
			"url":    func(c *mcp.ServerConfig) { c.URL = l.URL + "/mcp/" },
			"client": func(c *mcp.ServerConfig) { c.OAuth.ClientID = "other" },
			"name":   func(c *mcp.ServerConfig) { c.Name = "others" },
		} {
			before := len(l.Users())
			other := newServer(t, func(c *mcp.ServerConfig) {
				c.URL, c.OAuth = l.URL+"/mcp", &mcp.OAuthConfig{Vault: again.Vault}
				set(c)
			})
			if _, _, err := call(t.Context(), other, "bob", `{"name":"echo"}`); !strings.Contains(reasonOf(err), "needs a login") || len(l.Users()) != before {
				t.Errorf("another %s: %v", name, err)
			}
		}

		if n, err := to.EndLogin(t.Context(), ""); n != 1 || err != nil {
			t.Fatalf("ended %d: %v", n, err)
		}
		if _, _, err = call(t.Context(), to, "ana", `{"name":"echo"}`); !strings.Contains(reasonOf(err), "needs a login") {
			t.Errorf("after the logout: %v", err)
		}
		if len(l.Revoked) != 1 || l.Refresh[l.Revoked[0]] == nil {
			t.Errorf("revoked there: %q", l.Revoked)
		}
		if kept, _ := s.store.Tokens(t.Context()); len(kept) != 1 { // the registration
			t.Errorf("left in the store: %v", kept)
		}
	}
}

func TestWhatTheBrowserBringsIsNotBelieved(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(l *lock, q url.Values)
		want   string // "" is no login that the answer belongs to
	}{
		{"the code of another authorization server", func(l *lock, q url.Values) { q.Set("iss", "https://evil.example") }, "comes from another authorization server"},
		{"an issuer that is nearly the right one", func(l *lock, q url.Values) { q.Set("iss", l.Issuer+"/") }, "comes from another authorization server"},
		{"no issuer, where one was promised", func(l *lock, q url.Values) { q.Del("iss") }, "does not say which authorization server"},
		{"an error of another authorization server", func(l *lock, q url.Values) {
			q.Set("iss", "https://evil.example")
			q.Set("error", "access_denied")
		}, "comes from another authorization server"},
		{"an error without its issuer", func(l *lock, q url.Values) { q.Del("iss"); q.Set("error", "access_denied") }, "does not say which authorization server"},
		{"an error", func(l *lock, q url.Values) { q.Set("error", "access_denied") }, "answered access_denied"},
		{"an error in words of its own", func(l *lock, q url.Values) { q.Set("error", "<script>") }, "answered an error"},
		{"no code", func(l *lock, q url.Values) { q.Del("code") }, "has no code"},
		{"a code that was never given", func(l *lock, q url.Values) { q.Set("code", "x") }, "invalid_grant"},
		{"two codes", func(l *lock, q url.Values) { q.Add("code", "x") }, "says something twice"},
		{"no state", func(l *lock, q url.Values) { q.Del("state") }, ""},
		{"two states", func(l *lock, q url.Values) { q.Add("state", q.Get("state")) }, ""},
		{"the state of nobody", func(l *lock, q url.Values) { q.Set("state", "A.B") }, ""},
		{"half of the state", func(l *lock, q url.Values) { q.Set("state", strings.Split(q.Get("state"), ".")[0]+".") }, ""},
		{"a state that came too late", func(l *lock, q url.Values) { l.clock.pass(11 * time.Minute) }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLock(t, newWeb(true, false))
			s := newSafe(t, l, new(mcp.MemoryTokens))
			to := s.behind(t, l)
			l.Answer = func(q url.Values) { test.answer(l, q) }
			begun, err := to.BeginLogin(t.Context(), "", nil)
			if err != nil {
				t.Fatal(err)
			}
			code, page := s.visit(t, l.consent(t, begun.URL, "ana"))
			if code != http.StatusBadRequest || strings.Contains(page, "<script>") || strings.Contains(page, "<b>") {
				t.Errorf("HTTP %d: %s", code, page)
			}
			if test.want == "" {
				if !s.recorded("mcp.login.refused | unknown") || !strings.Contains(page, "no login is under way") {
					t.Errorf("page %s, on record %q", page, s.record)
				}
				return
			}
			if over, _ := s.Login(t.Context(), begun.ID); over.State != mcp.LoginFailed || !strings.Contains(over.Reason, test.want) || over.URL != "" {
				t.Errorf("%+v, want %q", over, test.want)
			}
			if !s.recorded("mcp.login.refused | admin | mcp:files") {
				t.Errorf("on record %q", s.record)
			}
			if n := l.Count("authorization_code"); n != 0 && test.want != "invalid_grant" {
				t.Error("the code went to the token endpoint")
			}
			if _, _, err := call(t.Context(), to, "ana", `{"name":"echo"}`); !strings.Contains(reasonOf(err), "needs a login") {
				t.Errorf("after it: %v", err)
			}
		})
	}
}

func TestAnAnswerCountsOnce(t *testing.T) {
	l := newLock(t, newWeb(true, false))
	s := newSafe(t, l, new(mcp.MemoryTokens))
	begun, err := s.behind(t, l).BeginLogin(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	back := l.consent(t, begun.URL, "ana")
	var all sync.WaitGroup
	codes := make([]int, 8)
	for i := range codes {
		all.Go(func() { codes[i], _ = s.visit(t, back) })
	}
	all.Wait()
	good := 0
	for _, code := range codes {
		if code == 200 {
			good++
		}
	}
	if n := l.Count("authorization_code"); good != 1 || n != 1 {
		t.Errorf("taken %d times, exchanged %d times", good, n)
	}
}

func TestAnAuthorizationServerMustBeWhatItSays(t *testing.T) {
	for _, test := range []struct {
		name string
		set  func(*lock)
		want string
	}{
		{"metadata of another issuer", func(l *lock) { l.Metadata["issuer"] = l.URL }, "it says that it is"},
		{"an issuer with a slash more", func(l *lock) { l.Metadata["issuer"] = l.Issuer + "/" }, "it says that it is"},
		{"no PKCE", func(l *lock) { l.Metadata["code_challenge_methods_supported"] = nil }, "PKCE"},
		{"PKCE in clear", func(l *lock) { l.Metadata["code_challenge_methods_supported"] = []string{"plain"} }, "PKCE"},
		{"a token endpoint without TLS", func(l *lock) { l.Metadata["token_endpoint"] = "http://tokens.example/token" }, "is not https"},
		{"an authorization endpoint for a program", func(l *lock) { l.Metadata["authorization_endpoint"] = "javascript:alert(1)" }, "is not a URL"},
		{"an authorization endpoint with a line break", func(l *lock) { l.Metadata["authorization_endpoint"] = "https://a.example/\n$(id)" }, "is not a URL"},
		{"a file", func(l *lock) { l.Resource["authorization_servers"] = []string{"file:///etc/passwd"} }, "is not a URL"},
		{"the metadata service of a cloud", func(l *lock) { l.Resource["authorization_servers"] = []string{"https://169.254.169.254"} }, "not an address of the internet"},
		{"the same, as IPv6", func(l *lock) {
			l.Resource["authorization_servers"] = []string{"https://[::ffff:169.254.169.254]"}
		}, "not an address of the internet"},
		{"the same, as NAT64", func(l *lock) {
			l.Resource["authorization_servers"] = []string{"https://[64:ff9b::169.254.169.254]"}
		}, "not an address of the internet"},
		{"metadata of another resource", func(l *lock) { l.Resource["resource"] = "https://bank.example/mcp" }, "another resource"},
		{"metadata of another path", func(l *lock) { l.Resource["resource"] = l.URL + "/mc" }, "another resource"},
		{"no authorization server", func(l *lock) { l.Resource["authorization_servers"] = nil }, "names no authorization server"},
		{"no way to register", func(l *lock) { l.Metadata["registration_endpoint"] = nil }, "write oauth.client_id"},
		{"an endless document", func(l *lock) { l.Metadata["x"] = strings.Repeat("x", 2<<20) }, "larger than callgate takes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLock(t, newWeb(true, false))
			s := newSafe(t, l, new(mcp.MemoryTokens))
			test.set(l)
			_, err := s.behind(t, l).BeginLogin(t.Context(), "", nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestRedirectsOfAuthorizationServersAreNotFollowed(t *testing.T) {
	l := newLock(t, newWeb(true, false))
	s := newSafe(t, l, new(mcp.MemoryTokens))
	led := false
	turn := overHandler(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/led" {
			led = true
		}
		http.Redirect(w, r, "/led", http.StatusFound)
	})
	l.Resource["authorization_servers"] = []string{turn}
	_, err := s.behind(t, l).BeginLogin(t.Context(), "", nil)
	if err == nil || led || !strings.Contains(err.Error(), "HTTP 302") {
		t.Errorf("followed %v: %v", led, err)
	}
}

func TestAnotherAuthorizationServerIsNotTakenInSilence(t *testing.T) {
	l := newLock(t, newWeb(true, false))
	s := newSafe(t, l, new(mcp.MemoryTokens))
	to := s.behind(t, l)
	s.login(t, l, to, "", "ana")
	evil := newLock(t, http.NotFoundHandler())
	evil.Resource["authorization_servers"] = []string{evil.Issuer}
	l.Lock()
	l.Resource["authorization_servers"] = []string{evil.Issuer}
	l.Unlock()
	for name, to := range map[string]*mcp.Server{
		"as it was used": to,
		"as it is configured": newSafe(t, l, new(mcp.MemoryTokens)).behind(t, l, func(c *mcp.OAuthConfig) {
			c.Issuer = l.Issuer
		}),
	} {
		if _, err := to.BeginLogin(t.Context(), "", nil); err == nil || !strings.Contains(err.Error(), "mcp logout files") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// what there is goes on with the authorization server that gave it
	l.clock.pass(2 * time.Hour)
	if _, _, err := call(t.Context(), to, "ana", `{"name":"echo"}`); err != nil {
		t.Error(err)
	}
	if len(evil.Seen) != 0 {
		t.Errorf("the other one was asked: %q", evil.Seen)
	}
	if _, err := to.EndLogin(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	begun, err := to.BeginLogin(t.Context(), "", nil)
	if err != nil || begun.Issuer != evil.Issuer {
		t.Errorf("after the logout: %+v %v", begun, err)
	}
	if len(evil.Clients) != 1 {
		t.Error("callgate did not register anew")
	}
}

func TestATokenIsForItsHolderAlone(t *testing.T) {
	for _, modern := range []bool{true, false} {
		l := newLock(t, newWeb(modern, false))
		s := newSafe(t, l, new(mcp.MemoryTokens))
		to := s.behind(t, l, per(mcp.PerAgent))
		s.login(t, l, to, "agent:ana", "ana@example.com")
		if _, _, err := call(t.Context(), to, "bob", `{"name":"echo"}`); reasonOf(err) != "unavailable: server files needs a login: an operator runs callgate mcp login files --agent bob" {
			t.Errorf("bob: %v", err)
		}
		if users := l.Users(); len(users) != 0 {
			t.Errorf("a token of %q was used for bob", users)
		}
		if _, _, err := call(t.Context(), to, "ana", `{"name":"echo"}`); err != nil {
			t.Fatal(err)
		}
		if _, _, err := call(t.Context(), to, "bob", `{"name":"echo"}`); !strings.Contains(reasonOf(err), "--agent bob") {
			t.Errorf("bob, when the server is known: %v", err)
		}
		s.login(t, l, to, "agent:bob", "bob@example.com")
		before := len(l.Reached)
		if _, _, err := call(t.Context(), to, "bob", `{"name":"echo"}`); err != nil {
			t.Fatal(err)
		}
		for _, r := range l.Reached[before:] {
			if r.Method != http.MethodPost { // a session of ana's may end meanwhile, by her own token
				continue
			}
			if user := l.Tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")].User; user != "bob@example.com" {
				t.Errorf("bob's request had a token of %s", user)
			}
		}
		if _, err := to.BeginLogin(t.Context(), "user:ana", nil); err == nil {
			t.Error("a login of a user was begun where agents have them")
		}
	}
}

func TestAUsersTokenIsForWhoActsForThem(t *testing.T) {
	l := newLock(t, newWeb(true, false))
	s := newSafe(t, l, new(mcp.MemoryTokens))
	to := s.behind(t, l, per(mcp.PerUser))
	s.login(t, l, to, "user:ana", "ana@example.com")
	for _, test := range []struct {
		name string
		who  identity.Principal
		want string
	}{
		{"her own agent", identity.Principal{Subject: "agent:bot", Owner: "user:ana"}, ""},
		{"an agent on her behalf", identity.Principal{Subject: "user:ana", Actors: []string{"agent:bot"}, Owner: "user:eve"}, ""},
		{"an agent on another's behalf", identity.Principal{Subject: "user:bob", Actors: []string{"agent:bot"}, Owner: "user:ana"}, "--user bob"},
		{"another's agent", identity.Principal{Subject: "agent:bot", Owner: "user:eve"}, "--user eve"},
		{"a group's agent", identity.Principal{Subject: "agent:bot", Owner: "group:ana"}, "give it an owner, user:NAME"},
		{"nobody's agent", identity.Principal{Subject: "agent:ana"}, "give it an owner, user:NAME"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(l.Reached)
			var err error
			for _, e := range to.Do(t.Context(), &mcp.Client{Principal: test.who}, mcp.Request{Method: "tools/call", Params: []byte(`{"name":"echo"}`)}) {
				err = e
			}
			if test.want == "" && (err != nil || len(l.Reached) == before) || test.want != "" && (!strings.Contains(reasonOf(err), test.want) || len(l.Reached) > before) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestATokenIsRenewedOnce(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(*lock)
	}{
		{"when its time is over", func(l *lock) { l.clock.pass(time.Hour) }},
		{"when the server does not take it any more", func(l *lock) { l.clock.pass(time.Minute); l.Expire() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLock(t, newWeb(true, false))
			s := newSafe(t, l, new(mcp.MemoryTokens))
			to := s.behind(t, l)
			s.login(t, l, to, "", "ana")
			if _, _, err := call(t.Context(), to, "ana", `{"name":"plain"}`); err != nil {
				t.Fatal(err)
			}
			test.end(l)
			var all sync.WaitGroup
			for range 16 {
				all.Go(func() {
					if _, _, err := call(t.Context(), to, "ana", `{"name":"plain"}`); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if n := l.Count("refresh_token"); n != 1 { // a second one would present a token that was used
				t.Errorf("renewed %d times", n)
			}
			if _, _, err := call(t.Context(), newSafe(t, l, s.store).behind(t, l), "ana", `{"name":"plain"}`); err != nil {
				t.Errorf("what was stored is not the new one: %v", err)
			}
			if n := l.Count("refresh_token"); n != 1 {
				t.Errorf("renewed %d times after a restart", n)
			}
		})
	}
}

func TestWhoHangsUpLosesNoToken(t *testing.T) {
	l := newLock(t, newWeb(true, false))
	s := newSafe(t, l, new(mcp.MemoryTokens))
	to := s.behind(t, l)
	s.login(t, l, to, "", "ana")
	l.clock.pass(time.Hour)
	l.Lock()
	l.Slow = make(chan struct{})
	slow := l.Slow
	l.Unlock()
	ctx, hangUp := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, _, err := call(ctx, to, "ana", `{"name":"plain"}`)
		ended <- err
	}()
	<-l.Waiting
	hangUp()
	if err := <-ended; err == nil {
		t.Error("it did not hang up")
	}
	close(slow)
	l.Lock()
	l.Slow = nil
	l.Unlock()
	if _, _, err := call(t.Context(), to, "ana", `{"name":"plain"}`); err != nil || l.Count("refresh_token") != 1 {
		t.Errorf("renewed %d times: %v", l.Count("refresh_token"), err)
	}
}

func TestALoginThatWasRevokedIsOver(t *testing.T) {
	l := newLock(t, newWeb(true, false))
	s := newSafe(t, l, new(mcp.MemoryTokens))
	to := s.behind(t, l)
	s.login(t, l, to, "", "ana")
	l.Lock()
	clear(l.Refresh)
	l.Unlock()
	l.clock.pass(time.Hour)
	for range 3 {
		if _, _, err := call(t.Context(), to, "ana", `{"name":"plain"}`); reasonOf(err) != "unavailable: server files needs a login: an operator runs callgate mcp login files" {
			t.Errorf("%v", err)
		}
	}
	if n := l.Count("refresh_token"); n != 1 {
		t.Errorf("tried %d times", n)
	}
	if kept, _ := s.store.Tokens(t.Context()); len(kept) != 2 || !s.recorded("mcp.login.ended | system | mcp:files") {
		t.Errorf("left in the store: %v; on record: %q", kept, s.record)
	}
}

func TestAnAuthorizationServerThatIsAwayEndsNoLogin(t *testing.T) {
	l := newLock(t, newWeb(true, false))
	s := newSafe(t, l, new(mcp.MemoryTokens))
	to := s.behind(t, l)
	s.login(t, l, to, "", "ana")
	l.Lock()
	l.Metadata["token_endpoint"] = l.URL + "/gone"
	l.Unlock()
	l.clock.pass(time.Hour - 20*time.Second) // time to renew, and not over
	if _, _, err := call(t.Context(), to, "ana", `{"name":"plain"}`); err != nil {
		t.Errorf("while the token lives: %v", err)
	}
	l.clock.pass(time.Minute)
	if _, _, err := call(t.Context(), to, "ana", `{"name":"plain"}`); !strings.Contains(reasonOf(err), "did not renew") {
		t.Errorf("when it is over: %v", err)
	}
	l.Lock()
	delete(l.Metadata, "token_endpoint")
	l.Unlock()
	l.clock.pass(time.Hour) // for what the server said of itself to be old
	if _, _, err := call(t.Context(), to, "ana", `{"name":"plain"}`); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}

func TestMoreScopesNeedAPerson(t *testing.T) {
	l := newLock(t, newWeb(true, false))
	s := newSafe(t, l, new(mcp.MemoryTokens))
	to := s.behind(t, l)
	s.login(t, l, to, "", "ana")
	l.Lock()
	l.Scopes = []string{"tools", "admin:write"}
	l.Unlock()
	_, _, err := call(t.Context(), to, "ana", `{"name":"plain"}`)
	if want := "unavailable: server files wants more scopes for this: an operator runs callgate mcp login files --scope admin:write --scope tools"; reasonOf(err) != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	if l.Count("refresh_token") != 0 {
		t.Error("it was tried without a person")
	}
	if done := s.login(t, l, to, "", "ana"); strings.Join(done.Scopes, " ") != "admin:write tools" { // remembered, as was what it had
		t.Errorf("scopes %q", done.Scopes)
	}
	if _, _, err := call(t.Context(), to, "ana", `{"name":"plain"}`); err != nil {
		t.Error(err)
	}
}

func TestCallgateLogsInItself(t *testing.T) {
	for _, test := range []struct {
		name   string
		grant  string
		secret bool
		want   func(t *testing.T, l *lock, form url.Values, h http.Header)
	}{
		{"with a secret", mcp.GrantClient, true, func(t *testing.T, l *lock, form url.Values, h http.Header) {
			r := http.Request{Header: h}
			if id, secret, _ := r.BasicAuth(); id != "us" || secret != "s%3A%2B1" {
				t.Errorf("authenticated as %q %q", id, secret)
			}
		}},
		{"by its signature", mcp.GrantClient, false, func(t *testing.T, l *lock, form url.Values, h http.Header) {
			if form.Get("client_assertion") != "word.us.us."+l.Issuer || form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
				t.Errorf("authenticated by %q", form)
			}
		}},
		{"for an agent", mcp.GrantExchange, true, func(t *testing.T, l *lock, form url.Values, h http.Header) {
			if form.Get("subject_token") != "word."+publicURL+".agent:ana."+l.Issuer || form.Get("subject_token_type") != "urn:ietf:params:oauth:token-type:jwt" {
				t.Errorf("vouched by %q", form)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLock(t, newWeb(true, false))
			l.Clients["us"] = map[string]any{"client_secret": "s:+1"}
			s := newSafe(t, l, new(mcp.MemoryTokens))
			to := s.behind(t, l, func(c *mcp.OAuthConfig) {
				c.Grant, c.ClientID, c.Issuer = test.grant, "us", l.Issuer
				if test.secret {
					c.ClientSecret = token("s:+1")
				}
				if test.grant == mcp.GrantExchange {
					c.Per = mcp.PerAgent
				}
			})
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					if _, _, err := call(t.Context(), to, "ana", `{"name":"plain"}`); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if len(l.Asked) != 1 {
				t.Fatalf("asked %d times", len(l.Asked))
			}
			test.want(t, l, l.Asked[0], l.AskedBy[0])
			if l.Asked[0].Get("resource") != l.URL+"/mcp" || l.Asked[0].Get("scope") != "tools" {
				t.Errorf("asked for %q", l.Asked[0])
			}

			l.Lock()
			l.Scopes = []string{"write"}
			l.Unlock()
			if _, _, err := call(t.Context(), to, "ana", `{"name":"plain"}`); err != nil {
				t.Errorf("more scopes: %v", err)
			}
			if kept, _ := s.store.Tokens(t.Context()); len(kept) != 0 {
				t.Errorf("stored: %v", kept)
			}
			if _, err := to.BeginLogin(t.Context(), "", nil); err == nil {
				t.Error("a person may log in")
			}
		})
	}
}

func TestAServerThatTakesNoTokenIsAskedTwice(t *testing.T) {
	l := newLock(t, newWeb(true, false))
	s := newSafe(t, l, new(mcp.MemoryTokens))
	to := s.behind(t, l)
	s.login(t, l, to, "", "ana")
	if _, _, err := call(t.Context(), to, "ana", `{"name":"plain"}`); err != nil {
		t.Fatal(err)
	}
	l.clock.pass(time.Minute)
	l.Lock()
	l.TTL = -time.Hour // what it gives is over already
	l.Unlock()
	l.Expire()
	seen := len(l.Seen)
	_, _, err := call(t.Context(), to, "ana", `{"name":"plain"}`)
	if !strings.Contains(reasonOf(err), "does not take callgate's token: an operator runs callgate mcp login files") {
		t.Errorf("%v", err)
	}
	posts := 0
	for _, r := range l.Seen[seen:] {
		if strings.HasPrefix(r, "/mcp\n") {
			posts++
		}
	}
	if posts != 2 || l.Count("refresh_token") != 1 {
		t.Errorf("asked %d times, renewed %d times", posts, l.Count("refresh_token"))
	}
}

func TestOAuthConfigSaysWhatIsWrong(t *testing.T) {
	for _, test := range []struct {
		name string
		url  string
		cfg  mcp.OAuthConfig
		head map[string]identity.Credential
		want string
	}{
		{"nothing but that it is wanted", "https://a.example/mcp", mcp.OAuthConfig{}, nil, ""},
		{"an unknown grant", "https://a.example/mcp", mcp.OAuthConfig{Grant: "password"}, nil, `oauth: grant "password": use authorization_code, client_credentials or token_exchange`},
		{"credentials per agent", "https://a.example/mcp", mcp.OAuthConfig{Grant: mcp.GrantClient, Per: mcp.PerAgent, ClientID: "a", Issuer: "https://b.example"}, nil, "oauth: client_credentials are callgate's own, so per must be gate"},
		{"a secret for anybody", "https://a.example/mcp", mcp.OAuthConfig{ClientID: "a", ClientSecret: token("s")}, nil, "oauth: write the issuer that the credentials are for, so that the server cannot have them sent elsewhere"},
		{"a word for anybody", "https://a.example/mcp", mcp.OAuthConfig{Grant: mcp.GrantExchange, ClientID: "a"}, nil, "oauth: write the issuer that the credentials are for, so that the server cannot have them sent elsewhere"},
		{"no client", "https://a.example/mcp", mcp.OAuthConfig{Grant: mcp.GrantClient, Issuer: "https://b.example"}, nil, "oauth: client_credentials needs a client_id"},
		{"an issuer without TLS", "https://a.example/mcp", mcp.OAuthConfig{Issuer: "http://b.example"}, nil, `oauth: issuer "http://b.example": want https://host/path, exactly as the authorization server calls itself`},
		{"a server without TLS", "http://a.example/mcp", mcp.OAuthConfig{}, nil, "oauth: tokens are sent by https alone, or on this machine"},
		{"a header besides", "https://a.example/mcp", mcp.OAuthConfig{}, map[string]identity.Credential{"authorization": token("x")}, "give either oauth or a header Authorization"},
		{"a scope that is two", "https://a.example/mcp", mcp.OAuthConfig{Scopes: []string{"a b"}}, nil, `oauth: "a b" cannot be a scope`},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := mcp.ServerConfig{Name: "a", URL: test.url, OAuth: &test.cfg, Headers: test.head}.Check()
			if got := ""; err != nil {
				if got = err.Error(); got != test.want {
					t.Errorf("%q, want %q", got, test.want)
				}
			} else if test.want != "" {
				t.Errorf("taken, want %q", test.want)
			}
		})
	}
}

func overHandler(t testing.TB, f http.HandlerFunc) string {
	ts := httptest.NewServer(f)
	t.Cleanup(ts.Close)
	return ts.URL
}

// TestCallgateIsKnownAsTheAuthorizationServerTakesIt: by its document, by
// registering, or not at all.
func TestCallgateIsKnownAsTheAuthorizationServerTakesIt(t *testing.T) {
	for _, test := range []struct {
		name, public string
		set          func(*lock)
		want         string // client_id, "" for a registered one
		method       string // that it registered with
	}{
		{"by its document", "https://gate.example", func(l *lock) { l.Metadata["client_id_metadata_document_supported"] = true }, "https://gate.example/oauth/client-metadata.json", ""},
		{"registered, where the document would not be https", publicURL, func(l *lock) { l.Metadata["client_id_metadata_document_supported"] = true }, "", "client_secret_basic"},
		{"registered, with a secret in the body", publicURL, func(l *lock) {
			l.Metadata["token_endpoint_auth_methods_supported"] = []string{"none", "client_secret_post"}
		}, "", "client_secret_post"},
		{"registered, without a secret", publicURL, func(l *lock) { l.Metadata["token_endpoint_auth_methods_supported"] = []string{"none"} }, "", "none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLock(t, newWeb(true, false))
			test.set(l)
			v, err := mcp.OpenVault(t.Context(), mcp.VaultConfig{PublicURL: test.public, Store: new(mcp.MemoryTokens), Now: l.clock.now, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(v.Close)
			begun, err := (&safe{Vault: v}).behind(t, l).BeginLogin(t.Context(), "", nil)
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(begun.URL)
			if err != nil {
				t.Fatal(err)
			}
			q := u.Query()
			if q.Get("redirect_uri") != test.public+"/oauth/callback" || q.Get("resource") != l.URL+"/mcp" {
				t.Errorf("asked for %q", q)
			}
			if test.want != "" {
				if q.Get("client_id") != test.want || len(l.Clients) != 0 {
					t.Errorf("client_id %q, registered %v", q.Get("client_id"), l.Clients)
				}
				return
			}
			c := l.Clients[q.Get("client_id")]
			if c == nil || c["token_endpoint_auth_method"] != test.method || c["application_type"] != "native" {
				t.Errorf("client_id %q, registered %v", q.Get("client_id"), c)
			}
		})
	}
}

// TestAGateThatMovedRenewsWhatItHas: a registration leads back to where the gate
// was, and still renews the tokens that it got.
func TestAGateThatMovedRenewsWhatItHas(t *testing.T) {
	l := newLock(t, newWeb(true, false))
	s := newSafe(t, l, new(mcp.MemoryTokens))
	s.login(t, l, s.behind(t, l, per(mcp.PerAgent)), "agent:ana", "ana")
	moved, err := mcp.OpenVault(t.Context(), mcp.VaultConfig{PublicURL: "http://127.0.0.1:9999", Store: s.store, Now: l.clock.now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(moved.Close)
	to := (&safe{Vault: moved}).behind(t, l, per(mcp.PerAgent))
	if _, err := to.BeginLogin(t.Context(), "agent:bob", nil); err != nil || len(l.Clients) != 2 {
		t.Errorf("registered %d times: %v", len(l.Clients), err)
	}
	l.clock.pass(2 * time.Hour)
	if _, _, err := call(t.Context(), to, "ana", `{"name":"plain"}`); err != nil {
		t.Error(err)
	}
}

// TestWhatIsStoredIsForItsPlace: who can write the store cannot give one holder's
// token to another.
func TestWhatIsStoredIsForItsPlace(t *testing.T) {
	l := newLock(t, newWeb(true, false))
	s := newSafe(t, l, new(mcp.MemoryTokens))
	s.login(t, l, s.behind(t, l, per(mcp.PerAgent)), "agent:ana", "ana")
	kept, err := s.store.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range kept {
		if strings.HasSuffix(name, "agent:ana") {
			if err := s.store.PutToken(t.Context(), strings.Replace(name, "agent:ana", "agent:eve", 1), value); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := mcp.OpenVault(t.Context(), mcp.VaultConfig{PublicURL: publicURL, Store: s.store, Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "it is another's") {
		t.Errorf("taken: %v", err)
	}
}

// TestALogoutWhileTheTokenIsRenewedStands: what a person has done is not undone
// by what was under way.
func TestALogoutWhileTheTokenIsRenewedStands(t *testing.T) {
	l := newLock(t, newWeb(true, false))
	s := newSafe(t, l, new(mcp.MemoryTokens))
	to := s.behind(t, l)
	s.login(t, l, to, "", "ana")
	l.Metadata["revocation_endpoint"] = nil
	l.clock.pass(time.Hour)
	slow := make(chan struct{})
	l.Lock()
	l.Slow = slow
	l.Unlock()
	ended := make(chan error)
	go func() {
		_, _, err := call(t.Context(), to, "ana", `{"name":"plain"}`)
		ended <- err
	}()
	<-l.Waiting
	if n, err := to.EndLogin(t.Context(), ""); n != 1 || err != nil {
		t.Errorf("ended %d: %v", n, err)
	}
	close(slow)
	if err := <-ended; err == nil {
		t.Error("the call went on")
	}
	if kept, _ := s.store.Tokens(t.Context()); len(kept) != 1 || len(s.Logins()) != 0 {
		t.Errorf("left: %v, %v", kept, s.Logins())
	}
}

// TestWantOfATokenIsNoFaultOfTheServer: who has no login, or too narrow a one, does
// not have the server left alone for the others.
func TestWantOfATokenIsNoFaultOfTheServer(t *testing.T) {
	l := newLock(t, newWeb(true, false))
	s := newSafe(t, l, new(mcp.MemoryTokens))
	to := s.behind(t, l, per(mcp.PerAgent))
	s.login(t, l, to, "agent:ana", "ana")
	for range 20 {
		if _, _, err := call(t.Context(), to, "bob", `{"name":"plain"}`); !strings.Contains(reasonOf(err), "needs a login") {
			t.Fatal(err)
		}
	}
	if _, _, err := call(t.Context(), to, "ana", `{"name":"plain"}`); err != nil {
		t.Error(err)
	}
	l.Lock()
	l.Scopes = []string{"more"}
	l.Unlock()
	for range 20 {
		if _, _, err := call(t.Context(), to, "ana", `{"name":"plain"}`); !strings.Contains(reasonOf(err), "wants more scopes") {
			t.Fatal(err)
		}
	}
	l.Lock()
	l.Scopes = nil
	l.Unlock()
	if _, _, err := call(t.Context(), to, "ana", `{"name":"plain"}`); err != nil {
		t.Error(err)
	}
}
