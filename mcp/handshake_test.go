package mcp_test

import (
	"net/http"
	"strings"
	"testing"

	"callgate/mcp"

	"github.com/tidwall/gjson"
)

func initialize(version string) string {
	return `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"` + version + `","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`
}

func TestAVersionIsAgreedOn(t *testing.T) {
	h := open(t, rules{}, nil)
	for asked, want := range map[string]string{
		"2025-03-26": "2025-03-26", "2025-06-18": "2025-06-18", "2025-11-25": "2025-11-25",
		"2024-11-05": "2024-11-05", "2026-07-28": "2025-11-25", "tomorrow": "2025-11-25",
	} {
		if r := h.visit(t, "/mcp").post(initialize(asked)); r.last("result.protocolVersion").Str != want {
			t.Errorf("%s: %s", asked, r.body)
		}
	}
}

func TestAHandshakeTellsWhatIsCarried(t *testing.T) {
	shy := &upstream{about: `{"tools":{},"experimental":{}}`, results: map[string]string{"tools/list": `{"tools":[{"name":"x"}]}`}}
	secret := shop()
	for _, modern := range []bool{false, true} {
		up := shop()
		up.modern = modern
		h := open(t, rules{"tool:secret/*", "prompt:secret/*", "resource:secret|*", "prompt:shop/*"}, map[string]*mcp.Server{
			"shop": behind(t, "shop", up.start(t)), "shy": behind(t, "shy", shy.start(t)), "secret": behind(t, "secret", secret.start(t)),
		})
		for _, tt := range []struct{ name, path, capabilities, server, instructions string }{
			{"all in one: what the caller's servers have together", "/mcp",
				`{"tools":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"completions":{},"logging":{}}`, `{"name":"callgate","version":"1.2.3"}`, "shop: be kind"},
			{"one server: what it says itself, but for what is not carried", "/mcp/shop",
				`{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true},"completions":{},"logging":{}}`, `{"name":"hand","version":"9"}`, "be kind"},
			{"one server that has little", "/mcp/shy", `{"tools":{}}`, `{"name":"hand","version":"9"}`, "be kind"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				r := h.visit(t, tt.path).post(initialize("2025-06-18"))
				if got := r.last("result"); got.Get("capabilities").Raw != tt.capabilities || got.Get("serverInfo").Raw != tt.server || !strings.Contains(got.Get("instructions").Str, tt.instructions) {
					t.Errorf("initialize: %s", r.body)
				}
				if strings.Contains(r.body, "secret") {
					t.Errorf("a server that the caller may not use is told of: %s", r.body)
				}
				r = h.visit(t, tt.path).modern().ask("server/discover", `{}`, "")
				if got := r.last("result"); got.Get("capabilities").Raw != tt.capabilities || got.Get("_meta.io\\.modelcontextprotocol/serverInfo").Raw != tt.server || got.Get("cacheScope").Str != "private" || !got.Get("ttlMs").Exists() || got.Get("resultType").Str != "complete" || got.Get("supportedVersions.0").Str != "2026-07-28" {
					t.Errorf("server/discover: %s", r.body)
				}
			})
		}
	}
	if n := len(secret.got("tools/call")); n != 0 {
		t.Errorf("%d calls", n)
	}
}

func TestAServerThatIsNotThereYetMayHaveAnything(t *testing.T) {
	h := open(t, rules{}, map[string]*mcp.Server{"dead": behind(t, "dead", "http://127.0.0.1:1")})
	r := h.visit(t, "/mcp").post(initialize("2025-06-18"))
	if got := r.last("result.capabilities").Raw; got != `{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true}}` {
		t.Errorf("capabilities = %s", got)
	}
}

// talking is a server whose tool says something at each level.
func talking(modern bool) *upstream {
	up := shop()
	up.modern = modern
	up.handle = func(w http.ResponseWriter, _ *http.Request, m gjson.Result) bool {
		if m.Get("method").Str != "tools/call" {
			return false
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for _, level := range []string{"debug", "info", "warning", "error", "emergency"} {
			w.Write([]byte("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"" + level + "\",\"data\":1}}\n\n"))
		}
		w.Write([]byte("data: {\"jsonrpc\":\"2.0\",\"id\":" + m.Get("id").Raw + ",\"result\":{\"content\":[]}}\n\n"))
		return true
	}
	up.results["logging/setLevel"] = `{}`
	return up
}

func TestAClientReadsTheLogsThatItWants(t *testing.T) {
	for _, modern := range []bool{false, true} {
		up := talking(modern)
		h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
		heard := func(r *answer) string {
			var levels []string
			for _, m := range r.messages() {
				if level := gjson.Get(m, "params.level"); level.Exists() {
					levels = append(levels, level.Str)
				}
			}
			return strings.Join(levels, " ")
		}
		for _, version := range []string{"2025-03-26", "2025-11-25"} {
			c, other := h.visit(t, "/mcp").legacy(version), h.visit(t, "/mcp").legacy(version)
			if r := c.ask("logging/setLevel", `{"level":"warning"}`, ""); r.last("result").Raw != "{}" {
				t.Errorf("setLevel: %s", r.body)
			}
			if got := heard(c.ask("tools/call", `{"name":"shop__refund","arguments":{"x":1}}`, "")); got != "warning error emergency" {
				t.Errorf("%s heard %s", version, got)
			}
			if got := heard(other.ask("tools/call", `{"name":"shop__refund"}`, "")); got != "debug info warning error emergency" {
				t.Errorf("another session of %s heard %s", version, got)
			}
			calls := up.got("tools/call")
			if got := calls[len(calls)-2].Get("params._meta.io\\.modelcontextprotocol/logLevel").Str; modern != (got == "warning") {
				t.Errorf("a server of the new era: %v got level %q", modern, got)
			}
			if sets := up.got("logging/setLevel"); modern != (len(sets) == 0) || !modern && sets[0].Get("params.level").Str != "warning" {
				t.Errorf("a server of the new era: %v got %v", modern, sets)
			}
		}
		c := h.visit(t, "/mcp").modern()
		if got := heard(c.ask("tools/call", `{"name":"shop__refund"}`, "")); got != "" {
			t.Errorf("one who did not ask for logs heard %s", got)
		}
		if got := heard(c.ask("tools/call", `{"name":"shop__refund"}`, `"io.modelcontextprotocol/logLevel":"error"`)); got != "error emergency" {
			t.Errorf("one who asked for errors heard %s", got)
		}
	}
}
