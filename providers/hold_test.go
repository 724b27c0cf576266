package providers_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
	"callgate/providers"

	"github.com/tidwall/gjson"
)

// files is a toolbox of one MCP server: read may be called with any arguments, write
// with path /srv alone, delete never.
func files(_ *identity.Principal, w firewall.Want) []firewall.Meaning {
	_, tool, ok := strings.Cut(w.Name, "files__")
	if !ok {
		return nil
	}
	return []firewall.Meaning{{
		Call: &firewall.Call{Kind: firewall.Tool, Target: "files", Method: "tools/call", Resource: tool, ArgsAt: "arguments", Body: firewall.Body{JSON: []byte(`{"arguments":` + string(w.Args) + `}`)}},
	}}
}

// srv is the policy of those tools.
type srv struct{ except }

func (p srv) Decide(call *firewall.Call) firewall.Decision {
	if call.Object() == "tool:files/write" && gjson.GetBytes(call.Args(), "path").Str != "/srv" {
		return firewall.Decision{Rule: "R7", Reason: "rule R7 allows /srv alone"}
	}
	return p.except.Decide(call)
}

func (p srv) May(who *identity.Principal, object, action string) firewall.Answer {
	if object == "tool:files/write" {
		return firewall.Depends
	}
	return p.except.May(who, object, action)
}

func (srv) Names(_ *identity.Principal, object, _ string) bool {
	return object == "tool:client/rm"
}

func newFilesHouse(t testing.TB, upstream string) *house {
	return newHouseBy(t, srv{except{"tool:files/delete": true, "tool:client/rm": true}}, upstream, mask{"hush"})
}

// newHouseBy is a house with another policy, and the tools of files.
func newHouseBy(t testing.TB, policy firewall.Policy, upstream string, guards ...firewall.Guard) *house {
	t.Helper()
	h := &house{}
	gate := firewall.New(firewall.Config{Stops: new(identity.Revocations), Tools: files,
		Verify: verify, Log: &h.log, Runs: firewall.NewRuns(0, new(firewall.Memory), time.Now), Budgets: firewall.NewBudgets(time.Now), Approvals: firewall.NewApprovals(new(firewall.Memory), 0, time.Now), Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}, &firewall.Law{Policy: policy, Guards: guards})
	h.door = providers.New(providers.Config{Challenge: func(string, error) string { return "Bearer" }, Logger: slog.New(slog.DiscardHandler)}, gate)
	if err := h.door.SetProviders(map[string]providers.Provider{
		"openai":    {BaseURL: upstream + "/v1", Models: []string{"gpt"}},
		"anthropic": {BaseURL: upstream + "/v1", Models: []string{"claude"}},
		"gemini":    {BaseURL: upstream + "/v1beta", Models: []string{"flash"}},
	}, nil); err != nil {
		t.Fatal(err)
	}
	return h
}

// A turn is what a model says: a text, and tools that it asks for.
type turn struct {
	text  string
	calls [][2]string // name, arguments
}

// A surface is a dialect as a model speaks it and as a client reads it.
type surface struct {
	name, path, body string
	plain            func(turn) string
	stream           func(turn) []string // events
	read             func(t testing.TB, streamed bool, reply string) (texts string, calls [][2]string, stop string)
	stops            [2]string // with calls, without
}

// ask is the path and the body of a request.
func (s *surface) ask(streamed bool) (path, body string) {
	switch {
	case s.name == "gemini" && streamed:
		return "/v1beta/models/flash:streamGenerateContent?alt=sse", s.body
	case s.name == "gemini":
		return s.path, s.body
	case streamed:
		return s.path, fmt.Sprintf(s.body, `,"stream":true`)
	}
	return s.path, fmt.Sprintf(s.body, "")
}

