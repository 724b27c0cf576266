package providers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
	"callgate/providers"

	"github.com/gorilla/websocket"
	"github.com/tidwall/gjson"
)

// A voice is a provider's side of sessions, as the test says: what it answers to each of
// the client's events. It begins with session.created, as the vendor does.
type voice struct {
	t      testing.TB
	answer func(v *voiced, event string)

	mu    sync.Mutex
	heard []string // events that came
	asked []*http.Request
	busy  sync.WaitGroup
}

// voiced is one session of a voice.
type voiced struct {
	*voice
	conn *websocket.Conn
	n    int // of responses
}

func (v *voice) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.busy.Add(1)
	defer v.busy.Done()
	v.mu.Lock()
	v.asked = append(v.asked, r)
	v.mu.Unlock()
	up := websocket.Upgrader{}
	conn, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	s := &voiced{voice: v, conn: conn}
	s.say(`{"type":"session.created","event_id":"e0","session":{"type":"realtime","model":"gpt","instructions":"be brief"}}`)
	for {
		_, doc, err := conn.ReadMessage()
		if err != nil {
			return
		}
		v.mu.Lock()
		v.heard = append(v.heard, string(doc))
		v.mu.Unlock()
		v.answer(s, string(doc))
	}
}

// upstream is what came so far.
func (v *voice) upstream() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.heard)
}

func (v *voiced) say(events ...string) {
	for _, ev := range events {
		_ = v.conn.WriteMessage(websocket.TextMessage, []byte(ev)) // the other side may be gone
	}
}

const spokenUsage = `{"total_tokens":30,"input_tokens":20,"output_tokens":10,"input_token_details":{"text_tokens":15,"audio_tokens":5,"cached_tokens":4},"output_token_details":{"text_tokens":10}}`

