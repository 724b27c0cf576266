package mcp

import (
	"context"
	"sync/atomic"
	"time"

	"callgate/firewall"
)

const (
	defaultConcurrency = 256
	maxConcurrency     = 1 << 16
	queueFactor        = 4 // requests that may wait, for each that may be in flight
)

// slots bound how many requests are in flight to a server. More wait, first come
// first served, but not more than a few for each slot.
type slots struct {
	taken   chan struct{}
	waiting atomic.Int64
}

func newSlots(n int) *slots { return &slots{taken: make(chan struct{}, n)} }

// take takes a slot, or waits for one until ctx ends.
func (s *slots) take(ctx context.Context, server string) error {
	select {
	case s.taken <- struct{}{}:
		return nil
	default:
	}
	defer s.waiting.Add(-1)
	if s.waiting.Add(1) > int64(queueFactor*cap(s.taken)) {
		return busy(server, nil)
	}
	select {
	case s.taken <- struct{}{}:
		return nil
	case <-ctx.Done():
		if context.Cause(ctx) == errTimeout {
			return busy(server, errTimeout)
		}
		return context.Cause(ctx)
	}
}

func (s *slots) free() { <-s.taken }

func busy(server string, err error) error {
	return &firewall.Error{Code: firewall.Exhausted, Reason: "server " + server + " has as many requests as it may: try again in a moment", Retry: time.Second, Err: err}
}

// Load is how a [Server] is, as far as callgate sees it from its own side.
type Load struct {
	Breaker  string    // closed, open (it is left alone), probing (one request finds out)
	InFlight int       // requests
	Waiting  int       // requests for which there is no room yet
	Restarts uint64    // how often its process, or stream, ended and was begun again
	Seen     time.Time // when it last answered a call; zero: not since it was made
}

// Load is how the server is now. It asks nobody.
func (s *Server) Load() Load {
	return Load{Breaker: s.breaker.state(), InFlight: len(s.slots.taken), Waiting: int(s.slots.waiting.Load()), Restarts: s.restarts.Load(), Seen: s.breaker.lastSeen()}
}

func (s *Server) leftAlone(wait time.Duration) error {
	e := s.unavailable("fails again and again, and is left alone for a moment", nil)
	e.Retry = wait
	return e
}

// admitted runs do as a request of its own, if there is room for it and the server
// is not left alone. Subscriptions go on for ever, and callgate's own requests are
// few and may be a part of one that has a slot: they take none.
func (s *Server) admitted(clock *clock, req *Request, got func(Message) bool, do func(func(Message) bool) error) error {
	if req.endless {
		return do(got)
	}
	if req.own {
		if wait := s.breaker.left(); wait > 0 {
			return s.leftAlone(wait)
		}
		return do(got)
	}
	a, wait := s.breaker.attempt()
	if a == nil {
		return s.leftAlone(wait)
	}
	if err := s.slots.take(clock.ctx, s.cfg.Name); err != nil {
		a.gone()
		return err
	}
	defer s.slots.free()
	if wait := a.again(); wait > 0 {
		return s.leftAlone(wait)
	}
	err := do(func(m Message) bool {
		a.answered()
		return got(m)
	})
	a.end(clock.ctx, err)
	return err
}
