package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A Federation is an issuer whose JWTs are taken in the place of credentials
// (RFC 7523): of one workload, which is an agent here, or of people for whom agents
// act (ID-JAG). The zero Federation is not valid.
type Federation struct {
	Issuer   string              // its iss, exactly
	JWKSURI  string              // where it publishes its keys
	JWKS     string              // its keys, instead, as [ReadClientKeys] writes them
	Audience string              // the one aud that its JWTs have; default the gate's own URL
	Agent    string              // who their bearer is
	Claims   map[string][]string // what they must say: each claim one of the texts, exactly. a/b is b in the object a.
	Reuse    bool                // a JWT is good until it expires, and not once: for files that hold one for a while
	Users    bool                // instead of Agent: its ID-JAGs say for which user a client acts

	keys []ClientKey
}

const (
	byAssertion  = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	longestOther = 24 * time.Hour // that a workload's JWT may have to live
	maxFederated = 256
	maxClaimed   = 32 // claims that one is asked for
	github       = "https://token.actions.githubusercontent.com"
)

// Federate puts list in the place of what was federated before. The error, of
// [ErrInvalid], says all that is wrong with it; then nothing is changed.
func (a *Authority) Federate(list []Federation) error {
	next, err := Federations(list)
	if err != nil {
		return err
	}
	for i := range next {
		if next[i].Audience == "" {
			next[i].Audience = a.cfg.Issuer
		}
	}
	a.federations.Store(&next)
	return nil
}

// Federations is list, checked. The error, of [ErrInvalid], says all that is wrong.
func Federations(list []Federation) ([]Federation, error) {
	if len(list) > maxFederated {
		return nil, invalid("%d federations: at most %d", len(list), maxFederated)
	}
	next := slices.Clone(list)
	var wrong []error
	for i := range next {
		if err := next[i].check(); err != nil {
			wrong = append(wrong, invalid("federation %d, of %.80q: %v", i+1, next[i].Issuer, err))
		}
	}
	return next, errors.Join(wrong...)
}

func (f *Federation) check() (err error) {
	switch {
	case !isPlain(f.Issuer, maxURI):
		return errors.New("write issuer: the iss of its JWTs, exactly")
	case (f.JWKS == "") == (f.JWKSURI == ""):
		return errors.New("write jwks_uri, where it publishes its keys, or jwks, a file with them: one of the two")
	case f.JWKSURI != "" && !isKeysURI(f.JWKSURI):
		return fmt.Errorf("jwks_uri: want an https URL of at most %d bytes, without user and without # (http on this machine)", maxURI)
	case f.Audience != "" && !isPlain(f.Audience, maxResource):
		return errors.New("audience: want one line")
	case strings.HasPrefix(f.Audience, "https://kubernetes.default"):
		return errors.New("audience: this is that of tokens for the Kubernetes API, which every pod has: let the pod project one for this gate")
	case f.Users && (f.Agent != "" || f.Reuse || f.Audience != ""):
		return errors.New("users: stands without agent, audience and reuse, since ID-JAGs are for this gate, good once, and name the client themselves")
	case !f.Users && !isName(f.Agent):
		return fmt.Errorf("agent %.80q: write the name of the agent that its bearer is", f.Agent)
	case len(f.Claims) > maxClaimed:
		return fmt.Errorf("claims: %d of them, want at most %d", len(f.Claims), maxClaimed)
	}
	if f.JWKS != "" {
		if f.keys, err = readPublished([]byte(f.JWKS)); err != nil {
			return fmt.Errorf("jwks: %w", err)
		}
	}
	for name, values := range f.Claims {
		if name == "" || len(values) == 0 || len(values) > maxClaimed {
			return fmt.Errorf("claims.%.80s: want 1 to %d texts", name, maxClaimed)
		}
		for _, v := range values {
			if !isPlain(v, maxResource) || strings.ContainsAny(v, "*?") {
				return fmt.Errorf("claims.%.80s: %.80q: write the exact text, or a list of such; there are no wildcards, since who chooses a name could choose one that fits", name, v)
			}
		}
	}
	if !f.Users && !f.isOne() {
		if f.Issuer == github {
			return errors.New("claims: for GitHub write repository_owner_id, a number, and either sub, or repository with ref or environment: names alone can become another's")
		}
		return errors.New("claims: they do not say which workload it is: write sub, or kubernetes.io/namespace and kubernetes.io/serviceaccount/name")
	}
	return nil
}

// isOne says whether the claims that are asked for are those of one workload.
func (f *Federation) isOne() bool {
	has := func(name string) bool { return len(f.Claims[name]) > 0 }
	if f.Issuer == github {
		for _, id := range f.Claims["repository_owner_id"] {
			if strings.Trim(id, "0123456789") != "" {
				return false
			}
		}
		repository := has("repository") || has("repository_id")
		return has("repository_owner_id") && (has("sub") || repository && (has("ref") || has("environment")))
	}
	return has("sub") || has("kubernetes.io/namespace") && has("kubernetes.io/serviceaccount/name")
}

// fits says whether j says all that is asked for.
func (f *Federation) fits(j *foreign) bool {
	for name, values := range f.Claims {
		if got := j.claim(name); got == "" || !slices.Contains(values, got) {
			return false
		}
	}
	return true
}

// key is the key of f that j names.
func (f *Federation) key(ctx context.Context, p *fetched, j *foreign) (ClientKey, error) {
	if f.JWKSURI != "" {
		return p.find(ctx, f.JWKSURI, j.kid, j.alg)
	}
	if k, ok := pick(f.keys, j.kid, j.alg); ok {
		return k, nil
	}
	return ClientKey{}, errJWTKey
}

