// Package attacks tries each class of attack that callgate is made against, through the real
// binary: what counts is which bytes reach the server behind it, and what is on record. Beside
// each attack stands a twin, the like without harm, which must pass. docs/security.md has what
// comes of it.
package attacks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"callgate/test/program"
	"callgate/test/upstream"

	"github.com/tidwall/gjson"
)

// A hand is an MCP server of 2026-07-28 that says what it is told to.
type hand struct {
	key   string // without it nobody is answered
	mu    sync.Mutex
	tools []string          // definitions
	says  map[string]string // results of tools; of the others it is "done"
	calls []string          // requests as they came
	heads []http.Header
}

func (h *hand) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heads = append(h.heads, r.Header.Clone())
	if r.Method != http.MethodPost || h.key != "" && r.Header.Get("Authorization") != h.key {
		w.WriteHeader(map[bool]int{true: http.StatusMethodNotAllowed, false: http.StatusUnauthorized}[r.Method != http.MethodPost])
		return
	}
	m := gjson.ParseBytes(body)
	var result string
	switch m.Get("method").Str {
	case "server/discover":
		result = `{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"serverInfo":{"name":"hand","version":"1"},"ttlMs":0,"cacheScope":"public"}`
	case "tools/list":
		result = `{"tools":[` + strings.Join(h.tools, ",") + `],"ttlMs":0,"cacheScope":"public"}`
	case "tools/call":
		h.calls = append(h.calls, string(body))
		if m.Get("params.requestState").Exists() { // it was answered
			result = `{"content":[{"type":"text","text":"thanks"}]}`
		} else if result = h.says[m.Get("params.name").Str]; result == "" {
			result = `{"content":[{"type":"text","text":"done"}]}`
		}
	default:
		w.WriteHeader(http.StatusAccepted)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.Get("id").Raw, result)
}

// define has the server list tools, each a definition.
func (h *hand) define(tools ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tools = tools
}

// reached says whether any call since the first n has text.
func (h *hand) reached(n int, text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.calls[n:], func(c string) bool { return strings.Contains(c, text) })
}

func (h *hand) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.calls)
}

// say makes a result of a text.
func say(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return `{"content":[{"type":"text","text":` + string(b) + `}]}`
}

// A yard is a gate and all that is around it.
type yard struct {
	t                 *testing.T
	bin, dir, data    string
	gate, admin       string
	adminToken        string
	shop, poison, rug *hand
	shopURL           string
	told              *bytes.Buffer // every answer of the gate
	mu                sync.Mutex
	agents            int
}

const (
	shopKey  = "Bearer canary-shop-7c1f0be2"
	modelKey = "sk-canary-model-55d1"
)

const policyRows = `p, role:dev, *, model:*, generate, true, allow, M
p, role:dev, *, tool:shop/echo, call, true, allow, T1
p, role:dev, *, tool:shop/pay, call, true, allow, T2
p, role:dev, *, tool:shop/read_web, call, true, allow, T3
p, role:dev, *, tool:shop/read_private, call, true, allow, T4
p, role:dev, *, tool:shop/send, call, true, allow, T5
p, role:dev, *, tool:shop/fetch, call, true, allow, T6
p, role:dev, *, tool:shop/open, call, true, allow, T7
p, role:dev, *, tool:shop/big, call, true, allow, T8
p, role:dev, *, tool:shop/ask, call, true, allow, T9
p, role:dev, *, tool:shop/sample, call, true, allow, T10
p, role:dev, *, tool:shop/login, call, true, allow, T11
p, role:dev, *, tool:shop/loop, call, true, allow, T12
p, role:dev, *, tool:shop/wire, call, !r.env.orphan, allow, T13
p, role:dev, *, tool:shop/refund, call, r.env.args.amount <= 100, allow, T14
p, role:dev, *, tool:shop/grant, call, true, allow, T15
p, role:dev, *, tool:poison/*, call, true, allow, T16
p, role:dev, *, tool:rug/*, call, true, allow, T17
p, role:dev, *, tool:shop/smuggle, call, true, allow, T18
p, role:lead, *, agent:*, delegate, true, allow, D
p, role:intern, *, tool:shop/echo, call, true, allow, T19
p2, role:dev, *, tool:shop/loop, call, true, allow, limit:calls=5/1h, L
p2, role:dev, *, tool:shop/grant, call, true, allow, require_approval:group:finance, A
g, user:ana, group:finance, default
g, user:ana, group:approvers, default
`

