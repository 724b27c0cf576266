package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// A ClientKey is a public key with which an agent may prove who it is.
type ClientKey struct {
	ID     string           // its kid: as the set says, else its RFC 7638 thumbprint
	Alg    string           // the one algorithm that it is for: ES256, ES384, EdDSA, RS256 or PS256
	Public crypto.PublicKey // *ecdsa.PublicKey, ed25519.PublicKey or *rsa.PublicKey

	any bool // it did not say what it is for
}

const (
	maxClientKeys = 8
	maxKeysText   = 16 << 10 // bytes
	minRSA        = 2048     // bits
	maxRSA        = 8192
)

// clientJWK is a public key as RFC 7517 writes it.
type clientJWK struct {
	Type  string `json:"kty"`
	Curve string `json:"crv,omitempty"`
	X     string `json:"x,omitempty"`
	Y     string `json:"y,omitempty"`
	N     string `json:"n,omitempty"`
	E     string `json:"e,omitempty"`
	ID    string `json:"kid"`
	Alg   string `json:"alg"`
	Use   string `json:"use,omitempty"`
}

// ReadClientKeys reads public keys, a JWK Set (RFC 7517) or PEM, and returns them as
// a JWK Set in which each has a kid and an alg. A private key is refused: it must
// never have been sent here.
func ReadClientKeys(text []byte) (jwks string, err error) {
	keys, err := parseClientKeys(text)
	if err != nil {
		return "", err
	}
	set := make([]clientJWK, len(keys))
	for i, k := range keys {
		set[i] = describeKey(k.Public)
		set[i].ID, set[i].Alg, set[i].Use = k.ID, k.Alg, "sig"
	}
	doc, err := json.Marshal(map[string]any{"keys": set})
	return string(doc), err
}

// ClientKeys is the public keys that a is registered with; none if it publishes
// them at its JWKSURI, or has none.
func (a *Agent) ClientKeys() ([]ClientKey, error) {
	if a.JWKS == "" {
		return nil, nil
	}
	return parseClientKeys([]byte(a.JWKS))
}

func parseClientKeys(text []byte) ([]ClientKey, error) {
	if len(text) > maxKeysText {
		return nil, fmt.Errorf("keys: more than %d bytes", maxKeysText)
	}
	read := readPEM
	if text = bytes.TrimSpace(text); len(text) > 0 && text[0] == '{' {
		read = readJWKS
	}
	keys, err := read(text)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	if len(keys) == 0 || len(keys) > maxClientKeys {
		return nil, fmt.Errorf("keys: %d of them, want 1 to %d", len(keys), maxClientKeys)
	}
	seen := make(map[string]bool)
	for _, k := range keys {
		if seen[k.ID] {
			return nil, fmt.Errorf("keys: %.80q stands there twice", k.ID)
		}
		seen[k.ID] = true
	}
	return keys, nil
}

var errPrivate = errors.New("this is a private key: keep it with the agent, make a new one since this one has been shown, and give the public one")

func readPEM(text []byte) ([]ClientKey, error) {
	var keys []ClientKey
	for len(bytes.TrimSpace(text)) > 0 {
		block, rest := pem.Decode(text)
		switch {
		case block == nil:
			return nil, errors.New("want a JWK Set, or PEM that begins with -----BEGIN PUBLIC KEY-----")
		case strings.Contains(block.Type, "PRIVATE"):
			return nil, errPrivate
		case block.Type != "PUBLIC KEY":
			return nil, fmt.Errorf("a PEM block of type %.40q: want PUBLIC KEY", block.Type)
		}
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, errors.New("a PEM block is no public key that can be read")
		}
		k, err := clientKey(public)
		if err != nil {
			return nil, err
		}
		if keys, text = append(keys, k), rest; len(keys) > maxClientKeys {
			break
		}
	}
	return keys, nil
}

