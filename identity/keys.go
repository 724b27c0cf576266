package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"filippo.io/age"
)

// Keys are what tokens are signed and verified with. They change by [Authority.RotateKeys]
// and [Authority.DropKey], and by themselves as time passes. They are used by many
// goroutines at once.
type Keys struct {
	file    string
	seal    *age.X25519Identity
	ring    atomic.Pointer[keyring]
	writing sync.Mutex
	save    func(file string, text []byte) error // writePrivate; tests let it fail
}

// A keyring is the keys at one time. It never changes.
type keyring struct {
	active *key            // signs
	byID   map[string]*key // verify
	order  []*key          // as in the file
}

const (
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
	Since   time.Time `json:"since,omitzero"`
	Until   time.Time `json:"until,omitzero"`
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
	ks := &Keys{file: filepath.Join(dir, signingFile), save: writePrivate}
	sealed, err := readPrivate(ks.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	first := err != nil
	if ks.seal, err = sealKey(dir, seal, first); err != nil {
		return nil, err
	}
	if !first {
		r, err := unsealKeys(ks.file, sealed, ks.seal)
		if err != nil {
			return nil, err
		}
		ks.ring.Store(r)
		return ks, nil
	}
	at := time.Now()
	k, err := newKey(ES256, at)
	if err != nil {
		return nil, err
	}
	return ks, ks.put([]*key{k.in(active, at)})
}

// newRing is list, of which exactly one key must be active.
func newRing(list []*key) (*keyring, error) {
	r := &keyring{byID: make(map[string]*key, len(list)), order: list}
	for _, k := range list {
		if r.byID[k.id] != nil {
			return nil, fmt.Errorf("key %s is there twice", k.id)
		}
		r.byID[k.id] = k
		switch {
		case k.state == retiring || k.state == pending:
		case k.state == active && r.active == nil:
			r.active = k
		default:
			return nil, fmt.Errorf("key %s is a second active one, or in state %q", k.id, k.state)
		}
	}
	if r.active == nil {
		return nil, errors.New("no key is active")
	}
	return r, nil
}

// put makes list durable and then the keys in force.
func (ks *Keys) put(list []*key) error {
	r, err := newRing(list)
	if err != nil {
		return err
	}
	sealed, err := r.sealed(ks.seal.Recipient())
	if err != nil {
		return err
	}
	if err := ks.save(ks.file, sealed); err != nil {
		return err
	}
	ks.ring.Store(r)
	return nil
}

func unsealKeys(file string, sealed []byte, identity age.Identity) (*keyring, error) {
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
	r, err := readRing(doc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

func readRing(doc []byte) (*keyring, error) {
	var r ring
	if err := json.Unmarshal(doc, &r); err != nil {
		return nil, errors.New("holds no signing keys that this version can read")
	}
	var list []*key
	for _, entry := range r.Keys {
		k, err := parseKey(entry)
		if err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return newRing(list)
}

// sealed is the keys as they are stored.
func (r *keyring) sealed(recipient age.Recipient) ([]byte, error) {
	var out ring
	for _, k := range r.order {
		pkcs8, err := k.pkcs8()
		if err != nil {
			return nil, fmt.Errorf("encode key %s: %w", k.id, err)
		}
		out.Keys = append(out.Keys, ringKey{k.id, k.method.Alg(), k.state, k.created, k.since, k.until, pkcs8})
	}
	doc, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode the signing keys: %w", err)
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
		return nil, fmt.Errorf("seal the signing keys: %w", err)
	}
	return sealed.Bytes(), nil
}

// jwks is the document that tells others how to verify our tokens.
func (r *keyring) jwks() any {
	list := make([]jwk, len(r.order))
	for i, k := range r.order {
		list[i] = newJWK(k.private.Public())
		list[i].ID, list[i].Alg, list[i].Use = k.id, k.method.Alg(), "sig"
	}
	return map[string][]jwk{"keys": list}
}
