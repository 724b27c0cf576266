package dialect

import (
	"github.com/tidwall/gjson"
)

// Why a reply is incomplete.
const (
	stoppedByLimit  = "max_output_tokens"
	stoppedByFilter = "content_filter"
)

// responsesStop is why a response of a status ended, whose parts are parts.
func responsesStop(status, why string, parts []Part) StopReason {
	switch {
	case status == "incomplete" && why == stoppedByLimit:
		return MaxTokens
	case status == "incomplete" && why == stoppedByFilter:
		return Filtered
	case status == "incomplete":
		return Other
	}
	reason := EndTurn
	for i := range parts {
		switch parts[i].Kind {
		case ToolCall:
			return ToolUse
		case Refusal:
			reason = Refused
		}
	}
	return reason
}

func responsesUsage(v gjson.Result) *Usage {
	if !v.IsObject() {
		return nil
	}
	return &Usage{
		Input: v.Get("input_tokens").Int(), Output: v.Get("output_tokens").Int(),
		CacheRead: v.Get("input_tokens_details.cached_tokens").Int(), CacheWrite: v.Get("input_tokens_details.cache_write_tokens").Int(),
		Reasoning: v.Get("output_tokens_details.reasoning_tokens").Int(),
		AudioIn:   v.Get("input_tokens_details.audio_tokens").Int(), AudioOut: v.Get("output_tokens_details.audio_tokens").Int(),
	}
}

func responsesUsageOf(u *Usage) object {
	if u == nil {
		return nil
	}
	return object{
		"input_tokens": u.Input, "output_tokens": u.Output, "total_tokens": u.Input + u.Output,
		"input_tokens_details":  object{"cached_tokens": u.CacheRead, "cache_write_tokens": u.CacheWrite},
		"output_tokens_details": object{"reasoning_tokens": u.Reasoning},
	}
}

func (d *responsesDecoder) Whole(doc []byte) (*Reply, error) {
	v := gjson.ParseBytes(doc)
	if !v.Get("output").IsArray() {
		return nil, &Unreadable{Responses, "output", "there is none"}
	}
	status := v.Get("status").Str
	switch status {
	case "completed", "incomplete", "": // which some vendors leave out
	case "failed":
		return nil, &Unreadable{Responses, "status", "the response has failed: " + v.Get("error.message").Str}
	default:
		return nil, &Unreadable{Responses, "status", "the response is not complete"}
	}
	a := Answer{}
	items(v.Get("output"), func(v gjson.Result) { a.Parts = append(a.Parts, responsesParts(v)...) })
	a.Reason = responsesStop(status, v.Get("incomplete_details.reason").Str, a.Parts)
	return &Reply{ID: v.Get("id").Str, Model: v.Get("model").Str, Choices: []Answer{a}, Usage: responsesUsage(v.Get("usage"))}, nil
}

// responsesParts is what an item of a reply says. What is of tools that the vendor runs
// is nothing.
func responsesParts(v gjson.Result) (parts []Part) {
	switch v.Get("type").Str {
	case "message":
		items(v.Get("content"), func(v gjson.Result) {
			if p, ok := responsesSaid(v); ok {
				parts = append(parts, p)
			}
		})
	case "reasoning":
		if p, ok := responsesThought(v); ok && p.Kind != ToolCall {
			parts = append(parts, p)
		}
	case "function_call":
		parts = append(parts, Part{Kind: ToolCall, ID: v.Get("call_id").Str, Name: flat(v.Get("namespace").Str, v.Get("name").Str), Args: arguments(v.Get("arguments").Str)})
	case "custom_tool_call":
		parts = append(parts, Part{Kind: ToolCall, ID: v.Get("call_id").Str, Name: flat(v.Get("namespace").Str, v.Get("name").Str), Args: quoted(v.Get("input").Str), Custom: true})
	}
	return parts
}

// responsesSaid is a part of a message of a reply, and whether it is one that is known.
func responsesSaid(v gjson.Result) (Part, bool) {
	switch v.Get("type").Str {
	case "output_text":
		return Part{Kind: Text, Text: v.Get("text").Str}, true
	case "refusal":
		return Part{Kind: Refusal, Text: v.Get("refusal").Str}, true
	}
	return Part{}, false
}
