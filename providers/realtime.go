package providers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/gorilla/websocket"
)

// A realtime is a conversation over WebSockets, with the client and with the provider:
// the call of the session, and its [firewall.Upstream]. What belongs to a response is the
// reply of a call of its own, see flow; what else the provider says is the reply of the
// session's. What the client says that has words in it is a call, too, and a part of the
// session's.
//
// The provider is read in the goroutine of the session's call, one event after the other:
// each has passed guards, record and all, or is held back by them, before the next one is
// looked at. So events leave in their order, though they belong to several calls.
type realtime struct {
	h      *Handler
	asked  *http.Request
	back   *reply
	behind *catalog
	said   string // the model as the client names it
	call   *firewall.Call

	to             *provider       // from the handshake on
	key            identity.Secret // that was sent
	client, server *socket
	reading        *spoken // of what is no response's
	texts          texts   // of the same
	context        atomic.Int64

	mu      sync.Mutex // guards pending, and that requests go up in its order
	pending []*flow    // for which the provider has not begun a response
	flows   sync.WaitGroup
	active  atomic.Int32     // how many there are
	begun   map[string]*flow // by the response's id; owned by hold
	taken   sync.Map         // tool calls that were taken out of responses: firewall.Want by their ids
	heard   atomic.Int64     // when the client said something last, in Unix nanoseconds
}

const (
	realtimePath   = "/v1/realtime"
	maxSaid        = 16 << 20 // bytes of one event of a client; the vendor takes 15 MiB of sound
	maxFlows       = 16       // responses under way in a session
	handshakeTime  = 30 * time.Second
	tokenProtocol  = "openai-insecure-api-key."
	defaultSession = time.Hour
	defaultSilence = 15 * time.Minute
)

// enterRealtime completes the call of a session that is asked for.
func (h *Handler) enterRealtime(r *http.Request, at endpoint, call *firewall.Call, back *reply) (firewall.Upstream, error) {
	if !websocket.IsWebSocketUpgrade(r) {
		return nil, firewall.Refuse(firewall.Invalid, "this path takes a WebSocket: wss://…%s?model=…", realtimePath)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(query["model"]) != 1 {
		return nil, firewall.Refuse(firewall.Invalid, "model is missing: connect to %s?model=…", realtimePath)
	}
	doc := append(append([]byte(`{"model":`), quote(query.Get("model"))...), '}')
	if call.Body, err = firewall.ParseBody(doc, h.cfg.Limits); err != nil {
		return nil, &firewall.Error{Code: firewall.Invalid, Reason: "the name of the model cannot be read", Err: err}
	}
	said, err := readRequest(doc)
	call.Resource = clip(said.model)
	if err != nil {
		return nil, err
	}
	call.Media = firewall.InRequest | firewall.InReply
	s := &realtime{h: h, asked: r, back: back, behind: h.behind.Load(), said: said.model, call: call, reading: new(spoken), begun: make(map[string]*flow)}
	if m, ok := s.behind.models[said.model]; ok {
		ways, err := s.behind.ways(&m, call, at, &said, h.cfg.Now())
		if err != nil {
			return nil, err
		}
		for i := range ways {
			ways[i].Estimate = ways[i].Price.Estimate(firewall.Usage{})
		}
		call.Take(ways[0])
		call.Estimate, call.Routes = ways[0].Estimate, ways[1:]
		return s, nil
	}
	if _, err = h.route(call, at, s.behind, said); err != nil {
		return nil, err
	}
	call.Estimate = call.Price.Estimate(firewall.Usage{}) // each response is a call of its own
	return s, nil
}

// Forward implements [firewall.Upstream].
func (s *realtime) Forward(ctx context.Context, call *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		resp, err := s.dial(ctx)
		if resp != nil {
			s.fault(ctx, resp, yield)
			return
		}
		if err == nil {
			err = s.accept()
		}
		if err == nil {
			err = s.hold(ctx, yield)
		}
		if err != nil {
			yield(firewall.Event{}, err)
		}
	}
}

