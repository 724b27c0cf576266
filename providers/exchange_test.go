package providers_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callgate/audit"
	"callgate/providers"
)

// events streams each of its arguments at once.
func events(pieces ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		for _, p := range pieces {
			_, _ = io.WriteString(w, p)
			w.(http.Flusher).Flush()
		}
	}
}

// cut hangs up in the middle of its reply.
func cut(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h(w, r)
		panic(http.ErrAbortHandler)
	}
}

// hang answers with h and then with nothing more, until it is let go.
func hang(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if h != nil {
			h(w, r)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	}
}

func chunk(text string) string {
	return `data: {"choices":[{"index":0,"delta":{"content":"` + text + `"}}]}` + "\n\n"
}

const done = "data: [DONE]\n\n"

func TestAStreamPassesAsItCame(t *testing.T) {
	in := ": hello\r\n\r\nid: 7\r\n" + strings.ReplaceAll(chunk("a"), "\n", "\r\n") + chunk("b") + done
	h := newHouse(t, serve(t, events(in)))
	resp, body := post(t, h.url(t), "/v1/chat/completions", chatBody)
	if body != in || resp.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" {
		t.Errorf("reply = %q as %s, want %q", body, resp.Header.Get("Content-Type"), in)
	}
	records := h.records()
	if got := types(records); got != "opened closed:ok" {
		t.Errorf("records = %q", got)
	}
}

func TestAnEventLeavesBeforeTheNextOneComes(t *testing.T) {
	next := make(chan struct{})
	h := newHouse(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		events(chunk("a"))(w, r)
		<-next
		_, _ = io.WriteString(w, done)
	})))
	req, err := http.NewRequest("POST", h.url(t)+"/v1/chat/completions", strings.NewReader(chatBody))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, len(chunk("a")))
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != chunk("a") {
		t.Fatalf("first = %q, %v", first, err)
	}
	close(next)
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != done {
		t.Errorf("rest = %q, %v", rest, err)
	}
}

func TestWhatIsAskedForIsOnRecordBeforeTheEnd(t *testing.T) {
	stream := `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","function":{"name":"look","arguments":"{\"q\":1}"}}]}}]}` + "\n\n" +
		`data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}` + "\n\n" +
		`data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}` + "\n\n" + done
	plain := `{"choices":[{"message":{"content":null,"tool_calls":[{"id":"call_1","function":{"name":"look","arguments":"{\"q\":1}"}}]}}],"usage":{"prompt_tokens":7,"completion_tokens":3}}`
	message := `{"content":[{"type":"tool_use","id":"call_1","name":"look","input":{"q":1}}],"usage":{"input_tokens":5,"cache_read_input_tokens":2,"output_tokens":3}}`
	response := `{"output":[{"type":"function_call","call_id":"call_1","name":"look","arguments":"{\"q\":1}"}],"usage":{"input_tokens":7,"output_tokens":3}}`
	for _, tt := range []struct {
		name, path, model string
		up                http.HandlerFunc
	}{
		{"a streamed chat", "/v1/chat/completions", "gpt", events(stream)},
		{"a plain chat", "/v1/chat/completions", "gpt", answer(200, "application/json", plain)},
		{"a plain message", "/v1/messages", "claude", answer(200, "application/json", message)},
		{"a plain response", "/v1/responses", "gpt", answer(200, "application/json", response)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, serve(t, tt.up))
			post(t, h.url(t), tt.path, `{"model":"`+tt.model+`"}`)
			records := h.records()
			if got := types(records); got != "opened proposed closed:ok" {
				t.Fatalf("records = %q", got)
			}
			if p := records[1].Proposal; p.ToolUse != "call_1" || p.Name != "look" || string(p.Args) != `{"q":1}` {
				t.Errorf("proposal = %+v", p)
			}
			if u := records[2].Usage; u == nil || u.Input != 7 || u.Output != 3 {
				t.Errorf("usage = %+v", u)
			}
		})
	}
}

