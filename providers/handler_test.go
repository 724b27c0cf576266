package providers_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
	"callgate/providers"

	"github.com/google/go-cmp/cmp"
)

const chatBody = `{"model":"gpt","messages":[{"role":"user","content":"hi"}]}`

func TestBytesPassUntouched(t *testing.T) {
	const (
		request = `{ "model":"gpt", "big":12345678901234567890, "unknown":{"x":[1.0,1e2]},"messages":[] }`
		reply   = `{ "id":"x","choices":[],"new_field":12345678901234567890 }` + "\n"
	)
	var got, query string
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, query = string(b), r.URL.RawQuery
		answer(200, "application/json", reply)(w, r)
	}))
	h := newHouse(t, up)
	resp, body := post(t, h.url(t), "/v1/chat/completions?beta=true&x=%20", request)
	if resp.StatusCode != 200 || body != reply {
		t.Errorf("reply = %d %q, want %q", resp.StatusCode, body, reply)
	}
	if got != request || query != "beta=true&x=%20" {
		t.Errorf("upstream got %q ? %q, want %q", got, query, request)
	}
	records := h.records()
	if got := types(records); got != "opened closed:ok" {
		t.Errorf("records = %q", got)
	}
	if id := resp.Header.Get("Callgate-Call"); id == "" || id != records[0].Call {
		t.Errorf("Callgate-Call = %q, want %q", id, records[0].Call)
	}
}

func TestEachEndpointGoesToItsDialect(t *testing.T) {
	for _, tt := range []struct{ path, body, to, method, object string }{
		{"/v1/chat/completions", `{"model":"gpt"}`, "/v1/chat/completions", "chat", "openai gpt"},
		{"/v1/responses", `{"model":"gpt"}`, "/v1/responses", "responses", "openai gpt"},
		{"/v1/embeddings", `{"model":"small"}`, "/v1/embeddings", "embeddings", "openai small"},
		{"/v1/messages", `{"model":"claude"}`, "/v1/messages", "messages", "anthropic claude"},
		{"/v1/messages/count_tokens", `{"model":"claude"}`, "/v1/messages/count_tokens", "count_tokens", "anthropic claude"},
	} {
		t.Run(tt.method, func(t *testing.T) {
			var path string
			h := newHouse(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				path = r.URL.Path
				answer(200, "application/json", `{}`)(w, r)
			})))
			post(t, h.url(t), tt.path, tt.body)
			r := h.records()[0]
			if path != tt.to || r.Method != tt.method || r.Target+" "+r.Resource != tt.object || r.Kind != "model" {
				t.Errorf("upstream path %s, record %s %s %s %s", path, r.Kind, r.Method, r.Target, r.Resource)
			}
		})
	}
}

func TestAModelIsFoundByItsName(t *testing.T) {
	var got string
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = string(b)
		answer(200, "application/json", `{}`)(w, r)
	}))
	one := map[string]providers.Provider{
		"openai":    {BaseURL: up + "/v1", Models: []string{"gpt"}},
		"anthropic": {BaseURL: up + "/v1"},
	}
	many := map[string]providers.Provider{
		"openai":    {BaseURL: up + "/v1", Models: []string{"gpt", "both", "secret"}},
		"lab":       {Kind: "openai", BaseURL: up, Models: []string{"qwen", "both", "shared"}},
		"anthropic": {BaseURL: up + "/v1", Models: []string{"claude", "shared"}},
	}
	for _, tt := range []struct {
		name      string
		providers map[string]providers.Provider
		path      string
		model     string
		want      string // provider and model, or status and a part of the reason
		sent      string // the body that goes up; "" for the one that came
	}{
		{"provider and model", many, "/v1/chat/completions", "lab/qwen", "lab qwen", `{ "model" : "qwen", "x":1}`},
		{"provider and a model that it does not list", many, "/v1/chat/completions", "lab/new", "lab new", `{ "model" : "new", "x":1}`},
		{"a model with a slash in its own name", many, "/v1/chat/completions", "lab/org/model", "lab org/model", `{ "model" : "org/model", "x":1}`},
		{"the provider that lists it", many, "/v1/chat/completions", "qwen", "lab qwen", ""},
		{"the provider of this dialect that lists it", many, "/v1/messages", "shared", "anthropic shared", ""},
		{"the only provider of the dialect", one, "/v1/chat/completions", "whatever", "openai whatever", ""},
		{"the only provider of the dialect, and a slash that names nobody", one, "/v1/chat/completions", "org/model", "openai org/model", ""},
		{"more than one provider lists it", many, "/v1/chat/completions", "both", "400 more than one provider has model both", ""},
		{"nobody can be meant", many, "/v1/chat/completions", "nope", "404 there is anthropic/claude, anthropic/shared, lab/qwen, lab/both, lab/shared, openai/gpt, openai/both", ""},
		{"a provider of another dialect", many, "/v1/embeddings", "anthropic/claude", "400 call its models at /v1/messages", ""},
		{"a model of another dialect", many, "/v1/messages/count_tokens", "qwen", "400 call its models at /v1/chat/completions", ""},
		{"no provider at all", nil, "/v1/chat/completions", "gpt", "404 write it as provider/model", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got = ""
			h := newHouseWith(t, providers.Config{}, tt.providers)
			sent := `{ "model" : "` + tt.model + `", "x":1}`
			resp, body := post(t, h.url(t), tt.path, sent)
			r := h.records()[0]
			if status, reason, ok := strings.Cut(tt.want, " "); ok && status[0] <= '9' {
				if !strings.HasPrefix(resp.Status, status) || !strings.Contains(body, reason) || got != "" || r.Type != audit.Refused {
					t.Errorf("= %s %s (upstream got %q), want %s", resp.Status, body, got, tt.want)
				}
				return
			}
			if tt.sent == "" {
				tt.sent = sent
			}
			if r.Target+" "+r.Resource != tt.want || got != tt.sent || resp.StatusCode != 200 {
				t.Errorf("= %s, %s %s, upstream got %s; want %s, %s", resp.Status, r.Target, r.Resource, got, tt.want, tt.sent)
			}
		})
	}
}

