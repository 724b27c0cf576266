package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"callgate/audit"
)

// heading says whose run it is, and what of it is worth a look.
func (t *teller) heading(c *audit.Chain) {
	if len(c.Calls) == 0 {
		return
	}
	denied, signals := 0, make(map[string]int)
	var agents []string
	for i := range c.Calls {
		call := &c.Calls[i]
		if call.Effect == "deny" {
			denied++
		}
		for _, s := range call.Signals {
			signals[s]++
		}
		if call.Thread != "" && t.threads[call.Thread] == 0 {
			t.threads[call.Thread] = len(t.threads) + 1
		}
		if !slices.Contains(agents, tame(call.Agent)) {
			agents = append(agents, tame(call.Agent))
		}
	}
	for _, e := range c.Edges {
		if e.Superseded {
			if t.later[e.To] == nil {
				t.later[e.To] = make(map[string]bool)
			}
			t.later[e.To][e.From+e.ID] = true
		}
	}
	first, last := c.Calls[0], c.Calls[len(c.Calls)-1]
	fmt.Fprintf(&t.out, "run %s of %s: %d calls, %d denied, from %s to %s\n", first.Run, strings.Join(agents, ", "), len(c.Calls), denied,
		local(time.UnixMicro(first.At)), time.UnixMicro(last.At).Local().Format("15:04:05"))
	if n := len(t.threads); n > 1 {
		fmt.Fprintf(&t.out, "%d conversations with models\n", n)
	}
	for _, s := range signalsInOrder {
		if n := signals[s.name]; n > 0 {
			fmt.Fprintf(&t.out, "%s: %s\n", t.p.colour(s.paint, times(n)), s.of)
		}
	}
	t.out.WriteByte('\n')
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// A sign is a signal in words.
type sign struct {
	name  string
	paint paint
	of    string // in the heading
	here  string // at the call
}

// signalsInOrder is the signals, the gravest first.
var signalsInOrder = []sign{
	{"bypassed", red, "a tool behind the gate was used past it", "the model was told what a tool behind the gate answered, though no such call came: it was made past the gate"},
	{"orphan", red, "a tool was called that no model on record asked for", "no model call on record asked for it"},
	{"repeated", red, "a tool call was made again that was asked for once", "it was made before, and asked for once"},
	{"drift", red, "a run did what is not expected of its agent", ""},
	{"args_changed", red, "a tool was called with other arguments than the model asked for", "the model asked for it with other arguments"},
	{"result_changed", red, "a model was told another result than the tool gave", "the model is told another result than the tool gave"},
	{"history_edited", amber, "what was said before was changed by the client", "the client has changed what was said before"},
	{"loop", amber, "the agent made the same calls again and again", "the same calls again and again"},
	{"result_cut", dim, "a model was told a part of a result", "the model is told a part of the result"},
	{"off_gateway", dim, "the client did itself what the model asked for, past the gate", "it brings results of what the client did by itself"},
}

// reasons are the lines under a call that say why it came about.
func (t *teller) reasons(level int, c *audit.Call) {
	if n := t.threads[c.ID]; n > 0 && len(t.threads) > 1 {
		t.note(level, fmt.Sprintf("conversation %d begins", n))
	}
	asked := false
	for _, l := range c.Links {
		asked = asked || l.To == "" && l.Kind == audit.LinkProposed
		if text := t.because(c, l); text != "" {
			t.note(level, text)
		}
	}
	if c.Kind == "tool" && !asked && (len(c.Links) == 0 || slices.Contains(c.Signals, "orphan")) {
		t.note(level, t.p.colour(red, signalsInOrder[1].here))
	}
	for i := range c.Drift {
		t.note(level, t.p.colour(red, t.departure(&c.Drift[i])))
	}
	for _, s := range signalsInOrder {
		if s.here != "" && s.name != "orphan" && slices.Contains(c.Signals, s.name) {
			t.note(level, t.p.colour(s.paint, s.here))
		}
	}
	if c.Approval != "" {
		text := "people are asked: approval " + tame(c.Approval)
		if c.Effect == "allow" || c.Outcome != "pending" {
			text = "by approval " + tame(c.Approval)
		}
		t.note(level, text)
	}
}

// because says in words that one call led to another, "" where that goes without saying.
func (t *teller) because(c *audit.Call, l audit.Link) string {
	step := l.From
	if n, known := t.steps[l.From]; known {
		step = fmt.Sprintf("step %d", n)
	}
	sure := ""
	if l.Conf > 0 && l.Conf < 90 {
		sure = fmt.Sprintf(", %d %% sure", l.Conf)
	}
	switch {
	case l.To != "":
		return tame(fmt.Sprintf("its results show that %s was asked for by %s%s", t.step(l.To), step, sure))
	case l.Kind == audit.LinkFollows && l.Conf >= 90 && l.Message == 0 && l.Method != "compaction", l.Kind == audit.LinkOffGateway:
		return ""
	case l.Message > 0:
		sure += fmt.Sprintf(", changed before answer %d", l.Message)
	case l.Kind == audit.LinkProposed && t.later[c.ID][l.From+l.ID]:
		sure += "; later shown not to be so"
	}
	return tame(fmt.Sprintf("%s%s: %s", found(l.Kind, l.Method), sure, step))
}

func (t *teller) step(call string) string {
	if n, known := t.steps[call]; known {
		return fmt.Sprintf("step %d", n)
	}
	return call
}

// pastTheGate says whether a tool call that c's model asked for was made past the gate.
func pastTheGate(c *audit.Call, id string) bool {
	return slices.ContainsFunc(c.Led, func(e audit.Edge) bool { return e.Kind == audit.LinkOffGateway && e.ID == id })
}

// how says in words how a link was found, by its method.
var how = map[string]string{
	"tool_use_id":                "the ids agree",
	"tool_use_id+content":        "the ids and the words agree",
	"tool_use_id+contained":      "the ids agree, and all of it is there",
	"tool_use_id+result_cut":     "the ids agree, but only a part of it",
	"tool_use_id+result_changed": "the ids agree, but not the words",
	"content":                    "the words agree",
	"order":                      "by its place",
	"arguments":                  "same tool and arguments",
	"args_semantic":              "same tool, and arguments that mean the same",
	"args_subset":                "same tool, and some of the arguments",
	"twin":                       "same tool and arguments, more than once: in order",
	"affinity":                   "same tool and arguments, and the same connection",
	"time":                       "same tool and arguments, asked for just before",
	"ambiguous":                  "same tool and arguments, asked for by several: a guess",
	"request_state":              "the state that the server gave",
	"prefix":                     "the words agree",
	"response_id":                "the provider has it",
	"thread_id":                  "as the client says",
	"task_arg":                   "its first words are what was asked for",
	"act_claim":                  "as its token says",
	"act_claim+task_arg":         "as its token says, and its first words",
}

// found says in words how it is known that one call led to another.
func found(kind, method string) string {
	what := "asked for by the model"
	switch kind {
	case audit.LinkResult:
		what = "brings the result back"
	case audit.LinkFollows:
		if what = "goes on with the conversation"; method == "compaction" {
			return what + " after it was summed up"
		}
	case audit.LinkDelegated:
		what = "set to work by another agent"
	case audit.LinkAgain:
		what = "tries again what came before"
	case audit.LinkAsked:
		return "asked by the server in its course"
	case audit.LinkWithin:
		return "part of the session"
	case audit.LinkContinued:
		return "goes on with what the server asked for"
	}
	if method == "tool_use_id+args_changed" {
		return what + ", but with other arguments (the ids agree)"
	}
	if words, ok := how[method]; ok {
		return what + " (" + words + ")"
	}
	return what + " (" + method + ")"
}
