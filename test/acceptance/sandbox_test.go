package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"callgate/test/program"
)

const sandboxConfig = `
listen: 127.0.0.1:%s
data: %s
admin: {listen: "127.0.0.1:%s"}
mcp:
  servers:
    installed: {command: [%s, %s], dir: %s, process: {sandbox: required, network: false, readable: [%s], writable: [%s], open_files: 256}}
    fetched: {command: [npx, -y, "@modelcontextprotocol/server-filesystem@2026.8.31", %s], timeout: 120s, env: {NODE_EXTRA_CA_CERTS: /etc/ssl/certs/ca-certificates.crt}, process: {sandbox: required, writable: [%s]}}
    cached: {command: [npx, -y, "@modelcontextprotocol/server-filesystem@2026.8.31", %s], timeout: 120s, env: {NODE_EXTRA_CA_CERTS: /etc/ssl/certs/ca-certificates.crt}, process: {sandbox: required, writable: [%s], home: %s}}
policy: [policy.csv]
`

const sandboxPolicy = `p, role:dev, *, tool:*, call, true, allow, R1
`

// TestNpmServersInASandbox runs real servers shut in: one from where npm put it, with
// no network, and the same as npx fetches it, which needs a home for its cache. All
// of them work, on what they are given and nothing else.
func TestNpmServersInASandbox(t *testing.T) {
	needParts(t)
	for _, program := range []string{"bwrap", "npx"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED: there is no %s here; .ci/run installs it", program)
		}
	}
	dir := t.TempDir()
	w := &world{t: t, dir: dir, data: filepath.Join(dir, "data")}
	docs, home := filepath.Join(dir, "docs"), filepath.Join(dir, "home")
	must(t, os.Mkdir(docs, 0o755))
	must(t, os.Mkdir(home, 0o755))
	must(t, os.WriteFile(filepath.Join(docs, "hello.txt"), []byte("hello from a file\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "policy.csv"), []byte(sandboxPolicy), 0o644))
	modules, err := filepath.Abs("node_modules")
	must(t, err)
	gate, admin := program.FreePort(t), program.FreePort(t)
	w.url = "http://127.0.0.1:" + gate
	config := fmt.Sprintf(sandboxConfig, gate, w.data, admin, the.filesystem, docs, docs, modules, docs, docs, docs, docs, docs, home)
	must(t, os.WriteFile(filepath.Join(dir, "callgate.yaml"), []byte(config), 0o644))
	program.Start(t, program.Program{Args: []string{the.callgate, "serve", "-c", filepath.Join(dir, "callgate.yaml")}, Dir: dir, Env: os.Environ(), Log: filepath.Join(dir, "callgate.log"), Clean: true})
	program.WaitFor(t, w.url+"/healthz")
	w.gate("agent", "create", "bot", "--role", "dev")
	token := w.token()
	for _, server := range []string{"installed", "fetched", "cached"} {
		t.Run(server, func(t *testing.T) {
			w := *w
			w.t = t
			file := filepath.Join(docs, server+".txt")
			a := w.client("modern", "/mcp/"+server, token, []step{
				{Op: "callTool", Params: tool("read_text_file", map[string]any{"path": filepath.Join(docs, "hello.txt")})},
				{Op: "callTool", Params: tool("write_file", map[string]any{"path": file, "content": "written"})},
				{Op: "callTool", Params: tool("read_text_file", map[string]any{"path": filepath.Join(w.data, "admin.token")})},
			})
			if got := a[1].Get("result.content.0.text").Str; got != "hello from a file\n" {
				t.Errorf("read: %s", a[1].Raw)
			}
			if text, err := os.ReadFile(file); err != nil || string(text) != "written" {
				t.Errorf("write: %s, %q, %v", a[2].Raw, text, err)
			}
			if !a[3].Get("result.isError").Bool() {
				t.Errorf("callgate's own token: %s", a[3].Raw)
			}
		})
	}
	if t.Failed() {
		return
	}
	if kept, _ := filepath.Glob(filepath.Join(home, ".npm", "_npx", "*")); len(kept) == 0 {
		t.Error("npx kept nothing in the home that it was given")
	}
	report := w.gate("doctor", "-c", filepath.Join(dir, "callgate.yaml"), "--json")
	for _, c := range gjson.Get(report, "checks").Array() {
		if strings.HasPrefix(c.Get("check").Str, "server ") && c.Get("state").Str != "ok" {
			t.Errorf("doctor: %s", c.Raw)
		}
	}
}
