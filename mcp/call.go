package mcp

import (
	"context"
	"encoding/json"
	"net"
	"strings"

	"callgate/firewall"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// call makes m a call and finds the way to where it is carried out. Where it
// refuses, the call is what is known of m, for the record.
func (v *visit) call(ctx context.Context, m *Message) (*firewall.Call, firewall.Upstream, *fault) {
	call := v.blank(firewall.Session, m.Method)
	call.Body = m.Body()
	switch m.Method {
	case "tools/call":
		call.Kind, call.ArgsAt = firewall.Tool, "arguments"
		return v.act(ctx, m, call, "name")
	case "prompts/get":
		call.Kind, call.ArgsAt = firewall.Prompt, "arguments"
		return v.act(ctx, m, call, "name")
	case "resources/read":
		call.Kind = firewall.Resource
		return v.act(ctx, m, call, "uri")
	case "resources/subscribe":
		if !v.modern {
			call.Kind = firewall.Resource
			return v.subscription(ctx, m, call, v.sessions.pending(v.session))
		}
	case "resources/unsubscribe":
		if !v.modern {
			return call, local(v.unsubscribe), nil
		}
	case "completion/complete": // tells of what it completes for, and no more than that may be seen
		switch parsed(m.Params).Get("ref.type").String() {
		case "ref/prompt":
			call.Kind = firewall.Prompt
			return v.act(ctx, m, call, "ref.name")
		case "ref/resource":
			call.Kind = firewall.Resource
			return v.act(ctx, m, call, "ref.uri")
		}
		return call, nil, invalid("params.ref must be a ref/prompt or a ref/resource")
	}
	if which, ok := listOf(m.Method); ok {
		call.Kind = firewall.List
		return call, local(func(ctx context.Context, call *firewall.Call) ([]byte, error) { return v.list(ctx, call, which) }), nil
	}
	switch {
	case isTask(m.Method) && (v.modern || m.Method != "tasks/update") && !(v.modern && m.Method == "tasks/result"):
		return v.task(ctx, m, call)
	case m.Method == "tasks/list" && !v.modern:
		call.Kind = firewall.List
		return call, local(v.listTasks), nil
	case m.Method == "server/discover" && v.modern:
		return call, local(v.discover), nil
	case v.modern:
	case m.Method == "initialize":
		return call, local(v.initialize), nil
	case m.Method == "ping":
		return call, local(func(context.Context, *firewall.Call) ([]byte, error) { return []byte(`{}`), nil }), nil
	case m.Method == "logging/setLevel":
		return call, local(v.setLevel), nil
	}
	call.Method = clip(m.Method)
	return call, nil, v.noMethod(m.Method)
}

// blank is a call of the visitor to the gate itself.
func (v *visit) blank(kind firewall.Kind, method string) *firewall.Call {
	call := &firewall.Call{Kind: kind, Target: clip(v.name), Method: method, Route: v.route, Token: v.token, Caller: v.caller}
	if v.session != nil {
		call.Hints.Session = v.session.id
	}
	call.Hints.Run = v.run()
	call.From, _, _ = net.SplitHostPort(v.r.RemoteAddr)
	return call
}

// act completes a call that acts on a thing of a server, which m names at a path
// of its params.
func (v *visit) act(ctx context.Context, m *Message, call *firewall.Call, at string) (*firewall.Call, firewall.Upstream, *fault) {
	said := parsed(m.Params).Get(at)
	if said.Type != gjson.String || !usable(said.Str) {
		return call, nil, invalid("params.%s must be a text of 1 to %d bytes", at, maxName)
	}
	if args := parsed(m.Params).Get("arguments"); args.Exists() && !args.IsObject() {
		return call, nil, invalid("params.arguments must be an object")
	}
	call.Resource = said.Str
	v.hint(m, call)
	server, name := v.only, said.Str
	if server == nil {
		var err error
		if call.Kind == firewall.Resource {
			server, err = v.byURI(ctx, name)
		} else {
			server, name, err = v.byName(ctx, call.Kind, name)
		}
		if err != nil {
			return call, nil, v.fault(err, m.Method)
		}
		call.Target = server.Name()
	}
	if name != said.Str {
		call.Hints.Name, call.Resource = said.Str, name
		rename(&call.Body, said.Index, name)
	}
	call.ResultAt = resultsAt[call.Kind]
	call.Brings = server.brings(call)
	p := &passage{visit: v, to: server, client: v.client(server), at: at, said: call.Args()}
	if f := p.find(ctx, call); f != nil {
		return call, nil, f
	}
	server.label(call, p.def)
	if call.Kind == firewall.Tool {
		if f := p.mark(call); f != nil {
			return call, nil, f
		}
	}
	if v.modern {
		if f := p.resume(call); f != nil {
			return call, nil, f
		}
	}
	if call.Kind == firewall.Tool {
		if f := p.look(call); f != nil {
			return call, nil, f
		}
	}
	return call, p, nil
}

// resultsAt is where the documents of a result are.
var resultsAt = map[firewall.Kind][]string{
	firewall.Tool:     {"structuredContent", "content.#.text", "content.#.data", "content.#.resource.text", "content.#.resource.blob"},
	firewall.Resource: {"contents.#.text", "contents.#.blob"},
	firewall.Prompt:   {"messages.#.content.text", "messages.#.content.data", "messages.#.content.resource.text", "messages.#.content.resource.blob"},
}

// rename puts name in the place of the string that begins at a place of body.
func rename(body *firewall.Body, at int, name string) {
	body.Rewrite(func(_ int, s firewall.Span) (string, bool) { return name, s.At == at })
}

// look reads the definition of the tool that is to be called: what it says of its
// impact and its arguments, and which of these are to be in headers too.
func (p *passage) look(call *firewall.Call) *fault {
	var f *fault
	if p.modern {
		if p.header, f = p.paramHeaders(); f != nil {
			return f
		}
	}
	if p.def == nil { // then its impact is unknown, which is the careful assumption
		return nil
	}
	call.Impact, call.Tool = p.def.Impact, p.def.Raw
	if p.modern {
		if f := checkParamHeaders(p.def.Headers, p.said, p.header); f != nil {
			return f
		}
	}
	return p.takes(call, p.def)
}

const maxHint = 256 // bytes

// hint takes what the client says of the call's place in its own work.
func (v *visit) hint(m *Message, call *firewall.Call) {
	meta := parsed(m.Params).Get("_meta")
	if !meta.Exists() {
		return
	}
	meta.ForEach(func(name, value gjson.Result) bool {
		call.Hints.FromMeta(name.Str, value)
		if value.Type != gjson.String || len(value.Str) > maxHint {
			return true
		}
		if name.Str == "traceparent" && call.Hints.Run == "" {
			call.Hints.Run = trace(value.Str)
		}
		return true
	})
}

// run is the client's own name for its run.
func (v *visit) run() string {
	if run := v.r.Header.Get("Callgate-Run"); run != "" && len(run) <= maxHint && usable(run) {
		return run
	}
	return trace(v.r.Header.Get("Traceparent"))
}

// trace is the trace id of a W3C traceparent, "" if it is none.
func trace(parent string) string {
	parts := strings.Split(parent, "-")
	if len(parts) < 4 || len(parts[0]) != 2 || len(parts[1]) != 32 || strings.Trim(parts[1], "0123456789abcdef") != "" || strings.Trim(parts[1], "0") == "" {
		return ""
	}
	return parts[1]
}

// What a response says, in [firewall.Event.Mark].
const (
	markResult = iota + 1
	markError
)

// A passage takes calls through to a server.
type passage struct {
	*visit
	to     *Server
	client *Client
	at     string            // path of the name in params
	said   []byte            // the arguments as they came
	header map[string]string // Mcp-Param headers that the client sent
	parked *exchange         // that the request goes on with
	shape  *shape            // of the tool; nil where it is not known
	def    *Definition       // of the tool; nil where it is not known
	barred bool              // it leads nowhere; see find

	theirs, ours string // ids of the task that is asked for; "" where it is none
	of           *begun // that task; nil if it is forgotten
}

// Forward implements [firewall.Upstream].
func (p *passage) Forward(ctx context.Context, call *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		if p.barred {
			yield(firewall.Event{}, errBarred())
			return
		}
		if parsed(call.Body.JSON).Get(p.at).Str != call.Resource {
			yield(firewall.Event{}, firewall.Refuse(firewall.Denied, "a guard masked the name of what is called, so that it is not what was decided on"))
			return
		}
		if err := p.vouch(ctx, call); err != nil {
			yield(firewall.Event{}, err)
			return
		}
		p.out.prime(call.ID)
		var used ledge
		defer used.tell(call)
		req := Request{Method: call.Method, Params: json.RawMessage(call.Body.JSON), Modern: p.modern, Header: p.header, lent: used.note}
		if err := p.withLevel(ctx, &req); err != nil {
			yield(firewall.Event{}, err)
			return
		}
		for m, err := range p.carried(ctx, call, req) {
			if err == nil && m.Result != nil && call.Kind == firewall.Tool {
				err = p.begun(call, &m)
			}
			if err == nil {
				m, err = p.pages(ctx, call, m)
			}
			if err == nil {
				err = p.translate(ctx, call, &m)
			}
			if err == nil {
				err = p.gives(&m)
			}
			used.tell(call)
			if err != nil {
				yield(firewall.Event{}, err)
				return
			}
			if !yield(event(&m), nil) {
				return
			}
		}
	}
}

