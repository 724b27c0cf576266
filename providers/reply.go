package providers

import (
	"errors"
	"net/http"
	"strconv"
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

	header http.Header            // of the provider
	status int                    // 0 as long as there is none
	broken func(f failure) []byte // how a stream ends that fails; nil for a plain reply
	begun  bool                   // some of it went down
	frame  []byte                 // an edited event, as it leaves; used again
}

// down passes on one event of call.
func (r *reply) down(call *firewall.Call, ev firewall.Event) error {
	// Where no deadline can be set, the server has its own.
	_ = r.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	if !r.begun {
		r.begin(call, len(ev.Body.JSON))
	}
	out := ev.Body.JSON
	if r.broken != nil {
		out = ev.Frame
		if ev.Body.Edited {
			r.frame = reframe(r.frame[:0], ev.Frame, ev.Body.JSON)
			out = r.frame
		}
	}
	if _, err := r.w.Write(out); err != nil {
		return err
	}
	if ev.More {
		return nil
	}
	return r.rc.Flush()
}

// begin sends the head of the reply; size is that of a plain one.
func (r *reply) begin(call *firewall.Call, size int) {
	r.begun = true
	h := r.w.Header()
	returned(h, r.header)
	r.common(call.ID)
	if r.broken != nil {
		h["Content-Type"] = []string{"text/event-stream; charset=utf-8"}
	} else {
		h["Content-Type"] = []string{"application/json"}
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

// done leaves the connection as it was, for the requests that come after.
func (r *reply) done() { _ = r.rc.SetWriteDeadline(time.Time{}) }

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
		if _, err := r.w.Write(r.broken(f)); err == nil {
			_ = r.rc.Flush() // it ends here in any case
		}
	}
}
