package test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"callgate/test/upstream"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/tidwall/gjson"
)

var update = flag.Bool("update", false, "rewrite what the scripts expect")

// Scripts drive the real binary. Beside testscript's own commands they have
//
//	serve [-name N] ARGS    run callgate serve ARGS on free ports until it answers; sets $GATE and $ADMIN
//	signal SIG [N]          send HUP or TERM to it
//	stopped STATUS [N]      wait for its end; its output is in N.out and N.err
//	http METHOD URL STATUS [NAME: VALUE]… [BODY]    make a request; the answer is on stdout
//	tool SERVER NAME ARGS   call an MCP server's tool by the gate, as $TOKEN; the answer is on stdout
//	capture NAME REGEXP     set $NAME to the first group of a match in the last stdout
//	begin METHOD URL …      the same, without waiting for the answer
//	finish STATUS           wait for that answer
//	refused URL             wait until nothing listens there
//	await FILE REGEXP       wait until a file has it
//	admin                   set $ADMIN_TOKEN
//	token AGENT             set $TOKEN to a token of it
//	expand FILE             put the variables below into a file
//	describe TOOL TEXT [PROPERTY]   the MCP server says TEXT, with Go's escapes, of a tool from now on, and lets it take PROPERTY too
//	login USER ARGS         run callgate mcp login ARGS, and be the USER who agrees in a browser
//	ended                   the authorization server takes no token any more
//	upstream REGEXP         a request that reached $LOCKED, or its authorization server, has it; or, with !, none
//	hold, release           the model answers only after release
//	holding                 wait until the model has a request that it holds
//
// and the variables MODEL (a scripted model API, which asks for the tool call that "call
// NAME ARGS" of the prompt says), MCP (an MCP server with the
// tools echo, pay and customer) and LOCKED (the same behind an authorization
// server).
//
// With -update they write down what they get in the place of what they want.
func TestScripts(t *testing.T) {
	bin := build(t)
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		Setup:         func(env *testscript.Env) error { return setup(env, bin) },
		UpdateScripts: *update,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": serve, "signal": signal, "stopped": stopped,
			"tool": callTool, "capture": capture,
			"http": request, "begin": begin, "finish": finish,
			"token": token, "admin": admin, "expand": expand, "await": await, "refused": refused,
			"describe": describe, "login": login, "ended": ended, "upstream": reachedUpstream,
			"hold": hold, "holding": holding, "release": release,
			"hooked": hooked,
		},
	})
}

// build builds the binary once.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "callgate"), "callgate/cmd/callgate").CombinedOutput()
	if err != nil {
		t.Fatalf("build callgate: %v\n%s", err, out)
	}
	return dir
}

// A world is what one script has around it.
type world struct {
	mu      sync.Mutex
	gates   map[string]*gate
	held    chan struct{} // the model waits for its end; nil when it answers at once
	waiting chan struct{} // a value for each request that waits
	answer  chan answer   // of begin
	tools   *server.MCPServer
	oauth   *upstream.OAuth
	hooks   []string // what came to the webhook, well signed; guarded by mu
}

type gate struct {
	cmd  *exec.Cmd
	done chan error
}

type answer struct {
	status int
	text   string
	err    error
}

type worldKey struct{}

