package providers_test

import (
	"net/http"
	"strconv"
	"testing"

	"callgate/identity"
	"callgate/providers"
)

// Nothing in a request can choose a host, or leave the place that a model has in a path.
func TestAModelCannotLeaveItsPlaceInThePath(t *testing.T) {
	var asked []string
	at := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Host+r.RequestURI)
		answer(200, "application/json", chatReply)(w, r)
	}))
	host := at[len("http://"):]
	h := newHouseWith(t, providers.Config{}, map[string]providers.Provider{
		"az":  {Kind: "azure-openai-deployments", BaseURL: at + "/openai", Params: map[string]string{"resource": "r"}, APIKey: identity.NewSecret("k")},
		"lab": {Kind: "openai-compatible", BaseURL: at + "/v1"},
	})
	door := h.url(t)
	const end = "/chat/completions?api-version=2024-10-21"
	for _, tt := range []struct{ model, path string }{
		{"gpt-4.1", "gpt-4.1"},
		{"a/b", "a%2Fb"},
		{"a:b@c~d+e_f", "a%3Ab@c~d%2Be_f"},
		{"..", ""}, {".", ""}, {"a/..", ""}, {"../a", ""}, {"a/../b", ""}, {"a//b", ""}, {"/a", ""}, {"a/", ""}, {"a/.../b", ""},
		{"a%2fb", ""}, {"a%2e%2e", ""}, {"a?b", ""}, {"a#b", ""}, {"a;b", ""}, {`a\b`, ""}, {"a&b", ""}, {"é", ""}, {"a\u202eb", ""}, {"@evil.example/", ""}, {"//evil.example/x", ""},
	} {
		asked = nil
		resp, body := post(t, door, "/v1/chat/completions", `{"model":`+strconv.Quote("az/"+tt.model)+`,"messages":[]}`)
		switch {
		case tt.path == "" && (resp.StatusCode != 400 || asked != nil):
			t.Errorf("%s: %d %s; asked %v", tt.model, resp.StatusCode, body, asked)
		case tt.path != "" && (len(asked) != 1 || asked[0] != host+"/openai/deployments/"+tt.path+end):
			t.Errorf("%s: %d; asked %v", tt.model, resp.StatusCode, asked)
		}
		asked = nil
		post(t, door, "/v1/chat/completions", `{"model":`+strconv.Quote("lab/"+tt.model)+`,"messages":[]}`)
		if len(asked) == 1 && asked[0] != host+"/v1/chat/completions" {
			t.Errorf("%s: asked %v", tt.model, asked)
		}
	}
}

func TestAClientsQueryCannotSayWhoCalls(t *testing.T) {
	var asked string
	at := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.RawQuery
		answer(200, "application/json", chatReply)(w, r)
	}))
	h := newHouseWith(t, providers.Config{}, map[string]providers.Provider{"lab": {Kind: "openai-compatible", BaseURL: at + "/v1", APIKey: identity.NewSecret("k")}})
	door := h.url(t)
	for query, want := range map[string]string{
		"":                                 "",
		"a=1&b=%20x":                       "a=1&b=%20x",
		"beta=true":                        "beta=true",
		"key=mine":                         "",
		"a=1&Api-Key=mine&b=2":             "a=1&b=2",
		"%6bey=mine&a=1":                   "a=1",
		"X-Amz-Signature=f&a=1":            "a=1",
		"a=1;key=mine":                     "",
		"a=%zz&access_token=1":             "a=%zz",
		"x-goog-api-key=1&token=2&api_key": "",
	} {
		asked = "nothing"
		post(t, door, "/v1/chat/completions?"+query, `{"model":"lab/m","messages":[]}`)
		if asked != want {
			t.Errorf("%s: asked %s, want %s", query, asked, want)
		}
	}
}
