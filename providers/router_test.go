package providers_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/firewall/policy"
	"callgate/providers"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

const (
	said      = `{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello from %s"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}`
	busy      = `{"error":{"message":"try later","type":"rate_limit_error","code":"rate_limit_exceeded"}}`
	broke     = `{"error":{"message":"no money","type":"insufficient_quota","code":"insufficient_quota"}}`
	badKey    = `{"error":{"message":"bad key","type":"invalid_request_error","code":"invalid_api_key"}}`
	tooLong   = `{"error":{"message":"too long","type":"invalid_request_error","code":"context_length_exceeded"}}`
	unclean   = `{"error":{"message":"no","type":"invalid_request_error","code":"content_filter"}}`
	yourFault = `{"error":{"message":"no such parameter","type":"invalid_request_error","code":"unknown_parameter"}}`
)

// A target is a provider that answers one thing after another; the last one again and
// again.
type target struct {
	name    string
	asked   atomic.Int64
	bodies  chan string
	replies []http.HandlerFunc
}

func (p *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := int(p.asked.Add(1)) - 1
	body, _ := io.ReadAll(r.Body)
	p.bodies <- string(body)
	p.replies[min(n, len(p.replies)-1)](w, r)
}

func says(status int, body string) http.HandlerFunc { return answer(status, "application/json", body) }

// streams is a stream of chunks, of which the last one is cut off where cut says so.
func streams(cut bool, chunks ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, c := range chunks {
			_, _ = io.WriteString(w, "data: "+c+"\n\n")
		}
		if cut {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	}
}

func piece(delta string) string {
	return `{"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":` + delta + `}]}`
}

// routed is a house with a model named fast, at targets a and b, and what they are.
func routed(t testing.TB, retries int, a, b []http.HandlerFunc, weights ...int) (*house, map[string]*target) {
	t.Helper()
	return routedAs(t, providers.Model{Retries: retries}, nil, a, b, weights...)
}

// routedAs is a house whose model fast is otherwise too, and whose targets are for some
// calls only.
func routedAs(t testing.TB, m providers.Model, when []func(*firewall.Call) (bool, error), a, b []http.HandlerFunc, weights ...int) (*house, map[string]*target) {
	t.Helper()
	targets := map[string]*target{"a": {name: "a", replies: a}, "b": {name: "b", replies: b}}
	list := make(map[string]providers.Provider)
	for i, name := range []string{"a", "b"} {
		p := targets[name]
		p.bodies = make(chan string, 1000)
		server := httptest.NewServer(p)
		t.Cleanup(server.Close)
		list[name] = providers.Provider{Kind: "openai", BaseURL: server.URL + "/v1", Models: []string{"m"}}
		to := providers.Target{Model: name + "/m-" + name}
		if weights != nil {
			to.Weight = weights[i]
		}
		if when != nil {
			to.When = when[i]
		}
		m.Targets = append(m.Targets, to)
	}
	h := newHouseWith(t, providers.Config{}, list)
	if err := h.door.SetProviders(list, map[string]providers.Model{"fast": m}); err != nil {
		t.Fatal(err)
	}
	return h, targets
}

const askFast = `{"model":"fast","messages":[{"role":"user","content":"hi"}]}`

