package mcp_test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"callgate/mcp"

	"github.com/tidwall/gjson"
)

// A server that does not wait for its client's answer any more has its question taken
// back, and its call is over for the client when it is for the server.
func TestAQuestionIsTakenBackWhenNobodyWaitsForItsAnswer(t *testing.T) {
	own := func(c *mcp.ServerConfig) { c.Shared = false }
	for _, tt := range []struct {
		name   string
		server func() *mcp.Server
		args   string
		want   string // outcome of the call
	}{
		{"the server answers, over stdio", func() *mcp.Server { return overStdio(t, "legacy", own) }, "", "ok"},
		{"the server answers, over HTTP", func() *mcp.Server { return overHTTP(t, newWeb(false, true), own) }, "", "ok"},
		{"the server answers, over HTTP+SSE", func() *mcp.Server { return overHTTP(t, newOldWeb(), own) }, "", "ok"},
		{"the server ends", func() *mcp.Server { return overStdio(t, "legacy", own) }, `,"arguments":{"die":true}`, "unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := open(t, rules{}, map[string]*mcp.Server{"files": tt.server()})
			c := h.visit(t, "/mcp/files").able("2025-11-25")
			b, body := c.request("tools/call", `{"name":"asks-and-gives-up"`+tt.args+`}`, "")
			resp, err := b.send(t.Context(), http.MethodPost, body)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var asked, back string
			var last gjson.Result
			for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
				data, ok := strings.CutPrefix(lines.Text(), "data: ")
				if !ok {
					continue
				}
				switch m := gjson.Parse(data); m.Get("method").Str {
				case "elicitation/create":
					asked = m.Get("id").Raw
					go c.ask("tools/call", `{"name":"give-up"}`, "")
				case "notifications/cancelled":
					back = m.Get("params.requestId").Raw
				default:
					last = m
				}
			}
			if asked == "" || back != asked {
				t.Errorf("question %s, taken back %s", asked, back)
			}
			got := "ok"
			if last.Get("result.isError").Bool() {
				got = last.Get("result._meta.callgate/code").Str
			}
			if got != tt.want {
				t.Errorf("the client got %s, want %s", last.Raw, tt.want)
			}
			if r := c.post(`{"jsonrpc":"2.0","id":` + asked + `,"result":{"action":"accept","content":{}}}`); r.status != http.StatusAccepted {
				t.Errorf("an answer that comes late: HTTP %d %s", r.status, r.body)
			}
			if got := types(h.log.Records()); !strings.Contains(got, "closed:canceled") {
				t.Errorf("on record is %s", got)
			}
		})
	}
}
