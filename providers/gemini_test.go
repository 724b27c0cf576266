package providers_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"callgate/identity"
	"callgate/providers"

	"github.com/tidwall/gjson"
)

// googled is a house with Google's API and others, which all are up, and what up got last.
func googled(t *testing.T, reply http.HandlerFunc) (h *house, seen func() (path, query, key, body string)) {
	t.Helper()
	var path, query, key, body string
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		path, query, key, body = r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("X-Goog-Api-Key"), string(b)
		reply(w, r)
	}))
	h = newHouseWith(t, providers.Config{}, map[string]providers.Provider{
		"gemini":    {BaseURL: up + "/v1beta", APIKey: identity.NewSecret("g-key-0123"), Models: []string{"flash"}},
		"openai":    {BaseURL: up + "/v1", Models: []string{"gpt"}},
		"anthropic": {BaseURL: up + "/v1", Models: []string{"claude"}},
	})
	return h, func() (string, string, string, string) { return path, query, key, body }
}

// A client of Google's that asks Google's models: what it says and hears passes as it is.
func TestGooglesClientsReachGoogle(t *testing.T) {
	body := `{ "contents" : [{"parts":[{"text":"h\u00e9"}]}], "safetySettings":[] }`
	plain := geminiPlain(turn{"hello", nil})
	h, seen := googled(t, answer(200, "application/json; charset=UTF-8", plain))
	url := h.url(t)
	for _, model := range []string{"flash", "gemini/flash"} {
		resp, got := post(t, url, "/v1beta/models/"+model+":generateContent", body, "Authorization", "", "X-Goog-Api-Key", token)
		path, query, key, sent := seen()
		if resp.StatusCode != 200 || got != plain || path != "/v1beta/models/flash:generateContent" || query != "" || key != "g-key-0123" || sent != body {
			t.Errorf("%s: %d %s\nasked %s?%s with %s: %s", model, resp.StatusCode, got, path, query, key, sent)
		}
	}
	if r := h.records(); r[0].Resource != "flash" || r[0].Method != "gemini" || r[1].Usage.Input != 3 || r[1].Usage.Output != 2 {
		t.Errorf("on record: %+v, %+v", r[0], r[1])
	}
	stream := strings.Join(geminiStream(turn{"hello", [][2]string{{"f", `{"a":1}`}}}), "")
	h, seen = googled(t, answer(200, "text/event-stream", stream))
	resp, got := post(t, h.url(t), "/v1beta/models/flash:streamGenerateContent?alt=sse", body)
	if path, query, _, sent := seen(); resp.StatusCode != 200 || got != stream || path != "/v1beta/models/flash:streamGenerateContent" || query != "alt=sse" || sent != body {
		t.Errorf("%d %s\nasked %s?%s: %s", resp.StatusCode, got, path, query, sent)
	}
	if r := h.records(); r[len(r)-1].Usage == nil || r[len(r)-1].Usage.Output != 2 || r[len(r)-1].Usage.Estimated {
		t.Errorf("on record: %+v", r[len(r)-1])
	}
	h, seen = googled(t, answer(200, "application/json", `{"totalTokens":7}`))
	if resp, got := post(t, h.url(t), "/v1beta/models/flash:countTokens", `{"contents":[]}`); resp.StatusCode != 200 || got != `{"totalTokens":7}` {
		t.Errorf("%d %s", resp.StatusCode, got)
	}
	if path, _, _, sent := seen(); path != "/v1beta/models/flash:countTokens" || sent != `{"contents":[]}` {
		t.Errorf("asked %s: %s", path, sent)
	}
}

