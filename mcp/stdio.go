package mcp

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"callgate/identity"
)

const (
	patience   = time.Second // that a caller waits for a server that is to be started again
	minDelay   = 100 * time.Millisecond
	maxDelay   = 30 * time.Second
	steadyTime = time.Minute // after which a server that stops is started again at once
)

// stdio reaches a server by the pipes of a process that it keeps running. The
// pipes are callgate's own, because messages must be bounded, stay as they came,
// and be told apart by whom they are for: mcp-go's transport reads lines of any
// length and decodes notifications.
type stdio struct {
	*Server

	mu      sync.Mutex
	running bool
	up      *flight[*pipe] // the process that runs, or the one that comes next
	due     time.Time      // when up is started
	stopped error          // why the one before ended
}

func newStdio(s *Server) *stdio { return &stdio{Server: s, up: newFlight[*pipe]()} }

func (w *stdio) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.running {
		w.running = true
		w.work.Go(w.supervise)
	}
}

func (w *stdio) info(ctx context.Context, _ *identity.Principal) (*Info, error) {
	p, err := w.pipe(ctx)
	if err != nil {
		return nil, err
	}
	return &p.about, nil
}

func (w *stdio) link(ctx context.Context, caller *identity.Principal) (link, error) {
	p, err := w.pipe(ctx)
	if err != nil {
		return nil, err
	}
	return &lane{p, principalKey(caller)}, nil
}

// pipe is the process that runs. A caller waits for one that is about to.
func (w *stdio) pipe(ctx context.Context) (*pipe, error) {
	w.start()
	w.mu.Lock()
	up, due, stopped := w.up, w.due, w.stopped
	w.mu.Unlock()
	if wait := time.Until(due); wait > patience && !up.landed() {
		e := w.unavailable("stopped and will be started again", stopped)
		e.Retry = wait
		return nil, e
	}
	return up.wait(ctx)
}

// close stops the process; supervise does, when the server's life ends.
func (w *stdio) close() { w.work.Wait() }

// supervise keeps one process running until the server's life ends.
func (w *stdio) supervise() {
	var delay backoff
	careful := false
	for w.life.Err() == nil {
		began := time.Now()
		p, err := w.launch(careful)
		if err != nil {
			careful = !careful // it may have ended over the question that only modern servers know
			w.land(nil, w.unavailable("did not start", err))
			w.renew(nil)
		} else {
			w.cfg.Logger.Info("server started", "version", p.about.Version, "pid", p.proc.cmd.Process.Pid)
			w.land(p, nil)
			select {
			case <-p.dead:
				kill(p.proc.cmd)
			case <-w.life.Done():
			}
			w.renew(p)
			p.stop()
			err = p.why
		}
		if w.life.Err() == nil {
			w.rest(delay.after(time.Since(began)), err)
		}
	}
	w.renew(nil)
	w.land(nil, w.unavailable("is closed", nil))
}

// land gives those who wait for a process p, or the reason why there is none.
func (w *stdio) land(p *pipe, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up.land(p, err)
}

// renew has those who ask from now on wait for the process after p.
func (w *stdio) renew(p *pipe) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.up.landed() && w.up.val == p {
		w.up, w.due = newFlight[*pipe](), time.Time{}
	}
}

// rest waits before the next process is started.
func (w *stdio) rest(wait time.Duration, why error) {
	w.cfg.Logger.Warn("server stopped", "error", why, "again_in", wait)
	w.mu.Lock()
	w.due, w.stopped = time.Now().Add(wait), why
	w.mu.Unlock()
	select {
	case <-time.After(wait):
	case <-w.life.Done():
	}
}

// backoff is how long to wait before a server is started again.
type backoff struct{ last time.Duration }

// after is the wait after a server that was up for a time: twice as long as
// before, and a little more or less, so that servers do not start together.
func (b *backoff) after(up time.Duration) time.Duration {
	if up >= steadyTime {
		b.last = 0
	}
	b.last = min(max(2*b.last, minDelay), maxDelay)
	return b.last + time.Duration((rand.Float64()-0.5)*0.4*float64(b.last))
}
