package bridge

import (
	"context"
	"net/http"
	"strconv"
	"time"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/tidwall/gjson"
)

// A session is that of a legacy client, from its initialize on. When the gate has
// lost it, which it does when it is started again, another one takes its place,
// and the client does not notice.
type session struct {
	turn chan struct{} // taken by whoever reads or replaces what follows

	hello, ready message // what the client began with
	at           place
	kept         map[string]message // what the client has set since, by what it is about
	heard        context.CancelFunc // ends the stream of notifications; nil while there is none
}

// A place is a session at the gate.
type place struct {
	number      int // of those that the client has had; 0 is none
	id, version string
}

const (
	maxKept  = 1000            // settings of one session
	mendTime = 2 * time.Minute // for a session that takes the place of another; the gate may have to start servers
)

// lock is for short looks only, but for the time in which a session is replaced.
func (s *session) lock(ctx context.Context) *fault {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &fault{code: codeUnavailable, reason: "the bridge was stopped"}
	}
}

func (s *session) unlock() { <-s.turn }

func (s *session) now(ctx context.Context) (place, *fault) {
	if f := s.lock(ctx); f != nil {
		return place{}, f
	}
	defer s.unlock()
	return s.at, nil
}

func (p place) header() http.Header {
	h := http.Header{"Accept": {"application/json, text/event-stream"}}
	if p.id != "" {
		h.Set(mcpgo.HeaderSessionID, p.id)
	}
	if p.version != "" {
		h.Set(mcpgo.HeaderProtocolVersion, p.version)
	}
	return h
}

// begun takes over a session that the gate has opened for hello.
func (b *Bridge) begun(ctx context.Context, hello message, head http.Header, answer gjson.Result) {
	s := &b.session
	if f := s.lock(ctx); f != nil {
		return
	}
	defer s.unlock()
	s.hello, s.ready, s.kept = hello, message{}, make(map[string]message)
	s.move(head, answer)
}

// move is to another place. It needs the lock.
func (s *session) move(head http.Header, answer gjson.Result) {
	s.at = place{s.at.number + 1, head.Get(mcpgo.HeaderSessionID), answer.Get("result.protocolVersion").String()}
	if s.heard != nil {
		s.heard()
	}
}

// said notes what belongs to the session and not to one request, so that it holds
// in the next one too.
func (b *Bridge) said(ctx context.Context, m message) {
	s := &b.session
	what := ""
	switch m.method {
	case initialized, "logging/setLevel":
		what = m.method
	case "resources/subscribe", "resources/unsubscribe":
		what = "resource " + m.subject
	}
	if what == "" || m.isRequest() == (m.method == initialized) || s.lock(ctx) != nil {
		return
	}
	defer s.unlock()
	switch {
	case s.at.number == 0:
	case m.method == initialized:
		s.ready = m
		if !b.hears {
			b.hears = true
			b.aside.Go(func() { b.hear(b.life) })
		}
	case m.method == "resources/unsubscribe":
		delete(s.kept, what)
	case len(s.kept) < maxKept:
		s.kept[what] = m
	}
}

// mend begins a session in the place of one that the gate has lost, as the client
// began that one. What the lists hold may have changed with it: a gate that was
// started again may have other servers and another policy.
func (b *Bridge) mend(ctx context.Context, was place) *fault {
	s := &b.session
	if f := s.lock(ctx); f != nil {
		return f
	}
	defer s.unlock()
	if s.at.number != was.number {
		return nil // somebody else was first
	}
	ctx, cancel := context.WithTimeout(b.life, mendTime) // others wait for it, too, whatever becomes of who began
	defer cancel()
	answer, head, f := b.gate.ask(ctx, s.hello.ids[0], s.hello.raw, place{}.header())
	if f != nil {
		f.reason = "the gate has lost the session and does not begin another: " + f.reason
		return f
	}
	if version := answer.Get("result.protocolVersion").String(); version != was.version {
		return faultf(codeUnavailable, "the gate has lost the session, and speaks protocol version %s now: start the client again", clip(version))
	}
	s.move(head, answer)
	b.log.InfoContext(ctx, "the gate had lost the session; there is another now")
	if s.ready.raw == nil {
		return nil
	}
	if f := b.tell(ctx, s.ready.raw, s.at.header()); f != nil {
		b.log.WarnContext(ctx, "the new session has not heard that the client is ready", "error", f.reason)
	}
	for _, m := range s.kept {
		if _, _, f := b.gate.ask(ctx, m.ids[0], m.raw, s.at.header()); f != nil {
			b.log.WarnContext(ctx, "what the client had set does not hold in the new session", "method", m.method, "error", f.reason)
		}
	}
	for _, what := range lists {
		if answer.Get("result.capabilities." + what + ".listChanged").Bool() {
			b.write(changed(what, ""))
		}
	}
	return nil
}

