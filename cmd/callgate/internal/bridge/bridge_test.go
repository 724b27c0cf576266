package bridge_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/cmd/callgate/internal/bridge"
	"callgate/identity"

	"github.com/tidwall/gjson"
)

// A gate is the other side, written by hand where the real one would not do what
// a test is about: it fails, forgets and hangs when it is told to. The real one is
// before the bridge in test/testdata/bridge.txtar and test/acceptance.
type gate struct {
	*httptest.Server
	t     *testing.T
	seen  chan seen                           // requests as they came
	serve func(w http.ResponseWriter, s seen) // answers them
}

type seen struct {
	*http.Request
	body string
	m    gjson.Result
}

func newGate(t *testing.T, serve func(http.ResponseWriter, seen)) *gate {
	t.Helper()
	g := &gate{t: t, seen: make(chan seen, 1<<12), serve: serve}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s := seen{r, string(body), gjson.ParseBytes(body)}
		g.seen <- s
		g.serve(w, s)
	}))
	t.Cleanup(g.Close)
	return g
}

// next is the next request for which ok is true.
func (g *gate) next(ok func(seen) bool) seen {
	g.t.Helper()
	late := time.After(10 * time.Second)
	for {
		select {
		case s := <-g.seen:
			if ok(s) {
				return s
			}
		case <-late:
			g.t.Fatal("the gate does not get what was expected")
		}
	}
}

func method(name string) func(seen) bool {
	return func(s seen) bool { return s.Method == name || s.m.Get("method").Str == name }
}

// A client is what speaks to the bridge.
type client struct {
	t      *testing.T
	in     *io.PipeWriter
	lines  chan string
	done   chan error
	bridge *bridge.Bridge
}

func (g *gate) client(change func(*bridge.Config)) *client {
	g.t.Helper()
	cfg := bridge.Config{
		Gate: func() (string, error) { return g.URL, nil }, Server: "till", Logger: slog.New(slog.DiscardHandler), Remedy: "get another",
		Mint: func(context.Context) (bridge.Token, error) {
			return bridge.Token{Access: identity.NewSecret("token")}, nil
		},
		Patience: 10 * time.Second,
	}
	if testing.Verbose() {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if change != nil {
		change(&cfg)
	}
	from, in := io.Pipe()
	out, to := io.Pipe()
	c := &client{t: g.t, in: in, lines: make(chan string, 1<<12), done: make(chan error, 1), bridge: bridge.New(cfg)}
	go func() {
		c.done <- c.bridge.Run(from, to)
		to.Close()
	}()
	read := make(chan struct{})
	go func() {
		defer close(read)
		for r := bufio.NewReader(out); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				close(c.lines)
				return
			}
			c.lines <- strings.TrimSuffix(line, "\n")
		}
	}()
	g.t.Cleanup(func() {
		in.Close()
		c.bridge.Stop()
		c.bridge.Stop()
		<-read
	})
	return c
}

func (c *client) say(lines ...string) {
	c.t.Helper()
	for _, line := range lines {
		if _, err := io.WriteString(c.in, line+"\n"); err != nil {
			c.t.Fatal(err)
		}
	}
}

// hear is the next line.
func (c *client) hear() string {
	c.t.Helper()
	select {
	case line, ok := <-c.lines:
		if !ok {
			c.t.Fatal("the bridge ended")
		}
		return line
	case <-time.After(10 * time.Second):
		c.t.Fatal("the bridge says nothing")
	}
	return ""
}

// want checks the next line.
func (c *client) want(want string) {
	c.t.Helper()
	if got := c.hear(); got != want {
		c.t.Errorf("got  %s\nwant %s", got, want)
	}
}

// wantError checks that the next line is an error for id with words in it.
func (c *client) wantError(id string, code int, words string) {
	c.t.Helper()
	got := c.hear()
	m := gjson.Parse(got)
	if m.Get("id").Raw != id || m.Get("error.code").Int() != int64(code) || !strings.Contains(m.Get("error.message").Str, words) {
		c.t.Errorf("got %s, want error %d for %s with %q", got, code, id, words)
	}
}

