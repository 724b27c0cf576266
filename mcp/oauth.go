package mcp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"callgate/firewall"
	"callgate/identity"
)

// OAuthConfig says how callgate gets access tokens for a server. They are
// callgate's own: the token that an agent presents is never sent to a server, nor
// to its authorization server.
type OAuthConfig struct {
	Grant        string              // GrantCode (the default), GrantClient or GrantExchange
	Per          string              // whose a token is: PerGate (the default), PerAgent or PerUser
	ClientID     string              // as the authorization server knows callgate; "" has it told, or registered there
	ClientSecret identity.Credential // nil for none
	Issuer       string              // the only authorization server that is taken; "" takes the one that the server names first
	Scopes       []string            // that are asked for; none means those that the server says it needs
	Vault        *Vault              // where tokens are; required by NewServer
}

// What [OAuthConfig].Grant may be.
const (
	GrantCode     = "authorization_code" // a person logs in, once
	GrantClient   = "client_credentials" // callgate's own credentials there
	GrantExchange = "token_exchange"     // callgate vouches for the agent or user (RFC 8693)
)

// What [OAuthConfig].Per may be.
const (
	PerGate  = "gate"  // one for all
	PerAgent = "agent" // each acting agent has its own
	PerUser  = "user"  // the user on whose behalf an agent acts, or else its owner
)

// gateHolder is who holds a token that is callgate's for all.
const gateHolder = "gate"

// check says what is wrong with c, all at once.
func (c *OAuthConfig) check() error {
	var errs []error
	switch c.Grant {
	case "", GrantCode:
	case GrantClient:
		if c.Per != "" && c.Per != PerGate {
			errs = append(errs, errors.New("oauth: client_credentials are callgate's own, so per must be gate"))
		}
	case GrantExchange:
	default:
		return fmt.Errorf("oauth: grant %q: use authorization_code, client_credentials or token_exchange", c.Grant)
	}
	switch c.Per {
	case "", PerGate, PerAgent, PerUser:
	default:
		errs = append(errs, fmt.Errorf("oauth: per %q: use gate, agent or user", c.Per))
	}
	if c.grant() != GrantCode && c.ClientID == "" {
		errs = append(errs, fmt.Errorf("oauth: %s needs a client_id", c.Grant))
	}
	if c.ClientSecret != nil && c.ClientID == "" {
		errs = append(errs, errors.New("oauth: a client_secret needs its client_id"))
	}
	if c.Issuer == "" && (c.ClientSecret != nil || c.grant() != GrantCode) {
		errs = append(errs, errors.New("oauth: write the issuer that the credentials are for, so that the server cannot have them sent elsewhere"))
	}
	if c.Issuer != "" {
		u, err := url.Parse(c.Issuer)
		if err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(c.Issuer, "?#") || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
			errs = append(errs, fmt.Errorf("oauth: issuer %q: want https://host/path, exactly as the authorization server calls itself", c.Issuer))
		}
	}
	for _, scope := range c.Scopes {
		if !isScope(scope) {
			errs = append(errs, fmt.Errorf("oauth: %q cannot be a scope", scope))
		}
	}
	return errors.Join(errs...)
}

// checkOAuth says what is wrong with how tokens for the server are got.
func (c *ServerConfig) checkOAuth() error {
	errs := []error{c.OAuth.check()}
	u, err := url.Parse(c.URL)
	switch {
	case c.URL == "":
		errs = append(errs, errors.New("oauth is for servers with a url"))
	case err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()):
		errs = append(errs, errors.New("oauth: tokens are sent by https alone, or on this machine"))
	}
	for name := range c.Headers {
		if http.CanonicalHeaderKey(name) == "Authorization" {
			errs = append(errs, errors.New("give either oauth or a header Authorization"))
		}
	}
	return errors.Join(errs...)
}

func (c *OAuthConfig) grant() string {
	if c.Grant == "" {
		return GrantCode
	}
	return c.Grant
}

// oauth is how one server's tokens are got.
type oauth struct {
	*Server
	cfg     OAuthConfig
	vault   *Vault
	errands *errands
	fit     string   // what a token must have been got for; one of another configuration is not used
	gate    *account // of callgate itself

	mu      sync.Mutex
	known   map[string]*authServer // by issuer
	needs   *needs
	needsAt time.Time
}

const factsTTL = 10 * time.Minute // that what servers say of themselves is believed

func newOAuth(s *Server) *oauth {
	o := &oauth{Server: s, cfg: *s.cfg.OAuth, vault: s.cfg.OAuth.Vault, known: make(map[string]*authServer)}
	own, _ := url.Parse(s.cfg.URL) // checked
	urls := []*url.URL{own}
	if o.cfg.Issuer != "" {
		issuer, _ := url.Parse(o.cfg.Issuer)
		urls = append(urls, issuer)
	}
	o.errands = newErrands(s.cfg.Version, urls...)
	fit := []string{s.cfg.URL, o.cfg.grant(), o.cfg.ClientID, o.cfg.Issuer}
	if o.cfg.grant() != GrantCode {
		fit = append(fit, united(o.cfg.Scopes)...)
	}
	o.fit = strings.Join(fit, "\x00")
	o.gate = o.vault.account(s.cfg.Name, gateHolder)
	return o
}

