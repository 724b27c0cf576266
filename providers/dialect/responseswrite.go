package dialect

import (
	"slices"
	"strings"
)

const (
	leastTokens = 16  // of a reply, that OpenAI takes as a bound
	longestUser = 128 // characters of who the user is, that OpenAI takes
)

func writeResponses(p *Prompt, to Target) ([]byte, Losses, error) {
	l := slices.Clone(p.Losses)
	p.extras(&l, Responses)
	// What it stores nobody could ask for again: the client's dialect knows nothing of it.
	doc := object{"model": to.Model, "store": false}
	user, stop := "user", "stop"
	if p.From == Messages {
		user, stop = "metadata.user_id", "stop_sequences"
	}
	w := responsesWriter{to: to, losses: &l, custom: make(map[string]bool), input: []object{}}
	w.system(p.System, doc)
	for i := range p.Turns {
		w.turn(&p.Turns[i])
	}
	doc["input"] = w.input
	set(doc, "temperature", p.Temperature)
	set(doc, "top_p", p.TopP)
	set(doc, "parallel_tool_calls", p.Parallel)
	for _, no := range []struct {
		name string
		has  bool
	}{{"seed", p.Seed != nil}, {"presence_penalty", p.Presence != nil}, {"frequency_penalty", p.Frequency != nil}, {"n", p.Replies > 1}, {"top_k", p.TopK != nil},
		{stop, len(p.Stop) > 0}} {
		if no.has {
			l.Add(no.name, "responses has no such thing")
		}
	}
	if p.Cache != nil {
		l.Add("cache_control", "responses caches by itself")
	}
	if p.MaxTokens > 0 {
		doc["max_output_tokens"] = max(p.MaxTokens, leastTokens)
		if p.MaxTokens < leastTokens {
			l.Add("max_tokens", "responses takes at least 16")
		}
	}
	switch {
	case len(p.User) > longestUser:
		l.Add(user, "responses takes at most 128 characters")
	case p.User != "":
		doc["safety_identifier"] = p.User
	}
	if p.CacheKey != "" {
		doc["prompt_cache_key"] = p.CacheKey
	}
	if p.Stream {
		doc["stream"] = true
	}
	if r := p.Reasoning; r != nil {
		reasoning := object{}
		if r.Off || r.Effort != "" || r.Tokens > 0 {
			reasoning["effort"] = effort(r, &l)
		}
		if r.Summary {
			reasoning["summary"] = "auto"
		}
		doc["reasoning"] = reasoning
		if !r.Off && p.From != Chat { // whose clients have no place for it
			doc["include"] = []string{encrypted}
		}
	}
	if f := responsesFormat(p.Format); f != nil {
		doc["text"] = object{"format": f}
	}
	if tools, choice := responsesTools(p, &l); tools != nil {
		doc["tools"] = tools
		if choice != "auto" {
			doc["tool_choice"] = choice
		}
	}
	for name, v := range p.Extra {
		switch {
		case !p.carries(name, Responses):
		case name == "verbosity":
			if doc["text"] == nil {
				doc["text"] = object{}
			}
			doc["text"].(object)[name] = v
		default:
			doc[name] = v
		}
	}
	return encode(doc), l.in(p.From), nil
}

// responsesFormat is f as text.format, nil for plain text.
func responsesFormat(f *Format) object {
	if f == nil {
		return nil
	}
	doc := chatFormatOf(f)
	if s, ok := doc["json_schema"].(object); ok {
		s["type"] = "json_schema"
		return s
	}
	return doc
}

// A responsesWriter writes the input.
type responsesWriter struct {
	to     Target
	losses *Losses
	input  []object
	custom map[string]bool // ids of calls of custom tools
}

func (w *responsesWriter) cached(parts []Part, path string) {
	for _, p := range parts {
		if p.Cache != nil {
			w.losses.Add(path+".cache_control", "responses caches by itself")
		}
	}
}

// system writes what is above all turns: one text as instructions, which have no parts.
func (w *responsesWriter) system(parts []Part, doc object) {
	w.cached(parts, "system")
	if len(parts) == 1 && parts[0].Kind == Text {
		doc["instructions"] = parts[0].Text
		return
	}
	if content := w.content(parts, "system", "input_text"); len(content) > 0 {
		w.add(object{"type": "message", "role": "system", "content": content})
	}
}

func (w *responsesWriter) add(item object) { w.input = append(w.input, item) }

