package providers_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"callgate/audit"
	"callgate/identity"
	"callgate/providers"

	"github.com/tidwall/gjson"
)

// claudeStream is a stream of messages with a thought, a text and the calls of a custom
// tool and of one in a namespace, both of which are functions to it.
const claudeStream = `event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"usage":{"input_tokens":65,"cache_read_input_tokens":30,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"not the swordfish"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig=="}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"the secret is sw"}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"ordfish, I think"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"apply_patch","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"input\":\"*** Begin\\n+sword"}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"fish\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_2","name":"mcp__shop__list","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"q\":1}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":20}}

event: message_stop
data: {"type":"message_stop"}

`

// compatibleStream is the same of a vendor that is compatible with OpenAI's chat.
const compatibleStream = `data: {"id":"c1","object":"chat.completion.chunk","model":"qwen","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}

data: {"id":"c1","model":"qwen","choices":[{"index":0,"delta":{"reasoning_content":"not the swordfish"}}]}

data: {"id":"c1","model":"qwen","choices":[{"index":0,"delta":{"content":"the secret is sw"}}]}

data: {"id":"c1","model":"qwen","choices":[{"index":0,"delta":{"content":"ordfish, I think"}}]}

data: {"id":"c1","model":"qwen","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"toolu_1","type":"function","function":{"name":"apply_patch","arguments":""}}]}}]}

data: {"id":"c1","model":"qwen","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"input\":\"*** Begin\\n+swordfish\"}"}}]}}]}

data: {"id":"c1","model":"qwen","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"toolu_2","type":"function","function":{"name":"mcp__shop__list","arguments":"{\"q\":1}"}}]}}]}

data: {"id":"c1","model":"qwen","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

data: {"id":"c1","model":"qwen","choices":[],"usage":{"prompt_tokens":95,"completion_tokens":20,"prompt_tokens_details":{"cached_tokens":30}}}

data: [DONE]

`

// codex is a request as Codex sends it, to a model.
func codex(model, more string) string {
	return `{"model":"` + model + `","instructions":"You are Codex.","stream":true,"input":[{"type":"message","role":"developer","content":[{"type":"input_text","text":"sandboxed"}]},{"type":"message","id":"msg_u","role":"user","content":[{"type":"input_text","text":"my swordfish"}]}` + more + `],
	 "tools":[{"type":"function","name":"exec_command","description":"Runs it","strict":false,"parameters":{"type":"object","properties":{"cmd":{"type":"string"}}}},{"type":"custom","name":"apply_patch","description":"Edits files","format":{"type":"grammar","syntax":"lark","definition":"start: begin"}},{"type":"namespace","name":"mcp__shop","tools":[{"type":"function","name":"list","parameters":{"type":"object"}}]}],
	 "tool_choice":"auto","parallel_tool_calls":true,"reasoning":{"effort":"medium","summary":"auto"},"store":false,"include":["reasoning.encrypted_content"],"prompt_cache_key":"k"}`
}

func polyglot(t *testing.T, w http.Handler) *house {
	kinds := compatible(t)
	at := serve(t, w)
	return newHouseWith(t, providers.Config{}, map[string]providers.Provider{
		"anthropic": {BaseURL: at + "/v1", APIKey: identity.NewSecret("sk-ant-0123456789"), Models: []string{"claude"}},
		"lab":       {Kinds: kinds, Kind: "chatonly", BaseURL: at + "/v1", APIKey: identity.NewSecret("sk-0123456789"), Models: []string{"qwen"}},
		"modern":    {Kinds: kinds, Kind: "responsesonly", BaseURL: at + "/v1", APIKey: identity.NewSecret("sk-0123456789"), Models: []string{"gpt"}},
	}, mask{"swordfish"})
}

// last is the response that a stream ends with, and all events of it by their names.
func last(t *testing.T, body string) (response gjson.Result, events []string) {
	t.Helper()
	name := ""
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		if n, ok := strings.CutPrefix(line, "event: "); ok {
			name = n
		}
		if doc, ok := strings.CutPrefix(line, "data: "); ok {
			v := gjson.Parse(doc)
			if !gjson.Valid(doc) || v.Get("type").Str != name || int(v.Get("sequence_number").Int()) != len(events) {
				t.Errorf("event %d, named %s: %s", len(events), name, doc)
			}
			events = append(events, strings.TrimPrefix(name, "response."))
			response = v.Get("response")
		}
	}
	return response, events
}

