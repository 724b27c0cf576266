package mcp_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"

	"callgate/mcp"

	"github.com/tidwall/gjson"
)

// oldClient is a client of 2024-11-05: all that it is told comes on one stream.
type oldClient struct {
	*byHand
	lines *bufio.Scanner
	leave context.CancelFunc
	open  string // the call of the stream
}

// old opens a session of HTTP+SSE, up to initialize.
func (h *house) old(t *testing.T, path string) *oldClient {
	t.Helper()
	c := &oldClient{byHand: h.visit(t, path)}
	ctx, leave := context.WithCancel(t.Context())
	c.leave = leave
	resp, err := c.with("Accept", "text/event-stream", "Content-Type", "").send(ctx, http.MethodGet, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		leave()
		resp.Body.Close()
	})
	c.open = resp.Header.Get("Callgate-Call")
	c.lines = bufio.NewScanner(resp.Body)
	if !c.lines.Scan() || c.lines.Text() != "event: endpoint" || !c.lines.Scan() {
		t.Fatalf("HTTP %d, first line %q", resp.StatusCode, c.lines.Text())
	}
	c.url = h.url + strings.TrimPrefix(c.lines.Text(), "data: ")
	return c
}

// next is the next message on the stream.
func (c *oldClient) next() gjson.Result {
	for c.lines.Scan() {
		if data, ok := strings.CutPrefix(c.lines.Text(), "data: "); ok {
			return gjson.Parse(data)
		}
	}
	return gjson.Result{}
}

// say posts a message, which must be taken.
func (c *oldClient) say(t *testing.T, doc string) {
	t.Helper()
	if r := c.post(doc); r.status != http.StatusAccepted {
		t.Fatalf("HTTP %d %s", r.status, r.body)
	}
}

func TestAClientOf2024CanDoAllThatItsVersionHas(t *testing.T) {
	eachServer(t, func(t *testing.T, s *mcp.Server, modern bool) {
		if strings.Contains(t.Name(), "without_streams") {
			return
		}
		h := open(t, rules{}, map[string]*mcp.Server{"files": s})
		c := h.old(t, "/sse/files")
		c.say(t, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2024-11-05",`+able+`,"clientInfo":{"name":"t","version":"1"}}}`)
		if m := c.next(); m.Get("result.protocolVersion").Str != "2024-11-05" {
			t.Fatalf("initialize: %s", m.Raw)
		}
		c.say(t, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
		c.say(t, `{"jsonrpc":"2.0","id":"l","method":"tools/list"}`)
		if m := c.next(); m.Get("id").Str != "l" || m.Get("result.tools.0.name").Str != "echo" {
			t.Errorf("tools/list: %s", m.Raw)
		}
		c.say(t, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"progress","arguments":{"n":2,"who":"me"},"_meta":{"progressToken":"p"}}}`)
		for i := range 2 {
			if m := c.next(); m.Get("params.progress").Int() != int64(i) || m.Get("params.progressToken").Str != "p" {
				t.Errorf("progress: %s", m.Raw)
			}
		}
		if m := c.next(); m.Get("id").Int() != 2 || !m.Get("result.content").Exists() {
			t.Errorf("tools/call: %s", m.Raw)
		}
		c.say(t, `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"ask-user"}}`)
		for range 3 {
			q := c.next()
			c.say(t, `{"jsonrpc":"2.0","id":`+q.Get("id").Raw+`,"result":`+answers[q.Get("method").Str]+`}`)
		}
		if m := c.next(); m.Get("result.structuredContent.llm.model").Str != "m" {
			t.Errorf("a call that asks: %s", m.Raw)
		}
		c.say(t, `{"jsonrpc":"2.0","id":4,"method":"resources/subscribe","params":{"uri":"doc://one"}}`)
		if m := c.next(); m.Get("result").Raw != `{}` {
			t.Errorf("resources/subscribe: %s", m.Raw)
		}
		for _, what := range []string{"resources/updated", "tools/list_changed"} {
			for told := false; !told; { // in any order with the answer; a change may be told twice, or before callgate hears of it
				c.say(t, `{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"happen","arguments":{"what":"`+what+`"}}}`)
				for answered := false; !answered; {
					m := c.next()
					if !m.Exists() {
						t.Fatalf("%s was not told", what)
					}
					told = told || m.Get("method").Str == "notifications/"+what
					answered = m.Get("id").Int() == 5
				}
			}
		}
		c.say(t, `{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"hang"}}`)
		c.say(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":6}}`)
		h.log.await(t, "closed:canceled")
		c.say(t, `{"jsonrpc":"2.0","id":7,"method":"nothing/such"}`)
		m := c.next()
		for m.Get("method").Exists() {
			m = c.next()
		}
		if m.Get("error.code").Int() != -32601 {
			t.Errorf("an unknown method: %s", m.Raw)
		}

		if r := c.with("Authorization", "Bearer other-token").post(`{"jsonrpc":"2.0","id":8,"method":"ping"}`); r.status != http.StatusNotFound {
			t.Errorf("another principal: HTTP %d %s", r.status, r.body)
		}
		if r := c.with("Authorization", "").post(`{"jsonrpc":"2.0","id":8,"method":"ping"}`); r.status != http.StatusUnauthorized {
			t.Errorf("nobody: HTTP %d %s", r.status, r.body)
		}
		if r := c.post(`{"jsonrpc":"2.0","id":8,"method":"ping","method":"ping"}`); r.status != http.StatusBadRequest {
			t.Errorf("not a message: HTTP %d %s", r.status, r.body)
		}
		c.leave()
		h.log.awaitCall(t, c.open)
	})
}
