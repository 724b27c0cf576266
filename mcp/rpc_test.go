package mcp

import (
	"encoding/json"
	"strings"
	"testing"

	"callgate/firewall"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestAMessageIsReadInItsParts(t *testing.T) {
	tests := []struct {
		name, raw string
		want      Message
	}{
		{"a request", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`,
			Message{ID: json.RawMessage(`1`), Method: "tools/call", Params: json.RawMessage(`{"name":"a"}`)}},
		{"a request in another order with white space", " {\"params\" : { } ,\t\"method\":\"ping\",\r\n\"id\":\"x\" , \"jsonrpc\":\"2.0\" } ",
			Message{ID: json.RawMessage(`"x"`), Method: "ping", Params: json.RawMessage(`{ }`)}},
		{"a notification", `{"jsonrpc":"2.0","method":"notifications/initialized"}`,
			Message{Method: "notifications/initialized"}},
		{"a result", `{"jsonrpc":"2.0","id":123456789012345678901234567890,"result":{"n":1e400}}`,
			Message{ID: json.RawMessage(`123456789012345678901234567890`), Result: json.RawMessage(`{"n":1e400}`)}},
		{"an error", `{"jsonrpc":"2.0","id":-1,"error":{"code":-32603,"message":"no","data":[1.0]}}`,
			Message{ID: json.RawMessage(`-1`), Error: json.RawMessage(`{"code":-32603,"message":"no","data":[1.0]}`)}},
		{"an error that answers what could not be read", `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}`,
			Message{Error: json.RawMessage(`{"code":-32700,"message":"no"}`)}},
		{"an error that answers what could not be read, without an id", `{"jsonrpc":"2.0","error":{"code":-32700,"message":"no"}}`,
			Message{Error: json.RawMessage(`{"code":-32700,"message":"no"}`)}},
		{"a name that is written with escapes", `{"jsonrpc":"2.0","\u0069d":1,"method":"pi\u006eg"}`,
			Message{ID: json.RawMessage(`1`), Method: "ping"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseMessage([]byte(tt.raw), firewall.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			got.Raw, got.spans, got.at = nil, nil, 0
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(Message{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAMessageThatCanBeReadInTwoWaysIsRefused(t *testing.T) {
	params := func(p string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":` + p + `}`
	}
	tests := []struct{ name, raw string }{
		{"nothing", ``},
		{"a batch", `[{"jsonrpc":"2.0","method":"ping","id":1}]`},
		{"a string", `"ping"`},
		{"two messages", `{"jsonrpc":"2.0","method":"a"}{"jsonrpc":"2.0","method":"b"}`},
		{"no version", `{"id":1,"method":"ping"}`},
		{"another version", `{"jsonrpc":"1.0","id":1,"method":"ping"}`},
		{"a number for a version", `{"jsonrpc":2.0,"id":1,"method":"ping"}`},
		{"an id that is a fraction", `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`},
		{"an id with an exponent", `{"jsonrpc":"2.0","id":1e3,"method":"ping"}`},
		{"an id that is null", `{"jsonrpc":"2.0","id":null,"method":"ping"}`},
		{"an id that is true", `{"jsonrpc":"2.0","id":true,"method":"ping"}`},
		{"an id that is an object", `{"jsonrpc":"2.0","id":{},"method":"ping"}`},
		{"an endless id", `{"jsonrpc":"2.0","id":"` + strings.Repeat("x", 2000) + `","method":"ping"}`},
		{"a method that is no string", `{"jsonrpc":"2.0","id":1,"method":7}`},
		{"a method that is empty", `{"jsonrpc":"2.0","id":1,"method":""}`},
		{"a member twice", `{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}`},
		{"a member twice, once with escapes", `{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/call"}`},
		{"a member in capitals", `{"jsonrpc":"2.0","id":1,"method":"ping","METHOD":"tools/call"}`},
		{"a member that JSON-RPC does not have", `{"jsonrpc":"2.0","id":1,"method":"ping","extra":1}`},
		{"a request that is a response", `{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}`},
		{"a result and an error", `{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}`},
		{"neither a result nor an error", `{"jsonrpc":"2.0","id":1}`},
		{"a result without an id", `{"jsonrpc":"2.0","result":{}}`},
		{"a result with the id null", `{"jsonrpc":"2.0","id":null,"result":{}}`},
		{"a result that is no object", `{"jsonrpc":"2.0","id":1,"result":[]}`},
		{"an error that is no object", `{"jsonrpc":"2.0","id":1,"error":"no"}`},
		{"a response with parameters", `{"jsonrpc":"2.0","id":1,"result":{},"params":{}}`},
		{"parameters in an array", params(`["a"]`)},
		{"parameters that are null", params(`null`)},
		{"a name in capitals", params(`{"name":"safe","NAME":"evil"}`)},
		{"a name in capitals alone", params(`{"Name":"evil"}`)},
		{"arguments in another case", params(`{"name":"a","Arguments":{}}`)},
		{"arguments with a long s", params(`{"name":"a","argument\u017f":{}}`)},
		{"a uri in capitals", params(`{"URI":"file:///etc/passwd"}`)},
		{"a reference's name in capitals", params(`{"ref":{"type":"ref/prompt","name":"safe","Name":"evil"}}`)},
		{"metadata in capitals", params(`{"_META":{}}`)},
		{"metadata that is no object", params(`{"_meta":[]}`)},
		{"a progress token in another case", params(`{"_meta":{"progresstoken":1}}`)},
		{"a version in another case", params(`{"_meta":{"io.modelcontextprotocol/ProtocolVersion":"2026-07-28"}}`)},
		{"a name twice, deep in the arguments", params(`{"arguments":{"a":[{"b":1,"b":2}]}}`)},
		{"what is not UTF-8", params("{\"name\":\"\xff\"}")},
		{"half a surrogate", params(`{"name":"\ud800"}`)},
		{"what is nested too deep", params(`{"arguments":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`)},
		{"what is cut off", `{"jsonrpc":"2.0","id":1,"method":"pi`},
		{"what goes on behind the end", `{"jsonrpc":"2.0","id":1,"method":"ping"} x`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if m, err := parseMessage([]byte(tt.raw), firewall.Limits{}); err == nil {
				t.Errorf("accepted as %+v", m)
			} else if len(err.Error()) > 200 || strings.Contains(err.Error(), "evil") {
				t.Errorf("the error quotes the message: %v", err)
			}
		})
	}
}

