package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"callgate/firewall/policy"

	"github.com/spf13/cobra"
)

// Backtested is what callgate policy backtest tells, as JSON.
type Backtested struct {
	Policy string    `json:"policy"` // digest of the candidate
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
	gleaning
	Calls   int              `json:"calls"` // that were compared
	Same    int              `json:"same"`
	Unknown map[string]int   `json:"not_recorded"` // calls that are not compared, by what is not on record
	Changes []policy.Shifted `json:"changes"`
	Idle    []string         `json:"idle_rules"` // that said nothing about any of the calls
}

// kinds that --fail-on knows.
var shifts = map[string][]string{
	"denied": {policy.NewlyDenied}, "allowed": {policy.NewlyAllowed, policy.NoLongerAsked}, "asked": {policy.NewlyAsked}, "duties": {policy.OtherDuties},
}

func (p *program) policyBacktest() *cobra.Command {
	var w period
	var files, failOn []string
	var samples int
	cmd := p.withJSON(&cobra.Command{
		Use:   "backtest --policy FILE",
		Short: "say what a policy would have decided about the calls on record; needs no gate",
		Long: `Ask a policy about the calls that are on record, with what was recorded of each,
and say where it would have decided otherwise. The ledger in the data folder is
only read, also while a gate writes to it.

What depends on something that nobody recorded (arguments that were too large or
masked) is counted apart and never guessed. So are calls that something else than
the policy refused.`,
		Example: `  callgate policy backtest --policy new.csv --since 30d
  callgate policy backtest --policy base.csv,team.csv --agent support-bot --fail-on denied --json`,
		Args: exactly(0, "no arguments; --policy names the files"),
		RunE: func(_ *cobra.Command, _ []string) error {
			if err := w.settle(time.Now()); err != nil {
				return err
			}
			fails := make(map[string]bool)
			for _, name := range failOn {
				kinds, ok := shifts[name]
				if !ok {
					return usageError{fmt.Errorf("--fail-on %q: want some of %s", name, strings.Join(slices.Sorted(maps.Keys(shifts)), ", "))}
				}
				for _, kind := range kinds {
					fails[kind] = true
				}
			}
			candidate, err := loadPolicy(files)
			if err != nil {
				return err
			}
			b := policy.NewBacktest(candidate, samples)
			read, err := p.past(&w, b.Add)
			if err != nil {
				return err
			}
			done := Backtested{Policy: candidate.Digest(), Since: w.from.UTC(), Until: w.to.UTC(), gleaning: read,
				Calls: b.Calls, Same: b.Same, Unknown: b.Unknown, Changes: b.Changes(), Idle: b.Idle()}
			if p.json {
				err = p.printJSON(done)
			} else {
				err = p.printBacktest(&done)
			}
			if err == nil && slices.ContainsFunc(done.Changes, func(c policy.Shifted) bool { return fails[c.Kind] }) {
				return errSaid
			}
			return err
		},
	})
	w.flags(cmd)
	cmd.Flags().StringVar(&w.agent, "agent", "", "calls by this agent only")
	cmd.Flags().StringSliceVar(&files, "policy", []string{"policy.csv"}, "files of the policy to ask")
	cmd.Flags().StringSliceVar(&failOn, "fail-on", nil, "changes that make the exit status 1: allowed, asked, denied, duties")
	cmd.Flags().IntVar(&samples, "samples", 1, "ids of calls to tell for each change")
	return cmd
}

func (p *program) printBacktest(b *Backtested) error {
	fmt.Fprintf(p.out, "%d calls since %s: %d as they were decided, %d otherwise\n", b.Calls, local(b.Since), b.Same, b.Calls-b.Same)
	for _, name := range slices.Sorted(maps.Keys(b.Unknown)) {
		fmt.Fprintf(p.out, "%d calls are not compared: it depends on r.env.%s, which is not on record\n", b.Unknown[name], name)
	}
	if b.Other > 0 {
		fmt.Fprintf(p.out, "%d calls are not compared: something else than the policy refused them\n", b.Other)
	}
	if b.Unreadable > 0 {
		fmt.Fprintf(p.out, "%d records cannot be read\n", b.Unreadable)
	}
	if len(b.Changes) > 0 {
		rows := [][]string{{"", "CALLS", "AGENT", "OBJECT", "WAS BY", "IS BY", "SUCH AS"}}
		for _, c := range b.Changes {
			rows = append(rows, []string{c.Kind, strconv.Itoa(c.Count), c.Agent, c.Object, by(c.Before), by(c.After), strings.Join(c.Samples, " ")})
		}
		fmt.Fprintln(p.out)
		if err := p.table(rows); err != nil {
			return err
		}
	}
	if n := len(b.Idle); n > 0 && b.Calls > 0 {
		fmt.Fprintf(p.out, "\nNo call met %d rules: %s\n", n, strings.Join(b.Idle[:min(n, 20)], " "))
	}
	return nil
}

// by is the rule that decided, where one did.
func by(rule string) string {
	if rule == "" {
		return "default"
	}
	return rule
}
