package providers

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"callgate/firewall"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
)

// A tale is what a reading makes of a stream.
type tale struct {
	Lanes  []string // the text of each lane, in the order in which they began, and | where it ended
	Plain  []string // texts of their own
	Wants  []string
	Usage  firewall.Usage
	Faults []string
	Last   string // the last event's document
	Bytes  string
}

// follow has r read the stream that comes from body. Where edit is not nil it
// changes events on their way, as a guard does.
func follow(r reading, kind string, body io.Reader, edit func(*firewall.Event)) (tale, error) {
	x := &exchange{
		cfg:     &Config{MaxEvent: 1 << 20, MaxStream: 1 << 24, Logger: slog.New(slog.DiscardHandler)},
		to:      &provider{Provider: Provider{Kind: kind}, name: "test"},
		reading: r, back: &reply{status: 200, broken: r.broken, at: endpoint{speaks: kind}},
	}
	watch := newWatch(func(error) {}, time.Hour, time.Hour)
	defer watch.timer.Stop()
	var s tale
	lanes := map[string]int{}
	err := x.stream(watch, body, func(ev firewall.Event) bool {
		for i, span := range ev.Body.Spans {
			if span.At != span.End && (i > 0 && span.At < ev.Body.Spans[i-1].End || !jsontext.Value(ev.Body.JSON[span.At:span.End]).IsValid()) {
				panic(fmt.Sprintf("span %d of %s is %+v", i, ev.Body.JSON, span))
			}
			if span.Lane == "" {
				s.Plain = append(s.Plain, span.Text)
				continue
			}
			n, ok := lanes[span.Lane]
			if !ok {
				n = len(s.Lanes)
				lanes[span.Lane] = n
				s.Lanes = append(s.Lanes, span.Lane+": ")
			}
			s.Lanes[n] += span.Text
			if span.Close {
				s.Lanes[n] += "|"
			}
		}
		if edit != nil {
			edit(&ev)
		}
		x.Read(&ev)
		for _, w := range ev.Wants {
			s.Wants = append(s.Wants, w.ID+" "+w.Name+" "+string(w.Args))
		}
		if ev.Usage != (firewall.Usage{}) {
			s.Usage = ev.Usage
		}
		if ev.Fault != "" {
			s.Faults = append(s.Faults, ev.Fault)
		}
		if ev.Last {
			s.Last = string(ev.Body.JSON)
		}
		if ev.Body.Edited {
			s.Bytes += string(reframe(nil, ev.Frame, ev.Body.JSON))
		} else {
			s.Bytes += string(ev.Frame)
		}
		return true
	})
	return s, err
}

// wire writes a stream of events: each is its document, with a name before it
// where the dialect has names.
func wire(events ...string) string {
	var b strings.Builder
	for _, e := range events {
		if name, doc, ok := strings.Cut(e, " {"); ok && !strings.Contains(name, "{") {
			fmt.Fprintf(&b, "event: %s\n", name)
			e = "{" + doc
		}
		fmt.Fprintf(&b, "data: %s\n\n", e)
	}
	return b.String()
}

