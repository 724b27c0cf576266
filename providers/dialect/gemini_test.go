package dialect_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"callgate/providers/dialect"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

var geminiRequests = []request{
	{"text", dialect.Gemini, dialect.Chat,
		`{"systemInstruction":{"parts":[{"text":"be brief"}]},"contents":[{"role":"user","parts":[{"text":"hi"}]},{"role":"model","parts":[{"text":"hello"}]},{"parts":[{"text":"a"},{"text":"b"}]}],"generationConfig":{"maxOutputTokens":100}}`,
		`{"model":"m","max_completion_tokens":100,"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"},{"role":"assistant","content":"hello"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}`, ""},
	{"text, in snake case and with lists of one that are none", dialect.Gemini, dialect.Messages,
		`{"system_instruction":{"parts":{"text":"be brief"}},"contents":{"parts":{"text":"hi"}},"generation_config":{"max_output_tokens":100,"stop_sequences":["E"],"top_k":4}}`,
		`{"model":"m","max_tokens":100,"stop_sequences":["E"],"top_k":4,"system":[{"type":"text","text":"be brief"}],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`, ""},
	{"text", dialect.Chat, dialect.Gemini,
		`{"model":"x","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"},{"role":"assistant","content":"hello"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":""}]},{"role":"user","name":"ana","content":"b"}],"max_tokens":100}`,
		`{"systemInstruction":{"parts":[{"text":"be brief"}]},"contents":[{"role":"user","parts":[{"text":"hi"}]},{"role":"model","parts":[{"text":"hello"}]},{"role":"user","parts":[{"text":"a"},{"text":"b"}]}],"generationConfig":{"maxOutputTokens":100}}`, "messages.*.name"},
	{"text", dialect.Responses, dialect.Gemini,
		`{"model":"x","instructions":"be brief","input":"hi","max_output_tokens":100}`,
		`{"systemInstruction":{"parts":[{"text":"be brief"}]},"contents":[{"role":"user","parts":[{"text":"hi"}]}],"generationConfig":{"maxOutputTokens":100}}`, ""},
	{"media", dialect.Gemini, dialect.Chat,
		`{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}},{"inline_data":{"mime_type":"application/pdf","data":"BBBB","display_name":"a.pdf"}},{"inlineData":{"mimeType":"audio/wav","data":"CCCC"}},{"fileData":{"mimeType":"image/png","fileUri":"https://e.example/a.png"}},{"fileData":{"mimeType":"image/png","fileUri":"https://generativelanguage.googleapis.com/v1beta/files/x"},"videoMetadata":{"fps":1}}]}]}`,
		`{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,BBBB"}},{"type":"input_audio","input_audio":{"data":"CCCC","format":"wav"}},{"type":"image_url","image_url":{"url":"https://e.example/a.png"}}]}]}`,
		"contents.*.parts.fileData, contents.*.parts.videoMetadata"},
	{"media", dialect.Chat, dialect.Gemini,
		`{"model":"x","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}},{"type":"image_url","image_url":{"url":"https://e.example/a.png?b"}},{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,BBBB"}},{"type":"file","file":{"file_id":"f-1"}},{"type":"input_audio","input_audio":{"data":"CCCC","format":"wav"}}]}]}`,
		`{"contents":[{"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}},{"fileData":{"mimeType":"image/png","fileUri":"https://e.example/a.png?b"}},{"inlineData":{"mimeType":"application/pdf","data":"BBBB"}},{"inlineData":{"mimeType":"audio/wav","data":"CCCC"}}]}]}`,
		"messages.*.content.file, messages.*.content.image_url.detail"},
	{"tools", dialect.Gemini, dialect.Chat,
		`{"contents":[{"role":"user","parts":[{"text":"q"}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":1}}},{"functionCall":{"id":"c2","name":"g"}},{"functionCall":{"name":"f"}}]},
		  {"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"one"}}},{"functionResponse":{"id":"c2","name":"g","response":{"a":"two"}}},{"functionResponse":{"name":"f","response":{"error":"no"}}}]}],
		  "tools":[{"functionDeclarations":[{"name":"f","description":"F","parameters":{"type":"OBJECT","nullable":false,"properties":{"type":{"type":"STRING","nullable":true,"enum":["x"]},"l":{"type":"ARRAY","minItems":"2","items":{"type":"INTEGER"}}},"propertyOrdering":["type"]}},{"name":"g","parametersJsonSchema":{"type":"object"},"behavior":"BLOCKING"}]},{"googleSearch":{}},{"code_execution":{}}],
		  "toolConfig":{"functionCallingConfig":{"mode":"ANY"},"retrievalConfig":{}}}`,
		`{"model":"m","messages":[{"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[{"id":"callgate_0","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},{"id":"c2","type":"function","function":{"name":"g","arguments":"{}"}},{"id":"callgate_2","type":"function","function":{"name":"f","arguments":"{}"}}]},
		  {"role":"tool","tool_call_id":"callgate_0","content":"one"},{"role":"tool","tool_call_id":"c2","content":"{\"a\":\"two\"}"},{"role":"tool","tool_call_id":"callgate_2","content":"no"}],
		  "tools":[{"type":"function","function":{"name":"f","description":"F","parameters":{"type":"object","properties":{"type":{"type":["string","null"],"enum":["x",null]},"l":{"type":"array","minItems":2,"items":{"type":"integer"}}}}}},{"type":"function","function":{"name":"g","parameters":{"type":"object"}}}],"tool_choice":"required"}`,
		"contents.*.parts.functionResponse.response.error, toolConfig.retrievalConfig, tools.*.codeExecution, tools.*.functionDeclarations.*.behavior, tools.*.googleSearch"},
	{"tools", dialect.Chat, dialect.Gemini,
		`{"model":"x","messages":[{"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},{"id":"c2","type":"function","function":{"name":"g","arguments":"no json"}}]},{"role":"tool","tool_call_id":"c1","content":"one"},{"role":"tool","tool_call_id":"c2","content":"{\"a\":2}"},{"role":"user","content":"and?"}],
		  "tools":[{"type":"function","function":{"name":"f","description":"F","parameters":{"type":"object","properties":{"a":{"const":1},"const":{"type":"string"}}},"strict":true}},{"type":"function","function":{"name":"g"}},{"type":"custom","custom":{"name":"h"}}],"tool_choice":"required","parallel_tool_calls":false}`,
		`{"contents":[{"role":"user","parts":[{"text":"q"}]},{"role":"model","parts":[{"functionCall":{"id":"c1","name":"f","args":{"a":1}},"thoughtSignature":"skip_thought_signature_validator"},{"functionCall":{"id":"c2","name":"g","args":{"input":"no json"}}}]},
		  {"role":"user","parts":[{"functionResponse":{"id":"c1","name":"f","response":{"output":"one"}}},{"functionResponse":{"id":"c2","name":"g","response":{"a":2}}},{"text":"and?"}]}],
		  "tools":[{"functionDeclarations":[{"name":"f","description":"F","parametersJsonSchema":{"type":"object","properties":{"a":{"enum":[1]},"const":{"type":"string"}}}},{"name":"g"},{"name":"h","parametersJsonSchema":{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY"}}}`,
		"parallel_tool_calls, tools.*.custom, tools.*.strict"},
	{"tools", dialect.Messages, dialect.Gemini,
		`{"model":"x","max_tokens":9,"messages":[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"f","input":{"a":1}}]},{"role":"user","content":[{"type":"text","text":"and?"},{"type":"tool_result","tool_use_id":"c1","is_error":true,"content":[{"type":"text","text":"no"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}]}],
		  "tools":[{"name":"f","input_schema":{"type":"object"},"cache_control":{"type":"ephemeral"}},{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true}}`,
		`{"contents":[{"role":"user","parts":[{"text":"q"}]},{"role":"model","parts":[{"functionCall":{"id":"c1","name":"f","args":{"a":1}},"thoughtSignature":"skip_thought_signature_validator"}]},{"role":"user","parts":[{"functionResponse":{"id":"c1","name":"f","response":{"error":"no"},"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}},{"text":"and?"}]}],
		  "tools":[{"functionDeclarations":[{"name":"f","parametersJsonSchema":{"type":"object"}}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}},"generationConfig":{"maxOutputTokens":9}}`,
		"tool_choice.disable_parallel_tool_use, tools.*.cache_control, tools.*.web_search"},
	{"tools", dialect.Gemini, dialect.Messages,
		`{"contents":[{"parts":[{"text":"q"}]},{"role":"model","parts":[{"functionCall":{"id":"c1","name":"f","args":{"a":1}}}]},{"parts":[{"functionResponse":{"id":"c1","name":"f","response":{"result":"one"},"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}}]}],
		  "tools":{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT"}}]},"tool_config":{"function_calling_config":{"mode":"ANY","allowed_function_names":["f"]}}}`,
		`{"model":"m","max_tokens":4096,"messages":[{"role":"user","content":[{"type":"text","text":"q"}]},{"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"f","input":{"a":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":[{"type":"text","text":"one"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}]}],
		  "tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"tool","name":"f"}}`, ""},
	{"no tool", dialect.Gemini, dialect.Chat,
		`{"contents":[],"tools":[{"functionDeclarations":[{"name":"f"}]}],"toolConfig":{"functionCallingConfig":{"mode":"NONE"}}}`,
		`{"model":"m","messages":null,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"none"}`, ""},
	{"some tools", dialect.Chat, dialect.Gemini,
		`{"model":"x","messages":[],"tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g"}}],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"g"}}]}}}`,
		`{"contents":[],"tools":[{"functionDeclarations":[{"name":"g"}]}]}`, ""},
	{"structured output", dialect.Gemini, dialect.Chat,
		`{"contents":[],"generationConfig":{"responseMimeType":"application/json","responseSchema":{"type":"OBJECT","properties":{"a":{"anyOf":[{"type":"STRING"},{"type":"NUMBER"}]}}}}}`,
		`{"model":"m","messages":null,"response_format":{"type":"json_schema","json_schema":{"name":"reply","strict":false,"schema":{"type":"object","properties":{"a":{"anyOf":[{"type":"string"},{"type":"number"}]}}}}}}`, ""},
	{"structured output", dialect.Messages, dialect.Gemini,
		`{"model":"x","max_tokens":1,"messages":[],"output_config":{"effort":"high","format":{"type":"json_schema","schema":{"type":"object","properties":{"k":{"const":"v"}}}}}}`,
		`{"contents":[],"generationConfig":{"maxOutputTokens":1,"responseMimeType":"application/json","responseJsonSchema":{"type":"object","properties":{"k":{"enum":["v"]}}},"thinkingConfig":{"thinkingLevel":"high"}}}`, ""},
	{"any JSON", dialect.Chat, dialect.Gemini, `{"model":"x","messages":[],"response_format":{"type":"json_object"}}`, `{"contents":[],"generationConfig":{"responseMimeType":"application/json"}}`, ""},
	{"any JSON", dialect.Gemini, dialect.Messages, `{"contents":[],"generationConfig":{"responseMimeType":"application/json"}}`, `{"model":"m","max_tokens":4096,"messages":null}`, "generationConfig.responseMimeType"},
	{"thinking", dialect.Gemini, dialect.Messages,
		`{"contents":[{"role":"model","parts":[{"text":"hm","thought":true,"thoughtSignature":"c2ln"},{"text":"so"}]}],"generationConfig":{"thinkingConfig":{"thinkingBudget":2048,"includeThoughts":true}}}`,
		`{"model":"m","max_tokens":4096,"thinking":{"type":"enabled","budget_tokens":2048},"messages":[{"role":"assistant","content":[{"type":"text","text":"so"}]}]}`,
		"contents.*.parts.thoughtSignature"},
	{"thinking by level", dialect.Gemini, dialect.Chat,
		`{"contents":[],"generationConfig":{"thinkingConfig":{"thinkingLevel":"LOW"}}}`, `{"model":"m","messages":null,"reasoning_effort":"low"}`, ""},
	{"thinking as it likes", dialect.Gemini, dialect.Chat,
		`{"contents":[],"generationConfig":{"thinkingConfig":{"thinkingBudget":-1}}}`, `{"model":"m","messages":null}`, ""},
	{"thinking", dialect.Messages, dialect.Gemini,
		`{"model":"x","max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":2048},"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"so"}]}]}`,
		`{"contents":[{"role":"model","parts":[{"text":"so"}]}],"generationConfig":{"maxOutputTokens":9000,"thinkingConfig":{"thinkingBudget":2048,"includeThoughts":true}}}`,
		"messages.*.content.thinking"},
	{"more thinking than there is a word for", dialect.Chat, dialect.Gemini,
		`{"model":"x","messages":[],"reasoning_effort":"xhigh"}`, `{"contents":[],"generationConfig":{"thinkingConfig":{"thinkingLevel":"high"}}}`, "reasoning_effort"},
	{"a conversation that another model began", dialect.Chat, dialect.Gemini,
		`{"model":"x","messages":[{"role":"user","content":"q"},{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a","content":"1"},{"role":"assistant","content":"so"},{"role":"user","content":"r"},
		  {"role":"assistant","tool_calls":[{"id":"b","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"b","content":"2"},{"role":"tool","tool_call_id":"c","content":"3"}]}`,
		`{"contents":[{"role":"user","parts":[{"text":"q"}]},{"role":"model","parts":[{"functionCall":{"id":"a","name":"f","args":{}}}]},{"role":"user","parts":[{"functionResponse":{"id":"a","name":"f","response":{"output":"1"}}}]},{"role":"model","parts":[{"text":"so"}]},{"role":"user","parts":[{"text":"r"}]},
		  {"role":"model","parts":[{"functionCall":{"id":"b","name":"f","args":{}},"thoughtSignature":"skip_thought_signature_validator"},{"functionCall":{"id":"c","name":"f","args":{}}}]},{"role":"user","parts":[{"functionResponse":{"id":"b","name":"f","response":{"output":"2"}}},{"functionResponse":{"id":"c","name":"f","response":{"output":"3"}}}]}]}`, ""},
	{"what else can be said", dialect.Gemini, dialect.Chat,
		`{"model":"models/x","contents":[{"parts":[{"text":"a"},{"executableCode":{"code":"1"}}]}],"generationConfig":{"temperature":0.5,"topP":0.9,"topK":3,"seed":1,"presencePenalty":1,"frequencyPenalty":1,"stopSequences":["E"],"candidateCount":2,"responseLogprobs":true,"responseModalities":["TEXT"]},"safetySettings":[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"BLOCK_NONE"}],"labels":{"a":"b"}}`,
		`{"model":"m","messages":[{"role":"user","content":"a"}],"temperature":0.5,"top_p":0.9,"seed":1,"presence_penalty":1,"frequency_penalty":1,"stop":["E"],"n":2}`,
		"contents.*.parts.executableCode, generationConfig.responseLogprobs, generationConfig.topK, labels, safetySettings"},
	{"what else can be said", dialect.Chat, dialect.Gemini,
		`{"model":"x","messages":[{"role":"user","content":"a"},{"role":"developer","content":"now in French"}],"temperature":1.5,"top_p":0.9,"stop":"END","seed":4294967296,"n":2,"presence_penalty":1,"frequency_penalty":1,"user":"u","logprobs":true,"stream":true,"prompt_cache_key":"k"}`,
		`{"contents":[{"role":"user","parts":[{"text":"a"},{"text":"now in French"}]}],"generationConfig":{"temperature":1.5,"topP":0.9,"stopSequences":["END"],"candidateCount":2,"presencePenalty":1,"frequencyPenalty":1}}`,
		"logprobs, messages.*.role.developer, prompt_cache_key, seed, user"},
}

