package mcp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
	"pgregory.net/rapid"
)

func TestSchemasJudge(t *testing.T) {
	deep := func(n int) string {
		var b strings.Builder
		b.WriteString(`{"$ref":"#/$defs/d0","$defs":{`)
		for i := range n {
			fmt.Fprintf(&b, `"d%d":{"$ref":"#/$defs/d%d"},`, i, i+1)
		}
		fmt.Fprintf(&b, `"d%d":{"type":"object"}}}`, n)
		return b.String()
	}
	double := func(n int, last string) string { // each level judges the next one twice
		var b strings.Builder
		b.WriteString(`{"$ref":"#/$defs/d0","$defs":{`)
		for i := range n {
			fmt.Fprintf(&b, `"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]},`, i, i+1, i+1)
		}
		fmt.Fprintf(&b, `"d%d":%s}}`, n, last)
		return b.String()
	}
	nested := strings.Repeat(`{"a":`, 100) + `1` + strings.Repeat(`}`, 100)
	for _, c := range []struct{ name, schema, doc, want string }{
		{"what fits", `{"type":"object","properties":{"a":{"type":"string"}}}`, `{"a":"x"}`, ""},
		{"true", `true`, `{"a":1}`, ""},
		{"false", `false`, `{}`, " false"},
		{"a wrong type", `{"properties":{"a":{"type":"string"}}}`, `{"a":5}`, "/a type"},
		{"a name with a slash", `{"properties":{"a/b~":{"type":"string"}}}`, `{"a/b~":5}`, "/a~1b~0 type"},
		{"what is missing", `{"required":["a","b"]}`, `{"a":5}`, "/b required"},
		{"what is too much", `{"properties":{"a":{}},"additionalProperties":false}`, `{"a":5,"b":1}`, "/b additionalProperties"},
		{"deep in a list", `{"properties":{"a":{"items":{"properties":{"n":{"maximum":3}}}}}}`, `{"a":[{"n":1},{"n":4}]}`, "/a/1/n maximum"},
		{"a keyword for the library", `{"properties":{"a":{"pattern":"^x+$"}}}`, `{"a":"secret"}`, "/a pattern"},
		{"one of", `{"oneOf":[{"required":["a"]},{"required":["b"]}]}`, `{}`, " oneOf"},
		{"2020-12 is the default", `{"prefixItems":[{"type":"string"}]}`, `[1]`, "/0 type"},
		{"draft-07 by its name", `{"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"string"}],"additionalItems":false}`, `["a",1]`, " additionalItems"},
		{"draft-04 by its name", `{"$schema":"http://json-schema.org/draft-04/schema#","maximum":3,"exclusiveMaximum":true}`, `3`, " exclusiveMaximum"},
		{"formats are annotations, of old too", `{"$schema":"http://json-schema.org/draft-07/schema#","not":false,"format":"email"}`, `"x"`, ""},
		{"a pattern that Go cannot read", `{"pattern":"^(?!a)"}`, `"a"`, ""},
		{"large numbers are exact", `{"const":12345678901234567890}`, `12345678901234567891`, " const"},
		{"an integer by its value", `{"type":"integer"}`, `1.0`, ""},

		{"a remote $ref", `{"properties":{"a":{"$ref":"https://example.com/s.json"}}}`, `{}`, "! refers to another document, and callgate fetches none"},
		{"a $ref to a file", `{"$ref":"file:///etc/passwd"}`, `{}`, "! refers to another document, and callgate fetches none"},
		{"a $ref to a neighbour by $id", `{"$id":"https://example.com/a","$ref":"b"}`, `{}`, "! refers to another document, and callgate fetches none"},
		{"a dialect from elsewhere", `{"$schema":"https://example.com/dialect","not":{}}`, `{}`, "! refers to another document, and callgate fetches none"},
		{"the name of a dialect", `{"$id":"https://json-schema.org/draft/2020-12/schema","$ref":"#/$defs/a","$defs":{"a":{"type":"string"}}}`, `"x"`, ""},
		{"a dynamic $ref", `{"$dynamicRef":"#x"}`, `{}`, "! uses $dynamicRef, which callgate does not follow"},
		{"a $ref to nothing", `{"$ref":"#/nowhere"}`, `{}`, "! is not a valid JSON Schema"},
		{"no schema", `{"type":"text"}`, `{}`, "! is not a valid JSON Schema"},
		{"no JSON object", `[]`, `{}`, "! is not a valid JSON Schema"},
		{"a chain of references", deep(100), `{}`, ""},
		{"a deep chain of references", deep(500), `{}`, "! applies more than 128 schemas inside one another to one value"},
		{"a chain of more references than there may be", deep(5000), `{}`, "! has more than 4096 parts or 512 references"},
		{"a list of more schemas than there may be", `{"anyOf":[` + strings.Repeat(`{},`, 20000) + `{}]}`, `{}`, "! has more than 4096 parts or 512 references"},
		{"more patterns than there may be", `{"allOf":[` + strings.Repeat(`{"pattern":"a"},`, 300) + `{}]}`, `{}`, "! has more than 256 patterns, or one of more than 1024 bytes"},
		{"a circle", `{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}}`, `{}`, " $ref"},
		{"doubling, within reason", double(8, `{"type":"object"}`), `{}`, ""},
		{"doubling", double(50, `{"type":"object"}`), `{}`, "! takes too long to be judged"},
		{"doubling that fails", double(50, `{"type":"string"}`), `{}`, "! takes too long to be judged"},
		{"doubling down the document", `{"properties":{"a":{"allOf":[{"$ref":"#"},{"$ref":"#"}]}}}`, nested, "! takes too long to be judged"},
		{"doubling down the document where only yes or no counts", `{"not":{"$ref":"#/$defs/n"},"$defs":{"n":{"properties":{"a":{"$ref":"#/$defs/n"}},"patternProperties":{"^a":{"$ref":"#/$defs/n"}}}}}`, nested, "! takes too long to be judged"},
		{"too deep", strings.Repeat(`{"not":`, 70) + `{}` + strings.Repeat(`}`, 70), `{}`, "! nested deeper than 64 levels at byte 447"},
		{"too large", `{"description":"` + strings.Repeat("x", maxSchemaBytes) + `"}`, `{}`, "! larger than 262144 bytes"},
		{"a number nobody can compute with", `{"type":"integer"}`, `1e999999999`, "! has a number that nobody can compute with"},
		{"such a number in the schema", `{"multipleOf":1e999999999}`, `1`, "! has a number that nobody can compute with"},
		{"a large text and a large pattern", `{"pattern":"(a?){200}(a{200}){4}$"}`, `"` + strings.Repeat("a", 1<<20) + `"`, "! takes too long to be judged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad, err := newSchema(gjson.Parse(c.schema)).judge(gjson.Parse(c.doc))
			got := ""
			switch {
			case err != nil:
				got = "! " + err.Error()
			case bad != nil:
				got = bad.pointer + " " + bad.keyword
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// What the quick judge is sure of, the library says too.
func TestQuickAgrees(t *testing.T) {
	sure, misfits := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		raw, doc := drawSchema(t, 3), drawValue(t, 3)
		s := &schema{raw: raw}
		q := newQuick(gjson.Parse(raw))
		if q == nil {
			if raw != "true" {
				t.Fatalf("not quick: %s", raw)
			}
			return
		}
		quick, ok := q.judge(gjson.Parse(doc))
		if !ok {
			return
		}
		slow, err := s.slow(gjson.Parse(doc))
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if sure++; quick != nil {
			misfits++
		}
		if (quick == nil) != (slow == nil) {
			t.Fatalf("%s by %s: quick %v, library %v", doc, raw, quick, slow)
		}
	})
	if sure < 50 || misfits < 10 || misfits == sure {
		t.Errorf("%d sure answers, %d of them misfits: the test shows nothing", sure, misfits)
	}
}

var (
	drawName   = rapid.SampledFrom([]string{"a", "b", "ü", "a/b", "x.y"})
	drawPlain  = rapid.SampledFrom([]string{`null`, `true`, `false`, `0`, `-0`, `1`, `1.0`, `1.5`, `-3`, `1e2`, `123456789012345678`, `0.1`, `""`, `"a"`, `"\u00fc"`, `"ü"`, `"abc"`})
	drawNumber = rapid.SampledFrom([]string{`0`, `1`, `1.5`, `-3`, `1.0`})
	drawTypes  = rapid.SampledFrom([]string{`"null"`, `"boolean"`, `"integer"`, `"number"`, `"string"`, `"array"`, `"object"`, `["string","null"]`, `["integer","array"]`, `["number","object"]`})
)

func drawValue(t *rapid.T, depth int) string {
	kinds := 3
	if depth == 0 {
		kinds = 1
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 1:
		var items []string
		for range rapid.IntRange(0, 3).Draw(t, "items") {
			items = append(items, drawValue(t, depth-1))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case 2:
		var members []string
		for _, name := range rapid.SliceOfNDistinct(drawName, 0, 4, rapid.ID).Draw(t, "names") {
			members = append(members, quoted(name)+": "+drawValue(t, depth-1))
		}
		return "{" + strings.Join(members, ", ") + "}"
	}
	return drawPlain.Draw(t, "value")
}

func drawSchema(t *rapid.T, depth int) string {
	if depth == 0 && rapid.Bool().Draw(t, "true") {
		return "true"
	}
	var words []string
	maybe := func(word string, value func() string) {
		if rapid.IntRange(0, 3).Draw(t, word) == 0 {
			words = append(words, quoted(word)+":"+value())
		}
	}
	maybe("type", func() string { return drawTypes.Draw(t, "types") })
	if rapid.Bool().Draw(t, "const") {
		maybe("const", func() string { return drawPlainOf(t) })
	} else {
		maybe("enum", func() string { return "[" + drawPlainOf(t) + "," + drawPlainOf(t) + "]" })
	}
	maybe("required", func() string {
		return quotedList(rapid.SliceOfNDistinct(drawName, 0, 2, rapid.ID).Draw(t, "required names"))
	})
	maybe("additionalProperties", func() string { return fmt.Sprint(rapid.Bool().Draw(t, "additional")) })
	maybe("minimum", func() string { return drawNumber.Draw(t, "min") })
	maybe("maximum", func() string { return drawNumber.Draw(t, "max") })
	maybe("minLength", func() string { return fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "shortest")) })
	maybe("maxLength", func() string { return fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "longest")) })
	maybe("format", func() string { return `"email"` })
	if depth > 0 {
		maybe("items", func() string { return drawSchema(t, depth-1) })
		maybe("properties", func() string {
			var members []string
			for _, name := range rapid.SliceOfNDistinct(drawName, 0, 3, rapid.ID).Draw(t, "properties names") {
				members = append(members, quoted(name)+":"+drawSchema(t, depth-1))
			}
			return "{" + strings.Join(members, ",") + "}"
		})
	}
	return "{" + strings.Join(words, ",") + "}"
}

