package dialect

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// Cohere's chat, version 2. Only providers speak it: nothing is read in it but replies,
// and nothing written but requests.
var cohereDialect = Dialect{
	Name: Cohere, Write: writeCohere,
	NewDecoder: func(*Prompt) Decoder { return new(cohereDecoder) },
}

func writeCohere(p *Prompt, to Target) ([]byte, Losses, error) {
	l := slices.Clone(p.Losses)
	p.extras(&l, Cohere)
	doc := object{"model": to.Model, "stream": p.Stream}
	var messages []object
	if len(p.System) > 0 {
		messages = append(messages, object{"role": "system", "content": cohereContent(p.System, "system", &l)})
	}
	for i := range p.Turns {
		t := &p.Turns[i]
		if t.Name != "" {
			l.Add("messages.*.name", "cohere has no such thing")
		}
		switch t.Role {
		case Assistant:
			messages = append(messages, cohereAssistant(t.Parts, &l))
		case Developer:
			messages = append(messages, object{"role": "system", "content": cohereContent(t.Parts, "messages.*.content", &l)})
		default:
			var rest []Part
			for _, part := range t.Parts {
				if part.Kind != ToolResult {
					rest = append(rest, part)
					continue
				}
				if part.Failed {
					l.Add("messages.*.content.tool_result.is_error", "cohere has no such thing")
				}
				messages = append(messages, object{"role": "tool", "tool_call_id": part.ID, "content": cohereContent(part.Parts, "messages.*.content.tool_result.content", &l)})
			}
			if len(rest) > 0 {
				messages = append(messages, object{"role": "user", "content": cohereContent(rest, "messages.*.content", &l)})
			}
		}
	}
	doc["messages"] = messages
	if p.MaxTokens > 0 {
		doc["max_tokens"] = p.MaxTokens
	}
	set(doc, "temperature", p.Temperature)
	set(doc, "p", p.TopP)
	set(doc, "k", p.TopK)
	set(doc, "seed", p.Seed)
	set(doc, "frequency_penalty", p.Frequency)
	set(doc, "presence_penalty", p.Presence)
	if len(p.Stop) > 0 {
		doc["stop_sequences"] = p.Stop
	}
	if f := p.Format; f != nil {
		doc["response_format"] = object{"type": "json_object"}
		if f.Schema != nil {
			doc["response_format"] = object{"type": "json_object", "json_schema": f.Schema}
		}
	}
	switch r := p.Reasoning; {
	case r == nil:
	case r.Off:
		doc["thinking"] = object{"type": "disabled"}
	case r.Tokens > 0:
		doc["thinking"] = object{"type": "enabled", "token_budget": r.Tokens}
	default:
		doc["thinking"] = object{"type": "enabled"}
		l.Add("reasoning_effort", "cohere thinks, or does not")
	}
	for _, no := range []struct {
		name string
		has  bool
	}{{"n", p.Replies > 1}, {"prompt_cache_key", p.CacheKey != ""}, {"user", p.User != ""}} {
		if no.has {
			l.Add(no.name, "cohere has no such thing")
		}
	}
	cohereTools(p, doc, &l)
	return encode(doc), l.in(p.From), nil
}

func cohereTools(p *Prompt, doc object, l *Losses) {
	var tools []object
	for _, t := range p.Tools {
		switch {
		case p.Choice.Mode == Named && t.Name != p.Choice.Name, len(p.Choice.Only) > 0 && !slices.Contains(p.Choice.Only, t.Name):
			continue // which comes to the same
		case t.Hosted != nil:
			l.Add("tools.*."+t.Name, "a tool that the vendor runs is known to no other")
			continue
		case t.Custom != nil:
			l.Add("tools.*.custom", "cohere has functions only: its text is the argument input")
			t.Schema = customSchema(&t)
		}
		schema := t.Schema
		if schema == nil {
			schema = json.RawMessage(`{"type":"object","properties":{}}`)
		}
		f := object{"name": t.Name, "parameters": schema}
		if t.Description != "" {
			f["description"] = t.Description
		}
		if t.Strict {
			doc["strict_tools"] = true
		}
		if t.Cache != nil {
			l.Add("tools.*.cache_control", "cohere has no such thing")
		}
		tools = append(tools, object{"type": "function", "function": f})
	}
	if tools == nil {
		return
	}
	doc["tools"] = tools
	switch p.Choice.Mode {
	case NoTool:
		doc["tool_choice"] = "NONE"
	case AnyTool, Named:
		doc["tool_choice"] = "REQUIRED"
	}
	if p.Parallel != nil && !*p.Parallel {
		l.Add("parallel_tool_calls", "cohere has no such thing")
	}
}

