package dialect

import (
	"cmp"
	"encoding/json"

	"github.com/tidwall/gjson"
)

// messagesStops are stop_reasons.
var messagesStops = map[string]StopReason{
	"end_turn": EndTurn, "stop_sequence": StopSequence, "max_tokens": MaxTokens, "model_context_window_exceeded": MaxTokens,
	"tool_use": ToolUse, "refusal": Refused, "pause_turn": Paused,
}

func messagesStop(r StopReason) string {
	switch r {
	case StopSequence:
		return "stop_sequence"
	case MaxTokens:
		return "max_tokens"
	case ToolUse:
		return "tool_use"
	case Filtered, Refused:
		return "refusal"
	case Paused:
		return "pause_turn"
	}
	return "end_turn"
}

// messagesUsage adds what v says to u: Anthropic counts what is cached beside its input.
func messagesUsage(u *Usage, v gjson.Result) *Usage {
	if !v.IsObject() {
		return u
	}
	if u == nil {
		u = new(Usage)
	}
	plain := u.Input - u.CacheRead - u.CacheWrite
	for name, n := range map[string]*int64{"input_tokens": &plain, "output_tokens": &u.Output, "cache_read_input_tokens": &u.CacheRead, "cache_creation_input_tokens": &u.CacheWrite,
		"cache_creation.ephemeral_1h_input_tokens": &u.CacheWriteHour, "output_tokens_details.thinking_tokens": &u.Reasoning} {
		if had := v.Get(name); had.Type == gjson.Number {
			*n = had.Int()
		}
	}
	u.Input = plain + u.CacheRead + u.CacheWrite
	return u
}

func messagesUsageOf(u *Usage) object {
	if u == nil {
		u = new(Usage)
	}
	return object{"input_tokens": u.Input - u.CacheRead - u.CacheWrite, "cache_read_input_tokens": u.CacheRead, "cache_creation_input_tokens": u.CacheWrite, "output_tokens": u.Output}
}

// A messagesDecoder reads messages.
type messagesDecoder struct {
	began, over bool
	usage       *Usage
	reason      StopReason
	last        string
	open        map[int]PartKind
}

func (d *messagesDecoder) Whole(doc []byte) (*Reply, error) {
	v := gjson.ParseBytes(doc)
	if !v.Get("content").IsArray() {
		return nil, &Unreadable{Messages, "content", "there is none"}
	}
	a := Answer{Reason: messagesStops[v.Get("stop_reason").Str], Last: v.Get("stop_sequence").Str}
	items(v.Get("content"), func(v gjson.Result) {
		if p, ok := messagesPart(v); ok {
			a.Parts = append(a.Parts, p)
		}
	})
	return &Reply{ID: v.Get("id").Str, Model: v.Get("model").Str, Choices: []Answer{a}, Usage: messagesUsage(nil, v.Get("usage"))}, nil
}

// messagesPart is a block of a reply. Those of tools that the vendor runs are none.
func messagesPart(v gjson.Result) (Part, bool) {
	switch v.Get("type").Str {
	case "text":
		return Part{Kind: Text, Text: v.Get("text").Str}, true
	case "thinking":
		return Part{Kind: Thought, Text: v.Get("thinking").Str, Signature: v.Get("signature").Str, Vendor: vendorAnthropic}, true
	case "redacted_thinking":
		return Part{Kind: Redacted, Signature: v.Get("data").Str, Vendor: vendorAnthropic}, true
	case "tool_use":
		return Part{Kind: ToolCall, ID: v.Get("id").Str, Name: v.Get("name").Str, Args: raw(v.Get("input"))}, true
	}
	return Part{}, false
}

func (d *messagesDecoder) Event(list []Piece, _ string, data []byte) ([]Piece, error) {
	v := gjson.ParseBytes(data)
	at := int(v.Get("index").Int())
	switch v.Get("type").Str {
	case "message_start":
		m := v.Get("message")
		d.began, d.open = true, make(map[int]PartKind)
		d.usage = messagesUsage(nil, m.Get("usage"))
		list = append(list, Piece{Kind: Begin, ID: m.Get("id").Str, Model: m.Get("model").Str})
	case "content_block_start":
		p, ok := messagesPart(v.Get("content_block"))
		if !ok {
			return list, nil
		}
		if !d.began {
			return list, &Unreadable{Messages, "content_block_start", "the message has not begun"}
		}
		text := p.Text
		if p.Kind == ToolCall && len(p.Args) > 2 { // not {}
			text = string(p.Args)
		}
		p.Text, p.Args = "", nil
		d.open[at] = p.Kind
		list = append(list, Piece{Kind: Open, Index: at, Part: p})
		if text != "" {
			list = append(list, Piece{Kind: Delta, Index: at, Text: text})
		}
	case "content_block_delta":
		if _, ok := d.open[at]; !ok {
			return list, nil
		}
		delta := v.Get("delta")
		switch delta.Get("type").Str {
		case "text_delta":
			list = append(list, Piece{Kind: Delta, Index: at, Text: delta.Get("text").Str})
		case "thinking_delta":
			list = append(list, Piece{Kind: Delta, Index: at, Text: delta.Get("thinking").Str})
		case "input_json_delta":
			if t := delta.Get("partial_json").Str; t != "" {
				list = append(list, Piece{Kind: Delta, Index: at, Text: t})
			}
		case "signature_delta":
			list = append(list, Piece{Kind: Sign, Index: at, Part: Part{Signature: delta.Get("signature").Str, Vendor: vendorAnthropic}})
		}
	case "content_block_stop":
		if _, ok := d.open[at]; ok {
			delete(d.open, at)
			list = append(list, Piece{Kind: Close, Index: at})
		}
	case "message_delta":
		d.usage = messagesUsage(d.usage, v.Get("usage"))
		d.reason, d.last = messagesStops[v.Get("delta.stop_reason").Str], v.Get("delta.stop_sequence").Str
	case "message_stop":
		d.over = true
		if d.usage != nil {
			list = append(list, Piece{Kind: Total, Usage: d.usage})
		}
		list = append(list, Piece{Kind: End, Reason: d.reason, Last: d.last})
	case "error":
		list = append(list, Piece{Kind: Fail, Failed: ReadFailure(Messages, 0, data)})
	}
	return list, nil
}

