package export_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/audit"
	"callgate/cmd/callgate/internal/export"
)

const run = "01970000-0000-7000-8000-00000000000a"

func id(n int) string { return fmt.Sprintf("01970000-0000-7000-8000-%012x", n) }

type book struct {
	t      *testing.T
	ledger *audit.Ledger
	dir    string
}

func newBook(t *testing.T) *book {
	b := &book{t: t, dir: t.TempDir()}
	b.open()
	t.Cleanup(func() { b.ledger.Close() })
	return b
}

func (b *book) open() {
	b.t.Helper()
	l, err := audit.Open(filepath.Join(b.dir, "ledger"), audit.Config{Now: time.Now})
	if err != nil {
		b.t.Fatal(err)
	}
	b.ledger = l
}

func (b *book) write(records ...audit.Record) {
	b.t.Helper()
	for i := range records {
		if err := b.ledger.Append(&records[i]).Wait(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
	}
}

func opened(n int, kind string, links ...audit.Link) audit.Record {
	return audit.Record{Type: audit.Opened, At: int64(n) * 1e6, Call: id(n), Tenant: "default", Agent: "agent:bot", Run: run, Kind: kind, Target: "till", Method: "tools/call", Resource: "pay", Effect: "allow", Rule: "T1", Policy: "abc", Links: links}
}

func closed(n int) audit.Record {
	return audit.Record{Type: audit.Closed, At: int64(n)*1e6 + 5000, Call: id(n), Outcome: "ok", TookUS: 5000, Usage: &audit.Usage{Input: 100, Output: 7}}
}

func refused(n int) audit.Record {
	r := opened(n, "tool")
	r.Type, r.Effect, r.Outcome, r.Reason = audit.Refused, "deny", "denied", "no rule allows it"
	return r
}

// exporting runs an exporter until stop is called.
func (b *book) exporting(sink export.Sink) (x *export.Exporter, stop func()) {
	b.t.Helper()
	x, err := export.New(export.Config{Name: "siem", File: filepath.Join(b.dir, "export", "siem.position"), Ledger: b.ledger, Sink: sink, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	working.Go(func() { x.Run(ctx) })
	stop = func() { cancel(); working.Wait() }
	b.t.Cleanup(stop)
	return x, stop
}

func (b *book) toldAll(x *export.Exporter) {
	b.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		lag, wrong := x.Lag()
		if lag == 0 && wrong == "" {
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("after 20 s, %d records are not told: %s", lag, wrong)
		}
	}
}

// hook is a server of a webhook or a collector.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	bodies map[string][]string // by path
	refuse func(path string) int
}

func newHook(t *testing.T, secret string) *hook {
	h := &hook{bodies: make(map[string][]string)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if secret != "" {
			var at int64
			sign := r.Header.Get("Callgate-Signature")
			fmt.Sscanf(sign, "t=%d,", &at)
			if want := export.Signature(secret, time.Unix(at, 0), body); sign != want {
				t.Errorf("the signature is %q, want %q", sign, want)
			}
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.refuse != nil {
			if code := h.refuse(r.URL.Path); code != 0 {
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(code)
				return
			}
		}
		h.bodies[r.URL.Path] = append(h.bodies[r.URL.Path], string(body))
	}))
	t.Cleanup(h.Close)
	return h
}

// events are what came to the webhook, in order.
func (h *hook) events(t *testing.T) (all []map[string]any) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, body := range h.bodies["/"] {
		var list []map[string]any
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatal(err)
		}
		all = append(all, list...)
	}
	return all
}

func uids(all []map[string]any) (list []string) {
	for _, e := range all {
		uid, _ := e["metadata"].(map[string]any)["uid"].(string)
		list = append(list, uid)
	}
	return list
}

