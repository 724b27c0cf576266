package providers

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"callgate/firewall"
	"callgate/identity"
)

// A Key is one of several keys that a provider is shown.
type Key struct {
	Credential identity.Credential
	Name       string   // what logs and people call it: where it is kept, never what it is; default is its number
	Weight     int      // share of the runs that it is for; default 1
	Models     []string // the only ones that it is for; a * at the end of a name stands for all that begin so
}

const (
	maxKeys  = 64
	deadFor  = 5 * time.Minute  // a key that is refused is not tried
	hotFor   = 10 * time.Second // a key that is used too much rests, where the provider does not say how long
	maxRests = 64               // models that one key rests for at once
	peekTime = 5 * time.Second  // for the body of an error
	maxPeek  = 64 << 10         // bytes of it
)

// A key is a Key in use.
type key struct {
	Key
	of     identity.Credential
	header *identity.Header

	mu    sync.Mutex
	rests map[string]rest // by model; "" for all
}

// A rest is why and until when a key is not used.
type rest struct {
	until  time.Time
	status int // of the answer that it got
	dead   bool
}

// keys are those of one provider.
type keys []*key

func newKeys(p *Provider, s *shows) (keys, error) {
	list := p.Keys
	if p.APIKey != nil {
		list = append([]Key{{Credential: p.APIKey}}, list...)
	}
	if len(list) > maxKeys {
		return nil, fmt.Errorf("want at most %d keys", maxKeys)
	}
	all := make(keys, 0, len(list))
	for i, k := range list {
		k.Name, k.Weight = cmp.Or(k.Name, "key "+strconv.Itoa(i+1)), cmp.Or(k.Weight, 1)
		switch {
		case k.Credential == nil:
			return nil, fmt.Errorf("key %d: there is none", i+1)
		case k.Weight < 1 || k.Weight > maxWeight:
			return nil, fmt.Errorf("key %d: weight: want 1 to %d", i+1, maxWeight)
		}
		own := &key{Key: k, of: s.made(k.Credential)}
		own.header = identity.NewHeader(own.of, s.before())
		all = append(all, own)
	}
	return all, nil
}

// fits says whether the key is for a model; "" is none in particular.
func (k *key) fits(model string) bool {
	return len(k.Models) == 0 || model == "" || slices.ContainsFunc(k.Models, func(m string) bool {
		begin, open := strings.CutSuffix(m, "*")
		return m == model || open && strings.HasPrefix(model, begin)
	})
}

// serve says whether some key is for a model; where there are none, none is needed.
func (all keys) serve(model string) bool {
	return len(all) == 0 || slices.ContainsFunc(all, func(k *key) bool { return k.fits(model) })
}

// keyless is the refusal of a model that no key is for.
func (p *provider) keyless(model string) error {
	return firewall.Refuse(firewall.Invalid, "no key of provider %s is for model %s: its operator must name one", p.name, clip(model))
}

// pick is the key for a model in a run, but for those that were tried; nil if there is
// no other. Weights say how likely each is a run's own; it keeps it, since what a provider
// has cached belongs to a key, and leaves it only while it rests. Where all rest, the one
// that is done first is picked at the first try, and none later.
func (all keys) pick(run, model string, now time.Time, tried []*key) *key {
	if len(all) == 1 && len(tried) == 0 && all[0].fits(model) {
		return all[0]
	}
	var best, soonest *key
	var most float64
	var first time.Time
	for _, k := range all {
		if !k.fits(model) || slices.Contains(tried, k) {
			continue
		}
		if until := k.resting(model, now); !until.IsZero() {
			if soonest == nil || until.Before(first) {
				soonest, first = k, until
			}
			continue
		}
		if share := k.share(run); best == nil || share > most {
			best, most = k, share
		}
	}
	if best == nil && len(tried) == 0 {
		return soonest
	}
	return best
}

// share is how well the key goes with a run (weighted rendezvous hashing).
func (k *key) share(run string) float64 {
	var h maphash.Hash
	h.SetSeed(runSeed)
	h.WriteString(run + "\x00" + k.Name)
	return float64(k.Weight) / -math.Log((float64(h.Sum64()>>11)+0.5)/(1<<53))
}

