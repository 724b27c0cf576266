package providers_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"callgate/audit"
)

// A conversation goes on in each dialect: what links its second request to the first, and
// to the tool call whose result it brings, is on record.
func TestARequestIsLinkedToTheOneWhoseConversationItGoesOnWith(t *testing.T) {
	for _, tt := range []struct {
		name, path    string
		reply         string
		first, second string
		method        string
	}{
		{"chat", "/v1/chat/completions",
			`{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"I look.\n","tool_calls":[{"id":"t1","type":"function","function":{"name":"look","arguments":"{\"a\":1}"}}]},"finish_reason":"tool_calls"}]}`,
			`{"model":"gpt","messages":[{"role":"system","content":"Be kind."},{"role":"user","content":"What is there?"}]}`,
			`{"messages":[{"content":"Be kind.","role":"system"},{"role":"user","content":[{"type":"text","text":"What is there?"}]},{"role":"assistant","content":"I look.\u000a","tool_calls":[{"id":"t1","type":"function","function":{"name":"look","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"t1","content":"a door"}],"model":"gpt"}`,
			"follows prefix 100"},
		{"messages, where the mark for the cache moves on and thoughts are left out", "/v1/messages",
			`{"id":"m","type":"message","role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"x"},{"type":"text","text":"I look."},{"type":"tool_use","id":"t1","name":"look","input":{"a":1}}],"stop_reason":"tool_use"}`,
			`{"model":"claude","max_tokens":9,"system":[{"type":"text","text":"Be kind.","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[{"type":"text","text":"What is there?","cache_control":{"type":"ephemeral"}}]}]}`,
			`{"model":"claude","max_tokens":9,"system":"Be kind.","messages":[{"role":"user","content":"What is there?"},{"role":"assistant","content":[{"type":"text","text":"I look."},{"type":"tool_use","id":"t1","name":"look","input":{"a":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"a door"}],"cache_control":{"type":"ephemeral"}}]}]}`,
			"follows prefix 100"},
		{"responses", "/v1/responses",
			`{"id":"r1","object":"response","output":[{"type":"reasoning","id":"rs","summary":[]},{"type":"message","id":"m","role":"assistant","content":[{"type":"output_text","text":"I look.","annotations":[]}]},{"type":"function_call","id":"f","call_id":"t1","name":"look","arguments":"{\"a\":1}"}],"status":"completed"}`,
			`{"model":"gpt","store":false,"instructions":"Be kind.","input":"What is there?"}`,
			`{"model":"gpt","store":false,"instructions":"Be kind.","input":[{"role":"user","content":[{"type":"input_text","text":"What is there?"}]},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"I look."}]},{"type":"function_call","call_id":"t1","name":"look","arguments":"{\"a\":1}"},{"type":"function_call_output","call_id":"t1","output":"a door"}]}`,
			"follows prefix 100"},
		{"responses that the provider keeps", "/v1/responses",
			`{"id":"resp_1","object":"response","output":[{"type":"message","id":"m","role":"assistant","content":[{"type":"output_text","text":"I look.","annotations":[]}]}],"status":"completed"}`,
			`{"model":"gpt","input":"What is there?"}`,
			`{"model":"gpt","input":"And then?","previous_response_id":"resp_1"}`,
			"follows response_id 100"},
		{"a changed answer is less sure", "/v1/chat/completions",
			`{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"There is a door."},"finish_reason":"stop"}]}`,
			`{"model":"gpt","messages":[{"role":"user","content":"What is there?"}]}`,
			`{"model":"gpt","messages":[{"role":"user","content":"What is there?"},{"role":"assistant","content":"There is a window."},{"role":"user","content":"Go on."}]}`,
			"follows prefix 80"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := serve(t, answer(200, "application/json", tt.reply))
			h := newHouse(t, up)
			at := h.url(t)
			for _, body := range []string{tt.first, tt.second} {
				if resp, got := post(t, at, tt.path, body); resp.StatusCode != 200 {
					t.Fatal(resp.Status, got)
				}
			}
			var opened []audit.Record
			for _, r := range h.records() {
				if r.Type == audit.Opened {
					opened = append(opened, r)
				}
			}
			if len(opened) != 2 || opened[0].Links != nil || opened[0].Thread != opened[0].Call || opened[1].Thread != opened[0].Call {
				t.Fatalf("threads: %+v", opened)
			}
			var got []string
			for _, l := range opened[1].Links {
				if l.Kind == audit.LinkFollows && l.From == opened[0].Call {
					got = append(got, fmt.Sprint(l.Kind, " ", l.Method, " ", l.Conf))
				}
			}
			if strings.Join(got, ", ") != tt.method {
				t.Errorf("links %q, want %q", got, tt.method)
			}
			if strings.Contains(tt.second, "a door") && strings.Join(opened[1].Signals, " ") != "off_gateway" {
				t.Errorf("signals %q", opened[1].Signals)
			}
		})
	}
}

// What is streamed is known by its words as well: two conversations that begin with the same
// words are told from each other by what was answered.
func TestConversationsThatBeginTheSameAreToldByTheirAnswers(t *testing.T) {
	n := 0
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		n++
		w.Header().Set("Content-Type", "text/event-stream")
		for _, piece := range []string{"Answer ", fmt.Sprint(n), "."} {
			fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":%q},\"finish_reason\":null}]}\n\n", piece)
		}
		_, _ = io.WriteString(w, done)
	}))
	h := newHouse(t, up)
	at := h.url(t)
	ask := func(messages string) string {
		resp, got := post(t, at, "/v1/chat/completions", `{"model":"gpt","stream":true,"messages":[`+messages+`]}`)
		if resp.StatusCode != 200 {
			t.Fatal(got)
		}
		return resp.Header.Get("Callgate-Call")
	}
	begin := `{"role":"user","content":"Hello?"}`
	calls := []string{ask(begin), ask(begin), ask(begin)}
	for i := range calls {
		ask(begin + fmt.Sprintf(`,{"role":"assistant","content":"Answer %d."},{"role":"user","content":"More?"}`, i+1))
	}
	i := 0
	for _, r := range h.records() {
		if r.Type != audit.Opened || len(r.Links) == 0 {
			continue
		}
		if l := r.Links[0]; l.From != calls[i] || l.Conf != 100 || r.Thread != calls[i] {
			t.Errorf("conversation %d goes on with %+v of thread %s, want %s", i, l, r.Thread, calls[i])
		}
		i++
	}
	if i != 3 {
		t.Errorf("%d calls go on with another", i)
	}
}
