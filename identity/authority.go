// Package identity knows the agents and proves who calls: it issues agents
// short-lived tokens and verifies those that they present. A call passes through
// [Authority.Verify] alone.
package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/singleflight"
)

// Config is what an [Authority] needs. A change of it needs a new Authority.
type Config struct {
	Issuer string           // public_url as agents call the gate, scheme and host; required. It is also the audience of its tokens.
	TTL    time.Duration    // of a token for which no other was asked; default 300 s
	Alg    string           // of signing keys: ES256 (the default), EdDSA or RS256
	Rotate time.Duration    // how long a key signs; default 720 h
	Now    func() time.Time // default time.Now

	// Record puts on record that something happened: a token was issued or
	// refused, an agent was created, changed, removed or revoked. by is "admin",
	// "config" or the agent itself, name the agent as agent:<name>. nil records
	// nothing. It may be called by many goroutines at once, and is waited for: what
	// cannot be recorded is not done, except what takes something away.
	Record func(what, by, name, state string) error

	Grants      GrantStore   // default in memory
	Revocations *Revocations // default in memory
	Uses        UseStore     // of what is good for once; default in memory
	Nonce       bool         // DPoP proofs need a nonce of ours

	Certificates bool // clients may show certificates, which tokens are bound to then
	// Delegate is asked whether policy lets from have an agent act for it, as
	// agent:<name>; the error says why not. Default: nobody may delegate.
	Delegate func(ctx context.Context, from *Principal, to string) error

	Front FrontConfig // the half that people see

	Logger *slog.Logger // default slog.Default()
}

const (
	defaultTTL  = 300 * time.Second
	maxResource = 512 // bytes of a URL that is asked for as audience
)

// An Authority issues tokens and verifies them. It is used by many goroutines
// at once.
type Authority struct {
	cfg       Config
	base      string // Issuer without a slash at its end
	keys      *Keys
	registry  *Registry
	grants    *grants
	parser    *jwt.Parser
	validator *jwt.Validator
	seen      *seen
	proven    *proven
	flight    singleflight.Group // tokens that are being verified
	failures  *failures
	front     *front

	fetched     *fetched
	federations atomic.Pointer[[]Federation]
	nonces      nonces
	replays     *replays

	tidied atomic.Int64 // unix seconds
}

// New returns an Authority for the agents of registry. From then on changes of
// registry go to cfg.Record too.
func New(cfg Config, keys *Keys, registry *Registry) *Authority {
	if cfg.TTL <= 0 {
		cfg.TTL = defaultTTL
	}
	if cfg.Alg == "" {
		cfg.Alg = ES256
	}
	if cfg.Rotate <= 0 {
		cfg.Rotate = defaultRotate
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Record == nil {
		cfg.Record = func(_, _, _, _ string) error { return nil }
	}
	if cfg.Grants == nil {
		cfg.Grants = new(MemoryGrants)
	}
	if cfg.Revocations == nil {
		cfg.Revocations, _ = OpenRevocations(context.Background(), new(MemoryRevocations), longestTTL, cfg.Now, cfg.Record) // memory does not fail
	}
	if cfg.Uses == nil {
		cfg.Uses = new(MemoryUses)
	}
	if cfg.Delegate == nil {
		cfg.Delegate = func(context.Context, *Principal, string) error { return errors.New("no policy allows it") }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	registry.tellTo(cfg.Record, cfg.Revocations.tell)
	cfg.Revocations.reread = func(ctx context.Context, kind, name string) error {
		if kind == RevokedKey {
			return keys.reread(ctx)
		}
		return registry.reread(ctx, kind, name)
	}
	validity := []jwt.ParserOption{
		jwt.WithIssuer(cfg.Issuer), jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(leeway), jwt.WithTimeFunc(cfg.Now),
	}
	own := []jwt.ParserOption{jwt.WithValidMethods([]string{ES256, EdDSA, RS256}), jwt.WithStrictDecoding()} // each key has one method of its own
	return &Authority{
		cfg: cfg, base: strings.TrimSuffix(cfg.Issuer, "/"), keys: keys, registry: registry, grants: newGrants(cfg.Grants),
		parser: jwt.NewParser(append(own, validity...)...), validator: jwt.NewValidator(validity...),
		seen: newSeen(), proven: newProven(), failures: newFailures(), front: newFront(cfg.Front, cfg.Issuer, cfg.Now),
		fetched: newFetched(cfg.Now, cfg.Logger), nonces: newNonces(keys.secret), replays: newReplays(),
	}
}

// Tidy turns signing keys as their time comes, and forgets what has ended: grants,
// revocations, codes, and what was good for once. It may be called often, and does its
// work once a minute.
func (a *Authority) Tidy(ctx context.Context) error {
	now := a.cfg.Now()
	if last := a.tidied.Load(); now.Unix() < last+60 || !a.tidied.CompareAndSwap(last, now.Unix()) {
		return nil
	}
	return errors.Join(a.turn(ctx), a.grants.tidy(ctx, now.Add(-time.Minute)), a.front.tidy(ctx, now.Add(-time.Minute)), a.cfg.Revocations.Tidy(ctx), a.cfg.Uses.DropUses(ctx, now))
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

// randomID is 128 random bits, base64url.
func randomID() string {
	b := make([]byte, randomBytes)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}