// cohereAssistant is what a model said before.
func cohereAssistant(parts []Part, l *Losses) object {
	m := object{"role": "assistant"}
	var calls []object
	var texts []Part
	for i := range parts {
		switch p := &parts[i]; p.Kind {
		case ToolCall:
			calls = append(calls, object{"id": p.ID, "type": "function", "function": object{"name": p.Name, "arguments": string(objectOf(p.Args))}})
		case Thought, Redacted:
			l.Add("messages.*.content.reasoning", notTheirs)
		default:
			texts = append(texts, *p)
		}
	}
	if len(texts) > 0 {
		m["content"] = cohereContent(texts, "messages.*.content", l)
	}
	if calls != nil {
		m["tool_calls"] = calls
	}
	return m
}

// cohereContent is parts as Cohere has them: a text, or a list of texts and pictures.
func cohereContent(parts []Part, path string, l *Losses) any {
	list := []object{}
	for i := range parts {
		p := &parts[i]
		switch p.Kind {
		case Text, Refusal:
			list = append(list, object{"type": "text", "text": p.Text})
		case Image:
			url := p.Media.URL
			if p.Media.Data != "" {
				url = "data:" + p.Media.Type + ";base64," + p.Media.Data
			}
			if url == "" {
				l.Add(path+".file", "files at one vendor are not at another")
				continue
			}
			image := object{"url": url}
			if p.Media.Detail != "" {
				image["detail"] = p.Media.Detail
			}
			list = append(list, object{"type": "image_url", "image_url": image})
		case Audio:
			l.Add(path+".input_audio", "cohere takes no sound")
		case Document:
			l.Add(path+".file", "cohere takes no files")
		}
		if p.Cache != nil {
			l.Add(path+".cache_control", "cohere has no such thing")
		}
	}
	if len(list) == 1 && list[0]["type"] == "text" {
		return list[0]["text"]
	}
	return list
}

// cohereStops are finish_reasons.
var cohereStops = map[string]StopReason{"COMPLETE": EndTurn, "STOP_SEQUENCE": StopSequence, "MAX_TOKENS": MaxTokens, "TOOL_CALL": ToolUse, "ERROR_TOXIC": Filtered, "ERROR_LIMIT": MaxTokens}

// cohereUsage counts tokens where they are told, and else what is billed.
func cohereUsage(v gjson.Result) *Usage {
	if !v.IsObject() {
		return nil
	}
	t := v.Get("tokens")
	if !t.Exists() {
		t = v.Get("billed_units")
	}
	return &Usage{Input: t.Get("input_tokens").Int(), Output: t.Get("output_tokens").Int(), CacheRead: v.Get("cached_tokens").Int()}
}

// A cohereDecoder reads Cohere's chat.
type cohereDecoder struct {
	began, over bool
	next, open  int // index of the part that comes next, and of the one that is open; -1 if none is
	kind        PartKind
	reason      StopReason
	usage       *Usage
}

func (d *cohereDecoder) Whole(doc []byte) (*Reply, error) {
	v := gjson.ParseBytes(doc)
	m := v.Get("message")
	if !m.IsObject() {
		return nil, &Unreadable{Cohere, "message", "there is none"}
	}
	a := Answer{Reason: cohereStops[v.Get("finish_reason").Str]}
	if t := m.Get("tool_plan").Str; t != "" {
		a.Parts = append(a.Parts, Part{Kind: Thought, Text: t})
	}
	items(m.Get("content"), func(v gjson.Result) {
		switch v.Get("type").Str {
		case "text":
			a.Parts = append(a.Parts, Part{Kind: Text, Text: v.Get("text").Str})
		case "thinking":
			a.Parts = append(a.Parts, Part{Kind: Thought, Text: v.Get("thinking").Str})
		}
	})
	items(m.Get("tool_calls"), func(v gjson.Result) {
		a.Parts = append(a.Parts, Part{Kind: ToolCall, ID: v.Get("id").Str, Name: v.Get("function.name").Str, Args: arguments(v.Get("function.arguments").Str)})
	})
	return &Reply{ID: v.Get("id").Str, Choices: []Answer{a}, Usage: cohereUsage(v.Get("usage"))}, nil
}