func TestWhatCannotBeACallIsRefusedOnRecord(t *testing.T) {
	deep := strings.Repeat("[", 200) + strings.Repeat("]", 200)
	for _, tt := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		reason                   string // part of it
		outcome                  string
	}{
		{"no token", "POST", "/v1/chat/completions", chatBody, []string{"Authorization", ""}, 401, "no access token", "unauthenticated"},
		{"a token that is not valid", "POST", "/v1/chat/completions", chatBody, []string{"Authorization", "Bearer forged"}, 401, "not valid", "unauthenticated"},
		{"a scheme that is not Bearer", "POST", "/v1/chat/completions", chatBody, []string{"Authorization", "Basic x"}, 401, "as Authorization: Bearer", "unauthenticated"},
		{"two tokens that differ", "POST", "/v1/chat/completions", chatBody, []string{"X-Api-Key", "other"}, 400, "two different", "invalid"},
		{"a path that is none, without a token", "POST", "/v1/nothing", chatBody, []string{"Authorization", ""}, 401, "no access token", "unauthenticated"},
		{"a path that is none", "POST", "/v1/nothing", chatBody, nil, 404, "nothing at this path", "not_found"},
		{"a method that is none", "GET", "/v1/chat/completions", "", nil, 405, "POST only", "invalid"},
		{"a method that lists do not have", "POST", "/v1/models", "{}", nil, 405, "GET only", "invalid"},
		{"the token in the URL", "POST", "/v1/chat/completions?key=" + token, chatBody, nil, 400, "must not stand in the URL", "invalid"},
		{"an encoded body", "POST", "/v1/chat/completions", chatBody, []string{"Content-Encoding", "zstd"}, 400, "without Content-Encoding", "invalid"},
		{"an empty body", "POST", "/v1/chat/completions", "", nil, 400, "empty", "invalid"},
		{"a body that is cut off", "POST", "/v1/chat/completions", `{"model":"gpt"`, nil, 400, "cut off", "invalid"},
		{"a body that is too large", "POST", "/v1/chat/completions", `{"model":"gpt","x":"` + strings.Repeat("x", 2000) + `"}`, nil, 413, "larger than 2000", "invalid"},
		{"a body that is nested too deep", "POST", "/v1/chat/completions", `{"model":"gpt","x":` + deep + `}`, nil, 400, "nested deeper", "invalid"},
		{"a name that stands twice", "POST", "/v1/chat/completions", `{"model":"gpt","model":"secret"}`, nil, 400, "stands twice", "invalid"},
		{"a name that stands twice, once in other letters", "POST", "/v1/chat/completions", `{"model":"gpt","Model":"secret"}`, nil, 400, "names its model twice", "invalid"},
		{"bytes that are not UTF-8", "POST", "/v1/chat/completions", "{\"model\":\"gpt\xff\"}", nil, 400, "UTF-8", "invalid"},
		{"a body that is no object", "POST", "/v1/chat/completions", `["model"]`, nil, 400, "must be a JSON object", "invalid"},
		{"no model", "POST", "/v1/chat/completions", `{"messages":[]}`, nil, 400, "model is missing", "invalid"},
		{"a model that is no text", "POST", "/v1/chat/completions", `{"model":["gpt"]}`, nil, 400, "model must be a text", "invalid"},
		{"a model that is no name", "POST", "/v1/chat/completions", `{"model":"a b"}`, nil, 400, "without spaces", "invalid"},
		{"a model that policy denies", "POST", "/v1/chat/completions", `{"model":"openai/secret"}`, nil, 403, "rule R9", "denied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the upstream was asked") }))
			h := newHouseWith(t, providers.Config{Limits: firewall.Limits{Bytes: 2000}}, map[string]providers.Provider{"openai": {BaseURL: up}})
			req, err := http.NewRequest(tt.method, h.url(t)+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			resp, body := do(t, req, tt.header...)
			var said struct {
				Error struct{ Message, Type, Code string }
			}
			if err := json.Unmarshal([]byte(body), &said); err != nil || said.Error.Type == "" {
				t.Fatalf("reply = %s, %v", body, err)
			}
			if resp.StatusCode != tt.status || !strings.Contains(said.Error.Message, tt.reason) {
				t.Errorf("reply = %d %s, want %d %s", resp.StatusCode, body, tt.status, tt.reason)
			}
			if got := types(h.records()); got != "refused:"+tt.outcome {
				t.Errorf("records = %q, want refused:%s", got, tt.outcome)
			}
			if resp.Header.Get("Callgate-Call") != h.records()[0].Call {
				t.Errorf("Callgate-Call = %q", resp.Header.Get("Callgate-Call"))
			}
			if got := resp.Header.Get("WWW-Authenticate"); (got != "") != (tt.status == 401) {
				t.Errorf("WWW-Authenticate = %q", got)
			}
			if got := resp.Header.Get("X-Should-Retry"); (got == "false") != (tt.status == 403) {
				t.Errorf("X-Should-Retry = %q", got)
			}
			if got := resp.Header.Get("Allow"); (got != "") != (tt.status == 405) {
				t.Errorf("Allow = %q", got)
			}
		})
	}
}

