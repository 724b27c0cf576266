package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"callgate/cmd/callgate/internal/console"

	"github.com/spf13/cobra"
)

// A description is what flags say of an agent.
type description struct {
	roles, models, servers               []string
	owner, purpose, environment, expires string
	keyFile, keys, jwksURI               string
	ttl                                  time.Duration
}

func (d *description) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&d.roles, "role", nil, "a role of the agent; may be given several times")
	f.StringVar(&d.owner, "owner", "", "who answers for it: user:ana")
	f.StringVar(&d.purpose, "purpose", "", "what it is for, in a few words")
	f.DurationVar(&d.ttl, "max-ttl", 0, "longest life of its tokens (default 1h)")
	f.StringVar(&d.environment, "environment", "", "where it works, one word: dev, staging, prod")
	f.StringArrayVar(&d.models, "model", nil, "a model that it may use, and no other besides: openai/gpt-5, openai/*; may be given several times")
	f.StringArrayVar(&d.servers, "server", nil, "an MCP server that it may reach, and no other besides; may be given several times")
	f.StringVar(&d.expires, "expires", "", "when it ends: 2027-01-31 or 2027-01-31T18:00:00Z")
	f.StringVar(&d.keyFile, "key", "", "file with its public key or keys, PEM or JWK Set, instead of a secret")
	f.StringVar(&d.jwksURI, "jwks-uri", "", "https URL where it publishes them")
}

// read checks what only this side can.
func (d *description) read() error {
	if d.expires != "" {
		t, err := parseMoment(d.expires)
		if err != nil {
			return usageError{fmt.Errorf("--expires is %q: want 2027-01-31 or 2027-01-31T18:00:00Z", d.expires)}
		}
		d.expires = t.Format(time.RFC3339)
	}
	if d.keyFile != "" {
		text, err := readFile(d.keyFile)
		if err != nil {
			return fmt.Errorf("read %s: %s", d.keyFile, plain(err))
		}
		d.keys = string(text)
	}
	return nil
}

func (d *description) maxTTL() string {
	if d.ttl == 0 {
		return ""
	}
	return d.ttl.String()
}

func (p *program) agentSet() *cobra.Command {
	var d description
	var by string
	cmd := &cobra.Command{
		Use: "set NAME --FLAG VALUE…", Short: "change what is registered of an agent",
		Long: `Change what is registered of an agent: what a flag names becomes its value, the
rest stays. An empty value takes away what is there. It counts from the next call
on; what comes from the config is changed there.`,
		Example: `  callgate agent set support-bot --owner user:ben --environment prod
  callgate agent set support-bot --model 'openai/*' --server shop --server crm
  callgate agent set support-bot --expires ""`,
		Args: exactly(1, "the agent's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := d.read(); err != nil {
				return err
			}
			n, ttl := console.AgentChange{By: by}, d.maxTTL()
			for flag, set := range map[string]func(){
				"role": func() { n.Roles = filled(d.roles) }, "model": func() { n.Models = filled(d.models) }, "server": func() { n.Servers = filled(d.servers) },
				"owner": func() { n.Owner = &d.owner }, "purpose": func() { n.Purpose = &d.purpose }, "environment": func() { n.Environment = &d.environment },
				"expires": func() { n.Expires = &d.expires }, "key": func() { n.Keys = &d.keys }, "jwks-uri": func() { n.JWKSURI = &d.jwksURI },
				"max-ttl": func() { n.MaxTTL = &ttl },
			} {
				if cmd.Flags().Changed(flag) {
					set()
				}
			}
			var a console.Agent
			if err := p.ask(cmd, http.MethodPatch, "/agents/"+url.PathEscape(args[0]), n, &a); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(a)
			}
			_, err := fmt.Fprintf(p.out, "%s is changed: callgate agent show %s\n", a.Name, a.Name)
			return err
		},
	}
	d.flags(cmd)
	return p.withJSON(acting(cmd, &by))
}

// filled is list without empty texts, which take away what is there.
func filled(list []string) *[]string {
	kept := []string{}
	for _, s := range list {
		if s != "" {
			kept = append(kept, s)
		}
	}
	return &kept
}

func (p *program) agentRotate() *cobra.Command {
	var n console.Rotation
	var overlap time.Duration
	cmd := &cobra.Command{
		Use: "rotate NAME", Short: "give an agent a new secret; prints it once",
		Long: `Give an agent a new secret, which is printed once. With --overlap the one before
stays good for that long, so that the agent can be told in peace. Without it the
old one, and the tokens that were issued with it, are over at once.`,
		Example: "  callgate agent rotate support-bot --overlap 24h\n  callgate agent rotate support-bot",
		Args:    exactly(1, "the agent's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if overlap != 0 {
				n.Overlap = overlap.String()
			}
			var made console.Credentials
			if err := p.ask(cmd, http.MethodPost, "/agents/"+url.PathEscape(args[0])+"/rotate", n, &made); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(made)
			}
			fmt.Fprintf(p.out, "client_id      %s\nclient_secret  %s\n", made.ClientID, made.ClientSecret)
			fmt.Fprintln(p.err, "\nKeep the secret now: it is not shown again.")
			return nil
		},
	}
	cmd.Flags().DurationVar(&overlap, "overlap", 0, "how long the old secret stays good (default: not at all)")
	return p.withJSON(acting(cmd, &n.By))
}

// agentStep is a command that takes an agent one step of its life on.
func (p *program) agentStep(word, short, done string) *cobra.Command {
	var s console.Step
	cmd := &cobra.Command{
		Use: word + " NAME", Short: short, Example: "  callgate agent " + word + " support-bot", Args: exactly(1, "the agent's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var a console.Agent
			if err := p.ask(cmd, http.MethodPost, "/agents/"+url.PathEscape(args[0])+"/"+word, s, &a); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(a)
			}
			_, err := fmt.Fprintf(p.out, "%s %s\n", a.Name, done)
			return err
		},
	}
	return p.withJSON(acting(cmd, &s.By))
}

// acting gives cmd the flag that says who acts.
func acting(cmd *cobra.Command, by *string) *cobra.Command {
	cmd.Flags().StringVar(by, "as", "", "who does this, as user:NAME; goes on record (default admin)")
	return cmd
}

const agentsPage = 1000

// agents is all agents, page by page.
func (c *client) agents(ctx context.Context) ([]console.Agent, error) {
	all := []console.Agent{}
	for after := ""; ; {
		var page []console.Agent
		if err := c.call(ctx, http.MethodGet, "/agents?limit="+strconv.Itoa(agentsPage)+"&after="+url.QueryEscape(after), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < agentsPage {
			return all, nil
		}
		after = page[len(page)-1].Name
	}
}

// seldom is a time for people, "" if there is none.
func seldom(t *time.Time) string {
	if t == nil {
		return ""
	}
	return local(*t)
}
