package identity

import (
	"fmt"
	"testing"
	"time"
)

// These look inside: from outside it takes minutes to fill what is bounded here.

func (s *seen) size() (n int) {
	for i := range s.shards {
		n += len(s.shards[i].tokens)
	}
	return n
}

func TestVerifiedTokensTakeBoundedMemory(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	s := newSeen()
	v := &verified{says: Principal{Expires: at.Add(time.Hour)}}
	for i := range 2 * maxSeen * len(s.shards) {
		token := fmt.Sprint("token-", i)
		s.keep(token, v, at)
		if s.find(token) != v {
			t.Fatalf("token %d was not kept", i)
		}
	}
	if n := s.size(); n > maxSeen*len(s.shards) {
		t.Errorf("%d tokens", n)
	}
}

func TestExpiredTokensDoNotPileUp(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	s := newSeen()
	const lives, each = 60, 20 // seconds, and tokens in each
	for i := range 2_000 {
		now := at.Add(time.Duration(i) * time.Second)
		for j := range each {
			s.keep(fmt.Sprint(i, "-", j), &verified{says: Principal{Expires: now.Add(lives * time.Second)}}, now)
		}
	}
	if n, alive := s.size(), lives*each; n < alive || n > 2*alive {
		t.Errorf("%d tokens are kept, %d are alive", n, alive)
	}
}

func TestWrongTriesTakeBoundedMemory(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	f := newFailures()
	for i := range 3 * maxFailing {
		f.note(fmt.Sprint("bot-", i), fmt.Sprint("address-", i), at)
	}
	if a, b := len(f.clients.until), len(f.addresses.until); a > maxFailing || b > maxFailing {
		t.Errorf("%d clients, %d addresses", a, b)
	}
}
