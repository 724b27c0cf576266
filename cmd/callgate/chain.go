package main

import (
	"fmt"
	"strings"
	"time"

	"callgate/audit"
)

// printChain tells a chain as a story: one step a call, in order, a tool call
// indented under the model call that asked for it. The model call that brings its
// result back stands below, on the level of the first one again, so that a loop
// of a hundred turns stays on the page. An agent that another one set to work is
// indented under that.
func (p *program) printChain(c *audit.Chain) error {
	t := teller{p: p, steps: make(map[string]int, len(c.Calls)), threads: make(map[string]int), later: make(map[string]map[string]bool)}
	for _, root := range c.Trees() {
		t.number(root)
	}
	t.heading(c)
	for _, root := range c.Trees() {
		t.tell(root, 0)
	}
	if c.More {
		t.out.WriteString("There are more calls than are shown here.\n")
	}
	_, err := p.out.Write([]byte(t.out.String()))
	return err
}

// A teller writes a chain.
type teller struct {
	p     *program
	out   strings.Builder
	steps map[string]int // number of each call

	threads map[string]int             // number of each conversation
	later   map[string]map[string]bool // calls of which it was found out later what led to them, by what was held to have
}

func (t *teller) number(b *audit.Branch) {
	t.steps[b.Call.ID] = len(t.steps) + 1
	for _, next := range b.Next {
		t.number(next)
	}
}

// originWords say from where a value comes that a call was not let act on.
var originWords = map[string]string{
	"untrusted": "known only from text that anybody may have written",
	"composed":  "nobody is known to have said it",
}

const maxIndent = 12 // levels that are shown as such

// tell writes a call and what hangs on it.
func (t *teller) tell(b *audit.Branch, level int) {
	c := b.Call
	t.row(level, fmt.Sprintf("%3d  %s", t.steps[c.ID], clock(c.At)), branch(level)+t.deed(c), t.p.decided(c.Effect, c.Rule), t.p.ended(c.Outcome, c.TookUS), tokens(c.Usage))
	if c.Effect == "deny" && c.Reason != "" {
		t.note(level, t.p.colour(red, tame(c.Reason)))
	}
	if c.Env != nil && c.Effect != "allow" {
		for _, o := range [...][2]string{{"for whom", c.Env.To}, {"on what", c.Env.Object}} {
			if words := originWords[o[1]]; words != "" {
				t.note(level, t.p.colour(amber, o[0]+": "+words))
			}
		}
	}
	t.reasons(level, c)
	for _, f := range c.Findings {
		t.note(level, t.p.colour(amber, tame(finding(f))))
	}
	if c.Fault != "" {
		t.note(level, "cause: "+tame(shortened(c.Fault, 160)))
	}
	for _, w := range c.Wants {
		switch {
		case w.Effect == "deny":
			t.note(level, t.p.colour(red, fmt.Sprintf("it asked for %s%s, which was taken out: %s", tame(w.Name), arguments(w.Args), tame(w.Reason))))
		case w.Call == "" && pastTheGate(c, w.ToolUse):
			t.note(level, fmt.Sprintf("it asked for %s%s, which the client did by itself, past the gate", tame(w.Name), arguments(w.Args)))
		case w.Call == "":
			t.note(level, fmt.Sprintf("it asked for %s%s, which never came", tame(w.Name), arguments(w.Args)))
		}
	}
	for _, next := range b.Next {
		below := level + 1
		switch next.Via.Kind {
		case audit.LinkResult: // on the level of who asked for it
			below = max(level-1, 0)
		case audit.LinkFollows, audit.LinkAgain, audit.LinkContinued, audit.LinkOffGateway:
			below = level
		}
		t.tell(next, below)
	}
}

// deed is what the call did, in words.
func (t *teller) deed(c *audit.Call) string {
	what := tame(thing(c.Kind, c.Target, c.Method, c.Resource))
	switch c.Kind {
	case "model":
		return tame(c.Agent) + " asks model " + what
	case "tool":
		if c.Target == "client" {
			return tame(c.Agent) + " asks the user" + arguments(c.Args)
		}
		return tame(c.Agent) + " calls tool " + what + arguments(c.Args)
	case "resource":
		return tame(c.Agent) + " reads " + what
	case "prompt":
		return tame(c.Agent) + " fetches prompt " + what
	}
	return tame(c.Agent) + " asks the gate for " + what
}

func (t *teller) row(level int, parts ...string) {
	fmt.Fprintf(&t.out, "%s  %s", parts[0], parts[1])
	for _, part := range parts[2:] {
		if part != "" {
			t.out.WriteString("  " + part)
		}
	}
	t.out.WriteByte('\n')
}

// note writes a line under a call.
func (t *teller) note(level int, text string) {
	fmt.Fprintf(&t.out, "%19s%s%s\n", "", strings.Repeat(" ", 3*min(level, maxIndent)+2), t.p.colour(dim, text))
}

// branch is the twig before a call that hangs on the one above.
func branch(level int) string {
	if level == 0 {
		return ""
	}
	return strings.Repeat("   ", min(level, maxIndent)-1) + "└─ "
}

// thing is what a call acts on, as people would say it.
func thing(kind, target, method, resource string) string {
	switch {
	case target == "" && resource == "":
		return method
	case kind == "list" || kind == "session":
		return strings.Trim(method+" of "+target, " ")
	case resource == "":
		return target
	case target == "":
		return resource
	case kind == "resource":
		return target + "|" + resource
	}
	return target + "/" + resource
}

// decided says what was decided and by which rule.
func (p *program) decided(effect, rule string) string {
	c := map[string]paint{"allow": green, "ask": amber, "deny": red}[effect]
	if effect == "" {
		return ""
	}
	if rule != "" {
		return p.colour(c, effect) + " by " + tame(rule)
	}
	return p.colour(c, effect)
}

// ended says what came of a call.
func (p *program) ended(name string, took int64) string {
	text := outcome(name, took)
	if name == "ok" {
		return text
	}
	return p.colour(amber, text)
}

func outcome(name string, took int64) string {
	if name == "" || took == 0 {
		return name
	}
	return name + " in " + (time.Duration(took) * time.Microsecond).Round(100*time.Microsecond).String()
}

func tokens(u *audit.Usage) string {
	if u == nil {
		return ""
	}
	text := fmt.Sprintf("%d tokens in, %d out", u.Input, u.Output)
	if u.CacheRead > 0 {
		text += fmt.Sprintf(" (%d from cache)", u.CacheRead)
	}
	return text
}

func finding(f audit.Finding) string {
	done := map[string]string{"mask": "masked", "deny": "refused", "record": "noted"}[f.Action]
	return fmt.Sprintf("%s: %d × %s %s in %s", f.Guard, max(f.Count, 1), f.Rule, done, f.Where)
}

// arguments is the beginning of args, to stand behind a name.
func arguments(args []byte) string {
	if len(args) == 0 {
		return ""
	}
	return " " + tame(shortened(string(args), 120))
}

// clock is the time of day of a record.
func clock(us int64) string { return time.UnixMicro(us).Local().Format("15:04:05.000") }