func TestWhoCallsIsSettledBeforeTheBodyIsRead(t *testing.T) {
	h := newHouse(t, "http://127.0.0.1:0")
	body, send := io.Pipe()
	defer send.Close()
	req, err := http.NewRequest("POST", h.url(t)+"/v1/chat/completions", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer forged")
	req.Header.Set("Expect", "100-continue")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil || resp.StatusCode != 401 {
		t.Fatalf("= %v, %v", resp, err)
	}
	resp.Body.Close()
}

func TestEachSDKHasItsOwnPlaceForTheToken(t *testing.T) {
	h := newHouse(t, serve(t, answer(200, "application/json", `{}`)))
	url := h.url(t)
	for _, header := range [][]string{
		{"Authorization", "bearer " + token}, {"X-Api-Key", token}, {"Api-Key", token}, {"X-Goog-Api-Key", token},
		{"Authorization", "Bearer " + token, "X-Api-Key", token},
	} {
		if resp, body := post(t, url, "/v1/chat/completions", chatBody, append([]string{"Authorization", ""}, header...)...); resp.StatusCode != 200 {
			t.Errorf("%s: %s %s", header, resp.Status, body)
		}
	}
}

func TestErrorsAreInTheCallersDialect(t *testing.T) {
	h := newHouse(t, "http://127.0.0.1:0")
	url := h.url(t)
	_, got := post(t, url, "/v1/chat/completions", `{"model":"openai/secret"}`)
	if want := `{"error":{"message":"rule R9 denies model:openai/secret","type":"permission_error","param":null,"code":"denied","rule":"R9"}}`; got != want {
		t.Errorf("OpenAI: %s, want %s", got, want)
	}
	resp, got := post(t, url, "/v1/messages", `{"model":"nope/x/y","x":`)
	want := `{"type":"error","error":{"type":"invalid_request_error","message":"the body cannot be read: cut off: byte 24"},"request_id":"` + resp.Header.Get("Callgate-Call") + `"}`
	if got != want {
		t.Errorf("Anthropic: %s, want %s", got, want)
	}
}

func TestHeadersPassByAllowList(t *testing.T) {
	var got http.Header
	h := newHouse(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		for name, value := range map[string]string{
			"X-Request-Id": "req_1", "Openai-Processing-Ms": "5", "X-Ratelimit-Remaining-Tokens": "9", "Retry-After": "3",
			"Openai-Organization": "acme", "Set-Cookie": "a=b", "Server": "x", "X-Secret": "y", "Callgate-Call": "forged", "Cf-Ray": "z", "Access-Control-Allow-Origin": "*",
		} {
			w.Header().Set(name, value)
		}
		answer(200, "application/json", `{}`)(w, r)
	})))
	resp, _ := post(t, h.url(t), "/v1/chat/completions", chatBody,
		"Accept", "application/json", "User-Agent", "agent/1", "Idempotency-Key", "k", "Openai-Beta", "b", "X-Stainless-Lang", "go", "Anthropic-Beta", "c", "X-App", "cli",
		"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"Cookie", "a=b", "X-Api-Key", token, "Openai-Organization", "mine", "Openai-Project", "mine", "Callgate-Run", "r", "X-Forwarded-For", "1.2.3.4", "X-Unknown", "u",
		"Proxy-Authorization", "p", "Te", "trailers", "Session-Id", "s")
	want := http.Header{
		"Accept": {"application/json"}, "User-Agent": {"agent/1"}, "Idempotency-Key": {"k"}, "Openai-Beta": {"b"}, "X-Stainless-Lang": {"go"}, "Anthropic-Beta": {"c"}, "X-App": {"cli"},
		"Traceparent":  {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		"Content-Type": {"application/json"}, "Accept-Encoding": {"identity"}, "Authorization": {"Bearer sk-real"}, "Content-Length": {"59"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("request (-want +got):\n%s", d)
	}
	back := http.Header{
		"X-Request-Id": {"req_1"}, "Openai-Processing-Ms": {"5"}, "X-Ratelimit-Remaining-Tokens": {"9"}, "Retry-After": {"3"},
		"Content-Type": {"application/json"}, "Content-Length": {"2"}, "Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"},
		"Callgate-Call": {h.records()[0].Call}, "Date": resp.Header["Date"],
	}
	if d := cmp.Diff(back, resp.Header); d != "" {
		t.Errorf("reply (-want +got):\n%s", d)
	}
	r := h.records()[0]
	if r.Chain != "r" || r.Session != "s" {
		t.Errorf("chain %q, session %q", r.Chain, r.Session)
	}
}

