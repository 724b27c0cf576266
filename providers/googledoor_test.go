package providers_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
	"callgate/providers"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

const keyGemini = "AIza-0123456789"

// trilingual is a house with a provider of each dialect, all at w.
func trilingual(t *testing.T, w http.Handler, guards ...firewall.Guard) *house {
	at := serve(t, w)
	return newHouseWith(t, providers.Config{}, map[string]providers.Provider{
		"anthropic": {BaseURL: at + "/v1", APIKey: identity.NewSecret("sk-ant-0123456789"), Models: []string{"claude"}},
		"openai":    {BaseURL: at + "/v1", APIKey: identity.NewSecret("sk-0123456789"), Models: []string{"gpt"}},
		"gemini":    {BaseURL: at + "/v1beta", APIKey: identity.NewSecret(keyGemini), Models: []string{"gemini-3-pro", "flash"}},
	}, guards...)
}

// What a client of Google's says to Google, and gets back, is not touched.
func TestAGeminiClientPassesToGeminiAsItIs(t *testing.T) {
	var uri, body string
	var header http.Header
	stream := strings.Join(geminiStream(turn{"Well.", [][2]string{{"f", `{"a":1}`}}}), "")
	plain := geminiPlain(turn{"Well.", nil})
	h := trilingual(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		uri, body, header = r.URL.RequestURI(), string(b), r.Header
		switch {
		case strings.Contains(uri, "stream"):
			answer(200, "text/event-stream", stream)(w, r)
		case strings.Contains(uri, "countTokens"):
			answer(200, "application/json", `{"totalTokens":7}`)(w, r)
		default:
			answer(200, "application/json; charset=UTF-8", plain)(w, r)
		}
	}))
	door := h.url(t)
	const asked = `{"contents": [ {"parts":[{"text":"hi", "thoughtSignature":"c2ln"}]} ],"unknownMember":{"a":[1]}}`
	for _, tt := range []struct{ path, body, uri, seen, reply string }{
		{"/v1beta/models/flash:generateContent", asked, "/v1beta/models/flash:generateContent", asked, plain},
		{"/v1beta/models/flash:generateContent?fields=candidates&alt=json&$alt=sse", asked, "/v1beta/models/flash:generateContent", asked, plain},
		{"/v1/models/flash:generateContent", asked, "/v1beta/models/flash:generateContent", asked, plain},
		{"/v1beta/models/gemini/flash:generateContent", asked, "/v1beta/models/flash:generateContent", asked, plain},
		{"/v1beta/models/gemini%2Fflash:streamGenerateContent?alt=sse", asked, "/v1beta/models/flash:streamGenerateContent?alt=sse", asked, stream},
		{"/v1beta/models/flash:countTokens", asked, "/v1beta/models/flash:countTokens", asked, `{"totalTokens":7}`},
		{"/v1beta/models/gemini/flash:countTokens", `{"generateContentRequest":{"model":"models/gemini/flash","contents":[]}}`, "/v1beta/models/flash:countTokens", `{"generateContentRequest":{"model":"models/flash","contents":[]}}`, `{"totalTokens":7}`},
		{"/v1beta/models/flash:embedContent", `{"content":{"parts":[{"text":"x"}]}}`, "/v1beta/models/flash:embedContent", `{"content":{"parts":[{"text":"x"}]}}`, plain},
		{"/v1beta/models/gemini/flash:batchEmbedContents", `{"requests":[{"model":"models/gemini/flash","content":{}},{"content":{}}]}`, "/v1beta/models/flash:batchEmbedContents", `{"requests":[{"model":"models/flash","content":{}},{"content":{}}]}`, plain},
	} {
		resp, got := post(t, door, tt.path, tt.body, "Authorization", "", "X-Goog-Api-Key", token)
		if resp.StatusCode != 200 || got != tt.reply || uri != tt.uri || body != tt.seen {
			t.Errorf("%s: HTTP %d\n%s\nwant\n%s\nasked %s\nwant  %s\n%s", tt.path, resp.StatusCode, got, tt.reply, uri, tt.uri, body)
		}
		if header.Get("X-Goog-Api-Key") != keyGemini || header.Get("Authorization") != "" {
			t.Errorf("asked with %v", header)
		}
	}
	methods := make(map[string]string)
	for _, r := range h.records() {
		if r.Type == audit.Opened {
			methods[r.Call] = r.Method
		}
		if r.Type == audit.Closed && methods[r.Call] == "gemini_count" && r.Usage != nil {
			t.Errorf("to count is billed: %+v", r.Usage)
		}
		if r.Type == audit.Closed && methods[r.Call] == "gemini" && (r.Usage == nil || r.Usage.Input != 3 || r.Usage.Output != 2 || r.Outcome != "ok") {
			t.Errorf("on record: %+v %+v", r, r.Usage)
		}
	}
}

