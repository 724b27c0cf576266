package mcp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
	"callgate/mcp"

	"github.com/tidwall/gjson"
)

// rules is a policy that denies the objects it has, and those below a prefix
// that ends in *. All else is allowed.
type rules []string

func (r rules) denies(object string) bool {
	for _, no := range r {
		if prefix, ok := strings.CutSuffix(no, "*"); object == no || ok && strings.HasPrefix(object, prefix) {
			return true
		}
	}
	return false
}

func (r rules) Decide(call *firewall.Call) firewall.Decision {
	if object := call.Object(); r.denies(object) {
		return firewall.Decision{Rule: "NO", Reason: "no rule allows " + call.Caller.Agent() + " to use " + object, Policy: "p1"}
	}
	return firewall.Decision{Effect: firewall.Allow, Rule: "YES", Policy: "p1"}
}

func (rules) Member(_, _, _ string) bool { return false }

func (rules) Names(*identity.Principal, string, string) bool { return false }

func (r rules) May(_ *identity.Principal, object, _ string) firewall.Answer {
	if r.denies(object) {
		return firewall.No
	}
	return firewall.Yes
}

// house is a door with a gate behind it and servers behind that, all real.
type house struct {
	url  string
	log  *ledger
	door *mcp.Handler
	gate *firewall.Gate

	revoked atomic.Bool // no token is valid any more
}

// ledger is a log that can be waited for.
type ledger struct {
	audit.Memory
	grown chan struct{} // holds a token when there is more
	count atomic.Int64
}

func (l *ledger) Append(r *audit.Record) audit.Ticket {
	ticket := l.Memory.Append(r)
	l.count.Add(1)
	select {
	case l.grown <- struct{}{}:
	default:
	}
	return ticket
}

// await returns when there is a record of an outcome, such as closed:ok.
func (l *ledger) await(t testing.TB, outcome string) {
	t.Helper()
	l.awaitMore(t, outcome, 0)
}

// awaitMore returns when there are more than n records of an outcome.
func (l *ledger) awaitMore(t testing.TB, outcome string, n int) {
	t.Helper()
	late := time.After(10 * time.Second)
	for strings.Count(types(l.Records()), outcome) <= n {
		select {
		case <-l.grown:
		case <-late:
			t.Fatalf("no %s in %s", outcome, types(l.Records()))
		}
	}
}

// awaitCall returns when the call is over.
func (l *ledger) awaitCall(t testing.TB, call string) {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		for _, r := range l.Records() {
			if r.Call == call && r.Type == audit.Closed {
				return
			}
		}
		select {
		case <-l.grown:
		case <-late:
			t.Fatalf("call %s is not over", call)
		}
	}
}

// open puts servers behind a door for the agents bot and other.
func open(t testing.TB, policy firewall.Policy, servers map[string]*mcp.Server, guards ...firewall.Guard) *house {
	t.Helper()
	h := build(policy, guards...)
	h.door.SetServers(servers)
	web := httptest.NewServer(h.door)
	t.Cleanup(web.Close)
	h.url = web.URL
	return h
}

// build makes a house that is not on a network and has no servers.
func build(policy firewall.Policy, guards ...firewall.Guard) *house {
	h := &house{log: &ledger{grown: make(chan struct{}, 1)}}
	logger := slog.New(slog.DiscardHandler)
	h.gate = firewall.New(firewall.Config{
		Stops: new(identity.Revocations),
		Verify: func(_ context.Context, token, _ string) (identity.Principal, error) {
			name, ok := strings.CutSuffix(token, "-token")
			if !ok || h.revoked.Load() {
				return identity.Principal{}, errors.New("the token is not valid here")
			}
			return identity.Principal{Tenant: "default", Subject: "agent:" + name, TokenID: "jti"}, nil
		},
		Log: h.log, Runs: firewall.NewRuns(0, new(firewall.Memory), time.Now), Budgets: firewall.NewBudgets(time.Now), Approvals: firewall.NewApprovals(new(firewall.Memory), 0, time.Now), Now: time.Now, Logger: logger,
	}, &firewall.Law{Policy: policy, Guards: guards})
	h.door = mcp.New(mcp.Config{
		PublicURL: "https://gate.example:8443",
		Challenge: func(route string, _ error) string { return `Bearer resource_metadata="` + route + `"` },
		Limits:    firewall.Limits{Bytes: 1 << 20},
		Wait:      time.Second, // for servers that never answer
		Sessions:  100,
		Version:   "1.2.3", Logger: logger,
	}, h.gate)
	return h
}