func TestCodexUsesAnotherVendorsModel(t *testing.T) {
	for model, stream := range map[string]string{"claude": claudeStream, "qwen": compatibleStream} {
		t.Run(model, func(t *testing.T) {
			w := &witness{answer: answer(200, "text/event-stream", stream)}
			h := polyglot(t, w)
			at := h.url(t)
			resp, body := post(t, at, "/v1/responses", codex(model, ""), "Session-Id", "s")
			if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" {
				t.Fatalf("HTTP %d %v %s", resp.StatusCode, resp.Header, body)
			}
			if want := map[string]string{"claude": "prompt_cache_key, tools.*.custom", "qwen": "tools.*.custom"}[model]; resp.Header.Get("Callgate-Lossy") != want {
				t.Errorf("lost: %s", resp.Header.Get("Callgate-Lossy"))
			}
			if strings.Contains(w.body, "swordfish") || strings.Contains(body, "swordfish") {
				t.Errorf("the guard was passed by: %s\n%s", w.body, body)
			}
			r, events := last(t, body)
			var kinds []string
			for _, item := range r.Get("output").Array() {
				kinds = append(kinds, item.Get("type").Str)
			}
			if got := strings.Join(kinds, " "); r.Get("status").Str != "completed" || got != "reasoning message custom_tool_call function_call" {
				t.Fatalf("%s\n%s", r.Raw, body)
			}
			out := r.Get("output")
			for path, want := range map[string]string{
				"0.summary.0.text": "not the [masked]", "1.content.0.text": "the secret is [masked], I think", "2.call_id": "toolu_1", "2.name": "apply_patch", "2.input": "*** Begin\n+[masked]",
				"3.call_id": "toolu_2", "3.name": "list", "3.namespace": "mcp__shop", "3.arguments": `{"q":1}`,
			} {
				if got := out.Get(path).String(); got != want {
					t.Errorf("%s: %q, want %q", path, got, want)
				}
			}
			if u := r.Get("usage"); u.Get("input_tokens").Int() != 95 || u.Get("input_tokens_details.cached_tokens").Int() != 30 || u.Get("output_tokens").Int() != 20 || u.Get("total_tokens").Int() != 115 {
				t.Errorf("usage %s", u.Raw)
			}
			if events[0] != "created" || events[len(events)-1] != "completed" {
				t.Errorf("%v", events)
			}
			records := h.records()
			end := records[len(records)-1]
			if got := types(records); got != "opened proposed proposed closed:ok" || end.Usage == nil || end.Usage.Input != 95 || end.Usage.Output != 20 || end.Usage.CacheRead != 30 {
				t.Errorf("on record: %s %+v", got, end.Usage)
			}

			// What it said goes back with what the tools answered.
			more := ""
			for _, item := range out.Array() {
				more += "," + item.Raw
			}
			resp, body = post(t, at, "/v1/responses", codex(model, more+`,{"type":"custom_tool_call_output","call_id":"toolu_1","output":"done"},{"type":"function_call_output","call_id":"toolu_2","output":[{"type":"input_text","text":"none"}]}`))
			if resp.StatusCode != 200 {
				t.Fatalf("HTTP %d %s", resp.StatusCode, body)
			}
			asked := gjson.Parse(w.body)
			wants := map[string]string{
				"system.1.text": "sandboxed", "output_config.effort": "medium", "messages.1.content.0.signature": "sig==", "messages.1.content.2.name": "apply_patch", "messages.1.content.2.input.input": "*** Begin\n+[masked]",
				"messages.1.content.3.name": "mcp__shop__list", "messages.2.content.0.tool_use_id": "toolu_1", "messages.2.content.1.content.0.text": "none", "tools.1.input_schema.required.0": "input", "tools.2.name": "mcp__shop__list",
			}
			if model == "qwen" {
				wants = map[string]string{
					"reasoning_effort": "medium", "messages.2.tool_calls.0.function.arguments": `{"input":"*** Begin\n+[masked]"}`, "messages.2.tool_calls.1.function.name": "mcp__shop__list", "messages.3.tool_call_id": "toolu_1", "messages.3.content": "done",
					"messages.4.content": "none", "parallel_tool_calls": "true", "tools.1.function.parameters.required.0": "input", "stream_options.include_usage": "true",
				}
			}
			for path, want := range wants {
				if got := asked.Get(path).String(); got != want {
					t.Errorf("%s: %q, want %q: %s", path, got, want, w.body)
				}
			}
		})
	}
}