func TestAProvidersOwnErrorPasses(t *testing.T) {
	const openAI = `{"error":{"message":"slow down","type":"rate_limit_error","param":null,"code":null}}`
	const anthropic = `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`
	for _, tt := range []struct {
		name, path, model string
		up                http.HandlerFunc
		status            int
		body              string
		fault             string
	}{
		{"unchanged in the OpenAI dialect", "/v1/chat/completions", "gpt", answer(429, "application/json", openAI), 429, openAI, "http 429"},
		{"unchanged in the Anthropic dialect", "/v1/messages", "claude", answer(529, "application/json", anthropic), 529, anthropic, "http 529"},
		{"unchanged in a vendor's accent", "/v1/chat/completions", "gpt", answer(422, "application/json", `{"detail":"bad"}`), 422, `{"detail":"bad"}`, "http 422"},
		{"wrapped, where it is a page", "/v1/chat/completions", "gpt", answer(502, "text/html", "<html>secret stack</html>"), 502,
			`{"error":{"message":"provider openai answered HTTP 502 and nothing that its API defines","type":"server_error","param":null,"code":"provider_error"}}`, "http 502"},
		{"wrapped, where it is empty", "/v1/messages", "claude", answer(500, "", ""), 500,
			`{"type":"error","error":{"type":"overloaded_error","message":"provider anthropic answered HTTP 500 and nothing that its API defines"},"request_id":""}`, "http 500"},
		{"wrapped, where it is too large", "/v1/chat/completions", "gpt", answer(404, "application/json", `{"error":"`+strings.Repeat("x", 2<<20)+`"}`), 404,
			`{"error":{"message":"provider openai answered HTTP 404 and nothing that its API defines","type":"not_found","param":null,"code":"provider_error"}}`, "http 404"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, serve(t, tt.up))
			resp, body := post(t, h.url(t), tt.path, `{"model":"`+tt.model+`"}`)
			if resp.StatusCode != tt.status || body != tt.body {
				t.Errorf("reply = %d %s, want %d %s", resp.StatusCode, body, tt.status, tt.body)
			}
			records := h.records()
			if got := types(records); got != "opened closed:fault" || records[1].Fault != tt.fault {
				t.Errorf("records = %q, %q", got, records[1].Fault)
			}
		})
	}
}

func TestAReplyThatCannotBeJudgedIsNotPassedOn(t *testing.T) {
	for _, tt := range []struct {
		name   string
		up     http.HandlerFunc
		reason string
		code   string
	}{
		{"a page", answer(200, "text/html", "<html>hello</html>"), "not JSON", "unavailable"},
		{"nothing", answer(200, "application/json", ""), "not JSON", "unavailable"},
		{"a name twice", answer(200, "application/json", `{"a":1,"a":2}`), "not JSON", "unavailable"},
		{"two documents", answer(200, "application/x-ndjson", "{}\n{}"), "not JSON", "unavailable"},
		{"a document that is too large and says so", answer(200, "application/json", `{"a":"`+strings.Repeat("x", 2<<20)+`"}`), "more than callgate takes", "unavailable"},
		{"a document that is too large", endless("{\"a\":\"", "x", "application/json"), "more than callgate takes", "unavailable"},
		{"a document that is cut off", cut(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			answer(200, "application/json", `{"a":1`)(w, r)
			w.(http.Flusher).Flush()
		}), "broke off", "unavailable"},
		{"what is encoded", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			answer(200, "application/json", "\x1f\x8b")(w, r)
		}, "encoded its reply", "unavailable"},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/elsewhere", http.StatusTemporaryRedirect)
		}, "HTTP 307, which is not followed", "unavailable"},
		{"a hang-up", cut(func(http.ResponseWriter, *http.Request) {}), "cannot be reached", "unavailable"},
		{"silence", hang(nil), "did not begin to answer within 250ms", "timeout"},
		{"silence behind the head", hang(answer(200, "application/json", "")), "did not begin to answer within 250ms", "timeout"},
		{"silence in the middle", hang(answer(200, "application/json", `{"a":`)), "stopped in the middle of its reply for 250ms", "timeout"},
		{"a stream that is garbage from the start", events("data: <html>\n\n"), "not valid JSON", "unavailable"},
		{"a stream that is silent", hang(events()), "did not begin to answer within 250ms", "timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to := providers.Provider{BaseURL: serve(t, tt.up)}
			switch { // the others have all the time that a busy machine needs
			case strings.Contains(tt.reason, "did not begin"):
				to.FirstByteTimeout = 250 * time.Millisecond
			case tt.code == "timeout":
				to.IdleTimeout = 250 * time.Millisecond
			}
			h := newHouseWith(t, providers.Config{MaxReply: 1 << 20}, map[string]providers.Provider{"openai": to})
			resp, body := post(t, h.url(t), "/v1/chat/completions", chatBody)
			want := map[string]int{"unavailable": 503, "timeout": 504}[tt.code]
			if resp.StatusCode != want || !strings.Contains(body, tt.reason) || !strings.HasPrefix(body, `{"error":{`) {
				t.Errorf("reply = %d %s, want %d %s", resp.StatusCode, body, want, tt.reason)
			}
			if got := types(h.records()); got != "opened closed:"+tt.code {
				t.Errorf("records = %q", got)
			}
		})
	}
}