// behind is a server reached at url.
func behind(t testing.TB, name, url string) *mcp.Server {
	return started(t, mcp.ServerConfig{Name: name, URL: url, Timeout: 20 * time.Second})
}

func started(t testing.TB, cfg mcp.ServerConfig) *mcp.Server {
	cfg.Logger = slog.New(slog.DiscardHandler)
	s := mcp.NewServer(cfg)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Close(ctx)
	})
	return s
}

// answer is what came back for one HTTP request.
type answer struct {
	status int
	header http.Header
	body   string
}

// messages is the JSON-RPC messages of the answer, of a stream or not.
func (a *answer) messages() []string {
	if a.header.Get("Content-Type") != "text/event-stream" {
		return []string{a.body}
	}
	var all []string
	for event := range strings.SplitSeq(strings.TrimSuffix(a.body, "\n\n"), "\n\n") {
		var data []string
		for line := range strings.SplitSeq(event, "\n") {
			if d, ok := strings.CutPrefix(line, "data: "); ok {
				data = append(data, d)
			}
		}
		if doc := strings.Join(data, "\n"); doc != "" { // the first event may only have an id
			all = append(all, doc)
		}
	}
	return all
}

// last is the value at a path of the last message.
func (a *answer) last(path string) gjson.Result {
	m := a.messages()
	return gjson.Get(m[len(m)-1], path)
}

// byHand is an agent whose bytes are written by hand.
type byHand struct {
	t       testing.TB
	url     string // endpoint
	header  http.Header
	version string // that ask speaks
	able26  string // as a modern client, the capabilities that it declares; "" for none
	tasks26 bool   // as a modern client, it takes tasks

	meanwhile func(id string) // happens before it answers a request by a server
}

// visit is a client at a path of the house. The header is what it always sends.
func (h *house) visit(t testing.TB, path string, header ...string) *byHand {
	a := &byHand{t: t, url: h.url + path, header: http.Header{
		"Authorization": {"Bearer bot-token"},
		"Content-Type":  {"application/json"},
		"Accept":        {"application/json, text/event-stream"},
	}}
	return a.with(header...)
}

// with is the client with other headers: name, value, name, value. A value of ""
// takes the header away.
func (a *byHand) with(header ...string) *byHand {
	b := *a
	b.header = a.header.Clone()
	for i := 0; i < len(header); i += 2 {
		b.header.Del(header[i])
		if header[i+1] != "" {
			b.header.Set(header[i], header[i+1])
		}
	}
	return &b
}

func (a *byHand) send(ctx context.Context, method, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.url, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header = a.header
	if host := a.header.Get("Host"); host != "" {
		req.Host = host
	}
	return http.DefaultClient.Do(req)
}

// post sends a body as it is.
func (a *byHand) post(body string) *answer {
	a.t.Helper()
	return a.do(http.MethodPost, body)
}

func (a *byHand) do(method, body string) *answer {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	resp, err := a.send(ctx, method, body)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	doc, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return &answer{resp.StatusCode, resp.Header, string(doc)}
}