func TestTheKeyGoesInByDialect(t *testing.T) {
	var got http.Header
	h := newHouse(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		answer(200, "application/json", `{}`)(w, r)
	})))
	post(t, h.url(t), "/v1/messages", `{"model":"claude"}`, "Anthropic-Version", "2023-06-01")
	if got.Get("X-Api-Key") != "sk-ant" || got.Get("Authorization") != "" || got.Get("Anthropic-Version") != "2023-06-01" {
		t.Errorf("upstream got %v", got)
	}
}

func TestModelsAreThoseThatTheCallerMayUse(t *testing.T) {
	asked := 0
	lab := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.URL.Path != "/v1/models" || r.Header.Get("Authorization") != "Bearer sk-lab" {
			t.Errorf("asked %s with %s", r.URL, r.Header.Get("Authorization"))
		}
		answer(200, "application/json", `{"object":"list","data":[{"id":"qwen"},{"id":"org/llama"}]}`)(w, r)
	}))
	now := time.Now()
	h := newHouseWith(t, providers.Config{Now: func() time.Time { return now }}, map[string]providers.Provider{
		"openai": {BaseURL: "http://127.0.0.1:0", Models: []string{"gpt", "secret"}},
		"lab":    {Kind: "openai", BaseURL: lab + "/v1/", APIKey: identity.NewSecret("sk-lab")},
		"gone":   {Kind: "anthropic", BaseURL: "http://127.0.0.1:0"},
	})
	url := h.url(t)
	ids := func(path string, header ...string) []string {
		resp, body := get(t, url, path, header...)
		if resp.StatusCode != 200 {
			t.Fatalf("%s: %s %s", path, resp.Status, body)
		}
		var list struct{ Data []struct{ ID string } }
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, m := range list.Data {
			ids = append(ids, m.ID)
		}
		return ids
	}
	want := []string{"lab/qwen", "lab/org/llama", "openai/gpt"}
	for range 2 {
		if got := ids("/v1/models?limit=1000"); !slices.Equal(got, want) {
			t.Errorf("models = %q, want %q", got, want)
		}
	}
	if got := ids("/v1/models", "Anthropic-Version", "2023-06-01"); !slices.Equal(got, want) {
		t.Errorf("models for an Anthropic client = %q, want %q", got, want)
	}
	if asked != 1 {
		t.Errorf("the provider was asked %d times within 5 minutes", asked)
	}
	now = now.Add(6 * time.Minute)
	if ids("/v1/models"); asked != 2 {
		t.Errorf("the provider was asked %d times after 6 minutes", asked)
	}
	if _, got := get(t, url, "/v1/models/lab/org/llama"); got != `{"id":"lab/org/llama","object":"model","created":0,"owned_by":"lab"}` {
		t.Errorf("one model = %s", got)
	}
	if _, got := get(t, url, "/v1/models/openai/gpt", "Anthropic-Version", "2023-06-01"); got != `{"id":"openai/gpt","type":"model","display_name":"gpt","created_at":"1970-01-01T00:00:00Z"}` {
		t.Errorf("one model for an Anthropic client = %s", got)
	}
	if resp, got := get(t, url, "/v1/models/openai/secret"); resp.StatusCode != 404 || strings.Contains(got, "R9") {
		t.Errorf("a model that is denied: %s %s", resp.Status, got)
	}
	if r := h.records()[0]; r.Type != audit.Closed || r.Kind != "list" || r.Method != "models" {
		t.Errorf("record = %+v", r)
	}
}

