package mcp_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
	"callgate/mcp"

	"github.com/tidwall/gjson"
	"pgregory.net/rapid"
)

// Attacks by arguments: none of them brings a byte to the server, and each is on
// record, once, without the words that it was made of.
func TestAttacksByArgumentsEndAtTheGate(t *testing.T) {
	up := shop()
	up.results["tools/list"] = `{"tools":[{"name":"do","inputSchema":{"type":"object","properties":{
		"file":{"type":"string"},"disk":{"type":"string"},"url":{"type":"string"},"n":{"type":"number","multipleOf":0.01},
		"code":{"type":"string","pattern":"^(?=a)(a+)+$"},"mail":{"type":"string","format":"email"},"tree":{"$ref":"#/$defs/t"}},
		"$defs":{"t":{"type":"object","properties":{"l":{"allOf":[{"$ref":"#/$defs/t"},{"$ref":"#/$defs/t"}]}}}},"additionalProperties":false}}]}`
	up.results["tools/call"] = `{"content":[]}`
	server := started(t, mcp.ServerConfig{Name: "shop", URL: up.start(t), Timeout: 20 * time.Second,
		Tools: map[string]mcp.ToolConfig{"do": {Arguments: map[string]mcp.Mark{
			"file": {Class: mcp.PathClass, Within: []string{"/no/such/docs"}},
			"disk": {Class: mcp.PathClass, Windows: true, Within: []string{"c:/docs"}},
			"url":  {Class: mcp.URLClass},
		}}},
		Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("93.184.216.34"), netip.MustParseAddr("::ffff:10.0.0.1")}, nil
		}})
	h := open(t, rules{}, map[string]*mcp.Server{"shop": server})
	for class, list := range map[string][]string{
		"file": {`/no/such/docs/../../../etc/hunter2`, `/no/such/docs/..%2fhunter2`, `/no/such/docs/%2e%2e/hunter2`, `/no/such/docs/%252e%252e/hunter2`, `/no/such/docs/%c0%ae%c0%ae/hunter2`,
			`/no/such/docs\\..\\hunter2`, `//host/share/hunter2`, `\\\\host\\hunter2`, `C:\\hunter2`, `/no/such/docs/hunter2\u0000.txt`, `/no/such/docs/\u2025/hunter2`, `/no/such/docs/.\u200b./hunter2`,
			`/no/such/docs2/hunter2`, `/no/such/DOCS/hunter2`, `~/hunter2`, `/no/such/docs/hunter2::$DATA`, `/no/such/docs/NUL/hunter2`, `/no/such/docs/%73ecret-hunter2`, `file:///hunter2`},
		"disk": {`C:\\docs\\..\\hunter2`, `\\\\?\\C:\\docs\\hunter2`, `C:docs\\hunter2`, `\\docs\\hunter2`, `C:\\docs\\hunter2:stream`, `C:\\docs\\hunter2.`, `C:\\docs\\AUX\\hunter2`, `c:/docs2/hunter2`, `C:\\docs\\PROGRA~1\\hunter2`, `/docs/hunter2`},
		"url": {`http://169.254.169.254/hunter2`, `http://2852039166/hunter2`, `http://0251.0376.0251.0376/hunter2`, `http://0xa9fea9fe/hunter2`, `http://[::ffff:169.254.169.254]/hunter2`, `http://[64:ff9b::a9fe:a9fe]/hunter2`,
			`http://127.1/hunter2`, `http://localhost./hunter2`, `http://metadata.google.internal/hunter2`, `http://example.com@127.0.0.1/hunter2`, `http://example.com\\@127.0.0.1/hunter2`, `file:///hunter2`, `gopher://example.com/hunter2`,
			`http://example.com/a/%2e%2e/hunter2`, `http://example.com/a/..;/hunter2`, `http://example.com/%c0%ae%c0%ae/hunter2`, `http://rebinds.example/hunter2`},
		"code": {strings.Repeat("a", 4000) + `hunter2`},
		"mail": {`hunter2`, `a@b\r\nBcc: hunter2`},
	} {
		for _, text := range list {
			for _, version := range []string{"2025-06-18", "2026-07-28"} {
				t.Run(fmt.Sprintf("%s %s %.40s", version, class, text), func(t *testing.T) {
					gone(t, h, up, version, `{"name":"shop__do","arguments":{"`+class+`":"`+text+`"}}`)
				})
			}
		}
	}
	for name, args := range map[string]string{
		"a name twice":                  `{"file":"/no/such/docs/a","file":"/etc/hunter2"}`,
		"a name twice, escaped":         `{"file":"/no/such/docs/a","fil\u0065":"/etc/hunter2"}`,
		"a name in another case":        `{"File":"/etc/hunter2"}`,
		"a name nobody knows":           `{"path":"/etc/hunter2"}`,
		"a list where a text is wanted": `{"file":["/no/such/docs/hunter2"]}`,
		"a huge number":                 `{"n":1e999999999}`,
		"a deep one":                    `{"tree":` + strings.Repeat(`{"l":`, 40) + `{}` + strings.Repeat(`}`, 40) + `}`,
		"a deeper one":                  `{"tree":` + strings.Repeat(`{"l":`, 300) + `{}` + strings.Repeat(`}`, 300) + `}`,
		"half a letter":                 `{"file":"/no/such/docs/\ud800"}`,
		"no object":                     `["/etc/hunter2"]`,
	} {
		for _, version := range []string{"2025-06-18", "2026-07-28"} {
			t.Run(version+" "+name, func(t *testing.T) { gone(t, h, up, version, `{"name":"shop__do","arguments":`+args+`}`) })
		}
	}
}

