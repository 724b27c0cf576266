package providers

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"strings"

	"callgate/firewall"
	"callgate/providers/dialect"

	"github.com/tidwall/gjson"
)

// A translation is of one call between a client and a provider who speak two dialects.
// What the gate judges and records is in the client's, always.
type translation struct {
	client *dialect.Dialect
	target *dialect.Dialect
	prompt *dialect.Prompt
	doc    []byte // the request as the provider gets it
	id     string // of the reply, where the provider gives it none
}

// dialectAt is the dialect of a method of the door, nil if it is not translated.
func dialectAt(method string) *dialect.Dialect {
	switch method {
	case "chat":
		return dialect.Of(dialect.Chat)
	case "responses":
		return dialect.Of(dialect.Responses)
	case "messages":
		return dialect.Of(dialect.Messages)
	case "gemini":
		return dialect.Of(dialect.Gemini)
	case "converse":
		return dialect.Of(dialect.Converse)
	case "cohere":
		return dialect.Of(dialect.Cohere)
	}
	return nil
}

// translate makes call's request one that the provider understands, where it does not
// as it is.
func (x *exchange) translate(call *firewall.Call) error {
	target := x.to.between(x.back.at)
	client := dialectAt(x.back.at.method)
	if target == nil {
		if client != nil {
			own, losses := dialect.Own(client.Name, call.Body.JSON)
			x.own = own
			x.lossy(call, losses)
		}
		return nil
	}
	prompt, err := client.Read(call.Body.JSON)
	if err != nil {
		return &firewall.Error{Code: firewall.Invalid, Reason: err.Error(), Err: err}
	}
	prompt.At = x.cfg.Now().Unix()
	if prompt.MaxTokens == 0 && call.Rationed() {
		prompt.MaxTokens = int(x.to.ReplyTokens)
	}
	doc, losses, err := target.Write(prompt, dialect.Target{Model: call.Resource, Vendor: x.to.signer, MaxTokens: int(x.to.ReplyTokens), OldLimit: x.to.oldLimit, NoUsage: x.to.noUsage})
	if err != nil {
		return &firewall.Error{Code: firewall.Invalid, Reason: err.Error(), Err: err}
	}
	x.lossy(call, losses)
	if x.to.Strict && len(losses) > 0 {
		return firewall.Refuse(firewall.Invalid, "provider %s speaks another dialect, in which this cannot be said: %s (translate: strict)", x.to.name, clip(losses.String()))
	}
	x.translation = &translation{client, target, prompt, doc, call.ID}
	return nil
}

// lossy notes what of call's request its provider does not get.
func (x *exchange) lossy(call *firewall.Call, losses dialect.Losses) {
	x.back.lossy, call.Lossy = losses.String(), nil
	for _, l := range losses {
		call.Lossy = append(call.Lossy, l.Path)
	}
}

// head is a request's header for the provider's dialect.
func (t *translation) head(h http.Header, speaks string) {
	for name := range h {
		if strings.HasPrefix(name, "Anthropic-") || strings.HasPrefix(name, "Openai-") {
			delete(h, name)
		}
	}
	if speaks == Anthropic {
		h["Anthropic-Version"] = []string{"2023-06-01"}
	}
}

// whole is a plain reply in the client's dialect.
func (t *translation) whole(doc []byte) ([]byte, error) {
	r, err := t.target.NewDecoder(t.prompt).Whole(doc)
	if err != nil {
		return nil, err
	}
	r.ID = cmp.Or(r.ID, t.id)
	return t.client.NewEncoder(t.prompt).Whole(r), nil
}

// failed is a provider's error in the client's dialect.
func (t *translation) failed(provider string, status int, doc []byte) []byte {
	f := dialect.ReadFailure(t.target.Name, status, doc)
	f.Message = cmp.Or(f.Message, "provider "+provider+" failed")
	return dialect.WriteFailure(t.client.Name, f)
}

// translated yields the events of a stream in the client's dialect.
func (x *exchange) translated(watch *watch, body io.Reader, yield func(firewall.Event) bool) error {
	s := stream{src: watch.over(body), maxEvent: x.cfg.MaxEvent, maxTotal: x.cfg.MaxStream}
	in, out := x.translation.target.NewDecoder(x.translation.prompt), x.translation.client.NewEncoder(x.translation.prompt)
	var (
		pieces []dialect.Piece
		frames []dialect.Frame
		t      texts
	)
	for {
		frame, more, err := s.next()
		over := errors.Is(err, io.EOF)
		if err != nil && !over {
			return err
		}
		pieces, frames = pieces[:0], frames[:0]
		said, data := s.parse(frame)
		switch {
		case over || string(data) == "[DONE]":
			over = true
			pieces, err = in.Over(pieces)
		case data == nil:
			continue
		case !gjson.ValidBytes(data):
			return x.unavailable("sent an event that is not valid JSON", nil)
		default:
			x.native(data)
			pieces, err = in.Event(pieces, string(said), data)
		}
		if err != nil {
			return x.unavailable("sent a stream that cannot be read", err)
		}
		for _, p := range pieces {
			if p.Kind == dialect.Begin {
				p.ID = cmp.Or(p.ID, x.translation.id)
			}
			frames = out.Event(frames, p)
		}
		for i, f := range frames {
			ev := firewall.Event{Name: f.Name, Frame: framed(f), More: more || i+1 < len(frames)}
			if err := x.document(&ev, f.Data, &t); err != nil {
				return err
			}
			if !yield(ev) {
				return nil
			}
			if f.Last {
				watch.drain()
				return nil
			}
		}
		if over {
			return nil
		}
	}
}

// framed is f as it stands in a stream.
func framed(f dialect.Frame) []byte {
	b := make([]byte, 0, len(f.Name)+len(f.Data)+32)
	if f.Name != "" {
		b = append(append(append(b, "event: "...), f.Name...), '\n')
	}
	return append(append(append(b, "data: "...), f.Data...), "\n\n"...)
}
