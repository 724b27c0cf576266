package identity

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// A Provider is an OpenID Connect provider, where people log in.
type Provider struct {
	Issuer       string // https, or http on this machine
	ClientID     string // of callgate there
	ClientSecret Secret
	GroupsClaim  string // of the ID token; default "groups"
}

func (p Provider) check() error {
	switch u, err := url.Parse(p.Issuer); {
	case p == Provider{}:
		return nil
	case err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(p.Issuer, "?#") || u.Scheme != "https" && (u.Scheme != "http" || !isLoopbackHost(u.Hostname())):
		return invalid("oidc.issuer: want an https URL, as the identity provider calls itself (http on this machine)")
	case p.ClientID == "":
		return invalid("oidc.client_id is missing: what the identity provider knows callgate as")
	}
	return nil
}

func isLoopbackHost(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

const (
	maxLogins   = 4096 // under way
	loginLife   = 10 * time.Minute
	oidcTimeout = 10 * time.Second
)

// provider is a Provider in use. It is asked about itself when the first person
// logs in.
type provider struct {
	cfg  Provider
	back string // redirect URI
	http *http.Client
	now  func() time.Time

	mu      sync.Mutex
	found   *oidc.Provider
	started map[string]started // by the hash of state
}

// started is a login that is under way.
type started struct {
	nonce, verifier, next string
	browser               string
	until                 time.Time
}

func newProvider(cfg Provider, back string, now func() time.Time) *provider {
	if cfg.GroupsClaim == "" {
		cfg.GroupsClaim = "groups"
	}
	return &provider{cfg: cfg, back: back, http: &http.Client{Timeout: oidcTimeout}, now: now, started: make(map[string]started)}
}

// reach is the provider as it describes itself.
func (p *provider) reach(ctx context.Context) (*oidc.Provider, *oauth2.Config, error) {
	p.mu.Lock()
	found := p.found
	p.mu.Unlock()
	if found == nil {
		var err error
		if found, err = oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.http), p.cfg.Issuer); err != nil {
			return nil, nil, fmt.Errorf("ask the identity provider about itself: %w", err)
		}
		p.mu.Lock()
		p.found = found
		p.mu.Unlock()
	}
	return found, &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret.Reveal(), Endpoint: found.Endpoint(), RedirectURL: p.back,
		Scopes: []string{oidc.ScopeOpenID, "email", "profile"},
	}, nil
}

// begin notes a login for a browser, and is its state, to be told by the provider.
func (p *provider) begin(s started) (state string) {
	state = secretText()
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, had := range p.started { // begins anywhere
		if len(p.started) < maxLogins && p.now().Before(had.until) {
			break
		}
		delete(p.started, id)
	}
	p.started[hashed(state)] = s
	return state
}

// end is the login of that state, which nobody can end twice.
func (p *provider) end(state string) (started, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := hashed(state)
	s, ok := p.started[id]
	delete(p.started, id)
	return s, ok && p.now().Before(s.until)
}

// leave is GET /oauth/login/start: to the identity provider.
func (a *Authority) leave(w http.ResponseWriter, r *http.Request) {
	p := a.front.provider
	if p == nil {
		a.askLogin(w, r, http.StatusNotFound, loginPath, "There is no identity provider: the operator can name one under identity.oidc.")
		return
	}
	_, cfg, err := p.reach(r.Context())
	if err != nil {
		a.cfg.Logger.ErrorContext(r.Context(), "the identity provider cannot be asked", "error", err)
		a.askLogin(w, r, http.StatusBadGateway, goesOn(r.FormValue("next")), "The identity provider cannot be reached. Try again later.")
		return
	}
	s := started{nonce: secretText(), verifier: oauth2.GenerateVerifier(), next: goesOn(r.FormValue("next")), browser: hashed(a.front.sessions.browser(w, r)), until: p.now().Add(loginLife)}
	state := p.begin(s)
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, cfg.AuthCodeURL(state, oidc.Nonce(s.nonce), oauth2.S256ChallengeOption(s.verifier)), http.StatusSeeOther)
}

