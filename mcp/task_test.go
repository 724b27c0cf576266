package mcp_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"callgate/audit"
	"callgate/firewall"
	"callgate/firewall/policy"
	"callgate/mcp"

	"github.com/tidwall/gjson"
)

const taskExtension = `"extensions":{"io.modelcontextprotocol/tasks":{}}`

// working is a server whose tool is a task.
func working(modern bool) *upstream {
	up := shop()
	up.modern = modern
	up.about = `{"tools":{},"tasks":{"cancel":{},"list":{},"requests":{"tools":{"call":{}}}}}`
	up.results["tools/call refund"] = `{"task":{"taskId":"T-1","status":"working","createdAt":"2026-01-01T00:00:00Z"},"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"T-1"}}}`
	up.results["tasks/get"] = `{"taskId":"T-1","status":"completed","createdAt":"2026-01-01T00:00:00Z"}`
	up.results["tasks/result"] = `{"content":[{"type":"text","text":"paid"}],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"T-1"}}}`
	up.results["tasks/cancel"] = `{"taskId":"T-1","status":"cancelled","createdAt":"2026-01-01T00:00:00Z"}`
	if modern {
		up.about = `{"tools":{},` + taskExtension + `}`
		up.results["tools/call refund"] = `{"resultType":"task","taskId":"T-1","status":"working","ttlMs":1000}`
		up.results["tasks/get"] = `{"resultType":"complete","taskId":"T-1","status":"completed","result":{"content":[{"type":"text","text":"paid"}]}}`
		up.results["tasks/cancel"] = `{"resultType":"complete"}`
	}
	return up
}

// tasker is the client in a version, as one that takes tasks.
func (a *byHand) tasker(version string) *byHand {
	a.t.Helper()
	b := *a.speak(version)
	b.tasks26 = true
	return &b
}

