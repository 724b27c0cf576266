package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"callgate/firewall/policy"

	"github.com/spf13/cobra"
)

func (p *program) policyExplain() *cobra.Command {
	var files []string
	var q Question
	var args, at string
	var env map[string]string
	cmd := p.withJSON(&cobra.Command{
		Use:   "explain AGENT WHAT --policy FILE",
		Short: "say which rows decide about a call, and how; needs no gate",
		Long: `Say what a policy answers to a call, with every row that is about it: how the agent
came to have it, what its condition read, and what it said. Rows that nearly
applied are told too.`,
		Example: `  callgate policy explain agent:bot tool:shop/refund --role support --args '{"amount": 90}' --policy policy.csv
  callgate policy explain agent:bot model:openai/gpt-5 --for user:ana --policy policy.csv --json`,
		Args: exactly(2, "an agent and an object, as agent:bot tool:shop/refund"),
		RunE: func(_ *cobra.Command, words []string) error {
			q.Who, q.What, q.Args, q.At = words[0], words[1], json.RawMessage(args), time.Now()
			if at != "" {
				t, err := time.Parse(time.RFC3339, at)
				if err != nil {
					return usageError{fmt.Errorf("--at is %q: want a time like 2026-11-23T09:00:00Z", at)}
				}
				q.At = t
			}
			q.Env = make(map[string]any, len(env))
			for name, text := range env {
				var value any
				if json.Unmarshal([]byte(text), &value) != nil { // neither a number nor true or false
					value = text
				}
				q.Env[name] = value
			}
			law, err := loadPolicy(files)
			if err != nil {
				return err
			}
			call, err := q.call()
			if err != nil {
				return usageError{err}
			}
			d, rows := law.Explain(call)
			d = call.Within(d)
			if p.json {
				return p.printJSON(map[string]any{"effect": d.Effect.String(), "rule": d.Rule, "reason": d.Reason, "policy": d.Policy, "rows": rows})
			}
			fmt.Fprintf(p.out, "%s", p.colour(effectPaint(d.Effect.String()), d.Effect.String()))
			if d.Rule != "" {
				fmt.Fprintf(p.out, " by %s", d.Rule)
			}
			if d.Reason != "" {
				fmt.Fprintf(p.out, ": %s", tame(d.Reason))
			}
			fmt.Fprint(p.out, "\n\n")
			table := [][]string{{"ROW", "EFFECT", "SAYS", "BY", "OBJECT", "CONDITION", "READ"}}
			for _, r := range rows {
				table = append(table, []string{r.ID, r.Effect, r.Says, strings.Join(r.Path, " > "), r.Object + " " + r.Action, r.Condition, strings.Join(r.Read, ", ")})
			}
			if len(rows) == 0 {
				_, err := fmt.Fprintln(p.out, "No row is about this object and this agent.")
				return err
			}
			return p.table(table)
		},
	})
	f := cmd.Flags()
	f.StringSliceVar(&files, "policy", []string{"policy.csv"}, "policy files")
	f.StringSliceVar(&q.Roles, "role", nil, "roles that the agent is registered with")
	f.StringSliceVar(&q.Within.Models, "only-model", nil, "models that the agent's registration keeps it to, as openai/*")
	f.StringSliceVar(&q.Within.Servers, "only-server", nil, "MCP servers that its registration keeps it to")
	f.StringSliceVar(&q.Groups, "group", nil, "groups of the registry that the user of --for is in")
	f.StringVar(&q.For, "for", "", "on whose behalf it acts, as user:ana")
	f.StringVar(&q.Action, "action", "", "what it does, where that is not the usual thing: embed, subscribe")
	f.StringVar(&args, "args", "", "arguments of the tool or prompt, as JSON")
	f.StringSliceVar(&q.Hints, "hint", nil, "what the tool's trusted server says of it: readOnly, destructive, idempotent, openWorld")
	f.StringSliceVar(&q.Labels, "label", nil, "what the run has read: untrusted, private, secret")
	f.StringToStringVar(&env, "env", nil, "what else conditions read: session.calls=3, session.cost, tokens, cost, priced, net.ip, approved, orphan, loop")
	f.StringVar(&at, "at", "", "when, as 2026-11-23T09:00:00Z (default now)")
	return cmd
}

func effectPaint(effect string) paint {
	switch effect {
	case "allow":
		return green
	case "deny":
		return red
	}
	return amber
}

// loadPolicy is the policy that files make together.
func loadPolicy(files []string) (*policy.Policy, error) {
	sources, err := readSources(files)
	if err != nil {
		return nil, err
	}
	return policy.Load(sources...)
}

func readSources(files []string) ([]policy.Source, error) {
	var sources []policy.Source
	for _, name := range files {
		text, err := readFile(name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %s", name, plain(err))
		}
		sources = append(sources, policy.Source{Name: name, Text: text})
	}
	return sources, nil
}
