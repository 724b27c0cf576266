package dialect

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// Google's generateContent. The model, and whether the reply streams, stand in the path:
// who reads a request sets them.
var geminiDialect = Dialect{
	Name: Gemini, Read: readGemini, Write: writeGemini,
	NewDecoder: func(*Prompt) Decoder { return new(geminiDecoder) },
	NewEncoder: func(p *Prompt) Encoder { return &geminiEncoder{model: p.Model} },
}

const (
	vendorGoogle = "google"
	madeCall     = "cg_" // begins the ids of calls that Gemini gave none
)

// camel is a member's name as Google writes it: it takes snake_case, too.
func camel(name string) string {
	for {
		at := strings.IndexByte(name, '_')
		if at < 0 || at+1 == len(name) {
			return name
		}
		name = name[:at] + strings.ToUpper(name[at+1:at+2]) + name[at+2:]
	}
}

// of is a member of v, however it is written.
func of(v gjson.Result, name string) (found gjson.Result) {
	v.ForEach(func(key, v gjson.Result) bool {
		if camel(key.Str) == name {
			found = v
			return false
		}
		return true
	})
	return found
}

// A geminiReader reads one request.
type geminiReader struct {
	*Prompt
	calls int                 // that had no id
	open  map[string][]string // ids of calls that have no result yet, by name
}

func readGemini(doc []byte) (*Prompt, error) {
	r := &geminiReader{&Prompt{From: Gemini, Usage: true}, 0, make(map[string][]string)}
	p := r.Prompt
	var err error
	members(gjson.ParseBytes(doc), "", &p.Losses, func(name string, v gjson.Result) bool {
		switch camel(name) {
		case "model":
			p.Model = v.Str
		case "stream":
			p.Stream = v.Bool()
		case "systemInstruction":
			p.System = r.parts(of(v, "parts"), "systemInstruction.parts")
		case "contents":
			items(v, func(v gjson.Result) {
				t := Turn{Parts: r.parts(of(v, "parts"), "contents.*.parts")}
				if v.Get("role").Str == "model" {
					t.Role = Assistant
				}
				p.Turns = append(p.Turns, t)
			})
		case "tools":
			items(v, func(v gjson.Result) { p.geminiTools(v) })
		case "toolConfig":
			p.Choice = geminiChoice(of(v, "functionCallingConfig"))
		case "generationConfig":
			p.geminiConfig(v)
		case "cachedContent":
			err = &Bound{"cachedContent", "its vendor alone has it: send what it holds"}
		default:
			if p.Extra == nil {
				p.Extra = make(map[string]json.RawMessage)
			}
			p.Extra[camel(name)] = raw(v)
		}
		return true
	})
	return p, err
}

func (r *geminiReader) parts(v gjson.Result, path string) (parts []Part) {
	items(v, func(v gjson.Result) {
		var part Part
		known := true
		members(v, path+".*", &r.Losses, func(name string, v gjson.Result) bool {
			switch camel(name) {
			case "text":
				part.Text = v.Str
			case "thought":
				if v.Bool() {
					part.Kind = Thought
				}
			case "thoughtSignature":
				ungemini(&part, v.Str)
			case "inlineData":
				part.Kind, part.Media = geminiMedia(of(v, "mimeType").Str), &Media{Type: of(v, "mimeType").Str, Data: v.Get("data").Str, Name: of(v, "displayName").Str}
			case "fileData":
				part.Kind, part.Media = geminiMedia(of(v, "mimeType").Str), &Media{Type: of(v, "mimeType").Str, URL: of(v, "fileUri").Str}
			case "functionCall":
				part.Kind, part.ID, part.Name, part.Args = ToolCall, v.Get("id").Str, v.Get("name").Str, json.RawMessage("{}")
				if args := v.Get("args"); args.IsObject() {
					part.Args = raw(args)
				}
				if part.ID == "" {
					part.ID = madeCall + strconv.Itoa(r.calls)
					r.calls++
				}
				r.open[part.Name] = append(r.open[part.Name], part.ID)
			case "functionResponse":
				part = r.result(v)
			case "executableCode", "codeExecutionResult", "toolCall", "toolResponse":
				known = false
				return false
			default:
				return false
			}
			return true
		})
		if known {
			parts = append(parts, part)
		}
	})
	return parts
}

// result is what a tool answered. One without an id is of the first call of its name that
// has none yet.
func (r *geminiReader) result(v gjson.Result) Part {
	p := Part{Kind: ToolResult, ID: v.Get("id").Str, Name: v.Get("name").Str}
	if open := r.open[p.Name]; p.ID == "" && len(open) > 0 {
		p.ID = open[0]
	}
	for i, id := range r.open[p.Name] {
		if id == p.ID {
			r.open[p.Name] = append(r.open[p.Name][:i:i], r.open[p.Name][i+1:]...)
			break
		}
	}
	response := v.Get("response")
	text := response.Raw
	if n := len(response.Map()); n == 1 {
		for _, name := range []string{"result", "output", "error"} {
			if only := response.Get(name); only.Exists() {
				p.Failed = name == "error"
				if text = only.Raw; only.Type == gjson.String {
					text = only.Str
				}
			}
		}
	}
	p.Parts = []Part{{Kind: Text, Text: text}}
	return p
}

