package policy

import (
	"slices"
	"strings"

	"callgate/firewall"
)

// A Redecision is what a policy would have decided about a call of the record.
type Redecision struct {
	firewall.Decision
	Allowing string   // the row that allows it, also where another asks for an approval
	Unknown  []string // what the answer depends on and nobody has recorded: then the rest means nothing
}

// Redecide answers as [Policy.Decide] would have answered to a call of the record.
func (p *Policy) Redecide(past *firewall.Past) (d Redecision) {
	d.Policy = p.digest
	q := questions.Get().(*question)
	defer q.done()
	if !known(&past.Call.Caller) || !q.ask(p, &past.Call) {
		return d
	}
	q.past = past
	if past.NoEnv {
		d.Unknown = []string{"roles"} // of the agent, which may lead to any row
		return d
	}
	if p.custom != nil {
		if p.custom.shape.reads && (past.NoArgs || len(past.Masked) > 0) {
			d.Unknown = []string{"args"} // nobody knows which of them it reads
			return d
		}
		p.custom.decide(q, past.Call.Action(), &d.Decision)
		d.Allowing = d.Rule
		return d
	}
	depends := false
	for hop := range q.hops() {
		switch o := p.judge(q, hop); o.answer {
		case firewall.No:
			d.Rule, d.Reason = o.explain(q, hop)
			return d
		case firewall.Depends:
			depends = true
		default:
			if hop == 0 {
				d.Rule = o.rule.id
			}
		}
	}
	d.Effect, d.Allowing = firewall.Allow, d.Rule
	if depends || p.owed(q, &d.Decision) {
		d.Unknown = q.unknown()
	}
	return d
}

// owed is oblige, for a call of the record: it says whether what comes with it
// depends on what nobody has recorded.
func (p *Policy) owed(q *question, d *firewall.Decision) bool {
	for hop := range q.hops() {
		for _, n := range p.duties.candidates(q, hop) {
			if _, err := q.holds(&p.duties.rules[n]); err == errUnknown {
				return true
			}
		}
	}
	p.oblige(q, d)
	return false
}

// unknown is the attributes that were asked for and are not known.
func (f *facts) unknown() []string {
	var names []string
	for _, x := range f.seen {
		if x.err == errUnknown && !slices.Contains(names, x.name) {
			names = append(names, x.name)
		}
	}
	return names
}

// unrecorded says that the record of a call does not tell an attribute.
func unrecorded(past *firewall.Past, name string) bool {
	if path, ok := strings.CutPrefix(name, "args."); ok {
		first, _, _ := strings.Cut(path, ".")
		return past.NoArgs || slices.Contains(past.Masked, first) || slices.Contains(past.Masked, "*")
	}
	return false // the rest stands in what Redecide has seen to be there
}
