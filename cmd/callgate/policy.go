package main

import (
	"fmt"

	"callgate/firewall/policy"

	"github.com/spf13/cobra"
)

func (p *program) policy() *cobra.Command {
	return group("policy", "check, test, explain and compare policies, and say which one is in force", p.policyCheck(), p.policyTest(), p.policyExplain(), p.policyDiff(),
		p.policyVersions(), p.policyShow(), p.policyApply(), p.policyActivate(), p.policyRollback(), p.policyShadow(),
		p.policyBacktest(), p.policySuggest())
}

func (p *program) policyCheck() *cobra.Command {
	var tools string
	return p.withJSON(flagged(&cobra.Command{
		Use:   "check FILE…",
		Short: "find what is wrong in policy files; needs no gate",
		Long: `Find what is wrong in policy files: each mistake with its place and what to
write instead, and warnings about rows that cannot do what they seem to. Several
files are checked as the one policy that they make. The exit status is 1 if there
is a mistake.

Conditions are held to the tools that servers have: those that the gate has
written to tools.json in its data folder, or in the file of --tools, with what
tools/list answers: {"SERVER": {"tools": [{"name": …, "inputSchema": …}]}}.`,
		Example: "  callgate policy check policy.csv\n  callgate policy check base.csv team.csv --json\n  callgate policy check policy.csv --tools tools.json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{fmt.Errorf("want policy files (%s --help shows examples)", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, files []string) error {
			sources, err := readSources(files)
			if err != nil {
				return err
			}
			known, err := p.schemas(tools)
			if err != nil {
				return err
			}
			problems := policy.Check(sources...)
			if known != nil {
				problems = append(problems, policy.CheckTools(known, sources...)...)
			}
			wrong := 0
			for _, x := range problems {
				if x.Severity == policy.Error {
					wrong++
				}
			}
			if p.json {
				if problems == nil {
					problems = []policy.Problem{}
				}
				if err := p.printJSON(problems); err != nil {
					return err
				}
			} else {
				for _, x := range problems {
					c := amber
					if x.Severity == policy.Error {
						c = red
					}
					fmt.Fprintf(p.out, "%s:%d: %s: %s\n", x.File, x.Line, p.colour(c, x.Severity.String()), x.Text)
				}
				if wrong == 0 {
					fmt.Fprintf(p.out, "ok: %d files, %d warnings, held to %d tools\n", len(files), len(problems), len(known))
				}
			}
			if wrong > 0 {
				return errSaid
			}
			return nil
		},
	}, func(cmd *cobra.Command) {
		cmd.Flags().StringVar(&tools, "tools", "", "what servers list (default: tools.json in the data folder, if it is there)")
	}))
}