func geminiMedia(kind string) PartKind {
	switch {
	case strings.HasPrefix(kind, "image/"):
		return Image
	case strings.HasPrefix(kind, "audio/"):
		return Audio
	}
	return Document
}

func (p *Prompt) geminiTools(v gjson.Result) {
	v.ForEach(func(key, v gjson.Result) bool {
		if camel(key.Str) != "functionDeclarations" {
			p.Tools = append(p.Tools, Tool{Name: camel(key.Str), Hosted: encode(object{camel(key.Str): raw(v)})})
			return true
		}
		items(v, func(v gjson.Result) {
			t := Tool{Name: v.Get("name").Str, Description: v.Get("description").Str}
			if s := of(v, "parametersJsonSchema"); s.Exists() {
				t.Schema = raw(s)
			} else if s := v.Get("parameters"); s.Exists() {
				t.Schema = plainSchema(s)
			}
			p.Tools = append(p.Tools, t)
		})
		return true
	})
}

// plainSchema is a schema of Google's own, an extract of OpenAPI's, as JSON Schema.
func plainSchema(v gjson.Result) json.RawMessage {
	var plain func(v gjson.Result, names bool) any
	plain = func(v gjson.Result, names bool) any {
		switch {
		case v.IsObject():
			o := object{}
			nullable := false
			v.ForEach(func(key, v gjson.Result) bool {
				switch {
				case !names && key.Str == "type" && v.Type == gjson.String:
					o["type"] = strings.ToLower(v.Str)
				case !names && key.Str == "nullable":
					nullable = v.Bool()
				case !names && (camel(key.Str) == "propertyOrdering" || key.Str == "format" && v.Str == "enum"):
				case names:
					o[key.Str] = plain(v, false)
				case key.Str == "enum" || key.Str == "example" || key.Str == "default":
					o[key.Str] = raw(v)
				default:
					name := camel(key.Str)
					o[name] = plain(v, name == "properties")
				}
				return true
			})
			if kind, ok := o["type"].(string); ok && nullable {
				o["type"] = []string{kind, "null"}
			}
			for _, name := range []string{"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"} {
				if n, ok := o[name].(string); ok { // Google writes 64-bit numbers as texts
					if _, err := strconv.ParseInt(n, 10, 64); err == nil {
						o[name] = json.RawMessage(n)
					}
				}
			}
			return o
		case v.IsArray():
			list := []any{}
			items(v, func(v gjson.Result) { list = append(list, plain(v, false)) })
			return list
		case v.Type == gjson.String:
			return v.Str
		}
		return raw(v)
	}
	return encode(plain(v, false))
}

func geminiChoice(v gjson.Result) Choice {
	c := Choice{Only: texts(of(v, "allowedFunctionNames"))}
	switch strings.ToUpper(v.Get("mode").Str) {
	case "NONE":
		c.Mode = NoTool
	case "ANY", "VALIDATED":
		c.Mode = AnyTool
	}
	if c.Mode == AnyTool && len(c.Only) == 1 {
		return Choice{Mode: Named, Name: c.Only[0]}
	}
	return c
}

func (p *Prompt) geminiConfig(v gjson.Result) {
	var kind, schema gjson.Result
	google := false
	members(v, "generationConfig", &p.Losses, func(name string, v gjson.Result) bool {
		switch camel(name) {
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
			kind = v
		case "responseSchema":
			schema, google = v, true
		case "responseJsonSchema":
			schema, google = v, false
		case "thinkingConfig":
			p.geminiThinking(v)
		default:
			return false
		}
		return true
	})
	if kind.Str == "application/json" {
		p.Format = &Format{}
		if schema.Exists() {
			p.Format.Name, p.Format.Schema = "reply", raw(schema)
			if google {
				p.Format.Schema = plainSchema(schema)
			}
		}
	} else if kind.Str != "" && kind.Str != "text/plain" {
		p.Losses.Add("generationConfig.responseMimeType", "callgate knows text/plain and application/json")
	}
}

func (p *Prompt) geminiThinking(v gjson.Result) {
	r := &Reasoning{Summary: of(v, "includeThoughts").Bool(), Effort: strings.ToLower(of(v, "thinkingLevel").Str)}
	if b := of(v, "thinkingBudget"); b.Exists() {
		r.Off = b.Int() == 0
		r.Tokens = max(int(b.Int()), 0)
	}
	p.Reasoning = r
}

// gemini is the signature of p for a client of Google's, whose signatures are base64.
func gemini(p *Part) string {
	s := sealed(p, vendorGoogle)
	if strings.HasPrefix(s, foreign) {
		return base64.StdEncoding.EncodeToString([]byte(s))
	}
	return s
}

// ungemini puts into p the signature that a client of Google's sent.
func ungemini(p *Part, signature string) {
	if b, err := base64.StdEncoding.DecodeString(signature); err == nil && strings.HasPrefix(string(b), foreign) {
		kind := p.Kind
		if unsealed(p, string(b), vendorGoogle); p.Kind == ToolCall {
			p.Kind = kind
		}
		return
	}
	p.Signature, p.Vendor = signature, vendorGoogle
}