func of(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

const modelKey = "sk-model-0000"

func setup(env *testscript.Env, bin string) error {
	w := &world{gates: make(map[string]*gate), waiting: make(chan struct{}, 16), answer: make(chan answer, 1)}
	model := httptest.NewServer(&upstream.Model{Key: modelKey, Script: w.say})
	oauth, locked := upstream.NewOAuth(server.NewStreamableHTTPServer(tools()), time.Now)
	w.oauth = oauth
	w.tools = tools()
	tools := httptest.NewServer(server.NewStreamableHTTPServer(w.tools))
	hook := httptest.NewServer(http.HandlerFunc(w.hook))
	env.Defer(func() {
		defer hook.Close()
		defer locked.Close()
		w.stopAll()
		w.release()
		model.Close()
		tools.Close()
	})
	env.Values[worldKey{}] = w
	env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	env.Setenv("CALLGATE_DATA", filepath.Join(env.WorkDir, "data"))
	env.Setenv("MODEL", model.URL+"/v1")
	env.Setenv("MODEL_KEY", modelKey)
	env.Setenv("MCP", tools.URL+"/mcp")
	env.Setenv("LOCKED", locked.URL+"/mcp")
	env.Setenv("ISSUER", oauth.Issuer)
	env.Setenv("HOOK", hook.URL)
	env.Setenv("HOOK_SECRET", hookSecret)
	env.Setenv("NO_COLOR", "1")
	return nil
}

func tools() *server.MCPServer {
	s := server.NewMCPServer("till", "1.0.0", server.WithToolCapabilities(false))
	text := func(format string, args ...string) server.ToolHandlerFunc {
		return func(_ context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			var values []any
			for _, name := range args {
				values = append(values, req.GetArguments()[name])
			}
			return mcp.NewToolResultText(fmt.Sprintf(format, values...)), nil
		}
	}
	s.AddTool(mcp.NewTool("echo", mcp.WithString("text", mcp.Required())), text("you said %v", "text"))
	s.AddTool(mcp.NewTool("pay", mcp.WithNumber("amount", mcp.Required()), mcp.WithString("to")), text("paid %v", "amount"))
	s.AddTool(mcp.NewTool("customer", mcp.WithString("card")), text(`{"name": "Ben", "mail": "ben@example.com", "card": "%v"}`, "card"))
	return s
}

func describe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: describe TOOL TEXT [PROPERTY]")
	}
	text, err := strconv.Unquote(`"` + args[1] + `"`)
	ts.Check(err)
	about := []mcp.ToolOption{mcp.WithDescription(text)}
	for _, property := range args[2:] {
		about = append(about, mcp.WithString(property))
	}
	of(ts).tools.AddTool(mcp.NewTool(args[0], about...), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText("done by " + args[0]), nil
	})
}

func (w *world) say(turn upstream.Turn) upstream.Say {
	w.mu.Lock()
	held := w.held
	w.mu.Unlock()
	if held != nil {
		w.waiting <- struct{}{}
		<-held
	}
	said := gjson.GetBytes(turn.Body, "messages.@reverse.0.content")
	if said.IsArray() {
		last := said.Get("@reverse.0")
		if said = last.Get("text"); !said.Exists() { // what a tool answered: it obeys that as well
			if said = last.Get("content"); said.IsArray() {
				said = said.Get("0.text")
			}
		}
	}
	if asked, ok := strings.CutPrefix(said.Str, "call "); ok && turn.Model != "cautious" {
		name, args, _ := strings.Cut(asked, " ")
		return upstream.Say{Text: "hello from the model", Calls: []upstream.Call{{Tool: upstream.Tool{Name: name}, Args: args}}}
	}
	return upstream.Say{Text: "hello from the model"}
}

func (w *world) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held != nil {
		close(w.held)
		w.held = nil
	}
}

func (w *world) stopAll() {
	for _, g := range w.gates {
		g.cmd.Process.Kill()
		<-g.done
	}
}

var addresses = regexp.MustCompile(`(?m)^\s*(agents|people)\s+(http://\S+)`)

