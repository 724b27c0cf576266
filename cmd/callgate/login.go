package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"runtime"
	"strings"

	"callgate/cmd/callgate/internal/console"
	"callgate/firewall"
	"callgate/mcp"

	"github.com/spf13/cobra"
)

// server is the one of that name, as it is now.
func (h *house) server(name string) (*mcp.Server, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.servers[name]; s != nil {
		return s, nil
	}
	return nil, firewall.Refuse(firewall.NotFound, "there is no MCP server %.40q; callgate mcp list shows the servers", name)
}

// beginLogin has a person log in at a server.
func (h *house) beginLogin(ctx context.Context, server string, n console.NewLogin) (console.Login, error) {
	s, err := h.server(server)
	if err != nil {
		return console.Login{}, err
	}
	holder := ""
	switch {
	case n.Agent != "":
		if _, ok := h.registry.Get(n.Agent); !ok {
			return console.Login{}, firewall.Refuse(firewall.NotFound, "there is no agent %.80q; callgate agent list shows the agents", n.Agent)
		}
		holder = "agent:" + n.Agent
	case n.User != "":
		if holder, err = userHolder(n.User); err != nil {
			return console.Login{}, err
		}
	}
	l, err := s.BeginLogin(ctx, holder, n.Scopes)
	return shownLogin(l), err
}

func (h *house) login(ctx context.Context, id string) (console.Login, bool) {
	l, ok := h.vault.Login(ctx, id)
	return shownLogin(l), ok
}

func (h *house) logins() []console.Login {
	list := []console.Login{} // [] and not null
	for _, l := range h.vault.Logins() {
		list = append(list, shownLogin(l))
	}
	return list
}

func (h *house) endLogin(ctx context.Context, server string, o console.OldLogin) (int, error) {
	s, err := h.server(server)
	if err != nil {
		return 0, err
	}
	switch {
	case o.All:
		return s.EndLogin(ctx, "*")
	case o.Agent != "":
		return s.EndLogin(ctx, "agent:"+o.Agent)
	case o.User != "":
		holder, err := userHolder(o.User)
		if err != nil {
			return 0, err
		}
		return s.EndLogin(ctx, holder)
	}
	return s.EndLogin(ctx, "")
}

// userHolder is the user that name, with or without user:, stands for.
func userHolder(name string) (string, error) {
	holder := "user:" + strings.TrimPrefix(name, "user:")
	if !ownerName.MatchString(holder) {
		return "", firewall.Refuse(firewall.Invalid, "%.80q is no user; write NAME or user:NAME", name)
	}
	return holder, nil
}

func shownLogin(l mcp.Login) console.Login {
	return console.Login{
		ID: l.ID, Server: l.Server, Holder: l.Holder, State: l.State, URL: l.URL, Issuer: l.Issuer,
		Scopes: append([]string{}, l.Scopes...), Reason: l.Reason, Expires: l.Expires,
	}
}

