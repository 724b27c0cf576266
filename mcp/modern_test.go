package mcp_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"callgate/audit"
	"callgate/firewall"
	"callgate/mcp"

	"github.com/google/go-cmp/cmp"
)

func TestHeadersThatMirrorArgumentsAreChecked(t *testing.T) {
	up := shop()
	up.modern = true
	up.results["tools/list"] = `{"tools":[{"name":"refund","inputSchema":{"type":"object","properties":{
		"region":{"type":"string","x-mcp-header":"Region"},"n":{"type":"integer","x-mcp-header":"N"},"dry":{"type":"boolean","x-mcp-header":"Dry"},
		"deep":{"type":"object","properties":{"x.y":{"type":"integer","x-mcp-header":"Deep"}}}}}}]}`
	h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
	for _, tt := range []struct {
		name   string
		args   string
		header []string
		ok     bool
		sent   map[string]string
	}{
		{"none are wanted", `{"other":1}`, nil, true, map[string]string{}},
		{"all agree", `{"region":"eu","n":7,"dry":true,"deep":{"x.y":-1}}`, []string{"Region", "eu", "N", "7", "Dry", "true", "Deep", "-1"}, true,
			map[string]string{"Region": "eu", "N": "7", "Dry": "true", "Deep": "-1"}},
		{"numbers agree by value", `{"n":1.0e2}`, []string{"N", "100"}, true, map[string]string{"N": "100"}},
		{"large numbers agree by value", `{"n":123456789012345678901}`, []string{"N", "123456789012345678901"}, true, map[string]string{"N": "123456789012345678901"}},
		{"encoded text agrees", `{"region":"Zürich"}`, []string{"Region", "=?base64?WsO8cmljaA==?="}, true, map[string]string{"Region": "=?base64?WsO8cmljaA==?="}},
		{"an unknown one goes on", `{}`, []string{"Else", "kept"}, true, map[string]string{"Else": "kept"}},
		{"another text", `{"region":"eu"}`, []string{"Region", "us"}, false, nil},
		{"another case", `{"region":"eu"}`, []string{"Region", "EU"}, false, nil},
		{"another number", `{"n":7}`, []string{"N", "8"}, false, nil},
		{"large numbers that floats confuse", `{"n":9007199254740993}`, []string{"N", "9007199254740992"}, false, nil},
		{"a number that would be huge", `{"n":1e999999999}`, []string{"N", "1e999999999"}, false, nil},
		{"another truth", `{"dry":true}`, []string{"Dry", "True"}, false, nil},
		{"one that is missing", `{"region":"eu"}`, nil, false, nil},
		{"one for what is not there", `{}`, []string{"Region", "eu"}, false, nil},
		{"one for what is null", `{"region":null}`, []string{"Region", "eu"}, false, nil},
		{"one deep down", `{"deep":{"x.y":1}}`, []string{"Deep", "2"}, false, nil},
		{"broken Base64", `{"region":"eu"}`, []string{"Region", "=?base64?!?="}, false, nil},
		{"a list where a text is meant", `{"region":["eu"]}`, []string{"Region", "eu"}, false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(up.got("tools/call"))
			c := h.visit(t, "/mcp").modern()
			for i := 0; i < len(tt.header); i += 2 {
				c = c.with("Mcp-Param-"+tt.header[i], tt.header[i+1])
			}
			r := c.ask("tools/call", `{"name":"shop__refund","arguments":`+tt.args+`}`, "")
			calls := len(up.got("tools/call")) - before
			if !tt.ok {
				if r.status != http.StatusBadRequest || r.last("error.code").Int() != -32020 || calls != 0 {
					t.Errorf("HTTP %d %s, %d calls", r.status, r.body, calls)
				}
				records := h.log.Records()
				if last := records[len(records)-1]; last.Type != audit.Refused || last.Outcome != "invalid" || last.Resource != "refund" || last.Args != nil {
					t.Errorf("record = %+v", last)
				}
				return
			}
			if r.status != http.StatusOK || calls != 1 {
				t.Fatalf("HTTP %d %s, %d calls", r.status, r.body, calls)
			}
			up.mu.Lock()
			defer up.mu.Unlock()
			got := map[string]string{}
			for name, values := range up.head[len(up.head)-1] {
				if name, ok := strings.CutPrefix(name, "Mcp-Param-"); ok {
					got[name] = values[0]
				}
			}
			if d := cmp.Diff(tt.sent, got); d != "" {
				t.Errorf("headers to the server: %s", d)
			}
		})
	}
	twice := h.visit(t, "/mcp").modern().with("Mcp-Param-Region", "eu")
	twice.header["Mcp-Param-Region"] = []string{"eu", "us"}
	if r := twice.ask("tools/call", `{"name":"shop__refund","arguments":{"region":"eu"}}`, ""); r.last("error.code").Int() != -32020 {
		t.Errorf("a header twice: %s", r.body)
	}
}

