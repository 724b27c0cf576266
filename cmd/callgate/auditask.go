package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"callgate/audit"
	"callgate/cmd/callgate/internal/console"

	"github.com/spf13/cobra"
)

// answered asks the gate for path, and prints the answer as it is for --json, else
// reads it into v and has it shown.
func (p *program) answered(cmd *cobra.Command, path string, v any, show func() error) error {
	var raw json.RawMessage
	if err := p.ask(cmd, http.MethodGet, path, nil, &raw); err != nil {
		return err
	}
	if p.json {
		return p.printRaw(raw)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("read the gate's answer: %w", err)
	}
	return show()
}

func (p *program) auditAncestors() *cobra.Command {
	return p.chained("ancestors ID", "tell what led to a call", "Tell what led to a call: the model call that asked for it, the tool calls whose\nresults that one was told, and so on, back to where it began.", "ancestors")
}

func (p *program) auditDescendants() *cobra.Command {
	return p.chained("descendants ID", "tell what a call, or a run, led to", "Tell what a call led to, and what that led to, sub-agents included. ID may be that\nof a run: then it is what all its calls led to.", "descendants")
}

func (p *program) chained(use, short, long, verb string) *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: use, Short: short, Long: long, Args: exactly(1, "the id of a call"),
		Example: "  callgate audit " + verb + " 0199d3a2-7a51-7c3e-9f7e-1b1f0a6c2d4e",
		RunE: func(cmd *cobra.Command, args []string) error {
			var c audit.Chain
			return p.answered(cmd, "/calls/"+url.PathEscape(args[0])+"/"+verb, &c, func() error { return p.printChain(&c) })
		},
	})
}

func (p *program) auditTimeline() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "timeline RUN", Short: "tell what happened in a run, in order, and what changed meanwhile",
		Long: "Tell what happened in a run, in order, and what changed meanwhile of policies,\ntools, agents and approvals.",
		Args: exactly(1, "the id of a run"), Example: "  callgate audit timeline 0199d3a2-7a51-7c3e-9f7e-1b1f0a6c2d4e",
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/runs/" + url.PathEscape(args[0]) + "/timeline"
			var t console.Timeline
			return p.answered(cmd, path, &t, func() error {
				for {
					if err := p.table(timeline(&t.Timeline)); err != nil || t.Next == "" {
						return err
					}
					next := t.Next
					t = console.Timeline{}
					if err := p.ask(cmd, http.MethodGet, path+"?page_token="+next, nil, &t); err != nil {
						return err
					}
				}
			})
		},
	})
}

// timeline is a run as a table.
func timeline(t *audit.Timeline) [][]string {
	rows := [][]string{{"TIME", "WHAT", "EFFECT", "RULE", "OUTCOME", "USD", "ID"}}
	changes := t.Changes
	for _, c := range t.Calls {
		for len(changes) > 0 && changes[0].Seq < c.Seq {
			rows = append(rows, changed(&changes[0]))
			changes = changes[1:]
		}
		what := c.Kind + " " + thing(c.Kind, c.Target, c.Method, c.Resource) + arguments(c.Args)
		if len(c.Signals) > 0 {
			what += " (" + strings.Join(c.Signals, ", ") + ")"
		}
		for _, d := range c.Drift {
			what += "; not expected: " + d.Kind + " " + d.Seen
		}
		cost := ""
		if c.Cost != nil {
			cost = usd(*c.Cost)
		}
		rows = append(rows, []string{clock(c.At), what, c.Effect, c.Rule, outcome(c.Outcome, c.TookUS), cost, c.ID})
	}
	for i := range changes {
		rows = append(rows, changed(&changes[i]))
	}
	return rows
}

// changed is a change as a line of a timeline.
func changed(c *audit.Change) []string {
	return []string{clock(c.At), "* " + c.What + " " + c.Name + " by " + c.By + ": " + shortened(c.State, 120), "", "", "", "", "record " + strconv.FormatUint(c.Seq, 10)}
}

func usd(micro int64) string { return strconv.FormatFloat(float64(micro)/1e6, 'f', 4, 64) }

