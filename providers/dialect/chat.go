package dialect

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// OpenAI's chat completions, as OpenAI and all that are compatible speak them.
var chatDialect = Dialect{
	Name: Chat, Read: readChat, Write: writeChat,
	NewDecoder: func(p *Prompt) Decoder { return &chatDecoder{} },
	NewEncoder: func(p *Prompt) Encoder {
		return &chatEncoder{usage: p.Usage, at: p.At, customs: newCustoms(p), model: p.Model}
	},
}

func readChat(doc []byte) (*Prompt, error) {
	p := &Prompt{From: Chat}
	members(gjson.ParseBytes(doc), "", &p.Losses, func(name string, v gjson.Result) bool {
		switch name {
		case "model":
			p.Model = v.Str
		case "messages":
			items(v, func(v gjson.Result) { p.chatMessage(v) })
		case "stream":
			p.Stream = v.Bool()
		case "stream_options":
			p.Usage = v.Get("include_usage").Bool()
		case "max_tokens", "max_completion_tokens":
			p.MaxTokens = int(v.Int())
		case "temperature":
			p.Temperature = number(v)
		case "top_p":
			p.TopP = number(v)
		case "n":
			p.Replies = int(v.Int())
		case "stop":
			p.Stop = texts(v)
		case "presence_penalty":
			p.Presence = number(v)
		case "frequency_penalty":
			p.Frequency = number(v)
		case "seed":
			p.Seed = whole(v)
		case "tools":
			items(v, func(v gjson.Result) { p.chatTool(v) })
		case "tool_choice":
			p.Choice = chatChoice(v)
		case "parallel_tool_calls":
			p.Parallel = flag(v)
		case "response_format":
			p.chatFormat(v)
		case "reasoning_effort":
			p.Reasoning = &Reasoning{Effort: v.Str, Off: v.Str == "none"}
		case "user", "safety_identifier":
			p.User = v.Str
		case "prompt_cache_key":
			p.CacheKey = v.Str
		default:
			if p.Extra == nil {
				p.Extra = make(map[string]json.RawMessage)
			}
			p.Extra[name] = raw(v)
		}
		return true
	})
	return p, nil
}

func (p *Prompt) chatMessage(v gjson.Result) {
	const path = "messages.*"
	t := Turn{}
	var calls, result []Part
	var id string
	role := v.Get("role").Str
	members(v, path, &p.Losses, func(name string, v gjson.Result) bool {
		switch name {
		case "role":
		case "name":
			t.Name = v.Str
		case "content":
			t.Parts = append(p.chatContent(v, path+".content"), t.Parts...)
		case "refusal":
			t.Parts = append(t.Parts, Part{Kind: Refusal, Text: v.Str})
		case "reasoning_content", "reasoning":
			t.Parts = append([]Part{{Kind: Thought, Text: v.Str}}, t.Parts...)
		case "tool_call_id":
			id = v.Str
		case "tool_calls":
			items(v, func(v gjson.Result) { calls = append(calls, chatCall(v)) })
		case "annotations":
		default:
			return false
		}
		return true
	})
	t.Parts = append(t.Parts, calls...)
	switch role {
	case "system", "developer":
		if len(p.Turns) == 0 {
			p.System = append(p.System, t.Parts...)
			return
		}
		t.Role = Developer
	case "assistant":
		t.Role = Assistant
	case "tool":
		result = []Part{{Kind: ToolResult, ID: id, Parts: t.Parts}}
		if n := len(p.Turns) - 1; n >= 0 && p.Turns[n].Role == User && len(p.Turns[n].Parts) > 0 && p.Turns[n].Parts[0].Kind == ToolResult {
			p.Turns[n].Parts = append(p.Turns[n].Parts, result...)
			return
		}
		t.Parts = result
	}
	p.Turns = append(p.Turns, t)
}

func chatCall(v gjson.Result) Part {
	if c := v.Get("custom"); c.Exists() {
		return Part{Kind: ToolCall, ID: v.Get("id").Str, Name: c.Get("name").Str, Args: quoted(c.Get("input").Str), Custom: true}
	}
	return chatUnsigned(Part{Kind: ToolCall, ID: v.Get("id").Str, Name: v.Get("function.name").Str, Args: arguments(v.Get("function.arguments").Str)}, v)
}

