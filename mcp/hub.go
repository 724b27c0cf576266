package mcp

import (
	"context"
	"sync"
	"time"

	"github.com/tidwall/gjson"
)

// A hub brings what a server says on one stream for all to the requests that it
// belongs to: a response by its id, progress by its token, and what has no mark
// of its own to the only principal whom it can be about.
type hub struct {
	server *Server
	client *Client      // whose stream it is; its owner is "" where several principals share it
	later  func([]byte) // sends a message that nobody waits for
	say    func([]byte) // sends a message, and returns when it is sent or cannot be

	mu      sync.Mutex
	why     error // why nothing comes any more
	waiting map[uint64]*waiter
	ended   [2]past   // requests of the two principals who had one last
	early   []Message // requests by the server before there was one that they could be about
}

const (
	maxEarly  = 16
	earlyTime = 5 * time.Second // that a request by the server waits for a call that it could be about
)

func newHub(s *Server, client *Client) hub {
	return hub{server: s, client: client, waiting: make(map[uint64]*waiter)}
}

// waiter is a request whose response has not come.
type waiter struct {
	key   string
	ready chan struct{} // holds a token when there is news

	// guarded by hub.mu
	queue []Message
	bytes int
	err   error
}

// past is when a principal's latest request ended.
type past struct {
	key string
	at  time.Time
}

// dispatch gives m to whom it is for.
func (h *hub) dispatch(m Message) {
	switch {
	case m.IsRequest():
		h.asked(m)
	case m.IsResponse():
		h.deliver(ours(string(m.ID)), m)
	case h.server.heard(h.client, m):
	case subscriptionOf(&m) != 0:
		h.deliver(subscriptionOf(&m), m)
	case m.Method == "notifications/progress":
		h.deliver(progressOf(&m), m)
	default:
		h.deliver(h.whose(time.Now()), m)
	}
}

// asked brings a request by the server to the call that it is about. Servers ask
// for roots as soon as they are greeted, which is before the call that they were
// greeted for, or when they hear that there are others. What else they ask when
// nobody calls them is in no call's course, and is refused.
func (h *hub) asked(m Message) {
	if m.Method == "ping" || !h.client.answers() {
		h.later(answer(&m))
		return
	}
	m.reply = &answering{say: h.say}
	if id := h.whose(time.Now()); id != 0 {
		h.deliver(id, m)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.Method != "roots/list" || h.client.owner() == "" || len(h.early) >= maxEarly || h.why != nil {
		h.later(answer(&m))
		return
	}
	h.early = append(h.early, m)
	time.AfterFunc(earlyTime, func() { h.late(m.ID) })
}

// late refuses an early request for which no call has come.
func (h *hub) late(id []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, m := range h.early {
		if string(m.ID) == string(id) {
			h.early = append(h.early[:i], h.early[i+1:]...)
			h.later(answer(&m))
			return
		}
	}
}

// deliver puts m into the queue of request id. A caller who does not take what
// comes loses the request, so that no other one waits for it.
func (h *hub) deliver(id uint64, m Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.waiting[id]
	if w == nil || w.err != nil {
		h.server.cfg.Logger.Debug("message of a server is for nobody", "method", m.Method)
		if m.IsRequest() {
			h.later(answer(&m))
		}
		return
	}
	w.bytes += len(m.Raw)
	if len(w.queue) >= maxQueued || len(w.queue) > 0 && w.bytes > messageLimit(h.server.cfg.Limits) {
		w.err = h.server.unavailable("sent more messages than the client takes", nil)
		w.queue = nil
	} else {
		w.queue = append(w.queue, m)
	}
	if m.IsResponse() {
		h.end(id, w)
	}
	w.wake()
}

// end takes a request out of those that wait. It needs mu.
func (h *hub) end(id uint64, w *waiter) {
	delete(h.waiting, id)
	if w.key == "" {
		return
	}
	if h.ended[0].key != w.key {
		h.ended[1] = h.ended[0]
	}
	h.ended[0] = past{w.key, time.Now()}
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
func (h *hub) whose(now time.Time) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	var latest uint64
	key := ""
	for id, w := range h.waiting {
		switch {
		case w.key == "":
			continue
		case latest != 0 && w.key != key:
			return 0
		}
		latest, key = max(latest, id), w.key
	}
	for _, e := range h.ended {
		if e.key != "" && e.key != key && now.Sub(e.at) < shyTime {
			return 0
		}
	}
	return latest
}

// join makes w one of those who wait.
func (h *hub) join(id uint64, w *waiter) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.why != nil {
		return h.server.unavailable("stopped", h.why)
	}
	h.waiting[id] = w
	if w.key != "" && h.early != nil {
		w.queue, h.early = h.early, nil
		w.wake()
	}
	return nil
}

// leave ends a request that is over, and refuses what the server still asks in
// its course; rest is what was taken for it and not read.
func (h *hub) leave(id uint64, w *waiter, rest []Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting[id] == w {
		h.end(id, w)
	}
	for _, m := range append(rest, w.queue...) {
		if m.IsRequest() {
			h.later(answer(&m))
		}
	}
	w.queue = nil
}

// take yields what comes for w until its response has, or nobody wants more. What
// it has taken and not yielded is rest.
func (h *hub) take(ctx context.Context, w *waiter, yield func(Message, error) bool) (answered bool, rest []Message) {
	for {
		select {
		case <-w.ready:
		case <-ctx.Done():
			yield(Message{}, context.Cause(ctx))
			return false, nil
		}
		queue, err := h.collect(w)
		for i, m := range queue {
			answered = m.IsResponse()
			if !yield(m, nil) || answered {
				return answered, queue[i+1:]
			}
		}
		if err != nil {
			yield(Message{}, err)
			return false, nil
		}
	}
}

// collect takes what has come for w.
func (h *hub) collect(w *waiter) ([]Message, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	queue := w.queue
	w.queue, w.bytes = nil, 0
	return queue, w.err
}

// reject fails the request that a line which cannot be read seems to answer, so
// that nobody waits in vain.
func (h *hub) reject(line []byte, why error) {
	id := ours(gjson.GetBytes(line, "id").Raw)
	h.mu.Lock()
	defer h.mu.Unlock()
	if w := h.waiting[id]; w != nil && w.err == nil {
		w.err = h.server.unavailable("answered what callgate cannot read", why)
		w.wake()
	}
}

// fail ends a request with an error.
func (h *hub) fail(id uint64, w *waiter, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting[id] == w && w.err == nil {
		w.err = why
		w.wake()
	}
}
