package login

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"golang.org/x/oauth2"
)

// A browser holds the form of the page that asks to where that may lead, through all
// redirects. Programs are at [::1] too, and lead on to pages of their own.
func TestAPersonIsLedOn(t *testing.T) {
	g := newGate(t)
	thanks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("<!doctype html><title>thanks</title><p id=thanks>You can close this page."))
	}))
	t.Cleanup(thanks.Close)
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(listen, func(t *testing.T) {
			l, err := net.Listen("tcp", listen)
			if err != nil {
				t.Fatal(err)
			}
			came := make(chan url.Values, 1)
			program := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				came <- r.URL.Query()
				http.Redirect(w, r, thanks.URL+"/thanks", http.StatusSeeOther)
			})}}
			program.Start()
			t.Cleanup(program.Close)
			client := oauth2.Config{ClientID: "cli", Endpoint: g.endpoint(), RedirectURL: program.URL + "/callback"}
			p := newPerson(t)
			p.logsIn(client.AuthCodeURL("state", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
			p.answers("#allow")
			p.does("be led on", chromedp.WaitVisible(chromedp.CSS("#thanks")))
			if got := <-came; got.Get("code") == "" || got.Get("iss") != g.url {
				t.Error(got)
			}
		})
	}
}

// Behind a proxy that speaks https, cookies are the host's alone (__Host-), and are
// never sent by http.
func TestAPersonLogsInByHTTPS(t *testing.T) {
	var to *url.URL
	proxy := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}, ModifyResponse: func(r *http.Response) error {
		for _, c := range r.Header.Values("Set-Cookie") {
			if !strings.HasPrefix(c, "__Host-") || !strings.Contains(c, "; Secure") || !strings.Contains(c, "; HttpOnly") || strings.Contains(c, "Domain") {
				t.Errorf("a cookie is %s", c[:strings.Index(c, "=")])
			}
		}
		return nil
	}})
	t.Cleanup(proxy.Close)
	g := newGate(t, "public_url: "+proxy.URL+"\n")
	to, _ = url.Parse(g.url)
	redirect, came := back(t)
	client := oauth2.Config{ClientID: "cli", RedirectURL: redirect, Endpoint: oauth2.Endpoint{AuthURL: proxy.URL + "/oauth/authorize", TokenURL: proxy.URL + "/oauth/token", AuthStyle: oauth2.AuthStyleInParams}}
	admin, err := os.ReadFile(filepath.Join(g.data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	verifier := oauth2.GenerateVerifier()
	p := newPerson(t, chromedp.Flag("ignore-certificate-errors", true))
	p.logsInAsAdmin(client.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)), strings.TrimSpace(string(admin)))
	p.answers("#allow")
	p.does("be back", chromedp.WaitVisible(chromedp.CSS("#back")))
	got := <-came
	if got.Get("iss") != proxy.URL {
		t.Error(got)
	}
	g.url = proxy.URL // whose certificate the client knows
	ctx := context.WithValue(within(t), oauth2.HTTPClient, proxy.Client())
	token, err := client.Exchange(ctx, got.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.good(client.Client(ctx, token)); err != nil {
		t.Error(err)
	}
}
