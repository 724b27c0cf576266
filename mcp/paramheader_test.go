package mcp

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAnnotationsOfASchemaAreCollected(t *testing.T) {
	tests := []struct {
		name, schema string
		want         []ParamHeader
		bad          bool
	}{
		{"none", `{"properties":{"a":{"type":"string"}}}`, nil, false},
		{"no schema", `true`, nil, false},
		{"simple types", `{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":["integer","boolean"],"x-mcp-header":"B"}}}`, []ParamHeader{{"A", "a"}, {"B", "b"}}, false},
		{"a deep one whose name has dots", `{"properties":{"a.b":{"properties":{"c*":{"type":"string","x-mcp-header":"C"}}}}}`, []ParamHeader{{"C", `a\.b.c\*`}}, false},
		{"one that is not reached by properties only", `{"properties":{"a":{"items":{"type":"string","x-mcp-header":"A"}}},"x":"x-mcp-header"}`, nil, false},
		{"one of a number", `{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}`, nil, true},
		{"one of no type", `{"properties":{"a":{"x-mcp-header":"A"}}}`, nil, true},
		{"one that may be null", `{"properties":{"a":{"type":["string","null"],"x-mcp-header":"A"}}}`, nil, true},
		{"an empty one", `{"properties":{"a":{"type":"string","x-mcp-header":""}}}`, nil, true},
		{"one that is no string", `{"properties":{"a":{"type":"string","x-mcp-header":7}}}`, nil, true},
		{"one that would split a header", `{"properties":{"a":{"type":"string","x-mcp-header":"A: x\r\nB"}}}`, nil, true},
		{"one twice but for case", `{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}`, nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := paramHeaders(parsed([]byte(tt.schema)))
			if d := cmp.Diff(tt.want, got); d != "" || (err != nil) != tt.bad {
				t.Errorf("%s%v", d, err)
			}
		})
	}
}

func TestAnArgumentIsWrittenAsAHeader(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"a word", `{"a":"x y"}`, "x y"},
		{"an empty string", `{"a":""}`, ""},
		{"a string with white space around", `{"a":" x"}`, "=?base64?IHg=?="},
		{"a string beyond ASCII", `{"a":"\u00fc"}`, "=?base64?w7w=?="},
		{"a string that would split a header", `{"a":"x\r\ny"}`, "=?base64?eA0KeQ==?="},
		{"a string that looks encoded", `{"a":"=?base64?eA==?="}`, "=?base64?PT9iYXNlNjQ/ZUE9PT89?="},
		{"an integer", `{"a":-7}`, "-7"},
		{"a big integer", `{"a":123456789012345678901234567890}`, "123456789012345678901234567890"},
		{"an integer with an exponent", `{"a":1.5e1}`, "15"},
		{"a fraction", `{"a":1.5}`, "none"},
		{"a boolean", `{"a":true}`, "true"},
		{"null", `{"a":null}`, "none"},
		{"an object", `{"a":{}}`, "none"},
		{"nothing", `{}`, "none"},
		{"no arguments", ``, "none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := ParamHeader{"A", "a"}.Value([]byte(tt.args))
			if !ok {
				got = "none"
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
