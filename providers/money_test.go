package providers_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
	"callgate/providers"

	"github.com/google/go-cmp/cmp"
)

// limited is a policy that allows everything, up to limits.
type limited []firewall.Obligation

func (p limited) Decide(*firewall.Call) firewall.Decision {
	return firewall.Decision{Effect: firewall.Allow, Rule: "R1", Policy: "p1", Obligations: p}
}

func (limited) Member(_, _, _ string) bool { return false }

func (limited) Groups(_, _ string) []string { return nil }

func (limited) Names(*identity.Principal, string, string) bool { return false }

func (limited) May(*identity.Principal, string, string) firewall.Answer { return firewall.Yes }

func limit(of string, amount int64, per string) firewall.Obligation {
	return firewall.Obligation{Do: firewall.LimitTo, With: of + per, Rule: "L", Limit: firewall.Limit{Of: of, Amount: amount, Window: time.Hour, Per: per}}
}

// newPurse is a house under limits, at a time.
func newPurse(t testing.TB, now time.Time, list map[string]providers.Provider, models map[string]providers.Model, limits ...firewall.Obligation) *house {
	t.Helper()
	clock := func() time.Time { return now }
	h := &house{}
	gate := firewall.New(firewall.Config{Stops: new(identity.Revocations), Verify: verify, Log: &h.log, Runs: firewall.NewRuns(0, new(firewall.Memory), time.Now), Budgets: firewall.NewBudgets(clock),
		Approvals: firewall.NewApprovals(new(firewall.Memory), 0, time.Now), Now: time.Now, Logger: slog.New(slog.DiscardHandler)}, &firewall.Law{Policy: limited(limits)})
	h.door = providers.New(providers.Config{Now: clock, Logger: slog.New(slog.DiscardHandler), Challenge: func(string, error) string { return "Bearer" }}, gate)
	if err := h.door.SetProviders(list, models); err != nil {
		t.Fatal(err)
	}
	return h
}

// last is the last record.
func (h *house) last(t testing.TB) audit.Record {
	t.Helper()
	records := h.records()
	if len(records) == 0 {
		t.Fatal("nothing is on record")
	}
	return records[len(records)-1]
}

func day(s string) time.Time {
	d, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return d.Add(12 * time.Hour)
}

