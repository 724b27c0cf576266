package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"callgate/audit"

	"github.com/spf13/cobra"
)

func (p *program) auditCost() *cobra.Command {
	var by, agent, since string
	cmd := &cobra.Command{
		Use:   "cost",
		Short: "what models have cost, by agent, model, provider, run, chain or day",
		Long: `What models have cost, in tokens as the providers reported them and in US dollars by
the prices of the time of each call: those in the config, and where it has none the
vendors' lists that callgate knows. Calls of models without a price are counted, and
their money is not known; of calls that were cut short the tokens are estimated. Tries
that failed and were billed all the same count for the model that was tried.`,
		Example: `  callgate audit cost --by agent,model --since 7d
  callgate audit cost --by day --agent support-bot
  callgate audit cost --json`,
		Args: exactly(0, "no arguments; flags say what to add up"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{"by": {by}}
			if agent != "" {
				q.Set("agent", "agent:"+strings.TrimPrefix(agent, "agent:"))
			}
			if since != "" {
				ago, err := days(since)
				if err != nil {
					return fmt.Errorf("--since: %w", err)
				}
				q.Set("since", time.Now().Add(-ago).UTC().Format(time.RFC3339Nano))
			}
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodGet, "/spends?"+q.Encode(), nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var list []audit.Spend
			if err := json.Unmarshal(raw, &list); err != nil {
				return fmt.Errorf("read the gate's answer: %w", err)
			}
			if len(list) == 0 {
				fmt.Fprintln(p.err, "No model was called.")
				return nil
			}
			return p.table(spends(strings.Split(by, ","), list))
		},
	}
	f := cmd.Flags()
	f.StringVar(&by, "by", "agent,model", "what to add up by: agent, model, provider, run, chain, day")
	f.StringVar(&agent, "agent", "", "only of this one")
	f.StringVar(&since, "since", "", "not older than: 24h, 7d")
	return p.withJSON(cmd)
}

// spends is list as a table, with a sum at its end.
func spends(by []string, list []audit.Spend) [][]string {
	var head []string
	for _, name := range by {
		if name != "" {
			head = append(head, strings.ToUpper(name))
		}
	}
	names := len(head)
	rows := [][]string{append(head, "CALLS", "INPUT", "CACHED", "OUTPUT", "USD")}
	sum := audit.Spend{By: make([]string, names)}
	line := func(s *audit.Spend) []string {
		usd := strconv.FormatFloat(float64(s.Cost)/1e6, 'f', 4, 64)
		if s.Unpriced > 0 {
			usd += fmt.Sprintf(" + %d calls without a price", s.Unpriced)
		}
		if s.Estimated > 0 {
			usd += fmt.Sprintf(" (%d calls estimated)", s.Estimated)
		}
		return append(append([]string(nil), s.By...), fmt.Sprint(s.Calls), fmt.Sprint(s.Input), fmt.Sprint(s.CacheRead), fmt.Sprint(s.Output), usd)
	}
	for i := range list {
		s := &list[i]
		rows = append(rows, line(s))
		sum.Calls, sum.Unpriced, sum.Estimated, sum.Input, sum.CacheRead, sum.Output, sum.Cost = sum.Calls+s.Calls, sum.Unpriced+s.Unpriced, sum.Estimated+s.Estimated, sum.Input+s.Input, sum.CacheRead+s.CacheRead, sum.Output+s.Output, sum.Cost+s.Cost
	}
	if len(list) > 1 && names > 0 {
		sum.By[0] = "all"
		rows = append(rows, line(&sum))
	}
	return rows
}

// days is a duration that may be in whole days, too: 7d.
func days(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		d, err := strconv.Atoi(n)
		if err != nil || d < 1 || d > 3660 {
			return 0, fmt.Errorf("%q: want 7d, 24h or 30m", s)
		}
		return time.Duration(d) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q: want 7d, 24h or 30m", s)
	}
	return d, nil
}
