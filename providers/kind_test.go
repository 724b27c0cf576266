package providers_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"callgate/identity"
	"callgate/providers"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// anyone is all providers at once: it notes how it was asked, once what says who asks is
// right.
type anyone struct {
	mu   sync.Mutex
	auth func(r *http.Request, body []byte) string
	seen string
}

func (a *anyone) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	var members map[string]json.RawMessage
	_ = json.Unmarshal(body, &members)
	a.seen = fmt.Sprintf("%s %s  %s  %s", r.Method, r.URL.RequestURI(), a.auth(r, body), strings.Join(slices.Sorted(maps.Keys(members)), ","))
	reply := chatReply
	switch {
	case strings.Contains(r.URL.Path, "count_tokens"), strings.Contains(r.URL.Path, "count-tokens"):
		reply = `{"input_tokens":3}`
	case members["anthropic_version"] != nil, strings.HasSuffix(r.URL.Path, "/messages"):
		reply = claudeReply
	case strings.HasSuffix(r.URL.Path, ":generateContent"):
		reply = `{"candidates":[{"content":{"role":"model","parts":[{"text":"hi"}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2,"totalTokenCount":5}}`
	case strings.HasSuffix(r.URL.Path, "/converse"):
		reply = `{"output":{"message":{"role":"assistant","content":[{"text":"hi"}]}},"stopReason":"end_turn","usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5},"metrics":{"latencyMs":1}}`
	case strings.HasSuffix(r.URL.Path, "/v2/chat"):
		reply = `{"id":"1","finish_reason":"COMPLETE","message":{"role":"assistant","content":[{"type":"text","text":"hi"}]},"usage":{"tokens":{"input_tokens":3,"output_tokens":2}}}`
	case strings.HasSuffix(r.URL.Path, "/responses"):
		reply = `{"id":"resp_1","object":"response","status":"completed","model":"m","output":[{"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[{"type":"output_text","text":"hi","annotations":[]}]}],"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5}}`
	case strings.HasSuffix(r.URL.Path, "/embeddings"):
		reply = `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"usage":{"prompt_tokens":3}}`
	}
	answer(200, "application/json", reply)(w, r)
}

// doors are the endpoints at the door, with what a client asks there.
var doors = []struct{ path, body string }{
	{"/v1/chat/completions", `{"model":"p/m.1","max_completion_tokens":9,"messages":[{"role":"user","content":"x"}]}`},
	{"/v1/messages", `{"model":"p/m.1","max_tokens":9,"messages":[{"role":"user","content":"x"}]}`},
	{"/v1/messages/count_tokens", `{"model":"p/m.1","messages":[{"role":"user","content":"x"}]}`},
	{"/v1/responses", `{"model":"p/m.1","input":"x"}`},
	{"/v1/embeddings", `{"model":"p/m.1","input":"x"}`},
	{"/v1beta/models/p/m.1:generateContent", `{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"maxOutputTokens":9}}`},
	{"/v1beta/models/p/m.1:countTokens", `{"contents":[{"parts":[{"text":"x"}]}]}`},
	{"/v1beta/models/p/m.1:embedContent", `{"content":{"parts":[{"text":"x"}]}}`},
}

