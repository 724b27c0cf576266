package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"callgate/cmd/callgate/internal/console"

	"github.com/spf13/cobra"
)

func (p *program) agent() *cobra.Command {
	return group("agent", "register agents, look at them, revoke them",
		p.agentCreate(), p.agentList(), p.agentShow(), p.agentRevoke())
}

func (p *program) agentCreate() *cobra.Command {
	var n console.NewAgent
	var maxTTL time.Duration
	cmd := &cobra.Command{
		Use:   "create NAME --role ROLE…",
		Short: "register an agent; prints its secret once",
		Long: `Register an agent. Its name is never used again, not even after it was revoked.
The secret is printed once and stored nowhere: the agent gets its tokens from
POST /oauth/token with it.`,
		Example: `  callgate agent create support-bot --role support --owner user:ana
  callgate agent create nightly --role dev --role reports --max-ttl 4h --json`,
		Args: exactly(1, "the agent's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n.Name = args[0]
			if maxTTL != 0 {
				n.MaxTTL = maxTTL.String()
			}
			c, err := p.client()
			if err != nil {
				return err
			}
			var made console.Credentials
			if err := c.call(cmd.Context(), http.MethodPost, "/agents", n, &made); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(made)
			}
			fmt.Fprintf(p.out, "client_id      %s\nclient_secret  %s\n", made.ClientID, made.ClientSecret)
			fmt.Fprintf(p.err, "\nKeep the secret now: it is not shown again. A token: callgate token %s\n", made.ClientID)
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&n.Roles, "role", nil, "a role of the agent; may be given several times")
	cmd.Flags().StringVar(&n.Owner, "owner", "", "who answers for it: user:ana")
	cmd.Flags().StringVar(&n.Purpose, "purpose", "", "what it is for, in a few words")
	cmd.Flags().DurationVar(&maxTTL, "max-ttl", 0, "longest life of its tokens (default 1h)")
	return p.withJSON(cmd)
}

func (p *program) agentList() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "list", Short: "list the agents", Example: "  callgate agent list", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodGet, "/agents", nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var agents []console.Agent
			if err := json.Unmarshal(raw, &agents); err != nil {
				return err
			}
			if len(agents) == 0 {
				fmt.Fprintln(p.err, "No agents yet: callgate agent create NAME --role ROLE")
				return nil
			}
			rows := [][]string{{"NAME", "STATUS", "ROLES", "OWNER", "FROM", "CREATED"}}
			for _, a := range agents {
				rows = append(rows, []string{a.Name, a.Status, strings.Join(a.Roles, " "), a.Owner, a.Source, local(a.Created)})
			}
			return p.table(rows)
		},
	})
}

func (p *program) agentShow() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "show NAME", Short: "show one agent", Example: "  callgate agent show support-bot", Args: exactly(1, "the agent's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodGet, "/agents/"+url.PathEscape(args[0]), nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var a console.Agent
			if err := json.Unmarshal(raw, &a); err != nil {
				return err
			}
			rows := [][]string{
				{"name", a.Name}, {"status", a.Status}, {"roles", strings.Join(a.Roles, " ")}, {"owner", a.Owner}, {"purpose", a.Purpose},
				{"max ttl", a.MaxTTL}, {"from", a.Source}, {"created", local(a.Created)},
			}
			if a.Revoked != nil {
				rows = append(rows, []string{"revoked", local(*a.Revoked)})
			}
			return p.table(rows)
		},
	})
}

func (p *program) agentRevoke() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "revoke NAME", Short: "end an agent: its next call fails, and so do all its tokens",
		Example: "  callgate agent revoke support-bot", Args: exactly(1, "the agent's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var a console.Agent
			if err := p.ask(cmd, http.MethodPost, "/agents/"+url.PathEscape(args[0])+"/revoke", nil, &a); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(a)
			}
			_, err := fmt.Fprintf(p.out, "%s is revoked: its next call fails\n", a.Name)
			return err
		},
	})
}