func TestProvidersAreSwappedWhole(t *testing.T) {
	release := make(chan struct{})
	begun := make(chan struct{})
	old := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-release
		answer(200, "application/json", `{"from":"old"}`)(w, r)
	}))
	h := newHouse(t, old)
	url := h.url(t)
	first := make(chan string)
	go func() {
		_, body := post(t, url, "/v1/chat/completions", chatBody)
		first <- body
	}()
	<-begun
	if err := h.door.SetProviders(map[string]providers.Provider{"openai": {BaseURL: serve(t, answer(200, "application/json", `{"from":"new"}`)) + "/v1"}}, nil); err != nil {
		t.Fatal(err)
	}
	if _, body := post(t, url, "/v1/chat/completions", chatBody); body != `{"from":"new"}` {
		t.Errorf("after the swap: %s", body)
	}
	close(release)
	if body := <-first; body != `{"from":"old"}` {
		t.Errorf("in flight during the swap: %s", body)
	}
	err := h.door.SetProviders(map[string]providers.Provider{"x": {}, "y": {Kind: "openai", BaseURL: "ftp://z"}, "a/b": {Kind: "openai", BaseURL: "http://z"}}, nil)
	for _, want := range []string{"provider x: kind", "provider y: base URL", `provider "a/b"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %s in it", err, want)
		}
	}
	if _, body := post(t, url, "/v1/chat/completions", chatBody); body != `{"from":"new"}` {
		t.Errorf("after a swap that failed: %s", body)
	}
}

func TestCallsAreLinkedToTheResultsTheyCarry(t *testing.T) {
	for _, tt := range []struct{ name, path, body string }{
		{"chat", "/v1/chat/completions", `{"model":"gpt","messages":[{"role":"tool","tool_call_id":"old"},{"role":"assistant","tool_calls":[{"id":"call_1"}]},{"content":"ok","tool_call_id":"call_1","role":"tool"}]}`},
		{"messages", "/v1/messages", `{"model":"claude","messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"old"}]},{"role":"assistant","content":[]},{"role":"user","content":[{"type":"text","text":"x"},{"tool_use_id":"call_1","type":"tool_result","content":[{"type":"text","text":"ok"}]}]}]}`},
		{"responses", "/v1/responses", `{"model":"gpt","input":[{"type":"function_call_output","call_id":"old"},{"type":"function_call","call_id":"call_1"},{"type":"function_call_output","call_id":"call_1","output":"ok"}]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			guard := new(hints)
			h := newHouse(t, serve(t, answer(200, "application/json", `{}`)), guard)
			if resp, body := post(t, h.url(t), tt.path, tt.body); resp.StatusCode != 200 {
				t.Fatalf("%s %s", resp.Status, body)
			}
			if want := []string{"call_1"}; !slices.Equal(guard.results, want) {
				t.Errorf("results = %q, want %q", guard.results, want)
			}
		})
	}
}
