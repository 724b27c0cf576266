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

func (p *program) user() *cobra.Command {
	return group("user", "look at the people that the gate knows, suspend them, offboard them",
		p.userList(), p.userShow(), p.userGroups(),
		p.userStep("suspend", "end what a user does: logins and approvals, until resumed", "is suspended"),
		p.userStep("resume", "let a suspended user go on", "goes on"),
		p.userOffboard())
}

func (p *program) userList() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "list", Short: "list the users", Example: "  callgate user list", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodGet, "/users", nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var users []console.User
			if err := json.Unmarshal(raw, &users); err != nil {
				return err
			}
			if len(users) == 0 {
				fmt.Fprintln(p.err, "No users yet: write them under users in callgate.yaml, or let them log in")
				return nil
			}
			rows := [][]string{{"NAME", "STATUS", "GROUPS", "EMAIL", "FROM", "LAST LOGIN"}}
			for _, u := range users {
				rows = append(rows, []string{u.Name, u.Status, strings.Join(u.Groups, " "), u.Email, u.Source, seldom(u.LastLogin)})
			}
			return p.table(rows)
		},
	})
}

func (p *program) userShow() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "show NAME", Short: "show one user, and the agents that only this user answers for", Example: "  callgate user show ana", Args: exactly(1, "the user's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodGet, "/users/"+url.PathEscape(args[0]), nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var u console.User
			if err := json.Unmarshal(raw, &u); err != nil {
				return err
			}
			return p.table([][]string{
				{"name", u.Name}, {"status", u.Status}, {"groups", strings.Join(u.Groups, " ")}, {"email", u.Email}, {"from", u.Source},
				{"issuer", u.Issuer}, {"subject", u.Subject}, {"created", local(u.Created)}, {"last login", seldom(u.LastLogin)}, {"agents", strings.Join(u.Agents, " ")},
			})
		},
	})
}

func (p *program) userGroups() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "groups", Short: "list the groups and who is in them", Example: "  callgate user groups", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodGet, "/groups", nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var groups []console.Group
			if err := json.Unmarshal(raw, &groups); err != nil {
				return err
			}
			rows := [][]string{{"NAME", "MEMBERS", "PURPOSE"}}
			for _, g := range groups {
				rows = append(rows, []string{g.Name, strings.Join(g.Members, " "), g.Purpose})
			}
			return p.table(rows)
		},
	})
}

// userStep is a command that takes a user one step on.
func (p *program) userStep(word, short, done string) *cobra.Command {
	var s console.Step
	cmd := &cobra.Command{
		Use: word + " NAME", Short: short, Example: "  callgate user " + word + " ana", Args: exactly(1, "the user's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var u console.User
			if err := p.ask(cmd, http.MethodPost, "/users/"+url.PathEscape(args[0])+"/"+word, s, &u); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(u)
			}
			_, err := fmt.Fprintf(p.out, "%s %s\n", u.Name, done)
			return err
		},
	}
	return p.withJSON(acting(cmd, &s.By))
}

func (p *program) userOffboard() *cobra.Command {
	var l console.Leave
	cmd := &cobra.Command{
		Use: "offboard NAME", Short: "for somebody who leaves: ends the user, and suspends the agents that nobody else answers for",
		Long: `For somebody who leaves. The user is offboarded, for good: no login and no approval
any more. The agents that the user owns are suspended at once, and so are those of
a group that nobody else is in. --dry-run only tells which these are. Give them
another owner with callgate agent set, and let them go on with callgate agent resume.`,
		Example: "  callgate user offboard ana --dry-run\n  callgate user offboard ana --as user:ben",
		Args:    exactly(1, "the user's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var done console.Offboarding
			if err := p.ask(cmd, http.MethodPost, "/users/"+url.PathEscape(args[0])+"/offboard", l, &done); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(done)
			}
			is, are := "is offboarded", "suspended"
			if done.DryRun {
				is, are = "would be offboarded", "would be suspended"
			}
			fmt.Fprintf(p.out, "%s %s\n", done.User, is)
			for _, name := range done.Agents {
				fmt.Fprintf(p.out, "%s %s\n", are, name)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&l.DryRun, "dry-run", false, "only tell what would happen")
	return p.withJSON(acting(cmd, &l.By))
}