func TestACallGoesWhereItIsAnswered(t *testing.T) {
	good := func(name string) http.HandlerFunc { return says(200, fmt.Sprintf(said, name)) }
	slowly := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After-Ms", "5")
		says(429, busy)(w, r)
	}
	for _, test := range []struct {
		name    string
		retries int
		a, b    []http.HandlerFunc
		status  int
		want    string // of the answer
		tries   string // target and fault of each
	}{
		{"the first one answers", 0, []http.HandlerFunc{good("a")}, nil, 200, "hello from a", "a:"},
		{"the first one is down", 0, []http.HandlerFunc{says(503, busy)}, []http.HandlerFunc{good("b")}, 200, "hello from b", "a:http 503 b:"},
		{"overloaded as Anthropic says", 0, []http.HandlerFunc{says(529, busy)}, []http.HandlerFunc{good("b")}, 200, "hello from b", "a:http 529 b:"},
		{"it passes", 2, []http.HandlerFunc{slowly, slowly, good("a")}, []http.HandlerFunc{good("b")}, 200, "hello from a", "a:http 429 a:http 429 a:"},
		{"the money has run out", 2, []http.HandlerFunc{says(429, broke)}, []http.HandlerFunc{good("b")}, 200, "hello from b", "a:http 429 b:"},
		{"the key is bad", 2, []http.HandlerFunc{says(401, badKey)}, []http.HandlerFunc{good("b")}, 200, "hello from b", "a:http 401 b:"},
		{"the model is not there", 2, []http.HandlerFunc{says(404, badKey)}, []http.HandlerFunc{good("b")}, 200, "hello from b", "a:http 404 b:"},
		{"the prompt is too long for the first", 2, []http.HandlerFunc{says(400, tooLong)}, []http.HandlerFunc{good("b")}, 200, "hello from b", "a:http 400 b:"},
		{"the first one's content policy", 2, []http.HandlerFunc{says(400, unclean)}, []http.HandlerFunc{good("b")}, 200, "hello from b", "a:http 400 b:"},
		{"a mistake of the client's", 2, []http.HandlerFunc{says(400, yourFault)}, []http.HandlerFunc{good("b")}, 400, "no such parameter", "a:"},
		{"nonsense", 0, []http.HandlerFunc{answer(200, "text/html", "<html>")}, []http.HandlerFunc{good("b")}, 200, "hello from b", "a:unavailable b:"},
		{"it hangs up", 0, []http.HandlerFunc{func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }}, []http.HandlerFunc{good("b")}, 200, "hello from b", "a:unavailable b:"},
		{"all are down", 0, []http.HandlerFunc{says(503, busy)}, []http.HandlerFunc{says(500, `{"error":{"message":"the last one","type":"server_error"}}`)}, 500, "the last one", "a:http 503 b:http 500"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.b == nil {
				test.b = []http.HandlerFunc{says(500, busy)}
			}
			h, targets := routed(t, test.retries, test.a, test.b)
			resp, body := post(t, h.url(t), "/v1/chat/completions", askFast)
			if resp.StatusCode != test.status || !strings.Contains(body, test.want) {
				t.Errorf("HTTP %d %s, want %d %s", resp.StatusCode, body, test.status, test.want)
			}
			records := h.records()
			last := records[len(records)-1]
			var tries []string
			for _, a := range last.Attempts {
				tries = append(tries, a.Target+":"+a.Fault)
				if a.Resource != "m-"+a.Target {
					t.Errorf("the attempt is of %s/%s", a.Target, a.Resource)
				}
			}
			if diff := cmp.Diff(test.tries, strings.Join(tries, " ")); diff != "" || last.Type != audit.Closed {
				t.Errorf("on record: %s\n%s", last.Type, diff)
			}
			at := tries[len(tries)-1][:1]
			if got := resp.Header.Get("Callgate-Model"); got != at+"/m-"+at || resp.Header.Get("Callgate-Attempts") != fmt.Sprint(len(tries)) {
				t.Errorf("headers: %s after %s", got, resp.Header.Get("Callgate-Attempts"))
			}
			for name, p := range targets {
				for range len(p.bodies) {
					if diff := cmp.Diff(strings.Replace(askFast, "fast", "m-"+name, 1), <-p.bodies); diff != "" {
						t.Errorf("%s was asked otherwise: %s", name, diff)
					}
				}
			}
		})
	}
}

func TestAStreamMayChangeItsTargetUntilTheModelHasSpoken(t *testing.T) {
	role, hello, stop := piece(`{"role":"assistant","content":""}`), piece(`{"content":"hello"}`), piece(`{}`)
	fault := `{"error":{"message":"overloaded","type":"server_error"}}`
	good := []http.HandlerFunc{streams(false, strings.ReplaceAll(role, `"1"`, `"b"`), strings.ReplaceAll(hello, `"1"`, `"b"`), stop)}
	for _, test := range []struct {
		name  string
		a     http.HandlerFunc
		want  string // texts that the client gets
		ids   string // ids of the chunks that it gets
		tries string
	}{
		{"it answers", streams(false, role, hello, stop), "hello", "1", "a:"},
		{"an error before a word", streams(false, role, fault), "hello", "b 1", "a:error event b:"},
		{"an error at once", streams(false, fault), "hello", "b 1", "a:error event b:"},
		{"it breaks off before a word", streams(true, role), "hello", "b 1", "a:unavailable b:"},
		{"it is empty and breaks off", streams(true), "hello", "b 1", "a:unavailable b:"},
		{"it breaks off after a word", streams(true, role, hello), "hello", "1", "a:"},
		{"an error after a word", streams(false, role, hello, fault), "hello", "1", "a:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, targets := routed(t, 0, []http.HandlerFunc{test.a}, good)
			_, body := post(t, h.url(t), "/v1/chat/completions", strings.Replace(askFast, "{", `{"stream":true,`, 1))
			var text string
			var ids []string
			for line := range strings.Lines(body) {
				doc, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
				if !ok || doc == "[DONE]" {
					continue
				}
				text += gjson.Get(doc, "choices.0.delta.content").Str
				if id := gjson.Get(doc, "id").Str; id != "" && !slices.Contains(ids, id) {
					ids = append(ids, id)
				}
			}
			if text != test.want || strings.Join(ids, " ") != test.ids || !strings.HasSuffix(body, "data: [DONE]\n\n") {
				t.Errorf("the client got %s", body)
			}
			if failed := strings.Contains(test.name, "after a word"); strings.Contains(body, `"error"`) != failed {
				t.Errorf("the client got %s", body)
			}
			if strings.Contains(test.name, "after") && targets["b"].asked.Load() > 0 {
				t.Error("another target was asked although the model had spoken")
			}
			records := h.records()
			var tries []string
			for _, a := range records[len(records)-1].Attempts {
				tries = append(tries, a.Target+":"+a.Fault)
			}
			if got := strings.Join(tries, " "); got != test.tries {
				t.Errorf("tries: %s, want %s", got, test.tries)
			}
		})
	}
}

