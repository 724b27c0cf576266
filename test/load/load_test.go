// Package load has callgate serve many calls while one of its servers dies again and
// again. None of the other servers' calls may fail.
//
//	go test ./test/load -v                              5,000 calls
//	go test ./test/load -v -timeout 1h -calls 200000    the goal
package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callgate/test/program"
)

var calls = flag.Int("calls", 5000, "calls to make of the servers that live")

const (
	workers  = 2    // of each kind of client at each server
	listEach = 100  // calls of a client, after which it lists all servers' tools
	raceMost = 5000 // calls that the gate serves with the race detector
)

func TestMain(m *testing.M) {
	if era := os.Getenv("LOAD_SERVER"); era != "" {
		serve(era == "modern", os.Getenv("LOAD_KILL"))
		return
	}
	os.Exit(m.Run())
}

const config = `
listen: 127.0.0.1:%s
data: %s
admin: {listen: "127.0.0.1:%s"}
mcp:
  servers:
    pipe-legacy: {command: [%[4]s], env: {LOAD_SERVER: legacy}}
    pipe-modern: {command: [%[4]s], env: {LOAD_SERVER: modern}}
    web-legacy: {url: "%[5]s/mcp"}
    web-modern: {url: "%[6]s/mcp"}
    weak: {command: [%[4]s], env: {LOAD_SERVER: legacy, LOAD_KILL: "%[7]s"}}
policy: [policy.csv]
`

var living = []string{"pipe-legacy", "pipe-modern", "web-legacy", "web-modern"}

func TestNoCallFailsWhileAnotherServerDiesEachSecond(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	binary, err := program.Build(dir, *calls <= raceMost)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	executioner := newKiller(t)
	port := program.FreePort(t)
	doc := fmt.Sprintf(config, port, data, program.FreePort(t), exe, web(t, false), web(t, true), executioner.Addr())
	for name, text := range map[string]string{"callgate.yaml": doc, "policy.csv": "p, role:load, *, tool:*, call, true, allow, ALL\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	gate := program.Start(t, program.Program{Args: []string{binary, "serve", "-c", filepath.Join(dir, "callgate.yaml")}, Dir: dir, Log: filepath.Join(dir, "callgate.log"), Clean: true})
	url := "http://127.0.0.1:" + port
	program.WaitFor(t, url+"/healthz")
	program.Command(t, binary, data, "agent", "create", "load", "--role", "load")
	token := strings.TrimSpace(program.Command(t, binary, data, "token", "load", "--ttl", "1h"))

	run := newRun(t, url+"/mcp", token)
	stop := make(chan struct{})
	var aside sync.WaitGroup
	aside.Go(func() { executioner.killEachSecond(stop) })
	aside.Go(func() { run.bother(stop) })
	began := time.Now()
	var all sync.WaitGroup
	for _, server := range living {
		for _, modern := range []bool{false, true} {
			for range workers {
				all.Go(func() { run.work(server, modern, *calls/(len(living)*2*workers)) })
			}
		}
	}
	all.Wait()
	took := time.Since(began)
	close(stop)
	aside.Wait()

	slices.Sort(run.times)
	n := len(run.times)
	if n != *calls/(len(living)*2*workers)*(len(living)*2*workers) {
		t.Errorf("%d calls of %d were made", n, *calls)
	}
	if n == 0 || executioner.killed.Load() == 0 || run.weak.Load() == 0 {
		t.Fatalf("%d calls, %d of the server that dies, which was killed %d times: nothing is shown", n, run.weak.Load(), executioner.killed.Load())
	}
	at := func(share float64) time.Duration { return run.times[min(n-1, int(share*float64(n)))] }
	t.Logf("%d calls of servers that live, %d failed; %d lists, %d failed; in %v: %.0f calls/s", n, run.failed.Load(), run.lists.Load(), run.badLists.Load(), took.Round(time.Millisecond), float64(n)/took.Seconds())
	t.Logf("latency p50 %v, p99 %v, worst %v", at(.5), at(.99), at(1))
	t.Logf("the other server was killed %d times; %d of its %d calls failed, as they may", executioner.killed.Load(), run.weakFailed.Load(), run.weak.Load())
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", gate.Process.Pid)); err == nil {
		for line := range strings.Lines(string(status)) {
			if strings.HasPrefix(line, "VmHWM") || strings.HasPrefix(line, "VmRSS") {
				t.Log("the gate: ", strings.TrimSpace(line))
			}
		}
	}
}

// A run is all that the clients do.
type run struct {
	t     *testing.T
	url   string // of all servers in one
	token string
	http  *http.Client

	mu    sync.Mutex
	times []time.Duration

	next                                      atomic.Int64
	failed, lists, badLists, weak, weakFailed atomic.Int64
}

func newRun(t *testing.T, url, token string) *run {
	return &run{t: t, url: url, token: token, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute}}
}

// A client is one of either generation.
type client struct {
	*run
	modern  bool
	session string
}

func (r *run) client(modern bool) *client {
	c := &client{run: r, modern: modern}
	if !modern {
		_, head, err := c.ask("initialize", "", `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"load","version":"1"}}`)
		if c.session = head.Get("Mcp-Session-Id"); err != nil || c.session == "" {
			r.t.Errorf("initialize: %v", err)
		}
	}
	return c
}

const modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`

// ask makes one request, and returns its result.
func (c *client) ask(method, name, params string) (json.RawMessage, http.Header, error) {
	if c.modern {
		params = strings.TrimSuffix(params, "}")
		if !strings.HasSuffix(params, "{") {
			params += ","
		}
		params += modernMeta + "}"
	}
	id := c.next.Add(1)
	req, err := http.NewRequest(http.MethodPost, c.url, strings.NewReader(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"%s","params":%s}`, id, method, params)))
	if err != nil {
		return nil, nil, err
	}
	req.Header = http.Header{"Authorization": {"Bearer " + c.token}, "Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
	switch {
	case c.modern:
		req.Header["Mcp-Protocol-Version"], req.Header["Mcp-Method"] = []string{"2026-07-28"}, []string{method}
		if name != "" {
			req.Header["Mcp-Name"] = []string{name}
		}
	case c.session != "":
		req.Header["Mcp-Protocol-Version"], req.Header["Mcp-Session-Id"] = []string{"2025-11-25"}, []string{c.session}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	doc, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, err
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") { // a call that took longer than a second
		at := bytes.LastIndex(doc, []byte("data: {"))
		if at < 0 {
			return nil, nil, fmt.Errorf("a stream without an answer: %q", doc)
		}
		doc = doc[at+len("data: "):]
	}
	var m struct {
		ID            int64
		Result, Error json.RawMessage
	}
	switch err := json.Unmarshal(doc, &m); {
	case err != nil:
		return nil, nil, fmt.Errorf("HTTP %d %q: %w", resp.StatusCode, doc, err)
	case resp.StatusCode != http.StatusOK || m.Error != nil || m.Result == nil || m.ID != id:
		return nil, nil, fmt.Errorf("HTTP %d %s to request %d", resp.StatusCode, doc, id)
	}
	return m.Result, resp.Header, nil
}

// call calls the tool of a server, and sees that the answer is to this call.
func (c *client) call(server string) error {
	n := c.next.Add(1)
	name := server + "__echo"
	result, _, err := c.ask("tools/call", name, fmt.Sprintf(`{"name":"%s","arguments":{"n":%d}}`, name, n))
	if err != nil {
		return err
	}
	var got struct {
		IsError           bool
		StructuredContent struct{ N int64 }
	}
	if err := json.Unmarshal(result, &got); err != nil || got.IsError || got.StructuredContent.N != n {
		return fmt.Errorf("call %d was answered %s", n, result)
	}
	return nil
}

const maxTold = 20 // failures that are told one by one

// work makes n calls of a server, and lists in between.
func (r *run) work(server string, modern bool, n int) {
	c := r.client(modern)
	times := make([]time.Duration, 0, n)
	for i := range n {
		began := time.Now()
		if err := c.call(server); err != nil {
			if r.failed.Add(1) <= maxTold {
				r.t.Errorf("%s, modern client %v: %v", server, modern, err)
			}
		}
		times = append(times, time.Since(began))
		if i%listEach == listEach-1 {
			r.list(c)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.times = append(r.times, times...)
}

// list sees that a list has the tools of all servers that live.
func (r *run) list(c *client) {
	r.lists.Add(1)
	result, _, err := c.ask("tools/list", "", `{}`)
	for _, server := range living {
		if err == nil && !bytes.Contains(result, []byte(`"`+server+`__echo"`)) {
			err = fmt.Errorf("%s is missing in %s", server, result)
		}
	}
	if err != nil {
		if r.badLists.Add(1) <= maxTold {
			r.t.Errorf("tools/list: %v", err)
		}
	}
}

// bother calls the server that dies, so that it is started again and dies with
// calls on it. Each call is answered, if only with an error.
func (r *run) bother(stop chan struct{}) {
	clients := []*client{r.client(false), r.client(true)}
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		r.weak.Add(1)
		if err := clients[i%2].call("weak"); err != nil {
			r.weakFailed.Add(1)
			if !strings.Contains(err.Error(), "server weak ") {
				r.t.Errorf("a call of the server that dies: %v", err)
			}
		}
	}
}

// A killer has servers end themselves, as they would by a signal from outside.
type killer struct {
	net.Listener
	mu     sync.Mutex
	conns  []net.Conn
	killed atomic.Int64
}

func newKiller(t *testing.T) *killer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &killer{Listener: l}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			k.mu.Lock()
			k.conns = append(k.conns, conn)
			k.mu.Unlock()
		}
	}()
	return k
}

func (k *killer) Addr() string { return k.Listener.Addr().String() }

func (k *killer) killEachSecond(stop chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		k.mu.Lock()
		for _, conn := range k.conns {
			if _, err := conn.Write([]byte{1}); err == nil {
				k.killed.Add(1)
			}
			_ = conn.Close()
		}
		k.conns = nil
		k.mu.Unlock()
	}
}

// web is a server over HTTP, and returns its URL.
func web(t *testing.T, modern bool) string {
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		doc, err := io.ReadAll(bufio.NewReader(r.Body))
		if err != nil {
			return
		}
		said := answer(doc, modern)
		if said == nil {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if bytes.Contains(doc, []byte(`"initialize"`)) {
			w.Header().Set("Mcp-Session-Id", "s")
		}
		_, _ = w.Write(said) // the gate may have gone
	}))
	t.Cleanup(ts.Close)
	return ts.URL
}