func TestTheBodyOfAMessageHasItsStrings(t *testing.T) {
	m, err := parseMessage([]byte(`{"jsonrpc":"2.0","id":"seven","result":{"text":"a\u0062c","n":1,"list":["x"]}}`), firewall.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	body := m.Body()
	want, err := firewall.ParseBody(m.Result, firewall.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, body); d != "" {
		t.Error(d)
	}
}

// value draws any JSON value, as text.
func value() *rapid.Generator[string] {
	return rapid.Deferred(func() *rapid.Generator[string] {
		leaf := rapid.OneOf(
			rapid.StringMatching(`-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?`),
			rapid.Map(rapid.String(), func(s string) string { b, _ := json.Marshal(s); return string(b) }),
			rapid.SampledFrom([]string{"null", "true", "false", "{}", "[]", " [ ] ", `"\u0041"`}),
		)
		list := rapid.Map(rapid.SliceOfN(leaf, 0, 4), func(v []string) string { return "[" + strings.Join(v, " ,") + "]" })
		object := rapid.Map(rapid.MapOfN(rapid.StringMatching(`[a-z\\"é]{1,6}x`), rapid.OneOf(leaf, list), 0, 4), asObject)
		return rapid.OneOf(leaf, list, object)
	})
}

func asObject(m map[string]string) string {
	var parts []string
	for k, v := range m {
		name, _ := json.Marshal(k)
		parts = append(parts, string(name)+": "+v)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func TestEveryPartOfAnyMessageStaysAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		args, more := value().Draw(t, "args"), value().Draw(t, "more")
		params := `{"name":"x","arguments":` + args + `,"more":` + more + `}`
		m, err := parseMessage([]byte(`{"jsonrpc":"2.0","params":`+params+`,"id":1,"method":"tools/call"}`), firewall.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Params) != params {
			t.Fatalf("params are %s, want %s", m.Params, params)
		}
		for _, version := range []string{legacyVersion, modernVersion} {
			out, _, err := hop{version, `{}`, "{}", 7}.params(Request{Params: m.Params})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parseMessage(request(7, "tools/call", out), firewall.Limits{}); err != nil {
				t.Fatalf("%s: %v", out, err)
			}
			if tail := params[1:]; !strings.HasSuffix(string(out), tail) {
				t.Fatalf("%s does not end in %s", out, tail)
			}
		}
	})
}

func FuzzParseMessage(f *testing.F) {
	for _, s := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":[1,"\u00e9"]},"_meta":{"progressToken":"t"}}}`,
		`{"jsonrpc":"2.0","id":"a","result":{"content":[]}}`,
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":""}}`,
		` {"method":"x","jsonrpc":"2.0"} `,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parseMessage(raw, firewall.Limits{Bytes: 1 << 16})
		if err != nil {
			return
		}
		if m.IsResponse() == (m.Method != "") || m.Result != nil && m.Error != nil {
			t.Fatalf("%q is %+v", raw, m)
		}
		var loose struct {
			Jsonrpc, Method string
			ID              json.RawMessage `json:"id"`
			Params          json.RawMessage
		}
		if err := json.Unmarshal(raw, &loose); err != nil {
			t.Fatalf("another reader cannot read %q: %v", raw, err)
		}
		if loose.Method != m.Method || string(loose.Params) != string(m.Params) {
			t.Fatalf("another reader reads %q differently: %+v, %+v", raw, loose, m)
		}
		if body := m.Body(); body.JSON != nil {
			want, err := firewall.ParseBody(body.JSON, firewall.Limits{})
			if err != nil || !cmp.Equal(want.Spans, body.Spans) {
				t.Fatalf("%q: strings of the part differ: %v", raw, err)
			}
		}
		if m.Method == "" || m.Params == nil {
			return
		}
		for _, version := range []string{legacyVersion, modernVersion} {
			params, _, err := hop{version, `{}`, "{}", 9}.params(Request{Params: m.Params})
			if err != nil {
				continue
			}
			if _, err := parseMessage(request(9, m.Method, params), firewall.Limits{Bytes: 1 << 20, Depth: 200}); err != nil {
				t.Fatalf("%q goes on as %q: %v", raw, params, err)
			}
		}
	})
}
