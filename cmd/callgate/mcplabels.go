package main

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strings"

	"callgate/cmd/callgate/internal/console"
	"callgate/mcp"

	"github.com/spf13/cobra"
)

func (p *program) mcpLabels() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "labels", Short: "show what tools read, what they do, and for whom, as far as it is known",
		Long: `Show how tools are labelled: what they read, whether what they answer is trusted, whether
they act, and which of their arguments say for whom and on what. What the config does not
say is guessed from names and definitions, to be looked over: guesses count only where the
policy asks from where values come, as the packs do (policy: [pack:strict, policy.csv]).`,
		Example: "  callgate mcp labels\n  callgate mcp labels --json",
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
			rows := [][]string{{"TOOL", "READS", "TRUSTED", "ACTS", "FOR WHOM", "ON WHAT", "SAID BY"}}
			for _, s := range servers {
				for _, name := range s.Tools {
					l := s.Labels[name]
					said := "config"
					if l.Guessed {
						said = "guess"
					}
					rows = append(rows, []string{s.Name + "/" + name, cmp.Or(strings.Join(l.Reads, " "), "-"), yesNo(l.Trusted), yesNo(l.Acts),
						cmp.Or(strings.Join(l.To, " "), "-"), cmp.Or(strings.Join(l.Object, " "), "-"), said})
				}
			}
			return p.table(rows)
		},
	})
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func labels(l mcp.Labelling) console.ToolLabels {
	t := console.ToolLabels{Reads: l.Labels.Names(), Trusted: l.Trusted, Guessed: l.Guessed}
	if l.Acting != nil {
		t.Acts, t.To, t.Object = true, l.Acting.To, l.Acting.Object
	}
	return t
}
