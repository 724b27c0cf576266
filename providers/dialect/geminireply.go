package dialect

import (
	"cmp"
	"encoding/json"
	"strconv"

	"github.com/tidwall/gjson"
)

// geminiStops are finishReasons. STOP after a call is that of a tool.
var geminiStops = map[string]StopReason{
	"STOP": EndTurn, "MAX_TOKENS": MaxTokens,
	"SAFETY": Filtered, "RECITATION": Filtered, "BLOCKLIST": Filtered, "PROHIBITED_CONTENT": Filtered, "SPII": Filtered,
	"IMAGE_SAFETY": Filtered, "IMAGE_PROHIBITED_CONTENT": Filtered, "IMAGE_RECITATION": Filtered,
}

func geminiStop(r StopReason) string {
	switch r {
	case MaxTokens:
		return "MAX_TOKENS"
	case Filtered, Refused:
		return "SAFETY"
	case Paused, Other:
		return "OTHER"
	}
	return "STOP"
}

func geminiUsage(v gjson.Result) *Usage {
	if !v.IsObject() {
		return nil
	}
	thoughts := v.Get("thoughtsTokenCount").Int()
	return &Usage{
		Input: v.Get("promptTokenCount").Int() + v.Get("toolUsePromptTokenCount").Int(), Output: v.Get("candidatesTokenCount").Int() + thoughts,
		Reasoning: thoughts, CacheRead: v.Get("cachedContentTokenCount").Int(),
	}
}

func geminiUsageOf(u *Usage) object {
	if u == nil {
		u = new(Usage)
	}
	o := object{"promptTokenCount": u.Input, "candidatesTokenCount": u.Output - u.Reasoning, "totalTokenCount": u.Input + u.Output}
	if u.Reasoning > 0 {
		o["thoughtsTokenCount"] = u.Reasoning
	}
	if u.CacheRead > 0 {
		o["cachedContentTokenCount"] = u.CacheRead
	}
	return o
}

// A geminiDecoder reads generateContent.
type geminiDecoder struct {
	began   bool
	id      string
	answers []*geminiAnswer
	usage   *Usage
}

// A geminiAnswer is one candidate.
type geminiAnswer struct {
	next  int // index of the part that comes next
	open  int // index of the part that is open, -1 if none is
	kind  PartKind
	calls int
	ended bool
	why   StopReason
}

func (d *geminiDecoder) answer(n int) *geminiAnswer {
	for len(d.answers) <= n {
		d.answers = append(d.answers, &geminiAnswer{open: -1})
	}
	return d.answers[n]
}

func (d *geminiDecoder) Whole(doc []byte) (*Reply, error) {
	list, err := d.Event(nil, "", doc)
	if err == nil {
		list, err = d.Over(list)
	}
	if err != nil {
		return nil, err
	}
	return Fold(list), nil
}

func (d *geminiDecoder) Event(list []Piece, _ string, data []byte) ([]Piece, error) {
	v := gjson.ParseBytes(data)
	if v.Get("error").IsObject() {
		return append(list, Piece{Kind: Fail, Failed: ReadFailure(Gemini, 0, data)}), nil
	}
	if !d.began {
		d.began = true
		d.id = v.Get("responseId").Str
		list = append(list, Piece{Kind: Begin, ID: d.id, Model: v.Get("modelVersion").Str})
	}
	if u := geminiUsage(v.Get("usageMetadata")); u != nil {
		d.usage = u
	}
	if why := v.Get("promptFeedback.blockReason").Str; why != "" && !v.Get("candidates.0").Exists() {
		a := d.answer(0)
		a.ended, a.why = true, Filtered
	}
	place := 0
	var err error
	items(v.Get("candidates"), func(v gjson.Result) {
		n := place
		if i := v.Get("index"); i.Exists() {
			n = int(i.Int())
		}
		place++
		if n < 0 || n >= maxChoices {
			err = &Unreadable{Gemini, "candidates.*.index", "out of bounds"}
			return
		}
		a := d.answer(n)
		items(v.Get("content.parts"), func(v gjson.Result) { list = d.part(list, a, n, v) })
		if why := v.Get("finishReason").Str; why != "" && why != "FINISH_REASON_UNSPECIFIED" {
			list = a.shut(list, n)
			a.ended, a.why = true, geminiStops[why]
			if a.why == EndTurn && a.calls > 0 {
				a.why = ToolUse
			}
		}
	})
	return list, err
}

func (d *geminiDecoder) part(list []Piece, a *geminiAnswer, n int, v gjson.Result) []Piece {
	signature := v.Get("thoughtSignature").Str
	if call := v.Get("functionCall"); call.IsObject() {
		list = a.shut(list, n)
		id := call.Get("id").Str
		if id == "" {
			id = madeCall + d.id + "_" + strconv.Itoa(n) + "_" + strconv.Itoa(a.next)
		}
		list = append(list, Piece{Kind: Open, Choice: n, Index: a.next, Part: Part{Kind: ToolCall, ID: id, Name: call.Get("name").Str}})
		if args := call.Get("args"); args.IsObject() {
			list = append(list, Piece{Kind: Delta, Choice: n, Index: a.next, Text: args.Raw})
		}
		if signature != "" {
			list = append(list, Piece{Kind: Sign, Choice: n, Index: a.next, Part: Part{Signature: signature, Vendor: vendorGoogle}})
		}
		list = append(list, Piece{Kind: Close, Choice: n, Index: a.next})
		a.next++
		a.calls++
		return list
	}
	text := v.Get("text")
	if !text.Exists() {
		return list // pictures, and what the vendor has run by itself
	}
	kind := Text
	if v.Get("thought").Bool() {
		kind = Thought
	}
	if text.Str == "" && signature == "" {
		return list
	}
	if a.open < 0 || a.kind != kind && text.Str != "" {
		list = a.shut(list, n)
		a.open, a.kind = a.next, kind
		a.next++
		list = append(list, Piece{Kind: Open, Choice: n, Index: a.open, Part: Part{Kind: kind}})
	}
	if text.Str != "" {
		list = append(list, Piece{Kind: Delta, Choice: n, Index: a.open, Text: text.Str})
	}
	if signature != "" {
		list = append(list, Piece{Kind: Sign, Choice: n, Index: a.open, Part: Part{Signature: signature, Vendor: vendorGoogle}})
	}
	return list
}

