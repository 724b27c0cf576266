package mcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"callgate/firewall"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"
)

// A Message is one JSON-RPC message as it came. Its parts alias Raw, which is
// never changed in place.
type Message struct {
	Raw    []byte
	ID     json.RawMessage // nil for a notification
	Method string          // "" for a response
	Params json.RawMessage // an object; nil for none
	Result json.RawMessage // of a response that succeeded: an object
	Error  json.RawMessage // of a response that failed: {code, message, data}

	spans []firewall.Span // the strings in Raw
	at    int             // where in Raw its one part stands
	reply *answering      // to a request by a server
}

// Body is what the message says, Params, Result or Error, as a document of its
// own. It was parsed together with the message and is not parsed again.
func (m *Message) Body() firewall.Body {
	part := m.part()
	end := m.at + len(part)
	first, last := 0, len(m.spans) // of those in the part: they are in order
	for first < last && m.spans[first].At < m.at {
		first++
	}
	for last > first && m.spans[last-1].End > end {
		last--
	}
	b := firewall.Body{JSON: part}
	if first < last {
		b.Spans = slices.Clone(m.spans[first:last])
	}
	for i := range b.Spans {
		b.Spans[i].At -= m.at
		b.Spans[i].End -= m.at
	}
	return b
}

func (m *Message) part() json.RawMessage {
	switch {
	case m.Result != nil:
		return m.Result
	case m.Error != nil:
		return m.Error
	}
	return m.Params
}

// IsRequest says whether m asks for a response.
func (m *Message) IsRequest() bool { return m.Method != "" && m.ID != nil }

// IsResponse says whether m answers a request.
func (m *Message) IsResponse() bool { return m.Method == "" }

const maxID = 1024 // bytes of an id, as it is written

// parseMessage reads one JSON-RPC message, once and strictly: no name twice, no
// member that JSON-RPC does not have, no batch, and no name that a careless
// reader could take for another one that decides. An id is a string or an
// integer; an error that answers what could not be read may have the id null, or
// none, which is nil here. The errors never quote the message.
func parseMessage(raw []byte, lim firewall.Limits) (Message, error) {
	body, err := firewall.ParseBody(raw, lim)
	if err != nil {
		return Message{}, err
	}
	m := Message{Raw: raw, spans: body.Spans}
	doc := parsed(raw)
	if !doc.IsObject() {
		return Message{}, errors.New("not a JSON-RPC object")
	}
	version, nullID := false, false
	doc.ForEach(func(name, value gjson.Result) bool {
		part := json.RawMessage(raw[value.Index : value.Index+len(value.Raw)])
		switch name.Str {
		case "jsonrpc":
			version = value.Type == gjson.String && value.Str == "2.0"
		case "id":
			if nullID = value.Type == gjson.Null; nullID {
				break
			}
			if m.ID = part; !validID(value) {
				err = errors.New("id must be a string or an integer")
			}
		case "method":
			if m.Method = value.Str; value.Type != gjson.String || m.Method == "" {
				err = errors.New("method must be a string")
			}
		case "params":
			m.Params, m.at = part, value.Index
			err = checkParams(value)
		case "result":
			if m.Result, m.at = part, value.Index; !value.IsObject() {
				err = errors.New("result must be an object")
			}
		case "error":
			if m.Error, m.at = part, value.Index; !value.IsObject() {
				err = errors.New("error must be an object")
			}
		default:
			err = errors.New("a member that JSON-RPC does not have")
		}
		return err == nil
	})
	switch {
	case err != nil:
	case !version:
		err = errors.New(`jsonrpc must be "2.0"`)
	case m.Method != "" && (m.Result != nil || m.Error != nil):
		err = errors.New("both a request and a response")
	case m.Method != "" && nullID:
		err = errors.New("id must be a string or an integer")
	case m.Method != "":
		return m, nil
	case m.Params != nil || (m.Result == nil) == (m.Error == nil):
		err = errors.New("neither a request nor a response")
	case m.ID == nil && m.Result != nil:
		err = errors.New("a response without an id")
	}
	return m, err
}

