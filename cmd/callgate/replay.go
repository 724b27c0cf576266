package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"callgate/audit"
	"callgate/cmd/callgate/internal/console"
	"callgate/providers"
	words "callgate/providers/dialect"

	"github.com/spf13/cobra"
	"github.com/tidwall/sjson"
)

// A Replay is how another model went the way of a run.
type Replay struct {
	Run      string       `json:"run"`
	Model    string       `json:"model"`
	Steps    []ReplayStep `json:"steps"`
	Diverged string       `json:"diverged_at,omitempty"` // the first call at which it did otherwise
	Unplayed int          `json:"not_replayed"`
	Recorded string       `json:"recorded_as"` // the chain that its own calls are on record as
}

// A ReplayStep is one model call of the run, and what the candidate did there.
type ReplayStep struct {
	Call     string   `json:"call"`
	By       string   `json:"replayed_by,omitempty"` // call
	Then     []string `json:"then"`                  // the tool calls that were asked for, with canonical arguments
	Now      []string `json:"now"`
	Same     bool     `json:"same"`
	ThenText string   `json:"then_text,omitempty"`
	NowText  string   `json:"now_text,omitempty"`
	Problem  string   `json:"problem,omitempty"` // why it could not be replayed
}

func (p *program) auditReplay() *cobra.Command {
	var model, as string
	var all bool
	cmd := &cobra.Command{
		Use: "replay RUN --model PROVIDER/MODEL --as AGENT", Short: "let another model go the way of a run, and say where it does otherwise",
		Long: `Let another model go the way of a run: it is shown what the run's model was shown, call
by call, with the tool results that are on record, and what it asks for is held
against what was asked for then. Tools are never called. It ends where the candidate
first asks for other tools, or with other arguments; --all goes on.

The candidate is asked through the gate, as the agent of --as: that needs a rule which
lets it use the model, and it costs what it costs. Take an agent of its own for this:
what the candidate asks for is on record as its.`,
		Example: "  callgate agent create examiner --role replay\n  callgate audit replay 0199d3a2-7a51-7c3e-9f7e-1b1f0a6c2d4e --model lab/qwen3 --as examiner",
		Args:    exactly(1, "the id of a run, of a call in it, or the name that a client gave it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if model == "" || as == "" {
				return usageError{errors.New("want --model, the candidate, and --as, the agent that asks it")}
			}
			c, err := p.client()
			if err != nil {
				return err
			}
			r := replayer{c: c, model: model, agent: strings.TrimPrefix(as, "agent:"), all: all, chain: "replay-" + args[0]}
			done, err := r.replay(cmd.Context(), args[0], func(step *ReplayStep) error {
				if p.json {
					return nil
				}
				return p.printStep(step)
			})
			if err != nil {
				return err
			}
			if p.json {
				return p.printJSON(done)
			}
			switch {
			case done.Diverged != "":
				_, err = fmt.Fprintf(p.out, "\n%s does otherwise first at %s (callgate audit reconstruct %s shows what it was shown).\n", tame(model), done.Diverged, done.Diverged)
			default:
				_, err = fmt.Fprintf(p.out, "\n%s asks for the same tools in all %d calls that could be replayed.\n", tame(model), len(done.Steps)-done.Unplayed)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&model, "model", "", "the candidate: provider/model, or a name of the config's models")
	f.StringVar(&as, "as", "", "the agent that asks it")
	f.BoolVar(&all, "all", false, "go on behind the first difference")
	return p.withJSON(cmd)
}

func (p *program) printStep(s *ReplayStep) error {
	sign := "same"
	switch {
	case s.Problem != "":
		sign = "not replayed: " + tame(s.Problem)
	case !s.Same:
		sign = p.colour(red, "other")
	}
	fmt.Fprintf(p.out, "%s  %s\n", p.colour(dim, s.Call), sign)
	if s.Same || s.Problem != "" {
		return nil
	}
	for _, side := range []struct {
		name string
		asks []string
		text string
	}{{"then", s.Then, s.ThenText}, {"now ", s.Now, s.NowText}} {
		if len(side.asks) == 0 {
			fmt.Fprintf(p.out, "  %s  no tool: %s\n", side.name, shortened(tame(oneLine(side.text)), 200))
		}
		for _, ask := range side.asks {
			fmt.Fprintf(p.out, "  %s  %s\n", side.name, shortened(tame(ask), 400))
		}
	}
	return nil
}

// oneLine is text without breaks.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// A replayer asks a candidate.
type replayer struct {
	c                   *client
	model, agent, chain string
	all                 bool
	gate, token         string
}

func (r *replayer) replay(ctx context.Context, id string, each func(*ReplayStep) error) (*Replay, error) {
	var chain audit.Chain
	if err := r.c.call(ctx, http.MethodGet, "/chains/"+url.PathEscape(id), nil, &chain); err != nil {
		return nil, err
	}
	var status console.Status
	if err := r.c.call(ctx, http.MethodGet, "/status", nil, &status); err != nil {
		return nil, err
	}
	r.gate = status.PublicURL
	done := &Replay{Run: id, Model: r.model, Recorded: r.chain, Steps: []ReplayStep{}}
	for i := range chain.Calls {
		call := &chain.Calls[i]
		if call.Kind != "model" || call.Outcome != "ok" || providers.Path(call.Method, r.model) == "" {
			continue
		}
		step, err := r.step(ctx, call)
		if err != nil {
			return nil, err
		}
		done.Steps = append(done.Steps, *step)
		if err := each(step); err != nil {
			return nil, err
		}
		if step.Problem != "" {
			done.Unplayed++
		} else if !step.Same && done.Diverged == "" {
			if done.Diverged = step.Call; !r.all {
				break
			}
		}
	}
	if len(done.Steps) == 0 {
		return nil, fmt.Errorf("no model call of %s can be replayed: want one of a conversation that ended well", id)
	}
	return done, nil
}

// step asks the candidate what call asked its model.
func (r *replayer) step(ctx context.Context, call *audit.Call) (*ReplayStep, error) {
	s := &ReplayStep{Call: call.ID, Then: []string{}, Now: []string{}}
	sent, err := r.c.payload(ctx, call.ID, "request")
	if err != nil {
		s.Problem = err.Error()
		return s, ctx.Err()
	}
	var got []byte
	if call.Got != nil {
		got, err = r.c.payload(ctx, call.ID, "reply")
	}
	if err != nil || got == nil {
		s.Problem = "its reply is not kept"
		return s, ctx.Err()
	}
	then, err := providers.ReadRecorded(call.Method, sent, got)
	if err == nil && then.Reply == nil {
		err = errors.New("its reply is no answer")
	}
	if err != nil {
		s.Problem = err.Error()
		return s, nil
	}
	s.Then, s.ThenText = asks(call), says(then.Reply)
	for _, name := range []string{"previous_response_id", "conversation"} {
		if _, there := then.Prompt.Extra[name]; there {
			s.Problem = "it goes on with what its provider has stored"
			return s, nil
		}
	}
	now, by, err := r.ask(ctx, call.Method, sent)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", r.model, err)
	}
	var said audit.Call
	if err := r.c.call(ctx, http.MethodGet, "/calls/"+url.PathEscape(by), nil, &said); err != nil {
		return nil, err
	}
	s.By, s.Now, s.NowText = by, asks(&said), says(now)
	s.Same = sameAsks(call, &said) && (len(s.Then) > 0 || s.NowText != "" || s.ThenText == "")
	return s, nil
}

