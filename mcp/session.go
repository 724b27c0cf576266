package mcp

import (
	queue "container/list"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"callgate/firewall"
	"callgate/identity"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/tidwall/gjson"
)

// A session is a legacy client's, from initialize on. It belongs to the
// principal and the endpoint that it began with: to others it does not exist.
type session struct {
	id    string
	owner string // principal
	agent string // that counts it as one of its own
	route string
	line  *line // of a session of HTTP+SSE

	// guarded by sessions.mu
	version string
	said    string // the client\'s capabilities
	used    time.Time
	place   *queue.Element // among the agent's own
	level   string         // least severe log message that the client wants; "" is all
	calls   []*inflight
	asked   map[uint64]chan<- Message // requests by servers that the client has not answered
	replays []*replay                 // streams that the client may come back to
	streams uint64                    // how many there were
	asks    uint64                    // how many there were
	due     *pending                  // what the client is to be told, once it listens or subscribes
	listen  *inflight                 // the stream of notifications, if there is one
	ended   bool
}

// inflight is something under way that the session can end.
type inflight struct {
	key    string
	cancel context.CancelFunc
}

// sessions is all sessions at the door.
type sessions struct {
	idle time.Duration
	most int // of one agent; the one that is unused for longest makes room

	mu     sync.Mutex
	byID   map[string]*session
	agents map[string]*queue.List // of *session, the one that is unused for longest first
	swept  time.Time
}

// open begins a session of caller, whose client said what it can do.
func (s *sessions) open(caller *identity.Principal, route, version, said string) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.byID == nil {
		s.byID, s.agents = make(map[string]*session), make(map[string]*queue.List)
	}
	s.sweep(now)
	x := &session{
		id: rand.Text(), owner: principalKey(caller), agent: caller.Tenant + "\x00" + caller.Agent(),
		route: route, version: version, said: said, used: now,
	}
	if own := s.agents[x.agent]; own != nil && own.Len() >= s.most && !s.makeRoom(own) {
		return nil, firewall.Refuse(firewall.Exhausted, "%d MCP sessions of this agent are in use: end some with DELETE", s.most)
	}
	own := s.agents[x.agent] // not there, or not any more, if it is empty
	if own == nil {
		own = queue.New()
		s.agents[x.agent] = own
	}
	x.place = own.PushBack(x)
	s.byID[x.id] = x
	return x, nil
}

// sweep ends sessions that have been left alone for too long. It needs mu.
func (s *sessions) sweep(now time.Time) {
	if now.Sub(s.swept) < time.Minute {
		return
	}
	s.swept = now
	for _, x := range s.byID {
		if s.isIdle(x, now) {
			s.drop(x)
		}
	}
}

// makeRoom ends the session that is unused for longest, if one is not in use. It
// needs mu.
func (s *sessions) makeRoom(own *queue.List) bool {
	for e := own.Front(); e != nil; e = e.Next() {
		if x := e.Value.(*session); !x.busy() {
			s.drop(x)
			return true
		}
	}
	return false
}

// touch notes that x is used. It needs mu.
func (s *sessions) touch(x *session, now time.Time) {
	x.used = now
	if own := s.agents[x.agent]; own != nil && !x.ended {
		own.MoveToBack(x.place)
	}
}

// find is the session of caller with id at route. It is nil if there is none: whose
// it is otherwise is not told.
func (s *sessions) find(id string, caller *identity.Principal, route string) (found *session, is manner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byID[id]
	now := time.Now()
	if x == nil || x.owner != principalKey(caller) || x.route != route {
		return nil, manner{}
	}
	if s.isIdle(x, now) {
		s.drop(x)
		return nil, manner{}
	}
	s.touch(x, now)
	return x, manner{x.version, x.said, x.level}
}

// manner is how a session is at one time.
type manner struct{ version, said, level string }

// greet notes what the client of x speaks and can do, where x was there before.
func (s *sessions) greet(x *session, version, said string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.version, x.said = version, said
}

// errUnwanted ends a call that its client has canceled, or with its session.
var errUnwanted = fmt.Errorf("the client does not want an answer any more: %w", context.Canceled)

// begin notes that a call of x is under way, which cut ends: with errUnwanted, when the
// client cancels the call or the session.
func (s *sessions) begin(x *session, key string, cut context.CancelCauseFunc) *inflight {
	c := &inflight{key: key, cancel: func() { cut(errUnwanted) }}
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.ended {
		c.cancel()
	}
	x.calls = append(x.calls, c)
	return c
}

// over notes that a call of x is not under way any more.
func (s *sessions) over(x *session, c *inflight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touch(x, time.Now())
	for i := range x.calls {
		if x.calls[i] == c {
			x.calls[i] = x.calls[len(x.calls)-1]
			x.calls = x.calls[:len(x.calls)-1]
			return
		}
	}
}

// cancel ends the calls of x that have key.
func (s *sessions) cancel(x *session, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range x.calls {
		if c.key == key {
			c.cancel()
		}
	}
}

// ask notes that the client of x is asked for something, under an id of the
// session's own. Its response comes on the channel.
func (s *sessions) ask(x *session) (id uint64, response <-chan Message, done func()) {
	ch := make(chan Message, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.asked == nil {
		x.asked = make(map[uint64]chan<- Message)
	}
	x.asks++
	id = x.asks
	x.asked[id] = ch
	return id, ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(x.asked, id)
	}
}

// answer takes a response of x's client to whoever waits for it. The first one
// counts.
func (s *sessions) answer(x *session, m *Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := ours(string(m.ID))
	if ch := x.asked[id]; ch != nil {
		delete(x.asked, id)
		ch <- *m
	}
}

