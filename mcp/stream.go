package mcp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// A stream is the reply to one request, message by message: a plain document, or
// events. A legacy server may end a stream of events before the response, and go
// on with it when callgate asks for what came after the last event that it has.
type stream struct {
	link   *httpLink
	resp   *http.Response
	events *sse
	plain  bool
	tries  int // to go on, without an event in between
	paused bool
}

const (
	maxTries   = 5
	minRetry   = 10 * time.Millisecond
	firstRetry = time.Second // where the server does not say when to come back
	maxRetry   = 30 * time.Second
)

// open sees how the reply is to be read.
func (b *stream) open() error {
	s := b.link
	if enc := b.resp.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return s.wire.unavailable("compressed its answer, which was not asked for", nil)
	}
	switch b.resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		return s.refused(b.resp)
	}
	switch {
	case isKind(b.resp, "application/json"):
		b.plain = true
	case isKind(b.resp, "text/event-stream") && b.resp.StatusCode == http.StatusOK:
		b.events = newSSE(&bounded{b.resp.Body, maxReply}, messageLimit(s.wire.cfg.Limits))
	case b.resp.StatusCode/100 != 2:
		return s.refused(b.resp)
	default:
		return s.wire.unavailable("answered with a content type that is not MCP's", nil)
	}
	return nil
}

// next is the next message.
func (b *stream) next(ctx context.Context) ([]byte, error) {
	if b.plain {
		return readPlain(b.resp, messageLimit(b.link.wire.cfg.Limits))
	}
	for {
		raw, err := b.events.next()
		if err == nil {
			b.tries = 0
			return raw, nil
		}
		if errors.Is(err, errTooLarge) { // it would be so again
			return nil, err
		}
		if !b.paused && b.mayResume(ctx) {
			b.paused = true
			return nil, errPaused
		}
		if again := b.resume(ctx); again != nil {
			return nil, err
		}
	}
}

// errPaused is a stream that the server has broken off for a while.
var errPaused = errors.New("the server goes on later")

// paused is the notification by which callgate itself knows of that.
const paused = "callgate/paused"

func (b *stream) mayResume(ctx context.Context) bool {
	last := b.events.last
	return validSession(last) && b.link.id != "" && b.tries < maxTries && ctx.Err() == nil
}

// resume goes on with a stream that has ended.
func (b *stream) resume(ctx context.Context) error {
	s, last := b.link, b.events.last
	if !b.mayResume(ctx) {
		return io.EOF
	}
	b.tries++
	wait := b.events.retry
	if wait == 0 {
		wait = firstRetry
	}
	select {
	case <-time.After(min(max(wait, minRetry), maxRetry)):
	case <-ctx.Done():
		return ctx.Err()
	}
	_ = b.resp.Body.Close()
	resp, err := s.get(ctx, last)
	if err != nil {
		return err
	}
	retry := b.events.retry
	b.resp = resp
	b.events = newSSE(&bounded{resp.Body, maxReply}, messageLimit(s.wire.cfg.Limits))
	b.events.last, b.events.retry = last, retry
	return nil
}

// get opens a stream of what the server says after an event, or from now on. Where
// there is none, resp is what came instead, without its body.
func (s *httpLink) get(ctx context.Context, last string) (resp *http.Response, err error) {
	resp, err = s.carry(ctx, nil, nil, func(hand []lent) *http.Request {
		h := s.header(outgoing{}, hand)
		h["Accept"] = []string{"text/event-stream"}
		delete(h, "Content-Type")
		if last != "" {
			h["Last-Event-Id"] = []string{last}
		}
		return (&http.Request{Method: http.MethodGet, URL: s.wire.url, Host: s.wire.url.Host, Header: h}).WithContext(ctx)
	})
	if err == nil && (resp.StatusCode != http.StatusOK || !isKind(resp, "text/event-stream") || resp.Header.Get("Content-Encoding") != "") {
		_ = resp.Body.Close()
		err = s.refused(resp)
	}
	return resp, err
}

