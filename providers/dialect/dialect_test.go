package dialect_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"callgate/providers/dialect"

	"github.com/google/go-cmp/cmp"
)

// same says how two documents differ, whatever the order of their members.
func same(t *testing.T, want, got string) string {
	t.Helper()
	var a, b any
	if err := json.Unmarshal([]byte(want), &a); err != nil {
		t.Fatalf("%v: %s", err, want)
	}
	if err := json.Unmarshal([]byte(got), &b); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	return cmp.Diff(a, b)
}

var vendors = map[dialect.Name]string{dialect.Chat: "openai", dialect.Messages: "anthropic", dialect.Responses: "openai", dialect.Gemini: "google", dialect.Converse: "anthropic", dialect.Cohere: "cohere"}

// A request is one in two dialects.
type request struct {
	feature  string
	from, to dialect.Name
	in, want string
	lossy    string
}

// requests is what one dialect says and how the other says it. A feature is tested in
// both directions; lossy is what cannot be carried.
var requests = []request{
	{"text", dialect.Chat, dialect.Messages,
		`{"model":"x","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"},{"role":"assistant","content":"hello"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}],"max_completion_tokens":100}`,
		`{"model":"m","max_tokens":100,"system":[{"type":"text","text":"be brief"}],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[{"type":"text","text":"hello"}]},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}`, ""},
	{"text", dialect.Messages, dialect.Chat,
		`{"model":"x","max_tokens":100,"system":"be brief","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"text","text":"hello"}]},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}`,
		`{"model":"m","max_completion_tokens":100,"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"},{"role":"assistant","content":"hello"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}`, ""},
	{"images and files", dialect.Chat, dialect.Messages,
		`{"model":"x","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}},{"type":"image_url","image_url":{"url":"https://e.example/a.png"}},{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,BBBB"}},{"type":"file","file":{"file_id":"f-1"}},{"type":"input_audio","input_audio":{"data":"CCCC","format":"wav"}}]}]}`,
		`{"model":"m","max_tokens":4096,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}},{"type":"image","source":{"type":"url","url":"https://e.example/a.png"}},{"type":"document","title":"a.pdf","source":{"type":"base64","media_type":"application/pdf","data":"BBBB"}}]}]}`,
		"messages.*.content.file, messages.*.content.image_url.detail, messages.*.content.input_audio"},
	{"images and files", dialect.Messages, dialect.Chat,
		`{"model":"x","max_tokens":1,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}},{"type":"document","title":"a.pdf","source":{"type":"base64","media_type":"application/pdf","data":"BBBB"}},{"type":"document","source":{"type":"url","url":"https://e.example/b.pdf"}}]}]}`,
		`{"model":"m","max_completion_tokens":1,"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,BBBB"}}]}]}`,
		"messages.*.content.document"},
	{"tools", dialect.Chat, dialect.Messages,
		`{"model":"x","messages":[{"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},{"id":"c2","type":"function","function":{"name":"g","arguments":""}}]},{"role":"tool","tool_call_id":"c1","content":"one"},{"role":"tool","tool_call_id":"c2","content":[{"type":"text","text":"two"}]},{"role":"user","content":"and?"}],
		  "tools":[{"type":"function","function":{"name":"f","description":"F","parameters":{"type":"object","properties":{"a":{"const":1}}},"strict":true}},{"type":"function","function":{"name":"g"}}],"tool_choice":"required","parallel_tool_calls":false}`,
		`{"model":"m","max_tokens":4096,"messages":[{"role":"user","content":[{"type":"text","text":"q"}]},{"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"f","input":{"a":1}},{"type":"tool_use","id":"c2","name":"g","input":{}}]},
		  {"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":[{"type":"text","text":"one"}]},{"type":"tool_result","tool_use_id":"c2","content":[{"type":"text","text":"two"}]},{"type":"text","text":"and?"}]}],
		  "tools":[{"name":"f","description":"F","input_schema":{"type":"object","properties":{"a":{"const":1}}},"strict":true},{"name":"g","input_schema":{"type":"object","properties":{}}}],"tool_choice":{"type":"any","disable_parallel_tool_use":true}}`, ""},
	{"tools", dialect.Messages, dialect.Chat,
		`{"model":"x","max_tokens":9,"messages":[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"text","text":"let me"},{"type":"tool_use","id":"c1","name":"f","input":{"a":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"one","is_error":true},{"type":"text","text":"and?"}]}],
		  "tools":[{"name":"f","input_schema":{"type":"object"},"cache_control":{"type":"ephemeral"}},{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"tool","name":"f"}}`,
		`{"model":"m","max_completion_tokens":9,"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"let me","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"c1","content":"one"},{"role":"user","content":"and?"}],
		  "tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"tool_choice":{"type":"function","function":{"name":"f"}}}`,
		"messages.*.content.tool_result.is_error, tools.*.cache_control, tools.*.web_search"},
	{"arguments that are no object", dialect.Chat, dialect.Messages,
		`{"model":"x","messages":[{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"not json"}},{"id":"d","type":"function","function":{"name":"f","arguments":"[1]"}}]}]}`,
		`{"model":"m","max_tokens":4096,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{"input":"not json"}},{"type":"tool_use","id":"d","name":"f","input":{"input":"[1]"}}]}]}`, ""},
	{"structured output", dialect.Chat, dialect.Messages,
		`{"model":"x","messages":[],"response_format":{"type":"json_schema","json_schema":{"name":"r","strict":true,"schema":{"type":"object"}}}}`,
		`{"model":"m","max_tokens":4096,"messages":null,"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}}`, ""},
	{"structured output", dialect.Messages, dialect.Chat,
		`{"model":"x","max_tokens":1,"messages":[],"output_config":{"effort":"high","format":{"type":"json_schema","schema":{"type":"object"}}}}`,
		`{"model":"m","max_completion_tokens":1,"messages":null,"reasoning_effort":"high","response_format":{"type":"json_schema","json_schema":{"name":"reply","strict":true,"schema":{"type":"object"}}}}`, ""},
	{"any JSON", dialect.Chat, dialect.Messages, `{"model":"x","messages":[],"response_format":{"type":"json_object"}}`, `{"model":"m","max_tokens":4096,"messages":null}`, "response_format.json_object"},
	{"thinking", dialect.Messages, dialect.Chat,
		`{"model":"x","max_tokens":1,"thinking":{"type":"enabled","budget_tokens":20000},"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"d"},{"type":"text","text":"so"}]}]}`,
		`{"model":"m","max_completion_tokens":1,"reasoning_effort":"high","messages":[{"role":"assistant","content":"so"}]}`,
		"messages.*.content.thinking, thinking.budget_tokens"},
	{"thinking", dialect.Chat, dialect.Messages,
		`{"model":"x","reasoning_effort":"minimal","messages":[{"role":"assistant","content":"so","reasoning_content":"hm"}]}`,
		`{"model":"m","max_tokens":4096,"output_config":{"effort":"low"},"messages":[{"role":"assistant","content":[{"type":"text","text":"so"}]}]}`,
		"messages.*.content.reasoning, reasoning_effort"},
	{"what else can be said", dialect.Chat, dialect.Messages,
		`{"model":"x","messages":[{"role":"user","name":"ana","content":"a"},{"role":"developer","content":"now in French"}],"temperature":1.5,"top_p":0.9,"stop":"END","seed":1,"n":2,"presence_penalty":1,"frequency_penalty":1,"user":"u","logprobs":true,"metadata":{"a":"b"},"stream":true}`,
		`{"model":"m","max_tokens":4096,"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"now in French"}]}],"temperature":1,"top_p":0.9,"stop_sequences":["END"],"metadata":{"user_id":"u"},"stream":true}`,
		"frequency_penalty, logprobs, messages.*.name, messages.*.role.developer, metadata, n, presence_penalty, seed, temperature"},
	{"what else can be said", dialect.Messages, dialect.Chat,
		`{"model":"x","max_tokens":1,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral","ttl":"1h"}}],"messages":[{"role":"user","content":"a"}],"temperature":0.5,"top_k":4,"stop_sequences":["E"],"metadata":{"user_id":"u"},"service_tier":"auto","stream":true,"tool_choice":{"type":"auto"}}`,
		`{"model":"m","max_completion_tokens":1,"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"}],"temperature":0.5,"stop":["E"],"user":"u","stream":true,"stream_options":{"include_usage":true}}`,
		"service_tier, system.cache_control, top_k"},
}

