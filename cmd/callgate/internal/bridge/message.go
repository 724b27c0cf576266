package bridge

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

const (
	metaVersion      = "io.modelcontextprotocol/protocolVersion"
	metaSubscription = "io.modelcontextprotocol/subscriptionId"

	initialize   = "initialize"
	initialized  = "notifications/initialized"
	cancelled    = "notifications/cancelled"
	listen       = "subscriptions/listen"
	acknowledged = "notifications/subscriptions/acknowledged"
)

// A message is what the bridge knows of a line: no more than it takes to send it
// on. The gate decides on the line itself, which it reads strictly.
type message struct {
	raw     []byte
	ids     []string // of the requests in it as they are written: one, or those of a batch
	method  string   // "" for a response, and for a batch
	version string   // that a modern request says it speaks; "" for none
	subject string   // params.name, or params.uri
	args    string   // params.arguments, as JSON
	meta    string   // params._meta, as JSON
	about   string   // key of params.requestId
}

// peek looks at a line. ok is false if it is not JSON, or no message.
func peek(line []byte) (m message, ok bool) {
	if !gjson.ValidBytes(line) {
		return m, false
	}
	m.raw = line
	doc := gjson.ParseBytes(line)
	if doc.IsArray() {
		doc.ForEach(func(_, part gjson.Result) bool {
			if id := part.Get("id"); id.Exists() && part.Get("method").Exists() {
				m.ids = append(m.ids, id.Raw)
			}
			return true
		})
		return m, true
	}
	if !doc.IsObject() {
		return m, false
	}
	id := doc.Get("id")
	if m.method = doc.Get("method").String(); m.method == "" {
		return m, true
	}
	if id.Exists() {
		m.ids = []string{id.Raw}
	}
	doc.Get("params").ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "name", "uri":
			m.subject = value.String()
		case "arguments":
			m.args = value.Raw
		case "requestId":
			m.about = key(value)
		case "_meta":
			m.meta = value.Raw
			value.ForEach(func(name, value gjson.Result) bool {
				if name.Str == metaVersion {
					m.version = value.String()
				}
				return true
			})
		}
		return true
	})
	return m, true
}

func (m *message) isRequest() bool { return len(m.ids) > 0 }

// isModern says whether m is of a client without a handshake.
func (m *message) isModern() bool { return m.version != "" }

// key tells ids apart: 1 and "1" are two.
func key(id gjson.Result) string {
	if id.Type == gjson.String {
		return strconv.Quote(id.Str)
	}
	return id.Raw
}

// keyOf is the key of an id as it is written.
func keyOf(id string) string { return key(gjson.Parse(id)) }

// Codes of the errors that the bridge itself answers with, besides those of
// JSON-RPC. They say what the status of HTTP would.
const (
	codeParse       = -32700
	codeInvalid     = -32600
	codeUnknown     = 401
	codeBusy        = 429
	codeBrokenOff   = 502 // the call may have been carried out
	codeUnavailable = 503 // it has not been

	codeHeaderMismatch = -32020
)

// failed is the response to request id, "" for none, that says why there is no result.
func failed(id string, code int, reason string) []byte {
	text, _ := json.Marshal(reason) // a string
	return failedAs(id, `{"code":`+strconv.Itoa(code)+`,"message":`+string(text)+`}`)
}

// failedAs is the response to request id with an error that is written already.
func failedAs(id, rpcError string) []byte {
	if id != "" {
		id = `,"id":` + id
	}
	return []byte(`{"jsonrpc":"2.0"` + id + `,"error":` + rpcError + `}`)
}

// changed is the notification that a list may be another now, in a subscription
// if it has one.
func changed(what, subscription string) []byte {
	doc := `{"jsonrpc":"2.0","method":"notifications/` + what + `/list_changed"`
	if subscription != "" {
		doc += `,"params":{"_meta":{"` + metaSubscription + `":` + subscription + `}}`
	}
	return []byte(doc + "}")
}

// lists are what servers have lists of, as capabilities name them.
var lists = [...]string{"tools", "prompts", "resources"}

// clip cuts a text of the gate's, or of what stands before it, for a reason.
func clip(s string) string {
	const most = 400
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
