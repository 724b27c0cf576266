// Package identity knows the agents and proves who calls: it issues agents
// short-lived tokens and verifies those that they present. A call passes through
// [Authority.Verify] alone.
package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/singleflight"
)

// Config is what an [Authority] needs. A change of it needs a new Authority.
type Config struct {
	Issuer string           // public_url as agents call the gate, scheme and host; required. It is also the audience of its tokens.
	TTL    time.Duration    // of a token for which no other was asked; default 300 s
	Now    func() time.Time // default time.Now

	// Record puts on record that something happened: a token was issued or
	// refused, an agent was created, changed, removed or revoked. by is "admin",
	// "config" or the agent itself, name the agent as agent:<name>. nil records
	// nothing. It may be called by many goroutines at once, and is waited for: what
	// cannot be recorded is not done, except what takes something away.
	Record func(what, by, name, state string) error

	Logger *slog.Logger // default slog.Default()
}

const (
	defaultTTL  = 300 * time.Second
	maxResource = 512 // bytes of a URL that is asked for as audience
)

// An Authority issues tokens and verifies them. It is used by many goroutines
// at once.
type Authority struct {
	cfg      Config
	base     string // Issuer without a slash at its end
	keys     *Keys
	registry *Registry
	parser   *jwt.Parser
	seen     *seen
	flight   singleflight.Group // tokens that are being verified
	failures *failures
}

// New returns an Authority for the agents of registry. From then on changes of
// registry go to cfg.Record too.
func New(cfg Config, keys *Keys, registry *Registry) *Authority {
	if cfg.TTL <= 0 {
		cfg.TTL = defaultTTL
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Record == nil {
		cfg.Record = func(_, _, _, _ string) error { return nil }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	registry.recordTo(cfg.Record)
	return &Authority{
		cfg: cfg, base: strings.TrimSuffix(cfg.Issuer, "/"), keys: keys, registry: registry,
		seen: newSeen(), failures: newFailures(),
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg()}),
			jwt.WithStrictDecoding(),
			jwt.WithIssuer(cfg.Issuer),
			jwt.WithExpirationRequired(),
			jwt.WithNotBeforeRequired(),
			jwt.WithIssuedAt(),
			jwt.WithLeeway(leeway),
			jwt.WithTimeFunc(cfg.Now),
		),
	}
}

// MintOptions are what a token may be asked to be. The zero MintOptions ask for
// one of the default life that is good for all of the gate.
type MintOptions struct {
	TTL      time.Duration // up to the agent's MaxTTL; 0 is the default, or MaxTTL if that is less
	Scope    string        // there are no scopes yet: anything but "" is refused
	Audience string        // the gate's URL, or one below it: the only resource that the token is for
	By       string        // who asked, for the record; default "admin"
}

// A Token is an access token as it was issued.
type Token struct {
	Access   Secret // the token itself
	ID       string // its jti
	Audience string // the resource that it is for
	TTL      time.Duration
	Expires  time.Time
}

// Mint issues a token to the agent of that name. The error is [ErrUnknown],
// [ErrRevoked], [ErrEnded], [ErrInvalid], or for a scope or audience [ErrScope] or
// [ErrTarget].
func (a *Authority) Mint(_ context.Context, name string, o MintOptions) (Token, error) {
	agent, ok := a.registry.Get(name)
	if !ok {
		return Token{}, unknown(name)
	}
	if err := agent.tokenless(a.cfg.Now()); err != nil {
		return Token{}, err
	}
	switch {
	case o.Scope != "":
		return Token{}, &mistake{ErrScope, "there are no scopes: what an agent may do is a matter of policy; leave scope away"}
	case o.TTL < 0:
		return Token{}, invalid("a token cannot live for %v", o.TTL)
	case o.TTL > agent.MaxTTL:
		return Token{}, invalid("a token of agent %s lives for at most %v, so not for %v", name, agent.MaxTTL, o.TTL)
	}
	ttl := o.TTL
	if ttl == 0 {
		ttl = min(a.cfg.TTL, agent.MaxTTL)
	}
	if ttl = ttl.Truncate(time.Second); ttl == 0 {
		return Token{}, invalid("a token lives for whole seconds; ask for at least 1s")
	}
	path, err := a.target(o.Audience)
	if err != nil {
		return Token{}, err
	}
	at := a.cfg.Now().Unix()
	c := &claims{
		Issuer: a.cfg.Issuer, Subject: agent.subject(), Profile: agentSubs, Audience: []string{a.audience(path)}, Client: agent.Name,
		Expires: at + int64(ttl/time.Second), Issued: at, From: at,
		ID: randomID(), Txn: randomID(), Tenant: agent.Tenant, Epoch: agent.Epoch,
	}
	k := a.keys.active
	t := jwt.NewWithClaims(k.method, c)
	t.Header["typ"], t.Header["kid"] = tokenType, k.id
	text, err := t.SignedString(k.private)
	if err != nil {
		return Token{}, fmt.Errorf("sign a token for %s: %w", c.Subject, err)
	}
	if o.By == "" {
		o.By = "admin"
	}
	if err := a.cfg.Record("token.issued", o.By, c.Subject, fmt.Sprintf("jti %s, for %v, at %s", c.ID, ttl, c.Audience[0])); err != nil {
		return Token{}, fmt.Errorf("a token of %s is not issued, since that could not be recorded: %w", c.Subject, err)
	}
	return Token{Access: NewSecret(text), ID: c.ID, Audience: c.Audience[0], TTL: ttl, Expires: time.Unix(c.Expires, 0)}, nil
}