func TestAResponsesClientGetsAPlainReply(t *testing.T) {
	for model, doc := range map[string]string{
		"claude": `{"id":"m1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"swordfish"},{"type":"tool_use","id":"t1","name":"apply_patch","input":{"input":"x"}}],"stop_reason":"max_tokens","usage":{"input_tokens":9,"output_tokens":4}}`,
		"qwen":   `{"id":"m1","object":"chat.completion","model":"qwen","choices":[{"index":0,"message":{"role":"assistant","content":"swordfish","tool_calls":[{"id":"t1","type":"function","function":{"name":"apply_patch","arguments":"{\"input\":\"x\"}"}}]},"finish_reason":"length"}],"usage":{"prompt_tokens":9,"completion_tokens":4}}`,
	} {
		w := &witness{answer: answer(200, "application/json", doc)}
		h := polyglot(t, w)
		resp, body := post(t, h.url(t), "/v1/responses", strings.Replace(codex(model, ""), `"stream":true,`, "", 1))
		v := gjson.Parse(body)
		if resp.StatusCode != 200 || v.Get("object").Str != "response" || v.Get("status").Str != "incomplete" || v.Get("incomplete_details.reason").Str != "max_output_tokens" || v.Get("created_at").Int() == 0 ||
			v.Get("output.0.content.0.text").Str != "[masked]" || v.Get("output.1.input").Str != "x" || v.Get("output.1.status").Str != "incomplete" || v.Get("usage.total_tokens").Int() != 13 {
			t.Errorf("%s: HTTP %d %s", model, resp.StatusCode, body)
		}
	}
}

// TestAResponsesStreamEndsWellWhereverItIsCut cuts the provider's stream at every byte.
func TestAResponsesStreamEndsWellWhereverItIsCut(t *testing.T) {
	for model, stream := range map[string]string{"claude": claudeStream, "qwen": compatibleStream} {
		least := strings.LastIndex(stream, "data: ") + len(`data: {"type":"message_stop"}`) // of which it may be complete
		most := least + 1                                                                   // and must be
		if model == "qwen" {                                                                // of which the reason to end says enough, if nothing half follows
			least = strings.Index(stream, `"finish_reason":"tool_calls"}]}`) + len(`"finish_reason":"tool_calls"}]}`)
			most = strings.Index(stream, "[DONE]") + len("[DONE]")
		}
		w := &witness{}
		h := polyglot(t, w)
		at := h.url(t)
		for cut := 0; cut < len(stream); cut += 3 {
			abrupt := cut%2 == 0
			w.answers(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", "text/event-stream")
				rw.WriteHeader(200)
				io.WriteString(rw, stream[:cut])
				rw.(http.Flusher).Flush()
				if abrupt {
					panic(http.ErrAbortHandler)
				}
			})
			_, body := post(t, at, "/v1/responses", codex(model, ""))
			if !strings.HasPrefix(body, "event: ") {
				if !gjson.Get(body, "error.message").Exists() {
					t.Errorf("%s cut at %d: %s", model, cut, body)
				}
				continue
			}
			r, events := last(t, body)
			status := r.Get("status").Str
			switch {
			case status != "completed" && status != "failed", events[0] != "created" && events[0] != "error":
				t.Errorf("%s cut at %d: %v %s", model, cut, events, r.Raw)
			case status == "completed" && cut < least, status == "failed" && cut >= most && !abrupt:
				t.Errorf("%s cut at %d, %d to %d: %s", model, cut, least, most, body)
			}
		}
		if records := h.records(); records[len(records)-1].Type != audit.Closed {
			t.Errorf("on record: %s", types(records[len(records)-3:]))
		}
	}
}