const geminiReply = `{"responseId":"c1","modelVersion":"gpt","candidates":[{"index":0,"finishReason":"STOP","content":{"role":"model","parts":[{"text":"hm","thought":true},{"text":"let me"},{"functionCall":{"id":"t1","name":"f","args":{"a":1}}},{"functionCall":{"id":"t2","name":"g","args":{}}}]}}],
 "usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":30,"candidatesTokenCount":20,"totalTokenCount":120}}`

const geminiStream = `{"responseId":"c1","modelVersion":"gpt","candidates":[{"index":0,"content":{"role":"model","parts":[{"text":"h","thought":true}]}}],"usageMetadata":{"promptTokenCount":100,"totalTokenCount":100}}
{"responseId":"c1","modelVersion":"gpt","candidates":[{"content":{"role":"model","parts":[{"text":"m","thought":true}]}}]}
{"responseId":"c1","modelVersion":"gpt","candidates":[{"content":{"role":"model","parts":[{"text":"let "}]}}]}
{"responseId":"c1","modelVersion":"gpt","candidates":[{"content":{"role":"model","parts":[{"text":"me"},{"functionCall":{"id":"t1","name":"f","args":{"a":1}}}]}}]}
{"responseId":"c1","modelVersion":"gpt","candidates":[{"content":{"role":"model","parts":[{"functionCall":{"id":"t2","name":"g"}}]}}]}
{"responseId":"c1","modelVersion":"gpt","candidates":[{"content":{"role":"model","parts":[{"text":""}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":30,"candidatesTokenCount":20,"totalTokenCount":120}}`

