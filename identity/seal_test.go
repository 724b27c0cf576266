package identity_test

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"callgate/identity"

	jose "github.com/go-jose/go-jose/v4"
)

func TestASealOpensWhatItClosedAndNothingElse(t *testing.T) {
	dir, other := filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "keys")
	seal := newSeal(t, dir)
	secret := "refresh\nme"
	sealed, err := seal.Close("token/a", identity.NewSecret(secret))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(sealed, "refresh") {
		t.Error("the seal shows the secret")
	}
	if got, err := newSeal(t, dir).Open("token/a", sealed); err != nil || got.Reveal() != secret {
		t.Errorf("opened again: %q %v", got.Reveal(), err)
	}
	flipped := []byte(sealed)
	flipped[len(flipped)-8] ^= 1
	for name, open := range map[string]func() (identity.Secret, error){
		"in another's place":     func() (identity.Secret, error) { return seal.Open("token/b", sealed) },
		"with another key":       func() (identity.Secret, error) { return newSeal(t, other).Open("token/a", sealed) },
		"one bit is another":     func() (identity.Secret, error) { return seal.Open("token/a", string(flipped)) },
		"the end is missing":     func() (identity.Secret, error) { return seal.Open("token/a", sealed[:len(sealed)-8]) },
		"it was never sealed":    func() (identity.Secret, error) { return seal.Open("token/a", "token/a\nrefresh") },
		"the name is a part":     func() (identity.Secret, error) { return seal.Open("token", sealed) },
		"its name has two lines": func() (identity.Secret, error) { return seal.Open("token/a\nrefresh", sealed) },
	} {
		if got, err := open(); err == nil {
			t.Errorf("%s: opened, %q", name, got.Reveal())
		}
	}
}

// newSeal is the seal of a folder in which the keys are made if need be.
func newSeal(t *testing.T, dir string) *identity.Seal {
	t.Helper()
	if _, err := identity.OpenKeys(dir, identity.Secret{}); err != nil {
		t.Fatal(err)
	}
	s, err := identity.OpenSeal(dir, identity.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnAssertionIsForOneAuthorizationServerAndNotForTheGate(t *testing.T) {
	h := newHouse(t)
	const issuer = "https://as.example/tenant"
	word, err := h.Assert(t.Context(), gateURL, "agent:bot", issuer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jose.ParseSignedCompact(word.Reveal(), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.handler().ServeHTTP(w, httptest.NewRequest("GET", "/.well-known/jwks.json", nil))
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(w.Body.Bytes(), &keys); err != nil {
		t.Fatal(err)
	}
	doc, err := parsed.Verify(keys.Key(parsed.Signatures[0].Header.KeyID)[0])
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Iss, Sub, Aud, Jti string
		Exp, Iat           int64
	}
	if err := json.Unmarshal(doc, &c); err != nil || c.Iss != gateURL || c.Sub != "agent:bot" || c.Aud != issuer || c.Jti == "" || c.Exp != c.Iat+60 {
		t.Errorf("%s: %v", doc, err)
	}
	if _, err := h.Verify(t.Context(), word.Reveal(), "/mcp"); err == nil {
		t.Error("the gate takes it for an access token")
	}
	for _, aud := range []string{gateURL, gateURL + "/", ""} {
		if _, err := h.Assert(t.Context(), gateURL, "agent:bot", aud); err == nil {
			t.Errorf("one for %q was made", aud)
		}
	}
	h.unrecorded = errors.New("the disk is full")
	if _, err := h.Assert(t.Context(), gateURL, "agent:bot", issuer); err == nil {
		t.Error("one that is not on record was made")
	}
}
