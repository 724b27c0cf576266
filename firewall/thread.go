package firewall

import (
	"hash/maphash"
	"math"
	"slices"
	"strings"
	"time"
	"unsafe"

	"callgate/audit"

	"github.com/tidwall/gjson"
)

// follow finds the model call whose conversation call goes on with, and notes call for
// those that will go on with it. The history that a request tells is hashed turn by turn:
// a request that callgate has seen is the beginning of those that follow it, up to what the
// model answered.
func (j *joins) follow(call *Call, d *digest, now time.Time) (links []audit.Link, at *asked) {
	a := &asked{id: call.ID, head: d.head, node: d.node, turns: len(d.turns), run: call.Hints.Run, session: call.Hints.Session, token: call.Caller.TokenID}
	before, l := j.parent(call, d, now)
	if before != nil {
		a.thread = before.thread
		links = append(links, l)
		if t := call.Hints.Thread; l.Kind == audit.LinkDelegated || t != "" && before.thread.hint != "" && before.thread.hint != t {
			a.thread = nil // it is told what another one knows, and goes its own way
			links[0].Kind = audit.LinkDelegated
		}
	}
	if again := j.failed(d); again != nil {
		links = append(links, again.link(audit.LinkAgain, "prefix", 90))
		if a.thread == nil {
			a.thread = again.thread
		}
	}
	if a.thread == nil {
		a.thread = j.begin(&thread{id: call.ID, hint: call.Hints.Thread})
	}
	a.thread.last, a.thread.turns = a, d.turns
	if a.thread.hint == "" {
		a.thread.hint = call.Hints.Thread
	}
	j.remember(a)
	return links, a
}

// parent is the model call that call follows, or was set to work by, and how that is known.
func (j *joins) parent(call *Call, d *digest, now time.Time) (*asked, audit.Link) {
	h := call.History
	if h.Previous != "" {
		if a := j.byKept[h.Previous]; a != nil {
			return a, a.link(audit.LinkFollows, "response_id", 100)
		}
	}
	for _, t := range slices.Backward(d.turns) {
		if a, l := j.answered(call, d, t); a != nil {
			return a, l
		}
		if a, l := j.known(h, d, t); a != nil {
			return a, l
		}
	}
	if len(d.turns) == 0 || d.turns[0].at > 0 {
		if a, method, conf := j.summary(h); a != nil {
			return a, a.link(audit.LinkFollows, method, conf)
		}
	}
	if len(d.turns) == 0 {
		if p, conf := j.task(call, now); p != nil {
			l := p.by.link(audit.LinkDelegated, "task_arg", conf)
			l.ID = p.id
			return p.by, l
		}
	}
	if hint := call.Hints.Thread; hint != "" {
		if i := slices.IndexFunc(j.threads, func(t *thread) bool { return t.hint == hint && t.last != nil }); i >= 0 {
			return j.threads[i].last, j.threads[i].last.link(audit.LinkFollows, "thread_id", 80)
		}
	}
	if hint := call.Hints.Parent; hint != "" {
		if i := slices.IndexFunc(j.threads, func(t *thread) bool { return t.hint == hint && t.last != nil }); i >= 0 {
			return j.threads[i].last, j.threads[i].last.link(audit.LinkDelegated, "thread_id", 95)
		}
	}
	return nil, audit.Link{}
}

// answered finds the model call whose request is what stands before an answer in h: where
// several had that very request, the one that answered so.
func (j *joins) answered(call *Call, d *digest, t turn) (*asked, audit.Link) {
	h, all := call.History, j.byNode[t.before]
	if len(all) == 0 {
		return nil, audit.Link{}
	}
	text, spoke := uint64(0), false
	hashed := false
	var best *asked
	score, same := math.MinInt, 0
	for _, a := range slices.Backward(all) {
		if a.failed {
			continue
		}
		s := 0
		switch uses, found := a.uses(h, t.at); {
		case found:
			s += 8
		case uses > 0 && len(a.wants) > 0: // it answered with other calls
			s -= 4
		}
		if a.over && s < 8 {
			if !hashed {
				text, spoke, hashed = 0, false, true
				text, spoke = j.answerOf(h, t.at)
			}
			if spoke == a.spoke && (!spoke || a.reply == text) {
				s += 4
			}
		}
		if a.head == d.head {
			s += 2
		}
		s = 4*s + agree(call.Hints.Session, a.session, 2)
		if a.thread.last == a { // nobody has gone on with it yet
			s++
		}
		switch {
		case s > score:
			best, score, same = a, s, 1
		case s == score:
			same++
		}
	}
	if best == nil {
		return nil, audit.Link{}
	}
	conf := 100
	switch {
	case score < 14 && len(all) > 1: // none of them is known to have answered so
		conf = 50
	case score < 14: // the answer is not as it was
		conf = 80
	case same > 1:
		conf = 60
	case best.head != d.head:
		conf = 95
	}
	return best, best.link(audit.LinkFollows, "prefix", conf)
}

func (j *joins) answerOf(h *History, at int) (uint64, bool) {
	r := Runs{seed: j.seed}
	return r.answer(h, at)
}

// uses is how many tool calls the answer at a place of h asks for, and whether they are
// among those that a asked for.
func (a *asked) uses(h *History, at int) (n int, found bool) {
	for ; at < len(h.Said) && h.Said[at].By == Assistant; at++ {
		s := &h.Said[at]
		if s.Kind != SaidUse {
			continue
		}
		n++
		if found = slices.ContainsFunc(a.wants, func(p *proposal) bool { return p.is(s) }); !found {
			return n, false
		}
	}
	return n, found
}

