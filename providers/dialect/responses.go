package dialect

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// OpenAI's responses.
var responsesDialect = Dialect{
	Name: Responses, Read: readResponses, Write: writeResponses,
	NewDecoder: func(*Prompt) Decoder { return &responsesDecoder{} },
	NewEncoder: func(p *Prompt) Encoder { return newResponsesEncoder(p) },
}

const vendorOpenAI = "openai"

// encrypted is what a client asks for to get what a model thought in a form that it can
// send back. It always does here.
const encrypted = "reasoning.encrypted_content"

// A Bound is that a request needs what only one vendor keeps: left out, it would mean
// something else.
type Bound struct {
	Path string // as in Loss
	Why  string // and what to do instead
}

func (e *Bound) Error() string {
	return e.Path + " cannot be carried to a provider of another dialect: " + e.Why
}

func readResponses(doc []byte) (*Prompt, error) {
	p := &Prompt{From: Responses, Usage: true}
	v := gjson.ParseBytes(doc)
	if err := bound(v); err != nil {
		return nil, err
	}
	items(v.Get("tools"), func(v gjson.Result) { p.responsesTool(v, "", "tools.*") })
	items(v.Get("input"), func(v gjson.Result) { // tools that came in the middle, and are the model's from there on
		if kind := v.Get("type").Str; kind == "additional_tools" || kind == "tool_search_output" {
			items(v.Get("tools"), func(v gjson.Result) { p.responsesTool(v, "", "input.*.tools.*") })
		}
	})
	extra := func(name string, v gjson.Result) {
		if p.Extra == nil {
			p.Extra = make(map[string]json.RawMessage)
		}
		p.Extra[name] = raw(v)
	}
	members(v, "", &p.Losses, func(name string, v gjson.Result) bool {
		switch name {
		case "tools", "background", "stream_options": // which is padding
		case "model":
			p.Model = v.Str
		case "instructions":
			p.System = append([]Part{{Kind: Text, Text: v.Str}}, p.System...)
		case "input":
			if v.Type == gjson.String {
				p.Turns = append(p.Turns, Turn{Parts: []Part{{Kind: Text, Text: v.Str}}})
			} else {
				items(v, func(v gjson.Result) { p.item(v) })
			}
		case "stream":
			p.Stream = v.Bool()
		case "max_output_tokens":
			p.MaxTokens = int(v.Int())
		case "temperature":
			p.Temperature = number(v)
		case "top_p":
			p.TopP = number(v)
		case "tool_choice":
			p.Choice = p.responsesChoice(v)
		case "parallel_tool_calls":
			p.Parallel = flag(v)
		case "text":
			p.responsesText(v, extra)
		case "reasoning":
			p.responsesReasoning(v)
		case "user", "safety_identifier":
			p.User = v.Str
		case "prompt_cache_key":
			p.CacheKey = v.Str
		case "include":
			if slices.ContainsFunc(texts(v), func(s string) bool { return s != encrypted }) {
				extra(name, v)
			}
		case "store":
			if v.Bool() {
				extra(name, v)
			}
		case "truncation":
			if v.Str != "disabled" {
				extra(name, v)
			}
		case "service_tier":
			if v.Str != "auto" && v.Str != "default" {
				extra(name, v)
			}
		case "top_logprobs":
			if v.Int() != 0 {
				extra(name, v)
			}
		case "metadata":
			if v.Raw != "{}" {
				extra(name, v)
			}
		default:
			extra(name, v)
		}
		return true
	})
	return p, nil
}

// bound says what in a request only its vendor can know.
func bound(v gjson.Result) error {
	for _, b := range []Bound{
		{"previous_response_id", "its vendor alone has that conversation: send all of it as input"},
		{"conversation", "its vendor alone has that conversation: send all of it as input"},
		{"prompt", "its vendor alone has that template: send its text as instructions and input"},
	} {
		if at := v.Get(b.Path); at.Exists() && at.Type != gjson.Null {
			return &b
		}
	}
	if v.Get("background").Bool() {
		return &Bound{"background", "ask without it, and stream"}
	}
	var err error
	items(v.Get("input"), func(v gjson.Result) {
		switch kind := v.Get("type").Str; {
		case kind == "item_reference" || kind == "" && !v.Get("role").Exists() && v.Get("id").Exists():
			err = &Bound{"input.*.item_reference", "its vendor alone has that item: send the item itself"}
		case strings.Contains(kind, "compaction"):
			err = &Bound{"input.*." + clip(kind), "only its vendor can read what was made shorter: begin a new conversation"}
		}
	})
	return err
}

// clip is s, or its beginning: it is the client's, and goes into an error.
func clip(s string) string { return s[:min(len(s), 64)] }

func (p *Prompt) responsesReasoning(v gjson.Result) {
	r := p.reasoning()
	members(v, "reasoning", &p.Losses, func(name string, v gjson.Result) bool {
		switch name {
		case "effort":
			r.Effort, r.Off = v.Str, v.Str == "none"
		case "summary", "generate_summary":
			r.Summary = v.Str != "none"
		default:
			return false
		}
		return true
	})
	if *r == (Reasoning{}) {
		p.Reasoning = nil
	}
}

