package dialect_test

import (
	"strings"
	"testing"

	"callgate/providers/dialect"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

const responsesReply = `{"id":"c1","object":"response","created_at":0,"status":"completed","background":false,"error":null,"incomplete_details":null,"instructions":null,"max_output_tokens":null,"max_tool_calls":null,"model":"gpt",
 "output":[{"id":"rs_c1_0","type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]},{"id":"msg_c1_1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"let me","annotations":[],"logprobs":[]}]},
  {"id":"fc_c1_2","type":"function_call","status":"completed","call_id":"t1","name":"f","arguments":"{\"a\":1}"},{"id":"fc_c1_3","type":"function_call","status":"completed","call_id":"t2","name":"g","arguments":"{}"}],
 "parallel_tool_calls":true,"previous_response_id":null,"prompt_cache_key":null,"reasoning":{"effort":null,"summary":null},"safety_identifier":null,"service_tier":"default","store":false,"temperature":1,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":1,"truncation":"disabled","user":null,"metadata":{},"presence_penalty":0,"frequency_penalty":0,
 "usage":{"input_tokens":100,"input_tokens_details":{"cached_tokens":30,"cache_write_tokens":5},"output_tokens":20,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":120}}`

const responsesStream = `{"type":"response.created","sequence_number":0,"response":{"id":"c1","object":"response","status":"in_progress","model":"gpt","output":[]}}
{"type":"response.in_progress","sequence_number":1,"response":{"id":"c1","status":"in_progress","model":"gpt","output":[]}}
{"type":"response.output_item.added","sequence_number":2,"output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":""}}
{"type":"response.reasoning_summary_part.added","sequence_number":3,"item_id":"rs_1","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":""}}
{"type":"response.reasoning_summary_text.delta","sequence_number":4,"item_id":"rs_1","output_index":0,"summary_index":0,"delta":"h"}
{"type":"response.reasoning_summary_text.delta","sequence_number":5,"item_id":"rs_1","output_index":0,"summary_index":0,"delta":"m"}
{"type":"response.reasoning_summary_text.done","sequence_number":6,"item_id":"rs_1","output_index":0,"summary_index":0,"text":"hm"}
{"type":"response.reasoning_summary_part.done","sequence_number":7,"item_id":"rs_1","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":"hm"}}
{"type":"response.output_item.done","sequence_number":8,"output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]}}
{"type":"response.output_item.added","sequence_number":9,"output_index":1,"item":{"id":"msg_1","type":"message","status":"in_progress","role":"assistant","content":[]}}
{"type":"response.content_part.added","sequence_number":10,"item_id":"msg_1","output_index":1,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}}
{"type":"response.output_text.delta","sequence_number":11,"item_id":"msg_1","output_index":1,"content_index":0,"delta":"let "}
{"type":"response.output_text.delta","sequence_number":12,"item_id":"msg_1","output_index":1,"content_index":0,"delta":"me"}
{"type":"response.output_text.done","sequence_number":13,"item_id":"msg_1","output_index":1,"content_index":0,"text":"let me"}
{"type":"response.content_part.done","sequence_number":14,"item_id":"msg_1","output_index":1,"content_index":0,"part":{"type":"output_text","text":"let me","annotations":[]}}
{"type":"response.output_item.done","sequence_number":15,"output_index":1,"item":{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"let me","annotations":[]}]}}
{"type":"response.output_item.added","sequence_number":16,"output_index":2,"item":{"id":"fc_1","type":"function_call","status":"in_progress","call_id":"t1","name":"f","arguments":""}}
{"type":"response.function_call_arguments.delta","sequence_number":17,"item_id":"fc_1","output_index":2,"delta":"{\"a\":"}
{"type":"response.function_call_arguments.delta","sequence_number":18,"item_id":"fc_1","output_index":2,"delta":"1}"}
{"type":"response.function_call_arguments.done","sequence_number":19,"item_id":"fc_1","output_index":2,"arguments":"{\"a\":1}"}
{"type":"response.output_item.done","sequence_number":20,"output_index":2,"item":{"id":"fc_1","type":"function_call","status":"completed","call_id":"t1","name":"f","arguments":"{\"a\":1}"}}
{"type":"response.output_item.done","sequence_number":21,"output_index":3,"item":{"id":"fc_2","type":"function_call","status":"completed","call_id":"t2","name":"g","arguments":""}}
{"type":"response.web_search_call.in_progress","sequence_number":22,"output_index":4,"item_id":"ws_1"}
{"type":"response.completed","sequence_number":23,"response":{"id":"c1","status":"completed","model":"gpt","usage":{"input_tokens":100,"input_tokens_details":{"cached_tokens":30,"cache_write_tokens":5},"output_tokens":20,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":120}}}`

// withTools is a prompt of a client who has a custom tool, and one in a namespace.
func withTools(t *testing.T) *dialect.Prompt {
	t.Helper()
	p, err := dialect.Of(dialect.Responses).Read([]byte(`{"model":"x","input":"q","temperature":0.5,"max_output_tokens":100,"prompt_cache_key":"k","metadata":{"a":"b"},"reasoning":{"effort":"low"},"text":{"verbosity":"low"},"tool_choice":"required","parallel_tool_calls":false,
		"tools":[{"type":"custom","name":"patch"},{"type":"namespace","name":"clock","tools":[{"type":"function","name":"sleep"},{"type":"custom","name":"note"}]},{"type":"function","name":"f"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	p.At = 1700000000
	return p
}

// TestCallsOfCustomToolsComeBackAsSuch has models that know functions only call them.
func TestCallsOfCustomToolsComeBackAsSuch(t *testing.T) {
	const want = `[{"id":"ctc_m1_0","type":"custom_tool_call","status":"completed","call_id":"t1","name":"patch","input":"*** \"Begin\"\n"},{"id":"fc_m1_1","type":"function_call","status":"completed","call_id":"t2","name":"sleep","namespace":"clock","arguments":"{\"ms\":1}"},
	 {"id":"ctc_m1_2","type":"custom_tool_call","status":"completed","call_id":"t3","name":"note","namespace":"clock","input":"not as it was told"},{"id":"fc_m1_3","type":"function_call","status":"completed","call_id":"t4","name":"f","arguments":"{}"}]`
	p := withTools(t)
	for _, from := range []struct {
		of            dialect.Name
		whole, stream string
	}{
		{dialect.Messages, `{"id":"m1","model":"claude","content":[{"type":"tool_use","id":"t1","name":"patch","input":{"input":"*** \"Begin\"\n"}},{"type":"tool_use","id":"t2","name":"clock__sleep","input":{"ms":1}},{"type":"tool_use","id":"t3","name":"clock__note","input":"not as it was told"},{"type":"tool_use","id":"t4","name":"f","input":{}}],"stop_reason":"tool_use"}`,
			`{"type":"message_start","message":{"id":"m1","model":"claude"}}
{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t1","name":"patch","input":{}}}
{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"input\":\"*** \\\"Be"}}
{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"gin\\\"\\n\"}"}}
{"type":"content_block_stop","index":0}
{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t2","name":"clock__sleep","input":{}}}
{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"ms\":1}"}}
{"type":"content_block_stop","index":1}
{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t3","name":"clock__note","input":{}}}
{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"not as it was told"}}
{"type":"content_block_stop","index":2}
{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"t4","name":"f","input":{}}}
{"type":"content_block_stop","index":3}
{"type":"message_delta","delta":{"stop_reason":"tool_use"}}
{"type":"message_stop"}`},
		{dialect.Chat, `{"id":"m1","model":"gpt","choices":[{"message":{"tool_calls":[{"id":"t1","type":"function","function":{"name":"patch","arguments":"{\"input\":\"*** \\\"Begin\\\"\\n\"}"}},{"id":"t2","type":"function","function":{"name":"clock__sleep","arguments":"{\"ms\":1}"}},{"id":"t3","type":"custom","custom":{"name":"clock__note","input":"not as it was told"}},{"id":"t4","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":"tool_calls"}]}`,
			`{"id":"m1","model":"gpt","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t1","type":"function","function":{"name":"patch","arguments":""}}]}}]}
{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"input\":\"*** \\\"Begin\\\"\\n\"}"}}]}}]}
{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"t2","type":"function","function":{"name":"clock__sleep","arguments":"{\"ms\":1}"}}]}}]}
{"choices":[{"index":0,"delta":{"tool_calls":[{"index":2,"id":"t3","type":"custom","custom":{"name":"clock__note","input":"not as it was "}}]}}]}
{"choices":[{"index":0,"delta":{"tool_calls":[{"index":2,"custom":{"input":"told"}}]}}]}
{"choices":[{"index":0,"delta":{"tool_calls":[{"index":3,"id":"t4","type":"function","function":{"name":"f","arguments":""}}]}}]}
{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`},
	} {
		r, err := dialect.Of(from.of).NewDecoder(p).Whole([]byte(from.whole))
		if err != nil {
			t.Fatal(err)
		}
		whole := gjson.ParseBytes(dialect.Of(dialect.Responses).NewEncoder(p).Whole(r))
		if diff := same(t, want, whole.Get("output").Raw); diff != "" {
			t.Errorf("%s: %s", from.of, diff)
		}
		stream := encoded(t, p, pieces(t, from.of, from.stream))
		last := gjson.Parse(stream[len(stream)-1])
		if diff := same(t, want, last.Get("response.output").Raw); diff != "" {
			t.Errorf("%s, streamed: %s", from.of, diff)
		}
		ordered(t, stream)
	}
}

// encoded is list as a stream of responses.
func encoded(t *testing.T, p *dialect.Prompt, list []dialect.Piece) (lines []string) {
	t.Helper()
	e := dialect.Of(dialect.Responses).NewEncoder(p)
	var out []dialect.Frame
	for _, piece := range list {
		out = e.Event(out, piece)
	}
	for i, f := range out {
		if f.Last != (i == len(out)-1) || f.Name != gjson.GetBytes(f.Data, "type").Str {
			t.Errorf("frame %d of %d: last %v, named %s: %s", i, len(out), f.Last, f.Name, f.Data)
		}
		lines = append(lines, string(f.Data))
	}
	return lines
}

// ordered checks the grammar of a stream: every item, part and text is opened before it
// grows, is told whole when it is done, and the response at the end has it all.
func ordered(t *testing.T, lines []string) {
	t.Helper()
	texts, wholes, open := make(map[string]string), make(map[string]string), make(map[string]bool)
	var output []string
	for n, line := range lines {
		v := gjson.Parse(line)
		kind := v.Get("type").Str
		item, i := v.Get("item_id").Str, int(v.Get("output_index").Int())
		part := item + "/" + v.Get("content_index").Raw + v.Get("summary_index").Raw
		must := func(ok bool, why string) {
			if !ok {
				t.Errorf("event %d: %s: %s", n, why, line)
			}
		}
		must(int(v.Get("sequence_number").Int()) == n, "out of sequence")
		must(!v.Get("error").Exists(), "an error, to OpenAI's Go SDK")
		if n < 2 {
			must(kind == []string{"response.created", "response.in_progress"}[n], "no beginning")
			continue
		}
		switch kind {
		case "response.output_item.added":
			must(i == len(output), "an item out of order")
			output = append(output, v.Get("item.id").Str)
			open[v.Get("item.id").Str] = true
		case "response.output_item.done":
			id := v.Get("item.id").Str
			must(open[id] && output[i] == id, "an item is done that is not open")
			delete(open, id)
			wholes[id] = v.Get("item").Raw
		case "response.content_part.added", "response.reasoning_summary_part.added":
			must(open[item] && !open[part], "a part begins")
			open[part] = true
		case "response.content_part.done", "response.reasoning_summary_part.done":
			must(open[part] && (v.Get("part.text").Str+v.Get("part.refusal").Str) == texts[part], "a part ends")
			delete(open, part)
		case "response.completed", "response.incomplete":
			must(n == len(lines)-1 && len(open) == 0, "the end is not all")
			for at, id := range output {
				must(v.Get("response.output").Array()[at].Raw == wholes[id], "the response says something else than "+id)
			}
			must(len(v.Get("response.output").Array()) == len(output), "items are missing")
		default:
			must(open[item] && item == output[i], "more of what is not open")
			if strings.HasSuffix(kind, ".delta") {
				texts[part] += v.Get("delta").Str
				must(v.Get("delta").Str != "", "an empty delta")
				continue
			}
			whole := v.Get("text").Str + v.Get("refusal").Str + v.Get("input").Str + v.Get("arguments").Str
			must(strings.HasSuffix(kind, ".done") && (whole == texts[part] || whole == "{}" && texts[part] == ""), "a text is not what came")
		}
	}
}

func TestAResponseSaysWhatWasAsked(t *testing.T) {
	p := withTools(t)
	r := &dialect.Reply{ID: "m1", Model: "claude", Choices: []dialect.Answer{{Parts: []dialect.Part{{Kind: dialect.Text, Text: "a"}}, Reason: dialect.EndTurn}}}
	v := gjson.ParseBytes(dialect.Of(dialect.Responses).NewEncoder(p).Whole(r))
	for path, want := range map[string]string{"created_at": "1700000000", "temperature": "0.5", "max_output_tokens": "100", "prompt_cache_key": `"k"`, "metadata.a": `"b"`, "reasoning.effort": `"low"`,
		"text.verbosity": `"low"`, "tool_choice": `"required"`, "parallel_tool_calls": "false", "store": "false", "usage": "null", "error": "null", "model": `"claude"`} {
		if got := v.Get(path).Raw; got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// TestHowResponsesEnd has all reasons to stop, there and back, streamed and not.
func TestHowResponsesEnd(t *testing.T) {
	text, call, no := dialect.Part{Kind: dialect.Text, Text: "a"}, dialect.Part{Kind: dialect.ToolCall, ID: "t", Name: "f", Args: []byte(`{}`)}, dialect.Part{Kind: dialect.Refusal, Text: "no"}
	for _, test := range []struct {
		part              dialect.Part
		reason            dialect.StopReason
		status, why, item string
		back              dialect.StopReason
	}{
		{text, dialect.EndTurn, "completed", "", "completed", dialect.EndTurn},
		{text, dialect.StopSequence, "completed", "", "completed", dialect.EndTurn},
		{text, dialect.Other, "completed", "", "completed", dialect.EndTurn},
		{call, dialect.ToolUse, "completed", "", "completed", dialect.ToolUse},
		{text, dialect.MaxTokens, "incomplete", "max_output_tokens", "incomplete", dialect.MaxTokens},
		{call, dialect.MaxTokens, "incomplete", "max_output_tokens", "incomplete", dialect.MaxTokens},
		{text, dialect.Filtered, "incomplete", "content_filter", "incomplete", dialect.Filtered},
		{text, dialect.Refused, "incomplete", "content_filter", "incomplete", dialect.Filtered},
		{no, dialect.Refused, "completed", "", "completed", dialect.Refused},
	} {
		r := &dialect.Reply{ID: "m1", Choices: []dialect.Answer{{Parts: []dialect.Part{test.part}, Reason: test.reason}}}
		whole := dialect.Of(dialect.Responses).NewEncoder(&dialect.Prompt{}).Whole(r)
		lines := encoded(t, &dialect.Prompt{}, dialect.Pieces(r))
		ordered(t, lines)
		if diff := same(t, string(whole), gjson.Get(lines[len(lines)-1], "response").Raw); diff != "" {
			t.Errorf("%v: the stream ends otherwise (-document +stream) %s", test.reason, diff)
		}
		v := gjson.ParseBytes(whole)
		if v.Get("status").Str != test.status || v.Get("incomplete_details.reason").Str != test.why || v.Get("output.0.status").Str != test.item || !strings.HasSuffix(gjson.Get(lines[len(lines)-1], "type").Str, test.status) {
			t.Errorf("%v: %s", test.reason, whole)
		}
		back, err := dialect.Of(dialect.Responses).NewDecoder(nil).Whole(whole)
		if err != nil || back.Choices[0].Reason != test.back {
			t.Errorf("%v: %v %v", test.reason, back, err)
		}
		if got := dialect.Fold(pieces(t, dialect.Responses, strings.Join(lines, "\n"))); got.Choices[0].Reason != test.back {
			t.Errorf("%v, streamed: %v", test.reason, got)
		}
	}
	for _, status := range []string{"failed", "cancelled", "queued", "in_progress"} {
		if r, err := dialect.Of(dialect.Responses).NewDecoder(nil).Whole([]byte(`{"status":"` + status + `","error":{"code":"server_error","message":"m"},"output":[]}`)); err == nil {
			t.Errorf("%s: %v", status, r)
		}
	}
}

// TestThoughtsGoBackToTheirVendorAlone has signatures go by way of a client of another
// one, and what is somebody else's left out.
func TestThoughtsGoBackToTheirVendorAlone(t *testing.T) {
	said := &dialect.Reply{ID: "m1", Choices: []dialect.Answer{{Reason: dialect.ToolUse, Parts: []dialect.Part{
		{Kind: dialect.Thought, Text: "hm", Signature: "s1", Vendor: "anthropic"}, {Kind: dialect.Thought, Signature: "s2", Vendor: "anthropic"}, {Kind: dialect.Redacted, Signature: "s3", Vendor: "anthropic"},
		{Kind: dialect.Redacted, Signature: "e1", Vendor: "openai"}, {Kind: dialect.Thought, Text: "ha", Signature: "e2", Vendor: "openai"},
		{Kind: dialect.ToolCall, ID: "t:1", Name: "f", Args: []byte(`{}`), Signature: "g1", Vendor: "google"}, {Kind: dialect.Text, Text: "so"},
	}}}}
	back := map[dialect.Name]func(doc gjson.Result) string{
		dialect.Responses: func(doc gjson.Result) string { return `{"input":` + doc.Get("output").Raw + `}` },
		dialect.Messages: func(doc gjson.Result) string {
			return `{"messages":[{"role":"assistant","content":` + doc.Get("content").Raw + `}]}`
		},
	}
	for client, next := range back {
		doc := gjson.ParseBytes(dialect.Of(client).NewEncoder(&dialect.Prompt{}).Whole(said))
		p, err := dialect.Of(client).Read([]byte(next(doc)))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, part := range p.Turns[0].Parts {
			if part.Signature != "" && (part.Kind != dialect.ToolCall || part.ID == "t:1") {
				got = append(got, part.Vendor+" "+part.Signature+" "+part.Text)
			}
		}
		want := []string{"anthropic s1 hm", "anthropic s2 ", "anthropic s3 ", "openai e1 ", "openai e2 ha", "google g1 "}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("by a client of %s: %s", client, diff)
		}
		for to, theirs := range map[dialect.Name]string{dialect.Messages: `"s1" "s2" "s3"`, dialect.Responses: `"e1" "e2"`} {
			doc, losses, err := dialect.Of(to).Write(p, dialect.Target{Model: "m", Vendor: vendors[to]})
			if err != nil || len(losses) != 1 {
				t.Errorf("%v %v", losses, err)
			}
			for _, s := range []string{`"s1"`, `"s2"`, `"s3"`, `"e1"`, `"e2"`, `"g1"`, "callgate:"} {
				if strings.Contains(string(doc), s) != strings.Contains(theirs, s) {
					t.Errorf("%s by a client of %s: %s: %s", to, client, s, doc)
				}
			}
		}
		own, losses := dialect.Own(client, []byte(next(doc)))
		for s, mine := range map[string]bool{"s1": client == dialect.Messages, "s3": client == dialect.Messages, "e1": client == dialect.Responses, "e2": client == dialect.Responses, "callgate:": false} {
			if strings.Contains(string(own), s) != mine || len(losses) != 1 {
				t.Errorf("asked again by a client of %s: %s: %v %s", client, s, losses, own)
			}
		}
		if again, losses := dialect.Own(client, own); string(again) != string(own) || losses != nil {
			t.Errorf("%v %s", losses, again)
		}
		streamed := dialect.Fold(pieces(t, client, frames(t, client, dialect.Pieces(said))))
		whole, err := dialect.Of(client).NewDecoder(nil).Whole([]byte(doc.Raw))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(whole, streamed); diff != "" {
			t.Errorf("%s: the stream says something else (-document +stream) %s", client, diff)
		}
	}
}

// TestStreamsOfCompatibleVendors are not all as OpenAI's.
func TestStreamsOfCompatibleVendors(t *testing.T) {
	want := []dialect.Part{{Kind: dialect.Thought, Text: "one\n\ntwo", Signature: "e", Vendor: "openai"}, {Kind: dialect.Text, Text: "hi"}, {Kind: dialect.Refusal, Text: "no"}, {Kind: dialect.ToolCall, ID: "t", Name: "f", Args: []byte(`{"a":1}`)}, {Kind: dialect.ToolCall, ID: "c", Name: "p", Args: []byte(`"x"`), Custom: true}}
	const items = `{"type":"reasoning","summary":[{"type":"summary_text","text":"one"},{"type":"summary_text","text":"two"}],"encrypted_content":"e"}
{"type":"message","content":[{"type":"output_text","text":"hi"},{"type":"output_audio"},{"type":"refusal","refusal":"no"}]}
{"type":"web_search_call","id":"ws"}
{"type":"function_call","call_id":"t","name":"f","arguments":"{\"a\":1}"}
{"type":"custom_tool_call","call_id":"c","name":"p","input":"x"}`
	list := strings.Split(items, "\n")
	done := ""
	for n, item := range list {
		done += `{"type":"response.output_item.done","output_index":` + string(rune('0'+n)) + `,"item":` + item + "}\n"
	}
	all := strings.Join(list, ",")
	for name, stream := range map[string]string{
		"items that come whole":      `{"type":"response.created","response":{"id":"c1"}}` + "\n" + done + `{"type":"response.completed","response":{"id":"c1","status":"completed"}}`,
		"no beginning":               done + `{"type":"response.completed","response":{"status":"completed"}}`,
		"all in the end":             `{"type":"response.completed","response":{"id":"c1","status":"completed","output":[` + all + `]}}`,
		"texts without parts":        `{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning"}}` + "\n" + `{"type":"response.reasoning_text.delta","output_index":0,"content_index":0,"delta":"one"}` + "\n" + `{"type":"response.reasoning_text.delta","output_index":0,"content_index":1,"delta":"two"}` + "\n" + `{"type":"response.output_item.added","output_index":1,"item":{"type":"message"}}` + "\n" + `{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"hi"}` + "\n" + `{"type":"response.refusal.delta","output_index":1,"content_index":2,"delta":"no"}` + "\n" + done + `{"type":"response.completed","response":{"status":"completed"}}`,
		"parts that are only closed": `{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning"}}` + "\n" + strings.Replace(done, `{"type":"response.output_item.done","output_index":1`, `{"type":"response.output_item.added","output_index":1,"item":{"type":"message"}}`+"\n"+`{"type":"response.content_part.added","output_index":1,"content_index":0,"part":{"type":"output_text","text":""}}`+"\n"+`{"type":"response.content_part.done","output_index":1,"content_index":0,"part":{"type":"output_text","text":"hi"}}`+"\n"+`{"type":"response.output_item.done","output_index":1`, 1) + `{"type":"response.completed","response":{"status":"completed"}}`,
	} {
		got := dialect.Fold(pieces(t, dialect.Responses, stream))
		if diff := cmp.Diff(want, got.Choices[0].Parts); diff != "" || got.Choices[0].Reason != dialect.ToolUse {
			t.Errorf("%s (-want +got) %s %v", name, diff, got.Choices[0].Reason)
		}
	}
	whole, err := dialect.Of(dialect.Responses).NewDecoder(nil).Whole([]byte(`{"output":[` + all + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, whole.Choices[0].Parts); diff != "" {
		t.Errorf("the document: %s", diff)
	}
	for _, doc := range []string{`{"type":"response.output_item.added","output_index":9999999}`, `{"type":"response.output_text.delta","output_index":-1}`} {
		if _, err := dialect.Of(dialect.Responses).NewDecoder(nil).Event(nil, "", []byte(doc)); err == nil {
			t.Errorf("%s was taken", doc)
		}
	}
}

// TestAResponseThatFailsInTheMiddle is told in both ways that clients know.
func TestAResponseThatFailsInTheMiddle(t *testing.T) {
	for _, doc := range []string{
		`{"type":"response.failed","response":{"id":"c1","status":"failed","error":{"code":"rate_limit_exceeded","message":"slow down"}}}`,
		`{"type":"error","code":"rate_limit_exceeded","message":"slow down","param":null,"sequence_number":3}`,
		`{"type":"error","error":{"type":"rate_limit_error","code":"rate_limit_exceeded","message":"slow down"}}`,
		`{"error":{"type":"rate_limit_error","code":"rate_limit_exceeded","message":"slow down"}}`,
	} {
		list := pieces(t, dialect.Responses, `{"type":"response.created","response":{"id":"c1","model":"gpt"}}`+"\n"+`{"type":"response.output_item.added","output_index":0,"item":{"type":"message"}}`+"\n"+`{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"a"}`+"\n"+doc)
		f := list[len(list)-1].Failed
		if f == nil || f.Kind != dialect.Throttled || f.Message != "slow down" {
			t.Errorf("%s: %+v", doc, f)
		}
		lines := encoded(t, &dialect.Prompt{}, list)
		e, last := gjson.Parse(lines[len(lines)-2]), gjson.Parse(lines[len(lines)-1])
		if e.Get("type").Str != "error" || e.Get("code").Str != "rate_limit_exceeded" || last.Get("type").Str != "response.failed" || last.Get("response.status").Str != "failed" || last.Get("response.error.message").Str != "slow down" || last.Get("response.id").Str != "c1" || len(last.Get("response.output").Array()) != 0 {
			t.Errorf("%s\n%s", e, last)
		}
		messages := frames(t, dialect.Messages, list)
		if !strings.HasSuffix(messages, `{"error":{"message":"slow down","type":"rate_limit_error"},"type":"error"}`+"\n") {
			t.Errorf("%s", messages)
		}
	}
}

// FuzzResponses has any document decoded, and what it says encoded as a stream that holds
// to its grammar.
func FuzzResponses(f *testing.F) {
	for line := range strings.Lines(responsesStream) {
		f.Add(line)
	}
	f.Add(responsesReply)
	f.Fuzz(func(t *testing.T, text string) {
		d := dialect.Of(dialect.Responses).NewDecoder(nil)
		var list []dialect.Piece
		for line := range strings.Lines(text) {
			if !gjson.Valid(line) {
				return
			}
			var err error
			if list, err = d.Event(list, "", []byte(line)); err != nil {
				return
			}
		}
		if list, err := d.Over(list); err != nil || list[len(list)-1].Kind != dialect.End {
			return
		}
		ordered(t, encoded(t, &dialect.Prompt{}, list))
	})
}
