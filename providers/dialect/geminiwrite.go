package dialect

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// anySignature is what Google's documentation gives for calls that its models have not
// signed, since others made them.
const anySignature = "skip_thought_signature_validator"

func writeGemini(p *Prompt, to Target) ([]byte, Losses, error) {
	l := slices.Clone(p.Losses)
	p.extras(&l, Gemini)
	doc := object{}
	if len(p.System) > 0 {
		doc["systemInstruction"] = object{"parts": geminiParts(p.System, to, nil, "system", &l)}
	}
	names := make(map[string]string) // of tools, by the ids of calls
	var contents []object
	for i := range p.Turns {
		t := &p.Turns[i]
		role := "user"
		switch t.Role {
		case Assistant:
			role = "model"
		case Developer:
			l.Add("messages.*.role.developer", "gemini has instructions only at the beginning: they are the user's here")
		}
		if t.Name != "" {
			l.Add("messages.*.name", "gemini has no such thing")
		}
		parts := t.Parts
		if role == "user" {
			parts = slices.Clone(parts)
			slices.SortStableFunc(parts, func(a, b Part) int { return order(a.Kind) - order(b.Kind) })
		}
		written := geminiParts(parts, to, names, "messages.*.content", &l)
		if len(written) == 0 {
			continue
		}
		if n := len(contents) - 1; n >= 0 && contents[n]["role"] == role {
			contents[n]["parts"] = append(contents[n]["parts"].([]object), written...)
			continue
		}
		contents = append(contents, object{"role": role, "parts": written})
	}
	doc["contents"] = contents
	geminiWriteTools(p, doc, &l)
	if c := geminiWriteConfig(p, to, &l); len(c) > 0 {
		doc["generationConfig"] = c
	}
	for _, no := range []struct {
		name string
		has  bool
	}{{"user", p.User != ""}, {"prompt_cache_key", p.CacheKey != ""}} {
		if no.has {
			l.Add(no.name, "gemini has no such thing")
		}
	}
	if p.From == Gemini {
		for name, v := range p.Extra {
			doc[name] = v
		}
	}
	return encode(doc), l.in(p.From), nil
}

// geminiParts is parts as Google has them. names is filled with the names of tools by the
// ids of their calls, and read for their results.
func geminiParts(parts []Part, to Target, names map[string]string, path string, l *Losses) []object {
	list := []object{}
	signed := false
	for i := range parts {
		p := &parts[i]
		var o object
		switch p.Kind {
		case Text, Refusal:
			if p.Text == "" && p.Signature == "" {
				continue
			}
			o = object{"text": p.Text}
		case Thought, Redacted:
			if p.Vendor != vendorGoogle || to.Vendor != vendorGoogle || p.Text == "" {
				l.Add(path+".reasoning", notTheirs)
				continue
			}
			o = object{"text": p.Text, "thought": true}
		case Image, Audio, Document:
			if o = geminiWriteMedia(p.Media); o == nil {
				l.Add(path+".file", "files at one vendor are not at another")
				continue
			}
			if p.Media.Detail != "" && p.Media.Detail != "auto" {
				l.Add(path+".image_url.detail", "gemini has no such thing for one image")
			}
		case ToolCall:
			names[p.ID] = p.Name
			call := object{"name": p.Name, "args": objectOf(p.Args)}
			if p.ID != "" && !strings.HasPrefix(p.ID, madeCall) {
				call["id"] = p.ID
			}
			o = object{"functionCall": call}
			if !signed && p.Signature == "" && strings.Contains(to.Model, "gemini-3") {
				o["thoughtSignature"] = anySignature
			}
			signed = true
		case ToolResult:
			o = geminiResult(p, names, path, l)
		}
		if p.Signature != "" && p.Vendor == vendorGoogle && to.Vendor == vendorGoogle {
			o["thoughtSignature"] = p.Signature
		}
		if p.Cache != nil {
			l.Add(path+".cache_control", "gemini has no such thing in a request")
		}
		list = append(list, o)
	}
	return list
}

func geminiResult(p *Part, names map[string]string, path string, l *Losses) object {
	name := p.Name
	if name == "" {
		name = names[p.ID]
	}
	text := textOf(p.Parts)
	response := json.RawMessage(text)
	if !gjson.Valid(text) || !gjson.Parse(text).IsObject() {
		response = encode(object{"result": text})
	}
	if p.Failed {
		response = encode(object{"error": text})
	}
	if !only(p.Parts, Text) {
		l.Add(path+".tool_result.content.image", "gemini takes results of tools as JSON only")
	}
	r := object{"name": name, "response": response}
	if p.ID != "" && !strings.HasPrefix(p.ID, madeCall) {
		r["id"] = p.ID
	}
	return object{"functionResponse": r}
}

