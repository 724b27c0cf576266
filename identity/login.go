package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	sessionLife   = 8 * time.Hour
	maxSessions   = 10_000
	maxQuestions  = 16 // that a session has open: pages in tabs
	sessionCookie = "callgate_session"
	browserCookie = "callgate_browser"
)

// sessions are the people who are logged in, by the hash of their cookie. They end
// with the process.
type sessions struct {
	now    func() time.Time
	secure bool // cookies go by https only
	key    [32]byte

	mu   sync.Mutex
	held map[string]*session
}

// A session is a person who is logged in.
type session struct {
	id    string // hash of its cookie
	user  string // user:ana
	epoch int64  // of the user then
	until time.Time
	asked map[string]string // what each token of a form was given for, by the token's hash
}

func newSessions(now func() time.Time, secure bool) *sessions {
	return &sessions{now: now, secure: secure, key: randomKey(), held: make(map[string]*session)}
}

func (s *sessions) cookie(name, value string, life time.Duration) *http.Cookie {
	c := &http.Cookie{Name: s.named(name), Value: value, Path: "/", HttpOnly: true, Secure: s.secure, SameSite: http.SameSiteLaxMode, MaxAge: int(life / time.Second)}
	if life < 0 {
		c.MaxAge = -1
	}
	return c
}

// named is the name of a cookie: one that no other host and no http page can set,
// where there is https.
func (s *sessions) named(name string) string {
	if s.secure {
		return "__Host-" + name
	}
	return name
}

// begin logs user in. The cookie is a new one, whatever the browser had.
func (s *sessions) begin(w http.ResponseWriter, r *http.Request, user string, epoch int64) {
	s.end(r)
	secret := secretText()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if len(s.held) >= maxSessions {
		for id, had := range s.held { // begins anywhere
			delete(s.held, id)
			if !had.until.Before(now) {
				break
			}
		}
	}
	id := hashed(secret)
	s.held[id] = &session{id: id, user: user, epoch: epoch, until: now.Add(sessionLife), asked: make(map[string]string)}
	http.SetCookie(w, s.cookie(sessionCookie, secret, sessionLife))
}

// of is the session that a request belongs to, nil if none.
func (s *sessions) of(r *http.Request) *session {
	c, err := r.Cookie(s.named(sessionCookie))
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := hashed(c.Value)
	one := s.held[id]
	if one != nil && !s.now().Before(one.until) {
		delete(s.held, id)
		return nil
	}
	return one
}

func (s *sessions) end(r *http.Request) {
	if c, err := r.Cookie(s.named(sessionCookie)); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.held, hashed(c.Value))
	}
}

// ask is a token for a form about what, which is good once.
func (s *sessions) ask(one *session, what string) string {
	token := secretText()
	s.mu.Lock()
	defer s.mu.Unlock()
	for old := range one.asked {
		if len(one.asked) < maxQuestions {
			break
		}
		delete(one.asked, old)
	}
	one.asked[hashed(token)] = hashed(what)
	return token
}

// answered says whether token was given for a form about what, and spends it.
func (s *sessions) answered(one *session, token, what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := hashed(token)
	was, ok := one.asked[id]
	delete(one.asked, id)
	return ok && was == hashed(what)
}

// browser is what the browser is known by before a person logs in, and is set where
// there is none.
func (s *sessions) browser(w http.ResponseWriter, r *http.Request) string {
	if c, err := r.Cookie(s.named(browserCookie)); err == nil && len(c.Value) == 43 {
		return c.Value
	}
	value := secretText()
	http.SetCookie(w, s.cookie(browserCookie, value, sessionLife))
	return value
}

// sign binds a form for login to a browser.
func (s *sessions) sign(browser, what string) string {
	m := hmac.New(sha256.New, s.key[:])
	m.Write([]byte(browser + "\n" + what))
	return hex.EncodeToString(m.Sum(nil))
}

func (s *sessions) signed(r *http.Request, what, token string) bool {
	c, err := r.Cookie(s.named(browserCookie))
	return err == nil && hmac.Equal([]byte(token), []byte(s.sign(c.Value, what)))
}

// who is the session of a request, if its user may still do anything.
func (a *Authority) who(r *http.Request) *session {
	one := a.front.sessions.of(r)
	if one == nil {
		return nil
	}
	if epoch, err := a.standing(one.user); err != nil || epoch != one.epoch {
		a.front.sessions.end(r)
		return nil
	}
	return one
}

// standing is the epoch of a user, 0 for one whom the registry does not know, and why
// nothing goes on for that user.
func (a *Authority) standing(user string) (int64, error) {
	if _, err := a.registry.Person(user); err != nil {
		return 0, err
	}
	u, _ := a.registry.User(user)
	return u.Epoch, nil
}

