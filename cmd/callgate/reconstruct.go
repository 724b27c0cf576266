package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"callgate/audit"
	"callgate/cmd/callgate/internal/console"
	"callgate/providers"
	words "callgate/providers/dialect"

	"github.com/spf13/cobra"
)

func (p *program) auditReconstruct() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "reconstruct ID", Short: "print what the model saw, and what it answered",
		Long: `Print what the model saw, and what it answered, from what is kept of the call. ID is
that of a model call; or of a tool call: then it is what the model saw when it asked
for that. With --json it is the request and the events of the reply themselves, as they
passed, after guards and rules took something out of them.

What a provider of another dialect was sent is a translation of that request; what it
could not be told is named.`,
		Args: exactly(1, "the id of a call"), Example: "  callgate audit reconstruct 0199d3a2-7a51-7c3e-9f7e-1b1f0a6c2d4e",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			call, err := c.modelCall(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			sent, err := c.payload(cmd.Context(), call.ID, "request")
			if err != nil {
				return err
			}
			var got []byte
			if call.Got != nil {
				if got, err = c.payload(cmd.Context(), call.ID, "reply"); err != nil {
					return err
				}
			}
			if p.json {
				return p.printJSON(struct {
					Call    string          `json:"call"`
					Method  string          `json:"method"`
					Model   string          `json:"model"`
					Lossy   []string        `json:"lossy,omitempty"`
					Request json.RawMessage `json:"request"`
					Reply   string          `json:"reply,omitempty"` // documents, one a line
				}{call.ID, call.Method, call.Target + "/" + call.Resource, call.Lossy, sent, string(got)})
			}
			r, err := providers.ReadRecorded(call.Method, sent, got)
			if err != nil {
				return fmt.Errorf("%w; --json prints it as it passed", err)
			}
			return p.printRecorded(call, r)
		},
	})
}

// modelCall is the model call of that id, or the one that asked for the tool call of that id.
func (c *client) modelCall(ctx context.Context, id string) (*audit.Call, error) {
	var call audit.Call
	if err := c.call(ctx, http.MethodGet, "/calls/"+url.PathEscape(id), nil, &call); err != nil {
		return nil, err
	}
	if call.Kind == "model" {
		return &call, nil
	}
	for _, l := range call.Links {
		if l.Kind == "proposed" {
			return c.modelCall(ctx, l.From)
		}
	}
	return nil, fmt.Errorf("no model call is known to have asked for %s, a %s", id, call.Kind)
}

// payload is what is kept of a call: its request, or its reply.
func (c *client) payload(ctx context.Context, id, which string) ([]byte, error) {
	body, err := c.open(ctx, http.MethodGet, "/calls/"+url.PathEscape(id)+"/"+which, nil)
	if err != nil {
		return nil, fmt.Errorf("the %s of %s: %w", which, id, err)
	}
	defer body.Close()
	return io.ReadAll(body)
}

// printRecorded prints a conversation as a person reads it.
func (p *program) printRecorded(call *audit.Call, r *providers.Recorded) error {
	fmt.Fprintf(p.out, "%s  %s  %s %s/%s\n", p.colour(dim, call.ID), clock(call.At), tame(call.Agent), tame(call.Target), tame(call.Resource))
	for _, lost := range call.Lossy {
		fmt.Fprintf(p.out, "  not told to the model: %s\n", tame(lost))
	}
	p.says("system", r.Prompt.System)
	if n := len(r.Prompt.Tools); n > 0 {
		names := make([]string, n)
		for i, t := range r.Prompt.Tools {
			if names[i] = t.Name; t.Hosted != nil && t.Name == "" {
				names[i] = "(run by the vendor)"
			}
		}
		fmt.Fprintf(p.out, "\n%s\n  %s\n", p.colour(bold, fmt.Sprintf("%d tools", n)), tame(strings.Join(names, " ")))
	}
	for _, t := range r.Prompt.Turns {
		p.says([...]string{words.User: "user", words.Assistant: "assistant", words.Developer: "developer"}[t.Role], t.Parts)
	}
	if r.Reply == nil {
		_, err := fmt.Fprintf(p.out, "\n%s\n", p.colour(bold, "no reply is kept: "+outcome(call.Outcome, 0)+" "+tame(call.Fault)))
		return err
	}
	for _, a := range r.Reply.Choices {
		p.says("answered", a.Parts)
	}
	return nil
}

// says prints the parts of a turn.
func (p *program) says(who string, parts []words.Part) {
	if len(parts) == 0 {
		return
	}
	fmt.Fprintf(p.out, "\n%s\n", p.colour(bold, who))
	for _, part := range parts {
		text := part.Text
		switch part.Kind {
		case words.Thought:
			text = "(thinks) " + text
		case words.Redacted:
			text = "(thinks what only its vendor can read)"
		case words.ToolCall:
			text = "→ " + part.Name + " " + string(part.Args)
			if part.Args == nil {
				text = "→ " + part.Name + " " + part.Text
			}
		case words.ToolResult:
			p.says("  ← result of "+part.Name+" "+part.ID, part.Parts)
			continue
		case words.Image, words.Audio, words.Document:
			text = "(a file)"
			if m := part.Media; m != nil {
				text = fmt.Sprintf("(a file: %s %s%s, %d bytes)", m.Type, m.Name, m.URL, len(m.Data)*3/4)
			}
		}
		for line := range strings.Lines(text) {
			fmt.Fprintf(p.out, "  %s\n", tame(strings.TrimRight(line, "\n")))
		}
	}
}

func (p *program) auditErase() *cobra.Command {
	var e console.Erasure
	cmd := &cobra.Command{
		Use: "erase --run ID… | --subject WHO --reason WHY", Short: "destroy what is kept of what runs have said",
		Long: `Destroy what is kept of the prompts, arguments and replies of runs, by destroying the
keys that they are sealed with. It cannot be undone. What the ledger says of the calls
stays, with the digests, which tell nothing any more; and that this was done, why, and
how much it was, is on record itself. Backups of the data folder are yours to erase.`,
		Example: `  callgate audit erase --run 0199d3a2-7a51-7c3e-9f7e-1b1f0a6c2d4e --reason "ticket 4711"
  callgate audit erase --subject agent:support-bot --reason "request of 3 May"`,
		Args: exactly(0, "no arguments; flags say what to erase"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (len(e.Runs) == 0) == (e.Subject == "") || e.Reason == "" {
				return usageError{errors.New("want --run or --subject, and --reason")}
			}
			var done console.Erased
			if err := p.ask(cmd, http.MethodPost, "/payloads/erase", e, &done); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(done)
			}
			_, err := fmt.Fprintf(p.out, "%d runs: %d keys destroyed\n", done.Runs, done.Keys)
			return err
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&e.Runs, "run", nil, "this run; may be given several times")
	f.StringVar(&e.Subject, "subject", "", "all runs of this one: agent:NAME")
	f.StringVar(&e.Reason, "reason", "", "why, for the record")
	return p.withJSON(cmd)
}
