package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/singleflight"
)

// fetched is the keys that others publish at URLs, as they were when they were last
// asked for. What a caller can cause is one request to a URL in half a minute, and only
// to URLs that the operator has named.
type fetched struct {
	now    func() time.Time
	log    *slog.Logger
	http   *service
	flight singleflight.Group

	mu   sync.Mutex
	sets map[string]*fetchedSet // by URL
}

type fetchedSet struct {
	keys  []ClientKey
	good  time.Time // when keys were fetched
	tried time.Time // when that was last tried
}

const (
	keysFresh    = 15 * time.Minute // until keys are asked for again
	keysRetry    = 30 * time.Second // between two requests to a URL
	keysStale    = 24 * time.Hour   // that keys are good for while nobody answers
	keysTimeout  = 5 * time.Second
	maxPublished = 128 // keys in a set
	maxSets      = 4096
)

// errOutage is that keys cannot be had at the moment.
var errOutage = errors.New("the keys that it is signed with cannot be fetched at the moment: try again soon")

func newFetched(now func() time.Time, log *slog.Logger) *fetched {
	return &fetched{now: now, log: log, http: newService(true), sets: make(map[string]*fetchedSet)}
}

// find is the key of that kid for alg at url. A kid that is not known has them fetched
// again, since keys are rotated.
func (p *fetched) find(ctx context.Context, url, kid, alg string) (ClientKey, error) {
	at := p.now()
	set := p.set(url)
	k, ok := pick(set.keys, kid, alg)
	if due := at.Sub(set.good) >= keysFresh || !ok; due && at.Sub(set.tried) >= keysRetry {
		_, _, _ = p.flight.Do(url, func() (any, error) { p.fetch(context.WithoutCancel(ctx), url); return nil, nil })
		set = p.set(url)
		k, ok = pick(set.keys, kid, alg)
	}
	switch {
	case at.Sub(set.good) >= keysStale:
		return k, errOutage
	case !ok:
		return k, errJWTKey
	}
	return k, nil
}

func (p *fetched) set(url string) fetchedSet {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sets[url]; s != nil {
		return *s
	}
	return fetchedSet{}
}

// fetch asks for the keys at url. Those from before stay if that fails.
func (p *fetched) fetch(ctx context.Context, url string) {
	at := p.now()
	if at.Sub(p.set(url).tried) < keysRetry { // somebody was faster
		return
	}
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	var doc json.RawMessage
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err == nil {
		req.Header.Set("Accept", "application/json")
		_, err = p.http.do(ctx, req, &doc)
	}
	var keys []ClientKey
	if err == nil {
		keys, err = readPublished(doc)
	}
	if err != nil {
		p.log.WarnContext(ctx, "the keys of an issuer cannot be fetched", "url", url, "error", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.sets[url]
	if s == nil {
		for other := range p.sets { // any: it is fetched again
			if len(p.sets) < maxSets {
				break
			}
			delete(p.sets, other)
		}
		s = new(fetchedSet)
		p.sets[url] = s
	}
	if s.tried = at; err == nil {
		s.keys, s.good = keys, at
	}
}

// readPublished reads a JWK Set of somebody else, which may have keys that are of no
// use here. A key that is written with its private half is of no use to anybody.
func readPublished(doc []byte) ([]ClientKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if !jsontext.Value(doc).IsValid() || json.Unmarshal(doc, &set) != nil {
		return nil, errors.New("it is no JWK Set")
	}
	if len(set.Keys) > maxPublished {
		return nil, fmt.Errorf("it has %d keys, want at most %d", len(set.Keys), maxPublished)
	}
	var keys []ClientKey
	for _, raw := range set.Keys {
		k, err := readJWK(raw)
		if errors.Is(err, errPrivate) {
			return nil, errors.New("it has a private key, which has been shown to all and proves nothing")
		}
		if err == nil && !slices.ContainsFunc(keys, func(o ClientKey) bool { return o.ID == k.ID }) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no key for signatures that callgate verifies")
	}
	return keys, nil
}

// pick is the key that a JWT names. One that names none means the only one there is
// for its algorithm.
func pick(keys []ClientKey, kid, alg string) (found ClientKey, ok bool) {
	for _, k := range keys {
		k = k.usedFor(alg)
		if kid != "" && k.ID == kid {
			return k, true
		}
		if kid == "" && k.Alg == alg {
			if ok {
				return ClientKey{}, false
			}
			found, ok = k, true
		}
	}
	return found, ok
}
