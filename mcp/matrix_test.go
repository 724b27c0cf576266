package mcp_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"callgate/mcp"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

// A seat is a client in a test, whatever its version and transport.
type seat interface {
	// call makes a request, answers what it is asked on the way, and returns the
	// response, the methods that it was asked for, and those of notifications.
	call(t *testing.T, method, params string) (response gjson.Result, asked, told []string)
	// hears has something happen until the client is told of it.
	hears(t *testing.T, what string) bool
	// cancel begins a request and wants it no more.
	cancel(t *testing.T, params string)
}

// newSeat is a client that can do all that clients of its version can.
func newSeat(t *testing.T, h *house, version string) seat {
	if version == "2024-11-05" {
		c := h.old(t, "/sse/files")
		c.say(t, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2024-11-05",`+able+`,"clientInfo":{"name":"t","version":"1"}}}`)
		if m := c.next(); m.Get("result.protocolVersion").Str != version {
			t.Fatalf("initialize: %s", m.Raw)
		}
		c.say(t, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
		return c
	}
	return sit(h.visit(t, "/mcp/files"), version)
}

// sit is a client by streamable HTTP that can do all that clients of its version can.
func sit(at *byHand, version string) *seated {
	c := *at.able(version)
	c.tasks26 = true
	return &seated{&c, nil}
}

// seated is a client by streamable HTTP.
type seated struct {
	*byHand
	ear *ear
}

func (c *seated) call(t *testing.T, method, params string) (gjson.Result, []string, []string) {
	var told []string
	last, asked := c.talk(method, params, func(m gjson.Result) { told = append(told, m.Get("method").Str) })
	return last, asked, told
}

func (c *seated) hears(t *testing.T, what string) bool {
	if c.ear == nil {
		c.ear = c.subscribe(t)
	}
	return strings.Contains(c.ear.until(what, func(what string) { c.ask("tools/call", `{"name":"happen","arguments":{"what":"`+what+`"}}`, "") }), what)
}

func (c *seated) cancel(t *testing.T, params string) {
	b, body := c.request("tools/call", params, `"progressToken":1`)
	resp, err := b.send(t.Context(), http.MethodPost, body)
	if err != nil {
		t.Fatal(err)
	}
	if c.version != "2026-07-28" {
		c.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`)
	}
	resp.Body.Close()
}

func (c *oldClient) call(t *testing.T, method, params string) (response gjson.Result, asked, told []string) {
	c.say(t, `{"jsonrpc":"2.0","id":7,"method":"`+method+`","params":`+strings.TrimSuffix(params, "}")+strings.Repeat(",", min(1, len(params)-2))+`"_meta":{"progressToken":"p"}}}`)
	for {
		m := c.next()
		q := m.Get("method").Str
		switch {
		case !m.Exists():
			t.Fatalf("no answer to %s %s", method, params)
		case q == "":
			return m, asked, told
		case m.Get("id").Exists():
			asked = append(asked, q)
			c.say(t, `{"jsonrpc":"2.0","id":`+m.Get("id").Raw+`,"result":`+answers[q]+`}`)
		default:
			told = append(told, q)
		}
	}
}

func (c *oldClient) hears(t *testing.T, what string) bool {
	if what == "resources/updated" {
		c.call(t, "resources/subscribe", `{"uri":"doc://one"}`)
	}
	for range 100 {
		c.say(t, `{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"happen","arguments":{"what":"`+what+`"}}}`)
		told := false
		for m := c.next(); ; m = c.next() {
			told = told || m.Get("method").Str == "notifications/"+what
			if !m.Exists() || m.Get("id").Int() == 8 {
				break
			}
		}
		if told {
			return true
		}
	}
	return false
}

func (c *oldClient) cancel(t *testing.T, params string) {
	c.say(t, `{"jsonrpc":"2.0","id":9,"method":"tools/call","params":`+strings.TrimSuffix(params, "}")+`,"_meta":{"progressToken":1}}}`)
	for c.next().Get("method").Str != "notifications/progress" {
	}
	c.say(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":9}}`)
}