func TestRequestsInAnotherDialect(t *testing.T) {
	for _, test := range slices.Concat(requests, responsesRequests, geminiRequests, behindRequests) {
		t.Run(test.feature+" from "+string(test.from)+" to "+string(test.to), func(t *testing.T) {
			p, err := dialect.Of(test.from).Read([]byte(test.in))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // writing changes nothing of it
				got, losses, err := dialect.Of(test.to).Write(p, target(test.to))
				if err != nil {
					t.Fatal(err)
				}
				if diff := same(t, test.want, string(got)); diff != "" {
					t.Errorf("(-want +got) %s", diff)
				}
				if losses.String() != test.lossy {
					t.Errorf("lost: %q, want %q", losses.String(), test.lossy)
				}
			}
		})
	}
}

// TestGeminiRoundTrips is the same for Google, to and from each other dialect.
func TestGeminiRoundTrips(t *testing.T) {
	const doc = `{"systemInstruction":{"parts":[{"text":"be brief"}]},"contents":[{"role":"user","parts":[{"text":"q"},{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]},{"role":"model","parts":[{"text":"let me"},{"functionCall":{"id":"c1","name":"f","args":{"a":1}}}]},
	 {"role":"user","parts":[{"functionResponse":{"id":"c1","name":"f","response":{"output":"one"}}},{"text":"and?"}]}],"tools":[{"functionDeclarations":[{"name":"f","description":"F","parametersJsonSchema":{"type":"object"}}]}],
	 "toolConfig":{"functionCallingConfig":{"mode":"ANY"}},"generationConfig":{"maxOutputTokens":99,"temperature":0.5,"topP":0.5,"responseMimeType":"application/json","responseJsonSchema":{"type":"object"}}}`
	for other, vendor := range vendors {
		if dialect.Of(other).Read == nil || other == dialect.Gemini {
			continue
		}
		p, _ := dialect.Of(dialect.Gemini).Read([]byte(doc))
		there, losses, _ := dialect.Of(other).Write(p, dialect.Target{Model: "gemini-2.5-pro", Vendor: vendor})
		q, _ := dialect.Of(other).Read(there)
		back, more, _ := dialect.Of(dialect.Gemini).Write(q, dialect.Target{Model: "gemini-2.5-pro", Vendor: "google"})
		if diff := same(t, doc, string(back)); diff != "" || len(losses)+len(more) > 0 {
			t.Errorf("by %s: %v %v %s", other, losses, more, diff)
		}
	}
}