// end closes the input and checks that the bridge ends well, and has said no more
// than rest.
func (c *client) end(rest ...string) {
	c.t.Helper()
	c.in.Close()
	select {
	case err := <-c.done:
		if err != nil {
			c.t.Errorf("Run: %v", err)
		}
	case <-time.After(10 * time.Second):
		c.t.Fatal("the bridge does not end")
	}
	var got []string
	for line := range c.lines {
		got = append(got, line)
	}
	slices.Sort(got)
	if !slices.Equal(got, rest) {
		c.t.Errorf("at the end it said %q, want %q", got, rest)
	}
}

const modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`

func modern(id, method, params string) string {
	if params != "" {
		params += ","
	}
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":{` + params + modernMeta + `}}`
}

const (
	hello = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`
	ready = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
)

func answer(id, result string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"result":` + result + `}`
}

func reply(w http.ResponseWriter, status int, doc string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	io.WriteString(w, doc)
}

// stream begins an answer of events.
func stream(w http.ResponseWriter) func(event string) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	return func(event string) {
		io.WriteString(w, event+"\n\n")
		w.(http.Flusher).Flush()
	}
}

// A legacy gate has sessions that it can lose.
type legacy struct {
	mu       sync.Mutex
	n        int
	lost     bool
	handle   func(w http.ResponseWriter, s seen) // requests in a session
	listen   func(w http.ResponseWriter, s seen)
	greeting string
}

func (l *legacy) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = true
}