var surfaces = []surface{
	{"chat", "/v1/chat/completions", `{"model":"gpt","messages":[{"role":"user","content":"hi"}]%s}`, chatPlain, chatStream, readChat, [2]string{"tool_calls", "stop"}},
	{"messages", "/v1/messages", `{"model":"claude","max_tokens":9,"messages":[{"role":"user","content":"hi"}]%s}`, messagesPlain, messagesStream, readMessages, [2]string{"tool_use", "end_turn"}},
	{"responses", "/v1/responses", `{"model":"gpt","input":"hi"%s}`, responsesPlain, responsesStream, readResponses, [2]string{"completed", "completed"}},
	{"gemini", "/v1beta/models/flash:generateContent", `{"contents":[{"parts":[{"text":"hi"}]}]}`, geminiPlain, geminiStream, readGemini, [2]string{"STOP", "STOP"}},
}

// What a model asks for is taken out of the reply where its agent may not do it, and the
// model can read why; everything else comes as it was. It is the same on every surface,
// plain and streamed.
func TestToolCallsThatAnAgentMayNotMakeNeverReachIt(t *testing.T) {
	read, write, deny := [2]string{"mcp__gate__files__read", `{"path":"/etc"}`}, [2]string{"files__write", `{"path":"/srv"}`}, [2]string{"files__write", `{"path":"/etc"}`}
	gone, own, named := [2]string{"files__delete", `{"path":"/srv"}`}, [2]string{"Bash", `{"command":"ls"}`}, [2]string{"rm", `{}`}
	cut := [2]string{"files__write", `{"path":"/sr`}
	for _, tt := range []struct {
		name    string
		asked   [][2]string
		passed  []int
		because string
	}{
		{"nothing", nil, nil, ""},
		{"allowed", [][2]string{read, write, own}, []int{0, 1, 2}, ""},
		{"denied by name", [][2]string{gone}, nil, "callgate refused the tool call files__delete: rule R9 denies tool:files/delete"},
		{"denied by argument", [][2]string{deny}, nil, "rule R7 allows /srv alone"},
		{"the first of three", [][2]string{gone, read, write}, []int{1, 2}, "files__delete"},
		{"the middle one", [][2]string{read, deny, own}, []int{0, 2}, "R7"},
		{"the last two", [][2]string{own, deny, gone}, []int{0}, "files__delete"},
		{"all", [][2]string{deny, gone, named}, nil, "tool call rm"},
		{"arguments that are not whole", [][2]string{cut}, nil, "R7"},
	} {
		for _, s := range surfaces {
			for _, streamed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/streamed=%v", tt.name, s.name, streamed), func(t *testing.T) {
					said := turn{"Well.", tt.asked}
					kind, reply := "application/json", s.plain(said)
					if streamed {
						kind, reply = "text/event-stream", strings.Join(s.stream(said), "")
					}
					path, body := s.ask(streamed)
					h := newFilesHouse(t, serve(t, answer(200, kind, reply)))
					resp, got := post(t, h.url(t), path, body)
					if resp.StatusCode != http.StatusOK {
						t.Fatalf("%d %s", resp.StatusCode, got)
					}
					texts, calls, stop := s.read(t, streamed, got)
					var want [][2]string
					for _, n := range tt.passed {
						want = append(want, tt.asked[n])
					}
					if !slices.Equal(calls, want) {
						t.Errorf("the agent is asked for %q, want %q\n%s", calls, want, got)
					}
					if !strings.HasPrefix(texts, "Well.") || !strings.Contains(texts, tt.because) {
						t.Errorf("the model will read %q, want it to have %q", texts, tt.because)
					}
					if i := len(s.stops) - 1 - min(len(want), 1); stop != s.stops[i] {
						t.Errorf("it ends with %s, want %s", stop, s.stops[i])
					}
					if len(want) == len(tt.asked) && got != reply {
						t.Errorf("what is allowed came as\n%s\nwant\n%s", got, reply)
					}
					h.proposed(t, tt.asked, want)
				})
			}
		}
	}
}

