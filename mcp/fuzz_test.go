package mcp_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"callgate/mcp"

	"github.com/tidwall/gjson"
)

// FuzzPost sends any body in any era: there is always a well-formed answer, and
// all that is no notification is on record.
func FuzzPost(f *testing.F) {
	up := shop()
	h := open(f, rules{"tool:shop/drop"}, map[string]*mcp.Server{"shop": behind(f, "shop", up.start(f))})
	sessions := map[string]string{}
	for _, version := range eras[:3] {
		sessions[version] = h.visit(f, "/mcp").legacy(version).header.Get("Mcp-Session-Id")
	}
	for i, body := range []string{
		``, `[]`, `{}`, ping, hello, `[` + ping + `,` + ping + `]`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"shop__refund","arguments":{"a":[1,{"b":null}]},"_meta":{"progressToken":1,` + modernMeta + `}}}`,
		`{"jsonrpc":"2.0","id":"x","method":"tools/list","params":{"cursor":"c2hvcAByZWZ1bmQ","_meta":{` + modernMeta + `}}}`,
		`{"jsonrpc":"2.0","id":"x","method":"completion/complete","params":{"ref":{"type":"ref/resource","uri":"shop://order/{id}"}}}`,
		`{"jsonrpc":"2.0","id":"x","method":"resources/read","params":{"uri":"shop://order/1"}}`,
		`{"jsonrpc":"2.0","id":"x","method":"logging/setLevel","params":{"level":"error"}}`,
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`,
		`{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}`, "{\"jsonrpc\":\"2.0\",\"id\":\"\xff\"}", strings.Repeat("[", 200),
	} {
		f.Add(body, "tools/call", "shop__refund", uint8(i))
	}
	f.Fuzz(func(t *testing.T, body, method, name string, how uint8) {
		r := httptest.NewRequest("POST", "http://localhost/mcp", strings.NewReader(body))
		version := eras[how%4]
		r.Header = http.Header{
			"Authorization": {"Bearer bot-token"}, "Content-Type": {"application/json"}, "Mcp-Protocol-Version": {version},
			"Accept": {[]string{"application/json, text/event-stream", "application/json", "text/event-stream"}[how/4%3]},
		}
		if version == "2026-07-28" {
			r.Header["Mcp-Method"], r.Header["Mcp-Name"] = []string{method}, []string{name}
		} else {
			r.Header["Mcp-Session-Id"] = []string{sessions[version]}
		}
		before := h.log.count.Load()
		w := httptest.NewRecorder()
		h.door.ServeHTTP(w, r)
		got := answer{w.Code, w.Result().Header, w.Body.String()}
		if got.status == http.StatusAccepted {
			if got.body != "" {
				t.Errorf("a body with HTTP 202: %s", got.body)
			}
			return
		}
		if h.log.count.Load() == before {
			t.Errorf("HTTP %d %s is not on record", got.status, got.body)
		}
		for _, m := range got.messages() {
			doc := gjson.Parse(m)
			if !gjson.Valid(m) || doc.IsObject() && doc.Get("jsonrpc").Str != "2.0" {
				t.Errorf("not well-formed: HTTP %d %s", got.status, m)
			}
			if doc.IsObject() && doc.Get("result").Exists() == doc.Get("error").Exists() && !doc.Get("method").Exists() {
				t.Errorf("neither a result nor an error: %s", m)
			}
		}
	})
}