// An ear hears what a legacy server says in a session outside of requests, and
// brings it together with what it says in replies to them.
type ear struct {
	hub
	link  *httpLink
	ctx   context.Context
	end   context.CancelFunc
	spoke bool          // the server has such a stream
	over  chan struct{} // closed when it ends
}

const headTime = time.Second // for a server to say that it will speak; some say so only with the first event

// hearken begins to listen, and returns when the server will speak, or cannot, or
// lets callgate wait.
func (s *httpLink) hearken(ctx context.Context) *ear {
	e := &ear{hub: newHub(s.wire.Server, s.client), link: s, over: make(chan struct{})}
	e.later, e.say = s.aside, s.say
	e.ctx, e.end = context.WithCancel(s.wire.life)
	if !s.ear.CompareAndSwap(nil, e) {
		return s.ear.Load()
	}
	head := make(chan struct{})
	s.wire.work.Go(func() { e.listen(head) })
	timer := time.NewTimer(headTime)
	defer timer.Stop()
	select {
	case <-head:
	case <-timer.C:
	case <-ctx.Done():
	}
	return e
}

// deafen ends what hearken began.
func (s *httpLink) deafen() {
	if e := s.ear.Load(); e != nil {
		e.end()
	}
}

// listen takes what the server says until the session ends, over as many streams
// as that takes.
func (e *ear) listen(head chan struct{}) {
	defer close(e.over)
	last, wait := "", time.Duration(0)
	for tries := 0; e.ctx.Err() == nil && tries < maxTries; tries++ {
		resp, err := e.link.get(e.ctx, last)
		e.spoke = e.spoke || err == nil
		if tries == 0 && last == "" {
			close(head)
		}
		switch {
		case err != nil && resp != nil && resp.StatusCode/100 == 4:
			return // it offers no such stream, or the session has ended
		case err == nil:
			events := newSSE(resp.Body, messageLimit(e.server.cfg.Limits))
			events.retry = wait
			if e.hear(events) {
				tries = 0
			}
			_ = resp.Body.Close()
			if validSession(events.last) {
				last = events.last
			}
			wait = events.retry
		}
		again := wait
		if again == 0 {
			again = firstRetry << tries
		}
		rest(e.ctx, min(max(again, minRetry), maxRetry))
	}
}

// hear takes what comes on one stream, and says whether anything did.
func (e *ear) hear(events *sse) (some bool) {
	for {
		raw, err := events.next()
		if err != nil {
			return some
		}
		some = true
		if m, err := parseMessage(raw, e.server.cfg.Limits); err == nil {
			e.dispatch(m)
		}
	}
}

// hearken listens to the session of a client.
func (w *httpWire) hearken(ctx context.Context, client *Client, ready func()) bool {
	if old := w.sse(); old != nil {
		return old.hearken(ctx, client, ready)
	}
	l, err := w.link(ctx, client)
	if err != nil {
		return client == nil // which tries again
	}
	e := l.(*httpLink).hearken(ctx)
	ready()
	if client != nil {
		return true
	}
	select {
	case <-e.over:
	case <-ctx.Done():
		e.end()
		<-e.over
	}
	e.link.ear.CompareAndSwap(e, nil)
	return e.spoke
}

// send is a request whose messages come by two ways: in the reply to it, and on
// the stream of the session.
func (e *ear) send(ctx context.Context, out outgoing, yield func(Message, error) bool) {
	w := &waiter{key: e.client.owner(), ready: make(chan struct{}, 1)}
	if err := e.join(out.id, w); err != nil {
		yield(Message{}, err)
		return
	}
	own, cancel := context.WithCancel(ctx)
	e.server.work.Go(func() {
		defer cancel()
		e.link.exchange(own, out, func(m Message, err error) bool {
			if err != nil {
				e.fail(out.id, w, err)
				return false
			}
			e.deliver(out.id, m)
			return !m.IsResponse()
		})
	})
	answered, rest := e.take(ctx, w, yield)
	e.leave(out.id, w, rest)
	if !answered {
		cancel()
	}
}
