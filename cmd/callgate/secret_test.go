package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/firewall"
	"callgate/firewall/policy"
	"callgate/identity"

	"filippo.io/age"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// A transcript is all that anybody gets to see.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

// A bomb is a guard that fails with all that it knows.
type bomb struct{}

func (bomb) Name() string { return "bomb" }

func (bomb) Request(context.Context, *firewall.Call) (firewall.Decision, error) {
	return firewall.Decision{Effect: firewall.Allow}, nil
}

func (bomb) Reply(_ context.Context, call *firewall.Call, events firewall.Events) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		for ev, err := range events {
			if bytes.Contains(call.Body.JSON, []byte("explode")) {
				panic(fmt.Sprintf("%+v %#v", call, call))
			}
			if !yield(ev, err) {
				return
			}
		}
	}
}

// planted are the secrets of the run below, by where they are kept.
var planted = map[string]string{
	"the vault, at first": "canary-sealed-1-Zk3v9QwX7pLm2",
	"the vault, rotated":  "canary-sealed-2-Ht8s4RbN6yUc1",
	"a file, at first":    "canary-file-1-Jd5f7GhK9lPo3",
	"a file, changed":     "canary-file-2-Vb2n4MqW6eRt8",
	"the environment":     "canary-env-Xc1v3BnM5aSd7",
	"HashiCorp Vault":     "canary-hashi-Qw2e4RtY6uIo8",
	"its secret_id":       "canary-secretid-As3d5FgH7jKl9",
	"its token":           "canary-hvs-Zx4c6VbN8mQw1",
	"the cloud":           "canary-ya29-Er5t7YuI9oPa2",
	"a client secret":     "canary-client-Sd6f8GhJ1kLz3",
	"a process":           "canary-process-Cv7b9NmQ2wEr4",
}

// lockedTarget answers as a model and as an MCP server, to whoever shows one of the
// planted secrets. It tells others what they have shown.
func lockedTarget(t *testing.T) string {
	s := server.NewMCPServer("till", "1", server.WithToolCapabilities(false))
	s.AddTool(mcp.NewTool("echo"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText("hi"), nil
	})
	tools := server.NewStreamableHTTPServer(s)
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") + r.Header.Get("X-Key")
		good := false
		for _, secret := range planted {
			good = good || shown == secret
		}
		switch {
		case !good || strings.HasPrefix(r.URL.Path, "/refuse"):
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"error":{"message":"wrong key: %s"}}`, shown)
		case strings.HasSuffix(r.URL.Path, "/models"):
			io.WriteString(w, `{"data":[{"id":"m"}]}`)
		case strings.HasSuffix(r.URL.Path, "/chat/completions"):
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"id":"1","choices":[{"message":{"content":"hi"}}]}`)
		default:
			tools.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(ts.Close)
	return ts.URL
}

// keeper answers as HashiCorp Vault and as the metadata server of Google Cloud.
func keeper(t *testing.T) string {
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/auth/approle/login":
			fmt.Fprintf(w, `{"auth":{"client_token":%q,"lease_duration":3600,"renewable":true}}`, planted["its token"])
		case "/v1/secret/data/lab":
			fmt.Fprintf(w, `{"data":{"data":{"key":%q},"metadata":{"version":1}}}`, planted["HashiCorp Vault"])
		case "/computeMetadata/v1/instance/service-accounts/default/token":
			w.Header().Set("Metadata-Flavor", "Google")
			fmt.Fprintf(w, `{"access_token":%q,"expires_in":3599,"token_type":"Bearer"}`, planted["the cloud"])
		default:
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, `{"errors":["permission denied for %s"]}`, r.Header.Get("X-Vault-Token"))
		}
	}))
	t.Cleanup(ts.Close)
	return ts.URL
}

