package identity

import (
	"crypto/sha256"
	"sync"
	"time"
)

// proven is tokens whose signature was verified, by their hash: far more than can be
// kept with what they say. To read one of them again costs no signature.
type proven struct{ shards [64]provenShard }

type provenShard struct {
	mu   sync.RWMutex
	keys map[tokenHash]provenBy
}

// A tokenHash is the first half of a SHA-256: enough that nobody finds two tokens of
// one hash, of which one is good.
type tokenHash [sha256.Size / 2]byte

type provenBy struct {
	key   *key
	until int64 // unix seconds when the token has expired
}

const maxProven = 16 << 10 // tokens in a shard: a million in all

func newProven() *proven {
	p := new(proven)
	for i := range p.shards {
		p.shards[i].keys = make(map[tokenHash]provenBy)
	}
	return p
}

func hashOf(token string) tokenHash {
	sum := sha256.Sum256([]byte(token))
	return tokenHash(sum[:])
}

func (p *proven) shard(h tokenHash) *provenShard { return &p.shards[h[0]%64] }

// by is whether k has signed the token of that hash, as was seen before.
func (p *proven) by(k *key, h tokenHash) bool {
	sh := p.shard(h)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.keys[h].key == k
}

// keep remembers that k has signed the token of that hash. Room is made as [seen.keep]
// does.
func (p *proven) keep(h tokenHash, k *key, until int64, now time.Time) {
	sh := p.shard(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	var first tokenHash
	earliest, n := int64(0), 0
	for other, o := range sh.keys { // begins anywhere
		if o.until+int64(leeway/time.Second) < now.Unix() {
			delete(sh.keys, other)
		} else if earliest == 0 || o.until < earliest {
			first, earliest = other, o.until
		}
		if n++; n == looked {
			break
		}
	}
	if len(sh.keys) >= maxProven {
		delete(sh.keys, first)
	}
	sh.keys[h] = provenBy{k, until}
}
