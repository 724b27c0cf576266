package identity_test

import (
	"path/filepath"
	"strings"
	"testing"

	"callgate/identity"
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
