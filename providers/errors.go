package providers

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"callgate/firewall"

	"github.com/go-json-experiment/json/jsontext"
)

// Causes of an Invalid request that have a status of their own.
var (
	errTooLarge = errors.New("request body too large")
	errMethod   = errors.New("method not allowed")
	errSlow     = errors.New("request body too slow")
)

// patience is how long a client may be left to try again by itself.
const patience = time.Minute

// A failure is a refusal in the words of the wire. Its code is the OpenAI
// dialects' finer one.
type failure struct {
	status           int
	openAIType, code string
	anthropicType    string
	message          string
	rule, call       string
	approval         string // that people have to decide about
	retry            time.Duration
	hopeless         bool // trying again cannot help, whatever clients make of the status
}

func failureOf(e *firewall.Error) failure {
	f := failureAt(e.Code)
	f.message, f.rule, f.call, f.approval, f.retry = e.Reason, e.Rule, e.Call, e.Approval, e.Retry
	switch {
	case errors.Is(e, errTooLarge):
		f.status, f.anthropicType = http.StatusRequestEntityTooLarge, "request_too_large"
	case errors.Is(e, errSlow):
		f.status, f.openAIType, f.anthropicType = http.StatusRequestTimeout, "invalid_request_error", "invalid_request_error"
	case errors.Is(e, errMethod):
		f.status = http.StatusMethodNotAllowed
	case e.Code == firewall.Denied, e.Code == firewall.Pending:
		f.hopeless = true
	case e.Code == firewall.Exhausted && e.Retry == 0:
		f.hopeless, f.code = true, "insufficient_quota"
	case e.Code == firewall.Exhausted && e.Retry > patience:
		f.hopeless = true
	case e.Code == firewall.Canceled: // whoever can read this did not hang up: callgate is stopping
		f.message = "the call was cut short: try again"
	}
	return f
}

func failureAt(code firewall.Code) failure {
	switch code {
	case firewall.Unauthenticated:
		return failure{status: 401, openAIType: "invalid_request_error", code: "invalid_api_key", anthropicType: "authentication_error"}
	case firewall.Denied:
		return failure{status: 403, openAIType: "permission_error", code: "denied", anthropicType: "permission_error"}
	case firewall.Pending:
		return failure{status: 409, openAIType: "permission_error", code: "pending", anthropicType: "permission_error"}
	case firewall.Exhausted:
		return failure{status: 429, openAIType: "rate_limit_error", code: "rate_limit_exceeded", anthropicType: "rate_limit_error"}
	case firewall.Invalid:
		return failure{status: 400, openAIType: "invalid_request_error", code: "invalid", anthropicType: "invalid_request_error"}
	case firewall.NotFound:
		return failure{status: 404, openAIType: "not_found", code: "model_not_found", anthropicType: "not_found_error"}
	case firewall.Unavailable, firewall.Canceled:
		return failure{status: 503, openAIType: "server_error", code: "unavailable", anthropicType: "overloaded_error"}
	case firewall.Timeout:
		return failure{status: 504, openAIType: "server_error", code: "timeout", anthropicType: "timeout_error"}
	}
	return failure{status: 500, openAIType: "server_error", code: "internal", anthropicType: "api_error"}
}

// answered is how a provider's error is told that is not in its dialect.
func answered(provider string, status int) failure {
	code := firewall.Invalid
	switch {
	case status == http.StatusUnauthorized:
		code = firewall.Unauthenticated
	case status == http.StatusForbidden:
		code = firewall.Denied
	case status == http.StatusNotFound:
		code = firewall.NotFound
	case status == http.StatusTooManyRequests:
		code = firewall.Exhausted
	case status == http.StatusRequestTimeout, status == http.StatusGatewayTimeout:
		code = firewall.Timeout
	case status >= 500:
		code = firewall.Unavailable
	}
	f := failureAt(code)
	f.status, f.code = status, "provider_error"
	f.message = "provider " + provider + " answered HTTP " + strconv.Itoa(status) + " and nothing that its API defines"
	return f
}

// openAI is the body of an error in the OpenAI dialects.
func (f failure) openAI() []byte {
	b := append([]byte(`{"error":{"message":`), quote(f.message)...)
	b = append(append(b, `,"type":`...), quote(f.openAIType)...)
	b = append(append(b, `,"param":null,"code":`...), quote(f.code)...)
	return append(f.why(b), "}}"...)
}

// anthropic is the body of an error in the Anthropic dialect.
func (f failure) anthropic() []byte {
	b := append([]byte(`{"type":"error","error":{"type":`), quote(f.anthropicType)...)
	b = append(append(b, `,"message":`...), quote(f.message)...)
	b = append(append(f.why(b), `},"request_id":`...), quote(f.call)...)
	return append(b, '}')
}

// why appends what stands in the errors of both dialects beside their own.
func (f failure) why(b []byte) []byte {
	if f.rule != "" {
		b = append(append(b, `,"rule":`...), quote(f.rule)...)
	}
	if f.approval != "" {
		b = append(append(b, `,"approval":`...), quote(f.approval)...)
	}
	return b
}

func (f failure) body(dialect string) []byte {
	switch dialect {
	case Anthropic:
		return f.anthropic()
	case Google:
		return f.google()
	}
	return f.openAI()
}

// write answers with f before anything else was sent.
func (f failure) write(w http.ResponseWriter, dialect string) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if f.call != "" {
		h.Set(headerCall, f.call)
	}
	if f.hopeless {
		h.Set("X-Should-Retry", "false")
	}
	if f.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(f.retry.Seconds()))))
	}
	w.WriteHeader(f.status)
	_, _ = w.Write(f.body(dialect)) // whom it is for may be gone
}

// quote is s as JSON; what is not UTF-8 in it becomes U+FFFD.
func quote(s string) []byte {
	b, _ := jsontext.AppendQuote(nil, s)
	return b
}

// asRefused is err as an error that an agent may see; nil if it is none.
func asRefused(err error) *firewall.Error {
	var e *firewall.Error
	errors.As(err, &e)
	return e
}
