package upstream

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/url"
	"strings"

	"github.com/tidwall/gjson"
)

// amazonPath is what a path of Bedrock's Converse asks for, and whether it is one.
func amazonPath(path string) (model string, streams, ok bool) {
	rest, ok := strings.CutPrefix(path, "/model/")
	at := strings.LastIndexByte(rest, '/')
	if !ok || at < 0 || !strings.HasPrefix(rest[at:], "/converse") {
		return "", false, false
	}
	model, err := url.PathUnescape(rest[:at])
	return model, rest[at:] == "/converse-stream", err == nil
}

// readAmazon finds the tools and results of a request of Converse.
func (t *Turn) readAmazon() {
	doc := gjson.ParseBytes(t.Body)
	for _, tool := range doc.Get("toolConfig.tools").Array() {
		if spec := tool.Get("toolSpec"); spec.Exists() {
			t.Tools = append(t.Tools, Tool{"", spec.Get("name").Str})
		}
	}
	for _, block := range doc.Get("messages.#.content|@flatten").Array() {
		if r := block.Get("toolResult"); r.Exists() {
			t.Results = append(t.Results, Result{r.Get("toolUseId").Str, r.Get("content.0.text").Str})
		}
	}
}

const amazonUsage = `{"inputTokens":100,"outputTokens":40,"totalTokens":190,"cacheReadInputTokens":30,"cacheWriteInputTokens":20}`

func (m *Model) amazon(w http.ResponseWriter, streams bool, say Say) {
	stop := "end_turn"
	if len(say.Calls) > 0 {
		stop = "tool_use"
	}
	if !streams {
		var content []string
		if say.Text != "" {
			content = append(content, `{"text":`+quote(say.Text)+`}`)
		}
		for _, c := range say.Calls {
			content = append(content, fmt.Sprintf(`{"toolUse":{"toolUseId":%s,"name":%s,"input":%s}}`, quote(c.ID), quote(c.Tool.Name), c.Args))
		}
		writeJSON(w, fmt.Sprintf(`{"output":{"message":{"role":"assistant","content":[%s]}},"stopReason":%q,"usage":%s,"metrics":{"latencyMs":5}}`, strings.Join(content, ","), stop, amazonUsage))
		return
	}
	w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
	send := func(name, format string, args ...any) {
		_, _ = w.Write(amazonFrame(name, fmt.Sprintf(format, args...)))
		w.(http.Flusher).Flush()
	}
	send("messageStart", `{"role":"assistant"}`)
	at := 0
	if say.Text != "" {
		for _, piece := range slices(say.Text) {
			send("contentBlockDelta", `{"contentBlockIndex":%d,"delta":{"text":%s}}`, at, quote(piece))
		}
		send("contentBlockStop", `{"contentBlockIndex":%d}`, at)
		at++
	}
	for _, c := range say.Calls {
		send("contentBlockStart", `{"contentBlockIndex":%d,"start":{"toolUse":{"toolUseId":%s,"name":%s}}}`, at, quote(c.ID), quote(c.Tool.Name))
		for _, piece := range slices(c.Args) {
			send("contentBlockDelta", `{"contentBlockIndex":%d,"delta":{"toolUse":{"input":%s}}}`, at, quote(piece))
		}
		send("contentBlockStop", `{"contentBlockIndex":%d}`, at)
		at++
	}
	send("messageStop", `{"stopReason":%q}`, stop)
	send("metadata", `{"usage":%s,"metrics":{"latencyMs":5}}`, amazonUsage)
}

// amazonFrame is one message of an AWS event stream.
func amazonFrame(name, payload string) []byte {
	var head bytes.Buffer
	for _, h := range [][2]string{{":event-type", name}, {":content-type", "application/json"}, {":message-type", "event"}} {
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
