package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"callgate/cmd/callgate/internal/console"

	"github.com/spf13/cobra"
)

func (p *program) auditLineage() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "lineage ID", Short: "tell where the values come from that a call was made with",
		Long: `Tell where the values come from that a call was made with: what the user said, a tool's
result, the model itself. Values are compared by their words, as they are and decoded
(percent, base64, hex, JSON in a text), and longer texts by their parts. What was put in
other words, or worked out, has no origin that can be found.

ID is that of a tool call; or of a model call: then it is the values of what it asked for.`,
		Args: exactly(1, "the id of a call"), Example: "  callgate audit lineage 0199d3a2-7a51-7c3e-9f7e-1b1f0a6c2d4e",
		RunE: func(cmd *cobra.Command, args []string) error {
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodGet, "/calls/"+url.PathEscape(args[0])+"/lineage", nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var l console.Lineage
			if err := json.Unmarshal(raw, &l); err != nil {
				return fmt.Errorf("read the gate's answer: %w", err)
			}
			if len(l.Values) == 0 {
				fmt.Fprintln(p.err, "The call has no values in its arguments, or they are not kept.")
				return nil
			}
			rows := [][]string{{"WHERE", "VALUE", "FROM", "FOUND BY", "CALL"}}
			for _, v := range l.Values {
				if len(v.Origins) == 0 {
					rows = append(rows, []string{v.Path, shortened(v.Value, 60), "no origin found", "", ""})
				}
				for i, o := range v.Origins {
					at, value := v.Path, shortened(v.Value, 60)
					if i > 0 {
						at, value = "", ""
					}
					by := o.Method
					if o.Share < 1 {
						by = fmt.Sprintf("%s, %.0f %%", by, 100*o.Share)
					}
					rows = append(rows, []string{at, value, saidBy(o), by, o.Call})
				}
			}
			if err := p.table(rows); err != nil {
				return err
			}
			if l.Missing > 0 || l.Full {
				fmt.Fprintf(p.err, "Something is not kept of %d calls before it; what came from there is not found.\n", l.Missing)
			}
			return nil
		},
	})
}

// saidBy is who said it, as a person says it.
func saidBy(o console.Origin) string {
	switch o.What {
	case "user":
		return "the user"
	case "system":
		return "the system prompt"
	case "model":
		return "the model"
	}
	return "the " + o.What + " of " + cmp.Or(o.Of, "a tool")
}

func (p *program) auditTravels() *cobra.Command {
	var since string
	cmd := &cobra.Command{
		Use: "travels VALUE", Short: "tell where a value went: a secret, an address, an account",
		Long: `Tell where a value went: which calls were sent it, and which got it, of all that is kept.
It is found as it is, in any case, escaped, percent-encoded, in base64 and hex, and, where
it has digits, without spaces and dashes. Of the prompts of a run, which repeat themselves, the first that had
it stands for the others.`,
		Args: exactly(1, "a value of at least 4 bytes"), Example: "  callgate audit travels ES9121000418450200051332\n  callgate audit travels mallory@example.com --since 7d",
		RunE: func(cmd *cobra.Command, args []string) error {
			s := console.Search{Value: args[0]}
			if since != "" {
				ago, err := days(since)
				if err != nil {
					return fmt.Errorf("--since: %w", err)
				}
				s.Since = time.Now().Add(-ago)
			}
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodPost, "/travels", s, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var t console.Travels
			if err := json.Unmarshal(raw, &t); err != nil {
				return fmt.Errorf("read the gate's answer: %w", err)
			}
			if len(t.Stops) == 0 {
				fmt.Fprintln(p.err, "It is in nothing that is kept.")
				return nil
			}
			rows := [][]string{{"TIME", "AGENT", "", "WHAT", "OUTCOME", "CALL"}}
			for _, stop := range t.Stops {
				side := "was sent to"
				if stop.Side == "got" {
					side = "came from"
				}
				what := stop.What
				if stop.Again > 0 {
					what += fmt.Sprintf(" (and in %d later prompts)", stop.Again)
				}
				rows = append(rows, []string{local(time.UnixMicro(stop.At)), stop.Agent, side, what, cmp.Or(stop.Outcome, stop.Effect), stop.Call})
			}
			return p.table(rows)
		},
	}
	cmd.Flags().StringVar(&since, "since", "", "only what was kept since: 24h, 7d")
	return p.withJSON(cmd)
}

func (p *program) auditFlows() *cobra.Command {
	var since string
	cmd := &cobra.Command{
		Use: "flows [FROM] TO", Short: "tell which values of one server reached another one",
		Long: `Tell which values reached the tools of server TO that a result of server FROM, or of any,
gave first: what the user said before is no flow.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 && len(args) != 2 {
				return usageError{errors.New("want the names of one or two servers (callgate audit flows --help shows examples)")}
			}
			return nil
		},
		Example: "  callgate audit flows crm mail\n  callgate audit flows mail --since 7d",
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"to": {args[len(args)-1]}}
			if len(args) == 2 {
				q.Set("from", args[0])
			}
			if since != "" {
				ago, err := days(since)
				if err != nil {
					return fmt.Errorf("--since: %w", err)
				}
				q.Set("since", time.Now().Add(-ago).UTC().Format(time.RFC3339Nano))
			}
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodGet, "/flows?"+q.Encode(), nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var f console.Flows
			if err := json.Unmarshal(raw, &f); err != nil {
				return fmt.Errorf("read the gate's answer: %w", err)
			}
			if f.Missing > 0 {
				fmt.Fprintf(p.err, "Something is not kept of %d calls.\n", f.Missing)
			}
			if len(f.Flows) == 0 {
				fmt.Fprintf(p.err, "No value is known to have gone there, in %d runs.\n", f.Runs)
				return nil
			}
			rows := [][]string{{"TIME", "AGENT", "VALUE", "FROM", "TO", "OUTCOME", "CALL"}}
			for _, x := range f.Flows {
				rows = append(rows, []string{local(time.UnixMicro(x.At)), x.Agent, shortened(x.Value.Value, 40), x.From.Of, x.Tool, cmp.Or(x.Outcome, x.Effect), x.To})
			}
			return p.table(rows)
		},
	}
	cmd.Flags().StringVar(&since, "since", "", "only of calls since: 24h, 7d")
	return p.withJSON(cmd)
}
