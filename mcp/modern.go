package mcp

import (
	"math/big"
	"net/http"
	"strings"

	"callgate/firewall"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/tidwall/gjson"
)

// envelope is what a modern client says about itself and its request in _meta.
type envelope struct {
	version      gjson.Result
	capabilities gjson.Result
	level        gjson.Result
}

func envelopeOf(params []byte) envelope {
	var e envelope
	if params == nil {
		return e
	}
	parsed(params).Get("_meta").ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case metaVersion:
			e.version = value
		case metaCapabilities:
			e.capabilities = value
		case metaLogLevel:
			e.level = value
		}
		return true
	})
	return e
}

// meet finds out of which era the client is, and sees that m is complete and
// consistent by the rules of that era.
func (v *visit) meet(m *Message) *fault {
	header := v.r.Header.Get(mcpgo.HeaderProtocolVersion)
	e := envelopeOf(m.Params)
	switch {
	case e.version.Exists() || isModern(header) || m.Method == "server/discover":
		v.modern = true
		return v.meetModern(m, e)
	case m.Method == "initialize" && m.IsRequest():
		if header != "" && !speaks(header) {
			return unsupported(header)
		}
		return nil
	}
	return v.resume()
}

func (v *visit) meetModern(m *Message, e envelope) *fault {
	header, f := v.single(mcpgo.HeaderProtocolVersion)
	if f != nil {
		return f
	}
	if !m.IsRequest() { // it has no effect, and need not say more
		if header != modernVersion {
			return unsupported(header)
		}
		return nil
	}
	switch {
	case !e.version.Exists() || e.version.Type != gjson.String:
		return bad(http.StatusBadRequest, mcpgo.INVALID_PARAMS, "_meta has no %s", metaVersion)
	case header == "":
		return mismatch(mcpgo.HeaderProtocolVersion, "is missing")
	case header != e.version.Str:
		return mismatch(mcpgo.HeaderProtocolVersion, "is not the version in _meta")
	case header != modernVersion:
		return unsupported(header)
	case !e.capabilities.IsObject():
		return bad(http.StatusBadRequest, mcpgo.INVALID_PARAMS, "_meta has no %s: send {} for none", metaCapabilities)
	}
	v.version, v.said = header, e.capabilities.Raw
	if e.level.Exists() {
		if v.level = e.level.Str; severity(v.level) < 0 {
			return bad(http.StatusBadRequest, mcpgo.INVALID_PARAMS, "%s is not a level", metaLogLevel)
		}
	}
	return v.checkStandard(m)
}

// single is the value of a header that must not come twice, decoded by nobody.
func (v *visit) single(name string) (string, *fault) {
	values := v.r.Header[http.CanonicalHeaderKey(name)]
	if len(values) > 1 {
		return "", mismatch(name, "is there more than once")
	}
	if len(values) == 0 {
		return "", nil
	}
	return values[0], nil
}

// checkStandard sees that the headers by which others may have routed m say what
// m says. The decision is always on m.
func (v *visit) checkStandard(m *Message) *fault {
	method, f := v.single(mcpgo.HeaderMethod)
	switch {
	case f != nil:
		return f
	case method == "":
		return mismatch(mcpgo.HeaderMethod, "is missing")
	case method != m.Method:
		return mismatch(mcpgo.HeaderMethod, "is not the method in the body")
	}
	want, named := subject(m.Method, m.Params)
	value, f := v.single(mcpgo.HeaderName)
	if f != nil || !named {
		return f // the body is refused where a name is missing
	}
	name, ok := mcpgo.DecodeHeaderValue(value)
	switch {
	case len(v.r.Header[mcpgo.HeaderName]) == 0:
		return mismatch(mcpgo.HeaderName, "is missing")
	case !ok:
		return mismatch(mcpgo.HeaderName, "is not valid Base64")
	case name != want:
		return mismatch(mcpgo.HeaderName, "is not the name in the body")
	}
	return nil
}

// paramHeaders is the Mcp-Param headers of the request, which may come once each.
func (v *visit) paramHeaders() (map[string]string, *fault) {
	var h map[string]string
	for name, values := range v.r.Header {
		if !strings.HasPrefix(name, mcpgo.HeaderParamPrefix) {
			continue
		}
		if len(values) != 1 {
			return nil, mismatch(name, "is there more than once")
		}
		if h == nil {
			h = make(map[string]string)
		}
		h[name] = values[0]
	}
	return h, nil
}

