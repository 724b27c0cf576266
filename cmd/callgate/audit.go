package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"callgate/audit"
	"callgate/cmd/callgate/internal/console"

	"github.com/spf13/cobra"
)

func (p *program) audit() *cobra.Command {
	return group("audit", "ask the record what happened",
		p.auditTail(), p.auditQuery(), p.auditShow(), p.auditWho(), p.auditChain(), p.auditAncestors(), p.auditDescendants(), p.auditTimeline(), p.auditDiff(), p.auditRollup(), p.auditCoverage(), p.auditUnlike(), p.auditDrift(), p.auditReconstruct(), p.auditReplay(), p.auditLineage(), p.auditTravels(), p.auditFlows(), p.auditCost(), p.auditErase(), p.auditExport(), p.auditHold(), p.auditRelease(), p.auditVerify(), p.auditProve(), p.auditKey())
}

func (p *program) auditTail() *cobra.Command {
	var follow bool
	var lines int
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "print the latest records, and with -f the coming ones",
		Example: `  callgate audit tail
  callgate audit tail -f
  callgate audit tail -f --json | jq 'select(.effect == "deny")'`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			path := "/records?last=" + strconv.Itoa(lines)
			for {
				var page console.Records
				if err := c.call(cmd.Context(), http.MethodGet, path, nil, &page); err != nil {
					return err
				}
				for _, raw := range page.Records {
					if err := p.printRecord(raw); err != nil {
						return err
					}
				}
				for _, gap := range page.Gaps {
					fmt.Fprintf(p.err, "records %d to %d cannot be read: %s\n", gap.First, gap.Last, tame(gap.Reason))
				}
				if !follow {
					return nil
				}
				path = fmt.Sprintf("/records?from=%d&wait=20s", page.Next)
			}
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with records as they come")
	cmd.Flags().IntVarP(&lines, "lines", "n", 20, "how many of the latest, up to 1000")
	return p.withJSON(cmd)
}

// printRecord prints one record as a line.
func (p *program) printRecord(raw json.RawMessage) error {
	if p.json {
		_, err := p.out.Write(append(bytes.TrimSpace(raw), '\n'))
		return err
	}
	var r audit.Record
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("read the gate's answer: %w", err)
	}
	parts := []string{clock(r.At), fmt.Sprintf("%-8s", r.Type)}
	switch r.Type {
	case audit.Changed:
		parts = append(parts, tame(r.What), tame(r.Name), tame(r.State), "by "+tame(r.By))
	case audit.Proposed:
		if r.Proposal != nil {
			parts = append(parts, "the model asks for "+tame(r.Proposal.Name)+arguments(r.Proposal.Args))
		}
	default:
		if r.Agent != "" {
			parts = append(parts, tame(r.Agent))
		}
		if r.Kind != "" {
			parts = append(parts, r.Kind, tame(thing(r.Kind, r.Target, r.Method, r.Resource)))
		}
		parts = append(parts, p.decided(r.Effect, r.Rule), p.ended(r.Outcome, r.TookUS), tame(r.Reason))
	}
	if r.Call != "" {
		parts = append(parts, p.colour(dim, r.Call))
	}
	return p.line(parts...)
}

// line prints what there is of parts.
func (p *program) line(parts ...string) error {
	var b strings.Builder
	for _, part := range parts {
		if part == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("  ")
		}
		b.WriteString(part)
	}
	_, err := fmt.Fprintln(p.out, b.String())
	return err
}

func (p *program) auditShow() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "show ID", Short: "show all that is on record of one call",
		Long: "Show all that is on record of one call. Its id is in each answer's Callgate-Call header,\nin refusals, and in audit query.",
		Args: exactly(1, "the id of a call"), Example: "  callgate audit show 0199d3a2-7a51-7c3e-9f7e-1b1f0a6c2d4e",
		RunE: func(cmd *cobra.Command, args []string) error {
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodGet, "/calls/"+url.PathEscape(args[0]), nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var c audit.Call
			if err := json.Unmarshal(raw, &c); err != nil {
				return fmt.Errorf("read the gate's answer: %w", err)
			}
			return p.showCall(&c)
		},
	})
}

// showCall prints what is known of a call, a line for each thing that is.
func (p *program) showCall(c *audit.Call) error {
	rows := [][]string{
		{"call", c.ID}, {"time", time.UnixMicro(c.At).Local().Format("2006-01-02 15:04:05.000000")},
		{"agent", c.Agent}, {"subject", c.Subject}, {"actors", strings.Join(c.Actors, " ")}, {"token", c.Token}, {"run", c.Run}, {"chain", c.Chain}, {"session", c.Session},
		{"kind", c.Kind}, {"target", c.Target}, {"method", c.Method}, {"resource", c.Resource}, {"arguments", string(c.Args)}, {"args hash", c.ArgsHash},
		{"effect", c.Effect}, {"rule", c.Rule}, {"reason", c.Reason}, {"policy", c.Policy}, {"duties", strings.Join(c.Obligations, " ")},
		{"approval", c.Approval}, {"otherwise", otherwise(c.Otherwise)},
		{"outcome", outcome(c.Outcome, c.TookUS)}, {"fault", c.Fault}, {"credential", c.Credential}, {"tokens", tokens(c.Usage)},
		{"bytes", fmt.Sprintf("%d in, %d out", c.Sent, c.Received)},
	}
	for _, f := range c.Findings {
		rows = append(rows, []string{"finding", finding(f)})
	}
	for _, k := range c.Checks {
		rows = append(rows, []string{"checked by", fmt.Sprintf("%s (%s): %d bytes of the request, %d of the reply", k.Guard, k.Version, k.Request, k.Reply)})
	}
	for _, l := range c.Links {
		rows = append(rows, []string{"led to by", l.From + ", " + found(l.Kind, l.Method)})
	}
	for _, w := range c.Wants {
		asked := w.Name + " " + string(w.Args)
		if w.Effect == "deny" {
			asked += ", taken out of the reply: " + w.Reason
		}
		rows = append(rows, []string{"asks for", asked})
	}
	for _, e := range c.Led {
		rows = append(rows, []string{"led to", e.To + ", " + found(e.Kind, e.Method)})
	}
	known := rows[:0]
	for _, row := range rows {
		if row[1] != "" {
			known = append(known, row)
		}
	}
	return p.table(known)
}

// otherwise is what a candidate would have decided.
func otherwise(o *audit.Otherwise) string {
	if o == nil {
		return ""
	}
	return strings.TrimSpace(o.Effect + " by " + cmp.Or(o.Rule, "default") + " of policy " + o.Policy + " " + strings.Join(o.Obligations, " "))
}

func (p *program) auditChain() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "chain ID", Short: "tell what led to what",
		Long: `Tell what led to what: the model calls of a run, the tool calls that each asked
for, and the model calls that their results went into. ID is that of any call of
it, of the run, or the name that a client gave it.`,
		Args: exactly(1, "the id of a call or a run"), Example: "  callgate audit chain 0199d3a2-7a51-7c3e-9f7e-1b1f0a6c2d4e",
		RunE: func(cmd *cobra.Command, args []string) error {
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodGet, "/chains/"+url.PathEscape(args[0]), nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var c audit.Chain
			if err := json.Unmarshal(raw, &c); err != nil {
				return fmt.Errorf("read the gate's answer: %w", err)
			}
			return p.printChain(&c)
		},
	})
}
