package mcp_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"callgate/identity"
	"callgate/mcp"

	"github.com/mark3labs/mcp-go/server"
	"github.com/tidwall/gjson"
)

// TestMain is also the stdio server of these tests: the test binary started
// again with a character to play.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == mcp.ConfineWord && os.Getenv("CALLGATE_FIXTURE") == "deaf" {
		s := mcp.NewServer(mcp.ServerConfig{Name: "again", Command: []string{"/bin/sh", "-c", "exit 1"}, Logger: slog.New(slog.DiscardHandler)})
		_, err := s.Info(context.Background())
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if len(os.Args) > 1 && os.Args[1] == mcp.ConfineWord {
		fmt.Fprintln(os.Stderr, mcp.Confine(os.Args[2:]))
		os.Exit(1)
	}
	if character := os.Getenv("CALLGATE_FIXTURE"); character != "" {
		play(character)
		return
	}
	os.Exit(m.Run())
}

// A fixture is an MCP server written by hand, byte by byte, so that tests see
// what is lost. Its tools are named for what they do.
type fixture struct {
	modern    bool   // speaks 2026-07-28 only, else version only
	version   string // 2025-11-25 unless another is set
	forgetful bool   // does not keep what it saw

	mu      sync.Mutex
	seen    []string // messages as they came
	arrived chan struct{}
	answers map[string]chan string  // to requests of its own, by id
	ears    map[string]func(string) // of clients that listen: they are given the parameters' metadata
	jobs    []*job                  // tasks, whoever began them

	seenIn string             // file that gets what came, too
	raw    func(string) error // writes what need not be a message; nil where it cannot
}

func newFixture(modern bool) *fixture {
	return &fixture{modern: modern, version: "2025-11-25", arrived: make(chan struct{}, 1<<16), answers: make(map[string]chan string), ears: make(map[string]func(string))}
}

// await returns when a message for which ok is true has come.
func (f *fixture) await(t testing.TB, ok func(string) bool) string {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		f.mu.Lock()
		i := slices.IndexFunc(f.seen, ok)
		if i >= 0 {
			defer f.mu.Unlock()
			return f.seen[i]
		}
		f.mu.Unlock()
		select {
		case <-f.arrived:
		case <-deadline:
			t.Fatal("the server did not get what was expected")
		}
	}
}

const fixtureTools = `[` +
	`{"name":"echo","x-unknown":{"big":123456789012345678901234567890},"inputSchema":{"type":"object","anyOf":[true,{"$comment":"kept"}],"properties":{"region":{"type":"string","x-mcp-header":"Region"},"deep":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"Deep-N"}}}}},"annotations":{"readOnlyHint":true,"openWorldHint":false}},` +
	`{"name":"wipe","inputSchema":{"type":"object"},"annotations":{}},` +
	`{"name":"plain","inputSchema":{"type":"object"}},` +
	`{"name":"bad-header","inputSchema":{"type":"object","properties":{"a":{"type":"number","x-mcp-header":"A"}}}},` +
	`{"name":"echo","title":"a second one of the name"},` +
	`{"title":"no name"},` +
	`{"name":"safe","Name":"evil"}]`

