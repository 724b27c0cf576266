package providers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"callgate/firewall"

	"github.com/gorilla/websocket"
	"github.com/tidwall/gjson"
)

// listen takes what the client says, one event after the other, until it says no more.
func (s *realtime) listen(ctx context.Context) error {
	for {
		doc, err := s.client.read()
		switch {
		case ctx.Err() != nil:
			return nil
		case saidGoodbye(err):
			return errGoodbye
		case errors.Is(err, websocket.ErrReadLimit):
			return s.invalid(ctx, nil, fmt.Errorf("an event is larger than %d bytes", min(maxSaid, s.h.cfg.Limits.Bytes)))
		case errors.Is(err, errNoText):
			return s.invalid(ctx, nil, err)
		case err != nil:
			return err
		}
		s.heard.Store(s.h.cfg.Now().UnixNano())
		body, err := firewall.ParseBody(doc, s.h.cfg.Limits)
		if err != nil {
			return s.invalid(ctx, nil, err)
		}
		if err := s.take(ctx, body); err != nil {
			return err
		}
	}
}

// invalid puts on record that the client said something that is no event.
func (s *realtime) invalid(ctx context.Context, body *firewall.Body, err error) error {
	call := s.part("realtime", firewall.Body{})
	if body != nil {
		call.Body = *body
	}
	return s.h.gate.Refuse(ctx, call, &firewall.Error{Code: firewall.Invalid, Reason: "what the client said cannot be read: " + err.Error(), Err: err})
}

// take has one event of the client go up, if it may. An error ends the session.
func (s *realtime) take(ctx context.Context, body firewall.Body) error {
	kind, event := eventOf(body.JSON)
	switch {
	case kind == "" || len(kind) > maxKind || len(event) > maxHint:
		return s.invalid(ctx, &body, errors.New("an event has a type, and an event_id of at most 256 bytes if any"))
	case kind == "response.create":
		s.create(ctx, body, event)
		return nil
	case wordless(body.JSON, kind):
		if err := s.server.write(body.JSON); err != nil {
			return s.unavailable("broke off the session", err)
		}
		return nil
	}
	e := gjson.ParseBytes(body.JSON)
	call := s.part("realtime/"+partKind(kind), body)
	call.Part = true
	call.Hosted = hostedIn(e.Get("session.tools"))
	call.Estimate = call.Price.Estimate(firewall.Usage{})
	if id := e.Get("item.call_id").Str; strings.HasSuffix(e.Get("item.type").Str, "_call_output") && id != "" {
		call.Hints.Results = []string{id}
	}
	err := s.allowed(ctx, call, e)
	if err == nil {
		err = s.h.gate.Do(ctx, call, saying{s}, func(firewall.Event) error { return nil })
	}
	if err != nil {
		s.refused(ctx, err, event)
		var e *firewall.Error
		if errors.As(err, &e) && (e.Code == firewall.Unauthenticated || ctx.Err() != nil) {
			return err
		}
		return nil
	}
	s.context.Add(int64(len(body.JSON)) / bytesPerToken)
	return nil
}

// eventOf is the type of a client's event, and its id. Both alias the event.
func eventOf(doc []byte) (kind, id string) {
	c := cursor{doc: doc}
	c.members(func(name string) {
		switch name {
		case "type":
			kind = c.str()
		case "event_id":
			id = c.str()
		default:
			c.skip()
		}
	})
	return kind, id
}

// partKind is the type of an event as it stands on record.
func partKind(kind string) string {
	switch kind {
	case "session.update", "conversation.item.create":
		return kind
	}
	return "other"
}

