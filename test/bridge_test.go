package test

import (
	"bufio"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"callgate/test/conformance/fixture"
	"callgate/test/program"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

// A piped is a client that speaks by stdio alone, with callgate mcp bridge.
type piped struct {
	t     *testing.T
	in    io.WriteCloser
	lines chan gjson.Result
	meta  string // of each request of a modern client
	id    int
}

const canAll = `{"elicitation":{"form":{}},"sampling":{},"roots":{}}`

// bridged starts a bridge and greets the gate.
func bridged(t *testing.T, cmd *exec.Cmd, version string) *piped {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &piped{t: t, in: in, lines: make(chan gjson.Result, 256)}
	go func() {
		defer close(c.lines)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			c.lines <- gjson.Parse(strings.Clone(lines.Text()))
		}
	}()
	t.Cleanup(func() {
		_ = in.Close()
		for range c.lines { // until it has no more to say
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the bridge: %v", err)
		}
		if t.Failed() || strings.Contains(errs.String(), "DATA RACE") {
			t.Errorf("the bridge said: %s", errs.String())
		}
	})
	if version == fixture.Modern {
		c.meta = `"io.modelcontextprotocol/protocolVersion":"` + version + `","io.modelcontextprotocol/clientCapabilities":` + canAll
		return c
	}
	m, _, _ := c.ask("initialize", `"protocolVersion":"`+version+`","capabilities":`+canAll+`,"clientInfo":{"name":"t","version":"1"}`)
	if got := m.Get("result.protocolVersion").Str; got != version {
		t.Fatalf("the gate speaks %s", m.Raw)
	}
	c.say(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return c
}

func (c *piped) say(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		c.t.Fatal(err)
	}
}

// hear is the next message.
func (c *piped) hear() gjson.Result {
	c.t.Helper()
	select {
	case m, ok := <-c.lines:
		if !ok {
			c.t.Fatal("the bridge has ended")
		}
		return m
	case <-time.After(20 * time.Second):
		c.t.Fatal("nothing comes")
	}
	return gjson.Result{}
}