// account is the place of the token that requests for caller carry; nil stands
// for callgate itself.
func (o *oauth) account(caller *identity.Principal) (*account, error) {
	switch {
	case caller == nil || strings.HasPrefix(caller.Subject, "gate:") || o.cfg.Per == "" || o.cfg.Per == PerGate:
		return o.gate, nil
	case o.cfg.Per == PerAgent:
		return o.vault.account(o.Server.cfg.Name, caller.Agent()), nil
	case strings.HasPrefix(caller.Subject, "user:"):
		return o.vault.account(o.Server.cfg.Name, caller.Subject), nil
	case strings.HasPrefix(caller.Owner, "user:"):
		return o.vault.account(o.Server.cfg.Name, caller.Owner), nil
	}
	return nil, o.tokenless("has a login for each user, and this agent acts for none: give it an owner, user:NAME", nil)
}

// login is the command that ends a want of a login.
func (o *oauth) login(holder string, scopes ...string) string {
	command := "callgate mcp login " + o.Name()
	if name, ok := strings.CutPrefix(holder, "agent:"); ok {
		command += " --agent " + name
	} else if name, ok := strings.CutPrefix(holder, "user:"); ok {
		command += " --user " + name
	}
	for _, scope := range scopes[:min(len(scopes), 20)] {
		command += " --scope " + scope
	}
	return command
}

// wanting is the error of a call that needs a person to log in.
func (o *oauth) wanting(holder string, err error) *firewall.Error {
	return o.tokenless("needs a login: an operator runs "+o.login(holder), err)
}

// errTokenless is the cause of an error for want of a token. The server has no part
// in it.
var errTokenless = errors.New("there is no token")

// tokenless is the error of a call for which there is no token.
func (o *oauth) tokenless(did string, err error) *firewall.Error {
	if err != nil {
		return o.unavailable(did, fmt.Errorf("%w: %w", errTokenless, err))
	}
	return o.unavailable(did, errTokenless)
}

// own is callgate's own place for a token; nil where the server has none.
func (w *httpWire) own() *account {
	if w.oauth == nil {
		return nil
	}
	return w.oauth.gate
}

// infoAs discovers the server with the caller's token, if it is not discovered. A
// discovery with the token of another says nothing of this one when it fails.
func (w *httpWire) infoAs(ctx context.Context, caller *identity.Principal) (*Info, error) {
	for {
		w.mu.Lock()
		f := w.found
		w.mu.Unlock()
		if f != nil {
			if info, err := f.wait(ctx); err == nil || ctx.Err() != nil {
				return info, err
			}
		}
		a, err := w.oauth.account(caller)
		if err == nil {
			_, err = w.oauth.bearer(ctx, a)
		}
		if err != nil {
			return nil, err
		}
		w.mu.Lock()
		other := w.found != f
		next := w.discovery(a)
		w.mu.Unlock()
		if info, err := next.wait(ctx); err == nil || !other || ctx.Err() != nil {
			return info, err
		}
	}
}

// standing is the place of the caller's token, and the token; neither where the
// server needs none.
func (w *httpWire) standing(ctx context.Context, caller *identity.Principal) (*account, *bearer, error) {
	if w.oauth == nil {
		return nil, nil, nil
	}
	a, err := w.oauth.account(caller)
	if err != nil {
		return nil, nil, err
	}
	b, err := w.oauth.bearer(ctx, a)
	return a, b, err
}

// sessionKey names a session for caller with the token b. A server knows its users
// by their logins, so each has a session of its own.
func sessionKey(client *Client, b *bearer) string {
	key := client.key()
	if b != nil {
		key += "\x00\x00" + b.Holder + "\x00" + b.Login
	}
	return key
}

// bearer is the token of a, got or renewed if need be.
func (o *oauth) bearer(ctx context.Context, a *account) (*bearer, error) {
	if b := a.now.Load(); b != nil && b.Fit == o.fit && (b.renew.IsZero() || o.vault.cfg.Now().Before(b.renew)) {
		return b, nil
	}
	return o.renewed(ctx, a, a.now.Load(), false)
}

