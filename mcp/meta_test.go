package mcp

import (
	"encoding/json"
	"testing"

	"callgate/firewall"
)

func TestParametersGoOnInTheErasOfTheServer(t *testing.T) {
	const own = `"io.modelcontextprotocol/protocolVersion":"2026-07-28"`
	const ours = `"io.modelcontextprotocol/clientInfo":{"name":"callgate"}`
	const none = `"io.modelcontextprotocol/clientCapabilities":{}`
	const theirs = `"io.modelcontextprotocol/protocolVersion":"2027-01-01","io.modelcontextprotocol/clientInfo":{"name":"bot"},"io.modelcontextprotocol/clientCapabilities":{"sampling":{}},"io.modelcontextprotocol/logLevel":"debug"`
	tests := []struct {
		name, params string
		modernClient bool
		modernServer bool
		want, token  string
	}{
		{"nothing to a legacy server", `{"name":"a" }`, false, false, `{"name":"a" }`, ""},
		{"no parameters to a legacy server", ``, false, false, `{}`, ""},
		{"no parameters to a modern server", ``, false, true, `{"_meta":{` + own + `,` + ours + `,` + none + `}}`, ""},
		{"empty parameters to a modern server", ` { } `, false, true, ` {"_meta":{` + own + `,` + ours + `,` + none + `} } `, ""},
		{"a legacy client's metadata to a legacy server", `{"_meta":{"claudecode/toolUseId":"t", "traceparent":"00-1"},"name":"a"}`, false, false,
			`{"_meta":{"claudecode/toolUseId":"t","traceparent":"00-1"},"name":"a"}`, ""},
		{"a legacy client's metadata to a modern server", `{"name":"a","_meta":{"x":1e400}}`, false, true,
			`{"name":"a","_meta":{"x":1e400,` + own + `,` + ours + `,` + none + `}}`, ""},
		{"what a legacy client pretends, to a modern server", `{"_meta":{` + theirs + `}}`, false, true,
			`{"_meta":{"io.modelcontextprotocol/logLevel":"debug",` + own + `,` + ours + `,` + none + `}}`, ""},
		{"a modern client's metadata to a modern server", `{"_meta":{` + theirs + `}}`, true, true,
			`{"_meta":{"io.modelcontextprotocol/clientInfo":{"name":"bot"},"io.modelcontextprotocol/clientCapabilities":{"sampling":{}},"io.modelcontextprotocol/logLevel":"debug",` + own + `}}`, ""},
		{"a modern client's metadata to a legacy server", `{"_meta":{` + theirs + `,"kept":"yes"}}`, true, false, `{"_meta":{"kept":"yes"}}`, ""},
		{"a progress token", `{"_meta":{"progressToken":"mine"}}`, false, false, `{"_meta":{"progressToken":7}}`, `"mine"`},
		{"a progress token that is a big integer", `{"_meta":{"progressToken":123456789012345678901234567890}}`, false, false, `{"_meta":{"progressToken":7}}`, `123456789012345678901234567890`},
		{"another extension's metadata", `{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"1"}}}`, false, false, `{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"1"}}}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			version := legacyVersion
			if tt.modernServer {
				version = modernVersion
			}
			req := Request{Modern: tt.modernClient}
			if tt.params != "" {
				req.Params = json.RawMessage(tt.params)
			}
			can := "{}"
			if tt.modernClient && tt.modernServer {
				can = `{"sampling":{}}`
			}
			got, token, err := hop{version, `{"name":"callgate"}`, can, 7}.params(req)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want || string(token) != tt.token {
				t.Errorf("got  %s, token %s\nwant %s, token %s", got, token, tt.want, tt.token)
			}
		})
	}
}

func TestParametersThatCannotGoOnAreRefused(t *testing.T) {
	for name, params := range map[string]string{
		"an array":                       `[1]`,
		"metadata that is no object":     `{"_meta":7}`,
		"a progress token that is null":  `{"_meta":{"progressToken":null}}`,
		"a progress token that is a set": `{"_meta":{"progressToken":[1]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := hop{legacyVersion, `{}`, "{}", 7}.params(Request{Params: json.RawMessage(params)})
			if e, ok := err.(*firewall.Error); !ok || e.Code != firewall.Invalid {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestAProgressTokenIsRestoredAsItWasWritten(t *testing.T) {
	const raw = `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1.0,"progressToken":7,"big":98765432109876543210}}`
	m, err := parseMessage([]byte(raw), firewall.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if m, err = withToken(m, json.RawMessage(`"\u006dine"`), firewall.Limits{}); err != nil {
		t.Fatal(err)
	}
	if want := `{"progress":1.0,"progressToken":"\u006dine","big":98765432109876543210}`; string(m.Params) != want {
		t.Errorf("got %s, want %s", m.Params, want)
	}
}