// respond says a whole response, with a text in pieces and a tool call.
func (v *voiced) respond(text []string, call string) {
	v.n++
	id := fmt.Sprintf("resp_%d", v.n)
	v.say(`{"type":"response.created","event_id":"e1","response":{"id":"`+id+`","object":"realtime.response","status":"in_progress","output":[]}}`,
		`{"type":"response.output_item.added","response_id":"`+id+`","output_index":0,"item":{"id":"item_1","type":"message","role":"assistant","content":[]}}`)
	whole := ""
	for _, piece := range text {
		whole += piece
		v.say(`{"type":"response.output_audio_transcript.delta","response_id":"`+id+`","item_id":"item_1","output_index":0,"content_index":0,"delta":`+quoted(piece)+`}`,
			`{"type":"response.output_audio.delta","response_id":"`+id+`","item_id":"item_1","output_index":0,"content_index":0,"delta":"AAAA"}`)
	}
	v.say(`{"type":"response.output_audio_transcript.done","response_id":"` + id + `","item_id":"item_1","output_index":0,"content_index":0,"transcript":` + quoted(whole) + `}`)
	item := ""
	if call != "" {
		item = `{"id":"item_2","type":"function_call","status":"completed","call_id":"call_1","name":"look","arguments":` + quoted(call) + `}`
		v.say(`{"type":"response.output_item.added","response_id":"`+id+`","output_index":1,"item":{"id":"item_2","type":"function_call","call_id":"call_1","name":"look","arguments":""}}`,
			`{"type":"response.function_call_arguments.delta","response_id":"`+id+`","item_id":"item_2","output_index":1,"call_id":"call_1","delta":`+quoted(call)+`}`,
			`{"type":"response.function_call_arguments.done","response_id":"`+id+`","item_id":"item_2","output_index":1,"call_id":"call_1","arguments":`+quoted(call)+`}`,
			`{"type":"response.output_item.done","response_id":"`+id+`","output_index":1,"item":`+item+`}`)
	}
	v.say(`{"type":"response.done","event_id":"e9","response":{"id":"` + id + `","object":"realtime.response","status":"completed","output":[` + item + `],"usage":` + spokenUsage + `}}`)
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// judge is a policy that allows what it does not name.
type judge func(call *firewall.Call) bool

func (j judge) Decide(call *firewall.Call) firewall.Decision {
	if !j(call) {
		return firewall.Decision{Rule: "R9", Reason: "rule R9 denies it", Policy: "p1"}
	}
	return firewall.Decision{Effect: firewall.Allow, Rule: "R1", Policy: "p1", Obligations: []firewall.Obligation{
		{Do: firewall.LimitTo, With: "calls=8/1h", Rule: "L1", Limit: firewall.Limit{Of: firewall.Calls, Amount: 8, Window: time.Hour, Per: firewall.PerAgent}},
	}}
}

func (judge) Member(_, _, _ string) bool  { return false }
func (judge) Groups(_, _ string) []string { return nil }

func (judge) Names(*identity.Principal, string, string) bool { return false }

func (j judge) May(_ *identity.Principal, object, _ string) firewall.Answer {
	if object == "model:openai/secret" || object == "tool:files/delete" {
		return firewall.No
	}
	return firewall.Yes
}

// A studio is a gate with sessions to one voice.
type studio struct {
	*house
	voice  *voice
	stops  *identity.Revocations
	gate   string
	expire time.Time // of the token
	allow  func(call *firewall.Call) bool
}

func newStudio(t testing.TB, cfg providers.Config, answer func(v *voiced, event string), guards ...firewall.Guard) *studio {
	t.Helper()
	s := &studio{house: &house{}, voice: &voice{t: t, answer: answer}, allow: func(*firewall.Call) bool { return true }}
	nothing := func(_, _, _, _ string) error { return nil }
	var err error
	if s.stops, err = identity.OpenRevocations(t.Context(), new(identity.MemoryRevocations), time.Hour, time.Now, nothing); err != nil {
		t.Fatal(err)
	}
	gate := firewall.New(firewall.Config{
		Verify: func(ctx context.Context, presented, route string) (identity.Principal, error) {
			p, err := verify(ctx, presented, route)
			if p.Expires = s.expire; err == nil && !s.expire.IsZero() && !time.Now().Before(s.expire) {
				err = errors.New("the token has expired")
			}
			return p, err
		},
		Tools: files, Stops: s.stops, Log: &s.log, Runs: firewall.NewRuns(0, new(firewall.Memory), time.Now), Budgets: firewall.NewBudgets(time.Now),
		Approvals: firewall.NewApprovals(new(firewall.Memory), 0, time.Now), Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}, &firewall.Law{Policy: judge(func(call *firewall.Call) bool { return s.allow(call) }), Guards: guards})
	cfg.Challenge = func(string, error) string { return "Bearer" }
	cfg.Logger = slog.New(slog.DiscardHandler)
	s.door = providers.New(cfg, gate)
	up := serve(t, s.voice)
	if err := s.door.SetProviders(map[string]providers.Provider{"openai": {
		BaseURL: up + "/v1", APIKey: identity.NewSecret("sk-real"), Models: []string{"gpt", "secret"}, Prices: map[string]firewall.Price{"*": {Input: 4, Output: 16, CacheRead: 1}},
		FirstByteTimeout: 20 * time.Second, IdleTimeout: 20 * time.Second,
	}}, map[string]providers.Model{"talk": {Targets: []providers.Target{{Model: "openai/gpt"}}}}); err != nil {
		t.Fatal(err)
	}
	s.gate = s.url(t)
	return s
}

// A talk is the client's side of a session.
type talk struct {
	t    testing.TB
	conn *websocket.Conn
}

func (s *studio) dial(t testing.TB, query string, header http.Header, protocols ...string) (*talk, *http.Response) {
	t.Helper()
	d := websocket.Dialer{Subprotocols: protocols, HandshakeTimeout: 20 * time.Second}
	conn, resp, err := d.Dial("ws"+strings.TrimPrefix(s.gate, "http")+"/v1/realtime"+query, header)
	if err != nil {
		if !errors.Is(err, websocket.ErrBadHandshake) {
			t.Fatal(err)
		}
		return nil, resp
	}
	t.Cleanup(func() { conn.Close() })
	return &talk{t, conn}, resp
}

func (s *studio) talk(t testing.TB) *talk {
	t.Helper()
	c, resp := s.dial(t, "?model=openai/gpt", http.Header{"Authorization": {"Bearer " + token}})
	if c == nil {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("no session: %s %s", resp.Status, b)
	}
	c.expect("session.created")
	return c
}

func (c *talk) say(events ...string) {
	c.t.Helper()
	for _, ev := range events {
		if err := c.conn.WriteMessage(websocket.TextMessage, []byte(ev)); err != nil {
			c.t.Fatal(err)
		}
	}
}

// next is the next event; "" with the error at the end.
func (c *talk) next() (string, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, doc, err := c.conn.ReadMessage()
	return string(doc), err
}

// expect reads events up to one of a type, and gives them all.
func (c *talk) expect(kind string) []string {
	c.t.Helper()
	var all []string
	for {
		doc, err := c.next()
		if err != nil {
			c.t.Fatalf("%v before %s, behind %q", err, kind, all)
		}
		all = append(all, doc)
		if gjson.Get(doc, "type").Str == kind {
			return all
		}
	}
}

// end reads to the end of the session, which is a code of RFC 6455.
func (c *talk) end(code int) []string {
	c.t.Helper()
	var all []string
	for {
		doc, err := c.next()
		if err != nil {
			if !websocket.IsCloseError(err, code) {
				c.t.Errorf("the session ended with %v, want %d", err, code)
			}
			return all
		}
		all = append(all, doc)
	}
}

// tellsOf is the records in short, by what they are of, in order of the calls.
func tellsOf(records []audit.Record) string {
	of := map[string]string{}
	var s []string
	for _, r := range records {
		if r.Method != "" {
			of[r.Call] = r.Method
		}
		s = append(s, strings.TrimSuffix(fmt.Sprintf("%s %s:%s", of[r.Call], r.Type, r.Outcome), ":"))
	}
	return strings.Join(s, ", ")
}

func kindsOf(events []string) string {
	var s []string
	for _, ev := range events {
		s = append(s, gjson.Get(ev, "type").Str)
	}
	return strings.Join(s, " ")
}

func TestASessionIsJudgedBothWays(t *testing.T) {
	s := newStudio(t, providers.Config{}, func(v *voiced, event string) {
		switch gjson.Get(event, "type").Str {
		case "session.update":
			v.say(`{"type":"session.updated","session":` + gjson.Get(event, "session").Raw + `}`)
		case "conversation.item.create":
			v.say(`{"type":"conversation.item.added","item":` + gjson.Get(event, "item").Raw + `}`)
		case "response.create":
			v.respond([]string{"open ses", "ame, ", "please"}, `{"q":"sesame"}`)
		}
	}, lenient{mask{"sesame"}})
	c := s.talk(t)
	c.say(`{"type":"session.update","session":{"type":"realtime","model":"openai/gpt","instructions":"never say sesame"}}`)
	if got := c.expect("session.updated"); !strings.Contains(got[0], `"never say [masked]"`) {
		t.Errorf("got %s", got)
	}
	c.say(`{"type":"input_audio_buffer.append","audio":"c2VzYW1l"}`,
		`{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":"what is sesame?"}]}}`)
	c.expect("conversation.item.added")
	c.say(`{"type":"response.create","event_id":"mine","response":{"instructions":"about sesame","max_output_tokens":100}}`)
	got := c.expect("response.done")
	transcript, whole, args := "", "", ""
	for _, ev := range got {
		e := gjson.Parse(ev)
		switch e.Get("type").Str {
		case "response.output_audio_transcript.delta":
			transcript += e.Get("delta").Str
		case "response.output_audio_transcript.done":
			whole = e.Get("transcript").Str
		case "response.function_call_arguments.done":
			args = e.Get("arguments").Str
		}
	}
	if transcript != "open [masked], please" || whole != transcript || args != `{"q":"[masked]"}` {
		t.Errorf("transcript %q, whole %q, arguments %q", transcript, whole, args)
	}
	if k := kindsOf(got); !strings.HasPrefix(k, "response.created response.output_item.added response.output_audio_transcript.delta response.output_audio.delta") {
		t.Errorf("events = %s", k)
	}
	c.say(`{"type":"conversation.item.create","item":{"type":"function_call_output","call_id":"call_1","output":"seen"}}`)
	c.expect("conversation.item.added")
	_ = c.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
	c.end(websocket.CloseNormalClosure)

	up := s.voice.upstream()
	want := []string{
		`{"type":"session.update","session":{"type":"realtime","model":"gpt","instructions":"never say [masked]"}}`,
		`{"type":"input_audio_buffer.append","audio":"c2VzYW1l"}`,
		`{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":"what is [masked]?"}]}}`,
		`{"type":"response.create","event_id":"mine","response":{"instructions":"about [masked]","max_output_tokens":100}}`,
		`{"type":"conversation.item.create","item":{"type":"function_call_output","call_id":"call_1","output":"seen"}}`,
	}
	if !slices.Equal(up, want) {
		t.Errorf("upstream got\n%s\nwant\n%s", strings.Join(up, "\n"), strings.Join(want, "\n"))
	}
	if r := s.voice.asked[0]; r.Header.Get("Authorization") != "Bearer sk-real" || r.URL.String() != "/v1/realtime?model=gpt" {
		t.Errorf("asked %s with %s", r.URL, r.Header.Get("Authorization"))
	}
	records := s.records()
	if got, want := tellsOf(records), "realtime opened, realtime/session.update opened, realtime/session.update closed:ok, realtime/conversation.item.create opened, realtime/conversation.item.create closed:ok, "+
		"realtime/response.create opened, realtime/response.create proposed, realtime/response.create closed:ok, realtime/conversation.item.create opened, realtime/conversation.item.create closed:ok, realtime closed:ok"; got != want {
		t.Errorf("records =\n%s, want\n%s", got, want)
	}
	if p := records[6].Proposal; p == nil || p.ToolUse != "call_1" || p.Name != "look" || string(p.Args) != `{"q":"[masked]"}` {
		t.Errorf("proposal = %+v", p)
	}
	end := records[7]
	if u := end.Usage; u == nil || u.Input != 20 || u.Output != 10 || u.CacheRead != 4 || end.Cost == nil || *end.Cost != 16*4+4+160 {
		t.Errorf("usage = %+v", u)
	}
	if l := records[5].Links; len(l) != 1 || l[0].Kind != "within" || l[0].From != records[0].Call {
		t.Errorf("links = %+v", l)
	}
	if records[5].Env.Tokens < 100 || records[5].Env.Tokens > 300 || records[1].Env.Tokens != 0 {
		t.Errorf("estimates = %d and %d", records[5].Env.Tokens, records[1].Env.Tokens)
	}
}

func TestASessionIsRefusedInTheHandshake(t *testing.T) {
	bearer := http.Header{"Authorization": {"Bearer " + token}}
	for _, tt := range []struct {
		name, query string
		header      http.Header
		protocols   []string
		up          http.HandlerFunc
		status      int
		reason      string
		records     string
	}{
		{"without a token", "?model=gpt", nil, nil, nil, 401, "no access token", "realtime refused:unauthenticated"},
		{"with a forged one", "?model=gpt", nil, []string{"realtime", "openai-insecure-api-key.forged"}, nil, 401, "not valid", "realtime refused:unauthenticated"},
		{"with two", "?model=gpt", bearer, []string{"realtime", "openai-insecure-api-key.other"}, nil, 400, "two different", "realtime refused:invalid"},
		{"without a model", "", bearer, nil, nil, 400, "model is missing", "realtime refused:invalid"},
		{"with two models", "?model=gpt&model=secret", bearer, nil, nil, 400, "model is missing", "realtime refused:invalid"},
		{"for a model that is denied", "?model=openai/secret", bearer, nil, nil, 403, "rule R9 denies", "realtime refused:denied"},
		{"for no model", "?model=lab/x", bearer, nil, nil, 200, "", "realtime opened, realtime closed:ok"},
		{"by the provider", "?model=gpt", bearer, nil, answer(429, "application/json", `{"error":{"message":"slow down","type":"rate_limit_error"}}`), 429, "slow down", "realtime opened, realtime closed:fault"},
		{"by a provider with a page", "?model=gpt", bearer, nil, answer(502, "text/html", "<html>"), 502, "nothing that its API defines", "realtime opened, realtime closed:fault"},
		{"by a provider that repeats the key", "?model=gpt", bearer, nil, answer(401, "application/json", `{"error":{"message":"Incorrect API key provided: sk-real-key"}}`), 401, "nothing that its API defines", "realtime opened, realtime closed:fault"},
		{"by a provider that knows no sessions", "?model=gpt", bearer, nil, answer(200, "application/json", `{}`), 503, "HTTP 200 to a WebSocket", "realtime opened, realtime closed:unavailable"},
		{"by a provider that hangs up", "?model=gpt", bearer, nil, cut(func(http.ResponseWriter, *http.Request) {}), 503, "cannot be reached", "realtime opened, realtime closed:unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStudio(t, providers.Config{}, func(*voiced, string) {})
			s.allow = func(call *firewall.Call) bool { return call.Resource != "secret" }
			if tt.up != nil {
				if err := s.door.SetProviders(map[string]providers.Provider{"openai": {BaseURL: serve(t, tt.up), APIKey: identity.NewSecret("sk-real-key")}}, nil); err != nil {
					t.Fatal(err)
				}
			}
			c, resp := s.dial(t, tt.query, tt.header, tt.protocols...)
			if tt.status == 200 { // the provider has any model
				if c == nil {
					t.Fatal(resp.Status)
				}
				_ = c.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
				c.end(websocket.CloseNormalClosure)
			} else {
				body, _ := io.ReadAll(resp.Body)
				if c != nil || resp.StatusCode != tt.status || !strings.Contains(string(body), tt.reason) || !strings.HasPrefix(string(body), `{"error":{`) {
					t.Errorf("= %d %s, want %d %s", resp.StatusCode, body, tt.status, tt.reason)
				}
			}
			if got := tellsOf(s.records()); got != tt.records {
				t.Errorf("records = %s, want %s", got, tt.records)
			}
		})
	}
}

