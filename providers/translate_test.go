package providers_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"callgate/audit"
	"callgate/identity"
	"callgate/providers"

	"github.com/tidwall/gjson"
)

// anthropicStream is a stream of messages with a thought, a text and a tool's call.
const anthropicStream = `event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"usage":{"input_tokens":65,"cache_read_input_tokens":30,"output_tokens":1}}}

event: ping
data: {"type":"ping"}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"the secret is sw"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"ordfish, I think"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"look","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"q\":1}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":20}}

event: message_stop
data: {"type":"message_stop"}

`

// A witness answers and keeps what it was asked.
type witness struct {
	mu     sync.Mutex
	answer http.HandlerFunc
	path   string
	header http.Header
	body   string
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	w.path, w.header, w.body = r.URL.Path, r.Header, string(body)
	answer := w.answer
	w.mu.Unlock()
	answer(rw, r)
}

// answers has it answer otherwise from now on.
func (w *witness) answers(f http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = f
}

func bilingual(t *testing.T, w *witness, strict bool) *house {
	at := serve(t, w)
	return newHouseWith(t, providers.Config{}, map[string]providers.Provider{
		"anthropic": {BaseURL: at + "/v1", APIKey: identity.NewSecret("sk-ant-0123456789"), Models: []string{"claude"}, Strict: strict},
		"openai":    {BaseURL: at + "/v1", APIKey: identity.NewSecret("sk-0123456789"), Models: []string{"gpt"}, Strict: strict},
	}, mask{"swordfish"})
}

func TestAChatClientUsesAnotherVendorsModel(t *testing.T) {
	w := &witness{answer: answer(200, "text/event-stream", anthropicStream)}
	h := bilingual(t, w, false)
	resp, body := post(t, h.url(t), "/v1/chat/completions", `{"model":"claude","stream":true,"stream_options":{"include_usage":true},"seed":7,"messages":[{"role":"system","content":"s"},{"role":"user","content":"my swordfish"}]}`, "Openai-Organization", "org")
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" || resp.Header.Get("Callgate-Lossy") != "seed" {
		t.Fatalf("HTTP %d %v %s", resp.StatusCode, resp.Header, body)
	}
	if w.path != "/v1/messages" || w.header.Get("X-Api-Key") != "sk-ant-0123456789" || w.header.Get("Anthropic-Version") == "" || w.header.Get("Openai-Organization") != "" || w.header.Get("Authorization") != "" {
		t.Errorf("asked at %s with %v", w.path, w.header)
	}
	if gjson.Get(w.body, "messages.0.content.0.text").Str != "my [masked]" || gjson.Get(w.body, "model").Str != "claude" || !gjson.Get(w.body, "stream").Bool() {
		t.Errorf("asked %s", w.body)
	}
	var text, args, name, finish string
	var usage gjson.Result
	for line := range strings.Lines(body) {
		doc, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		if !ok || doc == "[DONE]" {
			continue
		}
		v := gjson.Parse(doc)
		if v.Get("object").Str != "chat.completion.chunk" || v.Get("id").Str != "msg_1" {
			t.Errorf("no chunk: %s", doc)
		}
		delta := v.Get("choices.0.delta")
		text += delta.Get("content").Str
		args += delta.Get("tool_calls.0.function.arguments").Str
		name += delta.Get("tool_calls.0.function.name").Str
		finish += v.Get("choices.0.finish_reason").Str
		if u := v.Get("usage"); u.IsObject() {
			usage = u
		}
	}
	if text != "the secret is [masked], I think" || name != "look" || args != `{"q":1}` || finish != "tool_calls" || usage.Get("prompt_tokens").Int() != 95 || usage.Get("completion_tokens").Int() != 20 || !strings.HasSuffix(body, "data: [DONE]\n\n") {
		t.Errorf("the client got %q %q %q %q %s\n%s", text, name, args, finish, usage.Raw, body)
	}
	records := h.records()
	last := records[len(records)-1]
	if last.Usage == nil || last.Usage.Input != 95 || last.Usage.Output != 20 || last.Usage.CacheRead != 30 || last.Outcome != "ok" || strings.Join(last.Lossy, " ") != "seed" {
		t.Errorf("on record: %+v %+v", last, last.Usage)
	}
	if got := types(records); got != "opened proposed closed:ok" {
		t.Errorf("on record: %s", got)
	}
}

func TestAMessagesClientUsesAnotherVendorsModel(t *testing.T) {
	w := &witness{answer: answer(200, "application/json", `{"id":"c1","object":"chat.completion","model":"gpt","choices":[{"index":0,"message":{"role":"assistant","content":"swordfish","tool_calls":[{"id":"t1","type":"function","function":{"name":"look","arguments":"{\"q\":1}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2}}}`)}
	h := bilingual(t, w, false)
	resp, body := post(t, h.url(t), "/v1/messages", `{"model":"gpt","max_tokens":50,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":"q"}]}`, "Anthropic-Version", "2023-06-01", "Anthropic-Beta", "x-2025-01-01")
	v := gjson.Parse(body)
	if resp.StatusCode != 200 || v.Get("type").Str != "message" || v.Get("content.0.text").Str != "[masked]" || v.Get("content.1.input").Raw != `{"q":1}` || v.Get("stop_reason").Str != "tool_use" ||
		v.Get("usage.input_tokens").Int() != 7 || v.Get("usage.cache_read_input_tokens").Int() != 2 || resp.Header.Get("Callgate-Lossy") != "system.cache_control" {
		t.Errorf("HTTP %d %v %s", resp.StatusCode, resp.Header, body)
	}
	if w.path != "/v1/chat/completions" || w.header.Get("Authorization") != "Bearer sk-0123456789" || w.header.Get("Anthropic-Beta") != "" || gjson.Get(w.body, "max_completion_tokens").Int() != 50 {
		t.Errorf("asked at %s with %v: %s", w.path, w.header, w.body)
	}
}