func drawPlainOf(t *rapid.T) string {
	return rapid.SampledFrom([]string{`null`, `true`, `1`, `1.0`, `-3`, `"a"`, `"ü"`, `0`}).Draw(t, "plain")
}

const smallSchema = `{"type":"object","properties":{"city":{"type":"string","maxLength":100},"days":{"type":"integer","minimum":1},"unit":{"enum":["c","f"]}},"required":["city"],"additionalProperties":false}`

func BenchmarkValidate(b *testing.B) {
	doc := gjson.Parse(`{"city":"Kassel","days":3,"unit":"c"}`)
	s := newSchema(gjson.Parse(smallSchema))
	if bad, err := s.judge(doc); bad != nil || err != nil {
		b.Fatal(bad, err)
	}
	b.Run("quick", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.judge(doc)
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.slow(doc)
		}
	})
}

// A schema is not even looked for before its tool is called.
func TestSchemasOfAListAreLeftAlone(t *testing.T) {
	list := `{"tools":[{"name":"t","inputSchema":{"type":"object"}},{"name":"u","inputSchema":{"not":{}}}]}`
	which, _ := listOf("tools/list")
	l := &listing{byName: make(map[string]int)}
	if err := new(Server).add(l, which, gjson.Parse(list), false); err != nil || len(l.defs) != 2 {
		t.Fatal(err, l.defs)
	}
	for _, d := range l.defs {
		if d.shape.in != nil {
			t.Errorf("%s was read", d.Name)
		}
	}
	l.defs[1].shape.read()
	if in := l.defs[1].shape.in; in == nil || in.compiled != nil || in.usable() != nil || in.compiled == nil {
		t.Error("it is not compiled when it is used")
	}
}