func TestEachCallThatIsOverIsToldOnceAlsoAcrossRestarts(t *testing.T) {
	secret := strings.Repeat("s", 32)
	b, h := newBook(t), newHook(t, secret)
	sink := func() export.Sink {
		return &export.Webhook{URL: h.URL + "/", Secret: secret, Form: export.InOCSF("test"), Client: h.Client()}
	}
	b.write(audit.Record{Type: audit.Changed, At: 1, What: "agent.created", By: "admin", Name: "bot"}, opened(1, "tool"), opened(2, "tool"), closed(2), refused(3))
	x, stop := b.exporting(sink())
	b.toldAll(x)
	stop()

	b.write(opened(4, "tool"), closed(4), closed(1)) // call 1 began before the restart
	x, stop = b.exporting(sink())
	b.toldAll(x)
	stop()
	if got, want := uids(h.events(t)), []string{"", id(2), id(3), id(4), id(1)}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}

	b.write(opened(5, "tool")) // and its process ends
	b.ledger.Close()
	b.open()
	b.write(opened(6, "tool"), closed(6))
	x, _ = b.exporting(sink())
	b.toldAll(x)
	all := h.events(t)
	if got, want := uids(all)[5:], []string{id(5), id(6)}; !slices.Equal(got, want) {
		t.Fatalf("told %q, want %q", got, want)
	}
	if got := all[5]["status_code"]; got != audit.OutcomeUnknown {
		t.Errorf("the outcome of a call that nobody ended is %v, want %v", got, audit.OutcomeUnknown)
	}
}

func TestNothingIsLeftOutWhileNobodyAnswers(t *testing.T) {
	b, h := newBook(t), newHook(t, "")
	down := true
	h.refuse = func(string) int {
		if down {
			return http.StatusServiceUnavailable
		}
		return 0
	}
	x, _ := b.exporting(&export.Webhook{URL: h.URL + "/", Form: export.InJSON, Client: h.Client()})
	for n := 1; n <= 700; n++ {
		b.write(opened(n, "tool"), closed(n))
	}
	for lag, wrong := x.Lag(); lag < 1000 || wrong == ""; lag, wrong = x.Lag() {
		time.Sleep(time.Millisecond)
	}
	if _, wrong := x.Lag(); wrong != "it answers 503 Service Unavailable" {
		t.Errorf("what is wrong is told as %q", wrong)
	}
	h.mu.Lock()
	down = false
	h.mu.Unlock()
	b.toldAll(x)
	all := h.events(t)
	if len(all) != 700 {
		t.Fatalf("%d calls are told, want 700", len(all))
	}
	for i, c := range all {
		if c["call"] != id(i+1) {
			t.Fatalf("call %d is %v, want %s", i, c["call"], id(i+1))
		}
	}
}

func TestAPositionInAnotherLedgerIsNone(t *testing.T) {
	b, h := newBook(t), newHook(t, "")
	b.write(refused(1))
	x, stop := b.exporting(&export.Webhook{URL: h.URL + "/", Form: export.InJSON, Client: h.Client()})
	b.toldAll(x)
	stop()
	other := newBook(t)
	other.dir = b.dir // where the file is
	other.write(refused(2))
	x, _ = other.exporting(&export.Webhook{URL: h.URL + "/", Form: export.InJSON, Client: h.Client()})
	other.toldAll(x)
	if all := h.events(t); len(all) != 2 || all[1]["call"] != id(2) {
		t.Errorf("told %v", all)
	}
}

