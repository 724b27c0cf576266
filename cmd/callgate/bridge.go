package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"callgate/cmd/callgate/internal/bridge"
	"callgate/cmd/callgate/internal/console"
	"callgate/identity"

	"github.com/spf13/cobra"
)

func (p *program) mcpBridge() *cobra.Command {
	var agent, at string
	cmd := &cobra.Command{
		Use:   "bridge [SERVER]",
		Short: "be an MCP server on stdin and stdout, for clients that speak nothing else",
		Long: `Be an MCP server on stdin and stdout that leads to a server behind a running gate,
or to all of them in one if SERVER is left out. Clients that can speak HTTP do not
need it: they go to /mcp or /mcp/SERVER themselves.

Write it where a client starts its servers. For Claude Desktop, Claude Code (.mcp.json),
Cursor and others with a gate on the same machine, as the agent bot:

  {"mcpServers": {
    "files": {"command": "callgate",
              "args": ["mcp", "bridge", "files", "--agent", "bot", "--data", "/var/lib/callgate"]}
  }}

and with a gate elsewhere, by the client's own credentials:

  {"mcpServers": {
    "files": {"command": "callgate", "args": ["mcp", "bridge", "files"],
              "env": {"CALLGATE_GATE": "https://gate.example",
                      "CALLGATE_CLIENT_ID": "bot", "CALLGATE_CLIENT_SECRET": "..."}}
  }}

Where the gate is: --url; else, without --data, CALLGATE_GATE; else the data folder,
where a gate that runs says it.

Who the client is, the first of these that there is:
  --agent NAME             asks the gate for tokens of NAME with the admin token, as callgate token does
  CALLGATE_TOKEN           an access token, used as it is; when it expires, so does the bridge's use
  CALLGATE_CLIENT_ID and CALLGATE_CLIENT_SECRET   what agent create printed; gets tokens by itself

A gate that is down, or started again, is waited for: 10 s for each request, which is
answered with an error then. Messages stay byte for byte what they are.`,
		Example: `  callgate mcp bridge files --agent bot
  CALLGATE_TOKEN=$(callgate token bot) callgate mcp bridge --url https://gate.example`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("want one server, or none for all (%s --help shows examples)", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg := bridge.Config{Gate: p.gate(at), Logger: slog.New(slog.NewTextHandler(p.err, nil))}
			if len(args) > 0 {
				cfg.Server = args[0]
			}
			if base, err := cfg.Gate(); errors.Is(err, errInClear) {
				return usageError{err}
			} else if err == nil {
				cfg.Logger.Info("bridge", "gate", base, "server", cfg.Server)
			}
			var err error
			if cfg.Mint, cfg.Remedy, err = p.purse(agent, cfg.Gate); err != nil {
				return usageError{err}
			}
			return p.runBridge(bridge.New(cfg))
		},
	}
	cmd.Flags().StringVar(&agent, "agent", "", "act as this agent, by the admin token in the data folder")
	cmd.Flags().StringVar(&at, "url", "", "the gate's address for agents (env CALLGATE_GATE; default: as the data folder says)")
	return cmd
}

// runBridge serves until the client is done, or a signal comes. A second signal, or
// one after the client is done, does not wait for answers in flight.
func (p *program) runBridge(b *bridge.Bridge) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case <-signals:
				b.Stop()
			case <-done:
				return
			}
		}
	}()
	return b.Run(p.in, p.out)
}

var errInClear = errors.New("want https://host, or http:// for this machine; tokens must not cross a network in clear")

// gate finds the address at which agents reach the gate: at, or what stands for
// it. It looks again each time, because the gate may be elsewhere after a start.
func (p *program) gate(at string) func() (string, error) {
	dir, flag := p.folder()
	from := "--url"
	if at == "" && !flag {
		at, _ = p.env("CALLGATE_GATE")
		from = "CALLGATE_GATE"
	}
	return func() (string, error) {
		if at != "" {
			if !mayCarryTokens(at) {
				return "", fmt.Errorf("%s is %q: %w", from, at, errInClear)
			}
			return at, nil
		}
		text, err := os.ReadFile(filepath.Join(dir, gateFile))
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("no gate runs with the data folder %s: start one with callgate serve, or say where it is with --data, --url or CALLGATE_GATE", dir)
		}
		if err != nil {
			return "", fmt.Errorf("find the gate: %w", err)
		}
		return strings.TrimSpace(string(text)), nil
	}
}

