package providers

import (
	"testing"

	"callgate/firewall"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
)

// FuzzCursor holds that a cursor reads a valid document as the strict parser
// does: the same strings in the same places, and all of it skipped.
func FuzzCursor(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2.5e3,true,null,"x\"y\\"],"b":{"c":"é\u00e9"}}`, `"x"`, ` [ ] `, `{"\u0061":"b"}`, `[[],{},"\\\\"]`, `-0`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		want, err := firewall.ParseBody(doc, firewall.Limits{Depth: maxDepth})
		if err != nil || !jsontext.Value(doc).IsValid() {
			t.Skip("no JSON, which the cursor is never given")
		}
		c := cursor{doc: doc}
		c.skip()
		if c.kind() != 0 {
			t.Fatalf("skip ends at byte %d of %q", c.at, doc)
		}
		var x texts
		if err := x.all(&cursor{doc: doc}); err != nil {
			t.Fatal(err)
		}
		var spans []firewall.Span
		for _, s := range want.Spans {
			if s.End-s.At > 2 { // empty strings are no texts
				spans = append(spans, s)
			}
		}
		if got := x.take(); len(got)+len(spans) > 0 && !cmp.Equal([]firewall.Span(got), spans) {
			t.Fatalf("texts of %q: %s", doc, cmp.Diff(spans, got))
		}
		if got := withoutLogprobs(doc); !jsontext.Value(got).IsValid() {
			t.Fatalf("without logprobs %q is %q", doc, got)
		}
	})
}

func TestLogprobsGo(t *testing.T) {
	for _, tt := range []struct{ name, doc, want string }{
		{"an object becomes null", `{"choices":[{"logprobs":{"content":[{"token":"se"}]},"index":0}]}`, `{"choices":[{"logprobs":null,"index":0}]}`},
		{"an array becomes empty", `{"text":"a","logprobs": [{"token":"se"}] }`, `{"text":"a","logprobs": [] }`},
		{"a value of that text stays", `{"a":"logprobs","b":["logprobs",{"c":1}]}`, `{"a":"logprobs","b":["logprobs",{"c":1}]}`},
		{"an escaped name is the same name", `{"logpro\u0062s":[1]}`, `{"logpro\u0062s":[]}`},
		{"all of them", `[{"logprobs":[1]},{"logprobs":null}]`, `[{"logprobs":[]},{"logprobs":null}]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(withoutLogprobs([]byte(tt.doc))); got != tt.want {
				t.Errorf("= %s, want %s", got, tt.want)
			}
		})
	}
}