// geminiReplies are replies and Google's: it does not tell of what was put in a cache.
var geminiReplies = func() map[dialect.Name]said {
	free := strings.NewReplacer(`"cache_write_tokens":5`, `"cache_write_tokens":0`, `"input_tokens":65`, `"input_tokens":70`, `"cache_creation_input_tokens":5`, `"cache_creation_input_tokens":0`)
	all := map[dialect.Name]said{dialect.Gemini: {geminiReply, geminiStream}}
	for name, r := range replies {
		all[name] = said{free.Replace(r.whole), free.Replace(r.stream)}
	}
	return all
}()

func TestGeminiContentThatOnlyGoogleKeepsIsRefused(t *testing.T) {
	for _, doc := range []string{`{"contents":[],"cachedContent":"cachedContents/x"}`, `{"cached_content":"cachedContents/x"}`} {
		_, err := dialect.Of(dialect.Gemini).Read([]byte(doc))
		var bound *dialect.Bound
		if !errors.As(err, &bound) || bound.Path != "cachedContent" {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

func TestHowGeminiEnds(t *testing.T) {
	for _, test := range []struct {
		doc  string
		want dialect.StopReason
	}{
		{`{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}]}`, dialect.EndTurn},
		{`{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}]}`, dialect.ToolUse},
		{`{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":"MAX_TOKENS"}]}`, dialect.MaxTokens},
		{`{"candidates":[{"finishReason":"MAX_TOKENS"}]}`, dialect.MaxTokens},
		{`{"candidates":[{"finishReason":"PROHIBITED_CONTENT"}]}`, dialect.Filtered},
		{`{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}]}`, dialect.Other},
		{`{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":5}}`, dialect.Filtered},
	} {
		r, err := dialect.Of(dialect.Gemini).NewDecoder(&dialect.Prompt{}).Whole([]byte(test.doc))
		if err != nil || len(r.Choices) != 1 || r.Choices[0].Reason != test.want {
			t.Errorf("%s: %+v, %v", test.doc, r, err)
			continue
		}
		if diff := cmp.Diff(r, dialect.Fold(pieces(t, dialect.Gemini, test.doc))); diff != "" {
			t.Errorf("%s, streamed: %s", test.doc, diff)
		}
	}
	for reason, want := range map[dialect.StopReason]string{
		dialect.EndTurn: "STOP", dialect.StopSequence: "STOP", dialect.ToolUse: "STOP", dialect.MaxTokens: "MAX_TOKENS", dialect.Filtered: "SAFETY", dialect.Refused: "SAFETY", dialect.Paused: "OTHER", dialect.Other: "OTHER",
	} {
		doc := dialect.Of(dialect.Gemini).NewEncoder(&dialect.Prompt{}).Whole(&dialect.Reply{Choices: []dialect.Answer{{Reason: reason}}})
		if got := gjson.GetBytes(doc, "candidates.0.finishReason").Str; got != want {
			t.Errorf("%d ends with %s, want %s", reason, got, want)
		}
	}
	for _, doc := range []string{`{}`, `{"usageMetadata":{}}`, `{"candidates":[{"index":-1}]}`, `{"candidates":[{"index":1000000}]}`} {
		if _, err := dialect.Of(dialect.Gemini).NewDecoder(nil).Whole([]byte(doc)); err == nil {
			t.Errorf("%s is taken for a reply", doc)
		}
	}
}

// What a model of Google's thought is billed, and its tokens are told beside the answer's.
func TestThoughtsAreAmongTheOutput(t *testing.T) {
	r, err := dialect.Of(dialect.Gemini).NewDecoder(nil).Whole([]byte(`{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":10,"toolUsePromptTokenCount":2,"candidatesTokenCount":3,"thoughtsTokenCount":4,"totalTokenCount":19,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":5}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := (dialect.Usage{Input: 12, Output: 7, Reasoning: 4, AudioIn: 5}); *r.Usage != want {
		t.Errorf("%+v, want %+v", *r.Usage, want)
	}
	u := gjson.GetBytes(dialect.Of(dialect.Gemini).NewEncoder(&dialect.Prompt{}).Whole(r), "usageMetadata")
	if u.Get("candidatesTokenCount").Int() != 3 || u.Get("thoughtsTokenCount").Int() != 4 || u.Get("totalTokenCount").Int() != 19 {
		t.Error(u.Raw)
	}
}

// Calls that come without ids get some that no other of the conversation has, and Google
// never sees them.
func TestCallsWithoutIDs(t *testing.T) {
	const reply = `{"responseId":%"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}},{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}]}`
	seen := make(map[string]bool)
	history := `{"contents":[]}`
	for range 2 { // turns, of replies that have no id either
		p, err := dialect.Of(dialect.Gemini).Read([]byte(history))
		if err != nil {
			t.Fatal(err)
		}
		r, err := dialect.Of(dialect.Gemini).NewDecoder(p).Whole([]byte(strings.Replace(reply, "%", `"",`, 1)))
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range r.Choices[0].Parts {
			if part.ID == "" || seen[part.ID] {
				t.Errorf("id %q", part.ID)
			}
			seen[part.ID] = true
		}
		p.Turns = append(p.Turns, dialect.Turn{Role: dialect.Assistant, Parts: r.Choices[0].Parts}, dialect.Turn{Parts: []dialect.Part{{Kind: dialect.ToolResult, ID: r.Choices[0].Parts[0].ID}}})
		doc, _, err := dialect.Of(dialect.Gemini).Write(p, dialect.Target{Model: "gemini-2.5-pro", Vendor: "google"})
		if err != nil || strings.Contains(string(doc), `"id"`) || gjson.GetBytes(doc, "contents.1.parts.0.functionResponse.name").Str != "f" {
			t.Errorf("%v %s", err, doc)
		}
		history = string(doc)
	}
}

// A signature goes back to its vendor on the part that it came on, by way of any dialect,
// and never to another one.
func TestSignaturesOfGoogleGoBack(t *testing.T) {
	const said = `{"role":"model","parts":[{"text":"hm","thought":true,"thoughtSignature":"YQ=="},{"text":"let me","thoughtSignature":"Yg=="},{"functionCall":{"id":"c1","name":"f","args":{}},"thoughtSignature":"Yw=="},{"functionCall":{"id":"c2","name":"f","args":{}}}]}`
	r, err := dialect.Of(dialect.Gemini).NewDecoder(nil).Whole([]byte(`{"candidates":[{"content":` + said + `,"finishReason":"STOP"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, by := range []dialect.Name{dialect.Messages, dialect.Responses, dialect.Chat} {
		for _, streamed := range []bool{false, true} {
			doc := string(dialect.Of(by).NewEncoder(&dialect.Prompt{}).Whole(r))
			if streamed {
				doc = joined(t, by, frames(t, by, dialect.Pieces(r)))
			}
			var history string
			switch by {
			case dialect.Messages:
				history = `{"model":"x","messages":[{"role":"assistant","content":` + gjson.Get(doc, "content").Raw + `}]}`
			case dialect.Responses:
				history = `{"model":"x","input":` + gjson.Get(doc, "output").Raw + `}`
			case dialect.Chat:
				history = `{"model":"x","messages":[` + gjson.Get(doc, "choices.0.message").Raw + `]}`
			}
			own, losses := dialect.Own(by, []byte(history))
			if strings.Contains(string(own), "callgate:") || len(losses) == 0 {
				t.Errorf("its own vendor gets %s", own)
			}
			p, err := dialect.Of(by).Read([]byte(history))
			if err != nil {
				t.Fatal(err)
			}
			back, _, err := dialect.Of(dialect.Gemini).Write(p, dialect.Target{Model: "gemini-3-pro", Vendor: "google"})
			if err != nil {
				t.Fatal(err)
			}
			want := said
			if by == dialect.Chat { // which has a place for those of calls alone
				want = `{"role":"model","parts":[{"text":"let me"},{"functionCall":{"id":"c1","name":"f","args":{}},"thoughtSignature":"Yw=="},{"functionCall":{"id":"c2","name":"f","args":{}}}]}`
			}
			if diff := same(t, want, gjson.GetBytes(back, "contents.0").Raw); diff != "" {
				t.Errorf("by %s, streamed %v: (-want +got) %s", by, streamed, diff)
			}
			for other, vendor := range vendors {
				if other == dialect.Gemini {
					continue
				}
				doc, _, _ := dialect.Of(other).Write(p, dialect.Target{Model: "m", Vendor: vendor})
				for _, s := range []string{"YQ==", "Yg==", "Yw=="} {
					if strings.Contains(string(doc), s) {
						t.Errorf("%s gets a signature of Google's: %s", other, doc)
					}
				}
			}
		}
	}
}

// joined is the plain reply that a client makes of a stream, as far as it is sent back.
func joined(t *testing.T, of dialect.Name, stream string) string {
	t.Helper()
	doc := ""
	put := func(path, value string) {
		var err error
		if doc, err = sjson.SetRaw(doc, path, value); err != nil {
			t.Fatal(err)
		}
	}
	add := func(path, more string) {
		b, _ := json.Marshal(gjson.Get(doc, path).Str + more)
		put(path, string(b))
	}
	for line := range strings.Lines(stream) {
		v := gjson.Parse(line)
		switch of {
		case dialect.Messages:
			at := "content." + v.Get("index").Raw
			switch v.Get("type").Str {
			case "content_block_start":
				if v.Get("index").Int() != gjson.Get(doc, "content.#").Int() {
					t.Errorf("blocks come out of order: %s", line)
				}
				put(at, v.Get("content_block").Raw)
			case "content_block_delta":
				add(at+".text", v.Get("delta.text").Str)
				add(at+".thinking", v.Get("delta.thinking").Str)
				add(at+".signature", v.Get("delta.signature").Str)
			}
		case dialect.Responses:
			if v.Get("type").Str == "response.completed" {
				doc = v.Get("response").Raw
			}
		case dialect.Chat:
			add("choices.0.message.content", v.Get("choices.0.delta.content").Str)
			for _, call := range v.Get("choices.0.delta.tool_calls").Array() {
				at := "choices.0.message.tool_calls." + call.Get("index").Raw
				if call.Get("id").Exists() {
					put(at, call.Raw)
				} else {
					add(at+".function.arguments", call.Get("function.arguments").Str)
				}
			}
		}
	}
	put("choices.0.message.role", `"assistant"`)
	return doc
}

// What a model of another vendor thought goes through a client of Google's, which takes
// base64 alone.
func TestSignaturesOfOthersPassByClientsOfGoogle(t *testing.T) {
	r, err := dialect.Of(dialect.Messages).NewDecoder(nil).Whole([]byte(`{"content":[{"type":"thinking","thinking":"hm","signature":"s/+="},{"type":"redacted_thinking","data":"d"},{"type":"text","text":"so"}],"stop_reason":"end_turn"}`))
	if err != nil {
		t.Fatal(err)
	}
	plain := string(dialect.Of(dialect.Gemini).NewEncoder(&dialect.Prompt{}).Whole(r))
	var streamed []string // the parts of all events, as clients keep them
	for line := range strings.Lines(frames(t, dialect.Gemini, dialect.Pieces(r))) {
		streamed = append(streamed, gjson.Get(line, "candidates.0.content.parts.0").Raw)
	}
	for _, parts := range []string{gjson.Get(plain, "candidates.0.content.parts").Raw, "[" + strings.Join(streamed, ",") + "]"} {
		for _, s := range gjson.Get(parts, "#.thoughtSignature").Array() {
			if _, err := base64.StdEncoding.DecodeString(s.Str); err != nil {
				t.Errorf("%s: %v", s.Str, err)
			}
		}
		history := []byte(`{"contents":[{"role":"model","parts":` + parts + `}]}`)
		p, err := dialect.Of(dialect.Gemini).Read(history)
		if err != nil {
			t.Fatal(err)
		}
		doc, losses, err := dialect.Of(dialect.Messages).Write(p, dialect.Target{Model: "m", Vendor: "anthropic"})
		if err != nil || len(losses) > 0 {
			t.Fatal(err, losses)
		}
		if diff := same(t, `[{"type":"thinking","thinking":"hm","signature":"s/+="},{"type":"redacted_thinking","data":"d"},{"type":"text","text":"so"}]`, gjson.GetBytes(doc, "messages.0.content").Raw); diff != "" {
			t.Errorf("(-want +got) %s", diff)
		}
		own, losses := dialect.Own(dialect.Gemini, history)
		if strings.Contains(string(own), "thoughtSignature") || losses.String() != "contents.*.parts.thoughtSignature" || !strings.Contains(string(own), "so") {
			t.Errorf("Google gets %s, %v", own, losses)
		}
	}
}
