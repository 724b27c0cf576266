package acceptance

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"callgate/test/upstream"

	"github.com/tidwall/gjson"
	"golang.org/x/oauth2"
)

// walk is one step in a browser; see browser.mjs.
type walk struct {
	Op    string `json:"op"`
	At    string `json:"at,omitempty"`
	Label string `json:"label,omitempty"`
	Value string `json:"value,omitempty"`
	Name  string `json:"name,omitempty"`
	Width int    `json:"width,omitempty"`
	File  string `json:"file,omitempty"`
}

const phone = 360 // CSS pixels

// browse does the steps in Chromium. Each page on the way must be one that a person
// can use at any width, and that the browser does not complain of.
func (w *world) browse(steps ...walk) []gjson.Result {
	w.t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		w.t.Skip("SKIPPED: there is no chromium; .ci/run installs it")
	}
	if keep := os.Getenv("ACCEPTANCE_SCREENSHOTS"); keep != "" {
		for i := range steps {
			steps[i].File = filepath.Join(keep, strings.NewReplacer("/", "-", " ", "-").Replace(w.t.Name())+"-"+string(rune('a'+i))+".png")
		}
	}
	doc, err := json.Marshal(steps)
	must(w.t, err)
	seen := gjson.Parse(w.run("browser", nil, string(doc), the.node, mustAbs(w.t, "browser.mjs"), chromium)).Array()
	for i, s := range seen {
		if e := s.Get("error"); e.Exists() {
			w.t.Fatalf("step %d, %+v: %s at %s\n%s\n%s", i+1, steps[i], e.Str, s.Get("url"), s.Get("complaints"), s.Get("text"))
		}
		if !strings.HasPrefix(s.Get("url").Str, w.url) {
			continue
		}
		if s.Get("unlabelled.#").Int() > 0 || s.Get("over").Int() > 0 || s.Get("small.#").Int() > 0 || s.Get("scripts").Int() > 0 || !s.Get("styled").Bool() || s.Get("lang").Str != "en" || s.Get("complaints.#").Int() > 0 {
			w.t.Errorf("step %d, %+v: not as a page should be: %s", i+1, steps[i], s.Raw)
		}
	}
	return seen
}

// An app is where a browser is sent back to.
func app(t *testing.T) (landing string, came chan url.Values) {
	t.Helper()
	came = make(chan url.Values, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			came <- r.URL.Query()
			w.Write([]byte("<!doctype html><title>app</title>You can close this page."))
			return
		}
		w.WriteHeader(http.StatusNoContent) // its icon
	}))
	t.Cleanup(server.Close)
	return server.URL + "/callback", came
}

func (w *world) asks(client, landing string) (*oauth2.Config, string, string) {
	cfg := &oauth2.Config{ClientID: client, RedirectURL: landing, Endpoint: oauth2.Endpoint{AuthURL: w.url + "/oauth/authorize", TokenURL: w.url + "/oauth/token", AuthStyle: oauth2.AuthStyleInParams}}
	verifier := oauth2.GenerateVerifier()
	return cfg, verifier, cfg.AuthCodeURL("a state", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("resource", w.url+"/mcp"))
}

func (w *world) adminToken() string {
	w.t.Helper()
	token, err := os.ReadFile(filepath.Join(w.data, "admin.token"))
	must(w.t, err)
	return strings.TrimSpace(string(token))
}

const field = "The admin token"

func TestABrowserLogsInAndAllows(t *testing.T) {
	w := newWorld(t, func(upstream.Turn) upstream.Say { return upstream.Say{} })
	for name, width := range map[string]int{"a desktop": 1280, "a phone": phone} {
		t.Run(name, func(t *testing.T) {
			w := *w
			w.t = t
			landing, came := app(t)
			cfg, verifier, at := w.asks("app", landing)
			seen := w.browse(
				walk{Op: "width", Width: width},
				walk{Op: "open", At: at},
				walk{Op: "fill", Label: field, Value: "not the token, nor one of its length"},
				walk{Op: "click", Name: "Log in as admin"},
				walk{Op: "fill", Label: field, Value: w.adminToken()},
				walk{Op: "press", Name: "Enter"},
				walk{Op: "wait", At: w.url + "/oauth/authorize"},
				walk{Op: "click", Name: "Allow"},
				walk{Op: "wait", At: landing},
			)
			if text := seen[3].Get("text").Str; !strings.Contains(text, "That is not the admin token.") {
				t.Errorf("after a wrong token: %s", text)
			}
			for _, want := range []string{"An app", "127.0.0.1", "user:admin", "bot", "only at " + w.url + "/mcp", "Allow", "Do not allow"} {
				if !strings.Contains(seen[6].Get("text").Str, want) {
					t.Errorf("the page that asks does not say %q:\n%s", want, seen[6].Get("text").Str)
				}
			}
			q := <-came
			token, err := cfg.Exchange(t.Context(), q.Get("code"), oauth2.VerifierOption(verifier))
			must(t, err)
			if q.Get("state") != "a state" || q.Get("iss") != w.url || token.RefreshToken == "" {
				t.Errorf("it came back with %v, and got %v", q, token)
			}
		})
	}
}

