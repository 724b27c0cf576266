package mcp

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/firewall"

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
		{"a pattern with a look ahead", `{"pattern":"^(?!a)"}`, `"a"`, " pattern"},
		{"a pattern with a look ahead that fits", `{"pattern":"^(?!a)"}`, `"b"`, ""},
		{"a pattern with a look ahead ends where the text does", `{"pattern":"^(?!x)a$"}`, `"a\n"`, " pattern"},
		{"a pattern with a look behind", `{"pattern":"(?<!a)b"}`, `"ab"`, " pattern"},
		{"a pattern with a back reference", `{"pattern":"^(.)\\1$"}`, `"ab"`, " pattern"},
		{"a pattern with an escape of JavaScript's", `{"pattern":"^\\u00e9\\u{1F600}$"}`, `"é😀"`, ""},
		{"a pattern with an escape of JavaScript's, else", `{"pattern":"^\\u00e9$"}`, `"e"`, " pattern"},
		{"names by a pattern with a look ahead", `{"patternProperties":{"^(?!a)":false}}`, `{"a":1,"b":1}`, "/b false"},
		{"a pattern that nobody can read", `{"pattern":"(?!a"}`, `"a"`, "! has a pattern that callgate cannot read"},
		{"names by a pattern that nobody can read", `{"patternProperties":{"(?!a":{}}}`, `{}`, "! has a pattern that callgate cannot read"},
		{"a pattern that is none, but a value", `{"enum":[{"pattern":"(?!a"}]}`, `1`, " enum"},
		{"a pattern that tries for ever", `{"pattern":"^(?=a)(a+)+$"}`, `"` + strings.Repeat("a", 5000) + `!"`, "! takes too long to be judged"},
		{"many patterns that try for long", `{"items":{"pattern":"^(?=a)(a+)+$"}}`, "[" + strings.Repeat(`"aaaaaaaaaaaaaaaaaaaa!",`, 200) + `""]`, "! takes too long to be judged"},
		{"a look ahead into a large text", `{"pattern":"^(?!b)"}`, `"` + strings.Repeat("a", maxBackText+1) + `"`, "! takes too long to be judged"},
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
			bad, err := newSchema(gjson.Parse(c.schema), false).judge(gjson.Parse(c.doc))
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

// No pattern takes longer than it may, whoever chose it and the text.
func TestAPatternIsStopped(t *testing.T) {
	for _, schema := range []string{`{"pattern":"^(?=a)(a+)+$"}`, `{"items":{"pattern":"^(?=a)(a|a)*$"}}`, `{"items":{"allOf":[{"pattern":"^(?=a)(a|aa)+$"},{"pattern":"(?=a)(.*a){20}$"}]}}`} {
		texts := strings.Repeat(quoted(strings.Repeat("a", 22)+"!")+",", 1000)
		for _, doc := range []string{quoted(strings.Repeat("a", maxBackText-1) + "!"), "[" + texts + `""]`} {
			began := time.Now()
			bad, err := newSchema(gjson.Parse(schema), true).judge(gjson.Parse(doc))
			if took := time.Since(began); took > 4*maxBackSum { // one look more than the sum, and a slow clock
				t.Errorf("%s: %v, %v after %v", schema, bad, err, took)
			}
		}
	}
}

func TestFormatsOfArgumentsAreAsserted(t *testing.T) {
	for _, c := range []struct{ format, fits, not string }{
		{"uri", "https://example.com/a?b", "example.com/a"},
		{"uri-reference", "../a", "a\\b"},
		{"iri", "https://example.com/ü", "ü"},
		{"uri-template", "/a/{b}", "/a/{b"},
		{"email", "ana@example.com", "ana"},
		{"date-time", "2026-11-23T10:00:00Z", "2026-11-23 10:00"},
		{"date", "2026-02-28", "2026-02-30"},
		{"time", "10:00:00+01:00", "25:00:00Z"},
		{"duration", "P1D", "1 day"},
		{"uuid", "01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d"},
		{"hostname", "example.com", "-a.example"},
		{"ipv4", "192.0.2.1", "192.0.2.256"},
		{"ipv6", "2001:db8::1", "2001:db8::g"},
		{"json-pointer", "/a/0", "a"},
		{"relative-json-pointer", "1/a", "/a"},
	} {
		for name, schema := range map[string]string{
			"quick":    `{"properties":{"x":{"type":"string","format":"` + c.format + `"}}}`,
			"library":  `{"properties":{"x":{"type":"string","format":"` + c.format + `"}},"not":false}`,
			"draft-04": `{"$schema":"http://json-schema.org/draft-04/schema#","properties":{"x":{"format":"` + c.format + `"}}}`,
		} {
			t.Run(c.format+" "+name, func(t *testing.T) {
				for text, want := range map[string]string{c.fits: "", c.not: "/x format"} {
					doc, got := gjson.Parse(`{"x":"`+text+`"}`), ""
					bad, err := newSchema(gjson.Parse(schema), true).judge(doc)
					if bad != nil {
						got = bad.pointer + " " + bad.keyword
					}
					if err != nil || got != want {
						t.Errorf("%s: %q, %v, want %q", text, got, err, want)
					}
					if bad, err := newSchema(gjson.Parse(schema), false).judge(doc); bad != nil || err != nil {
						t.Errorf("of results %s: %v, %v", text, bad, err)
					}
				}
			})
		}
	}
	if bad, err := newSchema(gjson.Parse(`{"format":"phone"}`), true).judge(gjson.Parse(`"x"`)); bad != nil || err != nil {
		t.Errorf("a format that nobody knows: %v, %v", bad, err)
	}
}

