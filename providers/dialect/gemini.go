package dialect

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// Google's generateContent. The model, and whether it streams, stand in its path and not
// in its documents: whoever reads one says so in the [Prompt].
var geminiDialect = Dialect{
	Name: Gemini, Read: readGemini, Write: writeGemini,
	NewDecoder: func(p *Prompt) Decoder { return newGeminiDecoder(p) },
	NewEncoder: func(p *Prompt) Encoder { return &geminiEncoder{model: p.Model} },
}

const vendorGoogle = "google"

func readGemini(doc []byte) (*Prompt, error) {
	p := &Prompt{From: Gemini, Usage: true}
	v := gjson.ParseBytes(doc)
	if c := either(v, "cachedContent"); c.Exists() && c.Type != gjson.Null && c.Str != "" {
		return nil, &Bound{"cachedContent", "its vendor alone has that content: send it as contents"}
	}
	g := geminiReader{p: p, names: make(map[string][]string)}
	members(v, "", &p.Losses, func(name string, v gjson.Result) bool {
		switch name = Camel(name); name {
		case "model":
			p.Model = strings.TrimPrefix(v.Str, "models/")
		case "stream": // which the door puts there
			p.Stream = v.Bool()
		case "systemInstruction":
			p.System = g.parts(v, "systemInstruction.parts")
		case "contents":
			each(v, g.content)
		case "tools":
			each(v, p.geminiTools)
		case "toolConfig":
			p.geminiChoice(v)
		case "generationConfig":
			p.geminiConfig(v)
		case "cachedContent":
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

// Camel is the name of a member as Google writes it: it takes max_tokens for maxTokens.
func Camel(name string) string {
	if strings.IndexByte(name, '_') <= 0 {
		return name
	}
	var b strings.Builder
	for i, word := range strings.Split(name, "_") {
		if i > 0 && word != "" {
			word = strings.ToUpper(word[:1]) + word[1:]
		}
		b.WriteString(word)
	}
	return b.String()
}

// either is the member of v that has a name, in one of the two ways to write it.
func either(v gjson.Result, name string) (found gjson.Result) {
	v.ForEach(func(key, v gjson.Result) bool {
		if Camel(key.Str) == name {
			found = v
		}
		return !found.Exists()
	})
	return found
}

// each calls f for each item of the list v, or for v, where it is one that stands alone:
// Google takes that, too.
func each(v gjson.Result, f func(gjson.Result)) {
	if v.IsObject() {
		f(v)
		return
	}
	items(v, f)
}

// A geminiReader reads the turns of a request.
type geminiReader struct {
	p     *Prompt
	calls int                 // of tools, so far
	names map[string][]string // ids of calls that have none and no result yet, by their tools
}

func (g *geminiReader) content(v gjson.Result) {
	t := Turn{Parts: g.parts(v, "contents.*.parts")}
	if v.Get("role").Str == "model" {
		t.Role = Assistant
	}
	g.p.Turns = append(g.p.Turns, t)
}

func (g *geminiReader) parts(v gjson.Result, path string) (parts []Part) {
	if v.Type == gjson.String {
		return []Part{{Kind: Text, Text: v.Str}}
	}
	each(v.Get("parts"), func(v gjson.Result) {
		part, ok := g.part(v, path)
		switch n := len(parts) - 1; {
		case !ok:
		case n >= 0 && parts[n].Kind == Thought && parts[n].Signature == "" && (part.Kind == Thought || part.Kind == Redacted && part.Vendor == vendorGoogle && v.Get("thought").Bool()):
			// One thought comes in pieces, of which the last is signed.
			parts[n].Text, parts[n].Signature, parts[n].Vendor = parts[n].Text+part.Text, part.Signature, part.Vendor
		default:
			parts = append(parts, part)
		}
	})
	return parts
}

// part reads one part, and says whether it is one that is known.
func (g *geminiReader) part(v gjson.Result, path string) (part Part, ok bool) {
	signature := either(v, "thoughtSignature").Str
	v.ForEach(func(key, v gjson.Result) bool {
		switch name := Camel(key.Str); name {
		case "text":
			ok, part.Text = true, v.Str
		case "inlineData":
			ok = true
			part.media(&Media{Data: v.Get("data").Str}, v)
		case "fileData":
			ok = true
			uri := either(v, "fileUri").Str
			m := &Media{URL: uri}
			if strings.HasPrefix(uri, "gs://") || strings.Contains(uri, "googleapis.com/") {
				m = &Media{File: uri, Vendor: vendorGoogle}
			}
			part.media(m, v)
		case "functionCall":
			ok = true
			part.Kind, part.Name, part.Args = ToolCall, v.Get("name").Str, geminiArgs(v.Get("args"))
			if part.ID = v.Get("id").Str; part.ID == "" {
				part.ID = madeID("", g.calls)
				g.names[part.Name] = append(g.names[part.Name], part.ID)
			}
			g.calls++
		case "functionResponse":
			ok = true
			g.result(&part, v, path)
		case "thought", "thoughtSignature":
		default: // executableCode, codeExecutionResult, toolCall, toolResponse, videoMetadata…
			g.p.Losses.Add(path+"."+clip(name), "callgate does not know it")
		}
		return true
	})
	if !ok {
		return part, false
	}
	if part.Kind == Text && v.Get("thought").Bool() {
		part.Kind = Thought
	}
	if signature != "" {
		if part.Text == "" && (part.Kind == Text || part.Kind == Thought) {
			part.Kind = Redacted
		}
		part.signedBy(signature)
	}
	return part, true
}

// media makes part what m is by its type, which v says.
func (part *Part) media(m *Media, v gjson.Result) {
	m.Type, m.Name = either(v, "mimeType").Str, either(v, "displayName").Str
	part.Media = m
	switch kind, _, _ := strings.Cut(m.Type, "/"); kind {
	case "image":
		part.Kind = Image
	case "audio":
		part.Kind = Audio
	default:
		part.Kind = Document
	}
}

// result reads what a tool answered. Google says what is an output, and what an error.
func (g *geminiReader) result(part *Part, v gjson.Result, path string) {
	part.Kind, part.ID, part.Name = ToolResult, v.Get("id").Str, v.Get("name").Str
	if waiting := g.names[part.Name]; part.ID == "" && len(waiting) > 0 {
		part.ID, g.names[part.Name] = waiting[0], waiting[1:]
	}
	said := v.Get("response")
	text := said.Raw
	if m := said.Map(); said.IsObject() && len(m) == 1 {
		for name, v := range m {
			switch name {
			case "output", "result", "error":
				part.Failed = name == "error"
				if text = v.Raw; v.Type == gjson.String {
					text = v.Str
				}
			}
		}
	}
	if text != "" {
		part.Parts = []Part{{Kind: Text, Text: text}}
	}
	each(v.Get("parts"), func(v gjson.Result) {
		if p, ok := g.part(v, path+".functionResponse.parts"); ok {
			part.Parts = append(part.Parts, p)
		}
	})
}

// geminiArgs are the arguments of a call, which may be left out.
func geminiArgs(v gjson.Result) json.RawMessage {
	if !v.IsObject() {
		return json.RawMessage("{}")
	}
	return raw(v)
}

func (p *Prompt) geminiTools(v gjson.Result) {
	v.ForEach(func(key, v gjson.Result) bool {
		if name := Camel(key.Str); name != "functionDeclarations" {
			p.Tools = append(p.Tools, Tool{Name: clip(name), Hosted: encode(object{name: raw(v)})})
			return true
		}
		each(v, func(v gjson.Result) {
			t := Tool{}
			members(v, "tools.*.functionDeclarations.*", &p.Losses, func(name string, v gjson.Result) bool {
				switch Camel(name) {
				case "name":
					t.Name = v.Str
				case "description":
					t.Description = v.Str
				case "parameters":
					t.Schema = geminiSchema(v)
				case "parametersJsonSchema":
					t.Schema = raw(v)
				default:
					return false
				}
				return true
			})
			p.Tools = append(p.Tools, t)
		})
		return true
	})
}

func (p *Prompt) geminiChoice(v gjson.Result) {
	const path = "toolConfig"
	members(v, path, &p.Losses, func(name string, v gjson.Result) bool {
		if Camel(name) != "functionCallingConfig" {
			return false
		}
		only := texts(either(v, "allowedFunctionNames"))
		switch mode := strings.ToUpper(v.Get("mode").Str); mode {
		case "NONE":
			p.Choice.Mode = NoTool
			return true
		case "ANY":
			if p.Choice.Mode = AnyTool; len(only) == 1 {
				p.Choice = Choice{Mode: Named, Name: only[0]}
				return true
			}
		case "VALIDATED":
			p.Losses.Add(path+".functionCallingConfig.mode", "no other vendor has it: it is AUTO")
		}
		p.Choice.Only = only
		return true
	})
}

func (p *Prompt) geminiConfig(v gjson.Result) {
	const path = "generationConfig"
	var kind string
	var schema json.RawMessage
	members(v, path, &p.Losses, func(name string, v gjson.Result) bool {
		switch Camel(name) {
		case "maxOutputTokens":
			p.MaxTokens = int(v.Int())
		case "temperature":
			p.Temperature = number(v)
		case "topP":
			p.TopP = number(v)
		case "topK":
			k := int(v.Int())
			p.TopK = &k
		case "seed":
			p.Seed = whole(v)
		case "presencePenalty":
			p.Presence = number(v)
		case "frequencyPenalty":
			p.Frequency = number(v)
		case "stopSequences":
			p.Stop = texts(v)
		case "candidateCount":
			p.Replies = int(v.Int())
		case "responseMimeType":
			kind = v.Str
		case "responseSchema":
			schema = geminiSchema(v)
		case "responseJsonSchema", "_responseJsonSchema":
			schema = raw(v)
		case "thinkingConfig":
			p.geminiThinking(v, path+".thinkingConfig")
		case "responseModalities":
			return slices.Equal(texts(v), []string{"TEXT"})
		default:
			return false
		}
		return true
	})
	switch {
	case kind == "application/json":
		p.Format = &Format{Schema: schema}
	case kind != "" && kind != "text/plain":
		p.Losses.Add(path+".responseMimeType", "callgate does not know it")
	}
}

func (p *Prompt) geminiThinking(v gjson.Result, path string) {
	r := Reasoning{}
	members(v, path, &p.Losses, func(name string, v gjson.Result) bool {
		switch Camel(name) {
		case "thinkingBudget": // of which -1 is as the model likes
			r.Tokens, r.Off = int(max(v.Int(), 0)), v.Int() == 0
		case "thinkingLevel":
			if r.Effort = strings.ToLower(v.Str); r.Effort == "thinking_level_unspecified" {
				r.Effort = ""
			}
		case "includeThoughts":
			r.Summary = v.Bool()
		default:
			return false
		}
		return true
	})
	if r != (Reasoning{}) {
		p.Reasoning = &r
	}
}
