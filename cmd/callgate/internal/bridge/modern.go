package bridge

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"callgate/mcp"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/tidwall/gjson"
)

// tools is what the bridge knows of the tools that a modern client may call:
// which of their arguments stand in headers, too.
type tools struct {
	mu     sync.Mutex
	byName map[string][]mcp.ParamHeader
	asked  bool // the bridge itself, for a tool that no list that came by had
}

const (
	maxTools = 10_000
	maxPages = 100 // of a list
)

// learn takes in what a list of tools says.
func (t *tools) learn(result gjson.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byName == nil || len(t.byName) > maxTools {
		t.byName = make(map[string][]mcp.ParamHeader)
	}
	result.Get("tools").ForEach(func(_, tool gjson.Result) bool {
		headers, err := mcp.ParamHeaders([]byte(tool.Get("inputSchema").Raw))
		if err != nil {
			headers = nil // such a tool is not offered; the gate says so to who calls it all the same
		}
		t.byName[tool.Get("name").String()] = headers
		return true
	})
}

// of is the headers that a tool asks for. ask says that it would be good to ask
// the gate first.
func (t *tools) of(name string) (headers []mcp.ParamHeader, ask bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	headers, known := t.byName[name]
	ask = !known && !t.asked
	t.asked = t.asked || ask
	return headers, ask
}

// header is what goes before a modern request: what it says itself, for those who
// route it without reading it. Where a value cannot stand in a header, the gate
// says what is wrong with it.
func (b *Bridge) header(ctx context.Context, m *message) http.Header {
	h := http.Header{"Accept": {"application/json, text/event-stream"}}
	set := func(name, value string) {
		if value, ok := mcpgo.EncodeHeaderValue(value); ok && value != "" {
			h.Set(name, value)
		}
	}
	set(mcpgo.HeaderProtocolVersion, m.version)
	set(mcpgo.HeaderMethod, m.method)
	switch m.method {
	case "prompts/get", "resources/read":
		set(mcpgo.HeaderName, m.subject)
	case "tools/call":
		set(mcpgo.HeaderName, m.subject)
		maps.Copy(h, b.mirrored(ctx, m))
	}
	return h
}

// mirrored is the headers that the tool of m asks for.
func (b *Bridge) mirrored(ctx context.Context, m *message) http.Header {
	headers, ask := b.tools.of(m.subject)
	if ask {
		b.list(ctx, m)
		headers, _ = b.tools.of(m.subject)
	}
	h := make(http.Header)
	for _, p := range headers {
		if value, ok := p.Value([]byte(m.args)); ok {
			h.Set(mcpgo.HeaderParamPrefix+p.Header, value)
		}
	}
	return h
}

// list asks for the tools, as the client of m. If that fails, the gate says what
// it misses in the call.
func (b *Bridge) list(ctx context.Context, m *message) {
	cursor := ""
	for range maxPages {
		id := numbered(b.asks.Add(1))
		doc := `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/list","params":{"_meta":` + m.meta + cursor + `}}`
		head := b.header(ctx, &message{method: "tools/list", version: m.version})
		answer, _, f := b.gate.ask(ctx, id, []byte(doc), head)
		if f != nil {
			return
		}
		b.tools.learn(answer.Get("result"))
		next := answer.Get("result.nextCursor")
		if !next.Exists() || next.Type == gjson.Null {
			return
		}
		cursor = `,"cursor":` + next.Raw
	}
}

// relearn asks for the tools once more where the gate finds other headers than
// it wants, and says whether they would be others now.
func (b *Bridge) relearn(r *request, sent http.Header) bool {
	if r.relearned || r.method != "tools/call" || !r.isModern() {
		return false
	}
	r.relearned = true
	b.list(r.ctx, &r.message)
	now := b.header(r.ctx, &r.message)
	return !maps.EqualFunc(now, sent, func(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") })
}

// subscribe carries a subscription, over as many requests as that takes: a client
// whose server is a process does not expect it to end.
func (b *Bridge) subscribe(r *request) *fault {
	wait := newBackoff()
	for {
		began := time.Now()
		f := b.persist(r)
		if f == nil || r.ctx.Err() != nil || !f.ended && !(r.granted && (f.again || f.code == codeBrokenOff)) {
			return f
		}
		r.missed = r.missed || !f.graceful
		wait.rest(r.ctx, time.Since(began), 0)
	}
}

// heard takes one message of a subscription. The client has asked once, so only
// the first acknowledgment is for it; what a later one tells is that changes may
// have gone by unheard.
func (b *Bridge) heard(r *request, doc []byte, m gjson.Result) {
	if m.Get("method").String() != acknowledged {
		b.write(doc)
		return
	}
	granted := m.Get("params.notifications")
	if !r.granted {
		r.granted = true
		b.write(doc)
		return
	}
	for _, what := range lists {
		if r.missed && granted.Get(what+"ListChanged").Bool() {
			b.write(changed(what, r.ids[0]))
		}
	}
	r.missed = false
}