func TestErrorsToAResponsesClient(t *testing.T) {
	began, _, _ := strings.Cut(claudeStream, "event: content_block_start")
	for _, test := range []struct {
		name, model string
		answer      http.HandlerFunc
		status      int
		want, at    string
	}{
		{"throttled", "claude", says(429, `{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}`), 429, "rate_limit_exceeded", "error.code"},
		{"too long", "claude", says(400, `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens"}}`), 400, "context_length_exceeded", "error.code"},
		{"busy", "qwen", says(503, `{"error":{"message":"busy","type":"server_error"}}`), 503, "busy", "error.message"},
		{"no JSON", "qwen", says(200, `<`), 503, "unavailable", "error.code"},
		{"another's reply", "claude", says(200, `{"output":[]}`), 503, "unavailable", "error.code"},
		{"in the middle", "claude", answer(200, "text/event-stream", began+"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n"), 200, "server_is_overloaded", "error.code"},
		{"in the middle of a stream of chat", "qwen", answer(200, "text/event-stream", "data: {\"error\":{\"message\":\"busy\",\"code\":\"context_length_exceeded\"}}\n\n"), 200, "context_length_exceeded", "error.code"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := polyglot(t, &witness{answer: test.answer})
			resp, body := post(t, h.url(t), "/v1/responses", codex(test.model, ""))
			doc := gjson.Parse(body)
			if resp.StatusCode == 200 {
				doc, _ = last(t, body)
			}
			if resp.StatusCode != test.status || doc.Get(test.at).Str != test.want {
				t.Errorf("HTTP %d %s", resp.StatusCode, body)
			}
		})
	}
}

func TestWhatIsKeptAtAVendorCannotBeAskedOfAnother(t *testing.T) {
	w := &witness{answer: answer(200, "text/event-stream", claudeStream)}
	h := polyglot(t, w)
	resp, body := post(t, h.url(t), "/v1/responses", `{"model":"claude","input":"go on","prompt":{"id":"pmpt_1"}}`)
	if resp.StatusCode != 400 || !strings.Contains(gjson.Get(body, "error.message").Str, "prompt cannot be carried to a provider of another dialect") || w.body != "" {
		t.Errorf("HTTP %d %s; asked %q", resp.StatusCode, body, w.body)
	}
	if got := types(h.records()); !strings.Contains(got, "closed:") {
		t.Errorf("on record: %s", got)
	}
}

