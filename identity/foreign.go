package identity

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// A foreign is a JWT that somebody else signed: a client, a workload's platform, an
// identity provider, or who holds a DPoP key. It is read strictly before anything of
// it is believed, and nothing of it is until [foreign.signed] returns nil.
type foreign struct {
	text string
	alg  string
	typ  string
	kid  string
	jwk  []byte // the key in the header, nil if there is none

	issuer, subject, id string
	audience            []string
	expires             int64 // seconds since 1970; 0: it does not say
	issued, from        int64
	more                map[string]json.RawMessage // all other claims
}

// What can be wrong with a JWT of somebody else.
const (
	errNoJWT         Refusal = "this is not a JWT that can be read: want three parts of base64url without padding, each JSON without a name twice"
	errLongJWT       Refusal = "the JWT is longer than 8 KiB"
	errJWTHeader     Refusal = "the header of the JWT has more than alg, typ and kid, so it may mean more than is understood here"
	errJWTCritical   Refusal = "the JWT has a crit header, which is not understood here"
	errJWTAlg        Refusal = "the JWT is not signed with the algorithm of its key: want ES256, ES384, EdDSA, RS256 or PS256"
	errJWTType       Refusal = "the typ of the JWT is not what it must be here"
	errJWTKey        Refusal = "the JWT is signed with a key that is not known here"
	errJWTSignature  Refusal = "the signature of the JWT is wrong"
	errJWTExpired    Refusal = "the JWT has expired, or does not say when it does"
	errJWTEarly      Refusal = "the JWT is not valid yet: the clocks of its issuer and of this gate differ"
	errJWTLong       Refusal = "the JWT lives for too long to be taken"
	errJWTAudience   Refusal = "the JWT is not for this gate alone: its aud must be what this gate wants there, and nothing else"
	errJWTIncomplete Refusal = "the JWT lacks a claim, or has one of another type than it must be"
	errJWTBound      Refusal = "the JWT is bound to a key by its cnf: send it together with a DPoP proof of that key, or by a connection with that certificate"
	errJWTUsed       Refusal = "the JWT was used already: its jti is good for once"
)

const (
	maxJTI       = 256 // bytes
	maxAudiences = 8
	maxMore      = 128 // other claims
)

// foreignAlgs is what JWTs of others may be signed with.
func foreignAlgs() []string { return []string{"ES256", "ES384", "EdDSA", "RS256", "PS256"} }