// resting is until when the key is not to be used for a model, the zero time if it is.
func (k *key) resting(model string, now time.Time) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	until := k.rests[""].until
	if r := k.rests[model].until; r.After(until) {
		until = r
	}
	if !until.After(now) {
		return time.Time{}
	}
	return until
}

// answered notes what a provider answered to the key, and says whether another one may
// be asked. What was read of the answer can be read again.
func (k *key) answered(resp *http.Response, model string, now time.Time) (why rest, passed bool) {
	why.status = resp.StatusCode
	whole := false
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusPaymentRequired:
		why.dead, whole = true, true
	case http.StatusForbidden: // of this model, perhaps
		why.dead = true
	case http.StatusTooManyRequests:
		if doc := peek(resp); exhausted(doc) {
			why.dead, whole = true, true
		}
	case http.StatusBadRequest: // so says Google
		if !bytes.Contains(peek(resp), []byte("API_KEY_INVALID")) {
			return why, true
		}
		why.dead, whole = true, true
	default:
		k.well(model)
		return why, true
	}
	why.until = now.Add(deadFor)
	if !why.dead {
		why.until = now.Add(cmp.Or(retryAfter(resp.Header, now), hotFor))
	}
	if whole {
		model = ""
	}
	k.rest(model, why, now)
	return why, false
}

func (k *key) rest(model string, why rest, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for m, r := range k.rests {
		if !r.until.After(now) {
			delete(k.rests, m)
		}
	}
	if k.rests == nil {
		k.rests = make(map[string]rest, 1)
	}
	if len(k.rests) >= maxRests {
		model = ""
	}
	k.rests[strings.Clone(model)] = why
}

// well notes that the provider took the key.
func (k *key) well(model string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.rests) > 0 {
		delete(k.rests, "")
		delete(k.rests, model)
	}
}

// peek reads the beginning of the body of resp, and leaves it to be read again.
func peek(resp *http.Response) []byte {
	body := resp.Body
	late := time.AfterFunc(peekTime, func() { _ = body.Close() })
	defer late.Stop()
	doc, err := io.ReadAll(io.LimitReader(body, maxPeek))
	more := io.Reader(body)
	if err != nil {
		more = unreadable{err}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(doc), more), body}
	return doc
}

// unreadable is what cannot be read on.
type unreadable struct{ err error }

// Read implements [io.Reader].
func (u unreadable) Read([]byte) (int, error) { return 0, u.err }

// refused tells operators that a key is not taken, or has to rest.
func (k *key) refused(ctx context.Context, log *slog.Logger, provider, model string, why rest) {
	message := "a key of a provider is used too much, and rests"
	if why.dead {
		message = "provider refuses a key"
	}
	log.WarnContext(ctx, message, "provider", provider, "key", k.Name, "model", model, "status", why.status, "until", why.until.UTC().Format(time.RFC3339))
}

// A KeyState is how one key of a provider is.
type KeyState struct {
	Name   string    `json:"name"`
	State  string    `json:"state"`            // ok, hot (used too much), dead (refused)
	Status int       `json:"status,omitempty"` // HTTP, of the answer that it got
	Model  string    `json:"model,omitempty"`  // that it rests for; "" for all
	Until  time.Time `json:"until,omitzero"`   // it is not used
}

// states is how the keys are.
func (all keys) states(now time.Time) []KeyState {
	list := make([]KeyState, 0, len(all))
	for _, k := range all {
		list = append(list, k.state(now))
	}
	return list
}

func (k *key) state(now time.Time) KeyState {
	s := KeyState{Name: k.Name, State: "ok"}
	k.mu.Lock()
	defer k.mu.Unlock()
	for model, r := range k.rests {
		if !r.until.After(now) || !r.until.After(s.Until) {
			continue
		}
		s.State, s.Status, s.Model, s.Until = "hot", r.status, model, r.until.UTC()
		if r.dead {
			s.State = "dead"
		}
	}
	return s
}
