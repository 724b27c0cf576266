package acceptance

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"callgate/test/upstream"

	"github.com/tidwall/gjson"
)

// step is one call by a client; see client.mjs.
type step struct {
	Op          string         `json:"op"`
	Params      map[string]any `json:"params,omitempty"`
	Progress    bool           `json:"progress,omitempty"`
	CancelAfter int            `json:"cancelAfter,omitempty"` // milliseconds
}

// client runs the steps in a real client of the generation and returns an answer
// for connecting and one for each step.
func (w *world) client(generation, path, token string, steps []step) []gjson.Result {
	w.t.Helper()
	doc, err := json.Marshal(steps)
	must(w.t, err)
	script, err := filepath.Abs("client.mjs")
	must(w.t, err)
	answers := gjson.Parse(w.run("client", nil, string(doc), the.node, script, generation, w.url+path, token)).Array()
	if len(answers) != len(steps)+1 {
		w.t.Fatalf("%s on %s: %d answers to %d steps: %v", generation, path, len(answers), len(steps), answers)
	}
	return answers
}

func tool(name string, args map[string]any) map[string]any {
	return map[string]any{"name": name, "arguments": args}
}

// names are the names in a list, in order.
func names(list gjson.Result) []string {
	var out []string
	for _, item := range list.Array() {
		out = append(out, item.Get("name").Str)
	}
	return out
}

