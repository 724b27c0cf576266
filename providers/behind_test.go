package providers_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"testing"

	"callgate/identity"
	"callgate/providers"

	"github.com/tidwall/gjson"
)

// framed is a message of AWS's event streams.
func framedAs(name, payload string) []byte {
	var head bytes.Buffer
	for _, h := range [][2]string{{":event-type", name}, {":content-type", "application/json"}, {":message-type", "event"}} {
		if strings.HasSuffix(name, "Exception") && h[0] == ":event-type" {
			h[0] = ":exception-type"
		}
		if strings.HasSuffix(name, "Exception") && h[0] == ":message-type" {
			h[1] = "exception"
		}
		head.WriteByte(byte(len(h[0])))
		head.WriteString(h[0])
		head.WriteByte(7) // a text
		_ = binary.Write(&head, binary.BigEndian, uint16(len(h[1])))
		head.WriteString(h[1])
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(16+head.Len()+len(payload)))
	b = binary.BigEndian.AppendUint32(b, uint32(head.Len()))
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	b = append(append(b, head.Bytes()...), payload...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// bedrock is a reply of Converse, plain and as a stream, with a call if it has a name.
func bedrock(call string) (plain string, stream []byte) {
	content, stop := `{"text":"Well."}`, "end_turn"
	add := func(name, payload string) { stream = append(stream, framedAs(name, payload)...) }
	add("messageStart", `{"role":"assistant"}`)
	add("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"Well."}}`)
	add("contentBlockStop", `{"contentBlockIndex":0}`)
	if call != "" {
		content, stop = content+`,{"toolUse":{"toolUseId":"t1","name":"`+call+`","input":{"a":1}}}`, "tool_use"
		add("contentBlockStart", `{"contentBlockIndex":1,"start":{"toolUse":{"toolUseId":"t1","name":"`+call+`"}}}`)
		add("contentBlockDelta", `{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{\"a\":1}"}}}`)
		add("contentBlockStop", `{"contentBlockIndex":1}`)
	}
	add("messageStop", `{"stopReason":"`+stop+`"}`)
	add("metadata", `{"usage":{"inputTokens":3,"outputTokens":2}}`)
	return `{"output":{"message":{"role":"assistant","content":[` + content + `]}},"stopReason":"` + stop + `","usage":{"inputTokens":3,"outputTokens":2}}`, stream
}

// cohere is the same of Cohere.
func cohere(call string) (plain string, stream []byte) {
	calls, stop := "", "COMPLETE"
	var b bytes.Buffer
	add := func(name, rest string) {
		b.WriteString("event: " + name + "\ndata: {\"type\":\"" + name + "\"" + rest + "}\n\n")
	}
	add("message-start", `,"id":"c1","delta":{"message":{"role":"assistant"}}`)
	add("content-start", `,"index":0,"delta":{"message":{"content":{"type":"text","text":""}}}`)
	add("content-delta", `,"index":0,"delta":{"message":{"content":{"text":"Well."}}}`)
	add("content-end", `,"index":0`)
	if call != "" {
		calls, stop = `,"tool_calls":[{"id":"t1","type":"function","function":{"name":"`+call+`","arguments":"{\"a\":1}"}}]`, "TOOL_CALL"
		add("tool-call-start", `,"index":0,"delta":{"message":{"tool_calls":{"id":"t1","type":"function","function":{"name":"`+call+`","arguments":""}}}}`)
		add("tool-call-delta", `,"index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\"a\":1}"}}}}`)
		add("tool-call-end", `,"index":0`)
	}
	add("message-end", `,"delta":{"finish_reason":"`+stop+`","usage":{"tokens":{"input_tokens":3,"output_tokens":2}}}`)
	return `{"id":"c1","finish_reason":"` + stop + `","message":{"role":"assistant","content":[{"type":"text","text":"Well."}]` + calls + `},"usage":{"tokens":{"input_tokens":3,"output_tokens":2}}}`, b.Bytes()
}

// clouded is a house with Bedrock and Cohere, which up both is, and the path that it was
// asked last.
func clouded(t *testing.T, reply http.HandlerFunc) (*house, func() (path, body string)) {
	t.Helper()
	var path, body string
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		path, body = r.URL.EscapedPath(), string(b)
		reply(w, r)
	}))
	h := newHouseWith(t, providers.Config{}, map[string]providers.Provider{
		"bedrock": {BaseURL: up, APIKey: identity.NewSecret("bedrock-key-0"), Params: map[string]string{"region": "eu-central-1"}, Models: []string{"anthropic.claude-4:0"}},
		"cohere":  {BaseURL: up, APIKey: identity.NewSecret("cohere-key-01"), Models: []string{"command-a"}},
	}, mask{"hush"})
	return h, func() (string, string) { return path, body }
}

