package identity

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// seen is the tokens that were verified and have not expired since, so that a
// signature is checked once. It says nothing of the agent: that is looked at on
// every call. The zero seen is not ready; see [newSeen].
type seen struct {
	seed   maphash.Seed
	shards [64]shard
}

type shard struct {
	mu     sync.RWMutex
	tokens map[string]*verified
}

// verified is what a token says, once proven. It does not change, but for checked.
type verified struct {
	says    Principal // without what the registry says of its agents
	chain   []member  // who acts, and for whom, as far as they are agents
	user    *seat     // of the user for whom they act, nil if that is none
	hops    []Hop     // of the same, by its grant
	deepest int       // how many hops more may come before those, less one
	scope   string
	path    string        // of its audience, below the gate's own URL
	confirm confirmation  // the key that must be shown along with it
	checked atomic.Uint64 // how far revocations were seen not to name it, less one
}

// A member is an agent of a chain, as it was when it got its part in it.
type member struct {
	place *place
	epoch int64
}

const (
	maxSeen = 1024 // tokens in a shard: 64 k in all
	looked  = 8    // tokens that are looked at for each one that comes
)

func newSeen() *seen {
	s := &seen{seed: maphash.MakeSeed()}
	for i := range s.shards {
		s.shards[i].tokens = make(map[string]*verified)
	}
	return s
}

func (s *seen) shard(token string) *shard {
	return &s.shards[maphash.String(s.seed, token)%uint64(len(s.shards))]
}

// find is what token says, nil if it was not seen.
func (s *seen) find(token string) *verified {
	sh := s.shard(token)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.tokens[token]
}

// keep remembers v for token. Some of what has expired makes room each time, so
// that it never piles up; when there is none and no room, the one that expires
// first of those looked at has to go.
func (s *seen) keep(token string, v *verified, now time.Time) {
	sh := s.shard(token)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	var first string
	n := 0
	for other, o := range sh.tokens { // begins anywhere
		if now.After(o.says.Expires.Add(leeway)) {
			delete(sh.tokens, other)
		} else if first == "" || o.says.Expires.Before(sh.tokens[first].says.Expires) {
			first = other
		}
		if n++; n == looked {
			break
		}
	}
	if len(sh.tokens) >= maxSeen {
		delete(sh.tokens, first)
	}
	sh.tokens[token] = v
}
