package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"callgate/firewall"
)

func TestTheDoormanSendsAwayInTheCallersDialect(t *testing.T) {
	var recorded []string
	d := &doorman{
		refuse: func(_ context.Context, call *firewall.Call, err error) error {
			e := err.(*firewall.Error)
			e.Call = "c1"
			recorded = append(recorded, call.Method+" "+call.Route+" "+call.From+" "+e.Code.String())
			return e
		},
		next: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "in") }),
	}
	f := listening(t, d.ServeHTTP)
	const many = "the request has more than 100 header fields: send fewer"
	const strange = "this gate answers neither to this name nor to web pages from elsewhere: use its public_url"
	for _, test := range []struct {
		name, path, host string
		fields           int
		status           int
		want, record     string
	}{
		{"few fields", "/mcp", "", 90, 200, "in", ""},
		{"many at MCP", "/mcp/files", "", 101, 431, `{"error":{"code":-32600,"data":{"call":"c1"},"message":"` + many + `"},"id":null,"jsonrpc":"2.0"}`, "GET /mcp 127.0.0.1 invalid"},
		{"many at OpenAI's", "/v1/chat/completions", "", 101, 431, `{"error":{"code":"invalid","message":"` + many + `","param":null,"type":"invalid_request_error"}}`, "GET /v1 127.0.0.1 invalid"},
		{"many at Anthropic's", "/v1/messages", "", 101, 431, `{"error":{"message":"` + many + `","type":"invalid_request_error"},"request_id":"c1","type":"error"}`, "GET /v1 127.0.0.1 invalid"},
		{"many at OAuth's", "/oauth/token", "", 101, 431, `{"error":"invalid_request","error_description":"` + many + `"}`, "GET /oauth 127.0.0.1 invalid"},
		{"many elsewhere", "/made/up", "", 101, 431, `{"error":{"code":"invalid","message":"` + many + `","type":"invalid_request_error"}}`, "GET / 127.0.0.1 invalid"},
		{"another name at Anthropic's", "/v1/messages", "evil.example", 1, 403, `{"error":{"message":"` + strange + `","type":"permission_error"},"request_id":"c1","type":"error"}`, "GET /v1 127.0.0.1 denied"},
		{"another name at OpenAI's", "/v1/models", "evil.example", 1, 403, `{"error":{"code":"denied","message":"` + strange + `","param":null,"type":"permission_error"}}`, "GET /v1 127.0.0.1 denied"},
		{"another name at MCP, which says so itself", "/mcp", "evil.example", 1, 200, "in", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			recorded = nil
			req, err := http.NewRequest("GET", "http://"+f.addr()+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = test.host
			for i := range test.fields {
				req.Header.Add(fmt.Sprintf("X-Field-%d", i%7), "v") // one name many times counts as well
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(string(body)); res.StatusCode != test.status || got != test.want {
				t.Errorf("got %d %s, want %d %s", res.StatusCode, got, test.status, test.want)
			}
			if got := strings.Join(recorded, "; "); got != test.record {
				t.Errorf("on record %q, want %q", got, test.record)
			}
		})
	}
}
