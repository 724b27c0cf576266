package mcp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"callgate/firewall"
)

const (
	callbackPath = "/oauth/callback"
	documentPath = "/oauth/client-metadata.json"

	loginTime = 10 * time.Minute // for a person to log in
	maxLogins = 64               // under way at once
)

// A Login is a login at a server, under way or over.
type Login struct {
	ID      string
	URL     string // where the person logs in; "" when it is over
	Server  string
	Holder  string // whose token it brings: gate, agent:<name> or user:<name>
	Issuer  string
	Scopes  []string // that are asked for, or were granted
	State   string   // LoginWaiting, LoginDone or LoginFailed
	Reason  string   // why it failed
	Expires time.Time
}

// What [Login].State may be.
const (
	LoginWaiting = "waiting"
	LoginDone    = "done"
	LoginFailed  = "failed"
)

// A login is one under way, with what only callgate may know of it.
type login struct {
	Login        // guarded by Vault.mu
	taken   bool // the person came back; guarded by Vault.mu
	over    chan struct{}
	o       *oauth
	account *account
	secret  string // second half of the state
	proof   string // PKCE
	as      *authServer
	client  *registration
	needs   *needs
}

// BeginLogin begins a login at s, which must get its tokens by [GrantCode]. Whose
// it is is "", for callgate itself, agent:<name> or user:<name>, as the server's
// logins are. scopes are asked for besides those that the server needs. The error
// is a [*firewall.Error] whose cause an operator may see.
func (s *Server) BeginLogin(ctx context.Context, holder string, scopes []string) (Login, error) {
	w, _ := s.wire.(*httpWire)
	if w == nil || w.oauth == nil || w.oauth.cfg.grant() != GrantCode {
		return Login{}, firewall.Refuse(firewall.Invalid, "server %s takes no login: it has no oauth, or not by authorization_code", s.cfg.Name)
	}
	o := w.oauth
	holder, err := o.holds(holder)
	if err != nil {
		return Login{}, err
	}
	for _, scope := range scopes {
		if !isScope(scope) {
			return Login{}, firewall.Refuse(firewall.Invalid, "%.100q cannot be a scope", scope)
		}
	}
	l, err := o.begin(ctx, holder, scopes)
	if err != nil {
		return Login{}, o.unavailable("cannot be logged in to", err)
	}
	return o.vault.enter(l)
}

// holds is the holder that name stands for, if the server's logins are such.
func (o *oauth) holds(name string) (string, error) {
	agent, user := strings.HasPrefix(name, "agent:"), strings.HasPrefix(name, "user:")
	switch {
	case name == "" || name == gateHolder:
		return gateHolder, nil
	case agent && o.cfg.Per == PerAgent, user && o.cfg.Per == PerUser:
		return name, nil
	case o.cfg.Per == PerAgent:
		return "", firewall.Refuse(firewall.Invalid, "server %s has a login for each agent: say which", o.Name())
	case o.cfg.Per == PerUser:
		return "", firewall.Refuse(firewall.Invalid, "server %s has a login for each user: say which", o.Name())
	}
	return "", firewall.Refuse(firewall.Invalid, "server %s has one login for all: leave the agent or user away", o.Name())
}

