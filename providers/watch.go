package providers

import (
	"context"
	"io"
	"sync/atomic"
	"time"
)

// A watch gives up an exchange whose provider lets it wait for too long. It
// counts only the time in which a read waits, not what is done with the reply.
type watch struct {
	timer *time.Timer
	idle  time.Duration
	begun atomic.Bool // the first byte is there
	body  io.Reader
}

// newWatch calls cancel when no reply has begun after first, or none has gone on
// for idle.
func newWatch(cancel context.CancelCauseFunc, first, idle time.Duration) *watch {
	w := &watch{idle: idle}
	w.timer = time.AfterFunc(first, func() {
		if w.begun.Load() {
			cancel(errIdle)
		} else {
			cancel(errFirstByte)
		}
	})
	return w
}

// over makes body the one that the watch reads.
func (w *watch) over(body io.Reader) *watch {
	w.body = body
	return w
}

// Read implements [io.Reader].
func (w *watch) Read(p []byte) (int, error) {
	if w.begun.Load() {
		w.timer.Reset(w.idle)
	}
	n, err := w.body.Read(p)
	if n > 0 || err != nil {
		w.begun.Store(true)
		w.timer.Stop()
	}
	return n, err
}

// drain reads a complete reply to its end, if that comes at once: then its
// connection can be used again.
func (w *watch) drain() {
	w.timer.Reset(drainTimeout)
	_, _ = io.CopyN(io.Discard, w.body, maxTail) // it is complete whatever comes
}

const maxTail = 4 << 10 // bytes behind the last event that are worth reading