func (p *Prompt) chatContent(v gjson.Result, path string) (parts []Part) {
	if v.Type == gjson.String {
		return []Part{{Kind: Text, Text: v.Str}}
	}
	items(v, func(v gjson.Result) {
		switch kind := v.Get("type").Str; kind {
		case "text":
			parts = append(parts, Part{Kind: Text, Text: v.Get("text").Str, Cache: readCache(v.Get("cache_control"))})
		case "refusal":
			parts = append(parts, Part{Kind: Refusal, Text: v.Get("refusal").Str})
		case "image_url":
			m := &Media{URL: v.Get("image_url.url").Str, Detail: v.Get("image_url.detail").Str}
			if kind, data, ok := dataURL(m.URL); ok {
				m.Type, m.Data, m.URL = kind, data, ""
			}
			parts = append(parts, Part{Kind: Image, Media: m})
		case "input_audio":
			parts = append(parts, Part{Kind: Audio, Media: &Media{Type: "audio/" + v.Get("input_audio.format").Str, Data: v.Get("input_audio.data").Str}})
		case "file":
			m := &Media{Name: v.Get("file.filename").Str, File: v.Get("file.file_id").Str, Vendor: "openai"}
			if kind, data, ok := dataURL(v.Get("file.file_data").Str); ok {
				m.Type, m.Data = kind, data
			}
			parts = append(parts, Part{Kind: Document, Media: m})
		default:
			p.Losses.Add(path+"."+kind, "callgate does not know it")
		}
	})
	return parts
}

// readCache is a cache_control, which compatible vendors take from Anthropic.
func readCache(v gjson.Result) *Cache {
	if !v.IsObject() {
		return nil
	}
	return &Cache{TTL: v.Get("ttl").Str}
}

func (p *Prompt) chatTool(v gjson.Result) {
	switch v.Get("type").Str {
	case "function":
		f := v.Get("function")
		t := Tool{Name: f.Get("name").Str, Description: f.Get("description").Str, Strict: f.Get("strict").Bool()}
		if s := f.Get("parameters"); s.IsObject() {
			t.Schema = raw(s)
		}
		p.Tools = append(p.Tools, t)
	case "custom":
		c := v.Get("custom")
		p.Tools = append(p.Tools, Tool{Name: c.Get("name").Str, Description: c.Get("description").Str, Custom: raw(c)})
	default:
		p.Tools = append(p.Tools, Tool{Name: v.Get("type").Str, Hosted: raw(v)})
	}
}

func chatChoice(v gjson.Result) Choice {
	switch v.Str {
	case "none":
		return Choice{Mode: NoTool}
	case "required":
		return Choice{Mode: AnyTool}
	}
	switch v.Get("type").Str {
	case "function":
		return Choice{Mode: Named, Name: v.Get("function.name").Str}
	case "custom":
		return Choice{Mode: Named, Name: v.Get("custom.name").Str}
	case "allowed_tools":
		c := Choice{Mode: Auto}
		if v.Get("allowed_tools.mode").Str == "required" {
			c.Mode = AnyTool
		}
		items(v.Get("allowed_tools.tools"), func(v gjson.Result) { c.Only = append(c.Only, v.Get("function.name").Str) })
		return c
	}
	return Choice{}
}

func (p *Prompt) chatFormat(v gjson.Result) {
	switch v.Get("type").Str {
	case "json_object":
		p.Format = &Format{}
	case "json_schema":
		s := v.Get("json_schema")
		p.Format = &Format{Name: s.Get("name").Str, Description: s.Get("description").Str, Strict: s.Get("strict").Bool()}
		if schema := s.Get("schema"); schema.Exists() {
			p.Format.Schema = raw(schema)
		}
	}
}

type object = map[string]any

