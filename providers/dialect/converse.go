package dialect

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// Amazon Bedrock's Converse. Only providers speak it: nothing is read in it but replies,
// and nothing written but requests. The model stands in the path.
var converseDialect = Dialect{
	Name: Converse, Write: writeConverse,
	NewDecoder: func(*Prompt) Decoder { return new(converseDecoder) },
}

func writeConverse(p *Prompt, to Target) ([]byte, Losses, error) {
	l := slices.Clone(p.Losses)
	p.extras(&l, Converse)
	doc := object{}
	if len(p.System) > 0 {
		doc["system"] = converseBlocks(p.System, to, "system", &l)
	}
	var messages []object
	for i := range p.Turns {
		t := &p.Turns[i]
		role := "user"
		switch t.Role {
		case Assistant:
			role = "assistant"
		case Developer:
			l.Add("messages.*.role.developer", "converse has instructions only at the beginning: they are the user's here")
		}
		if t.Name != "" {
			l.Add("messages.*.name", "converse has no such thing")
		}
		parts := t.Parts
		if role == "user" { // what tools have answered comes first
			parts = slices.Clone(parts)
			slices.SortStableFunc(parts, func(a, b Part) int { return order(a.Kind) - order(b.Kind) })
		}
		blocks := converseBlocks(parts, to, "messages.*.content", &l)
		if len(blocks) == 0 {
			continue
		}
		if n := len(messages) - 1; n >= 0 && messages[n]["role"] == role {
			messages[n]["content"] = append(messages[n]["content"].([]object), blocks...)
			continue
		}
		messages = append(messages, object{"role": role, "content": blocks})
	}
	doc["messages"] = messages
	converseConfig(p, to, doc, &l)
	converseTools(p, doc, &l)
	return encode(doc), l.in(p.From), nil
}

func converseConfig(p *Prompt, to Target, doc object, l *Losses) {
	c, more := object{}, object{}
	if p.MaxTokens > 0 {
		c["maxTokens"] = p.MaxTokens
	}
	set(c, "temperature", p.Temperature)
	set(c, "topP", p.TopP)
	if len(p.Stop) > 0 {
		c["stopSequences"] = p.Stop
	}
	claude := strings.Contains(to.Model, "anthropic") || strings.Contains(to.Model, "claude")
	if p.TopK != nil {
		if claude {
			more["top_k"] = *p.TopK
		} else {
			l.Add("top_k", "converse has no such thing")
		}
	}
	switch r := p.Reasoning; {
	case r == nil || r.Off:
	case claude && r.Tokens > 0:
		more["thinking"] = object{"type": "enabled", "budget_tokens": r.Tokens}
	default:
		l.Add("reasoning_effort", "converse has no such thing")
	}
	for _, no := range []struct {
		name string
		has  bool
	}{{"seed", p.Seed != nil}, {"presence_penalty", p.Presence != nil}, {"frequency_penalty", p.Frequency != nil}, {"n", p.Replies > 1}, {"prompt_cache_key", p.CacheKey != ""}, {"user", p.User != ""}, {"response_format", p.Format != nil}} {
		if no.has {
			l.Add(no.name, "converse has no such thing")
		}
	}
	if len(c) > 0 {
		doc["inferenceConfig"] = c
	}
	if len(more) > 0 {
		doc["additionalModelRequestFields"] = more
	}
}

func converseTools(p *Prompt, doc object, l *Losses) {
	if p.Choice.Mode == NoTool {
		if len(p.Tools) > 0 && !calledIn(p) {
			return
		}
		l.Add("tool_choice", "converse has no such thing as none: its tools may be called")
	}
	var tools []object
	for _, t := range p.Tools {
		switch {
		case len(p.Choice.Only) > 0 && !slices.Contains(p.Choice.Only, t.Name):
			continue // which comes to the same
		case t.Hosted != nil:
			l.Add("tools.*."+t.Name, "a tool that the vendor runs is known to no other")
			continue
		case t.Custom != nil:
			l.Add("tools.*.custom", "converse has functions only: its text is the argument input")
			t.Schema = customSchema(&t)
		}
		schema := t.Schema
		if schema == nil {
			schema = json.RawMessage(`{"type":"object","properties":{}}`)
		}
		spec := object{"name": t.Name, "inputSchema": object{"json": schema}}
		if t.Description != "" {
			spec["description"] = t.Description
		}
		if t.Strict {
			l.Add("tools.*.strict", "converse has no such thing")
		}
		tools = append(tools, object{"toolSpec": spec})
		if t.Cache != nil {
			tools = append(tools, cachePoint(t.Cache))
		}
	}
	if tools == nil {
		return
	}
	c := object{"tools": tools}
	switch p.Choice.Mode {
	case AnyTool:
		c["toolChoice"] = object{"any": object{}}
	case Named:
		c["toolChoice"] = object{"tool": object{"name": p.Choice.Name}}
	}
	doc["toolConfig"] = c
	if p.Parallel != nil && !*p.Parallel {
		l.Add("parallel_tool_calls", "converse has no such thing")
	}
}