// readForeign reads a JWT, of which nothing is proven yet.
func readForeign(text string) (*foreign, error) {
	if len(text) > maxToken {
		return nil, errLongJWT
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 || parts[2] == "" || strings.ContainsFunc(text, func(c rune) bool { return !isBase64URL(c) && c != '.' }) {
		return nil, errNoJWT
	}
	f := &foreign{text: text}
	header, err := base64.RawURLEncoding.Strict().DecodeString(parts[0])
	if err != nil {
		return nil, errNoJWT
	}
	if err := readObject(header, f.readHeader); err != nil {
		return nil, ofJWT(err)
	}
	if !slices.Contains(foreignAlgs(), f.alg) {
		return nil, errJWTAlg
	}
	claims, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
	if err != nil {
		return nil, errNoJWT
	}
	if err := readObject(claims, f.readClaim); err != nil {
		return nil, ofJWT(err)
	}
	return f, nil
}

func (f *foreign) readHeader(name string, d *jsontext.Decoder) (err error) {
	switch name {
	case "alg":
		f.alg, err = readString(d)
	case "typ":
		f.typ, err = readString(d)
	case "kid":
		f.kid, err = readString(d)
	case "jwk":
		var v jsontext.Value
		v, err = d.ReadValue()
		f.jwk = slices.Clone(v)
	case "x5t", "x5t#S256": // names of the same key, which some add to kid
		err = d.SkipValue()
	case "crit":
		return errJWTCritical
	default: // jku, x5u and x5c, which say where to find a key to believe, among them
		return errJWTHeader
	}
	return err
}

func (f *foreign) readClaim(name string, d *jsontext.Decoder) (err error) {
	switch name {
	case "iss":
		f.issuer, err = readString(d)
	case "sub":
		f.subject, err = readString(d)
	case "jti":
		f.id, err = readString(d)
	case "aud":
		f.audience, err = readAudiences(d)
	case "exp":
		f.expires, err = readInteger(d)
	case "iat":
		f.issued, err = readInteger(d)
	case "nbf":
		f.from, err = readInteger(d)
	default:
		if len(f.more) == maxMore {
			return errNoJWT
		}
		v, err := d.ReadValue()
		if err != nil {
			return err
		}
		if f.more == nil {
			f.more = make(map[string]json.RawMessage)
		}
		f.more[name] = json.RawMessage(slices.Clone(v))
	}
	return err
}

// readAudiences reads one string, or a list of them.
func readAudiences(d *jsontext.Decoder) (list []string, err error) {
	if d.PeekKind() != '[' {
		one, err := readString(d)
		return []string{one}, err
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	for d.PeekKind() != ']' {
		one, err := readString(d)
		if err != nil {
			return nil, err
		}
		if list = append(list, one); len(list) > maxAudiences {
			return nil, errJWTIncomplete
		}
	}
	_, err = d.ReadToken()
	return list, err
}

// ofJWT is what reading found wrong, as it is said of JWTs that are not ours.
func ofJWT(err error) error {
	switch err {
	case errJWTHeader, errJWTCritical:
		return err
	case errIncomplete, errJWTIncomplete:
		return errJWTIncomplete
	}
	return errNoJWT
}

// GetExpirationTime and the next five implement [jwt.Claims].
func (f *foreign) GetExpirationTime() (*jwt.NumericDate, error) { return given(f.expires), nil }
func (f *foreign) GetIssuedAt() (*jwt.NumericDate, error)       { return given(f.issued), nil }
func (f *foreign) GetNotBefore() (*jwt.NumericDate, error)      { return given(f.from), nil }
func (f *foreign) GetIssuer() (string, error)                   { return f.issuer, nil }
func (f *foreign) GetSubject() (string, error)                  { return f.subject, nil }
func (f *foreign) GetAudience() (jwt.ClaimStrings, error)       { return f.audience, nil }

// UnmarshalJSON takes nothing more: all was read before.
func (f *foreign) UnmarshalJSON([]byte) error { return nil }

func given(seconds int64) *jwt.NumericDate {
	if seconds == 0 {
		return nil
	}
	return date(seconds)
}

// signed says whether k has signed f, by the one algorithm that k is for, and whether
// what f says of its times holds at a time. No other function verifies what is not ours.
func (f *foreign) signed(k ClientKey, at time.Time, options ...jwt.ParserOption) error {
	if f.alg != k.Alg {
		return errJWTAlg
	}
	options = append(options, jwt.WithValidMethods([]string{k.Alg}), jwt.WithStrictDecoding(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway),
		jwt.WithTimeFunc(func() time.Time { return at }))
	_, err := jwt.NewParser(options...).ParseWithClaims(f.text, f, func(*jwt.Token) (any, error) { return crypto.PublicKey(k.Public), nil })
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return errJWTSignature
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return errJWTExpired
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return errJWTEarly
	}
	return errNoJWT
}

// confirmed says whether the request shows the key that f is bound to, if it is.
func (f *foreign) confirmed(ctx context.Context) error {
	doc, is := f.more["cnf"]
	if !is {
		return nil
	}
	c, err := readConfirmation(jsontext.NewDecoder(bytes.NewReader(doc)))
	if err != nil || *c == (confirmation{}) || !proofOf(ctx).of(*c) {
		return errJWTBound
	}
	return nil
}

// whose is whom f claims to be of, short enough to remember.
func (f *foreign) whose() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %s", len(f.issuer), f.issuer, f.subject))
	return string(sum[:])
}

// claim is the text of a claim that is a string, a number or a bool, "" if there is
// none. A path of / leads into objects where there is no claim of the whole name.
func (f *foreign) claim(path string) string {
	switch path {
	case "iss":
		return f.issuer
	case "sub":
		return f.subject
	case "jti":
		return f.id
	}
	if v, ok := f.more[path]; ok {
		return scalar(v)
	}
	first, rest, _ := strings.Cut(path, "/")
	return scalarAt(f.more[first], rest)
}

// scalarAt is the scalar that path leads to in the object doc.
func scalarAt(doc json.RawMessage, path string) string {
	for path != "" {
		var members map[string]json.RawMessage // which has no name twice: it was read by jsontext
		if len(doc) == 0 || doc[0] != '{' || json.Unmarshal(doc, &members) != nil {
			return ""
		}
		var name string
		name, path, _ = strings.Cut(path, "/")
		doc = members[name]
	}
	return scalar(doc)
}

func scalar(v json.RawMessage) string {
	var s string
	switch {
	case len(v) == 0 || v[0] == '{' || v[0] == '[' || v[0] == 'n':
		return ""
	case v[0] != '"':
		return string(v)
	case json.Unmarshal(v, &s) != nil:
		return ""
	}
	return s
}