// checkParamHeaders sees that the headers that a tool asked for say what its arguments
// say.
func checkParamHeaders(wanted []ParamHeader, args []byte, h map[string]string) *fault {
	for _, p := range wanted {
		name := http.CanonicalHeaderKey(mcpgo.HeaderParamPrefix + p.Header)
		said, there := h[name]
		arg := parsed(args).Get(p.Path)
		if !arg.Exists() || arg.Type == gjson.Null {
			if said != "" {
				return mismatch(name, "is for an argument that is not there")
			}
			continue
		}
		if !there {
			return mismatch(name, "is missing")
		}
		text, ok := mcpgo.DecodeHeaderValue(said)
		if !ok {
			return mismatch(name, "is not valid Base64")
		}
		if !sameValue(arg, text) {
			return mismatch(name, "is not the argument in the body")
		}
	}
	return nil
}

// sameValue compares an argument with what a header says of it, numbers by value.
func sameValue(arg gjson.Result, text string) bool {
	switch arg.Type {
	case gjson.String:
		return arg.Str == text
	case gjson.True, gjson.False:
		return arg.Raw == text
	case gjson.Number:
		a, ok := number(arg.Raw)
		b, also := number(text)
		return ok && also && a.Cmp(b) == 0
	}
	return false
}

const maxNumber = 64 // digits and signs, so that an exponent cannot make it huge

// number reads a JSON number exactly.
func number(s string) (*big.Rat, bool) {
	if len(s) > maxNumber || strings.Trim(s, "0123456789+-.eE") != "" {
		return nil, false
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 && len(s)-i > 4 {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

// cacheable says whether results of method say how they may be cached.
func cacheable(method string) bool {
	_, list := listOf(method)
	return list || method == "resources/read" || method == "server/discover"
}

// complete gives a result what every result has in the modern era. All that
// leaves here was judged for one caller, so no cache may give it to another.
func complete(result []byte, cached bool) []byte {
	empty := true
	var kind, ttl, scope gjson.Result
	parsed(result).ForEach(func(name, value gjson.Result) bool {
		empty = false
		switch name.Str {
		case "resultType":
			kind = value
		case "ttlMs":
			ttl = value
		case "cacheScope":
			scope = value
		}
		return true
	})
	var more []byte
	if !kind.Exists() {
		more = append(more, `,"resultType":"complete"`...)
	}
	if cached && (!kind.Exists() || kind.Str == "complete") {
		if !ttl.Exists() {
			more = append(more, `,"ttlMs":0`...)
		}
		if !scope.Exists() {
			more = append(more, `,"cacheScope":"private"`...)
		}
	}
	if cached && scope.Exists() && scope.Str != "private" {
		out := append(make([]byte, 0, len(result)+len(more)+8), result[:scope.Index]...)
		out = append(out, `"private"`...)
		result = append(out, result[scope.Index+len(scope.Raw):]...)
	}
	if len(more) == 0 {
		return result
	}
	if empty {
		more = more[1:]
	}
	end := len(result) - 1 // an object's closing brace
	out := append(make([]byte, 0, len(result)+len(more)), result[:end]...)
	return append(append(out, more...), '}')
}

// severities of log messages, the least severe first.
var severities = [...]string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}

// severity is how severe a level is, -1 if it is none.
func severity(level string) int {
	for i, s := range severities {
		if s == level {
			return i
		}
	}
	return -1
}

// wants says whether the client is to get a notification. A modern one gets log
// messages only if its request asked for them.
func (v *visit) wants(ev *firewall.Event) bool {
	switch ev.Name {
	case "notifications/tasks", "notifications/tasks/status": // of ids that mean nothing to clients; they may ask
		return false
	case "notifications/cancelled": // of requests that callgate does not pass on
		return false
	case "notifications/message":
		if v.level == "" {
			return !v.modern
		}
		return severity(parsed(ev.Body.JSON).Get("level").Str) >= severity(v.level)
	}
	return true
}
