package providers_test

import (
	"fmt"
	"strings"
	"testing"

	"callgate/firewall"
	"callgate/providers"
)

// What a call is estimated to take, and what it then cost, as the record tells.
func TestACallIsPricedBeforeAndAfter(t *testing.T) {
	chat := `{"choices":[{"message":{"role":"assistant","content":"hi"}}],"usage":{"prompt_tokens":100,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":40}}}`
	prices := map[string]firewall.Price{
		"gpt*":  {Input: 100, Output: 100},
		"gpt-5": {Input: 1, Output: 10, CacheRead: 0.5},
		"g*":    {Input: 7, Output: 7},
	}
	for _, tt := range []struct {
		name, path, model, more string
		tokens                  int64 // beside those of the body
		estimated, cost         string
	}{
		{"a reply that is bounded", "/v1/chat/completions", "gpt-5", `,"max_tokens":50`, 50, "priced", "180"}, // 60 + 40/2 + 10*10
		{"by another name", "/v1/chat/completions", "gpt-5", `,"max_completion_tokens":70,"max_tokens":5`, 70, "priced", "180"},
		{"one that is not", "/v1/chat/completions", "gpt-5", ``, 4096, "priced", "180"},
		{"the longest name that fits counts", "/v1/chat/completions", "gpt-4", `,"max_tokens":1`, 1, "priced", "7000"},
		{"a model without a price", "/v1/chat/completions", "llama", `,"max_tokens":50`, 50, "unknown", "unknown"},
		{"numbers cost nothing", "/v1/embeddings", "gpt-5", `,"input":"x"`, 0, "priced", "180"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouseWith(t, providers.Config{}, map[string]providers.Provider{
				"openai": {BaseURL: serve(t, answer(200, "application/json", chat)) + "/v1", Prices: prices, Models: []string{tt.model}},
			})
			body := fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%q}]%s}`, tt.model, strings.Repeat("word ", 100), tt.more)
			resp, text := post(t, serve(t, h.door), tt.path, body)
			if resp.StatusCode != 200 {
				t.Fatal(resp.StatusCode, text)
			}
			records := h.log.Records()
			opened, closed := records[0], records[len(records)-1]
			if want := tt.tokens + int64(len(body)+3)/4; opened.Env.Tokens != want {
				t.Errorf("estimated %d tokens, want %d", opened.Env.Tokens, want)
			}
			if (opened.Env.Cost != nil) != (tt.estimated == "priced") || opened.Env.IP != "127.0.0.1" {
				t.Errorf("env = %+v", opened.Env)
			}
			cost := "unknown"
			if closed.Cost != nil {
				cost = fmt.Sprint(*closed.Cost)
			}
			if cost != tt.cost {
				t.Errorf("it cost %s, want %s", cost, tt.cost)
			}
		})
	}
}

func TestCountingTokensIsFree(t *testing.T) {
	h := newHouseWith(t, providers.Config{}, map[string]providers.Provider{
		"anthropic": {BaseURL: serve(t, answer(200, "application/json", `{"input_tokens":9}`)) + "/v1", Models: []string{"claude"}},
	})
	if resp, text := post(t, serve(t, h.door), "/v1/messages/count_tokens", `{"model":"claude","messages":[]}`); resp.StatusCode != 200 {
		t.Fatal(resp.StatusCode, text)
	}
	if env := h.log.Records()[0].Env; env.Tokens != 0 || env.Cost == nil || *env.Cost != 0 {
		t.Errorf("env = %+v", env)
	}
}
