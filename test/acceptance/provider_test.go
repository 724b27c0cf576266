package acceptance

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"callgate/test/upstream"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
	"golang.org/x/oauth2"
)

// newProvider is zitadel's OpenID provider, with its own pages, users and keys, at
// which callgate is registered. It tells mail addresses at its userinfo endpoint
// alone, as OpenID Connect has it (5.4) and many do not.
func newProvider(t *testing.T, callgate string) string {
	t.Helper()
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	storage.RegisterClients(storage.WebClient("callgate", webSecret, callgate+"/oauth/login/callback"))
	handler = exampleop.SetupServer(server.URL, storage.NewStorage(storage.NewUserStore(server.URL)), nil, false, op.WithAllowInsecure())
	return server.URL
}

func TestABrowserLogsInAtAProvider(t *testing.T) {
	provider := ""
	w := newWorldWith(t, func(upstream.Turn) upstream.Say { return upstream.Say{} }, func(url, config string) string {
		provider = newProvider(t, url)
		return strings.Replace(config, "\nidentity:\n", "\nidentity:\n  oidc: {issuer: \""+provider+"\", client_id: callgate, client_secret: \"env:WEB_SECRET\"}\n", 1) +
			"users:\n  - {name: ana, email: test-user2@zitadel.ch}\n"
	})
	landing, came := app(t)
	cfg, verifier, at := w.asks("app", landing)
	seen := w.browse(
		walk{Op: "width", Width: phone},
		walk{Op: "open", At: at},
		walk{Op: "link", Name: "Log in at " + strings.TrimPrefix(provider, "http://")},
		walk{Op: "fill", Label: "Username:", Value: "test-user2"},
		walk{Op: "fill", Label: "Password:", Value: "verysecure"},
		walk{Op: "click", Name: "Login"},
		walk{Op: "wait", At: w.url + "/oauth/authorize"},
		walk{Op: "click", Name: "Allow"},
		walk{Op: "wait", At: landing},
	)
	if text := seen[6].Get("text").Str; !strings.Contains(text, "user:ana") {
		t.Errorf("the page that asks: %s", text)
	}
	q := <-came
	token, err := cfg.Exchange(t.Context(), q.Get("code"), oauth2.VerifierOption(verifier))
	must(t, err)
	if token.RefreshToken == "" {
		t.Errorf("it got %v", token)
	}
	said := w.gate("audit", "tail", "-n", "1000")
	for _, want := range []string{"login.done", "consent.given", "user:ana"} {
		if !strings.Contains(said, want) {
			t.Errorf("no %s on record:\n%s", want, said)
		}
	}
}
