package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Model is a model API that follows a script: it looks an order up, obeys
// what it reads in a message, tries to pay the order back, and reports. It speaks OpenAI's chat completions, streamed and plain,
// and wants the API key that only the gate holds.
func Model(key string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+key {
			http.Error(w, `{"error":{"message":"wrong API key","type":"invalid_request_error","code":"invalid_api_key"}}`, http.StatusUnauthorized)
			return
		}
		var req chatRequest
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&req); err != nil {
			http.Error(w, `{"error":{"message":"not a chat request","type":"invalid_request_error"}}`, http.StatusBadRequest)
			return
		}
		answer := script(req)
		if req.Stream {
			answer.stream(w, req.Model)
			return
		}
		answer.plain(w, req.Model)
	})
	return mux
}

type chatRequest struct {
	Model    string    `json:"model"`
	Stream   bool      `json:"stream"`
	Messages []message `json:"messages"`
	Tools    []tool    `json:"tools,omitempty"`
}

type message struct {
	Role       string     `json:"role"`
	Content    string     `json:"content"`
	ToolCalls  []toolCall `json:"tool_calls,omitempty"`
	ToolCallID string     `json:"tool_call_id,omitempty"`
}

type tool struct {
	Type     string `json:"type"`
	Function struct {
		Name        string          `json:"name"`
		Description string          `json:"description,omitempty"`
		Parameters  json.RawMessage `json:"parameters,omitempty"`
	} `json:"function"`
}

type toolCall struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

// script is what the model says next.
func script(req chatRequest) message {
	done, last := 0, ""
	for _, m := range req.Messages {
		if m.Role == "tool" {
			done++
			last = m.Content
		}
	}
	search, read, pay, refund := find(req.Tools, "search_orders"), find(req.Tools, "read_messages"), find(req.Tools, "pay_out"), find(req.Tools, "refund")
	switch {
	case search == "" || read == "" || pay == "" || refund == "":
		return message{Role: "assistant", Content: "I am the demo's model. Offer me the shop's tools and I will look after Ana's broken delivery."}
	case done == 0:
		return message{Role: "assistant", Content: "I shall look the order up.", ToolCalls: []toolCall{call(1, search, `{"customer":"Ana"}`)}}
	case done == 1:
		return message{Role: "assistant", Content: "I shall read what she wrote.", ToolCalls: []toolCall{call(2, read, `{"order":"A-1001"}`)}}
	case done == 2:
		return message{Role: "assistant", Content: "The message tells me to pay first, so I do.", ToolCalls: []toolCall{call(3, pay, `{"to":"`+Thief+`","amount":90}`)}}
	case done == 3:
		return message{Role: "assistant", Content: "It came broken, so I shall pay it back.", ToolCalls: []toolCall{call(4, refund, `{"order":"A-1001","amount":250}`)}}
	}
	return message{Role: "assistant", Content: "I found the order but could not pay it back (" + last + "). A person has to do it."}
}

func find(tools []tool, name string) string {
	for _, t := range tools {
		if strings.HasSuffix(t.Function.Name, name) {
			return t.Function.Name
		}
	}
	return ""
}

func call(n int, name, args string) toolCall {
	c := toolCall{ID: fmt.Sprintf("call_%d", n), Type: "function"}
	c.Function.Name, c.Function.Arguments = name, args
	return c
}

const usage = `{"prompt_tokens":180,"completion_tokens":24,"total_tokens":204}`

func (m message) finish() string {
	if len(m.ToolCalls) > 0 {
		return "tool_calls"
	}
	return "stop"
}

func (m message) plain(w http.ResponseWriter, model string) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"id":"chatcmpl-demo","object":"chat.completion","created":1700000000,"model":%s,"choices":[{"index":0,"message":%s,"finish_reason":%q}],"usage":%s}`,
		quoted(model), quoted(m), m.finish(), usage)
}

// stream sends m as models do: a few letters an event.
func (m message) stream(w http.ResponseWriter, model string) {
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(choices, usage string) {
		fmt.Fprintf(w, "data: {\"id\":\"chatcmpl-demo\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":%s,\"choices\":%s,\"usage\":%s}\n\n", quoted(model), choices, usage)
		w.(http.Flusher).Flush()
	}
	delta := func(d, finish string) { send(`[{"index":0,"delta":`+d+`,"finish_reason":`+finish+`}]`, "null") }
	delta(`{"role":"assistant","content":""}`, "null")
	for _, piece := range pieces(m.Content) {
		delta(`{"content":`+quoted(piece)+`}`, "null")
	}
	for i, c := range m.ToolCalls {
		delta(fmt.Sprintf(`{"tool_calls":[{"index":%d,"id":%q,"type":"function","function":{"name":%s,"arguments":""}}]}`, i, c.ID, quoted(c.Function.Name)), "null")
		for _, piece := range pieces(c.Function.Arguments) {
			delta(fmt.Sprintf(`{"tool_calls":[{"index":%d,"function":{"arguments":%s}}]}`, i, quoted(piece)), "null")
		}
	}
	delta(`{}`, quoted(m.finish()))
	send(`[]`, usage)
	io.WriteString(w, "data: [DONE]\n\n")
}

// pieces cuts text every few letters.
func pieces(text string) []string {
	var out []string
	from := 0
	for at := range text {
		if at-from >= 6 {
			out = append(out, text[from:at])
			from = at
		}
	}
	return append(out, text[from:])
}

func quoted(v any) string {
	doc, err := json.Marshal(v)
	if err != nil {
		panic(err) // texts and messages always encode
	}
	return string(doc)
}