func (l *legacy) serve(w http.ResponseWriter, s seen) {
	l.mu.Lock()
	if s.m.Get("method").Str == "initialize" {
		l.n++
		l.lost = false
		w.Header().Set("Mcp-Session-Id", fmt.Sprint("session-", l.n))
		l.mu.Unlock()
		if l.greeting == "" {
			l.greeting = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"prompts":{}}}`
		}
		reply(w, 200, answer(s.m.Get("id").Raw, l.greeting))
		return
	}
	there := !l.lost && s.Header.Get("Mcp-Session-Id") == fmt.Sprint("session-", l.n)
	l.mu.Unlock()
	switch {
	case !there:
		reply(w, 404, `{"jsonrpc":"2.0","id":`+s.m.Get("id").Raw+`,"error":{"code":404,"message":"there is no such session"}}`)
	case s.Method == "GET" && l.listen != nil:
		l.listen(w, s)
	case s.Method == "GET":
		w.WriteHeader(405)
	case s.Method == "DELETE":
		w.WriteHeader(204)
	case !s.m.Get("id").Exists() || !s.m.Get("method").Exists():
		w.WriteHeader(202)
	default:
		l.handle(w, s)
	}
}

func echo(w http.ResponseWriter, s seen) {
	reply(w, 200, answer(s.m.Get("id").Raw, s.m.Get("params").Raw))
}

func TestMessagesStayWhatTheyAre(t *testing.T) {
	said := modern("12345678901234567890", "tools/list", `"x":{"B":1, "b":1e400},  "y":"\u0061\/"`)
	g := newGate(t, func(w http.ResponseWriter, s seen) {
		switch s.m.Get("id").Raw {
		case "1": // a stream, with line ends inside a message
			send := stream(w)
			send("data: {\"jsonrpc\":\"2.0\",\ndata: \"method\":\"notifications/message\",\r\ndata:\"params\":{\"big\":12345678901234567890}}")
			send("data: " + answer("1", `{"x": [1.0,1e400], "e":"\u0061 "}`))
		default:
			reply(w, 200, "{\n\t\"jsonrpc\": \"2.0\",\r\n \"id\":12345678901234567890,\"result\":{ \"n\":1.50 }}\n")
		}
	})
	c := g.client(nil)
	c.say("  " + said + " \r")
	if got := g.next(method("POST")).body; got != said {
		t.Errorf("the gate got %s", got)
	}
	c.want("{ \t\"jsonrpc\": \"2.0\",   \"id\":12345678901234567890,\"result\":{ \"n\":1.50 }} ")
	c.say(modern("1", "tools/list", ""))
	c.want(`{"jsonrpc":"2.0", "method":"notifications/message", "params":{"big":12345678901234567890}}`)
	c.want(answer("1", `{"x": [1.0,1e400], "e":"\u0061 "}`))
	c.end()
}

func TestAnswersComeAsTheyAreReady(t *testing.T) {
	release := make(chan struct{})
	g := newGate(t, func(w http.ResponseWriter, s seen) {
		if s.m.Get("id").Raw == "1" {
			<-release
		}
		echo(w, s)
	})
	c := g.client(nil)
	c.say(modern("1", "ping", ""))
	g.next(method("POST"))
	c.say(modern("2", "ping", ""))
	c.want(answer("2", "{"+modernMeta+"}"))
	close(release)
	c.end(answer("1", "{"+modernMeta+"}")) // the end of the input waits for it
}

func TestALegacyClientHasASession(t *testing.T) {
	l := &legacy{handle: echo}
	asked := make(chan struct{})
	l.listen = func(w http.ResponseWriter, s seen) {
		send := stream(w)
		if s.Header.Get("Last-Event-Id") == "" {
			send("id: 7\ndata: " + `{"jsonrpc":"2.0","id":1,"method":"roots/list"}`)
			return // and the bridge comes back
		}
		close(asked)
		<-s.Context().Done()
	}
	g := newGate(t, l.serve)
	c := g.client(nil)
	c.say(hello)
	if s := g.next(method("initialize")); s.URL.Path != "/mcp/till" || s.Header.Get("Mcp-Session-Id")+s.Header.Get("Mcp-Protocol-Version") != "" || s.Header.Get("Authorization") != "Bearer token" {
		t.Errorf("initialize came to %s with %v", s.URL, s.Header)
	}
	c.hear()
	c.say(ready)
	for _, next := range []string{"notifications/initialized", "GET", "GET"} {
		s := g.next(method(next))
		if s.Header.Get("Mcp-Session-Id") != "session-1" || s.Header.Get("Mcp-Protocol-Version") != "2025-11-25" {
			t.Errorf("%s came with %v", next, s.Header)
		}
	}
	c.want(`{"jsonrpc":"2.0","id":1,"method":"roots/list"}`)
	<-asked
	c.say(`{"jsonrpc":"2.0","id":1,"result":{"roots":[]}}`)
	if s := g.next(func(s seen) bool { return s.m.Get("result").Exists() }); s.Header.Get("Mcp-Session-Id") != "session-1" {
		t.Errorf("the response came with %v", s.Header)
	}
	c.say(`{"jsonrpc":"2.0","id":"x","method":"ping","params":{"a":1}}`)
	c.want(answer(`"x"`, `{"a":1}`))
	c.end()
	if s := g.next(method("DELETE")); s.Header.Get("Mcp-Session-Id") != "session-1" {
		t.Errorf("DELETE came with %v", s.Header)
	}
}

func TestALostSessionIsReplaced(t *testing.T) {
	l := &legacy{handle: echo}
	g := newGate(t, l.serve)
	c := g.client(nil)
	c.say(hello, ready, `{"jsonrpc":"2.0","method":"logging/setLevel","params":{}}`, // no request, and so not kept
		`{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"error"}}`)
	c.hear()
	c.hear()
	l.lose()
	c.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"pay"}}`)
	c.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	c.want(answer("2", `{"name":"pay"}`))
	var got []string
	for _, s := range drained(g) {
		if s.Method == "POST" {
			got = append(got, s.m.Get("method").Str+" "+s.Header.Get("Mcp-Session-Id"))
		}
	}
	want := []string{"initialize ", "notifications/initialized session-1", "logging/setLevel session-1", "logging/setLevel session-1", "tools/call session-1",
		"initialize ", "notifications/initialized session-2", "logging/setLevel session-2", "tools/call session-2"}
	if !slices.Equal(got, want) {
		t.Errorf("the gate got %q\nwant %q", got, want)
	}
	c.end()
}

func drained(g *gate) (all []seen) {
	for {
		select {
		case s := <-g.seen:
			all = append(all, s)
		default:
			return all
		}
	}
}