// purse is how the bridge gets its tokens, and what a person is to do if that is
// not possible any more.
func (p *program) purse(agent string, gate func() (string, error)) (mint func(context.Context) (bridge.Token, error), remedy string, err error) {
	token, _ := p.env("CALLGATE_TOKEN")
	id, _ := p.env("CALLGATE_CLIENT_ID")
	secret, _ := p.env("CALLGATE_CLIENT_SECRET")
	switch {
	case agent != "":
		return func(ctx context.Context) (bridge.Token, error) { return p.mintAs(ctx, agent) }, "", nil
	case token != "":
		fixed := bridge.Token{Access: identity.NewSecret(strings.TrimSpace(token))}
		return func(context.Context) (bridge.Token, error) { return fixed, nil },
			"set CALLGATE_TOKEN to a new one, or use --agent, or CALLGATE_CLIENT_ID and CALLGATE_CLIENT_SECRET, which get new ones by themselves", nil
	case id != "" && secret != "":
		return func(ctx context.Context) (bridge.Token, error) { return grant(ctx, gate, id, secret) }, "", nil
	case id != "" || secret != "":
		return nil, "", errors.New("set both CALLGATE_CLIENT_ID and CALLGATE_CLIENT_SECRET: callgate agent create prints them")
	}
	return nil, "", errors.New("whose calls will these be? Say --agent NAME on the gate's machine, or set CALLGATE_CLIENT_ID and CALLGATE_CLIENT_SECRET, or CALLGATE_TOKEN (callgate mcp bridge --help shows examples)")
}

// expiring is a token that the gate gave for some seconds.
func expiring(token string, seconds int64) bridge.Token {
	return bridge.Token{Access: identity.NewSecret(token), Expires: time.Now().Add(time.Duration(seconds) * time.Second)}
}

// mintAs gets a token by the admin API.
func (p *program) mintAs(ctx context.Context, agent string) (bridge.Token, error) {
	c, err := p.client()
	if err != nil {
		return bridge.Token{}, err
	}
	var t console.Token
	err = c.call(ctx, http.MethodPost, "/agents/"+url.PathEscape(agent)+"/token", console.NewToken{}, &t)
	var no *apiError
	if errors.As(err, &no) && no.Code != "unavailable" && no.Code != "internal" {
		return bridge.Token{}, fmt.Errorf("%w: %w", bridge.ErrRefused, err)
	}
	return expiring(t.AccessToken, t.ExpiresIn), err
}

// grant gets a token as any client of OAuth does.
func grant(ctx context.Context, gate func() (string, error), id, secret string) (bridge.Token, error) {
	base, err := gate()
	if err != nil {
		return bridge.Token{}, err
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(base, "/")+"/oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		return bridge.Token{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := direct(answerTimeout).Do(req)
	if err != nil {
		return bridge.Token{}, fmt.Errorf("the gate at %s does not answer (is callgate serve running?): %w", base, cause(err))
	}
	defer resp.Body.Close()
	doc, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return bridge.Token{}, err
	}
	var t struct {
		Access  string `json:"access_token"`
		Expires int64  `json:"expires_in"`
		Error   string `json:"error"`
		Text    string `json:"error_description"`
	}
	err = json.Unmarshal(doc, &t)
	switch {
	case err == nil && resp.StatusCode == http.StatusOK && t.Access != "":
		return expiring(t.Access, t.Expires), nil
	case err == nil && t.Error != "" && (resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusUnauthorized):
		return bridge.Token{}, fmt.Errorf("%w: %s (CALLGATE_CLIENT_ID is %s)", bridge.ErrRefused, tame(t.Text), tame(id))
	}
	return bridge.Token{}, fmt.Errorf("%s gives no token: %s", base, resp.Status)
}
