package dialect

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A responsesEncoder writes responses. Of several answers it writes the first. What the
// client sent is not told again in them, as OpenAI does: it has it.
type responsesEncoder struct {
	p *Prompt
	customs
	id, model string
	frames    []Frame // that were written for the piece that is being read
	plain     bool    // nobody reads them
	seq       int
	items     []*outputItem
	parts     map[int]*outputPart // by index of the piece
	total     *Usage
	ended     object // the response, when it is complete
}

// An outputItem is an item of the reply.
type outputItem struct {
	index  int
	id     string
	doc    object // as it is when it is done
	said   []object
	call   *outputPart // that it is, nil if it is none
	open   int         // parts that are not complete
	sealed bool        // nothing more comes into it
	done   bool
}

// An outputPart is a part of the reply that has begun.
type outputPart struct {
	Part
	item   *outputItem
	at     int // in the item's content
	text   strings.Builder
	began  bool // of a thought: its summary has
	closed bool
}

func newResponsesEncoder(p *Prompt) *responsesEncoder {
	return &responsesEncoder{p: p, customs: newCustoms(p), model: p.Model, parts: make(map[int]*outputPart)}
}

// Whole is what a stream of r would end with.
func (e *responsesEncoder) Whole(r *Reply) []byte {
	e.plain = true
	one := *r
	one.Choices = append([]Answer(nil), r.Choices[:min(len(r.Choices), 1)]...)
	if len(one.Choices) == 0 {
		one.Choices = []Answer{{}}
	}
	for _, p := range Pieces(&one) {
		e.Event(nil, p)
	}
	return encode(e.ended)
}

func (e *responsesEncoder) Event(list []Frame, p Piece) []Frame {
	if p.Choice > 0 {
		return list
	}
	e.frames = list
	e.piece(p, e.write)
	list, e.frames = e.frames, nil
	return list
}

// frame writes an event.
func (e *responsesEncoder) frame(kind string, doc object) {
	doc["sequence_number"] = e.seq
	e.seq++
	if !e.plain {
		e.frames = append(e.frames, event(kind, doc))
	}
}

func (e *responsesEncoder) last() { // the event before was
	if !e.plain {
		e.frames[len(e.frames)-1].Last = true
	}
}

func (e *responsesEncoder) write(p Piece) {
	switch p.Kind {
	case Begin:
		e.begin(p)
	case Open:
		e.open(p)
	case Delta:
		if part := e.parts[p.Index]; part != nil && p.Text != "" {
			part.text.WriteString(p.Text)
			e.delta(part, p.Text)
		}
	case Sign:
		if part := e.parts[p.Index]; part != nil {
			part.Signature, part.Vendor = part.Signature+p.Part.Signature, p.Part.Vendor
		}
	case Close:
		if part := e.parts[p.Index]; part != nil {
			e.close(part)
		}
	case Total:
		e.total = p.Usage
	case End:
		e.end(p)
	case Fail:
		e.fail(p.Failed)
	}
}

func (e *responsesEncoder) begin(p Piece) {
	e.id, e.model = p.ID, cmp.Or(p.Model, e.model)
	e.frame("response.created", object{"response": e.response("in_progress")})
	e.frame("response.in_progress", object{"response": e.response("in_progress")})
}

// response is the response of a status, without what it says.
func (e *responsesEncoder) response(status string) object {
	var lost Losses
	_, choice := responsesTools(e.p, &lost)
	text := object{"format": object{"type": "text"}}
	if f := responsesFormat(e.p.Format); f != nil {
		text["format"] = f
	}
	if v := e.p.Extra["verbosity"]; v != nil {
		text["verbosity"] = v
	}
	reasoning := object{"effort": nil, "summary": nil}
	if r := e.p.Reasoning; r != nil && r.Effort != "" {
		reasoning["effort"] = r.Effort
	}
	metadata := e.p.Extra["metadata"]
	if metadata == nil {
		metadata = json.RawMessage("{}")
	}
	doc := object{
		"id": e.id, "object": "response", "created_at": e.p.At, "status": status, "background": false, "error": nil, "incomplete_details": nil, "instructions": nil,
		"max_output_tokens": nil, "max_tool_calls": nil, "model": e.model, "output": []object{}, "parallel_tool_calls": e.p.Parallel == nil || *e.p.Parallel, "previous_response_id": nil,
		"prompt_cache_key": textOrNull(e.p.CacheKey), "reasoning": reasoning, "safety_identifier": textOrNull(e.p.User), "service_tier": "default", "store": false, "temperature": 1, "text": text,
		"tool_choice": choice, "tools": []object{}, "top_logprobs": 0, "top_p": 1, "truncation": "disabled", "usage": nil, "user": nil, "metadata": metadata,
		"presence_penalty": 0, "frequency_penalty": 0,
	}
	if e.p.MaxTokens > 0 {
		doc["max_output_tokens"] = e.p.MaxTokens
	}
	set(doc, "temperature", e.p.Temperature)
	set(doc, "top_p", e.p.TopP)
	return doc
}

