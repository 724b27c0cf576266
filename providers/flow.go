package providers

import (
	"context"
	"errors"
	"strings"
	"time"

	"callgate/audit"
	"callgate/firewall"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// A flow is one response of a session: the call that asks for it, and its
// [firewall.Upstream]. Its events are pushed by who reads the provider, who goes on
// when the one before has left, or is held back by a guard.
type flow struct {
	of      *realtime
	asks    bool   // the client does, so that its event goes up
	event   string // id of that event
	id      string // of the response; "" before the provider has begun it
	reading spoken
	texts   texts

	in      chan []byte
	ready   chan struct{} // the one before was taken
	sent    chan struct{} // the request has gone up, or never will
	done    chan struct{} // the call is over
	refused bool          // a tool call was taken out
	up      bool          // the request has gone up, or was none
	ended   bool          // the provider has said all
}

func (s *realtime) newFlow() *flow {
	return &flow{of: s, in: make(chan []byte), ready: make(chan struct{}), sent: make(chan struct{}), done: make(chan struct{})}
}

// part is a call within the session.
func (s *realtime) part(method string, body firewall.Body) *firewall.Call {
	return &firewall.Call{
		Kind: firewall.Model, Target: s.call.Target, Resource: s.call.Resource, Price: s.call.Price, Method: method,
		Route: s.call.Route, Token: s.call.Token, Hints: firewall.Hints{Run: s.call.Hints.Run, Session: s.call.Hints.Session}, From: s.call.From,
		Body: body, Media: s.call.Media, Links: []audit.Link{{From: s.call.ID, Kind: "within", Method: "socket"}},
	}
}

// unasked is a response that the provider begins by itself. It is a call like any other:
// if it is refused, it is called off.
func (s *realtime) unasked(ctx context.Context, id string) *flow {
	f := s.newFlow()
	f.id, f.up = id, true
	body, _ := firewall.ParseBody([]byte("{}"), firewall.Limits{}) // it is one
	s.begin(ctx, f, s.part("realtime/response.create", body), 0)
	return f
}

// begin makes the call that f is of.
func (s *realtime) begin(ctx context.Context, f *flow, call *firewall.Call, most int) {
	u := firewall.Usage{Input: s.context.Load() + int64(len(call.Body.JSON)+bytesPerToken-1)/bytesPerToken, Output: s.to.ReplyTokens}
	if most > 0 {
		u.Output = int64(most)
	}
	call.Estimate = call.Price.Estimate(u)
	s.active.Add(1)
	s.flows.Go(func() {
		defer s.heard.Store(s.h.cfg.Now().UnixNano())
		defer s.active.Add(-1)
		defer close(f.done)
		err := s.h.gate.Do(ctx, call, f, func(ev firewall.Event) error {
			if ev.Last {
				f.ended = true
				if u := call.Usage; u != (firewall.Usage{}) {
					s.context.Store(u.Input + u.Output)
				}
			}
			return s.client.write(ev.Body.JSON)
		})
		f.asked()
		if err != nil {
			if f.up && !f.ended && f.id != "" && ctx.Err() == nil {
				_ = s.server.write(append(append([]byte(`{"type":"response.cancel","response_id":`), quote(f.id)...), '}')) // reading tells if it is gone
			}
			s.refused(ctx, err, f.event)
		}
	})
}

// refused tells the client why something was, for as long as there is a session.
func (s *realtime) refused(ctx context.Context, err error, event string) {
	var e *firewall.Error
	if ctx.Err() == nil && errors.As(err, &e) {
		_ = s.client.write(failureOf(e).realtime(event)) // reading tells if it is gone
	}
}

// asked notes that the request has gone up, or never will.
func (f *flow) asked() {
	select {
	case <-f.sent:
	default:
		close(f.sent)
	}
}

// push brings f its next event and returns when it was taken. What comes for a call that
// is over goes nowhere.
func (f *flow) push(doc []byte) {
	select {
	case f.in <- doc:
	case <-f.done:
		return
	}
	select {
	case <-f.ready:
	case <-f.done:
	}
}

// Forward implements [firewall.Upstream].
func (f *flow) Forward(ctx context.Context, call *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		if err := f.carry(ctx, call, yield); err != nil {
			yield(firewall.Event{}, err)
		}
	}
}