// is says whether s is the proposal, as a history tells it.
func (p *proposal) is(s *Said) bool {
	return p.id == s.ID && p.name == s.Name && (p.id != "" || p.args == HashArgs(s.JSON))
}

// known finds the model call that asked for a tool call which the answer t in h asks for.
// What stands before it was changed, or is only the end of what it was.
func (j *joins) known(h *History, d *digest, t turn) (*asked, audit.Link) {
	for i := t.at; i < len(h.Said) && h.Said[i].By == Assistant; i++ {
		s := &h.Said[i]
		if s.Kind != SaidUse || s.ID == "" || len(j.byUse[s.ID]) == 0 {
			continue
		}
		args := HashArgs(s.JSON)
		var of *proposal
		same := 0
		for _, p := range j.byUse[s.ID] {
			switch {
			case p.name != s.Name:
			case of == nil || p.args == args && of.args != args:
				of, same = p, 1
			case (p.args == args) == (of.args == args):
				of, same = p, same+1
			}
		}
		if of == nil {
			continue
		}
		conf := 95
		switch {
		case of.args != args:
			conf = 70
		case same > 1: // a provider whose ids are not unique
			conf = 60
		}
		if len(d.turns) <= of.by.turns { // there was more before it
			return of.by, of.by.link(audit.LinkFollows, "compaction", conf)
		}
		l := of.by.link(audit.LinkFollows, "tool_use_id", conf)
		l.Message = changed(d, of.by.thread)
		return of.by, l
	}
	return nil, audit.Link{}
}

// changed is the first turn of the model, from 1, before which a history does not say what
// its thread said before; 0 where none is known.
func changed(d *digest, t *thread) int {
	for i := range min(len(d.turns), len(t.turns)) {
		if d.turns[i].before != t.turns[i].before {
			return i + 1
		}
	}
	return 0
}

const (
	minReply   = 40              // bytes of a reply that is known by its text
	minSummary = 200             // bytes of one that is looked for in others
	maxBegin   = 8               // texts at the beginning of a conversation that are looked at
	taskTime   = 5 * time.Minute // in which an agent that was set to work begins
	minTask    = 12              // bytes of what it is told

	maxTaskRead = 256 << 10 // bytes of arguments that are read to find what it was told by
)

// summary finds the model call whose reply the conversation begins with: a client that makes
// room lets the model sum up what was said, and begins anew with that.
func (j *joins) summary(h *History) (*asked, string, int) {
	n := 0
	for i := range h.Said {
		s := &h.Said[i]
		if s.By == System || s.Kind != SaidText || len(s.Text) < minReply {
			continue
		}
		if n++; n > maxBegin || s.By == Assistant {
			break
		}
		if a := j.byReply[maphash.String(j.seed, s.Text[:min(len(s.Text), maxSaid)])]; a != nil {
			return a, "compaction", 95
		}
		if len(s.Text) < minSummary {
			continue
		}
		var own map[uint32]bool
		for _, a := range slices.Backward(j.asked[max(0, len(j.asked)-256):]) {
			if len(a.pieces) == 0 || a.size > len(s.Text)+64 {
				continue
			}
			if own == nil {
				own = setOf(pieces(j.seed, s.Text))
			}
			if in := shared(a.pieces, own); in*10 >= len(a.pieces)*8 {
				return a, "compaction", 90
			}
		}
	}
	return nil, "", 0
}

// task finds the proposal whose arguments have what the first words of a new conversation
// are: the agent was set to work by them.
func (j *joins) task(call *Call, now time.Time) (best *proposal, conf int) {
	n, left := 0, maxTaskRead
	for i := range call.History.Said {
		s := &call.History.Said[i]
		if s.By != User || s.Kind != SaidText || len(s.Text) < minTask {
			continue
		}
		if n++; n > maxBegin {
			break
		}
		for _, p := range slices.Backward(j.proposals[max(0, len(j.proposals)-128):]) {
			if p.over || p.raw == nil || now.Sub(p.at) > taskTime || len(p.raw) < minTask {
				continue
			}
			if left -= len(p.raw); left < 0 {
				return best, conf
			}
			c := 0
			gjson.Parse(unsafe.String(unsafe.SliceData(p.raw), len(p.raw))).ForEach(func(_, v gjson.Result) bool {
				switch {
				case v.Type != gjson.String || len(v.Str) < minTask:
				case v.Str == s.Text:
					c = 90
				case len(v.Str) >= 2*minTask && strings.Contains(s.Text, v.Str):
					c = max(c, 80)
				}
				return c < 90
			})
			if c > conf {
				best, conf = p, c
			}
			if conf == 90 {
				return best, conf
			}
		}
	}
	return best, conf
}

// failed is a model call that had the very request of d and came to nothing.
func (j *joins) failed(d *digest) *asked {
	all := j.byNode[d.node]
	for _, a := range slices.Backward(all) {
		if a.head == d.head {
			if a.failed {
				return a
			}
			return nil
		}
	}
	return nil
}

// answer notes how a model call ended, and what it said.
func (j *joins) answer(call *Call, failed bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	a := j.byCall[call.ID]
	if a == nil {
		return
	}
	a.over, a.failed = true, failed
	if call.Kept != "" && !failed {
		if len(j.byKept) >= maxModels {
			clear(j.byKept)
		}
		j.byKept[strings.Clone(call.Kept)] = a
	}
	if !call.heard {
		return
	}
	text := unsafe.String(unsafe.SliceData(call.said), len(call.said))
	a.spoke, a.size, a.reply = len(text) > 0, len(text), maphash.String(j.seed, text)
	if len(text) >= minReply {
		j.byReply[a.reply] = a
	}
	if len(text) >= minSummary {
		a.pieces = pieces(j.seed, text)
	}
	call.said = nil
}