// Google's dialect in front of others, and behind others.
func TestGooglesDialectIsTranslated(t *testing.T) {
	calls := [][2]string{{"f", `{"a":1}`}}
	for _, front := range surfaces {
		for _, back := range surfaces {
			if (front.name == "gemini") == (back.name == "gemini") || back.name == "responses" { // OpenAI is asked at chat
				continue
			}
			for _, streamed := range []bool{false, true} {
				said := turn{"Well.", calls}
				kind, reply := "application/json", back.plain(said)
				if streamed {
					kind, reply = "text/event-stream", strings.Join(back.stream(said), "")
				}
				h, seen := googled(t, answer(200, kind, reply))
				path, body := front.ask(streamed)
				model := map[string]string{"chat": "gpt", "messages": "claude", "gemini": "flash"}[back.name]
				own := map[string]string{"chat": "gpt", "responses": "gpt", "messages": "claude", "gemini": "flash"}[front.name]
				path, body = strings.Replace(path, "/"+own+":", "/"+model+":", 1), strings.Replace(body, `"model":"`+own+`"`, `"model":"`+model+`"`, 1)
				resp, got := post(t, h.url(t), path, body)
				if resp.StatusCode != 200 {
					t.Fatalf("%s behind %s: %d %s", back.name, front.name, resp.StatusCode, got)
				}
				texts, asked, _ := front.read(t, streamed, got)
				if texts != "Well." || fmt.Sprint(asked) != fmt.Sprint(calls) {
					t.Errorf("%s behind %s, streamed=%v: %q %v\n%s", back.name, front.name, streamed, texts, asked, got)
				}
				to, query, _, sent := seen()
				if back.name == "gemini" && (to != map[bool]string{false: "/v1beta/models/flash:generateContent", true: "/v1beta/models/flash:streamGenerateContent"}[streamed] || gjson.Get(sent, "contents.0.parts.0.text").Str != "hi" || gjson.Get(sent, "model").Exists() || query != map[bool]string{true: "alt=sse"}[streamed]) {
					t.Errorf("Google was asked %s?%s: %s", to, query, sent)
				}
				if r := h.records(); r[len(r)-1].Outcome != "ok" || r[len(r)-1].Usage == nil || !r[len(r)-1].Usage.Estimated && (r[len(r)-1].Usage.Input != 3 || r[len(r)-1].Usage.Output != 2) {
					t.Errorf("%s behind %s, streamed=%v: on record %+v %+v", back.name, front.name, streamed, r[len(r)-1], r[len(r)-1].Usage)
				}
			}
		}
	}
}

// However a stream of Google's is cut, a client of another dialect gets a good end of its
// own; so does Google's client of what others cut.
func TestCutStreamsEndWellForGoogle(t *testing.T) {
	for _, tt := range []struct {
		stream, path, body string
		ends               []string // any of these
	}{
		{strings.Join(geminiStream(turn{"Well.", [][2]string{{"f", `{"a":1}`}}}), ""), "/v1/chat/completions", `{"model":"flash","stream":true,"messages":[{"role":"user","content":"hi"}]}`, []string{"data: [DONE]\n\n"}},
		{strings.Join(messagesStream(turn{"Well.", nil}), ""), "/v1beta/models/claude:streamGenerateContent?alt=sse", `{"contents":[]}`, []string{`"status":"UNAVAILABLE"}}` + "\n\n"}},
		{strings.Join(geminiStream(turn{"Well.", nil}), ""), "/v1beta/models/flash:streamGenerateContent?alt=sse", `{"contents":[]}`, []string{`"status":"UNAVAILABLE"}}` + "\n\n"}},
	} {
		for end := 1; end < len(tt.stream)-2; end += 17 {
			h, _ := googled(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, tt.stream[:end])
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			})
			resp, got := post(t, h.url(t), tt.path, tt.body)
			if resp.StatusCode == 503 && gjson.Valid(got) {
				continue // nothing had gone down
			}
			if !strings.HasSuffix(got, tt.ends[0]) {
				t.Fatalf("%s cut at %d: %q", tt.path, end, got)
			}
			h.busy.Wait()
		}
	}
}