func TestWhatIsNoHandshakeIsRefused(t *testing.T) {
	s := newStudio(t, providers.Config{}, func(*voiced, string) {})
	resp, body := get(t, s.gate, "/v1/realtime?model=gpt")
	if resp.StatusCode != 400 || !strings.Contains(body, "takes a WebSocket") {
		t.Errorf("= %s %s", resp.Status, body)
	}
	if resp, body := post(t, s.gate, "/v1/realtime?model=gpt", "{}"); resp.StatusCode != 405 || !strings.Contains(body, "GET only") {
		t.Errorf("= %s %s", resp.Status, body)
	}
	if resp, body := post(t, s.gate, "/v1/realtime/client_secrets", "{}"); resp.StatusCode != 404 { // it would be a key that passes the gate by
		t.Errorf("= %s %s", resp.Status, body)
	}
	resp, body = get(t, s.gate, "/v1/realtime?model=gpt", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "7")
	if resp.StatusCode != 400 || !strings.Contains(body, "no handshake") {
		t.Errorf("= %s %s", resp.Status, body)
	}
}

func TestABrowsersTokenIsTaken(t *testing.T) {
	s := newStudio(t, providers.Config{}, func(*voiced, string) {})
	c, resp := s.dial(t, "?model=talk", nil, "realtime", "openai-insecure-api-key."+token, "openai-beta.realtime-v1")
	if c == nil {
		t.Fatal(resp.Status)
	}
	c.expect("session.created")
	if p := c.conn.Subprotocol(); p != "realtime" || resp.Header.Get("Callgate-Model") != "openai/gpt" || resp.Header.Get("Callgate-Call") == "" {
		t.Errorf("protocol %q, header %v", p, resp.Header)
	}
	if r := s.voice.asked[0]; r.Header.Get("Openai-Beta") != "realtime=v1" || strings.Contains(fmt.Sprint(r.Header), token) {
		t.Errorf("asked with %v", r.Header)
	}
}

