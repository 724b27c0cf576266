package mcp_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/firewall/policy"
	"callgate/mcp"

	"github.com/tidwall/gjson"
)

const able = `"capabilities":{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{"listChanged":true}}`

// answers is what the clients of these tests say to servers.
var answers = map[string]string{
	"elicitation/create":     `{"action":"accept","content":{"name":"Ana"}}`,
	"sampling/createMessage": `{"role":"assistant","content":{"type":"text","text":"hello"},"model":"m"}`,
	"roots/list":             `{"roots":[{"uri":"file:///srv","name":"srv"}]}`,
}

// able is the client after it has said that it takes requests from servers.
func (a *byHand) able(version string) *byHand {
	a.t.Helper()
	return a.declaring(version, able)
}

// declaring is the client after it has said what it can do.
func (a *byHand) declaring(version, able string) *byHand {
	a.t.Helper()
	if version == "2026-07-28" {
		b := a.modern()
		b.able26 = able
		return b
	}
	r := a.post(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"` + version + `",` + able + `,"clientInfo":{"name":"test","version":"1"}}}`)
	b := a.with("Mcp-Session-Id", r.header.Get("Mcp-Session-Id"))
	if b.version = version; version >= "2025-06-18" {
		b = b.with("Mcp-Protocol-Version", version)
	}
	b.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return b
}

// talk makes a request and answers what it is asked on the way, as its era does.
// It returns the last message, and the methods that it was asked for. told has the
// notifications.
func (a *byHand) talk(method, params string, told ...func(gjson.Result)) (last gjson.Result, asked []string) {
	a.t.Helper()
	if a.version == "2026-07-28" {
		more := ""
		for range 20 {
			r := a.ask(method, strings.TrimSuffix(params, "}")+more+"}", `"progressToken":"p"`)
			for _, doc := range r.messages() {
				if last = gjson.Parse(doc); last.Get("method").Exists() {
					for _, f := range told {
						f(last)
					}
				}
			}
			if last.Get("result.resultType").Str != "input_required" {
				return last, asked
			}
			var said []string
			last.Get("result.inputRequests").ForEach(func(key, q gjson.Result) bool {
				asked = append(asked, q.Get("method").Str)
				said = append(said, key.Raw+":"+answers[q.Get("method").Str])
				return true
			})
			more = `,"inputResponses":{` + strings.Join(said, ",") + `}`
			if state := last.Get("result.requestState"); state.Exists() {
				more += `,"requestState":` + state.Raw
			}
		}
		a.t.Fatal("asked again and again")
	}
	b, body := a.request(method, params, `"progressToken":"p"`)
	resp, err := b.send(a.t.Context(), http.MethodPost, body)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			data = lines.Text()
		}
		m := gjson.Parse(data)
		if !m.IsObject() {
			continue
		}
		last = m
		if q := m.Get("method").Str; q != "" && m.Get("id").Exists() {
			asked = append(asked, q)
			if a.meanwhile != nil {
				a.meanwhile(m.Get("id").Raw)
			}
			if r := a.post(`{"jsonrpc":"2.0","id":` + m.Get("id").Raw + `,"result":` + answers[q] + `}`); r.status != http.StatusAccepted {
				a.t.Errorf("an answer of the client: HTTP %d %s", r.status, r.body)
			}
		} else if q != "" {
			for _, f := range told {
				f(m)
			}
		}
	}
	return last, asked
}

func TestEveryServerCanAskEveryClient(t *testing.T) {
	eachServer(t, func(t *testing.T, s *mcp.Server, modern bool) {
		if strings.Contains(t.Name(), "without_streams") && !modern {
			return // it has no way to ask
		}
		h := open(t, rules{}, map[string]*mcp.Server{"files": s})
		for _, version := range eras {
			t.Run(version, func(t *testing.T) {
				before := len(h.log.Records())
				c := h.visit(t, "/mcp/files").able(version)
				last, asked := c.talk("tools/call", `{"name":"ask-user","arguments":{"x":1}}`)
				if got := fmt.Sprint(asked); got != "[elicitation/create sampling/createMessage roots/list]" {
					t.Errorf("the client was asked for %s", got)
				}
				got := last.Get("result.structuredContent")
				for key, want := range map[string]string{"who": answers["elicitation/create"], "llm": answers["sampling/createMessage"], "dirs": answers["roots/list"]} {
					if got.Get(key).Raw != want {
						t.Errorf("the server got %s for %s, want %s in %s", got.Get(key).Raw, key, want, last.Raw)
					}
				}
				if t.Failed() {
					for _, r := range h.log.Records()[before:] {
						t.Log(r.Type, r.Resource, r.Outcome, r.Fault)
					}
				}
				if state := last.Get("result.x-state"); modern && state.Str != `half "done"` {
					t.Errorf("the server's state came back as %s", state.Raw)
				}
				var chain []string
				for _, r := range h.log.Records()[before:] {
					if r.Type == audit.Opened && r.Target == "client" {
						chain = append(chain, r.Agent+" "+r.Kind+":"+r.Resource+" "+r.Links[0].Kind)
					}
				}
				if got, want := strings.Join(chain, ", "), "server:files tool:elicitation asked, server:files model:sampling asked, server:files resource:roots asked"; got != want {
					t.Errorf("on record is %s", got)
				}
			})
		}
	})
}

func TestWhatAServerMayNotAskNeverReachesTheClient(t *testing.T) {
	eachServer(t, func(t *testing.T, s *mcp.Server, modern bool) {
		if strings.Contains(t.Name(), "without_streams") && !modern {
			return
		}
		for _, denied := range []struct{ key, object, method string }{
			{"llm", "model:client/*", "sampling/createMessage"},
			{"who", "tool:client/*", "elicitation/create"},
			{"dirs", "resource:client|*", "roots/list"},
		} {
			h := open(t, rules{denied.object}, map[string]*mcp.Server{"files": s})
			for _, version := range eras {
				t.Run(denied.key+" "+version, func(t *testing.T) {
					c := h.visit(t, "/mcp/files").able(version)
					last, asked := c.talk("tools/call", `{"name":"ask-user","arguments":{"only":"`+denied.key+`"}}`)
					if len(asked) != 0 {
						t.Errorf("the client was asked for %v, and the answer is %s", asked, last.Raw)
					}
					if strings.Contains(last.Raw, "assistant") {
						t.Errorf("answer = %s", last.Raw)
					}
				})
			}
		}
	})
}

func TestAStateIsGoodForOneClientOneRequestAndOneTime(t *testing.T) {
	eachServer(t, func(t *testing.T, s *mcp.Server, modern bool) {
		if strings.Contains(t.Name(), "without_streams") && !modern {
			return
		}
		h := open(t, rules{}, map[string]*mcp.Server{"files": s})
		c := h.visit(t, "/mcp/files").able("2026-07-28")
		const params = `{"name":"ask-user","arguments":{"only":"who"}`
		begin := func() (state, said string) {
			r := c.ask("tools/call", params+"}", "")
			r.last("result.inputRequests").ForEach(func(key, _ gjson.Result) bool {
				said = `,"inputResponses":{` + key.Raw + `:` + answers["elicitation/create"] + `}`
				return true
			})
			return r.last("result.requestState").Str, said
		}
		refused := func(name string, r *answer) {
			t.Helper()
			if r.status != http.StatusBadRequest || r.last("error.code").Int() != -32602 || !strings.Contains(r.body, "requestState") {
				t.Errorf("%s: HTTP %d %s", name, r.status, r.body)
			}
			records := h.log.Records()
			if last := records[len(records)-1]; last.Type != audit.Refused || last.Outcome != "invalid" {
				t.Errorf("%s: record = %+v", name, last)
			}
		}
		state, said := begin()
		with := func(state string) string { return `,"requestState":"` + state + `"}` }
		refused("another client's", c.with("Authorization", "Bearer other-token").ask("tools/call", params+said+with(state), ""))
		flipped := []byte(state)
		flipped[len(flipped)/2] ^= 1
		refused("one that was changed", c.ask("tools/call", params+said+with(string(flipped)), ""))
		refused("with other arguments", c.ask("tools/call", `{"name":"ask-user","arguments":{"only":"llm"}`+said+with(state), ""))
		refused("with another tool", c.ask("tools/call", `{"name":"plain","arguments":{"only":"who"}`+said+with(state), ""))
		refused("the server's own", c.ask("tools/call", params+said+with("half"), ""))
		if r := c.ask("tools/call", params+said+with(state), ""); r.last("result.structuredContent.*.content.name").Str != "Ana" && r.last("result.structuredContent.who.content.name").Str != "Ana" {
			t.Errorf("the right one: HTTP %d %s", r.status, r.body)
		}
		refused("one that was used", c.ask("tools/call", params+said+with(state), ""))
	})
}

func TestACallThatWaitsForItsClientEndsWithTheDoor(t *testing.T) {
	eachServer(t, func(t *testing.T, s *mcp.Server, modern bool) {
		if modern || strings.Contains(t.Name(), "without_streams") {
			return // no call is left at the server
		}
		h := open(t, rules{}, map[string]*mcp.Server{"files": s})
		c := h.visit(t, "/mcp/files").able("2026-07-28")
		if r := c.ask("tools/call", `{"name":"ask-user","arguments":{"only":"who"}}`, ""); r.last("result.resultType").Str != "input_required" {
			t.Fatalf("HTTP %d %s", r.status, r.body)
		}
		h.door.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		s.Close(ctx)
		if ctx.Err() != nil {
			t.Error("the server waited for a call that nobody comes back for")
		}
	})
}

func TestFormsMayNotAskForSecretsNorSendUsersElsewhere(t *testing.T) {
	for _, tt := range []struct {
		name, params string
		passes       bool
	}{
		{"a name", `{"message":"m","requestedSchema":{"type":"object","properties":{"name":{"type":"string"}}}}`, true},
		{"a tool's keys and pins", `{"message":"m","requestedSchema":{"type":"object","properties":{"spin":{"type":"string"},"keyboard":{"type":"string"}}}}`, true},
		{"a password", `{"message":"m","requestedSchema":{"type":"object","properties":{"Pass_Word":{"type":"string"}}}}`, false},
		{"a password by its title", `{"message":"m","requestedSchema":{"type":"object","properties":{"x":{"type":"string","title":"Your API key"}}}}`, false},
		{"a password by its format", `{"message":"m","requestedSchema":{"type":"object","properties":{"x":{"type":"string","format":"password"}}}}`, false},
		{"a page of its own", `{"mode":"url","message":"m","elicitationId":"1","url":"https://shop.example/pay"}`, true},
		{"a page of a host below its own", `{"mode":"url","message":"m","elicitationId":"1","url":"https://pay.shop.example/"}`, true},
		{"a page elsewhere", `{"mode":"url","message":"m","elicitationId":"1","url":"https://evil.example/"}`, false},
		{"a page of a host that looks like its own", `{"mode":"url","message":"m","elicitationId":"1","url":"https://notshop.example/"}`, false},
		{"its own host as a user's name", `{"mode":"url","message":"m","elicitationId":"1","url":"https://shop.example@evil.example/"}`, false},
		{"a page that is not https", `{"mode":"url","message":"m","elicitationId":"1","url":"http://shop.example/"}`, false},
		{"a script", `{"mode":"url","message":"m","elicitationId":"1","url":"javascript:alert(1)"}`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := shop()
			up.modern = true
			up.results["tools/call refund"] = `{"resultType":"input_required","inputRequests":{"q":{"method":"elicitation/create","params":` + tt.params + `}}}`
			h := open(t, rules{}, map[string]*mcp.Server{"shop": started(t, mcp.ServerConfig{Name: "shop", URL: up.start(t), Opens: []string{"shop.example"}})})
			r := h.visit(t, "/mcp/shop").able("2026-07-28").ask("tools/call", `{"name":"refund"}`, "")
			if passes := r.last("result.inputRequests.q.params").Raw == tt.params; passes != tt.passes {
				t.Errorf("HTTP %d %s", r.status, r.body)
			}
			refused := strings.Contains(types(h.log.Records()), "refused:denied")
			if refused == tt.passes {
				t.Errorf("on record is %s", types(h.log.Records()))
			}
		})
	}
}

func TestAProcessWithSessionsServesOnePrincipal(t *testing.T) {
	pids := func(shared bool, character string) map[string]bool {
		s := overStdio(t, character, func(c *mcp.ServerConfig) { c.Shared = shared })
		seen := make(map[string]bool)
		for _, who := range []string{"ana", "eve", "ana"} {
			_, m, err := call(t.Context(), s, who, `{"name":"pid"}`)
			if err != nil {
				t.Fatal(err)
			}
			seen[gjson.GetBytes(m.Result, "structuredContent").Raw] = true
		}
		return seen
	}
	if n := len(pids(false, "legacy")); n != 2 {
		t.Errorf("two principals had %d processes of a legacy server", n)
	}
	if n := len(pids(true, "legacy")); n != 1 {
		t.Errorf("two principals had %d processes of a shared server", n)
	}
	if n := len(pids(false, "modern")); n != 1 {
		t.Errorf("two principals had %d processes of a server without sessions", n)
	}
}

func TestSamplingHasABudgetOfItsOwn(t *testing.T) {
	law, err := policy.Load(policy.Source{Name: "policy.csv", Text: []byte(`
p,  agent:bot,    *, tool:*,                call,     true, allow, T1
p,  server:files, *, model:client/sampling, generate, true, allow, S1
p2, server:files, *, model:client/sampling, generate, true, allow, limit:calls=2/1h, S2
`)})
	if err != nil {
		t.Fatal(err)
	}
	for _, modern := range []bool{false, true} {
		h := open(t, law, map[string]*mcp.Server{"files": overHTTP(t, newWeb(modern, true))})
		for _, version := range eras {
			h.gate.SetLaw(&firewall.Law{Policy: law})
			c := h.visit(t, "/mcp/files").able(version)
			last, asked := c.talk("tools/call", `{"name":"ask-user","arguments":{"only":"llm"}}`)
			if used := version != eras[0] && version != eras[1]; used == (len(asked) == 1) {
				t.Errorf("modern server %v, client %s: asked for %v: %s", modern, version, asked, last.Raw)
			}
		}
		if got := types(h.log.Records()); !strings.Contains(got, "refused:exhausted") {
			t.Errorf("on record: %s", got)
		}
	}
}
