package guards_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"callgate/firewall"
	"callgate/firewall/guards"
)

const prose = "The river ran high that spring, and nobody in the village would cross it. Marta watched from the hill, counting boats that did not come. "

const code = `export async function request(url: string, apiKey: string, token?: Token): Promise<Response> {
  const key = keys.get(url) ?? process.env.API_KEY;
  if (!key) throw new AuthError("missing api key: set API_KEY or pass { apiKey }");
  const headers = { authorization: "Bearer " + (token?.access ?? key), "x-api-key": apiKey };
  // the password is never stored; credentials come from the secret manager
  return fetch(url, { headers, credentials: "omit", cache: cacheKey(url) });
}
`

func body(b *testing.B, text string, size int) firewall.Body {
	content, err := json.Marshal(strings.ToValidUTF8(strings.Repeat(text, size/len(text)+1)[:size], ""))
	if err != nil {
		b.Fatal(err)
	}
	doc := fmt.Appendf(nil, `{"model":"gpt-5-mini","messages":[{"role":"user","content":%s}]}`, content)
	body, err := firewall.ParseBody(doc, firewall.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	return body
}

func BenchmarkRequest(b *testing.B) {
	for _, bb := range []struct {
		name string
		body firewall.Body
	}{
		{"1 KB without keywords", body(b, prose, 1<<10)},
		{"32 KB without keywords", body(b, prose, 32<<10)},
		{"32 KB of code about keys", body(b, code, 32<<10)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			call := &firewall.Call{}
			b.SetBytes(int64(len(bb.body.JSON)))
			b.ReportAllocs()
			for b.Loop() {
				call.Body, call.Checks, call.Findings = bb.body, call.Checks[:0], call.Findings[:0]
				if _, err := guard.Request(context.Background(), call); err != nil {
					b.Fatal(err)
				}
			}
			if call.Body.Edited {
				b.Fatal("a benign text was changed", call.Findings)
			}
		})
	}
}

func BenchmarkReplyOfAHundredEvents(b *testing.B) {
	for _, bb := range []struct{ name, text string }{{"prose", prose}, {"code about keys", code}} {
		b.Run(bb.name, func(b *testing.B) {
			text := strings.Repeat(bb.text, 8)
			var parts []firewall.Event
			for i := range 100 {
				parts = append(parts, slice("0", text[i*10:i*10+10]))
			}
			events := func(yield func(firewall.Event, error) bool) {
				for _, ev := range parts {
					if !yield(ev, nil) {
						return
					}
				}
			}
			b.ReportAllocs()
			call := new(firewall.Call)
			for b.Loop() {
				for _, err := range guard.Reply(context.Background(), call, events) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/event")
		})
	}
}

func BenchmarkNewSecrets(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var last *guards.Secrets
	for b.Loop() {
		last = guards.NewSecrets()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(last)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc), "B-kept")
}
