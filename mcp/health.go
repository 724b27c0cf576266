package mcp

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

const (
	checkEach = time.Second      // at which it is seen whether a server must be asked
	checkIdle = 30 * time.Second // without an answer, after which it is
	checkTime = 5 * time.Second  // for it to answer
)

// health is whether a server is there, though nobody may call it now.
type health struct {
	answered atomic.Int64 // when it did last, in nanoseconds
	silent   atomic.Bool  // it was waited for in vain, and has not answered since
	tended   sync.Once

	mu  sync.Mutex
	why error // it did not answer when it was asked last; nil if it did
}

// heard notes that the server said something.
func (h *health) heard() {
	h.answered.Store(time.Now().UnixNano())
	if h.silent.Load() {
		h.silent.Store(false)
	}
}

// set notes what came of asking, and says whether that is news.
func (h *health) set(why error) (news bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	news = (h.why == nil) != (why == nil)
	h.why = why
	return news
}

func (h *health) down() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.why
}

const silentWait = 250 * time.Millisecond

// attend is ctx for a server that is asked together with others: one that was
// waited for in vain is not waited for as long again, until it has said something.
func (s *Server) attend(ctx context.Context) (context.Context, func(error)) {
	cancel := func() {}
	if s.health.silent.Load() {
		ctx, cancel = context.WithTimeout(ctx, silentWait)
	}
	return ctx, func(err error) {
		if err != nil && ctx.Err() == context.DeadlineExceeded {
			s.health.silent.Store(true)
		}
		cancel()
	}
}

// Down says why the server did not answer when callgate asked last whether it is
// there. It is nil if it did, or is not asked: a process shows by its pipes whether
// it is there, and where servers want tokens callgate has none of its own to ask
// with.
func (s *Server) Down() error { return s.health.down() }

// tend asks the server whether it is there, when nobody else has heard of it for
// some time, and more often while it is not.
func (s *Server) tend() {
	tick := time.NewTicker(checkEach)
	defer tick.Stop()
	var asked time.Time
	wait := checkEach
	for {
		select {
		case <-tick.C:
		case <-s.life.Done():
			return
		}
		now := time.Now()
		heard := time.Unix(0, s.health.answered.Load())
		down := s.health.down() != nil
		switch {
		case down && heard.After(asked): // somebody else has an answer
			s.health.set(nil)
			continue
		case down && now.Sub(asked) < wait, !down && (now.Sub(heard) < checkIdle || now.Sub(asked) < checkIdle) && s.breaker.state() == breakerClosed:
			continue
		}
		a, _ := s.breaker.attempt()
		if a == nil { // it is left alone
			continue
		}
		asked = now
		err := s.check(a)
		if s.life.Err() != nil {
			return
		}
		wait = min(2*wait, checkIdle)
		if err == nil {
			wait = checkEach
		}
		switch {
		case !s.health.set(err):
		case err != nil:
			s.cfg.Logger.Warn("server does not answer", "error", err)
		default:
			s.cfg.Logger.Info("server answers again")
		}
	}
}

// check asks the server whether it is there. What it answers does not matter.
func (s *Server) check(a *attempt) error {
	clock := s.clock(s.life, checkTime, false)
	defer clock.stop()
	info, err := s.wire.info(clock.ctx, nil)
	if err == nil {
		method := "ping"
		if info.Modern {
			method = "server/discover"
		}
		err = s.try(clock, nil, Request{Method: method, own: true}, nil, func(Message) bool { return true })
	}
	a.end(clock.ctx, err)
	if err == nil || errors.Is(err, errAnswered) || errors.Is(err, errGone) {
		s.health.heard()
		return nil
	}
	return s.explain(clock.ctx, err)
}

// stillKnown is a list that is to be believed for a while yet, of a server that
// does not answer now. Where the list depends on somebody's token there is none.
func (s *Server) stillKnown(client *Client, method string) *listing {
	info := s.last.Load()
	if info == nil || s.cfg.OAuth != nil {
		return nil
	}
	s.lists.mu.Lock()
	defer s.lists.mu.Unlock()
	for _, at := range []listKey{{method: method}, {method, client.seenBy(s, info).key()}} {
		if f := s.lists.known[at]; f != nil && f.landed() && f.err == nil && time.Now().Before(f.val.until) {
			return f.val
		}
	}
	return nil
}
