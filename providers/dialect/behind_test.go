package dialect_test

import (
	"encoding/json"
	"strings"
	"testing"

	"callgate/providers/dialect"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

// behindRequests is what Amazon's and Cohere's dialects say for what clients ask.
var behindRequests = []request{
	{"text", dialect.Chat, dialect.Converse,
		`{"model":"x","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"},{"role":"assistant","content":"hello"},{"role":"user","content":"a"},{"role":"user","content":"b"}],"max_completion_tokens":100,"stop":["E"],"temperature":0.5,"top_p":0.9}`,
		`{"system":[{"text":"be brief"}],"messages":[{"role":"user","content":[{"text":"hi"}]},{"role":"assistant","content":[{"text":"hello"}]},{"role":"user","content":[{"text":"a"},{"text":"b"}]}],"inferenceConfig":{"maxTokens":100,"stopSequences":["E"],"temperature":0.5,"topP":0.9}}`, ""},
	{"media", dialect.Messages, dialect.Converse,
		`{"model":"x","max_tokens":1,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}},{"type":"document","title":"a/b","source":{"type":"base64","media_type":"application/pdf","data":"BBBB"},"cache_control":{"type":"ephemeral","ttl":"1h"}},{"type":"image","source":{"type":"url","url":"https://e.example/a.png"}}]}]}`,
		`{"messages":[{"role":"user","content":[{"image":{"format":"png","source":{"bytes":"AAAA"}}},{"document":{"format":"pdf","name":"document 2","source":{"bytes":"BBBB"}}},{"cachePoint":{"type":"default","ttl":"1h"}}]}],"inferenceConfig":{"maxTokens":1}}`, "messages.*.content.file"},
	{"tools", dialect.Chat, dialect.Converse,
		`{"model":"x","messages":[{"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"c1","content":"one"},{"role":"user","content":"and?"}],
		  "tools":[{"type":"function","function":{"name":"f","description":"F","parameters":{"type":"object"},"strict":true}},{"type":"function","function":{"name":"g"}}],"tool_choice":"required","parallel_tool_calls":false}`,
		`{"messages":[{"role":"user","content":[{"text":"q"}]},{"role":"assistant","content":[{"toolUse":{"toolUseId":"c1","name":"f","input":{"a":1}}}]},{"role":"user","content":[{"toolResult":{"toolUseId":"c1","content":[{"text":"one"}]}},{"text":"and?"}]}],
		  "toolConfig":{"tools":[{"toolSpec":{"name":"f","description":"F","inputSchema":{"json":{"type":"object"}}}},{"toolSpec":{"name":"g","inputSchema":{"json":{"type":"object","properties":{}}}}}],"toolChoice":{"any":{}}}}`,
		"parallel_tool_calls, tools.*.strict"},
	{"results that failed, thoughts", dialect.Messages, dialect.Converse,
		`{"model":"x","max_tokens":9,"top_k":4,"thinking":{"type":"enabled","budget_tokens":2000},"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"d"},{"type":"tool_use","id":"c","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"no","is_error":true}]}],"tools":[{"name":"f","input_schema":{"type":"object"},"cache_control":{"type":"ephemeral"}}],"tool_choice":{"type":"tool","name":"f"}}`,
		`{"messages":[{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"hm","signature":"s"}}},{"reasoningContent":{"redactedContent":"d"}},{"toolUse":{"toolUseId":"c","name":"f","input":{}}}]},{"role":"user","content":[{"toolResult":{"toolUseId":"c","status":"error","content":[{"text":"no"}]}}]}],
		  "inferenceConfig":{"maxTokens":9},"additionalModelRequestFields":{"top_k":4,"thinking":{"type":"enabled","budget_tokens":2000}},"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object"}}}},{"cachePoint":{"type":"default"}}],"toolChoice":{"tool":{"name":"f"}}}}`, ""},
	{"what cannot be said", dialect.Chat, dialect.Converse,
		`{"model":"x","messages":[{"role":"user","name":"ana","content":[{"type":"input_audio","input_audio":{"data":"A","format":"wav"}},{"type":"text","text":"a"}]}],"seed":1,"n":2,"presence_penalty":1,"user":"u","logprobs":true,"response_format":{"type":"json_object"},"reasoning_effort":"low","tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"none"}`,
		`{"messages":[{"role":"user","content":[{"text":"a"}]}]}`,
		"logprobs, messages.*.content.input_audio, messages.*.name, n, presence_penalty, reasoning_effort, response_format, seed, user"},
	{"text and tools", dialect.Chat, dialect.Cohere,
		`{"model":"x","stream":true,"messages":[{"role":"system","content":"be brief"},{"role":"user","content":[{"type":"text","text":"q"},{"type":"image_url","image_url":{"url":"https://e.example/a.png","detail":"low"}}]},{"role":"assistant","content":"let me","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"c1","content":"one"},{"role":"user","content":"and?"}],
		  "tools":[{"type":"function","function":{"name":"f","description":"F","parameters":{"type":"object"},"strict":true}}],"tool_choice":"required","max_tokens":7,"seed":1,"top_p":0.9,"stop":"E","response_format":{"type":"json_schema","json_schema":{"name":"r","schema":{"type":"object"}}}}`,
		`{"model":"m","stream":true,"messages":[{"role":"system","content":"be brief"},{"role":"user","content":[{"type":"text","text":"q"},{"type":"image_url","image_url":{"url":"https://e.example/a.png","detail":"low"}}]},{"role":"assistant","content":"let me","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"c1","content":"one"},{"role":"user","content":"and?"}],
		  "tools":[{"type":"function","function":{"name":"f","description":"F","parameters":{"type":"object"}}}],"strict_tools":true,"tool_choice":"REQUIRED","max_tokens":7,"seed":1,"p":0.9,"stop_sequences":["E"],"response_format":{"type":"json_object","json_schema":{"type":"object"}}}`, ""},
	{"thinking and what cannot be said", dialect.Messages, dialect.Cohere,
		`{"model":"x","max_tokens":9,"top_k":4,"thinking":{"type":"enabled","budget_tokens":2000},"metadata":{"user_id":"u"},"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"so"}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"no","is_error":true},{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"B"}}]}],"tools":[{"name":"f","input_schema":{}},{"name":"g","input_schema":{}}],"tool_choice":{"type":"tool","name":"g"}}`,
		`{"model":"m","stream":false,"max_tokens":9,"k":4,"thinking":{"type":"enabled","token_budget":2000},"messages":[{"role":"assistant","content":"so"},{"role":"tool","tool_call_id":"c","content":"no"},{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"g","parameters":{}}}],"tool_choice":"REQUIRED"}`,
		"messages.*.content.cache_control, messages.*.content.file, messages.*.content.reasoning, messages.*.content.tool_result.is_error, user"},
}

const converseReply = `{"output":{"message":{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"hm","signature":"s"}}},{"text":"let me"},{"toolUse":{"toolUseId":"t1","name":"f","input":{"a":1}}},{"toolUse":{"toolUseId":"t2","name":"g","input":{}}}]}},"stopReason":"tool_use","usage":{"inputTokens":65,"outputTokens":20,"totalTokens":120,"cacheReadInputTokens":30,"cacheWriteInputTokens":5}}`

// converseStream is the same in events, each behind its name.
const converseStream = `messageStart {"role":"assistant"}
contentBlockDelta {"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"h"}}}
contentBlockDelta {"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"m"}}}
contentBlockDelta {"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"s"}}}
contentBlockStop {"contentBlockIndex":0}
contentBlockDelta {"contentBlockIndex":1,"delta":{"text":"let "}}
contentBlockDelta {"contentBlockIndex":1,"delta":{"text":"me"}}
contentBlockStop {"contentBlockIndex":1}
contentBlockStart {"contentBlockIndex":2,"start":{"toolUse":{"toolUseId":"t1","name":"f"}}}
contentBlockDelta {"contentBlockIndex":2,"delta":{"toolUse":{"input":"{\"a\""}}}
contentBlockDelta {"contentBlockIndex":2,"delta":{"toolUse":{"input":":1}"}}}
contentBlockStop {"contentBlockIndex":2}
contentBlockStart {"contentBlockIndex":3,"start":{"toolUse":{"toolUseId":"t2","name":"g"}}}
contentBlockStop {"contentBlockIndex":3}
messageStop {"stopReason":"tool_use"}
metadata {"usage":{"inputTokens":65,"outputTokens":20,"totalTokens":120,"cacheReadInputTokens":30,"cacheWriteInputTokens":5},"metrics":{"latencyMs":1}}`

const cohereReply = `{"id":"c1","finish_reason":"TOOL_CALL","message":{"role":"assistant","tool_plan":"hm","content":[{"type":"text","text":"let me"}],"tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},{"id":"t2","type":"function","function":{"name":"g","arguments":"{}"}}]},"usage":{"billed_units":{"input_tokens":9,"output_tokens":2},"tokens":{"input_tokens":100,"output_tokens":20},"cached_tokens":30}}`

const cohereStream = `message-start {"type":"message-start","id":"c1","delta":{"message":{"role":"assistant"}}}
tool-plan-delta {"type":"tool-plan-delta","delta":{"message":{"tool_plan":"h"}}}
tool-plan-delta {"type":"tool-plan-delta","delta":{"message":{"tool_plan":"m"}}}
content-start {"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}
content-delta {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"let "}}}}
content-delta {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"me"}}}}
content-end {"type":"content-end","index":0}
citation-start {"type":"citation-start","index":0,"delta":{"message":{"citations":{}}}}
tool-call-start {"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"t1","type":"function","function":{"name":"f","arguments":""}}}}}
tool-call-delta {"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\"a\":"}}}}}
tool-call-delta {"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"1}"}}}}}
tool-call-end {"type":"tool-call-end","index":0}
tool-call-start {"type":"tool-call-start","index":1,"delta":{"message":{"tool_calls":{"id":"t2","type":"function","function":{"name":"g","arguments":"{}"}}}}}
tool-call-end {"type":"tool-call-end","index":1}
message-end {"type":"message-end","delta":{"finish_reason":"TOOL_CALL","usage":{"tokens":{"input_tokens":100,"output_tokens":20},"cached_tokens":30}}}`

// decodeNamed reads a stream whose events stand behind their names.
func decodeNamed(t testing.TB, of dialect.Name, stream string) ([]dialect.Piece, error) {
	t.Helper()
	d := dialect.Of(of).NewDecoder(&dialect.Prompt{})
	var list []dialect.Piece
	var err error
	for line := range strings.Lines(stream) {
		name, data, _ := strings.Cut(line, " ")
		if list, err = d.Event(list, name, []byte(data)); err != nil {
			return list, err
		}
	}
	return d.Over(list)
}

func TestRepliesOfAmazonAndCohereAreReadPlainAndStreamed(t *testing.T) {
	calls := []dialect.Part{{Kind: dialect.Text, Text: "let me"}, {Kind: dialect.ToolCall, ID: "t1", Name: "f", Args: json.RawMessage(`{"a":1}`)}, {Kind: dialect.ToolCall, ID: "t2", Name: "g", Args: json.RawMessage(`{}`)}}
	for _, tt := range []struct {
		of            dialect.Name
		plain, stream string
		want          dialect.Reply
	}{
		{dialect.Converse, converseReply, converseStream, dialect.Reply{Usage: &dialect.Usage{Input: 100, Output: 20, CacheRead: 30, CacheWrite: 5}, Choices: []dialect.Answer{{Reason: dialect.ToolUse, Parts: append([]dialect.Part{{Kind: dialect.Thought, Text: "hm", Signature: "s", Vendor: "anthropic"}}, calls...)}}}},
		{dialect.Cohere, cohereReply, cohereStream, dialect.Reply{ID: "c1", Usage: &dialect.Usage{Input: 100, Output: 20, CacheRead: 30}, Choices: []dialect.Answer{{Reason: dialect.ToolUse, Parts: append([]dialect.Part{{Kind: dialect.Thought, Text: "hm"}}, calls...)}}}},
	} {
		plain, err := dialect.Of(tt.of).NewDecoder(&dialect.Prompt{}).Whole([]byte(tt.plain))
		if diff := cmp.Diff(&tt.want, plain); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got) %s", tt.of, err, diff)
		}
		list, err := decodeNamed(t, tt.of, tt.stream)
		if diff := cmp.Diff(&tt.want, dialect.Fold(list)); err != nil || diff != "" {
			t.Errorf("%s streamed: %v (-want +got) %s", tt.of, err, diff)
		}
		lines := strings.Split(tt.stream, "\n")
		end := map[dialect.Name]int{dialect.Converse: len(lines) - 2, dialect.Cohere: len(lines) - 1}[tt.of]
		for n := range end { // cut before it says that it ends
			if _, err := decodeNamed(t, tt.of, strings.Join(lines[:n], "\n")); err == nil {
				t.Errorf("%s cut before event %d has an end", tt.of, n)
			}
		}
	}
}

