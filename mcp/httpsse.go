package mcp

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"

	"callgate/firewall"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
)

// HTTP+SSE, the transport of 2024-11-05, at /sse and /sse/<server>: a GET opens the
// session, whose only stream carries everything that the client is told; what the
// client says it posts to the URL in the stream's first event.

const ssePath = "/sse"

// A line is the one stream of such a session. Many write to it.
type line struct {
	ctx context.Context // ends with the stream

	mu   sync.Mutex
	out  *reply
	over bool
	busy int            // requests of the session
	work sync.WaitGroup // the same
}

var errLineOver = errors.New("the client's stream has ended")

// write sends one event.
func (l *line) write(frame []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return errLineOver
	}
	return l.out.raw(frame, false)
}

// end returns when nobody writes any more.
func (l *line) end() {
	l.mu.Lock()
	l.over = true
	l.mu.Unlock()
	l.work.Wait()
}

// openSSE begins a session, and is its stream.
func (v *visit) openSSE(ctx context.Context) {
	if _, sse := accepts(v.r.Header["Accept"]); !sse {
		v.refuse(ctx, nil, bad(http.StatusNotAcceptable, mcpgo.INVALID_REQUEST, "send Accept: text/event-stream"))
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &line{ctx: ctx, out: &reply{w: v.w, sse: true}}
	defer l.end()
	defer cancel()
	x, err := v.sessions.open(&v.caller, v.route, mcpgo.ProtocolVersion20241105, "")
	if err != nil {
		v.refuse(ctx, nil, v.fault(err, ""))
		return
	}
	v.session, x.line = x, l
	defer v.sessions.end(x)
	ctx, done := v.sessions.hear(ctx, x)
	defer done()
	call := v.blank(firewall.Session, "session/listen")
	endpoint := "event: endpoint\ndata: " + v.r.URL.Path + "?session=" + x.id + "\n\n"
	err = v.gate.Do(ctx, call, &news{v, v.sessions.pending(x), [len(changes)]bool{true, true, true}}, func(ev firewall.Event) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		v.about(call.ID)
		l.out.open()
		switch {
		case endpoint != "":
			err := l.out.raw([]byte(endpoint), false)
			endpoint = ""
			return err
		case ev.Name != "":
			return l.out.notify(ev.Name, ev.Body.JSON, ev.More)
		}
		return l.out.raw(ev.Frame, false)
	})
	if err != nil && !l.out.streaming && ctx.Err() == nil {
		v.deny(new(Message), v.fault(err, call.Method), &reply{w: v.w, json: true})
	}
}

const maxAtOnce = 256 // requests of one session of HTTP+SSE under way

// postSSE takes one message of such a session. Its answer goes down the stream.
func (v *visit) postSSE(ctx context.Context) {
	if f := v.resumeAs(v.r.URL.Query().Get("session")); f != nil {
		v.refuse(ctx, nil, f)
		return
	}
	l := v.session.line
	if l == nil {
		v.refuse(ctx, nil, bad(http.StatusBadRequest, mcpgo.INVALID_REQUEST, "this session is one of streamable HTTP: send its messages to %s", v.route))
		return
	}
	doc, f := v.read()
	if f != nil {
		v.refuse(ctx, nil, f)
		return
	}
	m, f := v.parse(doc)
	if f != nil {
		v.refuse(ctx, &m, f)
		return
	}
	own := *v
	own.out = &reply{line: l, sse: true, streaming: true, w: headless{}}
	if !l.begin() {
		v.refuse(ctx, &m, &fault{Error: firewall.Refuse(firewall.Exhausted, "the session has %d requests under way, or has ended", maxAtOnce), status: http.StatusTooManyRequests, code: http.StatusTooManyRequests})
		return
	}
	own.w = own.out.w
	serve := func() { own.take(l.ctx, &m, own.out) }
	if m.IsRequest() { // it has begun when the client hears that it was accepted, and may cancel it
		ctx, done := own.begin(l.ctx, &m)
		serve = func() { defer done(); own.pass(ctx, &m, own.out) }
	}
	go func() { // the response to the POST must not wait for it
		defer l.done()
		defer func() { // as net/http does for its handlers: one request must not end the gate
			if p := recover(); p != nil {
				own.cfg.Logger.ErrorContext(l.ctx, "a request panicked", "panic", p, "stack", string(debug.Stack()))
				own.sessions.end(own.session)
			}
		}()
		serve()
	}()
	v.w.Header()["Content-Length"] = []string{strconv.Itoa(len("Accepted"))}
	v.w.WriteHeader(http.StatusAccepted)
	_, _ = v.w.Write([]byte("Accepted"))
}

// begin counts a request of the session, if there is room.
func (l *line) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || l.busy >= maxAtOnce {
		return false
	}
	l.busy++
	l.work.Add(1)
	return true
}

func (l *line) done() {
	l.mu.Lock()
	l.busy--
	l.mu.Unlock()
	l.work.Done()
}

// headless takes what a reply would say in the head of a response.
type headless struct{}

func (headless) Header() http.Header         { return make(http.Header) }
func (headless) Write(b []byte) (int, error) { return len(b), nil }
func (headless) WriteHeader(int)             {}

// isSSE says whether a path is one of HTTP+SSE, and what is after it.
func isSSE(path string) (rest string, ok bool) {
	if path == ssePath {
		return "", true
	}
	rest, ok = strings.CutPrefix(path, ssePath+"/")
	return rest, ok && rest != ""
}
