package dialect

import (
	"encoding/json"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// Unsigned stands in the place of a signature, which the newer models want of each call
// that began a step: as Google documents it, for calls that another model made.
const Unsigned = "skip_thought_signature_validator"

// olderGemini says whether a model is of a generation that counts what it thinks in
// tokens, takes texts alone from tools, and does not ask for signatures.
func olderGemini(model string) bool {
	name := path.Base(model)
	return strings.HasPrefix(name, "gemini-1") || strings.HasPrefix(name, "gemini-2")
}

func writeGemini(p *Prompt, to Target) ([]byte, Losses, error) {
	l := slices.Clone(p.Losses)
	p.extras(&l, Gemini)
	w := geminiWriter{to: to, old: olderGemini(to.Model), losses: &l, names: make(map[string]string)}
	doc := object{}
	if parts := w.parts(p.System, "system"); len(parts) > 0 {
		doc["systemInstruction"] = object{"parts": parts}
	}
	contents := []object{}
	last := ""
	for i := range p.Turns {
		role, parts := w.turn(&p.Turns[i])
		switch {
		case len(parts) == 0:
		case role == last: // what tools have answered to one turn stands in one
			c := contents[len(contents)-1]
			c["parts"] = append(c["parts"].([]object), parts...)
		default:
			contents = append(contents, object{"role": role, "parts": parts})
			last = role
		}
	}
	if !w.old {
		unsignedCalls(contents)
	}
	doc["contents"] = contents
	if config := w.config(p); len(config) > 0 {
		doc["generationConfig"] = config
	}
	w.tools(p, doc)
	user := "user"
	if p.From == Messages {
		user = "metadata.user_id"
	}
	for _, no := range []struct {
		name string
		has  bool
	}{{user, p.User != ""}, {"prompt_cache_key", p.CacheKey != ""}} {
		if no.has {
			l.Add(no.name, "gemini has no such thing")
		}
	}
	if p.Cache != nil {
		l.Add("cache_control", "gemini caches by itself")
	}
	if p.From == Gemini {
		for name, v := range p.Extra {
			doc[name] = v
		}
	}
	return encode(doc), l.in(p.From), nil
}

// A geminiWriter writes a request.
type geminiWriter struct {
	to     Target
	old    bool
	losses *Losses
	names  map[string]string // of the tools that were called, by the ids of the calls
}

func (w *geminiWriter) turn(t *Turn) (role string, parts []object) {
	role = "user"
	switch {
	case t.Role == Assistant:
		role = "model"
	case t.Role == Developer:
		w.losses.Add("messages.*.role.developer", "gemini has instructions only at the beginning: they are the user's here")
	}
	if t.Name != "" {
		w.losses.Add("messages.*.name", "gemini has no such thing")
	}
	said := t.Parts
	if role == "user" { // what tools have answered comes first
		said = slices.Clone(said)
		slices.SortStableFunc(said, func(a, b Part) int { return order(a.Kind) - order(b.Kind) })
	}
	return role, w.parts(said, "messages.*.content")
}

func (w *geminiWriter) parts(said []Part, path string) []object {
	list := []object{}
	for i := range said {
		p := &said[i]
		if p.Cache != nil {
			w.losses.Add(path+".cache_control", "gemini caches by itself")
		}
		own := p.Signature != "" && p.Vendor == vendorGoogle && w.to.Vendor == vendorGoogle
		switch p.Kind {
		case Text, Refusal:
			if p.Text != "" {
				list = append(list, object{"text": p.Text})
			}
		case Image, Audio, Document:
			if m := w.media(p, path); m != nil {
				list = append(list, m)
			}
		case Thought, Redacted:
			n := len(list) - 1
			switch {
			case !own:
				w.losses.Add(path+".thinking", notTheirs)
			case p.Kind == Thought:
				list = append(list, object{"text": p.Text, "thought": true, "thoughtSignature": p.Signature})
			case n >= 0 && list[n]["text"] != nil && list[n]["thoughtSignature"] == nil:
				list[n]["thoughtSignature"] = p.Signature // it was on that part
			default:
				list = append(list, object{"text": "", "thoughtSignature": p.Signature})
			}
		case ToolCall:
			w.names[p.ID] = p.Name
			part := object{"functionCall": named(p.ID, object{"name": p.Name, "args": objectOf(p.Args)})}
			if own {
				part["thoughtSignature"] = p.Signature
			}
			list = append(list, part)
		case ToolResult:
			list = append(list, w.result(p, path+".tool_result.content")...)
		}
	}
	return list
}

// named is what, with an id that is not one of callgate's.
func named(id string, what object) object {
	if id != "" && !strings.HasPrefix(id, made) {
		what["id"] = id
	}
	return what
}

// result is what a tool answered, and what goes behind it.
func (w *geminiWriter) result(p *Part, path string) []object {
	name := p.Name
	if name == "" {
		if name = w.names[p.ID]; name == "" {
			name = "tool"
		}
	}
	text := textOf(p.Parts)
	answer := named(p.ID, object{"name": name, "response": object{"output": text}})
	switch {
	case p.Failed:
		answer["response"] = object{"error": text}
	case gjson.Valid(text) && gjson.Parse(text).IsObject():
		answer["response"] = json.RawMessage(text)
	}
	list := []object{{"functionResponse": answer}}
	var media []object
	for i := range p.Parts {
		switch p.Parts[i].Kind {
		case Image, Audio, Document:
			if m := w.media(&p.Parts[i], path); m != nil {
				media = append(media, m)
			}
		}
	}
	switch {
	case media == nil:
	case w.old:
		list = append(list, media...)
	default:
		answer["parts"] = media
	}
	return list
}

func (w *geminiWriter) media(p *Part, path string) object {
	m := p.Media
	if m.Detail != "" && m.Detail != "auto" {
		w.losses.Add(path+".image_url.detail", "gemini has no such thing")
	}
	kind := m.Type
	switch {
	case m.Data != "":
		if kind == "" {
			kind = "application/octet-stream"
		}
		return object{"inlineData": object{"mimeType": kind, "data": m.Data}}
	case m.URL != "" || m.File != "" && m.Vendor == vendorGoogle:
		uri := m.URL
		if uri == "" {
			uri = m.File
		}
		file := object{"fileUri": uri}
		if kind == "" {
			kind = mediaTypes[strings.ToLower(extension(uri))]
		}
		if kind != "" {
			file["mimeType"] = kind
		}
		return object{"fileData": file}
	}
	w.losses.Add(path+".file", "files at one vendor are not at another")
	return nil
}

// mediaTypes are those of files at a URL, by how their names end.
var mediaTypes = map[string]string{".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp", ".pdf": "application/pdf"}

// extension is how the path of a URL ends.
func extension(uri string) string {
	uri, _, _ = strings.Cut(uri, "?")
	return path.Ext(uri)
}

// unsignedCalls puts into each step of the model's since the user spoke last what stands
// for a signature that is missing: on the first call of the step, as Google's are.
func unsignedCalls(contents []object) {
	for n := len(contents) - 1; n >= 0; n-- {
		parts := contents[n]["parts"].([]object)
		if contents[n]["role"] == "user" {
			if !slices.ContainsFunc(parts, func(p object) bool { return p["functionResponse"] != nil }) {
				return
			}
			continue
		}
		if i := slices.IndexFunc(parts, func(p object) bool { return p["functionCall"] != nil }); i >= 0 && parts[i]["thoughtSignature"] == nil {
			parts[i]["thoughtSignature"] = Unsigned
		}
	}
}

func (w *geminiWriter) config(p *Prompt) object {
	doc := object{}
	set(doc, "temperature", p.Temperature)
	set(doc, "topP", p.TopP)
	set(doc, "topK", p.TopK)
	set(doc, "presencePenalty", p.Presence)
	set(doc, "frequencyPenalty", p.Frequency)
	if s := p.Seed; s != nil {
		if *s < math.MinInt32 || *s > math.MaxInt32 {
			w.losses.Add("seed", "gemini takes 32 bits")
		} else {
			doc["seed"] = *s
		}
	}
	if p.MaxTokens > 0 {
		doc["maxOutputTokens"] = p.MaxTokens
	}
	if len(p.Stop) > 0 {
		doc["stopSequences"] = p.Stop
	}
	if p.Replies > 1 {
		doc["candidateCount"] = p.Replies
	}
	if f := p.Format; f != nil {
		doc["responseMimeType"] = "application/json"
		if f.Schema != nil {
			doc["responseJsonSchema"] = schemaForGemini(f.Schema)
		}
	}
	if p.Reasoning != nil {
		if t := w.thinking(p.Reasoning); len(t) > 0 {
			doc["thinkingConfig"] = t
		}
	}
	return doc
}

// budgets are efforts in tokens, as Google counts them.
var budgets = map[string]int{"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}

func (w *geminiWriter) thinking(r *Reasoning) object {
	t := object{}
	word := r.Effort
	if word != "" && budgets[word] == 0 && !r.Off {
		w.losses.Add("reasoning_effort", "gemini knows minimal, low, medium and high")
		word = "high"
	}
	switch {
	case r.Off && w.old:
		t["thinkingBudget"] = 0
	case r.Off:
		w.losses.Add("reasoning_effort", "the model always thinks: as little as it can")
		t["thinkingLevel"] = "low"
	case r.Tokens > 0:
		t["thinkingBudget"] = r.Tokens
	case word != "" && w.old:
		t["thinkingBudget"] = budgets[word]
	case word != "":
		t["thinkingLevel"] = word
	}
	if r.Summary && !r.Off {
		t["includeThoughts"] = true
	}
	return t
}

func (w *geminiWriter) tools(p *Prompt, doc object) {
	var list []object
	for i := range p.Tools {
		t := &p.Tools[i]
		c := p.Choice
		switch {
		case len(c.Only) > 0 && c.Mode == Auto && !slices.Contains(c.Only, t.Name):
			continue // which comes to the same
		case t.Hosted != nil:
			w.losses.Add("tools.*."+t.Name, "a tool that the vendor runs is known to no other")
			continue
		}
		schema := t.Schema
		if t.Custom != nil {
			w.losses.Add("tools.*.custom", "gemini has functions only: its text is the argument input")
			schema = customSchema(t)
		}
		if t.Cache != nil {
			w.losses.Add("tools.*.cache_control", "gemini caches by itself")
		}
		if t.Strict {
			w.losses.Add("tools.*.strict", "gemini has no such thing")
		}
		f := object{"name": t.Name}
		if t.Description != "" {
			f["description"] = t.Description
		}
		if schema != nil {
			f["parametersJsonSchema"] = schemaForGemini(schema)
		}
		list = append(list, f)
	}
	if list == nil {
		return
	}
	doc["tools"] = []object{{"functionDeclarations": list}}
	if p.Parallel != nil && !*p.Parallel {
		name := "parallel_tool_calls"
		if p.From == Messages {
			name = "tool_choice.disable_parallel_tool_use"
		}
		w.losses.Add(name, "gemini has no such thing")
	}
	c := object{}
	switch {
	case p.Choice.Mode == NoTool:
		c["mode"] = "NONE"
	case p.Choice.Mode == Named:
		c["mode"], c["allowedFunctionNames"] = "ANY", []string{p.Choice.Name}
	case p.Choice.Mode == AnyTool:
		if c["mode"] = "ANY"; len(p.Choice.Only) > 0 {
			c["allowedFunctionNames"] = p.Choice.Only
		}
	default:
		return
	}
	doc["toolConfig"] = object{"functionCallingConfig": c}
}
