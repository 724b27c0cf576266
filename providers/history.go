package providers

import (
	"slices"
	"strings"
	"unsafe"

	"callgate/firewall"
	"callgate/providers/dialect"

	"github.com/tidwall/gjson"
)

// A historian reads what a request tells of the conversation so far. The request has been
// parsed: its texts are there already, and are not read again.
type historian struct {
	cursor
	spans []firewall.Span
	next  int // of spans, that is likely to come
	h     firewall.History
}

// historyOf is what the request of a model call tells of its conversation, nil for methods
// whose requests tell none.
func historyOf(method string, body *firewall.Body) *firewall.History {
	r := historian{cursor: cursor{doc: body.JSON}, spans: body.Spans}
	var member func(name string)
	switch method {
	case "chat":
		member = func(name string) {
			if name == "messages" {
				r.items(r.chatMessage)
			} else {
				r.other(name)
			}
		}
	case "messages":
		member = func(name string) {
			switch name {
			case "messages":
				r.items(r.message)
			case "system":
				r.texts(firewall.System)
			default:
				r.other(name)
			}
		}
	case "responses", "compact":
		member = func(name string) {
			switch {
			case name == "input" && r.kind() == '"':
				r.say(firewall.Said{By: firewall.User, Text: r.word()})
			case name == "input":
				r.items(r.item)
			case name == "instructions":
				r.texts(firewall.System)
			case name == "previous_response_id":
				r.h.Previous = r.word()
			default:
				r.other(name)
			}
		}
	case "gemini":
		member = func(name string) {
			switch dialect.Camel(name) {
			case "contents":
				eachOne(gjson.ParseBytes(r.raw()), r.googleContent)
			case "systemInstruction":
				eachOne(gjson.ParseBytes(r.raw()).Get("parts"), func(part gjson.Result) {
					r.say(firewall.Said{Text: part.Get("text").Str})
				})
			default:
				r.other(name)
			}
		}
	default:
		return nil
	}
	r.h.Said = make([]firewall.Said, 0, min(len(body.Spans)/4+2, 512))
	r.members(member)
	return &r.h
}

func (r *historian) other(name string) {
	if name == "tools" {
		r.h.Tools = r.raw()
	} else {
		r.skip()
	}
}

// say notes what was said. What stands above all is what is said by the system before
// anybody else speaks; later it is told to the model like the rest.
func (r *historian) say(s firewall.Said) {
	if s.Kind == firewall.SaidText && s.Text == "" {
		return
	}
	r.h.Said = append(r.h.Said, s)
}

// word is the text that comes next, "" where that is none.
func (r *historian) word() string {
	if r.kind() != '"' {
		r.skip()
		return ""
	}
	at, end := r.literal()
	for range 8 { // names are no spans, and what is stepped over is
		if r.next >= len(r.spans) || r.spans[r.next].At > at {
			break
		}
		if r.next++; r.spans[r.next-1].At == at {
			return r.spans[r.next-1].Text
		}
	}
	i, found := slices.BinarySearchFunc(r.spans, at, func(s firewall.Span, at int) int { return s.At - at })
	if !found {
		return text(r.doc[at:end])
	}
	r.next = i + 1
	return r.spans[i].Text
}

// texts reads a text, or a list of parts that have some.
func (r *historian) texts(by firewall.Speaker) {
	if r.kind() == '"' {
		r.say(firewall.Said{By: by, Text: r.word()})
		return
	}
	r.items(func() { r.part(by) })
}

// part reads a part of a message, as all vendors but Google have them.
func (r *historian) part(by firewall.Speaker) {
	if r.kind() != '{' {
		r.texts(by)
		return
	}
	p := r.read()
	switch p.kind {
	case "thinking", "redacted_thinking", "reasoning":
	case "tool_use":
		r.say(firewall.Said{By: by, Kind: firewall.SaidUse, ID: p.id, Name: p.name, JSON: p.args})
	case "tool_result":
		r.result(firewall.Said{By: by, ID: p.of}, &p.content)
	default:
		if p.hasText {
			r.say(firewall.Said{By: by, Text: p.text})
		} else {
			r.say(firewall.Said{By: by, Kind: firewall.SaidOther, JSON: p.rest()})
		}
	}
}

// A parcel is a message, an item or a part, before it is known what it is.
type parcel struct {
	kind, role, id, of, name, space, text string
	args                                  []byte
	hasText                               bool
	content, output, calls, function      cursor // doc is nil where there is none
	media, raw                            []byte
}

// rest is what tells a part from others that is no text: marks for a cache come and go.
func (p *parcel) rest() []byte {
	if p.media != nil {
		return p.media
	}
	return p.raw
}

// read reads the members that matter of the object that comes next.
func (r *historian) read() (p parcel) {
	r.kind()
	begin := r.at
	r.members(func(name string) {
		switch name {
		case "type":
			p.kind = r.str()
		case "role":
			p.role = r.str()
		case "id":
			p.id = r.str()
		case "tool_use_id", "tool_call_id", "call_id":
			p.of = r.str()
		case "name":
			p.name = r.str()
		case "namespace":
			p.space = r.str()
		case "text":
			p.text, p.hasText = r.word(), true
		case "arguments", "input", "action", "operation":
			p.args = r.args()
		case "content":
			p.content = r.cursor
			r.skip()
		case "output":
			p.output = r.cursor
			r.skip()
		case "tool_calls":
			p.calls = r.cursor
			r.skip()
		case "function_call", "function", "custom":
			p.function = r.cursor
			r.skip()
		case "source", "image_url", "input_audio", "file", "file_id":
			p.media = r.raw()
		default:
			r.skip()
		}
	})
	p.raw = r.doc[begin:r.at]
	return p
}