func writeChat(p *Prompt, to Target) ([]byte, Losses, error) {
	l := slices.Clone(p.Losses)
	p.extras(&l, Chat)
	doc := object{"model": to.Model}
	var messages []object
	if len(p.System) > 0 {
		messages = append(messages, object{"role": "system", "content": chatParts(p.System, "system", &l)})
	}
	for i := range p.Turns {
		messages = append(messages, chatTurn(&p.Turns[i], to, &l)...)
	}
	doc["messages"] = messages
	set(doc, "temperature", p.Temperature)
	set(doc, "top_p", p.TopP)
	set(doc, "seed", p.Seed)
	set(doc, "presence_penalty", p.Presence)
	set(doc, "frequency_penalty", p.Frequency)
	set(doc, "parallel_tool_calls", p.Parallel)
	if p.TopK != nil {
		l.Add("top_k", "chat has no such thing")
	}
	if p.MaxTokens > 0 {
		name := "max_completion_tokens"
		if to.OldLimit {
			name = "max_tokens"
		}
		doc[name] = p.MaxTokens
	}
	if len(p.Stop) > 0 {
		doc["stop"] = p.Stop
	}
	if p.Replies > 1 {
		doc["n"] = p.Replies
	}
	if p.User != "" {
		doc["user"] = p.User
	}
	if p.CacheKey != "" {
		doc["prompt_cache_key"] = p.CacheKey
	}
	if p.Stream {
		doc["stream"] = true
		if !to.NoUsage {
			doc["stream_options"] = object{"include_usage": true}
		}
	}
	if r := p.Reasoning; r != nil {
		doc["reasoning_effort"] = effort(r, &l)
	}
	if f := p.Format; f != nil {
		doc["response_format"] = chatFormatOf(f)
	}
	if len(p.Tools) > 0 {
		chatTools(p, to, doc, &l)
	}
	for name, v := range p.Extra {
		if p.carries(name, Chat) {
			doc[name] = v
		}
	}
	return encode(doc), l.in(p.From), nil
}

// set puts *v into doc, if there is one.
func set[V any](doc object, name string, v *V) {
	if v != nil {
		doc[name] = *v
	}
}

// effort is r in a word.
func effort(r *Reasoning, l *Losses) string {
	switch {
	case r.Off:
		return "none"
	case r.Effort != "":
		return r.Effort
	case r.Tokens > 0:
		l.Add("thinking.budget_tokens", "there are words for it and no number")
	}
	switch {
	case r.Tokens > 0 && r.Tokens <= 2048:
		return "low"
	case r.Tokens > 16384:
		return "high"
	}
	return "medium"
}

func chatFormatOf(f *Format) object {
	if f.Schema == nil {
		return object{"type": "json_object"}
	}
	name := f.Name
	if name == "" {
		name = "reply"
	}
	s := object{"name": name, "schema": f.Schema, "strict": f.Strict}
	if f.Description != "" {
		s["description"] = f.Description
	}
	return object{"type": "json_schema", "json_schema": s}
}

func chatTools(p *Prompt, to Target, doc object, l *Losses) {
	var tools []object
	for _, t := range p.Tools {
		switch {
		case t.Hosted != nil:
			l.Add("tools.*."+t.Name, "a tool that the vendor runs is known to no other")
			continue
		case t.Custom != nil && to.Custom:
			tools = append(tools, object{"type": "custom", "custom": t.Custom})
			continue
		case t.Custom != nil:
			l.Add("tools.*.custom", "the vendor has functions only: its text is the argument input")
			t.Schema = customSchema(&t)
		}
		if t.Cache != nil {
			l.Add("tools.*.cache_control", "chat caches by itself")
		}
		f := object{"name": t.Name}
		if t.Description != "" {
			f["description"] = t.Description
		}
		if t.Schema != nil {
			f["parameters"] = t.Schema
		}
		if t.Strict {
			f["strict"] = true
		}
		tools = append(tools, object{"type": "function", "function": f})
	}
	if len(tools) == 0 {
		return
	}
	doc["tools"] = tools
	switch c := p.Choice; {
	case len(c.Only) > 0:
		mode := "auto"
		if c.Mode == AnyTool {
			mode = "required"
		}
		var only []object
		for _, name := range c.Only {
			only = append(only, object{"type": "function", "function": object{"name": name}})
		}
		doc["tool_choice"] = object{"type": "allowed_tools", "allowed_tools": object{"mode": mode, "tools": only}}
	case c.Mode == NoTool:
		doc["tool_choice"] = "none"
	case c.Mode == AnyTool:
		doc["tool_choice"] = "required"
	case c.Mode == Named:
		doc["tool_choice"] = object{"type": "function", "function": object{"name": c.Name}}
	}
}