func TestNoSecretIsSeenAnywhere(t *testing.T) {
	seal, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	planted := mapWith(planted, "the seal key", seal.String())
	up, vault := lockedTarget(t), keeper(t)
	dir := in(t, map[string]string{
		"model.key": planted["a file, at first"] + "\n", "secret.id": planted["its secret_id"],
		"policy.csv": "p, role:dev, *, model:*, generate, true, allow, R1\np, role:dev, *, tool:*, call, true, allow, R2\n",
		"callgate.yaml": strings.NewReplacer("UP", up, "VAULT", vault).Replace(`
listen: 127.0.0.1:0
admin: {listen: 127.0.0.1:0}
data: DATA
providers:
  sealed:  {kind: openai, base_url: UP/v1, api_key: "secret:lab"}
  filed:   {kind: openai, base_url: UP/v1, api_key: "file:model.key"}
  env:     {kind: openai, base_url: UP/v1, api_key: "env:LAB_KEY"}
  hashi:   {kind: openai, base_url: UP/v1, api_key: "vault:secret/lab#key"}
  nowhere: {kind: openai, base_url: UP/v1, api_key: "vault:secret/nowhere#key"}
  cloud:   {kind: openai, base_url: UP/v1, api_key: "gcp:https://www.googleapis.com/auth/cloud-platform"}
  refused: {kind: openai, base_url: UP/refuse/v1, api_key: "env:LAB_KEY"}
  down:    {kind: openai, base_url: "http://127.0.0.1:1/v1", api_key: "secret:lab"}
mcp:
  servers:
    till:    {url: UP/mcp, headers: {X-Key: "secret:lab"}}
    bearer:  {url: UP/mcp, headers: {Authorization: "Bearer file:model.key"}}
    refused: {url: UP/refuse, headers: {X-Key: "env:LAB_KEY"}}
    process: {command: [/bin/sh, -c, "exit 1"], env: {API_TOKEN: "env:PROCESS_KEY"}}
    oauth:   {url: UP/mcp, oauth: {grant: client_credentials, issuer: "http://127.0.0.1:1", client_id: c, client_secret: "env:CLIENT_SECRET"}}
vault: {address: VAULT, approle: {role_id: role, secret_id: "file:secret.id"}}
identity: {seal_key: "env:SEAL_KEY"}
agents: [{name: bot, roles: [dev]}, {name: intern, roles: [dev]}]
policy: [policy.csv]
`),
	})
	config := filepath.Join(dir, "callgate.yaml")
	data := filepath.Join(dir, "DATA")
	env := environment("LAB_KEY", planted["the environment"], "PROCESS_KEY", planted["a process"], "CLIENT_SECRET", planted["a client secret"],
		"SEAL_KEY", planted["the seal key"], "GCE_METADATA_HOST", strings.TrimPrefix(vault, "http://"))

	var seen transcript
	log := slog.New(slog.NewTextHandler(&seen, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
	reread := func() (Config, *policy.Policy, error) { return readAll(config, Overrides{}, env) }
	cfg, law, err := reread()
	if err != nil {
		t.Fatal(err)
	}
	s, err := start(t.Context(), cfg, law, reread, log)
	if err != nil {
		t.Fatal(err)
	}
	h := s.house
	h.guards = append(h.guards, bomb{})
	h.gate.SetLaw(h.lawOf(law, nil))

	command := func(in string, args ...string) {
		t.Helper()
		p := &program{in: strings.NewReader(in), out: &seen, err: &seen, env: env}
		fmt.Fprintf(&seen, "$ %q: %d\n", args, p.run(t.Context(), append(args, "--data", data)))
	}
	ask := func(method, url, token, body string, header ...string) int {
		req, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return 0
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Accept", "application/json, text/event-stream")
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return 0
		}
		defer resp.Body.Close()
		fmt.Fprintf(&seen, "%s %s\n", method, url)
		resp.Header.Write(&seen)
		io.Copy(&seen, resp.Body)
		return resp.StatusCode
	}
	gate := "http://" + s.agents.addr()
	token := func(agent string) string {
		t.Helper()
		made, err := h.authority.Mint(t.Context(), agent, identity.MintOptions{TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return made.Access.Reveal()
	}
	bot, intern := token("bot"), token("intern")
	var mu sync.Mutex
	status := make(map[string]int)
	model := func(provider, token, text string) {
		code := ask("POST", gate+"/v1/chat/completions", token, fmt.Sprintf(`{"model":"%s/m","messages":[{"role":"user","content":%q}]}`, provider, text))
		mu.Lock()
		defer mu.Unlock()
		status[provider] = code
	}
	everything := func(token string) {
		var all sync.WaitGroup
		defer all.Wait()
		for name := range cfg.Providers {
			all.Go(func() { model(name, token, "hello") })
		}
		for name := range cfg.MCP.Servers {
			all.Go(func() {
				ask("POST", gate+"/mcp/"+name, token, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`,
					"Content-Type", "application/json", "MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "echo")
			})
		}
		ask("GET", gate+"/v1/models", token, "")
	}

	everything(bot) // the secret is not there
	command(planted["the vault, at first"]+"\n", "secret", "put", "lab", "--agents", "agent:bot")
	everything(bot)
	want := map[string]int{"sealed": 200, "filed": 200, "env": 200, "hashi": 200, "cloud": 200, "nowhere": 503, "refused": 401, "down": 503}
	for name, code := range want {
		if status[name] != code {
			t.Errorf("provider %s answered %d, want %d", name, status[name], code)
		}
	}
	everything(intern)
	if status["sealed"] != 403 {
		t.Errorf("out of scope: %d", status["sealed"])
	}
	model("sealed", bot, "explode")
	command(planted["the vault, rotated"], "secret", "rotate", "lab")
	command(planted["the vault, at first"], "secret", "put", "lab") // which is taken
	command(planted["the vault, at first"], "secret", "put", "Bad/Name")
	command("", "secret", "scope", "lab")
	if err := os.WriteFile(filepath.Join(dir, "model.key"), []byte(planted["a file, changed"]), 0o600); err != nil {
		t.Fatal(err)
	}
	command("", "reload")
	everything(bot)
	if status["sealed"] != 200 || status["filed"] != 200 {
		t.Errorf("after a rotation: %v", status)
	}
	admin, err := os.ReadFile(filepath.Join(data, tokenFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/api/v1/secrets", "/api/v1/secrets/lab", "/api/v1/status", "/api/v1/calls", "/api/v1/records", "/api/v1/mcp/servers", "/metrics", "/readyz"} {
		if code := ask("GET", "http://"+s.people.addr()+path, strings.TrimSpace(string(admin)), ""); code != 200 && path != "/readyz" && path != "/metrics" {
			t.Errorf("GET %s: %d", path, code)
		}
	}
	ask("POST", "http://"+s.people.addr()+"/api/v1/secrets", strings.TrimSpace(string(admin)), `{"name":"x","value":"`+planted["the vault, at first"]+`","wrong":1}`)
	ask("POST", "http://"+s.people.addr()+"/api/v1/secrets", strings.TrimSpace(string(admin)), `{"name":"x","value":["`+planted["the vault, at first"]+`"]}`)
	for _, args := range [][]string{
		{"secret", "list"}, {"secret", "show", "lab"}, {"secret", "list", "--json"}, {"audit", "query", "--limit", "1000", "--json"}, {"audit", "query"},
		{"audit", "tail", "-n", "1000"}, {"mcp", "list", "--tools"}, {"doctor", "-c", config, "--json"}, {"agent", "list"}, {"secret", "rm", "lab"},
	} {
		command("", args...)
	}
	fmt.Fprintf(&seen, "%v %+v %#v\n", cfg, cfg, cfg) // a dump of the configuration
	fmt.Fprintf(&seen, "%+v %#v\n", h.secrets.List(), h.sources)
	if doc, err := json.Marshal(cfg.Providers); err != nil {
		t.Error(err)
	} else {
		seen.Write(doc)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	err = filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error { // the ledger, the databases, whatever else
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		fmt.Fprintf(&seen, "file %s\n%s\n", path, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	text := seen.text.String()
	for _, must := range []string{"secret:lab@1", "secret:lab@2", "vault:secret/lab#key@1", "env:LAB_KEY", "call panicked", "secret.denied", "may not be used by agent:intern", "SQLite format 3"} {
		if !strings.Contains(text, must) {
			t.Errorf("the run was not busy enough: there is no %s", must)
		}
	}
	for where, secret := range planted {
		sum := sha256.Sum256([]byte(secret))
		for how, form := range map[string]string{
			"as it is": secret, "in part": secret[len(secret)-12:], "in base64": base64.StdEncoding.EncodeToString([]byte(secret))[:24],
			"in hex": hex.EncodeToString([]byte(secret))[:32], "as a hash": hex.EncodeToString(sum[:8]), "as a hash in base64": base64.RawURLEncoding.EncodeToString(sum[:9]),
		} {
			if at := strings.Index(text, form); at >= 0 {
				t.Errorf("the secret in %s is seen %s: …%q", where, how, text[max(0, at-300):at])
			}
		}
	}
}

func mapWith(m map[string]string, name, value string) map[string]string {
	all := map[string]string{name: value}
	for k, v := range m {
		all[k] = v
	}
	return all
}
