package mcp_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"testing"

	"callgate/audit"
	"callgate/mcp"
)

// swift is an upstream that answers at once: what it costs is not the question.
func swift(w http.ResponseWriter, r *http.Request) {
	doc, _ := io.ReadAll(r.Body)
	result := `{"content":[{"type":"text","text":"` + swiftText + `"}]}`
	switch {
	case bytes.Contains(doc, []byte(`"server/discover"`)):
		result = `{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}`
	case bytes.Contains(doc, []byte(`"tools/list"`)):
		result = `{"tools":[{"name":"echo"}],"ttlMs":600000}`
	}
	id := doc[bytes.Index(doc, []byte(`"id":`))+5:]
	id = id[:bytes.IndexByte(id, ',')]
	answer := `{"jsonrpc":"2.0","id":` + string(id) + `,"result":` + result + `}`
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	io.WriteString(w, answer)
}

var swiftText = string(bytes.Repeat([]byte("x"), 1000))

// pool lends buffers to the floor.
type pool struct{ buffers sync.Pool }

func (p *pool) Get() []byte {
	if b, ok := p.buffers.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 32<<10)
}

func (p *pool) Put(b []byte) { p.buffers.Put(&b) }

// BenchmarkToolCall is a call of 1 KiB through the door, with a policy, a guard
// and a log, beside the floor: a bare reverse proxy to the same server. What the
// client and the server cost is in direct: it must be taken off both.
func BenchmarkToolCall(b *testing.B) {
	up := httptest.NewServer(http.HandlerFunc(swift))
	defer up.Close()
	h := open(b, rules{"tool:shop/drop"}, map[string]*mcp.Server{"shop": behind(b, "shop", up.URL)}, mask{"hunter2"})
	to, _ := url.Parse(up.URL)
	floor := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport:  &http.Transport{MaxIdleConnsPerHost: 256},
		BufferPool: &pool{},
	})
	defer floor.Close()
	merged, alone := h.visit(b, "/mcp").legacy("2025-06-18"), h.visit(b, "/mcp/shop").legacy("2025-06-18")
	stateless := h.visit(b, "/mcp").modern()
	bare := h.visit(b, "")
	bare.url = floor.URL
	direct := h.visit(b, "")
	direct.url = up.URL
	for _, bm := range []struct {
		name string
		from *byHand
		tool string
	}{{"direct", direct, "echo"}, {"floor", bare, "echo"}, {"mcp", merged, "shop__echo"}, {"mcp-one", alone, "echo"}, {"mcp-stateless", stateless, "shop__echo"}} {
		b.Run(bm.name, func(b *testing.B) {
			from, body := bm.from.request("tools/call", `{"name":"`+bm.tool+`","arguments":{"text":"`+swiftText+`"}}`, "")
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
			defer client.CloseIdleConnections()
			b.ReportAllocs()
			h.log.Memory = audit.Memory{} // a log that has grown costs by itself
			b.SetParallelism(8)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					req, _ := http.NewRequest("POST", from.url, bytes.NewReader([]byte(body)))
					req.Header = from.header
					resp, err := client.Do(req)
					if err != nil {
						b.Error(err)
						return
					}
					if n, _ := io.Copy(io.Discard, resp.Body); resp.StatusCode != http.StatusOK || n < 1000 {
						b.Errorf("HTTP %d, %d bytes", resp.StatusCode, n)
					}
					resp.Body.Close()
				}
			})
		})
	}
}
