// Package upstream holds what callgate's tests put behind it where the real thing
// cannot be had: a model API that follows a script, faithful to the wire.
package upstream

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/tidwall/gjson"
)

// A Model is a model API that does as its Script says. It speaks OpenAI chat
// completions and responses, and Anthropic messages, streamed and not. It is an
// http.Handler; the path decides the dialect.
type Model struct {
	// Script says what the model answers. It is called once per request.
	Script func(Turn) Say
	// Key, if set, is the only API key that is accepted.
	Key string

	mu   sync.Mutex
	seen []Turn
}

// A Turn is one request to the model.
type Turn struct {
	Dialect string // "chat", "responses", "messages", "gemini", "converse", "cohere"
	Model   string
	Tools   []Tool
	Results []Result // of tool calls, oldest first
	Header  http.Header
	Body    []byte
}

// A Tool is one that the client offers. Namespace is set where the dialect has it.
type Tool struct{ Namespace, Name string }

// A Result is what came of a tool call.
type Result struct{ ID, Text string }

// Say is the model's answer: some text, then tool calls if any.
type Say struct {
	Text  string
	Calls []Call
}

// A Call is a tool call that the model asks for.
type Call struct {
	ID   string
	Tool Tool
	Args string // JSON object
}

// Turns is every request so far.
func (m *Model) Turns() []Turn {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Turn(nil), m.seen...)
}

// Find is the tool whose name ends in suffix; ok is false if there is none. Some
// clients write every "-" as "_".
func (t Turn) Find(suffix string) (Tool, bool) {
	plain := strings.NewReplacer("-", "_").Replace
	for _, tool := range t.Tools {
		if strings.HasSuffix(plain(tool.Name), plain(suffix)) {
			return tool, true
		}
	}
	return Tool{}, false
}

func (m *Model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	dialect := map[string]string{
		"/v1/chat/completions": "chat", "/v1/responses": "responses", "/v1/messages": "messages", "/v1/messages/count_tokens": "count", "/v2/chat": "cohere",
	}[r.URL.Path]
	model, streams, ok := googlePath(r.URL.Path)
	if ok {
		dialect = "gemini"
	} else if model, streams, ok = amazonPath(r.URL.EscapedPath()); ok {
		dialect = "converse"
	}
	body, err := io.ReadAll(r.Body)
	switch {
	case dialect == "" || r.Method != http.MethodPost:
		http.NotFound(w, r)
		return
	case err != nil || !gjson.ValidBytes(body):
		http.Error(w, `{"error":{"message":"bad request","type":"invalid_request_error"}}`, http.StatusBadRequest)
		return
	case m.Key != "" && r.Header.Get("x-api-key") != m.Key && r.Header.Get("x-goog-api-key") != m.Key && r.Header.Get("Authorization") != "Bearer "+m.Key:
		http.Error(w, `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}`, http.StatusUnauthorized)
		return
	case dialect == "count":
		writeJSON(w, `{"input_tokens":42}`)
		return
	}
	turn := Turn{Dialect: dialect, Model: gjson.GetBytes(body, "model").Str, Header: r.Header.Clone(), Body: body}
	switch dialect {
	case "gemini":
		turn.Model = model
		turn.readGoogle()
	case "converse":
		turn.Model = model
		turn.readAmazon()
	default:
		turn.read()
	}
	m.mu.Lock()
	m.seen = append(m.seen, turn)
	n := len(m.seen)
	m.mu.Unlock()
	say := m.Script(turn)
	for i := range say.Calls {
		if say.Calls[i].ID == "" {
			say.Calls[i].ID = fmt.Sprintf("toolu_%02d_%02d", n, i)
		}
	}
	switch dialect {
	case "gemini":
		m.google(w, turn, n, streams, say)
		return
	case "converse":
		m.amazon(w, streams, say)
		return
	case "cohere":
		m.cohere(w, gjson.GetBytes(body, "stream").Bool(), n, say)
		return
	}
	s := &sse{w: w}
	stream := gjson.GetBytes(body, "stream").Bool()
	if stream {
		w.Header().Set("Content-Type", "text/event-stream")
	}
	switch {
	case dialect == "messages" && stream:
		s.messages(turn.Model, n, say)
	case dialect == "messages":
		writeJSON(w, message(turn.Model, n, say))
	case dialect == "responses" && stream:
		s.responses(turn.Model, n, say)
	case dialect == "responses":
		writeJSON(w, response(turn.Model, n, say, "completed"))
	case stream:
		s.chat(turn.Model, n, say)
	default:
		writeJSON(w, completion(turn.Model, n, say))
	}
}

// read finds the tools and the results of tool calls in the request.
func (t *Turn) read() {
	doc := gjson.ParseBytes(t.Body)
	for _, tool := range doc.Get("tools").Array() {
		switch {
		case tool.Get("type").Str == "namespace":
			for _, in := range tool.Get("tools").Array() {
				t.Tools = append(t.Tools, Tool{tool.Get("name").Str, in.Get("name").Str})
			}
		case tool.Get("function.name").Exists():
			t.Tools = append(t.Tools, Tool{"", tool.Get("function.name").Str})
		default:
			t.Tools = append(t.Tools, Tool{"", tool.Get("name").Str})
		}
	}
	for _, m := range doc.Get("messages").Array() {
		if m.Get("role").Str == "tool" {
			t.Results = append(t.Results, Result{m.Get("tool_call_id").Str, m.Get("content").String()})
		}
		for _, block := range m.Get("content").Array() {
			if block.Get("type").Str == "tool_result" {
				t.Results = append(t.Results, Result{block.Get("tool_use_id").Str, block.Get("content").String()})
			}
		}
	}
	for _, item := range doc.Get("input").Array() {
		if strings.HasSuffix(item.Get("type").Str, "_call_output") {
			t.Results = append(t.Results, Result{item.Get("call_id").Str, item.Get("output").String()})
		}
	}
}

func writeJSON(w http.ResponseWriter, doc string) {
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, doc)
}

// sse writes server-sent events and flushes each.
type sse struct {
	w   http.ResponseWriter
	seq int
}

func (s *sse) send(event, doc string) {
	if event != "" {
		fmt.Fprintf(s.w, "event: %s\n", event)
	}
	fmt.Fprintf(s.w, "data: %s\n\n", doc)
	s.w.(http.Flusher).Flush()
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always encodes
	}
	return string(b)
}

// slices cuts text into pieces of a few bytes, on rune boundaries, as models stream it.
func slices(text string) []string {
	var out []string
	from := 0
	for i := range text {
		if i-from >= 7 {
			out = append(out, text[from:i])
			from = i
		}
	}
	return append(out, text[from:])
}