func TestThePriceOfTheDayOfTheCall(t *testing.T) {
	const million = `{"input_tokens":1000000,"output_tokens":1000000}`
	for _, tt := range []struct {
		vendor, model, day, usage string
		cost                      int64 // -1: unknown
	}{
		{"anthropic", "claude-sonnet-5-5", "2026-10-08", `{"input_tokens":0,"cache_read_input_tokens":1000000,"output_tokens":0}`, 100_000},
		{"anthropic", "claude-sonnet-5-5", "2026-10-06", `{"input_tokens":0,"cache_read_input_tokens":1000000,"output_tokens":0}`, 200_000},
		{"anthropic", "claude-sonnet-5-5", "2026-01-01", million, -1}, // there was none
		{"anthropic", "claude-opus-4-5-20251101", "2026-01-01", million, 30_000_000},
		{"anthropic", "claude-opus-4-5-20251101-v1:0", "2026-01-01", million, 30_000_000},
		{"vertex", "claude-opus-4-5@20251101", "2026-01-01", million, 30_000_000},
		{"bedrock", "us.anthropic.claude-opus-4-5-20251101-v1:0", "2026-01-01", million, 30_000_000},
		{"bedrock", "amazon.nova-pro-v1:0", "2026-01-01", million, 4_000_000},
		{"anthropic", "claude-opus-4-5-mini", "2026-01-01", million, -1}, // is another model
		{"anthropic", "claude-sonnet-4-5", "2026-01-01", `{"input_tokens":200000,"output_tokens":1000}`, 615_000},
		{"anthropic", "claude-sonnet-4-5", "2026-01-01", `{"input_tokens":200001,"output_tokens":1000}`, 1_222_506}, // 1.200006 and 0.0225
		{"anthropic", "claude-opus-4-5", "2026-01-01", `{"input_tokens":0,"cache_creation_input_tokens":3000,"cache_creation":{"ephemeral_5m_input_tokens":1000,"ephemeral_1h_input_tokens":2000},"output_tokens":0}`, 26_250},
		{"anthropic", "claude-opus-4-5", "2026-01-01", `{"input_tokens":1000,"output_tokens":1000,"service_tier":"batch"}`, 15_000},
		{"anthropic", "claude-opus-4-6", "2026-03-01", `{"input_tokens":1000,"output_tokens":1000,"speed":"fast"}`, 180_000},
		{"anthropic", "claude-opus-4-5", "2026-03-01", `{"input_tokens":1000,"output_tokens":1000,"speed":"fast"}`, -1}, // what that adds is not known
		{"anthropic", "claude-opus-4-6", "2026-03-01", `{"input_tokens":1000,"output_tokens":1000,"inference_geo":"us"}`, 33_000},
		{"anthropic", "claude-opus-4-5", "2026-01-01", `{"input_tokens":1000,"output_tokens":0,"server_tool_use":{"web_search_requests":3}}`, 35_000},
		{"anthropic", "claude-opus-4-5", "2026-01-01", `{"input_tokens":1000,"output_tokens":0,"iterations":[{"type":"compaction","input_tokens":1000,"output_tokens":100},{"type":"message","input_tokens":1000,"output_tokens":0}]}`, 12_500},
	} {
		reply := `{"id":"m","type":"message","role":"assistant","content":[{"type":"text","text":"hi"}],"usage":` + tt.usage + `}`
		h := newPurse(t, day(tt.day), map[string]providers.Provider{"p": {Kind: "anthropic", BaseURL: serve(t, answer(200, "application/json", reply)) + "/v1", PricedAs: tt.vendor}}, nil)
		if resp, text := post(t, h.url(t), "/v1/messages", fmt.Sprintf(`{"model":"p/%s","max_tokens":10,"messages":[]}`, tt.model)); resp.StatusCode != 200 {
			t.Fatal(resp.StatusCode, text)
		}
		cost := int64(-1)
		if r := h.last(t); r.Cost != nil {
			cost = *r.Cost
		}
		if cost != tt.cost {
			t.Errorf("%s on %s for %s: %d, want %d", tt.model, tt.day, tt.usage, cost, tt.cost)
		}
	}
}

func TestAVendorIsKnownByItsHost(t *testing.T) {
	for _, tt := range []struct{ url, priced, model, want string }{
		{"https://api.openai.com/v1", "", "gpt-5", "priced"},
		{"https://my-res.openai.azure.com/openai/v1", "", "gpt-5", "priced"},
		{"https://eu-aiplatform.googleapis.com/v1", "", "gemini-2.5-pro", "priced"},
		{"https://aiplatform.eu.rep.googleapis.com/v1", "", "claude-opus-4-5", "priced"},
		{"https://bedrock-runtime.eu-west-1.amazonaws.com/v1", "", "anthropic.claude-haiku-4-5", "priced"},
		{"https://api.openai.com.example.org/v1", "", "gpt-5", "unpriced"},
		{"https://a.b.openai.azure.com/openai/v1", "", "gpt-5", "unpriced"},
		{"http://127.0.0.1:9/v1", "", "gpt-5", "unpriced"},
		{"http://127.0.0.1:9/v1", "openai", "gpt-5", "priced"},
		{"http://127.0.0.1:9/v1", "openai", "gpt-5-huge", "unpriced"},
		{"https://api.openai.com/v1", "none", "gpt-5", "unpriced"},
	} {
		h := newPurse(t, day("2026-11-01"), map[string]providers.Provider{"p": {Kind: "openai", BaseURL: tt.url, PricedAs: tt.priced}}, nil, limit(firewall.USD, 1, firewall.PerRun)) // which no call fits
		_, text := post(t, h.url(t), "/v1/chat/completions", `{"model":"p/`+tt.model+`","messages":[]}`)
		got := "priced"
		if strings.Contains(text, "no price is known") {
			got = "unpriced"
		}
		if got != tt.want {
			t.Errorf("%s at %s: %s, want %s: %s", tt.model, tt.url, got, tt.want, text)
		}
	}
	h := newPurse(t, day("2026-11-01"), nil, nil)
	if err := h.door.SetProviders(map[string]providers.Provider{"p": {Kind: "openai", BaseURL: "http://x/v1", PricedAs: "acme"}}, nil); err == nil || !strings.Contains(err.Error(), "there are no prices of acme: anthropic, azure, ") {
		t.Error(err)
	}
}

