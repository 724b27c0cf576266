// Package bridge is an MCP server on standard input and output that stands before
// a running gate, for clients that speak nothing else.
//
// It has no opinions: each line of the client is one POST to the gate, as it came,
// and each message of the gate is one line. What it does itself is what stdio and
// HTTP differ in: it finds the gate, has the token, keeps a legacy client's
// session, and writes the headers of a modern client's requests. Everything that
// decides is in the gate.
package bridge

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/tidwall/gjson"
)

// Config says where the gate is, and who the client is there.
type Config struct {
	Gate   func() (string, error)               // base URL, asked for again when nothing answers there; the error says what to do; required
	Server string                               // MCP server to lead to; "" is all in one
	Mint   func(context.Context) (Token, error) // gets a token; an error that repeating does not mend wraps [ErrRefused]; required
	Remedy string                               // what a person is to do when the gate does not accept a token that there is no other for
	Logger *slog.Logger                         // required; must not write where the messages go

	Patience time.Duration // that a request waits for a gate that is not there; default 10 s
	Drain    time.Duration // that answers in flight have when there will be no more requests; default 30 s
}

const (
	defaultPatience = 10 * time.Second
	defaultDrain    = 30 * time.Second

	maxLine   = 32 << 20                // bytes of one message of the client
	maxFlying = 256                     // requests without an answer
	maxTold   = 256                     // notifications and responses that are not with the gate yet; then no more are read
	leaveTime = 1500 * time.Millisecond // for the gate to hear that the session ends; clients kill a server that takes 2 s
)

// A Bridge is for one client: it runs once.
type Bridge struct {
	cfg     Config
	log     *slog.Logger
	gate    *gate
	session session
	tools   tools
	asks    atomic.Uint64 // requests of the bridge's own

	life  context.Context // of everything in flight
	end   context.CancelFunc
	stop  chan struct{} // closed when no more is to be read
	once  sync.Once
	idle  atomic.Bool    // no more is read
	work  sync.WaitGroup // what the client said
	told  chan struct{}  // taken by each notification and response in flight
	aside sync.WaitGroup // the stream of notifications
	hears bool           // it was begun; with session's lock
	named string         // version that the client asked for last; owned by Run
	after chan struct{}  // closed when what must come first is with the gate; owned by take

	mu     sync.Mutex
	flying map[string]*request

	writing sync.Mutex
	out     io.Writer
}

// New returns a Bridge for one client.
func New(cfg Config) *Bridge {
	if cfg.Patience <= 0 {
		cfg.Patience = defaultPatience
	}
	if cfg.Drain <= 0 {
		cfg.Drain = defaultDrain
	}
	b := &Bridge{
		cfg: cfg, log: cfg.Logger, gate: newGate(cfg), session: session{turn: make(chan struct{}, 1)},
		stop: make(chan struct{}), told: make(chan struct{}, maxTold), after: make(chan struct{}), flying: make(map[string]*request),
	}
	close(b.after)
	b.life, b.end = context.WithCancel(context.Background())
	return b
}

// Run serves the client that writes to in and reads from out, until in ends or
// [Bridge.Stop] is called; then it waits for the answers in flight and ends the
// session. A read of in that does not return is left behind. The error is of in.
func (b *Bridge) Run(in io.Reader, out io.Writer) error {
	b.out = out
	lines := make(chan line)
	go func() {
		r := bufio.NewReaderSize(in, 64<<10)
		for more := true; more; {
			var l line
			l.doc, l.err = readLine(r)
			more = l.err == nil || errors.Is(l.err, errTooLong)
			select {
			case lines <- l:
			case <-b.stop:
				return
			}
		}
	}()
	var err error
	for more := true; more; {
		select {
		case l := <-lines:
			if errors.Is(l.err, errTooLong) {
				b.unread(codeInvalid, l.err.Error())
				continue
			}
			if more = l.err == nil; more {
				b.take(l.doc)
			} else if !errors.Is(l.err, io.EOF) {
				err = l.err
			}
		case <-b.stop:
			more = false
		}
	}
	b.finish()
	return err
}

// Stop has no more read. Once no more is, it ends what is in flight.
func (b *Bridge) Stop() {
	first := false
	b.once.Do(func() {
		first = true
		close(b.stop)
	})
	if !first || b.idle.Load() {
		b.end()
	}
}

// finish waits for the answers in flight, and leaves.
func (b *Bridge) finish() {
	b.idle.Store(true)
	b.mu.Lock()
	for _, r := range b.flying {
		if r.method == listen && r.isModern() { // which would have no end
			r.drop()
		}
	}
	b.mu.Unlock()
	late := time.AfterFunc(b.cfg.Drain, b.end)
	b.work.Wait()
	late.Stop()
	b.end()
	b.aside.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	b.leave(ctx)
	b.gate.client.CloseIdleConnections()
}

type line struct {
	doc []byte
	err error
}

var errTooLong = errors.New("a message of more than 32 MiB: send less at once")

