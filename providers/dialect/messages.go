package dialect

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/tidwall/gjson"
)

// Anthropic's messages.
var messagesDialect = Dialect{
	Name: Messages, Read: readMessages, Write: writeMessages,
	NewDecoder: func(*Prompt) Decoder { return &messagesDecoder{} },
	NewEncoder: func(p *Prompt) Encoder { return &messagesEncoder{model: p.Model} },
}

const (
	vendorAnthropic  = "anthropic"
	defaultMaxTokens = 4096
)

func readMessages(doc []byte) (*Prompt, error) {
	p := &Prompt{From: Messages, Usage: true}
	members(gjson.ParseBytes(doc), "", &p.Losses, func(name string, v gjson.Result) bool {
		switch name {
		case "model":
			p.Model = v.Str
		case "system":
			p.System = p.blocks(v, "system")
		case "messages":
			items(v, func(v gjson.Result) { p.message(v) })
		case "max_tokens":
			p.MaxTokens = int(v.Int())
		case "temperature":
			p.Temperature = number(v)
		case "top_p":
			p.TopP = number(v)
		case "top_k":
			k := int(v.Int())
			p.TopK = &k
		case "stop_sequences":
			p.Stop = texts(v)
		case "stream":
			p.Stream = v.Bool()
		case "tools":
			items(v, func(v gjson.Result) { p.tool(v) })
		case "tool_choice":
			p.choice(v)
		case "thinking":
			p.thinking(v)
		case "output_config":
			if e := v.Get("effort").Str; e != "" {
				p.reasoning().Effort = e
			}
			p.format(v.Get("format"))
		case "output_format":
			p.format(v)
		case "metadata":
			p.User = v.Get("user_id").Str
		case "cache_control":
			p.Cache = readCache(v)
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

func (p *Prompt) reasoning() *Reasoning {
	if p.Reasoning == nil {
		p.Reasoning = new(Reasoning)
	}
	return p.Reasoning
}

func (p *Prompt) thinking(v gjson.Result) {
	r := p.reasoning()
	switch v.Get("type").Str {
	case "disabled":
		r.Off = true
	case "enabled":
		r.Tokens, r.Summary = int(v.Get("budget_tokens").Int()), true
	default: // adaptive
		r.Summary = true
	}
}

func (p *Prompt) format(v gjson.Result) {
	if v.Get("type").Str == "json_schema" {
		p.Format = &Format{Schema: raw(v.Get("schema")), Strict: true}
	}
}

func (p *Prompt) choice(v gjson.Result) {
	switch v.Get("type").Str {
	case "any":
		p.Choice.Mode = AnyTool
	case "tool":
		p.Choice = Choice{Mode: Named, Name: v.Get("name").Str}
	case "none":
		p.Choice.Mode = NoTool
	}
	if one := v.Get("disable_parallel_tool_use"); one.Exists() {
		several := !one.Bool()
		p.Parallel = &several
	}
}

func (p *Prompt) tool(v gjson.Result) {
	if kind := v.Get("type").Str; kind != "" && kind != "custom" {
		p.Tools = append(p.Tools, Tool{Name: cmp.Or(v.Get("name").Str, kind), Hosted: raw(v)})
		return
	}
	t := Tool{}
	members(v, "tools.*", &p.Losses, func(name string, v gjson.Result) bool {
		switch name {
		case "type":
		case "name":
			t.Name = v.Str
		case "description":
			t.Description = v.Str
		case "input_schema":
			t.Schema = raw(v)
		case "strict":
			t.Strict = v.Bool()
		case "cache_control":
			t.Cache = readCache(v)
		default:
			return false
		}
		return true
	})
	p.Tools = append(p.Tools, t)
}

func (p *Prompt) message(v gjson.Result) {
	t := Turn{Parts: p.blocks(v.Get("content"), "messages.*.content")}
	switch v.Get("role").Str {
	case "assistant":
		t.Role = Assistant
	case "system":
		t.Role = Developer
	}
	p.Turns = append(p.Turns, t)
}

// blocks reads content: a text, or blocks.
func (p *Prompt) blocks(v gjson.Result, path string) (parts []Part) {
	if v.Type == gjson.String {
		return []Part{{Kind: Text, Text: v.Str}}
	}
	items(v, func(v gjson.Result) {
		part := Part{Cache: readCache(v.Get("cache_control"))}
		kind := v.Get("type").Str
		switch kind {
		case "text":
			part.Kind, part.Text = Text, v.Get("text").Str
			if v.Get("citations").IsArray() {
				p.Losses.Add(path+".text.citations", "callgate does not know it")
			}
		case "image", "document":
			part.Kind = map[string]PartKind{"image": Image, "document": Document}[kind]
			part.Media = p.source(v, path)
			if part.Media == nil {
				return
			}
		case "tool_use":
			part.Kind, part.ID, part.Name, part.Args = ToolCall, v.Get("id").Str, v.Get("name").Str, raw(v.Get("input"))
		case "tool_result":
			part.Kind, part.ID, part.Failed = ToolResult, v.Get("tool_use_id").Str, v.Get("is_error").Bool()
			part.Parts = p.blocks(v.Get("content"), path+".tool_result.content")
		case "thinking":
			part.Kind, part.Text = Thought, v.Get("thinking").Str
			unsealed(&part, v.Get("signature").Str, vendorAnthropic)
		case "redacted_thinking":
			part.Kind = Redacted
			unsealed(&part, v.Get("data").Str, vendorAnthropic)
		default:
			p.Losses.Add(path+"."+kind, "callgate does not know it")
			return
		}
		parts = append(parts, part)
	})
	return signCalls(parts)
}

func (p *Prompt) source(v gjson.Result, path string) *Media {
	s := v.Get("source")
	m := &Media{Type: s.Get("media_type").Str, Name: v.Get("title").Str}
	switch s.Get("type").Str {
	case "base64":
		m.Data = s.Get("data").Str
	case "url":
		m.URL = s.Get("url").Str
	case "file":
		m.File, m.Vendor = s.Get("file_id").Str, vendorAnthropic
	default:
		p.Losses.Add(path+".source."+s.Get("type").Str, "callgate does not know it")
		return nil
	}
	return m
}

func writeMessages(p *Prompt, to Target) ([]byte, Losses, error) {
	l := slices.Clone(p.Losses)
	p.extras(&l, Messages)
	doc := object{"model": to.Model, "max_tokens": cmp.Or(p.MaxTokens, to.MaxTokens, defaultMaxTokens)}
	if len(p.System) > 0 {
		doc["system"] = messagesBlocks(p.System, to, "messages.*.content", &l)
	}
	var messages []object
	last := Role(255)
	for i := range p.Turns {
		t := &p.Turns[i]
		role := t.Role
		if role == Developer {
			l.Add("messages.*.role.developer", "messages has instructions only at the beginning: they are the user's here")
			role = User
		}
		if t.Name != "" {
			l.Add("messages.*.name", "messages has no such thing")
		}
		parts := t.Parts
		if role == User { // what tools have answered comes first
			parts = slices.Clone(parts)
			slices.SortStableFunc(parts, func(a, b Part) int { return cmp.Compare(order(a.Kind), order(b.Kind)) })
		}
		blocks := messagesBlocks(parts, to, "messages.*.content", &l)
		if len(blocks) == 0 {
			continue
		}
		if role == last { // each side speaks once before the other does
			m := messages[len(messages)-1]
			m["content"] = append(m["content"].([]object), blocks...)
			continue
		}
		last = role
		messages = append(messages, object{"role": map[Role]string{User: "user", Assistant: "assistant"}[role], "content": blocks})
	}
	doc["messages"] = messages
	set(doc, "temperature", p.Temperature)
	set(doc, "top_p", p.TopP)
	set(doc, "top_k", p.TopK)
	for _, no := range []struct {
		name string
		has  bool
	}{{"seed", p.Seed != nil}, {"presence_penalty", p.Presence != nil}, {"frequency_penalty", p.Frequency != nil}, {"n", p.Replies > 1}, {"prompt_cache_key", p.CacheKey != ""}} {
		if no.has {
			l.Add(no.name, "messages has no such thing")
		}
	}
	if t := p.Temperature; t != nil && *t > 1 {
		doc["temperature"] = 1
		l.Add("temperature", "messages takes at most 1")
	}
	if len(p.Stop) > 0 {
		doc["stop_sequences"] = p.Stop
	}
	if p.Stream {
		doc["stream"] = true
	}
	if p.User != "" {
		doc["metadata"] = object{"user_id": p.User}
	}
	messagesReasoning(p, doc, &l)
	if f := p.Format; f != nil {
		if f.Schema == nil {
			l.Add("response_format.json_object", "messages has JSON only with a schema")
		} else {
			config(doc)["format"] = object{"type": "json_schema", "schema": f.Schema}
		}
	}
	messagesTools(p, doc, &l)
	if p.From == Messages {
		for name, v := range p.Extra {
			doc[name] = v
		}
	}
	return encode(doc), l.in(p.From), nil
}

// order is the place of a kind in a turn of the user.
func order(k PartKind) int {
	if k == ToolResult {
		return 0
	}
	return 1
}

func config(doc object) object {
	if doc["output_config"] == nil {
		doc["output_config"] = object{}
	}
	return doc["output_config"].(object)
}

func messagesReasoning(p *Prompt, doc object, l *Losses) {
	r := p.Reasoning
	switch {
	case r == nil:
	case r.Off:
		doc["thinking"] = object{"type": "disabled"}
	case r.Tokens > 0:
		doc["thinking"] = object{"type": "enabled", "budget_tokens": r.Tokens}
	case r.Effort != "":
		word := r.Effort
		if word == "minimal" {
			word = "low"
			l.Add("reasoning_effort", "messages knows no minimal effort: it is low")
		}
		config(doc)["effort"] = word
	}
}

func messagesTools(p *Prompt, doc object, l *Losses) {
	var tools []object
	for _, t := range p.Tools {
		switch {
		case len(p.Choice.Only) > 0 && !slices.Contains(p.Choice.Only, t.Name):
			continue // which comes to the same
		case t.Hosted != nil:
			l.Add("tools.*."+t.Name, "a tool that the vendor runs is known to no other")
			continue
		case t.Custom != nil:
			l.Add("tools.*.custom", "messages has functions only: its text is the argument input")
			t.Schema = customSchema(&t)
		}
		schema := t.Schema
		if schema == nil {
			schema = json.RawMessage(`{"type":"object","properties":{}}`)
		}
		tool := object{"name": t.Name, "input_schema": schema}
		if t.Description != "" {
			tool["description"] = t.Description
		}
		if t.Strict {
			tool["strict"] = true
		}
		if t.Cache != nil {
			tool["cache_control"] = cacheOf(t.Cache)
		}
		tools = append(tools, tool)
	}
	if len(tools) == 0 {
		return
	}
	doc["tools"] = tools
	c := object{"type": map[ChoiceMode]string{Auto: "auto", NoTool: "none", AnyTool: "any", Named: "tool"}[p.Choice.Mode]}
	if p.Choice.Mode == Named {
		c["name"] = p.Choice.Name
	}
	if p.Parallel != nil && p.Choice.Mode != NoTool {
		c["disable_parallel_tool_use"] = !*p.Parallel
	}
	if p.Choice.Mode != Auto || p.Parallel != nil {
		doc["tool_choice"] = c
	}
}

func cacheOf(c *Cache) object {
	if c.TTL == "" {
		return object{"type": "ephemeral"}
	}
	return object{"type": "ephemeral", "ttl": c.TTL}
}

// messagesBlocks is parts as blocks.
func messagesBlocks(parts []Part, to Target, path string, l *Losses) []object {
	list := []object{}
	for _, p := range parts {
		var b object
		switch p.Kind {
		case Text, Refusal:
			if p.Text == "" { // which Anthropic does not take
				continue
			}
			b = object{"type": "text", "text": p.Text}
		case Image, Document:
			s := messagesSource(p.Media, to)
			if s == nil {
				l.Add(path+".file", "files at one vendor are not at another")
				continue
			}
			b = object{"type": map[PartKind]string{Image: "image", Document: "document"}[p.Kind], "source": s}
			if p.Kind == Document && p.Media.Name != "" {
				b["title"] = p.Media.Name
			}
			if p.Media.Detail != "" && p.Media.Detail != "auto" {
				l.Add(path+".image_url.detail", "messages has no such thing")
			}
		case Audio:
			l.Add(path+".input_audio", "messages takes no sound")
			continue
		case ToolCall:
			args := p.Args
			if len(args) == 0 || args[0] != '{' { // Anthropic takes objects only
				args = customArgs(p.Args)
			}
			b = object{"type": "tool_use", "id": p.ID, "name": p.Name, "input": args}
		case ToolResult:
			b = object{"type": "tool_result", "tool_use_id": p.ID, "content": messagesBlocks(p.Parts, to, path+".tool_result.content", l)}
			if p.Failed {
				b["is_error"] = true
			}
		case Thought, Redacted:
			if p.Signature == "" || p.Vendor != to.Vendor || to.Vendor != vendorAnthropic {
				l.Add(path+".reasoning", notTheirs)
				continue
			}
			b = object{"type": "thinking", "thinking": p.Text, "signature": p.Signature}
			if p.Kind == Redacted {
				b = object{"type": "redacted_thinking", "data": p.Signature}
			}
		}
		if p.Cache != nil && p.Kind != Thought && p.Kind != Redacted {
			b["cache_control"] = cacheOf(p.Cache)
		}
		list = append(list, b)
	}
	return list
}

func messagesSource(m *Media, to Target) object {
	switch {
	case m.Data != "":
		return object{"type": "base64", "media_type": m.Type, "data": m.Data}
	case m.URL != "":
		return object{"type": "url", "url": m.URL}
	case m.File != "" && m.Vendor == to.Vendor:
		return object{"type": "file", "file_id": m.File}
	}
	return nil
}