// chatCallOf is a tool's call.
func chatCallOf(id, name, args string, custom bool) object {
	if custom {
		return object{"id": id, "type": "custom", "custom": object{"name": name, "input": args}}
	}
	return object{"id": id, "type": "function", "function": object{"name": name, "arguments": args}}
}

// chatTurn is a turn as messages: what tools answered are messages of their own, which
// come first.
func chatTurn(t *Turn, to Target, l *Losses) (list []object) {
	var rest []Part
	var calls []object
	for _, part := range t.Parts {
		switch part.Kind {
		case ToolResult:
			content := any(textOf(part.Parts))
			if !only(part.Parts, Text) {
				content = chatParts(part.Parts, "messages.*.content.tool_result.content", l)
			}
			if part.Failed {
				l.Add("messages.*.content.tool_result.is_error", "chat has no such thing")
			}
			list = append(list, object{"role": "tool", "tool_call_id": part.ID, "content": content})
		case ToolCall:
			args := part.Args
			if part.Custom && !to.Custom {
				args = customArgs(args)
			}
			call := chatCallOf(part.ID, part.Name, written(args), part.Custom && to.Custom)
			if part.Vendor == vendorGoogle && to.Vendor == vendorGoogle {
				call = chatSigned(call, part.Signature)
			}
			calls = append(calls, call)
		case Thought, Redacted:
			l.Add("messages.*.content.thinking", notTheirs)
		default:
			rest = append(rest, part)
		}
	}
	m := object{"role": map[Role]string{User: "user", Assistant: "assistant", Developer: "developer"}[t.Role]}
	if t.Name != "" {
		m["name"] = t.Name
	}
	if len(rest) > 0 {
		m["content"] = chatParts(rest, "messages.*.content", l)
	}
	if calls != nil {
		m["tool_calls"] = calls
		if m["content"] == nil {
			m["content"] = nil
		}
	}
	if len(rest) > 0 || calls != nil {
		list = append(list, m)
	}
	return list
}

// chatParts is parts as the content of a message: a text, if that is all.
func chatParts(parts []Part, path string, l *Losses) any {
	for _, p := range parts {
		if p.Cache != nil {
			l.Add(path+".cache_control", "chat caches by itself")
		}
	}
	if len(parts) == 1 && parts[0].Kind == Text {
		return parts[0].Text
	}
	list := []object{}
	for _, p := range parts {
		switch p.Kind {
		case Text:
			list = append(list, object{"type": "text", "text": p.Text})
		case Refusal:
			list = append(list, object{"type": "refusal", "refusal": p.Text})
		case Image:
			u := object{"url": mediaURL(p.Media)}
			if p.Media.File != "" && p.Media.URL == "" && p.Media.Data == "" {
				l.Add(path+".image.file", "files at one vendor are not at another")
				continue
			}
			if p.Media.Detail != "" {
				u["detail"] = p.Media.Detail
			}
			list = append(list, object{"type": "image_url", "image_url": u})
		case Audio:
			list = append(list, object{"type": "input_audio", "input_audio": object{"data": p.Media.Data, "format": strings.TrimPrefix(p.Media.Type, "audio/")}})
		case Document:
			if p.Media.Data == "" {
				l.Add(path+".document", "chat takes files in the request, and neither by URL nor from another vendor")
				continue
			}
			name := p.Media.Name
			if name == "" {
				name = "document"
			}
			list = append(list, object{"type": "file", "file": object{"filename": name, "file_data": mediaURL(p.Media)}})
		}
	}
	return list
}

func mediaURL(m *Media) string {
	if m.Data != "" {
		return "data:" + m.Type + ";base64," + m.Data
	}
	return m.URL
}
