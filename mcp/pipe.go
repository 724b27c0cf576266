package mcp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"
)

const (
	maxGarbage = 1000             // lines in a row that are not messages
	maxQueued  = 4096             // messages that wait for one caller
	maxPosts   = 256              // messages to be written that nobody waits for
	writeTime  = 30 * time.Second // for one message; beyond it the server is stuck
	shyTime    = 2 * time.Second  // after a request, in which what the server says may still be about it
)

// pipe is MCP on a carrier. Many requests are on it at once.
type pipe struct {
	wire  *runner
	about Info
	line  carrier
	turn  chan struct{} // holds a token while nobody writes
	posts chan []byte   // to be written when there is time

	hub

	dead chan struct{} // closed when why is set
	once sync.Once
}

func newPipe(w *runner, line carrier) *pipe {
	p := &pipe{
		wire: w, line: line,
		turn: make(chan struct{}, 1), posts: make(chan []byte, maxPosts),
		hub: newHub(w.Server, w.client), dead: make(chan struct{}),
	}
	p.later = p.enqueue
	p.say = func(msg []byte) { _ = p.write(context.Background(), msg) } // one that fails is the end of the process
	p.turn <- struct{}{}
	w.work.Go(p.read)
	w.work.Go(p.post)
	return p
}

// fail ends the pipe and all that wait for it. The first reason counts.
func (p *pipe) fail(why error) {
	p.once.Do(func() {
		p.wire.renew(p) // before anybody knows and asks again
		p.mu.Lock()
		p.why = why
		for _, w := range p.waiting {
			w.lose(p.wire.over(why, "stopped"))
			w.wake()
		}
		p.mu.Unlock()
		close(p.dead)
	})
}

// read takes the messages of the server until it ends.
func (p *pipe) read() {
	garbage := 0
	var quiet limiter
	for {
		line, err := p.line.next()
		if err != nil {
			p.fail(err)
			return
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		m, err := parseMessage(line, p.wire.cfg.Limits)
		if err == nil {
			garbage = 0
			p.dispatch(m)
			continue
		}
		if garbage++; garbage > maxGarbage {
			p.fail(errors.New("it writes what is not MCP"))
			return
		}
		if quiet.allow(time.Now(), p.wire.cfg.Logger) {
			p.wire.cfg.Logger.Warn("server wrote a line that is not a message", "error", err)
		}
		p.reject(line, err)
	}
}

// launch connects to the server and discovers what it is; a careful launch does
// not ask what only modern servers know.
func (w *runner) launch(careful bool) (*pipe, error) {
	line, err := w.connect()
	if err != nil {
		return nil, err
	}
	p := newPipe(w, line)
	ctx, cancel := context.WithTimeout(w.life, discoverTime)
	defer cancel()
	if careful || w.client.key() != "" { // whose era is known
		p.about, err = w.initialize(ctx, p.ask, w.client)
	} else {
		p.about, err = w.discover(ctx, p.ask)
	}
	if err == nil && !p.about.Modern {
		err = p.write(ctx, request(0, "notifications/initialized", nil))
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	for _, uri := range w.subscribed(w.client) {
		p.later(request(w.ids.Add(1), "resources/subscribe", []byte(`{"uri":`+quoted(uri)+`}`)))
	}
	return p, nil
}

// stop ends the connection and all that wait for it.
func (p *pipe) stop() {
	p.fail(errors.New("callgate ended it"))
	p.line.stop()
}

// lane is the way through a pipe for one principal.
type lane struct {
	*pipe
	key string
}

func (l *lane) info() *Info { return &l.about }

func (l *lane) send(ctx context.Context, out outgoing) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		w := &waiter{key: l.key, ready: make(chan struct{}, 1)}
		if err := l.join(out.id, w); err != nil {
			yield(Message{}, err)
			return
		}
		answered := false
		var rest []Message
		l.wire.count(1)
		defer func() {
			l.wire.count(-1)
			l.leave(out.id, w, rest)
			if !answered && out.method != "initialize" {
				l.later(cancellation(out.id, ctx))
			}
		}()
		if err := l.write(ctx, request(out.id, out.method, out.params)); err != nil {
			yield(Message{}, err)
			return
		}
		answered, rest = l.take(ctx, w, yield)
	}
}

// write writes one message, which it may change. A server that does not take it is
// ended.
func (p *pipe) write(ctx context.Context, msg []byte) error {
	select {
	case <-p.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-p.dead:
		return p.wire.unavailable("stopped", p.why)
	}
	defer func() { p.turn <- struct{}{} }()
	if err := p.line.write(msg); err != nil {
		p.fail(fmt.Errorf("write to it: %w", err))
		return p.wire.unavailable("stopped", err)
	}
	return nil
}

// oneLine makes msg one line, in place: in JSON the ends of lines are white space
// between tokens. Without this, a client could put a message of its own making,
// which nobody has judged, on a line within its parameters.
func oneLine(msg []byte) []byte {
	for _, end := range []byte("\n\r") {
		rest := msg
		for i := bytes.IndexByte(rest, end); i >= 0; i = bytes.IndexByte(rest, end) {
			rest[i] = ' '
			rest = rest[i+1:]
		}
	}
	return msg
}

// enqueue has a message written that nobody waits for, unless there are too many.
func (p *pipe) enqueue(msg []byte) {
	select {
	case p.posts <- msg:
	default:
	}
}

func (p *pipe) post() {
	for {
		select {
		case msg := <-p.posts:
			if p.write(context.Background(), msg) != nil {
				return
			}
		case <-p.dead:
			return
		}
	}
}

// ask puts one question to a server that is not discovered yet.
func (p *pipe) ask(ctx context.Context, _, method string, params []byte) (Message, error) {
	l := lane{pipe: p}
	for m, err := range l.send(ctx, outgoing{id: p.wire.ids.Add(1), method: method, params: params}) {
		if err != nil || m.IsResponse() {
			return m, err
		}
	}
	return Message{}, errForeign
}

// lineReader reads lines of at most limit bytes.
type lineReader struct {
	r     *bufio.Reader
	limit int
}

// next is a line without its end, in memory of its own.
func (l *lineReader) next() ([]byte, error) {
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		if len(line)+len(part) > l.limit+1 {
			return nil, fmt.Errorf("it wrote a line of more than %d bytes: %w", l.limit, errTooLarge)
		}
		switch {
		case err == nil:
			part = part[:len(part)-1]
			if line == nil {
				return bytes.Clone(part), nil
			}
			return append(line, part...), nil
		case err == bufio.ErrBufferFull:
			line = append(line, part...)
		case err == io.EOF:
			return nil, errors.New("it closed its output")
		default:
			return nil, err
		}
	}
}
