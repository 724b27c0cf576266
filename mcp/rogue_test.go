package mcp_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"callgate/audit"
	"callgate/mcp"

	"github.com/tidwall/gjson"
)

// A rogue is a server that a test can look into, whatever its transport.
type rogue struct {
	name   string
	modern bool
	pipe   bool // all requests are on one stream
	server *mcp.Server
	seen   func() []string
}

func rogues(t *testing.T) []rogue {
	t.Helper()
	set := func(c *mcp.ServerConfig) {
		c.Shared, c.Limits.Bytes, c.Timeout = false, 1<<16, 2*time.Second
	}
	var all []rogue
	for _, modern := range []bool{false, true} {
		era := map[bool]string{false: "legacy", true: "modern"}[modern]
		file := filepath.Join(t.TempDir(), "seen")
		all = append(all, rogue{era + " over stdio", modern, true,
			overStdio(t, era, set, func(c *mcp.ServerConfig) { c.Env["CALLGATE_SEEN"] = file }),
			func() []string {
				doc, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				return strings.Split(string(doc), "\n")
			}})
		w := newWeb(modern, true)
		all = append(all, rogue{era + " over HTTP", modern, false, overHTTP(t, w, set), w.all})
	}
	old := newOldWeb()
	return append(all, rogue{"legacy over HTTP+SSE", false, true, overHTTP(t, old, set), old.all})
}

// all is the messages that have come.
func (f *fixture) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}

// TestAServerThatBreaksTheRulesReachesNobodyByIt has servers do what no server may.
// Each time it matters what the client saw, what the server heard, and what is on
// record; and that the next call is none the worse for it.
func TestAServerThatBreaksTheRulesReachesNobodyByIt(t *testing.T) {
	const ok, broken, slow = "ok", "unavailable", "timeout"
	for _, s := range rogues(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			onPipe := func(pipe, http string) string {
				if s.pipe {
					return pipe
				}
				return http
			}
			h := open(t, rules{}, map[string]*mcp.Server{"files": s.server})
			late := 0
			for _, version := range []string{"2025-11-25", "2026-07-28"} {
				for _, tt := range []struct{ name, tool, args, want string }{
					{"it answers twice", "rogue-twice", "", ok},
					{"it answers what was never asked", "rogue-unasked", "", onPipe(ok, broken)},
					{"it answers a text that looks like the number", "rogue-string-id", "", onPipe(slow, broken)},
					{"it fails a request that has no id", "rogue-null-id", "", onPipe(ok, broken)},
					{"it tells the progress of others", "rogue-token", "", ok},
					{"it answers more than it may", "rogue-large", "", broken},
					{"it writes without end", "rogue-endless", "", broken},
					{"it asks after it has answered", "rogue-asks-late", "", ok},
					{"it asks for what cannot be asked for", "rogue-asks-nonsense", "", ok},
					{"it tells without end", "rogue-flood", `,"arguments":{"n":100001}`, broken}, // last, since the rest of it is still on its way
				} {
					if s.name == "legacy over HTTP+SSE" && (tt.tool == "rogue-endless" || tt.tool == "rogue-flood") {
						continue // its test server cannot
					}
					if tt.tool == "rogue-flood" && (testing.Short() || version != "2026-07-28") {
						continue // it is long, and who wants no logs has less to read
					}
					t.Run(tt.name+" to a client of "+version, func(t *testing.T) {
						before := len(h.log.Records())
						c := h.visit(t, "/mcp/files").able(version)
						r := c.ask("tools/call", `{"name":"`+tt.tool+`"`+tt.args+`}`, `"progressToken":"p"`)
						if strings.Contains(r.body, "evil") || len(r.messages()) != 1 {
							t.Errorf("the client got %d messages: %.500s", len(r.messages()), r.body)
						}
						got := ok
						if r.last("result.isError").Bool() {
							got = r.last("result._meta.callgate/code").Str
						}
						if got != tt.want || got == ok && r.last("result.content.0.text").Str != "done" {
							t.Errorf("the client got %.500s, want %s", r.body, tt.want)
						}
						if tt.tool == "rogue-asks-late" && s.pipe { // or it could be about the next call
							late++
							soon(t, "the refusal of what it asks", func() bool {
								return strings.Count(strings.Join(s.seen(), "\n"), `"id":"late"`) == late
							})
						}
						next := c.ask("tools/call", `{"name":"plain"}`, "")
						for deadline := time.Now().Add(10 * time.Second); tt.tool == "rogue-flood" && s.pipe && next.last("result.isError").Bool() && time.Now().Before(deadline); {
							next = c.ask("tools/call", `{"name":"plain"}`, "") // the rest of it is on the same pipe
						}
						if next.last("result.content.0.text").Str != "done" || len(next.messages()) != 1 {
							t.Errorf("the next call: HTTP %d %s", next.status, next.body)
						}
						calls := 0
						for _, line := range s.seen() {
							m := gjson.Parse(line)
							if m.Get("params.name").Str == tt.tool && strings.Contains(m.Raw, version) == (version == "2026-07-28" && s.modern) {
								calls++
							}
							if q := m.Get("id").Str; (q == "late" || q == "odd") && (m.Get("result").Exists() || m.Get("error.code").Int() != -32601) {
								t.Errorf("the server was answered %s", line)
							}
						}
						if calls == 0 {
							t.Error("the server heard nothing of the call")
						}
						var kept []string
						for _, rec := range h.log.Records()[before:] {
							if rec.Call == r.header.Get("Callgate-Call") {
								kept = append(kept, strings.TrimSuffix(string(rec.Type)+":"+rec.Outcome, ":"))
							}
							if strings.Contains(fmt.Sprintf("%+v", rec), "evil") {
								t.Errorf("on record is %+v", rec)
							}
						}
						if got := strings.Join(kept, " "); got != "opened closed:"+tt.want {
							t.Errorf("on record is %s, want the end %s", got, tt.want)
						}
						if asked := slices.ContainsFunc(h.log.Records()[before:], func(r audit.Record) bool {
							return r.Target == "client" && r.Type != audit.Refused
						}); asked {
							t.Errorf("the client was asked: %s", types(h.log.Records()[before:]))
						}
					})
				}
			}
		})
	}
}

