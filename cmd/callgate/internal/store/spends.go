package store

import (
	"context"
	"fmt"
	"strings"

	"callgate/audit"
)

// spendBy is what spending can be added up by.
var spendBy = map[string]string{
	"agent":    "calls.agent",
	"model":    "CASE WHEN spends.model <> '' THEN spends.model ELSE calls.target || '/' || calls.resource END",
	"provider": "CASE WHEN spends.model <> '' THEN substr(spends.model, 1, instr(spends.model, '/') - 1) ELSE calls.target END",
	"run":      "calls.run",
	"chain":    "CASE WHEN calls.chain <> '' THEN calls.chain ELSE calls.run END",
	"day":      "strftime('%Y-%m-%d', calls.at_us / 1000000, 'unixepoch')",
}

const maxSpends = 10_000 // groups in one answer

// Spends is what calls of models have taken, the dearest first.
func (x *Index) Spends(ctx context.Context, f audit.SpendFilter) ([]audit.Spend, error) {
	var by, where []string
	var values []any
	for _, name := range f.By {
		column, ok := spendBy[name]
		if !ok {
			return nil, fmt.Errorf("%w: spending is added up by agent, model, provider, run, chain or day, and not by %.40q", audit.ErrFilter, name)
		}
		by = append(by, column)
	}
	for _, c := range []struct {
		is    string
		value any
		on    bool
	}{{"calls.agent = ?", f.Agent, f.Agent != ""}, {"calls.at_us >= ?", f.Since.UnixMicro(), !f.Since.IsZero()}, {"calls.at_us < ?", f.Until.UnixMicro(), !f.Until.IsZero()}} {
		if c.on {
			where, values = append(where, c.is), append(values, c.value)
		}
	}
	query := "SELECT " + strings.Join(append(by, ""), ", ") + `count(DISTINCT spends.id), count(DISTINCT CASE WHEN spends.cost < 0 THEN spends.id END), count(DISTINCT CASE WHEN estimated = 1 THEN spends.id END), sum(input), sum(output), sum(cache_read), sum(cache_write), sum(reasoning), sum(max(spends.cost, 0)) AS money
		FROM spends JOIN calls ON calls.id = spends.id`
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	if len(by) > 0 {
		query += " GROUP BY " + strings.Join(by, ", ")
	} else {
		query += " HAVING count(*) > 0"
	}
	query += fmt.Sprintf(" ORDER BY money DESC, sum(output) DESC LIMIT %d", maxSpends)
	rows, err := x.db.read.QueryContext(ctx, query, values...)
	if err != nil {
		return nil, explain("query the index", err)
	}
	defer rows.Close()
	list := []audit.Spend{}
	for rows.Next() {
		s := audit.Spend{By: make([]string, len(by))}
		var into []any
		for i := range s.By {
			into = append(into, &s.By[i])
		}
		if err := rows.Scan(append(into, &s.Calls, &s.Unpriced, &s.Estimated, &s.Input, &s.Output, &s.CacheRead, &s.CacheWrite, &s.Reasoning, &s.Cost)...); err != nil {
			return nil, explain("query the index", err)
		}
		list = append(list, s)
	}
	return list, explain("query the index", rows.Err())
}
