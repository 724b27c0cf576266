package mcp_test

import (
	"strings"
	"testing"

	"callgate/mcp"

	"github.com/google/go-cmp/cmp"
)

func TestWhoOpenedAPageHearsThatTheUserIsDone(t *testing.T) {
	set := func(c *mcp.ServerConfig) { c.Opens, c.Shared = []string{"files.example"}, false }
	for name, start := range map[string]func() *mcp.Server{
		"stdio":        func() *mcp.Server { return overStdio(t, "legacy", set) },
		"shared stdio": func() *mcp.Server { return overStdio(t, "legacy", set, func(c *mcp.ServerConfig) { c.Shared = true }) },
		"HTTP":         func() *mcp.Server { return overHTTP(t, newWeb(false, true), set) },
		"HTTP+SSE":     func() *mcp.Server { return overHTTP(t, newOldWeb(), set) },
	} {
		for _, by := range []string{"error", "question"} {
			t.Run(name+" by "+by, func(t *testing.T) {
				h := open(t, rules{}, map[string]*mcp.Server{"files": start()})
				c := h.visit(t, "/mcp/files").able("2025-11-25")
				twin := h.visit(t, "/mcp/files").able("2025-11-25")
				other := h.visit(t, "/mcp/files", "Authorization", "Bearer other-token").able("2025-11-25")
				ears := map[string]*ear{"another session of the agent": twin.subscribe(t), "another agent": other.subscribe(t), "who opened it": c.subscribe(t)}
				happen := func(of *byHand, what string) {
					of.ask("tools/call", `{"name":"happen","arguments":{"what":"`+what+`"}}`, "")
				}
				happen(c, "elicitation/complete") // of a page that nobody was asked to open
				last, asked := c.talk("tools/call", `{"name":"page","arguments":{"by":"`+by+`"}}`)
				if by == "error" && last.Get("error.code").Int() != -32042 || by == "question" && (len(asked) != 1 || last.Get("result.content.0.text").Str != "accept") {
					t.Fatalf("the page: %v %s", asked, last.Raw)
				}
				heard := map[string][]string{}
				for who, e := range ears {
					from := map[string]*byHand{"another session of the agent": twin, "another agent": other, "who opened it": c}[who]
					happen(from, "elicitation/complete")
					happen(from, "elicitation/complete") // what was told is told no more
					for {
						happen(from, "resources/updated")
						got := e.hear(1)
						if got == nil {
							t.Fatalf("%s: the stream has ended", who)
						}
						if strings.Contains(got[0], "resources/updated") {
							break
						}
						heard[who] = append(heard[who], got[0])
					}
				}
				want := map[string][]string{"who opened it": {`{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"e1","x":1.0}}`}}
				if d := cmp.Diff(want, heard); d != "" {
					t.Error(d)
				}
			})
		}
	}
}