// Read implements [firewall.Upstream].
func (s *realtime) Read(ev *firewall.Event) {
	if ev.Body.Edited {
		ev.Body.JSON = withoutLogprobs(ev.Body.JSON)
	}
	if item := at(ev.Body.JSON, "item"); strings.HasSuffix(item.Get("type").Str, "_call") { // of the conversation, which tells it beside the response
		if w, ok := s.taken.Load(item.Get("call_id").Str); ok {
			w := w.(firewall.Want)
			*ev = edited(*ev, setRaw(ev.Body.JSON, "item", standIn(&w, "completed")))
		}
	}
	if ev.Mark&markPlain != 0 {
		ev.Fault = fmt.Sprintf("http %d", s.back.status)
	}
}

// dial reaches the provider: of those that the model stands for the first one that takes
// the session. resp is the answer of one that does not.
func (s *realtime) dial(ctx context.Context) (resp *http.Response, err error) {
	ways := append([]firewall.Route{{Target: s.call.Target, Resource: s.call.Resource, Price: s.call.Price}}, s.call.Routes...)
	for _, w := range ways {
		s.call.Take(w)
		s.to = s.behind.byName[w.Target]
		began, fault := s.h.cfg.Now(), ""
		if resp, err = s.reach(ctx); err != nil {
			fault = "unavailable"
		} else if resp != nil {
			fault = fmt.Sprintf("http %d", resp.StatusCode)
		}
		if len(ways) > 1 {
			s.call.Attempts = append(s.call.Attempts, audit.Attempt{Target: w.Target, Resource: w.Resource, Fault: fault, TookUS: s.h.cfg.Now().Sub(began).Microseconds()})
		}
		if fault == "" || ctx.Err() != nil {
			break
		}
	}
	return resp, err
}

// reach connects to the provider, and once more where it does not take its key and there
// is another one by now.
func (s *realtime) reach(ctx context.Context) (*http.Response, error) {
	u, err := s.to.address(s.to.paths["realtime"], s.call.Resource, "model="+url.QueryEscape(s.call.Resource))
	if err != nil {
		return nil, err
	}
	at := *u
	at.Scheme = map[string]string{"http": "ws", "https": "wss"}[u.Scheme]
	dialer := websocket.Dialer{Proxy: s.to.transport.Proxy, NetDialContext: s.to.transport.DialContext, HandshakeTimeout: handshakeTime}
	now := s.h.cfg.Now()
	k := s.to.keys.pick(stickyTo(s.call), s.call.Resource, now, nil)
	if k == nil && len(s.to.keys) > 0 {
		return nil, s.to.keyless(s.call.Resource)
	}
	for again := false; ; again = true {
		header := forwarded(s.asked.Header)
		header.Del("Content-Type")
		header.Del("Accept-Encoding")
		header.Del("Accept")
		if strings.Contains(strings.Join(s.asked.Header["Sec-Websocket-Protocol"], ","), "openai-beta.realtime-v1") { // what browsers say in the place of the header
			header.Set("Openai-Beta", "realtime=v1")
		}
		maps.Copy(header, s.to.fixed)
		key, err := s.to.shows.put(ctx, &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: header}, nil, s.call, k, now)
		if err != nil {
			return nil, err
		}
		s.key = key.Value
		conn, resp, err := dialer.DialContext(ctx, at.String(), header)
		switch {
		case err == nil:
			s.server = newSocket(conn, s.h.cfg.MaxEvent)
			return nil, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !errors.Is(err, websocket.ErrBadHandshake) || resp == nil:
			return nil, &firewall.Error{Code: firewall.Unavailable, Reason: "provider " + s.to.name + " cannot be reached", Err: err}
		case again || resp.StatusCode != http.StatusUnauthorized || !key.Refused(ctx):
			if k != nil {
				if why, passed := k.answered(resp, s.call.Resource, now); !passed {
					k.refused(ctx, s.h.cfg.Logger, s.to.name, s.call.Resource, why)
				}
			}
			return resp, nil
		}
	}
}