func TestResultsAreOfTheClientsEra(t *testing.T) {
	const private = `,"ttlMs":0,"cacheScope":"private"`
	for _, tt := range []struct {
		name           string
		method, params string
		server         bool // speaks the new era
		result         string
		legacy, modern string
	}{
		{"a result that does not say of which kind it is", "tools/call", `{"name":"refund"}`, false,
			`{"content":[], "x":1 }`, `{"content":[], "x":1 }`, `{"content":[], "x":1 ,"resultType":"complete"}`},
		{"an empty result", "tools/call", `{"name":"refund"}`, false, `{ }`, `{ }`, `{ "resultType":"complete"}`},
		{"a result that says so", "tools/call", `{"name":"refund"}`, true, `{"resultType":"complete"}`, `{"resultType":"complete"}`, `{"resultType":"complete"}`},
		{"a read of an old server", "resources/read", `{"uri":"shop://orders"}`, false, `{"contents":[]}`, `{"contents":[]}`, `{"contents":[],"resultType":"complete"` + private + `}`},
		{"a read that is for one caller", "resources/read", `{"uri":"shop://orders"}`, true, `{"resultType":"complete","ttlMs":5,"cacheScope":"private","contents":[]}`,
			`{"resultType":"complete","ttlMs":5,"cacheScope":"private","contents":[]}`, `{"resultType":"complete","ttlMs":5,"cacheScope":"private","contents":[]}`},
		{"a read that would be for all", "resources/read", `{"uri":"shop://orders"}`, true, `{"resultType":"complete","ttlMs":5,"cacheScope":"public","contents":[]}`,
			`{"resultType":"complete","ttlMs":5,"cacheScope":"public","contents":[]}`, `{"resultType":"complete","ttlMs":5,"cacheScope":"private","contents":[]}`},
		{"a kind of result that nobody knows", "tools/call", `{"name":"refund"}`, true, `{"resultType":"odd"}`, "unavailable", `{"resultType":"odd"}`},
		{"a resource that an old server does not have", "resources/read", `{"uri":"shop://orders"}`, false, `error {"message":"none","code": -32002,"data":{"uri":"x"}}`,
			`{"message":"none","code": -32002,"data":{"uri":"x"}}`, `{"message":"none","code": -32602,"data":{"uri":"x"}}`},
		{"a resource that a new server does not have", "resources/read", `{"uri":"shop://orders"}`, true, `error {"message":"none","code": -32602,"data":{"uri":"x"}}`,
			`{"message":"none","code": -32002,"data":{"uri":"x"}}`, `{"message":"none","code": -32602,"data":{"uri":"x"}}`},
		{"bad arguments", "tools/call", `{"name":"refund"}`, true, `error {"code":-32602,"message":"n"}`, `{"code":-32602,"message":"n"}`, `{"code":-32602,"message":"n"}`},
		{"a header that callgate got wrong", "prompts/get", `{"name":"greet"}`, true, `error {"code":-32020,"message":"n"}`, "503", "503"},
	} {
		up := shop()
		up.modern = tt.server
		up.results[tt.method] = tt.result
		delete(up.results, tt.method+" refund")
		h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
		for version, want := range map[string]string{"2025-11-25": tt.legacy, "2026-07-28": tt.modern} {
			t.Run(tt.name+" "+version, func(t *testing.T) {
				r := h.visit(t, "/mcp/shop").speak(version).ask(tt.method, tt.params, "")
				got := r.last("result").Raw + r.last("error").Raw
				if want == "unavailable" {
					got = r.last("result._meta.callgate/code").Str
				}
				if want == "503" {
					got = r.last("error.code").Raw
				}
				if got != want {
					t.Errorf("got %s, want %s of %s", got, want, r.body)
				}
			})
		}
	}
}

