package main

import (
	"fmt"
	"os"
	"time"

	"callgate/firewall/policy"

	"github.com/spf13/cobra"
)

func (p *program) policySuggest() *cobra.Command {
	var w period
	var out string
	cmd := &cobra.Command{
		Use:   "suggest --agent NAME",
		Short: "write the smallest policy that allows what an agent did; needs no gate",
		Long: `Write the smallest policy that allows what an agent did in a period, as a file to
be reviewed: a row for each thing that it used, with conditions that hold for all
of its calls. Values that look like a secret or like somebody's are not written
down. The ledger in the data folder is only read.`,
		Example: "  callgate policy suggest --agent support-bot --since 14d > suggested.csv\n  callgate policy backtest --policy suggested.csv --agent support-bot",
		Args:    exactly(0, "no arguments; --agent names the agent"),
		RunE: func(_ *cobra.Command, _ []string) error {
			if w.agent == "" {
				return usageError{fmt.Errorf("want --agent NAME")}
			}
			if err := w.settle(time.Now()); err != nil {
				return err
			}
			s := policy.NewSuggestion(w.agent)
			if _, err := p.past(&w, s.Add); err != nil {
				return err
			}
			rows, calls := s.Rows(w.from, w.to)
			if calls == 0 {
				return fmt.Errorf("%s made no call that was allowed since %s", w.agent, local(w.from))
			}
			if out == "" {
				_, err := p.out.Write(rows)
				return err
			}
			return os.WriteFile(out, rows, 0o644)
		},
	}
	w.flags(cmd)
	cmd.Flags().StringVar(&w.agent, "agent", "", "the agent")
	cmd.Flags().StringVar(&out, "out", "", "write it to this file")
	return cmd
}