func (f *flow) carry(ctx context.Context, call *firewall.Call, yield func(firewall.Event, error) bool) error {
	s := f.of
	defer s.forget(func(other *flow) bool { return other == f })
	if f.asks {
		if err := s.ask(f, call); err != nil {
			return err
		}
	}
	f.asked()
	wait := time.NewTimer(s.to.FirstByteTimeout)
	defer wait.Stop()
	for first := true; ; first = false {
		if !first {
			select {
			case f.ready <- struct{}{}:
			case <-ctx.Done():
				return cutShort(ctx)
			}
			wait.Reset(s.to.IdleTimeout)
		}
		select {
		case doc := <-f.in:
			if f.id == "" {
				f.id = strings.Clone(placeOf(doc).response)
			}
			ev := firewall.Event{Body: firewall.Body{JSON: doc}}
			if err := f.reading.event(&ev, &f.texts); err != nil {
				return s.unavailable("sent an event that cannot be judged", err)
			}
			ev.Body.Spans = f.texts.take()
			if ev.Mark&markError != 0 { // the provider does not begin
				ev.Last = true
			}
			if !yield(ev, nil) || ev.Last {
				return nil
			}
		case <-wait.C:
			return &firewall.Error{Code: firewall.Timeout, Reason: "provider " + s.to.name + " stopped in the middle of its reply, or did not begin one"}
		case <-ctx.Done():
			return cutShort(ctx)
		}
	}
}

// cutShort is why a part of a session ends with the session.
func cutShort(ctx context.Context) error {
	var e *firewall.Error
	if errors.As(context.Cause(ctx), &e) {
		return e
	}
	return &firewall.Error{Code: firewall.Canceled, Reason: "the session is over", Err: context.Cause(ctx)}
}

// ask sends the client's event for f. Responses begin in the order in which they are
// asked for.
func (s *realtime) ask(f *flow, call *firewall.Call) error {
	if err := s.kept(call); err != nil {
		return err
	}
	doc := call.Body.JSON
	if f.event == "" { // so that its failure can be told from that of others
		f.event = "event_" + strings.ReplaceAll(call.ID, "-", "")
		var err error
		if doc, err = sjson.SetBytes(doc, "event_id", f.event); err != nil {
			return s.unavailable("cannot be asked", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.server.write(doc); err != nil {
		return s.unavailable("broke off the session", err)
	}
	s.pending = append(s.pending, f)
	f.up = true
	return nil
}

// kept says whether the event of a client leaves the session's model what it is.
func (s *realtime) kept(call *firewall.Call) error {
	for _, at := range [...]string{"session.model", "response.model", "model"} {
		if m := gjson.GetBytes(call.Body.JSON, at); m.Exists() && m.String() != s.call.Resource {
			return firewall.Refuse(firewall.Denied, "the model of a session is the one that it began with: connect anew for another")
		}
	}
	return nil
}

// Read implements [firewall.Upstream].
func (f *flow) Read(ev *firewall.Event) {
	if ev.Body.Edited {
		ev.Body.JSON = withoutLogprobs(ev.Body.JSON)
	}
	if ev.Mark != 0 || ev.Last {
		f.reading.read(ev)
	}
	ev.Open = f.reading.asking()
	if f.refused {
		f.reading.mend(ev)
	}
}

// Without implements [firewall.Proposer]. The conversation is the provider's, so that
// the model reads there what became of its call.
func (f *flow) Without(events []firewall.Event, wants []firewall.Want) []firewall.Event {
	f.refused = true
	for i := range wants {
		w := &wants[i]
		if w.Refused == nil {
			continue
		}
		f.of.taken.Store(w.ID, *w)
		_ = f.of.server.write([]byte(`{"type":"conversation.item.create","item":{"type":"function_call_output","call_id":` + string(quote(w.ID)) + `,"output":` + string(quote(refusal(w))) + `}}`)) // reading tells if it is gone
	}
	return f.reading.without(events, wants)
}