// endless says begin once and then piece for ever, or until nobody listens.
func endless(begin, piece, contentType string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", contentType)
		_, err := io.WriteString(w, begin)
		for more := strings.Repeat(piece, 64<<10/len(piece)); err == nil; {
			_, err = io.WriteString(w, more)
		}
	}
}

func TestAStreamThatFailsEndsInItsDialect(t *testing.T) {
	delta := "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n"
	created := "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":4,\"response\":{\"id\":\"resp_1\"}}\n\n"
	openAI := func(reason, code string) string {
		return `data: {"error":{"message":"provider openai ` + reason + `","type":"server_error","param":null,"code":"` + code + `"}}` + "\n\ndata: [DONE]\n\n"
	}
	for _, tt := range []struct {
		name, path, model string
		up                http.HandlerFunc
		want              string // CALL stands for the call's id
		outcome           string
	}{
		{"a chat that is cut off", "/v1/chat/completions", "gpt", cut(events(chunk("a"))), chunk("a") + openAI("broke off in the middle of its reply", "unavailable"), "unavailable"},
		{"a chat that is garbage", "/v1/chat/completions", "gpt", events(chunk("a"), "data: <html>\n\n"), chunk("a") + openAI("sent an event that is not valid JSON", "unavailable"), "unavailable"},
		{"a chat that stops", "/v1/chat/completions", "gpt", hang(events(chunk("a"))), chunk("a") + openAI("stopped in the middle of its reply for 250ms", "timeout"), "timeout"},
		{"a chat with an endless event", "/v1/chat/completions", "gpt", endless(chunk("a")+"data: ", "x", "text/event-stream"), chunk("a") + openAI("sent more than callgate takes", "unavailable"), "unavailable"},
		{"a message that is cut off", "/v1/messages", "claude", cut(events(delta)),
			delta + "event: error\ndata: " + `{"type":"error","error":{"type":"overloaded_error","message":"provider anthropic broke off in the middle of its reply"},"request_id":"CALL"}` + "\n\n", "unavailable"},
		{"a response that is cut off", "/v1/responses", "gpt", cut(events(created)),
			created + "event: error\ndata: " + `{"type":"error","code":"unavailable","message":"provider openai broke off in the middle of its reply","param":null,"sequence_number":5}` + "\n\n" +
				"event: response.failed\ndata: " + `{"type":"response.failed","sequence_number":6,"response":{"id":"resp_1","object":"response","status":"failed","error":{"code":"unavailable","message":"provider openai broke off in the middle of its reply"},"output":[]}}` + "\n\n", "unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := serve(t, tt.up)
			timeout := 250 * time.Millisecond
			h := newHouseWith(t, providers.Config{MaxEvent: 1 << 20, MaxStream: 4 << 20}, map[string]providers.Provider{
				"openai":    {BaseURL: up, IdleTimeout: timeout},
				"anthropic": {BaseURL: up, IdleTimeout: timeout},
			})
			resp, body := post(t, h.url(t), tt.path, `{"model":"`+tt.model+`"}`)
			if want := strings.ReplaceAll(tt.want, "CALL", resp.Header.Get("Callgate-Call")); resp.StatusCode != 200 || body != want {
				t.Errorf("reply = %d %s, want %s", resp.StatusCode, body, want)
			}
			if got := types(h.records()); got != "opened closed:"+tt.outcome {
				t.Errorf("records = %q", got)
			}
		})
	}
}

func TestAnEndlessStreamEnds(t *testing.T) {
	h := newHouseWith(t, providers.Config{MaxStream: 1 << 20}, map[string]providers.Provider{"openai": {BaseURL: serve(t, endless("", chunk("a"), "text/event-stream"))}})
	_, body := post(t, h.url(t), "/v1/chat/completions", chatBody)
	if len(body) > 2<<20 || !strings.HasSuffix(body, done) || !strings.Contains(body, "sent more than callgate takes") {
		t.Errorf("reply of %d bytes ends in %q", len(body), body[max(0, len(body)-200):])
	}
}

func TestAStreamWithoutItsLastEventIsClosedAllTheSame(t *testing.T) {
	h := newHouse(t, serve(t, events(chunk("a"))))
	if _, body := post(t, h.url(t), "/v1/chat/completions", chatBody); body != chunk("a") {
		t.Errorf("reply = %q", body)
	}
	if got := types(h.records()); got != "opened closed:ok" {
		t.Errorf("records = %q", got)
	}
}

