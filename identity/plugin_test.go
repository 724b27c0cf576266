package identity_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"callgate/identity"

	"filippo.io/age"
	"filippo.io/age/plugin"
)

// TestMain is also the age plugin of the tests: a KMS, whose key nobody else sees.
func TestMain(m *testing.M) {
	if strings.HasPrefix(filepath.Base(os.Args[0]), "age-plugin-") {
		os.Exit(kms())
	}
	os.Exit(m.Run())
}

// kms opens and closes with the key in the file that the identity names.
func kms() int {
	p, err := plugin.New("kms")
	if err != nil {
		return 1
	}
	key := func(file []byte) (*age.X25519Identity, error) {
		text, err := os.ReadFile(string(file))
		if err != nil {
			return nil, err
		}
		return age.ParseX25519Identity(string(text))
	}
	p.HandleIdentity(func(data []byte) (age.Identity, error) { return key(data) })
	p.HandleIdentityAsRecipient(func(data []byte) (age.Recipient, error) {
		id, err := key(data)
		if err != nil {
			return nil, err
		}
		return id.Recipient(), nil
	})
	return p.Main()
}

func TestKeysCanBeSealedByAnAgePlugin(t *testing.T) {
	bin, dir, file := t.TempDir(), filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "kms.key")
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(own, filepath.Join(bin, "age-plugin-kms")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(id.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	given := identity.NewSecret("# the KMS\n" + plugin.EncodeIdentity("kms", []byte(file)) + "\n")
	var kids []string
	for range 2 { // made, then opened
		keys, err := identity.OpenKeys(dir, given)
		if err != nil {
			t.Fatal(err)
		}
		registry, err := identity.OpenRegistry(t.Context(), new(identity.Memory))
		if err != nil {
			t.Fatal(err)
		}
		kids = append(kids, identity.New(identity.Config{Issuer: gateURL, Logger: quiet()}, keys, registry).SigningKeys()[0].ID)
		sealed, err := keys.Seal().Close("x", identity.NewSecret("deep"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := keys.Seal().Open("x", sealed); err != nil || got.Reveal() != "deep" {
			t.Errorf("opened again: %q, %v", got.Reveal(), err)
		}
	}
	if kids[0] != kids[1] {
		t.Error("another key was made")
	}
	if _, err := os.Stat(filepath.Join(dir, "seal.key")); !os.IsNotExist(err) {
		t.Error("a seal key is kept beside what it seals:", err)
	}
	if err := os.Remove(file); err != nil { // the KMS says no
		t.Fatal(err)
	}
	if _, err := identity.OpenKeys(dir, given); err == nil {
		t.Error("opened without the KMS")
	}
	if _, err := identity.OpenKeys(dir, identity.NewSecret(plugin.EncodeIdentity("absent", nil))); err == nil || !strings.Contains(err.Error(), "age-plugin-absent") {
		t.Errorf("a plugin that is not there: %v", err)
	}
}