func TestASessionThatIsLostTwiceIsAnError(t *testing.T) {
	l := &legacy{}
	l.handle = func(w http.ResponseWriter, s seen) {
		reply(w, 404, `{"jsonrpc":"2.0","id":null,"error":{"code":404,"message":"there is no such session"}}`)
	}
	g := newGate(t, l.serve)
	c := g.client(nil)
	c.say(hello)
	c.hear()
	c.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"pay"}}`)
	c.wantError("2", 503, "there is no such session")
	c.end()
}

func TestAModernClientsHeaders(t *testing.T) {
	list := `{"tools":[{"name":"höchst","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},"n":{"type":"integer","x-mcp-header":"N"}}}},{"name":"plain","inputSchema":{}}]}`
	g := newGate(t, func(w http.ResponseWriter, s seen) {
		if s.m.Get("method").Str == "tools/list" {
			reply(w, 200, answer(s.m.Get("id").Raw, list))
			return
		}
		echo(w, s)
	})
	c := g.client(nil)
	check := func(s seen, want map[string]string) {
		t.Helper()
		for name, value := range want {
			if got := strings.Join(s.Header[http.CanonicalHeaderKey(name)], "|"); got != value {
				t.Errorf("%s: %s is %q, want %q", s.m.Get("method").Str, name, got, value)
			}
		}
	}
	c.say(modern("1", "tools/call", `"name":"höchst","arguments":{"region":"zürich","n":7}`))
	check(g.next(method("tools/list")), map[string]string{"Mcp-Method": "tools/list", "Mcp-Name": "", "Mcp-Protocol-Version": "2026-07-28"}) // the bridge's own
	check(g.next(method("tools/call")), map[string]string{"Mcp-Method": "tools/call", "Mcp-Name": "=?base64?aMO2Y2hzdA==?=", "Mcp-Protocol-Version": "2026-07-28",
		"Mcp-Param-Region": "=?base64?esO8cmljaA==?=", "Mcp-Param-N": "7", "Mcp-Session-Id": ""})
	c.hear()
	c.say(modern("2", "tools/call", `"name":"new"`), modern("3", "resources/read", `"uri":"file:///a"`))
	check(g.next(func(s seen) bool {
		if method("tools/list")(s) {
			t.Error("the bridge asks for the tools again")
		}
		return method("resources/read")(s)
	}), map[string]string{"Mcp-Name": "file:///a", "Mcp-Param-Region": ""})
	c.hear()
	c.hear()
	c.end()
}

func TestHeadersThatAreOldAreMended(t *testing.T) {
	var mu sync.Mutex
	header := "Old"
	g := newGate(t, func(w http.ResponseWriter, s seen) {
		mu.Lock()
		defer mu.Unlock()
		id := s.m.Get("id").Raw
		switch {
		case s.m.Get("method").Str == "tools/list":
			reply(w, 200, answer(id, `{"tools":[{"name":"pay","inputSchema":{"properties":{"a":{"type":"string","x-mcp-header":"`+header+`"}}}}]}`))
			header = "New"
		case s.Header.Get("Mcp-Param-New") == "":
			reply(w, 400, `{"jsonrpc":"2.0","id":`+id+`,"error":{"code":-32020,"message":"header Mcp-Param-New is missing"}}`)
		default:
			echo(w, s)
		}
	})
	c := g.client(nil)
	c.say(modern("1", "tools/list", ""))
	c.hear()
	c.say(modern("2", "tools/call", `"name":"pay","arguments":{"a":"b"}`))
	if got := c.hear(); !strings.HasPrefix(got, `{"jsonrpc":"2.0","id":2,"result":{"name":"pay"`) {
		t.Errorf("got %s", got)
	}
	c.say(modern("3", "tools/call", `"name":"pay","arguments":{"a":null}`)) // which cannot be mended: the gate has the last word
	c.wantError("3", -32020, "Mcp-Param-New is missing")
	c.end()
}

func TestWhatIsCancelledIsNotAnswered(t *testing.T) {
	gone := make(chan struct{}, 2)
	hang := func(w http.ResponseWriter, s seen) {
		if s.m.Get("method").Str != "tools/call" {
			echo(w, s)
			return
		}
		<-s.Context().Done()
		gone <- struct{}{}
	}
	t.Run("modern", func(t *testing.T) {
		g := newGate(t, hang)
		c := g.client(nil)
		c.say(modern(`"a"`, "tools/call", ""))
		g.next(method("tools/call"))
		c.say(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"\u0061","reason":"no"}}`)
		<-gone
		c.say(modern("2", "ping", ""))
		c.want(answer("2", "{"+modernMeta+"}"))
		c.end()
		if slices.ContainsFunc(drained(g), method("notifications/cancelled")) {
			t.Error("over HTTP a modern client hangs up, and says nothing")
		}
	})
	t.Run("legacy", func(t *testing.T) {
		g := newGate(t, (&legacy{handle: hang}).serve)
		c := g.client(nil)
		c.say(hello)
		c.hear()
		c.say(`{"jsonrpc":"2.0","id":7,"method":"tools/call"}`)
		g.next(method("tools/call"))
		c.say(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`)
		if s := g.next(method("notifications/cancelled")); s.m.Get("params.requestId").Raw != "7" || s.Header.Get("Mcp-Session-Id") == "" {
			t.Errorf("the gate got %s with %v", s.body, s.Header)
		}
		<-gone
		c.end()
	})
}

