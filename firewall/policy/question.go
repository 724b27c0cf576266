package policy

import (
	"sync"

	"callgate/firewall"
)

// A question is what a policy is asked: may caller, and all for whom it acts, do
// act to object? Questions are pooled, so that asking costs no memory.
type question struct {
	facts
	act     actions
	classes []string // of object
	found   []int32  // space for candidates
}

var questions = sync.Pool{New: func() any { return new(question) }}

// done gives q back, without what it was about, unless that was large.
func (q *question) done() {
	if cap(q.object) > 4<<10 || cap(q.found) > 1<<10 || cap(q.seen) > 64 {
		return
	}
	clear(q.seen)
	*q = question{facts: facts{object: q.object[:0], seen: q.seen[:0]}, found: q.found[:0]}
	questions.Put(q)
}

// ask makes q the question that call puts. It answers false where call names no
// single thing.
func (q *question) ask(p *Policy, call *firewall.Call) (ok bool) {
	if q.object, ok = appendObject(q.object, call); !ok {
		return false
	}
	q.caller, q.call, q.classes = &call.Caller, call, p.classes[string(q.object)]
	q.act, ok = parseActions(call.Action())
	return ok
}

// hops is how many principals must be allowed.
func (q *question) hops() int { return len(q.caller.Actors) + 1 }

// hop is one of them: first the acting agent, last the root of the delegation.
func (q *question) hop(i int) string {
	if i < len(q.caller.Actors) {
		return q.caller.Actors[i]
	}
	return q.caller.Subject
}

// holds says whether the condition of r holds for q.
func (q *question) holds(r *rule) (bool, error) {
	if r.cond == nil {
		return true, nil
	}
	return r.cond.holds(&q.facts)
}

// who is the principal of the hop, in a sentence.
func (q *question) who(hop int) string {
	if hop == 0 {
		return q.hop(0)
	}
	return q.hop(hop) + ", for whom " + q.hop(hop-1) + " acts,"
}

// what is what the question is about, in a sentence.
func (q *question) what() string {
	verb := map[actions]string{doGenerate: "generate with ", doEmbed: "embed with ", doSubscribe: "subscribe to ", doRead: "read ", doGet: "get "}[q.act]
	if verb == "" {
		verb = "call "
	}
	return verb + cut(string(q.object))
}