// hear notes that x's client listens. It does so on one stream: an earlier one,
// whose client may be gone without a word, ends.
func (s *sessions) hear(ctx context.Context, x *session) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	c := &inflight{cancel: cancel}
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.ended {
		cancel()
	}
	if x.listen != nil {
		x.listen.cancel()
	}
	x.listen = c
	return ctx, func() {
		cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.touch(x, time.Now())
		if x.listen == c {
			x.listen = nil
		}
	}
}

// pending is what x's client is still to be told.
func (s *sessions) pending(x *session) *pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.due == nil {
		x.due = newPending()
		if x.ended {
			x.due.stop()
		}
	}
	return x.due
}

// setLevel notes what x wants to read of logs.
func (s *sessions) setLevel(x *session, level string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.level = level
}

// end ends x and all that is under way in it.
func (s *sessions) end(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(x)
}

// drop is end with mu held. It may come twice.
func (s *sessions) drop(x *session) {
	for _, c := range x.calls {
		c.cancel()
	}
	if x.listen != nil {
		x.listen.cancel()
	}
	if x.ended {
		return
	}
	x.ended = true
	if x.due != nil {
		go x.due.stop() // which takes locks of servers
	}
	delete(s.byID, x.id)
	own := s.agents[x.agent]
	if own.Remove(x.place); own.Len() == 0 {
		delete(s.agents, x.agent)
	}
}

// isIdle says whether x has been left alone for too long. It needs mu.
func (s *sessions) isIdle(x *session, now time.Time) bool {
	return !x.busy() && now.Sub(x.used) > s.idle
}

func (x *session) busy() bool { return len(x.calls) > 0 || x.listen != nil }

// callKey tells the requests of a session apart: 1 and "1" are two ids.
func callKey(id gjson.Result) string {
	if id.Type == gjson.String {
		return strconv.Quote(id.Str)
	}
	return id.Raw
}

// resume finds the session that a legacy request belongs to.
func (v *visit) resume() *fault {
	if version := v.r.Header.Get(mcpgo.HeaderProtocolVersion); version != "" && !speaks(version) {
		return unsupported(version)
	}
	ids := v.r.Header[mcpgo.HeaderSessionID]
	if len(ids) != 1 || ids[0] == "" {
		return bad(http.StatusBadRequest, mcpgo.INVALID_REQUEST, "no Mcp-Session-Id: send initialize first, and then the id that comes with its answer")
	}
	return v.resumeAs(ids[0])
}

// resumeAs finds the session with an id.
func (v *visit) resumeAs(id string) *fault {
	var is manner
	if v.session, is = v.sessions.find(id, &v.caller, v.route); v.session == nil {
		return &fault{Error: firewall.Refuse(firewall.NotFound, "there is no such session, or it has ended: send initialize again"), status: http.StatusNotFound, code: http.StatusNotFound}
	}
	v.version, v.said, v.level = is.version, is.said, is.level
	return nil
}

// leave ends the session on the client's word.
func (v *visit) leave(ctx context.Context) {
	if f := v.resume(); f != nil {
		v.refuse(ctx, nil, f)
		return
	}
	call := v.blank(firewall.Session, "session/end")
	end := local(func(context.Context, *firewall.Call) ([]byte, error) {
		v.sessions.end(v.session)
		return []byte(`{}`), nil
	})
	if err := v.gate.Do(ctx, call, end, func(firewall.Event) error { return nil }); err != nil {
		v.deny(new(Message), v.fault(err, call.Method), &reply{w: v.w, json: true})
		return
	}
	v.about(call.ID)
	v.w.WriteHeader(http.StatusNoContent)
}

// batch answers several messages at once, as only 2025-03-26 has them. Each
// request in it is a call of its own, one after the other.
func (v *visit) batch(ctx context.Context, doc []byte, out *reply) {
	messages, f := v.parseBatch(doc)
	modern := isModern(v.r.Header.Get(mcpgo.HeaderProtocolVersion))
	if f == nil && !modern {
		f = v.resume()
	}
	if f == nil && v.version != mcpgo.ProtocolVersion20250326 {
		f = bad(http.StatusBadRequest, mcpgo.INVALID_REQUEST, "batches are only in protocol version %s: send one message at a time", mcpgo.ProtocolVersion20250326)
	}
	if f != nil {
		v.refuse(ctx, nil, f)
		return
	}
	out.batch, v.out = true, out
	ctx, _, done := v.outlive(ctx, out)
	defer done()
	for i := range messages {
		if ctx.Err() != nil {
			return
		}
		v.take(ctx, &messages[i], out)
	}
	out.end()
}

const maxBatch = 100 // messages

// parseBatch reads the messages of a batch. If one is bad, none is taken.
func (v *visit) parseBatch(doc []byte) ([]Message, *fault) {
	if _, err := firewall.ParseBody(doc, v.cfg.Limits); err != nil {
		return nil, bad(http.StatusBadRequest, mcpgo.PARSE_ERROR, "the body is not JSON as callgate takes it: %v", err)
	}
	var messages []Message
	var f *fault
	parsed(doc).ForEach(func(_, part gjson.Result) bool {
		var m Message
		switch m, f = v.parse(doc[part.Index : part.Index+len(part.Raw)]); {
		case f != nil:
		case len(messages) == maxBatch:
			f = bad(http.StatusBadRequest, mcpgo.INVALID_REQUEST, "a batch of more than %d messages", maxBatch)
		case m.Method == "initialize":
			f = bad(http.StatusBadRequest, mcpgo.INVALID_REQUEST, "initialize must not be in a batch")
		}
		messages = append(messages, m)
		return f == nil
	})
	if f == nil && len(messages) == 0 {
		f = bad(http.StatusBadRequest, mcpgo.INVALID_REQUEST, "an empty batch")
	}
	return messages, f
}