// allowed looks at what an event would change of the session besides its words: its model
// stays, and who writes down what a person says is a model, too.
func (s *realtime) allowed(ctx context.Context, call *firewall.Call, e gjson.Result) error {
	if m := e.Get("session.model"); m.Type == gjson.String && m.Str == s.said && m.Str != s.call.Resource {
		call.Body.Rewrite(func(_ int, span firewall.Span) (string, bool) { return s.call.Resource, span.At == m.Index })
	}
	for _, at := range [...]string{"session.audio.input.transcription.model", "session.input_audio_transcription.model"} {
		m := e.Get(at).Str
		if m != "" && s.h.gate.May(&s.call.Caller, firewall.Model, s.call.Target, m) == firewall.No {
			return s.h.gate.Refuse(ctx, call, firewall.Refuse(firewall.Denied, "no rule lets %s use model:%s/%s, which would write down what is said", s.call.Caller.Agent(), s.call.Target, clip(m)))
		}
	}
	return nil
}

// create has the client ask for a response. It returns when the request has gone up, or
// is known not to: what the client says next must not come before.
func (s *realtime) create(ctx context.Context, body firewall.Body, event string) {
	e := gjson.ParseBytes(body.JSON)
	f := s.newFlow()
	f.asks, f.event = true, strings.Clone(event)
	call := s.part("realtime/response.create", body)
	call.Hosted = hostedIn(e.Get("response.tools"))
	for _, item := range e.Get("response.input").Array() {
		if id := item.Get("call_id").Str; strings.HasSuffix(item.Get("type").Str, "_call_output") && id != "" && len(call.Hints.Results) < maxResults {
			call.Hints.Results = append(call.Hints.Results, id)
		}
	}
	if s.active.Load() >= maxFlows {
		s.refused(ctx, s.h.gate.Refuse(ctx, call, firewall.Refuse(firewall.Exhausted, "%d responses are under way in this session: wait for one to end", maxFlows)), f.event)
		return
	}
	s.begin(ctx, f, call, int(e.Get("response.max_output_tokens").Int()))
	<-f.sent
}

// hostedIn is which of tools the provider would run by itself.
func hostedIn(tools gjson.Result) []firewall.Hosted {
	var r request
	r.tools(&cursor{doc: []byte(tools.Raw)})
	return r.hosted
}

// saying has one event go up that is answered, if at all, by events of the session. It is
// the call's [firewall.Upstream].
type saying struct{ in *realtime }

// Forward implements [firewall.Upstream].
func (u saying) Forward(_ context.Context, call *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		err := u.in.kept(call)
		if err == nil {
			if err = u.in.server.write(call.Body.JSON); err != nil {
				err = u.in.unavailable("broke off the session", err)
			}
		}
		yield(firewall.Event{Last: true}, err)
	}
}

// Read implements [firewall.Upstream].
func (saying) Read(*firewall.Event) {}

// wordless says whether an event has no words in it: sound, and what is done with it or
// with items by their ids. Nothing else may stand in it.
func wordless(doc []byte, kind string) bool {
	switch kind {
	case "input_audio_buffer.append", "input_audio_buffer.commit", "input_audio_buffer.clear", "output_audio_buffer.clear",
		"conversation.item.delete", "conversation.item.retrieve", "conversation.item.truncate", "response.cancel":
	default:
		return false
	}
	plain := true
	c := cursor{doc: doc}
	c.members(func(name string) {
		switch name {
		case "type", "content_index", "audio_end_ms":
			c.skip()
		case "event_id", "item_id", "response_id":
			plain = plain && c.kind() == '"' && isLabel(c.str(), 128)
		case "audio":
			plain = plain && kind == "input_audio_buffer.append" && c.kind() == '"' && isBase64(c.str())
		default:
			plain = false
			c.skip()
		}
	})
	return plain
}

// isLabel says whether s is an id: letters, digits and a few signs.
func isLabel(s string, max int) bool {
	if len(s) > max {
		return false
	}
	for i := range len(s) {
		if c := s[i]; isSign(c) && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

func isBase64(s string) bool {
	for i := range len(s) {
		if c := s[i]; isSign(c) && c != '+' && c != '/' && c != '=' && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func isSign(c byte) bool {
	return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9')
}
