// Package scripted has OAuth clients that others wrote log in at a real callgate,
// unmodified, with a person who agrees and has no screen: golang.org/x/oauth2,
// zitadel/oidc and the MCP project's Go SDK. What they get must be good for a tool call, as the person and
// the agent, and on record. Those of the npm registry are in package acceptance.
package scripted

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"callgate/test/program"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "callgate-logins-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		if binary, err = program.Build(dir, false); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// A gate is a callgate, with a tool behind it, that programs may log in to.
type gate struct {
	t         *testing.T
	url, data string
	back      chan string // what a client's redirect URI gets
	landing   string      // that URI
}

const config = `
listen: 127.0.0.1:%[1]s
data: %[2]s
admin: {listen: "127.0.0.1:%[3]s"}
mcp:
  servers:
    till: {url: "%[4]s"}
identity:
  default_agent: bot
  registration: true
  clients:
    - {id: app, name: "An app", redirect_uris: ["http://127.0.0.1/callback"]}
    - {id: web, name: "A web app", redirect_uris: ["http://127.0.0.1/callback"], secret: "env:WEB_SECRET"}
policy: [policy.csv]
`

const webSecret = "a secret/of+32%characters, or more"

// Both the agent and the person must be allowed.
const policy = `
p, agent:bot,  *, tool:till/echo, call, true, allow, T1
p, user:admin, *, tool:till/echo, call, true, allow, T2
p, agent:bot,  *, tool:till/pay,  call, true, allow, T3
p, agent:robot, *, tool:till/echo, call, true, allow, T4
p, agent:bot, *, agent:robot, delegate, true, allow, D1
p, user:admin, *, agent:robot, delegate, true, allow, D2
`

func newGate(t *testing.T) *gate {
	t.Helper()
	till := server.NewMCPServer("till", "1.0.0", server.WithToolCapabilities(false))
	till.AddTool(mcp.NewTool("echo", mcp.WithString("text", mcp.Required())), func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText("you said " + r.GetString("text", "?")), nil
	})
	till.AddTool(mcp.NewTool("pay"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText("paid"), nil
	})
	tools := httptest.NewServer(server.NewStreamableHTTPServer(till))
	t.Cleanup(tools.Close)
	dir, port := t.TempDir(), program.FreePort(t)
	g := &gate{t: t, url: "http://127.0.0.1:" + port, data: filepath.Join(dir, "data"), back: make(chan string, 1)}
	must(t, os.WriteFile(filepath.Join(dir, "policy.csv"), []byte(policy), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "callgate.yaml"), fmt.Appendf(nil, config, port, g.data, program.FreePort(t), tools.URL+"/mcp"), 0o644))
	program.Start(t, program.Program{
		Args: []string{binary, "serve", "-c", filepath.Join(dir, "callgate.yaml")}, Dir: dir, Log: filepath.Join(dir, "callgate.log"), Clean: true,
		Env: append(os.Environ(), "WEB_SECRET="+webSecret),
	})
	program.WaitFor(t, g.url+"/healthz")
	program.Command(t, binary, g.data, "agent", "create", "bot", "--owner", "user:admin")
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.back <- r.URL.String() }))
	t.Cleanup(app.Close)
	g.landing = app.URL + "/callback"
	return g
}

// call calls a tool by what a client got, and returns what it answers.
func (g *gate) call(hc *http.Client, tool string) string {
	g.t.Helper()
	c, err := client.NewStreamableHttpClient(g.url+"/mcp/till", transport.WithHTTPBasicClient(hc))
	must(g.t, err)
	defer c.Close()
	must(g.t, c.Start(g.t.Context()))
	_, err = c.Initialize(g.t.Context(), mcp.InitializeRequest{Params: mcp.InitializeParams{ProtocolVersion: "2025-06-18", ClientInfo: mcp.Implementation{Name: "test", Version: "1"}}})
	must(g.t, err)
	r, err := c.CallTool(g.t.Context(), mcp.CallToolRequest{Params: mcp.CallToolParams{Name: tool, Arguments: map[string]any{"text": "hello"}}})
	must(g.t, err)
	if len(r.Content) != 1 {
		g.t.Fatalf("%s answers %v", tool, r.Content)
	}
	text, _ := r.Content[0].(mcp.TextContent)
	return text.Text
}

// useful fails unless what a client got is good for what the person and the agent
// may both do, for nothing else, and is on record as theirs.
func (g *gate) useful(hc *http.Client) {
	g.t.Helper()
	if got := g.call(hc, "echo"); got != "you said hello" {
		g.t.Errorf("echo: %q", got)
	}
	if got := g.call(hc, "pay"); !strings.Contains(got, "user:admin") {
		g.t.Errorf("the agent alone may pay, and with the person's token it is told: %q", got)
	}
	var calls []struct{ Agent, Subject, Resource, Outcome string }
	must(g.t, json.Unmarshal([]byte(program.Command(g.t, binary, g.data, "audit", "query", "--json", "--kind", "tool", "--limit", "2")), &calls))
	if len(calls) != 2 || calls[1].Agent != "agent:bot" || calls[1].Subject != "user:admin" || calls[1].Outcome != "ok" || calls[0].Outcome != "denied" {
		g.t.Errorf("on record: %+v", calls)
	}
}

// records is the records whose what has this prefix.
func (g *gate) records() string {
	g.t.Helper()
	return program.Command(g.t, binary, g.data, "audit", "tail", "-n", "1000")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// agent registers an agent, and returns its secret.
func (g *gate) agent(name string) string {
	g.t.Helper()
	said := program.Command(g.t, binary, g.data, "agent", "create", name)
	_, secret, _ := strings.Cut(said, "client_secret ")
	return strings.Fields(secret)[0]
}

// get is the status of a request by what a client got.
func (g *gate) get(hc *http.Client) int {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, g.url+"/mcp/till", strings.NewReader("{}"))
	must(g.t, err)
	resp, err := hc.Do(r)
	must(g.t, err)
	_ = resp.Body.Close()
	return resp.StatusCode
}