// args reads arguments: a document, or a text that holds one.
func (r *historian) args() []byte {
	if r.kind() != '"' {
		return r.raw()
	}
	s := r.word()
	return unsafe.Slice(unsafe.StringData(s), len(s)) // documents are never changed in place
}

// within reads what stands at another place, and comes back.
func (r *historian) within(at *cursor, read func()) {
	if at.doc == nil {
		return
	}
	here := r.cursor
	r.cursor = *at
	read()
	r.cursor = here
}

// result reads what came of a tool call: a text, or parts.
func (r *historian) result(s firewall.Said, content *cursor) {
	s.Kind = firewall.SaidResult
	at := len(r.h.Said)
	r.say(s)
	r.within(content, func() {
		if r.kind() == '"' {
			r.h.Said[at].Text = r.word()
			return
		}
		if r.kind() != '[' {
			r.h.Said[at].Text = string(r.raw())
			return
		}
		r.items(func() {
			if r.kind() != '{' {
				r.skip()
				return
			}
			if p := r.read(); p.hasText {
				r.say(firewall.Said{By: s.By, Kind: firewall.SaidPart, Text: p.text})
			} else {
				r.h.Said[at].JSON = p.rest()
			}
		})
	})
}

// speaker is who has a role.
func (r *historian) speaker(role string) firewall.Speaker {
	switch role {
	case "assistant", "model":
		return firewall.Assistant
	case "system", "developer":
		if n := len(r.h.Said); n == 0 || r.h.Said[n-1].By == firewall.System {
			return firewall.System
		}
	}
	return firewall.User
}

// chatMessage reads a message of chat completions.
func (r *historian) chatMessage() {
	if r.kind() != '{' {
		r.skip()
		return
	}
	p := r.read()
	by := r.speaker(p.role)
	if p.role == "tool" || p.role == "function" {
		r.result(firewall.Said{By: by, ID: p.of, Name: p.name}, &p.content)
		return
	}
	r.within(&p.content, func() { r.texts(by) })
	r.within(&p.calls, func() {
		r.items(func() {
			call := r.read()
			r.function(call.id, &call.function)
		})
	})
	r.function("", &p.function)
}

// function reads a tool call that the model asked for.
func (r *historian) function(id string, at *cursor) {
	r.within(at, func() {
		if r.kind() == '{' {
			f := r.read()
			r.say(firewall.Said{By: firewall.Assistant, Kind: firewall.SaidUse, ID: id, Name: f.name, JSON: f.args})
		}
	})
}

// message reads a message of Anthropic's.
func (r *historian) message() {
	if r.kind() != '{' {
		r.skip()
		return
	}
	p := r.read()
	by := r.speaker(p.role)
	r.within(&p.content, func() { r.texts(by) })
}

// item reads an item of the input of responses.
func (r *historian) item() {
	if r.kind() != '{' {
		r.skip()
		return
	}
	p := r.read()
	switch {
	case strings.HasSuffix(p.kind, "_call_output"):
		r.result(firewall.Said{By: firewall.User, ID: p.of}, &p.output)
	case strings.HasSuffix(p.kind, "_call") && p.of != "":
		name := p.name
		if name == "" {
			name = strings.TrimSuffix(p.kind, "_call")
		}
		if p.space != "" {
			name = p.space + "__" + name
		}
		r.say(firewall.Said{By: firewall.Assistant, Kind: firewall.SaidUse, ID: p.of, Name: name, JSON: p.args})
	case p.kind == "reasoning" || p.kind == "item_reference":
	case p.role != "":
		by := r.speaker(p.role)
		r.within(&p.content, func() { r.texts(by) })
	default:
		r.say(firewall.Said{By: firewall.Assistant, Kind: firewall.SaidOther, JSON: p.raw})
	}
}

// googleContent reads a turn in Google's dialect.
func (r *historian) googleContent(v gjson.Result) {
	by := r.speaker(v.Get("role").Str)
	eachOne(v.Get("parts"), func(part gjson.Result) {
		s := firewall.Said{By: by, Kind: firewall.SaidOther}
		thought := false
		eachMember(part, func(name string, v gjson.Result) {
			switch name {
			case "thought":
				thought = v.Bool()
			case "text":
				s.Kind, s.Text = firewall.SaidText, v.Str
			case "functionCall":
				s.Kind, s.ID, s.Name, s.JSON = firewall.SaidUse, v.Get("id").Str, v.Get("name").Str, []byte(v.Get("args").Raw)
			case "functionResponse":
				s.Kind, s.ID, s.Name, s.Text = firewall.SaidResult, v.Get("id").Str, v.Get("name").Str, v.Get("response").Raw
				if only, n := v.Get("response"), 0; only.IsObject() {
					only.ForEach(func(_, value gjson.Result) bool {
						if n++; n == 1 && value.Type == gjson.String {
							s.Text = value.Str
						}
						return n < 2
					})
					if n > 1 {
						s.Text = only.Raw
					}
				}
			case "thoughtSignature":
			default:
				s.JSON = []byte(v.Raw)
			}
		})
		if !thought {
			r.say(s)
		}
	})
}

// words notes what the model says with an event of a stream.
func words(ev *firewall.Event) {
	for i := range ev.Body.Spans {
		switch l := ev.Body.Spans[i].Lane; {
		case l == "":
		case l == "choices.0.content", l == "candidates.0.text",
			strings.HasPrefix(l, "content.") && strings.HasSuffix(l, ".text"), strings.HasPrefix(l, "response.output_text "):
			if ev.Said == "" {
				ev.Said = ev.Body.Spans[i].Text
			} else {
				ev.Said += ev.Body.Spans[i].Text
			}
		}
	}
}
