package bridge

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"
)

// A request is a line of the client's that wants an answer, or several.
type request struct {
	message
	ctx     context.Context
	cancel  context.CancelFunc
	sent    chan struct{} // closed when it is on its way
	sending sync.Once
	over    chan struct{} // closed when it has been answered
	dropped atomic.Bool   // the client does not want an answer any more

	// of the goroutine that carries it
	used      place             // the session that it was last sent in
	open      map[string]string // ids without an answer yet, by their keys
	mended    bool              // its session was replaced for it
	relearned bool              // so were the headers of its tool
	granted   bool              // a subscription has been acknowledged
	missed    bool              // and was broken off since
}

func (r *request) onSent() { r.sending.Do(func() { close(r.sent) }) }

// serve answers a request, each id of it once.
func (b *Bridge) serve(r *request) {
	f := b.carry(r)
	for _, id := range r.open {
		if r.dropped.Load() {
			return
		}
		if f == nil {
			f = faultf(codeBrokenOff, "the gate did not answer")
		}
		if b.life.Err() != nil {
			f = faultf(codeBrokenOff, "the bridge was stopped before the answer came")
		}
		b.write(failed(id, f.code, f.reason))
	}
}

func (b *Bridge) carry(r *request) *fault {
	if r.method == listen && r.isModern() {
		return b.subscribe(r)
	}
	return b.persist(r)
}

// persist makes a request until there is an answer, or it cannot be told any more
// whether it was carried out, or the gate is away for too long.
func (b *Bridge) persist(r *request) *fault {
	wait := newBackoff()
	for began := time.Now(); ; {
		f := b.attempt(r)
		if f == nil || r.ctx.Err() != nil {
			return f
		}
		if f.lost && !r.mended {
			if f = b.mend(r.ctx, r.used); f == nil {
				r.mended = true
				continue
			}
		}
		left := b.cfg.Patience - time.Since(began)
		if !f.again && !(f.code == codeBrokenOff && isHarmless(r.method)) || left <= 0 {
			return f
		}
		wait.wait = min(wait.wait, left, time.Second)
		wait.rest(r.ctx, 0, 0)
	}
}

// isHarmless says whether a request may be made twice.
func isHarmless(method string) bool {
	switch method {
	case initialize, "server/discover", "ping":
		return true
	}
	return strings.HasSuffix(method, "/list")
}

// attempt makes a request once, and passes on what comes back.
func (b *Bridge) attempt(r *request) *fault {
	head, f := b.head(r)
	if f != nil {
		return f
	}
	resp, f := b.gate.send(r.ctx, http.MethodPost, r.raw, head, r.onSent)
	if f != nil {
		return f
	}
	if resp.StatusCode == http.StatusNotFound && r.used.id != "" {
		return &fault{code: codeUnavailable, reason: complaint(resp), lost: true}
	}
	take := func(doc []byte) bool {
		var done bool
		done, f = b.pass(r, head, resp.Header, doc)
		return done
	}
	for tries := 0; ; tries++ {
		last, retry, err := read(resp, take)
		_ = resp.Body.Close()
		switch {
		case f != nil || len(r.open) == 0:
			return f
		case r.method == listen && r.isModern() && resp.StatusCode == http.StatusOK:
			return &fault{code: codeBrokenOff, reason: "the gate broke off the subscription", ended: true}
		case r.used.id == "" || last == "" || tries == maxTries:
			return unanswered(resp, err)
		}
		again := backoff{wait: firstWait << tries}
		again.rest(r.ctx, 0, retry)
		next, g := b.resume(r.ctx, r.used, last)
		if g != nil {
			return faultf(codeBrokenOff, "the gate broke off its answer, and does not go on: %s", g.reason)
		}
		resp = next
	}
}

const maxTries = 5 // to go on with an answer that was broken off

// head is the head of a request in its era.
func (b *Bridge) head(r *request) (http.Header, *fault) {
	switch {
	case r.isModern():
		return b.header(r.ctx, &r.message), nil
	case r.method == initialize:
		return place{}.header(), nil
	}
	at, f := b.session.now(r.ctx)
	r.used = at
	return at.header(), f
}

// unanswered is a reply that has no response to the request.
func unanswered(resp *http.Response, err error) *fault {
	switch {
	case resp.StatusCode == http.StatusServiceUnavailable: // of what stands before the gate: the gate itself says why
		return &fault{code: codeUnavailable, reason: "the gate is not there: " + resp.Status, again: true}
	case resp.StatusCode/100 != 2:
		return faultf(codeBrokenOff, "what answered is no callgate, or stands before it: %s", resp.Status)
	}
	return faultf(codeBrokenOff, "the gate broke off its answer (%v): whether it acted is on its record, see callgate audit query", err)
}

// pass gives one message of the gate's to the client, and says whether that was
// all that it waits for. What is no message goes nowhere.
func (b *Bridge) pass(r *request, head, came http.Header, doc []byte) (done bool, f *fault) {
	if !gjson.ValidBytes(doc) {
		return false, nil
	}
	m := gjson.ParseBytes(doc)
	id := key(m.Get("id"))
	_, mine := r.open[id]
	failure := m.Get("error")
	switch {
	case m.IsArray() && r.method == "": // to a batch
		b.write(doc)
		m.ForEach(func(_, part gjson.Result) bool {
			if !part.Get("method").Exists() {
				delete(r.open, key(part.Get("id")))
			}
			return true
		})
	case !m.Get("jsonrpc").Exists():
	case m.Get("method").Exists():
		if r.method == listen && r.isModern() {
			b.heard(r, doc, m)
		} else {
			b.write(doc)
		}
	case failure.Exists() && !mine && m.Get("id").Type == gjson.Null: // of a gate that could not read whose it is
		for _, id := range r.open {
			b.write(failedAs(id, failure.Raw))
		}
		clear(r.open)
	case !mine:
	case failure.Get("code").Int() == codeHeaderMismatch && b.relearn(r, head):
		return true, &fault{code: codeUnavailable, reason: failure.Get("message").String(), again: true}
	case r.method == listen && r.isModern() && !failure.Exists():
		return true, &fault{code: codeBrokenOff, reason: "the gate ended the subscription", ended: true, graceful: true}
	default:
		if !failure.Exists() {
			b.note(r, came, m)
		}
		b.write(doc)
		delete(r.open, id)
	}
	return len(r.open) == 0, nil
}

// note keeps what later requests need of an answer.
func (b *Bridge) note(r *request, came http.Header, m gjson.Result) {
	switch {
	case r.isModern() && r.method == "tools/list":
		b.tools.learn(m.Get("result"))
	case r.isModern():
	case r.method == initialize:
		b.begun(r.ctx, r.message, came, m)
	default:
		b.said(r.ctx, r.message)
	}
}