func TestAFallbackIsACallThatTheLawMustAllow(t *testing.T) {
	down, up := []http.HandlerFunc{says(503, busy)}, []http.HandlerFunc{says(200, fmt.Sprintf(said, "x"))}
	list := func(t *testing.T, a, b string) (*house, *target, *target) {
		one, two := &target{replies: down, bodies: make(chan string, 100)}, &target{replies: up, bodies: make(chan string, 100)}
		l := map[string]providers.Provider{
			"openai": {BaseURL: serve(t, one) + "/v1"}, "other": {Kind: "openai", BaseURL: serve(t, two) + "/v1"},
		}
		h := newHouseWith(t, providers.Config{}, l)
		m := providers.Model{Targets: []providers.Target{{Model: a}, {Model: b}}}
		if err := h.door.SetProviders(l, map[string]providers.Model{"fast": m}); err != nil {
			t.Fatal(err)
		}
		return h, one, two
	}
	// the law of these tests denies openai/secret
	h, one, _ := list(t, "other/m", "openai/secret")
	if resp, _ := post(t, h.url(t), "/v1/chat/completions", askFast); resp.StatusCode != 200 || one.asked.Load() != 0 {
		t.Errorf("HTTP %d, %d asked", resp.StatusCode, one.asked.Load())
	}
	h, one, two := list(t, "openai/secret", "other/m")
	if resp, _ := post(t, h.url(t), "/v1/chat/completions", askFast); resp.StatusCode != 200 || one.asked.Load() != 0 || two.asked.Load() != 1 {
		t.Errorf("the first is denied, the second is not: HTTP %d, %d and %d asked", resp.StatusCode, one.asked.Load(), two.asked.Load())
	}
	h, one, _ = list(t, "openai/m", "openai/secret")
	if resp, _ := post(t, h.url(t), "/v1/chat/completions", askFast); resp.StatusCode != 503 || one.asked.Load() != 1 {
		t.Errorf("the fallback is denied: HTTP %d, %d asked", resp.StatusCode, one.asked.Load())
	}
	h, one, two = list(t, "openai/secret", "openai/secret")
	resp, body := post(t, h.url(t), "/v1/chat/completions", askFast)
	if resp.StatusCode != 403 || one.asked.Load()+two.asked.Load() != 0 || !strings.Contains(body, "R9") {
		t.Errorf("both are denied: HTTP %d %s", resp.StatusCode, body)
	}
}

func TestARunStaysWhereItsCacheIs(t *testing.T) {
	up := []http.HandlerFunc{says(200, fmt.Sprintf(said, "x"))}
	h, targets := routed(t, 0, up, up, 3, 1)
	url := h.url(t)
	first := make(map[string]int)
	for run := range 200 {
		var at string
		for range 2 {
			resp, _ := post(t, url, "/v1/chat/completions", askFast, "Callgate-Run", fmt.Sprint("run-", run))
			if got := resp.Header.Get("Callgate-Model"); at != "" && got != at {
				t.Fatalf("run %d went from %s to %s", run, at, got)
			} else {
				at = got
			}
		}
		first[at]++
	}
	if a := first["a/m-a"]; a < 120 || a > 180 || targets["b"].asked.Load() == 0 { // 150 of 200 are meant, 4 deviations either way
		t.Errorf("with weights 3 and 1, of 200 runs %d began at a", a)
	}
}

