package store

import (
	"context"
	"fmt"
	"strings"

	"callgate/audit"
)

// Who tells on whose behalf the call id was made, and who agreed to it.
func (x *Index) Who(ctx context.Context, id string) (audit.Who, bool, error) {
	c, ok, err := x.Call(ctx, id)
	if err != nil || !ok {
		return audit.Who{}, false, err
	}
	w := audit.WhoOf(&c)
	if c.Approval != "" {
		w.Decisions, err = x.changes(ctx, "SELECT seq, place FROM changes WHERE name = $1 AND what LIKE 'approval.%' ORDER BY seq LIMIT 100", c.Approval)
	}
	if err == nil && c.Grant != "" {
		var given []audit.Change
		given, err = x.changes(ctx, "SELECT seq, place FROM changes WHERE name = $1 AND what IN ('grant.given', 'consent.given') AND seq < $2 ORDER BY seq DESC LIMIT 100", c.Agent, int64(c.Seq))
		for _, g := range given {
			if strings.Contains(g.State, c.Grant) {
				w.Given = append(w.Given, g)
			}
		}
	}
	return w, true, err
}

// Diff compares the call or the run after with before. With before "", a call is
// compared with the latest call of the same agent for the same thing that was allowed,
// and a run with the run of the same agent before it. It says false if there is nothing
// of that id.
func (x *Index) Diff(ctx context.Context, before, after string) (audit.Diff, bool, error) {
	c, ok, err := x.Call(ctx, after)
	if err != nil {
		return audit.Diff{}, false, err
	}
	if ok {
		return x.diffCalls(ctx, before, &c)
	}
	later, err := x.Timeline(ctx, after, 0, 0)
	if err != nil || len(later.Calls) == 0 {
		return audit.Diff{}, false, err
	}
	if before == "" {
		first := later.Calls[0]
		err := x.db.read.QueryRowContext(ctx, "SELECT coalesce((SELECT run FROM calls WHERE agent = $1 AND seq < $2 AND run <> $3 AND run <> '' ORDER BY seq DESC LIMIT 1), '')",
			first.Agent, int64(first.Seq), after).Scan(&before)
		if err != nil {
			return audit.Diff{}, false, explain("query the index", err)
		}
	}
	earlier, err := x.Timeline(ctx, before, 0, 0)
	if err != nil {
		return audit.Diff{}, false, err
	}
	if before != "" && len(earlier.Calls) == 0 {
		return audit.Diff{}, false, nil
	}
	d := audit.Diff{Differs: []audit.Difference{}, Changes: []audit.Change{}, Note: "run " + after + " with run " + before}
	a, b := deeds(earlier.Calls), deeds(later.Calls)
	for d.Same < len(a) && d.Same < len(b) && audit.Alike(&a[d.Same], &b[d.Same]) {
		d.Same++
	}
	if d.Same < len(a) {
		d.Before = &a[d.Same]
	}
	if d.Same < len(b) {
		d.After = &b[d.Same]
	}
	switch {
	case len(earlier.Calls) == 0:
		d.Note = "there is no run of " + later.Agent + " before this one"
		return d, true, nil
	case d.Before == nil && d.After == nil:
		d.Note += ": both do the same"
		return d, true, nil
	case d.Before == nil:
		d.Note += ": it goes on where the other one ends"
		return d, true, nil
	case d.After == nil:
		d.Note += ": it ends where the other one goes on"
		return d, true, nil
	}
	d.Differs = audit.Compare(d.Before, d.After)
	from, to := d.Before.Seq, d.After.Seq
	d.Changes, err = x.changed(ctx, min(from, to), max(from, to))
	return d, true, err
}

// deeds are the calls that do something.
func deeds(calls []audit.Call) []audit.Call {
	var list []audit.Call
	for _, c := range calls {
		if c.Kind != "list" && c.Kind != "session" {
			list = append(list, c)
		}
	}
	return list
}

func (x *Index) diffCalls(ctx context.Context, before string, after *audit.Call) (audit.Diff, bool, error) {
	d := audit.Diff{After: after, Differs: []audit.Difference{}, Changes: []audit.Change{}}
	if before != "" {
		b, ok, err := x.Call(ctx, before)
		if err != nil || !ok {
			return d, false, err
		}
		d.Before, d.Note = &b, "the call with the other one"
	} else {
		list, err := x.calls(ctx, callColumns+" WHERE target = $1 AND resource = $2 AND seq < $3 AND agent = $4 AND kind = $5 AND effect = 'allow' ORDER BY seq DESC LIMIT 1",
			after.Target, after.Resource, int64(after.Seq), after.Agent, after.Kind)
		if err != nil {
			return d, false, err
		}
		if len(list) == 0 {
			d.Note = fmt.Sprintf("%s was never allowed %s %s/%s before", after.Agent, after.Kind, after.Target, after.Resource)
			return d, true, nil
		}
		d.Before, d.Note = &list[0], "the call with the latest one of the same agent for the same thing that was allowed"
	}
	d.Differs = audit.Compare(d.Before, after)
	var err error
	from, to := d.Before.Seq, after.Seq
	d.Changes, err = x.changed(ctx, min(from, to), max(from, to))
	return d, true, err
}