// calledIn says whether tools were called in the conversation: then Bedrock wants to know
// them.
func calledIn(p *Prompt) bool {
	return slices.ContainsFunc(p.Turns, func(t Turn) bool {
		return slices.ContainsFunc(t.Parts, func(p Part) bool { return p.Kind == ToolCall || p.Kind == ToolResult })
	})
}

func cachePoint(c *Cache) object {
	o := object{"type": "default"}
	if c.TTL != "" {
		o["ttl"] = c.TTL
	}
	return object{"cachePoint": o}
}

func converseBlocks(parts []Part, to Target, path string, l *Losses) []object {
	list := []object{}
	documents := 0
	for i := range parts {
		p := &parts[i]
		var b object
		switch p.Kind {
		case Text, Refusal:
			if p.Text == "" {
				continue
			}
			b = object{"text": p.Text}
		case Image, Document:
			documents++
			if b = converseMedia(p, documents); b == nil {
				l.Add(path+".file", "converse takes pictures and files with the request only")
				continue
			}
			if p.Media.Detail != "" && p.Media.Detail != "auto" {
				l.Add(path+".image_url.detail", "converse has no such thing")
			}
		case Audio:
			l.Add(path+".input_audio", "converse takes no sound")
			continue
		case ToolCall:
			b = object{"toolUse": object{"toolUseId": p.ID, "name": p.Name, "input": objectOf(p.Args)}}
		case ToolResult:
			r := object{"toolUseId": p.ID, "content": converseResult(p, to, path, l)}
			if p.Failed {
				r["status"] = "error"
			}
			b = object{"toolResult": r}
		case Thought, Redacted:
			if p.Signature == "" || p.Vendor != to.Vendor || p.Vendor != vendorAnthropic {
				l.Add(path+".reasoning", notTheirs)
				continue
			}
			b = object{"reasoningContent": object{"reasoningText": object{"text": p.Text, "signature": p.Signature}}}
			if p.Kind == Redacted {
				b = object{"reasoningContent": object{"redactedContent": p.Signature}}
			}
		}
		list = append(list, b)
		if p.Cache != nil && p.Kind != Thought && p.Kind != Redacted {
			list = append(list, cachePoint(p.Cache))
		}
	}
	return list
}

func converseResult(p *Part, to Target, path string, l *Losses) []object {
	if only(p.Parts, Text) {
		return []object{{"text": textOf(p.Parts)}}
	}
	return converseBlocks(p.Parts, to, path+".tool_result.content", l)
}

// converseMedia is a picture or a file as Bedrock takes it: its bytes, by a short name of
// its kind; nil where that cannot be.
func converseMedia(p *Part, n int) object {
	if p.Media.Data == "" {
		return nil
	}
	kind := p.Media.Type[strings.LastIndexByte(p.Media.Type, '/')+1:]
	source := object{"bytes": p.Media.Data}
	if p.Kind == Image {
		return object{"image": object{"format": kind, "source": source}}
	}
	format := map[string]string{"pdf": "pdf", "csv": "csv", "html": "html", "plain": "txt", "markdown": "md", "msword": "doc",
		"vnd.openxmlformats-officedocument.wordprocessingml.document": "docx", "vnd.ms-excel": "xls", "vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx"}[kind]
	if format == "" {
		return nil
	}
	return object{"document": object{"format": format, "name": "document " + strconv.Itoa(n), "source": source}} // names of clients may lead models astray, and Bedrock takes few signs
}

// converseStops are stopReasons.
var converseStops = map[string]StopReason{
	"end_turn": EndTurn, "stop_sequence": StopSequence, "max_tokens": MaxTokens, "model_context_window_exceeded": MaxTokens, "tool_use": ToolUse,
	"guardrail_intervened": Filtered, "content_filtered": Filtered,
}

// converseUsage is without the cache in its input, as Anthropic's.
func converseUsage(v gjson.Result) *Usage {
	if !v.IsObject() {
		return nil
	}
	u := &Usage{Output: v.Get("outputTokens").Int(), CacheRead: v.Get("cacheReadInputTokens").Int(), CacheWrite: v.Get("cacheWriteInputTokens").Int()}
	u.Input = v.Get("inputTokens").Int() + u.CacheRead + u.CacheWrite
	return u
}

// A converseDecoder reads Converse and ConverseStream.
type converseDecoder struct {
	began, over bool
	open        map[int]PartKind
	reason      StopReason
	usage       *Usage
}

