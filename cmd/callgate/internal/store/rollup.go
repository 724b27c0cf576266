package store

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strings"
)

// The spans that calls are added up by, in seconds.
const (
	hour = 3600
	day  = 24 * hour
)

// A lot is what calls are added up under.
type lot struct {
	span, start                                    int64
	outcome, agent, kind, target, resource, effect string
}

// A sum is what calls of a lot came to, or how that changes.
type sum struct {
	lot
	n, bytes, tokens, cost int64
}

// known is what the index has of the batch's calls before it is stored, by id.
func (b *batch) known(ctx context.Context, tx *sql.Tx) (map[string]row, error) {
	var ids []string
	for i := range b.calls {
		if !b.calls[i].fresh {
			ids = append(ids, b.calls[i].id)
		}
	}
	known := make(map[string]row, len(ids))
	for some := range slices.Chunk(ids, 500) {
		rows, err := tx.QueryContext(ctx, "SELECT id, at_us, agent, kind, target, resource, effect, outcome, bytes FROM calls WHERE id IN "+marks(1, len(some)), anys(some)...)
		if err != nil {
			return nil, err
		}
		for rows.Next() {
			var r row
			if err := rows.Scan(&r.id, &r.at, &r.agent, &r.kind, &r.target, &r.resource, &r.effect, &r.outcome, &r.bytes); err != nil {
				rows.Close()
				return nil, err
			}
			known[r.id] = r
		}
		if err := rows.Close(); err != nil {
			return nil, err
		}
	}
	return known, nil
}

const (
	insertHours = `INSERT INTO hours (hour, first, last) VALUES `
	onHour      = ` ON CONFLICT (hour) DO UPDATE SET
		first = CASE WHEN excluded.first < hours.first THEN excluded.first ELSE hours.first END,
		last  = CASE WHEN excluded.last  > hours.last  THEN excluded.last  ELSE hours.last  END`
	insertSums = `INSERT INTO rollups (span, start, outcome, agent, kind, target, resource, effect, n, bytes, tokens, cost) VALUES `
	onSum      = ` ON CONFLICT (span, start, outcome, agent, kind, target, resource, effect) DO UPDATE SET
		n = rollups.n + excluded.n, bytes = rollups.bytes + excluded.bytes, tokens = rollups.tokens + excluded.tokens, cost = rollups.cost + excluded.cost`
	dropSums = `DELETE FROM rollups WHERE span = $1 AND start = $2 AND outcome = '' AND n = 0`
)

// An hourOf is where an hour's calls stand.
type hourOf struct{ hour, first, last int64 }

// tally adds the batch's calls up. One that was open before moves from what is
// open to what it came to.
func (b *batch) tally(ctx context.Context, tx *sql.Tx, before map[string]row) error {
	sums := make(map[lot]*sum)
	hours := make(map[int64]*hourOf)
	add := func(r *row, at, n, bytes int64, took spent) {
		for _, span := range [...]int64{hour, day} {
			l := lot{span, floor(at/1e6, span), r.outcome, r.agent, r.kind, r.target, r.resource, r.effect}
			s := sums[l]
			if s == nil {
				s = &sum{lot: l}
				sums[l] = s
			}
			s.n, s.bytes, s.tokens, s.cost = s.n+n, s.bytes+bytes, s.tokens+took.tokens, s.cost+took.cost
		}
	}
	for i := range b.calls {
		r := &b.calls[i]
		was, open := before[r.id]
		if !open {
			add(r, r.at, 1, r.bytes, r.tried)
			h := floor(r.at/1e6, hour) / hour
			if hours[h] == nil {
				hours[h] = &hourOf{h, int64(r.seq), int64(r.seq)}
			}
			hours[h].first, hours[h].last = min(hours[h].first, int64(r.seq)), max(hours[h].last, int64(r.seq))
			continue
		}
		is := was
		is.effect, is.outcome = cmp.Or(r.effect, was.effect), cmp.Or(r.outcome, was.outcome)
		add(&was, was.at, -1, -was.bytes, spent{})
		add(&is, was.at, 1, was.bytes+r.bytes, r.tried)
	}
	list := make([]*sum, 0, len(sums))
	emptied := make(map[lot]bool)
	for l, s := range sums {
		if s.n == 0 && s.bytes == 0 && s.tokens == 0 && s.cost == 0 {
			continue
		}
		list = append(list, s)
		if s.n < 0 && l.outcome == "" {
			emptied[lot{span: l.span, start: l.start}] = true
		}
	}
	slices.SortFunc(list, func(a, b *sum) int { // in the table's order, so that pages are touched once
		return cmp.Or(cmp.Compare(a.span, b.span), cmp.Compare(a.start, b.start), strings.Compare(a.outcome, b.outcome), strings.Compare(a.agent, b.agent),
			strings.Compare(a.kind, b.kind), strings.Compare(a.target, b.target), strings.Compare(a.resource, b.resource), strings.Compare(a.effect, b.effect))
	})
	err := insert(ctx, tx, insertSums, onSum, list, 12, func(v []any, p **sum) []any {
		s := *p
		return append(v, s.span, s.start, s.outcome, s.agent, s.kind, s.target, s.resource, s.effect, s.n, s.bytes, s.tokens, s.cost)
	})
	for l := range emptied {
		if err == nil {
			_, err = tx.ExecContext(ctx, dropSums, l.span, l.start)
		}
	}
	if err == nil {
		all := make([]*hourOf, 0, len(hours))
		for _, h := range hours {
			all = append(all, h)
		}
		err = insert(ctx, tx, insertHours, onHour, all, 3, func(v []any, h **hourOf) []any { return append(v, (*h).hour, (*h).first, (*h).last) })
	}
	return err
}

// floor is the multiple of unit at or before n.
func floor(n, unit int64) int64 {
	if r := n % unit; r < 0 {
		return n - r - unit
	} else {
		return n - r
	}
}
