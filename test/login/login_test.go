// Package login has people log in to callgate in a real browser, and OAuth clients
// that share no code with callgate get tokens from it: golang.org/x/oauth2 and those
// of zitadel/oidc, whose provider is also where people log in. It is a module of its
// own, so that nothing of them is in callgate's.
package login

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callgate/test/program"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"golang.org/x/oauth2"
)

var binary string // callgate

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "login")
	if err == nil {
		binary, err = program.Build(dir, true)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

const (
	webSecret = "a-secret-of-the-web-client-0123456789"
	agentJSON = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`

	config = `
listen: 127.0.0.1:%[1]s
data: %[2]s
admin: {listen: "127.0.0.1:%[3]s"}
identity:
  default_agent: bot
  registration: true
  clients:
    - {id: cli, name: Command line, redirect_uris: ["http://127.0.0.1/callback", "http://[::1]/callback"]}
    - {id: web, name: Web app, redirect_uris: ["http://127.0.0.1/callback"], secret: "file:%[4]s"}
  oidc: {issuer: "%[5]s", client_id: callgate, client_secret: "file:%[6]s"}
users:
  - {name: ana, email: test-user@zitadel.ch}
policy: [policy.csv]
`
)

// A gate is a callgate that runs, and where its people log in.
type gate struct {
	t     testing.TB
	url   string
	data  string
	agent struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
}

func newGate(t testing.TB, more ...string) *gate {
	t.Helper()
	dir := t.TempDir()
	g := &gate{t: t, data: filepath.Join(dir, "data")}
	port := program.FreePort(t)
	g.url = "http://127.0.0.1:" + port
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	issuer := provider(t, g.url+"/oauth/login/callback")
	write("policy.csv", "p, group:everyone, *, tool:*, call, true, allow, A\n")
	text := fmt.Sprintf(config, port, g.data, program.FreePort(t), write("web.secret", webSecret), issuer, write("oidc.secret", "secret"))
	file := write("callgate.yaml", text+strings.Join(more, ""))
	program.Start(t, program.Program{Args: []string{binary, "serve", "-c", file}, Dir: dir, Log: filepath.Join(dir, "callgate.log"), Clean: true})
	program.WaitFor(t, g.url+"/healthz")
	if err := json.Unmarshal([]byte(program.Command(t, binary, g.data, "agent", "create", "bot", "--owner", "user:ana", "--json")), &g.agent); err != nil {
		t.Fatal(err)
	}
	return g
}

// provider is a real OpenID provider, where callgate is a client. Its user is
// test-user@localhost.
func provider(t testing.TB, back string) (issuer string) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	_, port, _ := strings.Cut(s.Listener.Addr().String(), ":")
	issuer = "http://localhost:" + port + "/"
	storage.RegisterClients(storage.WebClient("callgate", "secret", back))
	s.Config.Handler = exampleop.SetupServer(issuer, storage.NewStorage(storage.NewUserStore(issuer)), slog.New(slog.NewTextHandler(io.Discard, nil)), false)
	s.Start()
	t.Cleanup(s.Close)
	return issuer
}

// back is where a client is sent back to: it tells with what.
func back(t testing.TB) (redirect string, came <-chan url.Values) {
	t.Helper()
	ch := make(chan url.Values, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			ch <- r.URL.Query()
		}
		fmt.Fprint(w, "<!doctype html><title>back</title><p id=back>You are back.")
	}))
	t.Cleanup(s.Close)
	return s.URL + "/callback", ch
}

func (g *gate) endpoint() oauth2.Endpoint {
	g.t.Helper()
	resp, err := http.Get(g.url + "/.well-known/oauth-authorization-server")
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	var m struct {
		Issuer string `json:"issuer"`
		Auth   string `json:"authorization_endpoint"`
		Token  string `json:"token_endpoint"`
		Device string `json:"device_authorization_endpoint"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil || m.Issuer != g.url {
		g.t.Fatal(m, err)
	}
	return oauth2.Endpoint{AuthURL: m.Auth, TokenURL: m.Token, DeviceAuthURL: m.Device}
}

// good says whether client, which sends a token by itself, may come in: to the tools,
// and to the models.
func (g *gate) good(client *http.Client) error {
	req, err := http.NewRequest(http.MethodPost, g.url+"/mcp", strings.NewReader(agentJSON))
	if err != nil {
		return err
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"tools/list"}}
	for _, try := range []func() (*http.Response, error){
		func() (*http.Response, error) { return client.Do(req) },
		func() (*http.Response, error) { return client.Get(g.url + "/v1/models") },
	} {
		resp, err := try()
		if err != nil {
			return err
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: HTTP %d %s", resp.Request.URL.Path, resp.StatusCode, body)
		}
	}
	return nil
}

// audit is what is on record of a kind.
func (g *gate) audit(kind string) string {
	g.t.Helper()
	var list []string
	for line := range strings.Lines(program.Command(g.t, binary, g.data, "audit", "tail", "-n", "1000")) {
		if strings.Contains(line, kind) {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return strings.Join(list, "\n")
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