// item begins an item, after those before it.
func (e *responsesEncoder) item(prefix string, doc object) *outputItem {
	e.seal("completed")
	i := &outputItem{index: len(e.items), doc: doc}
	i.id = prefix + "_" + strings.TrimPrefix(e.id, "resp_") + "_" + strconv.Itoa(i.index)
	doc["id"] = i.id
	e.items = append(e.items, i)
	e.frame("response.output_item.added", object{"output_index": i.index, "item": doc})
	return i
}

// seal says that nothing more comes into the latest item, which is done when its parts
// are.
func (e *responsesEncoder) seal(status string) {
	if len(e.items) == 0 {
		return
	}
	i := e.items[len(e.items)-1]
	if i.sealed {
		return
	}
	i.sealed = true
	if _, has := i.doc["status"]; has {
		i.doc["status"] = status
	}
	e.finish(i)
	if i.call == nil || i.call.Signature == "" {
		return
	}
	// A call has no place for a signature. Clients send all items back, in order.
	of := e.item("rs", object{"type": "reasoning", "summary": []object{}, "encrypted_content": sealed(&i.call.Part, vendorOpenAI)})
	of.sealed = true
	e.finish(of)
}

func (e *responsesEncoder) finish(i *outputItem) {
	if i.done || !i.sealed || i.open > 0 {
		return
	}
	i.done = true
	if i.said != nil {
		i.doc["content"] = i.said
	}
	e.frame("response.output_item.done", object{"output_index": i.index, "item": i.doc})
}

func (e *responsesEncoder) open(p Piece) {
	part := &outputPart{Part: p.Part}
	switch p.Part.Kind {
	case Text, Refusal:
		if n := len(e.items) - 1; n >= 0 && e.items[n].said != nil && !e.items[n].sealed {
			part.item = e.items[n]
		} else {
			part.item = e.item("msg", object{"type": "message", "role": "assistant", "status": "in_progress", "content": []object{}})
			part.item.said = []object{}
		}
		part.at = len(part.item.said)
		part.item.said = append(part.item.said, e.said(part))
		e.frame("response.content_part.added", e.of(part, object{"content_index": part.at, "part": e.said(part)}))
	case Thought, Redacted:
		part.item = e.item("rs", object{"type": "reasoning", "summary": []object{}})
	case ToolCall:
		doc := object{"type": "function_call", "status": "in_progress", "call_id": p.Part.ID, "name": p.Part.Name, "arguments": ""}
		prefix := "fc"
		if p.Part.Custom {
			doc, prefix = object{"type": "custom_tool_call", "status": "in_progress", "call_id": p.Part.ID, "name": p.Part.Name, "input": ""}, "ctc"
		}
		if t := e.p.called(p.Part.Name); t != nil && t.Space != "" {
			doc["name"], doc["namespace"] = t.Local, t.Space
		}
		part.item = e.item(prefix, doc)
		part.item.call = part
	default:
		return // a model of another dialect may say what responses has no item for
	}
	part.item.open++
	e.parts[p.Index] = part
}

// of is an event of a part.
func (e *responsesEncoder) of(p *outputPart, doc object) object {
	doc["item_id"], doc["output_index"] = p.item.id, p.item.index
	return doc
}

// said is a part of a message as it is now.
func (e *responsesEncoder) said(p *outputPart) object {
	if p.Kind == Refusal {
		return object{"type": "refusal", "refusal": p.text.String()}
	}
	return object{"type": "output_text", "text": p.text.String(), "annotations": []object{}, "logprobs": []object{}}
}