// audience is what a token for path, which is "" for all of the gate, says as
// its audience.
func (a *Authority) audience(path string) string {
	if path == "" {
		return a.cfg.Issuer
	}
	return a.base + path
}

// target is the path below the gate's own URL that resource names, "" for all
// of the gate. One slash at the end makes no difference.
func (a *Authority) target(resource string) (string, error) {
	if resource == "" {
		return "", nil
	}
	if n := len(a.base); len(resource) >= n && len(resource) <= maxResource && strings.EqualFold(resource[:n], a.base) {
		if path := strings.TrimSuffix(resource[n:], "/"); path == "" || isPath(path) {
			return path, nil
		}
	}
	return "", &mistake{ErrTarget, "resource must be " + a.base + " or a URL below it, such as " + a.base + "/mcp"}
}

// Verify says who presents token for route, the path that is called. It is
// the only way in: whatever is not proven here is refused, with a [Refusal] that
// says why.
func (a *Authority) Verify(_ context.Context, token, route string) (Principal, error) {
	v := a.seen.find(token)
	if v == nil {
		one, err, _ := a.flight.Do(token, func() (any, error) { return a.prove(token) })
		if err != nil {
			return Principal{}, err
		}
		v = one.(*verified)
	}
	agent, at := v.place.agent.Load(), a.cfg.Now()
	if !at.Before(v.expires.Add(leeway)) {
		return Principal{}, errExpired
	}
	if agent == nil {
		return Principal{}, errUnknown
	}
	if err := agent.halted(at); err != nil {
		return Principal{}, err
	}
	switch {
	case agent.Epoch != v.epoch:
		return Principal{}, errEnded
	case !covers(v.path, route):
		return Principal{}, errAudience
	}
	v.place.mark(at)
	return Principal{
		Tenant: agent.Tenant, Subject: v.subject, Roles: agent.Roles, Owner: agent.Owner, Within: agent.within(),
		TokenID: v.id, Txn: v.txn, Expires: v.expires,
	}, nil
}

// prove checks what does not change as long as the token lives, and keeps it.
func (a *Authority) prove(token string) (*verified, error) {
	h, err := readHeader(token)
	if err != nil {
		return nil, err
	}
	k := a.keys.byID[h.kid]
	if k == nil {
		return nil, errForeign
	}
	if h.alg != k.method.Alg() {
		return nil, errAlg
	}
	c := &claims{base: a.base}
	_, err = a.parser.ParseWithClaims(token, c, func(t *jwt.Token) (any, error) {
		if t.Method != k.method { // the library read the same header as we did
			return nil, errAlg
		}
		return &k.private.PublicKey, nil
	})
	if err != nil {
		return nil, refusal(err)
	}
	p := a.registry.place(c.Client)
	if p == nil {
		return nil, errUnknown
	}
	v := &verified{place: p, subject: c.Subject, id: c.ID, txn: c.Txn, path: c.path, epoch: c.Epoch, expires: time.Unix(c.Expires, 0)}
	a.seen.keep(strings.Clone(token), v, a.cfg.Now())
	return v, nil
}

// randomID is 128 random bits, base64url.
func randomID() string {
	b := make([]byte, randomBytes)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}