func TestAProviderThatFailsAgainAndAgainRests(t *testing.T) {
	h, targets := routed(t, 0, []http.HandlerFunc{says(503, busy)}, []http.HandlerFunc{says(200, fmt.Sprintf(said, "b"))})
	url := h.url(t)
	for range 12 {
		if resp, body := post(t, url, "/v1/chat/completions", askFast); resp.StatusCode != 200 {
			t.Fatalf("HTTP %d %s", resp.StatusCode, body)
		}
	}
	if got := targets["a"].asked.Load(); got != 5 {
		t.Errorf("a was asked %d times, of 12, although it is down", got)
	}
}

func TestNobodyWaitsForWhoIsGone(t *testing.T) {
	h, targets := routed(t, 5, []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		says(429, busy)(w, r)
	}}, []http.HandlerFunc{says(500, busy)})
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.url(t), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", token, len(askFast), askFast)
	<-targets["a"].bodies
	conn.Close()
	begun := time.Now()
	h.records() // waits for the door
	if took := time.Since(begun); took > 5*time.Second || targets["a"].asked.Load() != 1 {
		t.Errorf("it went on for %v, and asked %d times", took, targets["a"].asked.Load())
	}
}

func TestTheNamesOfModelsThatStandForSeveral(t *testing.T) {
	up := []http.HandlerFunc{says(200, fmt.Sprintf(said, "x"))}
	h, _ := routed(t, 0, up, up)
	if _, body := get(t, h.url(t), "/v1/models"); !strings.Contains(body, `"id":"fast"`) {
		t.Error(body)
	}
	list := map[string]providers.Provider{"a": {Kind: "openai", BaseURL: "http://127.0.0.1:1/v1"}}
	for _, m := range []map[string]providers.Model{
		{"fast": {}}, {"fa/st": {Targets: []providers.Target{{Model: "a/m"}}}}, {"fast": {Targets: []providers.Target{{Model: "m"}}}}, {"fast": {Targets: []providers.Target{{Model: "nobody/m"}}}},
		{"fast": {Targets: []providers.Target{{Model: "a/m", Weight: -1}}}}, {"fast": {Targets: []providers.Target{{Model: "a/m"}}, Retries: 99}},
	} {
		if err := h.door.SetProviders(list, m); err == nil {
			t.Errorf("taken: %+v", m)
		}
	}
}

// tried tells the tries of the last call, as target:fault.
func (h *house) tried() string {
	var all []string
	for _, r := range h.records() {
		if r.Type == audit.Closed {
			all = nil
			for _, a := range r.Attempts {
				all = append(all, a.Target+":"+a.Fault)
			}
		}
	}
	return strings.Join(all, " ")
}

// A target is asked by the calls that it is for, and by no others.
func TestTargetsHaveConditions(t *testing.T) {
	good := func(name string) []http.HandlerFunc {
		return []http.HandlerFunc{says(200, fmt.Sprintf(said, name))}
	}
	down := []http.HandlerFunc{says(503, busy)}
	small, large := "r.env.tokens < 5000", "r.env.tokens >= 5000"
	long := strings.Replace(askFast, `"hi"`, `"`+strings.Repeat("hi ", 4000)+`"`, 1)
	for _, tt := range []struct {
		name, a, b string
		first      []http.HandlerFunc
		body       string
		status     int
		want       string
	}{
		{"the first one", small, large, good("a"), askFast, 200, "hello from a"},
		{"the second one", small, large, good("a"), long, 200, "hello from b"},
		{"the fallback is not for it", small, large, down, askFast, 503, "try later"},
		{"the fallback is", small, "true", down, askFast, 200, "hello from b"},
		{"none", large, large, good("a"), askFast, 403, "none of the targets"},
		{"what cannot be evaluated", "r.env.cost < 1", "true", good("a"), askFast, 200, "hello from b"},
		{"none can be evaluated", "r.env.cost < 1", "r.env.cost >= 1", good("a"), askFast, 403, "none of the targets"},
		{"who asks", "r.env.agent == 'agent:bot'", "true", good("a"), askFast, 200, "hello from a"},
		{"the model itself", "r.env.model == 'b/m-b'", "r.env.model == 'b/m-b'", good("a"), askFast, 200, "hello from b"},
	} {
		var when []func(*firewall.Call) (bool, error)
		for _, text := range []string{tt.a, tt.b} {
			w, err := policy.NewWhen(text)
			if err != nil {
				t.Fatal(err)
			}
			when = append(when, w)
		}
		h, _ := routedAs(t, providers.Model{}, when, tt.first, good("b"))
		if resp, got := post(t, h.url(t), "/v1/chat/completions", tt.body); resp.StatusCode != tt.status || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %d %s", tt.name, resp.StatusCode, got)
		}
	}
	for _, wrong := range []string{"r.env.args.x == 1", "1 +", "r.env.nothing == 1", "r.env.tokens"} {
		if _, err := policy.NewWhen(wrong); err == nil {
			t.Errorf("%s is a condition", wrong)
		}
	}
}

