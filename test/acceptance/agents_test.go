package acceptance

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"callgate/test/program"
	"callgate/test/upstream"
)

// loop is a model that calls a tool that is allowed, then one that people would have to
// approve, and then says what it learned and asks for one that is not allowed.
func loop(turn upstream.Turn) upstream.Say {
	echo, ok := turn.Find("echo")
	sum, ok2 := turn.Find("get-sum")
	switch {
	case !ok || !ok2:
		return upstream.Say{Text: "I have no tools."}
	case len(turn.Results) == 0:
		return upstream.Say{Text: "I shall say hello.", Calls: []upstream.Call{{Tool: echo, Args: `{"message":"hello, world"}`}}}
	case len(turn.Results) == 1:
		return upstream.Say{Calls: []upstream.Call{{Tool: sum, Args: `{"a":100,"b":1}`}}}
	case len(turn.Results) == 2:
		return upstream.Say{Text: "The second call was refused: " + turn.Results[1].Text, Calls: []upstream.Call{{Tool: sum, Args: `{"a":1000,"b":1}`}}}
	}
	return upstream.Say{Text: "All went through: " + turn.Results[2].Text}
}

// waitForTools has claude-code wait for its MCP servers before it asks the model, however
// slow the machine is.
var waitForTools = [...]string{"MCP_CONNECTION_NONBLOCKING=false", "MCP_CONNECT_TIMEOUT_MS=60000", "MCP_TIMEOUT=60000"}

func runClaude(w *world, model, mcp, token string) string {
	return runClaudeWith(w, model, `{"type":"http","url":"`+mcp+`","headers":{"Authorization":"Bearer ${GATE_TOKEN}"}}`, token)
}

// runBridged is claude-code with callgate mcp bridge as its MCP server.
func runBridged(w *world, model, mcp, token string) string {
	return runClaudeWith(w, model, `{"command":"`+the.callgate+`","args":["mcp","bridge","--url","`+strings.TrimSuffix(mcp, "/mcp")+`"],"env":{"CALLGATE_TOKEN":"${GATE_TOKEN}"}}`, token)
}

func runClaudeWith(w *world, model, server, token string) string {
	home := filepath.Join(w.dir, "home-claude")
	must(w.t, os.MkdirAll(home, 0o755))
	must(w.t, os.WriteFile(filepath.Join(home, "mcp.json"),
		[]byte(`{"mcpServers":{"callgate":`+server+`}}`), 0o644))
	return w.run("claude", []string{
		waitForTools[0], waitForTools[1], waitForTools[2],
		"ANTHROPIC_BASE_URL=" + model, "ANTHROPIC_API_KEY=" + token, "GATE_TOKEN=" + token,
		"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_AUTOUPDATER=1", "ENABLE_TOOL_SEARCH=false",
	}, "", the.claude, "-p", "Say hello, then add.", "--mcp-config", "mcp.json", "--strict-mcp-config",
		"--allowedTools", "mcp__callgate", "--output-format", "json")
}

func runCodex(w *world, model, mcp, token string) string {
	return runCodexWith(w, "fake-model", model, mcp, token)
}

// runCodexAcross is codex with a model of Anthropic's, which knows no responses.
func runCodexAcross(w *world, model, mcp, token string) string {
	return runCodexWith(w, "anthropic/fake-model", model, mcp, token)
}

func runCodexWith(w *world, name, model, mcp, token string) string {
	home := filepath.Join(w.dir, "home-codex")
	must(w.t, os.MkdirAll(home, 0o755))
	must(w.t, os.WriteFile(filepath.Join(home, "config.toml"), []byte(`
model = "`+name+`"
model_provider = "callgate"
approval_policy = "never"
sandbox_mode = "danger-full-access"
[model_providers.callgate]
name = "callgate"
base_url = "`+model+`/v1"
wire_api = "responses"
env_key = "GATE_TOKEN"
[mcp_servers.callgate]
url = "`+mcp+`"
bearer_token_env_var = "GATE_TOKEN"
startup_timeout_sec = 60
required = true
`), 0o644))
	return w.run("codex", []string{"CODEX_HOME=" + home, "GATE_TOKEN=" + token}, "",
		the.codex, "exec", "--skip-git-repo-check", "--json", "Say hello, then add.")
}

