package dialect

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// made begins the ids of calls of tools to which the vendor gave none. It does not get
// them back.
const made = "callgate_"

// madeID is the id of the call number n of a reply, or of a conversation.
func madeID(reply string, n int) string {
	if reply != "" {
		reply += "_"
	}
	return made + reply + strconv.Itoa(n)
}

// A Gemini client takes base64 alone for a signature: what stands there of another vendor
// is that of [foreign].
const foreignBase64 = "Y2FsbGdhdGU6"

// googleSignature is that of p for a client of Google's.
func googleSignature(p *Part) string {
	s := sealed(p, vendorGoogle)
	if s == p.Signature {
		return s
	}
	return base64.StdEncoding.EncodeToString([]byte(s))
}

// signedBy puts into p the signature that such a client sent.
func (p *Part) signedBy(signature string) {
	if strings.HasPrefix(signature, foreignBase64) {
		plain := strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(signature) // some write it as in URLs
		if b, err := base64.RawStdEncoding.DecodeString(plain); err == nil {
			signature = string(b)
		}
	}
	kind, id := p.Kind, p.ID
	if unsealed(p, signature, vendorGoogle); kind == ToolCall || p.Kind == ToolCall {
		p.Kind, p.ID = kind, id // it is on the call itself
	}
}

// geminiStops are finishReasons.
var geminiStops = map[string]StopReason{
	"STOP": EndTurn, "MAX_TOKENS": MaxTokens,
	"SAFETY": Filtered, "RECITATION": Filtered, "BLOCKLIST": Filtered, "PROHIBITED_CONTENT": Filtered, "SPII": Filtered, "MODEL_ARMOR": Filtered,
	"IMAGE_SAFETY": Filtered, "IMAGE_PROHIBITED_CONTENT": Filtered, "IMAGE_RECITATION": Filtered, "IMAGE_OTHER": Filtered, "NO_IMAGE": Other,
}

func geminiStop(r StopReason) string {
	switch r {
	case MaxTokens:
		return "MAX_TOKENS"
	case Filtered, Refused:
		return "SAFETY"
	case Other, Paused:
		return "OTHER"
	}
	return "STOP"
}

func geminiUsage(v gjson.Result) *Usage {
	if !v.IsObject() {
		return nil
	}
	u := &Usage{
		Input:     v.Get("promptTokenCount").Int() + v.Get("toolUsePromptTokenCount").Int(),
		CacheRead: v.Get("cachedContentTokenCount").Int(), Reasoning: v.Get("thoughtsTokenCount").Int(),
	}
	u.Output = v.Get("candidatesTokenCount").Int() + u.Reasoning
	of := func(list gjson.Result, kind string) (n int64) {
		items(list, func(v gjson.Result) {
			if v.Get("modality").Str == kind {
				n += v.Get("tokenCount").Int()
			}
		})
		return n
	}
	u.AudioIn, u.ImageIn = of(v.Get("promptTokensDetails"), "AUDIO"), of(v.Get("promptTokensDetails"), "IMAGE")
	u.AudioOut = of(v.Get("candidatesTokensDetails"), "AUDIO")
	return u
}

func geminiUsageOf(u *Usage) object {
	if u == nil {
		u = new(Usage)
	}
	doc := object{"promptTokenCount": u.Input, "candidatesTokenCount": u.Output - u.Reasoning, "totalTokenCount": u.Input + u.Output}
	if u.CacheRead > 0 {
		doc["cachedContentTokenCount"] = u.CacheRead
	}
	if u.Reasoning > 0 {
		doc["thoughtsTokenCount"] = u.Reasoning
	}
	return doc
}

// A geminiDecoder reads what Google answers.
type geminiDecoder struct {
	asked   int // calls in the conversation so far
	began   bool
	id      string
	answers []*geminiAnswer
	usage   *Usage
	blocked bool // the prompt
}

// A geminiAnswer is one candidate.
type geminiAnswer struct {
	next   int // index of the part that comes next
	open   int // index of the part that is open, -1 if none is
	kind   PartKind
	called bool // it asks for a tool
	ended  bool
	why    StopReason
}

func newGeminiDecoder(p *Prompt) *geminiDecoder {
	d := new(geminiDecoder)
	if p == nil {
		return d
	}
	for i := range p.Turns {
		for j := range p.Turns[i].Parts {
			if p.Turns[i].Parts[j].Kind == ToolCall {
				d.asked++
			}
		}
	}
	return d
}

