package upstream

import (
	"fmt"
	"net/http"
	"strings"
)

const cohereUsage = `{"billed_units":{"input_tokens":100,"output_tokens":40},"tokens":{"input_tokens":150,"output_tokens":40}}`

// cohere answers as Cohere's chat, version 2, does.
func (m *Model) cohere(w http.ResponseWriter, streams bool, n int, say Say) {
	stop := "COMPLETE"
	if len(say.Calls) > 0 {
		stop = "TOOL_CALL"
	}
	if !streams {
		message := []string{`"role":"assistant"`}
		if say.Text != "" {
			message = append(message, `"content":[{"type":"text","text":`+quote(say.Text)+`}]`)
		}
		var calls []string
		for _, c := range say.Calls {
			calls = append(calls, fmt.Sprintf(`{"id":%s,"type":"function","function":{"name":%s,"arguments":%s}}`, quote(c.ID), quote(c.Tool.Name), quote(c.Args)))
		}
		if calls != nil {
			message = append(message, `"tool_calls":[`+strings.Join(calls, ",")+`]`)
		}
		writeJSON(w, fmt.Sprintf(`{"id":"cohere-%d","finish_reason":%q,"message":{%s},"usage":%s}`, n, stop, strings.Join(message, ","), cohereUsage))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	s := &sse{w: w}
	send := func(kind, format string, args ...any) {
		s.send(kind, `{"type":"`+kind+`"`+fmt.Sprintf(format, args...)+`}`)
	}
	send("message-start", `,"id":"cohere-%d","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}`, n)
	if say.Text != "" {
		send("content-start", `,"index":0,"delta":{"message":{"content":{"type":"text","text":""}}}`)
		for _, piece := range slices(say.Text) {
			send("content-delta", `,"index":0,"delta":{"message":{"content":{"text":%s}}}`, quote(piece))
		}
		send("content-end", `,"index":0`)
	}
	for i, c := range say.Calls {
		send("tool-call-start", `,"index":%d,"delta":{"message":{"tool_calls":{"id":%s,"type":"function","function":{"name":%s,"arguments":""}}}}`, i, quote(c.ID), quote(c.Tool.Name))
		for _, piece := range slices(c.Args) {
			send("tool-call-delta", `,"index":%d,"delta":{"message":{"tool_calls":{"function":{"arguments":%s}}}}`, i, quote(piece))
		}
		send("tool-call-end", `,"index":%d`, i)
	}
	send("message-end", `,"delta":{"finish_reason":%q,"usage":%s}`, stop, cohereUsage)
}