// proposed sees that everything that was asked for is on record, and what was refused as
// that.
func (h *house) proposed(t *testing.T, asked, passed [][2]string) {
	t.Helper()
	var names []string
	refused := 0
	for _, r := range h.records() {
		if r.Type != audit.Proposed {
			continue
		}
		names = append(names, r.Proposal.Name)
		if r.Proposal.Effect == "deny" {
			refused++
			if r.Proposal.Rule == "" || r.Proposal.Reason == "" {
				t.Errorf("the record of %s does not say why", r.Proposal.Name)
			}
		}
	}
	if len(names) != len(asked) || refused != len(asked)-len(passed) {
		t.Errorf("on record are %v, of which %d were refused; want %d and %d", names, refused, len(asked), len(asked)-len(passed))
	}
}

// No byte of a call that must be judged goes down before it is whole, and text does not
// wait for it.
func TestTextFlowsWhileAToolCallIsWritten(t *testing.T) {
	for _, s := range surfaces {
		if s.name == "gemini" {
			continue // whose calls come whole
		}
		t.Run(s.name, func(t *testing.T) {
			path, body := s.ask(true)
			events := s.stream(turn{"Well.", [][2]string{{"files__write", `{"path":"/srv"}`}}})
			first := slices.IndexFunc(events, func(e string) bool { return strings.Contains(e, "files__write") })
			step := make(chan bool)
			up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				for i, e := range events {
					if i == first+1 {
						http.NewResponseController(w).Flush()
						<-step
					}
					_, _ = w.Write([]byte(e))
				}
			}))
			h := newFilesHouse(t, up)
			req, _ := http.NewRequest(http.MethodPost, h.url(t)+path, strings.NewReader(body))
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var got bytes.Buffer
			buf := make([]byte, 4096)
			for !strings.Contains(got.String(), "Well.") {
				n, err := resp.Body.Read(buf)
				if got.Write(buf[:n]); err != nil {
					t.Fatalf("%v after %s", err, got.String())
				}
			}
			if strings.Contains(got.String(), "files__write") {
				t.Errorf("a call that is not whole went down: %s", got.String())
			}
			close(step)
			if _, err := got.ReadFrom(resp.Body); err != nil {
				t.Fatal(err)
			}
			if got.String() != strings.Join(events, "") {
				t.Errorf("got\n%s\nwant\n%s", got.String(), strings.Join(events, ""))
			}
		})
	}
}

// A stream that breaks off within a call gives none of it away.
func TestHalfAToolCallIsNone(t *testing.T) {
	for _, s := range surfaces {
		events := s.stream(turn{"Well.", [][2]string{{"files__delete", `{"path":"/srv"}`}}})
		whole := strings.Join(events, "")
		from := strings.Index(whole, "files__delete")
		for end := from; end < len(whole); end += 11 {
			h := newFilesHouse(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = w.Write([]byte(whole[:end]))
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			})))
			path, body := s.ask(true)
			_, got := post(t, h.url(t), path, body)
			if strings.Contains(strings.ReplaceAll(got, "tool call files__delete", ""), "files__delete") {
				t.Fatalf("%s cut at %d gives the call away: %s", s.name, end, got)
			}
			h.busy.Wait()
		}
	}
}

