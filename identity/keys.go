package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/golang-jwt/jwt/v5"
)

// Keys are what tokens are signed and verified with. They do not change after
// [OpenKeys].
type Keys struct {
	active *key            // signs
	byID   map[string]*key // verify: the active one, and those that retire
	order  []*key          // as in the file
}

// A key is one signing key. Its alg is pinned: a token that names the key and
// another alg is refused, whatever its signature.
type key struct {
	id      string // RFC 7638 thumbprint, base64url
	method  jwt.SigningMethod
	private *ecdsa.PrivateKey
	state   string // active or retiring
	created time.Time
}

const (
	active   = "active"   // signs and verifies
	retiring = "retiring" // verifies what it signed before

	sealFile    = "seal.key"    // the age identity that signingFile is sealed to, unless one is given
	signingFile = "signing.age" // the signing keys
	maxKeyFile  = 64 << 10      // bytes
)

// A ring is the signing keys as signingFile has them, inside the seal.
type ring struct {
	Keys []ringKey `json:"keys"`
}

type ringKey struct {
	ID      string    `json:"kid"`
	Alg     string    `json:"alg"`
	State   string    `json:"state"`
	Created time.Time `json:"created"`
	PKCS8   []byte    `json:"pkcs8"`
}

// OpenKeys reads the signing keys from the folder dir, and makes folder and key
// on the first start. They are sealed with seal, an age identity
// (AGE-SECRET-KEY-1…); if seal is empty, with one that is made and kept beside
// them. One process at a time may open a folder.
func OpenKeys(dir string, seal Secret) (*Keys, error) {
	if err := makeFolder(dir); err != nil {
		return nil, err
	}
	sealed, err := readPrivate(filepath.Join(dir, signingFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	first := err != nil
	identity, err := sealKey(dir, seal, first)
	if err != nil {
		return nil, err
	}
	if !first {
		return unsealKeys(filepath.Join(dir, signingFile), sealed, identity)
	}
	k, err := newKey()
	if err != nil {
		return nil, err
	}
	keys, err := newKeys([]*key{k})
	if err != nil {
		return nil, err
	}
	return keys, keys.save(filepath.Join(dir, signingFile), identity.Recipient())
}

// newKeys is list, of which exactly one key must be active.
func newKeys(list []*key) (*Keys, error) {
	ks := &Keys{byID: make(map[string]*key, len(list)), order: list}
	for _, k := range list {
		if ks.byID[k.id] != nil {
			return nil, fmt.Errorf("key %s is there twice", k.id)
		}
		ks.byID[k.id] = k
		switch {
		case k.state == retiring:
		case k.state == active && ks.active == nil:
			ks.active = k
		default:
			return nil, fmt.Errorf("key %s is a second active one, or in state %q", k.id, k.state)
		}
	}
	if ks.active == nil {
		return nil, errors.New("no key is active")
	}
	return ks, nil
}

func newKey() (*key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a signing key: %w", err)
	}
	return &key{thumbprint(&private.PublicKey), jwt.SigningMethodES256, private, active, time.Now().UTC().Truncate(time.Second)}, nil
}

// sealKey is the age identity that the signing keys are sealed to.
func sealKey(dir string, given Secret, first bool) (*age.X25519Identity, error) {
	if text := given.Reveal(); text != "" {
		id, err := parseSealKey(text)
		if err != nil {
			return nil, fmt.Errorf("the seal key that was given: %w", err)
		}
		return id, nil
	}
	file := filepath.Join(dir, sealFile)
	text, err := readPrivate(file)
	switch {
	case err == nil:
		id, err := parseSealKey(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return id, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case !first:
		return nil, fmt.Errorf("%s is not there, so the signing keys in %s cannot be opened: put it back, give the seal key, or remove %s to begin with a new signing key, which ends all tokens",
			file, signingFile, signingFile)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("make a seal key: %w", err)
	}
	return id, writePrivate(file, []byte("# callgate: opens "+signingFile+"\n"+id.String()+"\n"))
}

// parseSealKey reads the one X25519 identity in text, as age-keygen writes it.
// Its errors do not tell of the text.
func parseSealKey(text string) (*age.X25519Identity, error) {
	list, err := age.ParseIdentities(strings.NewReader(text))
	if err == nil && len(list) == 1 {
		if id, ok := list[0].(*age.X25519Identity); ok {
			return id, nil
		}
	}
	return nil, errors.New("want one age identity, AGE-SECRET-KEY-1…; age-keygen makes one")
}

func unsealKeys(file string, sealed []byte, identity age.Identity) (*Keys, error) {
	plain, err := age.Decrypt(bytes.NewReader(sealed), identity)
	if err != nil {
		var other *age.NoIdentityMatchError
		if errors.As(err, &other) {
			return nil, fmt.Errorf("%s is sealed to another key: give the one it was made with, or remove the file to begin with a new signing key, which ends all tokens", file)
		}
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	doc, err := io.ReadAll(io.LimitReader(plain, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	keys, err := readRing(doc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return keys, nil
}

func readRing(doc []byte) (*Keys, error) {
	var r ring
	if err := json.Unmarshal(doc, &r); err != nil {
		return nil, errors.New("holds no signing keys that this version can read")
	}
	var list []*key
	for _, k := range r.Keys {
		parsed, err := x509.ParsePKCS8PrivateKey(k.PKCS8)
		if err != nil {
			return nil, fmt.Errorf("key %s cannot be read", k.ID)
		}
		private, ok := parsed.(*ecdsa.PrivateKey)
		if !ok || private.Curve != elliptic.P256() || k.Alg != jwt.SigningMethodES256.Alg() || k.ID != thumbprint(&private.PublicKey) {
			return nil, fmt.Errorf("key %s is not the %s key that it says it is", k.ID, jwt.SigningMethodES256.Alg())
		}
		list = append(list, &key{k.ID, jwt.SigningMethodES256, private, k.State, k.Created})
	}
	return newKeys(list)
}

// save puts the keys in file, sealed to recipient.
func (ks *Keys) save(file string, recipient age.Recipient) error {
	var r ring
	for _, k := range ks.order {
		pkcs8, err := x509.MarshalPKCS8PrivateKey(k.private)
		if err != nil {
			return fmt.Errorf("encode key %s: %w", k.id, err)
		}
		r.Keys = append(r.Keys, ringKey{k.id, k.method.Alg(), k.state, k.created, pkcs8})
	}
	doc, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the signing keys: %w", err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipient)
	if err == nil {
		_, err = w.Write(doc)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return fmt.Errorf("seal the signing keys: %w", err)
	}
	return writePrivate(file, sealed.Bytes())
}

// A jwk is a public key as RFC 7517 writes it. Field order is that of RFC 7638.
type jwk struct {
	Curve string `json:"crv"`
	Type  string `json:"kty"`
	X     string `json:"x"`
	Y     string `json:"y"`
	ID    string `json:"kid,omitempty"`
	Alg   string `json:"alg,omitempty"`
	Use   string `json:"use,omitempty"`
}

func newJWK(public *ecdsa.PublicKey) jwk {
	point, err := public.Bytes() // 4, then X and Y of equal length
	if err != nil {
		panic(err) // a key that was not made or parsed here
	}
	b64 := base64.RawURLEncoding
	half := len(point) / 2
	return jwk{Curve: public.Curve.Params().Name, Type: "EC", X: b64.EncodeToString(point[1 : 1+half]), Y: b64.EncodeToString(point[1+half:])}
}

// thumbprint is the RFC 7638 name of a key.
func thumbprint(public *ecdsa.PublicKey) string {
	doc, err := json.Marshal(newJWK(public))
	if err != nil {
		panic(err) // strings only
	}
	sum := sha256.Sum256(doc)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// jwks is the document that tells others how to verify our tokens.
func (ks *Keys) jwks() any {
	list := make([]jwk, len(ks.order))
	for i, k := range ks.order {
		list[i] = newJWK(&k.private.PublicKey)
		list[i].ID, list[i].Alg, list[i].Use = k.id, k.method.Alg(), "sig"
	}
	return map[string][]jwk{"keys": list}
}

// checkPrivate refuses an open file or folder that others than its owner can
// read or change.
func checkPrivate(f *os.File, mode string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if open := info.Mode().Perm() & 0o077; open != 0 && runtime.GOOS != "windows" { // where modes say nothing
		return fmt.Errorf("%s is open to other users of this machine (mode %04o): chmod %s %s", f.Name(), info.Mode().Perm(), mode, f.Name())
	}
	return nil
}

func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder for keys: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return checkPrivate(f, "700")
}

func readPrivate(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := checkPrivate(f, "600"); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("%s is larger than %d bytes: it is no file of callgate's", file, maxKeyFile)
	}
	return text, nil
}

// writePrivate makes file with text, whole or not at all, durable, and for its
// owner's eyes alone.
func writePrivate(file string, text []byte) error {
	dir := filepath.Dir(file)
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", file, err)
	}
	return syncFolder(dir)
}

// syncFolder makes durable that a file in dir has its name.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" { // which has no way to, and no need
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