// begin finds out where the person has to go.
func (o *oauth) begin(ctx context.Context, holder string, scopes []string) (*login, error) {
	o.mu.Lock()
	o.needs = nil // what was true some minutes ago is not good enough for a person's consent
	clear(o.known)
	o.mu.Unlock()
	n, err := o.describe(ctx)
	if err != nil {
		return nil, err
	}
	issuer, err := o.choose(n)
	if err != nil {
		return nil, err
	}
	as, err := o.at(ctx, issuer)
	switch {
	case err != nil:
		return nil, err
	case as.authorization == "":
		return nil, fmt.Errorf("the authorization server %s has no authorization endpoint", issuer)
	case !as.s256:
		return nil, fmt.Errorf("the authorization server %s does not say that it does PKCE with S256, without which a code could be stolen", issuer)
	}
	client, err := o.client(ctx, as, "", true)
	if err != nil {
		return nil, err
	}
	a := o.vault.account(o.Name(), holder)
	a.mu.Lock()
	wanted := a.wanted
	a.mu.Unlock()
	if b := a.now.Load(); b != nil && b.Fit == o.fit {
		wanted = united(wanted, b.Scopes) // a step up loses nothing
	}
	l := &login{
		over: make(chan struct{}), o: o, account: a, as: as, client: client, needs: n,
		secret: rand.Text(), proof: rand.Text() + rand.Text(),
		Login: Login{ID: rand.Text(), Server: o.Name(), Holder: holder, Issuer: issuer, State: LoginWaiting,
			Scopes: o.asked(n, as, wanted, scopes), Expires: o.vault.cfg.Now().Add(loginTime)},
	}
	sum := sha256.Sum256([]byte(l.proof))
	u, err := url.Parse(as.authorization)
	if err != nil {
		return nil, err
	}
	q := u.Query()
	for name, value := range map[string]string{
		"response_type": "code", "client_id": client.ID, "redirect_uri": client.Redirect, "state": l.ID + "." + l.secret,
		"code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": "S256", "resource": n.resource,
	} {
		q.Set(name, value)
	}
	if len(l.Scopes) > 0 {
		q.Set("scope", strings.Join(l.Scopes, " "))
	}
	if slices.Contains(l.Scopes, "offline_access") {
		q.Set("prompt", "consent") // OpenID Connect gives no refresh token without
	}
	u.RawQuery = q.Encode()
	l.URL = u.String()
	return l, nil
}

// enter puts a login among those under way.
func (v *Vault) enter(l *login) (Login, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now, waiting := v.cfg.Now(), 0
	for id, other := range v.logins {
		switch {
		case now.After(other.Expires.Add(loginTime)):
			delete(v.logins, id)
		case other.State == LoginWaiting && now.Before(other.Expires):
			waiting++
		}
	}
	if waiting >= maxLogins {
		return Login{}, firewall.Refuse(firewall.Exhausted, "%d logins are under way: wait until some are over", maxLogins)
	}
	if err := v.cfg.Record("mcp.login.begun", "admin", "mcp:"+l.Server, fmt.Sprintf("%s at %s, scopes %q", l.Holder, l.Issuer, strings.Join(l.Scopes, " "))); err != nil {
		return Login{}, &firewall.Error{Code: firewall.Unavailable, Reason: "the login could not be recorded, so it is refused", Err: err}
	}
	v.logins[l.ID] = l
	return l.Login, nil
}