// legacy is the client after it has shaken hands in a version with sessions.
func (a *byHand) legacy(version string) *byHand {
	a.t.Helper()
	r := a.post(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"` + version + `","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`)
	id := r.header.Get("Mcp-Session-Id")
	if r.status != http.StatusOK || id == "" || r.last("result.protocolVersion").Str != version {
		a.t.Fatalf("initialize: HTTP %d %v %s", r.status, r.header, r.body)
	}
	b := a.with("Mcp-Session-Id", id)
	if b.version = version; version >= "2025-06-18" {
		b = b.with("Mcp-Protocol-Version", version)
	}
	if r := b.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`); r.status != http.StatusAccepted || r.body != "" {
		a.t.Fatalf("initialized: HTTP %d %s", r.status, r.body)
	}
	return b
}

const modernMeta = `"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}`

// modern is the client as one of 2026-07-28.
func (a *byHand) modern() *byHand {
	b := a.with("Mcp-Protocol-Version", "2026-07-28")
	b.version = "2026-07-28"
	return b
}

// speak is the client in a version.
func (a *byHand) speak(version string) *byHand {
	a.t.Helper()
	if version == "2026-07-28" {
		return a.modern()
	}
	return a.legacy(version)
}

// ask sends a request with params, an object without its metadata, as a client of
// the agent's version does. meta is members of the metadata.
func (a *byHand) ask(method, params, meta string) *answer {
	a.t.Helper()
	b, body := a.request(method, params, meta)
	return b.post(body)
}

func (a *byHand) request(method, params, meta string) (*byHand, string) {
	if a.version == "2026-07-28" {
		header := []string{"Mcp-Method", method}
		switch method {
		case "tools/call", "prompts/get":
			header = append(header, "Mcp-Name", gjson.Get(params, "name").Str)
		case "resources/read":
			header = append(header, "Mcp-Name", gjson.Get(params, "uri").Str)
		case "tasks/get", "tasks/cancel", "tasks/update":
			header = append(header, "Mcp-Name", gjson.Get(params, "taskId").Str)
		}
		a = a.with(header...)
		own := modernMeta
		if a.able26 != "" {
			own = strings.Replace(modernMeta, `/clientCapabilities":{}`, `/client`+strings.Replace(a.able26, "c", "C", 1)[1:], 1)
		}
		if a.tasks26 {
			own = strings.Replace(own, `/clientCapabilities":{`, `/clientCapabilities":{`+taskExtension+`,`, 1)
			own = strings.Replace(own, ",}", "}", 1)
		}
		meta = strings.TrimSuffix(own+","+meta, ",")
	}
	inner := strings.TrimSuffix(strings.TrimPrefix(params, "{"), "}")
	if meta != "" {
		if inner != "" {
			inner += ","
		}
		inner += `"_meta":{` + meta + `}`
	}
	return a, `{"jsonrpc":"2.0","id":7,"method":"` + method + `","params":{` + inner + `}}`
}

// upstream is an MCP server written by hand: what it answers is what results says,
// by method or by method and name, byte for byte.
type upstream struct {
	modern  bool
	about   string // capabilities
	results map[string]string
	handle  func(w http.ResponseWriter, r *http.Request, m gjson.Result) bool // true if it has answered

	mu   sync.Mutex
	seen []string
	head []http.Header
}

// start serves u and returns its URL.
func (u *upstream) start(t testing.TB) string { return serve(t, u) }

func serve(t testing.TB, h http.Handler) string {
	web := httptest.NewServer(h)
	t.Cleanup(web.Close)
	return web.URL
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		return
	}
	doc, _ := io.ReadAll(r.Body)
	m := gjson.ParseBytes(doc)
	u.mu.Lock()
	u.seen, u.head = append(u.seen, string(doc)), append(u.head, r.Header)
	u.mu.Unlock()
	if !m.Get("id").Exists() {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if u.handle != nil && u.handle(w, r, m) {
		return
	}
	about := u.about
	if about == "" {
		about = `{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true},"completions":{},"logging":{},"tasks":{}}`
	}
	method := m.Get("method").Str
	result, ok := "", false
	for _, at := range []string{"params.name", "params.uri", "params.ref.name", "params.ref.uri"} {
		if name := m.Get(at); name.Exists() {
			if result, ok = u.results[method+" "+name.Str]; ok {
				break
			}
		}
	}
	if !ok {
		result, ok = u.results[method]
	}
	switch {
	case ok:
	case method == "server/discover" && u.modern:
		result = `{"supportedVersions":["2026-07-28"],"capabilities":` + about + `,"instructions":"be kind","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"hand","version":"9"}}}`
	case method == "initialize" && !u.modern:
		w.Header().Set("Mcp-Session-Id", "s")
		result = `{"protocolVersion":"2025-11-25","capabilities":` + about + `,"serverInfo":{"name":"hand","version":"9"},"instructions":"be kind"}`
	}
	w.Header().Set("Content-Type", "application/json")
	if result == "" {
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no method"}}`, m.Get("id").Raw)
		return
	}
	if failed, is := strings.CutPrefix(result, "error "); is {
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":%s}`, m.Get("id").Raw, failed)
		return
	}
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.Get("id").Raw, result)
}

// hold has each call of a tool wait until before returns.
func (u *upstream) hold(before func()) {
	u.handle = func(_ http.ResponseWriter, _ *http.Request, m gjson.Result) bool {
		if m.Get("method").Str == "tools/call" {
			before()
		}
		return false
	}
}

// got is the messages of a method that have come.
func (u *upstream) got(method string) []gjson.Result {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all []gjson.Result
	for _, doc := range u.seen {
		if m := gjson.Parse(doc); m.Get("method").Str == method {
			all = append(all, m)
		}
	}
	return all
}

// shop has one of each kind of thing.
func shop() *upstream {
	return &upstream{results: map[string]string{
		"tools/list":               `{"tools":[{"name":"refund","inputSchema":{"type":"object"}},{"name":"drop","inputSchema":{"type":"object"}}]}`,
		"prompts/list":             `{"prompts":[{"name":"greet"},{"name":"secret"}]}`,
		"resources/list":           `{"resources":[{"uri":"shop://orders","name":"orders"},{"uri":"shop://keys","name":"keys"}]}`,
		"resources/templates/list": `{"resourceTemplates":[{"uriTemplate":"shop://order/{id}","name":"order"}]}`,
		"tools/call refund":        `{"content":[{"type":"text","text":"paid"}]}`,
		"tools/call drop":          `{"content":[]}`,
		"prompts/get":              `{"messages":[{"role":"user","content":{"type":"text","text":"hi"}}]}`,
		"resources/read":           `{"contents":[{"uri":"shop://orders","text":"A-1"}]}`,
		"completion/complete":      `{"completion":{"values":["a"]}}`,
	}}
}

func types(records []audit.Record) string {
	var all []string
	for _, r := range records {
		all = append(all, strings.TrimSuffix(string(r.Type)+":"+r.Outcome, ":"))
	}
	return strings.Join(all, " ")
}

var eras = []string{"2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"}

func TestACallOfEachKindPassesTheGate(t *testing.T) {
	up := shop()
	h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
	for _, version := range eras {
		for _, path := range []string{"/mcp", "/mcp/shop"} {
			a := h.visit(t, path).speak(version)
			prefix := ""
			if path == "/mcp" {
				prefix = "shop__"
			}
			for _, tt := range []struct{ method, params, want, kind, resource string }{
				{"tools/call", `{"name":"` + prefix + `refund","arguments":{"n":1}}`, "result.content.0.text=paid", "tool", "refund"},
				{"prompts/get", `{"name":"` + prefix + `greet"}`, "result.messages.0.content.text=hi", "prompt", "greet"},
				{"resources/read", `{"uri":"shop://orders"}`, "result.contents.0.text=A-1", "resource", "shop://orders"},
				{"resources/read", `{"uri":"shop://order/7"}`, "result.contents.0.text=A-1", "resource", "shop://order/7"},
				{"completion/complete", `{"ref":{"type":"ref/prompt","name":"` + prefix + `greet"},"argument":{"name":"x","value":"y"}}`, "result.completion.values.0=a", "prompt", "greet"},
				{"completion/complete", `{"ref":{"type":"ref/resource","uri":"shop://order/{id}"},"argument":{"name":"x","value":"y"}}`, "result.completion.values.0=a", "resource", "shop://order/{id}"},
			} {
				t.Run(version+" "+path+" "+tt.method+" "+tt.resource, func(t *testing.T) {
					a.t = t
					before := len(h.log.Records())
					r := a.ask(tt.method, tt.params, "")
					at, want, _ := strings.Cut(tt.want, "=")
					if r.status != http.StatusOK || r.last(at).Str != want || r.last("id").Raw != "7" {
						t.Fatalf("HTTP %d %s, want %s", r.status, r.body, tt.want)
					}
					records := h.log.Records()[before:]
					if types(records) != "opened closed:ok" {
						t.Fatalf("records = %s", types(records))
					}
					o := records[0]
					if o.Call != r.header.Get("Callgate-Call") || o.Agent != "agent:bot" || o.Kind != tt.kind || o.Target != "shop" || o.Resource != tt.resource || o.Method != tt.method {
						t.Errorf("record = %+v of reply %v", o, r.header)
					}
				})
			}
		}
	}
}

func TestABadRequestIsRefusedInItsDialectAndOnRecord(t *testing.T) {
	up := shop()
	h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
	at := h.visit(t, "/mcp")
	one := h.visit(t, "/mcp/shop")
	legacy, batching, modern := at.legacy("2025-11-25"), at.legacy("2025-03-26"), at.modern()
	ping := `{"jsonrpc":"2.0","id":7,"method":"ping"}`
	list := `{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"_meta":{` + modernMeta + `}}}`
	use := `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"shop__refund","_meta":{` + modernMeta + `}}}`
	nested := func(depth int) string {
		return `{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}}`
	}
	for _, tt := range []struct {
		name    string
		from    *byHand
		method  string
		body    string
		status  int
		code    int64
		outcome string
		says    string
	}{
		{"no token", at.with("Authorization", ""), "POST", ping, 401, 401, "unauthenticated", "no access token"},
		{"a token that is not valid here", at.with("Authorization", "Bearer forged"), "POST", ping, 401, 401, "unauthenticated", "not valid here"},
		{"a scheme that is no token", at.with("Authorization", "Basic Ym90LXRva2Vu"), "POST", ping, 401, 401, "unauthenticated", "no access token"},
		{"no token on the stream", legacy.with("Authorization", ""), "GET", "", 401, 401, "unauthenticated", "no access token"},
		{"no token and a body that is broken", at.with("Authorization", ""), "POST", `{`, 401, 401, "unauthenticated", "no access token"},
		{"a host that a name server was made to point here", legacy.with("Host", "evil.example"), "POST", ping, 403, 403, "denied", "public_url"},
		{"a page from elsewhere", legacy.with("Origin", "http://evil.example"), "POST", ping, 403, 403, "denied", "another origin"},
		{"a page without an origin", legacy.with("Origin", "null"), "POST", ping, 403, 403, "denied", "another origin"},
		{"a page from elsewhere on the stream", legacy.with("Origin", "http://evil.example"), "GET", "", 403, 403, "denied", "another origin"},
		{"a server that is not there", h.visit(t, "/mcp/nope"), "POST", ping, 404, -32602, "not_found", "you may use /mcp/shop"},
		{"a server whose name cannot be one", h.visit(t, "/mcp/a/b"), "POST", ping, 404, -32602, "not_found", "you may use /mcp/shop"},
		{"another method of HTTP", legacy, "PUT", ping, 405, -32600, "invalid", "GET, POST, DELETE"},
		{"a stream without a session", at, "GET", "", 405, -32600, "invalid", "POST"},
		{"a stream for a modern client", modern, "GET", "", 405, -32600, "invalid", "POST"},
		{"the end of a session of a modern client", modern, "DELETE", "", 405, -32600, "invalid", "POST"},
		{"a stream for who takes no streams", legacy.with("Accept", "application/json"), "GET", "", 406, -32600, "invalid", "text/event-stream"},
		{"another content type", legacy.with("Content-Type", "text/plain"), "POST", ping, 415, -32600, "invalid", "application/json"},
		{"no content type", legacy.with("Content-Type", ""), "POST", ping, 415, -32600, "invalid", "application/json"},
		{"a compressed body", legacy.with("Content-Encoding", "gzip"), "POST", ping, 415, -32600, "invalid", "Content-Encoding"},
		{"a client that takes pictures only", legacy.with("Accept", "image/png"), "POST", ping, 406, -32600, "invalid", "Accept"},
		{"a body that is too large", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"` + strings.Repeat("x", 1<<20) + `"}`, 413, -32600, "invalid", "larger than 1048576 bytes"},
		{"nothing", legacy, "POST", ``, 400, -32700, "invalid", "empty"},
		{"no JSON", legacy, "POST", `hello`, 400, -32700, "invalid", "not valid JSON"},
		{"a message that is cut off", legacy, "POST", ping[:20], 400, -32700, "invalid", "cut off"},
		{"two messages in a row", legacy, "POST", ping + ping, 400, -32700, "invalid", "more than one"},
		{"bytes that are not UTF-8", legacy, "POST", "{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"ping\"}", 400, -32700, "invalid", "UTF-8"},
		{"nesting without end", legacy, "POST", nested(200), 400, -32700, "invalid", "nested deeper"},
		{"a name twice in the envelope", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/call"}`, 400, -32700, "invalid", "twice"},
		{"a name twice in the arguments", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"shop__refund","arguments":{"a":1,"\u0061":2}}}`, 400, -32700, "invalid", "twice"},
		{"a name in another case in the envelope", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"ping","METHOD":"tools/call"}`, 400, -32600, "invalid", "does not have"},
		{"a name in another case in params", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"shop__refund","NAME":"shop__drop"}}`, 400, -32600, "invalid", "case"},
		{"no version of JSON-RPC", legacy, "POST", `{"id":7,"method":"ping"}`, 400, -32600, "invalid", "jsonrpc"},
		{"an id with a fraction", legacy, "POST", `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`, 400, -32600, "invalid", "id must be"},
		{"an id that is null", legacy, "POST", `{"jsonrpc":"2.0","id":null,"method":"ping"}`, 400, -32600, "invalid", "id must be"},
		{"an id that is a list", legacy, "POST", `{"jsonrpc":"2.0","id":[1],"method":"ping"}`, 400, -32600, "invalid", "id must be"},
		{"params that are a list", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"ping","params":[1]}`, 400, -32600, "invalid", "params"},
		{"a text", legacy, "POST", `"ping"`, 400, -32600, "invalid", "not a JSON-RPC"},
		{"a batch in a later version", legacy, "POST", `[` + ping + `]`, 400, -32600, "invalid", "batches are only in"},
		{"a batch of a modern client", modern, "POST", `[` + list + `]`, 400, -32600, "invalid", "batches are only in"},
		{"an empty batch", batching, "POST", `[]`, 400, -32600, "invalid", "empty"},
		{"a batch that is too long", batching, "POST", `[` + strings.Repeat(ping+",", 100) + ping + `]`, 400, -32600, "invalid", "more than 100"},
		{"a batch with a bad message", batching, "POST", `[` + ping + `,{"jsonrpc":"2.0","id":8}]`, 400, -32600, "invalid", "neither"},
		{"a batch that initializes", batching, "POST", `[{"jsonrpc":"2.0","id":8,"method":"initialize","params":{}}]`, 400, -32600, "invalid", "initialize"},
		{"no session", at, "POST", ping, 400, -32600, "invalid", "send initialize first"},
		{"a session that nobody has", at.with("Mcp-Session-Id", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"), "POST", ping, 404, 404, "not_found", "no such session"},
		{"the session of another agent", legacy.with("Authorization", "Bearer other-token"), "POST", ping, 404, 404, "not_found", "no such session"},
		{"the end of the session of another agent", legacy.with("Authorization", "Bearer other-token"), "DELETE", "", 404, 404, "not_found", "no such session"},
		{"the stream of the session of another agent", legacy.with("Authorization", "Bearer other-token"), "GET", "", 404, 404, "not_found", "no such session"},
		{"a session of another endpoint", one.with("Mcp-Session-Id", legacy.header.Get("Mcp-Session-Id")), "POST", ping, 404, 404, "not_found", "no such session"},
		{"a version that nobody speaks", legacy.with("Mcp-Protocol-Version", "2023-01-01"), "POST", ping, 400, -32022, "invalid", "not supported"},
		{"initialize without a version", at, "POST", `{"jsonrpc":"2.0","id":7,"method":"initialize","params":{}}`, 200, -32602, "invalid", "protocolVersion"},
		{"a method that is not there", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"resources/forget","params":{"uri":"x"}}`, 200, -32601, "not_found", "resources/forget"},
		{"a subscription to nothing", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"resources/subscribe","params":{"uri":"x"}}`, 200, -32602, "not_found", "no server has this resource"},
		{"a task that is none", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"tasks/get","params":{"taskId":"t"}}`, 200, -32602, "not_found", "no such task"},
		{"a tool without a name", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{}}`, 200, -32602, "invalid", "params.name"},
		{"no params at all", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"tools/call"}`, 200, -32602, "invalid", "params.name"},
		{"a tool whose name is a number", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":7}}`, 200, -32602, "invalid", "params.name"},
		{"a tool whose name has no end", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"shop__` + strings.Repeat("x", 2000) + `"}}`, 200, -32602, "invalid", "params.name"},
		{"a tool whose name has a line break", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"shop__a\nb"}}`, 200, -32602, "invalid", "params.name"},
		{"arguments that are a list", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"shop__refund","arguments":[]}}`, 200, -32602, "invalid", "params.arguments"},
		{"a tool of no server", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"refund"}}`, 200, -32602, "not_found", "there is no tool"},
		{"a tool of a server that is not there", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"nope__refund"}}`, 200, -32602, "not_found", "there is no tool"},
		{"a prompt of no server", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"prompts/get","params":{"name":"greet"}}`, 200, -32602, "not_found", "there is no prompt"},
		{"a resource of no server", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"resources/read","params":{"uri":"else://x"}}`, 200, -32002, "not_found", "no server has"},
		{"a completion for nothing", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"completion/complete","params":{"argument":{}}}`, 200, -32602, "invalid", "params.ref"},
		{"a completion for two names", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"shop__greet","Name":"secret"},"argument":{}}}`, 400, -32600, "invalid", "only by case"},
		{"a level that is none", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"logging/setLevel","params":{"level":"loud"}}`, 200, -32602, "invalid", "params.level"},
		{"a cursor of somebody else", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"cursor":"next"}}`, 200, -32602, "invalid", "cursor"},
		{"a cursor of an item that is gone", legacy, "POST", `{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"cursor":"c2hvcABnb25l"}}`, 200, -32602, "invalid", "changed"},

		{"modern: no JSON", modern, "POST", `hello`, 400, -32700, "invalid", "not valid JSON"},
		{"modern: an id that is null", modern, "POST", strings.Replace(list, `"id":7`, `"id":null`, 1), 400, -32600, "invalid", "id must be"},
		{"modern: no token", modern.with("Authorization", ""), "POST", list, 401, 401, "unauthenticated", "no access token"},
		{"a client of 2025-06-18 that sends no JSON", legacy.with("Mcp-Protocol-Version", "2025-06-18"), "POST", `hello`, 400, -32700, "invalid", "not valid JSON"},
		{"modern: a method of sessions", modern.with("Mcp-Method", "ping"), "POST", strings.Replace(list, "tools/list", "ping", 1), 404, -32601, "not_found", "ping"},
		{"modern: a handshake", modern.with("Mcp-Method", "initialize"), "POST", strings.Replace(list, "tools/list", "initialize", 1), 404, -32601, "not_found", "initialize"},
		{"modern: a subscription to nothing", modern.with("Mcp-Method", "subscriptions/listen"), "POST", strings.Replace(list, "tools/list", "subscriptions/listen", 1), 400, -32602, "invalid", "params.notifications"},
		{"modern: no header of the version", modern.with("Mcp-Protocol-Version", "", "Mcp-Method", "tools/list"), "POST", list, 400, -32020, "invalid", "Mcp-Protocol-Version is missing"},
		{"modern: another version in the header", modern.with("Mcp-Protocol-Version", "2025-11-25", "Mcp-Method", "tools/list"), "POST", list, 400, -32020, "invalid", "Mcp-Protocol-Version"},
		{"modern: a version that is still to come", modern.with("Mcp-Protocol-Version", "2027-01-01", "Mcp-Method", "tools/list"), "POST", strings.Replace(list, "2026-07-28", "2027-01-01", 1), 400, -32022, "invalid", "2026-07-28, 2025-11-25"},
		{"modern: no metadata", modern.with("Mcp-Method", "tools/list"), "POST", `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`, 400, -32602, "invalid", "protocolVersion"},
		{"modern: no capabilities", modern.with("Mcp-Method", "tools/list"), "POST", `{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`, 400, -32602, "invalid", "clientCapabilities"},
		{"modern: metadata in another case", modern.with("Mcp-Method", "tools/list"), "POST", `{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"_Meta":{},"_meta":{` + modernMeta + `}}}`, 400, -32600, "invalid", "case"},
		{"modern: a level that is none", modern.with("Mcp-Method", "tools/list"), "POST", `{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/logLevel":"loud",` + modernMeta + `}}}`, 400, -32602, "invalid", "level"},
		{"modern: no header of the method", modern, "POST", list, 400, -32020, "invalid", "Mcp-Method is missing"},
		{"modern: another method in the header", modern.with("Mcp-Method", "prompts/list"), "POST", list, 400, -32020, "invalid", "Mcp-Method"},
		{"modern: the method in another case in the header", modern.with("Mcp-Method", "Tools/List"), "POST", list, 400, -32020, "invalid", "Mcp-Method"},
		{"modern: no header of the name", modern.with("Mcp-Method", "tools/call"), "POST", use, 400, -32020, "invalid", "Mcp-Name is missing"},
		{"modern: another name in the header", modern.with("Mcp-Method", "tools/call", "Mcp-Name", "shop__drop"), "POST", use, 400, -32020, "invalid", "Mcp-Name"},
		{"modern: a name in broken Base64", modern.with("Mcp-Method", "tools/call", "Mcp-Name", "=?base64?!?="), "POST", use, 400, -32020, "invalid", "Base64"},
		{"modern: a tool without a name", modern.with("Mcp-Method", "tools/call"), "POST", strings.Replace(use, `"name":"shop__refund",`, "", 1), 400, -32602, "invalid", "params.name"},
		{"modern: a resource of no server", modern.with("Mcp-Method", "resources/read", "Mcp-Name", "else://x"), "POST", `{"jsonrpc":"2.0","id":7,"method":"resources/read","params":{"uri":"else://x","_meta":{` + modernMeta + `}}}`, 400, -32602, "not_found", "no server has"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.from.t = t
			before := len(h.log.Records())
			r := tt.from.do(tt.method, tt.body)
			if r.status != tt.status || r.last("error.code").Int() != tt.code || !strings.Contains(r.last("error.message").Str, tt.says) {
				t.Errorf("HTTP %d %s, want HTTP %d, code %d and %q", r.status, r.body, tt.status, tt.code, tt.says)
			}
			if !gjson.Valid(r.body) || r.last("jsonrpc").Str != "2.0" {
				t.Errorf("not an answer of JSON-RPC: %s", r.body)
			}
			if id := r.last("id"); id.Raw != "7" && id.Raw != `"7"` && id.Exists() == (tt.from.header.Get("Mcp-Protocol-Version") >= "2025-11-25") {
				t.Errorf("an id that is not known is %q to a client of %q", id.Raw, tt.from.version)
			}
			if tt.status == http.StatusUnauthorized && r.header.Get("Www-Authenticate") != `Bearer resource_metadata="/mcp"` {
				t.Errorf("WWW-Authenticate = %q", r.header.Get("Www-Authenticate"))
			}
			records := h.log.Records()[before:]
			if len(records) != 1 || records[0].Outcome != tt.outcome {
				t.Fatalf("records = %+v, want one of %q", records, tt.outcome)
			}
			if call := r.header.Get("Callgate-Call"); call != records[0].Call || r.last("error.data.call").Str != call {
				t.Errorf("call %q in the head, %q in the body, %q on record", call, r.last("error.data.call").Str, records[0].Call)
			}
		})
	}
	if n := len(up.got("tools/call")); n > 0 {
		t.Errorf("%d calls came to the server", n)
	}
}

