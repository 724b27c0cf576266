package identity_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"callgate/identity"

	"github.com/go-jose/go-jose/v4"
)

func public(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestClientKeysAreReadAsOthersReadThem(t *testing.T) {
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ec384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	ed, _, _ := ed25519.GenerateKey(rand.Reader)
	rs, _ := rsa.GenerateKey(rand.Reader, 2048)
	text := append(append(append(public(t, &ec.PublicKey), public(t, &ec384.PublicKey)...), public(t, ed)...), public(t, &rs.PublicKey)...)
	set, err := identity.ReadClientKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	var theirs jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(set), &theirs); err != nil || len(theirs.Keys) != 4 {
		t.Fatal(err, len(theirs.Keys))
	}
	keys := []any{&ec.PublicKey, &ec384.PublicKey, ed, &rs.PublicKey}
	for i, k := range theirs.Keys {
		want := jose.JSONWebKey{Key: keys[i]}
		sum, err := want.Thumbprint(crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Thumbprint(crypto.SHA256)
		if err != nil || string(got) != string(sum) {
			t.Errorf("key %d is another one: %v", i, err)
		}
	}
	// What was written is read again as the same.
	again, err := identity.ReadClientKeys([]byte(set))
	if err != nil || again != set {
		t.Errorf("%v\n%s\n%s", err, set, again)
	}
	mine, err := (&identity.Agent{JWKS: set}).ClientKeys()
	if err != nil || len(mine) != 4 || !ec.PublicKey.Equal(mine[0].Public) || !rs.PublicKey.Equal(mine[3].Public) {
		t.Errorf("%v %+v", err, mine)
	}
}

func TestClientKeysThatAreRefused(t *testing.T) {
	small, _ := rsa.GenerateKey(rand.Reader, 1024)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	private, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: ec, KeyID: "a"}}})
	der, _ := x509.MarshalPKCS8PrivateKey(ec)
	one, _ := json.Marshal(jose.JSONWebKey{Key: &ec.PublicKey, KeyID: "a"})
	for _, test := range []struct{ name, text, want string }{
		{"nothing", "", "want 1 to 8"},
		{"no keys at all", "hello", "want a JWK Set, or PEM"},
		{"a private key in PEM", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "this is a private key"},
		{"a private key in a set", string(private), "this is a private key"},
		{"a shared secret", `{"keys":[{"kty":"oct","k":"AAAA"}]}`, "this is a private key"},
		{"a small RSA key", string(public(t, &small.PublicKey)), "1024 bits"},
		{"a curve that no algorithm here is for", string(public(t, &p521.PublicKey)), "P-256"},
		{"a point that is not on the curve", `{"keys":[{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}]}`, "cannot be read"},
		{"another algorithm than the key's", strings.Replace(`{"keys":[`+string(one)+`]}`, `"kid"`, `"alg":"HS256","kid"`, 1), "ES256"},
		{"a key to encrypt to", strings.Replace(`{"keys":[`+string(one)+`]}`, `"kid"`, `"use":"enc","kid"`, 1), "want sig"},
		{"one kid twice", `{"keys":[` + string(one) + `,` + string(one) + `]}`, "twice"},
		{"a name twice", `{"keys":[],"keys":[` + string(one) + `]}`, "JWK Set"},
		{"too many", `{"keys":[` + strings.Repeat(string(one)+",", 8) + string(one) + `]}`, "want 1 to 8"},
		{"too long", strings.Repeat(" ", 20<<10), "bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := identity.ReadClientKeys([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func FuzzClientKeys(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := identity.ReadClientKeys(text)
		if err != nil {
			return
		}
		if again, err := identity.ReadClientKeys([]byte(set)); err != nil || again != set {
			t.Errorf("what was written is read as something else: %v", err)
		}
	})
}