func TestATaskBelongsToWhoBeganIt(t *testing.T) {
	for _, version := range []string{"2025-11-25", "2026-07-28"} {
		for _, path := range []string{"/mcp", "/mcp/shop"} {
			t.Run(version+" "+path, func(t *testing.T) {
				modern := version == "2026-07-28"
				up := working(modern)
				h := open(t, rules{"tool:shop/drop"}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
				name := map[string]string{"/mcp": "shop__refund", "/mcp/shop": "refund"}[path]
				c := h.visit(t, path).tasker(version)
				r := c.ask("tools/call", `{"name":"`+name+`","task":{"ttl":1000}}`, "")
				id := r.last("result.task.taskId").Str + r.last("result.taskId").Str
				if id == "" || id == "T-1" || strings.Contains(r.body, "T-1") {
					t.Fatalf("the task is %s", r.body)
				}
				get := c.ask("tasks/get", `{"taskId":"`+id+`"}`, "")
				if get.last("result.taskId").Str != id || get.last("result.status").Str != "completed" || modern && get.last("result.result.content.0.text").Str != "paid" {
					t.Errorf("tasks/get: %s", get.body)
				}
				methods := []string{"tasks/get", "tasks/cancel"}
				if !modern {
					methods = append(methods, "tasks/result")
					if r := c.ask("tasks/result", `{"taskId":"`+id+`"}`, ""); r.last("result.content.0.text").Str != "paid" || r.last("result._meta.io\\.modelcontextprotocol/related-task.taskId").Str != id {
						t.Errorf("tasks/result: %s", r.body)
					}
				}
				if r := c.ask("tasks/cancel", `{"taskId":"`+id+`"}`, ""); r.last("error").Exists() {
					t.Errorf("tasks/cancel: %s", r.body)
				}
				for _, method := range methods {
					for _, m := range up.got(method) {
						if m.Get("params.taskId").Str != "T-1" {
							t.Errorf("the server was asked %s", m.Raw)
						}
					}
				}
				before := len(up.got("tasks/get"))
				thief := h.visit(t, path, "Authorization", "Bearer other-token").tasker(version)
				for who, r := range map[string]*answer{
					"another principal":           thief.ask("tasks/get", `{"taskId":"`+id+`"}`, ""),
					"who guesses the server's id": c.ask("tasks/get", `{"taskId":"T-1"}`, ""),
					"who changed it":              c.ask("tasks/get", `{"taskId":"`+id[:len(id)-1]+`"}`, ""),
				} {
					if r.last("error.code").Int() != -32602 || !strings.Contains(r.body, "no such task") {
						t.Errorf("%s: %s", who, r.body)
					}
				}
				if n := len(up.got("tasks/get")); n != before {
					t.Error("the server was asked for a task of another")
				}
				h.gate.SetLaw(&firewall.Law{Policy: rules{"tool:shop/*"}})
				if r := c.ask("tasks/get", `{"taskId":"`+id+`"}`, ""); r.last("error.code").Int() != 403 {
					t.Errorf("after the policy has changed: %s", r.body)
				}
			})
		}
	}
}

func TestTasksAreDeclaredWhereClientAndServerAreOfOneKind(t *testing.T) {
	for _, modern := range []bool{false, true} {
		h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", working(modern).start(t))})
		legacy := gjson.Get(h.visit(t, "/mcp").post(initialize("2025-11-25")).body, "result.capabilities")
		if legacy.Get("tasks").Exists() == modern || legacy.Get("extensions").Exists() {
			t.Errorf("modern server %v, legacy client: %s", modern, legacy.Raw)
		}
		r := h.visit(t, "/mcp").modern().ask("server/discover", `{}`, "")
		if has := r.last(`result.capabilities.extensions.io\.modelcontextprotocol/tasks`).Exists(); has != modern || r.last("result.capabilities.tasks").Exists() {
			t.Errorf("modern server %v, modern client: %s", modern, r.body)
		}
	}
}

// begin calls the one tool of a house whose server is working, and returns the task.
func (a *byHand) begin() string {
	a.t.Helper()
	r := a.ask("tools/call", `{"name":"refund","task":{"ttl":1000}}`, "")
	id := r.last("result.task.taskId").Str + r.last("result.taskId").Str
	if id == "" {
		a.t.Fatalf("no task began: %s", r.body)
	}
	return id
}

func TestOnlyWhoDeclaresTasksIsAnsweredAboutThem(t *testing.T) {
	up := working(true)
	h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
	c := h.visit(t, "/mcp/shop").tasker("2026-07-28")
	id := c.begin()
	c.tasks26 = false
	for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
		before := len(h.log.Records())
		r := c.ask(method, `{"taskId":"`+id+`"}`, "")
		if r.status != 400 || r.last("error.code").Int() != -32021 || !r.last(`error.data.requiredCapabilities.extensions.io\.modelcontextprotocol/tasks`).Exists() {
			t.Errorf("%s: HTTP %d %s", method, r.status, r.body)
		}
		if got := types(h.log.Records()[before:]); got != "refused:invalid" {
			t.Errorf("%s is on record as %s", method, got)
		}
		if n := len(up.got(method)); n != 0 {
			t.Errorf("%s came to the server", method)
		}
	}
	for _, method := range []string{"tasks/list", "tasks/result"} {
		c.tasks26 = true
		if r := c.ask(method, `{"taskId":"`+id+`"}`, ""); r.status != 404 || r.last("error.code").Int() != -32601 {
			t.Errorf("%s: HTTP %d %s", method, r.status, r.body)
		}
	}
}