func newYard(t *testing.T) *yard {
	t.Helper()
	y := &yard{t: t, dir: t.TempDir(), told: new(bytes.Buffer), poison: new(hand), rug: new(hand), shop: &hand{key: shopKey, says: map[string]string{}}}
	var err error
	if y.bin, err = program.Build(y.dir, false); err != nil {
		t.Fatal(err)
	}
	serve := func(h http.Handler) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	y.shopURL = serve(y.shop)
	model := serve(&upstream.Model{Key: modelKey, Script: func(turn upstream.Turn) upstream.Say {
		said := gjson.GetBytes(turn.Body, "messages.@reverse.0.content").String()
		if asked, ok := strings.CutPrefix(said, "call "); ok {
			name, args, _ := strings.Cut(asked, " ")
			return upstream.Say{Calls: []upstream.Call{{Tool: upstream.Tool{Name: name}, Args: args}}}
		}
		return upstream.Say{Text: "I see."}
	}})
	y.defineAll()
	y.gate, y.admin, y.data = "http://127.0.0.1:"+program.FreePort(t), "http://127.0.0.1:"+program.FreePort(t), filepath.Join(y.dir, "data")
	config := fmt.Sprintf(`mcp:
  servers:
    shop:
      url: %s
      headers: {Authorization: "env:SHOP_KEY"}
      max_reply: 1MiB
      tools:
        read_web: {reads: untrusted}
        read_private: {reads: private}
        echo: {reads: []}
        pay: {acts: true, to: [to]}
        send: {acts: true, to: [to]}
        fetch: {arguments: {url: {class: url}}}
        open: {arguments: {path: {class: path, within: [/srv/docs]}}}
    poison: {url: %s}
    rug: {url: %s}
    stdio: {command: [/bin/sh, -c, 'printf "%%s\n" "$@" > argv.txt; exec cat > /dev/null', sh, '$(touch pwned); touch pwned && `+"`touch pwned`"+` | touch pwned'], dir: %s}
providers:
  openai: {base_url: %s/v1, api_key: env:MODEL_KEY, models: [gpt]}
policy: ["pack:strict", policy.csv]
`, y.shopURL, serve(y.poison), serve(y.rug), y.dir, model)
	for name, text := range map[string]string{"callgate.yaml": config, "policy.csv": policyRows} {
		if err := os.WriteFile(filepath.Join(y.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program.Start(t, program.Program{Dir: y.dir, Log: filepath.Join(y.dir, "gate.log"), Env: append(os.Environ(), "MODEL_KEY="+modelKey, "SHOP_KEY="+shopKey),
		Args: []string{y.bin, "serve", "--listen", strings.TrimPrefix(y.gate, "http://"), "--admin-listen", strings.TrimPrefix(y.admin, "http://"), "--data", y.data}})
	program.WaitFor(t, y.gate+"/healthz")
	token, err := os.ReadFile(filepath.Join(y.data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	y.adminToken = strings.TrimSpace(string(token))
	return y
}

// A reply is what the gate answers.
type reply struct {
	status int
	head   http.Header
	body   string
	doc    gjson.Result // its last message
}

// refused says that a call was not carried out.
func (r reply) refused() bool {
	return r.status >= 400 || r.doc.Get("error").Exists() || r.doc.Get("result.isError").Bool()
}

// held says that people are asked first.
func (r reply) held() bool { return r.doc.Get("result._meta.callgate/approval").Exists() }

// send makes a request; head has names and values by turns.
func (y *yard) send(method, at, token, body string, head ...string) reply {
	y.t.Helper()
	req, err := http.NewRequest(method, at, strings.NewReader(body))
	if err != nil {
		y.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for i := 0; i+1 < len(head); i += 2 {
		req.Header.Set(head[i], head[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		y.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		y.t.Fatal(err)
	}
	y.mu.Lock()
	y.told.Write(text)
	y.mu.Unlock()
	r := reply{res.StatusCode, res.Header, string(text), gjson.ParseBytes(text)}
	for line := range strings.Lines(r.body) {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			r.doc = gjson.Parse(data)
		}
	}
	return r
}

// api asks the admin API.
func (y *yard) api(method, path, body string) reply {
	y.t.Helper()
	return y.send(method, y.admin+"/api/v1"+path, y.adminToken, body)
}

// A bot is one agent, with a run of its own.
type bot struct {
	*yard
	name, secret, token string
}

func (y *yard) agent(roles ...string) *bot {
	y.t.Helper()
	y.agents++
	b := &bot{yard: y, name: fmt.Sprintf("bot%d", y.agents)}
	list, _ := json.Marshal(roles) // strings always encode
	r := y.api("POST", "/agents", fmt.Sprintf(`{"name":%q,"roles":%s,"owner":"user:ben"}`, b.name, list))
	if r.status != http.StatusCreated {
		y.t.Fatalf("create %s: %d %s", b.name, r.status, r.body)
	}
	b.secret = r.doc.Get("client_secret").Str
	b.token = b.fetchToken(`{}`)
	return b
}

func (b *bot) fetchToken(body string) string {
	b.t.Helper()
	r := b.api("POST", "/agents/"+b.name+"/token", body)
	if r.status != http.StatusOK {
		b.t.Fatalf("token: %d %s", r.status, r.body)
	}
	return r.doc.Get("access_token").Str
}

const able = `{"elicitation":{"form":{},"url":{}},"sampling":{}}`

// mcp makes a request of 2026-07-28 at an endpoint. more stands behind the params.
func (b *bot) mcp(path, method, params string, head ...string) reply {
	b.t.Helper()
	p := strings.TrimSuffix(params, "}")
	if p != "{" {
		p += ","
	}
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":%s"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":%s}}}`, method, p, able)
	return b.send("POST", b.gate+path, b.token, body, append([]string{"MCP-Protocol-Version", "2026-07-28", "Mcp-Method", method}, head...)...)
}

// call calls a tool of a server.
func (b *bot) call(server, tool, args string) reply {
	b.t.Helper()
	return b.mcp("/mcp/"+server, "tools/call", fmt.Sprintf(`{"name":%q,"arguments":%s}`, tool, args), "Mcp-Name", tool)
}

// list is what the agent sees of a server.
func (b *bot) list(path string) reply { b.t.Helper(); return b.mcp(path, "tools/list", `{}`) }

// says has the user say something to the model.
func (b *bot) says(text string) reply {
	b.t.Helper()
	doc, _ := json.Marshal(text)
	return b.send("POST", b.gate+"/v1/chat/completions", b.token, `{"model":"gpt","messages":[{"role":"user","content":`+string(doc)+`}]}`)
}

// exchange asks for a token to act for lead, as the standard has it (RFC 8693).
func (b *bot) exchange(lead string, more ...string) reply {
	b.t.Helper()
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {lead}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		"actor_token": {b.token}, "actor_token_type": {"urn:ietf:params:oauth:token-type:access_token"}, "client_id": {b.name}, "client_secret": {b.secret}}
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return b.send("POST", b.gate+"/oauth/token", "", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
}

// twin wants that what does no harm passes.
func (y *yard) twin(passes bool, what string, r ...reply) {
	y.t.Helper()
	if !passes {
		y.t.Errorf("the twin: %s is refused", what)
		for _, r := range r {
			y.t.Logf("%d %.600s", r.status, r.body)
		}
	}
}

// mark is the number that the next record has.
func (y *yard) mark() int64 {
	y.t.Helper()
	r := y.api("GET", "/records?last=1", "")
	return r.doc.Get("next").Int()
}

// onRecord says whether a record since mark is as fits says.
func (y *yard) onRecord(mark int64, fits func(gjson.Result) bool) bool {
	y.t.Helper()
	for {
		r := y.api("GET", fmt.Sprintf("/records?from=%d&wait=1s", mark), "")
		if r.status != http.StatusOK {
			y.t.Fatalf("records: %d %s", r.status, r.body)
		}
		list := r.doc.Get("records").Array()
		if slices.ContainsFunc(list, fits) {
			return true
		}
		if next := r.doc.Get("next").Int(); len(list) > 0 && next > mark {
			mark = next
			continue
		}
		return false
	}
}

// refusedOn fits a record of a refusal of an agent's call of a tool.
func refusedOn(b *bot, tool string) func(gjson.Result) bool {
	return func(r gjson.Result) bool {
		return r.Get("agent").Str == "agent:"+b.name && (tool == "" || r.Get("resource").Str == tool) && (r.Get("type").Str == "refused" || r.Get("outcome").Str != "ok" && r.Get("outcome").Str != "")
	}
}
