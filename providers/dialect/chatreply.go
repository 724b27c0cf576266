package dialect

import (
	"cmp"
	"slices"

	"github.com/tidwall/gjson"
)

// chatStops are finish_reasons.
var chatStops = map[string]StopReason{"stop": EndTurn, "length": MaxTokens, "tool_calls": ToolUse, "function_call": ToolUse, "content_filter": Filtered}

func chatStop(r StopReason) string {
	switch r {
	case MaxTokens:
		return "length"
	case ToolUse:
		return "tool_calls"
	case Filtered, Refused:
		return "content_filter"
	}
	return "stop"
}

func chatUsage(v gjson.Result) *Usage {
	if !v.IsObject() {
		return nil
	}
	return &Usage{
		Input: v.Get("prompt_tokens").Int(), Output: v.Get("completion_tokens").Int(),
		CacheRead: v.Get("prompt_tokens_details.cached_tokens").Int(), CacheWrite: v.Get("prompt_tokens_details.cache_write_tokens").Int(),
		Reasoning: v.Get("completion_tokens_details.reasoning_tokens").Int(),
		AudioIn:   v.Get("prompt_tokens_details.audio_tokens").Int(), AudioOut: v.Get("completion_tokens_details.audio_tokens").Int(),
	}
}

func chatUsageOf(u *Usage) object {
	if u == nil {
		u = new(Usage)
	}
	return object{
		"prompt_tokens": u.Input, "completion_tokens": u.Output, "total_tokens": u.Input + u.Output,
		"prompt_tokens_details":     object{"cached_tokens": u.CacheRead, "cache_write_tokens": u.CacheWrite, "audio_tokens": u.AudioIn},
		"completion_tokens_details": object{"reasoning_tokens": u.Reasoning, "audio_tokens": u.AudioOut},
	}
}

// A chatDecoder reads chat completions.
type chatDecoder struct {
	began   bool
	answers []*chatAnswer
	usage   *Usage
}

// A chatAnswer is one choice of a stream.
type chatAnswer struct {
	next  int         // index of the part that comes next
	open  int         // index of the part that is open, -1 if none is
	kind  PartKind    // its kind
	calls map[int]int // parts, by the index of a tool's call
	ended bool
	why   StopReason
}

func (d *chatDecoder) Whole(doc []byte) (*Reply, error) {
	v := gjson.ParseBytes(doc)
	r := &Reply{ID: v.Get("id").Str, Model: v.Get("model").Str, Usage: chatUsage(v.Get("usage"))}
	if !v.Get("choices").IsArray() {
		return nil, &Unreadable{Chat, "choices", "there are none"}
	}
	items(v.Get("choices"), func(v gjson.Result) {
		m := v.Get("message")
		a := Answer{Reason: chatStops[v.Get("finish_reason").Str]}
		if t := cmp.Or(m.Get("reasoning_content").Str, m.Get("reasoning").Str); t != "" {
			a.Parts = append(a.Parts, Part{Kind: Thought, Text: t})
		}
		if t := m.Get("content").Str; t != "" {
			a.Parts = append(a.Parts, Part{Kind: Text, Text: t})
		}
		if t := m.Get("refusal").Str; t != "" {
			a.Parts, a.Reason = append(a.Parts, Part{Kind: Refusal, Text: t}), Refused
		}
		items(m.Get("tool_calls"), func(v gjson.Result) { a.Parts = append(a.Parts, chatCall(v)) })
		r.Choices = append(r.Choices, a)
	})
	return r, nil
}

func (d *chatDecoder) answer(n int) *chatAnswer {
	for len(d.answers) <= n {
		d.answers = append(d.answers, &chatAnswer{open: -1, calls: make(map[int]int)})
	}
	return d.answers[n]
}

const maxChoices = 128