var chatStream = wire(
	`{"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}`,
	`{"choices":[{"delta":{"reasoning_content":"hm"},"index":0}]}`,
	`{"choices":[{"index":0,"delta":{"content":"Hel"}},{"index":1,"delta":{"content":"Bon"}}]}`,
	`{"choices":[{"index":1,"delta":{"content":"jour"}}]}`,
	`{"choices":[{"index":0,"delta":{"content":"lo \"you\""},"logprobs":{"content":[{"token":"lo"}]}}],"obfuscation":"zz"}`,
	`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"look","arguments":""}}]}}]}`,
	`{"choices":[{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"{\"q\":"},"index":0}]}}]}`,
	`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"é\"}"}}]}}]}`,
	`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_2","type":"custom","custom":{"name":"run","input":"ls -"}}]}}]}`,
	`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"custom":{"input":"l"}}]}}]}`,
	`{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
	`{"choices":[],"usage":{"prompt_tokens":150,"completion_tokens":40,"prompt_tokens_details":{"cached_tokens":30,"cache_write_tokens":5},"completion_tokens_details":{"reasoning_tokens":8}}}`,
	`[DONE]`)

var messagesStream = wire(
	`message_start {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"usage":{"input_tokens":100,"cache_creation_input_tokens":20,"cache_read_input_tokens":30,"output_tokens":1}}}`,
	`ping {"type":"ping"}`,
	`content_block_start {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`,
	`content_block_delta {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"let me "}}`,
	`content_block_delta {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"see"}}`,
	`content_block_delta {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}`,
	`content_block_stop {"type":"content_block_stop","index":0}`,
	`content_block_start {"type":"content_block_start","index":1,"content_block":{"type":"text","text":"I "}}`,
	`content_block_start {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"look","input":{}}}`,
	`content_block_delta {"type":"content_block_delta","delta":{"type":"text_delta","text":"look"},"index":1}`,
	`content_block_delta {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}`,
	`content_block_delta {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"q\": \"a"}}`,
	`content_block_stop {"type":"content_block_stop","index":1}`,
	`content_block_delta {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"b\"}"}}`,
	`content_block_stop {"type":"content_block_stop","index":2}`,
	`content_block_start {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_2","name":"now","input":{}}}`,
	`content_block_stop {"type":"content_block_stop","index":3}`,
	`content_block_start {"type":"content_block_start","index":4,"content_block":{"type":"server_tool_use","id":"srv_1","name":"web_search","input":{}}}`,
	`content_block_stop {"type":"content_block_stop","index":4}`,
	`message_delta {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":40,"output_tokens_details":{"thinking_tokens":7}}}`,
	`message_stop {"type":"message_stop"}`)

var responsesStream = wire(
	`response.created {"type":"response.created","sequence_number":0,"response":{"id":"resp_1","status":"in_progress","output":[],"usage":null}}`,
	`response.output_item.added {"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"ZW5j"}}`,
	`response.reasoning_summary_text.delta {"type":"response.reasoning_summary_text.delta","sequence_number":2,"item_id":"rs_1","output_index":0,"summary_index":0,"delta":"hm"}`,
	`response.reasoning_summary_text.done {"type":"response.reasoning_summary_text.done","sequence_number":3,"item_id":"rs_1","output_index":0,"summary_index":0,"text":"hm"}`,
	`response.output_text.delta {"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_1","output_index":1,"content_index":0,"delta":"Hel","logprobs":[]}`,
	`response.output_text.delta {"type":"response.output_text.delta","sequence_number":5,"item_id":"msg_1","output_index":1,"content_index":0,"delta":"lo","logprobs":[]}`,
	`response.output_text.done {"type":"response.output_text.done","sequence_number":6,"item_id":"msg_1","output_index":1,"content_index":0,"text":"Hello","logprobs":[]}`,
	`response.function_call_arguments.delta {"type":"response.function_call_arguments.delta","sequence_number":7,"item_id":"fc_1","output_index":2,"delta":"{\"q\":"}`,
	`response.function_call_arguments.delta {"type":"response.function_call_arguments.delta","sequence_number":8,"item_id":"fc_1","output_index":2,"delta":"1}"}`,
	`response.function_call_arguments.done {"type":"response.function_call_arguments.done","sequence_number":9,"item_id":"fc_1","output_index":2,"arguments":"{\"q\":1}"}`,
	`response.output_item.done {"type":"response.output_item.done","sequence_number":10,"output_index":2,"item":{"id":"fc_1","type":"function_call","call_id":"call_1","namespace":"mcp__shop","name":"look","arguments":"{\"q\":1}","encrypted_content":"ZW5j"}}`,
	`response.output_item.done {"type":"response.output_item.done","sequence_number":11,"output_index":3,"item":{"id":"ct_1","type":"custom_tool_call","call_id":"call_2","name":"patch","input":"*** Begin"}}`,
	`response.output_item.done {"type":"response.output_item.done","sequence_number":12,"output_index":4,"item":{"id":"ws_1","type":"web_search_call","status":"completed"}}`,
	`response.completed {"type":"response.completed","sequence_number":13,"response":{"id":"resp_1","status":"completed","output":[{"type":"function_call","call_id":"call_1","name":"look","arguments":"{\"q\":1}"},{"type":"local_shell_call","call_id":"call_3","action":{"type":"exec","command":["ls"]}}],"usage":{"input_tokens":150,"input_tokens_details":{"cached_tokens":30},"output_tokens":40,"output_tokens_details":{"reasoning_tokens":8}}}}`)

