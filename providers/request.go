package providers

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

const (
	maxHint    = 256       // bytes of what a client calls its run or session
	maxResults = 256       // tool results that one call is linked to
	maxModel   = 256       // bytes of a model's name
	maxReplies = 1 << 10   // that one request is taken to ask for
	readAhead  = 512 << 10 // bytes that are made room for because a client says it will send them
)

// tokenOf is the access token of a request. Each SDK has its own header for it;
// two that differ could be read differently by someone behind.
func tokenOf(h http.Header) (string, error) {
	token := ""
	for _, list := range h["Sec-Websocket-Protocol"] { // browsers can send no other header
		for said := range strings.SplitSeq(list, ",") {
			if said, ok := strings.CutPrefix(strings.TrimSpace(said), tokenProtocol); ok && said != "" {
				if token != "" && token != said {
					return "", firewall.Refuse(firewall.Invalid, "the request carries two different access tokens: send one")
				}
				token = said
			}
		}
	}
	for _, name := range [...]string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key"} {
		for _, value := range h[name] {
			if name == "Authorization" {
				scheme, rest, _ := strings.Cut(value, " ")
				if !strings.EqualFold(scheme, "Bearer") {
					return "", firewall.Refuse(firewall.Unauthenticated, "send the access token as Authorization: Bearer")
				}
				value = rest
			}
			value = strings.TrimSpace(value)
			if token != "" && value != "" && value != token {
				return "", firewall.Refuse(firewall.Invalid, "the request carries two different access tokens: send one, as Authorization: Bearer")
			}
			if value != "" {
				token = value
			}
		}
	}
	return token, nil
}

// addressOf is the IP address that a request came from.
func addressOf(r *http.Request) string {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return host
}

// hintsOf is what a client says of itself in headers.
func hintsOf(h http.Header) firewall.Hints {
	hints := firewall.Hints{Run: hint(h.Get("Callgate-Run"))}
	if hints.Run == "" {
		hints.Run = trace(h.Get("Traceparent"))
	}
	hints.FromHeaders(h.Get)
	hints.Session = hints.Client
	return hints
}

// hint is said, if it is short and plain.
func hint(said string) string {
	if len(said) > maxHint {
		return ""
	}
	for i := range len(said) {
		if said[i] < ' ' || said[i] > '~' {
			return ""
		}
	}
	return strings.Clone(said)
}

// trace is the trace id of a W3C traceparent, "" if it is none.
func trace(parent string) string {
	parts := strings.Split(parent, "-")
	if len(parts) < 4 || len(parts[0]) != 2 || len(parts[1]) != 32 || strings.Trim(parts[1], "0123456789abcdef") != "" || strings.Trim(parts[1], "0") == "" {
		return ""
	}
	return parts[1]
}

// readBody reads the whole body of a request, of at most max bytes. It must be
// read to its end: only then is the client's hang-up seen.
func readBody(r *http.Request, max int) ([]byte, error) {
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, firewall.Refuse(firewall.Invalid, "the body is encoded: send it without Content-Encoding")
	}
	tooLarge := &firewall.Error{Code: firewall.Invalid, Reason: fmt.Sprintf("the body is larger than %d bytes", max), Err: errTooLarge}
	if r.ContentLength > int64(max) {
		return nil, tooLarge
	}
	body, err := readAll(r.Body, r.ContentLength, max)
	switch {
	case errors.Is(err, errTooLong):
		return nil, tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &firewall.Error{Code: firewall.Timeout, Reason: "the body did not arrive in time: send it faster", Err: errors.Join(errSlow, err)}
	case err != nil:
		return nil, &firewall.Error{Code: firewall.Canceled, Reason: "the body did not arrive whole", Err: err}
	}
	return body, nil
}

// readAll reads r to its end, of at most max bytes; length is how many it says to
// have, or -1. Bodies are not pooled: spans, findings and records alias them.
func readAll(r io.Reader, length int64, max int) ([]byte, error) {
	room := int64(4 << 10)
	if length >= 0 {
		room = length + 1 // so that the end is seen without growing
	}
	body := make([]byte, 0, min(room, readAhead))
	for {
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case len(body) > max:
			return nil, fmt.Errorf("%w: larger than %d bytes", errTooLong, max)
		case err == io.EOF:
			return body, nil
		case err != nil:
			return nil, err
		}
	}
}

// A request is what a door must know of the document that it was sent.
type request struct {
	model   string   // as the client says it
	modelAt int      // where its literal is
	most    int      // tokens that the reply may have; 0 if it is not said
	replies int      // that are asked for; 0 if it is not said
	tier    string   // that is asked for, where it may cost more
	streams bool     // the reply is to be streamed
	usage   bool     // it says whether a stream is to tell usage
	results []string // ids of the tool calls whose results came since the model spoke last
	hosted  []firewall.Hosted
	only    string // the one provider that it can go to, since something is there that it names
}