func TestRealAgentsDoAWholeLoopThroughTheGate(t *testing.T) {
	for name, run := range map[string]func(w *world, model, mcp, token string) string{"claude-code": runClaude, "codex": runCodex, "codex with a model of Anthropic's": runCodexAcross, "claude-code over the bridge": runBridged} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, loop)
			out := run(w, w.url, w.url+"/mcp", w.token())
			for _, want := range []string{"callgate refused the tool call", "rule N2 forbids agent:bot"} {
				if !strings.Contains(out, want) {
					t.Errorf("the agent did not come to the model's last words with %q in them:\n%s", want, out)
				}
			}
			w.checkLoop()
			spoken := map[string]string{"codex": "responses"}[name]
			if spoken == "" {
				spoken = "messages"
			}
			for _, turn := range w.model.Turns() {
				if turn.Dialect != spoken {
					t.Errorf("the model was asked in %s, want %s", turn.Dialect, spoken)
				}
			}
		})
	}
}

// checkLoop checks what went upstream and what the record tells of the loop.
func (w *world) checkLoop() {
	t := w.t
	t.Helper()
	token := w.token()
	for _, turn := range w.model.Turns() {
		for name, values := range turn.Header {
			if strings.Contains(strings.Join(values, " "), token[:20]) {
				t.Errorf("the agent's token went upstream in %s", name)
			}
		}
	}
	last := w.model.Turns()[len(w.model.Turns())-1]
	if len(last.Results) != 2 || !strings.Contains(last.Results[1].Text, "group:bosses") {
		t.Errorf("the model did not read that people are asked: %+v", last.Results)
	}
	type link struct{ From, Kind, Method string }
	type call struct {
		ID                                                        string `json:"call"`
		Kind, Target, Resource, Effect, Rule, Outcome, Agent, Run string
		Links                                                     []link
	}
	calls := decode[[]call](t, w.gate("audit", "query", "--json", "--limit", "1000"))
	byID := map[string]call{}
	var refused, echoed call
	for _, c := range calls {
		byID[c.ID] = c
		switch {
		case c.Resource == "get-sum":
			refused = c
		case c.Resource == "echo":
			echoed = c
		}
	}
	if echoed.Effect != "allow" || echoed.Rule != "T1" || echoed.Outcome != "ok" {
		t.Errorf("the allowed call is on record as %+v", echoed)
	}
	if refused.Effect != "ask" || refused.Rule != "A2" || refused.Outcome != "pending" {
		t.Errorf("the call that waits for people is on record as %+v", refused)
	}
	for _, c := range []call{echoed, refused} {
		if len(c.Links) != 1 || byID[c.Links[0].From].Kind != "model" || c.Links[0].Kind != "proposed" {
			t.Errorf("%s is not joined to the model call that asked for it: %+v", c.Resource, c.Links)
		}
		carried := 0
		for _, m := range calls {
			for _, l := range m.Links {
				rest := l.From == c.ID || slices.ContainsFunc(byID[l.From].Links, func(l link) bool { return l.Kind == "continued" && l.From == c.ID })
				if m.Kind == "model" && rest && l.Kind == "result" {
					carried++
				}
			}
		}
		if carried != 1 {
			t.Errorf("the result of %s led to %d model calls, want 1", c.Resource, carried)
		}
	}
	chain := w.gate("audit", "chain", echoed.ID)
	for _, want := range []string{"agent:bot", "everything/echo", "everything/get-sum", "allow by M1", "allow by T1", "ask by A2", `"a":1000`, "which was taken out: rule N2 forbids", "asked for by the model (the ids agree)", "brings the result back (the ids ", "people are asked: approval "} {
		if !strings.Contains(chain, want) {
			t.Errorf("the chain does not show %q:\n%s", want, chain)
		}
	}
	t.Logf("\n%s", chain)
}

// Without the gate the same agents get through with both calls: what refuses the
// second one is callgate and nothing else.
func TestRealAgentsDoTheSameLoopWithoutTheGate(t *testing.T) {
	needParts(t)
	w := &world{t: t, dir: t.TempDir(), model: &upstream.Model{Script: loop}}
	models := httptest.NewServer(w.model)
	defer models.Close()
	port := program.FreePort(t)
	program.Start(t, program.Program{Args: []string{the.everything, "streamableHttp"}, Dir: w.dir, Env: append(os.Environ(), "PORT="+port), Log: filepath.Join(w.dir, "everything.log")})
	mcp := "http://127.0.0.1:" + port + "/mcp"
	program.WaitFor(t, mcp)
	for name, out := range map[string]string{"claude-code": runClaude(w, models.URL, mcp, "none"), "codex": runCodex(w, models.URL, mcp, "none")} {
		if !strings.Contains(out, "The sum of 1000 and 1 is 1001.") {
			t.Errorf("%s: the last call did not get through:\n%s", name, out)
		}
	}
}
