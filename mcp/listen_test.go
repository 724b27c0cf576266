package mcp_test

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"callgate/mcp"

	"github.com/google/go-cmp/cmp"
)

// ear is an open stream of notifications.
type ear struct {
	t     *testing.T
	lines *bufio.Scanner
	resp  *http.Response
	leave context.CancelFunc
}

func (c *byHand) listen(t *testing.T) *ear {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	resp, err := c.with("Accept", "text/event-stream", "Content-Type", "").send(ctx, http.MethodGet, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		leave()
		resp.Body.Close()
	})
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Callgate-Call") == "" {
		t.Fatalf("HTTP %d %v", resp.StatusCode, resp.Header)
	}
	return &ear{t, bufio.NewScanner(resp.Body), resp, leave}
}

// hear is the next n messages, or fewer if the stream ends.
func (e *ear) hear(n int) []string {
	var all []string
	for len(all) < n && e.lines.Scan() {
		if data, ok := strings.CutPrefix(e.lines.Text(), "data: "); ok {
			all = append(all, data)
		}
	}
	return all
}

const toolsChanged = `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`

func TestAClientHearsThatAListChanged(t *testing.T) {
	eachServer(t, func(t *testing.T, s *mcp.Server, _ bool) {
		if strings.Contains(t.Name(), "without_streams") {
			return
		}
		h := open(t, rules{}, map[string]*mcp.Server{"files": s})
		for path, prefix := range map[string]string{"/mcp": "files__", "/mcp/files": ""} {
			c := h.visit(t, path).legacy("2025-11-25")
			e := c.listen(t)
			c.ask("tools/call", `{"name":"`+prefix+`changed"}`, "")
			if d := cmp.Diff([]string{toolsChanged}, e.hear(1)); d != "" {
				t.Error(d)
			}
		}
	})
}

func TestAStreamEnds(t *testing.T) {
	h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", shop().start(t))})
	for _, tt := range []struct {
		name string
		end  func(c *byHand, e *ear)
	}{
		{"with its session", func(c *byHand, _ *ear) { c.do(http.MethodDelete, "") }},
		{"when the client listens anew", func(c *byHand, _ *ear) { c.listen(t) }},
		{"when the client hangs up", func(_ *byHand, e *ear) { e.leave() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := h.visit(t, "/mcp").legacy("2025-11-25")
			e := c.listen(t)
			tt.end(c, e)
			if got := e.hear(1); got != nil {
				t.Errorf("heard %v", got)
			}
			h.log.awaitCall(t, e.resp.Header.Get("Callgate-Call"))
		})
	}
}

func TestANewSetOfServersIsToldAndTakesTheCalls(t *testing.T) {
	old, next := shop(), shop()
	began, proceed := make(chan bool), make(chan bool)
	old.hold(func() { began <- true; <-proceed })
	h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", old.start(t))})
	c := h.visit(t, "/mcp").legacy("2025-11-25")
	e := c.listen(t)
	answer := make(chan string)
	go func() { answer <- c.ask("tools/call", `{"name":"shop__refund"}`, "").body }()
	<-began
	h.door.SetServers(map[string]*mcp.Server{"shop": behind(t, "shop", next.start(t))})
	want := []string{toolsChanged, strings.Replace(toolsChanged, "tools", "prompts", 1), strings.Replace(toolsChanged, "tools", "resources", 1)}
	if d := cmp.Diff(want, e.hear(3)); d != "" {
		t.Error(d)
	}
	if r := c.ask("tools/call", `{"name":"shop__refund"}`, ""); r.last("result.content.0.text").Str != "paid" || len(next.got("tools/call")) != 1 {
		t.Errorf("a call after the change: %s", r.body)
	}
	close(proceed)
	if got := <-answer; !strings.Contains(got, "paid") || len(old.got("tools/call")) != 1 {
		t.Errorf("the call in flight: %s", got)
	}
	h.door.SetServers(nil)
	if r := c.ask("tools/call", `{"name":"shop__refund"}`, ""); r.last("error.code").Int() != -32602 {
		t.Errorf("a call when there are none: %s", r.body)
	}
}

func TestAnotherPolicyIsTold(t *testing.T) {
	server := shop()
	h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", server.start(t))})
	c := h.visit(t, "/mcp").legacy("2025-11-25")
	e := c.listen(t)
	h.door.Changed()
	if got := e.hear(3); got[0] != toolsChanged {
		t.Errorf("heard %v", got)
	}
	if r := c.ask("tools/call", `{"name":"shop__refund"}`, ""); r.last("result.content.0.text").Str != "paid" {
		t.Errorf("a call after that: %s", r.body)
	}
}

func TestAStreamEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(rules{})
		session := h.knock("POST", "bot-token", "", hello).Header().Get("Mcp-Session-Id")
		heard := make(chan string)
		go func() { heard <- h.knock("GET", "bot-token", session, "").Body.String() }()
		time.Sleep(time.Minute)
		h.revoked.Store(true)
		began := time.Now()
		if got := <-heard; got != strings.Repeat(":\n\n", 3) || time.Since(began) > 25*time.Second {
			t.Errorf("heard %q, the last after %v", got, time.Since(began))
		}
	})
}

// firstFlush is a client that does something the moment the head of its stream
// has arrived, before the door goes on.
type firstFlush struct {
	*httptest.ResponseRecorder
	once  sync.Once
	then  func()
	heard chan string // what was written, flush by flush
}

func (w *firstFlush) Flush() {
	w.heard <- w.Body.String()
	w.Body.Reset()
	w.once.Do(w.then)
}

func TestAChangeRightAfterTheStreamOpensIsHeard(t *testing.T) {
	h := open(t, rules{}, map[string]*mcp.Server{"files": overHTTP(t, newWeb(false, true))})
	c := h.visit(t, "/mcp").legacy("2025-11-25")
	w := &firstFlush{ResponseRecorder: httptest.NewRecorder(), heard: make(chan string, 10)}
	w.then = func() { c.ask("tools/call", `{"name":"files__changed"}`, "") }
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/mcp", nil)
	r.Header = c.with("Accept", "text/event-stream").header
	done := make(chan bool)
	go func() {
		h.door.ServeHTTP(w, r)
		close(done)
	}()
	if head := <-w.heard; head != ":\n\n" {
		t.Errorf("head = %q", head)
	}
	select {
	case got := <-w.heard:
		if !strings.Contains(got, toolsChanged) {
			t.Errorf("heard %q", got)
		}
	case <-time.After(5 * time.Second):
		t.Error("the change was lost")
	}
	leave()
	<-done
}
