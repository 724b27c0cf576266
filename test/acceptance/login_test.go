package acceptance

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callgate/test/program"
	"callgate/test/upstream"
)

// What is said to a person who has to log in with a program.
const goTo = "/oauth/authorize?"

// logs runs a program that wants a person to log in, in a home of its own, and has
// the person do so as soon as it says where. It returns all that it says.
func (w *world) logs(name string, env []string, args ...string) string {
	w.t.Helper()
	home := filepath.Join(w.dir, "home-"+name)
	must(w.t, os.MkdirAll(home, 0o755))
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = home, append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}, env...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	typed, err := cmd.StdinPipe() // is open until the program ends, as a terminal's
	must(w.t, err)
	says, err := cmd.StdoutPipe()
	must(w.t, err)
	must(w.t, cmd.Start())
	person, said, done := program.NewPerson(w.t, w.data), new(strings.Builder), false
	for lines := bufio.NewReader(says); ; {
		line, err := lines.ReadString('\n')
		said.WriteString(line)
		if at := strings.Index(line, w.url+goTo); at >= 0 && !done {
			done = true
			to := strings.FieldsFunc(line[at:], func(r rune) bool { return r <= ' ' || r == 0x7f })[0]
			person.Follow(person.Allow(to))
		}
		if err != nil {
			break
		}
	}
	_ = typed.Close()
	if err := cmd.Wait(); err != nil || !done {
		w.t.Fatalf("%s: %v\nstdout: %s\nstderr: %s", name, err, said, &errs)
	}
	return said.String()
}

// modest is a model that calls a tool that is allowed, and then one as only the agent
// may call it, and not the person.
func modest(turn upstream.Turn) upstream.Say {
	echo, ok := turn.Find("echo")
	sum, ok2 := turn.Find("get-sum")
	switch {
	case !ok || !ok2:
		return upstream.Say{Text: "I have no tools."}
	case len(turn.Results) == 0:
		return upstream.Say{Text: "I shall say hello.", Calls: []upstream.Call{{Tool: echo, Args: `{"message":"hello, world"}`}}}
	case len(turn.Results) == 1:
		return upstream.Say{Calls: []upstream.Call{{Tool: sum, Args: `{"a":50,"b":1}`}}}
	}
	return upstream.Say{Text: "The second call was refused: " + turn.Results[1].Text}
}

// loggedIn checks what the agents did with the login: the first call passed, and
// the second was refused, since the person may not make it, whom nobody asked.
func (w *world) loggedIn(out, client string) {
	w.t.Helper()
	if !strings.Contains(out, "The second call was refused") || !strings.Contains(out, "N3") {
		w.t.Errorf("the agent did not come to the model's last words with the reason in them:\n%s", out)
	}
	type call struct{ Resource, Agent, Subject, Outcome string }
	echoed, refused := call{}, call{}
	for _, c := range decode[[]call](w.t, w.gate("audit", "query", "--json", "--limit", "1000")) {
		switch c.Resource {
		case "echo":
			echoed = c
		case "get-sum":
			refused = c
		}
	}
	if want := (call{"echo", "agent:bot", "user:admin", "ok"}); echoed != want {
		w.t.Errorf("the first call is on record as %+v", echoed)
	}
	if want := (call{"get-sum", "agent:bot", "user:admin", "denied"}); refused != want {
		w.t.Errorf("the second call is on record as %+v", refused)
	}
	if said := w.gate("audit", "tail", "-n", "1000"); !strings.Contains(said, "consent.given") || !strings.Contains(said, "to client "+client) {
		w.t.Errorf("no consent to %s on record:\n%s", client, said)
	}
}

// Claude Code logs in by itself: it opens a browser, which here is a script that
// tells the test where to go. It wants a terminal for that, which script(1) is.
func TestClaudeCodeLogsIn(t *testing.T) {
	w := newWorld(t, modest)
	home := filepath.Join(w.dir, "home-claude")
	must(t, os.MkdirAll(home, 0o755))
	must(t, os.WriteFile(filepath.Join(w.dir, "browser"), []byte("#!/bin/sh\n"), 0o755))
	w.run("claude", nil, "", the.claude, "mcp", "add", "--transport", "http", "--scope", "user", "callgate", w.url+"/mcp")
	w.logs("claude", []string{"BROWSER=" + filepath.Join(w.dir, "browser"), "TERM=dumb", "SHELL=/bin/sh"},
		"script", "-qec", "stty cols 4000; '"+the.claude+"' mcp login callgate", os.DevNull)
	token := w.token()
	out := w.run("claude", []string{
		waitForTools[0], waitForTools[1], waitForTools[2],
		"ANTHROPIC_BASE_URL=" + w.url, "ANTHROPIC_API_KEY=" + token,
		"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_AUTOUPDATER=1", "ENABLE_TOOL_SEARCH=false",
	}, "", the.claude, "-p", "Say hello, then add.", "--allowedTools", "mcp__callgate", "--output-format", "json")
	w.loggedIn(out, "https://claude.ai/oauth/claude-code-client-metadata")
}

func TestCodexLogsIn(t *testing.T) {
	for name, c := range map[string]struct {
		args   []string
		client string
	}{
		"by its document":       {nil, "https://chatgpt.com/oauth/codex/client.json"},
		"by registering itself": {[]string{"--oauth-client-registration", "dcr"}, "dcr_"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, modest)
			home := filepath.Join(w.dir, "home-codex")
			must(t, os.MkdirAll(home, 0o755))
			must(t, os.WriteFile(filepath.Join(home, "config.toml"), []byte(`
model = "fake-model"
model_provider = "callgate"
approval_policy = "never"
sandbox_mode = "danger-full-access"
mcp_oauth_credentials_store = "file"
[model_providers.callgate]
name = "callgate"
base_url = "`+w.url+`/v1"
wire_api = "responses"
env_key = "GATE_TOKEN"
[mcp_servers.callgate]
url = "`+w.url+`/mcp"
startup_timeout_sec = 60
required = true # so that it waits for its tools before it asks the model
`), 0o644))
			env := []string{"CODEX_HOME=" + home, "GATE_TOKEN=" + w.token()}
			w.logs("codex", env, append([]string{the.codex, "mcp", "login", "callgate", "--no-browser"}, c.args...)...)
			w.loggedIn(w.run("codex", env, "", the.codex, "exec", "--skip-git-repo-check", "--json", "Say hello, then add."), c.client)
		})
	}
}
