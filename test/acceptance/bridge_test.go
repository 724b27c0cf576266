package acceptance

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"callgate/test/program"
)

// The official clients, of both generations and the one that finds out itself,
// start callgate mcp bridge as they start any stdio server. They hear that the
// lists change, and do not notice that the gate is started again under them.
func TestOfficialClientsOverTheBridge(t *testing.T) {
	needParts(t)
	for _, tt := range []struct{ generation, version, server string }{{"sdk", "", ""}, {"legacy", "2025-11-25", "local"}, {"auto", "2026-07-28", "local"}} {
		t.Run(tt.generation, func(t *testing.T) { overBridge(t, tt.generation, tt.version, tt.server) })
	}
}

// bridged is a gate that a test starts and stops.
type bridged struct {
	world
	port, admin string
	cmd         *exec.Cmd
	log         *os.File
}

const bridgePolicy = `p, role:dev, *, tool:local/echo, call, true, allow, T1
p, role:dev, *, tool:local/trigger-long-running-operation, call, true, allow, T2
`

func (b *bridged) allow(more string) {
	b.t.Helper()
	must(b.t, os.WriteFile(filepath.Join(b.dir, "policy.csv"), []byte(bridgePolicy+more), 0o644))
}

func (b *bridged) up() {
	b.t.Helper()
	b.cmd = exec.Command(the.callgate, "serve", "-c", filepath.Join(b.dir, "callgate.yaml"))
	b.cmd.Dir, b.cmd.Stdout, b.cmd.Stderr = b.dir, b.log, b.log
	must(b.t, b.cmd.Start())
	program.WaitFor(b.t, "http://127.0.0.1:"+b.port+"/healthz")
}

func (b *bridged) down() {
	b.t.Helper()
	must(b.t, b.cmd.Process.Signal(syscall.SIGTERM))
	if err := b.cmd.Wait(); err != nil {
		b.t.Errorf("callgate did not stop cleanly: %v", err)
	}
}

func overBridge(t *testing.T, generation, version, server string) {
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "callgate.log"))
	must(t, err)
	b := &bridged{world: world{t: t, dir: dir, data: filepath.Join(dir, "data")}, port: program.FreePort(t), admin: program.FreePort(t), log: log}
	must(t, os.WriteFile(filepath.Join(dir, "callgate.yaml"), []byte(fmt.Sprintf(`
listen: 127.0.0.1:%s
data: %s
admin: {listen: "127.0.0.1:%s"}
mcp: {servers: {local: {command: [%s, stdio]}}}
policy: [policy.csv]
`, b.port, b.data, b.admin, the.everything)), 0o644))
	b.allow("")
	b.up()
	t.Cleanup(func() {
		b.down()
		log.Close()
		out, _ := os.ReadFile(log.Name())
		if strings.Contains(string(out), "DATA RACE") {
			t.Error("data race")
		}
		if t.Failed() {
			t.Logf("callgate said:\n%s", out[max(0, len(out)-6000):])
		}
	})
	b.gate("agent", "create", "bot", "--role", "dev")

	file := func(name string) string { return filepath.Join(dir, name) }
	meet := func(n int) step {
		return step{Op: "meet", Params: map[string]any{"here": file(fmt.Sprint("here", n)), "there": file(fmt.Sprint("there", n))}}
	}
	met := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(file(fmt.Sprint("here", n))); err == nil {
				return
			} else if time.Now().After(deadline) {
				t.Errorf("the client does not come to meeting %d", n)
				return
			}
		}
	}
	goOn := func(n int) { must(t, os.WriteFile(file(fmt.Sprint("there", n)), nil, 0o644)) }

	args := []string{the.callgate, "mcp", "bridge", "--agent", "bot", "--data", b.data}
	prefix := "local__"
	if server != "" {
		args, prefix = append(args, server), ""
	}
	command, err := json.Marshal(args)
	must(t, err)
	echo := step{Op: "callTool", Params: tool(prefix+"echo", map[string]any{"message": "grüß Gott 👋"})}
	steps := []step{
		{Op: "listTools"},
		echo,
		{Op: "callTool", Params: tool(prefix+"get-env", map[string]any{})},
		{Op: "callTool", Params: tool("nothing", map[string]any{})},
		{Op: "callTool", Params: tool(prefix+"trigger-long-running-operation", map[string]any{"duration": 0.3, "steps": 3}), Progress: true},
		{Op: "callTool", Params: tool(prefix+"trigger-long-running-operation", map[string]any{"duration": 60, "steps": 3}), CancelAfter: 200},
		echo,
		meet(1), // the policy changes
		{Op: "changed"},
		{Op: "listTools"},
		meet(2), // the gate is started again, with another policy
		echo,
		{Op: "changed"},
		{Op: "listTools"},
	}
	doc, err := json.Marshal(steps)
	must(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		met(1)
		b.allow("p, role:dev, *, tool:local/get-sum, call, true, allow, T3\n")
		b.gate("reload")
		goOn(1)
		met(2)
		b.down()
		b.allow("p, role:dev, *, tool:local/get-tiny-image, call, true, allow, T3\n")
		goOn(2) // so that the client calls while the gate is away
		b.up()
	}()
	a := gjson.Parse(b.run("client", []string{"GORACE=log_path=" + file("race")}, string(doc), the.node, mustAbs(t, "client.mjs"), generation, string(command), "")).Array()
	<-ended
	if races, _ := filepath.Glob(file("race*")); len(races) > 0 {
		text, _ := os.ReadFile(races[0])
		t.Errorf("data race in the bridge:\n%s", text)
	}
	if len(a) != len(steps)+1 {
		t.Fatalf("%d answers to %d steps: %v", len(a), len(steps), a)
	}
	want := func(i int, path, text string) {
		t.Helper()
		if got := a[i].Get(path).String(); !strings.Contains(got, text) {
			t.Errorf("%s: %s = %.300q, want %q in it; all: %.600s", steps[max(i-1, 0)].Op, path, got, text, a[i].Raw)
		}
	}
	want(0, "version", version)
	listed := func(i int, more ...string) {
		t.Helper()
		all := append([]string{prefix + "echo", prefix + "trigger-long-running-operation"}, more...)
		got := names(a[i].Get("result.tools"))
		slices.Sort(got)
		slices.Sort(all)
		if !slices.Equal(got, all) {
			t.Errorf("answer %d: tools %v, want %v: %.300s", i, got, all, a[i].Raw)
		}
	}
	listed(1)
	want(2, "result.content.0.text", "grüß Gott 👋")
	want(3, "result.content.0.text", "no rule allows agent:bot to call")
	want(4, "@this", "nothing")
	want(5, "result.content.0.text", "ompleted")
	if p := a[5].Get("progress").Array(); len(p) == 0 || p[len(p)-1].Get("progress").Int() != 3 {
		t.Errorf("progress = %v, want it to end with 3 of 3", p)
	}
	want(6, "error.message", "changed my mind")
	want(7, "result.content.0.text", "grüß Gott 👋")
	listed(10, prefix+"get-sum")
	want(12, "result.content.0.text", "grüß Gott 👋")
	listed(14, prefix+"get-tiny-image")
	if got := b.gate("audit", "query", "--agent", "bot", "--kind", "tool"); !strings.Contains(got, "canceled") {
		t.Errorf("the call that was cancelled is not so on record:\n%s", got)
	}
}