func (a *geminiAnswer) shut(list []Piece, n int) []Piece {
	if a.open < 0 {
		return list
	}
	list = append(list, Piece{Kind: Close, Choice: n, Index: a.open})
	a.open = -1
	return list
}

// Over ends what has a finishReason: nothing else says that the stream is complete.
func (d *geminiDecoder) Over(list []Piece) ([]Piece, error) {
	if len(d.answers) == 0 {
		return list, &Unreadable{Gemini, "", "there are no candidates"}
	}
	for _, a := range d.answers {
		if !a.ended {
			return list, &Unreadable{Gemini, "", "the stream has no end"}
		}
	}
	if d.usage != nil {
		list = append(list, Piece{Kind: Total, Usage: d.usage})
	}
	for n, a := range d.answers {
		list = append(list, Piece{Kind: End, Choice: n, Reason: a.why})
	}
	return list, nil
}

// A geminiEncoder writes generateContent.
type geminiEncoder struct {
	model string
	id    string
	kinds map[[2]int]*Part // that are open, with the arguments of calls so far in Text
	total *Usage
	left  map[int]bool // candidates that have not ended
}

func (e *geminiEncoder) Whole(r *Reply) []byte {
	candidates := []object{}
	for n := range r.Choices {
		a := &r.Choices[n]
		parts := []object{}
		for i := range a.Parts {
			if o := geminiPart(&a.Parts[i], a.Parts[i].Args); o != nil {
				parts = append(parts, o)
			}
		}
		candidates = append(candidates, object{"content": object{"role": "model", "parts": parts}, "finishReason": geminiStop(a.Reason), "index": n})
	}
	return encode(object{"candidates": candidates, "usageMetadata": geminiUsageOf(r.Usage), "modelVersion": cmp.Or(r.Model, e.model), "responseId": r.ID})
}

// geminiPart is p as a part of a reply; nil if there is nothing in it.
func geminiPart(p *Part, args json.RawMessage) object {
	var o object
	switch p.Kind {
	case Text, Refusal:
		if p.Text == "" && p.Signature == "" {
			return nil
		}
		o = object{"text": p.Text}
	case Thought, Redacted:
		o = object{"text": p.Text, "thought": true}
	case ToolCall:
		o = object{"functionCall": object{"id": p.ID, "name": p.Name, "args": objectOf(args)}}
	default:
		return nil
	}
	if s := gemini(p); s != "" {
		o["thoughtSignature"] = s
	}
	return o
}

// chunk is one response of a stream.
func (e *geminiEncoder) chunk(n int, parts []object, more object) Frame {
	if parts == nil {
		parts = []object{}
	}
	candidate := object{"content": object{"role": "model", "parts": parts}, "index": n}
	doc := object{"candidates": []object{candidate}, "modelVersion": e.model, "responseId": e.id}
	for name, v := range more {
		if name == "finishReason" {
			candidate[name] = v
		} else {
			doc[name] = v
		}
	}
	return Frame{Data: encode(doc)}
}

func (e *geminiEncoder) Event(list []Frame, p Piece) []Frame {
	if e.kinds == nil {
		e.kinds, e.left = make(map[[2]int]*Part), make(map[int]bool)
	}
	at := [2]int{p.Choice, p.Index}
	part := e.kinds[at]
	switch p.Kind {
	case Begin:
		e.id, e.model = p.ID, cmp.Or(p.Model, e.model)
	case Open:
		e.left[p.Choice] = true
		own := p.Part
		e.kinds[at] = &own
		if own.Kind == Redacted {
			list = append(list, e.chunk(p.Choice, []object{geminiPart(&own, nil)}, nil))
		}
	case Delta:
		if part == nil {
			break
		}
		if part.Kind == ToolCall {
			part.Text += p.Text
			break
		}
		list = append(list, e.chunk(p.Choice, []object{geminiPart(&Part{Kind: part.Kind, Text: p.Text}, nil)}, nil))
	case Sign:
		if part == nil {
			break
		}
		part.Signature, part.Vendor = part.Signature+p.Part.Signature, p.Part.Vendor
		if part.Kind != ToolCall {
			own := Part{Kind: part.Kind, Signature: p.Part.Signature, Vendor: p.Part.Vendor}
			list = append(list, e.chunk(p.Choice, []object{geminiPart(&own, nil)}, nil))
		}
	case Close:
		if part != nil && part.Kind == ToolCall {
			list = append(list, e.chunk(p.Choice, []object{geminiPart(part, arguments(part.Text))}, nil))
		}
		delete(e.kinds, at)
	case Total:
		e.total = p.Usage
	case End:
		delete(e.left, p.Choice)
		last := e.chunk(p.Choice, nil, object{"finishReason": geminiStop(p.Reason), "usageMetadata": geminiUsageOf(e.total)})
		last.Last = len(e.left) == 0
		list = append(list, last)
	case Fail:
		list = append(list, Frame{Data: WriteFailure(Gemini, p.Failed), Last: true})
	}
	return list
}
