package chain

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"

	"callgate/firewall"
	"callgate/test/upstream"
)

// A mix is what clients do to what passes: shares of one.
type mix struct {
	lockstep  bool    // chance decides who is next, and not how long things take
	agents    int     // that share a token
	sessions  bool    // each has a connection of its own for tools
	ids       float64 // agents that send the id of the tool call that a model asked for
	reused    bool    // the provider's ids are not unique
	rewritten float64 // arguments
	cut       float64 // results
	off       float64 // tool calls that go past the gate
	compacted float64 // sessions
	broken    float64 // tool calls, and model calls, that fail and are tried again
}

// An agent is one session of a simulated agent: a loop of model calls and tool calls.
type agent struct {
	w       *world
	rng     *rand.Rand
	name    string
	token   string
	session string // of its connection for tools
	sendsID bool
	claude  bool // it speaks Anthropic messages, else chat completions
	streams bool

	system   string
	history  []map[string]any
	turns    int           // that are left
	at       time.Duration // when it does the next thing
	oneByOne bool          // it makes one tool call after the other
	compact  int           // turns until it makes room; -1: never
	last     string        // model call that its next one follows
	waiting  []*work
	answered []result
	model    *upstream.Model
	then     func() // goes on when the model has answered; nil while it is not asked
	back     *httptest.ResponseRecorder
	fails    bool
	reached  chan struct{} // by a request
	release  chan struct{} // the reply
	over     chan struct{} // the request is
	say      upstream.Say
}

// work is a tool call that the model asked for and that is to be made.
type work struct {
	id, tool, args string
	by             string // model call
	off            bool
	at             time.Duration // when it is made
}

type result struct {
	work *work
	text string
}

// truth is what is so, to be held against what callgate says.
type truth struct {
	tool  map[string]*work  // tool call by its id, and what asked for it
	model map[string]string // model call, and the one that it follows
	first map[string]bool   // model calls that begin a conversation
	off   map[string]bool   // model call and id of what went past the gate
	cut   map[string]bool   // ids of tool calls whose results were cut
}

// trivial are calls that many agents make, with results that say little.
var trivial = [...][2]string{{"list_files", `{}`}, {"git_status", `{}`}, {"read_file", `{"path":"README.md"}`}, {"run_tests", `{"all":true}`}, {"list_files", `{"path":"src"}`}}

// schemas are what the tools' servers say of them.
var schemas = map[string]string{
	"search": `{"name":"search","inputSchema":{"type":"object","properties":{"q":{"type":"string"},"limit":{"type":"integer","default":10},"deep":{"type":"boolean","default":false}}}}`,
	"edit":   `{"name":"edit","inputSchema":{"type":"object","properties":{"path":{"type":"string"},"text":{"type":"string"},"mode":{"type":"string","default":"w"}}}}`,
}

func (a *agent) words(n int) string {
	var b strings.Builder
	for range n {
		fmt.Fprintf(&b, "%s%d ", [...]string{"the", "file", "order", "line", "of", "value", "is", "total\n"}[a.rng.IntN(8)], a.rng.IntN(1000))
	}
	return b.String()
}