func readJWKS(text []byte) ([]ClientKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if !jsontext.Value(text).IsValid() || json.Unmarshal(text, &set) != nil { // the first: no name twice
		return nil, errors.New(`want a JWK Set: {"keys": […]}`)
	}
	var keys []ClientKey
	for _, raw := range set.Keys[:min(len(set.Keys), maxClientKeys+1)] {
		k, err := readJWK(raw)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// readJWK reads one public key.
func readJWK(raw []byte) (k ClientKey, err error) {
	var names map[string]json.RawMessage
	var j clientJWK
	if json.Unmarshal(raw, &names) != nil || json.Unmarshal(raw, &j) != nil {
		return k, errors.New("a key of the set is no JWK")
	}
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if _, has := names[private]; has {
			return k, errPrivate
		}
	}
	public, err := j.public()
	if err != nil {
		return k, err
	}
	if k, err = clientKey(public); err != nil {
		return k, err
	}
	switch {
	case j.Alg == "":
		k.any = true
	case k.Alg == "RS256" && j.Alg == "PS256":
		k.Alg = j.Alg
	case j.Alg != k.Alg:
		return k, fmt.Errorf("a key for alg %.20q: this key is taken for %s", j.Alg, k.Alg)
	}
	if j.Use != "" && j.Use != "sig" {
		return k, fmt.Errorf("a key for use %.20q: want sig", j.Use)
	}
	if j.ID != "" {
		if len(j.ID) > 128 || strings.ContainsFunc(j.ID, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
			return k, errors.New("a kid: want at most 128 printable ASCII characters without space")
		}
		k.ID = j.ID
	}
	return k, nil
}

// usedFor is k as it is used by who signs with alg: an RSA key that does not say what
// it is for is for either of the two.
func (k ClientKey) usedFor(alg string) ClientKey {
	if k.any && k.Alg == "RS256" && alg == "PS256" {
		k.Alg = alg
	}
	return k
}

// public is the key that j writes out.
func (j *clientJWK) public() (crypto.PublicKey, error) {
	wrong := fmt.Errorf("a key of type %.20q that cannot be read", j.Type)
	raw := func(s string) []byte {
		b, err := base64.RawURLEncoding.Strict().DecodeString(s)
		if err != nil {
			return nil
		}
		return b
	}
	switch {
	case j.Type == "EC" && (j.Curve == "P-256" || j.Curve == "P-384"):
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384()}[j.Curve]
		x, y, size := raw(j.X), raw(j.Y), (curve.Params().BitSize+7)/8
		if len(x) != size || len(y) != size {
			return nil, wrong
		}
		k, err := ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, x...), y...))
		if err != nil {
			return nil, wrong
		}
		return k, nil
	case j.Type == "OKP" && j.Curve == "Ed25519":
		if x := raw(j.X); len(x) == ed25519.PublicKeySize {
			return ed25519.PublicKey(x), nil
		}
		return nil, wrong
	case j.Type == "RSA":
		n, e := raw(j.N), new(big.Int).SetBytes(raw(j.E))
		if len(n) == 0 || len(n) > maxRSA/8 || !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 {
			return nil, wrong
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(e.Int64())}, nil
	}
	return nil, fmt.Errorf("a key of type %.20q %.20q: want P-256, P-384, Ed25519 or RSA", j.Type, j.Curve)
}

// clientKey is public with the algorithm that it is for, named by its thumbprint.
func clientKey(public crypto.PublicKey) (ClientKey, error) {
	k := ClientKey{Public: public}
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		switch p.Curve {
		case elliptic.P256():
			k.Alg = "ES256"
		case elliptic.P384():
			k.Alg = "ES384"
		default:
			return k, errors.New("an elliptic curve other than P-256 and P-384")
		}
	case ed25519.PublicKey:
		k.Alg = "EdDSA"
	case *rsa.PublicKey:
		if n := p.N.BitLen(); n < minRSA || n > maxRSA || p.E < 3 || p.E%2 == 0 {
			return k, fmt.Errorf("an RSA key of %d bits: want %d to %d", n, minRSA, maxRSA)
		}
		k.Alg = "RS256"
	default:
		return k, errors.New("a key of another kind than P-256, P-384, Ed25519 and RSA")
	}
	j := describeKey(public)
	members := map[string]string{"kty": j.Type} // encoded in the order that RFC 7638 wants
	for name, v := range map[string]string{"crv": j.Curve, "x": j.X, "y": j.Y, "n": j.N, "e": j.E} {
		if v != "" {
			members[name] = v
		}
	}
	doc, err := json.Marshal(members)
	if err != nil {
		return k, err
	}
	sum := sha256.Sum256(doc)
	k.ID = base64.RawURLEncoding.EncodeToString(sum[:])
	return k, nil
}

func describeKey(public crypto.PublicKey) clientJWK {
	b64 := base64.RawURLEncoding.EncodeToString
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		j := newJWK(p)
		return clientJWK{Type: j.Type, Curve: j.Curve, X: j.X, Y: j.Y}
	case ed25519.PublicKey:
		return clientJWK{Type: "OKP", Curve: "Ed25519", X: b64(p)}
	case *rsa.PublicKey:
		return clientJWK{Type: "RSA", N: b64(p.N.Bytes()), E: b64(big.NewInt(int64(p.E)).Bytes())}
	}
	return clientJWK{}
}

// keysOf is the names of the keys in a set, for the record.
func keysOf(jwks string) string {
	if jwks == "" {
		return ""
	}
	keys, err := parseClientKeys([]byte(jwks))
	if err != nil {
		return "that cannot be read"
	}
	var names []string
	for _, k := range keys {
		names = append(names, k.Alg+" "+k.ID)
	}
	return strings.Join(names, " ")
}