// renewed is the token of a after old, which is too old, or, where it is refused,
// one that the server did not take. One caller has it renewed; the others wait.
func (o *oauth) renewed(ctx context.Context, a *account, old *bearer, refused bool) (*bearer, error) {
	a.mu.Lock()
	if b := a.now.Load(); b != old && b != nil && b.Fit == o.fit {
		a.mu.Unlock()
		return b, nil
	}
	f := a.renewing
	if f == nil || f.landed() {
		f = newFlight[*bearer]()
		a.renewing = f
		wanted := a.wanted
		o.vault.work.Go(func() { // not in the caller's time: who hangs up must not lose a token that was rotated
			ctx, cancel := context.WithTimeout(o.vault.life, 3*errandTime)
			defer cancel()
			b, err := o.obtain(ctx, a, old, wanted)
			if err == nil {
				b, err = o.vault.replace(ctx, a, old, b)
			}
			f.land(b, err)
		})
	}
	a.mu.Unlock()
	b, err := f.wait(ctx)
	if err != nil && ctx.Err() == nil && !refused && old != nil && old.Fit == o.fit && a.now.Load() == old && o.vault.cfg.Now().Before(old.Expires) {
		return old, nil // it lives a little longer than it takes to try again
	}
	return b, err
}

// obtain gets a token for a by the server's grant.
func (o *oauth) obtain(ctx context.Context, a *account, old *bearer, wanted []string) (*bearer, error) {
	if o.cfg.grant() != GrantCode {
		return o.ownToken(ctx, a, wanted)
	}
	switch {
	case old == nil || old.Fit != o.fit:
		return nil, o.wanting(a.holder, nil)
	case old.Refresh == "":
		return nil, o.wanting(a.holder, errors.New("the token has ended, and came without one to refresh it"))
	}
	b, err := o.refresh(ctx, a, old)
	var f *oauthFault
	if errors.As(err, &f) && f.code == "invalid_grant" {
		o.vault.forget(ctx, a, old, "the authorization server has ended it")
		return nil, o.wanting(a.holder, err)
	}
	if err != nil {
		return nil, o.tokenless("has an authorization server that did not renew callgate's token", err)
	}
	return b, nil
}

// roundTrip makes a request with the token of the link, and once more with a new
// one if the server does not take that: it has not acted then.
func (s *httpLink) roundTrip(ctx context.Context, request func() *http.Request) (*http.Response, error) {
	o, a := s.wire.oauth, s.account
	b, err := o.bearer(ctx, a)
	if err != nil {
		return nil, err
	}
	send := func(b *bearer) (*http.Response, error) {
		req := request()
		req.Header["Authorization"] = b.header
		return s.wire.client.RoundTrip(req)
	}
	resp, err := send(b)
	if err != nil || resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
		return resp, err
	}
	if resp.StatusCode == http.StatusForbidden {
		c := challengeOf(resp.Header)
		if c.err != "insufficient_scope" || !a.want(c.scopes) || o.cfg.grant() == GrantCode {
			return resp, nil
		}
	} else if b.Refresh == "" && o.cfg.grant() == GrantCode || o.vault.cfg.Now().Sub(b.Got) < eager {
		return resp, nil
	}
	next, err := o.renewed(ctx, a, b, true)
	switch {
	case err == nil:
		_ = resp.Body.Close()
		return send(next)
	case resp.StatusCode == http.StatusForbidden:
		return resp, nil // it is told that the scopes are missing
	}
	_ = resp.Body.Close()
	return nil, err
}

// eager is how soon after it was got a token is not renewed for being refused:
// the next one would be refused too.
const eager = 5 * time.Second

// refusal is what a 401 or 403 means to a link with a token.
func (o *oauth) refusal(a *account, resp *http.Response) *firewall.Error {
	c := challengeOf(resp.Header)
	if resp.StatusCode == http.StatusForbidden && c.err == "insufficient_scope" {
		if o.cfg.grant() == GrantCode {
			return o.unavailable("wants more scopes for this: an operator runs "+o.login(a.holder, c.scopes...), errAnswered)
		}
		return o.unavailable("wants scopes for this that callgate does not get: "+strings.Join(c.scopes[:min(len(c.scopes), 20)], " "), errAnswered)
	}
	if resp.StatusCode == http.StatusUnauthorized && o.cfg.grant() == GrantCode {
		return o.unavailable("does not take callgate's token: an operator runs "+o.login(a.holder), errAnswered)
	}
	return nil
}

// authorize puts the current token into h, where one is known; it asks for none.
func (s *httpLink) authorize(h http.Header) {
	if s.account == nil {
		return
	}
	if b := s.account.now.Load(); b != nil && b.Fit == s.wire.oauth.fit {
		h["Authorization"] = b.header
	}
}

// asked is the scopes to ask for: those of the config, or else those that the
// server says it needs, and whatever it has asked for since.
func (o *oauth) asked(n *needs, as *authServer, more ...[]string) []string {
	scopes := o.cfg.Scopes
	if len(scopes) == 0 {
		scopes = n.scopes
	}
	scopes = united(append(more, scopes)...)
	if o.cfg.grant() == GrantCode && slices.Contains(as.scopes, "offline_access") {
		scopes = united(scopes, []string{"offline_access"}) // else there is no token to refresh by
	}
	return scopes
}