// Login waits until the login id is over, or ctx ends, and says how it stands.
func (v *Vault) Login(ctx context.Context, id string) (Login, bool) {
	v.mu.Lock()
	l := v.logins[id]
	v.mu.Unlock()
	if l == nil {
		return Login{}, false
	}
	select {
	case <-l.over:
	case <-ctx.Done():
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if l.State == LoginWaiting && v.cfg.Now().After(l.Expires) {
		l.taken = true
		l.close(LoginFailed, "nobody logged in within 10 minutes")
	}
	return l.Login, true
}

// close notes how the login ended. It needs Vault.mu.
func (l *login) close(state, reason string) {
	if l.State != LoginWaiting {
		return
	}
	l.State, l.Reason, l.URL = state, reason, ""
	close(l.over)
}

// Logins is the tokens that people logged in for, by server and holder, as they
// stand.
func (v *Vault) Logins() []Login {
	list := []Login{}
	for _, a := range *v.accounts.Load() {
		if b := a.now.Load(); b != nil && b.Login != "" {
			list = append(list, Login{ID: b.Login, Server: b.Server, Holder: b.Holder, Issuer: b.Issuer, Scopes: b.Scopes, State: LoginDone, Expires: b.Expires})
		}
	}
	slices.SortFunc(list, func(a, b Login) int { return strings.Compare(a.Server+"\x00"+a.Holder, b.Server+"\x00"+b.Holder) })
	return list
}

// EndLogin ends the login of a holder at s, or all there are for "*". It says how
// many it ended.
func (s *Server) EndLogin(ctx context.Context, holder string) (int, error) {
	w, _ := s.wire.(*httpWire)
	if w == nil || w.oauth == nil {
		return 0, firewall.Refuse(firewall.Invalid, "server %s has no logins", s.cfg.Name)
	}
	v := w.oauth.vault
	if holder == "" {
		holder = gateHolder
	}
	ended, left := 0, 0
	for _, a := range *v.accounts.Load() {
		if a.server != s.cfg.Name {
			continue
		}
		b := a.now.Load()
		switch {
		case b == nil:
		case holder != "*" && a.holder != holder:
			left++
		default:
			if err := v.logout(ctx, a, b); err != nil {
				return ended, &firewall.Error{Code: firewall.Unavailable, Reason: "the token is not used any more, but could not be taken out of the store: try again", Err: err}
			}
			ended++
			w.oauth.revoke(ctx, b)
		}
	}
	if left == 0 {
		if err := v.release(ctx, s.cfg.Name); err != nil {
			return ended, &firewall.Error{Code: firewall.Unavailable, Reason: "the authorization server of " + s.cfg.Name + " could not be forgotten: try again", Err: err}
		}
	}
	s.forgetLists()
	return ended, nil
}

func (v *Vault) logout(ctx context.Context, a *account, b *bearer) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now.Store(nil)
	a.wanted = nil
	_ = v.cfg.Record("mcp.logout", "admin", "mcp:"+a.server, a.holder+" at "+b.Issuer)
	return v.cfg.Store.DropToken(ctx, a.kept())
}

// release forgets which authorization server is a server's.
func (v *Vault) release(ctx context.Context, server string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.issuers, server)
	return v.cfg.Store.DropToken(ctx, keptIssuer+server)
}

// revoke tells the authorization server that a token is not needed any more
// (RFC 7009). It need not work: callgate has forgotten the token.
func (o *oauth) revoke(ctx context.Context, b *bearer) {
	as, err := o.at(ctx, b.Issuer)
	if err != nil || as.revocation == "" {
		return
	}
	c, err := o.client(ctx, as, b.Client, false)
	if err != nil || c.ID != b.Client {
		return
	}
	form := url.Values{"token": {b.Refresh}, "token_type_hint": {"refresh_token"}}
	if b.Refresh == "" {
		form = url.Values{"token": {b.Access}, "token_type_hint": {"access_token"}}
	}
	header, err := o.sign(ctx, as, c, form)
	if err == nil {
		_, err = o.errands.post(ctx, as.revocation, "application/x-www-form-urlencoded", []byte(form.Encode()), header)
	}
	if err != nil {
		o.Server.cfg.Logger.Warn("a token was not revoked at its authorization server", "issuer", b.Issuer, "error", err)
	}
}

// forgetLists has the server's lists asked for again: another login may see
// others.
func (s *Server) forgetLists() {
	for _, what := range []string{"tools", "prompts", "resources"} {
		s.heard(nil, Message{Method: "notifications/" + what + "/list_changed"})
	}
}

// Handler serves what authorization servers and the browsers of those who log in
// ask the gate for, below /oauth/.
func (v *Vault) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+callbackPath, v.callback)
	mux.HandleFunc("GET "+documentPath, func(w http.ResponseWriter, _ *http.Request) {
		doc := v.document()
		doc["client_id"] = v.documentURL()
		text, err := json.Marshal(doc)
		if err != nil {
			panic(err) // texts only
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "max-age=300")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(text)
	})
	return mux
}

// documentURL is where the document that tells of callgate is, and so its
// client_id.
func (v *Vault) documentURL() string { return strings.TrimSuffix(v.cfg.PublicURL, "/") + documentPath }

