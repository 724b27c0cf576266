package providers

import (
	"net/http"
	"strings"
)

// What callgate says in the head of a reply.
const (
	headerCall     = "Callgate-Call"     // the call's id, in every reply
	headerModel    = "Callgate-Model"    // provider/model that answers, where the client named one that stands for several
	headerLossy    = "Callgate-Lossy"    // what of the request the provider's dialect cannot say, by its paths
	headerCache    = "Callgate-Cache"    // hit, miss or bypass, where replies are kept
	headerAttempts = "Callgate-Attempts" // tries that it took, where it did
)

// forwarded copies of the client's headers what a provider may need: which
// version and betas of its API the client speaks, and what the client is.
// Everything else stays here: credentials, cookies, what only concerns this
// connection, and whom the operator's key is to be billed to.
func forwarded(in http.Header) http.Header {
	out := make(http.Header, len(in))
	for name, values := range in {
		if goesUp(name) {
			out[name] = values
		}
	}
	out["Content-Type"] = []string{"application/json"}
	out["Accept-Encoding"] = []string{"identity"} // what is compressed cannot be judged
	return out
}

func goesUp(name string) bool {
	switch name {
	case "Accept", "User-Agent", "Idempotency-Key", "Traceparent", "Tracestate", "X-App", "X-Client-Request-Id":
		return true
	}
	return hasPrefix(name, "Anthropic-", "Openai-", "X-Stainless-") && !namesAccount(name)
}

// returned copies of the provider's headers what a client may need: the
// request's id, limits, and when to try again.
func returned(to, in http.Header) {
	for name, values := range in {
		if comesDown(name) {
			to[name] = values
		}
	}
}

func comesDown(name string) bool {
	switch name {
	case "Request-Id", "X-Request-Id", "Retry-After", "Retry-After-Ms", "X-Should-Retry":
		return true
	}
	return (hasPrefix(name, "Anthropic-", "Openai-") || strings.Contains(name, "Ratelimit-")) && !namesAccount(name)
}

// namesAccount says that a header tells or chooses the operator's account.
func namesAccount(name string) bool {
	return strings.Contains(name, "Organization") || strings.Contains(name, "Project") || strings.Contains(name, "Workspace")
}

func hasPrefix(name string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}