// comeBack is GET /oauth/login/callback: from the identity provider.
func (a *Authority) comeBack(w http.ResponseWriter, r *http.Request) {
	p := a.front.provider
	no := func(status int, why, told string) {
		a.refused(r, "login.refused", "user:?", why)
		a.askLogin(w, r, status, loginPath, told)
	}
	if p == nil {
		no(http.StatusNotFound, "there is no identity provider", "There is no identity provider.")
		return
	}
	q := r.URL.Query()
	s, ok := p.end(q.Get("state"))
	c, err := r.Cookie(a.front.sessions.named(browserCookie))
	switch {
	case !ok || len(q["state"]) != 1 || err != nil || subtle.ConstantTimeCompare([]byte(hashed(c.Value)), []byte(s.browser)) != 1:
		no(http.StatusForbidden, "it was not begun in this browser, or too long ago", "This login was not begun here, or took too long. Begin again.")
		return
	case q.Has("iss") && q.Get("iss") != p.cfg.Issuer:
		no(http.StatusForbidden, "another identity provider answered", "Another identity provider answered. Begin again.")
		return
	case q.Get("code") == "":
		no(http.StatusForbidden, "the identity provider let nobody in: "+clipped(q.Get("error")), "The identity provider did not let you in.")
		return
	}
	who, err := p.claims(r.Context(), q.Get("code"), s)
	if err != nil {
		a.cfg.Logger.WarnContext(r.Context(), "a login at the identity provider came to nothing", "error", err)
		no(http.StatusForbidden, "what the identity provider says is not good", "The identity provider's answer is not good. Begin again; if that does not help, callgate's log says why.")
		return
	}
	u, err := a.registry.SignIn(r.Context(), p.cfg.Issuer, who.subject, who.email, who.groups)
	switch {
	case errors.Is(err, ErrEnded), errors.Is(err, ErrInvalid):
		no(http.StatusForbidden, err.Error(), "You are not let in: "+err.Error())
		return
	case err != nil:
		a.broke(w, r, err)
		return
	}
	a.loggedIn(w, r, u.Name, u.Epoch, s.next, "at "+p.cfg.Issuer)
}

// person is who logged in, as the provider says.
type person struct {
	subject, email string
	groups         []string
}

// claims is who logged in with code.
func (p *provider) claims(ctx context.Context, code string, s started) (person, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.http), oidcTimeout)
	defer cancel()
	found, cfg, err := p.reach(ctx)
	if err != nil {
		return person{}, err
	}
	t, err := cfg.Exchange(ctx, code, oauth2.VerifierOption(s.verifier))
	if err != nil {
		return person{}, errors.New("the identity provider does not take its own code") // err quotes its answer
	}
	raw, _ := t.Extra("id_token").(string)
	id, err := found.Verifier(&oidc.Config{ClientID: p.cfg.ClientID}).Verify(ctx, raw)
	if err != nil {
		return person{}, fmt.Errorf("the ID token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(s.nonce)) != 1 {
		return person{}, errors.New("the ID token is of another login")
	}
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return person{}, fmt.Errorf("the ID token: %w", err)
	}
	if azp, ok := claims["azp"].(string); ok && azp != p.cfg.ClientID || len(id.Audience) > 1 && !ok {
		return person{}, errors.New("the ID token is for another client")
	}
	if err := p.complete(ctx, found, t, id.Subject, claims); err != nil {
		return person{}, err
	}
	who := person{subject: id.Subject}
	if mail, _ := claims["email"].(string); claims["email_verified"] == true {
		who.email = mail
	}
	switch groups := claims[p.cfg.GroupsClaim].(type) {
	case string:
		who.groups = []string{groups}
	case []any:
		for _, g := range groups {
			if name, ok := g.(string); ok {
				who.groups = append(who.groups, name)
			}
		}
	}
	return who, nil
}

// complete adds to what an ID token says what the provider tells at its userinfo
// endpoint alone, as OpenID Connect has it (5.4): the mail address, and the groups. If
// that cannot be had nobody is let in, since the person might then be taken for a new
// one.
func (p *provider) complete(ctx context.Context, found *oidc.Provider, t *oauth2.Token, subject string, claims map[string]any) error {
	_, mail := claims["email"]
	_, groups := claims[p.cfg.GroupsClaim]
	if mail && groups || found.UserInfoEndpoint() == "" {
		return nil
	}
	info, err := found.UserInfo(ctx, oauth2.StaticTokenSource(t))
	if err != nil {
		return errors.New("the identity provider does not tell who it let in") // err quotes its answer
	}
	var more map[string]any
	if err := info.Claims(&more); err != nil {
		return fmt.Errorf("what the identity provider tells about who it let in: %w", err)
	}
	if info.Subject != subject {
		return errors.New("the identity provider tells about somebody else than whom it let in")
	}
	if !mail {
		claims["email"], claims["email_verified"] = more["email"], more["email_verified"]
	}
	if !groups {
		claims[p.cfg.GroupsClaim] = more[p.cfg.GroupsClaim]
	}
	return nil
}
