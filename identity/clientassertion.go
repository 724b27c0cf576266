package identity

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	clientAssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	longestAssertion    = 5 * time.Minute // from now until it expires
)

// isPlainJWT says whether typ is that of a JWT which is nothing in particular, or
// one of those besides. It is never that of a token, a proof or an ID-JAG.
func isPlainJWT(typ string, besides ...string) bool {
	return typ == "" || typ == "JWT" || typ == "jwt" || slices.Contains(besides, typ)
}

// asserted is the name of the agent that the request authenticates as by a JWT that
// it signed (RFC 7523, private_key_jwt).
func (a *Authority) asserted(r *http.Request, form map[string]string) (string, error) {
	address, at := origin(r.RemoteAddr), a.cfg.Now()
	switch {
	case form["client_assertion_type"] != clientAssertionType:
		return "", badRequest("invalid_request", "client_assertion_type: want %s", clientAssertionType)
	case form["client_secret"] != "" || len(r.Header["Authorization"]) > 0:
		return "", badRequest("invalid_request", "the client authenticates twice: use client_assertion or a secret, not both")
	}
	f, err := readForeign(form["client_assertion"])
	name := "?"
	if err == nil && isName(f.subject) {
		name = f.subject
	}
	if wait := a.failures.wait(name, address, at); wait > 0 {
		return "", &fault{http.StatusTooManyRequests, "temporarily_unavailable", "too many wrong tries: wait before the next", wait}
	}
	if err == nil {
		err = a.vouched(r.Context(), f, form["client_id"], at)
	}
	if err == nil {
		a.registry.place(name).from.note(address)
		return name, nil
	}
	return "", a.unproven(name, name, address, "client_assertion", err, badClient)
}

// vouched says whether f proves that its subject asks.
func (a *Authority) vouched(ctx context.Context, f *foreign, client string, at time.Time) error {
	switch {
	case f.subject == "" || f.issuer != f.subject || client != "" && client != f.subject:
		return Refusal("the iss and sub of the client_assertion must both be the client_id")
	case !isPlainJWT(f.typ, "client-authentication+jwt"):
		return errJWTType
	case f.jwk != nil:
		return errJWTHeader // whoever brings a key along proves nothing
	}
	agent, _ := a.registry.Get(f.subject)
	k, err := a.keyOfClient(ctx, &agent, f)
	if err != nil {
		return err
	}
	if err := f.signed(k, at, jwt.WithExpirationRequired()); err != nil {
		return err
	}
	switch {
	case time.Unix(f.expires, 0).Sub(at) > longestAssertion+leeway:
		return errJWTLong
	case len(f.audience) != 1 || f.audience[0] != a.cfg.Issuer && f.audience[0] != a.base && f.audience[0] != a.base+tokenPath:
		return errJWTAudience
	}
	if err := f.confirmed(ctx); err != nil {
		return err
	}
	if err := agent.tokenless(at); err != nil { // only who has the key may know
		return err
	}
	return a.once(ctx, "client_assertion", f)
}

// keyOfClient is the key that f names, of those that agent is registered with. It is
// the same for an agent that is not there as for one that has no keys.
func (a *Authority) keyOfClient(ctx context.Context, agent *Agent, f *foreign) (ClientKey, error) {
	if agent.JWKSURI != "" {
		return a.fetched.find(ctx, agent.JWKSURI, f.kid, f.alg)
	}
	keys, err := agent.ClientKeys()
	if err != nil {
		return ClientKey{}, err
	}
	if k, ok := pick(keys, f.kid, f.alg); ok {
		return k, nil
	}
	return ClientKey{}, errJWTKey
}

// unproven puts on record that a JWT of the agent name is not taken, and is what the
// caller is told: refusals as refuse says, anything else as a failure of this gate. whose
// is who is slowed down for it.
func (a *Authority) unproven(name, whose, address, what string, err error, refuse func(string) *fault) error {
	at := a.cfg.Now()
	state := what + ": " + clipped(err.Error()) + ", from " + address
	var told Refusal
	ours := !errors.As(err, &told) && !errors.Is(err, ErrRevoked) && !errors.Is(err, ErrEnded) && !errors.Is(err, ErrUnknown)
	if !ours {
		a.failures.note(whose, address, at)
		if a.failures.wait(whose, address, at) > 0 {
			state += ", throttled"
		}
	}
	_ = a.cfg.Record("token.refused", "agent:"+name, "agent:"+name, state) // it is refused in any case
	switch {
	case errors.Is(err, errOutage):
		return &fault{http.StatusServiceUnavailable, "temporarily_unavailable", what + ": " + errOutage.Error(), keysRetry}
	case ours:
		return err
	}
	return refuse(what + ": " + err.Error())
}