func TestWhatAGeminiClientMayNotAsk(t *testing.T) {
	asked := 0
	h := trilingual(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		answer(200, "application/json", geminiPlain(turn{"Well.", nil}))(w, r)
	}))
	door := h.url(t)
	for _, tt := range []struct {
		path, body   string
		status       int
		word, reason string
	}{
		{"/v1beta/models/flash:streamGenerateContent", `{}`, 400, "INVALID_ARGUMENT", "alt=sse"},
		{"/v1beta/models/flash:generateContent?key=" + token, `{}`, 400, "INVALID_ARGUMENT", "x-goog-api-key"},
		{"/v1beta/models/flash:generateContent", `{"model":"models/other"}`, 400, "INVALID_ARGUMENT", "cannot be read"},
		{"/v1beta/models/flash:countTokens", `{"generate_content_request":{"model":"models/other"}}`, 400, "INVALID_ARGUMENT", "generate_content_request.model"},
		{"/v1beta/models/flash:batchEmbedContents", `{"requests":[{"model":"models/flash"},{"model":"models/other"}]}`, 400, "INVALID_ARGUMENT", "requests.1.model"},
		{"/v1beta/models/flash:generateContent", `[]`, 400, "INVALID_ARGUMENT", "JSON object"},
		{"/v1beta/models/flash:generateContent", `{"tools":[],"tools":[]}`, 400, "INVALID_ARGUMENT", "cannot be read"},
		{"/v1beta/models/flash:generateContent", `{"cached_content":"cachedContents/x"}`, 400, "INVALID_ARGUMENT", "send it as contents"},
		{"/v1beta/models/flash:generateContent", `{"tool_config":{"function_calling_config":{"stream_function_call_arguments":true}}}`, 400, "INVALID_ARGUMENT", "streamFunctionCallArguments"},
		{"/v1beta/models/gemini/..:generateContent", `{}`, 400, "INVALID_ARGUMENT", "cannot stand"},
		{"/v1beta/models/flash:predict", `{}`, 404, "NOT_FOUND", "nothing at this path"},
		{"/v1beta/cachedContents", `{}`, 404, "NOT_FOUND", "/v1beta/models"},
		{"/v1beta/models/nobody/x:countTokens", `{}`, 200, "", ""}, // the only provider that there is of the dialect has it, or says that it has not
		{"/v1beta/models/gpt:countTokens", `{}`, 400, "INVALID_ARGUMENT", "provider openai"},
		{"/v1beta/models/openai/secret:generateContent", `{"contents":[{"parts":[{"text":"x"}]}]}`, 403, "PERMISSION_DENIED", "rule R9"},
	} {
		asked = 0
		resp, got := post(t, door, tt.path, tt.body)
		e := gjson.Get(got, "error")
		if tt.status == 200 {
			if resp.StatusCode != 200 {
				t.Errorf("%s: HTTP %d %s", tt.path, resp.StatusCode, got)
			}
			continue
		}
		if resp.StatusCode != tt.status || asked != 0 || e.Get("status").Str != tt.word || int(e.Get("code").Int()) != tt.status || !strings.Contains(e.Get("message").Str, tt.reason) {
			t.Errorf("%s %s: HTTP %d %s", tt.path, tt.body, resp.StatusCode, got)
		}
	}
	resp, got := post(t, door, "/v1beta/models/flash:generateContent", `{}`, "Authorization", "", "X-Goog-Api-Key", "wrong")
	if resp.StatusCode != 401 || gjson.Get(got, "error.status").Str != "UNAUTHENTICATED" {
		t.Errorf("HTTP %d %s", resp.StatusCode, got)
	}
}