// TestRoundTrips has what can be said in both dialects come back as it was.
func TestRoundTrips(t *testing.T) {
	for _, doc := range []string{requests[0].want, requests[4].want} {
		p, _ := dialect.Of(dialect.Messages).Read([]byte(doc))
		chat, losses, _ := dialect.Of(dialect.Chat).Write(p, dialect.Target{Model: "m", Vendor: "openai"})
		q, _ := dialect.Of(dialect.Chat).Read(chat)
		back, more, _ := dialect.Of(dialect.Messages).Write(q, dialect.Target{Model: "m", Vendor: "anthropic"})
		if diff := same(t, doc, string(back)); diff != "" || len(losses)+len(more) > 0 {
			t.Errorf("%v %v %s", losses, more, diff)
		}
	}
}

const chatReply = `{"id":"c1","object":"chat.completion","created":0,"model":"gpt","choices":[{"index":0,"logprobs":null,"finish_reason":"tool_calls","message":{"role":"assistant","refusal":null,"content":"let me","reasoning_content":"hm",
 "tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},{"id":"t2","type":"function","function":{"name":"g","arguments":"{}"}}]}}],
 "usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,"prompt_tokens_details":{"cached_tokens":30,"cache_write_tokens":5,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}}}`

const messagesReply = `{"id":"c1","type":"message","role":"assistant","model":"gpt","content":[{"type":"thinking","thinking":"hm","signature":""},{"type":"text","text":"let me"},{"type":"tool_use","id":"t1","name":"f","input":{"a":1}},{"type":"tool_use","id":"t2","name":"g","input":{}}],
 "stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":65,"cache_read_input_tokens":30,"cache_creation_input_tokens":5,"output_tokens":20}}`