func (p *Prompt) responsesText(v gjson.Result, extra func(string, gjson.Result)) {
	members(v, "text", &p.Losses, func(name string, v gjson.Result) bool {
		switch name {
		case "verbosity":
			extra(name, v) // which chat has, too
		case "format":
			switch v.Get("type").Str {
			case "json_object":
				p.Format = &Format{}
			case "json_schema":
				p.Format = &Format{Name: v.Get("name").Str, Description: v.Get("description").Str, Strict: v.Get("strict").Bool()}
				if schema := v.Get("schema"); schema.Exists() {
					p.Format.Schema = raw(schema)
				}
			}
		default:
			return false
		}
		return true
	})
}

// item reads an item of the input. All that the model said until somebody else speaks
// is one turn.
func (p *Prompt) item(v gjson.Result) {
	switch kind := v.Get("type").Str; kind {
	case "", "message":
		p.responsesMessage(v)
	case "reasoning":
		part, ok := responsesThought(v)
		switch {
		case !ok:
			p.Losses.Add("input.*.reasoning", "its vendor alone has it")
		case part.Kind == ToolCall: // it is what only says whose call one was
			p.signed(part)
		default:
			p.said(part)
		}
	case "function_call", "custom_tool_call":
		p.said(p.responsesCall(v))
	case "function_call_output", "custom_tool_call_output":
		parts := []Part{{Kind: ToolResult, ID: v.Get("call_id").Str, Parts: p.responsesContent(v.Get("output"), "input.*.output")}}
		if n := len(p.Turns) - 1; n >= 0 && p.Turns[n].Role == User && len(p.Turns[n].Parts) > 0 && p.Turns[n].Parts[0].Kind == ToolResult {
			p.Turns[n].Parts = append(p.Turns[n].Parts, parts...)
			return
		}
		p.Turns = append(p.Turns, Turn{Parts: parts})
	case "additional_tools", "tool_search_output": // see readResponses
	default:
		p.Losses.Add("input.*."+clip(kind), "callgate does not know it")
	}
}

// said adds what the model said.
func (p *Prompt) said(parts ...Part) {
	n := len(p.Turns) - 1
	if n < 0 || p.Turns[n].Role != Assistant {
		p.Turns = append(p.Turns, Turn{Role: Assistant})
		n++
	}
	p.Turns[n].Parts = append(p.Turns[n].Parts, parts...)
}

// signed adds a signature to the call that it is of.
func (p *Prompt) signed(of Part) {
	for n := len(p.Turns) - 1; n >= 0; n-- {
		parts := p.Turns[n].Parts
		for i := range parts {
			if parts[i].Kind == ToolCall && parts[i].ID == of.ID {
				parts[i].Signature, parts[i].Vendor = of.Signature, of.Vendor
				return
			}
		}
	}
}

func (p *Prompt) responsesMessage(v gjson.Result) {
	var parts []Part
	members(v, "input.*", &p.Losses, func(name string, v gjson.Result) bool {
		switch name {
		case "type", "id", "role", "status":
		case "content":
			parts = p.responsesContent(v, "input.*.content")
		default:
			return false
		}
		return true
	})
	switch v.Get("role").Str {
	case "assistant":
		p.said(parts...)
	case "system", "developer":
		if len(p.Turns) == 0 {
			p.System = append(p.System, parts...)
			return
		}
		p.Turns = append(p.Turns, Turn{Role: Developer, Parts: parts})
	default:
		p.Turns = append(p.Turns, Turn{Parts: parts})
	}
}

func (p *Prompt) responsesContent(v gjson.Result, path string) (parts []Part) {
	if v.Type == gjson.String {
		return []Part{{Kind: Text, Text: v.Str}}
	}
	items(v, func(v gjson.Result) {
		switch kind := v.Get("type").Str; kind {
		case "input_text", "output_text", "text":
			parts = append(parts, Part{Kind: Text, Text: v.Get("text").Str})
		case "refusal":
			parts = append(parts, Part{Kind: Refusal, Text: v.Get("refusal").Str})
		case "input_image":
			m := &Media{URL: v.Get("image_url").Str, Detail: v.Get("detail").Str, File: v.Get("file_id").Str, Vendor: vendorOpenAI}
			if kind, data, ok := dataURL(m.URL); ok {
				m.Type, m.Data, m.URL = kind, data, ""
			}
			parts = append(parts, Part{Kind: Image, Media: m})
		case "input_file":
			m := &Media{Name: v.Get("filename").Str, URL: v.Get("file_url").Str, File: v.Get("file_id").Str, Vendor: vendorOpenAI}
			if data := v.Get("file_data").Str; data != "" {
				m.Type, m.Data = "application/pdf", data // what it is where nothing else is said
				if kind, data, ok := dataURL(data); ok {
					m.Type, m.Data = kind, data
				}
			}
			parts = append(parts, Part{Kind: Document, Media: m})
		case "input_audio":
			parts = append(parts, Part{Kind: Audio, Media: &Media{Type: "audio/" + v.Get("input_audio.format").Str, Data: v.Get("input_audio.data").Str}})
		default:
			p.Losses.Add(path+"."+clip(kind), "callgate does not know it")
		}
	})
	return parts
}