func TestFailuresOfAmazonAndCohere(t *testing.T) {
	for stream, want := range map[string]dialect.Failed{
		"messageStart {}\nthrottlingException {\"message\":\"slow\"}":                                 {Kind: dialect.Throttled, Message: "slow", Code: "throttlingException"},
		"messageStart {}\nmodelStreamErrorException {\"message\":\"broke\"}":                          {Kind: dialect.Broken, Message: "broke", Code: "modelStreamErrorException"},
		"messageStart {}\nvalidationException {\"message\":\"bad\"}":                                  {Kind: dialect.BadRequest, Message: "bad", Code: "validationException"},
		"message-start {}\nmessage-end {\"delta\":{\"finish_reason\":\"ERROR\",\"error\":\"broke\"}}": {Kind: dialect.Broken, Message: "broke", Code: "ERROR"},
	} {
		of := dialect.Converse
		if strings.HasPrefix(stream, "message-") {
			of = dialect.Cohere
		}
		list, _ := decodeNamed(t, of, stream)
		if last := list[len(list)-1]; last.Kind != dialect.Fail || cmp.Diff(&want, last.Failed) != "" {
			t.Errorf("%s: %+v", stream, last.Failed)
		}
	}
	if f := dialect.ReadFailure(dialect.Converse, 400, []byte(`{"message":"Input is too long for requested model."}`)); f.Kind != dialect.TooLong {
		t.Errorf("%+v", f)
	}
	for _, doc := range []string{`{}`, `{"output":{}}`, `{"message":"x"}`} {
		for _, of := range []dialect.Name{dialect.Converse, dialect.Cohere} {
			if r, err := dialect.Of(of).NewDecoder(&dialect.Prompt{}).Whole([]byte(doc)); err == nil {
				t.Errorf("%s: %s is %+v", of, doc, r)
			}
		}
	}
}

func FuzzBehind(f *testing.F) {
	for _, stream := range []string{converseStream, cohereStream} {
		f.Add(stream)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		for line := range strings.Lines(stream) {
			if _, data, _ := strings.Cut(line, " "); !gjson.Valid(data) {
				return
			}
		}
		for _, of := range []dialect.Name{dialect.Converse, dialect.Cohere} {
			list, err := decodeNamed(t, of, stream)
			if err != nil {
				continue
			}
			for _, to := range []dialect.Name{dialect.Chat, dialect.Messages, dialect.Gemini, dialect.Responses} {
				e := dialect.Of(to).NewEncoder(&dialect.Prompt{})
				var frames []dialect.Frame
				for _, p := range list {
					frames = e.Event(frames, p)
				}
				for _, frame := range frames {
					if data := string(frame.Data); data != "[DONE]" && !gjson.Valid(data) {
						t.Fatalf("%s: %s", to, data)
					}
				}
			}
		}
	})
}
