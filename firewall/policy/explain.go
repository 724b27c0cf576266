package policy

import (
	"fmt"
	"slices"
	"strings"

	"callgate/firewall"
)

// A Row is one p or p2 row that is about what a call asks for, and what it said.
type Row struct {
	ID        string   `json:"id"`
	Effect    string   `json:"effect"`         // allow, deny, or the obligation
	Principal string   `json:"principal"`      // of the call's chain
	Path      []string `json:"path"`           // how the row came to be about it: the principal, then role after role
	Object    string   `json:"object"`         // as the row names it
	Action    string   `json:"action"`         // as the row names it
	Condition string   `json:"condition"`      // as the row has it
	Read      []string `json:"read,omitempty"` // attributes that the condition read, with their values as JSON
	Says      string   `json:"says"`           // "applies", "condition is false", "another action", or why it could not be evaluated
}

// Applies is what [Row.Says] of a row whose effect counts.
const Applies = "applies"

// Explain answers as [Policy.Decide] does, with every row that is about the
// call's object and one of its principals, in the order of the rows: those that
// apply, and those that nearly did. Under another model than the built-in one there
// are none, since nobody knows what it means.
func (p *Policy) Explain(call *firewall.Call) (firewall.Decision, []Row) {
	d := p.Decide(call)
	var q question
	if p.custom != nil || !known(&call.Caller) || !q.ask(p, call) {
		return d, nil
	}
	asked := q.act
	q.act = doAnything // rows about another action are the nearest misses
	var rows []Row
	for hop := range q.hops() {
		for _, kind := range []string{"p", "p2"} {
			x := p.verdict
			if kind == "p2" {
				x = p.duties
			}
			for _, n := range slices.Clone(x.candidates(&q, hop)) {
				rows = append(rows, p.row(&q, hop, asked, &x.rules[n], p.model["p"][kind].Policy[n]))
			}
		}
	}
	return d, rows
}

// row is what r, whose fields are given, says of one hop of q.
func (p *Policy) row(q *question, hop int, asked actions, r *rule, fields []string) Row {
	row := Row{
		ID: r.id, Effect: fields[colEffect], Principal: q.hop(hop), Path: p.path(q, hop, fields[colSubject]),
		Object: fields[colObject], Action: fields[colAction], Condition: fields[colCondition], Says: Applies,
	}
	if r.duty != nil {
		row.Effect = fields[colDuty]
	}
	if r.acts&asked == 0 {
		row.Says = "another action"
		return row
	}
	clear(q.seen)
	q.seen = q.seen[:0]
	holds, err := q.holds(r)
	for _, f := range q.seen {
		if f.err == nil {
			row.Read = append(row.Read, "r.env."+f.name+" = "+valueText(f.value))
		}
	}
	switch {
	case err != nil:
		row.Says = "cannot be evaluated: " + err.Error()
	case !holds:
		row.Says = "condition is false"
	}
	return row
}

// path is how a hop came to be subject: itself, or by links of the policy, the
// registry's roles, or because everyone is.
func (p *Policy) path(q *question, hop int, subject string) []string {
	name := q.hop(hop)
	members := p.members[q.caller.Tenant]
	if way := members.path(name, subject); way != nil {
		return way
	}
	for _, role := range q.caller.Held(hop) {
		if way := members.path(role, subject); way != nil {
			return append([]string{name}, way...)
		}
	}
	return append([]string{name}, members.path(everyone, subject)...)
}

// path is the shortest chain of links from one name to another, nil if there is none.
func (l links) path(from, to string) []string {
	ways := [][]string{{from}}
	seen := map[string]bool{from: true}
	for i := 0; i < len(ways); i++ {
		last := ways[i][len(ways[i])-1]
		if last == to {
			return ways[i]
		}
		for _, next := range l[last] {
			if !seen[next] {
				seen[next] = true
				ways = append(ways, append(slices.Clone(ways[i]), next))
			}
		}
	}
	return nil
}

// valueText is a value that a condition read, in a few words.
func valueText(v any) string {
	switch v := v.(type) {
	case string:
		return "'" + cut(v) + "'"
	case float64:
		return strings.TrimSuffix(fmt.Sprintf("%f", v), ".000000")
	}
	return cut(fmt.Sprint(v))
}