func TestASubscriptionOutlivesItsStream(t *testing.T) {
	var mu sync.Mutex
	n := 0
	last := make(chan struct{})
	note := func(method, params string) string {
		return `data: {"jsonrpc":"2.0","method":"notifications/` + method + `","params":{` + params + `}}`
	}
	g := newGate(t, func(w http.ResponseWriter, s seen) {
		mu.Lock()
		n++
		now := n
		mu.Unlock()
		if now == 3 { // it is started again
			w.WriteHeader(503)
			return
		}
		send := stream(w)
		send(note("subscriptions/acknowledged", `"notifications":{"toolsListChanged":true}`))
		switch now {
		case 1: // the token has expired
			send("data: " + answer(s.m.Get("id").Raw, `{"resultType":"complete"}`))
		case 2: // it breaks off
			send(note("prompts/list_changed", `"n":2`))
		default:
			send(note("tools/list_changed", `"n":4`))
			<-s.Context().Done()
			close(last)
		}
	})
	c := g.client(nil)
	c.say(modern(`"l"`, "subscriptions/listen", `"notifications":{"toolsListChanged":true}`))
	c.want(note("subscriptions/acknowledged", `"notifications":{"toolsListChanged":true}`)[len("data: "):])
	c.want(`{"jsonrpc":"2.0","method":"notifications/prompts/list_changed","params":{"n":2}}`)
	c.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"l"}}}`) // nobody knows what went by meanwhile
	c.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"n":4}}`)
	c.end() // does not wait for it
	<-last
}

func TestTokens(t *testing.T) {
	taken := func(want *string, mu *sync.Mutex) func(http.ResponseWriter, seen) {
		return func(w http.ResponseWriter, s seen) {
			mu.Lock()
			ok := s.Header.Get("Authorization") == "Bearer "+*want
			mu.Unlock()
			if !ok {
				reply(w, 401, `{"jsonrpc":"2.0","id":null,"error":{"code":401,"message":"the token has expired"}}`)
				return
			}
			echo(w, s)
		}
	}
	var mu sync.Mutex
	set := func(p *string, v string) {
		mu.Lock()
		defer mu.Unlock()
		*p = v
	}
	t.Run("that the gate does not take any more are replaced, once", func(t *testing.T) {
		want, minted := "t1", 0
		g := newGate(t, taken(&want, &mu))
		c := g.client(func(cfg *bridge.Config) {
			cfg.Mint = func(context.Context) (bridge.Token, error) {
				minted++
				return bridge.Token{Access: identity.NewSecret(fmt.Sprint("t", minted)), Expires: time.Now().Add(time.Hour)}, nil
			}
		})
		c.say(modern("1", "ping", ""))
		c.want(answer("1", "{"+modernMeta+"}"))
		set(&want, "t2")
		c.say(modern("2", "ping", ""))
		c.want(answer("2", "{"+modernMeta+"}"))
		set(&want, "never")
		c.say(modern("3", "ping", ""))
		c.wantError("3", 401, "the gate does not accept the token: the token has expired")
		c.end()
		if minted != 3 {
			t.Errorf("%d tokens, want 3", minted)
		}
	})
	t.Run("are replaced before they expire", func(t *testing.T) {
		want, minted := "t2", 0
		g := newGate(t, taken(&want, &mu))
		c := g.client(func(cfg *bridge.Config) {
			cfg.Mint = func(context.Context) (bridge.Token, error) {
				minted++
				return bridge.Token{Access: identity.NewSecret(fmt.Sprint("t", minted)), Expires: time.Now().Add(time.Duration(minted-1) * time.Hour)}, nil
			}
		})
		set(&want, "t1")
		c.say(modern("1", "ping", ""))
		c.hear()
		set(&want, "t2")
		c.say(modern("2", "ping", ""))
		c.want(answer("2", "{"+modernMeta+"}"))
		c.end()
		if refused := slices.ContainsFunc(drained(g), func(s seen) bool { return s.Header.Get("Authorization") == "Bearer t1" && s.m.Get("id").Raw == "2" }); refused {
			t.Error("a token that had expired was tried")
		}
	})
	t.Run("that are fixed cannot be", func(t *testing.T) {
		want := "other"
		g := newGate(t, taken(&want, &mu))
		c := g.client(nil)
		c.say(modern("1", "ping", ""), modern("2", "ping", ""))
		for range 2 {
			if got := c.hear(); !strings.Contains(got, `"code":401,"message":"the gate does not accept the token: the token has expired; get another"`) {
				t.Errorf("got %s", got)
			}
		}
		set(&want, "token")
		c.say(modern("3", "ping", ""))
		c.want(answer("3", "{"+modernMeta+"}"))
		c.end()
	})
	t.Run("that there are none of", func(t *testing.T) {
		g := newGate(t, echo)
		c := g.client(func(cfg *bridge.Config) {
			cfg.Mint = func(context.Context) (bridge.Token, error) {
				return bridge.Token{}, fmt.Errorf("%w: the agent is revoked", bridge.ErrRefused)
			}
		})
		c.say(modern("1", "ping", ""))
		c.wantError("1", 401, "the agent is revoked")
		c.end()
	})
}