func TestOfficialClientsOfEachGeneration(t *testing.T) {
	w := newWorld(t, func(upstream.Turn) upstream.Say { return upstream.Say{Text: "hello"} })
	token := w.token()
	for _, generation := range []string{"sdk", "legacy", "modern"} {
		for _, e := range []struct{ path, prefix, server string }{
			{"/mcp", "everything__", "callgate"},
			{"/mcp", "local__", "callgate"},
			{"/mcp/everything", "", "mcp-servers/everything"},
			{"/mcp/local", "", "mcp-servers/everything"},
		} {
			t.Run(generation+" on "+e.path+" "+e.prefix, func(t *testing.T) {
				w := *w
				w.t = t
				local := e.path == "/mcp/local" || e.prefix == "local__"
				steps := []step{
					{Op: "listTools"},
					{Op: "callTool", Params: tool(e.prefix+"echo", map[string]any{"message": "grüß Gott 👋"})},
					{Op: "callTool", Params: tool(e.prefix+"get-env", map[string]any{})},
				}
				if !local {
					steps = append(steps, []step{
						{Op: "callTool", Params: tool(e.prefix+"get-sum", map[string]any{"a": 2, "b": 3})},
						{Op: "callTool", Params: tool(e.prefix+"get-sum", map[string]any{"a": 1000, "b": 1})},
						{Op: "callTool", Params: tool(e.prefix+"trigger-long-running-operation", map[string]any{"duration": 0.3, "steps": 3}), Progress: true},
						{Op: "callTool", Params: tool(e.prefix+"get-structured-content", map[string]any{"location": "Chicago"})},
						{Op: "listResources"},
						{Op: "listResourceTemplates"},
						{Op: "listPrompts"},
						{Op: "getPrompt", Params: map[string]any{"name": e.prefix + "args-prompt", "arguments": map[string]any{"city": "Bern", "state": "BE"}}},
						{Op: "complete", Params: map[string]any{"ref": map[string]any{"type": "ref/prompt", "name": e.prefix + "completable-prompt"}, "argument": map[string]any{"name": "department", "value": "E"}}},
						{Op: "readResource", Params: map[string]any{"uri": "demo://resource/dynamic/text/7"}},
						{Op: "callTool", Params: tool(e.prefix+"trigger-long-running-operation", map[string]any{"duration": 30, "steps": 3}), CancelAfter: 200},
						{Op: "callTool", Params: tool(e.prefix+"echo", map[string]any{"message": "still here"})},
					}...)
				}
				a := w.client(generation, e.path, token, steps)
				want := func(i int, path, text string) {
					t.Helper()
					if got := a[i].Get(path).String(); !strings.Contains(got, text) {
						t.Errorf("%s: %s = %.300q, want %q in it; all: %.600s", steps[max(i-1, 0)].Op, path, got, text, a[i].Raw)
					}
				}
				if got := a[0].Get("server.name").Str; got != e.server {
					t.Errorf("server = %q, want %q: %s", got, e.server, a[0].Raw)
				}
				listed := names(a[1].Get("result.tools"))
				if !slices.Contains(listed, e.prefix+"echo") || slices.Contains(listed, e.prefix+"get-env") {
					t.Errorf("tools = %v, want echo and not get-env", listed)
				}
				want(2, "result.content.0.text", "grüß Gott 👋")
				want(3, "result.isError", "true")
				want(3, "result.content.0.text", "no rule allows agent:bot to call")
				want(3, "result._meta.callgate/code", "denied")
				if local {
					return
				}
				if !slices.Contains(listed, e.prefix+"get-sum") {
					t.Errorf("tools = %v, want get-sum, which depends on its arguments", listed)
				}
				want(4, "result.content.0.text", "The sum of 2 and 3 is 5.")
				want(5, "result.isError", "true")
				want(6, "result.content.0.text", "ompleted")
				if p := a[6].Get("progress").Array(); len(p) == 0 || p[len(p)-1].Get("progress").Int() != 3 {
					t.Errorf("progress = %v, want it to end with 3 of 3", p)
				}
				want(7, "result.structuredContent.temperature", "36")
				if n := len(a[8].Get("result.resources").Array()); n == 0 {
					t.Errorf("no resources: %s", a[8].Raw)
				}
				want(9, "result.resourceTemplates", "demo://resource/dynamic/text/{resourceId}")
				if prompts := names(a[10].Get("result.prompts")); !slices.Contains(prompts, e.prefix+"simple-prompt") {
					t.Errorf("prompts = %v", prompts)
				}
				want(11, "result.messages.0.content.text", "Bern")
				want(12, "result.completion.values", "Engineering")
				want(13, "result.contents.0.text", "7")
				want(14, "error.message", "changed my mind")
				want(15, "result.content.0.text", "still here")
			})
		}
		t.Run(generation+" reads a file, and may not write one", func(t *testing.T) {
			w := *w
			w.t = t
			docs := filepath.Join(w.dir, "docs")
			a := w.client(generation, "/mcp/files", token, []step{
				{Op: "callTool", Params: tool("read_text_file", map[string]any{"path": filepath.Join(docs, "hello.txt")})},
				{Op: "callTool", Params: tool("write_file", map[string]any{"path": filepath.Join(docs, "x.txt"), "content": "x"})},
				{Op: "callTool", Params: tool("read_text_file", map[string]any{"path": "/etc/passwd"})},
			})
			if got := a[1].Get("result.content.0.text").Str; got != "hello from a file\n" {
				t.Errorf("read = %s", a[1].Raw)
			}
			if !a[2].Get("result.isError").Bool() || !strings.Contains(a[2].Get("result.content.0.text").Str, "no rule allows") {
				t.Errorf("write = %s", a[2].Raw)
			}
			if !a[3].Get("result.isError").Bool() || !strings.Contains(a[3].Raw, "Access denied") { // the server's own refusal passes
				t.Errorf("read outside = %s", a[3].Raw)
			}
		})
	}
	t.Run("a client without a token is turned away", func(t *testing.T) {
		w := *w
		w.t = t
		for _, generation := range []string{"sdk", "legacy", "modern"} {
			doc := w.run("client", nil, "[]", the.node, mustAbs(t, "client.mjs"), generation, w.url+"/mcp", "forged")
			if e := gjson.Get(doc, "0.error"); !e.Exists() {
				t.Errorf("%s: connected: %s", generation, doc)
			}
		}
	})
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	must(t, err)
	return abs
}
