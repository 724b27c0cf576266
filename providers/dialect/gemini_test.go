package dialect_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"callgate/providers/dialect"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

// geminiRequests is what Google's dialect and others say for the same.
var geminiRequests = []request{
	{"text", dialect.Chat, dialect.Gemini,
		`{"model":"x","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"},{"role":"assistant","content":"hello"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}],"max_completion_tokens":100}`,
		`{"systemInstruction":{"parts":[{"text":"be brief"}]},"contents":[{"role":"user","parts":[{"text":"hi"}]},{"role":"model","parts":[{"text":"hello"}]},{"role":"user","parts":[{"text":"a"},{"text":"b"}]}],"generationConfig":{"maxOutputTokens":100}}`, ""},
	{"text", dialect.Gemini, dialect.Messages,
		`{"system_instruction":{"parts":[{"text":"be brief"}]},"contents":[{"role":"user","parts":[{"text":"hi"}]},{"role":"model","parts":[{"text":"hello"}]},{"parts":[{"text":"a"},{"text":"b"}]}],"generation_config":{"max_output_tokens":100}}`,
		`{"model":"m","max_tokens":100,"system":[{"type":"text","text":"be brief"}],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[{"type":"text","text":"hello"}]},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}`, ""},
	{"media", dialect.Messages, dialect.Gemini,
		`{"model":"x","max_tokens":1,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}},{"type":"document","source":{"type":"url","url":"https://e.example/a.pdf"}},{"type":"document","source":{"type":"file","file_id":"f"}}]}]}`,
		`{"contents":[{"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}},{"fileData":{"fileUri":"https://e.example/a.pdf"}}]}],"generationConfig":{"maxOutputTokens":1}}`, "messages.*.content.file"},
	{"media", dialect.Gemini, dialect.Chat,
		`{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}},{"inline_data":{"mime_type":"audio/wav","data":"BBBB"}},{"inlineData":{"mimeType":"application/pdf","data":"CCCC"}}]}]}`,
		`{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},{"type":"input_audio","input_audio":{"data":"BBBB","format":"wav"}},{"type":"file","file":{"filename":"document","file_data":"data:application/pdf;base64,CCCC"}}]}]}`, ""},
	{"tools", dialect.Chat, dialect.Gemini,
		`{"model":"x","messages":[{"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},{"id":"c2","type":"function","function":{"name":"g","arguments":""}}]},{"role":"tool","tool_call_id":"c1","content":"one"},{"role":"tool","tool_call_id":"c2","content":"{\"n\":2}"},{"role":"user","content":"and?"}],
		  "tools":[{"type":"function","function":{"name":"f","description":"F","parameters":{"type":"object","properties":{"a":{"const":1}}},"strict":true}},{"type":"function","function":{"name":"g"}}],"tool_choice":"required","parallel_tool_calls":false}`,
		`{"contents":[{"role":"user","parts":[{"text":"q"}]},{"role":"model","parts":[{"functionCall":{"id":"c1","name":"f","args":{"a":1}}},{"functionCall":{"id":"c2","name":"g","args":{}}}]},
		  {"role":"user","parts":[{"functionResponse":{"id":"c1","name":"f","response":{"result":"one"}}},{"functionResponse":{"id":"c2","name":"g","response":{"n":2}}},{"text":"and?"}]}],
		  "tools":[{"functionDeclarations":[{"name":"f","description":"F","parametersJsonSchema":{"type":"object","properties":{"a":{"const":1}}}},{"name":"g"}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY"}}}`,
		"parallel_tool_calls, tools.*.strict"},
	{"tools", dialect.Gemini, dialect.Messages,
		`{"contents":[{"parts":[{"text":"q"}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":1}}},{"functionCall":{"name":"f","args":{"a":2}}},{"functionCall":{"id":"own","name":"g"}}]},
		  {"role":"user","parts":[{"functionResponse":{"name":"f","response":{"result":"one"}}},{"functionResponse":{"name":"f","response":{"error":"no"}}},{"functionResponse":{"id":"own","name":"g","response":{"a":1,"b":2}}}]}],
		  "tools":[{"functionDeclarations":[{"name":"f","description":"F","parameters":{"type":"OBJECT","properties":{"type":{"type":"STRING","nullable":true,"maxLength":"9"}},"propertyOrdering":["type"]}},{"name":"g","parametersJsonSchema":{"type":"object"}}]},{"googleSearch":{}}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}}}`,
		`{"model":"m","max_tokens":4096,"messages":[{"role":"user","content":[{"type":"text","text":"q"}]},{"role":"assistant","content":[{"type":"tool_use","id":"cg_0","name":"f","input":{"a":1}},{"type":"tool_use","id":"cg_1","name":"f","input":{"a":2}},{"type":"tool_use","id":"own","name":"g","input":{}}]},
		  {"role":"user","content":[{"type":"tool_result","tool_use_id":"cg_0","content":[{"type":"text","text":"one"}]},{"type":"tool_result","tool_use_id":"cg_1","content":[{"type":"text","text":"no"}],"is_error":true},{"type":"tool_result","tool_use_id":"own","content":[{"type":"text","text":"{\"a\":1,\"b\":2}"}]}]}],
		  "tools":[{"name":"f","description":"F","input_schema":{"type":"object","properties":{"type":{"type":["string","null"],"maxLength":9}}}},{"name":"g","input_schema":{"type":"object"}}],"tool_choice":{"type":"tool","name":"f"}}`,
		"tools.*.googleSearch"},
	{"structured output", dialect.Chat, dialect.Gemini,
		`{"model":"x","messages":[],"response_format":{"type":"json_schema","json_schema":{"name":"r","strict":true,"schema":{"type":"object"}}}}`,
		`{"contents":null,"generationConfig":{"responseMimeType":"application/json","responseJsonSchema":{"type":"object"}}}`, ""},
	{"structured output", dialect.Gemini, dialect.Messages,
		`{"contents":[],"generationConfig":{"responseMimeType":"application/json","responseSchema":{"type":"OBJECT","properties":{"a":{"type":"INTEGER"}}}}}`,
		`{"model":"m","max_tokens":4096,"messages":null,"output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"a":{"type":"integer"}}}}}}`, ""},
	{"any JSON", dialect.Gemini, dialect.Chat, `{"contents":[],"generationConfig":{"responseMimeType":"application/json"}}`, `{"model":"m","messages":null,"response_format":{"type":"json_object"}}`, ""},
	{"thinking", dialect.Messages, dialect.Gemini,
		`{"model":"x","max_tokens":1,"thinking":{"type":"enabled","budget_tokens":2000},"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"so"}]}]}`,
		`{"contents":[{"role":"model","parts":[{"text":"so"}]}],"generationConfig":{"maxOutputTokens":1,"thinkingConfig":{"thinkingBudget":2000,"includeThoughts":true}}}`, "messages.*.content.reasoning"},
	{"effort", dialect.Chat, dialect.Gemini, `{"model":"x","messages":[],"reasoning_effort":"medium"}`, `{"contents":null,"generationConfig":{"thinkingConfig":{"thinkingLevel":"medium"}}}`, ""},
	{"no effort", dialect.Gemini, dialect.Messages, `{"contents":[],"generationConfig":{"thinkingConfig":{"thinkingBudget":0}}}`, `{"model":"m","max_tokens":4096,"messages":null,"thinking":{"type":"disabled"}}`, ""},
	{"what else can be said", dialect.Chat, dialect.Gemini,
		`{"model":"x","messages":[{"role":"user","name":"ana","content":"a"},{"role":"developer","content":"now in French"}],"temperature":1.5,"top_p":0.9,"stop":"END","seed":1,"n":2,"presence_penalty":1,"frequency_penalty":0.5,"user":"u","logprobs":true}`,
		`{"contents":[{"role":"user","parts":[{"text":"a"},{"text":"now in French"}]}],"generationConfig":{"temperature":1.5,"topP":0.9,"stopSequences":["END"],"seed":1,"candidateCount":2,"presencePenalty":1,"frequencyPenalty":0.5}}`,
		"logprobs, messages.*.name, messages.*.role.developer, user"},
	{"what else can be said", dialect.Gemini, dialect.Messages,
		`{"contents":[{"parts":[{"text":"a"},{"executableCode":{"code":"1"}}]}],"generationConfig":{"temperature":0.5,"topK":4,"stopSequences":["E"],"speechConfig":{}},"safetySettings":[{"category":"X","threshold":"BLOCK_NONE"}],"labels":{"a":"b"}}`,
		`{"model":"m","max_tokens":4096,"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"temperature":0.5,"top_k":4,"stop_sequences":["E"]}`,
		"contents.*.parts.*.executableCode, generationConfig.speechConfig, labels, safetySettings"},
	{"itself", dialect.Gemini, dialect.Gemini,
		`{"contents":[{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":[{"text":"hm","thought":true},{"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"c2ln"}]}],"tools":[{"googleSearch":{}}],"safetySettings":[1]}`,
		`{"contents":[{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"c2ln"}]}],"tools":[{"googleSearch":{}}],"safetySettings":[1]}`, "messages.*.content.reasoning"},
}

