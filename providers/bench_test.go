package providers_test

import (
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"callgate/audit"
	"callgate/providers"
)

// BenchmarkDoor measures a call through the door beside a bare reverse proxy in
// the same process, upstream and client included. Guards and a durable log come
// on top elsewhere; see docs/performance.md for the whole.
func BenchmarkDoor(b *testing.B) {
	request := `{"model":"gpt","messages":[{"role":"user","content":"` + strings.Repeat("word ", 200) + `"}]}`
	reply := `{"id":"c","object":"chat.completion","created":1,"model":"gpt","choices":[{"index":0,"message":{"role":"assistant","content":"` + strings.Repeat("word ", 180) +
		`"},"finish_reason":"stop"}],"usage":{"prompt_tokens":200,"completion_tokens":180,"total_tokens":380}}`
	chunks := make([][]byte, 0, 101)
	for range 100 {
		chunks = append(chunks, []byte(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt","choices":[{"index":0,"delta":{"content":"some word "},"finish_reason":null}]}`+"\n\n"))
	}
	chunks = append(chunks, []byte(done))
	for _, kind := range []struct {
		name string
		up   http.HandlerFunc
	}{
		{"plain", answer(200, "application/json", reply)},
		{"stream", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "text/event-stream")
			for _, c := range chunks {
				_, _ = w.Write(c)
				w.(http.Flusher).Flush()
			}
		}},
	} {
		up := serve(b, kind.up)
		to, err := url.Parse(up)
		if err != nil {
			b.Fatal(err)
		}
		floor := httputil.NewSingleHostReverseProxy(to)
		floor.Transport = &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true}
		floor.BufferPool = new(buffers)
		gated := newDoor(b, providers.Config{}, nowhere{new(audit.Memory).Append(new(audit.Record))}, map[string]providers.Provider{"openai": {BaseURL: up + "/v1"}})
		for _, door := range []struct {
			name    string
			handler http.Handler
		}{{"floor", floor}, {"callgate", gated}} {
			b.Run(kind.name+"/"+door.name, func(b *testing.B) {
				at := serve(b, door.handler) + "/v1/chat/completions"
				client := &http.Transport{MaxIdleConnsPerHost: 64}
				defer client.CloseIdleConnections()
				b.ReportAllocs()
				b.SetParallelism(8)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						req, err := http.NewRequest("POST", at, strings.NewReader(request))
						if err != nil {
							b.Fatal(err)
						}
						req.Header.Set("Authorization", "Bearer "+token)
						resp, err := client.RoundTrip(req)
						if err != nil {
							b.Fatal(err)
						}
						if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
							b.Fatal(resp.Status, err)
						}
						resp.Body.Close()
					}
				})
			})
		}
	}
}

type buffers struct{ pool sync.Pool }

func (p *buffers) Get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 32<<10)
}

func (p *buffers) Put(b []byte) { p.pool.Put(&b) }

// nowhere is a log whose records are durable at once and gone.
type nowhere struct{ done audit.Ticket }

func (l nowhere) Append(*audit.Record) audit.Ticket { return l.done }