func (p *program) mcpLogin() *cobra.Command {
	var n console.NewLogin
	var quiet bool
	cmd := &cobra.Command{
		Use: "login SERVER", Short: "log in at an MCP server that wants OAuth, so that the gate has a token for it",
		Long: `Log in at an MCP server that wants OAuth, so that the gate has a token for it. The
gate finds the server's authorization server; you agree there, in a browser, to what
it asks; the browser comes back to the gate's public_url. Agents never see the token.

Whose the login is depends on oauth.per of the server: the gate's, for all agents
(the default), one agent's (--agent), or one user's (--user).`,
		Example: "  callgate mcp login github\n  callgate mcp login github --scope repo --scope read:org\n  callgate mcp login mail --user ana --no-browser",
		Args:    exactly(1, "the server's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var l console.Login
			if err := p.ask(cmd, http.MethodPost, "/mcp/servers/"+url.PathEscape(args[0])+"/login", n, &l); err != nil {
				return err
			}
			fmt.Fprintf(p.err, "Log in at %s, within 10 minutes:\n\n  %s\n\n", tame(l.Issuer), tame(l.URL))
			if !quiet && !p.json {
				browse(l.URL)
			}
			for l.State == mcp.LoginWaiting {
				if err := p.ask(cmd, http.MethodGet, "/mcp/logins/"+url.PathEscape(l.ID)+"?wait=25s", nil, &l); err != nil {
					return err
				}
			}
			if l.State != mcp.LoginDone {
				return fmt.Errorf("the login did not work: %s", tame(l.Reason))
			}
			if p.json {
				return p.printJSON(l)
			}
			fmt.Fprintf(p.out, "%s: logged in for %s at %s; scopes: %s\n", l.Server, whose(l.Holder), tame(l.Issuer), scopesShown(l.Scopes))
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&n.Scopes, "scope", nil, "a scope to ask for, besides those that the server needs")
	f.StringVar(&n.Agent, "agent", "", "the agent that the login is for")
	f.StringVar(&n.User, "user", "", "the user that the login is for")
	f.BoolVar(&quiet, "no-browser", false, "only print the URL")
	return p.withJSON(cmd)
}

func (p *program) mcpLogout() *cobra.Command {
	var o console.OldLogin
	cmd := &cobra.Command{
		Use: "logout SERVER", Short: "end a login at an MCP server, and revoke its token",
		Example: "  callgate mcp logout github\n  callgate mcp logout mail --user ana\n  callgate mcp logout mail --all",
		Args:    exactly(1, "the server's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var done struct {
				Ended int `json:"ended"`
			}
			if err := p.ask(cmd, http.MethodPost, "/mcp/servers/"+url.PathEscape(args[0])+"/logout", o, &done); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(done)
			}
			if done.Ended == 0 {
				fmt.Fprintf(p.out, "%s: there was no such login\n", args[0])
				return nil
			}
			fmt.Fprintf(p.out, "%s: logins ended: %d\n", args[0], done.Ended)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Agent, "agent", "", "the agent whose login ends")
	f.StringVar(&o.User, "user", "", "the user whose login ends")
	f.BoolVar(&o.All, "all", false, "end all logins at the server, and forget its authorization server")
	return p.withJSON(cmd)
}

func (p *program) mcpLogins() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "logins", Short: "list the logins at MCP servers", Args: exactly(0, "no arguments"),
		Example: "  callgate mcp logins",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodGet, "/mcp/logins", nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var list []console.Login
			if err := json.Unmarshal(raw, &list); err != nil {
				return err
			}
			if len(list) == 0 {
				fmt.Fprintln(p.err, "No logins: callgate mcp login SERVER makes one.")
				return nil
			}
			rows := [][]string{{"SERVER", "FOR", "AT", "SCOPES", "TOKEN UNTIL"}}
			for _, l := range list {
				until := "-"
				if !l.Expires.IsZero() {
					until = local(l.Expires)
				}
				rows = append(rows, []string{l.Server, whose(l.Holder), l.Issuer, scopesShown(l.Scopes), until})
			}
			return p.table(rows)
		},
	})
}

// whose is the holder of a login in words.
func whose(holder string) string {
	if holder == "gate" {
		return "the gate"
	}
	return holder
}

func scopesShown(scopes []string) string {
	if len(scopes) == 0 {
		return "none"
	}
	return tame(strings.Join(scopes, " "))
}

// browse opens a URL in the browser of this machine, if it has one. The URL comes
// from an authorization server, so it is an argument, and never part of a command.
func browse(raw string) {
	if u, err := url.Parse(raw); err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return
	}
	cmd := exec.Command("xdg-open", raw)
	switch runtime.GOOS {
	case "darwin":
		cmd = exec.Command("open", raw)
	case "windows":
		cmd = exec.Command("rundll32", "url.dll,FileProtocolHandler", raw)
	}
	if cmd.Start() == nil {
		go cmd.Wait() // the URL is printed in any case
	}
}
