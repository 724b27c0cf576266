package firewall_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"callgate/firewall"

	"github.com/google/go-cmp/cmp"
)

func TestParseBodyRefusesWhatPeersCouldReadDifferently(t *testing.T) {
	for _, tt := range []struct{ name, doc, want string }{
		{"nothing", ``, "empty"},
		{"white space", " \n", "empty"},
		{"a name twice", `{"a":1,"b":2,"a":3}`, "twice"},
		{"a name twice, once with an escape", `{"a":1,"\u0061":3}`, "twice"},
		{"a name twice, deep inside", `{"a":[{"b":1,"b":1}]}`, "twice"},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", "UTF-8"},
		{"half a surrogate pair", `{"a":"\ud800"}`, ""},
		{"an overlong encoding", "\"\xc0\xaf\"", "UTF-8"},
		{"two values", `{} {}`, "more than one"},
		{"a value and rubbish", `{}x`, "more than one"},
		{"cut off", `{"a":"b`, ""},
		{"cut off behind a name", `{"a"`, ""},
		{"a byte order mark", "\ufeff{}", "not valid JSON"},
		{"a control character", "{\"a\":\"\x01\"}", "not valid JSON"},
		{"a comment", `{"a":1/**/}`, "not valid JSON"},
		{"a trailing comma", `[1,]`, "not valid JSON"},
		{"not a number", `NaN`, "not valid JSON"},
		{"a leading zero", `01`, ""},
		{"an unknown escape", `"\x41"`, "not valid JSON"},
		{"too deep", strings.Repeat("[", 129) + strings.Repeat("]", 129), "deeper than 128"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := firewall.ParseBody([]byte(tt.doc), firewall.Limits{})
			if err == nil {
				t.Fatalf("%s was taken", tt.doc)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want something about %q", err, tt.want)
			}
		})
	}
}

func TestParseBodyKeepsToItsLimits(t *testing.T) {
	for _, tt := range []struct {
		name, doc string
		lim       firewall.Limits
		ok        bool
	}{
		{"as many bytes as allowed", `"1234"`, firewall.Limits{Bytes: 6}, true},
		{"one byte more", `"12345"`, firewall.Limits{Bytes: 6}, false},
		{"as deep as allowed", `[[{}]]`, firewall.Limits{Depth: 3}, true},
		{"one level more", `[[{"a":[]}]]`, firewall.Limits{Depth: 3}, false},
		{"as deep as is allowed by default", strings.Repeat("[", 128) + strings.Repeat("]", 128), firewall.Limits{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := firewall.ParseBody([]byte(tt.doc), tt.lim); (err == nil) != tt.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWhatIsWrongWithABodyIsSaidWithoutQuotingIt(t *testing.T) {
	for _, doc := range []string{`{"hunter2":1,"hunter2":2}`, `{"a":hunter2}`, `{"hunter2"`, `"hunter2" hunter2`, "\"hunter2\xff\""} {
		if _, err := firewall.ParseBody([]byte(doc), firewall.Limits{}); err == nil || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: got %v", doc, err)
		}
	}
}

func TestTheStringsOfABodyAreItsSpans(t *testing.T) {
	doc := ` {"name":"a\"b","n":[1,"",{"x":"\u00e9é"},"\\"],"big":123456789012345678901234567890,"s":"/"} `
	body, err := firewall.ParseBody([]byte(doc), firewall.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var got [][2]string
	for _, s := range body.Spans {
		got = append(got, [2]string{doc[s.At:s.End], s.Text})
	}
	want := [][2]string{{`"a\"b"`, `a"b`}, {`""`, ``}, {`"\u00e9é"`, "éé"}, {`"\\"`, `\`}, {`"/"`, "/"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestRewriteChangesOnlyWhatItIsToldTo(t *testing.T) {
	doc := ` {"a":"\u0061","b":["one","two",3.10],"c":"é\/" } `
	for _, tt := range []struct {
		name string
		edit map[int]string
		want string
	}{
		{"nothing", nil, doc},
		{"a text to itself", map[int]string{1: "one"}, doc},
		{"one to something longer", map[int]string{1: "a long one"}, ` {"a":"\u0061","b":["a long one","two",3.10],"c":"é\/" } `},
		{"all", map[int]string{0: "", 1: `"`, 2: "\n", 3: "x\xff"}, ` {"a":"","b":["\"","\n",3.10],"c":"x�" } `},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := []byte(doc)
			body, err := firewall.ParseBody(in, firewall.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			body.Rewrite(func(i int, s firewall.Span) (string, bool) {
				text, ok := tt.edit[i]
				return text, ok
			})
			if string(body.JSON) != tt.want || body.Edited != (tt.want != doc) || string(in) != doc {
				t.Errorf("got  %s, edited %v\nwant %s", body.JSON, body.Edited, tt.want)
			}
			spansAgree(t, body)
		})
	}
}

// spansAgree checks that the spans of body are those of its document.
func spansAgree(t *testing.T, body firewall.Body) {
	t.Helper()
	again, err := firewall.ParseBody(body.JSON, firewall.Limits{})
	if err != nil {
		t.Fatalf("%s: %v", body.JSON, err)
	}
	if len(again.Spans) != len(body.Spans) {
		t.Fatalf("%s: %d spans, want %d", body.JSON, len(body.Spans), len(again.Spans))
	}
	for i, s := range again.Spans {
		got := body.Spans[i]
		if got.At != s.At || got.End != s.End || strings.ToValidUTF8(got.Text, "\ufffd") != s.Text {
			t.Errorf("span %d of %s is %+v, want %+v", i, body.JSON, got, s)
		}
	}
}

func FuzzParseBody(f *testing.F) {
	for _, doc := range []string{`{"a":["b",{"c":"d\n"}],"e":1e9}`, `"\ud83d\ude00"`, `[]`, `{"a":1,"a":2}`, `nul`, "\"\xff\"", `{"":""}`, "[[[[\"\\u0000\"]]]]", `{"a":"b"}{}`} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		before := bytes.Clone(doc)
		body, err := firewall.ParseBody(doc, firewall.Limits{Depth: 40})
		if !bytes.Equal(before, doc) {
			t.Fatal("the document was changed")
		}
		if err != nil {
			return
		}
		if !json.Valid(doc) || !utf8.Valid(doc) {
			t.Fatalf("%q was taken", doc)
		}
		for _, s := range body.Spans {
			var want string
			if err := json.Unmarshal(doc[s.At:s.End], &want); err != nil || want != s.Text {
				t.Fatalf("%s is %q, want %q: %v", doc[s.At:s.End], s.Text, want, err)
			}
		}
		if got, want := len(body.Spans), stringsIn(t, doc); got != want {
			t.Fatalf("%d spans in %s, want %d", got, doc, want)
		}
		body.Rewrite(func(i int, s firewall.Span) (string, bool) { return s.Text + "\"!", i%2 == 0 })
		spansAgree(t, body)
	})
}

// stringsIn counts the string values in doc, by other means.
func stringsIn(t *testing.T, doc []byte) (n int) {
	var v any
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	var count func(any)
	count = func(v any) {
		switch v := v.(type) {
		case string:
			n++
		case []any:
			for _, e := range v {
				count(e)
			}
		case map[string]any:
			for _, e := range v {
				count(e)
			}
		}
	}
	count(v)
	return n
}