const (
	errNotFederated Refusal = "the issuer of the JWT is not one that this gate takes them from"
	errNoWorkload   Refusal = "the JWT is of no workload that is an agent here: its claims are not those that the configuration asks for"
	errManyAgents   Refusal = "the JWT is of a workload that is several agents here: say which, as client_id"
)

// asserting issues a token to who presents the JWT of an issuer that is trusted for it.
func (a *Authority) asserting(r *http.Request, form map[string]string) (Token, error) {
	if form["assertion"] == "" {
		return Token{}, badRequest("invalid_request", "assertion is missing: the JWT that says who asks")
	}
	j, err := readForeign(form["assertion"])
	if err == nil && j.typ == jagType {
		return a.bridged(r, form, j)
	}
	address, at, whose := origin(r.RemoteAddr), a.cfg.Now(), "?"
	if err == nil {
		whose = j.whose()
	}
	if wait := a.failures.wait(whose, address, at); wait > 0 {
		return Token{}, &fault{http.StatusTooManyRequests, "temporarily_unavailable", "too many wrong tries: wait before the next", wait}
	}
	name := "?"
	if err == nil {
		name, err = a.workload(r.Context(), j, form["client_id"], at)
	}
	if err == nil {
		err = a.alike(r, form, name)
	}
	if err != nil {
		return Token{}, a.unproven(name, whose, address, "assertion", err, badGrant)
	}
	o, err := a.asked(r, form)
	if err != nil {
		return Token{}, err
	}
	a.registry.place(name).from.note(address)
	o.By = "agent:" + name
	t, err := a.Mint(r.Context(), name, o)
	return t, a.unissued(o.By, "assertion", err)
}

// workload is the name of the agent whose JWT j is.
func (a *Authority) workload(ctx context.Context, j *foreign, client string, at time.Time) (string, error) {
	if !isPlainJWT(j.typ, "JOSE") {
		return "?", errJWTType
	}
	f, err := a.federated(ctx, j, at, func(f *Federation) bool { return !f.Users && (client == "" || client == f.Agent) })
	if err != nil {
		return "?", err
	}
	name := f.Agent
	agent, ok := a.registry.Get(name)
	switch {
	case !ok:
		return name, unknown(name)
	case time.Unix(j.expires, 0).Sub(at) > longestOther+leeway:
		return name, errJWTLong
	}
	if err := agent.tokenless(at); err != nil {
		return name, err
	}
	if f.Reuse {
		return name, nil
	}
	if j.id == "" { // then it is told by all that is signed, and not by the signature, which can be written in two ways
		sum := sha256.Sum256([]byte(j.text[:strings.LastIndexByte(j.text, '.')]))
		j.id = hex.EncodeToString(sum[:])
	}
	return name, a.once(ctx, "assertion", j)
}

// federated is the one of those that may be whose JWT j is, signature and all.
func (a *Authority) federated(ctx context.Context, j *foreign, at time.Time, may func(*Federation) bool) (found *Federation, err error) {
	if j.jwk != nil {
		return nil, errJWTHeader
	}
	err = errNotFederated
	list := a.federations.Load()
	if list == nil {
		return nil, err
	}
	for i := range *list {
		f := &(*list)[i]
		if f.Issuer != j.issuer || !may(f) {
			continue
		}
		switch e := a.takes(ctx, f, j, at); {
		case e == nil && found == nil:
			found = f
		case e == nil && found.Agent != f.Agent:
			return nil, errManyAgents
		case e != nil && (err == errNotFederated || e == errNoWorkload): // which was the nearest
			err = e
		}
	}
	if found != nil {
		return found, nil
	}
	return nil, err
}

// takes says why j is none of f's, or does not hold.
func (a *Authority) takes(ctx context.Context, f *Federation, j *foreign, at time.Time) error {
	k, err := f.key(ctx, a.fetched, j)
	if err == nil {
		err = j.signed(k, at, jwt.WithExpirationRequired())
	}
	switch {
	case err != nil:
		return err
	case len(j.audience) != 1 || strings.TrimSuffix(j.audience[0], "/") != strings.TrimSuffix(f.audience(a.cfg.Issuer), "/"):
		return errJWTAudience
	case !f.fits(j):
		return errNoWorkload
	}
	return j.confirmed(ctx)
}

// audience is that of f, which for ID-JAGs is always the gate's own.
func (f *Federation) audience(issuer string) string {
	if f.Users || f.Audience == "" {
		return issuer
	}
	return f.Audience
}

// alike refuses a request that authenticates as another client than name besides.
func (a *Authority) alike(r *http.Request, form map[string]string, name string) error {
	if r.Header.Get("Authorization") == "" && form["client_secret"] == "" && form["client_assertion"] == "" {
		return nil
	}
	client, err := a.client(r, form)
	if err == nil && client != name {
		err = Refusal("the client that authenticates is not the agent of the JWT")
	}
	return err
}

// unissued puts on record that by gets no token, if err is why.
func (a *Authority) unissued(by, what string, err error) error {
	if err != nil {
		_ = a.cfg.Record("token.refused", by, by, what+": "+clipped(err.Error())) // it is refused in any case
	}
	return explained(err)
}

func badGrant(text string) *fault { return badRequest("invalid_grant", "%s", text) }

// sameURL says whether a and b are one URL, but for the case of scheme and host, a
// default port and a slash at the end.
func sameURL(a, b string) bool {
	x, y := plainURL(a), plainURL(b)
	return x != "" && x == y
}

func plainURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || len(s) > 4*maxResource || u.User != nil || u.Host == "" {
		return ""
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	default:
		return ""
	}
	return scheme + "://" + host + strings.TrimSuffix(u.EscapedPath(), "/")
}
