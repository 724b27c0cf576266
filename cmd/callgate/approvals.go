package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"callgate/cmd/callgate/internal/console"
	"callgate/firewall"

	"github.com/spf13/cobra"
)

// askedPeople tells the operator's webhook that people are asked.
func (h *house) askedPeople(a firewall.Approval) {
	shown := console.ShowApproval(a)
	h.asking.add(alert{Type: "approval", At: shown.Asked, Approval: &shown})
}

// approve puts on record what somebody says of an approval, and lets that count.
func (h *house) approve(ctx context.Context, id string, v firewall.Vote) (firewall.Approval, error) {
	return h.gate.Approve(ctx, id, v, func(a firewall.Approval) error {
		what, state := "approval.approved", fmt.Sprintf("%s of %s; call %s", a.Object, a.Agent(), a.Call)
		switch a.State {
		case firewall.ApprovalGranted:
			what = "approval.granted"
		case firewall.ApprovalDenied:
			what = "approval.denied"
		}
		if v.Note != "" {
			state += "; " + v.Note
		}
		return h.note(what, v.By, a.ID, state)
	})
}

func (p *program) approvals() *cobra.Command {
	return group("approvals", "decide about calls that a policy holds until a person agrees",
		p.approvalsList(), p.approvalsShow(), p.approvalsDecide("approve", "agree to a held call: the agent may make exactly that call, once"),
		p.approvalsDecide("deny", "refuse a held call, or take back an approval that is not used"))
}

func (p *program) approvalsList() *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use: "list", Short: "list the calls that wait for a person", Args: exactly(0, "no arguments"),
		Example: "  callgate approvals list\n  callgate approvals list --state all --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodGet, "/approvals?state="+url.QueryEscape(state), nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var list []console.Approval
			if err := json.Unmarshal(raw, &list); err != nil {
				return err
			}
			if len(list) == 0 {
				fmt.Fprintln(p.err, "Nothing waits for a person.")
				return nil
			}
			rows := [][]string{{"ID", "STATE", "AGENT", "WANTS", "ARGUMENTS", "RULE", "GROUPS", "UNTIL"}}
			for _, a := range list {
				rows = append(rows, []string{a.ID, a.State, a.Agent, wants(&a), brief(string(a.Args)), a.Rule, strings.Join(a.Groups, " "), local(a.Expires)})
			}
			return p.table(rows)
		},
	}
	cmd.Flags().StringVar(&state, "state", "asked", "asked, granted, denied, used, expired or all")
	return p.withJSON(cmd)
}

func (p *program) approvalsShow() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "show ID", Short: "show a held call: who wants what, with which values, and why it is held", Args: exactly(1, "the approval's id"),
		Example: "  callgate approvals show 0199f3c2-6d1e-7b7a-9c39-52a1b0d4f6aa",
		RunE: func(cmd *cobra.Command, args []string) error {
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodGet, "/approvals/"+url.PathEscape(args[0]), nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var a console.Approval
			if err := json.Unmarshal(raw, &a); err != nil {
				return err
			}
			rows := [][]string{
				{"approval", a.ID}, {"state", a.State}, {"agent", a.Agent}, {"on behalf of", a.Subject}, {"wants", wants(&a)}, {"arguments", string(a.Args)},
				{"run", a.Run}, {"has read", strings.Join(a.Labels, " ")}, {"why held", a.Reason}, {"rule", a.Rule}, {"policy", a.Policy},
				{"must agree", strings.Join(a.Groups, " and ")}, {"asked", local(a.Asked)}, {"until", local(a.Expires)}, {"call", a.Call},
			}
			for _, e := range a.Evidence {
				rows = append(rows, []string{"where from", evidence(e)})
			}
			if a.UsedBy != "" {
				rows = append(rows, []string{"used by call", a.UsedBy})
			}
			for _, v := range a.Votes {
				said := "denied"
				if v.Yes {
					said = "approved for " + strings.Join(v.For, " and ")
				}
				rows = append(rows, []string{v.By, strings.TrimSpace(said + " " + local(v.At) + " " + v.Note)})
			}
			return p.table(rows)
		},
	})
}

func (p *program) approvalsDecide(word, short string) *cobra.Command {
	v := console.NewVote{Decision: word}
	var who author
	cmd := &cobra.Command{
		Use: word + " ID", Short: short, Args: exactly(1, "the approval's id"),
		Long: short + `.

Who decides must be in the group that the rule names (a g row of the policy), and
nobody of the chain that asks. --as is taken on the word of whoever holds the
admin token, and goes on record.`,
		Example: "  callgate approvals " + word + " 0199f3c2-6d1e-7b7a-9c39-52a1b0d4f6aa --as user:ana -m 'called the customer'",
		RunE: func(cmd *cobra.Command, args []string) error {
			v.By, v.Note = who.name(), who.comment
			var a console.Approval
			if err := p.ask(cmd, http.MethodPost, "/approvals/"+url.PathEscape(args[0]), v, &a); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(a)
			}
			switch a.State {
			case firewall.ApprovalGranted:
				fmt.Fprintf(p.out, "granted: %s may %s once, until %s\n", a.Agent, wants(&a), local(a.Expires))
			case firewall.ApprovalDenied:
				fmt.Fprintf(p.out, "denied: %s may not %s\n", a.Agent, wants(&a))
			default:
				fmt.Fprintf(p.out, "noted: others of %s must agree too\n", strings.Join(a.Groups, " and "))
			}
			return nil
		},
	}
	return p.withJSON(who.flags(cmd))
}

// wants is what the call of an approval is, in the words of the policy.
func wants(a *console.Approval) string {
	return a.Action + " " + a.Object
}

// evidence is from where a value of a held call comes.
func evidence(e firewall.Evidence) string {
	s := fmt.Sprintf("%s %q: %s", e.Path, e.Value, e.Origin)
	if e.Tool != "" {
		s += ", by " + e.Tool
	}
	if e.Call != "" {
		s += ", call " + e.Call
	}
	return s
}

// brief is the beginning of a text, for a table.
func brief(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:59]) + "…"
	}
	return s
}
