package mcp_test

import (
	"encoding/json"
	"strings"
	"testing"

	"callgate/mcp"

	"pgregory.net/rapid"
)

func TestADiffSaysWhatChangedAndHowGrave(t *testing.T) {
	tool := func(inner string) string { return `{"name":"x",` + inner + `}` }
	input := func(inner string) string { return tool(`"inputSchema":{` + inner + `}`) }
	prop := func(inner string) string { return input(`"properties":{"a":{` + inner + `}}`) }
	for _, tt := range []struct{ name, before, after, want string }{
		{"a description", tool(`"description":"a"`), tool(`"description":"b"`), "medium: the description changed"},
		{"a new description", tool(`"x":1`), tool(`"x":1,"description":"b"`), "medium: the description is new"},
		{"a title", tool(`"title":"a"`), tool(`"title":"b"`), "low: the title changed"},
		{"an unknown member", tool(`"x":1`), tool(`"x":2`), `medium: the member "x" changed`},
		{"order", tool(`"a":1,"b":[2]`), tool(`"b":[2],"a":1`), "low: only the order of its members, or their spelling, is another"},
		{"no object", tool(`"a":1`), `[]`, "high: it is no JSON object any more: the definition changed"},
		{"not read-only any more", tool(`"annotations":{"readOnlyHint":true}`), tool(`"annotations":{"readOnlyHint":false}`), "high: readOnlyHint was true and is false"},
		{"read-only now", tool(`"annotations":{}`), tool(`"annotations":{"readOnlyHint":true}`), "high: readOnlyHint was not given and is true"},
		{"not destructive any more", tool(`"annotations":{"destructiveHint":true}`), tool(`"annotations":{}`), "high: destructiveHint was true and is not given"},
		{"no annotations any more", tool(`"annotations":{"destructiveHint":true,"title":"t"}`), tool(`"y":1`), `high: destructiveHint was true and is not given; medium: the member "y" is new; low: the annotation "title" is gone`},
		{"open world", tool(`"annotations":{"openWorldHint":false}`), tool(`"annotations":{"openWorldHint":true}`), "medium: openWorldHint was false and is true"},
		{"annotations of another kind", tool(`"annotations":{"readOnlyHint":true}`), tool(`"annotations":"none"`), "high: the annotations changed"},
		{"an optional property", input(`"properties":{}`), input(`"properties":{"n":{}}`), `medium: inputSchema: optional property "n" is new`},
		{"a required property", input(`"properties":{}`), input(`"properties":{"n":{}},"required":["n"]`), `medium: inputSchema: required property "n" is new; medium: inputSchema.required demands "n"`},
		{"a property less", input(`"properties":{"n":{}}`), input(`"properties":{}`), `low: inputSchema: property "n" is gone`},
		{"a hidden name", input(`"properties":{}`), input(`"properties":{"n\u202e":{}}`), `medium: inputSchema: optional property "n\u{202e}" is new`},
		{"required no more", input(`"required":["a","b"]`), input(`"required":["b"]`), `medium: inputSchema.required does not demand any more "a"`},
		{"a wider enum", prop(`"enum":["x"]`), prop(`"enum":["x","y"]`), `medium: inputSchema.a.enum takes more values: "y"`},
		{"a narrower enum", prop(`"enum":["x","y"]`), prop(`"enum":["x"]`), `low: inputSchema.a.enum does not take any more: "y"`},
		{"no enum any more", prop(`"enum":["x"]`), prop(`"type":"string"`), `medium: inputSchema.a.enum is gone: other values are taken too; low: inputSchema.a.type is new: "string"`},
		{"a wider type", prop(`"type":"string"`), prop(`"type":["string","object"]`), `medium: inputSchema.a.type takes too: "object"`},
		{"another type", prop(`"type":"string"`), prop(`"type":"number"`), `medium: inputSchema.a.type takes too: "number"; low: inputSchema.a.type does not take any more: "string"`},
		{"a schema that takes all", prop(`"type":"string"`), prop(``), "medium: inputSchema.a takes anything now"},
		{"looser", input(`"additionalProperties":false`), input(`"additionalProperties":true`), "medium: inputSchema.additionalProperties is looser: others are taken now"},
		{"looser by leaving out", input(`"x":1,"additionalProperties":false`), input(`"x":1`), "medium: inputSchema.additionalProperties is looser: others are taken now"},
		{"stricter", input(`"x":1`), input(`"x":1,"additionalProperties":false`), "low: inputSchema.additionalProperties is stricter"},
		{"a greater maximum", prop(`"maximum":5`), prop(`"maximum":6`), "medium: inputSchema.a.maximum changed"},
		{"a smaller maximum", prop(`"maximum":5`), prop(`"maximum":4`), "low: inputSchema.a.maximum changed"},
		{"a smaller minimum", prop(`"minimum":5`), prop(`"minimum":4`), "medium: inputSchema.a.minimum changed"},
		{"no pattern any more", prop(`"pattern":"^a$","type":"string"`), prop(`"type":"string"`), `medium: inputSchema.a.pattern is gone; it was "^a$"`},
		{"a default", prop(`"default":"a"`), prop(`"default":"b"`), "medium: inputSchema.a.default changed"},
		{"items", prop(`"items":{"type":"string"}`), prop(`"items":{"type":"string","description":"x"}`), "medium: inputSchema.a.items.description is new"},
		{"an alternative more", prop(`"oneOf":[{"type":"string"}]`), prop(`"oneOf":[{"type":"string"},{}]`), "medium: inputSchema.a.oneOf changed"},
		{"a condition more", prop(`"allOf":[{"type":"string"}]`), prop(`"allOf":[{"type":"string"},{"x":1}]`), "low: inputSchema.a.allOf changed"},
		{"outputSchema", tool(`"outputSchema":{"type":"object"}`), tool(`"a":1`), `medium: the member "a" is new; medium: outputSchema is gone`},
		{"an argument of a prompt", tool(`"arguments":[{"name":"a"}]`), tool(`"arguments":[{"name":"a","required":true},{"name":"b"}]`), `medium: argument "a": "required" is new; medium: argument "b" is new`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var all []string
			for _, c := range mcp.Diff(mcp.PinTool, tt.before, tt.after) {
				all = append(all, c.Grade.String()+": "+c.Text)
			}
			if got := strings.Join(all, "; "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	changes := mcp.Diff(mcp.PinInstructions, "be kind", "be quick")
	if len(changes) != 1 || changes[0].Old != "be kind" || changes[0].New != "be quick" {
		t.Errorf("%+v", changes)
	}
}

// document is any JSON that a definition may be, of words that mean something.
func document() *rapid.Generator[any] {
	keys := []string{"name", "description", "title", "annotations", "readOnlyHint", "inputSchema", "outputSchema", "properties", "required", "enum", "type", "items", "oneOf", "additionalProperties", "maximum", "arguments", "a", "b"}
	leaf := rapid.OneOf(
		rapid.Map(rapid.SampledFrom([]string{"", "a", "object", "string", "x\u202e"}), func(s string) any { return s }),
		rapid.Map(rapid.Bool(), func(b bool) any { return b }), rapid.Map(rapid.IntRange(0, 3), func(n int) any { return n }), rapid.Just[any](nil))
	doc := leaf
	for range 4 {
		inner := doc
		doc = rapid.OneOf(leaf,
			rapid.Map(rapid.SliceOfN(inner, 0, 3), func(l []any) any { return l }),
			rapid.Map(rapid.MapOfN(rapid.SampledFrom(keys), inner, 0, 5), func(m map[string]any) any { return m }))
	}
	return doc
}

func TestADiffIsEmptyOnlyForTheSameBytes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var docs [2]string
		for i := range docs {
			members := rapid.MapOfN(rapid.SampledFrom([]string{"description", "annotations", "inputSchema", "outputSchema", "arguments", "x"}), document(), 0, 4).Draw(r, "document")
			doc, err := json.Marshal(members)
			if err != nil {
				r.Fatal(err)
			}
			docs[i] = string(doc)
		}
		changes := mcp.Diff(mcp.PinTool, docs[0], docs[1])
		if (len(changes) == 0) != (docs[0] == docs[1]) {
			r.Fatalf("%d changes", len(changes))
		}
		for i, c := range changes {
			if c.Text == "" || strings.ContainsFunc(c.Text, func(c rune) bool { return c < ' ' || c > '~' }) || i > 0 && c.Grade > changes[i-1].Grade {
				r.Fatalf("%+v", changes)
			}
		}
		if c := mcp.Diff(mcp.PinTool, docs[0], " "+docs[0]); len(c) != 1 || c[0].Grade != mcp.Low {
			r.Fatalf("a space: %+v", c)
		}
	})
}

func FuzzDiff(f *testing.F) {
	f.Add(`{"name":"a","inputSchema":{"type":"object"}}`, `{"name":"a","inputSchema":{"type":["object"],"properties":{"x":true}}}`)
	f.Add(`{"annotations":[]}`, `{"annotations":{"readOnlyHint":1}}`)
	f.Add(``, `null`)
	f.Add(strings.Repeat(`{"items":`, 200), `{"a":1e400,"a":1}`)
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, kind := range []string{mcp.PinTool, mcp.PinPrompt, mcp.PinTemplate, mcp.PinInstructions} {
			if changes := mcp.Diff(kind, before, after); (len(changes) == 0) != (before == after) {
				t.Errorf("%s: %+v", kind, changes)
			}
		}
	})
}