// tell posts what wants no response.
func (b *Bridge) tell(ctx context.Context, doc []byte, head http.Header) *fault {
	resp, f := b.gate.send(ctx, http.MethodPost, doc, head, nil)
	if f != nil {
		return f
	}
	switch {
	case resp.StatusCode == http.StatusNotFound:
		f = &fault{lost: true}
	case resp.StatusCode == http.StatusServiceUnavailable:
		f = &fault{again: true}
	case resp.StatusCode/100 != 2:
		return faultf(codeUnavailable, "%s", complaint(resp))
	}
	if f != nil {
		f.code, f.reason = codeUnavailable, complaint(resp)
		return f
	}
	_ = resp.Body.Close()
	return nil
}

// hear passes on what the gate says on the stream of the session, over as many
// sessions and streams as that takes.
func (b *Bridge) hear(ctx context.Context) {
	var last string
	var was place
	wait := newBackoff()
	for ctx.Err() == nil {
		at, f := b.session.now(ctx)
		if f != nil {
			return
		}
		if at.number != was.number {
			was, last, wait = at, "", newBackoff()
		}
		began := time.Now()
		event, retry, f := b.hearOnce(ctx, at, last)
		if event != "" {
			last = event
		}
		switch {
		case f == nil:
		case f.lost && last != "": // or only the event is
			last = ""
		case f.lost:
			f = b.mend(ctx, at)
		case f.code == http.StatusMethodNotAllowed:
			return // there is no such stream
		}
		if f != nil && ctx.Err() == nil {
			b.log.DebugContext(ctx, "no notifications", "error", f.reason)
		}
		wait.rest(ctx, time.Since(began), retry)
	}
}

// hearOnce passes on one stream, from the event after last on.
func (b *Bridge) hearOnce(ctx context.Context, at place, last string) (event string, retry time.Duration, f *fault) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if f := b.session.lock(ctx); f != nil {
		return "", 0, f
	}
	if b.session.at.number != at.number {
		b.session.unlock()
		return "", 0, nil
	}
	b.session.heard = cancel
	b.session.unlock()
	resp, f := b.resume(ctx, at, last)
	if f != nil {
		return "", 0, f
	}
	defer resp.Body.Close()
	event, retry, _ = read(resp, func(doc []byte) bool {
		if gjson.ValidBytes(doc) && gjson.GetBytes(doc, "jsonrpc").Exists() {
			b.write(doc)
		}
		return false
	})
	return event, retry, nil
}

// resume opens a stream of the session: of notifications, or of what followed an
// event.
func (b *Bridge) resume(ctx context.Context, at place, last string) (*http.Response, *fault) {
	head := at.header()
	head.Set("Accept", "text/event-stream")
	if last != "" {
		head.Set(mcpgo.HeaderLastEventID, last)
	}
	resp, f := b.gate.send(ctx, http.MethodGet, nil, head, nil)
	if f != nil {
		return nil, f
	}
	if resp.StatusCode == http.StatusOK && isKind(resp, "text/event-stream") {
		return resp, nil
	}
	lost := resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusBadRequest && last != ""
	return nil, &fault{code: resp.StatusCode, reason: complaint(resp), lost: lost}
}

// leave ends the session at the gate.
func (b *Bridge) leave(ctx context.Context) {
	at, f := b.session.now(ctx)
	if f != nil || at.id == "" {
		return
	}
	if resp, f := b.gate.send(ctx, http.MethodDelete, nil, at.header(), nil); f == nil {
		_ = resp.Body.Close()
	}
}

// A backoff is the time between attempts, which grows while they fail at once.
type backoff struct{ wait time.Duration }

const (
	firstWait = 100 * time.Millisecond
	maxWait   = 10 * time.Second
	longLived = 10 * time.Second // that a stream lasted which did not fail at once
)

func newBackoff() *backoff { return &backoff{firstWait} }

// rest waits for the next attempt, after one that lasted, or for as long as the
// gate asked for.
func (w *backoff) rest(ctx context.Context, lasted, asked time.Duration) {
	if lasted > longLived {
		w.wait = firstWait
	}
	timer := time.NewTimer(min(max(w.wait, asked), maxWait))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	w.wait = min(2*w.wait, maxWait)
}

// numbered is an id for requests of the bridge's own.
func numbered(n uint64) string { return `"callgate-bridge-` + strconv.FormatUint(n, 10) + `"` }