func serve(ts *testscript.TestScript, neg bool, args []string) {
	name := "gate"
	if len(args) > 1 && args[0] == "-name" {
		name, args = args[1], args[2:]
	}
	if neg {
		ts.Fatalf("serve runs on; use ! exec callgate serve")
	}
	out, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	errs, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	program, err := exec.LookPath(filepath.Join(strings.Split(ts.Getenv("PATH"), string(os.PathListSeparator))[0], "callgate"))
	ts.Check(err)
	cmd := exec.Command(program, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.Getenv("WORK"), out, errs
	for _, variable := range []string{"PATH", "HOME", "CALLGATE_DATA", "MODEL_KEY", "MODEL", "MCP", "LOCKED", "ISSUER", "HOOK_SECRET"} {
		cmd.Env = append(cmd.Env, variable+"="+ts.Getenv(variable))
	}
	ts.Check(cmd.Start())
	g := &gate{cmd: cmd, done: make(chan error, 1)}
	go func() {
		g.done <- cmd.Wait()
		out.Close()
		errs.Close()
	}()
	w := of(ts)
	w.gates[name] = g
	deadline := time.Now().Add(20 * time.Second)
	for {
		text, err := os.ReadFile(out.Name())
		ts.Check(err)
		found := addresses.FindAllSubmatch(text, -1)
		if len(found) == 2 {
			ts.Setenv("GATE", string(found[0][2]))
			ts.Setenv("ADMIN", string(found[1][2]))
			return
		}
		select {
		case err := <-g.done:
			delete(w.gates, name)
			ts.Fatalf("callgate serve ended: %v\n%s%s", err, ts.ReadFile(name+".out"), ts.ReadFile(name+".err"))
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			ts.Fatalf("callgate serve does not say where it listens:\n%s%s", text, ts.ReadFile(name+".err"))
		}
	}
}

func named(ts *testscript.TestScript, args []string, at int) (string, *gate) {
	name := "gate"
	if len(args) > at {
		name = args[at]
	}
	g := of(ts).gates[name]
	if g == nil {
		ts.Fatalf("no callgate %s runs", name)
	}
	return name, g
}

var loginURL = regexp.MustCompile(`(?m)^  (http://\S+)$`)

// login runs the command and, when it has said where to go, goes there.
func login(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: login USER ARGS")
	}
	program, err := exec.LookPath(filepath.Join(strings.Split(ts.Getenv("PATH"), string(os.PathListSeparator))[0], "callgate"))
	ts.Check(err)
	cmd := exec.Command(program, append([]string{"mcp", "login", "--no-browser"}, args[1:]...)...)
	cmd.Dir, cmd.Env = ts.Getenv("WORK"), []string{"CALLGATE_DATA=" + ts.Getenv("CALLGATE_DATA")}
	cmd.Stdout = ts.Stdout()
	said, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	var text strings.Builder
	for lines := bufio.NewScanner(said); lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if found := loginURL.FindStringSubmatch(lines.Text()); found != nil {
			back, err := of(ts).oauth.Consent(found[1], args[0])
			ts.Check(err)
			if got := send("GET", back, nil); got.err != nil {
				ts.Check(got.err)
			}
		}
	}
	fmt.Fprint(ts.Stderr(), text.String())
	if err := cmd.Wait(); (err != nil) != neg {
		ts.Fatalf("callgate mcp login: %v\n%s", err, text.String())
	}
}

func ended(ts *testscript.TestScript, _ bool, _ []string) {
	o := of(ts).oauth
	o.Expire()
	o.Lock()
	defer o.Unlock()
	clear(o.Refresh)
}

func reachedUpstream(ts *testscript.TestScript, neg bool, args []string) {
	want := regexp.MustCompile(args[0])
	o := of(ts).oauth
	o.Lock()
	defer o.Unlock()
	if len(o.Seen) == 0 {
		ts.Fatalf("nothing reached the server")
	}
	if found := slices.ContainsFunc(o.Seen, want.MatchString); found == neg {
		ts.Fatalf("upstream has %s: %v", args[0], found)
	}
}

func signal(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]os.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL}
	_, g := named(ts, args, 1)
	ts.Check(g.cmd.Process.Signal(signals[args[0]]))
}

func stopped(ts *testscript.TestScript, _ bool, args []string) {
	name, g := named(ts, args, 1)
	select {
	case <-g.done:
	case <-time.After(20 * time.Second):
		ts.Fatalf("callgate %s does not stop", name)
	}
	delete(of(ts).gates, name)
	if got := fmt.Sprint(g.cmd.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("callgate %s ended with status %s, want %s\n%s", name, got, args[0], ts.ReadFile(name+".err"))
	}
}

func request(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: http METHOD URL STATUS [NAME: VALUE]… [BODY]")
	}
	got := send(args[0], args[1], args[3:])
	show(ts, got, args[2])
}

// callTool makes one modern request.
func callTool(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 && len(args) != 4 {
		ts.Fatalf("usage: tool SERVER NAME ARGS [STATUS]")
	}
	want := append(args[3:], "200")[0]
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":%s,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`, args[1], args[2])
	show(ts, send("POST", ts.Getenv("GATE")+"/mcp/"+args[0], []string{"Authorization: Bearer " + ts.Getenv("TOKEN"),
		"MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: " + args[1], body}), want)
}