func (e *responsesEncoder) delta(p *outputPart, text string) {
	switch p.Kind {
	case Text:
		e.frame("response.output_text.delta", e.of(p, object{"content_index": p.at, "delta": text, "logprobs": []object{}}))
	case Refusal:
		e.frame("response.refusal.delta", e.of(p, object{"content_index": p.at, "delta": text}))
	case Thought:
		if !p.began {
			p.began = true
			e.frame("response.reasoning_summary_part.added", e.of(p, object{"summary_index": 0, "part": object{"type": "summary_text", "text": ""}}))
		}
		e.frame("response.reasoning_summary_text.delta", e.of(p, object{"summary_index": 0, "delta": text}))
	case ToolCall:
		if p.Custom {
			e.frame("response.custom_tool_call_input.delta", e.of(p, object{"delta": text}))
		} else {
			e.frame("response.function_call_arguments.delta", e.of(p, object{"delta": text}))
		}
	}
}

func (e *responsesEncoder) close(p *outputPart) {
	if p.closed {
		return
	}
	p.closed = true
	text := p.text.String()
	switch p.Kind {
	case Text:
		e.frame("response.output_text.done", e.of(p, object{"content_index": p.at, "text": text, "logprobs": []object{}}))
	case Refusal:
		e.frame("response.refusal.done", e.of(p, object{"content_index": p.at, "refusal": text}))
	case Thought, Redacted:
		if p.began {
			e.frame("response.reasoning_summary_text.done", e.of(p, object{"summary_index": 0, "text": text}))
			e.frame("response.reasoning_summary_part.done", e.of(p, object{"summary_index": 0, "part": object{"type": "summary_text", "text": text}}))
		}
		p.item.doc["summary"] = summaryOf(text)
		if s := sealed(&p.Part, vendorOpenAI); s != "" {
			p.item.doc["encrypted_content"] = s
		}
	case ToolCall:
		if p.Custom {
			p.item.doc["input"] = text
			e.frame("response.custom_tool_call_input.done", e.of(p, object{"input": text}))
			break
		}
		text = cmp.Or(text, "{}")
		p.item.doc["arguments"] = text
		e.frame("response.function_call_arguments.done", e.of(p, object{"name": p.item.doc["name"], "arguments": text}))
	}
	if p.Kind == Text || p.Kind == Refusal {
		p.item.said[p.at] = e.said(p)
		e.frame("response.content_part.done", e.of(p, object{"content_index": p.at, "part": e.said(p)}))
	}
	p.item.open--
	e.finish(p.item)
}

// closeAll completes what is open, in order, and the last item.
func (e *responsesEncoder) closeAll(status string) (output []object) {
	for _, n := range slices.Sorted(maps.Keys(e.parts)) {
		e.close(e.parts[n])
	}
	e.seal(status)
	output = []object{}
	for _, i := range e.items {
		output = append(output, i.doc)
	}
	return output
}

func (e *responsesEncoder) end(p Piece) {
	status, why := "completed", ""
	switch p.Reason {
	case MaxTokens:
		status, why = "incomplete", stoppedByLimit
	case Filtered:
		status, why = "incomplete", stoppedByFilter
	case Refused:
		if !e.refused() {
			status, why = "incomplete", stoppedByFilter
		}
	}
	output := e.closeAll(status)
	e.ended = e.response(status)
	e.ended["output"] = output
	if u := responsesUsageOf(e.total); u != nil {
		e.ended["usage"] = u
	}
	if why != "" {
		e.ended["incomplete_details"] = object{"reason": why}
	}
	e.frame("response."+status, object{"response": e.ended})
	e.last()
}

// refused says whether the model refused in words of its own.
func (e *responsesEncoder) refused() bool {
	for _, p := range e.parts {
		if p.Kind == Refusal {
			return true
		}
	}
	return false
}

// fail ends with an error and with a response that has failed: some clients wait for the
// one, some for the other.
func (e *responsesEncoder) fail(f *Failed) {
	code := map[Failure]string{BadRequest: "invalid_prompt", TooLong: "context_length_exceeded", Throttled: "rate_limit_exceeded", Overloaded: "server_is_overloaded", FilteredOut: "content_filter"}[f.Kind]
	code = cmp.Or(code, "server_error")
	e.frame("error", object{"code": code, "message": f.Message, "param": nil})
	r := e.response("failed")
	r["error"] = object{"code": code, "message": f.Message}
	output := []object{}
	for _, i := range e.items {
		if i.done {
			output = append(output, i.doc)
		}
	}
	r["output"] = output
	e.frame("response.failed", object{"response": r})
	e.last()
}
