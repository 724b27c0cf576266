package mcp

import (
	"bytes"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
)

// A reply is what goes down for one POST: one JSON document if the response
// comes first and alone, else a stream of events.
type reply struct {
	w         http.ResponseWriter
	line      *line  // where all goes, in a session of HTTP+SSE
	json, sse bool   // what the client takes
	batch     bool   // there may be more than one response
	streaming bool   // the head of a stream is out
	array     []byte // responses of a batch that will be one document
	answered  bool
	nameless  bool // an error leaves out an id that is not known, where it would be null else

	keep func() *replay         // keeps the stream, once there is one; nil: nobody could come back to it
	kept atomic.Pointer[replay] // that does

	primes bool // the stream may begin with an event that only has an id
	primer primer
}

// answerer sees what the client sends and takes.
func (v *visit) answerer() (*reply, *fault) {
	kind, _, err := mime.ParseMediaType(v.r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return nil, bad(http.StatusUnsupportedMediaType, mcpgo.INVALID_REQUEST, "send Content-Type: application/json")
	}
	out := &reply{w: v.w}
	out.json, out.sse = accepts(v.r.Header["Accept"])
	if !out.json && !out.sse {
		return nil, bad(http.StatusNotAcceptable, mcpgo.INVALID_REQUEST, "send Accept: application/json, text/event-stream")
	}
	return out, nil
}

// accepts says whether a client takes JSON, and whether it takes streams. One
// that takes anything, or does not say, gets JSON.
func accepts(accept []string) (json, sse bool) {
	if len(accept) == 0 {
		return true, false
	}
	for _, line := range accept {
		for part := range strings.SplitSeq(line, ",") {
			kind, params, _ := strings.Cut(part, ";")
			if q := strings.TrimSpace(params); q == "q=0" {
				continue
			}
			switch strings.ToLower(strings.TrimSpace(kind)) {
			case "application/json", "application/*", "*/*":
				json = true
			case "text/event-stream", "text/*":
				sse = true
			}
		}
	}
	return json, sse
}

// notify sends a notification, if the client takes any.
func (o *reply) notify(method string, params []byte, more bool) error {
	if !o.sse {
		return nil
	}
	buf := append(make([]byte, 0, len(params)+len(method)+48), `{"jsonrpc":"2.0","method":`...)
	buf = append(buf, quoted(method)...)
	if params != nil {
		buf = append(append(buf, `,"params":`...), params...)
	}
	return o.event(append(buf, '}'), more)
}

// request asks the client for something in the course of its own request.
func (o *reply) request(id uint64, method string, params []byte) error {
	if !o.sse {
		return errors.New("the client takes no stream on which it could be asked")
	}
	return o.event(request(id, method, params), false)
}

// succeeded sends the response to request id.
func (o *reply) succeeded(id, result []byte) error {
	return o.respond(http.StatusOK, id, `,"result":`, result)
}

// failed sends the error response to request id, or to a request whose id is not
// known. Once a stream has begun, the status is what it is.
func (o *reply) failed(id []byte, status int, rpcError []byte) error {
	return o.respond(status, id, `,"error":`, rpcError)
}

const slowBytes = 64 << 10 // beyond which a client must take a document in time

func (o *reply) respond(status int, id []byte, member string, doc []byte) error {
	o.settle()
	o.answered = true
	buf := append(make([]byte, 0, len(`{"jsonrpc":"2.0","id":null}`)+len(id)+len(member)+len(doc)), `{"jsonrpc":"2.0"`...)
	switch {
	case id != nil:
		buf = append(append(buf, `,"id":`...), id...)
	case !o.nameless:
		buf = append(buf, `,"id":null`...)
	}
	buf = append(append(append(buf, member...), doc...), '}')
	n := len(buf)
	switch {
	case o.batch && !o.sse:
		if o.array == nil {
			o.array = append(o.array, '[')
		} else {
			o.array = append(o.array, ',')
		}
		o.array = append(o.array, buf...)
		return nil
	case o.batch || o.streaming || !o.json && status == http.StatusOK:
		return o.event(buf, false)
	}
	o.head("application/json", status, n)
	if n > slowBytes {
		o.hurry(true)
		defer o.hurry(false)
	}
	_, err := o.w.Write(buf)
	return err
}

func (o *reply) head(kind string, status, length int) {
	h := o.w.Header()
	h["Content-Type"] = []string{kind}
	if length >= 0 {
		h["Content-Length"] = []string{strconv.Itoa(length)}
	}
	o.w.WriteHeader(status)
}

// open sends the head of a stream, once.
func (o *reply) open() {
	o.settle()
	if !o.streaming {
		o.begin()
	}
}

func (o *reply) begin() {
	o.streaming = true
	o.w.Header().Set("X-Accel-Buffering", "no") // a proxy in between must not collect events
	o.head("text/event-stream", http.StatusOK, -1)
	if o.keep == nil {
		return
	}
	p := o.keep()
	o.kept.Store(p)
	if first := p.begin(); first != nil {
		_ = o.raw(first, false) // a client that has gone may come back
	}
}

// event sends one message of a stream. It goes out at once unless more follows.
func (o *reply) event(doc []byte, more bool) error {
	o.open()
	frame := append(make([]byte, 0, len(doc)+32), "event: message\ndata: "...)
	for {
		i := bytes.IndexAny(doc, "\r\n") // white space between tokens, but an end of line here
		if i < 0 {
			break
		}
		frame = append(append(frame, doc[:i]...), "\ndata: "...)
		if doc[i] == '\r' && i+1 < len(doc) && doc[i+1] == '\n' {
			i++
		}
		doc = doc[i+1:]
	}
	frame = append(append(frame, doc...), "\n\n"...)
	if p := o.kept.Load(); p != nil {
		_ = o.raw(p.add(frame), more)
		return nil
	}
	return o.raw(frame, more)
}

// raw writes bytes of a stream, which a client must take in time.
func (o *reply) raw(frame []byte, more bool) error {
	if o.line != nil {
		return o.line.write(frame)
	}
	o.hurry(true)
	defer o.hurry(false)
	if _, err := o.w.Write(frame); err != nil || more {
		return err
	}
	return http.NewResponseController(o.w).Flush()
}

const writeTimeout = 30 * time.Second // for a client to take what is written

// hurry bounds how long a client may keep a write waiting. Not all writers can,
// those of tests among them.
func (o *reply) hurry(on bool) {
	var until time.Time
	if on {
		until = time.Now().Add(writeTimeout)
	}
	_ = http.NewResponseController(o.w).SetWriteDeadline(until)
}

// end completes a reply: to messages that want no response it says that they
// have come.
func (o *reply) end() {
	o.settle()
	switch {
	case o.array != nil:
		o.array = append(o.array, ']')
		o.head("application/json", http.StatusOK, len(o.array))
		_, _ = o.w.Write(o.array) // an error here is a client that has gone
	case !o.answered && !o.streaming:
		o.w.WriteHeader(http.StatusAccepted)
	}
}