func (d *converseDecoder) Whole(doc []byte) (*Reply, error) {
	v := gjson.ParseBytes(doc)
	if !v.Get("output.message.content").IsArray() {
		return nil, &Unreadable{Converse, "output.message.content", "there is none"}
	}
	a := Answer{Reason: converseStops[v.Get("stopReason").Str]}
	items(v.Get("output.message.content"), func(v gjson.Result) {
		switch thought := v.Get("reasoningContent"); {
		case v.Get("text").Exists():
			a.Parts = append(a.Parts, Part{Kind: Text, Text: v.Get("text").Str})
		case v.Get("toolUse").Exists():
			call := v.Get("toolUse")
			a.Parts = append(a.Parts, Part{Kind: ToolCall, ID: call.Get("toolUseId").Str, Name: call.Get("name").Str, Args: raw(call.Get("input"))})
		case thought.Get("reasoningText").Exists():
			a.Parts = append(a.Parts, signedBy(Part{Kind: Thought, Text: thought.Get("reasoningText.text").Str, Signature: thought.Get("reasoningText.signature").Str}))
		case thought.Get("redactedContent").Exists():
			a.Parts = append(a.Parts, signedBy(Part{Kind: Redacted, Signature: thought.Get("redactedContent").Str}))
		}
	})
	return &Reply{Choices: []Answer{a}, Usage: converseUsage(v.Get("usage"))}, nil
}

// signedBy is p with whose signature it has: Bedrock signs for Anthropic's models only.
func signedBy(p Part) Part {
	if p.Signature != "" {
		p.Vendor = vendorAnthropic
	}
	return p
}

func (d *converseDecoder) Event(list []Piece, name string, data []byte) ([]Piece, error) {
	v := gjson.ParseBytes(data)
	if d.open == nil {
		d.open = make(map[int]PartKind)
	}
	at := int(v.Get("contentBlockIndex").Int())
	begin := func(kind PartKind, p Part) {
		if _, ok := d.open[at]; !ok { // texts and thoughts begin without being announced
			p.Kind = kind
			d.open[at] = kind
			list = append(list, Piece{Kind: Open, Index: at, Part: p})
		}
	}
	switch name {
	case "messageStart":
		d.began = true
		list = append(list, Piece{Kind: Begin})
	case "contentBlockStart":
		if call := v.Get("start.toolUse"); call.Exists() {
			begin(ToolCall, Part{ID: call.Get("toolUseId").Str, Name: call.Get("name").Str})
		}
	case "contentBlockDelta":
		delta := v.Get("delta")
		thought := delta.Get("reasoningContent")
		switch {
		case delta.Get("text").Exists():
			begin(Text, Part{})
			list = append(list, Piece{Kind: Delta, Index: at, Text: delta.Get("text").Str})
		case delta.Get("toolUse").Exists():
			if t := delta.Get("toolUse.input").Str; t != "" {
				list = append(list, Piece{Kind: Delta, Index: at, Text: t})
			}
		case thought.Get("text").Exists():
			begin(Thought, Part{})
			list = append(list, Piece{Kind: Delta, Index: at, Text: thought.Get("text").Str})
		case thought.Get("signature").Exists():
			begin(Thought, Part{})
			list = append(list, Piece{Kind: Sign, Index: at, Part: Part{Signature: thought.Get("signature").Str, Vendor: vendorAnthropic}})
		case thought.Get("redactedContent").Exists():
			begin(Redacted, signedBy(Part{Signature: thought.Get("redactedContent").Str}))
		}
		if _, ok := d.open[at]; !ok || !d.began {
			return list, &Unreadable{Converse, "contentBlockDelta", "its block has not begun"}
		}
	case "contentBlockStop":
		if _, ok := d.open[at]; ok {
			delete(d.open, at)
			list = append(list, Piece{Kind: Close, Index: at})
		}
	case "messageStop":
		d.over, d.reason = true, converseStops[v.Get("stopReason").Str]
	case "metadata":
		d.usage = converseUsage(v.Get("usage"))
	default:
		if strings.HasSuffix(name, "Exception") {
			list = append(list, Piece{Kind: Fail, Failed: converseFailure(name, v.Get("message").Str)})
		}
	}
	return list, nil
}

// converseFailure is an exception in the middle of a stream.
func converseFailure(name, message string) *Failed {
	kind, ok := map[string]Failure{"throttlingException": Throttled, "validationException": BadRequest, "serviceUnavailableException": Overloaded, "modelTimeoutException": TimedOut, "accessDeniedException": Forbidden, "resourceNotFoundException": NoModel}[strings.ToLower(name[:1])+name[1:]]
	if !ok {
		kind = Broken
	}
	return &Failed{Kind: kind, Message: message, Code: name}
}

// Over ends what has a messageStop: the usage comes behind that.
func (d *converseDecoder) Over(list []Piece) ([]Piece, error) {
	if !d.over {
		return list, &Unreadable{Converse, "", "the stream has no end"}
	}
	if d.usage != nil {
		list = append(list, Piece{Kind: Total, Usage: d.usage})
	}
	return append(list, Piece{Kind: End, Reason: d.reason}), nil
}