// begin sends a request.
func (c *piped) begin(method, params string) {
	c.t.Helper()
	c.id++
	if params != "" {
		params += ","
	}
	meta := fmt.Sprintf(`"progressToken":"p%d"`, c.id)
	if c.meta != "" {
		meta += "," + c.meta
	}
	c.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"%s","params":{%s"_meta":{%s}}}`, c.id, method, params, meta))
}

// toServers is what these clients say to servers.
var toServers = map[string]string{
	"elicitation/create":     `{"action":"accept","content":{"name":"Ana"}}`,
	"sampling/createMessage": `{"role":"assistant","content":{"type":"text","text":"hello"},"model":"m"}`,
	"roots/list":             `{"roots":[{"uri":"file:///srv","name":"srv"}]}`,
}

// ask makes a request, answers what it is asked on the way, as its era does, and
// returns the response, what it was asked, and what it was told.
func (c *piped) ask(method, params string) (response gjson.Result, asked, told []string) {
	c.t.Helper()
	more := ""
	for range 10 {
		c.begin(method, params+more)
		for {
			m := c.hear()
			switch said := m.Get("method").Str; {
			case said != "" && m.Get("id").Exists():
				asked = append(asked, said)
				c.say(`{"jsonrpc":"2.0","id":` + m.Get("id").Raw + `,"result":` + toServers[said] + `}`)
				continue
			case said != "":
				told = append(told, said)
				continue
			case int(m.Get("id").Int()) != c.id:
				c.t.Fatalf("an answer to another request than %d: %s", c.id, m.Raw)
			}
			response = m
			break
		}
		if response.Get("result.resultType").Str != "input_required" {
			return response, asked, told
		}
		var answers []string
		response.Get("result.inputRequests").ForEach(func(key, q gjson.Result) bool {
			asked = append(asked, q.Get("method").Str)
			answers = append(answers, key.Raw+":"+toServers[q.Get("method").Str])
			return true
		})
		more = `,"inputResponses":{` + strings.Join(answers, ",") + `}`
		if state := response.Get("result.requestState"); state.Exists() {
			more += `,"requestState":` + state.Raw
		}
	}
	c.t.Fatal("asked again and again")
	return response, asked, told
}

// TestEveryClientOfTheBridgeReachesEveryServer is the part of the matrix in which
// clients speak by stdio; mcp/matrix_test.go has the rest.
func TestEveryClientOfTheBridgeReachesEveryServer(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0") // for a second, else, whenever a program ends
	dir := t.TempDir()
	binary, err := program.Build(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	start := func(eras fixture.Eras) string {
		s := fixture.New(eras)
		ts := httptest.NewServer(s)
		t.Cleanup(func() { ts.Close(); s.Close() })
		return ts.URL + "/mcp"
	}
	port, admin := program.FreePort(t), program.FreePort(t)
	for name, text := range map[string]string{
		"callgate.yaml": fmt.Sprintf("listen: 127.0.0.1:%s\nadmin: {listen: \"127.0.0.1:%s\"}\nmcp: {servers: {legacy: {url: %q}, modern: {url: %q}}}\npolicy: [policy.csv]\n", port, admin, start(fixture.LegacyOnly), start(fixture.ModernOnly)),
		"policy.csv":    "p, role:dev, *, tool:*, call, true, allow, T1\np, server:legacy, *, model:client/sampling, generate, true, allow, S1\np, server:modern, *, model:client/sampling, generate, true, allow, S2\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	program.Start(t, program.Program{Args: []string{binary, "serve", "-c", filepath.Join(dir, "callgate.yaml"), "--data", data}, Dir: dir, Log: filepath.Join(dir, "callgate.log"), Clean: true})
	program.WaitFor(t, "http://127.0.0.1:"+port+"/healthz")

	for _, server := range []string{"legacy", "modern"} {
		for _, version := range []string{"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"} {
			t.Run("server "+server+" client "+version, func(t *testing.T) {
				agent := server + "-" + version
				program.Command(t, binary, data, "agent", "create", agent, "--role", "dev")
				cmd := exec.Command(binary, "mcp", "bridge", server, "--agent", agent, "--data", data)
				cmd.Dir = dir
				c := bridged(t, cmd, version)

				if m, _, _ := c.ask("tools/list", ""); !strings.Contains(m.Get("result.tools.#.name").Raw, `"test_simple_text"`) {
					t.Errorf("tools/list: %s", m.Raw)
				}
				if m, _, _ := c.ask("tools/call", `"name":"test_simple_text"`); m.Get("result.content.0.text").Str != "This is a simple text response for testing." {
					t.Errorf("a call: %s", m.Raw)
				}
				if m, _, _ := c.ask("tools/call", `"name":"test_error_handling"`); !m.Get("result.isError").Bool() {
					t.Errorf("a call that fails: %s", m.Raw)
				}
				m, _, told := c.ask("tools/call", `"name":"test_tool_with_progress"`)
				if d := cmp.Diff(slices.Repeat([]string{"notifications/progress"}, 3), told); d != "" || m.Get("result.content.0.text").Str != "Went all the way" {
					t.Errorf("progress: %s of %s", d, m.Raw)
				}
				m, asked, _ := c.ask("tools/call", `"name":"test_input_required_result_multiple_inputs"`)
				slices.Sort(asked)
				if d := cmp.Diff([]string{"elicitation/create", "roots/list", "sampling/createMessage"}, asked); d != "" || !strings.Contains(m.Get("result.content.0.text").Str, "hello Hello, Ana") {
					t.Errorf("asked: %s of %s", d, m.Raw)
				}

				listen := 0
				if version == fixture.Modern {
					c.begin("subscriptions/listen", `"notifications":{"toolsListChanged":true}`)
					listen = c.id
					if m := c.hear(); m.Get("method").Str != "notifications/subscriptions/acknowledged" {
						t.Errorf("subscriptions/listen: %s", m.Raw)
					}
				}
				c.begin("tools/call", `"name":"test_trigger_tool_change"`)
				for answered, heard := false, false; !answered || !heard; {
					m := c.hear()
					answered = answered || int(m.Get("id").Int()) == c.id
					if m.Get("method").Str == "notifications/tools/list_changed" {
						heard = true
						if id := m.Get(`params._meta.io\.modelcontextprotocol/subscriptionId`); version == fixture.Modern && int(id.Int()) != listen {
							t.Errorf("a change: %s", m.Raw)
						}
					}
				}

				c.begin("tools/call", `"name":"test_tool_with_progress"`)
				for c.hear().Get("method").Str != "notifications/progress" {
				}
				c.say(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, c.id))
				for late := time.Now().Add(20 * time.Second); !strings.Contains(program.Command(t, binary, data, "audit", "query", "--agent", agent), "canceled"); {
					if time.Now().After(late) {
						t.Fatal("the call that was canceled is not on record as such")
					}
				}
			})
		}
	}
}