func (p *program) auditDiff() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "diff [BEFORE] AFTER", Short: "tell what is otherwise with a call, or a run, than before",
		Long: `Tell what is otherwise with a call, or a run, than with one before it, and what
changed between them: policies, tools and what their servers say of them, agents.
Without BEFORE, a call is compared with the latest one of the same agent for the same
thing that was allowed, and a run with the run before it: at the first call in which
they differ.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usageError{fmt.Errorf("want the id of a call or a run, or of two")}
			}
			return nil
		},
		Example: "  callgate audit diff 0199d3a2-7a51-7c3e-9f7e-1b1f0a6c2d4e",
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"after": {args[len(args)-1]}}
			if len(args) == 2 {
				q.Set("before", args[0])
			}
			var d audit.Diff
			return p.answered(cmd, "/diff?"+q.Encode(), &d, func() error { return p.showDiff(&d) })
		},
	})
}

func (p *program) showDiff(d *audit.Diff) error {
	fmt.Fprintln(p.out, tame(d.Note))
	if d.Same > 0 {
		fmt.Fprintf(p.out, "They begin with %d calls alike.\n", d.Same)
	}
	rows := [][]string{{"", "BEFORE", "AFTER"}}
	id := func(c *audit.Call) string { return cmp.Or(c, &audit.Call{}).ID }
	rows = append(rows, []string{"call", id(d.Before), id(d.After)})
	for _, x := range d.Differs {
		rows = append(rows, []string{x.What, shortened(x.Before, 100), shortened(x.After, 100)})
	}
	if err := p.table(rows); err != nil || len(d.Changes) == 0 {
		return err
	}
	fmt.Fprintln(p.out, "\nWhat changed between them:")
	var list [][]string
	for i := range d.Changes {
		row := changed(&d.Changes[i])
		list = append(list, []string{row[0], row[1], row[6]})
	}
	return p.table(list)
}

func (p *program) auditWho() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "who ID", Short: "tell on whose behalf a call was made, and who agreed to it",
		Args: exactly(1, "the id of a call"), Example: "  callgate audit who 0199d3a2-7a51-7c3e-9f7e-1b1f0a6c2d4e",
		RunE: func(cmd *cobra.Command, args []string) error {
			var w audit.Who
			return p.answered(cmd, "/calls/"+url.PathEscape(args[0])+"/who", &w, func() error {
				rows := [][]string{{"call", w.Call}, {"human", cmp.Or(w.Human, "nobody is known")}, {"because", w.How}, {"chain", strings.Join(w.Chain, " → ")},
					{"owner", w.Owner}, {"token", w.Token}, {"grant", w.Grant}, {"transaction", w.Txn}, {"approval", w.Approval}}
				for _, c := range slices.Concat(w.Given, w.Decisions) {
					rows = append(rows, []string{c.What, c.By + " at " + local(time.UnixMicro(c.At)) + ": " + c.State + ", record " + strconv.FormatUint(c.Seq, 10)})
				}
				rows = slices.DeleteFunc(rows, func(row []string) bool { return row[1] == "" })
				return p.table(rows)
			})
		},
	})
}

func (p *program) auditRollup() *cobra.Command {
	var by, filter string
	w := scope{}
	cmd := &cobra.Command{
		Use: "rollup", Short: "add calls up: cost, volume and denials by agent, tool, hour…",
		Long: `Add calls up by some of ` + strings.Join(audit.RollupBy, ", ") + `.
Times are whole hours of UTC. With --json each line has the filter that finds its calls.`,
		Example: `  callgate audit rollup --by agent,tool --since 30d
  callgate audit rollup --by hour --since 24h --filter 'effect = deny'`,
		Args: exactly(0, "no arguments; flags say what to add up"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{"by": {by}}
			if filter != "" {
				q.Set("filter", filter)
			}
			if err := w.into(q); err != nil {
				return err
			}
			var list []audit.Rollup
			return p.answered(cmd, "/rollup?"+q.Encode(), &list, func() error {
				if len(list) == 0 {
					fmt.Fprintln(p.err, "No call fits.")
					return nil
				}
				return p.table(rollups(by, list))
			})
		},
	}
	cmd.Flags().StringVar(&by, "by", "agent,tool", "what to add up by: "+strings.Join(audit.RollupBy, ", "))
	cmd.Flags().StringVar(&filter, "filter", "", "only calls that fit: agent, kind, target, resource, tool, model, effect, outcome (docs/filter.md)")
	w.flags(cmd, "30d")
	return p.withJSON(cmd)
}

// rollups is list as a table, with a sum at its end.
func rollups(by string, list []audit.Rollup) [][]string {
	var head []string
	for name := range strings.SplitSeq(by, ",") {
		if name != "" {
			head = append(head, strings.ToUpper(name))
		}
	}
	rows := [][]string{append(head, "CALLS", "DENIED", "HELD", "FAILED", "OPEN", "BYTES", "TOKENS", "USD")}
	line := func(r *audit.Rollup) []string {
		row := slices.Clone(r.By)
		for _, n := range []int64{r.Calls, r.Denied, r.Held, r.Failed, r.Open, r.Bytes, r.Tokens} {
			row = append(row, strconv.FormatInt(n, 10))
		}
		return append(row, usd(r.Cost))
	}
	all := audit.Rollup{By: make([]string, len(head))}
	for i := range list {
		r := &list[i]
		rows = append(rows, line(r))
		all.Calls, all.Denied, all.Held, all.Failed, all.Open, all.Bytes, all.Tokens, all.Cost =
			all.Calls+r.Calls, all.Denied+r.Denied, all.Held+r.Held, all.Failed+r.Failed, all.Open+r.Open, all.Bytes+r.Bytes, all.Tokens+r.Tokens, all.Cost+r.Cost
	}
	if len(list) > 1 && len(head) > 0 {
		all.By[0] = "all"
		rows = append(rows, line(&all))
	}
	return rows
}

func (p *program) auditCoverage() *cobra.Command {
	w := scope{}
	cmd := &cobra.Command{
		Use: "coverage", Short: "tell which tools run outside the gate",
		Long: `Tell what became of the tool calls that models asked agents for: which passed
