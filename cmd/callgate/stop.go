package main

import (
	"fmt"
	"net/http"
	"net/url"

	"callgate/cmd/callgate/internal/console"
	"callgate/identity"

	"github.com/spf13/cobra"
)

// stop is the switch for an emergency: all that it stops can go on later.
func (p *program) stop() *cobra.Command {
	cmd := group("stop", "stop an agent, a run, a tool, or all that has read such text, at once",
		p.stopAgent(),
		p.stopOf(identity.RevokedRun, "run ID", "stop a run, and what acts for it", "the run's id, or the name that its client gives it", "  callgate stop run nightly-7", ""),
		p.stopOf(identity.RevokedObject, "tool SERVER/TOOL", "stop a tool, whoever calls it", "the server and the tool", "  callgate stop tool shop/refund", "tool:"),
		p.stopOf(identity.RevokedObject, "model PROVIDER/MODEL", "stop a model, whoever calls it", "the provider and the model", "  callgate stop model openai/gpt-5", "model:"),
		p.stopOf(identity.RevokedLabel, "label LABEL", "stop every run that has read such text", "untrusted, private or secret", "  callgate stop label untrusted", ""))
	cmd.Long = `Stop what goes wrong, at once: the next call fails, and what is under way for it
is cut off; of a label, the next call. Nothing is lost: each command prints how it
goes on again. To end credentials for good there is callgate revoke.`
	return cmd
}

func (p *program) stopAgent() *cobra.Command {
	var s console.Step
	return acting(&cobra.Command{
		Use: "agent NAME", Short: "stop an agent; its tokens end", Example: "  callgate stop agent support-bot", Args: exactly(1, "the agent's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var a console.Agent
			if err := p.ask(cmd, http.MethodPost, "/agents/"+url.PathEscape(args[0])+"/suspend", s, &a); err != nil {
				return err
			}
			_, err := fmt.Fprintf(p.out, "agent %s is stopped; it goes on with: callgate agent resume %s\n", a.Name, a.Name)
			return err
		},
	}, &s.By)
}

// stopOf is a command that stops what is of a kind; before is the beginning of its id.
func (p *program) stopOf(kind, use, short, wants, example, before string) *cobra.Command {
	n := console.NewRevocation{Kind: kind}
	return acting(&cobra.Command{
		Use: use, Short: short, Example: example, Args: exactly(1, wants),
		RunE: func(cmd *cobra.Command, args []string) error {
			n.ID = before + args[0]
			if err := p.ask(cmd, http.MethodPost, "/revocations", n, &n); err != nil {
				return err
			}
			_, err := fmt.Fprintf(p.out, "%s %s is stopped; it goes on with: callgate restore %s %s\n", n.Kind, n.ID, n.Kind, n.ID)
			return err
		},
	}, &n.By)
}