// Whole reads a document as a stream of one event, which it is.
func (d *geminiDecoder) Whole(doc []byte) (*Reply, error) {
	list, err := d.Event(nil, "", doc)
	if err != nil {
		return nil, err
	}
	if len(d.answers) == 0 && !d.blocked {
		return nil, &Unreadable{Gemini, "candidates", "there are none"}
	}
	for _, a := range d.answers {
		a.ended = true // it is: a document is whole
	}
	if list, err = d.Over(list); err != nil {
		return nil, err
	}
	return Fold(list), nil
}

func (d *geminiDecoder) answer(n int) *geminiAnswer {
	for len(d.answers) <= n {
		d.answers = append(d.answers, &geminiAnswer{open: -1})
	}
	return d.answers[n]
}

func (d *geminiDecoder) Event(list []Piece, _ string, data []byte) ([]Piece, error) {
	v := gjson.ParseBytes(data)
	if v.Get("error").IsObject() {
		return append(list, Piece{Kind: Fail, Failed: ReadFailure(Gemini, 0, data)}), nil
	}
	if !d.began {
		d.began, d.id = true, v.Get("responseId").Str
		list = append(list, Piece{Kind: Begin, ID: d.id, Model: v.Get("modelVersion").Str})
	}
	if u := geminiUsage(v.Get("usageMetadata")); u != nil {
		d.usage = u
	}
	d.blocked = d.blocked || v.Get("promptFeedback.blockReason").Str != ""
	var err error
	items(v.Get("candidates"), func(v gjson.Result) {
		n := int(v.Get("index").Int())
		if n < 0 || n >= maxChoices {
			err = &Unreadable{Gemini, "candidates.*.index", "out of bounds"}
			return
		}
		list = d.candidate(list, n, v)
	})
	return list, err
}

func (d *geminiDecoder) candidate(list []Piece, n int, v gjson.Result) []Piece {
	a := d.answer(n)
	items(v.Get("content.parts"), func(v gjson.Result) {
		signature, text := v.Get("thoughtSignature").Str, v.Get("text")
		switch call := v.Get("functionCall"); {
		case call.IsObject():
			list = a.shut(list, n)
			part := Part{Kind: ToolCall, ID: call.Get("id").Str, Name: strings.Clone(call.Get("name").Str)}
			if part.ID == "" {
				part.ID = madeID(d.id, d.asked)
			}
			d.asked++
			if signature != "" {
				part.Signature, part.Vendor = signature, vendorGoogle
			}
			list = append(list, Piece{Kind: Open, Choice: n, Index: a.next, Part: part})
			if args := geminiArgs(call.Get("args")); len(args) > len("{}") {
				list = append(list, Piece{Kind: Delta, Choice: n, Index: a.next, Text: string(args)})
			}
			list = append(list, Piece{Kind: Close, Choice: n, Index: a.next})
			a.next++
			a.called = true
		case text.Type == gjson.String && v.Get("thought").Bool():
			list = a.text(list, n, Thought, text.Str)
			list = a.sign(list, n, signature)
		case text.Type == gjson.String:
			list = a.text(list, n, Text, text.Str)
			list = a.sign(list, n, signature)
		}
	})
	if why := v.Get("finishReason").Str; why != "" {
		list = a.shut(list, n)
		a.ended, a.why = true, geminiStops[why]
	}
	return list
}

// text is more of a text, which begins if another part was open.
func (a *geminiAnswer) text(list []Piece, n int, kind PartKind, text string) []Piece {
	if text == "" {
		return list
	}
	if a.open < 0 || a.kind != kind {
		list = a.shut(list, n)
		a.open, a.kind = a.next, kind
		a.next++
		list = append(list, Piece{Kind: Open, Choice: n, Index: a.open, Part: Part{Kind: kind}})
	}
	return append(list, Piece{Kind: Delta, Choice: n, Index: a.open, Text: text})
}

// sign is the signature of the thought that is open. On anything else it stands for
// itself.
func (a *geminiAnswer) sign(list []Piece, n int, signature string) []Piece {
	of := Part{Kind: Redacted, Signature: signature, Vendor: vendorGoogle}
	switch {
	case signature == "":
		return list
	case a.open >= 0 && a.kind == Thought:
		list = append(list, Piece{Kind: Sign, Choice: n, Index: a.open, Part: Part{Signature: signature, Vendor: vendorGoogle}})
		return a.shut(list, n)
	}
	list = a.shut(list, n)
	list = append(list, Piece{Kind: Open, Choice: n, Index: a.next, Part: of}, Piece{Kind: Close, Choice: n, Index: a.next})
	a.next++
	return list
}

