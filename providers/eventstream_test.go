package providers_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"testing"

	"callgate/identity"
	"callgate/providers"
)

// frame is a message as AWS frames it; headers are names and texts.
func frame(payload string, headers ...string) []byte {
	var head bytes.Buffer
	for i := 0; i < len(headers); i += 2 {
		head.WriteByte(byte(len(headers[i])))
		head.WriteString(headers[i])
		head.WriteByte(7)
		_ = binary.Write(&head, binary.BigEndian, uint16(len(headers[i+1])))
		head.WriteString(headers[i+1])
	}
	out := binary.BigEndian.AppendUint32(nil, uint32(16+head.Len()+len(payload)))
	out = binary.BigEndian.AppendUint32(out, uint32(head.Len()))
	out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out))
	out = append(append(out, head.Bytes()...), payload...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out))
}

// wrapped is an event of Anthropic's as Bedrock wraps it.
func wrapped(event string) []byte {
	return frame(`{"bytes":"`+base64.StdEncoding.EncodeToString([]byte(event))+`","p":"abcdef"}`, ":event-type", "chunk", ":content-type", "application/json", ":message-type", "event")
}

var claudeEvents = []string{
	`{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"stop_reason":null,"usage":{"input_tokens":3,"output_tokens":1}}}`,
	`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
	`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"ré "}}`,
	`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"line\nnext"}}`,
	`{"type":"content_block_stop","index":0}`,
	`{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":4}}`,
	`{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":3}}`,
}

// claudeAt is a provider of Claude at Bedrock that streams frames.
func claudeAt(t *testing.T, frames func(w io.Writer)) (door string, h *house) {
	t.Helper()
	at := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path != "/model/c/invoke-with-response-stream" {
			answer(404, "application/json", `{"message":"no such path"}`)(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
		frames(w)
	}))
	h = newHouseWith(t, providers.Config{}, map[string]providers.Provider{"aws": {Kind: "bedrock-claude", BaseURL: at, Params: map[string]string{"region": "r1"}, APIKey: identity.NewSecret("AKID:secret")}})
	return h.url(t), h
}

const askStream = `{"model":"aws/c","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"x"}]}`

func TestAStreamOfClaudeAtBedrockIsAnthropicsOwn(t *testing.T) {
	door, h := claudeAt(t, func(w io.Writer) {
		for _, e := range claudeEvents {
			for _, b := range wrapped(e) { // cut at every byte
				_, _ = w.Write([]byte{b})
				if b%16 == 0 {
					w.(http.Flusher).Flush()
				}
			}
		}
	})
	resp, body := post(t, door, "/v1/messages", askStream)
	var want strings.Builder
	for _, e := range claudeEvents {
		name, _, _ := strings.Cut(e[len(`{"type":"`):], `"`)
		fmt.Fprintf(&want, "event: %s\ndata: %s\n\n", name, e)
	}
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") || body != want.String() {
		t.Errorf("%d %v\ngot  %s\nwant %s", resp.StatusCode, resp.Header, body, &want)
	}
	if r := h.records()[1]; r.Outcome != "ok" || r.Usage == nil || r.Usage.Output != 4 {
		t.Errorf("on record: %+v", r)
	}
	resp, body = post(t, door, "/v1/chat/completions", askStream)
	if resp.StatusCode != 200 || !strings.Contains(body, `"content":"ré "`) || !strings.HasSuffix(body, "data: [DONE]\n\n") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestAStreamOfAmazonThatFails(t *testing.T) {
	text := wrapped(claudeEvents[2])
	cut := func(n int) []byte { return text[:len(text)-n] }
	flip := func(at int) []byte {
		b := bytes.Clone(text)
		b[(at+len(b))%len(b)] ^= 1
		return b
	}
	huge := binary.BigEndian.AppendUint32(nil, 1<<31)
	huge = binary.BigEndian.AppendUint32(huge, 0)
	huge = binary.BigEndian.AppendUint32(huge, crc32.ChecksumIEEE(huge))
	tiny := binary.BigEndian.AppendUint32(nil, 15)
	tiny = binary.BigEndian.AppendUint32(tiny, 0)
	tiny = binary.BigEndian.AppendUint32(tiny, crc32.ChecksumIEEE(tiny))
	for _, tt := range []struct {
		name string
		last []byte
		want string
	}{
		{"an exception", frame(`{"message":"Too many tokens"}`, ":message-type", "exception", ":exception-type", "throttlingException"), `"type":"rate_limit_error","message":"Too many tokens"`},
		{"an error without a model of its own", frame("", ":message-type", "error", ":error-code", "InternalFailure", ":error-message", "boom"), `"type":"api_error","message":"boom"`},
		{"cut in a checksum", cut(1), "event: error"},
		{"cut in a payload", cut(40), "event: error"},
		{"cut in its lengths", text[:7], "event: error"},
		{"a wrong checksum", flip(-1), "event: error"},
		{"a wrong payload", flip(-30), "event: error"},
		{"a wrong length", flip(2), "event: error"},
		{"a length beyond all bounds", huge, "event: error"},
		{"a length that is none", tiny, "event: error"},
		{"a header that is cut", frame("{}", ":message-type", "event")[:20], "event: error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			door, _ := claudeAt(t, func(w io.Writer) {
				for _, e := range claudeEvents[:3] {
					_, _ = w.Write(wrapped(e))
				}
				_, _ = w.Write(tt.last)
			})
			resp, body := post(t, door, "/v1/messages", askStream)
			if resp.StatusCode != 200 || !strings.Contains(body, "ré ") || !strings.Contains(body, tt.want) || strings.Contains(body, "message_stop") {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		})
	}
}

// Errors of the clouds that host Claude arrive in the dialect of the client.
func TestACloudsErrorsAreAnthropics(t *testing.T) {
	for _, tt := range []struct{ kind, doc, want string }{
		{"bedrock-claude", `{"message":"The model is not ready"}`, "The model is not ready"},
		{"vertex-claude", `{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED"}}`, "Quota exceeded"},
		{"vertex-claude", `{"type":"error","error":{"type":"rate_limit_error","message":"as it came"}}`, "as it came"},
	} {
		at := serve(t, answer(429, "application/json", tt.doc))
		h := newHouseWith(t, providers.Config{}, map[string]providers.Provider{"p": {Kind: tt.kind, BaseURL: at, Params: paramsOf(tt.kind), APIKey: identity.NewSecret("key")}})
		door := h.url(t)
		if resp, body := post(t, door, "/v1/messages", `{"model":"p/c","messages":[]}`); resp.StatusCode != 429 || !strings.Contains(body, `"type":"error"`) || !strings.Contains(body, `"type":"rate_limit_error"`) || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %s", tt.kind, resp.StatusCode, body)
		}
		if resp, body := post(t, door, "/v1/chat/completions", `{"model":"p/c","messages":[{"role":"user","content":"x"}]}`); resp.StatusCode != 429 || !strings.HasPrefix(body, `{"error":{`) || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %s", tt.kind, resp.StatusCode, body)
		}
	}
}