// One schema judges many documents at once, each with a measure of its own.
func TestASchemaJudgesManyAtOnce(t *testing.T) {
	s := newSchema(gjson.Parse(`{"items":{"pattern":"^(?!b)[a-z]+$"}}`), true)
	var all sync.WaitGroup
	for i := range 4 * maxReferees {
		all.Go(func() {
			for range 50 {
				doc, want := `["a"]`, ""
				switch i % 3 {
				case 1:
					doc, want = `["a","b"]`, "/1 pattern"
				case 2:
					doc, want = `["`+strings.Repeat("a", maxBackText+1)+`"]`, errFuel.Error()
				}
				bad, err := s.judge(gjson.Parse(doc))
				got := ""
				switch {
				case err != nil:
					got = err.Error()
				case bad != nil:
					got = bad.pointer + " " + bad.keyword
				}
				if got != want {
					t.Errorf("%q, want %q", got, want)
				}
			}
		})
	}
	all.Wait()
	if len(s.idle) != s.made || s.made > maxReferees {
		t.Errorf("%d of %d referees are idle", len(s.idle), s.made)
	}
}

// A list that is asked for again compiles nothing that is as it was, and a server
// that lists other schemas each time fills nothing.
func TestSchemasAreKeptOverLists(t *testing.T) {
	s := new(Server)
	which, _ := listOf("tools/list")
	ask := func(schema string) *schema {
		l := &listing{byName: make(map[string]int)}
		if err := s.add(l, which, gjson.Parse(`{"tools":[{"name":"t","inputSchema":`+schema+`}]}`), false); err != nil {
			t.Fatal(err)
		}
		l.defs[0].shape.read()
		return l.defs[0].shape.in
	}
	first := ask(`{"not":{"const":1}}`)
	if err := first.usable(); err != nil {
		t.Fatal(err)
	}
	if again := ask(`{"not":{"const":1}}`); again != first || again.made != 1 {
		t.Error("it is compiled again")
	}
	if ask(`{"not":{"const":2}}`) == first {
		t.Error("another schema is the same one")
	}
	if out := s.known.of(gjson.Parse(`{"not":{"const":1}}`), false); out == first {
		t.Error("a schema of results asserts formats")
	}
	for i := range 5 * maxSchemasKept {
		ask(fmt.Sprintf(`{"not":{"const":%d}}`, i))
		if ask(`{"not":{"const":1}}`) != first {
			t.Fatal("what is used all the time is forgotten")
		}
	}
	for i := range 50 {
		ask(fmt.Sprintf(`{"not":{"const":%d},"description":"%s"}`, i, strings.Repeat("x", 200<<10)))
	}
	if n := len(s.known.young) + len(s.known.old); n > 2*maxSchemasKept || s.known.bytes > maxSchemaBytesKept+maxSchemaBytes {
		t.Errorf("%d schemas, %d bytes are kept", n, s.known.bytes)
	}
}

// What the quick judge is sure of, the library says too.
func TestQuickAgrees(t *testing.T) {
	sure, misfits := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		raw, doc := drawSchema(t, 3), drawValue(t, 3)
		s := &schema{raw: raw, formats: true, idle: make(chan *referee, maxReferees)}
		q := newQuick(gjson.Parse(raw), true)
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
	drawPlain  = rapid.SampledFrom([]string{`null`, `true`, `false`, `0`, `-0`, `1`, `1.0`, `1.5`, `-3`, `1e2`, `123456789012345678`, `0.1`, `""`, `"a"`, `"\u00fc"`, `"ü"`, `"abc"`, `"a@example.com"`, `"2026-11-23T10:00:00Z"`, `"https://example.com/a"`})
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
	maybe("format", func() string {
		return rapid.SampledFrom([]string{`"email"`, `"date-time"`, `"uri"`, `"phone"`}).Draw(t, "of")
	})
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
	s := newSchema(gjson.Parse(smallSchema), true)
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
	if in := l.defs[1].shape.in; in == nil || in.made != 0 || in.usable() != nil || in.made != 1 {
		t.Error("it is not compiled when it is used")
	}
}

// FuzzSchema has any schema judge any document: in bounded time, and where the quick
// judge is sure, the library says the same.
func FuzzSchema(f *testing.F) {
	for _, schema := range []string{smallSchema, `{"format":"uri","pattern":"^(?!a)(a+)+$"}`, `{"$ref":"#/$defs/a","$defs":{"a":{"anyOf":[{"$ref":"#"}]}}}`, `{"patternProperties":{"\\u0061":{"format":"date-time"}}}`, `{"allOf":[{"$ref":"#"},{"$ref":"#"}]}`, `{"enum":[{"pattern":"("}]}`} {
		f.Add(schema, `{"city":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"}`)
		f.Add(schema, `"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"`)
	}
	f.Fuzz(func(t *testing.T, raw, doc string) {
		for _, text := range []string{raw, doc} {
			if _, err := firewall.ParseBody([]byte(text), firewall.Limits{Bytes: 16 << 10, Depth: 64}); err != nil {
				return
			}
		}
		began := time.Now()
		s := newSchema(gjson.Parse(raw), true)
		bad, err := s.judge(gjson.Parse(doc))
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("%v, %v after %v", bad, err, took)
		}
		if s == nil || s.quick == nil || err != nil {
			return
		}
		if slow, err := s.slow(gjson.Parse(doc)); err == nil && (slow == nil) != (bad == nil) {
			t.Fatalf("quick %v, library %v", bad, slow)
		}
	})
}