// Each kind answers at each endpoint of the door that it serves. testdata/catalog.txt has
// where it was asked, how it was told who calls, and which members the body has; what it is
// not asked is not there. The table is read by people when it changes.
func TestEachKindIsAskedAsTheCatalogueSays(t *testing.T) {
	up := new(anyone)
	at := serve(t, up)
	var table strings.Builder
	kinds := providers.BuiltIn()
	if n := len(kinds.Names()); n < 60 {
		t.Errorf("%d kinds", n)
	}
	for _, name := range kinds.Names() {
		k := kinds.Get(name)
		key := "key-of-" + name
		real := providers.Provider{Kind: name, Params: paramsOf(name)}
		if k.Base == "" {
			real.BaseURL = "https://lab.example/v1"
		}
		base := newHouseWith(t, providers.Config{}, map[string]providers.Provider{"p": real}).door.States()[0].BaseURL
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		up.auth = func(r *http.Request, _ []byte) string { return strings.ReplaceAll(told(r), key, "KEY") }
		switch k.Auth {
		case "aws":
			key = "AKID:" + key
			up.auth = func(r *http.Request, body []byte) string {
				scope, err := sigv4(r, body, "AKID", "key-of-"+name, "")
				if err != nil {
					return err.Error()
				}
				return "signed for " + scope
			}
		case "google":
			g, account := newGoogle(t)
			key = account
			up.auth = func(r *http.Request, _ []byte) string {
				return strings.ReplaceAll(told(r), g.good, "TOKEN")
			}
		}
		h := newHouseWith(t, providers.Config{}, map[string]providers.Provider{"p": {Kind: name, BaseURL: at + u.Path, Params: real.Params, APIKey: identity.NewSecret(key)}})
		door := h.url(t)
		fmt.Fprintf(&table, "%s  %s  %s\n", name, base, strings.Join(k.Env, " "))
		for _, d := range doors {
			up.seen = ""
			resp, body := post(t, door, d.path, d.body, "Anthropic-Version", "2023-06-01")
			switch {
			case resp.StatusCode == 400 && up.seen == "" && strings.Contains(body, "provider p"):
			case resp.StatusCode != 200 || up.seen == "":
				t.Errorf("%s at %s: %d %s; asked %s", name, d.path, resp.StatusCode, body, up.seen)
			default:
				fmt.Fprintf(&table, "  %-26s %s\n", d.path, up.seen)
			}
		}
	}
	const file = "testdata/catalog.txt"
	if *update {
		if err := os.WriteFile(file, []byte(table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), table.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestACatalogueOfOnesOwn(t *testing.T) {
	kinds, err := providers.BuiltIn().With("mine.yaml", []byte(`
mine:
  title: My lab
  base: https://{host}/{version}
  params: {host: host of the lab, version: of its API}
  defaults: {version: v2}
  auth: header:X-Lab-Key
  env: [LAB_KEY]
  paths: {chat: "/{version}/say?mode=full"}
  asked: chat
  old_limit: true
  headers: {X-Client: callgate}
  source: https://lab.example/docs
  checked: no
groq:
  title: Another Groq
  base: https://groq.example/v1
  auth: none
  has: [embeddings]
  source: https://groq.example
  checked: 2026-11-24
`))
	if err != nil {
		t.Fatal(err)
	}
	var got string
	at := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.URL.RequestURI() + " " + r.Header.Get("X-Lab-Key") + " " + r.Header.Get("X-Client") + told(r) + " " + string(body)
		answer(200, "application/json", chatReply)(w, r)
	}))
	h := newHouseWith(t, providers.Config{}, map[string]providers.Provider{
		"lab":    {Kind: "mine", Kinds: kinds, BaseURL: at, Params: map[string]string{"host": "h"}, APIKey: identity.NewSecret("k1")},
		"groq":   {Kinds: kinds, BaseURL: at, APIKey: identity.NewSecret("k2")},
		"openai": {Kinds: kinds, APIKey: identity.NewSecret("k3")},
	})
	door := h.url(t)
	post(t, door, "/v1/messages", `{"model":"lab/m","max_tokens":7,"messages":[{"role":"user","content":"x"}]}`)
	if want := `/v2/say?mode=full k1 callgate {"max_tokens":7,"messages":[{"content":"x","role":"user"}],"model":"m"}`; got != want {
		t.Errorf("asked %s\nwant  %s", got, want)
	}
	post(t, door, "/v1/embeddings", `{"model":"groq/m","input":"x"}`)
	if want := `/embeddings   {"model":"m","input":"x"}`; got != want {
		t.Errorf("asked %s\nwant  %s", got, want)
	}
	if resp, body := post(t, door, "/v1/chat/completions", `{"model":"groq/m","messages":[]}`); resp.StatusCode != 400 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestACatalogueThatMakesNoSense(t *testing.T) {
	const rest = "\n  title: T\n  auth: bearer\n  env: [K]\n  has: [chat]\n  asked: chat\n  source: https://a.example\n  checked: no\n"
	for _, tt := range []struct{ name, file, want string }{
		{"a member that is unknown", "a:\n  tittle: x\n", `[2:3] unknown field "tittle"`},
		{"not YAML", "a: [\n", "sequence end token"},
		{"a kind that stands twice", "a:" + rest + "a:" + rest, `mapping key "a" already defined`},
		{"an empty one", "a:\n", "a: title is missing\n"},
		{"a name that is none", "A_b:" + rest, "a name has 1 to 32"},
		{"an auth that is none", strings.Replace("a:"+rest, "bearer", "basic", 1), "a: auth: want bearer"},
		{"a header that is none", strings.Replace("a:"+rest, "bearer", `"header:X Key"`, 1), "a: auth: want the name of a header"},
		{"signed for nothing", strings.Replace("a:"+rest, "bearer", "aws", 1), "auth aws needs service, and region among params"},
		{"an endpoint that is none", strings.Replace("a:"+rest, "[chat]", "[chat, chat]", 1), "has: chat stands there twice"},
		{"an endpoint without a usual path", strings.Replace("a:"+rest, "[chat]", "[chat, converse]", 1), `has: "converse" has no usual path`},
		{"a path that leaves its base", "a:" + rest + "  paths: {responses: /../x}\n", "paths: responses: want a path"},
		{"a path that is none", "a:" + rest + "  paths: {responses: 'http://x'}\n", "paths: responses: want a path"},
		{"a blank that nothing fills", "a:" + rest + "  base: https://{host}/v1\n", "base: {host} is none of its params"},
		{"a model in the base", "a:" + rest + "  base: https://h/{model}\n", "base: {model} is none of its params"},
		{"a param that fills nothing", "a:" + rest + "  params: {host: x}\n", "params: {host} stands neither in base nor in paths"},
		{"a default that leaves its place", "a:" + rest + "  base: https://{host}\n  params: {host: x}\n  defaults: {host: a/b}\n", `"a/b" cannot stand in a URL`},
		{"a base with a user", "a:" + rest + "  base: https://u@h\n", "base: want a URL"},
		{"asked where it has nothing", strings.Replace("a:"+rest, "asked: chat", "asked: messages", 1), `asked: "messages" is none of its endpoints`},
		{"a header that is the gate's", "a:" + rest + "  headers: {authorization: x}\n", `headers: "authorization" is not one`},
		{"a source that is none", strings.Replace("a:"+rest, "https://a.example", "somewhere", 1), "source: want the URL"},
		{"a date that is none", strings.Replace("a:"+rest, "checked: no", "checked: soon", 1), "checked: want a month"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := providers.BuiltIn().With("f.yaml", []byte(tt.file)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %s in it", err, tt.want)
			}
		})
	}
	if k, err := providers.BuiltIn().With("empty.yaml", []byte("# nothing\n")); err != nil || len(k.Names()) != len(providers.BuiltIn().Names()) {
		t.Errorf("an empty file: %v", err)
	}
}

func TestParamsCannotLeaveTheirPlace(t *testing.T) {
	k := providers.BuiltIn().Get("vertex")
	for value, good := range map[string]bool{"europe-west4": true, "p_1": true, "a.example": true, "a/b": false, "..": false, "a..b": false, "a?b": false, "a#b": false, "a@b": false, "a%2fb": false, "a:1": false, "-a": false, ".a": false, "a b": false, "": false, "é": false} {
		if err := k.Check("", map[string]string{"project": "p", "location": value}); (err == nil) != good {
			t.Errorf("%q: %v", value, err)
		}
	}
	if err := k.Check("", map[string]string{"project": "p", "location": "l", "regoin": "x"}); err == nil || !strings.Contains(err.Error(), "regoin is none of its kind's: location, project") {
		t.Error(err)
	}
	if err := providers.BuiltIn().Get("groq").Check("", map[string]string{"region": "x"}); err == nil || !strings.Contains(err.Error(), "nothing is to be filled in") {
		t.Error(err)
	}
}
