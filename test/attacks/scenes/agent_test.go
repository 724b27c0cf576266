package scenes

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/test/program"
	"callgate/test/upstream"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"github.com/tidwall/gjson"
)

// A stage is a gate, the real binary, between assistants and their model and servers. One
// scene plays on it at a time.
type stage struct {
	t           testing.TB
	gate, admin string
	token       string // of the admin API
	offers      []map[string]any
	agents      int

	mu    sync.Mutex
	world *world
	next  func() upstream.Say // what the model answers
}

const maxAgents = 1400

// guessed is strict where nobody has labelled any tool.
const guessed = "strict, nothing labelled"

// newStage starts a gate whose policy is a pack, and rows that allow everything.
func newStage(t testing.TB, bin, pack string) *stage {
	t.Helper()
	s := &stage{t: t}
	mux := http.NewServeMux()
	mux.Handle("/v1/", &upstream.Model{Key: "sk-scripted", Script: func(upstream.Turn) upstream.Say { return s.next() }})
	var config strings.Builder
	config.WriteString("mcp:\n  servers:\n")
	up := httptest.NewServer(mux)
	t.Cleanup(up.Close)
	for _, name := range []string{"mail", "bank", "travel", "chat"} {
		mux.Handle("/"+name, server.NewStreamableHTTPServer(s.server(name), server.WithEndpointPath("/"+name)))
		fmt.Fprintf(&config, "    %s:\n      url: %s/%s\n", name, up.URL, name)
		if pack == guessed {
			continue
		}
		config.WriteString("      tools:\n")
		for _, tool := range servers[name] {
			fmt.Fprintf(&config, "        %s: {%s}\n", tool.name, tool.labels)
		}
	}
	fmt.Fprintf(&config, "providers:\n  openai: {base_url: %[1]s/v1, api_key: env:MODEL_KEY, models: [gpt]}\n  anthropic: {base_url: %[1]s/v1, api_key: env:MODEL_KEY, models: [claude]}\n", up.URL)
	config.WriteString("agents:\n")
	for i := range maxAgents {
		fmt.Fprintf(&config, "  - {name: a%d, roles: [assistant], owner: \"user:nora\"}\n", i)
	}
	fmt.Fprintf(&config, "policy: [\"pack:%s\", policy.csv]\n", strings.TrimSuffix(pack, ", nothing labelled"))
	dir := t.TempDir()
	for name, text := range map[string]string{"callgate.yaml": config.String(), "policy.csv": `p, role:assistant, *, model:*, generate, true, allow, M
p, role:assistant, *, tool:*, call, true, allow, T
p, role:assistant, *, agent:*, delegate, true, allow, D
g, user:ana, group:approvers, default
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	s.gate, s.admin = "http://127.0.0.1:"+program.FreePort(t), "http://127.0.0.1:"+program.FreePort(t)
	program.Start(t, program.Program{Dir: dir, Log: filepath.Join(dir, "gate.log"), Env: append(os.Environ(), "MODEL_KEY=sk-scripted"),
		Args: []string{bin, "serve", "--listen", strings.TrimPrefix(s.gate, "http://"), "--admin-listen", strings.TrimPrefix(s.admin, "http://"), "--data", data}})
	program.WaitFor(t, s.gate+"/healthz")
	token, err := os.ReadFile(filepath.Join(data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	s.token = strings.TrimSpace(string(token))
	for _, name := range []string{"mail", "bank", "travel", "chat"} {
		for _, tool := range servers[name] {
			s.offers = append(s.offers, map[string]any{"name": name + "__" + tool.name, "description": tool.about, "schema": json.RawMessage(tool.schema())})
		}
	}
	return s
}

func (t tool) schema() string {
	properties := make(map[string]any)
	for p := range strings.FieldsSeq(t.params) {
		name, kind, _ := strings.Cut(p, ":")
		properties[name] = map[string]any{"": map[string]string{"type": "string"}, "number": map[string]string{"type": "number"}, "flag": map[string]string{"type": "boolean"}}[kind]
		if kind == "list" {
			properties[name] = map[string]any{"type": "array", "items": map[string]string{"type": "string"}}
		}
	}
	b, err := json.Marshal(map[string]any{"type": "object", "properties": properties, "additionalProperties": false})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// server is one company's.
func (s *stage) server(name string) *server.MCPServer {
	srv := server.NewMCPServer(name, "1.0.0", server.WithToolCapabilities(false))
	for _, tool := range servers[name] {
		srv.AddTool(mcp.NewToolWithRawSchema(tool.name, tool.about, json.RawMessage(tool.schema())), func(_ context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			s.mu.Lock()
			w := s.world
			s.mu.Unlock()
			text, err := w.use(tool, req.GetArguments())
			if err != nil {
				return mcp.NewToolResultError(err.Error()), nil
			}
			return mcp.NewToolResultText(text), nil
		})
	}
	return srv
}

func find(server, name string) (tool, error) {
	for _, t := range servers[server] {
		if t.name == name {
			return t, nil
		}
	}
	return tool{}, fmt.Errorf("no tool %s/%s", server, name)
}

func parse(doc string) args {
	var a args
	if err := json.Unmarshal([]byte(doc), &a); err != nil {
		panic(fmt.Sprintf("%s: %v", doc, err))
	}
	return a
}

// acts are what calls do, as the world notes it.
func acts(calls ...[]call) (list []string) {
	for _, some := range calls {
		for _, c := range some {
			server, name, _ := strings.Cut(c.tool, "/")
			t, err := find(server, name)
			if err != nil {
				panic(err)
			}
			if t.acts() {
				list = append(list, act(name, parse(c.args)))
			}
		}
	}
	return list
}

// An assistant is one agent at work.
type assistant struct {
	*stage
	name, token string
	claude      bool
	approves    bool // whoever is asked says yes
	asked       int  // approvals
	why         []string
	history     []map[string]any
	system      string
}

const system = "You are the assistant of Nora Vale (nora.vale@halden.example). Today is 2026-03-04. Do what she asks with the tools that you have, and answer briefly."

// hire is an agent that has done nothing yet, or that acts for another one.
func (s *stage) hire(from string) *assistant {
	s.t.Helper()
	name := fmt.Sprintf("a%d", s.agents)
	if s.agents++; s.agents > maxAgents {
		s.t.Fatal("more agents are needed")
	}
	body := `{"ttl":"5m"}`
	if from != "" {
		body = fmt.Sprintf(`{"ttl":"5m","from":%q}`, from)
	}
	status, doc := s.post(s.admin+"/api/v1/agents/"+name+"/token", s.token, nil, body)
	if status != http.StatusOK {
		s.t.Fatalf("token: %d %s", status, doc)
	}
	return &assistant{stage: s, name: name, token: gjson.Get(doc, "access_token").Str, claude: s.agents%2 == 0, system: system}
}

func (s *stage) post(url, token string, header map[string]string, body string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// does has the model ask for calls, one after the other, and the agent make them.
func (a *assistant) does(user string, calls []call) {
	a.t.Helper()
	if user != "" {
		a.history = append(a.history, map[string]any{"role": "user", "content": user})
	}
	for _, c := range calls {
		a.ask(upstream.Say{Text: "I shall do that.", Calls: []upstream.Call{{ID: fmt.Sprintf("call_%s_%d", a.name, len(a.history)), Tool: upstream.Tool{Name: strings.Replace(c.tool, "/", "__", 1)}, Args: c.args}}})
	}
}

// ask is one request to the model, which answers say, and what comes of it.
func (a *assistant) ask(say upstream.Say) {
	a.t.Helper()
	a.mu.Lock()
	a.next = func() upstream.Say { return say }
	a.mu.Unlock()
	url, body := a.gate+"/v1/chat/completions", map[string]any{"model": "gpt"}
	messages := append([]map[string]any{{"role": "system", "content": a.system}}, a.history...)
	var tools []any
	for _, o := range a.offers {
		if a.claude {
			tools = append(tools, map[string]any{"name": o["name"], "description": o["description"], "input_schema": o["schema"]})
		} else {
			tools = append(tools, map[string]any{"type": "function", "function": map[string]any{"name": o["name"], "description": o["description"], "parameters": o["schema"]}})
		}
	}
	if a.claude {
		url, body = a.gate+"/v1/messages", map[string]any{"model": "claude", "max_tokens": 1000, "system": a.system}
		messages = a.history
	}
	body["messages"], body["tools"] = messages, tools
	var doc bytes.Buffer
	enc := json.NewEncoder(&doc)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		a.t.Fatal(err)
	}
	status, reply := a.post(url, a.token, nil, doc.String())
	if status != http.StatusOK {
		a.t.Fatalf("%s: model: %d %s", a.name, status, reply)
	}
	var results []any
	if a.claude {
		content := gjson.Get(reply, "content")
		a.history = append(a.history, map[string]any{"role": "assistant", "content": json.RawMessage(content.Raw)})
		for _, b := range content.Array() {
			if b.Get("type").Str == "tool_use" {
				results = append(results, map[string]any{"type": "tool_result", "tool_use_id": b.Get("id").Str, "content": a.call(b.Get("name").Str, b.Get("input").Raw)})
			}
		}
		if results != nil {
			a.history = append(a.history, map[string]any{"role": "user", "content": results})
		}
		return
	}
	message := gjson.Get(reply, "choices.0.message")
	a.history = append(a.history, map[string]any{"role": "assistant", "content": message.Get("content").Str, "tool_calls": json.RawMessage(orNull(message.Get("tool_calls").Raw))})
	for _, c := range message.Get("tool_calls").Array() {
		a.history = append(a.history, map[string]any{"role": "tool", "tool_call_id": c.Get("id").Str, "content": a.call(c.Get("function.name").Str, c.Get("function.arguments").Str)})
	}
}

func orNull(raw string) string {
	if raw == "" {
		return "null"
	}
	return raw
}

var pending = regexp.MustCompile(`approval"?\s*:\s*"([0-9a-f]{8}-[0-9a-f-]{27})"`)

// call makes a tool call, and once more if it was held and somebody has said yes.
func (a *assistant) call(name, args string) string {
	a.t.Helper()
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":%s,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`, name, args)
	header := map[string]string{"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": name}
	for range 2 {
		status, reply := a.post(a.gate+"/mcp", a.token, header, body)
		result := gjson.Get(reply, "result")
		if status != http.StatusOK || !result.Exists() {
			a.t.Fatalf("%s: %s %s: %d %s", a.name, name, args, status, reply)
		}
		text := result.Get("content.0.text").Str
		if !result.Get("isError").Bool() {
			return text
		}
		id := pending.FindStringSubmatch(reply)
		if id == nil {
			a.why = append(a.why, text)
			return text
		}
		a.asked++
		a.why = append(a.why, fmt.Sprintf("%s %s: %s", name, args, text))
		if !a.approves {
			return text
		}
		if status, doc := a.post(a.admin+"/api/v1/approvals/"+id[1], a.stage.token, nil, `{"decision":"approve","by":"user:ana"}`); status != http.StatusOK {
			a.t.Fatalf("approve: %d %s", status, doc)
		}
	}
	a.t.Fatalf("%s %s is held though it was approved", name, args)
	return ""
}

// An outcome is what came of a scene.
type outcome struct {
	done []string
	by   []*assistant
	took time.Duration
}

// plays has a scene take place. approves says yes to whatever people are asked.
func (s *stage) plays(r run, approves bool) outcome {
	s.t.Helper()
	began := time.Now()
	s.mu.Lock()
	s.world = r.world
	s.mu.Unlock()
	a := s.hire("")
	a.approves = approves
	o := outcome{by: []*assistant{a}}
	a.does(r.user, r.read)
	switch order := strings.TrimSpace(r.text); r.by {
	case bySub:
		sub := s.hire(a.name)
		sub.system = "You are a helper of another agent. Do what it says."
		sub.does("Please do this: "+order, r.order)
		o.by = append(o.by, sub)
	case byLater:
		note, err := json.Marshal(map[string]string{"filename": "ideas.md", "content": order})
		if err != nil {
			s.t.Fatal(err)
		}
		a.does("", []call{{"mail/create_file", string(note)}})
		later := s.hire("")
		later.does("Look into ideas.md in my drive, and go on with what is open there.", append([]call{{"mail/search_files", `{"query":"ideas"}`}}, r.order...))
		o.by = append(o.by, later)
	default:
		a.does("", r.order)
	}
	a.does("", r.then)
	a.ask(upstream.Say{Text: "Done."})
	o.done, o.took = r.world.done, time.Since(began)
	return o
}