func geminiWriteMedia(m *Media) object {
	switch {
	case m.Data != "":
		return object{"inlineData": object{"mimeType": m.Type, "data": m.Data}}
	case m.URL != "":
		o := object{"fileUri": m.URL}
		if m.Type != "" {
			o["mimeType"] = m.Type
		}
		return object{"fileData": o}
	}
	return nil
}

func geminiWriteTools(p *Prompt, doc object, l *Losses) {
	var functions []object
	var tools []any
	for _, t := range p.Tools {
		switch {
		case t.Hosted != nil && p.From == Gemini:
			tools = append(tools, t.Hosted)
			continue
		case t.Hosted != nil:
			l.Add("tools.*."+t.Name, "a tool that the vendor runs is known to no other")
			continue
		case t.Custom != nil:
			l.Add("tools.*.custom", "gemini has functions only: its text is the argument input")
			t.Schema = customSchema(&t)
		}
		f := object{"name": t.Name}
		if t.Description != "" {
			f["description"] = t.Description
		}
		if t.Schema != nil {
			f["parametersJsonSchema"] = t.Schema
		}
		if t.Strict {
			l.Add("tools.*.strict", "gemini has no such thing")
		}
		if t.Cache != nil {
			l.Add("tools.*.cache_control", "gemini has no such thing in a request")
		}
		functions = append(functions, f)
	}
	if functions != nil {
		tools = append(tools, object{"functionDeclarations": functions})
	}
	if tools == nil {
		return
	}
	doc["tools"] = tools
	c := object{}
	switch p.Choice.Mode {
	case NoTool:
		c["mode"] = "NONE"
	case AnyTool:
		c["mode"] = "ANY"
	case Named:
		c["mode"], c["allowedFunctionNames"] = "ANY", []string{p.Choice.Name}
	}
	if len(p.Choice.Only) > 0 {
		c["allowedFunctionNames"] = p.Choice.Only
		if p.Choice.Mode == Auto {
			c["mode"] = "VALIDATED"
		}
	}
	if len(c) > 0 {
		doc["toolConfig"] = object{"functionCallingConfig": c}
	}
	if p.Parallel != nil && !*p.Parallel {
		l.Add("parallel_tool_calls", "gemini has no such thing")
	}
}

func geminiWriteConfig(p *Prompt, to Target, l *Losses) object {
	c := object{}
	if p.MaxTokens > 0 {
		c["maxOutputTokens"] = p.MaxTokens
	}
	set(c, "temperature", p.Temperature)
	set(c, "topP", p.TopP)
	set(c, "topK", p.TopK)
	set(c, "seed", p.Seed)
	set(c, "presencePenalty", p.Presence)
	set(c, "frequencyPenalty", p.Frequency)
	if len(p.Stop) > 0 {
		c["stopSequences"] = p.Stop
	}
	if p.Replies > 1 {
		c["candidateCount"] = p.Replies
	}
	if f := p.Format; f != nil {
		c["responseMimeType"] = "application/json"
		if f.Schema != nil {
			c["responseJsonSchema"] = f.Schema
		}
	}
	r := p.Reasoning
	if r == nil {
		return c
	}
	t := object{}
	switch effort := map[string]string{"minimal": "low", "none": "low", "xhigh": "high", "max": "high"}[r.Effort]; {
	case r.Off:
		t["thinkingBudget"] = 0
	case r.Tokens > 0:
		t["thinkingBudget"] = r.Tokens
	case r.Effort == "":
	case strings.Contains(to.Model, "gemini-2"): // which knows budgets only
		t["thinkingBudget"] = map[string]int{"minimal": 512, "low": 1024, "medium": 8192}[r.Effort]
		if t["thinkingBudget"] == 0 {
			t["thinkingBudget"] = 24576
		}
		l.Add("reasoning_effort", "models of gemini-2 know budgets: it is one")
	case effort != "":
		t["thinkingLevel"] = effort
		l.Add("reasoning_effort", "gemini knows low, medium and high: it is "+effort)
	default:
		t["thinkingLevel"] = r.Effort
	}
	if r.Summary || p.From == Messages && !r.Off {
		t["includeThoughts"] = true
	}
	if len(t) > 0 {
		c["thinkingConfig"] = t
	}
	return c
}