// ask is one turn of the model. It says whether the session goes on.
func (a *agent) ask() {
	for _, r := range a.answered {
		a.bring(r)
	}
	a.answered = nil
	if a.compact == 0 {
		a.compact = -1
		a.makeRoom()
		return
	}
	a.compact--
	a.turns--
	a.say = upstream.Say{}
	n := [...]int{0, 1, 1, 1, 2, 3}[a.rng.IntN(6)]
	if a.turns <= 0 {
		n = 0
	}
	if n == 0 || a.rng.IntN(3) == 0 {
		a.say.Text = [...]string{"Done.", "Let me look.", a.words(12)}[a.rng.IntN(3)]
	}
	for i := range n {
		c := upstream.Call{ID: fmt.Sprintf("toolu_%s_%d", a.name, a.rng.Uint64())}
		if a.w.reused {
			c.ID = fmt.Sprintf("call_%d", i)
		}
		switch {
		case a.rng.Float64() < 0.45:
			t := trivial[a.rng.IntN(len(trivial))]
			c.Tool.Name, c.Args = "mcp__shop__"+t[0], t[1]
		case a.rng.IntN(2) == 0:
			c.Tool.Name, c.Args = "mcp__shop__search", fmt.Sprintf(`{"q":"order %d","limit":10}`, a.rng.IntN(1_000_000))
		default:
			c.Tool.Name, c.Args = "mcp__shop__edit", fmt.Sprintf(`{"path":"src/%d.go","text":%q}`, a.rng.IntN(1_000_000), a.words(6))
		}
		a.say.Calls = append(a.say.Calls, c)
	}
	a.request(func(id string) {
		a.hear(id)
		if n == 0 && a.turns > 0 { // its user has more to say
			a.at += a.between(5*time.Second, 60*time.Second)
			a.history = append(a.history, map[string]any{"role": "user", "content": a.prompt()})
		}
	})
}

// thinks is how long the model takes for a reply.
func (a *agent) thinks() time.Duration { return a.between(1500*time.Millisecond, 12*time.Second) }

// between is a time between two.
func (a *agent) between(from, to time.Duration) time.Duration {
	return from + time.Duration(a.rng.Float64()*a.rng.Float64()*float64(to-from))
}

func (a *agent) prompt() string {
	if a.rng.IntN(3) == 0 {
		return [...]string{"Go on.", "Run the checks.", "What is there?"}[a.rng.IntN(3)]
	}
	return "Please see to " + a.words(8)
}

// makeRoom has the model sum up what was said, and begins anew with that.
func (a *agent) makeRoom() {
	if n := len(a.history); n > 0 && a.history[n-1]["role"] == "user" {
		if _, plain := a.history[n-1]["content"].(string); plain {
			a.history = a.history[:n-1]
		}
	}
	a.history = append(a.history, map[string]any{"role": "user", "content": "Sum up what was said so far, for somebody who goes on with it."})
	a.say = upstream.Say{Text: "Summary: " + a.words(80)}
	a.request(func(id string) { a.beginAnew(id) })
}

func (a *agent) beginAnew(id string) {
	a.last = id
	first := a.say.Text
	if a.rng.IntN(2) == 0 {
		first = "This session goes on with one that ran out of room. What was said:\n" + first + "\nGo on with the last task."
	}
	a.history = []map[string]any{{"role": "user", "content": first}}
}

// request makes a model call, and again if it fails, whose reply comes after a while; then
// the session goes on with it.
func (a *agent) request(then func(id string)) {
	for a.rng.Float64() < a.w.broken/2 {
		a.post(true)
		<-a.over
		a.at += a.between(100*time.Millisecond, time.Second)
		a.note()
	}
	a.post(false)
	a.at += a.thinks()
	a.then = func() {
		a.release <- struct{}{}
		<-a.over
		then(a.note())
	}
}

// note takes down what the last request follows, and is its id.
func (a *agent) note() string {
	if (a.back.Code != 200) != a.fails {
		a.w.t.Fatalf("the door answered %d: %s", a.back.Code, a.back.Body)
	}
	id := a.back.Header().Get("Callgate-Call")
	if a.last == "" {
		a.w.truth.first[id] = true
	} else {
		a.w.truth.model[id] = a.last
	}
	return id
}

