package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"callgate/audit"
	"callgate/cmd/callgate/internal/console"

	"github.com/spf13/cobra"
)

// mostPages is how many pages a command asks for where calls must be read to find
// those that are asked for.
const mostPages = 50

func (p *program) auditQuery() *cobra.Command {
	var since time.Duration
	var limit int
	filters := map[string]*string{}
	cmd := &cobra.Command{
		Use:   "query",
		Short: "find calls, the newest first",
		Long: `Find calls, the newest first: those that fit every flag, and the filter. A filter
is made of tests such as effect = deny, args.amount > 100 or tool : "shop/*", with
AND, OR, NOT and parentheses; docs/filter.md tells all fields.`,
		Example: `  callgate audit query --effect deny --since 1h
  callgate audit query --filter 'tool = shop/refund AND args.amount > 100 AND at > -7d'
  callgate audit query --filter 'signal : orphan OR signal : args_changed' --json`,
		Args: exactly(0, "no arguments; flags say what to look for"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			if since != 0 {
				q.Set("since", time.Now().Add(-since).UTC().Format(time.RFC3339Nano))
			}
			for name, value := range filters {
				if *value != "" {
					q.Set(name, *value)
				}
			}
			calls := []audit.Call{}
			for pages := 0; ; pages++ {
				q.Set("limit", strconv.Itoa(min(limit-len(calls), 1000)))
				var page console.Calls
				if err := p.ask(cmd, http.MethodGet, "/calls?"+q.Encode(), nil, &page); err != nil {
					return err
				}
				calls = append(calls, page.Calls...)
				if page.Next == "" || len(calls) >= limit {
					break
				}
				if pages == mostPages {
					fmt.Fprintln(p.err, "That is not all:", tame(page.Note))
					break
				}
				q.Set("page_token", page.Next)
			}
			if p.json {
				return p.printJSON(calls)
			}
			if len(calls) == 0 {
				fmt.Fprintln(p.err, "No call fits.")
				return nil
			}
			return p.table(callTable(calls))
		},
	}
	f := cmd.Flags()
	for _, flag := range [][2]string{
		{"filter", "in the filter language: 'agent = bot AND effect = deny' (docs/filter.md)"},
		{"agent", "by this agent"},
		{"kind", "of this kind: session, list, model, tool, resource, prompt"},
		{"target", "to this provider or MCP server"},
		{"resource", "of this model, tool, resource or prompt"},
		{"effect", "decided so: allow, ask, deny"},
		{"otherwise", "that a candidate for the policy would have decided otherwise, namely so: allow, ask, deny, any"},
		{"outcome", "that ended so: ok, fault, denied, open…"},
		{"credential", "for which callgate used this credential: secret:openai, secret:openai@3, env:OPENAI_API_KEY"},
		{"run", "of this run"},
		{"chain", "of the run that a client named so"},
	} {
		filters[flag[0]] = f.String(flag[0], "", flag[1])
	}
	f.DurationVar(&since, "since", 0, "not older than: 15m, 1h, 48h")
	f.IntVar(&limit, "limit", 100, "how many at most")
	return p.withJSON(cmd)
}

// callTable is calls as a table.
func callTable(calls []audit.Call) [][]string {
	rows := [][]string{{"TIME", "AGENT", "KIND", "WHAT", "EFFECT", "RULE", "OUTCOME", "CALL"}}
	for _, c := range calls {
		rows = append(rows, []string{local(time.UnixMicro(c.At)), c.Agent, c.Kind, thing(c.Kind, c.Target, c.Method, c.Resource), c.Effect, c.Rule, c.Outcome, c.ID})
	}
	return rows
}