// shut says that the part that is open is complete.
func (a *geminiAnswer) shut(list []Piece, n int) []Piece {
	if a.open >= 0 {
		list = append(list, Piece{Kind: Close, Choice: n, Index: a.open})
		a.open = -1
	}
	return list
}

// Over ends what has a finishReason: nothing else ends a stream.
func (d *geminiDecoder) Over(list []Piece) ([]Piece, error) {
	if len(d.answers) == 0 && d.blocked {
		d.answers = []*geminiAnswer{{open: -1, ended: true, why: Filtered}}
	}
	if len(d.answers) == 0 || slices.ContainsFunc(d.answers, func(a *geminiAnswer) bool { return !a.ended }) {
		return list, &Unreadable{Gemini, "", "the stream has no end"}
	}
	if d.usage != nil {
		list = append(list, Piece{Kind: Total, Usage: d.usage})
	}
	for n, a := range d.answers {
		list = a.shut(list, n)
		if a.called && a.why == EndTurn {
			a.why = ToolUse
		}
		list = append(list, Piece{Kind: End, Choice: n, Reason: a.why})
	}
	return list, nil
}

// A geminiEncoder writes as Google answers: each event is a document.
type geminiEncoder struct {
	id, model string
	total     *Usage
	open      map[[2]int]*Part // parts that are not complete, with what there is of them
	begun     map[int]bool
	left      int // answers that have not ended
}

func (e *geminiEncoder) Whole(r *Reply) []byte {
	candidates := []object{}
	for n, a := range r.Choices {
		parts := []object{}
		for i := range a.Parts {
			parts = append(parts, geminiPartOf(&a.Parts[i]))
		}
		candidates = append(candidates, object{"content": object{"role": "model", "parts": parts}, "finishReason": geminiStop(a.Reason), "index": n})
	}
	return encode(object{"candidates": candidates, "usageMetadata": geminiUsageOf(r.Usage), "modelVersion": cmp.Or(r.Model, e.model), "responseId": r.ID})
}

// geminiPartOf is a part of a reply.
func geminiPartOf(p *Part) object {
	doc := object{"text": p.Text}
	switch p.Kind {
	case ToolCall:
		doc = object{"functionCall": object{"id": p.ID, "name": p.Name, "args": objectOf(p.Args)}}
	case Thought:
		doc["thought"] = true
	}
	if p.Signature != "" {
		doc["thoughtSignature"] = googleSignature(p)
	}
	return doc
}

// chunk is an event that brings a part of an answer.
func (e *geminiEncoder) chunk(n int, part object, why string) Frame {
	c := object{"content": object{"role": "model", "parts": []object{part}}, "index": n}
	doc := object{"candidates": []object{c}, "modelVersion": e.model, "responseId": e.id}
	if why != "" {
		c["finishReason"] = why
		doc["usageMetadata"] = geminiUsageOf(e.total)
	}
	return Frame{Data: encode(doc)}
}

func (e *geminiEncoder) Event(list []Frame, p Piece) []Frame {
	if e.open == nil {
		e.open, e.begun = make(map[[2]int]*Part), make(map[int]bool)
	}
	at := [2]int{p.Choice, p.Index}
	if p.Kind != Begin && p.Kind != Total && p.Kind != Fail && !e.begun[p.Choice] {
		e.begun[p.Choice] = true
		e.left++
	}
	part := e.open[at]
	switch p.Kind {
	case Begin:
		e.id, e.model = p.ID, cmp.Or(p.Model, e.model)
	case Open:
		part := p.Part
		e.open[at] = &part
	case Delta:
		switch {
		case part == nil:
		case part.Kind == ToolCall: // which is told when it is whole
			part.Text += p.Text
		default:
			list = append(list, e.chunk(p.Choice, geminiPartOf(&Part{Kind: part.Kind, Text: p.Text}), ""))
		}
	case Sign:
		if part != nil {
			part.Signature, part.Vendor = part.Signature+p.Part.Signature, p.Part.Vendor
		}
	case Close:
		switch {
		case part == nil:
		case part.Kind == ToolCall:
			part.Args, part.Text = arguments(part.Text), ""
			list = append(list, e.chunk(p.Choice, geminiPartOf(part), ""))
		case part.Signature != "":
			list = append(list, e.chunk(p.Choice, geminiPartOf(part), ""))
		}
		delete(e.open, at)
	case Total:
		e.total = p.Usage
	case End:
		list = append(list, e.chunk(p.Choice, object{"text": ""}, geminiStop(p.Reason)))
		e.left--
		list[len(list)-1].Last = e.left == 0
	case Fail:
		list = append(list, Frame{Data: WriteFailure(Gemini, p.Failed), Last: true})
	}
	return list
}
