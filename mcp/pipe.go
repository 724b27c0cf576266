package mcp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"
	"time"

	"github.com/tidwall/gjson"
)

const (
	maxGarbage = 1000             // lines in a row that are not messages
	maxQueued  = 4096             // messages that wait for one caller
	maxPosts   = 256              // messages to be written that nobody waits for
	writeTime  = 30 * time.Second // for one message; beyond it the server is stuck
	shyTime    = 2 * time.Second  // after a request, in which what the server says may still be about it
)

// pipe is a running process that speaks MCP on its standard input and output:
// one message a line. Many requests are on it at once.
type pipe struct {
	wire  *stdio
	about Info
	proc  *process
	in    *os.File
	turn  chan struct{} // holds a token while nobody writes
	posts chan []byte   // to be written when there is time

	mu      sync.Mutex
	waiting map[uint64]*waiter
	ended   [2]past // requests of the two principals who had one last

	dead chan struct{} // closed when why is set
	once sync.Once
	why  error
}

// waiter is a request whose response has not come.
type waiter struct {
	key   string
	ready chan struct{} // holds a token when there is news

	// guarded by pipe.mu
	queue []Message
	bytes int
	err   error
}

// past is when a principal's latest request ended.
type past struct {
	key string
	at  time.Time
}

func newPipe(w *stdio, proc *process) *pipe {
	p := &pipe{
		wire: w, proc: proc, in: proc.in,
		turn: make(chan struct{}, 1), posts: make(chan []byte, maxPosts),
		waiting: make(map[uint64]*waiter), dead: make(chan struct{}),
	}
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
			w.err = p.wire.unavailable("stopped", why)
			w.wake()
		}
		p.mu.Unlock()
		close(p.dead)
	})
}

// read takes the lines of the process until it ends.
func (p *pipe) read() {
	lines := lineReader{bufio.NewReaderSize(p.proc.out, 64<<10), messageLimit(p.wire.cfg.Limits)}
	garbage := 0
	var quiet limiter
	for {
		line, err := lines.next()
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

// reject fails the request that a line which cannot be read seems to answer, so
// that nobody waits in vain.
func (p *pipe) reject(line []byte, why error) {
	id := ours(gjson.GetBytes(line, "id").Raw)
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.waiting[id]; w != nil && w.err == nil {
		w.err = p.wire.unavailable("answered what callgate cannot read", why)
		w.wake()
	}
}

// dispatch gives m to whom it is for.
func (p *pipe) dispatch(m Message) {
	switch {
	case m.IsRequest():
		p.later(answer(&m))
	case m.IsResponse():
		p.deliver(ours(string(m.ID)), m)
	case p.wire.notice(m):
	case m.Method == "notifications/progress":
		p.deliver(progressOf(&m), m)
	default:
		p.deliver(p.whose(time.Now()), m)
	}
}

// deliver puts m into the queue of request id. A caller who does not take what
// comes loses the request, so that no other one waits for it.
func (p *pipe) deliver(id uint64, m Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.waiting[id]
	if w == nil || w.err != nil {
		p.wire.cfg.Logger.Debug("message of a server is for nobody", "method", m.Method)
		return
	}
	w.bytes += len(m.Raw)
	if len(w.queue) >= maxQueued || len(w.queue) > 0 && w.bytes > messageLimit(p.wire.cfg.Limits) {
		w.err = p.wire.unavailable("sent more messages than the client takes", nil)
		w.queue = nil
	} else {
		w.queue = append(w.queue, m)
	}
	if m.IsResponse() {
		p.end(id, w)
	}
	w.wake()
}

// end takes a request out of those that wait. It needs mu.
func (p *pipe) end(id uint64, w *waiter) {
	delete(p.waiting, id)
	if w.key == "" {
		return
	}
	if p.ended[0].key != w.key {
		p.ended[1] = p.ended[0]
	}
	p.ended[0] = past{w.key, time.Now()}
}

func (w *waiter) wake() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// whose is the request that a notification without a mark of its own is about: the
// latest of the only principal who has any, or had one a moment ago. 0 is
// nobody's: what a server says must not be shown to a stranger. What callgate
// asked on its own account is about nobody.
func (p *pipe) whose(now time.Time) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var latest uint64
	key := ""
	for id, w := range p.waiting {
		switch {
		case w.key == "":
			continue
		case latest != 0 && w.key != key:
			return 0
		}
		latest, key = max(latest, id), w.key
	}
	for _, e := range p.ended {
		if e.key != "" && e.key != key && now.Sub(e.at) < shyTime {
			return 0
		}
	}
	return latest
}

// lane is the way to a process for one principal.
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
		defer func() { l.leave(out, w, answered, ctx) }()
		if err := l.write(ctx, request(out.id, out.method, out.params)); err != nil {
			yield(Message{}, err)
			return
		}
		for {
			select {
			case <-w.ready:
			case <-ctx.Done():
				yield(Message{}, context.Cause(ctx))
				return
			}
			queue, err := l.collect(w)
			for _, m := range queue {
				answered = m.IsResponse()
				if !yield(m, nil) || answered {
					return
				}
			}
			if err != nil {
				yield(Message{}, err)
				return
			}
		}
	}
}

// join makes w one of those who wait.
func (p *pipe) join(id uint64, w *waiter) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why != nil {
		return p.wire.unavailable("stopped", p.why)
	}
	p.waiting[id] = w
	return nil
}

// collect takes what has come for w.
func (p *pipe) collect(w *waiter) ([]Message, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	queue := w.queue
	w.queue, w.bytes = nil, 0
	return queue, w.err
}

// leave ends a request, and tells the server so if it has not answered.
func (p *pipe) leave(out outgoing, w *waiter, answered bool, ctx context.Context) {
	p.mu.Lock()
	if p.waiting[out.id] == w {
		p.end(out.id, w)
	}
	p.mu.Unlock()
	if !answered && out.method != "initialize" {
		p.later(cancellation(out.id, ctx))
	}
}

// write writes one message, which it may change. A process that does not take it
// in time is stuck and is ended, because half a message cannot be taken back.
func (p *pipe) write(ctx context.Context, msg []byte) error {
	select {
	case <-p.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-p.dead:
		return p.wire.unavailable("stopped", p.why)
	}
	defer func() { p.turn <- struct{}{} }()
	_ = p.in.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := p.in.Write(append(oneLine(msg), '\n')); err != nil {
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

// later has a message written that nobody waits for, unless there are too many.
func (p *pipe) later(msg []byte) {
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

// ask puts one question to a process that is not discovered yet.
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
			return nil, fmt.Errorf("it wrote a line of more than %d bytes", l.limit)
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
