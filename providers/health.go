package providers

import (
	"sync"
	"time"
)

// health is how a provider has been lately. Where it fails again and again, calls that
// can go elsewhere do, and now and then one of them tries whether it is well again.
type health struct {
	mu     sync.Mutex
	failed int       // in a row
	until  time.Time // nobody tries before
}

const (
	sickAfter = 5 // failures in a row
	restFirst = 5 * time.Second
	restMost  = 2 * time.Minute
)

// resting says whether calls that can go elsewhere should. When the rest is over, the
// first one that asks may try, and the others wait for what comes of it.
func (h *health) resting(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed < sickAfter {
		return false
	}
	if now.Before(h.until) {
		return true
	}
	h.until = now.Add(restFirst)
	return false
}

// went notes what came of a call.
func (h *health) went(well bool, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if well {
		h.failed = 0
		return
	}
	h.failed++
	if over := h.failed - sickAfter; over >= 0 {
		h.until = now.Add(min(restFirst<<min(over, 10), restMost))
	}
}

// rests says the same as resting, and lets nobody try.
func (h *health) rests(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed >= sickAfter && now.Before(h.until)
}
