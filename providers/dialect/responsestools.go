package dialect

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// flat is a tool's name in dialects without namespaces. The namespace functions is the
// one of those that are in none.
func flat(space, name string) string {
	switch {
	case space == "" || space == "functions":
		return name
	case strings.HasSuffix(space, "__"):
		return space + name
	}
	return space + "__" + name
}

// called is the tool that dialects without namespaces call name, nil if there is none.
func (p *Prompt) called(name string) *Tool {
	if n := slices.IndexFunc(p.Tools, func(t Tool) bool { return t.Name == name && t.Hosted == nil }); n >= 0 {
		return &p.Tools[n]
	}
	return nil
}

// responsesTool reads a tool, or a namespace of them, whose members are at path.
func (p *Prompt) responsesTool(v gjson.Result, space, path string) {
	kind := v.Get("type").Str
	t := Tool{Name: flat(space, v.Get("name").Str), Description: v.Get("description").Str}
	if space != "" {
		t.Space, t.Local = space, v.Get("name").Str
	}
	switch kind {
	case "namespace":
		if space != "" {
			p.Losses.Add(path+".namespace", "callgate does not know it in another one")
			return
		}
		if t.Description != "" {
			p.Losses.Add(path+".namespace.description", "no other dialect has namespaces: it is the beginning of its tools' names")
		}
		items(v.Get("tools"), func(tool gjson.Result) { p.responsesTool(tool, v.Get("name").Str, path) })
		return
	case "function":
		members(v, path, &p.Losses, func(name string, v gjson.Result) bool {
			switch name {
			case "type", "name", "description", "defer_loading": // all are loaded where nobody can search
			case "parameters":
				t.Schema = raw(v)
			case "strict":
				t.Strict = v.Bool()
			default:
				return false
			}
			return true
		})
	case "custom":
		t.Custom = customOf(v, t.Name)
	default:
		t = Tool{Name: clip(kind), Hosted: raw(v)}
	}
	if t.Hosted == nil && p.called(t.Name) != nil { // it came again, or a namespace is called like the beginning of a name
		p.Losses.Add(path+".name", "two tools have one name: the first one counts")
		return
	}
	p.Tools = append(p.Tools, t)
}

// customOf is a custom tool of responses as chat has it, where a grammar is one level
// further in.
func customOf(v gjson.Result, name string) json.RawMessage {
	c := object{"name": name}
	if d := v.Get("description"); d.Exists() {
		c["description"] = d.Str
	}
	switch f := v.Get("format"); f.Get("type").Str {
	case "grammar":
		c["format"] = object{"type": "grammar", "grammar": object{"syntax": f.Get("syntax").Str, "definition": f.Get("definition").Str}}
	case "text":
		c["format"] = object{"type": "text"}
	}
	return encode(c)
}

func (p *Prompt) responsesChoice(v gjson.Result) Choice {
	switch v.Str {
	case "none":
		return Choice{Mode: NoTool}
	case "required":
		return Choice{Mode: AnyTool}
	}
	switch kind := v.Get("type").Str; kind {
	case "":
	case "function", "custom":
		return Choice{Mode: Named, Name: p.global(v)}
	case "allowed_tools":
		c := Choice{}
		if v.Get("mode").Str == "required" {
			c.Mode = AnyTool
		}
		items(v.Get("tools"), func(v gjson.Result) {
			if v.Get("name").Exists() && v.Get("type").Str != "namespace" {
				c.Only = append(c.Only, p.global(v))
			} else {
				p.Losses.Add("tool_choice.tools.*."+clip(v.Get("type").Str), "a tool that the vendor runs is known to no other")
			}
		})
		return c
	default:
		p.Losses.Add("tool_choice."+clip(kind), "a tool that the vendor runs is known to no other")
	}
	return Choice{}
}

// global is the name of the tool that v names, which may be in a namespace.
func (p *Prompt) global(v gjson.Result) string {
	name, space := v.Get("name").Str, v.Get("namespace").Str
	if space == "" && p.called(name) == nil {
		if n := slices.IndexFunc(p.Tools, func(t Tool) bool { return t.Local == name }); n >= 0 {
			return p.Tools[n].Name
		}
	}
	return flat(space, name)
}

func (p *Prompt) responsesCall(v gjson.Result) Part {
	c := Part{Kind: ToolCall, ID: v.Get("call_id").Str, Name: flat(v.Get("namespace").Str, v.Get("name").Str)}
	if v.Get("type").Str == "custom_tool_call" {
		c.Args, c.Custom = quoted(v.Get("input").Str), true
	} else {
		c.Args = arguments(v.Get("arguments").Str)
	}
	return c
}

// responsesTools is the tools of p, and the choice of them, as responses has them.
func responsesTools(p *Prompt, l *Losses) (tools []object, choice any) {
	kinds := make(map[string]string)
	for _, t := range p.Tools {
		if t.Hosted != nil {
			if p.From == Responses {
				var doc object
				_ = json.Unmarshal(t.Hosted, &doc)
				tools = append(tools, doc)
			} else {
				l.Add("tools.*."+t.Name, "a tool that the vendor runs is known to no other")
			}
			continue
		}
		if t.Cache != nil {
			l.Add("tools.*.cache_control", "responses caches by itself")
		}
		tool := object{"type": "function", "name": t.Name}
		if t.Description != "" {
			tool["description"] = t.Description
		}
		if t.Custom != nil {
			tool["type"] = "custom"
			switch f := gjson.GetBytes(t.Custom, "format"); f.Get("type").Str {
			case "grammar":
				tool["format"] = object{"type": "grammar", "syntax": f.Get("grammar.syntax").Str, "definition": f.Get("grammar.definition").Str}
			case "text":
				tool["format"] = object{"type": "text"}
			}
		} else {
			tool["strict"], tool["parameters"] = t.Strict, t.Schema // strict is true where it is not said
			if t.Schema == nil {
				tool["parameters"] = json.RawMessage(`{"type":"object","properties":{}}`)
			}
		}
		kinds[t.Name] = tool["type"].(string)
		tools = append(tools, tool)
	}
	named := func(name string) object {
		kind := kinds[name]
		if kind == "" {
			kind = "function"
		}
		return object{"type": kind, "name": name}
	}
	switch c := p.Choice; {
	case len(tools) == 0:
		return nil, "auto"
	case len(c.Only) > 0:
		only := []object{}
		for _, name := range c.Only {
			only = append(only, named(name))
		}
		mode := "auto"
		if c.Mode == AnyTool {
			mode = "required"
		}
		return tools, object{"type": "allowed_tools", "mode": mode, "tools": only}
	case c.Mode == NoTool:
		return tools, "none"
	case c.Mode == AnyTool:
		return tools, "required"
	case c.Mode == Named:
		return tools, named(c.Name)
	}
	return tools, "auto"
}
