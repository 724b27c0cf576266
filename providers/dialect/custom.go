package dialect

import (
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"
)

// A custom tool takes a text where a function takes an object. Most dialects have
// functions only: there it is one whose only argument, input, is the text.

// customSchema is the arguments of t as those of a function. What the text must look
// like is told with it.
func customSchema(t *Tool) json.RawMessage {
	input := object{"type": "string"}
	if g := gjson.GetBytes(t.Custom, "format.grammar"); g.IsObject() {
		input["description"] = "A text that holds to this " + g.Get("syntax").Str + " grammar:\n" + g.Get("definition").Str
	}
	return encode(object{"type": "object", "properties": object{"input": input}, "required": []string{"input"}})
}

// customArgs is the text of a custom tool's call as the arguments of a function.
func customArgs(args json.RawMessage) json.RawMessage { return encode(object{"input": written(args)}) }

// customText is the text that a model wrote as the argument of such a function. What is
// no such argument is the text itself.
func customText(args string) string {
	if gjson.Valid(args) {
		if v := gjson.Get(args, "input"); v.Type == gjson.String {
			return v.Str
		}
	}
	return args
}

// customs makes calls of functions that stand for custom tools calls of these again.
type customs struct {
	names map[string]bool
	held  map[[2]int]*strings.Builder // arguments that are not complete
}

func newCustoms(p *Prompt) customs {
	c := customs{}
	for i := range p.Tools {
		if p.Tools[i].Custom != nil {
			if c.names == nil {
				c.names, c.held = make(map[string]bool), make(map[[2]int]*strings.Builder)
			}
			c.names[p.Tools[i].Name] = true
		}
	}
	return c
}

// piece calls f with what p becomes. A text is told when its argument is complete.
func (c *customs) piece(p Piece, f func(Piece)) {
	at := [2]int{p.Choice, p.Index}
	switch held := c.held[at]; {
	case p.Kind == Open && p.Part.Kind == ToolCall && !p.Part.Custom && c.names[p.Part.Name]:
		c.held[at] = new(strings.Builder)
		p.Part.Custom = true
	case p.Kind == Delta && held != nil:
		held.WriteString(p.Text)
		return
	case p.Kind == Close && held != nil:
		delete(c.held, at)
		if text := customText(held.String()); text != "" {
			f(Piece{Kind: Delta, Choice: p.Choice, Index: p.Index, Text: text})
		}
	}
	f(p)
}

// part is the same of a part that is whole.
func (c *customs) part(p Part) Part {
	if p.Kind == ToolCall && !p.Custom && c.names[p.Name] {
		p.Custom, p.Args = true, quoted(customText(written(p.Args)))
	}
	return p
}