// event is a message from a server as the gate sees it.
func event(m *Message) firewall.Event {
	ev := firewall.Event{Name: m.Method, Body: m.Body()}
	if m.IsResponse() {
		ev.Last, ev.Mark = true, markResult
		if m.Error != nil {
			ev.Mark = markError
		}
	}
	return ev
}

// withLevel tells a modern server with each request what a legacy client told
// its session once.
func (p *passage) withLevel(ctx context.Context, req *Request) error {
	if p.modern || p.level == "" {
		return nil
	}
	info, err := p.to.InfoFor(ctx, p.client)
	if err != nil || !info.Modern {
		return err
	}
	params, err := sjson.SetBytes(req.Params, `_meta.`+gjson.Escape(metaLogLevel), p.level)
	if err != nil {
		return err
	}
	req.Params = params
	return nil
}

// translate makes a response one of the client's era where the eras differ, and
// refuses one that the client could not understand.
func (p *passage) translate(ctx context.Context, call *firewall.Call, m *Message) error {
	if m.Error == nil {
		if kind := parsed(m.Result).Get("resultType"); !p.modern && kind.Exists() && kind.Str != "complete" {
			return p.to.unavailable("answered in a way that this client cannot read: a client of "+modernVersion+" is needed", nil)
		}
		return nil
	}
	code := parsed(m.Error).Get("code")
	switch code.Int() {
	case mcpgo.UNSUPPORTED_PROTOCOL_VERSION, mcpgo.HEADER_MISMATCH: // between the server and callgate
		return p.to.unavailable("does not understand callgate any more: try again", nil)
	case mcpgo.INVALID_PARAMS:
		if info, err := p.to.InfoFor(ctx, p.client); err != nil || p.modern || !info.Modern {
			return err
		}
	case mcpgo.RESOURCE_NOT_FOUND:
		if !p.modern {
			return nil
		}
	default:
		return nil
	}
	if call.Method != "resources/read" || len(code.Raw) != len("-32602") {
		return nil
	}
	other := "-32602"
	if !p.modern {
		other = "-32002"
	}
	doc := append([]byte(nil), m.Error...) // of the same length, so that its strings stay where they are
	copy(doc[code.Index:], other)
	m.Error = doc
	return nil
}

// Read implements [firewall.Upstream].
func (p *passage) Read(ev *firewall.Event) {
	switch ev.Mark {
	case markResult:
		if parsed(ev.Body.JSON).Get("isError").Type == gjson.True {
			ev.Fault = "isError"
		}
	case markError:
		ev.Fault = "rpc " + clip(parsed(ev.Body.JSON).Get("code").Raw)
	}
}

// local answers from what callgate knows.
type local func(ctx context.Context, call *firewall.Call) ([]byte, error)

// Read implements [firewall.Upstream]: there is nothing to note.
func (local) Read(*firewall.Event) {}

// localLimits hold for answers of callgate's own, whose parts were within the
// limits of servers.
var localLimits = firewall.Limits{Bytes: 64 << 20, Depth: 1 << 10}

// Forward implements [firewall.Upstream].
func (l local) Forward(ctx context.Context, call *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		doc, err := l(ctx, call)
		if err != nil {
			yield(firewall.Event{}, err)
			return
		}
		body, err := firewall.ParseBody(doc, localLimits) // so that guards read it, as any reply
		yield(firewall.Event{Body: body, Last: true, Mark: markResult}, err)
	}
}
