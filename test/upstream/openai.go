package upstream

import (
	"fmt"
	"strings"
)

func (s *sse) chat(model string, n int, say Say) {
	send := func(delta, finish string) {
		s.send("", fmt.Sprintf(`{"id":"chatcmpl-%d","object":"chat.completion.chunk","created":1700000000,"model":%s,"choices":[{"index":0,"delta":%s,"finish_reason":%s}],"usage":null}`, n, quote(model), delta, finish))
	}
	send(`{"role":"assistant","content":""}`, "null")
	if say.Text != "" {
		for _, piece := range slices(say.Text) {
			send(`{"content":`+quote(piece)+`}`, "null")
		}
	}
	for i, c := range say.Calls {
		send(fmt.Sprintf(`{"tool_calls":[{"index":%d,"id":%s,"type":"function","function":{"name":%s,"arguments":""}}]}`, i, quote(c.ID), quote(c.Tool.Name)), "null")
		for _, piece := range slices(c.Args) {
			send(fmt.Sprintf(`{"tool_calls":[{"index":%d,"function":{"arguments":%s}}]}`, i, quote(piece)), "null")
		}
	}
	send(`{}`, quote(chatStop(say)))
	s.send("", fmt.Sprintf(`{"id":"chatcmpl-%d","object":"chat.completion.chunk","created":1700000000,"model":%s,"choices":[],"usage":%s}`, n, quote(model), chatUsage))
	s.send("", "[DONE]")
}

const chatUsage = `{"prompt_tokens":150,"completion_tokens":40,"total_tokens":190,"prompt_tokens_details":{"cached_tokens":30},"completion_tokens_details":{"reasoning_tokens":8}}`

func completion(model string, n int, say Say) string {
	var calls []string
	for _, c := range say.Calls {
		calls = append(calls, fmt.Sprintf(`{"id":%s,"type":"function","function":{"name":%s,"arguments":%s}}`, quote(c.ID), quote(c.Tool.Name), quote(c.Args)))
	}
	extra := ""
	if len(calls) > 0 {
		extra = `,"tool_calls":[` + strings.Join(calls, ",") + `]`
	}
	return fmt.Sprintf(`{"id":"chatcmpl-%d","object":"chat.completion","created":1700000000,"model":%s,"choices":[{"index":0,"message":{"role":"assistant","content":%s%s},"finish_reason":%q}],"usage":%s}`,
		n, quote(model), quote(say.Text), extra, chatStop(say), chatUsage)
}

func chatStop(say Say) string {
	if len(say.Calls) > 0 {
		return "tool_calls"
	}
	return "stop"
}

func (s *sse) responses(model string, n int, say Say) {
	send := func(kind, format string, args ...any) {
		s.send(kind, fmt.Sprintf(`{"type":%q,"sequence_number":%d`, kind, s.seq)+fmt.Sprintf(format, args...)+`}`)
		s.seq++
	}
	begun := response(model, n, Say{}, "in_progress")
	send("response.created", `,"response":%s`, begun)
	send("response.in_progress", `,"response":%s`, begun)
	index := 0
	if say.Text != "" {
		id := fmt.Sprintf("msg_%d_%d", n, index)
		send("response.output_item.added", `,"output_index":%d,"item":{"id":%q,"type":"message","status":"in_progress","content":[],"role":"assistant"}`, index, id)
		send("response.content_part.added", `,"item_id":%q,"output_index":%d,"content_index":0,"part":{"type":"output_text","annotations":[],"logprobs":[],"text":""}`, id, index)
		for _, piece := range slices(say.Text) {
			send("response.output_text.delta", `,"item_id":%q,"output_index":%d,"content_index":0,"delta":%s,"logprobs":[]`, id, index, quote(piece))
		}
		send("response.output_text.done", `,"item_id":%q,"output_index":%d,"content_index":0,"text":%s,"logprobs":[]`, id, index, quote(say.Text))
		send("response.content_part.done", `,"item_id":%q,"output_index":%d,"content_index":0,"part":{"type":"output_text","annotations":[],"logprobs":[],"text":%s}`, id, index, quote(say.Text))
		send("response.output_item.done", `,"output_index":%d,"item":%s`, index, textItem(n, index, say.Text))
		index++
	}
	for _, c := range say.Calls {
		id := fmt.Sprintf("fc_%d_%d", n, index)
		send("response.output_item.added", `,"output_index":%d,"item":%s`, index, callItem(n, index, Call{c.ID, c.Tool, ""}, "in_progress"))
		for _, piece := range slices(c.Args) {
			send("response.function_call_arguments.delta", `,"item_id":%q,"output_index":%d,"delta":%s`, id, index, quote(piece))
		}
		send("response.function_call_arguments.done", `,"item_id":%q,"output_index":%d,"arguments":%s`, id, index, quote(c.Args))
		send("response.output_item.done", `,"output_index":%d,"item":%s`, index, callItem(n, index, c, "completed"))
		index++
	}
	send("response.completed", `,"response":%s`, response(model, n, say, "completed"))
}

func textItem(n, index int, text string) string {
	return fmt.Sprintf(`{"id":"msg_%d_%d","type":"message","status":"completed","content":[{"type":"output_text","annotations":[],"logprobs":[],"text":%s}],"role":"assistant"}`, n, index, quote(text))
}

func callItem(n, index int, c Call, status string) string {
	namespace := ""
	if c.Tool.Namespace != "" {
		namespace = `,"namespace":` + quote(c.Tool.Namespace)
	}
	return fmt.Sprintf(`{"id":"fc_%d_%d","type":"function_call","status":%q,"arguments":%s,"call_id":%s,"name":%s%s}`, n, index, status, quote(c.Args), quote(c.ID), quote(c.Tool.Name), namespace)
}

func response(model string, n int, say Say, status string) string {
	var items []string
	if say.Text != "" {
		items = append(items, textItem(n, 0, say.Text))
	}
	for _, c := range say.Calls {
		items = append(items, callItem(n, len(items), c, "completed"))
	}
	usage := "null"
	if status == "completed" {
		usage = `{"input_tokens":150,"input_tokens_details":{"cached_tokens":30},"output_tokens":40,"output_tokens_details":{"reasoning_tokens":8},"total_tokens":190}`
	}
	return fmt.Sprintf(`{"id":"resp_%d","object":"response","created_at":1700000000,"status":%q,"error":null,"incomplete_details":null,"model":%s,"output":[%s],"parallel_tool_calls":true,"tool_choice":"auto","tools":[],"usage":%s}`,
		n, status, quote(model), strings.Join(items, ","), usage)
}
