package providers

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"callgate/firewall"
)

// writeTimeout bounds how long a client may take for a piece of its reply.
const writeTimeout = 2 * time.Minute

// A reply is the way back to the client.
type reply struct {
	w         http.ResponseWriter
	rc        *http.ResponseController
	at        endpoint
	challenge func(route string, err error) string

	header http.Header // of the provider
	status int         // 0 as long as there is none

	model    string // provider/model that answers, where the client named one that stands for several; else ""
	attempts int    // so far, of these
	lossy    string // what of the request could not be translated
	cache    string // what the cache had to do with it: hit, miss or bypass; "" for nothing
	age      int64  // of a hit, in seconds

	broken func(f failure) []byte // how a stream ends that fails; nil for a plain reply
	text   string                 // media type of a plain reply that is a text; "" for a document
	socket *socket                // of a session, which the reply has become; nil for others
	media  string                 // media type of a reply that is no text; "" for others
	begun  bool                   // some of it went down
	wait   []byte                 // events that go down with the next one, which has arrived; in room
	room   *[maxWait]byte         // nil as long as none had to wait
	until  time.Time              // when the client must have taken what went down
}

// maxWait bounds the bytes of events that go down at once.
const maxWait = 8 << 10

// waits is room for events that wait. What is in it is only written, never kept.
var waits = sync.Pool{New: func() any { return new([maxWait]byte) }}

// down passes on one event of call.
func (r *reply) down(call *firewall.Call, ev firewall.Event) error {
	out := ev.Body.JSON
	switch {
	case r.socket != nil:
		return r.socket.write(out)
	case r.media != "" && !ev.Body.Edited: // as it came
		out = ev.Frame
	case r.media != "":
		out = append(out[:len(out):len(out)], '\n')
	case r.text != "" && ev.Mark == markText:
		out = unquoted(out)
	case r.broken != nil:
		out = ev.Frame
		if ev.Body.Edited {
			out = reframe(nil, ev.Frame, ev.Body.JSON)
		}
	}
	if !r.begun {
		r.begin(call, len(out))
	}
	if len(r.wait)+len(out) > maxWait {
		if err := r.flush(); err != nil {
			return err
		}
	}
	if len(r.wait) == 0 && (!ev.More || len(out) > maxWait) {
		return r.write(out)
	}
	if r.wait == nil {
		r.room = waits.Get().(*[maxWait]byte)
		r.wait = r.room[:0]
	}
	r.wait = append(r.wait, out...)
	if ev.More {
		return nil
	}
	return r.flush()
}

// flush sends the events that wait.
func (r *reply) flush() error {
	if len(r.wait) == 0 {
		return nil
	}
	err := r.write(r.wait)
	r.wait = r.wait[:0]
	return err
}

// write sends b to the client and bounds how long that may take.
func (r *reply) write(b []byte) error {
	if now := time.Now(); r.until.Sub(now) < writeTimeout/2 { // not for each event: it is not free
		r.until = now.Add(writeTimeout)
		_ = r.rc.SetWriteDeadline(r.until) // where none can be set, the server has its own
	}
	if _, err := r.w.Write(b); err != nil {
		return err
	}
	return r.rc.Flush()
}

// begin sends the head of the reply; size is that of a plain one.
func (r *reply) begin(call *firewall.Call, size int) {
	r.begun = true
	h := r.w.Header()
	returned(h, r.header)
	r.common(call.ID)
	if r.lossy != "" {
		h[headerLossy] = []string{r.lossy}
	}
	if r.model != "" {
		h[headerModel], h[headerAttempts] = []string{r.model}, []string{strconv.Itoa(r.attempts)}
	}
	r.cacheHead(h)
	switch {
	case r.broken != nil:
		h["Content-Type"] = []string{"text/event-stream; charset=utf-8"}
	case r.media != "": // its length is not sent, so that it is not all there before its end is
		h["Content-Type"] = []string{r.media}
	default:
		h["Content-Type"] = []string{cmp.Or(r.text, "application/json")}
		h["Content-Length"] = []string{strconv.Itoa(size)}
	}
	r.w.WriteHeader(r.status)
}

// common sets what stands in the head of every reply.
func (r *reply) common(call string) {
	h := r.w.Header()
	h["Cache-Control"] = []string{"no-store"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	h[headerCall] = []string{call}
}

// done ends a reply that went down as it should, and leaves the connection as it
// was for the requests that come after.
func (r *reply) done() {
	_ = r.flush() // the record has it, whoever still reads it
	if r.room != nil {
		waits.Put(r.room)
	}
	_ = r.rc.SetWriteDeadline(time.Time{})
}

// fail tells the client why its call failed, in the way that is still open.
func (r *reply) fail(err error) {
	var e *firewall.Error
	if !errors.As(err, &e) {
		e = &firewall.Error{Reason: "callgate failed", Err: err} // the gate answers with no other errors
	}
	switch f := failureOf(e); {
	case !r.begun:
		r.common(e.Call)
		if e.Code == firewall.Unauthenticated {
			r.w.Header().Set("WWW-Authenticate", r.challenge(r.at.route, err))
		}
		if f.status == http.StatusMethodNotAllowed {
			r.w.Header().Set("Allow", r.at.verb())
		}
		f.write(r.w, r.at.speaks)
	case r.broken != nil:
		if r.flush() == nil {
			_ = r.write(r.broken(f)) // it ends here in any case
		}
	case r.media != "":
		panic(http.ErrAbortHandler) // there are no words for it but to break off
	}
}