// Clients of each dialect use models of Amazon's and Cohere's.
func TestModelsOfAmazonAndCohereAnswerEachClient(t *testing.T) {
	for _, back := range []struct {
		model, path, stream string
		kind                string
		says                func(string) (string, []byte)
	}{
		{"anthropic.claude-4:0", "/model/anthropic.claude-4%3A0/converse", "/model/anthropic.claude-4%3A0/converse-stream", "application/vnd.amazon.eventstream", bedrock},
		{"command-a", "/v2/chat", "/v2/chat", "text/event-stream", cohere},
	} {
		for _, front := range surfaces {
			for _, streamed := range []bool{false, true} {
				plain, stream := back.says("f")
				kind, reply, want := "application/json", plain, back.path
				if streamed {
					kind, reply, want = back.kind, string(stream), back.stream
				}
				h, seen := clouded(t, answer(200, kind, reply))
				path, body := front.ask(streamed)
				own := map[string]string{"chat": "gpt", "responses": "gpt", "messages": "claude", "gemini": "flash"}[front.name]
				path, body = strings.Replace(path, "/"+own+":", "/"+back.model+":", 1), strings.Replace(body, `"model":"`+own+`"`, `"model":"`+back.model+`"`, 1)
				resp, got := post(t, h.url(t), path, body)
				texts, calls, _ := front.read(t, streamed, got)
				if resp.StatusCode != 200 || texts != "Well." || len(calls) != 1 || calls[0] != [2]string{"f", `{"a":1}`} {
					t.Errorf("%s behind %s, streamed=%v: %d %q %q\n%s", back.model, front.name, streamed, resp.StatusCode, texts, calls, got)
				}
				if to, sent := seen(); to != want || !strings.Contains(sent, "hi") {
					t.Errorf("%s behind %s: asked %s: %s", back.model, front.name, to, sent)
				}
				if r := h.records(); r[len(r)-1].Outcome != "ok" || r[len(r)-1].Usage == nil || r[len(r)-1].Usage.Input != 3 || r[len(r)-1].Usage.Output != 2 || r[len(r)-1].Usage.Estimated {
					t.Errorf("%s behind %s, streamed=%v: on record %+v", back.model, front.name, streamed, r[len(r)-1].Usage)
				}
			}
		}
	}
}

// Whatever becomes of their streams, clients get a good end in their own dialect.
func TestStreamsOfAmazonAndCohereThatFail(t *testing.T) {
	_, aws := bedrock("f")
	_, co := cohere("f")
	thrown := append(framedAs("messageStart", `{"role":"assistant"}`), framedAs("throttlingException", `{"message":"slow down"}`)...)
	broken := bytes.Clone(aws)
	broken[len(broken)-1] ^= 1
	for _, tt := range []struct {
		what, model, kind string
		stream            []byte
		step              int // where it is cut, again and again; 0: not at all
		want              string
	}{
		{"cut", "anthropic.claude-4:0", "application/vnd.amazon.eventstream", aws, 23, ""},
		{"cut", "command-a", "text/event-stream", co, 23, ""},
		{"an exception", "anthropic.claude-4:0", "application/vnd.amazon.eventstream", thrown, 0, "slow down"},
		{"a wrong checksum", "anthropic.claude-4:0", "application/vnd.amazon.eventstream", broken, 0, ""},
	} {
		for end := max(tt.step, 1); end < len(tt.stream)-40; end += max(tt.step, len(tt.stream)) {
			sent := tt.stream[:end]
			if tt.step == 0 {
				sent = tt.stream
			}
			h, _ := clouded(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", tt.kind)
				_, _ = w.Write(sent)
				_ = http.NewResponseController(w).Flush()
				if tt.step > 0 {
					panic(http.ErrAbortHandler)
				}
			})
			resp, got := post(t, h.url(t), "/v1/chat/completions", `{"model":"`+tt.model+`","stream":true,"messages":[{"role":"user","content":"hi"}]}`)
			if good := resp.StatusCode >= 400 && gjson.Valid(got) || strings.Contains(got, `"error"`) && strings.HasSuffix(got, "data: [DONE]\n\n"); !good || !strings.Contains(got, tt.want) {
				t.Fatalf("%s, %s at %d: %d %q", tt.model, tt.what, end, resp.StatusCode, got)
			}
			h.busy.Wait()
		}
	}
}

// Their errors are told in the client's dialect.
func TestErrorsOfAmazonAndCohere(t *testing.T) {
	for _, model := range []string{"anthropic.claude-4:0", "command-a"} {
		h, _ := clouded(t, answer(429, "application/json", `{"message":"too many requests"}`))
		resp, got := post(t, h.url(t), "/v1/messages", `{"model":"`+model+`","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}`)
		if resp.StatusCode != 429 || gjson.Get(got, "error.type").Str != "rate_limit_error" || gjson.Get(got, "error.message").Str != "too many requests" {
			t.Errorf("%s: %d %s", model, resp.StatusCode, got)
		}
	}
}
