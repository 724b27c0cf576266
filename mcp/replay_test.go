package mcp_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"callgate/mcp"

	"github.com/tidwall/gjson"
)

// follow reads events of a stream: each has its id and its data.
func follow(body *bufio.Scanner, each func(id, data string) bool) {
	id := ""
	for body.Scan() {
		switch line := body.Text(); {
		case strings.HasPrefix(line, "id: "):
			id = line[len("id: "):]
		case strings.HasPrefix(line, "data: ") && len(line) > len("data: "):
			if !each(id, line[len("data: "):]) {
				return
			}
		}
	}
}

func TestAClientThatLostItsConnectionGoesOnWithItsCall(t *testing.T) {
	for _, version := range []string{"2025-03-26", "2025-06-18", "2025-11-25"} {
		t.Run(version, func(t *testing.T) {
			f := newWeb(false, true)
			h := open(t, rules{}, map[string]*mcp.Server{"files": overHTTP(t, f)})
			c := h.visit(t, "/mcp/files").able(version)
			ctx, hangUp := context.WithCancel(t.Context())
			b, body := c.request("tools/call", `{"name":"ask-user"}`, "")
			resp, err := b.send(ctx, http.MethodPost, body)
			if err != nil {
				t.Fatal(err)
			}
			var last string
			var question gjson.Result
			follow(bufio.NewScanner(resp.Body), func(id, data string) bool {
				last, question = id, gjson.Parse(data)
				return false
			})
			hangUp()
			resp.Body.Close()
			if question.Get("method").Str != "elicitation/create" || last == "" {
				t.Fatalf("the first event was %q %s", last, question.Raw)
			}

			back := func(c *byHand, last string) *http.Response {
				resp, err := c.with("Accept", "text/event-stream", "Last-Event-Id", last).send(t.Context(), http.MethodGet, "")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { resp.Body.Close() })
				return resp
			}
			if r := back(c.with("Authorization", "Bearer other-token"), last); r.StatusCode != http.StatusNotFound {
				t.Errorf("another principal got HTTP %d", r.StatusCode)
			}
			for _, none := range []string{"99-0", "x", "1-999"} {
				if r := back(c, none); r.StatusCode == http.StatusOK && r.Header.Get("Content-Type") == "text/event-stream" {
					t.Errorf("an event that never was, %s, was answered", none)
				}
			}
			answer := func(q gjson.Result) {
				c.post(`{"jsonrpc":"2.0","id":` + q.Get("id").Raw + `,"result":` + answers[q.Get("method").Str] + `}`)
			}
			again := back(c, last)
			answer(question)
			var result gjson.Result
			follow(bufio.NewScanner(again.Body), func(_, data string) bool {
				m := gjson.Parse(data)
				if m.Get("method").Exists() {
					answer(m)
					return true
				}
				result = m
				return false
			})
			if got := result.Get("result.structuredContent.dirs").Raw; got != answers["roots/list"] {
				t.Errorf("the result is %s", result.Raw)
			}
			for _, r := range h.log.Records() {
				if r.Outcome == "canceled" {
					t.Errorf("on record is %+v", r)
				}
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, line := range f.seen {
				if strings.Contains(line, "notifications/cancelled") {
					t.Errorf("the server was told %s", line)
				}
			}
		})
	}
}

func TestACallEndsWithTheSessionOfAClientThatIsAway(t *testing.T) {
	f := newWeb(false, true)
	h := open(t, rules{}, map[string]*mcp.Server{"files": overHTTP(t, f)})
	c := h.visit(t, "/mcp/files").able("2025-11-25")
	ctx, hangUp := context.WithCancel(t.Context())
	b, body := c.request("tools/call", `{"name":"hang-after-progress"}`, `"progressToken":1`)
	resp, err := b.send(ctx, http.MethodPost, body)
	if err != nil {
		t.Fatal(err)
	}
	follow(bufio.NewScanner(resp.Body), func(string, string) bool { return false })
	hangUp()
	resp.Body.Close()
	c.do(http.MethodDelete, "")
	h.log.awaitCall(t, resp.Header.Get("Callgate-Call"))
	f.await(t, func(line string) bool { return strings.Contains(line, "notifications/cancelled") })
}