// What providers tell of usage, each in its own way, and what is on record of it.
func TestUsageIsReadWholeOrNoted(t *testing.T) {
	for _, tt := range []struct {
		name, method, reply string
		want                audit.Usage
	}{
		{"sound, pictures, caches", "chat", `{"choices":[],"service_tier":"flex","usage":{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":{"cached_tokens":40,"audio_tokens":30,"image_tokens":5,"text_tokens":65,"cached_tokens_details":{"audio_tokens":10},"cache_write_tokens":20,"cache_write_tokens_details":{"ttl_30m_tokens":15,"ttl_12h_tokens":5}},"completion_tokens_details":{"reasoning_tokens":7,"audio_tokens":20,"accepted_prediction_tokens":3}}}`,
			audit.Usage{Input: 100, Output: 50, CacheRead: 40, CacheWrite: 20, CacheWriteHour: 5, AudioIn: 30, AudioCached: 10, ImageIn: 5, AudioOut: 20, Reasoning: 7, Tier: "flex"}},
		{"thoughts beside the output", "chat", `{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":50,"total_tokens":450,"completion_tokens_details":{"reasoning_tokens":300}}}`, audit.Usage{Input: 100, Output: 350, Reasoning: 300}},
		{"more than is named", "chat", `{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":50,"total_tokens":170}}`, audit.Usage{Input: 100, Output: 70, Unknown: "total_tokens"}},
		{"tokens of a kind that is not known", "chat", `{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":50,"hologram_tokens":9,"prompt_time":0.1,"smells":2}}`, audit.Usage{Input: 109, Output: 50, Unknown: "hologram_tokens smells"}},
		{"a kind of input that is not known", "chat", `{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":{"video_tokens":60}}}`, audit.Usage{Input: 100, Output: 50, Unknown: "video_tokens"}},
		{"DeepSeek's cache", "chat", `{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}}`, audit.Usage{Input: 100, Output: 50, CacheRead: 64}},
		{"searches in responses", "responses", `{"id":"r","service_tier":"priority","output":[{"type":"web_search_call","id":"w"},{"type":"web_search_call","id":"v"}],"usage":{"input_tokens":10,"output_tokens":5,"total_tokens":15}}`, audit.Usage{Input: 10, Output: 5, Searches: 2, Tier: "priority"}},
		{"Anthropic's", "messages", `{"content":[],"usage":{"input_tokens":10,"cache_creation_input_tokens":5,"cache_read_input_tokens":3,"cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":4},"output_tokens":7,"service_tier":"standard","inference_geo":"global","output_tokens_details":{"thinking_tokens":2},"server_tool_use":{"web_search_requests":1,"web_fetch_requests":2},"dream_tokens":6}}`,
			audit.Usage{Input: 24, Output: 7, CacheRead: 3, CacheWrite: 5, CacheWriteHour: 4, Reasoning: 2, Searches: 1, Unknown: "dream_tokens"}},
		{"none is told", "chat", `{"choices":[{"message":{"content":"` + strings.Repeat("word ", 40) + `"}}]}`, audit.Usage{Input: 13, Output: 50, Estimated: true}},
	} {
		kind, path := "openai", map[string]string{"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}[tt.method]
		if tt.method == "messages" {
			kind = "anthropic"
		}
		h := newPurse(t, day("2026-11-01"), map[string]providers.Provider{"p": {Kind: kind, BaseURL: serve(t, answer(200, "application/json", tt.reply)) + "/v1"}}, nil)
		if resp, text := post(t, h.url(t), path, `{"model":"p/m","max_tokens":500,"messages":[]}     `); resp.StatusCode != 200 {
			t.Fatal(resp.StatusCode, text)
		}
		got := h.last(t).Usage
		if got == nil {
			got = new(audit.Usage)
		}
		if d := cmp.Diff(tt.want, *got); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
}

// script is a provider that sends pieces of a stream, each when it is let.
func script(pieces []string, let <-chan bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		for _, p := range pieces {
			select {
			case <-let:
			case <-r.Context().Done():
				return
			}
			_, _ = io.WriteString(w, p)
			w.(http.Flusher).Flush()
		}
		select {
		case <-let:
			if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
				c.Close() // it breaks off
			}
		case <-r.Context().Done():
		}
	}
}

