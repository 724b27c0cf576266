package mcp_test

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"callgate/audit"
	"callgate/mcp"
)

// narrow is a house on whose door an agent may listen n times.
func narrow(t testing.TB, n int) *house {
	t.Helper()
	h := build(rules{})
	h.door = mcp.New(mcp.Config{
		PublicURL: "https://gate.example", Challenge: func(string, error) string { return "Bearer" },
		Streams: n, Logger: slog.New(slog.DiscardHandler),
	}, h.gate)
	h.door.SetServers(map[string]*mcp.Server{"shop": behind(t, "shop", shop().start(t))})
	web := httptest.NewServer(h.door)
	t.Cleanup(web.Close)
	h.url = web.URL
	return h
}

func TestAnAgentListensOnAsManyStreamsAsItMay(t *testing.T) {
	h := narrow(t, 2)
	clients := []*byHand{h.visit(t, "/mcp").legacy("2025-11-25"), h.visit(t, "/mcp").legacy("2025-11-25"), h.visit(t, "/mcp").legacy("2025-11-25")}
	first := clients[0].listen(t)
	clients[1].listen(t)
	r := clients[2].with("Accept", "text/event-stream", "Content-Type", "").do(http.MethodGet, "")
	if r.status != http.StatusTooManyRequests || !strings.Contains(r.body, "2 streams of this agent listen already") {
		t.Errorf("the third stream: HTTP %d %s", r.status, r.body)
	}
	if m := h.visit(t, "/mcp").modern().ask("subscriptions/listen", `{"notifications":{}}`, ""); m.last("error.code").Int() != http.StatusTooManyRequests {
		t.Errorf("a modern one: HTTP %d %s", m.status, m.body)
	}
	refusals := 0
	for _, rec := range h.log.Records() {
		if rec.Outcome == "exhausted" {
			refusals++
		}
	}
	if refusals != 2 {
		t.Errorf("%d refusals are on record: %s", refusals, types(h.log.Records()))
	}
	h.visit(t, "/mcp", "Authorization", "Bearer other-token").legacy("2025-11-25").listen(t) // another agent
	call := first.resp.Header.Get("Callgate-Call")
	first.leave()
	h.log.awaitCall(t, call)
	clients[2].listen(t)
}

// held is the heap, and the stacks, that n of something hold, for each.
func held(b *testing.B, n int, open func()) {
	b.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	open()
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/float64(n), "heap-B/each")
	b.ReportMetric(float64(int64(after.StackInuse)-int64(before.StackInuse))/float64(n), "stack-B/each")
	b.ReportMetric(0, "ns/op")
}

const idle = 1000

// sessionsOf opens n sessions of legacy clients, without a network.
func sessionsOf(b *testing.B, h *house, n int) []string {
	b.Helper()
	ids := make([]string, n)
	for i := range ids {
		r := h.knock(http.MethodPost, "bot-token", "", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`)
		if ids[i] = r.Header().Get("Mcp-Session-Id"); ids[i] == "" {
			b.Fatalf("HTTP %d %s", r.Code, r.Body)
		}
	}
	return ids
}

// BenchmarkIdleStream is what a client costs that only listens: its connection, on
// this side of which callgate is and on the other a bare socket, and its stream.
// The goal is 40 KiB of heap.
func BenchmarkIdleStream(b *testing.B) {
	for range b.N {
		b.StopTimer()
		h := narrow(b, idle)
		ids := sessionsOf(b, h, idle)
		h.log.Memory = audit.Memory{}
		conns := make([]net.Conn, idle)
		held(b, idle, func() {
			line := make([]byte, 256)
			for i, id := range ids {
				c, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
				if err != nil {
					b.Fatal(err)
				}
				conns[i] = c
				io.WriteString(c, "GET /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer bot-token\r\nAccept: text/event-stream\r\nMcp-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: "+id+"\r\n\r\n")
				if n, err := c.Read(line); err != nil || !strings.HasPrefix(string(line[:n]), "HTTP/1.1 200") {
					b.Fatalf("%s %v", line[:n], err)
				}
			}
			h.log.Memory = audit.Memory{}
		})
		for _, c := range conns {
			_ = c.Close()
		}
	}
}

// BenchmarkIdleSession is what a legacy client costs that does nothing. The goal
// is 4 KiB of heap.
func BenchmarkIdleSession(b *testing.B) {
	for range b.N {
		b.StopTimer()
		h := narrow(b, idle)
		sessionsOf(b, h, 1) // the first of them finds out what the servers have
		var ids []string
		held(b, idle, func() {
			ids = sessionsOf(b, h, idle)
			h.log.Memory = audit.Memory{}
		})
		runtime.KeepAlive(h)
		runtime.KeepAlive(ids)
	}
}
