package identity_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"callgate/identity"

	"filippo.io/age"
)

func TestKeysOutliveTheProcess(t *testing.T) {
	h := newHouse(t)
	create(t, h.registry, identity.Agent{Name: "bot"})
	token := h.mint(t, "bot", identity.MintOptions{}).Access.Reveal()
	again := identity.New(identity.Config{Issuer: gateURL, Now: h.now, Logger: quiet()}, openKeys(t, h.dir), h.registry)
	if _, err := again.Verify(t.Context(), token, "/mcp"); err != nil {
		t.Error(err)
	}
	if a, b := get(t, h.handler(), "/.well-known/jwks.json").Body, get(t, again.Handler(), "/.well-known/jwks.json").Body; a.String() != b.String() {
		t.Errorf("%s, then %s", a, b)
	}
	stranger := newHouse(t)
	create(t, stranger.registry, identity.Agent{Name: "bot"})
	if _, err := stranger.Verify(t.Context(), token, "/mcp"); err == nil || !strings.Contains(err.Error(), "not issued by this gate") {
		t.Errorf("another gate: %v", err)
	}
}

func TestKeyFilesArePrivate(t *testing.T) {
	h := newHouse(t)
	for file, want := range map[string]os.FileMode{"": 0o700, "seal.key": 0o600, "signing.age": 0o600} {
		info, err := os.Stat(filepath.Join(h.dir, file))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
	files, err := os.ReadDir(h.dir)
	if err != nil || len(files) != 2 {
		t.Errorf("files %v, %v", files, err)
	}
	key, _ := h.signingKey(t)
	secret, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := os.ReadFile(filepath.Join(h.dir, "signing.age"))
	if err != nil || bytes.Contains(sealed, secret) || !bytes.HasPrefix(sealed, []byte("age-encryption.org/v1")) {
		t.Errorf("%q, %v", sealed, err)
	}
}

func TestASealKeyThatIsGiven(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "keys")
	seal := identity.NewSecret("# created: today\n# public key: " + id.Recipient().String() + "\n" + id.String() + "\n")
	for range 2 { // made, then opened
		if _, err := identity.OpenKeys(dir, seal); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "seal.key")); !os.IsNotExist(err) {
		t.Error("a seal key is kept beside what it seals:", err)
	}
	if _, err := identity.OpenKeys(dir, identity.Secret{}); err == nil || !strings.Contains(err.Error(), "put it back") {
		t.Error("without it:", err)
	}
}

func TestOpenKeysRefuses(t *testing.T) {
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		spoil func(dir string) error
		seal  string
		want  string
	}{
		{"a seal key that others can read", func(dir string) error { return os.Chmod(filepath.Join(dir, "seal.key"), 0o640) }, "", "chmod 600"},
		{"signing keys that others can read", func(dir string) error { return os.Chmod(filepath.Join(dir, "signing.age"), 0o604) }, "", "chmod 600"},
		{"a folder that others can write to", func(dir string) error { return os.Chmod(dir, 0o770) }, "", "chmod 700"},
		{"a seal key that is gone", func(dir string) error { return os.Remove(filepath.Join(dir, "seal.key")) }, "", "put it back"},
		{"a seal key that is none", func(dir string) error { return os.WriteFile(filepath.Join(dir, "seal.key"), []byte("hello"), 0o600) }, "", "want one age identity"},
		{"a given seal key that is none", func(string) error { return nil }, "do-not-show-me", "want one age identity"},
		{"another seal key", func(string) error { return nil }, other.String(), "sealed to another key"},
		{"signing keys that were changed", func(dir string) error {
			file := filepath.Join(dir, "signing.age")
			sealed, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			sealed[len(sealed)-1] ^= 1
			return os.WriteFile(file, sealed, 0o600)
		}, "", "signing.age"},
		{"signing keys that are cut off", func(dir string) error { return os.Truncate(filepath.Join(dir, "signing.age"), 100) }, "", "signing.age"},
		{"signing keys that are huge", func(dir string) error { return os.Truncate(filepath.Join(dir, "signing.age"), 1<<20) }, "", "larger than"},
		{"no keys inside the seal", func(dir string) error { return reseal(dir, `{"keys":[]}`) }, "", "no key is active"},
		{"no JSON inside the seal", func(dir string) error { return reseal(dir, `hello`) }, "", "none that this version can read"},
		{"a key that cannot be read", func(dir string) error {
			return reseal(dir, `{"keys":[{"kid":"k","alg":"ES256","state":"active","pkcs8":"AAAA"}]}`)
		}, "", "cannot be read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "keys")
			openKeys(t, dir)
			if err := test.spoil(dir); err != nil {
				t.Fatal(err)
			}
			_, err := identity.OpenKeys(dir, identity.NewSecret(test.seal))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if err != nil && (strings.Contains(err.Error(), "do-not-show-me") || strings.Contains(err.Error(), other.String())) {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

// reseal puts text in the place of the signing keys in dir.
func reseal(dir, text string) error {
	seal, err := os.ReadFile(filepath.Join(dir, "seal.key"))
	if err != nil {
		return err
	}
	ids, err := age.ParseIdentities(bytes.NewReader(seal))
	if err != nil {
		return err
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, ids[0].(*age.X25519Identity).Recipient())
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "signing.age"), sealed.Bytes(), 0o600)
}

func TestKeysThatRetireStillVerify(t *testing.T) {
	old := newHouse(t)
	create(t, old.registry, identity.Agent{Name: "bot"})
	token := old.mint(t, "bot", identity.MintOptions{}).Access.Reveal()
	oldRing, err := ringOf(old.dir)
	if err != nil {
		t.Fatal(err)
	}
	young := newHouse(t)
	youngRing, err := ringOf(young.dir)
	if err != nil {
		t.Fatal(err)
	}
	inner := func(ring string) string {
		keys, _, _ := strings.Cut(strings.TrimPrefix(ring, `{"keys":[`), `],"secret":`)
		return keys
	}
	both := `{"keys":[` + strings.Replace(inner(oldRing), `"active"`, `"retiring"`, 1) + "," + inner(youngRing) + "]}"
	if err := reseal(young.dir, both); err != nil {
		t.Fatal(err)
	}
	a := identity.New(identity.Config{Issuer: gateURL, Now: old.now, Logger: quiet()}, openKeys(t, young.dir), old.registry)
	if _, err := a.Verify(t.Context(), token, "/mcp"); err != nil {
		t.Error(err)
	}
	if n := len(fields(t, get(t, a.Handler(), "/.well-known/jwks.json"))["keys"].([]any)); n != 2 {
		t.Errorf("%d keys are published", n)
	}
	if err := reseal(young.dir, strings.Replace(both, `"retiring"`, `"active"`, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.OpenKeys(young.dir, identity.Secret{}); err == nil {
		t.Error("two active keys are taken")
	}
}

func ringOf(dir string) (string, error) {
	seal, err := os.ReadFile(filepath.Join(dir, "seal.key"))
	if err != nil {
		return "", err
	}
	ids, err := age.ParseIdentities(bytes.NewReader(seal))
	if err != nil {
		return "", err
	}
	sealed, err := os.ReadFile(filepath.Join(dir, "signing.age"))
	if err != nil {
		return "", err
	}
	plain, err := age.Decrypt(bytes.NewReader(sealed), ids...)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	_, err = b.ReadFrom(plain)
	return b.String(), err
}