var streams = []struct {
	name, kind string
	reading    func() reading
	in         string
	want       tale
}{
	{"chat completions", OpenAI, func() reading { return new(chat) }, chatStream, tale{
		Lanes: []string{"choices.0.reasoning_content: hm", "choices.0.content: Hello \"you\"", "choices.1.content: Bonjour",
			"choices.0.tool_calls.0.arguments: {\"q\":\"é\"}", "choices.0.tool_calls.1.arguments: ls -l"},
		Wants: []string{`call_1 look {"q":"é"}`, `call_2 run "ls -l"`},
		Usage: firewall.Usage{Input: 150, Output: 40, CacheRead: 30, CacheWrite: 5, Reasoning: 8},
	}},
	{"messages", Anthropic, func() reading { return new(messages) }, messagesStream, tale{
		Lanes: []string{"content.0.thinking: let me see|", "content.1.text: I look|", `content.2.input: {"q": "ab"}|`},
		Plain: []string{"msg_1", "message", "assistant", "claude", "tool_use"},
		Wants: []string{`toolu_1 look {"q": "ab"}`, `toolu_2 now {}`},
		Usage: firewall.Usage{Input: 150, Output: 40, CacheRead: 30, CacheWrite: 20, Reasoning: 7},
		Last:  `{"type":"message_stop"}`,
	}},
	{"responses", OpenAI, func() reading { return new(responses) }, responsesStream, tale{
		Lanes: []string{"response.reasoning_summary_text 0.0: hm|", "response.output_text 1.0: Hello|", `response.function_call_arguments 2.0: {"q":1}|`},
		Plain: []string{"resp_1", "in_progress", "rs_1", "reasoning", "hm", "Hello", `{"q":1}`,
			"fc_1", "function_call", "call_1", "mcp__shop", "look", `{"q":1}`, "ct_1", "custom_tool_call", "call_2", "patch", "*** Begin",
			"ws_1", "web_search_call", "completed", "resp_1", "completed", "function_call", "call_1", "look", `{"q":1}`, "local_shell_call", "call_3", "exec", "ls"},
		Wants: []string{`call_1 mcp__shop__look {"q":1}`, `call_2 patch "*** Begin"`, `call_3 local_shell {"type":"exec","command":["ls"]}`},
		Usage: firewall.Usage{Input: 150, Output: 40, CacheRead: 30, Reasoning: 8},
		Last:  "response.completed",
	}},
}

func TestADialectIsReadWhereverItsStreamIsCut(t *testing.T) {
	for _, tt := range streams {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Bytes = tt.in
			for step, in := range map[int]string{1: tt.in, 11: strings.ReplaceAll(tt.in, "\n", "\r\n")} {
				tt.want.Bytes = in
				for n := 0; n <= len(in); n += step {
					got, err := follow(tt.reading(), tt.kind, cutAt(in, n), nil)
					if err != nil {
						t.Fatal(err)
					}
					if strings.Contains(got.Last, `"`+tt.want.Last+`"`) { // its document is told above
						got.Last = tt.want.Last
					}
					if d := cmp.Diff(tt.want, got); d != "" {
						t.Fatalf("cut at byte %d (-want +got):\n%s", n, d)
					}
				}
			}
		})
	}
}

