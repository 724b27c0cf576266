package providers_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callgate/firewall"
	"callgate/providers"
)

// 64 agents' loops in one run, all at once, against a budget: what the provider bills is
// never more than the budget, nothing that fits is refused, and nothing stays reserved.
func TestARunawayRunStopsAtItsBudget(t *testing.T) {
	for _, tt := range []struct {
		of     string
		amount int64
	}{{firewall.USD, 300_000}, {firewall.Tokens, 100_000}} {
		t.Run(tt.of, func(t *testing.T) {
			var billed, served, peak, flying atomic.Int64
			all := make(chan bool) // 64 are under way
			upstream := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				now := flying.Add(1)
				defer flying.Add(-1)
				for p := peak.Load(); now > p && !peak.CompareAndSwap(p, now); p = peak.Load() {
				}
				var asked struct {
					Most int64 `json:"max_tokens"`
				}
				body, _ := io.ReadAll(r.Body)
				_ = json.Unmarshal(body, &asked)
				n := served.Add(1)
				if n == 64 {
					close(all)
				}
				select {
				case <-all:
				case <-r.Context().Done():
				}
				in, out := int64(len(body))/4-n%7, 1+(n*37)%asked.Most // what it takes differs, and never is more than was allowed
				took := in + out
				if tt.of == firewall.USD {
					took = in*3 + out*15
				}
				billed.Add(took)
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `{"choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant","content":null,"tool_calls":[{"id":"c%d","type":"function","function":{"name":"again","arguments":"{}"}}]}}],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`, n, in, out, in+out)
			}))
			h := newPurse(t, time.Unix(1e9, 0), map[string]providers.Provider{"p": {Kind: "openai", BaseURL: upstream + "/v1", Prices: map[string]firewall.Price{"m": {Input: 3, Output: 15, CacheWrite: 3}}, ReplyTokens: 200}}, nil,
				limit(tt.of, tt.amount, firewall.PerRun))
			door := h.url(t)
			const body = `{"model":"p/m","max_tokens":200,"messages":[{"role":"user","content":"go on, and call the tool again whatever it says"},{"role":"tool","tool_call_id":"c1","content":"again"}]}`
			estimate := (int64(len(body)) + 3) / 4
			if tt.of == firewall.USD {
				estimate = estimate*3 + 200*15
			} else {
				estimate += 200
			}
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
			defer client.CloseIdleConnections()
			ask := func() (int, string) {
				req, err := http.NewRequest("POST", door+"/v1/chat/completions", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return 0, ""
				}
				req.Header.Set("Authorization", "Bearer "+token)
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return 0, ""
				}
				defer resp.Body.Close()
				text, _ := io.ReadAll(resp.Body)
				return resp.StatusCode, string(text)
			}
			var loops sync.WaitGroup
			for range 64 {
				loops.Go(func() {
					for refused := 0; refused < 3; { // as a client does that tries again
						switch code, text := ask(); code {
						case 200:
						case 429:
							refused++
							if !strings.Contains(text, `"rule":"L"`) || !strings.Contains(text, "this run ") {
								t.Error(text)
							}
						default:
							t.Error(code, text)
							return
						}
					}
				})
			}
			loops.Wait()
			// Now that none is under way, there is room for a call exactly where its estimate fits.
			for {
				fits := billed.Load()+estimate <= tt.amount
				code, text := ask()
				if (code == 200) != fits {
					t.Fatalf("%d of %d are spent, a call may take %d: %d %s", billed.Load(), tt.amount, estimate, code, text)
				}
				if !fits {
					break
				}
			}
			spent := int64(0)
			for _, r := range h.records() {
				if r.Usage != nil && tt.of == firewall.USD {
					spent += *r.Cost
				} else if r.Usage != nil {
					spent += r.Usage.Input + r.Usage.Output
				}
			}
			if billed.Load() > tt.amount || spent != billed.Load() {
				t.Errorf("billed %d, on record %d, of %d", billed.Load(), spent, tt.amount)
			}
			if served.Load() < 20 || peak.Load() < 64 {
				t.Errorf("%d calls, at most %d at once: that shows nothing", served.Load(), peak.Load())
			}
			t.Logf("%d calls, at most %d at once, %d of %d", served.Load(), peak.Load(), billed.Load(), tt.amount)
		})
	}
}