func (d *chatDecoder) Event(list []Piece, _ string, data []byte) ([]Piece, error) {
	v := gjson.ParseBytes(data)
	if e := v.Get("error"); e.IsObject() {
		return append(list, Piece{Kind: Fail, Failed: ReadFailure(Chat, 0, data)}), nil
	}
	if !d.began {
		d.began = true
		list = append(list, Piece{Kind: Begin, ID: v.Get("id").String(), Model: v.Get("model").Str})
	}
	if u := chatUsage(v.Get("usage")); u != nil {
		d.usage = u
	}
	var err error
	items(v.Get("choices"), func(v gjson.Result) {
		n := int(v.Get("index").Int())
		if n < 0 || n >= maxChoices {
			err = &Unreadable{Chat, "choices.*.index", "out of bounds"}
			return
		}
		list = d.choice(list, n, v)
	})
	return list, err
}

func (d *chatDecoder) choice(list []Piece, n int, v gjson.Result) []Piece {
	a, delta := d.answer(n), v.Get("delta")
	if t := cmp.Or(delta.Get("reasoning_content").Str, delta.Get("reasoning").Str); t != "" {
		list = a.text(list, n, Thought, t)
	}
	if t := delta.Get("content").Str; t != "" {
		list = a.text(list, n, Text, t)
	}
	if t := delta.Get("refusal").Str; t != "" {
		list = a.text(list, n, Refusal, t)
	}
	place := 0
	items(delta.Get("tool_calls"), func(v gjson.Result) {
		index := place
		if i := v.Get("index"); i.Exists() {
			index = int(i.Int())
		}
		place++
		part, had := a.calls[index]
		what, args := v.Get("function"), "arguments"
		if c := v.Get("custom"); c.Exists() {
			what, args = c, "input"
		}
		if !had {
			list = a.shut(list, n)
			part = a.next
			a.calls[index] = part
			a.next++
			a.open, a.kind = part, ToolCall
			list = append(list, Piece{Kind: Open, Choice: n, Index: part, Part: chatUnsigned(Part{Kind: ToolCall, ID: v.Get("id").Str, Name: what.Get("name").Str, Custom: args == "input"}, v)})
		}
		if t := what.Get(args).Str; t != "" {
			list = append(list, Piece{Kind: Delta, Choice: n, Index: part, Text: t})
		}
	})
	if why := v.Get("finish_reason"); why.Type == gjson.String {
		list = a.shut(list, n)
		a.ended, a.why = true, chatStops[why.Str]
	}
	return list
}

// text is more of a text, which begins if another part was open.
func (a *chatAnswer) text(list []Piece, n int, kind PartKind, text string) []Piece {
	if a.open < 0 || a.kind != kind {
		list = a.shut(list, n)
		a.open, a.kind = a.next, kind
		a.next++
		list = append(list, Piece{Kind: Open, Choice: n, Index: a.open, Part: Part{Kind: kind}})
	}
	if kind == Refusal {
		a.why = Refused
	}
	return append(list, Piece{Kind: Delta, Choice: n, Index: a.open, Text: text})
}

// shut says that the part that is open is complete.
func (a *chatAnswer) shut(list []Piece, n int) []Piece {
	if a.open < 0 {
		return list
	}
	list = append(list, Piece{Kind: Close, Choice: n, Index: a.open})
	a.open = -1
	return list
}

// Over ends what has a finish_reason: the usage comes behind that.
func (d *chatDecoder) Over(list []Piece) ([]Piece, error) {
	if len(d.answers) == 0 || slices.ContainsFunc(d.answers, func(a *chatAnswer) bool { return !a.ended }) {
		return list, &Unreadable{Chat, "", "the stream has no end"}
	}
	if d.usage != nil {
		list = append(list, Piece{Kind: Total, Usage: d.usage})
	}
	for n, a := range d.answers {
		list = append(list, Piece{Kind: End, Choice: n, Reason: a.why})
	}
	return list, nil
}

// A chatEncoder writes chat completions.
type chatEncoder struct {
	usage bool // the client asks for it in a stream
	at    int64
	customs
	model string
	id    string
	total *Usage
	calls map[[2]int]int // indexes of tools' calls, by answer and part
	kinds map[[2]int]Part
	left  int // answers that have not ended
	begun map[int]bool
}

