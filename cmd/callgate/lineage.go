package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"callgate/audit"
	"callgate/cmd/callgate/internal/console"
	"callgate/providers"
	words "callgate/providers/dialect"

	"github.com/tidwall/gjson"
)

// past is what a run has met before a call, from what is kept of it.
type past struct {
	line    audit.Lineage
	sources []console.Origin // by the numbers of line
	seen    map[[32]byte]bool
	missing int // calls of which something is not kept
}

// lineage is where the values come from that a call was made with; of a model call, those of
// the tool calls that it asked for.
func (h *house) lineage(ctx context.Context, id string) (*console.Lineage, error) {
	call, ok, err := h.index.Call(ctx, id)
	if err != nil || !ok {
		return nil, err
	}
	p, err := h.before(ctx, &call)
	if err != nil {
		return nil, err
	}
	out := &console.Lineage{Call: call.ID, Run: call.Run, Values: []console.Value{}}
	if call.Kind == "model" {
		for i, w := range call.Wants {
			p.trace(out, fmt.Sprintf("/proposals/%d", i), w.Args)
		}
	} else {
		args, err := h.arguments(&call)
		if err != nil {
			return nil, err
		}
		p.trace(out, "/arguments", args)
	}
	out.Missing, out.Full = p.missing, p.line.Full()
	return out, nil
}