func js(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// m is a JSON object.
type m = map[string]any

func chatPlain(s turn) string {
	msg, why := m{"role": "assistant", "content": s.text}, "stop"
	var calls []m
	for i, c := range s.calls {
		calls = append(calls, m{"id": fmt.Sprint("call_", i), "type": "function", "function": m{"name": c[0], "arguments": c[1]}})
	}
	if calls != nil {
		msg["tool_calls"], why = calls, "tool_calls"
	}
	return js(m{"id": "c1", "object": "chat.completion", "model": "gpt", "choices": []m{{"index": 0, "message": msg, "finish_reason": why}}, "usage": m{"prompt_tokens": 3, "completion_tokens": 2}})
}

func chatStream(s turn) (events []string) {
	say := func(delta m, why any) {
		events = append(events, "data: "+js(m{"id": "c1", "object": "chat.completion.chunk", "choices": []m{{"index": 0, "delta": delta, "finish_reason": why}}})+"\n\n")
	}
	say(m{"role": "assistant", "content": s.text}, nil)
	why := "stop"
	for i, c := range s.calls {
		why = "tool_calls"
		half := len(c[1]) / 2
		say(m{"tool_calls": []m{{"index": i, "id": fmt.Sprint("call_", i), "type": "function", "function": m{"name": c[0], "arguments": ""}}}}, nil)
		say(m{"tool_calls": []m{{"index": i, "function": m{"arguments": c[1][:half]}}}}, nil)
		say(m{"tool_calls": []m{{"index": i, "function": m{"arguments": c[1][half:]}}}}, nil)
	}
	say(m{}, why)
	return append(events, "data: [DONE]\n\n")
}

func readChat(t testing.TB, streamed bool, reply string) (texts string, calls [][2]string, stop string) {
	if !streamed {
		c := gjson.Get(reply, "choices.0")
		for _, call := range c.Get("message.tool_calls").Array() {
			calls = append(calls, [2]string{call.Get("function.name").Str, call.Get("function.arguments").Str})
		}
		return c.Get("message.content").Str, calls, c.Get("finish_reason").Str
	}
	for data := range eventsOf(t, reply, false) {
		c := gjson.Get(data, "choices.0")
		texts += c.Get("delta.content").Str
		for _, piece := range c.Get("delta.tool_calls").Array() {
			i := int(piece.Get("index").Int())
			if i > len(calls) {
				t.Errorf("call %d comes after %d", i, len(calls))
			}
			if i == len(calls) {
				calls = append(calls, [2]string{piece.Get("function.name").Str})
			}
			calls[i][1] += piece.Get("function.arguments").Str
		}
		stop += c.Get("finish_reason").Str
	}
	return texts, calls, stop
}

func messagesPlain(s turn) string {
	content, why := []m{{"type": "text", "text": s.text}}, "end_turn"
	for i, c := range s.calls {
		input := json.RawMessage(c[1])
		if !json.Valid(input) {
			input = json.RawMessage(js(c[1]))
		}
		content, why = append(content, m{"type": "tool_use", "id": fmt.Sprint("toolu_", i), "name": c[0], "input": input}), "tool_use"
	}
	return js(m{"id": "m1", "type": "message", "role": "assistant", "model": "claude", "content": content, "stop_reason": why, "usage": m{"input_tokens": 3, "output_tokens": 2}})
}

func messagesStream(s turn) (events []string) {
	say := func(kind string, v m) {
		v["type"] = kind
		events = append(events, "event: "+kind+"\ndata: "+js(v)+"\n\n")
	}
	say("message_start", m{"message": m{"id": "m1", "type": "message", "role": "assistant", "content": []m{}, "usage": m{"input_tokens": 3, "output_tokens": 1}}})
	say("content_block_start", m{"index": 0, "content_block": m{"type": "text", "text": ""}})
	say("content_block_delta", m{"index": 0, "delta": m{"type": "text_delta", "text": s.text}})
	say("content_block_stop", m{"index": 0})
	why := "end_turn"
	for i, c := range s.calls {
		why = "tool_use"
		half := len(c[1]) / 2
		say("content_block_start", m{"index": i + 1, "content_block": m{"type": "tool_use", "id": fmt.Sprint("toolu_", i), "name": c[0], "input": m{}}})
		say("content_block_delta", m{"index": i + 1, "delta": m{"type": "input_json_delta", "partial_json": c[1][:half]}})
		say("content_block_delta", m{"index": i + 1, "delta": m{"type": "input_json_delta", "partial_json": c[1][half:]}})
		say("content_block_stop", m{"index": i + 1})
	}
	say("message_delta", m{"delta": m{"stop_reason": why}, "usage": m{"output_tokens": 2}})
	say("message_stop", m{})
	return events
}

func readMessages(t testing.TB, streamed bool, reply string) (texts string, calls [][2]string, stop string) {
	if !streamed {
		for _, b := range gjson.Get(reply, "content").Array() {
			if b.Get("type").Str == "tool_use" {
				calls = append(calls, [2]string{b.Get("name").Str, b.Get("input").Raw})
			}
			texts += b.Get("text").Str
		}
		return texts, calls, gjson.Get(reply, "stop_reason").Str
	}
	kind := ""
	for data := range eventsOf(t, reply, true) {
		v := gjson.Parse(data)
		switch v.Get("type").Str {
		case "content_block_start":
			if kind = v.Get("content_block.type").Str; kind == "tool_use" {
				calls = append(calls, [2]string{v.Get("content_block.name").Str})
			}
		case "content_block_delta":
			if d := v.Get("delta"); kind == "tool_use" {
				calls[len(calls)-1][1] += d.Get("partial_json").Str
			} else if texts += d.Get("text").Str; d.Get("type").Str != "text_delta" {
				t.Errorf("a block of %s has %s", kind, data)
			}
		case "message_delta":
			stop = v.Get("delta.stop_reason").Str
		}
	}
	return texts, calls, stop
}

func responsesItems(s turn) []m {
	items := []m{{"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": []m{{"type": "output_text", "annotations": []m{}, "text": s.text}}}}
	for i, c := range s.calls {
		items = append(items, m{"id": fmt.Sprint("fc_", i), "type": "function_call", "status": "completed", "call_id": fmt.Sprint("call_", i), "name": c[0], "arguments": c[1]})
	}
	return items
}

func responsesPlain(s turn) string {
	return js(m{"id": "resp_1", "object": "response", "status": "completed", "model": "gpt", "output": responsesItems(s), "usage": m{"input_tokens": 3, "output_tokens": 2}})
}

func responsesStream(s turn) (events []string) {
	say := func(kind string, v m) {
		v["type"], v["sequence_number"] = kind, len(events)
		events = append(events, "event: "+kind+"\ndata: "+js(v)+"\n\n")
	}
	items := responsesItems(s)
	say("response.created", m{"response": m{"id": "resp_1", "status": "in_progress", "output": []m{}}})
	say("response.output_item.added", m{"output_index": 0, "item": m{"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []m{}}})
	say("response.content_part.added", m{"item_id": "msg_1", "output_index": 0, "content_index": 0, "part": m{"type": "output_text", "text": ""}})
	say("response.output_text.delta", m{"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": s.text})
	say("response.output_text.done", m{"item_id": "msg_1", "output_index": 0, "content_index": 0, "text": s.text})
	say("response.content_part.done", m{"item_id": "msg_1", "output_index": 0, "content_index": 0, "part": m{"type": "output_text", "text": s.text}})
	say("response.output_item.done", m{"output_index": 0, "item": items[0]})
	for i, c := range s.calls {
		half := len(c[1]) / 2
		id := fmt.Sprint("fc_", i)
		say("response.output_item.added", m{"output_index": i + 1, "item": m{"id": id, "type": "function_call", "status": "in_progress", "call_id": fmt.Sprint("call_", i), "name": c[0], "arguments": ""}})
		say("response.function_call_arguments.delta", m{"item_id": id, "output_index": i + 1, "delta": c[1][:half]})
		say("response.function_call_arguments.delta", m{"item_id": id, "output_index": i + 1, "delta": c[1][half:]})
		say("response.function_call_arguments.done", m{"item_id": id, "output_index": i + 1, "arguments": c[1]})
		say("response.output_item.done", m{"output_index": i + 1, "item": items[i+1]})
	}
	say("response.completed", m{"response": m{"id": "resp_1", "status": "completed", "output": items, "usage": m{"input_tokens": 3, "output_tokens": 2}}})
	return events
}

func readResponses(t testing.TB, streamed bool, reply string) (texts string, calls [][2]string, stop string) {
	whole := gjson.Parse(reply)
	told, n, args := "", 0, ""
	if streamed {
		for data := range eventsOf(t, reply, true) {
			v := gjson.Parse(data)
			if seq := v.Get("sequence_number"); seq.Int() != int64(n) || !seq.Exists() {
				t.Errorf("event %d has the number %s", n, seq.Raw)
			}
			n++
			told += v.Get("delta").Str
			switch v.Get("type").Str {
			case "response.function_call_arguments.delta":
				told = strings.TrimSuffix(told, v.Get("delta").Str)
				args += v.Get("delta").Str
			case "response.completed":
				whole = v.Get("response")
			}
		}
	}
	all := ""
	for _, item := range whole.Get("output").Array() {
		if item.Get("type").Str == "function_call" {
			calls = append(calls, [2]string{item.Get("name").Str, item.Get("arguments").Str})
			all += item.Get("arguments").Str
		}
		texts += item.Get("content.0.text").Str
	}
	if streamed && (told != texts || args != all) {
		t.Errorf("the events tell %q and %q, and the response at the end %q and %q", told, args, texts, all)
	}
	return texts, calls, whole.Get("status").Str
}

// eventsOf is the data of the events of a stream. Where they have names, each is that of
// its kind.
func eventsOf(t testing.TB, stream string, named bool) func(func(string) bool) {
	return func(yield func(string) bool) {
		for event := range strings.SplitSeq(strings.TrimSuffix(stream, "\n\n"), "\n\n") {
			name, data, ok := "", event, true
			if named {
				if name, data, ok = strings.Cut(event, "\n"); !ok {
					t.Errorf("an event without a name: %q", event)
				}
			}
			data = strings.TrimPrefix(data, "data: ")
			if data == "[DONE]" {
				return
			}
			if !gjson.Valid(data) {
				t.Fatalf("no JSON: %q", event)
			}
			if named && strings.TrimPrefix(name, "event: ") != gjson.Get(data, "type").Str {
				t.Errorf("an event of another name: %q", event)
			}
			if !yield(data) {
				return
			}
		}
	}
}

func geminiParts(s turn) []m {
	parts := []m{{"text": s.text}}
	for _, c := range s.calls {
		args := json.RawMessage(c[1])
		if !json.Valid(args) {
			args = json.RawMessage(js(c[1]))
		}
		parts = append(parts, m{"functionCall": m{"name": c[0], "args": args}})
	}
	return parts
}

func geminiPlain(s turn) string {
	return js(m{"candidates": []m{{"content": m{"role": "model", "parts": geminiParts(s)}, "finishReason": "STOP", "index": 0}}, "usageMetadata": m{"promptTokenCount": 3, "candidatesTokenCount": 2}, "responseId": "r1"})
}

func geminiStream(s turn) (events []string) {
	parts := geminiParts(s)
	for i, part := range parts {
		candidate := m{"content": m{"role": "model", "parts": []m{part}}, "index": 0}
		if i == len(parts)-1 {
			candidate["finishReason"] = "STOP"
		}
		events = append(events, "data: "+js(m{"candidates": []m{candidate}, "usageMetadata": m{"promptTokenCount": 3, "candidatesTokenCount": i + 1}, "responseId": "r1"})+"\n\n")
	}
	return events
}

func readGemini(t testing.TB, streamed bool, reply string) (texts string, calls [][2]string, stop string) {
	add := func(doc string) {
		for _, part := range gjson.Get(doc, "candidates.0.content.parts").Array() {
			texts += part.Get("text").Str
			if call := part.Get("functionCall"); call.Exists() {
				args := call.Get("args").Raw
				if call.Get("args").Type == gjson.String {
					args = call.Get("args").Str
				}
				calls = append(calls, [2]string{call.Get("name").Str, args})
			}
		}
		stop += gjson.Get(doc, "candidates.0.finishReason").Str
	}
	if !streamed {
		add(reply)
		return texts, calls, stop
	}
	for data := range eventsOf(t, reply, false) {
		add(data)
	}
	return texts, calls, stop
}
