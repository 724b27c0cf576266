package firewall

import (
	"time"

	"callgate/audit"
)

// join links call to what led to it, before anything is decided about it.
func (r *Runs) join(call *Call, first bool, now time.Time) {
	switch {
	case call.During != nil: // a server asked for it, and brings no results
		return
	case first && call.parent != nil:
		r.delegated(call, now)
	}
	j := call.run.joins
	switch call.Kind {
	case Tool:
		j.claim(call, now)
	case Model:
		r.said(call, j, now)
	}
}

// said links a model call to the conversation that it goes on with, and to the tool calls
// whose results it brings.
func (r *Runs) said(call *Call, j *joins, now time.Time) {
	h := call.History
	if h == nil && len(call.Hints.Results) == 0 {
		return
	}
	var d digest
	if h != nil {
		d = r.digest(h)
	}
	brings := results(call, &d)
	j.mu.Lock()
	defer j.mu.Unlock()
	var before *asked
	if h != nil {
		links, a := j.follow(call, &d, now)
		call.Thread = a.thread.id
		for _, l := range links {
			if l.Kind == audit.LinkFollows {
				before = j.byCall[l.From]
			}
			if l.Message > 0 {
				call.signal(SignalHistoryEdited)
			}
		}
		call.Links = append(call.Links, links...)
		call.heard = true
	}
	j.carry(call, before, brings)
}

// delegated links the first call of an agent that acts for another one to what that one was
// about to do.
func (r *Runs) delegated(call *Call, now time.Time) {
	j := call.parent.joins
	j.mu.Lock()
	defer j.mu.Unlock()
	if call.History != nil {
		if p, _ := j.task(call, now); p != nil {
			l := p.by.link(audit.LinkDelegated, "act_claim+task_arg", 100)
			l.ID = p.id
			call.Links = append(call.Links, l)
			return
		}
	}
	if n := len(j.asked); n > 0 {
		call.Links = append(call.Links, j.asked[n-1].link(audit.LinkDelegated, "act_claim", 100))
	}
}

// propose notes that call's reply asks for a tool call. It must happen before
// the agent can see the reply, or the tool call could arrive first.
func (r *Runs) propose(call *Call, w Want, hash string) {
	call.run.joins.propose(call, w, hash, r.now())
}

// tell notes an event of the reply to call, before it goes down: the words of a model, the
// result of a tool.
func (r *Runs) tell(call *Call, ev *Event) {
	switch {
	case call.run == nil:
	case call.Kind == Model:
		if n := min(len(ev.Said), maxSaid-len(call.said)); call.heard && n > 0 {
			call.said = append(call.said, ev.Said[:n]...)
		}
	case !ev.Last || ev.Body.JSON == nil:
	case call.Kind == Tool:
		call.run.joins.tell(call.ID, ev.Body.JSON)
	case call.Continues != "": // a task is asked for what came of it
		call.run.joins.tell(call.Continues, ev.Body.JSON)
	}
}

// over notes that call is over, and how.
func (r *Runs) over(call *Call, failed bool) {
	switch {
	case call.run == nil || call.During != nil:
	case call.Kind == Model:
		call.run.joins.answer(call, failed)
	case call.Kind == Tool:
		s := ended
		if failed {
			s = broken
		}
		call.run.joins.ended(call, s)
	}
}