// What leads to another try can be chosen.
func TestWhatLeadsToAFallbackCanBeChosen(t *testing.T) {
	good := []http.HandlerFunc{says(200, fmt.Sprintf(said, "b"))}
	for _, tt := range []struct {
		on     string
		first  http.HandlerFunc
		status int
		tries  string
	}{
		{"503", says(503, busy), 200, "a:http 503 b:"},
		{"500 503", says(503, busy), 200, "a:http 503 b:"},
		{"500", says(503, busy), 503, "a:"},
		{"422", says(422, yourFault), 200, "a:http 422 b:"},
		{"context_length", says(400, tooLong), 200, "a:http 400 b:"},
		{"content_filter", says(400, tooLong), 400, "a:"},
		{"content_filter", says(400, unclean), 200, "a:http 400 b:"},
		{"quota", says(429, broke), 200, "a:http 429 b:"},
		{"quota", says(429, busy), 429, "a:"},
	} {
		h, _ := routedAs(t, providers.Model{FallbackOn: strings.Fields(tt.on)}, nil, []http.HandlerFunc{tt.first}, good)
		resp, got := post(t, h.url(t), "/v1/chat/completions", askFast)
		if tries := h.tried(); resp.StatusCode != tt.status || tries != tt.tries {
			t.Errorf("%s: %d %s after %s, want %d after %s", tt.on, resp.StatusCode, got, tries, tt.status, tt.tries)
		}
	}
	h := newHouse(t, "http://127.0.0.1:1")
	for _, wrong := range []string{"200", "5xx", "context"} {
		if err := h.door.SetProviders(map[string]providers.Provider{"a": {Kind: "openai", BaseURL: "http://127.0.0.1:1"}}, map[string]providers.Model{"fast": {Targets: []providers.Target{{Model: "a/m"}}, FallbackOn: []string{wrong}}}); err == nil {
			t.Errorf("fallback_on: %s is taken", wrong)
		}
	}
}

// A model that says nothing in time is left, whether it has begun to answer or not; one
// that has said something may take its time.
func TestATargetHasSoLongForItsFirstToken(t *testing.T) {
	quiet := func(begin, more string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, begin)
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(600 * time.Millisecond):
			}
			_, _ = io.WriteString(w, more)
		}
	}
	head, word, end := "data: "+piece(`{"role":"assistant"}`)+"\n\n", "data: "+piece(`{"content":"from a"}`)+"\n\n", "data: [DONE]\n\n"
	for _, tt := range []struct {
		name  string
		first http.HandlerFunc
		tries string
		want  string
	}{
		{"nothing comes", quiet("", head+word+end), "a:first token b:", "from b"},
		{"only a head comes", quiet(head, word+end), "a:first token b:", "from b"},
		{"a word comes", quiet(head+word, end), "a:", "from a"},
	} {
		h, _ := routedAs(t, providers.Model{FirstToken: 200 * time.Millisecond, Retries: 3}, nil, []http.HandlerFunc{tt.first}, []http.HandlerFunc{streams(false, piece(`{"content":"from b"}`))})
		_, got := post(t, h.url(t), "/v1/chat/completions", strings.Replace(askFast, "{", `{"stream":true,`, 1))
		if tries := h.tried(); tries != tt.tries || !strings.Contains(got, tt.want) || !strings.HasSuffix(got, end) {
			t.Errorf("%s: %s, and %s", tt.name, tries, got)
		}
	}
	h, _ := routedAs(t, providers.Model{FirstToken: 50 * time.Millisecond}, nil, []http.HandlerFunc{quiet("", word)}, []http.HandlerFunc{quiet("", word)})
	if resp, got := post(t, h.url(t), "/v1/chat/completions", askFast); resp.StatusCode != 504 || !strings.Contains(got, "b/m-b said nothing within 50ms") {
		t.Errorf("nobody says anything: %d %s", resp.StatusCode, got)
	}
}