func (d *messagesDecoder) Over(list []Piece) ([]Piece, error) {
	if !d.over {
		return list, &Unreadable{Messages, "", "the stream has no end"}
	}
	return list, nil
}

// A messagesEncoder writes messages. Of several answers it writes the first.
type messagesEncoder struct {
	model string
	total *Usage
	kinds map[int]Part
	at    map[int]int // indexes of blocks, by those of parts
	next  int
}

func (e *messagesEncoder) Whole(r *Reply) []byte {
	content := []object{}
	var a Answer
	if len(r.Choices) > 0 {
		a = r.Choices[0]
	}
	for _, p := range a.Parts {
		switch p.Kind {
		case Text, Refusal:
			content = append(content, object{"type": "text", "text": p.Text})
		case Thought:
			content = append(content, object{"type": "thinking", "thinking": p.Text, "signature": sealed(&p, vendorAnthropic)})
		case Redacted:
			content = append(content, object{"type": "redacted_thinking", "data": sealed(&p, vendorAnthropic)})
		case ToolCall:
			if s := sealed(&p, vendorAnthropic); s != "" {
				content = append(content, object{"type": "redacted_thinking", "data": s}) // a call has no place for it
			}
			content = append(content, object{"type": "tool_use", "id": p.ID, "name": p.Name, "input": objectOf(p.Args)})
		}
	}
	return encode(object{"id": r.ID, "type": "message", "role": "assistant", "model": cmp.Or(r.Model, e.model), "content": content,
		"stop_reason": messagesStop(a.Reason), "stop_sequence": textOrNull(a.Last), "usage": messagesUsageOf(r.Usage)})
}

// objectOf is args as an object, which is all that Anthropic's clients take.
func objectOf(args json.RawMessage) json.RawMessage {
	if len(args) > 0 && args[0] == '{' {
		return args
	}
	return encode(object{"input": written(args)})
}

func textOrNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func event(name string, doc object) Frame {
	doc["type"] = name
	return Frame{Name: name, Data: encode(doc)}
}

func (e *messagesEncoder) Event(list []Frame, p Piece) []Frame {
	if e.kinds == nil {
		e.kinds, e.at = make(map[int]Part), make(map[int]int)
	}
	if p.Choice > 0 {
		return list
	}
	switch p.Kind {
	case Begin:
		list = append(list, event("message_start", object{"message": object{"id": p.ID, "type": "message", "role": "assistant", "model": cmp.Or(p.Model, e.model), "content": []object{},
			"stop_reason": nil, "stop_sequence": nil, "usage": messagesUsageOf(nil)}}))
	case Open:
		e.kinds[p.Index] = p.Part
		b := object{"type": "text", "text": ""}
		switch p.Part.Kind {
		case Thought:
			b = object{"type": "thinking", "thinking": "", "signature": ""}
		case Redacted:
			b = object{"type": "redacted_thinking", "data": sealed(&p.Part, vendorAnthropic)}
		case ToolCall:
			if s := sealed(&p.Part, vendorAnthropic); s != "" { // see Whole
				list = append(list, event("content_block_start", object{"index": e.next, "content_block": object{"type": "redacted_thinking", "data": s}}), event("content_block_stop", object{"index": e.next}))
				e.next++
			}
			b = object{"type": "tool_use", "id": p.Part.ID, "name": p.Part.Name, "input": object{}}
		}
		e.at[p.Index] = e.next
		e.next++
		list = append(list, event("content_block_start", object{"index": e.at[p.Index], "content_block": b}))
	case Delta:
		delta := object{"type": "text_delta", "text": p.Text}
		switch e.kinds[p.Index].Kind {
		case Thought:
			delta = object{"type": "thinking_delta", "thinking": p.Text}
		case ToolCall:
			delta = object{"type": "input_json_delta", "partial_json": p.Text}
		}
		list = append(list, event("content_block_delta", object{"index": e.at[p.Index], "delta": delta}))
	case Sign:
		p.Part.Kind = e.kinds[p.Index].Kind
		if p.Part.Kind == Thought {
			list = append(list, event("content_block_delta", object{"index": e.at[p.Index], "delta": object{"type": "signature_delta", "signature": sealed(&p.Part, vendorAnthropic)}}))
		}
	case Close:
		list = append(list, event("content_block_stop", object{"index": e.at[p.Index]}))
	case Total:
		e.total = p.Usage
	case End:
		list = append(list, event("message_delta", object{"delta": object{"stop_reason": messagesStop(p.Reason), "stop_sequence": textOrNull(p.Last)}, "usage": messagesUsageOf(e.total)}))
		last := event("message_stop", object{})
		last.Last = true
		list = append(list, last)
	case Fail:
		list = append(list, Frame{Name: "error", Data: WriteFailure(Messages, p.Failed), Last: true})
	}
	return list
}