func TestGooglesClientsAreToldInTheirDialect(t *testing.T) {
	h, _ := googled(t, answer(429, "application/json", `{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}`))
	url := h.url(t)
	for _, tt := range []struct {
		what, path, body string
		header           []string
		status           int
		word, says       string
	}{
		{"no token", "/v1beta/models/flash:generateContent", `{}`, []string{"Authorization", ""}, 401, "UNAUTHENTICATED", "access token"},
		{"the token in the URL alone", "/v1beta/models/flash:generateContent?key=" + token, `{}`, []string{"Authorization", ""}, 400, "INVALID_ARGUMENT", "x-goog-api-key"},
		{"the token in the URL", "/v1beta/models/flash:generateContent?key=" + token, `{}`, nil, 400, "INVALID_ARGUMENT", "stand in logs"},
		{"an array", "/v1beta/models/flash:streamGenerateContent", `{}`, nil, 400, "INVALID_ARGUMENT", "alt=sse"},
		{"no such method", "/v1beta/models/flash:predict", `{}`, nil, 404, "NOT_FOUND", "nothing at this path"},
		{"two models", "/v1beta/models/flash:generateContent", `{"model":"gpt"}`, nil, 400, "INVALID_ARGUMENT", "cannot be read"},
		{"no object", "/v1beta/models/flash:generateContent", `[]`, nil, 400, "INVALID_ARGUMENT", "JSON object"},
		{"denied", "/v1beta/models/openai/secret:generateContent", `{"contents":[]}`, nil, 403, "PERMISSION_DENIED", "R9"},
		{"another vendor's error", "/v1beta/models/claude:generateContent", `{"contents":[]}`, nil, 429, "RESOURCE_EXHAUSTED", "slow down"},
		{"what Google keeps, asked of another", "/v1beta/models/claude:generateContent", `{"contents":[],"cachedContent":"c/1"}`, nil, 400, "INVALID_ARGUMENT", "cachedContent"},
		{"a way out", "/v1beta/models/gemini/..%2f..%2fx:generateContent", `{"contents":[]}`, nil, 400, "INVALID_ARGUMENT", "cannot stand"},
	} {
		resp, got := post(t, url, tt.path, tt.body, tt.header...)
		if e := gjson.Get(got, "error"); resp.StatusCode != tt.status || e.Get("status").Str != tt.word || int(e.Get("code").Int()) != tt.status || !strings.Contains(e.Get("message").Str, tt.says) {
			t.Errorf("%s: %d %s", tt.what, resp.StatusCode, got)
		}
	}
	resp, got := get(t, url, "/v1beta/models", "Authorization", "", "X-Goog-Api-Key", token)
	if resp.StatusCode != 200 || gjson.Get(got, "models.#").Int() != 3 || !strings.Contains(got, `"name":"models/gemini/flash"`) {
		t.Errorf("%d %s", resp.StatusCode, got)
	}
	if resp, got := get(t, url, "/v1beta/models/gemini/flash"); resp.StatusCode != 200 || gjson.Get(got, "displayName").Str != "flash" {
		t.Errorf("%d %s", resp.StatusCode, got)
	}
}

// Tools that Google runs are judged before it gets them.
func TestToolsThatGoogleRunsAreJudged(t *testing.T) {
	policy := ruled{says: map[string]bool{"tool:gemini/code_execution": false, "tool:gemini/mcp/good.example": true, "tool:gemini/newThing": false}}
	for tools, want := range map[string]string{
		`[{"functionDeclarations":[{"name":"f"}]},{"googleSearch":{}}]`: "",
		`[{"codeExecution":{}}]`:                            "rule R4",
		`[{"functionDeclarations":[],"code_execution":{}}]`: "rule R4",
		`[{"newThing":{}}]`:                                 "rule R4",
		`[{"mcpServers":[{"name":"x","streamableHttpTransport":{"url":"https://good.example/mcp"}}]}]`:  "",
		`[{"mcp_servers":[{"name":"x","streamable_http_transport":{"url":"https://evil.example/m"}}]}]`: "tool:gemini/mcp/evil.example",
	} {
		h := newHouseBy(t, policy, serve(t, answer(200, "application/json", geminiPlain(turn{"a", nil}))))
		resp, got := post(t, h.url(t), "/v1beta/models/flash:generateContent", `{"contents":[],"tools":`+tools+`}`)
		if want == "" && resp.StatusCode != 200 || want != "" && (resp.StatusCode != 403 || !strings.Contains(got, want)) {
			t.Errorf("%s: %d %s", tools, resp.StatusCode, got)
		}
	}
}