func TestTheResultOfATaskIsHeldToTheSchemaOfItsTool(t *testing.T) {
	const task = `"taskId":"T-1","status":"completed"`
	for _, tt := range []struct {
		name, result string
		fits         bool
	}{
		{"what fits", `{"content":[],"structuredContent":{"n":1}}`, true},
		{"what failed", `{"content":[],"isError":true}`, true},
		{"what does not fit", `{"content":[],"structuredContent":{"n":"evil"}}`, false},
		{"what is not there", `{"content":[{"type":"text","text":"evil"}]}`, false},
	} {
		for _, version := range []string{"2025-11-25", "2026-07-28"} {
			t.Run(tt.name+" "+version, func(t *testing.T) {
				modern := version == "2026-07-28"
				up := working(modern)
				up.results["tools/list"] = `{"tools":[{"name":"refund","inputSchema":{"type":"object"},"outputSchema":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}}]}`
				up.results["tasks/result"] = tt.result
				up.results["tasks/get"] = `{"resultType":"complete",` + task + `,"result":` + tt.result + `}`
				h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
				c := h.visit(t, "/mcp/shop").tasker(version)
				method := map[bool]string{false: "tasks/result", true: "tasks/get"}[modern]
				r := c.ask(method, `{"taskId":"`+c.begin()+`"}`, "")
				if ok := !r.last("error").Exists(); ok != tt.fits || strings.Contains(r.body, "evil") {
					t.Errorf("the client got %s", r.body)
				}
				if got := types(h.log.Records()); strings.Contains(got, "closed:unavailable") == tt.fits {
					t.Errorf("on record: %s", got)
				}
				if modern {
					return
				}
				up.results["tools/call refund"] = strings.TrimSuffix(tt.result, "}") + `,"task":{` + task + `}}` // with a task beside it
				if r := c.ask("tools/call", `{"name":"refund"}`, ""); r.last("result.isError").Bool() == (tt.name == "what fits") {
					t.Errorf("a result that says it is a task, too: %s", r.body)
				}
			})
		}
	}
}

func TestGuardsReadWhatTasksSay(t *testing.T) {
	for _, modern := range []bool{false, true} {
		up := working(modern)
		up.results["tasks/get"] = `{"taskId":"T-1","status":"completed","statusMessage":"hunter2","result":{"content":[{"type":"text","text":"hunter2"}]}}`
		up.results["tasks/result"] = `{"content":[{"type":"text","text":"hunter2"}]}`
		up.results["tasks/list"] = `{"tasks":[{"taskId":"T-1","statusMessage":"hunter2"}]}`
		h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))}, mask{"hunter2"})
		version, methods := "2025-11-25", []string{"tasks/get", "tasks/result", "tasks/list"}
		if modern {
			version, methods = "2026-07-28", methods[:1]
		}
		c := h.visit(t, "/mcp/shop").tasker(version)
		id := c.begin()
		for _, method := range methods {
			if r := c.ask(method, `{"taskId":"`+id+`"}`, ""); strings.Contains(r.body, "hunter2") || !strings.Contains(r.body, "***") {
				t.Errorf("%s: %s", method, r.body)
			}
		}
	}
}

