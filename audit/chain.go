package audit

import (
	"cmp"
	"slices"
)

// A Chain is calls and what of them led to what.
type Chain struct {
	Calls []Call `json:"calls"`          // by time
	Edges []Edge `json:"edges"`          // between them, by time of the later call
	More  bool   `json:"more,omitempty"` // there are more calls than a Chain holds
}

// A Branch is a call with what hangs on it, to print a [Chain] as a tree.
type Branch struct {
	Call *Call
	Via  *Edge // what leads here from the branch that this one hangs on; nil for a root
	Next []*Branch
}

// NewChain makes a Chain of calls, in any order. A link to a call that is not
// among them makes no edge; it is in the Call still.
func NewChain(calls []Call) Chain {
	c := Chain{Calls: slices.Clone(calls), Edges: []Edge{}}
	slices.SortFunc(c.Calls, func(a, b Call) int { return cmp.Compare(a.Seq, b.Seq) })
	for i := range c.Calls { // what join writes to is ours
		call := &c.Calls[i]
		call.Wants, call.Led = slices.Clone(call.Wants), slices.Clone(call.Led)
	}
	join(c.Calls)
	at := c.places()
	for i := range c.Calls {
		for _, l := range c.Calls[i].Links {
			e := l.to(c.Calls[i].ID)
			from, known := at[e.From]
			to, there := at[e.To]
			if !known || !there || from >= to { // nothing leads back in time
				continue
			}
			if l.To != "" {
				c.supersede(e.To, e.Kind)
			}
			c.Edges = append(c.Edges, e)
		}
	}
	return c
}

// supersede marks what was held to have led to a call, now that more is known.
func (c *Chain) supersede(to, kind string) {
	for i := range c.Edges {
		if e := &c.Edges[i]; e.To == to && e.Kind == kind {
			e.Superseded = true
		}
	}
}

func (c *Chain) places() map[string]int {
	at := make(map[string]int, len(c.Calls))
	for i := range c.Calls {
		at[c.Calls[i].ID] = i
	}
	return at
}

// Trees is the chain as trees: each call once, roots and branches by time. A call
// that several others led to, as a model call to which many results came, hangs on
// the latest of them.
func (c *Chain) Trees() []*Branch {
	at := c.places()
	branches := make([]*Branch, len(c.Calls))
	via := make([]*Edge, len(c.Calls))
	for i := range c.Edges {
		e := &c.Edges[i]
		if e.Superseded {
			continue
		}
		if to := at[e.To]; via[to] == nil || at[e.From] > at[via[to].From] {
			via[to] = e
		}
	}
	var roots []*Branch
	for i := range c.Calls {
		branches[i] = &Branch{Call: &c.Calls[i], Via: via[i]}
		if via[i] == nil {
			roots = append(roots, branches[i])
			continue
		}
		on := branches[at[via[i].From]] // earlier, so it is there
		on.Next = append(on.Next, branches[i])
	}
	return roots
}
