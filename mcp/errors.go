package mcp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"callgate/firewall"

	"github.com/go-json-experiment/json/jsontext"
	mcpgo "github.com/mark3labs/mcp-go/mcp"
)

// A fault is a refusal and its place on the wire: the status of HTTP, the code
// of JSON-RPC.
type fault struct {
	*firewall.Error
	status int
	code   int
	data   string // members of the error's data besides those of all, as JSON
	result bool   // said in the result of the tool, so that the model reads it
}

// bad is a request that is malformed or contradicts itself.
func bad(status, code int, format string, args ...any) *fault {
	return &fault{Error: firewall.Refuse(firewall.Invalid, format, args...), status: status, code: code}
}

func invalid(format string, args ...any) *fault {
	return bad(http.StatusOK, mcpgo.INVALID_PARAMS, format, args...)
}

func forbidden(reason string) *fault {
	return &fault{Error: firewall.Refuse(firewall.Denied, "%s", reason), status: http.StatusForbidden, code: http.StatusForbidden}
}

func tooLarge(limit int) *fault {
	return bad(http.StatusRequestEntityTooLarge, mcpgo.INVALID_REQUEST, "the body is larger than %d bytes", limit)
}

// mismatch is a header that says something else than the body.
func mismatch(header, reason string) *fault {
	return bad(http.StatusBadRequest, mcpgo.HEADER_MISMATCH, "header %s %s", header, reason)
}

func unsupported(version string) *fault {
	f := bad(http.StatusBadRequest, mcpgo.UNSUPPORTED_PROTOCOL_VERSION, "this protocol version is not supported: use one of %s", strings.Join(versions(), ", "))
	f.data = `"supported":` + quotedList(versions()) + `,"requested":` + quoted(clip(version))
	return f
}

func (v *visit) notAllowed() *fault {
	allow := "GET, POST, DELETE"
	if v.r.Method == http.MethodGet || v.r.Method == http.MethodDelete {
		allow = "POST" // from this client
	}
	v.w.Header().Set("Allow", allow)
	return bad(http.StatusMethodNotAllowed, mcpgo.INVALID_REQUEST, "this method of HTTP has no use here: use %s", allow)
}

// noMethod refuses what callgate does not carry. Modern clients are told by the
// status too, so that they do not take it for a lost session.
func (v *visit) noMethod(method string) *fault {
	f := &fault{Error: firewall.Refuse(firewall.NotFound, "method %q is not served here", clip(method)), status: http.StatusOK, code: mcpgo.METHOD_NOT_FOUND}
	if v.modern {
		f.status = http.StatusNotFound
	}
	return f
}

func (v *visit) noServer(ctx context.Context) *fault {
	f := &fault{Error: firewall.Refuse(firewall.NotFound, "there is no MCP server of this name"), status: http.StatusNotFound, code: mcpgo.INVALID_PARAMS}
	if names := v.usable(ctx); len(names) > 0 {
		f.Reason += ": you may use /mcp/" + strings.Join(names, ", /mcp/")
	}
	return f
}

func (v *visit) unauthenticated(err error) *fault {
	f := v.fault(err, "")
	v.w.Header().Set("WWW-Authenticate", v.cfg.Challenge(v.route, f.Error))
	return f
}

// fault gives an error of the gate its place on the wire.
func (v *visit) fault(err error, method string) *fault {
	var e *firewall.Error
	if !errors.As(err, &e) {
		e = &firewall.Error{Code: firewall.Internal, Reason: "callgate failed; the call's record has the cause", Err: err}
		if errors.Is(err, context.Canceled) {
			e.Code, e.Reason = firewall.Canceled, "the client closed the request"
		}
	}
	f := &fault{Error: e, status: http.StatusOK}
	switch e.Code {
	case firewall.Unauthenticated:
		f.status, f.code = http.StatusUnauthorized, http.StatusUnauthorized
		return f
	case firewall.Denied:
		f.code = http.StatusForbidden
	case firewall.Pending:
		f.code = http.StatusConflict
	case firewall.Exhausted:
		f.code = http.StatusTooManyRequests
	case firewall.Unavailable:
		f.code = http.StatusServiceUnavailable
	case firewall.Timeout:
		f.code = http.StatusGatewayTimeout
	case firewall.Invalid:
		f.code = mcpgo.INVALID_PARAMS
		return f
	case firewall.NotFound:
		f.code = mcpgo.INVALID_PARAMS
		if method == "resources/read" && !v.modern {
			f.code = mcpgo.RESOURCE_NOT_FOUND
		}
		return f
	default:
		f.code = mcpgo.INTERNAL_ERROR
		return f
	}
	f.result = method == "tools/call"
	return f
}