func TestWhoHangsUpIsBilled(t *testing.T) {
	word := strings.Repeat("x", 400) // 100 tokens
	chat := func(s string) string {
		return `data: {"choices":[{"index":0,"delta":{"content":"` + s + `"}}]}` + "\n\n"
	}
	start := `event: message_start` + "\n" + `data: {"type":"message_start","message":{"id":"m","model":"c","usage":{"input_tokens":777,"cache_read_input_tokens":23,"output_tokens":1}}}` + "\n\n"
	block := `event: content_block_start` + "\n" + `data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}` + "\n\n"
	claude := func(s string) string {
		return `event: content_block_delta` + "\n" + `data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"` + s + `"}}` + "\n\n"
	}
	const body = `{"model":"p/m","stream":true,"max_tokens":900,"messages":[{"role":"user","content":"hello"}]}    ` // 24 tokens
	for _, tt := range []struct {
		name, kind, path string
		pieces           []string
		breaks           bool // the provider, and not the client
		want             audit.Usage
		cost             int64
	}{
		{"a chat, in the middle", "openai", "/v1/chat/completions", []string{chat(word), chat(word)}, false, audit.Usage{Input: 24, Output: 200, Estimated: true}, 2024},
		{"messages, which say at once what was read", "anthropic", "/v1/messages", []string{start, block, claude(word)}, false, audit.Usage{Input: 800, Output: 100, CacheRead: 23, Estimated: true}, 1777},
		{"the provider breaks off", "openai", "/v1/chat/completions", []string{chat(word)}, true, audit.Usage{Input: 24, Output: 100, Estimated: true}, 1024},
		{"translated from messages", "anthropic", "/v1/chat/completions", []string{start, block, claude(word)}, false, audit.Usage{Input: 800, Output: 100, CacheRead: 23, Estimated: true}, 1777},
		{"translated to messages", "openai", "/v1/messages", []string{chat(word)}, false, audit.Usage{Input: 24, Output: 100, Estimated: true}, 1024},
		{"before anything came", "openai", "/v1/chat/completions", nil, false, audit.Usage{Input: 24, Output: 900, Estimated: true}, 9024},
	} {
		t.Run(tt.name, func(t *testing.T) {
			let := make(chan bool, 16)
			arrived := make(chan bool, 1)
			send := script(tt.pieces, let)
			upstream := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				arrived <- true
				send(w, r)
			}))
			h := newPurse(t, day("2026-11-01"), map[string]providers.Provider{"p": {Kind: tt.kind, BaseURL: upstream + "/v1", Prices: map[string]firewall.Price{"m": {Input: 1, Output: 10}}}}, nil)
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			req, err := http.NewRequestWithContext(ctx, "POST", h.url(t)+tt.path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			if len(tt.pieces) == 0 {
				go func() {
					<-arrived
					hangUp()
				}()
			}
			for range tt.pieces {
				let <- true
			}
			resp, err := http.DefaultClient.Do(req)
			if len(tt.pieces) > 0 {
				if err != nil {
					t.Fatal(err)
				}
				lines := bufio.NewScanner(resp.Body)
				for words := 0; lines.Scan(); {
					if strings.Contains(lines.Text(), word) {
						if words++; words == strings.Count(strings.Join(tt.pieces, ""), word) {
							break
						}
					}
				}
				if tt.breaks {
					let <- true
					_, _ = io.Copy(io.Discard, resp.Body)
				}
				hangUp()
				resp.Body.Close()
			}
			r := h.last(t)
			if r.Usage == nil {
				t.Fatalf("nothing is billed: %+v", r)
			}
			if d := cmp.Diff(tt.want, *r.Usage); d != "" || r.Cost == nil || *r.Cost != tt.cost {
				t.Errorf("cost %v, want %d: %s", r.Cost, tt.cost, d)
			}
		})
	}
}

