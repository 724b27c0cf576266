package main

import (
	"fmt"
	"slices"
	"strings"

	"callgate/firewall/policy"

	"github.com/spf13/cobra"
)

func (p *program) policyDiff() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use:   "diff OLD NEW",
		Short: "say who gains and loses what between two policies; needs no gate",
		Long: `Say who gains and loses what when one policy takes the place of another. Each is a
file, or several with commas between them. What changes for everyone is told once,
for group:everyone. Order, ids and comments of rows make no difference.`,
		Example: "  callgate policy diff policy.csv new.csv\n  callgate policy diff base.csv,team.csv base.csv,team-new.csv --json",
		Args:    exactly(2, "two policies"),
		RunE: func(_ *cobra.Command, words []string) error {
			var law [2]*policy.Policy
			for i, files := range words {
				var err error
				if law[i], err = loadPolicy(strings.Split(files, ",")); err != nil {
					return err
				}
			}
			changes, err := policy.Diff(law[0], law[1])
			if err != nil {
				return err
			}
			if p.json {
				if changes == nil {
					changes = []policy.Change{}
				}
				return p.printJSON(changes)
			}
			if len(changes) == 0 {
				_, err := fmt.Fprintln(p.out, "Nobody gains or loses anything.")
				return err
			}
			table := [][]string{{"WHO", "MAY", "CHANGE"}}
			for _, c := range changes {
				table = append(table, []string{c.Subject, c.Action + " " + c.Object, apart(c.Before, c.After)})
			}
			return p.table(table)
		},
	})
}

// apart is what of an answer goes and what comes; what stays is not told.
func apart(before, after string) string {
	if before == "no" || after == "no" {
		return before + " -> " + after
	}
	was, is := strings.Split(before, "; "), strings.Split(after, "; ")
	var parts []string
	for _, x := range was {
		if !slices.Contains(is, x) {
			parts = append(parts, "- "+x)
		}
	}
	for _, x := range is {
		if !slices.Contains(was, x) {
			parts = append(parts, "+ "+x)
		}
	}
	return strings.Join(parts, "  ")
}