func TestTasksAreListedToWhoBeganThem(t *testing.T) {
	till := working(false)
	till.about = `{"tools":{},"tasks":{"list":{},"requests":{"tools":{"call":{}}}}}`
	till.results["tools/call refund"] = `{"task":{"taskId":"T-7","status":"working"}}`
	till.handle = func(w http.ResponseWriter, _ *http.Request, m gjson.Result) bool { // one task a page, and those of others
		if m.Get("method").Str != "tasks/list" {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		page := map[string]string{"": `{"tasks":[{"taskId":"T-0","status":"working"}],"nextCursor":"2"}`, "2": `{"tasks":[{"x":1.0, "taskId" : "T-7","status":"working"}],"nextCursor":"3"}`}[m.Get("params.cursor").Str]
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.Get("id").Raw, page)
		return true
	}
	up := working(false)
	up.results["tasks/list"] = `{"tasks":[{"taskId":"T-7","status":"of another server"},{"taskId":"T-1","status":"working"},{"taskId":"T-1"}]}`
	h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t)), "till": behind(t, "till", till.start(t))})
	c := h.visit(t, "/mcp").tasker("2025-11-25")
	if r := c.ask("tasks/list", `{}`, ""); r.last("result").Raw != `{"tasks":[]}` || len(up.got("tasks/list"))+len(till.got("tasks/list")) != 0 {
		t.Errorf("before any began: %s", r.body)
	}
	id := func(tool string) string {
		return c.ask("tools/call", `{"name":"`+tool+`","task":{}}`, "").last("result.task.taskId").Str
	}
	one, two := id("shop__refund"), id("till__refund")
	list := func() string { return c.ask("tasks/list", `{}`, "").last("result").Raw }
	if got, want := list(), `{"tasks":[{"taskId":"`+one+`","status":"working"},{"x":1.0, "taskId" : "`+two+`","status":"working"}]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if n := len(till.got("tasks/list")); n != 2 {
		t.Errorf("the server was asked for %d pages", n)
	}
	if r := h.visit(t, "/mcp", "Authorization", "Bearer other-token").tasker("2025-11-25").ask("tasks/list", `{}`, ""); r.last("result").Raw != `{"tasks":[]}` {
		t.Errorf("to another: %s", r.body)
	}
	if r := c.ask("tasks/list", `{"cursor":"2"}`, ""); r.last("error.code").Int() != -32602 {
		t.Errorf("a cursor: %s", r.body)
	}
	h.gate.SetLaw(&firewall.Law{Policy: rules{"tool:shop/*"}})
	if got, want := list(), `{"tasks":[{"x":1.0, "taskId" : "`+two+`","status":"working"}]}`; got != want {
		t.Errorf("after the policy has changed: got %s, want %s", got, want)
	}
	up.results["tasks/list"] = `error {"code":-32603,"message":"no"}`
	h.gate.SetLaw(&firewall.Law{Policy: rules{}})
	if got := list(); !strings.HasSuffix(got, `"_meta":{"callgate/unavailable":["shop"]}}`) || !strings.Contains(got, two) {
		t.Errorf("when one server fails: %s", got)
	}
	can := gjson.Get(h.visit(t, "/mcp/till").post(initialize("2025-11-25")).body, "result.capabilities.tasks").Raw
	if can != `{"list":{},"requests":{"tools":{"call":{}}}}` {
		t.Errorf("the gate declares %s", can)
	}
	if can := gjson.Get(h.visit(t, "/mcp/till").post(initialize("2025-06-18")).body, "result.capabilities.tasks"); can.Exists() {
		t.Errorf("to a client that knows no tasks the gate declares %s", can.Raw)
	}
}

func TestWhatATaskAsksForIsDecidedOnce(t *testing.T) {
	law, err := policy.Load(policy.Source{Name: "policy.csv", Text: []byte(`