func TestAGateThatIsAwayIsWaitedFor(t *testing.T) {
	t.Run("for a while", func(t *testing.T) {
		g := newGate(t, echo)
		c := g.client(func(cfg *bridge.Config) {
			cfg.Patience = time.Millisecond
			cfg.Gate = func() (string, error) { return "http://127.0.0.1:1", nil }
		})
		c.say(modern("1", "tools/call", ""))
		c.wantError("1", 503, "is callgate serve running?")
		c.end()
	})
	t.Run("and found elsewhere", func(t *testing.T) {
		g := newGate(t, echo)
		var mu sync.Mutex
		looked := 0
		c := g.client(func(cfg *bridge.Config) {
			cfg.Gate = func() (string, error) {
				mu.Lock()
				defer mu.Unlock()
				switch looked++; looked {
				case 1:
					return "", errors.New("no gate runs")
				case 2:
					return "http://127.0.0.1:1", nil
				}
				return g.URL, nil
			}
		})
		c.say(modern("1", "tools/call", ""))
		c.want(answer("1", "{"+modernMeta+"}"))
		c.end()
	})
	t.Run("where something stands before it", func(t *testing.T) {
		var once sync.Once
		g := newGate(t, func(w http.ResponseWriter, s seen) {
			away := false
			once.Do(func() { away = true })
			if away {
				http.Error(w, "<html>", http.StatusServiceUnavailable)
				return
			}
			echo(w, s)
		})
		c := g.client(nil)
		c.say(modern("1", "prompts/get", ""))
		c.want(answer("1", "{"+modernMeta+"}"))
		c.end()
	})
}

func TestAnAnswerThatBreaksOff(t *testing.T) {
	cut := func(w http.ResponseWriter) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.Close()
		}
	}
	t.Run("is an error, because the call may have been carried out", func(t *testing.T) {
		g := newGate(t, func(w http.ResponseWriter, s seen) {
			if s.m.Get("method").Str == "tools/call" {
				cut(w)
				return
			}
			echo(w, s)
		})
		c := g.client(nil)
		c.say(modern("1", "tools/call", ""))
		c.wantError("1", 502, "callgate audit query")
		c.end()
		if calls := slices.DeleteFunc(drained(g), func(s seen) bool { return !method("tools/call")(s) }); len(calls) != 1 {
			t.Errorf("the call was made %d times", len(calls))
		}
	})
	t.Run("is asked for again where that harms nobody", func(t *testing.T) {
		var once sync.Once
		g := newGate(t, func(w http.ResponseWriter, s seen) {
			broken := false
			once.Do(func() { broken = true })
			if broken {
				cut(w)
				return
			}
			echo(w, s)
		})
		c := g.client(nil)
		c.say(modern("1", "prompts/list", ""))
		c.want(answer("1", "{"+modernMeta+"}"))
		c.end()
	})
	t.Run("goes on in a session", func(t *testing.T) {
		l := &legacy{}
		l.handle = func(w http.ResponseWriter, s seen) { stream(w)("retry: 1\nid: 1-0\ndata: ") }
		l.listen = func(w http.ResponseWriter, s seen) {
			if last := s.Header.Get("Last-Event-Id"); last == "1-0" {
				stream(w)("id: 1-1\ndata: " + answer("5", `{"late":true}`))
				return
			}
			<-s.Context().Done()
		}
		g := newGate(t, l.serve)
		c := g.client(nil)
		c.say(hello, ready, `{"jsonrpc":"2.0","id":5,"method":"tools/call"}`)
		c.hear()
		c.want(answer("5", `{"late":true}`))
		c.end()
	})
	t.Run("without an end", func(t *testing.T) {
		g := newGate(t, func(w http.ResponseWriter, s seen) {
			if s.m.Get("method").Str == "tools/call" {
				stream(w)(`data: {"jsonrpc":"2.0","method":"notifications/progress","params":{}}`)
				return
			}
			echo(w, s)
		})
		c := g.client(nil)
		c.say(modern("1", "tools/call", ""))
		c.want(`{"jsonrpc":"2.0","method":"notifications/progress","params":{}}`)
		c.wantError("1", 502, "broke off its answer")
		c.end()
	})
}