// mask is a guard that hides a word in what goes up and what comes down.
type mask struct{ word string }

func (mask) Name() string { return "mask" }

func (g mask) hide(b *firewall.Body) {
	b.Rewrite(func(_ int, s firewall.Span) (string, bool) {
		return strings.ReplaceAll(s.Text, g.word, "***"), strings.Contains(s.Text, g.word)
	})
}

func (g mask) Request(_ context.Context, call *firewall.Call) (firewall.Decision, error) {
	g.hide(&call.Body)
	return firewall.Decision{Effect: firewall.Allow}, nil
}

func (g mask) Reply(_ context.Context, _ *firewall.Call, events firewall.Events) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		for ev, err := range events {
			g.hide(&ev.Body)
			if !yield(ev, err) {
				return
			}
		}
	}
}

func TestGuardsReadAllThatPasses(t *testing.T) {
	up := talking(false)
	up.results["tools/list"] = `{"tools":[{"name":"refund","description":"the word is hunter2"}]}`
	up.results["prompts/get"] = `{"messages":[{"role":"user","content":{"type":"text","text":"hunter2"}}]}`
	up.results["resources/read"] = `error {"code":-32000,"message":"hunter2 is wrong"}`
	h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))}, mask{"hunter2"})
	for _, version := range eras {
		c := h.visit(t, "/mcp").speak(version)
		for _, r := range []*answer{
			c.ask("tools/list", `{}`, ""),
			c.ask("tools/call", `{"name":"shop__refund","arguments":{"key":"hunter2"}}`, ""),
			c.ask("prompts/get", `{"name":"shop__greet","arguments":{"key":"hunter2"}}`, ""),
			c.ask("resources/read", `{"uri":"shop://orders"}`, ""),
		} {
			if strings.Contains(r.body, "hunter2") {
				t.Errorf("%s: %s", version, r.body)
			}
		}
	}
	for _, method := range []string{"tools/call", "prompts/get"} {
		for _, m := range up.got(method) {
			if m.Get("params.arguments.key").Str != "***" {
				t.Errorf("the server got %s", m.Raw)
			}
		}
	}
	for _, r := range h.log.Records() {
		if strings.Contains(string(r.Args), "hunter2") {
			t.Errorf("record = %+v", r)
		}
	}
}

func TestACallWhoseNameAGuardChangedIsNotMade(t *testing.T) {
	up := shop()
	h := open(t, rules{"tool:shop/***"}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))}, mask{"refund"})
	r := h.visit(t, "/mcp").legacy("2025-11-25").ask("tools/call", `{"name":"shop__refund"}`, "")
	if !r.last("result.isError").Bool() || len(up.got("tools/call")) != 0 {
		t.Errorf("%s", r.body)
	}
}

func TestACallSaysWhereItBelongs(t *testing.T) {
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	up := shop()
	h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
	for _, tt := range []struct {
		name, meta string
		header     []string
		chain      string
	}{
		{"nothing is said", ``, nil, ""},
		{"by callgate's own header", `"traceparent":"` + trace + `"`, []string{"Callgate-Run", "mine", "Traceparent", trace}, "mine"},
		{"by the header of a trace", ``, []string{"Traceparent", trace}, id},
		{"by the metadata of a trace", `"traceparent":"` + trace + `"`, nil, id},
		{"by what is no trace", `"traceparent":"00-x-y-z"`, []string{"Traceparent", "nonsense"}, ""},
		{"by a trace of nothing", ``, []string{"Traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"}, ""},
		{"by a name that is too long", ``, []string{"Callgate-Run", strings.Repeat("x", 300)}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(h.log.Records())
			h.visit(t, "/mcp", tt.header...).modern().ask("tools/call", `{"name":"shop__refund"}`, tt.meta)
			if o := h.log.Records()[before]; o.Chain != tt.chain {
				t.Errorf("chain %q, want %q", o.Chain, tt.chain)
			}
		})
	}
}
