package audit_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"callgate/audit"
)

// byStandard is r as encoding/json writes it.
func byStandard(t testing.TB, r *audit.Record) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// texts are what a string in a record may be, at its worst.
var worst = []string{"", "plain", `"quoted" \ back`, "tab\tline\nreturn\r\b\f\x00\x1f\x7f", "<b>&amp;</b>", "zwölf 工具 🙂", "\u2028\u2029", "bad \xff\xc3 utf8\xed\xa0\x80", strings.Repeat("long ", 100)}

// fill puts something into every field of v that r chooses, so that a field that
// is added to a record is tried as well.
func fill(r *rand.Rand, v reflect.Value) {
	if _, raw := v.Interface().(json.RawMessage); raw {
		docs := []string{"", `{}`, `{"a":[1,2.5e-3,null,true,"<x>é\n"]}`, `"text"`, `12345678901234567890`}
		v.SetBytes([]byte(docs[r.IntN(len(docs))]))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(worst[r.IntN(len(worst))])
	case reflect.Int, reflect.Int64:
		v.SetInt([]int64{0, 1, -1, 1 << 62, -1 << 63}[r.IntN(5)])
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(4), 4))
		for i := range v.Len() {
			fill(r, v.Index(i))
		}
	case reflect.Pointer:
		if r.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "Seq" {
				fill(r, v.Field(i))
			}
		}
	}
}

func TestRecordsAreEncodedAsEncodingJSONWould(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		var record audit.Record
		fill(r, reflect.ValueOf(&record).Elem())
		got, want := audit.AppendJSON(nil, &record), byStandard(t, &record)
		if !bytes.Equal(got, want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
}

func FuzzText(f *testing.F) {
	for _, s := range worst {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := &audit.Record{Type: audit.Changed, Name: s, Actors: []string{s}}
		if got, want := audit.AppendJSON(nil, r), byStandard(t, r); !bytes.Equal(got, want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	})
}

// Arguments come from models: a record must be JSON whatever they are.
func FuzzArgs(f *testing.F) {
	for _, s := range append(worst, `{"a":1}`, ` { "a" : [ ] } `, `{"a":1`, `{"a":1}}`, `nul`, `01`, `"\ud800"`, "\"\x01\"") {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, args []byte) {
		doc := audit.AppendJSON(nil, &audit.Record{Type: audit.Proposed, Args: args, Proposal: &audit.Proposal{Name: "n", Args: args}})
		var r audit.Record
		if err := json.Unmarshal(doc, &r); err != nil {
			t.Fatalf("%s: %v", doc, err)
		}
		if !bytes.Equal(r.Args, r.Proposal.Args) {
			t.Fatalf("args %q became %s and %s", args, r.Args, r.Proposal.Args)
		}
		switch {
		case len(args) == 0:
			if r.Args != nil {
				t.Fatalf("no args became %s", r.Args)
			}
		case json.Valid(args) && utf8.Valid(args):
			if !bytes.Equal(r.Args, bytes.TrimSpace(args)) {
				t.Fatalf("args %s became %s", args, r.Args)
			}
		default:
			var text string
			if err := json.Unmarshal(r.Args, &text); err != nil || text != string([]rune(string(args))) {
				t.Fatalf("args %q became %s: %v", args, r.Args, err)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	r := opened()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = audit.AppendJSON(buf[:0], r)
	}
	b.SetBytes(int64(len(buf)))
}