// readLine is the next line that is not blank, in memory of its own.
func readLine(r *bufio.Reader) ([]byte, error) {
	var doc []byte
	for tooLong := false; ; {
		part, err := r.ReadSlice('\n')
		if tooLong = tooLong || len(doc)+len(part) > maxLine; tooLong {
			doc = nil
		} else {
			doc = append(doc, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case tooLong && (err == nil || errors.Is(err, io.EOF)):
			return nil, errTooLong
		}
		if doc = bytes.TrimSpace(doc); len(doc) > 0 && (err == nil || errors.Is(err, io.EOF)) {
			return doc, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// take deals with one line. It does not wait for the gate, so that what the client
// says next, that it does not want an answer any more, is heard.
func (b *Bridge) take(doc []byte) {
	m, ok := peek(doc)
	switch {
	case m.isModern():
		b.named = m.version
	case m.method == initialize:
		b.named = gjson.GetBytes(doc, "params.protocolVersion").String()
	}
	switch {
	case !ok:
		b.unread(codeParse, "the line is not a message in JSON")
	case m.isRequest():
		b.request(m)
	case m.method == cancelled:
		b.cancel(m)
	case m.method != "" && !m.isModern():
		b.say(m, true)
	default: // responses to requests of the gate, and notifications of modern clients
		b.say(m, false)
	}
}

// unread says why a line was not read. Since 2025-11-25 an error may be without an id,
// and must not have one that is null.
func (b *Bridge) unread(code int, reason string) {
	if b.named >= mcpgo.ProtocolVersion20251125 {
		b.write(failed("", code, reason))
	} else {
		b.write(failed("null", code, reason))
	}
}

// request sends a request on. initialize comes before all that follows.
func (b *Bridge) request(m message) {
	r := &request{message: m, sent: make(chan struct{}), over: make(chan struct{}), open: make(map[string]string, len(m.ids))}
	r.ctx, r.cancel = context.WithCancel(b.life)
	for _, id := range m.ids {
		r.open[keyOf(id)] = id
	}
	if reason, code := b.enter(r); reason != "" {
		r.cancel()
		for _, id := range m.ids {
			b.write(failed(id, code, reason))
		}
		return
	}
	after := b.after
	if m.method == initialize {
		b.after = r.over
	}
	b.work.Go(func() {
		defer b.leaveFlight(r)
		select {
		case <-after:
		case <-r.ctx.Done():
		}
		b.serve(r)
	})
}

// enter counts a request as one in flight, unless it is one too many.
func (b *Bridge) enter(r *request) (refusal string, code int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.flying)+len(r.open) > maxFlying {
		return "256 requests are waiting for an answer already: send fewer at once", codeBusy
	}
	for key := range r.open {
		if b.flying[key] != nil {
			return "a request with this id is waiting for its answer", codeInvalid
		}
	}
	for key := range r.open {
		b.flying[key] = r
	}
	return "", 0
}

func (b *Bridge) leaveFlight(r *request) {
	r.cancel()
	close(r.over)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range r.ids {
		delete(b.flying, keyOf(id))
	}
}

// drop ends a request that the client does not want an answer to any more.
func (r *request) drop() {
	r.dropped.Store(true)
	r.cancel()
}

// cancel ends a request as its era does: a modern one by hanging up, a legacy one
// by saying so in the session too, once it is there.
func (b *Bridge) cancel(m message) {
	b.mu.Lock()
	r := b.flying[m.about]
	b.mu.Unlock()
	switch {
	case r == nil || r.method == initialize || len(r.ids) > 1: // gone already, or not to be cancelled, or not alone
		if !m.isModern() {
			b.say(m, false)
		}
	case r.isModern():
		r.drop()
	default:
		r.dropped.Store(true)
		b.work.Go(func() {
			defer r.cancel()
			select {
			case <-r.sent:
				b.post(m)
			case <-r.over:
			}
		})
	}
}

// say sends on what wants no response. What comes first must be there first, if
// it says so; all that follows waits for it.
func (b *Bridge) say(m message, first bool) {
	select {
	case b.told <- struct{}{}:
	case <-b.life.Done():
		return
	}
	after, done := b.after, make(chan struct{})
	if first {
		b.after = done
	}
	b.work.Go(func() {
		defer func() { <-b.told }()
		defer close(done)
		select {
		case <-after:
			b.post(m)
		case <-b.life.Done():
		}
	})
}

// post sends what wants no response, if there is anybody to hear it.
func (b *Bridge) post(m message) {
	wait := newBackoff()
	mended := false
	for began := time.Now(); ; {
		at, f := b.session.now(b.life)
		head := at.header()
		switch {
		case f != nil:
			return
		case m.isModern():
			head = b.header(b.life, &m)
		case at.number == 0:
			b.log.Debug("said outside of a session, so that nobody hears it", "method", m.method)
			return
		}
		f = b.tell(b.life, m.raw, head)
		switch {
		case f == nil:
			b.said(b.life, m)
			return
		case f.lost && !mended && m.method != "" && m.method != cancelled: // what was asked and cancelled went with the old session
			if mended = b.mend(b.life, at) == nil; mended {
				continue
			}
		}
		if !f.again || time.Since(began) > b.cfg.Patience {
			b.log.Warn("the gate did not take what the client said", "method", m.method, "error", f.reason)
			return
		}
		wait.wait = min(wait.wait, time.Second)
		wait.rest(b.life, 0, 0)
	}
}

// write gives the client one message. Line ends in it stand between tokens of JSON,
// where a space does as well.
func (b *Bridge) write(doc []byte) {
	doc = append(make([]byte, 0, len(doc)+1), doc...)
	for i, c := range doc {
		if c == '\n' || c == '\r' {
			doc[i] = ' '
		}
	}
	b.writing.Lock()
	defer b.writing.Unlock()
	if _, err := b.out.Write(append(doc, '\n')); err != nil { // nobody reads any more
		b.log.Warn("the client does not read", "error", err)
		b.once.Do(func() { close(b.stop) })
		b.end()
	}
}