func TestAServerAsksForNothingThatTheClientCannotDo(t *testing.T) {
	const form = `"capabilities":{"elicitation":{"form":{}}}`
	for _, s := range rogues(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			h := open(t, rules{}, map[string]*mcp.Server{"files": s.server})
			for _, version := range []string{"2025-11-25", "2026-07-28"} {
				c := h.visit(t, "/mcp/files").declaring(version, form)
				r := c.ask("tools/call", `{"name":"rogue-asks-more"}`, "")
				if r.last("result.content.0.text").Str != "done" || len(r.messages()) != 1 || strings.Contains(r.body, "evil") {
					t.Errorf("the client of %s got %s", version, r.body)
				}
				if s.modern {
					r := c.ask("tools/call", `{"name":"rogue-wants-more"}`, "")
					code := map[string]int64{"2025-11-25": -32602, "2026-07-28": -32021}[version]
					if r.last("error.code").Int() != code || r.last("error.data.requiredCapabilities").Raw != map[string]string{"2026-07-28": `{"sampling":{}}`}[version] || strings.Contains(r.body, "evil") {
						t.Errorf("the client of %s got HTTP %d %s", version, r.status, r.body)
					}
				}
				for _, rec := range h.log.Records() {
					if rec.Target == "client" && rec.Type != audit.Refused {
						t.Errorf("on record is %+v", rec)
					}
				}
			}
			for _, line := range s.seen() {
				if m := gjson.Parse(line); m.Get("id").Str == "more" && m.Get("error.code").Int() != -32601 {
					t.Errorf("the server was answered %s", line)
				}
			}
		})
	}
}

func TestNobodyAnswersForAnotherClient(t *testing.T) {
	for _, s := range rogues(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			h := open(t, rules{}, map[string]*mcp.Server{"files": s.server})
			c := h.visit(t, "/mcp/files").able("2025-11-25")
			const evil = `{"jsonrpc":"2.0","id":1,"result":{"action":"accept","content":{"name":"evil"}}}`
			tries := 0
			last, _ := c.talk("tools/call", `{"name":"ask-user","arguments":{"only":"who"}}`, func(gjson.Result) {})
			if got := last.Get("result.structuredContent.who.content.name").Str; got != "Ana" {
				t.Fatalf("nobody in between: %s", last.Raw)
			}
			c.meanwhile = func(id string) {
				answer := strings.Replace(evil, `"id":1`, `"id":`+id, 1)
				thief := h.visit(t, "/mcp/files", "Authorization", "Bearer other-token").able("2025-11-25")
				twin := h.visit(t, "/mcp/files").able("2025-11-25") // of the same agent
				elsewhere := *c
				elsewhere.url = h.url + "/mcp"
				before := len(h.log.Records())
				for who, r := range map[string]struct {
					from   *byHand
					status int
				}{
					"another principal, in its own session":    {thief, http.StatusAccepted},
					"the same principal, in another session":   {twin, http.StatusAccepted},
					"another principal, in the client's":       {c.with("Authorization", "Bearer other-token"), http.StatusNotFound},
					"the same principal, at another endpoint":  {&elsewhere, http.StatusNotFound},
					"a modern client, which has no session":    {h.visit(t, "/mcp/files").modern(), http.StatusAccepted},
					"the client itself, to what was not asked": {c, http.StatusAccepted},
				} {
					tries++
					said := answer
					if strings.Contains(who, "not asked") {
						said = strings.Replace(evil, `"id":1`, `"id":999`, 1)
					}
					if got := r.from.post(said); got.status != r.status {
						t.Errorf("%s: HTTP %d %s", who, got.status, got.body)
					}
				}
				if got := strings.Count(types(h.log.Records()[before:]), "refused:not_found"); got != 2 {
					t.Errorf("on record: %s", types(h.log.Records()[before:]))
				}
			}
			last, asked := c.talk("tools/call", `{"name":"ask-user","arguments":{"only":"who"}}`)
			if got := last.Get("result.structuredContent.who.content.name").Str; got != "Ana" || len(asked) != 1 || tries != 6 {
				t.Errorf("after %d tries of others the server was told %s", tries, last.Raw)
			}
			for _, line := range s.seen() {
				if strings.Contains(line, "evil") {
					t.Errorf("the server heard %s", line)
				}
			}
		})
	}
}