callgate, which were taken out of replies, and which came back with a result though
no call was seen (off gateway), or were never seen again.`,
		Example: "  callgate audit coverage --since 7d\n  callgate audit coverage --agent support-bot --json",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			if err := w.into(q); err != nil {
				return err
			}
			var list []audit.Coverage
			return p.answered(cmd, "/coverage?"+q.Encode(), &list, func() error {
				rows := [][]string{{"AGENT", "TOOL", "ASKED", "PASSED", "TAKEN OUT", "OFF GATEWAY", "UNSEEN", "FOR EXAMPLE BY"}}
				for _, c := range list {
					rows = append(rows, []string{c.Agent, c.Name, fmt.Sprint(c.Asked), fmt.Sprint(c.Passed), fmt.Sprint(c.TakenOut), fmt.Sprint(c.OffGateway), fmt.Sprint(c.Unseen), strings.Join(c.Examples, " ")})
				}
				return p.table(rows)
			})
		},
	}
	w.flags(cmd, "7d")
	w.agents(cmd)
	return p.withJSON(cmd)
}

func (p *program) auditUnlike() *cobra.Command {
	w := scope{}
	cmd := &cobra.Command{
		Use: "unlike", Short: "tell which runs are unlike the other runs of their agent",
		Long: `Tell which runs are unlike the other runs of their agent, the most surprising first:
those that use tools, or one tool after another, that few runs do, or many more of
them. Agents with fewer than five runs are passed over.`,
		Example: "  callgate audit unlike --since 30d\n  callgate audit unlike --agent support-bot",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			if err := w.into(q); err != nil {
				return err
			}
			var list []audit.Unlike
			return p.answered(cmd, "/unlike?"+q.Encode(), &list, func() error {
				rows := [][]string{{"SURPRISE", "AGENT", "RUN", "WHY", "CALL"}}
				for _, u := range list {
					for i, why := range u.Why {
						row := []string{"", "", "", why.What, why.Call}
						if i == 0 {
							row[0], row[1], row[2] = strconv.FormatFloat(u.Score, 'f', 1, 64), u.Agent, u.Run
						}
						rows = append(rows, row)
					}
				}
				return p.table(rows)
			})
		},
	}
	w.flags(cmd, "30d")
	w.agents(cmd)
	return p.withJSON(cmd)
}

// A scope is which time and agent a question is about.
type scope struct{ since, until, agent string }

func (w *scope) flags(cmd *cobra.Command, since string) {
	cmd.Flags().StringVar(&w.since, "since", since, "since then: 30d, 12h, or a time like 2026-11-23T09:00:00Z")
	cmd.Flags().StringVar(&w.until, "until", "", "before then (default: now)")
}

func (w *scope) agents(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.agent, "agent", "", "only of this one")
}

// into puts it into the parameters of a question.
func (w *scope) into(q url.Values) error {
	now := time.Now()
	for _, x := range []struct{ name, text string }{{"since", w.since}, {"until", w.until}} {
		if x.text == "" {
			continue
		}
		t, err := instant(x.text, now)
		if err != nil {
			return usageError{fmt.Errorf("--%s %w", x.name, err)}
		}
		q.Set(x.name, t.UTC().Format(time.RFC3339Nano))
	}
	if w.agent != "" {
		q.Set("agent", w.agent)
	}
	return nil
}
