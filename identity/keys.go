package identity

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Keys are what tokens are signed and verified with. They change by [Authority.RotateKeys]
// and [Authority.DropKey], and by themselves as time passes. They are used by many
// goroutines at once.
type Keys struct {
	store   KeyStore
	seal    *Seal
	secret  []byte // random, and the same wherever these keys are used
	ring    atomic.Pointer[keyring]
	shared  bool         // other processes put keys too
	looked  atomic.Int64 // unix microseconds of when find last looked for those
	writing sync.Mutex
	times   int64                   // that the ring was put, as far as this process knows
	gone    map[string]*atomic.Bool // of each key that there was, by its id
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
	Keys   []ringKey `json:"keys"`
	Secret []byte    `json:"secret,omitempty"`
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
// (AGE-SECRET-KEY-1… or AGE-PLUGIN-…); if seal is empty, with one that is made and
// kept beside them. One process at a time may open a folder.
func OpenKeys(dir string, seal Secret) (*Keys, error) {
	return OpenSharedKeys(context.Background(), keyFolder{dir}, dir, seal)
}

// OpenSharedKeys is [OpenKeys] for keys that are in store, which all processes of a
// gate may have. They must have one seal, too.
func OpenSharedKeys(ctx context.Context, store KeyStore, dir string, seal Secret) (*Keys, error) {
	if err := makeFolder(dir); err != nil {
		return nil, err
	}
	_, own := store.(keyFolder)
	ks := &Keys{store: store, shared: !own, gone: make(map[string]*atomic.Bool)}
	sealed, times, err := store.Ring(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the signing keys: %w", err)
	}
	if ks.seal, err = openSeal(dir, seal, sealed == nil); err != nil {
		return nil, err
	}
	if sealed == nil {
		at := time.Now()
		k, err := newKey(ES256, at)
		if err != nil {
			return nil, err
		}
		if err := ks.put([]*key{k.in(active, at)}); !errors.Is(err, errOtherRing) {
			return ks, err
		}
		if sealed, times, err = store.Ring(ctx); err != nil {
			return nil, fmt.Errorf("read the signing keys: %w", err)
		}
	}
	if err := ks.take(sealed, times); err != nil {
		return nil, err
	}
	if len(ks.secret) == 0 { // of a version before there was one
		return ks, ks.put(ks.ring.Load().order)
	}
	return ks, nil
}

// Seal is what the keys are sealed with.
func (ks *Keys) Seal() *Seal { return ks.seal }

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

// errOtherRing is that another process has put its keys first.
var errOtherRing = errors.New("another replica changed the signing keys at this moment: look at them, and try again")

// put makes list durable and then the keys in force.
func (ks *Keys) put(list []*key) error {
	r, err := newRing(list)
	if err != nil {
		return err
	}
	if len(ks.secret) == 0 {
		ks.secret = make([]byte, 32)
		rand.Read(ks.secret) // never fails
	}
	sealed, err := r.sealed(ks.seal, ks.secret)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), keysTimeout)
	defer cancel()
	ok, err := ks.store.PutRing(ctx, sealed, ks.times+1)
	if err != nil {
		return fmt.Errorf("store the signing keys: %w", err)
	}
	if !ok {
		return errors.Join(errOtherRing, ks.look(ctx))
	}
	ks.times++
	ks.use(r)
	return nil
}

// take puts what was stored in force.
func (ks *Keys) take(sealed []byte, times int64) error {
	plain, err := ks.seal.unseal(sealed, maxKeyFile)
	if err != nil {
		return fmt.Errorf("the signing keys: %w; or remove them, %s, to begin with a new key, which ends all tokens", err, signingFile)
	}
	r, secret, err := readRing(plain)
	if err != nil {
		return fmt.Errorf("the signing keys: %w", err)
	}
	for id, k := range r.byID { // tokens that a key has verified are remembered with it
		if had := ks.gone[id]; had != nil {
			k.gone = had
		}
	}
	if old := ks.ring.Load(); old != nil {
		for id, k := range old.byID {
			if r.byID[id] == nil {
				k.gone.Store(true)
			}
		}
	}
	ks.times, ks.secret = times, secret
	ks.use(r)
	return nil
}

// use puts r in force. writing is held.
func (ks *Keys) use(r *keyring) {
	for id, k := range r.byID {
		ks.gone[id] = k.gone
	}
	ks.ring.Store(r)
}

// look takes over what another process has put. writing is held.
func (ks *Keys) look(ctx context.Context) error {
	if !ks.shared {
		return nil
	}
	sealed, times, err := ks.store.Ring(ctx)
	if err != nil {
		return fmt.Errorf("read the signing keys: %w", err)
	}
	if times == ks.times {
		return nil
	}
	return ks.take(sealed, times)
}

// find is the key of that id, nil if there is none. Another process may have made it
// a moment ago.
func (ks *Keys) find(id string) *key {
	k := ks.ring.Load().byID[id]
	if k != nil || !ks.shared {
		return k
	}
	now, last := time.Now().UnixMicro(), ks.looked.Load()
	if now-last < pollEvery.Microseconds() || !ks.looked.CompareAndSwap(last, now) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), keysTimeout)
	defer cancel()
	if ks.reread(ctx) != nil { // the feed says so, too, and fails all tokens if it goes on
		return nil
	}
	return ks.ring.Load().byID[id]
}

// reread takes over what another process has put.
func (ks *Keys) reread(ctx context.Context) error {
	ks.writing.Lock()
	defer ks.writing.Unlock()
	return ks.look(ctx)
}

func readRing(doc []byte) (*keyring, []byte, error) {
	var r ring
	if err := json.Unmarshal(doc, &r); err != nil {
		return nil, nil, errors.New("they are none that this version can read")
	}
	var list []*key
	for _, entry := range r.Keys {
		k, err := parseKey(entry)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, k)
	}
	of, err := newRing(list)
	return of, r.Secret, err
}

// sealed is the keys as they are stored.
func (r *keyring) sealed(seal *Seal, secret []byte) ([]byte, error) {
	out := ring{Secret: secret}
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
	return seal.seal(doc)
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