// take is what the server does with one message. say writes one message back.
func (f *fixture) take(line string, say func(string)) {
	f.mu.Lock()
	f.keepSeen(line)
	if !f.forgetful {
		f.seen = append(f.seen, line)
	}
	f.mu.Unlock()
	select {
	case f.arrived <- struct{}{}:
	default:
	}
	m := gjson.Parse(line)
	id := m.Get("id").Raw
	if !m.Get("method").Exists() {
		f.mu.Lock()
		ch := f.answers[id]
		f.mu.Unlock()
		if ch != nil {
			ch <- line
		}
		return
	}
	if id == "" {
		return
	}
	result := func(r string) {
		switch {
		case f.modern && strings.HasPrefix(r, `{"inputRequests"`):
			r = `{"resultType":"input_required",` + strings.TrimPrefix(r, "{")
		case strings.HasPrefix(r, `{"resultType"`):
		case f.modern && r == "{}":
			r = `{"resultType":"complete"}`
		case f.modern:
			r = `{"resultType":"complete",` + strings.TrimPrefix(r, "{")
		}
		say(`{"jsonrpc":"2.0","id":` + id + `,"result":` + r + `}`)
	}
	fail := func(code int, message string) {
		say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":%q,"data":{"big":98765432109876543210,"x":null}}}`, id, code, message))
	}
	about := `"capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{},"x-unknown":{}` + f.takesTasks() + `},"serverInfo":{"name":"fixture","version":"1"},"instructions":"be kind"`
	switch method := m.Get("method").Str; {
	case method == "server/discover" && f.modern:
		result(`{"supportedVersions":["2026-07-28"],` + about + `,"ttlMs":60000,"cacheScope":"public"}`)
	case method == "initialize" && !f.modern:
		result(`{"protocolVersion":"` + f.version + `",` + about + `}`)
	case method == "tools/list" && !m.Get("params.cursor").Exists():
		result(`{"tools":` + fixtureTools + `,"nextCursor":"2","ttlMs":60000,"cacheScope":"public"}`)
	case method == "tools/list":
		result(`{"tools":[{"name":"last"}],"ttlMs":60000,"cacheScope":"public"}`)
	case method == "resources/list":
		result(`{"resources":[{"uri":"doc://one","name":"one"}],"ttlMs":60000,"cacheScope":"public"}`)
	case method == "resources/templates/list":
		result(`{"resourceTemplates":[],"ttlMs":60000,"cacheScope":"public"}`)
	case (method == "resources/subscribe" || method == "resources/unsubscribe") && !f.modern:
		result(`{}`)
	case method == "subscriptions/listen" && f.modern:
		say(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":` + m.Get("params.notifications").Raw + `,"_meta":{"io.modelcontextprotocol/subscriptionId":` + id + `}}}`)
		f.hear(id, func(what string) {
			if uri := m.Get("params.notifications.resourceSubscriptions.0"); (uri.Str == "doc://one") != (what == "resources/updated") {
				return
			}
			say(`{"jsonrpc":"2.0","method":"notifications/` + what + `","params":{"uri":"doc://one","x":1.0,"_meta":{"io.modelcontextprotocol/subscriptionId":` + id + `}}}`)
		})
	case method == "tools/call":
		f.call(m, result, fail, say)
	case strings.HasPrefix(method, "tasks/") && f.takesTasks() != "":
		f.task(m, result, fail)
	default:
		fail(-32601, "method not found")
	}
}

func (f *fixture) call(m gjson.Result, result func(string), fail func(int, string), say func(string)) {
	if f.misbehave(m, result, say) {
		return
	}
	args := m.Get("params.arguments")
	n := int(args.Get("n").Int())
	done := `{"content":[{"type":"text","text":"done"}]}`
	switch m.Get("params.name").Str {
	case "echo":
		result(`{"content":[{"type":"x-unknown","n":1e400}],"structuredContent":` + m.Get("params").Raw + `,"x-big":123456789012345678901234567890}`)
	case "progress":
		for i := range n {
			say(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d,"message":%s,"big":12345678901234567890}}`,
				m.Get("params._meta.progressToken").Raw, i, args.Get("who").Raw))
		}
		result(done)
	case "log":
		for i := range n {
			say(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":%d}}`, i))
		}
		result(done)
	case "changed":
		say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		result(done)
	case "ask":
		var got []string
		for _, method := range []string{"ping", "sampling/createMessage"} {
			ch := make(chan string, 1)
			f.mu.Lock()
			f.answers[`"`+method+`"`] = ch
			f.mu.Unlock()
			say(`{"jsonrpc":"2.0","id":"` + method + `","method":"` + method + `"}`)
			got = append(got, <-ch)
		}
		result(`{"content":[],"structuredContent":[` + strings.Join(got, ",") + `]}`)
	case "happen":
		f.mu.Lock()
		for _, say := range f.ears {
			say(args.Get("what").Str)
		}
		f.mu.Unlock()
		result(done)
	case "job":
		f.begin(m, result)
	case "ask-user":
		f.askUser(m, args, result, say)
	case "env":
		env, _ := json.Marshal(os.Environ())
		result(`{"content":[],"structuredContent":` + string(env) + `}`)
	case "limits":
		text, _ := os.ReadFile("/proc/self/limits")
		status, _ := os.ReadFile("/proc/self/status")
		said, _ := json.Marshal(string(text) + string(status))
		result(`{"content":[],"structuredContent":` + string(said) + `}`)
	case "args":
		said, _ := json.Marshal(os.Args[1:])
		result(`{"content":[],"structuredContent":` + string(said) + `}`)
	case "look": // whether a path can be read, and written
		f, read := os.Open(args.Get("path").Str)
		if read == nil {
			_ = f.Close()
		}
		write := os.WriteFile(args.Get("path").Str+"/new", nil, 0o600)
		result(fmt.Sprintf(`{"content":[],"structuredContent":{"read":%v,"write":%v}}`, read == nil, write == nil))
	case "reserve": // addresses, and no memory
		_, err := syscall.Mmap(-1, 0, int(args.Get("bytes").Int()), syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		result(fmt.Sprintf(`{"content":[],"structuredContent":%v}`, err == nil))
	case "take":
		took := make([]byte, args.Get("bytes").Int())
		result(fmt.Sprintf(`{"content":[],"structuredContent":%v}`, took[len(took)-1] == 0))
	case "dial":
		c, err := net.DialTimeout(cmp.Or(args.Get("net").Str, "tcp"), args.Get("addr").Str, 5*time.Second)
		if err == nil {
			_ = c.Close()
		}
		result(fmt.Sprintf(`{"content":[],"structuredContent":%v}`, err == nil))
	case "nice":
		stat, _ := os.ReadFile("/proc/self/stat")
		_, rest, _ := strings.Cut(string(stat), ") ")
		result(`{"content":[],"structuredContent":` + strings.Fields(rest)[16] + `}`)
	case "fork": // a child that does not care about SIGTERM, and holds a pipe for as long as it lives
		cmd := exec.Command("/bin/sh", "-c", `trap "" TERM HUP; exec 3> "$1"; while :; do sleep 60; done`, "sh", args.Get("pipe").Str)
		if args.Get("away").Bool() {
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		}
		if args.Get("orphan").Bool() { // its parent ends at once
			cmd.Args[2] = "(" + cmd.Args[2] + ") > /dev/null &"
			_ = cmd.Run()
		} else {
			_ = cmd.Start()
		}
		result(done)
	case "pid":
		result(fmt.Sprintf(`{"content":[],"structuredContent":%d}`, os.Getpid()))
	case "garbage":
		for range n {
			say("warming up, please wait {")
		}
		result(done)
	case "huge":
		say(`{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"` + strings.Repeat("x", n) + `"}}`)
		result(done)
	case "fail":
		fail(-32042, "as asked")
	case "die":
		os.Exit(3)
	case "hang-after-progress":
		say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1,"progressToken":` + m.Get("params._meta.progressToken").Raw + `}}`)
	case "two-ways":
		say(`{"jsonrpc":"2.0","id":` + m.Get("id").Raw + `,"result":{},"result":{"content":[]}}`)
	case "plain":
		result(done)
	case "hang":
	default:
		fail(-32602, "unknown tool")
	}
}

// hear has f called with what happens, until the end of the test.
func (f *fixture) hear(id string, say func(what string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ears[id] = say
}

func (f *fixture) deafen(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.ears, id)
}

// plainly says what happens as servers with sessions do.
func plainly(say func(string)) func(string) {
	return func(what string) {
		say(`{"jsonrpc":"2.0","method":"notifications/` + what + `","params":{"uri":"doc://one","x":1.0}}`)
	}
}

// questions is what the tool ask-user asks of the client, in order.
var questions = []struct{ key, method, params string }{
	{"who", "elicitation/create", `{"message":"Your name?","requestedSchema":{"type":"object","properties":{"name":{"type":"string"}}}}`},
	{"llm", "sampling/createMessage", `{"messages":[{"role":"user","content":{"type":"text","text":"hi"}}],"maxTokens":10}`},
	{"dirs", "roots/list", `{}`},
}

// askUser gets input from the client as the server's era does, and answers with
// what it got. With the argument "only" it asks one question.
func (f *fixture) askUser(m, args gjson.Result, result func(string), say func(string)) {
	var got []string
	for _, q := range questions {
		if only := args.Get("only").Str; only != "" && q.key != only {
			continue
		}
		if f.modern {
			got = append(got, `"`+q.key+`":{"method":"`+q.method+`","params":`+q.params+`}`)
			continue
		}
		id := fmt.Sprintf(`"%s-%d"`, q.key, time.Now().UnixNano())
		ch := make(chan string, 1)
		f.mu.Lock()
		f.answers[id] = ch
		f.mu.Unlock()
		say(`{"jsonrpc":"2.0","id":` + id + `,"method":"` + q.method + `","params":` + q.params + `}`)
		answer := gjson.Parse(<-ch)
		got = append(got, `"`+q.key+`":`+answer.Get("result").Raw+answer.Get("error").Raw)
	}
	answers := m.Get("params.inputResponses")
	switch {
	case !f.modern:
		result(`{"content":[],"structuredContent":{` + strings.Join(got, ",") + `}}`)
	case !answers.Exists():
		result(`{"inputRequests":{` + strings.Join(got, ",") + `},"requestState":"half \"done\""}`)
	default:
		result(`{"content":[],"structuredContent":` + answers.Raw + `,"x-state":` + m.Get("params.requestState").Raw + `}`)
	}
}

// play serves on standard input and output.
func play(character string) {
	out := bufio.NewWriter(os.Stdout)
	var mu sync.Mutex
	say := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = out.WriteString(s + "\n")
		_ = out.Flush()
	}
	if character == "mcp-go" {
		_ = server.ServeStdio(goServer())
		return
	}
	f := newFixture(strings.HasPrefix(character, "modern"))
	f.forgetful, f.seenIn = true, os.Getenv("CALLGATE_SEEN")
	f.raw = func(s string) error {
		_, err := os.Stdout.WriteString(s)
		return err
	}
	if _, version, ok := strings.Cut(character, "legacy 20"); ok {
		f.version = "20" + version
	}
	fmt.Fprintln(os.Stderr, "fixture is up")
	if !f.modern {
		f.hear("", plainly(say))
	}
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			if character == "legacy stubborn" {
				select {}
			}
			return
		}
		if strings.Contains(line, "server/discover") && character == "legacy silent" {
			continue
		}
		if strings.Contains(line, "server/discover") && character == "legacy fragile" {
			os.Exit(1)
		}
		go f.take(strings.TrimSpace(line), say)
	}
}

// overStdio is a Server over a process of the test binary.
func overStdio(t testing.TB, character string, set ...func(*mcp.ServerConfig)) *mcp.Server {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return newServer(t, append([]func(*mcp.ServerConfig){func(c *mcp.ServerConfig) {
		c.Shared = true
		c.Command, c.Env = []string{exe}, map[string]string{"CALLGATE_FIXTURE": character, "GORACE": "atexit_sleep_ms=0"}
	}}, set...)...)
}

// overHTTP is a Server at a handler.
func overHTTP(t testing.TB, h http.Handler, set ...func(*mcp.ServerConfig)) *mcp.Server {
	t.Helper()
	ts := httptest.NewServer(h)
	t.Cleanup(ts.Close)
	return newServer(t, append([]func(*mcp.ServerConfig){func(c *mcp.ServerConfig) { c.URL = ts.URL + "/mcp" }}, set...)...)
}

func newServer(t testing.TB, set ...func(*mcp.ServerConfig)) *mcp.Server {
	t.Helper()
	cfg := mcp.ServerConfig{Name: "files", Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, f := range set {
		f(&cfg)
	}
	s := mcp.NewServer(cfg)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		s.Close(ctx)
	})
	return s
}

// web serves a fixture by streamable HTTP. A legacy one gives each client a
// session and knows only those.
type web struct {
	*fixture
	stream bool // answers as event streams

	mu       sync.Mutex
	requests []*http.Request
	sessions map[string]bool
	deleted  []string
}

func newWeb(modern, stream bool) *web {
	return &web{fixture: newFixture(modern), stream: stream, sessions: make(map[string]bool)}
}

func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	id := r.Header.Get("Mcp-Session-Id")
	w.mu.Lock()
	if !w.forgetful {
		w.requests = append(w.requests, r)
	}
	known := w.sessions[id]
	if r.Method == http.MethodDelete {
		delete(w.sessions, id)
		w.deleted = append(w.deleted, id)
	}
	w.mu.Unlock()
	begins := bytes.Contains(body, []byte(`"initialize"`))
	switch {
	case r.Method == http.MethodDelete:
		return
	case r.Method == http.MethodGet && !w.modern && known && w.stream:
		lines := make(chan string, 100)
		w.hear(id, plainly(func(s string) { lines <- s }))
		rw.Header().Set("Content-Type", "text/event-stream")
		for {
			rw.(http.Flusher).Flush()
			select {
			case line := <-lines:
				_, _ = io.WriteString(rw, "data: "+line+"\n\n")
			case <-r.Context().Done():
				return
			}
		}
	case r.Method == http.MethodGet:
		rw.WriteHeader(http.StatusMethodNotAllowed)
		return
	case w.modern && r.Header.Get("Mcp-Protocol-Version") != "2026-07-28",
		!w.modern && id == "" && !begins:
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(rw, `{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: Server not initialized"},"id":null}`)
		return
	case !w.modern && !begins && !known:
		http.Error(rw, "no such session", http.StatusNotFound)
		return
	case !gjson.GetBytes(body, "id").Exists(), !gjson.GetBytes(body, "method").Exists():
		w.take(string(body), nil)
		rw.WriteHeader(http.StatusAccepted)
		return
	}
	if begins && !w.modern {
		w.mu.Lock()
		id = fmt.Sprintf("session-%d", len(w.requests))
		w.sessions[id] = true
		w.mu.Unlock()
		rw.Header().Set("Mcp-Session-Id", id)
	}
	if bytes.Contains(body, []byte(`"rogue-endless"`)) && w.stream {
		rw.Header().Set("Content-Type", "text/event-stream")
		w.mu.Lock()
		w.raw = func(s string) error {
			_, err := io.WriteString(rw, s)
			return err
		}
		w.mu.Unlock()
	}
	said := false
	w.take(string(body), func(s string) {
		if !w.stream {
			rw.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(rw, s)
			return
		}
		if !said {
			said = true
			rw.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(rw, ": welcome\nid: 1\ndata:\n\n")
		}
		_, _ = io.WriteString(rw, "event: message\r\ndata: "+s+"\r\n\r\n")
		rw.(http.Flusher).Flush()
	})
	defer w.deafen(gjson.GetBytes(body, "id").Raw) // the writer ends with the handler
	if strings.Contains(string(body), `"hang`) || strings.Contains(string(body), `"subscriptions/listen"`) && w.stream {
		<-r.Context().Done()
	}
}