func TestRefusalsReachWhoTheyAreFor(t *testing.T) {
	tests := []struct {
		name   string
		status int
		doc    string
		code   int
		words  string
	}{
		{"of a gate that knows whose it is", 400, `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no"}}`, -32602, "no"},
		{"of one that does not", 413, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"too large"}}`, -32600, "too large"},
		{"of one that leaves the id out", 413, `{"jsonrpc":"2.0","error":{"code":-32600,"message":"too large"}}`, -32600, "too large"},
		{"of something else that speaks JSON", 403, `{"message":"go away"}`, 502, "what answered is no callgate, or stands before it: 403"},
		{"that is no JSON", 500, `oops`, 502, "500 Internal Server Error"},
		{"that has nothing to do with it", 200, `{"jsonrpc":"2.0","id":"other","result":{}}`, 502, "broke off its answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGate(t, func(w http.ResponseWriter, s seen) { reply(w, tt.status, tt.doc) })
			c := g.client(nil)
			c.say(modern("1", "prompts/get", ""))
			c.wantError("1", tt.code, tt.words)
			c.end()
		})
	}
}

func TestALineThatCannotBeReadIsRefusedAsItsVersionHasIt(t *testing.T) {
	for _, tt := range []struct{ first, id string }{
		{"", "null"},
		{strings.Replace(hello, "2025-11-25", "2025-06-18", 1), "null"},
		{hello, ""},
		{modern("0", "server/discover", ""), ""},
	} {
		c := newGate(t, echo).client(nil)
		if tt.first != "" {
			c.say(tt.first)
			c.hear()
		}
		c.say("no JSON")
		c.wantError(tt.id, -32700, "not a message")
		c.end()
	}
}

func TestABatchIsAnsweredForEachOfItsRequests(t *testing.T) {
	l := &legacy{greeting: `{"protocolVersion":"2025-03-26","capabilities":{}}`}
	var whole sync.Once
	g := newGate(t, func(w http.ResponseWriter, s seen) {
		if !s.m.IsArray() {
			l.serve(w, s)
			return
		}
		first := false
		whole.Do(func() { first = true })
		if first {
			reply(w, 200, `[{"jsonrpc":"2.0","id":2,"result":{}},{"jsonrpc":"2.0","id":1,"result":{}}]`)
			return
		}
		stream(w)(`data: {"jsonrpc":"2.0","id":4,"result":{}}`)
	})
	c := g.client(nil)
	c.say(hello)
	c.hear()
	c.say(`[{"jsonrpc":"2.0","id":1,"method":"a"},{"jsonrpc":"2.0","method":"n"},{"jsonrpc":"2.0","id":2,"method":"b"}]`)
	c.want(`[{"jsonrpc":"2.0","id":2,"result":{}},{"jsonrpc":"2.0","id":1,"result":{}}]`)
	c.say(`[{"jsonrpc":"2.0","id":3,"method":"a"},{"jsonrpc":"2.0","id":4,"method":"b"}]`)
	c.want(`{"jsonrpc":"2.0","id":4,"result":{}}`)
	c.wantError("3", 502, "broke off its answer")
	c.end()
}

func TestLimits(t *testing.T) {
	release := make(chan struct{})
	g := newGate(t, func(w http.ResponseWriter, s seen) {
		<-release
		echo(w, s)
	})
	c := g.client(nil)
	c.say("no JSON", `"a string"`, strings.Repeat(" ", 33<<20)+"1")
	c.wantError("null", -32700, "not a message")
	c.wantError("null", -32700, "not a message")
	c.wantError("null", -32600, "more than 32 MiB")
	for i := range 256 {
		c.say(modern(fmt.Sprint(i), "ping", ""))
	}
	c.say(modern("256", "ping", ""))
	c.wantError("256", 429, "256 requests are waiting")
	c.say(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":9}}`)
	close(release)
	answered := make(map[string]int)
	for range 255 {
		answered[gjson.Get(c.hear(), "id").Raw]++
	}
	if len(answered) != 255 || answered["9"] != 0 {
		t.Errorf("%d of 255 requests have an answer; the one that was cancelled: %d", len(answered), answered["9"])
	}
	c.end()
}