// turn writes a turn: what tools have answered comes first.
func (w *responsesWriter) turn(t *Turn) {
	const path = "messages.*.content"
	if t.Name != "" {
		w.losses.Add("messages.*.name", "responses has no such thing")
	}
	w.cached(t.Parts, path)
	var rest []Part
	for _, p := range t.Parts {
		if p.Kind != ToolResult {
			rest = append(rest, p)
			continue
		}
		if p.Failed {
			w.losses.Add(path+".tool_result.is_error", "responses has no such thing")
		}
		output := any(textOf(p.Parts))
		if !only(p.Parts, Text) {
			output = w.content(p.Parts, path+".tool_result.content", "input_text")
		}
		item := object{"type": "function_call_output", "call_id": p.ID, "output": output}
		if w.custom[p.ID] {
			item["type"] = "custom_tool_call_output"
		}
		w.add(item)
	}
	role, kind := "user", "input_text"
	switch t.Role {
	case Developer:
		role = "developer"
	case Assistant:
		role, kind = "assistant", "output_text"
	}
	for len(rest) > 0 { // items stand in the order in which the model said them
		n := slices.IndexFunc(rest, func(p Part) bool { return p.Kind == ToolCall || p.Kind == Thought || p.Kind == Redacted })
		if n < 0 {
			n = len(rest)
		}
		if content := w.content(rest[:n], path, kind); len(content) > 0 {
			w.add(object{"type": "message", "role": role, "content": content})
		}
		if n == len(rest) {
			return
		}
		w.own(&rest[n])
		rest = rest[n+1:]
	}
}

// own writes what is an item of its own.
func (w *responsesWriter) own(p *Part) {
	switch {
	case p.Kind == ToolCall && p.Custom:
		w.custom[p.ID] = true
		w.add(object{"type": "custom_tool_call", "call_id": p.ID, "name": p.Name, "input": written(p.Args)})
	case p.Kind == ToolCall:
		w.add(object{"type": "function_call", "call_id": p.ID, "name": p.Name, "arguments": written(p.Args)})
	case p.Signature == "" || p.Vendor != vendorOpenAI || w.to.Vendor != vendorOpenAI:
		w.losses.Add("messages.*.content.thinking", notTheirs)
	default:
		w.add(object{"type": "reasoning", "summary": summaryOf(p.Text), "encrypted_content": p.Signature})
	}
}

// summaryOf is what a model thought as a summary.
func summaryOf(text string) []object {
	if text == "" {
		return []object{}
	}
	return []object{{"type": "summary_text", "text": text}}
}

// content is parts as those of a message, or of what a tool answered. Texts are of a
// type that says whose they are.
func (w *responsesWriter) content(parts []Part, path, text string) []object {
	list := []object{}
	for _, p := range parts {
		model := text == "output_text" // which says texts only
		switch {
		case p.Kind == Text && model:
			list = append(list, object{"type": text, "text": p.Text, "annotations": []object{}})
		case p.Kind == Refusal && model:
			list = append(list, object{"type": "refusal", "refusal": p.Text})
		case p.Kind == Text, p.Kind == Refusal:
			list = append(list, object{"type": text, "text": p.Text})
		case model:
			w.losses.Add(path+".media", "the model says texts only")
		case p.Kind == Image:
			w.image(&list, &p, path)
		case p.Kind == Document:
			w.file(&list, &p, path)
		case p.Kind == Audio:
			list = append(list, object{"type": "input_audio", "input_audio": object{"data": p.Media.Data, "format": strings.TrimPrefix(p.Media.Type, "audio/")}})
		}
	}
	return list
}

func (w *responsesWriter) image(list *[]object, p *Part, path string) {
	item := object{"type": "input_image", "detail": "auto"}
	switch m := p.Media; {
	case m.Data != "" || m.URL != "":
		item["image_url"] = mediaURL(m)
	case m.File != "" && m.Vendor == w.to.Vendor:
		item["file_id"] = m.File
	default:
		w.losses.Add(path+".image.file", "files at one vendor are not at another")
		return
	}
	if p.Media.Detail != "" {
		item["detail"] = p.Media.Detail
	}
	*list = append(*list, item)
}

func (w *responsesWriter) file(list *[]object, p *Part, path string) {
	item := object{"type": "input_file"}
	switch m := p.Media; {
	case m.Data != "":
		item["file_data"], item["filename"] = mediaURL(m), m.Name
		if m.Name == "" {
			item["filename"] = "document"
		}
	case m.URL != "":
		item["file_url"] = m.URL
	case m.File != "" && m.Vendor == w.to.Vendor:
		item["file_id"] = m.File
	default:
		w.losses.Add(path+".file", "files at one vendor are not at another")
		return
	}
	*list = append(*list, item)
}