func TestABrowserDoesNotAllow(t *testing.T) {
	w := newWorld(t, func(upstream.Turn) upstream.Say { return upstream.Say{} })
	landing, came := app(t)
	_, _, at := w.asks("app", landing)
	w.browse(
		walk{Op: "open", At: w.url + "/oauth/login"},
		walk{Op: "fill", Label: field, Value: w.adminToken()},
		walk{Op: "click", Name: "Log in as admin"},
		walk{Op: "open", At: at},
		walk{Op: "click", Name: "Do not allow"},
		walk{Op: "wait", At: landing},
	)
	if q := <-came; q.Get("error") != "access_denied" || q.Get("iss") != w.url || q.Has("code") {
		t.Errorf("it came back with %v", q)
	}
	if said := w.gate("audit", "tail", "-n", "1000"); !strings.Contains(said, "consent.denied") || strings.Contains(said, "consent.given") {
		t.Errorf("on record:\n%s", said)
	}
}

func TestABrowserAllowsADevice(t *testing.T) {
	w := newWorld(t, func(upstream.Turn) upstream.Say { return upstream.Say{} })
	cfg := &oauth2.Config{ClientID: "app", Endpoint: oauth2.Endpoint{TokenURL: w.url + "/oauth/token", DeviceAuthURL: w.url + "/oauth/device_authorization"}}
	device, err := cfg.DeviceAuth(t.Context())
	must(t, err)
	seen := w.browse(
		walk{Op: "width", Width: phone},
		walk{Op: "dark"},
		walk{Op: "open", At: device.VerificationURI},
		walk{Op: "fill", Label: field, Value: w.adminToken()},
		walk{Op: "click", Name: "Log in as admin"},
		walk{Op: "fill", Label: "The code", Value: strings.ToLower(device.UserCode)},
		walk{Op: "click", Name: "Go on"},
		walk{Op: "click", Name: "Allow"},
		walk{Op: "open", At: w.url + "/oauth/login"},
		walk{Op: "click", Name: "Log out"},
	)
	if text := seen[6].Get("text").Str; !strings.Contains(text, device.UserCode) {
		t.Errorf("the page that asks: %s", text)
	}
	if text := seen[7].Get("text").Str; !strings.Contains(text, "goes on by itself") {
		t.Errorf("after it was allowed: %s", text)
	}
	if title := seen[9].Get("title").Str; !strings.HasPrefix(title, "Log in") {
		t.Errorf("after the logout: %s", title)
	}
	if _, err := cfg.DeviceAccessToken(t.Context(), device); err != nil {
		t.Error(err)
	}
}

// A browser holds the form of the page that asks to where that may lead, through
// all redirects. Programs are at [::1] too, and lead on to pages of their own.
func TestABrowserIsLedOn(t *testing.T) {
	w := newWorld(t, func(upstream.Turn) upstream.Say { return upstream.Say{} })
	thanks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("<!doctype html><title>thanks</title>You can close this page."))
	}))
	t.Cleanup(thanks.Close)
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(listen, func(t *testing.T) {
			w := *w
			w.t = t
			l, err := net.Listen("tcp", listen)
			must(t, err)
			came := make(chan url.Values, 1)
			program := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				came <- r.URL.Query()
				http.Redirect(w, r, thanks.URL+"/thanks", http.StatusSeeOther)
			})}}
			program.Start()
			t.Cleanup(program.Close)
			_, _, at := w.asks("app", program.URL+"/callback")
			w.browse(
				walk{Op: "open", At: at},
				walk{Op: "fill", Label: field, Value: w.adminToken()},
				walk{Op: "click", Name: "Log in as admin"},
				walk{Op: "click", Name: "Allow"},
				walk{Op: "wait", At: thanks.URL + "/thanks"},
			)
			if q := <-came; q.Get("code") == "" {
				t.Errorf("it came back with %v", q)
			}
		})
	}
}

// Behind a proxy that speaks https, cookies are the host's alone (__Host-), and are
// never sent by http.
func TestABrowserLogsInByHTTPS(t *testing.T) {
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
	w := newWorldWith(t, func(upstream.Turn) upstream.Say { return upstream.Say{} }, func(at, config string) string {
		to, _ = url.Parse(at)
		return "public_url: " + proxy.URL + "\n" + config
	})
	w.url = proxy.URL
	landing, came := app(t)
	cfg, verifier, at := w.asks("app", landing)
	w.browse(
		walk{Op: "open", At: at},
		walk{Op: "fill", Label: field, Value: w.adminToken()},
		walk{Op: "click", Name: "Log in as admin"},
		walk{Op: "click", Name: "Allow"},
		walk{Op: "wait", At: landing},
	)
	q := <-came
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, proxy.Client())
	token, err := cfg.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(verifier))
	must(t, err)
	if q.Get("iss") != proxy.URL || token.RefreshToken == "" {
		t.Errorf("it came back with %v, and got %v", q, token)
	}
}