func (e *chatEncoder) Whole(r *Reply) []byte {
	choices := []object{}
	for n, a := range r.Choices {
		m := object{"role": "assistant", "content": nil, "refusal": nil}
		var calls []object
		text, thought, refusal := "", "", ""
		for _, p := range a.Parts {
			switch p = e.part(p); p.Kind {
			case Text:
				text += p.Text
			case Thought:
				thought += p.Text
			case Refusal:
				refusal += p.Text
			case ToolCall:
				calls = append(calls, chatSigned(chatCallOf(p.ID, p.Name, written(p.Args), p.Custom), sealed(&p, "")))
			}
		}
		if text != "" || calls == nil && refusal == "" {
			m["content"] = text
		}
		if thought != "" {
			m["reasoning_content"] = thought
		}
		if refusal != "" {
			m["refusal"] = refusal
		}
		if calls != nil {
			m["tool_calls"] = calls
		}
		choices = append(choices, object{"index": n, "message": m, "logprobs": nil, "finish_reason": chatStop(a.Reason)})
	}
	return encode(object{"id": r.ID, "object": "chat.completion", "created": e.at, "model": cmp.Or(r.Model, e.model), "choices": choices, "usage": chatUsageOf(r.Usage)})
}

func (e *chatEncoder) chunk(choices []object, usage any) Frame {
	doc := object{"id": e.id, "object": "chat.completion.chunk", "created": e.at, "model": e.model, "choices": choices}
	if e.usage {
		doc["usage"] = usage
	}
	return Frame{Data: encode(doc)}
}

func (e *chatEncoder) delta(n int, delta object, why any) Frame {
	return e.chunk([]object{{"index": n, "delta": delta, "logprobs": nil, "finish_reason": why}}, nil)
}

func (e *chatEncoder) Event(list []Frame, p Piece) []Frame {
	e.piece(p, func(p Piece) { list = e.event(list, p) })
	return list
}

func (e *chatEncoder) event(list []Frame, p Piece) []Frame {
	if e.calls == nil {
		e.calls, e.kinds, e.begun = make(map[[2]int]int), make(map[[2]int]Part), make(map[int]bool)
	}
	at := [2]int{p.Choice, p.Index}
	if p.Kind != Begin && p.Kind != Total && p.Kind != Fail && !e.begun[p.Choice] {
		e.begun[p.Choice] = true
		e.left++
		list = append(list, e.delta(p.Choice, object{"role": "assistant", "content": ""}, nil))
	}
	switch p.Kind {
	case Begin:
		e.id, e.model = p.ID, cmp.Or(p.Model, e.model)
	case Open:
		e.kinds[at] = p.Part
		if p.Part.Kind == ToolCall {
			n := 0
			for c := range e.calls {
				if c[0] == p.Choice {
					n++
				}
			}
			e.calls[at] = n
			call := chatSigned(chatCallOf(p.Part.ID, p.Part.Name, "", p.Part.Custom), sealed(&p.Part, ""))
			call["index"] = n
			list = append(list, e.delta(p.Choice, object{"tool_calls": []object{call}}, nil))
		}
	case Delta:
		switch e.kinds[at].Kind {
		case Text:
			list = append(list, e.delta(p.Choice, object{"content": p.Text}, nil))
		case Thought:
			list = append(list, e.delta(p.Choice, object{"reasoning_content": p.Text}, nil))
		case Refusal:
			list = append(list, e.delta(p.Choice, object{"refusal": p.Text}, nil))
		case ToolCall:
			call := object{"index": e.calls[at], "function": object{"arguments": p.Text}}
			if e.kinds[at].Custom {
				call = object{"index": e.calls[at], "custom": object{"input": p.Text}}
			}
			list = append(list, e.delta(p.Choice, object{"tool_calls": []object{call}}, nil))
		}
	case Total:
		e.total = p.Usage
	case End:
		list = append(list, e.delta(p.Choice, object{}, chatStop(p.Reason)))
		if e.left--; e.left == 0 {
			if e.usage {
				list = append(list, e.chunk([]object{}, chatUsageOf(e.total)))
			}
			list = append(list, Frame{Data: []byte("[DONE]"), Last: true})
		}
	case Fail:
		list = append(list, Frame{Data: WriteFailure(Chat, p.Failed)}, Frame{Data: []byte("[DONE]"), Last: true})
	}
	return list
}
