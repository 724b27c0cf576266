package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// assertionType is the typ of assertions. It is not that of access tokens, so that
// none is ever taken for one here.
const assertionType = "JWT"

const assertionLife = time.Minute

// An assertion is what callgate says to an authorization server: that it is the
// client (RFC 7523), or on whose behalf it asks for a token (RFC 8693).
type assertion struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"` // one, so that no other authorization server takes it
	Expires  int64  `json:"exp"`
	Issued   int64  `json:"iat"`
	ID       string `json:"jti"`
}

// GetExpirationTime and the next five implement [jwt.Claims].
func (c *assertion) GetExpirationTime() (*jwt.NumericDate, error) { return date(c.Expires), nil }
func (c *assertion) GetIssuedAt() (*jwt.NumericDate, error)       { return date(c.Issued), nil }
func (c *assertion) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (c *assertion) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c *assertion) GetSubject() (string, error)                  { return c.Subject, nil }
func (c *assertion) GetAudience() (jwt.ClaimStrings, error)       { return jwt.ClaimStrings{c.Audience}, nil }

// Assert makes a token that lives for a minute, by which callgate vouches for
// subject at audience, an authorization server. issuer is the gate's own URL, or,
// where callgate is a client there, its client_id. Who verifies it finds the key
// at /.well-known/jwks.json.
func (a *Authority) Assert(_ context.Context, issuer, subject, audience string) (Secret, error) {
	if issuer == "" || subject == "" || audience == "" || strings.TrimSuffix(audience, "/") == a.base {
		return Secret{}, errors.New("an assertion needs an issuer, a subject, and an audience that is not this gate")
	}
	at := a.cfg.Now().Unix()
	c := &assertion{issuer, subject, audience, at + int64(assertionLife/time.Second), at, randomID()}
	text, err := a.keys.ring.Load().active.sign(assertionType, c)
	if err != nil {
		return Secret{}, fmt.Errorf("sign an assertion for %s: %w", subject, err)
	}
	if err := a.cfg.Record("assertion.issued", "system", subject, fmt.Sprintf("jti %s, at %s", c.ID, audience)); err != nil {
		return Secret{}, fmt.Errorf("an assertion for %s is not issued, since that could not be recorded: %w", subject, err)
	}
	return NewSecret(text), nil
}