func TestAHangUpOfTheClientReachesTheProvider(t *testing.T) {
	for _, tt := range []struct {
		name string
		up   http.HandlerFunc // begins to answer
		read bool             // the client hangs up in the middle of the reply
	}{
		{"before the reply", nil, false},
		{"in the middle of a stream", events(chunk("a")), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			begun, gone := make(chan struct{}), make(chan struct{})
			up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if tt.up != nil {
					tt.up(w, r)
				}
				close(begun)
				<-r.Context().Done()
				close(gone)
			}))
			h := newHouse(t, up)
			ctx, hangUp := context.WithCancel(context.Background())
			defer hangUp()
			req, err := http.NewRequestWithContext(ctx, "POST", h.url(t)+"/v1/chat/completions", strings.NewReader(chatBody))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			ended := make(chan error)
			go func() {
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				ended <- err
			}()
			<-begun
			hangUp()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("client ended with %v", err)
			}
			<-gone
			if got := types(h.records()); got != "opened closed:canceled" {
				t.Errorf("records = %q", got)
			}
		})
	}
}

func TestAGuardEditsWhatPasses(t *testing.T) {
	const word = "hunter2"
	text := "the password is " + word + ", do not tell"
	var asked string
	for at := range text[1:] {
		h := newHouse(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			asked = string(b)
			events(chunk(text[:at+1])+chunk(text[at+1:]), done)(w, r)
		})), mask{word})
		_, body := post(t, h.url(t), "/v1/chat/completions", `{"model":"openai/gpt","messages":[{"content":"`+word+`"}]}`)
		if asked != `{"model":"gpt","messages":[{"content":"[masked]"}]}` {
			t.Fatalf("upstream got %s", asked)
		}
		if got := contents(t, body); got != "the password is [masked], do not tell" || !strings.HasSuffix(body, done) {
			t.Fatalf("cut at %d: reply = %s", at, body)
		}
	}
	h := newHouse(t, serve(t, answer(200, "application/json", `{"choices":[{"message":{"content":"`+text+`"},"logprobs":{"content":[{"token":"hunter2"}]}}]}`)), mask{word})
	if resp, body := post(t, h.url(t), "/v1/chat/completions", chatBody); body != `{"choices":[{"message":{"content":"the password is [masked], do not tell"},"logprobs":null}]}` || resp.ContentLength != int64(len(body)) {
		t.Errorf("plain reply = %s", body)
	}
}

func TestAGuardThatChangesTheModelIsRefused(t *testing.T) {
	h := newHouse(t, serve(t, answer(200, "application/json", `{}`)), mask{"gpt"})
	if resp, body := post(t, h.url(t), "/v1/chat/completions", chatBody); resp.StatusCode != 403 || !strings.Contains(body, "changed the name of the model") {
		t.Errorf("reply = %s %s", resp.Status, body)
	}
}

// contents is the text of a streamed chat.
func contents(t *testing.T, body string) string {
	t.Helper()
	var text strings.Builder
	lines := bufio.NewScanner(strings.NewReader(body))
	for lines.Scan() {
		if _, rest, ok := strings.Cut(lines.Text(), `"content":"`); ok {
			piece, _, _ := strings.Cut(rest, `"`)
			text.WriteString(piece)
		}
	}
	return text.String()
}

func TestAnErrorThatCallsItselfASuccessIsAFault(t *testing.T) {
	h := newHouse(t, serve(t, answer(200, "application/json", `{"error":{"message":"m","code":502,"type":"upstream_error"}}`)))
	post(t, h.url(t), "/v1/chat/completions", chatBody)
	if r := h.records()[1]; r.Outcome != "fault" || r.Fault != "error event upstream_error" {
		t.Errorf("record = %+v", r)
	}
}