// asks are the tool calls that the reply to a model call asked for, those that were taken
// out of it too.
func asks(call *audit.Call) []string {
	list := make([]string, len(call.Wants))
	for i, w := range call.Wants {
		list[i] = w.Name + " " + cmp.Or(string(w.Args), "(arguments "+w.ArgsHash+")")
	}
	return list
}

func sameAsks(a, b *audit.Call) bool {
	return slices.EqualFunc(a.Wants, b.Wants, func(x, y audit.Want) bool { return x.Name == y.Name && x.ArgsHash == y.ArgsHash })
}

// says is the text of a reply.
func says(r *words.Reply) string {
	var b strings.Builder
	for _, a := range r.Choices[:min(1, len(r.Choices))] {
		for _, part := range a.Parts {
			if part.Kind == words.Text {
				b.WriteString(part.Text)
			}
		}
	}
	return b.String()
}

// ask asks the candidate for a plain reply, and also says as which call.
func (r *replayer) ask(ctx context.Context, method string, doc []byte) (*words.Reply, string, error) {
	doc, err := sjson.SetBytes(doc, "model", r.model)
	if err == nil && method == "gemini" {
		doc, err = sjson.DeleteBytes(doc, "model") // there it is part of the path
	}
	for _, name := range []string{"stream", "stream_options", "store", "background"} {
		if err == nil {
			doc, err = sjson.DeleteBytes(doc, name)
		}
	}
	if err != nil {
		return nil, "", err
	}
	for again := false; ; again = true {
		if r.token == "" {
			var t console.Token
			if err := r.c.call(ctx, http.MethodPost, "/agents/"+url.PathEscape(r.agent)+"/token", struct{}{}, &t); err != nil {
				return nil, "", err
			}
			r.token = t.AccessToken
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(r.gate, "/")+providers.Path(method, url.PathEscape(r.model)), bytes.NewReader(doc))
		if err != nil {
			return nil, "", err
		}
		req.Header = http.Header{"Authorization": {"Bearer " + r.token}, "Content-Type": {"application/json"}, "Callgate-Run": {r.chain}}
		if method == "messages" {
			req.Header.Set("Anthropic-Version", "2023-06-01")
		}
		resp, err := r.c.http.Do(req)
		if err != nil {
			return nil, "", cause(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		switch {
		case err != nil:
			return nil, "", err
		case resp.StatusCode == http.StatusUnauthorized && !again:
			r.token = "" // it has expired
			continue
		case resp.StatusCode != http.StatusOK:
			var e struct{ Error struct{ Message string } }
			_ = json.Unmarshal(text, &e)
			return nil, "", fmt.Errorf("%s: %s", resp.Status, tame(cmp.Or(e.Error.Message, shortened(oneLine(string(text)), 200))))
		}
		read, err := providers.ReadRecorded(method, doc, text)
		if err == nil && read.Reply == nil {
			err = errors.New("it answered with an error")
		}
		if err != nil {
			return nil, "", err
		}
		return read.Reply, resp.Header.Get("Callgate-Call"), nil
	}
}
