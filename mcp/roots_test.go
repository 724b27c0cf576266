package mcp_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"callgate/mcp"
)

func TestAServerHearsThatTheFoldersOfItsClientChanged(t *testing.T) {
	const changed = `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`
	for name, start := range map[string]func(seen string) (s *mcp.Server, f *fixture){
		"stdio": func(seen string) (*mcp.Server, *fixture) {
			return overStdio(t, "legacy", func(c *mcp.ServerConfig) { c.Shared, c.Env["CALLGATE_SEEN"] = false, seen }), nil
		},
		"shared stdio": func(seen string) (*mcp.Server, *fixture) {
			return overStdio(t, "legacy", func(c *mcp.ServerConfig) { c.Shared, c.Env["CALLGATE_SEEN"] = true, seen }), nil
		},
		"HTTP": func(string) (*mcp.Server, *fixture) {
			w := newWeb(false, true)
			return overHTTP(t, w), w.fixture
		},
		"HTTP+SSE": func(string) (*mcp.Server, *fixture) {
			w := newOldWeb()
			return overHTTP(t, w), w.fixture
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "seen")
			s, f := start(file)
			heard := func() int {
				if f != nil {
					return strings.Count(strings.Join(f.all(), "\n"), changed)
				}
				doc, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				return strings.Count(string(doc), changed)
			}
			h := open(t, rules{}, map[string]*mcp.Server{"files": s})
			c := h.visit(t, "/mcp/files").able("2025-11-25")
			other := h.visit(t, "/mcp/files", "Authorization", "Bearer other-token").able("2025-11-25")
			for _, c := range []*byHand{c, other} {
				c.ask("tools/call", `{"name":"plain"}`, "")
			}
			c.post(changed)
			soon(t, "what the client said", func() bool { return heard() > 0 })
			for _, c := range []*byHand{c, other} { // behind whatever else it may be told
				c.ask("tools/call", `{"name":"plain"}`, "")
			}
			if n := heard(); n != 1 {
				t.Errorf("the server heard it %d times", n)
			}
			h.visit(t, "/mcp/files").declaring("2025-11-25", `"capabilities":{}`).post(changed) // which has none
			c.ask("tools/call", `{"name":"plain"}`, "")
			if n := heard(); n != 1 {
				t.Errorf("the server heard of folders that there are none of: %d", n)
			}
		})
	}
}
