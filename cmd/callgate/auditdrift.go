package main

import (
	"fmt"
	"net/url"

	"callgate/audit"
	"callgate/cmd/callgate/internal/console"

	"github.com/spf13/cobra"
)

func (p *program) auditDrift() *cobra.Command {
	w := scope{}
	var run string
	var expected bool
	cmd := &cobra.Command{
		Use: "drift", Short: "tell what runs did that is not expected of their agents",
		Long: `Tell what runs did that is not expected of their agents, the newest first: tools,
models, hosts and labels, more calls or money, one tool right after another. What is
expected stands in the configuration (agents[].expects), or was learned from earlier
runs; --expected shows it. What is done about a departure is for drift.breach to say.`,
		Example: `  callgate audit drift --since 24h
  callgate audit drift --agent support-bot --json
  callgate audit drift --agent support-bot --expected`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if expected {
				var list []console.Expectation
				return p.answered(cmd, "/drift/expected?"+url.Values{"agent": {w.agent}}.Encode(), &list, func() error { return p.showExpected(list) })
			}
			q := url.Values{"limit": {"1000"}}
			if err := w.into(q); err != nil {
				return err
			}
			if run != "" {
				q.Set("run", run)
			}
			var list []audit.Drift
			return p.answered(cmd, "/drift?"+q.Encode(), &list, func() error {
				if len(list) == 0 {
					fmt.Fprintln(p.err, "No run did what is not expected.")
					return nil
				}
				rows := [][]string{{"TIME", "AGENT", "WHAT", "SEEN", "EXPECTED", "BY", "ACTION", "CALL", "LED TO BY"}}
				for _, d := range list {
					rows = append(rows, []string{clock(d.At), d.Agent, d.Kind, shortened(d.Seen, 60), shortened(d.Expected, 60), d.By, d.Action, d.Call, d.From})
				}
				return p.table(rows)
			})
		},
	}
	cmd.Flags().StringVar(&run, "run", "", "only of this one")
	cmd.Flags().BoolVar(&expected, "expected", false, "show what is expected instead, and who expects it")
	w.flags(cmd, "30d")
	w.agents(cmd)
	return p.withJSON(cmd)
}

func (p *program) showExpected(list []console.Expectation) error {
	if len(list) == 0 {
		fmt.Fprintln(p.err, "Nothing is expected yet: agents[].expects says nothing, and there were too few runs to learn from.")
		return nil
	}
	rows := [][]string{{"AGENT", "WHAT", "EXPECTED", "BY", "ELSE"}}
	for _, e := range list {
		by := e.By
		if e.By == "learned" {
			by = fmt.Sprintf("learned from %d runs", e.Runs)
		}
		rows = append(rows, []string{e.Agent, e.Kind, shortened(e.Expected, 120), by, e.Action})
	}
	return p.table(rows)
}

// departure is what a call did that is not expected, in words.
func (t *teller) departure(d *audit.Departure) string {
	text := fmt.Sprintf("not expected: %s %s, but %s (by %s)", d.Kind, d.Seen, d.Expected, d.By)
	if d.From != "" {
		text += "; led to by " + t.step(d.From)
	}
	return tame(text + done[d.Action])
}

// done is what was done about a departure, in words.
var done = map[string]string{"alert": "; told to the webhook", "ask": "; held until people approve", "suspend": "; the agent was suspended"}
