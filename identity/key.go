package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A key is one signing key. Its alg is pinned: a token that names the key and
// another alg is refused, whatever its signature. Of it only dropped changes.
type key struct {
	id      string // RFC 7638 thumbprint, base64url
	method  jwt.SigningMethod
	private crypto.Signer
	state   string
	created time.Time
	since   time.Time    // when it came into state
	until   time.Time    // of one that retires: when no token that it signed can be alive
	gone    *atomic.Bool // nobody may be let in by it any more; shared by all states of the key
}

// What the state of a key may be.
const (
	pending  = "pending"  // published, so that others know it before it signs
	active   = "active"   // signs and verifies
	retiring = "retiring" // verifies what it signed before
)

// The algorithms of signing keys.
const (
	ES256 = "ES256" // the default: P-256
	EdDSA = "EdDSA" // Ed25519
	RS256 = "RS256" // RSA of 3072 bits, for who can verify nothing else
)

const (
	rsaBits   = 3072
	leastBits = 2048 // of an RSA key that is taken
)

// IsKeyAlg says whether alg is one that keys can have.
func IsKeyAlg(alg string) bool { return alg == ES256 || alg == EdDSA || alg == RS256 }

// newKey makes a key of alg. Its id never begins with "-", so that commands do not take it for a flag.
func newKey(alg string, at time.Time) (*key, error) {
	for {
		k, err := drawKey(alg, at)
		if err != nil || !strings.HasPrefix(k.id, "-") {
			return k, err
		}
	}
}

func drawKey(alg string, at time.Time) (*key, error) {
	var private crypto.Signer
	var err error
	switch alg {
	case EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case RS256:
		private, err = rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return nil, fmt.Errorf("make a signing key: %w", err)
	}
	return keyOf(private, pending, at)
}

// keyOf is the key private, whose kind says what its alg is.
func keyOf(private crypto.Signer, state string, at time.Time) (*key, error) {
	k := &key{private: private, state: state, created: at.UTC().Truncate(time.Second), gone: new(atomic.Bool)}
	k.since = k.created
	switch p := private.(type) {
	case *ecdsa.PrivateKey:
		if p.Curve == elliptic.P256() {
			k.method = jwt.SigningMethodES256
		}
	case ed25519.PrivateKey:
		k.method = jwt.SigningMethodEdDSA
	case *rsa.PrivateKey:
		if p.N.BitLen() >= leastBits {
			k.method = jwt.SigningMethodRS256
		}
	}
	if k.method == nil {
		return nil, errors.New("it is of a kind that callgate does not sign with")
	}
	k.id = thumbprint(private.Public())
	return k, nil
}

// parseKey reads what [key.pkcs8] wrote.
func parseKey(r ringKey) (*key, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(r.PKCS8)
	private, ok := parsed.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("key %s cannot be read", r.ID)
	}
	k, err := keyOf(private, r.State, r.Created)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", r.ID, err)
	}
	if k.method.Alg() != r.Alg || k.id != r.ID {
		return nil, fmt.Errorf("key %s is not the %s key that it says it is", r.ID, r.Alg)
	}
	if !r.Since.IsZero() {
		k.since = r.Since
	}
	k.until = r.Until
	return k, nil
}

func (k *key) pkcs8() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(k.private) }

// in is k in another state.
func (k *key) in(state string, at time.Time) *key {
	next := *k
	next.state, next.since, next.until = state, at.UTC().Truncate(time.Second), time.Time{}
	return &next
}

// sign makes a JWT of typ. No other function signs.
func (k *key) sign(typ string, c jwt.Claims) (string, error) {
	t := jwt.NewWithClaims(k.method, c)
	t.Header["typ"], t.Header["kid"] = typ, k.id
	return t.SignedString(k.private)
}

// A jwk is a public key as RFC 7517 writes it. Field order is that of RFC 7638: of
// each kind of key the members that it has are in the order of the alphabet.
type jwk struct {
	Curve    string `json:"crv,omitempty"`
	Exponent string `json:"e,omitempty"`
	Type     string `json:"kty"`
	Modulus  string `json:"n,omitempty"`
	X        string `json:"x,omitempty"`
	Y        string `json:"y,omitempty"`
	ID       string `json:"kid,omitempty"`
	Alg      string `json:"alg,omitempty"`
	Use      string `json:"use,omitempty"`
}

func newJWK(public crypto.PublicKey) jwk {
	b64 := base64.RawURLEncoding
	switch p := public.(type) {
	case ed25519.PublicKey:
		return jwk{Curve: "Ed25519", Type: "OKP", X: b64.EncodeToString(p)}
	case *rsa.PublicKey:
		return jwk{Type: "RSA", Exponent: b64.EncodeToString(big.NewInt(int64(p.E)).Bytes()), Modulus: b64.EncodeToString(p.N.Bytes())}
	case *ecdsa.PublicKey:
		if point, err := p.Bytes(); err == nil { // 4, then X and Y of equal length
			half := len(point) / 2
			return jwk{Curve: p.Curve.Params().Name, Type: "EC", X: b64.EncodeToString(point[1 : 1+half]), Y: b64.EncodeToString(point[1+half:])}
		}
	}
	panic("a key that was not made or parsed here")
}

// thumbprint is the RFC 7638 name of a key.
func thumbprint(public crypto.PublicKey) string {
	doc, err := json.Marshal(newJWK(public))
	if err != nil {
		panic(err) // strings only
	}
	sum := sha256.Sum256(doc)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