// callback is where a person comes back to.
func (v *Vault) callback(w http.ResponseWriter, r *http.Request) {
	l, err := v.take(r.URL.RawQuery)
	if err == nil {
		err = l.finish(r)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	title, text := "You are logged in", "callgate has the token for this server. You may close this page."
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		title, text = "This login did not work", err.Error()+". You may close this page."
	}
	_, _ = fmt.Fprintf(w, "<!doctype html><title>%[1]s</title><h1>%[1]s</h1><p>%[2]s</p>\n", html.EscapeString(title), html.EscapeString(text))
}

// What can be wrong with an answer that a browser brings.
var (
	errStray = errors.New("no login is under way that this answer belongs to: begin anew with callgate mcp login")
	errTwice = errors.New("the answer says something twice")
)

// take finds the login that an answer belongs to. It is there once.
func (v *Vault) take(query string) (*login, error) {
	q, err := url.ParseQuery(query)
	if err != nil || len(query) > 16<<10 || len(q["state"]) != 1 {
		return nil, v.stray()
	}
	id, secret, _ := strings.Cut(q.Get("state"), ".")
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.logins[id]
	if l == nil || subtle.ConstantTimeCompare([]byte(secret), []byte(l.secret)) != 1 || l.taken || v.cfg.Now().After(l.Expires) {
		return nil, v.strayLocked()
	}
	l.taken = true
	return l, nil
}

func (v *Vault) stray() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.strayLocked()
}

// strayLocked puts an answer of no login on record, but not more than one a
// second: anybody can send such. It needs mu.
func (v *Vault) strayLocked() error {
	if now := v.cfg.Now(); now.Sub(v.strays) >= time.Second {
		v.strays = now
		_ = v.cfg.Record("mcp.login.refused", "unknown", "mcp:?", errStray.Error())
	}
	return errStray
}

// finish ends the login with what the browser brought.
func (l *login) finish(r *http.Request) error {
	v := l.o.vault
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 2*errandTime) // a code works once, whether the browser waits or not
	defer cancel()
	b, err := l.token(ctx, r.URL.Query())
	if err == nil {
		err = v.cfg.Record("mcp.login", "admin", "mcp:"+l.Server, fmt.Sprintf("%s at %s, scopes %q", l.Holder, l.as.issuer, strings.Join(b.Scopes, " ")))
	}
	if err == nil {
		err = v.settle(ctx, v.account(l.Server, l.Holder), l.o.Server.cfg.URL, b)
	}
	if err != nil {
		_ = v.cfg.Record("mcp.login.refused", "admin", "mcp:"+l.Server, l.Holder+": "+err.Error())
	}
	v.mu.Lock()
	if err == nil {
		l.Scopes = b.Scopes
		l.close(LoginDone, "")
	} else {
		l.close(LoginFailed, err.Error())
	}
	v.mu.Unlock()
	if err == nil {
		l.o.forgetLists()
	}
	return err
}

// token is what the code in the browser's answer is good for.
func (l *login) token(ctx context.Context, q url.Values) (*bearer, error) {
	for _, name := range []string{"code", "iss", "error"} {
		if len(q[name]) > 1 {
			return nil, errTwice
		}
	}
	iss, told := q["iss"]
	switch { // before anything else of the answer is believed, errors too
	case told && iss[0] != l.as.issuer:
		return nil, errors.New("the answer comes from another authorization server than the one that was asked")
	case !told && l.as.tellsIssuer:
		return nil, errors.New("the answer does not say which authorization server it comes from, and this one always does")
	}
	if code := q.Get("error"); code != "" || q.Has("error") {
		if code = codeOf(code); code == "" {
			code = "an error"
		}
		return nil, fmt.Errorf("the authorization server answered %s", code)
	}
	if q.Get("code") == "" {
		return nil, errors.New("the answer has no code")
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {q.Get("code")}, "redirect_uri": {l.client.Redirect}, "code_verifier": {l.proof}}
	b, err := l.o.exchange(ctx, l.account, l.as, l.client, l.needs.resource, form)
	if err != nil {
		return nil, err
	}
	if b.Scopes == nil {
		b.Scopes = l.Scopes
	}
	b.Login = l.ID
	return b, nil
}
