package dialect

import (
	"cmp"
	"strings"

	"github.com/tidwall/gjson"
)

// ReadFailure is the error that a provider of a dialect tells in doc, which it answered
// with an HTTP status, 0 in the middle of a stream.
func ReadFailure(of Name, status int, doc []byte) *Failed {
	e := gjson.GetBytes(doc, "error")
	if of == Responses && !e.IsObject() { // in the middle of a stream: a response that has failed, or an event
		if e = gjson.GetBytes(doc, "response.error"); !e.IsObject() && status == 0 {
			e = gjson.ParseBytes(doc)
		}
	}
	f := &Failed{Status: status, Message: cmp.Or(e.Get("message").Str, gjson.GetBytes(doc, "message").Str), Code: cmp.Or(e.Get("code").String(), e.Get("type").Str, e.Get("status").Str)}
	f.Kind = failureAt(status)
	for _, word := range []string{e.Get("type").Str, e.Get("code").Str, e.Get("status").Str} {
		kind, ok := failureWords[word]
		coarse := (kind == Broken || kind == BadRequest) && status > 0 // the status says more
		if ok && !coarse {
			f.Kind = kind
		}
	}
	switch {
	case strings.HasPrefix(f.Message, "prompt is too long"), strings.HasPrefix(strings.ToLower(f.Message), "input is too long"), strings.HasPrefix(f.Message, "The input token count"): // Anthropic, Google
		f.Kind = TooLong
	case of == Gemini && strings.HasPrefix(f.Message, "API key"): // which it answers with 400
		f.Kind = BadKey
	}
	return f
}

// failureWords are what the dialects call their errors. The finer word counts.
var failureWords = map[string]Failure{
	"invalid_request_error": BadRequest, "authentication_error": BadKey, "billing_error": BadKey, "permission_error": Forbidden, "not_found_error": NoModel,
	"request_too_large": TooLarge, "rate_limit_error": Throttled, "api_error": Broken, "timeout_error": TimedOut, "overloaded_error": Overloaded, "server_error": Broken,
	"invalid_api_key": BadKey, "insufficient_quota": BadKey, "model_not_found": NoModel, "rate_limit_exceeded": Throttled, "context_length_exceeded": TooLong,
	"content_filter": FilteredOut, "content_policy_violation": FilteredOut,
	"invalid_prompt": BadRequest, "server_is_overloaded": Overloaded, "slow_down": Overloaded,
	"INVALID_ARGUMENT": BadRequest, "FAILED_PRECONDITION": BadRequest, "UNAUTHENTICATED": BadKey, "PERMISSION_DENIED": Forbidden, "NOT_FOUND": NoModel,
	"RESOURCE_EXHAUSTED": Throttled, "INTERNAL": Broken, "UNAVAILABLE": Overloaded, "DEADLINE_EXCEEDED": TimedOut,
}

func failureAt(status int) Failure {
	switch {
	case status == 400 || status == 422:
		return BadRequest
	case status == 401 || status == 402:
		return BadKey
	case status == 403:
		return Forbidden
	case status == 404:
		return NoModel
	case status == 413:
		return TooLarge
	case status == 429:
		return Throttled
	case status == 408 || status == 504:
		return TimedOut
	case status == 503 || status == 529:
		return Overloaded
	}
	return Broken
}

// WriteFailure is f as a document of a dialect.
func WriteFailure(in Name, f *Failed) []byte {
	word := map[Failure][2]string{ // OpenAI's type, Anthropic's
		Broken: {"server_error", "api_error"}, BadRequest: {"invalid_request_error", "invalid_request_error"}, BadKey: {"invalid_request_error", "authentication_error"},
		Forbidden: {"permission_error", "permission_error"}, NoModel: {"not_found", "not_found_error"}, TooLong: {"invalid_request_error", "invalid_request_error"},
		TooLarge: {"invalid_request_error", "request_too_large"}, Throttled: {"rate_limit_error", "rate_limit_error"}, Overloaded: {"server_error", "overloaded_error"},
		TimedOut: {"server_error", "timeout_error"}, FilteredOut: {"invalid_request_error", "invalid_request_error"},
	}[f.Kind]
	if in == Messages {
		message := f.Message
		if f.Kind == TooLong && !strings.HasPrefix(message, "prompt is too long") { // by which clients know it
			message = "prompt is too long: " + message
		}
		return encode(object{"type": "error", "error": object{"type": word[1], "message": message}})
	}
	if in == Gemini {
		status := geminiFailures[f.Kind]
		message := f.Message
		if f.Kind == TooLong && !strings.HasPrefix(message, "The input token count") {
			message = "The input token count exceeds the maximum number of tokens allowed: " + message
		}
		return encode(object{"error": object{"code": status.code, "message": message, "status": status.word}})
	}
	code := map[Failure]string{BadKey: "invalid_api_key", NoModel: "model_not_found", TooLong: "context_length_exceeded", Throttled: "rate_limit_exceeded", FilteredOut: "content_filter"}[f.Kind]
	e := object{"message": f.Message, "type": word[0], "param": nil, "code": nil}
	if code != "" {
		e["code"] = code
	}
	return encode(object{"error": e})
}

// geminiFailures are what Google calls errors.
var geminiFailures = map[Failure]struct {
	code int
	word string
}{
	Broken: {500, "INTERNAL"}, BadRequest: {400, "INVALID_ARGUMENT"}, BadKey: {401, "UNAUTHENTICATED"}, Forbidden: {403, "PERMISSION_DENIED"}, NoModel: {404, "NOT_FOUND"},
	TooLong: {400, "INVALID_ARGUMENT"}, TooLarge: {400, "INVALID_ARGUMENT"}, Throttled: {429, "RESOURCE_EXHAUSTED"}, Overloaded: {503, "UNAVAILABLE"},
	TimedOut: {504, "DEADLINE_EXCEEDED"}, FilteredOut: {400, "FAILED_PRECONDITION"},
}
