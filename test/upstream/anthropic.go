package upstream

import "fmt"

func (s *sse) messages(model string, n int, say Say) {
	send := func(kind, format string, args ...any) {
		s.send(kind, `{"type":"`+kind+`"`+fmt.Sprintf(format, args...)+`}`)
	}
	send("message_start", `,"message":{"id":"msg_%d","type":"message","role":"assistant","model":%s,"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":100,"cache_creation_input_tokens":20,"cache_read_input_tokens":30,"output_tokens":1}}`, n, quote(model))
	send("ping", "")
	index := 0
	if say.Text != "" {
		send("content_block_start", `,"index":%d,"content_block":{"type":"text","text":""}`, index)
		for _, piece := range slices(say.Text) {
			send("content_block_delta", `,"index":%d,"delta":{"type":"text_delta","text":%s}`, index, quote(piece))
		}
		send("content_block_stop", `,"index":%d`, index)
		index++
	}
	for _, c := range say.Calls {
		send("content_block_start", `,"index":%d,"content_block":{"type":"tool_use","id":%s,"name":%s,"input":{}}`, index, quote(c.ID), quote(c.Tool.Name))
		for _, piece := range slices(c.Args) {
			send("content_block_delta", `,"index":%d,"delta":{"type":"input_json_delta","partial_json":%s}`, index, quote(piece))
		}
		send("content_block_stop", `,"index":%d`, index)
		index++
	}
	send("message_delta", `,"delta":{"stop_reason":%q,"stop_sequence":null},"usage":{"output_tokens":40}`, anthropicStop(say))
	send("message_stop", "")
}

func message(model string, n int, say Say) string {
	content := ""
	if say.Text != "" {
		content = `{"type":"text","text":` + quote(say.Text) + `}`
	}
	for _, c := range say.Calls {
		if content != "" {
			content += ","
		}
		content += fmt.Sprintf(`{"type":"tool_use","id":%s,"name":%s,"input":%s}`, quote(c.ID), quote(c.Tool.Name), c.Args)
	}
	return fmt.Sprintf(`{"id":"msg_%d","type":"message","role":"assistant","model":%s,"content":[%s],"stop_reason":%q,"stop_sequence":null,"usage":{"input_tokens":100,"cache_creation_input_tokens":20,"cache_read_input_tokens":30,"output_tokens":40}}`,
		n, quote(model), content, anthropicStop(say))
}

func anthropicStop(say Say) string {
	if len(say.Calls) > 0 {
		return "tool_use"
	}
	return "end_turn"
}
