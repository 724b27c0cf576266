package mcp

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"callgate/firewall"
)

const (
	patience   = time.Second // that a caller waits for a server that is to be started again
	minDelay   = 100 * time.Millisecond
	maxDelay   = 30 * time.Second
	steadyTime = time.Minute // after which a server that stops is started again at once
	maxRunners = 64          // carriers of one server
)

// piped reaches a server by carriers that it keeps up: processes, or streams of
// HTTP+SSE. Each is a session: a legacy server has one for each client, because
// what it keeps in memory must not pass from one principal to another. The first
// one is callgate's own, by which it learns what the server is; servers without
// sessions, and those that their operator shares, do everything in it.
type piped struct {
	*Server
	dial func() (carrier, error)
	own  *runner

	mu      sync.Mutex
	runners map[string]*runner // by client
}

// newStdio reaches a server by processes.
func newStdio(s *Server) *piped {
	var boxes atomic.Bool
	return newPiped(s, func() (carrier, error) {
		p, err := newProcess(s.life, &s.cfg, &boxes)
		if err != nil {
			return nil, err
		}
		s.work.Go(p.wait)
		s.work.Go(func() { p.log(s.cfg.Logger) })
		return p, nil
	})
}

func newPiped(s *Server, dial func() (carrier, error)) *piped {
	return &piped{Server: s, dial: dial, own: newRunner(s, nil, dial), runners: make(map[string]*runner)}
}

func (w *piped) start() { w.own.start() }

func (w *piped) info(ctx context.Context, _ *Client) (*Info, error) {
	p, err := w.own.pipe(ctx)
	if err != nil {
		return nil, err
	}
	return &p.about, nil
}

func (w *piped) known() *Info {
	w.own.mu.Lock()
	up := w.own.up
	w.own.mu.Unlock()
	if !up.landed() || up.err != nil {
		return nil
	}
	return &up.val.about
}

func (w *piped) link(ctx context.Context, client *Client) (link, error) {
	info, err := w.info(ctx, client)
	if err != nil {
		return nil, err
	}
	r := w.own
	if of := client.seenBy(w.Server, info); of != nil {
		if r, err = w.runner(of); err != nil {
			return nil, err
		}
	}
	p, err := r.pipe(ctx)
	if err == nil && r.outdated(ctx, p) {
		p, err = r.pipe(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &lane{p, client.owner()}, nil
}

// runner is that of a client. One that nobody has used for long makes room
// for another.
func (w *piped) runner(client *Client) (*runner, error) {
	key := client.key()
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.runners[key]; r != nil && r.life.Err() == nil {
		r.count(0)
		return r, nil
	}
	now := time.Now()
	var oldest *runner
	oldestKey := ""
	for k, r := range w.runners {
		switch idle := r.idle(now); {
		case idle < 0:
		case idle > sessionIdle:
			delete(w.runners, k)
			r.end()
		case oldest == nil || idle > oldest.idle(now):
			oldest, oldestKey = r, k
		}
	}
	if len(w.runners) >= maxRunners {
		if oldest == nil {
			e := w.unavailable("has as many sessions as it may, all in use", nil)
			e.Code, e.Retry = firewall.Exhausted, time.Second
			return nil, e
		}
		delete(w.runners, oldestKey)
		oldest.end()
	}
	r := newRunner(w.Server, client, w.dial)
	w.runners[key] = r
	return r, nil
}

func (w *piped) tell(client *Client, msg []byte) {
	w.mu.Lock()
	r := w.runners[client.key()]
	w.mu.Unlock()
	if r == nil {
		return
	}
	r.mu.Lock()
	up := r.up
	r.mu.Unlock()
	if up.landed() && up.err == nil {
		up.val.enqueue(msg)
	}
}

// hearken does nothing: what the server says is heard on each carrier anyway.
func (w *piped) hearken(context.Context, *Client, func()) bool { return false }

// close ends the carriers; supervise does, when the server's life ends.
func (w *piped) close() { w.work.Wait() }

// A runner keeps one carrier up. The pipes are callgate's own, because messages
// must be bounded, stay as they came, and be told apart by whom they are for: mcp-go's transport reads lines of any length and decodes notifications.
type runner struct {
	*Server
	client  *Client
	connect func() (carrier, error)
	life    context.Context // within the server's
	end     context.CancelFunc

	mu      sync.Mutex
	running bool
	busy    int            // requests under way
	used    time.Time      // when the last one ended
	up      *flight[*pipe] // the process that runs, or the one that comes next
	due     time.Time      // when up is started
	stopped error          // why the one before ended
}

func newRunner(s *Server, client *Client, connect func() (carrier, error)) *runner {
	r := &runner{Server: s, client: client, connect: connect, used: time.Now(), up: newFlight[*pipe]()}
	r.life, r.end = context.WithCancel(s.life)
	return r
}

func (w *runner) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.running {
		w.running = true
		w.work.Go(w.supervise)
	}
}

// idle is for how long nobody has used the process, negative while somebody does.
func (w *runner) idle(now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy > 0 {
		return -1
	}
	return now.Sub(w.used)
}

// count notes that n requests begin, or end, or that one is about to begin.
func (w *runner) count(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy += n
	w.used = time.Now()
}

// pipe is the process that runs. A caller waits for one that is about to.
func (w *runner) pipe(ctx context.Context) (*pipe, error) {
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

// supervise keeps one process running until nobody wants it any more.
func (w *runner) supervise() {
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
			w.cfg.Logger.Info("server started", "version", p.about.Version, "by", p.line.name())
			w.land(p, nil)
			select {
			case <-p.dead:
				p.line.kill()
			case <-w.life.Done():
			}
			w.renew(p)
			p.stop()
			err = p.why
		}
		if w.life.Err() == nil {
			w.restarts.Add(1)
			w.rest(delay.after(time.Since(began)), err)
		}
	}
	w.renew(nil)
	w.land(nil, w.unavailable("is closed", nil))
}

// land gives those who wait for a process p, or the reason why there is none.
func (w *runner) land(p *pipe, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up.land(p, err)
}

// renew has those who ask from now on wait for the process after p.
func (w *runner) renew(p *pipe) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.up.landed() && w.up.val == p {
		w.up, w.due = newFlight[*pipe](), time.Time{}
	}
}

// rest waits before the next process is started.
func (w *runner) rest(wait time.Duration, why error) {
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