// hear takes what the model said into the history, as the client writes it.
func (a *agent) hear(id string) {
	a.last = id
	for _, c := range a.say.Calls {
		w := &work{id: c.ID, tool: strings.TrimPrefix(c.Tool.Name, "mcp__shop__"), args: c.Args, by: id, off: a.rng.Float64() < a.w.off}
		if w.off {
			a.w.truth.off[id+" "+c.ID] = true
		}
		a.waiting = append(a.waiting, w)
	}
	at := a.at
	for _, w := range a.waiting { // at once, or one after the other; some after a person has said yes
		w.at = at + a.between(10*time.Millisecond, 150*time.Millisecond)
		if a.rng.Float64() < 0.05 {
			w.at += a.between(3*time.Second, 60*time.Second)
		}
		if a.oneByOne {
			at = w.at + a.between(50*time.Millisecond, 2*time.Second)
		}
	}
	slices.SortStableFunc(a.waiting, func(x, y *work) int { return cmp.Compare(x.at, y.at) })
	if len(a.waiting) > 0 {
		a.at = a.waiting[0].at
	}
	if a.claude {
		var content []any
		if a.say.Text != "" {
			content = append(content, map[string]any{"type": "text", "text": a.say.Text})
		}
		for _, c := range a.say.Calls {
			content = append(content, map[string]any{"type": "tool_use", "id": c.ID, "name": c.Tool.Name, "input": json.RawMessage(c.Args)})
		}
		a.history = append(a.history, map[string]any{"role": "assistant", "content": content})
		return
	}
	m := map[string]any{"role": "assistant", "content": a.say.Text}
	var calls []any
	for _, c := range a.say.Calls {
		calls = append(calls, map[string]any{"id": c.ID, "type": "function", "function": map[string]any{"name": c.Tool.Name, "arguments": c.Args}})
	}
	if calls != nil {
		m["tool_calls"] = calls
	}
	a.history = append(a.history, m)
}

// bring takes a result into the history.
func (a *agent) bring(r result) {
	if !a.claude {
		a.history = append(a.history, map[string]any{"role": "tool", "tool_call_id": r.work.id, "content": r.text})
		return
	}
	block := map[string]any{"type": "tool_result", "tool_use_id": r.work.id, "content": r.text}
	if a.rng.IntN(2) == 0 {
		block["content"] = []any{map[string]any{"type": "text", "text": r.text}}
	}
	if n := len(a.history); n > 0 && a.history[n-1]["role"] == "user" {
		a.history[n-1]["content"] = append(a.history[n-1]["content"].([]any), block)
		return
	}
	a.history = append(a.history, map[string]any{"role": "user", "content": []any{block}})
}

// post sends the history to the model. The gate has judged it when post is back.
func (a *agent) post(fail bool) {
	doc := map[string]any{"stream": a.streams, "tools": []any{map[string]any{"name": "search", "description": strings.Repeat("It finds things. ", 20)}}}
	path := "/v1/chat/completions"
	if a.claude {
		path = "/v1/messages"
		doc["model"], doc["max_tokens"], doc["metadata"] = "claude", 1000, map[string]any{"user_id": a.name}
		doc["system"] = []any{map[string]any{"type": "text", "text": a.system, "cache_control": map[string]any{"type": "ephemeral"}}}
		doc["messages"] = a.history
		if n := len(a.history) - 1; n >= 0 { // the mark for the cache moves on
			if blocks, ok := a.history[n]["content"].([]any); ok {
				last := map[string]any{"cache_control": map[string]any{"type": "ephemeral"}}
				for k, v := range blocks[len(blocks)-1].(map[string]any) {
					last[k] = v
				}
				marked := append(append([]any(nil), blocks[:len(blocks)-1]...), last)
				doc["messages"] = append(append([]map[string]any(nil), a.history[:n]...), map[string]any{"role": a.history[n]["role"], "content": marked})
			}
		}
	} else {
		doc["model"], doc["user"] = "gpt", a.name
		doc["messages"] = append([]map[string]any{{"role": "system", "content": a.system}}, a.history...)
	}
	body, err := json.Marshal(doc)
	if err != nil {
		a.w.t.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(body)))
	req.Header.Set("Authorization", "Bearer "+a.token)
	if a.w.sessions && a.claude {
		req.Header.Set("X-Claude-Code-Session-Id", "client-"+a.name)
	}
	a.fails = fail
	a.back = httptest.NewRecorder()
	back := a.back
	go func() {
		a.w.door.ServeHTTP(back, req)
		a.over <- struct{}{}
	}()
	<-a.reached
}