// A stream of a chat without usage ends well, and is billed by what was seen of it. One
// that ends with usage is billed by that.
func TestAStreamIsBilledByWhatIsTold(t *testing.T) {
	const body = `{"model":"p/m","stream":true,"max_tokens":900,"messages":[{"role":"user","content":"hello"}]}    `
	const asking = `{"model":"p/m","stream":true,"max_tokens":900,"stream_options":{"include_usage":true},"messages":[]}`
	word := `data: {"choices":[{"index":0,"delta":{"content":"` + strings.Repeat("x", 400) + `"}}]}` + "\n\n"
	usage := `data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":22,"total_tokens":33}}` + "\n\n"
	for _, tt := range []struct {
		stream, path, body, vendor string
		want                       audit.Usage
		asked, shown               bool // for usage, by callgate; to the client
	}{
		{word + done, "/v1/chat/completions", body, "none", audit.Usage{Input: 24, Output: 100, Estimated: true}, false, false},
		{word + usage + done, "/v1/chat/completions", body, "none", audit.Usage{Input: 11, Output: 22}, false, true}, // it tells by itself
		{word + usage + done, "/v1/chat/completions", body, "openai", audit.Usage{Input: 11, Output: 22}, true, false},
		{word + usage + done, "/v1/chat/completions", asking, "openai", audit.Usage{Input: 11, Output: 22}, true, true},
		{word + `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n" + usage + done, "/v1/messages", body, "none", audit.Usage{Input: 11, Output: 22}, true, false},
	} {
		var sent atomic.Value
		tells := answer(200, "text/event-stream", tt.stream)
		upstream := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			sent.Store(string(b))
			tells(w, r)
		}))
		h := newPurse(t, day("2026-11-01"), map[string]providers.Provider{"p": {Kind: "openai", BaseURL: upstream + "/v1", PricedAs: tt.vendor}}, nil)
		_, text := post(t, h.url(t), tt.path, tt.body)
		if asked, shown := strings.Contains(sent.Load().(string), `"include_usage":true`), strings.Contains(text, "prompt_tokens"); asked != tt.asked || shown != tt.shown {
			t.Errorf("%s of %s: asked %v, shown %v\n%s\n%s", tt.path, tt.vendor, asked, shown, sent.Load(), text)
		}
		if got := h.last(t).Usage; got == nil || *got != tt.want {
			t.Errorf("%+v, want %+v", got, tt.want)
		}
	}
}

// A try that failed after its provider had told of usage is billed, too.
func TestEachTryIsBilled(t *testing.T) {
	fails := serve(t, answer(200, "text/event-stream", "event: message_start\ndata: "+`{"type":"message_start","message":{"id":"m","usage":{"input_tokens":40,"output_tokens":1}}}`+"\n\n"+
		"event: error\ndata: "+`{"type":"error","error":{"type":"overloaded_error","message":"x"}}`+"\n\n"))
	works := serve(t, answer(200, "text/event-stream", "event: message_start\ndata: "+`{"type":"message_start","message":{"id":"m","usage":{"input_tokens":50,"output_tokens":1}}}`+"\n\n"+
		"event: content_block_delta\ndata: "+`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}`+"\n\n"+
		"event: message_delta\ndata: "+`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}`+"\n\n"+"event: message_stop\ndata: "+`{"type":"message_stop"}`+"\n\n"))
	price := map[string]firewall.Price{"m": {Input: 1, Output: 10}}
	for _, tt := range []struct {
		targets []providers.Target
		total   int64 // of money
		cost    int64 // of the reply; -1: none
	}{
		{[]providers.Target{{Model: "bad/m"}, {Model: "good/m"}}, 50 + 140, 140},
		{[]providers.Target{{Model: "bad/m"}, {Model: "worse/m"}}, 50 + 50, -1},
	} {
		h := newPurse(t, day("2026-11-01"), map[string]providers.Provider{
			"bad": {Kind: "anthropic", BaseURL: fails + "/v1", Prices: price}, "worse": {Kind: "anthropic", BaseURL: fails + "/v1", Prices: price}, "good": {Kind: "anthropic", BaseURL: works + "/v1", Prices: price},
		}, map[string]providers.Model{"either": {Targets: tt.targets}}, limit(firewall.USD, 10_000, firewall.PerRun))
		post(t, h.url(t), "/v1/messages", `{"model":"either","stream":true,"max_tokens":100,"messages":[]}`)
		r := h.last(t)
		sum, cost := int64(0), int64(-1)
		for _, a := range r.Attempts {
			if a.Cost != nil {
				sum += *a.Cost
			}
		}
		if r.Cost != nil {
			cost = *r.Cost
			sum += cost
		}
		if sum != tt.total || cost != tt.cost || len(r.Attempts) != 2 {
			t.Errorf("%v: %d in all, %d for the reply, want %d and %d: %+v", tt.targets, sum, cost, tt.total, tt.cost, r.Attempts)
		}
	}
}

// A request that does not bound its reply gets the bound that was reserved, where there
// is a limit, and is left alone where there is none.
func TestAReplyIsNotLongerThanWasReserved(t *testing.T) {
	var got atomic.Value
	upstream := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got.Store(string(b))
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"content":[],"choices":[{"message":{"content":"x"}}],"output":[],"usage":{"input_tokens":1,"output_tokens":1,"prompt_tokens":1,"completion_tokens":1}}`)
	}))
	price := map[string]firewall.Price{"m": {Input: 1, Output: 1}}
	for _, tt := range []struct{ name, path, kind, priced, body, want string }{
		{"chat of OpenAI", "/v1/chat/completions", "openai", "openai", `{"model":"p/m","messages":[]}`, `{"model":"m","messages":[],"max_completion_tokens":50}`},
		{"chat of others", "/v1/chat/completions", "openai", "none", `{"model":"p/m","messages":[]}`, `{"model":"m","messages":[],"max_tokens":50}`},
		{"one that says it", "/v1/chat/completions", "openai", "none", `{"model":"p/m","messages":[],"max_tokens":9}`, `{"model":"m","messages":[],"max_tokens":9}`},
		{"responses", "/v1/responses", "openai", "openai", `{"model":"p/m","input":"x"}`, `{"model":"m","input":"x","max_output_tokens":50}`},
		{"embeddings", "/v1/embeddings", "openai", "openai", `{"model":"p/m","input":"x"}`, `{"model":"m","input":"x"}`},
		{"messages, which must say it", "/v1/messages", "anthropic", "none", `{"model":"p/m","max_tokens":7,"messages":[]}`, `{"model":"m","max_tokens":7,"messages":[]}`},
		{"translated", "/v1/chat/completions", "anthropic", "none", `{"model":"p/m","messages":[{"role":"user","content":"x"}]}`, `"max_tokens":50`},
	} {
		for _, ration := range []bool{true, false} {
			var limits []firewall.Obligation
			want := tt.want
			if ration {
				limits = append(limits, limit(firewall.USD, 1_000_000, firewall.PerRun))
			} else if want = strings.ReplaceAll(tt.body, "p/m", "m"); tt.name == "translated" { // the dialect asks for one in any case
				want = tt.want
			}
			h := newPurse(t, day("2026-11-01"), map[string]providers.Provider{"p": {Kind: tt.kind, BaseURL: upstream + "/v1", Prices: price, PricedAs: tt.priced, ReplyTokens: 50}}, nil, limits...)
			if resp, text := post(t, h.url(t), tt.path, tt.body); resp.StatusCode != 200 {
				t.Fatal(tt.name, resp.StatusCode, text)
			}
			if sent := got.Load().(string); sent != want && !(tt.name == "translated" && strings.Contains(sent, want)) {
				t.Errorf("%s, limited %v: %s\nwant %s", tt.name, ration, sent, want)
			}
			if env := h.records()[0].Env; ration && tt.name == "chat of OpenAI" && (env.Cost == nil || *env.Cost != 7+50) {
				t.Errorf("%s: reserved %+v", tt.name, env)
			}
		}
	}
}