func TestWhatVendorsDoDifferently(t *testing.T) {
	for _, tt := range []struct {
		name string
		r    reading
		in   string
		want tale
	}{
		{"a call without an index is told by its place", new(chat), wire(
			`{"choices":[{"delta":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}},{"id":"b","function":{"name":"g","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`, `[DONE]`),
			tale{Lanes: []string{"choices.0.tool_calls.0.arguments: {}", "choices.0.tool_calls.1.arguments: {}"}, Wants: []string{"a f {}", "b g {}"}}},
		{"another id at the same index is another call", new(chat), wire(
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}}]}`,
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"b","function":{"name":"g","arguments":"{}"}}]}}]}`, `[DONE]`),
			tale{Lanes: []string{"choices.0.tool_calls.0.arguments: {}{}"}, Wants: []string{"a f {}", "b g {}"}}},
		{"an id that is repeated is no other call", new(chat), wire(
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}]}}]}`,
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"arguments":":1}"}}]}}]}`, `[DONE]`),
			tale{Lanes: []string{`choices.0.tool_calls.0.arguments: {"x":1}`}, Wants: []string{`a f {"x":1}`}}},
		{"arguments that were cut off are a text", new(chat), wire(
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}]},"finish_reason":"length"}]}`, `[DONE]`),
			tale{Lanes: []string{`choices.0.tool_calls.0.arguments: {"x"`}, Wants: []string{`a f "{\"x\""`}}},
		{"the function call of old", new(chat), wire(`{"choices":[{"index":0,"delta":{"function_call":{"name":"f","arguments":"{}"}},"finish_reason":"function_call"}]}`),
			tale{Lanes: []string{"choices.0.function_call.arguments: {}"}, Wants: []string{" f {}"}}},
		{"unknown members are texts", new(chat), wire(`{"choices":[{"index":0,"delta":{"content":[{"text":"a"}],"later":"b"},"more":{"c":"d"}}],"citations":["e"]}`),
			tale{Plain: []string{"a", "b", "d", "e"}}},
		{"sound is no text but its transcript is", new(chat), wire(`{"choices":[{"index":0,"delta":{"audio":{"id":"a","data":"c291bmQ=","transcript":"hi"}}}]}`),
			tale{Lanes: []string{"choices.0.audio.transcript: hi"}}},
		{"no error at all", new(chat), wire(`{"choices":[],"error":null}`), tale{}},
		{"an error in a chat", new(chat), wire(`{"error":{"message":"too much","type":"server_error","code":null}}`),
			tale{Plain: []string{"too much", "server_error"}, Faults: []string{"error event server_error"}}},
		{"an error whose type is prose is not told", new(chat), wire(`{"error":{"message":"m","type":"your key sk-1 is bad"}}`),
			tale{Plain: []string{"m", "your key sk-1 is bad"}, Faults: []string{"error event"}}},
		{"an error among messages", new(messages), wire(`error {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`),
			tale{Plain: []string{"overloaded_error", "Overloaded"}, Faults: []string{"error event overloaded_error"}}},
		{"an unknown event is all texts", new(messages), wire(`later {"type":"later","signature":"s","x":["y"]}`),
			tale{Plain: []string{"later", "s", "y"}}},
		{"names that a model chose hide nothing", new(messages), wire(`content_block_start {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"f","input":{"data":"x","signature":"y"}}}`, `message_stop {"type":"message_stop"}`),
			tale{Plain: []string{"x", "y"}, Wants: []string{`a f {"data":"x","signature":"y"}`}, Last: `{"type":"message_stop"}`}},
		{"a response that fails", new(responses), wire(`response.failed {"type":"response.failed","response":{"id":"r","status":"failed","error":{"code":"server_error","message":"m"},"output":[]}}`),
			tale{Plain: []string{"r", "failed", "server_error", "m"}, Faults: []string{"error event server_error"},
				Last: `{"type":"response.failed","response":{"id":"r","status":"failed","error":{"code":"server_error","message":"m"},"output":[]}}`}},
		{"an error among responses", new(responses), wire(`error {"type":"error","code":"rate_limit_exceeded","message":"m","param":null,"sequence_number":3}`),
			tale{Plain: []string{"rate_limit_exceeded", "m"}, Faults: []string{"error event rate_limit_exceeded"}}},
		{"a delta that is new is a lane", new(responses), wire(`response.new_text.delta {"type":"response.new_text.delta","output_index":1,"delta":"a"}`, `response.new_text.delta {"type":"response.new_text.delta","output_index":1,"delta":"b"}`),
			tale{Lanes: []string{"response.new_text 1.0: ab"}}},
		{"sound in a response is no text", new(responses), wire(`response.audio.delta {"type":"response.audio.delta","delta":"c291bmQ="}`), tale{}},
		{"a document that is no object", new(chat), wire(`["a"]`), tale{Plain: []string{"a"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kind := OpenAI
			if _, ok := tt.r.(*messages); ok {
				kind = Anthropic
			}
			got, err := follow(tt.r, kind, strings.NewReader(tt.in), nil)
			tt.want.Bytes = tt.in
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestWantsAndTotalsComeFromWhatLeaves(t *testing.T) {
	edit := func(ev *firewall.Event) {
		ev.Body.Rewrite(func(_ int, s firewall.Span) (string, bool) {
			return strings.ReplaceAll(s.Text, "q", "***"), strings.Contains(s.Text, "q")
		})
	}
	for _, tt := range streams {
		t.Run(tt.name, func(t *testing.T) {
			got, err := follow(tt.reading(), tt.kind, strings.NewReader(tt.in), edit)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Wants) == 0 || !strings.Contains(got.Wants[0], `{"***":`) {
				t.Errorf("wants = %q", got.Wants)
			}
			if strings.Contains(got.Bytes, `"q`) || strings.Contains(got.Bytes, `q\"`) {
				t.Errorf("leaves: %s", got.Bytes)
			}
		})
	}
}