// oldWeb serves a fixture by HTTP+SSE, as servers of 2024-11-05 do.
type oldWeb struct {
	*fixture

	mu    sync.Mutex
	lines map[string]chan string // to clients, by session
}

func newOldWeb() *oldWeb {
	return &oldWeb{fixture: newFixture(false), lines: make(map[string]chan string)}
}

func (w *oldWeb) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("session")
	if r.Method == http.MethodGet {
		w.mu.Lock()
		id = fmt.Sprint(len(w.lines) + 1)
		lines := make(chan string, 100)
		w.lines[id] = lines
		w.mu.Unlock()
		rw.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(rw, "event: endpoint\ndata: /messages?session=%s\n\n", id)
		w.hear(id, plainly(func(s string) { lines <- s }))
		for {
			rw.(http.Flusher).Flush()
			select {
			case line := <-lines:
				fmt.Fprintf(rw, "event: message\ndata: %s\n\n", line)
			case <-r.Context().Done():
				return
			}
		}
	}
	w.mu.Lock()
	lines := w.lines[id]
	w.mu.Unlock()
	if r.Method != http.MethodPost || lines == nil {
		http.Error(rw, "no such session", http.StatusNotFound)
		return
	}
	body, _ := io.ReadAll(r.Body)
	rw.WriteHeader(http.StatusAccepted)
	go w.take(string(body), func(s string) { lines <- s })
}

func agent(name string) *mcp.Client {
	return &mcp.Client{Principal: identity.Principal{Tenant: "default", Subject: "agent:" + name}}
}

// call calls a tool and returns all that comes back.
func call(ctx context.Context, s *mcp.Server, who, params string) (notifications []mcp.Message, response mcp.Message, err error) {
	for m, err := range s.Do(ctx, agent(who), mcp.Request{Method: "tools/call", Params: json.RawMessage(params)}) {
		if err != nil {
			return notifications, m, err
		}
		if m.IsResponse() {
			return notifications, m, nil
		}
		notifications = append(notifications, m)
	}
	return notifications, mcp.Message{}, fmt.Errorf("no response")
}

func readAll(r *http.Request) string {
	doc, _ := io.ReadAll(r.Body)
	return string(doc)
}