// fault answers with the provider's refusal of a session.
func (s *realtime) fault(ctx context.Context, resp *http.Response, yield func(firewall.Event, error) bool) {
	x := exchange{cfg: &s.h.cfg, to: s.to, back: s.back, key: s.key} // so that nothing repeats it
	if resp.StatusCode < 400 {
		yield(firewall.Event{}, x.unavailable(fmt.Sprintf("answered HTTP %d to a WebSocket", resp.StatusCode), nil))
		return
	}
	s.back.header, s.back.status = resp.Header, resp.StatusCode
	doc, _ := io.ReadAll(resp.Body) // the dialer has read all that it gives
	if err := x.told(doc, nil, func(ev firewall.Event) bool { return yield(ev, nil) }); err != nil {
		yield(firewall.Event{}, err)
	}
}

// accept makes the client's request its side of the session.
func (s *realtime) accept() error {
	up := websocket.Upgrader{
		Subprotocols: []string{"realtime"},
		CheckOrigin:  func(*http.Request) bool { return true }, // no browser sends a token by itself
		Error:        func(http.ResponseWriter, *http.Request, int, error) {},
	}
	header := http.Header{headerCall: {s.call.ID}}
	if s.said != s.call.Resource && s.said != s.call.Target+"/"+s.call.Resource {
		header[headerModel] = []string{s.call.Target + "/" + s.call.Resource}
	}
	conn, err := up.Upgrade(s.back.w, s.asked, header)
	if err != nil {
		s.server.close(websocket.CloseGoingAway, "")
		return &firewall.Error{Code: firewall.Invalid, Reason: "the request is no handshake of a WebSocket", Err: err}
	}
	s.client = newSocket(conn, min(maxSaid, s.h.cfg.Limits.Bytes))
	s.back.begun, s.back.socket = true, s.client
	return nil
}

// hold keeps the session up until one side ends it, or it must end.
func (s *realtime) hold(ctx context.Context, yield func(firewall.Event, error) bool) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	ctx, expire := context.WithTimeoutCause(ctx, s.h.cfg.MaxSession, firewall.Refuse(firewall.Timeout, "a session lasts at most %v: connect again", s.h.cfg.MaxSession))
	defer expire()
	if until := s.call.Caller.Expires; !until.IsZero() {
		ctx, expire = context.WithTimeoutCause(ctx, until.Sub(s.h.cfg.Now()), firewall.Refuse(firewall.Unauthenticated, "the access token has expired: connect again with another one"))
		defer expire()
	}
	var side sync.WaitGroup
	side.Go(func() { end(s.listen(ctx)) })
	side.Go(func() { s.client.ping(ctx.Done()) })
	side.Go(func() { s.server.ping(ctx.Done()) })
	side.Go(func() { s.silence(ctx, end) })
	letGo := func() {
		s.server.stop()
		s.client.stop()
	}
	defer context.AfterFunc(ctx, letGo)()
	err := s.dispatch(ctx, yield)
	var over *firewall.Error
	switch cause := context.Cause(ctx); {
	case cause == nil:
	case errors.Is(cause, errGoodbye):
		err = nil
	case errors.As(cause, &over):
		err = over
	default:
		err = &firewall.Error{Code: firewall.Canceled, Reason: "the client closed the session", Err: cause}
	}
	end(err)
	letGo()
	side.Wait() // before the flows, of which it begins some
	s.flows.Wait()
	s.server.close(websocket.CloseNormalClosure, "")
	if err != nil {
		var e *firewall.Error
		if errors.As(err, &e) {
			_ = s.client.write(failureOf(e).realtime("")) // it may be gone
		}
	}
	s.client.close(closing(err), "")
	return err
}

// errGoodbye is the end of a session that its client wanted.
var errGoodbye = errors.New("the client said goodbye")