// The largest bill that a call may come to is reserved.
func TestTheDearestIsReserved(t *testing.T) {
	h := func(kind string, p firewall.Price) *house {
		return newPurse(t, day("2026-11-01"), map[string]providers.Provider{"p": {Kind: kind, BaseURL: serve(t, answer(500, "application/json", `{}`)) + "/v1", Prices: map[string]firewall.Price{"m": p}, ReplyTokens: 10}}, nil)
	}
	pad := func(s string) string { return s + strings.Repeat(" ", 400-len(s)) } // 100 tokens
	for _, tt := range []struct {
		name, kind, body string
		price            firewall.Price
		want             string
	}{
		{"as it is", "openai", `{"model":"p/m","messages":[]}`, firewall.Price{Input: 1, Output: 5, CacheWrite: 1}, "150"},
		{"several replies", "openai", `{"model":"p/m","messages":[],"n":3}`, firewall.Price{Input: 1, Output: 5, CacheWrite: 1}, "250"},
		{"a cache that the vendor writes by itself", "openai", `{"model":"p/m","messages":[]}`, firewall.Price{Input: 4, Output: 5, CacheWrite: 5}, "550"},
		{"one that is asked for", "anthropic", `{"model":"p/m","messages":[],"cache_control":{}}`, firewall.Price{Input: 4, Output: 5, CacheWrite: 5, CacheWriteHour: 8}, "550"},
		{"for an hour", "anthropic", `{"model":"p/m","messages":[],"cache_control":{"ttl":"1h"}}`, firewall.Price{Input: 4, Output: 5, CacheWrite: 5, CacheWriteHour: 8}, "850"},
		{"one that is not", "anthropic", `{"model":"p/m","messages":[]}`, firewall.Price{Input: 4, Output: 5, CacheWrite: 5, CacheWriteHour: 8}, "450"},
		{"a tier that costs more", "openai", `{"model":"p/m","messages":[],"service_tier":"priority"}`, firewall.Price{Input: 1, Output: 5, Priority: 2}, "300"},
		{"whose price is not known", "openai", `{"model":"p/m","messages":[],"service_tier":"priority"}`, firewall.Price{Input: 1, Output: 5}, "unknown"},
		{"a tier that costs less, perhaps", "openai", `{"model":"p/m","messages":[],"service_tier":"flex"}`, firewall.Price{Input: 1, Output: 5, Flex: 0.5}, "150"},
		{"a long prompt", "openai", `{"model":"p/m","messages":[]}`, firewall.Price{Input: 1, Output: 5, Above: 99, Long: &firewall.Price{Input: 2, Output: 7}}, "270"},
	} {
		h := h(tt.kind, tt.price)
		post(t, h.url(t), map[string]string{"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}[tt.kind], pad(tt.body))
		got := "unknown"
		if env := h.records()[0].Env; env.Cost != nil {
			got = fmt.Sprint(*env.Cost)
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