// gone makes a call of a tool, and wants that it ends at the gate and stands on record.
func gone(t *testing.T, h *house, up *upstream, version, params string) {
	t.Helper()
	a := h.visit(t, "/mcp").speak(version)
	up.mu.Lock()
	sent := len(up.seen)
	up.mu.Unlock()
	records := len(h.log.Records())
	began := time.Now()
	r := a.ask("tools/call", params, "")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	for _, m := range up.seen[sent:] {
		if method := gjson.Get(m, "method").Str; method == "tools/call" || strings.Contains(m, "hunter2") {
			t.Errorf("the server got %s", m)
		}
	}
	if reason, _ := told(r); reason == "" || strings.Contains(r.body, "hunter2") {
		t.Errorf("HTTP %d %s", r.status, r.body)
	}
	added := h.log.Records()[records:]
	refused := 0
	for _, rec := range added {
		if rec.Type == audit.Refused || rec.Type == audit.Closed && rec.Outcome != "ok" {
			refused++
		}
		if strings.Contains(rec.Reason+rec.Fault, "hunter2") {
			t.Errorf("record %+v", rec)
		}
	}
	if refused != 1 {
		t.Errorf("%d records say that it was refused: %s", refused, types(added))
	}
}

// capped is a policy that allows calls by tool, argument and agent.
type capped struct{ rules }

func (capped) Decide(call *firewall.Call) firewall.Decision {
	d := firewall.Decision{Rule: "NO", Reason: "it is not allowed", Policy: "p1"}
	n := gjson.GetBytes(call.Args(), "n")
	if call.Kind != firewall.Tool || call.Resource == "a" && call.Caller.Subject == "agent:bot" && n.Type == gjson.Number && n.Num <= 10 {
		d.Effect = firewall.Allow
	}
	return d
}

func (capped) May(p *identity.Principal, object, _ string) firewall.Answer {
	if strings.HasSuffix(object, "/a") && p.Subject == "agent:bot" {
		return firewall.Depends
	}
	return firewall.No
}

// For each subject, tool and arguments: the server gets a call exactly if the policy
// allows that, and the record says which of it was.
func TestWhatIsDeniedReachesNoServer(t *testing.T) {
	up := shop()
	up.results["tools/list"] = `{"tools":[{"name":"a"},{"name":"b"}]}`
	up.results["tools/call"] = `{"content":[]}`
	h := open(t, capped{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
	visits := make(map[string]*byHand)
	for _, agent := range []string{"bot", "other"} {
		for _, version := range eras {
			visits[agent+version] = h.visit(t, "/mcp", "Authorization", "Bearer "+agent+"-token").speak(version)
		}
	}
	allowed, denied := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		agent, version := rapid.SampledFrom([]string{"bot", "bot", "other"}).Draw(r, "agent"), rapid.SampledFrom(eras).Draw(r, "version")
		tool := rapid.SampledFrom([]string{"a", "a", "b", "A", "c"}).Draw(r, "tool")
		n := rapid.SampledFrom([]string{`1`, `10`, `10.5`, `1e1`, `1e3`, `"1"`, `null`, `[1]`, `-1`}).Draw(r, "n")
		name := rapid.SampledFrom([]string{"n", "n", "N", "m"}).Draw(r, "name")
		may := agent == "bot" && tool == "a" && name == "n" && (n == `1` || n == `10` || n == `1e1` || n == `-1`)
		calls, records := len(up.got("tools/call")), len(h.log.Records())
		got := visits[agent+version].ask("tools/call", `{"name":"shop__`+tool+`","arguments":{"`+name+`":`+n+`}}`, "")
		sent, added := len(up.got("tools/call"))-calls, h.log.Records()[records:]
		switch {
		case may:
			allowed++
			if sent != 1 || types(added) != "opened closed:ok" {
				r.Fatalf("%d calls, records %s: %s", sent, types(added), got.body)
			}
		default:
			denied++
			if sent != 0 || len(added) != 1 || added[0].Type != audit.Refused || added[0].Agent != "agent:"+agent {
				r.Fatalf("%d calls, records %s: %s", sent, types(added), got.body)
			}
		}
	})
	if allowed == 0 || denied == 0 {
		t.Errorf("%d allowed, %d denied: the test shows nothing", allowed, denied)
	}
}