// A gate that stops cuts off calls whose clients are still there to hear of it.
func TestAClientHearsThatItsCallWasCutShort(t *testing.T) {
	const hears = `{"error":{"message":"the call was cut short: try again","type":"server_error","param":null,"code":"unavailable"}}`
	for _, tt := range []struct {
		name   string
		up     http.HandlerFunc // what the provider answers before it falls silent
		status int
		body   string
	}{
		{"before its reply", nil, 503, hears},
		{"in the middle of its reply", events(chunk("a")), 200, chunk("a") + "data: " + hears + "\n\n" + done},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, stop := context.WithCancel(context.Background())
			defer stop()
			h := newHouse(t, serve(t, hang(func(w http.ResponseWriter, r *http.Request) {
				if tt.up != nil {
					tt.up(w, r)
					return
				}
				stop()
				<-r.Context().Done()
			})))
			door := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h.door.ServeHTTP(&stopping{w, stop}, r.WithContext(ctx))
			}))
			if resp, body := post(t, door, "/v1/chat/completions", chatBody); resp.StatusCode != tt.status || body != tt.body {
				t.Errorf("reply = %d %s, want %d %s", resp.StatusCode, body, tt.status, tt.body)
			}
		})
	}
}

// stopping stops the gate once some of a reply went down.
type stopping struct {
	http.ResponseWriter
	stop func()
}

func (w *stopping) Write(p []byte) (int, error) {
	defer w.stop()
	return w.ResponseWriter.Write(p)
}

func (w *stopping) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestWithoutARecordNothingGoesDown(t *testing.T) {
	for _, tt := range []struct {
		name string
		up   http.HandlerFunc
	}{
		{"a plain reply", answer(200, "application/json", `{"secret":1}`)},
		{"a stream", events(chunk("secret"), done)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, serve(t, tt.up))
			h.log.Fail(errors.New("disk full"))
			resp, body := post(t, h.url(t), "/v1/chat/completions", chatBody)
			if resp.StatusCode != 503 || !strings.Contains(body, "could not be recorded") || strings.Contains(body, "secret") || resp.Header.Get("Retry-After") != "1" {
				t.Errorf("reply = %d %s", resp.StatusCode, body)
			}
		})
	}
	t.Run("the end of a stream", func(t *testing.T) {
		var log *audit.Memory
		h := newHouse(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			events(chunk("a"))(w, r)
			log.Fail(errors.New("disk full"))
			_, _ = io.WriteString(w, done)
		})))
		log = &h.log
		if _, body := post(t, h.url(t), "/v1/chat/completions", chatBody); !strings.Contains(body, `"error"`) || !strings.Contains(body, "could not be recorded") {
			t.Errorf("reply = %s", body)
		}
	})
}

func TestAConnectionIsUsedAgain(t *testing.T) {
	for _, tt := range []struct {
		name string
		up   http.HandlerFunc
	}{
		{"after a plain reply", answer(200, "application/json", `{}`)},
		{"after a stream", events(chunk("a"), done)},
		{"after an error", answer(500, "text/html", "<html>")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var connections atomic.Int32
			s := httptest.NewUnstartedServer(tt.up)
			s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					connections.Add(1)
				}
			}
			s.Start()
			defer s.Close()
			h := newHouse(t, s.URL)
			url := h.url(t)
			for range 5 {
				post(t, url, "/v1/chat/completions", chatBody)
				h.busy.Wait()
			}
			if n := connections.Load(); n != 1 {
				t.Errorf("%d connections for 5 calls, one after the other", n)
			}
		})
	}
}

func TestNoCallIsCutUnderLoad(t *testing.T) {
	calls := 2000
	if testing.Short() {
		calls = 200
	}
	long := strings.Repeat("x", 20<<10)
	stream := strings.Repeat(chunk("a"), 20) + done
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if strings.Contains(string(b), `"stream":true`) {
			w.Header().Set("Content-Type", "text/event-stream")
			for event := range strings.SplitAfterSeq(stream, "\n\n") {
				_, _ = io.WriteString(w, event)
				w.(http.Flusher).Flush()
			}
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"size":%d,"text":%q}`, len(b), long)
	}))
	h := newHouse(t, up)
	url := h.url(t)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	var workers sync.WaitGroup
	var next atomic.Int64
	for range 64 {
		workers.Go(func() {
			for n := next.Add(1); n <= int64(calls); n = next.Add(1) {
				body, want := `{"model":"gpt","stream":true}`, stream
				if n%2 == 0 {
					body = `{"model":"gpt","x":"` + long[:n*10%int64(len(long))] + `"}`
					want = fmt.Sprintf(`{"size":%d,"text":%q}`, len(body), long)
				}
				req, err := http.NewRequest("POST", url+"/v1/chat/completions", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Authorization", "Bearer "+token)
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(got) != want {
					t.Errorf("call %d: %d bytes, %v, want %d", n, len(got), err, len(want))
				}
			}
		})
	}
	workers.Wait()
	if got := len(h.records()); got != 2*calls {
		t.Errorf("%d records of %d calls", got, calls)
	}
}