func TestLogprobsGoWithWhatWasMasked(t *testing.T) {
	edit := func(ev *firewall.Event) {
		ev.Body.Rewrite(func(_ int, s firewall.Span) (string, bool) { return "x", strings.HasPrefix(s.Text, "lo") })
	}
	got, err := follow(new(chat), OpenAI, strings.NewReader(chatStream), edit)
	if err != nil || !strings.Contains(got.Bytes, `{"content":"x"},"logprobs":null`) {
		t.Errorf("leaves: %s, %v", got.Bytes, err)
	}
}

func TestAStreamThatCannotBeJudgedEnds(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"garbage", "data: <html>\n\n", "not valid JSON"},
		{"a name twice", `data: {"choices":[],"choices":[{"delta":{"content":"x"}}]}` + "\n\n", "not valid JSON"},
		{"not UTF-8", "data: {\"a\":\"\xff\"}\n\n", "not valid JSON"},
		{"two documents", "data: {}{}\n\n", "not valid JSON"},
		{"cut off in a document", "data: {}\n\ndata: {\"a\":", "not valid JSON"},
		{"nested too deep", "data: " + strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200) + "\n\n", "nested deeper"},
		{"too many texts at once", "data: " + manyLanes(maxLanes+1) + "\n\n", "more than 1024 texts"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := follow(new(chat), OpenAI, strings.NewReader(tt.in), nil); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want %s", err, tt.want)
			}
		})
	}
}

func manyLanes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,{"index":%d,"delta":{"content":"x"}}`, i)
	}
	return `{"choices":[` + b.String()[1:] + `]}`
}

// FuzzReadings holds that no stream of JSON can do more than fail, and that what
// is read of it does not depend on how it is cut.
func FuzzReadings(f *testing.F) {
	for _, tt := range streams {
		f.Add(tt.in, uint16(100))
	}
	f.Fuzz(func(t *testing.T, in string, cut uint16) {
		for _, tt := range streams {
			want, err := follow(tt.reading(), tt.kind, strings.NewReader(in), nil)
			got, again := follow(tt.reading(), tt.kind, cutAt(in, int(cut)%(len(in)+1)), nil)
			if (err == nil) != (again == nil) || !cmp.Equal(want, got) {
				t.Fatalf("cut: %v: %s", again, cmp.Diff(want, got))
			}
			for _, w := range want.Wants {
				if _, args, _ := strings.Cut(w, " "); args == "" {
					t.Fatalf("want %q", w)
				}
			}
		}
	})
}
