package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	published     = (maxMetadata + 60) * time.Second // for which a key is in the JWKS before it signs: then nobody has an older one
	defaultRotate = 30 * 24 * time.Hour
	mostKeys      = 32 // in a ring
)

// A KeyInfo is what may be told of a signing key.
type KeyInfo struct {
	ID      string
	Alg     string
	State   string // pending, active or retiring
	Created time.Time
	Since   time.Time // when it came into State
	Until   time.Time // of one that retires: when it is forgotten
}

// SigningKeys are the keys that tokens are signed and verified with.
func (a *Authority) SigningKeys() []KeyInfo {
	var list []KeyInfo
	for _, k := range a.keys.ring.Load().order {
		list = append(list, KeyInfo{k.id, k.method.Alg(), k.state, k.created, k.since, k.until})
	}
	return list
}

// RotateKeys makes a new key, which signs once everybody can know it: after six
// minutes, or at once with now. The one before goes on verifying until no token that
// it signed can be alive.
func (a *Authority) RotateKeys(now bool, by string) error {
	ks := a.keys
	ks.writing.Lock()
	defer ks.writing.Unlock()
	list := ks.ring.Load().order
	next := slices.IndexFunc(list, func(k *key) bool { return k.state == pending })
	if next < 0 {
		k, err := newKey(a.cfg.Alg, a.cfg.Now())
		if err != nil {
			return err
		}
		if len(list) >= mostKeys {
			return invalid("there are %d signing keys already: wait until some have retired", len(list))
		}
		if err := a.cfg.Record("key.created", by, k.id, k.method.Alg()); err != nil {
			return fmt.Errorf("no key is made, since that could not be recorded: %w", err)
		}
		next, list = len(list), append(slices.Clone(list), k)
	} else if !now {
		return nil // it is under way
	}
	if now {
		return a.promote(list, next, by)
	}
	return ks.put(list)
}

// promote has the key at a place of list sign from now on. writing is held.
func (a *Authority) promote(list []*key, next int, by string) error {
	at, list := a.cfg.Now(), slices.Clone(list)
	if err := a.cfg.Record("key.activated", by, list[next].id, list[next].method.Alg()); err != nil {
		return fmt.Errorf("the key is not rotated, since that could not be recorded: %w", err)
	}
	for i, k := range list {
		switch {
		case i == next:
			list[i] = k.in(active, at)
		case k.state == active:
			list[i] = k.in(retiring, at)
			list[i].until = at.Add(a.registry.longest(a.cfg.TTL) + time.Minute).UTC().Truncate(time.Second)
		}
	}
	return a.keys.put(list)
}

// DropKey takes a key away at once: all its tokens end. If it signs, a new one does so
// from now on. It takes effect whether the error is nil or not; an error says that it is
// not stored, or not on record, so that it must be said again.
func (a *Authority) DropKey(id, by string) error {
	ks := a.keys
	ks.writing.Lock()
	defer ks.writing.Unlock()
	r := ks.ring.Load()
	k := r.byID[id]
	if k == nil {
		return &mistake{ErrUnknown, fmt.Sprintf("there is no signing key %.80q", id)}
	}
	list, err := a.without(r, id)
	if err != nil {
		return err
	}
	k.gone.Store(true)
	err = a.cfg.Record("key.dropped", by, id, k.state)
	if ring, wrong := newRing(list); wrong == nil { // in memory first: a disk that is full keeps no bad key alive
		ks.ring.Store(ring)
	}
	a.cfg.Revocations.tell()
	stored := ks.put(list)
	if r = ks.ring.Load(); errors.Is(stored, errOtherRing) && r.byID[id] != nil { // what the other replica has put has it
		if list, stored = a.without(r, id); stored == nil {
			stored = ks.put(list)
		}
	}
	return errors.Join(err, stored)
}

// without is the keys of r without one. If that was the one that signs, a new one does.
func (a *Authority) without(r *keyring, id string) ([]*key, error) {
	list := slices.DeleteFunc(slices.Clone(r.order), func(o *key) bool { return o.id == id })
	if r.active.id != id {
		return list, nil
	}
	fresh, err := newKey(a.cfg.Alg, a.cfg.Now())
	if err != nil {
		return nil, err
	}
	return append(list, fresh.in(active, a.cfg.Now())), nil
}

// turn does what time asks for: keys that everybody knows sign, those whose tokens are
// all over go, and one that has signed for long enough gets a successor.
func (a *Authority) turn(ctx context.Context) error {
	now := a.cfg.Now()
	ks := a.keys
	ks.writing.Lock()
	defer ks.writing.Unlock()
	if err := ks.look(ctx); err != nil {
		return err
	}
	list := ks.ring.Load().order
	over := func(k *key) bool { return k.state == retiring && !now.Before(k.until) }
	for _, k := range list {
		if over(k) {
			if err := a.cfg.Record("key.retired", "system", k.id, k.method.Alg()); err != nil {
				return err
			}
			k.gone.Store(true)
		}
	}
	if slices.ContainsFunc(list, over) {
		if err := ks.put(slices.DeleteFunc(slices.Clone(list), over)); err != nil {
			return err
		}
		list = ks.ring.Load().order
	}
	for i, k := range list {
		if k.state == pending && now.Sub(k.since) >= published {
			return a.promote(list, i, "system")
		}
	}
	signs := ks.ring.Load().active
	if slices.ContainsFunc(list, func(k *key) bool { return k.state == pending }) || now.Sub(signs.since) < a.cfg.Rotate && signs.method.Alg() == a.cfg.Alg {
		return nil
	}
	k, err := newKey(a.cfg.Alg, now)
	if err != nil {
		return err
	}
	if err := a.cfg.Record("key.created", "system", k.id, k.method.Alg()); err != nil {
		return fmt.Errorf("no key is made, since that could not be recorded: %w", err)
	}
	return ks.put(append(slices.Clone(list), k))
}

// longest is how long a token can live that is issued now, at least least.
func (r *Registry) longest(least time.Duration) time.Duration {
	for _, a := range r.all() {
		least = max(least, a.MaxTTL)
	}
	return least
}