// doJobs calls a tool that is a task where client and server have tasks of one kind,
// and else answers at once.
func doJobs(t *testing.T, h *house, c seat, client, server string) {
	t.Helper()
	wish := ""
	if client >= "2025-11-25" { // what only sessions know is not for modern servers, nor from modern clients
		wish = `,"task":{"ttl":60000}`
	}
	begin := func() gjson.Result {
		m, _, _ := c.call(t, "tools/call", `{"name":"job","arguments":{"who":"`+client+`"}`+wish+`}`)
		return m
	}
	ask := func(method, id string) gjson.Result {
		m, _, _ := c.call(t, method, `{"taskId":"`+id+`"}`)
		return m
	}
	const text = "content.0.text"
	done, m := "the job of "+client, begin()
	if client != server || client < "2025-11-25" {
		if m.Get("result."+text).Str != done || m.Get("result.task").Exists() || m.Get("result.taskId").Exists() {
			t.Errorf("a job without tasks: %s", m.Raw)
		}
		return
	}
	id, result := m.Get("result.taskId").Str+m.Get("result.task.taskId").Str, ""
	if got := ask("tasks/get", id); got.Get("result.status").Str != "working" || got.Get("result.taskId").Str != id || got.Get("result.x-big").Raw != "98765432109876543210" {
		t.Errorf("tasks/get of %s: %s", m.Raw, got.Raw)
	}
	got := ask("tasks/get", id)
	if result = got.Get("result.result." + text).Str; client < "2026" {
		r := ask("tasks/result", id)
		if result = r.Get("result." + text).Str; r.Get(`result._meta.io\.modelcontextprotocol/related-task.taskId`).Str != id {
			t.Errorf("tasks/result: %s", r.Raw)
		}
	}
	if got.Get("result.status").Str != "completed" || result != done {
		t.Errorf("the job is %s with %q", got.Raw, result)
	}
	second := begin()
	other := second.Get("result.taskId").Str + second.Get("result.task.taskId").Str
	if m := ask("tasks/cancel", other); m.Get("error").Exists() {
		t.Errorf("tasks/cancel: %s", m.Raw)
	}
	if m := ask("tasks/get", other); m.Get("result.status").Str != "cancelled" {
		t.Errorf("a job that was cancelled: %s", m.Raw)
	}
	thief := sit(h.visit(t, "/mcp/files", "Authorization", "Bearer other-token"), client)
	for _, method := range []string{"tasks/get", "tasks/cancel"} {
		if m, _, _ := thief.call(t, method, `{"taskId":"`+id+`"}`); m.Get("error.code").Int() != -32602 {
			t.Errorf("%s of another: %s", method, m.Raw)
		}
	}
	listed := func(c seat) string {
		m, _, _ := c.call(t, "tasks/list", `{}`)
		return m.Get("result.tasks.#.taskId").Raw + m.Get("error.code").Raw
	}
	want, nothing := `["`+id+`","`+other+`"]`, "[]"
	if client == "2026-07-28" {
		want, nothing = "-32601", "-32601"
	}
	if mine, theirs := listed(c), listed(thief); mine != want || theirs != nothing {
		t.Errorf("tasks/list: %s for who began them and %s for another", mine, theirs)
	}
}

// TestEveryClientReachesEveryServer is the whole of what callgate is for as a
// proxy: each generation of clients, with each generation of servers, over each
// transport that the two have.
func TestEveryClientReachesEveryServer(t *testing.T) {
	clients := []string{"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"}
	type server struct {
		version, transport string
		start              func(t *testing.T) *mcp.Server
	}
	var servers []server
	for _, version := range clients {
		character, modern := "legacy "+version, version == "2026-07-28"
		if modern {
			character = "modern"
		}
		servers = append(servers, server{version, "stdio", func(t *testing.T) *mcp.Server {
			return overStdio(t, character, func(c *mcp.ServerConfig) { c.Shared = false })
		}})
		if version == "2024-11-05" {
			servers = append(servers, server{version, "HTTP+SSE", func(t *testing.T) *mcp.Server {
				w := newOldWeb()
				w.version = version
				return overHTTP(t, w)
			}})
			continue
		}
		servers = append(servers, server{version, "HTTP", func(t *testing.T) *mcp.Server {
			w := newWeb(modern, true)
			w.version = version
			return overHTTP(t, w)
		}})
	}
	for _, s := range servers {
		t.Run(fmt.Sprintf("server %s over %s", s.version, s.transport), func(t *testing.T) {
			behind := s.start(t)
			h := open(t, rules{"tool:files/wipe"}, map[string]*mcp.Server{"files": behind})
			for _, version := range clients {
				t.Run("client "+version, func(t *testing.T) {
					c := newSeat(t, h, version)
					info, err := behind.Info(t.Context())
					if err != nil || info.Version != s.version {
						t.Fatalf("the server speaks %s: %v", info.Version, err)
					}
					if m, _, _ := c.call(t, "tools/list", `{}`); m.Get("result.tools.0.name").Str != "echo" || strings.Contains(m.Raw, `"wipe"`) {
						t.Errorf("tools/list: %s", m.Raw)
					}
					if m, _, _ := c.call(t, "tools/call", `{"name":"echo","arguments":{"n":12345678901234567890.10}}`); m.Get("result.structuredContent.arguments").Raw != `{"n":12345678901234567890.10}` {
						t.Errorf("a call: %s", m.Raw)
					}
					if m, _, _ := c.call(t, "tools/call", `{"name":"wipe"}`); !m.Get("result.isError").Bool() || m.Get("result._meta.callgate/rule").Str != "NO" {
						t.Errorf("a call that the policy denies: %s", m.Raw)
					}
					m, _, told := c.call(t, "tools/call", `{"name":"progress","arguments":{"n":2,"who":"me"}}`)
					if d := cmp.Diff([]string{"notifications/progress", "notifications/progress"}, told); d != "" {
						t.Errorf("progress: %s of %s", d, m.Raw)
					}
					m, asked, _ := c.call(t, "tools/call", `{"name":"ask-user"}`)
					if d := cmp.Diff([]string{"elicitation/create", "sampling/createMessage", "roots/list"}, asked); d != "" || m.Get("result.structuredContent.llm.model").Str != "m" {
						t.Errorf("asked: %s of %s", d, m.Raw)
					}
					if m, _, _ := c.call(t, "tools/call", `{"name":"no such tool"}`); m.Get("error.data.big").Raw != "98765432109876543210" {
						t.Errorf("an error of the server: %s", m.Raw)
					}
					doJobs(t, h, c, version, s.version)
					for _, what := range []string{"resources/updated", "tools/list_changed"} {
						if !c.hears(t, what) {
							t.Errorf("%s was not heard", what)
						}
					}
					before := strings.Count(types(h.log.Records()), "closed:canceled")
					c.cancel(t, `{"name":"hang-after-progress"}`)
					h.log.awaitMore(t, "closed:canceled", before)
				})
			}
		})
	}
}
