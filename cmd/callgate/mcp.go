package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"callgate/cmd/callgate/internal/console"

	"github.com/spf13/cobra"
)

func (p *program) mcp() *cobra.Command {
	return group("mcp", "look at the MCP servers behind the gate, log in to them, and bridge clients to them",
		p.mcpList(), p.mcpLabels(), p.mcpPins(), p.mcpApprove(), p.mcpBridge(), p.mcpLogin(), p.mcpLogout(), p.mcpLogins())
}

func (p *program) mcpList() *cobra.Command {
	var tools bool
	cmd := &cobra.Command{
		Use: "list", Short: "list the MCP servers and whether they answer",
		Example: "  callgate mcp list\n  callgate mcp list --tools",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodGet, "/mcp/servers", nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var servers []console.Server
			if err := json.Unmarshal(raw, &servers); err != nil {
				return err
			}
			if len(servers) == 0 {
				fmt.Fprintln(p.err, "No MCP servers: write them under mcp.servers in callgate.yaml, then callgate reload")
				return nil
			}
			rows := [][]string{{"NAME", "STATE", "MCP", "TOOLS", "BREAKER", "IN FLIGHT", "REACHED BY", "OWNER", "CREDENTIAL", "LAST SEEN"}}
			for _, s := range servers {
				count := fmt.Sprint(len(s.Tools))
				if n := len(s.Held); n > 0 {
					count += fmt.Sprintf(" (%d withheld: callgate mcp pins)", n)
				}
				rows = append(rows, []string{s.Name, s.State, s.Version, count, s.Breaker, fmt.Sprint(s.InFlight), s.Reach, s.Owner, s.Credential, seldom(s.LastSeen)})
			}
			if err := p.table(rows); err != nil {
				return err
			}
			for _, s := range servers {
				if s.Error != "" {
					fmt.Fprintf(p.out, "\n%s: %s\n", s.Name, tame(s.Error))
				}
				if tools && len(s.Tools) > 0 {
					fmt.Fprintf(p.out, "\n%s\n", s.Name)
					for _, name := range s.Tools {
						fmt.Fprintf(p.out, "  tool:%s/%s\n", s.Name, tame(name))
					}
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&tools, "tools", false, "print the names of their tools, too")
	return p.withJSON(cmd)
}

func (p *program) reload() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "reload", Short: "make the gate read its configuration and policy again",
		Long: `Make the gate read its configuration and policy again. Everything new is built
first; if anything is wrong, the old stays in force and all mistakes are shown.`,
		Example: "  callgate policy check policy.csv && callgate reload",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var done console.Reloaded
			if err := p.ask(cmd, http.MethodPost, "/reload", nil, &done); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(done)
			}
			if len(done.Changes) == 0 {
				fmt.Fprintln(p.out, "nothing changed")
			}
			for _, change := range done.Changes {
				fmt.Fprintln(p.out, change)
			}
			if len(done.Restart) > 0 {
				fmt.Fprintf(p.out, "waiting for a restart: %s\n", strings.Join(done.Restart, ", "))
			}
			return nil
		},
	})
}