// ServeHTTP is the provider of the agent's model.
func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.reached <- struct{}{}
	if a.fails {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"type":"error","error":{"type":"overloaded_error","message":"try again"}}`)
		return
	}
	<-a.release
	a.model.ServeHTTP(w, r)
}

// act makes the next tool call.
func (a *agent) act() {
	w := a.waiting[0]
	if a.waiting = a.waiting[1:]; len(a.waiting) > 0 {
		a.at = max(a.at, a.waiting[0].at)
	} else {
		a.at += a.between(50*time.Millisecond, 2*time.Second)
	}
	text := a.words(20 + a.rng.IntN(120))
	if strings.HasPrefix(w.tool, "git") || strings.HasPrefix(w.tool, "list") || w.tool == "run_tests" {
		text = [...]string{"ok", "clean", "src\ntest", text}[a.rng.IntN(4)]
	}
	if !w.off {
		args := w.args
		if a.rng.Float64() < a.w.rewritten {
			args = a.rewrite(args)
		}
		for a.rng.Float64() < a.w.broken {
			a.tool(w, args, text, true)
		}
		id := a.tool(w, args, text, false)
		if len(text) > 200 && a.rng.Float64() < a.w.cut {
			text = text[:len(text)/2] + "\n… [truncated]"
			a.w.truth.cut[id] = true
		}
	}
	a.answered = append(a.answered, result{w, text})
}

// rewrite is what a client makes of arguments before it sends them: it fills in defaults,
// leaves them out, writes nulls, adds members of its own or drops some.
func (a *agent) rewrite(args string) string {
	var m map[string]any
	if err := json.Unmarshal([]byte(args), &m); err != nil {
		a.w.t.Fatal(err)
	}
	switch a.rng.IntN(4) {
	case 0:
		m["cursor"] = nil
	case 1:
		if m["q"] != nil {
			m["deep"] = false
		} else if m["text"] != nil {
			m["mode"] = "w"
		}
	case 2:
		if m["q"] != nil {
			delete(m, "limit")
		} else {
			m["requestId"] = a.rng.IntN(1000)
		}
	case 3:
		m["user"] = a.name
	}
	doc, _ := json.Marshal(m)
	return string(doc)
}

type answers struct {
	text string
	fail bool
}

func (u answers) Forward(context.Context, *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		if u.fail {
			yield(firewall.Event{}, firewall.Refuse(firewall.Unavailable, "the server is gone"))
			return
		}
		doc, _ := json.Marshal(map[string]any{"content": []any{map[string]any{"type": "text", "text": u.text}}})
		body, err := firewall.ParseBody(doc, firewall.Limits{})
		yield(firewall.Event{Body: body, Last: true}, err)
	}
}

func (answers) Read(*firewall.Event) {}

// tool makes a tool call, and is its id.
func (a *agent) tool(w *work, args, text string, fail bool) string {
	body, err := firewall.ParseBody([]byte(`{"name":"`+w.tool+`","arguments":`+args+`}`), firewall.Limits{})
	if err != nil {
		a.w.t.Fatal(err)
	}
	call := &firewall.Call{Kind: firewall.Tool, Target: "shop", Method: "tools/call", Resource: w.tool, Token: a.token, Body: body, ArgsAt: "arguments", Tool: []byte(schemas[w.tool])}
	if a.w.sessions {
		call.Hints.Session = a.session
	}
	if a.sendsID {
		call.Hints.ToolUse = w.id
	}
	err = a.w.gate.Do(context.Background(), call, answers{text, fail}, func(firewall.Event) error { return nil })
	var e *firewall.Error
	if fail != errors.As(err, &e) {
		a.w.t.Fatal(err)
	}
	a.w.truth.tool[call.ID] = w
	return call.ID
}