func TestARunIsOneTrace(t *testing.T) {
	b, h := newBook(t), newHook(t, "")
	figures := 0
	h.refuse = func(path string) int { // figures are refused once, and then only they are sent again
		if path == "/v1/metrics" {
			if figures++; figures == 1 {
				return http.StatusTooManyRequests
			}
		}
		return 0
	}
	model := opened(1, "model")
	model.Target, model.Method, model.Resource = "anthropic", "messages", "claude"
	next := opened(3, "model", audit.Link{From: id(2), Kind: audit.LinkResult, Method: "tool_use_id"}, audit.Link{From: id(1), Kind: audit.LinkFollows})
	next.Target, next.Method, next.Resource = "anthropic", "messages", "claude"
	b.write(model, closed(1), opened(2, "tool", audit.Link{From: id(1), Kind: audit.LinkProposed, ID: "toolu_1"}), closed(2), next, closed(3), refused(4))
	x, _ := b.exporting(&export.OTLP{URL: h.URL, Version: "test", Client: h.Client()})
	b.toldAll(x)

	type span struct {
		TraceID, SpanID, ParentSpanID, Name string
		Links                               []struct{ SpanID string }
		Status                              struct{ Code int }
		Attributes                          []struct {
			Key   string
			Value struct{ StringValue, IntValue string }
		}
	}
	var doc struct {
		ResourceSpans []struct {
			SchemaURL  string
			ScopeSpans []struct{ Spans []span }
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var spans []span
	for _, body := range h.bodies["/v1/traces"] {
		if err := json.Unmarshal([]byte(body), &doc); err != nil {
			t.Fatal(err)
		}
		if got := doc.ResourceSpans[0].SchemaURL; got != export.Conventions {
			t.Errorf("the schema is %q", got)
		}
		spans = append(spans, doc.ResourceSpans[0].ScopeSpans[0].Spans...)
	}
	if len(spans) != 4 {
		t.Fatalf("%d spans, want 4", len(spans))
	}
	for _, s := range spans {
		if s.TraceID != strings.ReplaceAll(run, "-", "") || len(s.SpanID) != 16 {
			t.Errorf("span %s is of trace %s", s.SpanID, s.TraceID)
		}
	}
	if spans[1].ParentSpanID != spans[0].SpanID || spans[1].Name != "tools/call pay" || spans[0].Name != "chat claude" {
		t.Errorf("%q is below %s, want below %q %s", spans[1].Name, spans[1].ParentSpanID, spans[0].Name, spans[0].SpanID)
	}
	if l := spans[2].Links; len(l) != 2 || l[0].SpanID != spans[1].SpanID {
		t.Errorf("the model call that was told the result has links %v", l)
	}
	if spans[3].Status.Code != 2 || spans[0].Status.Code != 0 {
		t.Errorf("status: %v of a denied call, %v of one that was made", spans[3].Status, spans[0].Status)
	}
	said := make(map[string]string)
	for _, a := range slices.Concat(spans[0].Attributes, spans[1].Attributes) {
		said[a.Key] = a.Value.StringValue + a.Value.IntValue
	}
	for name, want := range map[string]string{"gen_ai.provider.name": "anthropic", "gen_ai.usage.input_tokens": "100", "gen_ai.tool.call.id": "toolu_1", "gen_ai.agent.name": "bot", "mcp.method.name": "tools/call"} {
		if said[name] != want {
			t.Errorf("%s is %q, want %q", name, said[name], want)
		}
	}
	metrics := strings.Join(h.bodies["/v1/metrics"], "\n")
	for _, want := range []string{`"name":"gen_ai.client.operation.duration"`, `"name":"gen_ai.client.token.usage"`, `"name":"mcp.client.operation.duration"`, `"sum":200`, `"aggregationTemporality":1`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the figures have no %s:\n%s", want, metrics)
		}
	}
}

func TestSyslogHasEachMessageWithItsLengthAndComesBack(t *testing.T) {
	b := newBook(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(c)
			var n int
			if _, err := fmt.Fscanf(r, "%d ", &n); err != nil {
				t.Error(err)
			}
			m := make([]byte, n)
			_, _ = io.ReadFull(r, m)
			got <- string(m)
			c.Close() // after each message
		}
	}()
	x, _ := b.exporting(&export.Syslog{Network: "tcp", Addr: l.Addr().String(), Form: export.InOCSF("test")})
	b.write(opened(1, "tool"), closed(1))
	first := <-got
	b.toldAll(x)
	b.write(refused(2))
	second := <-got
	if !strings.HasPrefix(first, "<110>1 1970-01-01T00:00:01.005000Z ") || !strings.Contains(first, " call - {") {
		t.Errorf("a call is told as %q", first)
	}
	if !strings.HasPrefix(second, "<108>1 ") || !strings.Contains(second, `"disposition":"Blocked"`) {
		t.Errorf("a denied call is told as %q", second)
	}
}

func TestOCSFNamesClassesAndTypesAsItsSchemaDoes(t *testing.T) {
	calls := audit.Tell([]audit.Record{refused(1)}, 0)
	e := export.OCSF(export.Item{Call: &calls[0]}, "test")
	if e["class_uid"] != 6003 || e["type_uid"] != 600399 || e["action_id"] != 2 || e["status_id"] != 2 || e["severity_id"] != 3 {
		t.Errorf("a denied call is %v", e)
	}
	for _, what := range []struct {
		name string
		want int
	}{{"agent.created", 300401}, {"agent.suspended", 300403}, {"token.revoked", 300404}} {
		e := export.OCSF(export.Item{Change: &audit.Record{What: what.name}}, "test")
		if e["type_uid"] != what.want {
			t.Errorf("%s is of type %v, want %d", what.name, e["type_uid"], what.want)
		}
	}
}

func TestARowHasAColumnForEachName(t *testing.T) {
	calls := audit.Tell([]audit.Record{opened(1, "tool"), closed(1)}, 0)
	row := export.Row(&calls[0])
	if len(row) != len(export.Columns) {
		t.Fatalf("%d values for %d columns", len(row), len(export.Columns))
	}
	if i := slices.Index(export.Columns, "input_tokens"); row[i] != "100" {
		t.Errorf("input_tokens is %q", row[i])
	}
}