const chatStream = `{"id":"c1","model":"gpt","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}
{"id":"c1","choices":[{"index":0,"delta":{"reasoning_content":"h"}}]}
{"id":"c1","choices":[{"index":0,"delta":{"reasoning_content":"m"}}]}
{"id":"c1","choices":[{"index":0,"delta":{"content":"let "}}]}
{"id":"c1","choices":[{"index":0,"delta":{"content":"me"}}]}
{"id":"c1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t1","type":"function","function":{"name":"f","arguments":""}}]}}]}
{"id":"c1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}}]}}]}
{"id":"c1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}}]}
{"id":"c1","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"t2","type":"function","function":{"name":"g","arguments":""}}]}}]}
{"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}
{"id":"c1","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":20,"prompt_tokens_details":{"cached_tokens":30,"cache_write_tokens":5}}}`

const messagesStream = `{"type":"message_start","message":{"id":"c1","model":"gpt","usage":{"input_tokens":65,"cache_read_input_tokens":30,"cache_creation_input_tokens":5,"output_tokens":1}}}
{"type":"ping"}
{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}
{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}
{"type":"content_block_stop","index":0}
{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}
{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"let me"}}
{"type":"content_block_stop","index":1}
{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t1","name":"f","input":{}}}
{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}
{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"a\":1}"}}
{"type":"content_block_stop","index":2}
{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"t2","name":"g","input":{}}}
{"type":"content_block_stop","index":3}
{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":20}}
{"type":"message_stop"}`

// A reply as it is said plainly, and as it is streamed: a line an event.
type said struct{ whole, stream string }

var replies = map[dialect.Name]said{dialect.Chat: {chatReply, chatStream}, dialect.Messages: {messagesReply, messagesStream}, dialect.Responses: {responsesReply, responsesStream}}

// pieces decodes a stream, of which each line is an event.
func pieces(t *testing.T, of dialect.Name, stream string) []dialect.Piece {
	t.Helper()
	d := dialect.Of(of).NewDecoder(&dialect.Prompt{})
	var list []dialect.Piece
	var err error
	for line := range strings.Lines(stream) {
		if list, err = d.Event(list, "", []byte(strings.TrimSpace(line))); err != nil {
			t.Fatal(err)
		}
	}
	if list, err = d.Over(list); err != nil {
		t.Fatal(err)
	}
	return list
}

// frames encodes pieces, as a stream that pieces reads.
func frames(t *testing.T, in dialect.Name, list []dialect.Piece) string {
	t.Helper()
	e := dialect.Of(in).NewEncoder(&dialect.Prompt{Usage: true})
	var out []dialect.Frame
	for _, p := range list {
		out = e.Event(out, p)
	}
	var s strings.Builder
	for i, f := range out {
		if f.Last != (i == len(out)-1) {
			t.Errorf("frame %d of %d: last %v", i, len(out), f.Last)
		}
		if string(f.Data) != "[DONE]" {
			s.WriteString(string(f.Data) + "\n")
		}
	}
	return s.String()
}