p,  agent:bot,   *, tool:*,                call,     true, allow, T1
p,  server:shop, *, model:client/sampling, generate, true, allow, S1
p2, server:shop, *, model:client/sampling, generate, true, allow, limit:calls=1/1h, S2
`)})
	if err != nil {
		t.Fatal(err)
	}
	up := working(true)
	wants := func(key string) {
		up.results["tasks/get"] = `{"taskId":"T-1","status":"input_required","inputRequests":{"` + key + `":{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":5}}}}`
	}
	wants("a")
	up.results["tasks/update"] = `{"resultType":"complete"}`
	h := open(t, law, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
	c := h.visit(t, "/mcp/shop").tasker("2026-07-28")
	c.able26 = able
	id := c.begin()
	for range 3 {
		if r := c.ask("tasks/get", `{"taskId":"`+id+`"}`, ""); r.last("result.inputRequests.a.params.maxTokens").Int() != 5 {
			t.Errorf("tasks/get: %s", r.body)
		}
	}
	asked := 0
	for _, r := range h.log.Records() {
		if r.Agent == "server:shop" && r.Type == audit.Opened {
			asked++
		}
	}
	if asked != 1 {
		t.Errorf("one request for input is on record %d times: %s", asked, types(h.log.Records()))
	}
	if r := c.ask("tasks/update", `{"taskId":"`+id+`","inputResponses":{"a":`+answers["sampling/createMessage"]+`}}`, ""); r.last("result.resultType").Str != "complete" {
		t.Errorf("tasks/update: %s", r.body)
	}
	if sent := up.got("tasks/update"); len(sent) != 1 || sent[0].Get("params.taskId").Str != "T-1" || sent[0].Get("params.inputResponses.a").Raw != answers["sampling/createMessage"] {
		t.Errorf("the server got %v", sent)
	}
	wants("b")
	if r := c.ask("tasks/get", `{"taskId":"`+id+`"}`, ""); r.last("error.code").Int() != 429 {
		t.Errorf("another request for input, beyond the limit: %s", r.body)
	}
}

func TestNothingIsHeardOfATaskWhoseToolIsWithheld(t *testing.T) {
	f := newFickle(t, true)
	f.about = `{"tools":{},` + taskExtension + `}`
	for method, result := range working(true).results {
		f.results[method] = result
	}
	f.tool(`{"name":"refund","inputSchema":{"type":"object"}}`)
	w := watched(t, new(mcp.MemoryPins), nil, nil, map[string]*fickle{"shop": f})
	c := w.visit(t, "/mcp/shop").tasker("2026-07-28")
	id := c.begin()
	f.tool(`{"name":"refund","description":"another","inputSchema":{"type":"object"}}`)
	w.servers["shop"].Forget()
	r := c.ask("tasks/get", `{"taskId":"`+id+`"}`, "")
	if r.last("error.data.rule").Str != "pins" || len(f.got("tasks/get")) != 0 {
		t.Errorf("tasks/get: %s", r.body)
	}
	if r := c.ask("tasks/cancel", `{"taskId":"`+id+`"}`, ""); r.last("error").Exists() || len(f.got("tasks/cancel")) != 1 {
		t.Errorf("tasks/cancel: %s", r.body)
	}
}

func TestMessagesAboutATaskHaveTheIDThatTheClientKnows(t *testing.T) {
	const related = `"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"T-1"}}`
	up := working(false)
	answered := make(chan bool)
	up.handle = func(w http.ResponseWriter, _ *http.Request, m gjson.Result) bool {
		switch {
		case m.Get("method").Str == "tasks/result":
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "data: %s\n\ndata: %s\n\n", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1.0,`+related+`}}`,
				`{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"Go on?","requestedSchema":{},`+related+`}}`)
			w.(http.Flusher).Flush()
			<-answered
			fmt.Fprintf(w, "data: %s\n\n", `{"jsonrpc":"2.0","id":`+m.Get("id").Raw+`,"result":{"content":[],`+related+`}}`)
			return true
		case m.Get("id").Str == "q":
			close(answered)
			w.WriteHeader(http.StatusAccepted)
			return true
		}
		return false
	}
	h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
	c := h.visit(t, "/mcp/shop").able("2025-11-25")
	id := c.begin()
	var told []gjson.Result
	b, body := c.request("tasks/result", `{"taskId":"`+id+`"}`, "")
	resp, err := b.send(t.Context(), http.MethodPost, body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	follow(bufio.NewScanner(resp.Body), func(_, data string) bool {
		m := gjson.Parse(data)
		told = append(told, m)
		if q := m.Get("method").Str; q == "elicitation/create" {
			c.post(`{"jsonrpc":"2.0","id":` + m.Get("id").Raw + `,"result":` + answers[q] + `}`)
		}
		return true
	})
	if len(told) != 3 {
		t.Fatalf("the client heard %v", told)
	}
	for _, m := range told {
		if got := m.Get(`*._meta.io\.modelcontextprotocol/related-task.taskId`).Str; got != id || strings.Contains(m.Raw, "T-1") {
			t.Errorf("the client heard %s", m.Raw)
		}
	}
}
