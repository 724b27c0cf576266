package mcp

import (
	"sync"
	"time"
)

// A primer begins the stream of a reply before there is anything to say, for a
// legacy client whose call takes long: with the id in the stream's first event it
// can come back for the answer, should its connection break. Short calls are
// answered in one piece.
type primer struct {
	timer *time.Timer // owned by the goroutine of the request; nil when it cannot fire any more

	mu   sync.Mutex
	over bool // the request's goroutine writes from now on
}

const primeTime = time.Second // after which a call is a long one

// prime has the stream begin in a while, unless the answer to call comes first. The
// first event holds nothing of the answer, so it need not wait for the record.
func (o *reply) prime(call string) {
	if o == nil || !o.primes || o.streaming || o.answered || o.primer.timer != nil {
		return
	}
	p := &o.primer
	p.timer = time.AfterFunc(primeTime, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.over {
			about(o.w.Header(), call)
			o.begin()
		}
	})
}

// settle returns when nobody but the goroutine of the request writes the reply.
func (o *reply) settle() {
	p := &o.primer
	if p.timer == nil {
		return
	}
	p.timer.Stop()
	p.timer = nil
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
}