func TestRepliesInAnotherDialect(t *testing.T) {
	sameReplies(t, replies)
	sameReplies(t, geminiReplies)
}

// sameReplies sees that each of replies is each other one in its dialect.
func sameReplies(t *testing.T, replies map[dialect.Name]said) {
	for from, r := range replies {
		whole, err := dialect.Of(from).NewDecoder(&dialect.Prompt{}).Whole([]byte(r.whole))
		if err != nil {
			t.Fatal(err)
		}
		streamed := dialect.Fold(pieces(t, from, r.stream))
		if diff := cmp.Diff(whole, streamed); diff != "" {
			t.Errorf("%s: the stream says something else than the document (-document +stream) %s", from, diff)
		}
		if diff := cmp.Diff(whole, dialect.Fold(dialect.Pieces(whole))); diff != "" {
			t.Errorf("%s: in pieces and together again: %s", from, diff)
		}
		for to, other := range replies {
			got := string(dialect.Of(to).NewEncoder(&dialect.Prompt{Usage: true}).Whole(whole))
			if diff := same(t, other.whole, got); diff != "" {
				t.Errorf("%s as %s (-want +got) %s", from, to, diff)
			}
			again := dialect.Fold(pieces(t, to, frames(t, to, pieces(t, from, r.stream))))
			want, _ := dialect.Of(to).NewDecoder(&dialect.Prompt{}).Whole([]byte(other.whole))
			if diff := cmp.Diff(want, again); diff != "" {
				t.Errorf("%s as %s, streamed (-want +got) %s", from, to, diff)
			}
		}
	}
}

