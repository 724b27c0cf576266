package mcp

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"callgate/firewall"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
)

// A replay is the stream of a reply to a legacy client, event by event, for when
// its connection breaks: the call goes on, and the client comes back with the id
// of the last event that it has.
type replay struct {
	stream uint64 // number in its session
	prime  bool   // the client takes an event without data, which only gives it an id

	mu     sync.Mutex
	frames [][]byte // from number first on
	first  uint64
	size   int
	next   uint64
	ended  bool
	news   chan struct{} // closed when there is more, or the end

	readers int // that have come back
	cancel  func()
	timer   *time.Timer // cancels, where nobody reads
}

const (
	graceTime  = time.Minute // that a call goes on, and a stream that has ended is kept, for a client to come back
	maxReplays = 16          // streams of one session
	maxFrames  = 1 << 20     // bytes of one stream; the oldest events go first
	retryTime  = time.Second // after which a client is to come back
)

func newReplay(stream uint64, prime bool) *replay {
	return &replay{stream: stream, prime: prime, news: make(chan struct{})}
}

// begin is the first event of the stream, nil if the client takes none without
// data.
func (p *replay) begin() []byte {
	if !p.prime {
		return nil
	}
	return p.add([]byte("retry: " + strconv.FormatInt(retryTime.Milliseconds(), 10) + "\ndata: \n\n"))
}

// add is an event with its id.
func (p *replay) add(event []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	frame := append(make([]byte, 0, len(event)+32), "id: "...)
	frame = strconv.AppendUint(frame, p.stream, 10)
	frame = append(frame, '-')
	frame = strconv.AppendUint(frame, p.next, 10)
	frame = append(append(frame, '\n'), event...)
	p.next++
	p.frames = append(p.frames, frame)
	for p.size += len(frame); p.size > maxFrames && len(p.frames) > 1; p.first++ {
		p.size -= len(p.frames[0])
		p.frames = p.frames[1:]
	}
	close(p.news)
	p.news = make(chan struct{})
	return frame
}

// end says that nothing follows.
func (p *replay) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.ended = true
		close(p.news)
	}
}

// after is the events after number last, and whether they are the rest. ok is
// false if some are not there any more.
func (p *replay) after(last uint64) (frames [][]byte, news <-chan struct{}, ended, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last+1 < p.first || last >= p.next {
		return nil, nil, false, false
	}
	return slices.Clone(p.frames[last+1-p.first:]), p.news, p.ended, true
}

// replay begins to keep the stream of a reply in x.
func (s *sessions) replay(x *session, prime bool) *replay {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.streams++
	p := newReplay(x.streams, prime)
	if len(x.replays) >= maxReplays {
		x.replays = x.replays[1:]
	}
	x.replays = append(x.replays, p)
	return p
}

// forget drops a stream of x.
func (s *sessions) forget(x *session, p *replay) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range x.replays {
		if x.replays[i] == p {
			x.replays = append(x.replays[:i:i], x.replays[i+1:]...)
			return
		}
	}
}

// replayOf is the stream of x that an event is of, and the event's number.
func (s *sessions) replayOf(x *session, event string) (*replay, uint64) {
	stream, number, _ := strings.Cut(event, "-")
	at, err := strconv.ParseUint(stream, 10, 64)
	last, err2 := strconv.ParseUint(number, 10, 64)
	if err != nil || err2 != nil {
		return nil, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range x.replays {
		if p.stream == at {
			return p, last
		}
	}
	return nil, 0
}

// outlive is a context for the requests of one POST. It ends when the connection
// does, unless the client can come back to a stream that has begun: then it goes
// on for a while, and for as long as the client is back. cut ends it before; it is nil
// where the request's own context is as good.
func (v *visit) outlive(ctx context.Context, out *reply) (_ context.Context, cut context.CancelCauseFunc, done func()) {
	if v.session == nil || !out.sse || v.version < mcpgo.ProtocolVersion20250326 {
		return ctx, nil, func() {}
	}
	own, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	cancel := func() { cut(nil) }
	session, prime := v.session, v.version >= mcpgo.ProtocolVersion20251125
	out.primes = prime
	out.keep = func() *replay { return v.sessions.replay(session, prime) }
	unhook := context.AfterFunc(ctx, func() {
		if p := out.kept.Load(); p != nil {
			p.leave(cancel)
		} else {
			cancel()
		}
	})
	return own, cut, func() {
		out.settle()
		unhook()
		cancel()
		if p := out.kept.Load(); p != nil {
			p.end()
			time.AfterFunc(graceTime, func() { v.sessions.forget(session, p) })
		}
	}
}

// leave notes that nobody reads the stream. If that stays so, cancel is called.
func (p *replay) leave(cancel func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cancel != nil {
		p.cancel = cancel
	} else {
		p.readers--
	}
	if p.readers == 0 && p.cancel != nil && !p.ended {
		p.timer = time.AfterFunc(graceTime, p.cancel)
	}
}

// join notes that somebody reads the stream again.
func (p *replay) join() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readers++
	if p.timer != nil {
		p.timer.Stop()
	}
}

// rejoin goes on with a stream for a client that has come back.
func (v *visit) rejoin(ctx context.Context, event string) {
	p, last := v.sessions.replayOf(v.session, event)
	if p == nil {
		v.refuse(ctx, nil, bad(http.StatusBadRequest, mcpgo.INVALID_REQUEST, "there is no stream any more with the event of this Last-Event-ID: repeat the request"))
		return
	}
	p.join()
	defer p.leave(nil)
	out := &reply{w: v.w, sse: true}
	call := v.blank(firewall.Session, "session/resume")
	err := v.gate.Do(ctx, call, &rerun{p, last}, func(ev firewall.Event) error {
		v.about(call.ID)
		out.open()
		return out.raw(ev.Frame, ev.More)
	})
	if err != nil && !out.streaming && ctx.Err() == nil {
		v.deny(new(Message), v.fault(err, call.Method), &reply{w: v.w, json: true})
	}
}

// A rerun is the rest of a stream, from an event on.
type rerun struct {
	replay *replay
	last   uint64
}

// Read implements [firewall.Upstream]: the events were read when they first went
// down.
func (r *rerun) Read(*firewall.Event) {}

// Forward implements [firewall.Upstream].
func (r *rerun) Forward(ctx context.Context, _ *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		for {
			frames, news, ended, ok := r.replay.after(r.last)
			if !ok {
				yield(firewall.Event{}, firewall.Refuse(firewall.NotFound, "some events after this Last-Event-ID are not there any more: repeat the request"))
				return
			}
			for i, frame := range frames {
				r.last++
				if !yield(firewall.Event{Frame: frame, More: i+1 < len(frames)}, nil) {
					return
				}
			}
			if ended {
				return
			}
			if len(frames) == 0 && !yield(firewall.Event{Frame: []byte(":\n\n")}, nil) { // so that the client sees that it is back
				return
			}
			select {
			case <-news:
			case <-ctx.Done():
				return
			}
		}
	}
}