func TestWhatGoogleKeepsIsNotLeftOut(t *testing.T) {
	var b *dialect.Bound
	if _, err := dialect.Of(dialect.Gemini).Read([]byte(`{"contents":[],"cachedContent":"cachedContents/1"}`)); !errors.As(err, &b) {
		t.Errorf("%v", err)
	}
}

const geminiReply = `{"candidates":[{"content":{"role":"model","parts":[{"text":"hm","thought":true},{"text":"let me"},{"functionCall":{"id":"t1","name":"f","args":{"a":1}},"thoughtSignature":"c2ln"},{"functionCall":{"name":"g"}}]},"finishReason":"STOP","index":0}],
 "usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":30,"candidatesTokenCount":15,"thoughtsTokenCount":5,"totalTokenCount":120},"modelVersion":"gemini","responseId":"c1"}`

const geminiStream = `{"candidates":[{"content":{"role":"model","parts":[{"text":"h","thought":true}]}}],"modelVersion":"gemini","responseId":"c1","usageMetadata":{"promptTokenCount":100}}
{"candidates":[{"content":{"role":"model","parts":[{"text":"m","thought":true}]}}]}
{"candidates":[{"content":{"role":"model","parts":[{"text":"let "}]}}]}
{"candidates":[{"content":{"role":"model","parts":[{"text":"me"},{"functionCall":{"id":"t1","name":"f","args":{"a":1}},"thoughtSignature":"c2ln"}]}}]}
{"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"name":"g"}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":30,"candidatesTokenCount":15,"thoughtsTokenCount":5}}`