func TestAnIdIsTakenOnce(t *testing.T) {
	release := make(chan struct{})
	g := newGate(t, func(w http.ResponseWriter, s seen) {
		<-release
		echo(w, s)
	})
	c := g.client(nil)
	c.say(modern("1", "ping", ""), modern("1", "ping", ""))
	c.wantError("1", -32600, "a request with this id is waiting")
	close(release)
	c.want(answer("1", "{"+modernMeta+"}"))
	c.end()
}

func TestAStopWaitsForAnswersAndASecondOneDoesNot(t *testing.T) {
	release := make(chan struct{})
	hold := func(w http.ResponseWriter, s seen) {
		select {
		case <-release:
		case <-s.Context().Done():
		}
		echo(w, s)
	}
	t.Run("one", func(t *testing.T) {
		g := newGate(t, hold)
		c := g.client(nil)
		c.say(modern("1", "ping", ""))
		g.next(method("ping"))
		c.bridge.Stop()
		close(release)
		c.want(answer("1", "{"+modernMeta+"}"))
		c.end()
	})
	release = make(chan struct{})
	t.Run("two", func(t *testing.T) {
		g := newGate(t, hold)
		c := g.client(nil)
		c.say(modern("1", "ping", ""))
		g.next(method("ping"))
		c.bridge.Stop()
		c.bridge.Stop()
		c.wantError("1", 502, "the bridge was stopped")
		c.end()
	})
	t.Run("a bound", func(t *testing.T) {
		g := newGate(t, hold)
		c := g.client(func(cfg *bridge.Config) { cfg.Drain = time.Millisecond })
		c.say(modern("1", "ping", ""))
		g.next(method("ping"))
		c.in.Close()
		c.wantError("1", 502, "the bridge was stopped")
		c.end()
	})
}

// Whatever a client writes, what it reads is JSON, a line each, and the bridge
// comes to its end.
func FuzzLines(f *testing.F) {
	for _, seed := range []string{
		hello + "\n" + ready + "\n" + `{"jsonrpc":"2.0","id":1,"method":"ping"}`,
		modern("1", "tools/call", `"name":"a\u0000","arguments":{"x":[]}`) + "\r\n" + `{"method":"notifications/cancelled","params":{"requestId":1}}`,
		`[{"id":1,"method":"a"},{"id":[],"method":"b"},7,null]`,
		`{"id":null,"method":"initialize"}` + "\n" + `{"id":"\ud800","METHOD":"x","method":7}`,
		`{"id":{"a":1},"method":"logging/setLevel","params":[1]}`, "{", "\x00\n\xff\n\n", `{"result":1}`,
	} {
		f.Add([]byte(seed))
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		m := gjson.ParseBytes(body)
		switch {
		case r.Method == "GET":
			w.WriteHeader(http.StatusMethodNotAllowed)
		case m.Get("id").Exists() && m.Get("method").Str != "fail":
			w.Header().Set("Mcp-Session-Id", "s")
			reply(w, 200, answer(m.Get("id").Raw, `{"protocolVersion":"2025-11-25"}`))
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	}))
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, lines []byte) {
		b := bridge.New(bridge.Config{
			Gate: func() (string, error) { return server.URL, nil }, Logger: slog.New(slog.DiscardHandler),
			Mint: func(context.Context) (bridge.Token, error) {
				return bridge.Token{Access: identity.NewSecret("token")}, nil
			},
			Drain: 5 * time.Second,
		})
		var out strings.Builder
		if err := b.Run(strings.NewReader(string(lines)), &out); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if !gjson.Valid(line) || !strings.HasSuffix(line, "\n") {
				t.Errorf("it says %q", line)
			}
		}
	})
}