func (d *cohereDecoder) Event(list []Piece, name string, data []byte) ([]Piece, error) {
	v := gjson.ParseBytes(data)
	kind := v.Get("type").Str
	if kind == "" {
		kind = name
	}
	m := v.Get("delta.message")
	if !d.began && kind != "message-start" && !v.Get("message").Exists() {
		return list, &Unreadable{Cohere, kind, "the message has not begun"}
	}
	switch kind {
	case "message-start":
		d.began, d.open = true, -1
		list = append(list, Piece{Kind: Begin, ID: v.Get("id").Str})
	case "tool-plan-delta":
		list = d.text(list, Thought, m.Get("tool_plan").Str)
	case "content-start":
		list = d.shut(list)
		if t := m.Get("content.text").Str; t != "" {
			list = d.text(list, Text, t)
		}
	case "content-delta":
		if t := m.Get("content.thinking"); t.Exists() {
			list = d.text(list, Thought, t.Str)
		} else {
			list = d.text(list, Text, m.Get("content.text").Str)
		}
	case "content-end", "tool-call-end":
		list = d.shut(list)
	case "tool-call-start":
		list = d.shut(list)
		call := m.Get("tool_calls")
		d.open, d.kind = d.next, ToolCall
		d.next++
		list = append(list, Piece{Kind: Open, Index: d.open, Part: Part{Kind: ToolCall, ID: call.Get("id").Str, Name: call.Get("function.name").Str}})
		if t := call.Get("function.arguments").Str; t != "" {
			list = append(list, Piece{Kind: Delta, Index: d.open, Text: t})
		}
	case "tool-call-delta":
		if d.open < 0 || d.kind != ToolCall {
			return list, &Unreadable{Cohere, kind, "its call has not begun"}
		}
		if t := m.Get("tool_calls.function.arguments").Str; t != "" {
			list = append(list, Piece{Kind: Delta, Index: d.open, Text: t})
		}
	case "message-end":
		list = d.shut(list)
		why := v.Get("delta.finish_reason").Str
		if why == "ERROR" {
			return append(list, Piece{Kind: Fail, Failed: &Failed{Kind: Broken, Message: v.Get("delta.error").Str, Code: why}}), nil
		}
		d.over, d.reason, d.usage = true, cohereStops[why], cohereUsage(v.Get("delta.usage"))
	case "citation-start", "citation-end", "debug":
	default:
		if text := v.Get("message"); text.Type == gjson.String && !strings.Contains(kind, "-") {
			list = append(list, Piece{Kind: Fail, Failed: &Failed{Kind: Broken, Message: text.Str}})
		}
	}
	return list, nil
}

// text is more of a text, which begins if another part was open.
func (d *cohereDecoder) text(list []Piece, kind PartKind, text string) []Piece {
	if text == "" {
		return list
	}
	if d.open < 0 || d.kind != kind {
		list = d.shut(list)
		d.open, d.kind = d.next, kind
		d.next++
		list = append(list, Piece{Kind: Open, Index: d.open, Part: Part{Kind: kind}})
	}
	return append(list, Piece{Kind: Delta, Index: d.open, Text: text})
}

// shut says that the part that is open is complete.
func (d *cohereDecoder) shut(list []Piece) []Piece {
	if d.open < 0 {
		return list
	}
	list = append(list, Piece{Kind: Close, Index: d.open})
	d.open = -1
	return list
}

// Over ends what has a message-end.
func (d *cohereDecoder) Over(list []Piece) ([]Piece, error) {
	if !d.over {
		return list, &Unreadable{Cohere, "", "the stream has no end"}
	}
	if d.usage != nil {
		list = append(list, Piece{Kind: Total, Usage: d.usage})
	}
	return append(list, Piece{Kind: End, Reason: d.reason}), nil
}