func TestModelsInGooglesShape(t *testing.T) {
	h := trilingual(t, answer(200, "application/json", `{}`))
	door := h.url(t)
	_, got := get(t, door, "/v1beta/models?pageSize=1000")
	var names []string
	for _, v := range gjson.Get(got, "models.#.name").Array() {
		names = append(names, v.Str)
	}
	if diff := cmp.Diff([]string{"models/anthropic/claude", "models/gemini/gemini-3-pro", "models/gemini/flash", "models/openai/gpt"}, names); diff != "" {
		t.Error(diff, got)
	}
	if resp, got := get(t, door, "/v1beta/models/flash"); resp.StatusCode != 200 || gjson.Get(got, "name").Str != "models/gemini/flash" {
		t.Errorf("HTTP %d %s", resp.StatusCode, got)
	}
	if resp, got := get(t, door, "/v1beta/models/none"); resp.StatusCode != 404 || gjson.Get(got, "error.status").Str != "NOT_FOUND" {
		t.Errorf("HTTP %d %s", resp.StatusCode, got)
	}
}

// A guard sees the texts of a stream of Google's as one, however they are cut, and what
// the model thought as another.
func TestGuardsReadGemini(t *testing.T) {
	event := func(text string, thought bool, why string) string {
		part := m{"text": text}
		if thought {
			part["thought"] = true
		}
		c := m{"content": m{"parts": []m{part}, "role": "model"}}
		if why != "" {
			c["finishReason"] = why
		}
		return "data: " + js(m{"candidates": []m{c}}) + "\r\n\r\n"
	}
	const text = "the secret is swordfish, I think"
	for cut := range text {
		stream := event("sword", true, "") + event(text[:cut], false, "") + event(text[cut:], false, "STOP")
		h := trilingual(t, answer(200, "text/event-stream", stream), mask{"swordfish"})
		resp, got := post(t, h.url(t), "/v1beta/models/flash:streamGenerateContent?alt=sse", `{"contents":[{"parts":[{"text":"a swordfish"}]}]}`)
		texts, _, stop := readGemini(t, true, strings.ReplaceAll(got, "\r\n", "\n"))
		if resp.StatusCode != 200 || texts != "swordthe secret is [masked], I think" || stop != "STOP" {
			t.Errorf("cut at %d: HTTP %d %q %s\n%s", cut, resp.StatusCode, texts, stop, got)
		}
	}
	h := trilingual(t, answer(200, "application/json", `{"candidates":[{"content":{"parts":[{"text":"swordfish","functionCall":{"name":"f","args":{"q":"swordfish"}}}]},"finishReason":"STOP","logprobsResult":{"chosenCandidates":[{"token":"sword"},{"token":"fish"}]}}]}`), mask{"swordfish"})
	if _, got := post(t, h.url(t), "/v1beta/models/flash:generateContent", `{"contents":[]}`); strings.Contains(got, "fish") || !strings.Contains(got, `"[masked]"`) {
		t.Error(got)
	}
}