// readRequest reads doc, which has been parsed strictly.
func readRequest(doc []byte) (request, error) {
	r := request{modelAt: -1}
	c := cursor{doc: doc}
	if !c.enter('{') {
		return r, firewall.Refuse(firewall.Invalid, "the body must be a JSON object")
	}
	for c.more() {
		switch name := c.name(); name {
		case "model":
			if c.kind() != '"' {
				return r, firewall.Refuse(firewall.Invalid, "model must be a text")
			}
			r.modelAt = c.at
			r.model = c.str()
		case "max_tokens", "max_completion_tokens", "max_output_tokens":
			r.most = max(r.most, c.integer())
		case "stream":
			r.streams = c.kind() == 't'
			c.skip()
		case "stream_options":
			r.usage = true
			c.skip()
		case "n":
			r.replies = min(c.integer(), maxReplies)
		case "service_tier", "speed":
			if tier := tierOf(c.str()); tier == firewall.TierPriority || tier == firewall.TierFast {
				r.tier = tier
			}
		case "messages":
			r.turns(&c)
		case "input":
			r.items(&c)
		case "tools":
			r.tools(&c)
		case "mcp_servers":
			r.servers(&c)
		default:
			if known, err := r.googleMember(name, &c); known || err != nil {
				if err != nil {
					return r, err
				}
				continue
			}
			if strings.EqualFold(name, "model") { // some servers would take it for the model
				return r, firewall.Refuse(firewall.Invalid, "the body names its model twice: write model in lower case, once")
			}
			c.skip()
		}
	}
	switch {
	case len(r.hosted) > maxHosted:
		return r, firewall.Refuse(firewall.Invalid, "the body names more than %d tools that the provider would run", maxHosted)
	case r.modelAt < 0 || r.model == "":
		return r, firewall.Refuse(firewall.Invalid, "model is missing")
	case len(r.model) > maxModel || strings.ContainsFunc(r.model, func(c rune) bool { return c <= ' ' || c == 0x7f }):
		return r, firewall.Refuse(firewall.Invalid, "model must be a name of at most %d bytes without spaces", maxModel)
	}
	return r, nil
}

// turns reads the messages of chat completions and of Anthropic messages.
func (r *request) turns(c *cursor) {
	if !c.enter('[') {
		c.skip()
		return
	}
	for c.more() {
		if !c.enter('{') {
			c.skip()
			continue
		}
		var role, id string
		var content cursor
		for c.more() {
			switch c.name() {
			case "role":
				role = c.str()
			case "tool_call_id":
				id = c.str()
			case "content":
				if c.kind() == '[' {
					content = *c
				}
				c.skip()
			default:
				c.skip()
			}
		}
		switch role {
		case "assistant":
			r.results = r.results[:0]
		case "tool":
			r.result(id)
		case "user":
			if content.doc != nil {
				r.blocks(&content)
			}
		}
	}
}

// blocks reads the content of a user's turn, which is an array.
func (r *request) blocks(c *cursor) {
	for c.at++; c.more(); {
		if kind, _, id := block(c, "tool_use_id"); kind == "tool_result" {
			r.result(id)
		}
	}
}

// items reads the input of responses.
func (r *request) items(c *cursor) {
	if !c.enter('[') {
		c.skip()
		return
	}
	for c.more() {
		c.kind()
		from := c.at
		kind, role, id := block(c, "call_id")
		switch {
		case kind == "additional_tools", kind == "tool_search_output": // which bring tools in the middle
			tools := cursor{doc: []byte(gjson.GetBytes(c.doc[from:c.at], "tools").Raw)}
			r.tools(&tools)
		case strings.HasSuffix(kind, "_call_output"):
			r.result(id)
		case strings.HasSuffix(kind, "_call"), kind == "reasoning", role == "assistant":
			r.results = r.results[:0]
		}
	}
}

// block reads what the object that comes next is: its type, its role, and the
// member that is its id.
func block(c *cursor, id string) (kind, role, value string) {
	if !c.enter('{') {
		c.skip()
		return "", "", ""
	}
	for c.more() {
		switch c.name() {
		case "type":
			kind = c.str()
		case "role":
			role = c.str()
		case id:
			value = c.str()
		default:
			c.skip()
		}
	}
	return kind, role, value
}

func (r *request) result(id string) {
	if id != "" && len(r.results) < maxResults {
		r.results = append(r.results, id)
	}
}

// clip is a name from outside as it may stand in a reason.
func clip(name string) string {
	if len(name) > 100 {
		name = strings.ToValidUTF8(name[:100], "") + "…"
	}
	return name
}