// goesOn is the address within callgate at which a person goes on after the login:
// one of two pages, whatever was asked for.
func goesOn(next string) string {
	path, query, _ := strings.Cut(next, "?")
	if path != authorizePath && path != devicePath || len(next) > maxQuery {
		return loginPath
	}
	if strings.ContainsFunc(query, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return loginPath
	}
	if query == "" {
		return path
	}
	return path + "?" + query
}

// login is GET /oauth/login: who is logged in, or how to.
func (a *Authority) login(w http.ResponseWriter, r *http.Request) {
	if one := a.who(r); one != nil {
		a.show(w, http.StatusOK, "welcome", page{Title: "You are logged in", User: one.user, Token: a.front.sessions.ask(one, logoutPath)})
		return
	}
	a.askLogin(w, r, http.StatusOK, loginPath, "")
}

// askLogin shows how to log in, and goes on at next.
func (a *Authority) askLogin(w http.ResponseWriter, r *http.Request, status int, next, wrong string) {
	s := a.front.sessions
	p := page{Title: "Log in", Next: next, Token: s.sign(s.browser(w, r), loginPath), Admin: a.front.cfg.Admin.Reveal() != "", Wrong: wrong}
	if a.front.provider != nil {
		p.Provider = hostOf(a.front.cfg.Provider.Issuer)
		if u, err := url.Parse(a.front.cfg.Provider.Issuer); err == nil {
			p.Provider = u.Host
		}
		p.Link = startPath + "?next=" + url.QueryEscape(next)
	}
	if _, query, _ := strings.Cut(next, "?"); query != "" { // after the login, a client on this machine may be told at once that it asks for what cannot be
		if q, err := url.ParseQuery(query); err == nil && checkRedirect(q.Get("redirect_uri")) == "" && isLocal(q["redirect_uri"]) {
			p.forms = onward(q.Get("redirect_uri"))
		}
	}
	a.show(w, status, "login", p)
}

// enter is POST /oauth/login: with the admin token.
func (a *Authority) enter(w http.ResponseWriter, r *http.Request) {
	next := goesOn(r.PostFormValue("next"))
	address, at := origin(r.RemoteAddr), a.cfg.Now()
	if wait := a.failures.wait(localAdmin, address, at); wait > 0 {
		a.askLogin(w, r, http.StatusTooManyRequests, next, "Too many wrong tries: wait a few seconds, then try again.")
		return
	}
	if !a.front.sessions.signed(r, loginPath, r.PostFormValue("token")) {
		a.refused(r, "login.refused", localAdmin, "a form that this browser was not given")
		a.askLogin(w, r, http.StatusForbidden, next, "This page was too old. Try again.")
		return
	}
	want := a.front.cfg.Admin.Hash()
	given := sum(strings.TrimSpace(r.PostFormValue("password")))
	if subtle.ConstantTimeCompare(given, orZeros(want)) != 1 {
		a.failures.note(localAdmin, address, at)
		a.refused(r, "login.refused", localAdmin, "wrong admin token")
		a.askLogin(w, r, http.StatusForbidden, next, "That is not the admin token.")
		return
	}
	epoch, err := a.standing(localAdmin)
	if err != nil {
		a.refused(r, "login.refused", localAdmin, err.Error())
		a.askLogin(w, r, http.StatusForbidden, next, "The user admin is not active.")
		return
	}
	a.loggedIn(w, r, localAdmin, epoch, next, "with the admin token")
}

// loggedIn begins the session of a person who has shown who that is.
func (a *Authority) loggedIn(w http.ResponseWriter, r *http.Request, user string, epoch int64, next, how string) {
	if err := a.cfg.Record("login.done", user, user, how+", from "+origin(r.RemoteAddr)); err != nil {
		a.broke(w, r, err)
		return
	}
	a.front.sessions.begin(w, r, user, epoch)
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, next, http.StatusSeeOther)
}

// logout is POST /oauth/logout.
func (a *Authority) logout(w http.ResponseWriter, r *http.Request) {
	one := a.who(r)
	if one != nil && !a.front.sessions.answered(one, r.PostFormValue("token"), logoutPath) {
		a.refused(r, "login.refused", one.user, "a logout by a form that this browser was not given")
		a.show(w, http.StatusForbidden, "sorry", page{Title: "Not logged out", Text: "This page was too old. Open /oauth/login and try again."})
		return
	}
	a.front.sessions.end(r)
	http.SetCookie(w, a.front.sessions.cookie(sessionCookie, "", -1))
	if one != nil {
		_ = a.cfg.Record("login.ended", one.user, one.user, "from "+origin(r.RemoteAddr)) // it is ended in any case
	}
	http.Redirect(w, r, loginPath, http.StatusSeeOther)
}
