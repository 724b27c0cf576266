package mcp_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"callgate/mcp"
)

// BenchmarkDo is a tools/call of 1 KB to a server of each kind, and a bare POST
// of the same size to the same server, as the floor.
func BenchmarkDo(b *testing.B) {
	params := `{"name":"plain","arguments":{"text":"` + string(bytes.Repeat([]byte("x"), 1000)) + `"},"_meta":{"claudecode/toolUseId":"toolu_1"}}`
	run := func(b *testing.B, s *mcp.Server) {
		if _, err := s.List(b.Context(), agent("ana"), "tools/list"); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.SetParallelism(8)
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				if _, _, err := call(b.Context(), s, "ana", params); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.Run("stdio", func(b *testing.B) { run(b, overStdio(b, "legacy quiet")) })
	quiet := newWeb(true, false)
	quiet.forgetful = true
	b.Run("http", func(b *testing.B) { run(b, overHTTP(b, quiet)) })
	streams := newWeb(true, true)
	streams.forgetful = true
	b.Run("http stream", func(b *testing.B) { run(b, overHTTP(b, streams)) })
	b.Run("floor", func(b *testing.B) {
		ts := httptest.NewServer(quiet)
		defer ts.Close()
		client := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}}
		b.ReportAllocs()
		b.SetParallelism(8)
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				req, _ := http.NewRequest(http.MethodPost, ts.URL, bytes.NewReader([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":`+params+`}`)))
				req.Header.Set("Mcp-Protocol-Version", "2026-07-28")
				resp, err := client.Do(req)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
	})
}