// silence ends a session in which nothing was said for too long.
func (s *realtime) silence(ctx context.Context, end context.CancelCauseFunc) {
	most := s.h.cfg.MaxSilence
	s.heard.Store(s.h.cfg.Now().UnixNano())
	tick := time.NewTicker(max(most/8, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if s.active.Load() == 0 && s.h.cfg.Now().UnixNano()-s.heard.Load() > int64(most) {
				end(firewall.Refuse(firewall.Timeout, "the client said nothing for %v: connect again", most))
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// dispatch reads what the provider says and brings each event to the call that it
// belongs to.
func (s *realtime) dispatch(ctx context.Context, yield func(firewall.Event, error) bool) error {
	for total := int64(0); ; {
		doc, err := s.server.read()
		if total += int64(len(doc)); err == nil && total > s.h.cfg.MaxStream {
			err = errTooLong
		}
		switch {
		case saidGoodbye(err):
			return nil
		case errors.Is(err, websocket.ErrReadLimit), errors.Is(err, errTooLong):
			return s.unavailable("sent more than callgate takes", err)
		case errors.Is(err, errNoText):
			return s.unavailable("sent a message that is no text", err)
		case err != nil:
			return s.unavailable("broke off the session", err)
		case !jsontext.Value(doc).IsValid():
			return s.unavailable("sent an event that is not valid JSON", nil)
		}
		f, err := s.flowOf(ctx, doc)
		if err != nil {
			return err
		}
		if f != nil {
			f.push(doc)
			continue
		}
		ev := firewall.Event{Body: firewall.Body{JSON: doc}}
		if err := s.reading.event(&ev, &s.texts); err != nil {
			return s.unavailable("sent an event that cannot be judged", err)
		}
		ev.Body.Spans, ev.Last, ev.Mark = s.texts.take(), false, 0
		if !yield(ev, nil) {
			return nil
		}
	}
}

// flowOf is the response that an event belongs to; nil if to none. The first event of a
// response begins it: it is the one that the client asked for first, or, where it asked
// for none, one that the provider began by itself, since somebody stopped speaking.
func (s *realtime) flowOf(ctx context.Context, doc []byte) (*flow, error) {
	at := placeOf(doc)
	switch {
	case at.kind == "error":
		return s.failed(at.event), nil
	case !strings.HasPrefix(at.kind, "response."):
		return nil, nil
	}
	f := s.begun[at.response]
	if f == nil {
		if f = s.first(); f == nil {
			if len(s.begun) >= maxFlows {
				return nil, s.unavailable(fmt.Sprintf("began more than %d responses at once", maxFlows), nil)
			}
			f = s.unasked(ctx, strings.Clone(at.response))
		}
		s.begun[strings.Clone(at.response)] = f
	}
	if at.kind == "response.done" {
		delete(s.begun, at.response)
	}
	return f, nil
}

// A place is where an event belongs, as it says itself. It aliases the event.
type place struct {
	kind     string
	response string // its id
	event    string // id of the client's event that has failed
}

func placeOf(doc []byte) (p place) {
	c := cursor{doc: doc}
	inner := func(id string, to *string) {
		c.members(func(name string) {
			if name == id {
				*to = c.str()
			} else {
				c.skip()
			}
		})
	}
	c.members(func(name string) {
		switch name {
		case "type":
			p.kind = c.str()
		case "response_id":
			p.response = c.str()
		case "response":
			inner("id", &p.response)
		case "error":
			inner("event_id", &p.event)
		default:
			c.skip()
		}
	})
	return p
}

// first takes the response that was asked for first and has not begun.
func (s *realtime) first() *flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) == 0 {
		return nil
	}
	f := s.pending[0]
	s.pending = s.pending[1:]
	return f
}

// failed takes the response that was asked for by an event which the provider refuses.
func (s *realtime) failed(event string) *flow {
	return s.forget(func(f *flow) bool { return event != "" && f.event == event })
}

func (s *realtime) forget(which func(*flow) bool) *flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.pending {
		if which(f) {
			s.pending = append(s.pending[:i:i], s.pending[i+1:]...)
			return f
		}
	}
	return nil
}

func (s *realtime) unavailable(what string, err error) error {
	return &firewall.Error{Code: firewall.Unavailable, Reason: "provider " + s.to.name + " " + what, Err: err}
}

// realtime is f as an event of a session; asked is the id of the client's event that
// failed, "" if it is none of them.
func (f failure) realtime(asked string) []byte {
	b := append([]byte(`{"type":"error","event_id":`), quote(eventID())...)
	b = append(append(b, `,"error":{"type":`...), quote(f.openAIType)...)
	b = append(append(b, `,"code":`...), quote(f.code)...)
	b = append(append(b, `,"message":`...), quote(f.message)...)
	b = append(b, `,"param":null,"event_id":`...)
	if asked == "" {
		b = append(b, "null"...)
	} else {
		b = append(b, quote(asked)...)
	}
	return append(f.why(b), "}}"...)
}