func decodeLines(t testing.TB, of dialect.Name, stream string) []dialect.Piece {
	t.Helper()
	d := dialect.Of(of).NewDecoder(&dialect.Prompt{})
	var list []dialect.Piece
	var err error
	for line := range strings.Lines(stream) {
		if list, err = d.Event(list, gjson.Get(line, "type").Str, []byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if list, err = d.Over(list); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestGeminisRepliesAreReadPlainAndStreamed(t *testing.T) {
	plain, err := dialect.Of(dialect.Gemini).NewDecoder(&dialect.Prompt{}).Whole([]byte(geminiReply))
	if err != nil {
		t.Fatal(err)
	}
	want := &dialect.Reply{ID: "c1", Model: "gemini", Usage: &dialect.Usage{Input: 100, Output: 20, CacheRead: 30, Reasoning: 5}, Choices: []dialect.Answer{{Reason: dialect.ToolUse, Parts: []dialect.Part{
		{Kind: dialect.Thought, Text: "hm"}, {Kind: dialect.Text, Text: "let me"},
		{Kind: dialect.ToolCall, ID: "t1", Name: "f", Args: json.RawMessage(`{"a":1}`), Signature: "c2ln", Vendor: "google"},
		{Kind: dialect.ToolCall, ID: "cg_c1_0_3", Name: "g", Args: json.RawMessage(`{}`)},
	}}}}
	if diff := cmp.Diff(want, plain); diff != "" {
		t.Errorf("plain (-want +got) %s", diff)
	}
	if diff := cmp.Diff(plain, dialect.Fold(decodeLines(t, dialect.Gemini, geminiStream))); diff != "" {
		t.Errorf("streamed (-plain +got) %s", diff)
	}
}

// What others say reaches a client of Google's whole, plain and streamed, each chunk with
// what is new in it.
func TestGeminisClientsReadOthers(t *testing.T) {
	for _, from := range []struct {
		of    dialect.Name
		plain string
		lines string
	}{{dialect.Chat, chatReply, chatStream}, {dialect.Messages, messagesReply, messagesStream}, {dialect.Gemini, geminiReply, geminiStream}} {
		r, err := dialect.Of(from.of).NewDecoder(&dialect.Prompt{}).Whole([]byte(from.plain))
		if err != nil {
			t.Fatal(err)
		}
		doc := dialect.Of(dialect.Gemini).NewEncoder(&dialect.Prompt{}).Whole(r)
		back, err := dialect.Of(dialect.Gemini).NewDecoder(&dialect.Prompt{}).Whole(doc)
		if err != nil {
			t.Fatal(err)
		}
		for n := range r.Choices {
			for i := range r.Choices[n].Parts { // what others have signed stays theirs
				back.Choices[n].Parts[i].Signature, back.Choices[n].Parts[i].Vendor = r.Choices[n].Parts[i].Signature, r.Choices[n].Parts[i].Vendor
			}
		}
		r.Usage.CacheWrite, r.Usage.CacheWriteHour = 0, 0 // which Google does not know
		if diff := cmp.Diff(r, back); diff != "" {
			t.Errorf("%s plain (-want +got) %s", from.of, diff)
		}
		e := dialect.Of(dialect.Gemini).NewEncoder(&dialect.Prompt{})
		var frames []dialect.Frame
		for _, p := range decodeLines(t, from.of, from.lines) {
			frames = e.Event(frames, p)
		}
		lines := ""
		for i, f := range frames {
			if f.Name != "" || strings.Contains(string(f.Data), "\n") || f.Last != (i == len(frames)-1) {
				t.Errorf("%s: frame %d is %+v", from.of, i, f)
			}
			lines += string(f.Data) + "\n"
		}
		streamed := dialect.Fold(decodeLines(t, dialect.Gemini, lines))
		for i, p := range r.Choices[0].Parts {
			if got := streamed.Choices[0].Parts[i]; got.Kind != p.Kind || got.Text != p.Text || got.Name != p.Name || got.ID != p.ID || string(got.Args) != string(p.Args) {
				t.Errorf("%s: part %d is %+v, want %+v", from.of, i, got, p)
			}
		}
		if streamed.Choices[0].Reason != r.Choices[0].Reason || streamed.Usage.Output != r.Usage.Output {
			t.Errorf("%s: %+v", from.of, streamed)
		}
	}
}

// A thought of another vendor comes back from a client of Google's as it was.
func TestThoughtsPassGooglesClients(t *testing.T) {
	r := &dialect.Reply{Choices: []dialect.Answer{{Parts: []dialect.Part{{Kind: dialect.Thought, Text: "hm", Signature: "s+/=", Vendor: "anthropic"}, {Kind: dialect.Text, Text: "so"}}}}}
	doc := dialect.Of(dialect.Gemini).NewEncoder(&dialect.Prompt{}).Whole(r)
	p, err := dialect.Of(dialect.Gemini).Read([]byte(`{"contents":[` + gjson.GetBytes(doc, "candidates.0.content").Raw + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := dialect.Of(dialect.Messages).Write(p, dialect.Target{Model: "m", Vendor: "anthropic"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := same(t, `[{"type":"thinking","thinking":"hm","signature":"s+/="},{"type":"text","text":"so"}]`, gjson.GetBytes(got, "messages.0.content").Raw); diff != "" {
		t.Errorf("(-want +got) %s", diff)
	}
	got, losses, _ := dialect.Of(dialect.Gemini).Write(p, dialect.Target{Model: "m", Vendor: "google"})
	if strings.Contains(string(got), "Signature") || losses.String() != "messages.*.content.reasoning" {
		t.Errorf("Google gets what is Anthropic's: %s, lost %s", got, losses)
	}
}

func TestGeminisEnds(t *testing.T) {
	for doc, want := range map[string]dialect.StopReason{
		`{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}`:       dialect.EndTurn,
		`{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"MAX_TOKENS"}]}`: dialect.MaxTokens,
		`{"candidates":[{"finishReason":"SAFETY"}]}`:                                        dialect.Filtered,
		`{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"}}`:                           dialect.Filtered,
		`{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}]}`:                       dialect.Other,
	} {
		r, err := dialect.Of(dialect.Gemini).NewDecoder(&dialect.Prompt{}).Whole([]byte(doc))
		if err != nil || r.Choices[0].Reason != want {
			t.Errorf("%s: %+v, %v", doc, r, err)
		}
	}
	for _, doc := range []string{`{}`, `{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}`, `{"candidates":[{"index":-1}]}`, `{"candidates":[{"index":9999}]}`} {
		if r, err := dialect.Of(dialect.Gemini).NewDecoder(&dialect.Prompt{}).Whole([]byte(doc)); err == nil {
			t.Errorf("%s is %+v", doc, r)
		}
	}
	r, _ := dialect.Of(dialect.Gemini).NewDecoder(&dialect.Prompt{}).Event(nil, "", []byte(`{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}`))
	if len(r) != 1 || r[0].Failed.Kind != dialect.Overloaded || r[0].Failed.Message != "busy" {
		t.Errorf("an error is %+v", r)
	}
	if got := string(dialect.WriteFailure(dialect.Gemini, &dialect.Failed{Kind: dialect.Throttled, Message: "slow"})); got != `{"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED"}}` {
		t.Errorf("%s", got)
	}
}

// Calls that Google's models have not signed get what Google gives for that.
func TestCallsOfOtherVendorsAreSignedAsGoogleSays(t *testing.T) {
	p, _ := dialect.Of(dialect.Chat).Read([]byte(`{"messages":[{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"f","arguments":"{}"}}]}]}`))
	got, _, _ := dialect.Of(dialect.Gemini).Write(p, dialect.Target{Model: "gemini-3-pro", Vendor: "google"})
	if strings.Count(string(got), "skip_thought_signature_validator") != 1 {
		t.Errorf("%s", got)
	}
}

func FuzzGemini(f *testing.F) {
	f.Add([]byte(geminiReply), []byte(geminiStream))
	for _, r := range geminiRequests {
		f.Add([]byte(r.in), []byte(r.want))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		g := dialect.Of(dialect.Gemini)
		for _, doc := range [][]byte{a, b} {
			if !gjson.ValidBytes(doc) {
				continue
			}
			if p, err := g.Read(doc); err == nil {
				for _, to := range []dialect.Name{dialect.Chat, dialect.Messages, dialect.Gemini, dialect.Responses} {
					if out, _, err := dialect.Of(to).Write(p, dialect.Target{Model: "m", Vendor: vendors[to]}); err == nil && !json.Valid(out) {
						t.Fatalf("%s: %s", to, out)
					}
				}
			}
			if r, err := g.NewDecoder(&dialect.Prompt{}).Whole(doc); err == nil {
				for _, to := range []dialect.Name{dialect.Chat, dialect.Messages, dialect.Gemini} {
					if out := dialect.Of(to).NewEncoder(&dialect.Prompt{}).Whole(r); !json.Valid(out) {
						t.Fatalf("%s: %s", to, out)
					}
				}
			}
		}
	})
}
