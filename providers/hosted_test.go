package providers_test

import (
	"net/http"
	"strings"
	"testing"

	"callgate/firewall"
)

// ruled is a policy that allows what it says true of, denies by a row what it says false
// of, and has no row for the rest but for models.
type ruled struct {
	except
	says map[string]bool
}

func (p ruled) Decide(call *firewall.Call) firewall.Decision {
	allowed, named := p.says[call.Object()]
	switch {
	case named && !allowed:
		return firewall.Decision{Rule: "R4", Reason: "rule R4 forbids it"}
	case named, call.Kind == firewall.Model:
		return firewall.Decision{Effect: firewall.Allow, Rule: "R1"}
	}
	return firewall.Decision{Reason: "no rule allows agent:bot to call " + call.Object()}
}

// Tools that a provider runs by itself are past the gate once the request has gone: those
// of others' servers need a rule, and a rule can forbid each.
func TestToolsThatTheProviderRunsAreJudgedBeforeItGetsThem(t *testing.T) {
	policy := ruled{says: map[string]bool{"tool:openai/mcp/good.example": true, "tool:openai/code_interpreter": false, "tool:anthropic/web_search": false}}
	for _, tt := range []struct{ path, more, want string }{
		{"/v1/responses", `"tools":[{"type":"function","name":"f"},{"type":"custom","name":"g"},{"type":"local_shell"}]`, ""},
		{"/v1/responses", `"tools":[{"type":"web_search"}]`, ""},
		{"/v1/responses", `"tools":[{"type":"web_search"},{"type":"code_interpreter","container":{"type":"auto"}}]`, "rule R4 forbids it; the provider would run it by itself"},
		{"/v1/responses", `"tools":[{"type":"mcp","server_label":"x","server_url":"https://GOOD.example/mcp"}]`, ""},
		{"/v1/responses", `"tools":[{"type":"mcp","server_label":"good.example","server_url":"https://evil.example/mcp"}]`, "tool:openai/mcp/evil.example; the provider would reach that server by itself"},
		{"/v1/responses", `"tools":[{"type":"mcp","server_label":"x","connector_id":"connector_gmail"}]`, "tool:openai/mcp/connector_gmail;"},
		{"/v1/responses", `"tools":[{"\u0074ype":"m\u0063p","server_url":"https://evil.example"}]`, "mcp/evil.example"},
		{"/v1/responses", `"tools":[{"server_url":"not a url","type":"mcp"}]`, "tool:openai/mcp/?"},
		{"/v1/messages", `"tools":[{"name":"f","input_schema":{}},{"type":"bash_20250124","name":"bash"}]`, ""},
		{"/v1/messages", `"tools":[{"type":"web_search_20250305","name":"web_search"}]`, "rule R4 forbids it"},
		{"/v1/messages", `"tools":[{"type":"web_fetch_20250910","name":"web_fetch"}]`, ""},
		{"/v1/messages", `"mcp_servers":[{"type":"url","url":"https://evil.example/sse","name":"x"}]`, "tool:anthropic/mcp/evil.example"},
		{"/v1/responses", `"tools":[` + strings.Repeat(`{"type":"mcp","server_url":"https://good.example"},`, 200) + `{"type":"web_search"}]`, ""},
	} {
		asked := 0
		up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			answer(200, "application/json", `{}`)(w, r)
		}))
		h := newHouseBy(t, policy, up)
		model := "gpt"
		if tt.path == "/v1/messages" {
			model = "claude"
		}
		resp, got := post(t, h.url(t), tt.path, `{"model":"`+model+`",`+tt.more+`}`)
		switch {
		case tt.want == "" && (resp.StatusCode != 200 || asked != 1):
			t.Errorf("%.80s: %d %s", tt.more, resp.StatusCode, got)
		case tt.want != "" && (resp.StatusCode != 403 || asked != 0 || !strings.Contains(got, tt.want)):
			t.Errorf("%.80s: %d %s, want 403 and %s", tt.more, resp.StatusCode, got, tt.want)
		}
	}
	h := newHouseBy(t, policy, serve(t, answer(200, "application/json", `{}`)))
	many := ""
	for i := range 200 {
		many += `{"type":"mcp","server_url":"https://good` + strings.Repeat("x", i) + `.example"},`
	}
	if resp, got := post(t, h.url(t), "/v1/responses", `{"model":"gpt","tools":[`+many+`{}]}`); resp.StatusCode != 400 {
		t.Errorf("200 servers: %d %s", resp.StatusCode, got)
	}
}