// parsed gives access to a document that is known to be valid JSON, in place.
func parsed(doc []byte) gjson.Result {
	return gjson.Parse(unsafe.String(unsafe.SliceData(doc), len(doc)))
}

func validID(id gjson.Result) bool {
	if len(id.Raw) > maxID {
		return false
	}
	return id.Type == gjson.String || id.Type == gjson.Number && !strings.ContainsAny(id.Raw, ".eE")
}

// checkParams refuses parameters in which a reader that ignores case would find
// another name, other arguments or other metadata than this one.
func checkParams(params gjson.Result) error {
	if !params.IsObject() {
		return errors.New("params must be an object")
	}
	var err error
	params.ForEach(func(name, value gjson.Result) bool {
		if err = exactly(name.Str, "name", "arguments", "uri", "ref", "_meta"); err != nil {
			return false
		}
		switch name.Str {
		case "ref":
			err = checkNames(value, "type", "name", "uri")
		case "_meta":
			err = checkMeta(value)
		}
		return err == nil
	})
	return err
}

func checkMeta(meta gjson.Result) error {
	if !meta.IsObject() {
		return errors.New("_meta must be an object")
	}
	return checkNames(meta, "progressToken", metaVersion, metaClient, metaCapabilities, metaLogLevel)
}

// checkNames refuses an object that has one of wanted in another case.
func checkNames(object gjson.Result, wanted ...string) error {
	var err error
	object.ForEach(func(name, _ gjson.Result) bool {
		err = exactly(name.Str, wanted...)
		return err == nil
	})
	return err
}

// exactly refuses name if it is one of wanted but for its case.
func exactly(name string, wanted ...string) error {
	for _, w := range wanted {
		if name != w && strings.EqualFold(name, w) {
			return fmt.Errorf("a name that differs from %q only by case", w)
		}
	}
	return nil
}

// request writes a JSON-RPC request, or a notification if id is 0, into memory of
// its own with room for one more byte.
func request(id uint64, method string, params []byte) []byte {
	b := make([]byte, 0, len(params)+len(method)+72)
	b = append(b, `{"jsonrpc":"2.0",`...)
	if id != 0 {
		b = append(b, `"id":`...)
		b = strconv.AppendUint(b, id, 10)
		b = append(b, ',')
	}
	b = append(b, `"method":`...)
	b, _ = jsontext.AppendQuote(b, method) // parsed: valid UTF-8
	if params != nil {
		b = append(b, `,"params":`...)
		b = append(b, params...)
	}
	return append(b, '}')
}

// Answer sends the response to a request by a server: doc is its result or, if
// failed, its error. Only the first answer counts.
func (m *Message) Answer(doc []byte, failed bool) {
	if m.reply == nil || m.reply.done {
		return
	}
	m.reply.done = true
	part := `,"result":`
	if failed {
		part = `,"error":`
	}
	b := make([]byte, 0, len(m.ID)+len(doc)+48)
	b = append(append(append(b, `{"jsonrpc":"2.0","id":`...), m.ID...), part...)
	m.reply.say(append(append(b, doc...), '}'))
}

// answering is the way back for the response to a request by a server. All copies
// of the request have the same.
type answering struct {
	say  func([]byte)
	done bool
}

// refuse answers a request by a server that nobody answers.
func (m *Message) refuse() {
	m.Answer([]byte(`{"code":-32601,"message":"the client does not take this request"}`), true)
}

// answer is what callgate itself says to a request by a server that is for no
// client: it is alive, and does nothing else.
func answer(m *Message) []byte {
	var doc []byte
	own := *m
	own.reply = &answering{say: func(b []byte) { doc = b }}
	if m.Method == "ping" {
		own.Answer([]byte(`{}`), false)
	}
	own.refuse()
	return doc
}

// ours reads an id that callgate gave, as it is written; 0 if it is none.
func ours(id string) uint64 {
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