func TestErrorsOfAnotherDialect(t *testing.T) {
	for _, test := range []struct {
		name, path, model string
		answer            http.HandlerFunc
		status            int
		want, at          string // text at a path of the error
	}{
		{"throttled", "/v1/chat/completions", "claude", says(429, `{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}`), 429, "slow down", "error.message"},
		{"overloaded", "/v1/messages", "gpt", says(503, `{"error":{"message":"busy","type":"server_error"}}`), 503, "overloaded_error", "error.type"},
		{"that repeats the key", "/v1/messages", "gpt", says(401, `{"error":{"message":"bad key sk-0123456789","type":"invalid_request_error","code":"invalid_api_key"}}`), 401, "authentication_error", "error.type"},
		{"that is none", "/v1/chat/completions", "claude", answer(502, "text/html", "<html>"), 502, "provider_error", "error.code"},
		{"a reply that is none", "/v1/chat/completions", "claude", says(200, `{"choices":[]}`), 503, "unavailable", "error.code"},
		{"a reply that is no JSON", "/v1/messages", "gpt", says(200, `<`), 503, "overloaded_error", "error.type"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := bilingual(t, &witness{answer: test.answer}, false)
			resp, body := post(t, h.url(t), test.path, `{"model":"`+test.model+`","max_tokens":5,"messages":[{"role":"user","content":"q"}]}`)
			if resp.StatusCode != test.status || !strings.Contains(gjson.Get(body, test.at).Str, test.want) || strings.Contains(body, "0123456789") {
				t.Errorf("HTTP %d %s", resp.StatusCode, body)
			}
		})
	}
}

func TestStrictTranslationRefusesWhatItWouldLose(t *testing.T) {
	w := &witness{answer: answer(200, "text/event-stream", anthropicStream)}
	h := bilingual(t, w, true)
	resp, body := post(t, h.url(t), "/v1/chat/completions", `{"model":"claude","seed":7,"messages":[{"role":"user","content":"q"}]}`)
	if resp.StatusCode != 400 || !strings.Contains(body, "seed") || w.body != "" {
		t.Errorf("HTTP %d %s; asked %q", resp.StatusCode, body, w.body)
	}
	if resp, body := post(t, h.url(t), "/v1/chat/completions", `{"model":"claude","stream":true,"messages":[{"role":"user","content":"q"}]}`); resp.StatusCode != 200 {
		t.Errorf("HTTP %d %s", resp.StatusCode, body)
	}
}

// TestATranslatedStreamEndsWellWhereverItIsCut cuts the provider's stream at every byte.
func TestATranslatedStreamEndsWellWhereverItIsCut(t *testing.T) {
	w := &witness{}
	h := bilingual(t, w, false)
	at := h.url(t)
	for cut := 0; cut < len(anthropicStream); cut += 7 {
		w.answers(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/event-stream")
			rw.WriteHeader(200)
			io.WriteString(rw, anthropicStream[:cut])
			rw.(http.Flusher).Flush()
			if cut%2 == 0 {
				panic(http.ErrAbortHandler)
			}
		})
		_, body := post(t, at, "/v1/chat/completions", `{"model":"claude","stream":true,"messages":[{"role":"user","content":"q"}]}`)
		whole := strings.Contains(anthropicStream[:cut], "event: message_stop\ndata: {\"type\":\"message_stop\"}\n")
		streamed := strings.HasPrefix(body, "data: ")
		switch {
		case whole && !strings.HasSuffix(body, "data: [DONE]\n\n"), whole && strings.Contains(body, `"error"`):
			t.Errorf("cut at %d, where all is there: %s", cut, body)
		case !whole && (!strings.Contains(body, `"error"`) || streamed && !strings.HasSuffix(body, "data: [DONE]\n\n")):
			t.Errorf("cut at %d: %s", cut, body)
		}
		for line := range strings.Lines(body) {
			if doc, ok := strings.CutPrefix(strings.TrimSpace(line), "data: "); ok && doc != "[DONE]" && !gjson.Valid(doc) {
				t.Errorf("cut at %d: %s", cut, doc)
			}
		}
	}
	if records := h.records(); records[len(records)-1].Type != audit.Closed {
		t.Errorf("on record: %s", types(records[len(records)-3:]))
	}
}

func TestAFallbackMaySpeakAnotherDialect(t *testing.T) {
	busyOne := serve(t, says(503, busy))
	w := &witness{answer: answer(200, "text/event-stream", anthropicStream)}
	list := map[string]providers.Provider{"openai": {BaseURL: busyOne + "/v1"}, "anthropic": {BaseURL: serve(t, w) + "/v1"}}
	h := newHouseWith(t, providers.Config{}, list)
	if err := h.door.SetProviders(list, map[string]providers.Model{"best": {Targets: []providers.Target{{Model: "openai/gpt"}, {Model: "anthropic/claude"}}}}); err != nil {
		t.Fatal(err)
	}
	resp, body := post(t, h.url(t), "/v1/chat/completions", `{"model":"best","stream":true,"messages":[{"role":"user","content":"q"}]}`)
	if resp.StatusCode != 200 || !strings.Contains(body, "ordfish") || !strings.HasSuffix(body, "data: [DONE]\n\n") || resp.Header.Get("Callgate-Model") != "anthropic/claude" {
		t.Errorf("HTTP %d %v %s", resp.StatusCode, resp.Header, body)
	}
	if got := gjson.Get(w.body, "model").Str; got != "claude" {
		t.Errorf("asked for %s", got)
	}
}