// onRecord puts a refusal that the door itself made on record. Arguments that no
// guard has read are not part of it.
func (v *visit) onRecord(ctx context.Context, call *firewall.Call, f *fault) *firewall.Error {
	call.ArgsAt = ""
	var e *firewall.Error
	if !errors.As(v.gate.Refuse(ctx, call, f.Error), &e) {
		return f.Error
	}
	return e
}

// refuse answers a request that is no call: it puts that on record and writes
// why. m is nil if it is not known.
func (v *visit) refuse(ctx context.Context, m *Message, f *fault) {
	call := v.blank(firewall.Session, "")
	if m == nil {
		m = new(Message)
	}
	call.Method = clip(m.Method)
	if m.Method == "" && m.ID == nil {
		call.Method = v.r.Method
	}
	f.Error = v.onRecord(ctx, call, f)
	v.deny(m, f, &reply{w: v.w, json: true})
}

// deny writes a refusal. An error here is a client that has gone.
func (v *visit) deny(m *Message, f *fault, out *reply) {
	v.about(f.Call)
	out.nameless = v.speaksOf(mcpgo.ProtocolVersion20251125)
	if f.status == http.StatusUnauthorized && v.w.Header().Get("WWW-Authenticate") == "" {
		v.w.Header().Set("WWW-Authenticate", v.cfg.Challenge(v.route, f.Error))
	}
	if f.result {
		_ = out.succeeded(m.ID, v.told(f))
		return
	}
	if v.modern && f.code == mcpgo.INVALID_PARAMS && f.status == http.StatusOK {
		f.status = http.StatusBadRequest
	}
	doc := append([]byte(`{"code":`), strconv.Itoa(f.code)...)
	doc = append(doc, `,"message":`...)
	doc = append(doc, quoted(f.Reason)...)
	doc = append(doc, `,"data":{"call":`...)
	doc = append(doc, quoted(f.Call)...)
	if f.Rule != "" {
		doc = append(append(doc, `,"rule":`...), quoted(f.Rule)...)
	}
	if f.Approval != "" {
		doc = append(append(doc, `,"approval":`...), quoted(f.Approval)...)
	}
	if f.data != "" {
		doc = append(append(doc, ','), f.data...)
	}
	_ = out.failed(m.ID, f.status, append(doc, `}}`...))
}

// told is a refusal as the result of a tool, so that the model can read why and
// do otherwise.
func (v *visit) told(f *fault) []byte {
	doc := append([]byte(`{"content":[{"type":"text","text":`), quoted(f.Reason)...)
	doc = append(doc, `}],"isError":true,"_meta":{"callgate/call":`...)
	doc = append(doc, quoted(f.Call)...)
	if f.Rule != "" {
		doc = append(append(doc, `,"callgate/rule":`...), quoted(f.Rule)...)
	}
	if f.Approval != "" {
		doc = append(append(doc, `,"callgate/approval":`...), quoted(f.Approval)...)
	}
	doc = append(append(doc, `,"callgate/code":`...), quoted(f.Error.Code.String())...)
	doc = append(doc, '}')
	if v.modern {
		doc = append(doc, `,"resultType":"complete"`...)
	}
	return append(doc, '}')
}

// speaksOf says whether the client speaks a version or a later one, by its session or
// by what its header says. The schema of 2025-11-25 is the first in which an error
// may be without an id, and in none is there one that is null, which JSON-RPC itself
// wants where a request could not be read.
func (v *visit) speaksOf(version string) bool {
	said := v.version
	if said == "" {
		said = v.r.Header.Get(mcpgo.HeaderProtocolVersion)
	}
	return said >= version && (isModern(said) || speaks(said))
}

// statusOf is the HTTP status of a server's own error.
func (v *visit) statusOf(rpcError []byte) int {
	if !v.modern {
		return http.StatusOK
	}
	switch parsed(rpcError).Get("code").Int() {
	case mcpgo.METHOD_NOT_FOUND:
		return http.StatusNotFound
	case mcpgo.MISSING_REQUIRED_CLIENT_CAPABILITY:
		return http.StatusBadRequest
	}
	return http.StatusOK
}

// versions are those that clients may speak, the newest first.
func versions() []string {
	return []string{modernVersion, mcpgo.ProtocolVersion20251125, mcpgo.ProtocolVersion20250618, mcpgo.ProtocolVersion20250326, mcpgo.ProtocolVersion20241105}
}

// speaks says whether version is one of a client with a session.
func speaks(version string) bool { return slices.Contains(versions()[1:], version) }

const maxShown = 128 // bytes of a client's word in a record or a reason

// clip cuts a client's word where it is too long to be shown.
func clip(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(s[:maxShown], ""), len(s))
}

// quoted is s as JSON.
func quoted(s string) string {
	b, _ := jsontext.AppendQuote(nil, s) // invalid UTF-8 becomes U+FFFD
	return string(b)
}

func quotedList(list []string) string {
	b := []byte{'['}
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b, _ = jsontext.AppendQuote(b, s)
	}
	return string(append(b, ']'))
}
