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

func (r rules) May(_ *identity.Principal, object, _ string) firewall.Answer {
	if r.denies(object) {
		return firewall.No
	}
	return firewall.Yes
}

// house is a door with a gate behind it and servers behind that, all real.
type house struct {
	url  string
	log  *audit.Memory
	door *mcp.Handler
	gate *firewall.Gate
}

// open puts servers behind a door for the agents bot and other.
func open(t testing.TB, policy firewall.Policy, servers map[string]*mcp.Server, guards ...firewall.Guard) *house {
	t.Helper()
	h := &house{log: new(audit.Memory)}
	logger := slog.New(slog.DiscardHandler)
	h.gate = firewall.New(firewall.Config{
		Verify: func(_ context.Context, token, _ string) (identity.Principal, error) {
			name, ok := strings.CutSuffix(token, "-token")
			if !ok {
				return identity.Principal{}, errors.New("the token is not valid here")
			}
			return identity.Principal{Tenant: "default", Subject: "agent:" + name, TokenID: "jti"}, nil
		},
		Log: h.log, Runs: firewall.NewRuns(0, time.Now), Now: time.Now, Logger: logger,
	}, &firewall.Law{Policy: policy, Guards: guards})
	h.door = mcp.New(mcp.Config{
		PublicURL: "https://gate.example:8443",
		Challenge: func(route string, _ error) string { return `Bearer resource_metadata="` + route + `"` },
		Limits:    firewall.Limits{Bytes: 1 << 20},
		Version:   "1.2.3", Logger: logger,
	}, h.gate)
	h.door.SetServers(servers)
	web := httptest.NewServer(h.door)
	t.Cleanup(web.Close)
	h.url = web.URL
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
		all = append(all, strings.Join(data, "\n"))
	}
	return all
}

// last is the value at a path of the last message.
func (a *answer) last(path string) gjson.Result {
	m := a.messages()
	return gjson.Get(m[len(m)-1], path)
}

// client is an agent that is written by hand.
type client struct {
	t       testing.TB
	url     string // endpoint
	method  string // of HTTP; default POST
	header  http.Header
	version string // with which post makes its messages
}

// visit is a client at a path of the house. The header is what it always sends.
func (h *house) visit(t testing.TB, path string, header ...string) *client {
	a := &client{t: t, url: h.url + path, header: http.Header{
		"Authorization": {"Bearer bot-token"},
		"Content-Type":  {"application/json"},
		"Accept":        {"application/json, text/event-stream"},
	}}
	return a.with(header...)
}

// with is the client with other headers: name, value, name, value. A value of ""
// takes the header away.
func (a *client) with(header ...string) *client {
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

func (a *client) send(ctx context.Context, method, body string) (*http.Response, error) {
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
func (a *client) post(body string) *answer {
	a.t.Helper()
	return a.do(http.MethodPost, body)
}

func (a *client) do(method, body string) *answer {
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
func (a *client) legacy(version string) *client {
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
func (a *client) modern() *client {
	b := a.with("Mcp-Protocol-Version", "2026-07-28")
	b.version = "2026-07-28"
	return b
}

// speak is the client in a version.
func (a *client) speak(version string) *client {
	a.t.Helper()
	if version == "2026-07-28" {
		return a.modern()
	}
	return a.legacy(version)
}

// ask sends a request with params, an object without its metadata, as a client of
// the agent's version does. meta is members of the metadata.
func (a *client) ask(method, params, meta string) *answer {
	a.t.Helper()
	b, body := a.request(method, params, meta)
	return b.post(body)
}

func (a *client) request(method, params, meta string) (*client, string) {
	if a.version == "2026-07-28" {
		header := []string{"Mcp-Method", method}
		switch method {
		case "tools/call", "prompts/get":
			header = append(header, "Mcp-Name", gjson.Get(params, "name").Str)
		case "resources/read":
			header = append(header, "Mcp-Name", gjson.Get(params, "uri").Str)
		}
		a = a.with(header...)
		meta = strings.TrimSuffix(modernMeta+","+meta, ",")
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
func (u *upstream) start(t testing.TB) string {
	web := httptest.NewServer(u)
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