// TestAModelBehindResponsesAnswersOtherClients has a provider that has responses only.
func TestAModelBehindResponsesAnswersOtherClients(t *testing.T) {
	w := &witness{answer: answer(200, "text/event-stream", claudeStream)}
	h := polyglot(t, w)
	at := h.url(t)
	_, stream := post(t, at, "/v1/responses", codex("claude", "")) // a stream to be served as the provider's
	w.answers(answer(200, "text/event-stream", stream))
	resp, body := post(t, at, "/v1/messages", `{"model":"gpt","max_tokens":50,"stream":true,"thinking":{"type":"enabled","budget_tokens":1024},"messages":[{"role":"user","content":"q"}]}`, "Anthropic-Version", "2023-06-01")
	if w.path != "/v1/responses" || gjson.Get(w.body, "include.0").Str != "reasoning.encrypted_content" || resp.StatusCode != 200 {
		t.Fatalf("asked at %s: %s: HTTP %d %s", w.path, w.body, resp.StatusCode, body)
	}
	for _, want := range []string{`"thinking":"not the [masked]"`, `"signature":"sig=="`, `"name":"mcp__shop__list"`, `"partial_json":"{\"q\":1}"`, `"stop_reason":"tool_use"`, `"input_tokens":65`, "event: message_stop"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	resp, body = post(t, at, "/v1/chat/completions", `{"model":"gpt","stream":true,"messages":[{"role":"user","content":"q"}]}`)
	if resp.StatusCode != 200 || !strings.Contains(body, `"finish_reason":"tool_calls"`) || !strings.HasSuffix(body, "data: [DONE]\n\n") {
		t.Errorf("HTTP %d %s", resp.StatusCode, body)
	}
}

// TestAConversationGoesOnAtItsOwnVendor has one that another vendor's model had a part in.
func TestAConversationGoesOnAtItsOwnVendor(t *testing.T) {
	w := &witness{answer: answer(200, "application/json", `{"id":"r","object":"response","status":"completed","output":[]}`)}
	at := serve(t, w)
	h := newHouseWith(t, providers.Config{}, map[string]providers.Provider{"openai": {BaseURL: at + "/v1"}})
	const ours, theirs = `{"type":"reasoning","summary":[],"encrypted_content":"gAAA"}`, `{"type":"reasoning","summary":[],"encrypted_content":"callgate:anthropic:thought:sig=="}`
	const rest = `{"role":"user","content":"what is callgate:x:y?"}],  "model":"gpt"}`
	resp, body := post(t, h.url(t), "/v1/responses", `{"input":[`+ours+","+theirs+","+rest)
	if want := `{"input":[` + ours + "," + rest; resp.StatusCode != 200 || w.body != want || resp.Header.Get("Callgate-Lossy") != "input.*.reasoning" {
		t.Errorf("HTTP %d %v %s; asked %s", resp.StatusCode, resp.Header, body, w.body)
	}
	if records := h.records(); strings.Join(records[len(records)-1].Lossy, " ") != "input.*.reasoning" {
		t.Errorf("on record: %+v", records[len(records)-1])
	}
	if _, _ = post(t, h.url(t), "/v1/responses", `{"input":[`+ours+", "+rest); w.body != `{"input":[`+ours+", "+rest {
		t.Errorf("asked %s", w.body)
	}
}

// TestAFallbackBeforeAResponseSaysAnything has a stream that begins and fails.
func TestAFallbackBeforeAResponseSaysAnything(t *testing.T) {
	kinds := compatible(t)
	began, _, _ := strings.Cut(claudeStream, "event: content_block_start")
	claude := serve(t, answer(200, "text/event-stream", began+"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n"))
	openai := serve(t, answer(200, "text/event-stream", "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"r\",\"status\":\"in_progress\",\"output\":[]}}\n\nevent: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":1,\"response\":{\"id\":\"r\",\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"m\"}}}\n\n"))
	lab := serve(t, answer(200, "text/event-stream", compatibleStream))
	list := map[string]providers.Provider{"openai": {BaseURL: openai + "/v1"}, "anthropic": {BaseURL: claude + "/v1"}, "lab": {Kinds: kinds, Kind: "chatonly", BaseURL: lab + "/v1"}}
	h := newHouseWith(t, providers.Config{}, list)
	if err := h.door.SetProviders(list, map[string]providers.Model{"best": {Targets: []providers.Target{{Model: "openai/gpt"}, {Model: "anthropic/claude"}, {Model: "lab/qwen"}}}}); err != nil {
		t.Fatal(err)
	}
	resp, body := post(t, h.url(t), "/v1/responses", codex("best", ""))
	r, _ := last(t, body)
	if resp.Header.Get("Callgate-Model") != "lab/qwen" || resp.Header.Get("Callgate-Attempts") != "3" || r.Get("status").Str != "completed" {
		t.Errorf("HTTP %d %v %s", resp.StatusCode, resp.Header, body)
	}
}

// compatible are kinds of which one has chat completions only, and one responses only.
func compatible(t testing.TB) *providers.Kinds {
	t.Helper()
	kinds, err := providers.BuiltIn().With("test.yaml", []byte(`
chatonly: {title: Chat, auth: bearer, env: [KEY], has: [chat], asked: chat, signer: openai, source: "https://example.com", checked: no}
responsesonly: {title: Responses, auth: bearer, env: [KEY], has: [responses], asked: responses, signer: openai, source: "https://example.com", checked: no}
`))
	if err != nil {
		t.Fatal(err)
	}
	return kinds
}