func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME REGEXP")
	}
	found := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) != 2 {
		ts.Fatalf("no match of %s", args[1])
	}
	ts.Setenv(args[0], found[1])
}

func begin(ts *testscript.TestScript, _ bool, args []string) {
	go func() { of(ts).answer <- send(args[0], args[1], args[2:]) }()
}

func finish(ts *testscript.TestScript, _ bool, args []string) {
	select {
	case got := <-of(ts).answer:
		show(ts, got, args[0])
	case <-time.After(20 * time.Second):
		ts.Fatalf("no answer")
	}
}

func show(ts *testscript.TestScript, got answer, want string) {
	if got.err != nil {
		if want == "none" {
			return
		}
		ts.Fatalf("%v", got.err)
	}
	fmt.Fprint(ts.Stdout(), got.text)
	if fmt.Sprint(got.status) != want {
		ts.Fatalf("status %d, want %s: %s", got.status, want, got.text)
	}
}

var client = &http.Client{
	Timeout:       20 * time.Second,
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// send makes a request of headers and, last, perhaps a body.
func send(method, url string, rest []string) answer {
	body := ""
	if n := len(rest); n > 0 && !header.MatchString(rest[n-1]) {
		body, rest = rest[n-1], rest[:n-1]
	}
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
	}
	for _, h := range rest {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	var head bytes.Buffer
	res.Header.Write(&head)
	return answer{res.StatusCode, head.String() + "\n" + string(text) + "\n", err}
}

var header = regexp.MustCompile(`^[A-Za-z-]+: `)

func token(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Exec("callgate", append([]string{"token"}, args...)...))
	ts.Setenv("TOKEN", strings.TrimSpace(ts.ReadFile("stdout")))
}

func admin(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Setenv("ADMIN_TOKEN", strings.TrimSpace(ts.ReadFile("data/admin.token")))
}

// until polls for what a process outside does.
func until(ts *testscript.TestScript, what string, done func() bool) {
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("%s: not within 20 s", what)
		}
	}
}

func await(ts *testscript.TestScript, _ bool, args []string) {
	want, err := regexp.Compile(args[1])
	ts.Check(err)
	until(ts, args[0]+" has "+args[1], func() bool {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && want.Match(text) // it may not be there yet
	})
}

func refused(ts *testscript.TestScript, _ bool, args []string) {
	until(ts, args[0]+" is closed", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(args[0], "http://"))
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

func expand(ts *testscript.TestScript, _ bool, args []string) {
	file := ts.MkAbs(args[0])
	ts.Check(os.WriteFile(file, []byte(os.Expand(ts.ReadFile(file), ts.Getenv)), 0o600))
}

func hold(ts *testscript.TestScript, _ bool, _ []string) {
	w := of(ts)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = make(chan struct{})
}

func holding(ts *testscript.TestScript, _ bool, _ []string) {
	select {
	case <-of(ts).waiting:
	case <-time.After(20 * time.Second):
		ts.Fatalf("no request reaches the model")
	}
}

func release(ts *testscript.TestScript, _ bool, _ []string) { of(ts).release() }

const hookSecret = "a secret that the webhook shares with callgate"

// hook takes what callgate sends, if it is signed as docs/drift.md says.
func (w *world) hook(res http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var at, sent string
	for part := range strings.SplitSeq(r.Header.Get("Callgate-Signature"), ",") {
		switch name, value, _ := strings.Cut(part, "="); name {
		case "t":
			at = value
		case "v1":
			sent = value
		}
	}
	mac := hmac.New(sha256.New, []byte(hookSecret))
	mac.Write([]byte(at + "." + string(body)))
	if hex.EncodeToString(mac.Sum(nil)) != sent {
		res.WriteHeader(http.StatusForbidden)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hooks = append(w.hooks, string(body))
}

// hooked waits until the webhook was told something, or says that it was not so far.
func hooked(ts *testscript.TestScript, neg bool, args []string) {
	want, w := regexp.MustCompile(args[0]), of(ts)
	has := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return slices.ContainsFunc(w.hooks, want.MatchString)
	}
	if !neg {
		until(ts, "the webhook is told "+args[0], has)
	} else if has() {
		ts.Fatalf("the webhook was told %s", args[0])
	}
}
