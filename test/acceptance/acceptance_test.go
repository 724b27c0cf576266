// Package acceptance runs callgate between the real parts: npm's MCP servers, the
// official TypeScript clients, and the agents claude-code and codex, which do a
// whole loop against a scripted model. .ci/run installs the parts; without them
// the tests say so and are skipped.
package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callgate/test/program"
	"callgate/test/upstream"
)

const modelKey = "sk-upstream-0000" // the key that only callgate holds

// parts are the programs that the tests need.
type parts struct {
	callgate, node, claude, codex, everything, filesystem string
}

var the parts

func TestMain(m *testing.M) {
	os.Exit(func() int {
		bin := func(name string) string {
			p, err := filepath.Abs(filepath.Join("node_modules", ".bin", name))
			if err != nil {
				panic(err)
			}
			return p
		}
		the = parts{node: bin("node"), claude: bin("claude"), codex: bin("codex"), everything: bin("mcp-server-everything"), filesystem: bin("mcp-server-filesystem")}
		if _, err := os.Stat(the.node); err != nil {
			return m.Run() // each test says why it is skipped
		}
		dir, err := os.MkdirTemp("", "callgate-acceptance-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		if the.callgate, err = program.Build(dir, true); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		os.Setenv("PATH", filepath.Dir(the.node)+":"+os.Getenv("PATH")) // the npm programs start node by its name
		return m.Run()
	}())
}

func needParts(t *testing.T) {
	t.Helper()
	if the.callgate == "" {
		t.Skip("SKIPPED: node_modules is missing in test/acceptance; .ci/run installs it (npm ci)")
	}
}

// A world is callgate with everything around it, for one test.
type world struct {
	t     *testing.T
	dir   string
	url   string // of the gate
	data  string
	model *upstream.Model
}

// newWorld starts the servers, the scripted model and callgate.
func newWorld(t *testing.T, script func(upstream.Turn) upstream.Say) *world {
	t.Helper()
	needParts(t)
	dir := t.TempDir()
	w := &world{t: t, dir: dir, data: filepath.Join(dir, "data"), model: &upstream.Model{Script: script, Key: modelKey}}
	models := httptest.NewServer(w.model)
	t.Cleanup(models.Close)

	docs := filepath.Join(dir, "docs")
	must(t, os.MkdirAll(docs, 0o755))
	must(t, os.WriteFile(filepath.Join(docs, "hello.txt"), []byte("hello from a file\n"), 0o644))

	everythingPort := program.FreePort(t)
	program.Start(t, program.Program{Args: []string{the.everything, "streamableHttp"}, Dir: dir, Env: append(os.Environ(), "PORT="+everythingPort), Log: filepath.Join(dir, "everything.log")})
	program.WaitFor(t, "http://127.0.0.1:"+everythingPort+"/mcp")

	gate, admin := program.FreePort(t), program.FreePort(t)
	w.url = "http://127.0.0.1:" + gate
	must(t, os.WriteFile(filepath.Join(dir, "policy.csv"), []byte(policy), 0o644))
	config := fmt.Sprintf(config, gate, w.data, admin, everythingPort, the.everything, the.filesystem, docs, models.URL, models.URL)
	must(t, os.WriteFile(filepath.Join(dir, "callgate.yaml"), []byte(config), 0o644))
	program.Start(t, program.Program{Args: []string{the.callgate, "serve", "-c", filepath.Join(dir, "callgate.yaml")}, Dir: dir, Env: append(os.Environ(), "MODEL_KEY="+modelKey), Log: filepath.Join(dir, "callgate.log"), Clean: true})
	program.WaitFor(t, w.url+"/healthz")
	w.gate("agent", "create", "bot", "--role", "dev")
	return w
}

const policy = `# may use the model, everything that is harmless, and small sums
p, role:dev, *, model:*,                         generate, true,                    allow, M1
p, role:dev, *, tool:everything/echo,            call,     true,                    allow, T1
p, role:dev, *, tool:everything/get-sum,         call,     true,                    allow, T2
p, role:dev, *, tool:everything/get-sum,         call,     r.env.args.a > 100,      deny,  N2
p2, role:dev, *, tool:everything/get-sum,        call,     r.env.args.a == 100,     allow, require_approval:group:bosses, A2
p, role:dev, *, tool:everything/trigger-long-running-operation, call, true,         allow, T3
p, role:dev, *, tool:everything/get-structured-content, call, true,                 allow, T4
p, role:dev, *, resource:everything|*,           read,     true,                    allow, R1
p, role:dev, *, prompt:everything/*,             get,      true,                    allow, P1
p, role:dev, *, tool:local/echo,                 call,     true,                    allow, T5
p, role:dev, *, tool:files/read_text_file,       call,     true,                    allow, T6
p, role:dev, *, tool:files/list_directory,       call,     true,                    allow, T7
# of people who let an agent act for them
p, user:admin, *, tool:everything/echo,          call,     true,                    allow, H1
p, user:admin, *, tool:everything/get-sum,       call,     true,                    allow, H2
p, user:admin, *, tool:everything/get-sum,       call,     r.env.args.a > 10,       deny,  N3
`

const config = `
listen: 127.0.0.1:%s
data: %s
admin: {listen: "127.0.0.1:%s"}
mcp:
  servers:
    everything: {url: "http://127.0.0.1:%s/mcp"}
    local: {command: [%s, stdio]}
    files: {command: [%s, %s]}
providers:
  anthropic: {api_key: "env:MODEL_KEY", base_url: "%s/v1"}
  openai: {api_key: "env:MODEL_KEY", base_url: "%s/v1"}
identity:
  default_agent: bot
  registration: true
  clients:
    # these publish a document each, which a gate without the internet cannot fetch
    - {id: "https://claude.ai/oauth/claude-code-client-metadata", name: "Claude Code", redirect_uris: ["http://localhost/callback", "http://127.0.0.1/callback"]}
    - {id: "https://chatgpt.com/oauth/codex/client.json", name: "Codex", redirect_uris: ["http://localhost/callback", "http://127.0.0.1/callback"]}
policy: [policy.csv]
`

// gate runs a callgate command against the running gate and returns its output.
func (w *world) gate(args ...string) string {
	w.t.Helper()
	return program.Command(w.t, the.callgate, w.data, args...)
}

func (w *world) token() string { return strings.TrimSpace(w.gate("token", "bot", "--ttl", "15m")) }

// run runs an agent or client to its end, in a home of its own.
func (w *world) run(name string, env []string, stdin string, args ...string) string {
	w.t.Helper()
	home := filepath.Join(w.dir, "home-"+name)
	must(w.t, os.MkdirAll(home, 0o755))
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdin = home, strings.NewReader(stdin)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		w.t.Fatalf("%s: %v\nstdout: %s\nstderr: %s", name, err, out.String(), errs.String())
	}
	return out.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// decode reads JSON that a program printed.
func decode[T any](t *testing.T, doc string) T {
	t.Helper()
	var v T
	d := json.NewDecoder(strings.NewReader(doc))
	if err := d.Decode(&v); err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("%v in %s", err, doc)
	}
	return v
}
