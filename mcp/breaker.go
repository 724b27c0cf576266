package mcp

import (
	"context"
	"errors"
	"sync"
	"time"

	"callgate/firewall"
	"callgate/identity"
)

const (
	maxFailures = 5 // in a row, after which a server is left alone
	minRecovery = time.Second
	maxRecovery = 30 * time.Second
)

// A breaker leaves a server alone that fails again and again, so that calls to it
// fail at once instead of waiting. After a while one request finds out whether
// the server is well again. Only what happens between callgate and the server is a
// failure: neither what the server answers, nor that a client gave up.
type breaker struct {
	now func() time.Time

	mu       sync.Mutex
	failures int       // in a row
	last     time.Time // when the last of them was counted
	wait     time.Duration
	until    time.Time // while it is open
	probing  bool
	seen     time.Time // when the server last said something
}

// errAnswered is the cause of an error that is an answer of the server's own: it is
// well, and does not like what it was asked.
var errAnswered = errors.New("the server refused the request")

// States of a breaker.
const (
	breakerClosed  = "closed"  // requests go through
	breakerOpen    = "open"    // none does
	breakerProbing = "probing" // one does
)

// lastSeen is when the server last answered a request, zero if it never did.
func (b *breaker) lastSeen() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen
}

func (b *breaker) state() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.wait == 0:
		return breakerClosed
	case b.probing:
		return breakerProbing
	}
	return breakerOpen
}

// An attempt is a request that the breaker let through.
type attempt struct {
	*breaker
	began time.Time
	probe bool
	over  bool
}

// attempt lets a request through, or says after what time to ask again.
func (b *breaker) attempt() (*attempt, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	a := &attempt{breaker: b, began: now}
	if b.wait == 0 {
		return a, 0
	}
	if left := b.until.Sub(now); left > 0 {
		return nil, left
	}
	if b.probing {
		return nil, minRecovery
	}
	b.probing, a.probe = true, true
	return a, 0
}

// again is for an attempt that had to wait for its turn: it begins now, or the
// server is left alone by now.
func (a *attempt) again() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.began = a.now()
	if a.probe || a.wait == 0 {
		return 0
	}
	return max(a.until.Sub(a.began), minRecovery)
}

// left is for how long nothing goes through, not even a probe.
func (b *breaker) left() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wait == 0 {
		return 0
	}
	return b.until.Sub(b.now())
}

// answered notes that the server said something: it is well.
func (a *attempt) answered() {
	if a.over {
		return
	}
	a.over = true
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = a.now()
	switch {
	case a.probe:
		a.failures, a.wait, a.probing = 0, 0, false
	case a.wait == 0:
		a.failures = 0
	}
}

// gone notes that nothing was learned of the server: the client gave up.
func (a *attempt) gone() {
	if a.over {
		return
	}
	a.over = true
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.probe {
		a.probing = false
	}
}

// failed notes a failure. Those that were under way when the server broke count as
// one: it broke once. But each that it left without an answer counts.
func (a *attempt) failed(timeout bool) {
	if a.over {
		return
	}
	a.over = true
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	switch {
	case a.probe:
		a.probing = false
		a.open(now, min(2*a.wait, maxRecovery))
	case a.wait > 0: // it began before
	case timeout || a.failures == 0 || a.began.After(a.last):
		a.failures++
		a.last = now
		if a.failures >= maxFailures {
			a.open(now, minRecovery)
		}
	}
}

func (b *breaker) open(now time.Time, wait time.Duration) {
	b.wait, b.until = wait, now.Add(wait)
}

// end notes how a request ended, where ctx is its own.
func (a *attempt) end(ctx context.Context, err error) {
	var e *firewall.Error
	switch cause := context.Cause(ctx); {
	case err == nil || errors.Is(err, errAnswered):
		a.answered()
	case errors.Is(err, errTokenless), errors.As(err, new(*identity.Withheld)):
		a.gone()
	case cause == errTimeout:
		a.failed(true)
	case cause != nil:
		a.gone()
	case errors.As(err, &e) && e.Code != firewall.Unavailable && e.Code != firewall.Timeout:
		a.gone()
	default:
		a.failed(false)
	}
}
