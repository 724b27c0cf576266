package store

import (
	"context"
	"strconv"

	"callgate/audit"
)

// A way is where links are followed to.
type way struct{ from, to string }

var (
	up   = way{"to_id", "from_id"}
	down = way{"from_id", "to_id"}
)

// Ancestors is what led to the call id, and what led to that, with the call itself: at
// most 1,000 calls, the nearest. It is empty if there is no such call.
func (x *Index) Ancestors(ctx context.Context, id string) (audit.Chain, error) {
	return x.reach(ctx, "SELECT id FROM calls WHERE id = $1", id, up)
}

// Descendants is what the call id, or a call of the run id, led to, and so on, with
// these calls themselves.
func (x *Index) Descendants(ctx context.Context, id string) (audit.Chain, error) {
	c, err := x.reach(ctx, "SELECT id FROM calls WHERE id = $1", id, down)
	if err != nil || len(c.Calls) > 0 {
		return c, err
	}
	return x.reach(ctx, "SELECT id FROM calls WHERE run = $1 AND run <> ''", id, down)
}

// reach is the calls that a way leads to from some.
func (x *Index) reach(ctx context.Context, from, id string, w way) (audit.Chain, error) {
	list, err := x.calls(ctx, "WITH RECURSIVE reach (id) AS ("+from+
		" UNION SELECT l."+w.to+" FROM reach JOIN links l ON l."+w.from+" = reach.id WHERE l.superseded = 0) "+
		callColumns+" WHERE id IN (SELECT id FROM reach LIMIT "+strconv.Itoa(maxChain+1)+") ORDER BY seq", id)
	if err != nil {
		return audit.Chain{}, err
	}
	more := len(list) > maxChain
	if more {
		list = list[:maxChain]
	}
	c := audit.NewChain(list)
	c.More = more
	return c, nil
}

// around are the changes that tell why a call was decided as it was.
var around = []string{"policy.", "mcp.", "agent.", "approval.", "secret.", "config.", "run.", "object.", "drift."}

// Timeline is what happened in a run from the call behind after on, at most limit
// calls (1,000 if it is 0), and what changed meanwhile. It is empty if there is no such
// run.
func (x *Index) Timeline(ctx context.Context, run string, after uint64, limit int) (audit.Timeline, error) {
	t := audit.Timeline{Run: run, Calls: []audit.Call{}, Changes: []audit.Change{}}
	if limit <= 0 || limit > maxChain {
		limit = maxChain
	}
	list, err := x.calls(ctx, callColumns+" WHERE run = $1 AND run <> '' AND seq > $2 ORDER BY seq LIMIT "+strconv.Itoa(limit+1), run, int64(after))
	if err != nil || len(list) == 0 {
		return t, err
	}
	if len(list) > limit {
		list = list[:limit]
		t.Next = list[limit-1].Seq
	}
	t.Calls, t.Agent = list, list[0].Agent
	t.Changes, err = x.changed(ctx, list[0].Seq, list[len(list)-1].Seq)
	return t, err
}

const maxChanges = 200

// changed is what changed between two positions of the ledger, of what calls depend on.
func (x *Index) changed(ctx context.Context, from, to uint64) ([]audit.Change, error) {
	var w where
	w.add("seq > $", int64(from))
	w.add("seq < $", int64(to))
	any := ""
	for i, prefix := range around {
		if i > 0 {
			any += " OR "
		}
		any += "what >= " + w.value(prefix) + " AND what < " + w.value(prefix[:len(prefix)-1]+"/")
	}
	w.terms = append(w.terms, "("+any+")")
	return x.changes(ctx, "SELECT seq, place FROM changes"+w.String()+" ORDER BY seq LIMIT "+strconv.Itoa(maxChanges), w.values...)
}

// changes are those that a query for seq and place finds.
func (x *Index) changes(ctx context.Context, query string, values ...any) ([]audit.Change, error) {
	list := []audit.Change{}
	rows, err := x.db.read.QueryContext(ctx, query, values...)
	if err != nil {
		return nil, explain("query the index", err)
	}
	defer rows.Close()
	for rows.Next() {
		var seq, place int64
		if err := rows.Scan(&seq, &place); err != nil {
			return nil, explain("query the index", err)
		}
		r, err := x.ledger.At(audit.Place(place))
		if err != nil {
			list = append(list, audit.Change{Seq: uint64(seq), What: "unreadable", State: err.Error()})
			continue
		}
		r.Seq = uint64(seq)
		list = append(list, audit.ChangeOf(&r))
	}
	return list, explain("query the index", rows.Err())
}