// before gathers what call's run has met before it: its last 1,000 calls.
func (h *house) before(ctx context.Context, call *audit.Call) (*past, error) {
	p := &past{seen: make(map[[32]byte]bool)}
	if call.Run == "" {
		return p, nil
	}
	calls, err := h.index.Calls(ctx, audit.Filter{Run: call.Run, Before: call.Seq + 1, Limit: 1000})
	if err != nil {
		return nil, err
	}
	slices.Reverse(calls)
	for i := range calls {
		c := &calls[i]
		if c.ID == call.ID {
			if c.Kind != "model" {
				break
			}
			c.Got = nil // what it asks for is what is looked for
		}
		if err := h.meet(p, c); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// meet notes what c was told and what it answered.
func (h *house) meet(p *past, c *audit.Call) error {
	if c.Kind == "list" || c.Kind == "session" {
		return nil
	}
	sent, err := h.kept(c.Asks)
	if err != nil {
		return err
	}
	got, err := h.kept(c.Got)
	if err != nil {
		return err
	}
	if sent == nil || got == nil && c.Got != nil {
		p.missing++
	}
	if c.Kind == "model" {
		p.prompted(c, sent, got)
		return nil
	}
	audit.Leaves(got, func(_, text string) { p.met(c, "result", thing(c.Kind, c.Target, c.Method, c.Resource), text) })
	return nil
}

// arguments are those that a tool was called with.
func (h *house) arguments(call *audit.Call) ([]byte, error) {
	doc, err := h.kept(call.Asks)
	if doc == nil || err != nil {
		return call.Args, err
	}
	return []byte(gjson.GetBytes(doc, "arguments").Raw), nil
}

// kept is the document at, nil where it is not there any more.
func (h *house) kept(at *audit.Payload) ([]byte, error) {
	if at == nil {
		return nil, nil
	}
	doc, err := h.payloads.Get(*at)
	if errors.Is(err, audit.ErrErased) || errors.Is(err, audit.ErrNoPayload) {
		return nil, nil
	}
	return doc, err
}

// prompted notes what the model was told that it was not told before, and what it said.
func (p *past) prompted(c *audit.Call, sent, got []byte) {
	if sent == nil {
		return
	}
	r, err := providers.ReadRecorded(c.Method, sent, got)
	if err != nil {
		p.missing++
		return
	}
	note := func(what, of string, parts []words.Part) {
		for _, part := range parts {
			switch part.Kind {
			case words.Text:
				p.met(c, what, of, part.Text)
			case words.ToolResult:
				for _, inner := range part.Parts {
					p.met(c, "result in the prompt", part.Name, inner.Text)
				}
			}
		}
	}
	note("system", "", r.Prompt.System)
	for _, t := range r.Prompt.Turns {
		note([...]string{words.User: "user", words.Assistant: "model", words.Developer: "system"}[t.Role], "", t.Parts)
	}
	if r.Reply != nil {
		for _, a := range r.Reply.Choices {
			note("model", "", a.Parts)
		}
	}
}

// met notes a text, unless it was met before.
func (p *past) met(c *audit.Call, what, of, text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	sum := sha256.Sum256([]byte(text))
	if p.seen[sum] {
		return
	}
	p.seen[sum] = true
	n := len(p.sources)
	if last := n - 1; n > 0 && p.sources[last].Call == c.ID && p.sources[last].What == what && p.sources[last].Of == of {
		n = last
	} else {
		p.sources = append(p.sources, console.Origin{Call: c.ID, At: c.At, What: what, Of: of})
	}
	p.line.Add(n, text)
}

// trace looks for each value of args, and else for what in it can be looked for.
func (p *past) trace(out *console.Lineage, path string, args []byte) {
	audit.Leaves(args, func(at, text string) {
		if len(out.Values) >= maxTraced {
			return
		}
		found := p.line.Find(text)
		parts := audit.Notable(text)
		if len(found) > 0 || len(parts) == 0 || len(parts) == 1 && parts[0] == text {
			out.Values = append(out.Values, p.value(path+at, text, found))
			return
		}
		for _, part := range parts {
			out.Values = append(out.Values, p.value(path+at, part, p.line.Find(part)))
		}
	})
}

const maxTraced = 500 // values of one call

func (p *past) value(path, text string, found []audit.Origin) console.Value {
	v := console.Value{Path: path, Value: shortened(text, 200), Origins: []console.Origin{}}
	for _, o := range found {
		from := p.sources[o.Source]
		from.Method, from.Share = o.Method, o.Share
		v.Origins = append(v.Origins, from)
	}
	return v
}

// travels is where a value went, of what is kept since then.
func (h *house) travels(ctx context.Context, value string, since time.Time) (*console.Travels, error) {
	n, err := audit.NewNeedle(value)
	if err != nil {
		return nil, console.Invalid{Err: err}
	}
	out := &console.Travels{Stops: []console.Stop{}}
	for run, err := range h.payloads.Runs(ctx, n, since) {
		if err != nil {
			return nil, err
		}
		if out.Runs++; out.Runs > maxTravelled {
			out.More = true
			break
		}
		if err := h.stops(ctx, out, run, n); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out.Stops, func(a, b console.Stop) int { return int(a.At - b.At) })
	return out, nil
}

const maxTravelled = 200 // runs

// stops tells where in a run the value was: in each call that was sent it or got it, but of
// prompts only those that were the first to have it.
func (h *house) stops(ctx context.Context, out *console.Travels, run string, n *audit.Needle) error {
	calls, err := h.index.Calls(ctx, audit.Filter{Run: run, Limit: 1000})
	if err != nil {
		return err
	}
	slices.Reverse(calls)
	told := make(map[string]int) // prompts that had it, by what the model is
	for i := range calls {
		c := &calls[i]
		for _, side := range []struct {
			name string
			at   *audit.Payload
		}{{"sent", c.Asks}, {"got", c.Got}} {
			doc, err := h.kept(side.at)
			if err != nil {
				return err
			}
			if doc == nil || !n.In(doc) {
				continue
			}
			what := thing(c.Kind, c.Target, c.Method, c.Resource)
			if c.Kind == "model" && side.name == "sent" {
				if at, ok := told[what]; ok {
					out.Stops[at].Again++
					continue
				}
				told[what] = len(out.Stops)
			}
			out.Stops = append(out.Stops, console.Stop{At: c.At, Run: run, Agent: c.Agent, Call: c.ID, Kind: c.Kind, What: what, Side: side.name, Effect: c.Effect, Outcome: c.Outcome})
		}
	}
	return nil
}

// flows are the values that came from one server, or all, and went to another one, in runs
// that called both since then.
func (h *house) flows(ctx context.Context, from, to string, since time.Time) (*console.Flows, error) {
	out := &console.Flows{Flows: []console.Flow{}}
	seen := make(map[string]bool)
	for before := uint64(0); ; {
		calls, err := h.index.Calls(ctx, audit.Filter{Kind: "tool", Target: to, Since: since, Before: before, Limit: 1000})
		if err != nil {
			return nil, err
		}
		for i := range calls {
			c := &calls[i]
			if before = c.Seq; c.Run == "" || seen[c.Run] {
				continue
			}
			seen[c.Run] = true
			if out.Runs++; out.Runs > maxTravelled {
				out.More = true
				return out, nil
			}
			if err := h.flowsIn(ctx, out, c.Run, from, to); err != nil {
				return nil, err
			}
		}
		if len(calls) < 1000 {
			break
		}
	}
	slices.SortFunc(out.Flows, func(a, b console.Flow) int { return int(a.At - b.At) })
	return out, nil
}

// flowsIn are those of one run. What the user said, or another server, is no flow, though
// the server said it as well.
func (h *house) flowsIn(ctx context.Context, out *console.Flows, run, from, to string) error {
	calls, err := h.index.Calls(ctx, audit.Filter{Run: run, Limit: 1000})
	if err != nil {
		return err
	}
	slices.Reverse(calls)
	p := &past{seen: make(map[[32]byte]bool)}
	for i := range calls {
		c := &calls[i]
		if c.Kind == "tool" && c.Target == to {
			args, err := h.arguments(c)
			if err != nil {
				return err
			}
			var l console.Lineage
			p.trace(&l, "/arguments", args)
			for _, v := range l.Values {
				if len(v.Origins) == 0 {
					continue
				}
				o := v.Origins[0]
				if server, _, ok := strings.Cut(o.Of, "/"); ok && o.What == "result" && server != to && (from == "" || server == from) {
					out.Flows = append(out.Flows, console.Flow{At: c.At, Run: run, Agent: c.Agent, From: o, To: c.ID, Tool: c.Target + "/" + c.Resource, Value: v, Effect: c.Effect, Outcome: c.Outcome})
				}
			}
		}
		if err := h.meet(p, c); err != nil {
			return err
		}
	}
	out.Missing += p.missing
	return nil
}