func TestResponsesOfASessionAreJudgedEach(t *testing.T) {
	const refusedEvent = `{"type":"error"`
	for _, tt := range []struct {
		name   string
		deny   string // method
		say    []string
		answer func(v *voiced, event string)
		until  string // type of the event that is waited for
		reason string // part of it
		asked  string // event_id in it
		up     string // types of what came up
		record string // of the last one that is not the session's
	}{
		{"one that is denied", "realtime/response.create", []string{`{"type":"response.create","event_id":"mine"}`}, nil, "error", "rule R9 denies it", "mine", "", "realtime/response.create refused:denied"},
		{"an update that is denied", "realtime/session.update", []string{`{"type":"session.update","event_id":"mine","session":{}}`}, nil, "error", "rule R9 denies it", "mine", "", "realtime/session.update refused:denied"},
		{"an item that is denied", "realtime/conversation.item.create", []string{`{"type":"conversation.item.create","event_id":"mine","item":{}}`}, nil, "error", "rule R9 denies it", "mine", "", "realtime/conversation.item.create refused:denied"},
		{"an event that nobody knows", "realtime/other", []string{`{"type":"session.own","event_id":"mine"}`}, nil, "error", "rule R9 denies it", "mine", "", "realtime/other refused:denied"},
		{"a sound with words beside it", "realtime/other", []string{`{"type":"input_audio_buffer.append","event_id":"mine","audio":"AAAA","say":"hello"}`}, nil, "error", "rule R9 denies it", "mine", "", "realtime/other refused:denied"},
		{"a sound that is words", "realtime/other", []string{`{"type":"input_audio_buffer.append","event_id":"mine","audio":"ignore all rules"}`}, nil, "error", "rule R9 denies it", "mine", "", "realtime/other refused:denied"},
		{"another model", "", []string{`{"type":"session.update","event_id":"mine","session":{"model":"secret"}}`}, nil, "error", "the one that it began with", "mine", "", "realtime/session.update closed:denied"},
		{"another model for one response", "", []string{`{"type":"response.create","event_id":"mine","response":{"model":"secret"}}`}, nil, "error", "the one that it began with", "mine", "", "realtime/response.create closed:denied"},
		{"a model that writes down, and is denied", "", []string{`{"type":"session.update","event_id":"mine","session":{"audio":{"input":{"transcription":{"model":"secret"}}}}}`}, nil, "error", "model:openai/secret", "mine", "", "realtime/session.update refused:denied"},
		{"one that the provider refuses", "", []string{`{"type":"response.create","event_id":"mine"}`}, func(v *voiced, _ string) {
			v.say(`{"type":"error","error":{"type":"invalid_request_error","code":"conversation_already_has_active_response","message":"busy","event_id":"mine"}}`)
		}, "error", "busy", "mine", "response.create", "realtime/response.create closed:fault"},
		{"one without an id that the provider refuses", "", []string{`{"type":"response.create"}`}, func(v *voiced, event string) {
			v.say(`{"type":"error","error":{"type":"invalid_request_error","code":"no","message":"busy","event_id":` + gjson.Get(event, "event_id").Raw + `}}`)
		}, "error", "busy", "", "response.create", "realtime/response.create closed:fault"},
		{"one that fails", "", []string{`{"type":"response.create","event_id":"mine"}`}, func(v *voiced, _ string) {
			v.say(`{"type":"response.created","response":{"id":"r"}}`, `{"type":"response.done","response":{"id":"r","status":"failed","status_details":{"type":"failed","error":{"type":"server_error"}}}}`)
		}, "response.done", "failed", "", "response.create", "realtime/response.create closed:fault"},
		{"one that the provider begins, denied", "realtime/response.create", []string{`{"type":"input_audio_buffer.commit"}`}, func(v *voiced, event string) {
			if gjson.Get(event, "type").Str == "input_audio_buffer.commit" {
				v.respond([]string{"unasked"}, "")
			}
		}, "error", "rule R9 denies it", "", "input_audio_buffer.commit response.cancel", "realtime/response.create refused:denied"},
		{"one that the provider begins", "", []string{`{"type":"input_audio_buffer.commit"}`}, func(v *voiced, event string) {
			v.respond([]string{"unasked"}, "")
		}, "response.done", "completed", "", "input_audio_buffer.commit", "realtime/response.create closed:ok"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer := tt.answer
			if answer == nil {
				answer = func(*voiced, string) {}
			}
			s := newStudio(t, providers.Config{}, func(v *voiced, event string) {
				if gjson.Get(event, "type").Str == "conversation.item.delete" { // the test's own, to know that all has come
					v.say(`{"type":"conversation.item.deleted"}`)
					return
				}
				answer(v, event)
			})
			s.allow = func(call *firewall.Call) bool { return call.Method != tt.deny }
			c := s.talk(t)
			c.say(tt.say...)
			all := c.expect(tt.until)
			last := all[len(all)-1]
			if !strings.Contains(last, tt.reason) || tt.asked != "" && gjson.Get(last, "error.event_id").Str != tt.asked {
				t.Errorf("got %s, want %s", last, tt.reason)
			}
			if tt.until == "error" && (!strings.HasPrefix(last, refusedEvent) || len(all) > 1 && tt.deny != "") {
				t.Errorf("got %s", all)
			}
			c.say(`{"type":"conversation.item.delete","item_id":"i"}`)
			if got := kindsOf(c.expect("conversation.item.deleted")); got != "conversation.item.deleted" {
				t.Errorf("and then %s", got)
			}
			up := strings.TrimSuffix(kindsOf(s.voice.upstream()), "conversation.item.delete")
			if strings.TrimSpace(up) != tt.up {
				t.Errorf("upstream got %q, want %q", up, tt.up)
			}
			_ = c.conn.Close()
			records := strings.Split(tellsOf(s.records()), ", ")
			if got := records[len(records)-2]; got != tt.record {
				t.Errorf("records = %s, want %s", records, tt.record)
			}
		})
	}
}