func TestAServerMayBreakOffItsStreamAndGoOnLater(t *testing.T) {
	up := shop()
	up.handle = func(w http.ResponseWriter, r *http.Request, m gjson.Result) bool {
		if m.Get("method").Str != "tools/call" {
			return false
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("id: " + m.Get("id").Raw + "\nretry: 20\ndata:\n\n"))
		return true
	}
	web := &breaking{upstream: up}
	h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", web.start(t))})
	r := h.visit(t, "/mcp/shop").legacy("2025-11-25").ask("tools/call", `{"name":"refund"}`, "")
	if r.last("result.content.0.text").Str != "later" || !strings.HasPrefix(r.body, "id: 1-0\nretry: 1000\ndata: \n\n") {
		t.Errorf("answer = %s", r.body)
	}
	if r = h.visit(t, "/mcp/shop").modern().ask("tools/call", `{"name":"refund"}`, ""); r.last("result.content.0.text").Str != "later" {
		t.Errorf("answer = %s", r.body)
	}
}

func TestALongCallCanBeComeBackToBeforeAnythingIsSaid(t *testing.T) {
	for _, modern := range []bool{false, true} {
		began, proceed := make(chan bool, 2), make(chan bool)
		up := shop()
		up.modern = modern
		up.hold(func() { began <- true; <-proceed })
		h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})

		older := h.visit(t, "/mcp/shop").legacy("2025-06-18") // which knows no event without data
		plain := make(chan *answer, 1)
		go func() { plain <- older.ask("tools/call", `{"name":"refund"}`, "") }()
		<-began

		c := h.visit(t, "/mcp/shop").legacy("2025-11-25")
		ctx, hangUp := context.WithCancel(t.Context())
		b, body := c.request("tools/call", `{"name":"refund"}`, "")
		resp, err := b.send(ctx, http.MethodPost, body)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, len("id: 1-0\nretry: 1000\ndata: \n\n"))
		if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "id: 1-0\nretry: 1000\ndata: \n\n" {
			t.Errorf("the stream begins with %q: %v", first, err)
		}
		call := resp.Header.Get("Callgate-Call")
		if resp.Header.Get("Content-Type") != "text/event-stream" || call == "" {
			t.Errorf("its head is %v", resp.Header)
		}
		hangUp()
		resp.Body.Close()
		close(proceed)

		again := c.with("Accept", "text/event-stream", "Last-Event-Id", "1-0").do(http.MethodGet, "")
		if again.last("result.content.0.text").Str != "paid" {
			t.Errorf("who came back got HTTP %d %s", again.status, again.body)
		}
		if r := <-plain; r.header.Get("Content-Type") != "application/json" || r.last("result.content.0.text").Str != "paid" {
			t.Errorf("who cannot come back got %v %s", r.header, r.body)
		}
		h.log.awaitCall(t, call)
		for _, r := range h.log.Records() {
			if r.Outcome == "canceled" {
				t.Errorf("on record is %+v", r)
			}
		}
		if n := len(up.got("tools/call")); n != 2 {
			t.Errorf("the server was called %d times", n)
		}
	}
}

// breaking is an upstream that answers calls where they are asked for again.
type breaking struct{ *upstream }

func (b *breaking) start(t testing.TB) string { return serve(t, b) }

func (b *breaking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if last := r.Header.Get("Last-Event-Id"); r.Method == http.MethodGet && last != "" {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte(`data: {"jsonrpc":"2.0","id":` + last + `,"result":{"content":[{"type":"text","text":"later"}]}}` + "\n\n"))
		return
	}
	b.upstream.ServeHTTP(w, r)
}
