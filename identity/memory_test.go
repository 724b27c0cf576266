package identity_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"callgate/identity"
)

// Live tokens in memory: go test ./identity -run LiveTokens -v -agents 100000 -tokens 1000000
var (
	liveAgents = flag.Int("agents", 1000, "agents that TestLiveTokens makes")
	liveTokens = flag.Int("tokens", 10_000, "tokens that it issues, and verifies")
)

const (
	mostHeap   = 500 << 20 // bytes that the goal's agents and tokens may take
	leastHeap  = 32 << 20  // that any number of them may
	goalTokens = 1_000_000
	lookups    = 100_000
)

// TestLiveTokens issues and verifies many tokens of many agents, all of them good at
// the end, and measures what memory they take and what a look at any of them costs.
func TestLiveTokens(t *testing.T) {
	before := heap()
	registry := open(t, new(identity.Memory))
	h := identity.New(identity.Config{Issuer: gateURL, Logger: quiet()}, openKeys(t, filepath.Join(t.TempDir(), "keys")), registry)
	for i := range *liveAgents {
		if _, _, err := registry.Create(t.Context(), identity.Agent{Name: fmt.Sprintf("agent-%d", i), Roles: []string{"dev"}, Owner: "user:ana", MaxTTL: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	agents := heap()
	tokens := make([]string, *liveTokens)
	lookup := func(among int) time.Duration {
		begun := time.Now()
		for range lookups {
			if _, err := h.Verify(t.Context(), tokens[rand.IntN(among)], "/mcp"); err != nil {
				t.Fatal(err)
			}
		}
		return time.Since(begun) / lookups
	}
	var few time.Duration
	for i := range tokens {
		token, err := h.Mint(t.Context(), fmt.Sprintf("agent-%d", i%*liveAgents), identity.MintOptions{TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		tokens[i] = token.Access.Reveal()
		if _, err := h.Verify(t.Context(), tokens[i], "/mcp"); err != nil {
			t.Fatal(err)
		}
		if i+1 == min(1000, len(tokens)) {
			few = lookup(i + 1)
		}
	}
	for i := range tokens { // all of them are live, whether they are still remembered or not
		if i%97 == 0 {
			if _, err := h.Verify(t.Context(), tokens[i], "/mcp"); err != nil {
				t.Fatal(err)
			}
		}
	}
	many := lookup(len(tokens))
	tokens = nil // they are the clients'
	all := heap()
	own := all - before
	t.Logf("%d agents take %d MiB, %d tokens %d MiB more; a token is looked up in %v among 1,000, in %v among all",
		*liveAgents, (agents-before)>>20, *liveTokens, (all-agents)>>20, few, many)
	if limit := max(leastHeap, int(mostHeap*float64(*liveTokens)/goalTokens)); own > limit {
		t.Errorf("%d MiB, want at most %d", own>>20, limit>>20)
	}
	runtime.KeepAlive(h)
}

// heap is the bytes in use.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