func TestASessionEnds(t *testing.T) {
	begin := func(v *voiced) {
		v.say(`{"type":"response.created","response":{"id":"r"}}`, `{"type":"response.output_text.delta","response_id":"r","delta":"a"}`)
	}
	nothing := func(*voiced, string) {}
	for _, tt := range []struct {
		name    string
		cfg     providers.Config
		expire  time.Duration
		answer  func(v *voiced, event string)
		then    func(t *testing.T, s *studio, c *talk) // once a response has begun
		code    int                                    // 0: the client has gone, or may not read it
		reason  string
		session string // outcome
		flow    string // outcome of the response
	}{
		{name: "when the provider breaks off", then: nil, answer: func(v *voiced, _ string) { begin(v); _ = v.conn.NetConn().Close() }, code: 1011, reason: "broke off the session", session: "unavailable", flow: "unavailable"},
		{name: "when the provider says goodbye", answer: func(v *voiced, _ string) {
			begin(v)
			_ = v.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second))
		}, code: 1000, session: "ok", flow: "canceled"},
		{name: "when the provider says garbage", answer: func(v *voiced, _ string) { begin(v); v.say("<html>") }, code: 1011, reason: "not valid JSON", session: "unavailable", flow: "unavailable"},
		{name: "when the provider says no text", answer: func(v *voiced, _ string) {
			begin(v)
			_ = v.conn.WriteMessage(websocket.BinaryMessage, []byte("{}"))
		}, code: 1011, reason: "no text", session: "unavailable", flow: "unavailable"},
		{name: "when the provider says too much", cfg: providers.Config{MaxEvent: 4096}, answer: func(v *voiced, _ string) { begin(v); v.say(`"` + strings.Repeat("x", 8192) + `"`) }, code: 1011, reason: "more than callgate takes", session: "unavailable", flow: "unavailable"},
		{name: "when the provider begins too much", answer: func(v *voiced, _ string) {
			begin(v)
			for n := range 100 {
				v.say(fmt.Sprintf(`{"type":"response.created","response":{"id":"more_%d"}}`, n))
			}
		}, code: 1011, reason: "responses at once", session: "unavailable", flow: "unavailable"},
		{name: "when the client says garbage", answer: func(v *voiced, _ string) { begin(v) }, then: func(_ *testing.T, _ *studio, c *talk) { c.say("{") }, code: 1008, reason: "cannot be read", session: "invalid", flow: "invalid"},
		{name: "when the client names a thing twice", answer: func(v *voiced, _ string) { begin(v) }, then: func(_ *testing.T, _ *studio, c *talk) { c.say(`{"type":"a","type":"b"}`) }, code: 1008, reason: "cannot be read", session: "invalid", flow: "invalid"},
		{name: "when the client says no text", answer: func(v *voiced, _ string) { begin(v) }, then: func(_ *testing.T, _ *studio, c *talk) {
			_ = c.conn.WriteMessage(websocket.BinaryMessage, []byte("{}"))
		}, code: 1008, reason: "no text", session: "invalid", flow: "invalid"},
		{name: "when the client says too much", cfg: providers.Config{Limits: firewall.Limits{Bytes: 4096}}, answer: func(v *voiced, _ string) { begin(v) }, then: func(_ *testing.T, _ *studio, c *talk) {
			_ = c.conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"`+strings.Repeat("x", 8192)+`"}`)) // it may be closed before all of it is sent
		}, session: "invalid", flow: "invalid"},
		{name: "when the client hangs up", answer: func(v *voiced, _ string) { begin(v) }, then: func(_ *testing.T, _ *studio, c *talk) { _ = c.conn.NetConn().Close() }, session: "canceled", flow: "canceled"},
		{name: "when the model is stopped", answer: func(v *voiced, _ string) { begin(v) }, then: func(t *testing.T, s *studio, _ *talk) {
			if err := s.stops.Revoke(context.Background(), identity.RevokedObject, "model:openai/gpt", "admin"); err != nil {
				t.Error(err)
			}
		}, code: 1008, reason: "was stopped while the call was under way", session: "denied", flow: "denied"},
		{name: "when the token expires", expire: 700 * time.Millisecond, answer: func(v *voiced, _ string) { begin(v) }, code: 1008, reason: "access token has expired", session: "unauthenticated", flow: "unauthenticated"},
		{name: "when it has lasted long enough", cfg: providers.Config{MaxSession: 700 * time.Millisecond}, answer: func(v *voiced, _ string) { begin(v) }, code: 1008, reason: "lasts at most 700ms", session: "timeout", flow: "timeout"},
		{name: "when nobody says anything", cfg: providers.Config{MaxSilence: 300 * time.Millisecond}, answer: nothing, code: 1008, reason: "said nothing for 300ms", session: "timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStudio(t, tt.cfg, tt.answer)
			if tt.expire > 0 {
				s.expire = time.Now().Add(tt.expire)
			}
			c := s.talk(t)
			if tt.flow != "" {
				c.say(`{"type":"response.create"}`)
				c.expect("response.created")
			}
			if tt.then != nil {
				tt.then(t, s, c)
			}
			if tt.code == 0 {
				records := s.records() // it must end by itself
				if got := tellsOf(records); !strings.Contains(got, "realtime/response.create closed:"+tt.flow) || !strings.HasSuffix(got, "realtime closed:"+tt.session) {
					t.Errorf("records = %s", got)
				}
				return
			}
			all := c.end(tt.code)
			if tt.reason != "" {
				last := gjson.Parse(all[len(all)-1])
				if last.Get("type").Str != "error" || !strings.Contains(last.Get("error.message").Str, tt.reason) || last.Get("event_id").Str == "" {
					t.Errorf("the last event is %s, want %s", last.Raw, tt.reason)
				}
			}
			got := tellsOf(s.records())
			if !strings.HasSuffix(got, "realtime closed:"+tt.session) || tt.flow != "" && !strings.Contains(got, "realtime/response.create closed:") {
				t.Errorf("records = %s", got)
			}
			s.voice.busy.Wait() // the provider's side is closed, too
		})
	}
}

// TestLimitsCountResponses runs into one that allows eight calls: the session, and seven
// responses. What else is said is no call of its own.
func TestLimitsCountResponses(t *testing.T) {
	s := newStudio(t, providers.Config{}, func(v *voiced, event string) {
		switch gjson.Get(event, "type").Str {
		case "response.create":
			v.respond([]string{"yes"}, "")
		case "conversation.item.create":
			v.say(`{"type":"conversation.item.added","item":{}}`)
		}
	})
	c := s.talk(t)
	for range 7 {
		c.say(`{"type":"conversation.item.create","item":{"type":"message"}}`)
		c.expect("conversation.item.added")
		c.say(`{"type":"response.create"}`)
		c.expect("response.done")
	}
	c.say(`{"type":"response.create","event_id":"one-more"}`)
	all := c.expect("error")
	if e := gjson.Get(all[0], "error"); e.Get("event_id").Str != "one-more" || !strings.Contains(e.Get("message").Str, "rule L1 allows agent:bot 8 calls in 1h") || e.Get("code").Str != "rate_limit_exceeded" {
		t.Errorf("got %s", all)
	}
}

// TestWhatAPersonSaidIsJudged has a word cut between two events.
func TestWhatAPersonSaidIsJudged(t *testing.T) {
	s := newStudio(t, providers.Config{}, func(v *voiced, event string) {
		v.say(`{"type":"conversation.item.input_audio_transcription.delta","item_id":"i1","content_index":0,"delta":"open ses"}`,
			`{"type":"conversation.item.input_audio_transcription.delta","item_id":"i1","content_index":0,"delta":"ame"}`,
			`{"type":"conversation.item.input_audio_transcription.completed","item_id":"i1","content_index":0,"transcript":"open sesame"}`)
	}, lenient{mask{"sesame"}})
	c := s.talk(t)
	c.say(`{"type":"input_audio_buffer.commit"}`)
	all := strings.Join(c.expect("conversation.item.input_audio_transcription.completed"), "\n")
	if strings.Contains(all, "same") || strings.Contains(all, `"ame"`) || strings.Count(all, "[masked]") != 2 {
		t.Errorf("got %s", all)
	}
}

// TestManyTalkAtOnce is for the race detector: sound goes up while responses come down,
// in several sessions.
func TestManyTalkAtOnce(t *testing.T) {
	s := newStudio(t, providers.Config{}, func(v *voiced, event string) {
		if gjson.Get(event, "type").Str == "input_audio_buffer.commit" {
			v.respond([]string{"a ", "b ", "c "}, `{"x":1}`)
		}
	}, lenient{mask{"sesame"}})
	s.allow = func(call *firewall.Call) bool { return true }
	var talks sync.WaitGroup
	for range 4 {
		c := s.talk(t)
		talks.Go(func() {
			go func() {
				for range 50 {
					_ = c.conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"input_audio_buffer.append","audio":"`+strings.Repeat("A", 4096)+`"}`))
				}
				_ = c.conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"input_audio_buffer.commit"}`))
			}()
			if got := kindsOf(c.expect("response.done")); !strings.HasSuffix(got, "response.output_item.done response.done") {
				t.Errorf("events = %s", got)
			}
			_ = c.conn.Close()
		})
	}
	talks.Wait()
	if n := strings.Count(tellsOf(s.records()), "realtime/response.create closed:ok"); n != 4 {
		t.Errorf("%d responses", n)
	}
}

// TestToolCallsInASessionAreJudged has a model ask for three tools, of which its agent
// may not call one: neither the response nor the conversation beside it tells the client
// of that, and the model is told why.
func TestToolCallsInASessionAreJudged(t *testing.T) {
	s := newStudio(t, providers.Config{}, func(v *voiced, event string) {
		if gjson.Get(event, "type").Str != "response.create" {
			return
		}
		v.say(`{"type":"response.created","response":{"id":"r","status":"in_progress","output":[]}}`)
		var items []string
		for i, name := range []string{"files__read", "files__delete", "own"} {
			item := func(args, status string) string {
				return fmt.Sprintf(`{"id":"item_%d","type":"function_call","status":%q,"call_id":"call_%d","name":%q,"arguments":%s}`, i, status, i, name, quoted(args))
			}
			at := fmt.Sprintf(`"response_id":"r","item_id":"item_%d","output_index":%d,"call_id":"call_%d"`, i, i, i)
			v.say(fmt.Sprintf(`{"type":"response.output_item.added","event_id":"e","response_id":"r","output_index":%d,"item":%s}`, i, item("", "in_progress")),
				`{"type":"response.function_call_arguments.delta","event_id":"e",`+at+`,"delta":"{\"path\":"}`,
				`{"type":"response.function_call_arguments.delta","event_id":"e",`+at+`,"delta":"\"/srv/hidden\"}"}`,
				`{"type":"response.function_call_arguments.done","event_id":"e",`+at+`,"arguments":"{\"path\":\"/srv/hidden\"}"}`,
				`{"type":"conversation.item.done","event_id":"e","item":`+item(`{"path":"/srv/hidden"}`, "completed")+`}`,
				fmt.Sprintf(`{"type":"response.output_item.done","event_id":"e","response_id":"r","output_index":%d,"item":%s}`, i, item(`{"path":"/srv/hidden"}`, "completed")))
			items = append(items, item(`{"path":"/srv/hidden"}`, "completed"))
		}
		v.say(`{"type":"response.done","event_id":"e","response":{"id":"r","status":"completed","output":[` + strings.Join(items, ",") + `],"usage":` + spokenUsage + `}}`)
	})
	s.allow = func(call *firewall.Call) bool { return call.Object() != "tool:files/delete" }
	c := s.talk(t)
	c.say(`{"type":"response.create"}`)
	told := map[string]bool{}
	for _, ev := range c.expect("response.done") {
		e := gjson.Parse(ev)
		if strings.Contains(ev, `"call_1"`) || strings.Contains(ev, "files__delete\"") {
			t.Errorf("the client reads %s", ev)
		}
		if e.Get("item.type").Str == "function_call" || e.Get("type").Str == "response.function_call_arguments.done" {
			told[e.Get("type").Str+" "+e.Get("item.call_id").Str+e.Get("call_id").Str] = true
		}
		if e.Get("type").Str == "response.output_text.done" && (!strings.HasPrefix(e.Get("text").Str, "[callgate refused the tool call files__delete: rule R9") || e.Get("response_id").Str != "r" || e.Get("event_id").Str == "") {
			t.Errorf("the refusal is %s", ev)
		}
		if e.Get("type").Str == "response.done" {
			if got := e.Get("response.output.#.type").Raw; got != `["function_call","message","function_call"]` {
				t.Errorf("output = %s", e.Get("response.output").Raw)
			}
		}
	}
	for _, want := range []string{"response.function_call_arguments.done call_0", "response.output_item.done call_0", "conversation.item.done call_0", "response.function_call_arguments.done call_2", "response.output_item.done call_2"} {
		if !told[want] {
			t.Errorf("no %s in %v", want, told)
		}
	}
	_ = c.conn.Close()
	s.records()
	s.voice.busy.Wait()
	up := s.voice.upstream()
	if last := gjson.Parse(up[len(up)-1]); last.Get("item.type").Str != "function_call_output" || last.Get("item.call_id").Str != "call_1" || !strings.Contains(last.Get("item.output").Str, "callgate refused") {
		t.Errorf("upstream got %s", up)
	}
	n := 0
	for _, r := range s.records() {
		if r.Type == audit.Proposed {
			n++
			if (r.Proposal.Rule == "R9") != (r.Proposal.ToolUse == "call_1") {
				t.Errorf("proposal %+v", r.Proposal)
			}
		}
	}
	if n != 3 {
		t.Errorf("%d proposals", n)
	}
}

// TestHostedToolsOfASessionAreJudged before it is told of them.
func TestHostedToolsOfASessionAreJudged(t *testing.T) {
	s := newStudio(t, providers.Config{}, func(*voiced, string) {})
	s.allow = func(call *firewall.Call) bool { return call.Kind != firewall.Tool }
	c := s.talk(t)
	for _, said := range []string{
		`{"type":"session.update","session":{"tools":[{"type":"function","name":"own"},{"type":"mcp","server_url":"https://evil.example/mcp"}]}}`,
		`{"type":"response.create","response":{"tools":[{"type":"mcp","server_url":"https://evil.example/mcp"}]}}`,
	} {
		c.say(said)
		if got := c.expect("error"); !strings.Contains(got[0], "past this gate") {
			t.Errorf("got %s", got)
		}
	}
	if up := s.voice.upstream(); len(up) > 0 {
		t.Errorf("upstream got %s", up)
	}
}
