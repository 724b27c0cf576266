package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"callgate/cmd/callgate/internal/console"

	"github.com/spf13/cobra"
)

func (p *program) agent() *cobra.Command {
	return group("agent", "register agents, look at them, change them, end them",
		p.agentCreate(), p.agentList(), p.agentShow(), p.agentSet(), p.agentRotate(),
		p.agentStep("suspend", "take all from an agent until it is resumed; its tokens end", "is suspended: its next call fails, until callgate agent resume"),
		p.agentStep("resume", "let a suspended agent go on, with new tokens", "goes on; it needs a new token"),
		p.agentStep("retire", "end an agent in good order, for good", "is retired: its next call fails"),
		p.agentRevoke())
}

func (p *program) agentCreate() *cobra.Command {
	var n console.NewAgent
	var d description
	cmd := &cobra.Command{
		Use:   "create NAME --role ROLE…",
		Short: "register an agent; prints its secret once",
		Long: `Register an agent. Its name is never used again, not even after it was revoked.
The secret is printed once and stored nowhere: the agent gets its tokens from
POST /oauth/token with it. An agent with a public key gets no secret.`,
		Example: `  callgate agent create support-bot --role support --owner user:ana
  callgate agent create nightly --role dev --role reports --max-ttl 4h --json
  callgate agent create ci --environment prod --model 'openai/*' --server github --expires 2027-01-31 --key ci.pem`,
		Args: exactly(1, "the agent's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := d.read(); err != nil {
				return err
			}
			n = console.NewAgent{
				Name: args[0], Roles: d.roles, Owner: d.owner, Purpose: d.purpose, MaxTTL: d.maxTTL(), Environment: d.environment,
				Models: d.models, Servers: d.servers, Expires: d.expires, Keys: d.keys, JWKSURI: d.jwksURI,
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
			if made.ClientSecret == "" {
				_, err := fmt.Fprintf(p.out, "client_id  %s\n", made.ClientID)
				return err
			}
			fmt.Fprintf(p.out, "client_id      %s\nclient_secret  %s\n", made.ClientID, made.ClientSecret)
			fmt.Fprintf(p.err, "\nKeep the secret now: it is not shown again. A token: callgate token %s\n", made.ClientID)
			return nil
		},
	}
	d.flags(cmd)
	return p.withJSON(cmd)
}

func (p *program) agentList() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "list", Short: "list the agents", Example: "  callgate agent list", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			agents, err := c.agents(cmd.Context())
			if err != nil {
				return err
			}
			if p.json {
				return p.printJSON(agents)
			}
			if len(agents) == 0 {
				fmt.Fprintln(p.err, "No agents yet: callgate agent create NAME --role ROLE")
				return nil
			}
			rows := [][]string{{"NAME", "STATUS", "ROLES", "OWNER", "FROM", "CREATED", "ENV", "EXPIRES", "LAST SEEN"}}
			for _, a := range agents {
				rows = append(rows, []string{a.Name, a.Status, strings.Join(a.Roles, " "), a.Owner, a.Source, local(a.Created), a.Environment, seldom(a.Expires), seldom(a.LastSeen)})
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
			for _, more := range [][]string{
				{"environment", a.Environment}, {"models", strings.Join(a.Models, " ")}, {"servers", strings.Join(a.Servers, " ")},
				{"expires", seldom(a.Expires)}, {"last seen", seldom(a.LastSeen)}, {"secret since", seldom(a.SecretSince)}, {"old secret until", seldom(a.OldUntil)},
				{"keys", strings.Join(a.Keys, ", ")}, {"jwks_uri", a.JWKSURI}, {a.Status + " since", seldom(a.Since)},
			} {
				if more[1] != "" {
					rows = append(rows, more)
				}
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