func TestReasonsToStop(t *testing.T) {
	for chat, messages := range map[string]string{"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"} {
		r, err := dialect.Of(dialect.Chat).NewDecoder(nil).Whole([]byte(`{"choices":[{"message":{"content":"x"},"finish_reason":"` + chat + `"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		doc := string(dialect.Of(dialect.Messages).NewEncoder(&dialect.Prompt{}).Whole(r))
		if !strings.Contains(doc, `"stop_reason":"`+messages+`"`) {
			t.Errorf("%s: %s", chat, doc)
		}
		back, err := dialect.Of(dialect.Messages).NewDecoder(nil).Whole([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		if doc := string(dialect.Of(dialect.Chat).NewEncoder(&dialect.Prompt{}).Whole(back)); !strings.Contains(doc, `"finish_reason":"`+chat+`"`) {
			t.Errorf("%s: %s", messages, doc)
		}
	}
}

func TestStreamsWithoutAnEndAreNone(t *testing.T) {
	for of, r := range geminiReplies {
		lines := strings.Split(r.stream, "\n")
		for cut := range len(lines) - 2 {
			d := dialect.Of(of).NewDecoder(&dialect.Prompt{})
			var list []dialect.Piece
			for _, line := range lines[:cut] {
				list, _ = d.Event(list, "", []byte(line))
			}
			if _, err := d.Over(list); err == nil {
				t.Errorf("%s: cut after %d events, and taken as whole", of, cut)
			}
		}
	}
}

func TestErrorsInAnotherDialect(t *testing.T) {
	for _, test := range []struct {
		from   dialect.Name
		status int
		in     string
		to     dialect.Name
		want   string
	}{
		{dialect.Chat, 400, `{"error":{"message":"m","type":"invalid_request_error","code":"context_length_exceeded"}}`, dialect.Messages, `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: m"}}`},
		{dialect.Chat, 429, `{"error":{"message":"m","type":"rate_limit_error","code":"rate_limit_exceeded"}}`, dialect.Messages, `{"type":"error","error":{"type":"rate_limit_error","message":"m"}}`},
		{dialect.Messages, 529, `{"type":"error","error":{"type":"overloaded_error","message":"m"}}`, dialect.Chat, `{"error":{"message":"m","type":"server_error","param":null,"code":null}}`},
		{dialect.Messages, 400, `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens"}}`, dialect.Chat, `{"error":{"message":"prompt is too long: 9 tokens","type":"invalid_request_error","param":null,"code":"context_length_exceeded"}}`},
		{dialect.Gemini, 400, `{"error":{"code":400,"message":"The input token count (9) exceeds the maximum number of tokens allowed (1).","status":"INVALID_ARGUMENT"}}`, dialect.Chat, `{"error":{"message":"The input token count (9) exceeds the maximum number of tokens allowed (1).","type":"invalid_request_error","param":null,"code":"context_length_exceeded"}}`},
		{dialect.Gemini, 400, `{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}`, dialect.Messages, `{"type":"error","error":{"type":"authentication_error","message":"API key not valid. Please pass a valid API key."}}`},
		{dialect.Gemini, 0, `{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}`, dialect.Messages, `{"type":"error","error":{"type":"overloaded_error","message":"m"}}`},
		{dialect.Gemini, 429, `{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}`, dialect.Chat, `{"error":{"message":"m","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}`},
		{dialect.Chat, 429, `{"error":{"message":"m","type":"rate_limit_error","code":"rate_limit_exceeded"}}`, dialect.Gemini, `{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}`},
		{dialect.Messages, 400, `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9"}}`, dialect.Gemini, `{"error":{"code":400,"message":"The input token count exceeds the maximum number of tokens allowed: prompt is too long: 9","status":"INVALID_ARGUMENT"}}`},
		{dialect.Messages, 404, `{"type":"error","error":{"type":"not_found_error","message":"m"}}`, dialect.Chat, `{"error":{"message":"m","type":"not_found","param":null,"code":"model_not_found"}}`},
	} {
		if diff := same(t, test.want, string(dialect.WriteFailure(test.to, dialect.ReadFailure(test.from, test.status, []byte(test.in))))); diff != "" {
			t.Errorf("%s: %s", test.in, diff)
		}
	}
}

func FuzzTranslate(f *testing.F) {
	for _, r := range slices.Concat(requests, responsesRequests, geminiRequests, behindRequests) {
		f.Add(r.in)
	}
	for _, r := range geminiReplies {
		f.Add(r.whole)
		f.Add(r.stream)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			return
		}
		for from := range geminiReplies {
			for to := range geminiReplies {
				p, err := dialect.Of(from).Read([]byte(text))
				if err != nil {
					continue
				}
				doc, _, err := dialect.Of(to).Write(p, dialect.Target{Model: "m", Vendor: vendors[to]})
				if err == nil && !json.Valid(doc) {
					t.Errorf("%s as %s is not JSON: %s", from, to, doc)
				}
				if r, err := dialect.Of(from).NewDecoder(p).Whole([]byte(text)); err == nil {
					if doc := dialect.Of(to).NewEncoder(p).Whole(r); !json.Valid(doc) {
						t.Errorf("a reply of %s as %s is not JSON: %s", from, to, doc)
					}
				}
				d, e := dialect.Of(from).NewDecoder(p), dialect.Of(to).NewEncoder(p)
				list, _ := d.Event(nil, "", []byte(text))
				for _, piece := range list {
					for _, frame := range e.Event(nil, piece) {
						if !json.Valid(frame.Data) && !frame.Last {
							t.Errorf("an event of %s as %s is not JSON: %s", from, to, frame.Data)
						}
					}
				}
			}
		}
	})
}

// target is a model of a vendor of a dialect.
func target(of dialect.Name) dialect.Target {
	if of == dialect.Converse {
		return dialect.Target{Model: "anthropic.claude", Vendor: "anthropic"}
	}
	return dialect.Target{Model: "m", Vendor: vendors[of]}
}