// A signature that was on a call that is refused leaves the next call without one, which
// Google would not take back.
func TestACallBehindOneThatWasRefusedHasASignature(t *testing.T) {
	gone := `{"functionCall":{"name":"files__delete","args":{}},"thoughtSignature":"c2ln"}`
	own := `{"functionCall":{"name":"Bash","args":{}}}`
	for name, stream := range map[string]string{
		"in one event": `data: {"candidates":[{"content":{"parts":[` + gone + `,` + own + `]},"finishReason":"STOP"}]}` + "\n\n",
		"in two":       `data: {"candidates":[{"content":{"parts":[` + gone + `]}}]}` + "\n\n" + `data: {"candidates":[{"content":{"parts":[` + own + `]},"finishReason":"STOP"}]}` + "\n\n",
	} {
		h := newFilesHouse(t, serve(t, answer(200, "text/event-stream", stream)))
		_, got := post(t, h.url(t), "/v1beta/models/flash:streamGenerateContent?alt=sse", `{"contents":[]}`)
		if !strings.Contains(got, "skip_thought_signature_validator") || strings.Contains(got, "c2ln") || !strings.Contains(got, "Bash") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestResultsAndHostedToolsOfGemini(t *testing.T) {
	seen := new(hints)
	h := trilingual(t, answer(200, "application/json", geminiPlain(turn{"Well.", nil})), seen)
	post(t, h.url(t), "/v1beta/models/flash:generateContent", `{"contents":[{"parts":[{"functionResponse":{"id":"old"}}]},{"role":"model","parts":[]},{"parts":[{"functionResponse":{"id":"a","name":"f"}},{"function_response":{"id":"b"}},{"functionResponse":{"name":"g"}}]}]}`)
	if diff := cmp.Diff([]string{"a", "b"}, seen.results); diff != "" {
		t.Error(diff)
	}
	policy := ruled{says: map[string]bool{"tool:gemini/google_search": false, "tool:gemini/mcp/good.example": true}}
	for tools, want := range map[string]string{
		`[{"functionDeclarations":[{"name":"f"}]},{"urlContext":{}},{"computerUse":{}}]`: "",
		`[{"functionDeclarations":[]},{"googleSearch":{}}]`:                              "rule R4",
		`{"google_search":{}}`: "rule R4",
		`[{"mcpServers":[{"name":"x","streamableHttpTransport":{"url":"https://good.example/m"}}]}]`: "",
		`[{"mcp_servers":[{"name":"x","streamable_http_transport":{"url":"https://e.example/m"}}]}]`: "tool:gemini/mcp/e.example",
	} {
		h := newHouseBy(t, policy, serve(t, answer(200, "application/json", `{}`)))
		resp, got := post(t, h.url(t), "/v1beta/models/flash:generateContent", `{"contents":[],"tools":`+tools+`}`)
		if want == "" && resp.StatusCode != 200 || want != "" && (resp.StatusCode != 403 || !strings.Contains(got, want)) {
			t.Errorf("%s: HTTP %d %s", tools, resp.StatusCode, got)
		}
	}
}

// A name that stands for several is told to each as its own.
func TestANameForSeveralAtTheGeminiDoor(t *testing.T) {
	busyOne := serve(t, says(503, `{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}`))
	w := &witness{answer: answer(200, "text/event-stream", anthropicStream)}
	other := &witness{answer: answer(200, "text/event-stream", strings.Join(geminiStream(turn{"Well.", nil}), ""))}
	list := map[string]providers.Provider{"gemini": {BaseURL: busyOne + "/v1beta"}, "anthropic": {BaseURL: serve(t, w) + "/v1"}, "google": {Kind: "gemini", BaseURL: serve(t, other) + "/v1beta"}}
	h := newHouseWith(t, providers.Config{}, list)
	for first, want := range map[string]string{"anthropic/claude": "ordfish", "google/flash": "Well."} {
		if err := h.door.SetProviders(list, map[string]providers.Model{"best": {Targets: []providers.Target{{Model: "gemini/pro"}, {Model: first}}}}); err != nil {
			t.Fatal(err)
		}
		resp, got := post(t, h.url(t), "/v1beta/models/best:streamGenerateContent?alt=sse", `{"contents":[{"parts":[{"text":"q"}]}]}`)
		if texts, _, stop := readGemini(t, true, got); resp.StatusCode != 200 || !strings.Contains(texts, want) || stop != "STOP" || resp.Header.Get("Callgate-Model") != first {
			t.Errorf("HTTP %d %v %s", resp.StatusCode, resp.Header, got)
		}
	}
	if gjson.Get(w.body, "model").Str != "claude" || other.path != "/v1beta/models/flash:streamGenerateContent" || gjson.Get(other.body, "model").Exists() {
		t.Errorf("asked %s; at %s %s", w.body, other.path, other.body)
	}
}