func TestARefusalIsTold(t *testing.T) {
	up := shop()
	h := open(t, rules{"tool:shop/drop", "prompt:shop/secret", "resource:shop|shop://keys"}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
	for _, version := range eras {
		a := h.visit(t, "/mcp").speak(version)
		t.Run(version+": of a tool as its result, so that the model reads it", func(t *testing.T) {
			r := a.ask("tools/call", `{"name":"shop__drop","arguments":{"key":"hunter2"}}`, "")
			if r.status != http.StatusOK || !r.last("result.isError").Bool() || r.last("result.content.0.text").Str != "no rule allows agent:bot to use tool:shop/drop" {
				t.Errorf("HTTP %d %s", r.status, r.body)
			}
			meta := r.last("result._meta").Map()
			if meta["callgate/call"].Str != r.header.Get("Callgate-Call") || meta["callgate/rule"].Str != "NO" || meta["callgate/code"].Str != "denied" {
				t.Errorf("_meta = %v", meta)
			}
			if modern := version == "2026-07-28"; modern != (r.last("result.resultType").Str == "complete") {
				t.Errorf("result = %s", r.body)
			}
		})
		for _, tt := range []struct{ method, params string }{
			{"prompts/get", `{"name":"shop__secret"}`},
			{"resources/read", `{"uri":"shop://keys"}`},
			{"completion/complete", `{"ref":{"type":"ref/prompt","name":"shop__secret"},"argument":{"name":"a","value":"b"}}`},
		} {
			t.Run(version+": of "+tt.method+" as an error", func(t *testing.T) {
				r := a.ask(tt.method, tt.params, "")
				if r.status != http.StatusOK || r.last("error.code").Int() != 403 || r.last("error.data.rule").Str != "NO" || r.last("error.data.call").Str != r.header.Get("Callgate-Call") {
					t.Errorf("HTTP %d %s", r.status, r.body)
				}
			})
		}
	}
	for _, method := range []string{"tools/call", "prompts/get", "resources/read", "completion/complete"} {
		if n := len(up.got(method)); n > 0 {
			t.Errorf("%d of %s came to the server", n, method)
		}
	}
	for _, r := range h.log.Records() {
		if r.Type == audit.Refused && (r.Outcome != "denied" || r.Rule != "NO") {
			t.Errorf("record = %+v", r)
		}
	}
}

func TestHostsAndOriginsOfThisGateAreAnswered(t *testing.T) {
	h := open(t, rules{}, nil)
	init := `{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`
	for _, host := range []string{"localhost", "LOCALHOST:8700", "127.0.0.1:8700", "127.8.9.1", "[::1]:8700", "gate.example", "Gate.Example:8443"} {
		if r := h.visit(t, "/mcp", "Host", host).post(init); r.status != http.StatusOK {
			t.Errorf("host %s: HTTP %d %s", host, r.status, r.body)
		}
		if r := h.visit(t, "/mcp", "Origin", "http://"+host).post(init); r.status != http.StatusOK {
			t.Errorf("origin http://%s: HTTP %d %s", host, r.status, r.body)
		}
	}
	for _, host := range []string{"gate.example.evil", "notgate.example", "10.0.0.1", "0.0.0.0", "localhost.evil", "127.0.0.1.evil"} {
		if r := h.visit(t, "/mcp", "Host", host).post(init); r.status != http.StatusForbidden {
			t.Errorf("host %s: HTTP %d", host, r.status)
		}
	}
}

func TestATokenIsTakenFromWhereClientsPutIt(t *testing.T) {
	h := open(t, rules{}, nil)
	init := `{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`
	for _, header := range [][2]string{{"Authorization", "Bearer bot-token"}, {"Authorization", "bearer bot-token"}, {"X-Api-Key", "bot-token"}, {"X-Goog-Api-Key", "bot-token"}} {
		if r := h.visit(t, "/mcp", "Authorization", "", header[0], header[1]).post(init); r.status != http.StatusOK {
			t.Errorf("%s: HTTP %d %s", header[0], r.status, r.body)
		}
	}
	two := h.visit(t, "/mcp")
	two.header["Authorization"] = []string{"Bearer bot-token", "Bearer other-token"}
	if r := two.post(init); r.status != http.StatusUnauthorized {
		t.Errorf("two tokens: HTTP %d", r.status)
	}
}
