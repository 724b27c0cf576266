package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"callgate/audit"
)

// rollBy is what calls can be added up by, and how a filter says it.
var rollBy = map[string]struct{ column, filter string }{
	"agent":    {"agent", "agent = %s"},
	"tool":     {"CASE WHEN kind = 'tool' THEN target || '/' || resource ELSE '' END", "tool = %s"},
	"model":    {"CASE WHEN kind = 'model' THEN target || '/' || resource ELSE '' END", "model = %s"},
	"kind":     {"kind", "kind = %s"},
	"target":   {"target", "target = %s"},
	"resource": {"resource", "resource = %s"},
	"effect":   {"effect", "effect = %s"},
	"outcome":  {"CASE WHEN outcome = '' THEN 'open' ELSE outcome END", "outcome = %s"},
	"hour":     {"start", ""},
	"day":      {"start - start % 86400", ""},
}

// rollFields are the columns of rollups, by field.
var rollFields = map[string]string{"agent": "agent", "kind": "kind", "target": "target", "resource": "resource", "tool": "tool", "model": "model", "effect": "effect", "outcome": "outcome"}

const (
	usualLines = 1000
	mostLines  = 10_000
)

// Rollup adds calls up, those with the most cost first, and of equal cost those with the
// most calls.
func (x *Index) Rollup(ctx context.Context, f audit.RollupFilter) ([]audit.Rollup, error) {
	var by []string
	for _, name := range f.By {
		c, ok := rollBy[name]
		if !ok {
			return nil, fmt.Errorf("%w: calls are added up by %s, and not by %.40q", audit.ErrFilter, strings.Join(audit.RollupBy, ", "), name)
		}
		by = append(by, c.column)
	}
	var w where
	if bad := foreign(f.Where.Root()); bad != "" {
		return nil, fmt.Errorf("%w: a sum can be narrowed by agent, kind, target, resource, tool, model, effect and outcome, and not by %s; say since and until for its time", audit.ErrFilter, bad)
	}
	c := compiler{w: &w, columns: rollFields, exact: true}
	narrowed := c.term(f.Where.Root())
	if narrowed != "" {
		narrowed = " AND " + narrowed
	}
	from, to := int64(0), int64(1)<<40
	if !f.Since.IsZero() {
		from = floor(f.Since.Unix(), hour)
	}
	if !f.Until.IsZero() {
		to = floor(f.Until.Add(hour*time.Second-1).Unix(), hour)
	}
	var parts []string
	span := func(size, from, to int64) {
		if from < to {
			parts = append(parts, "SELECT * FROM rollups WHERE span = "+strconv.FormatInt(size, 10)+" AND start >= "+w.value(from)+" AND start < "+w.value(to)+narrowed)
		}
	}
	if first, last := floor(from+day-1, day), floor(to, day); !slices.Contains(f.By, "hour") && first < last {
		span(hour, from, first)
		span(day, first, last)
		span(hour, last, to)
	} else {
		span(hour, from, to)
	}
	if len(parts) == 0 {
		return []audit.Rollup{}, nil
	}
	query := "SELECT " + strings.Join(append(by, ""), ", ") + `sum(n) AS total, sum(CASE WHEN effect = 'deny' THEN n ELSE 0 END), sum(CASE WHEN effect = 'ask' THEN n ELSE 0 END),
		sum(CASE WHEN effect <> 'deny' AND effect <> 'ask' AND outcome <> '' AND outcome <> 'ok' THEN n ELSE 0 END), sum(CASE WHEN outcome = '' THEN n ELSE 0 END),
		sum(bytes), sum(tokens), sum(cost) AS money FROM (` + strings.Join(parts, " UNION ALL ") + ") AS parts"
	if len(by) > 0 {
		query += " GROUP BY " + strings.Join(by, ", ")
	}
	lines := f.Limit
	if lines <= 0 {
		lines = usualLines
	}
	order := "money DESC, total DESC"
	for i, name := range f.By {
		if name == "hour" || name == "day" {
			order = strconv.Itoa(i+1) + ", " + order
		}
	}
	query += " HAVING sum(n) > 0 ORDER BY " + order + " LIMIT " + strconv.Itoa(min(lines, mostLines))
	rows, err := x.db.read.QueryContext(ctx, query, w.values...)
	if err != nil {
		return nil, explain("query the index", err)
	}
	defer rows.Close()
	list := []audit.Rollup{}
	for rows.Next() {
		r := audit.Rollup{By: make([]string, len(by))}
		var into []any
		for i := range r.By {
			into = append(into, &r.By[i])
		}
		if err := rows.Scan(append(into, &r.Calls, &r.Denied, &r.Held, &r.Failed, &r.Open, &r.Bytes, &r.Tokens, &r.Cost)...); err != nil {
			return nil, explain("query the index", err)
		}
		r.Filter = evidence(&f, &r, from, to)
		list = append(list, r)
	}
	return list, explain("query the index", rows.Err())
}

// foreign is a field of t that rollups are not made by, "" if there is none.
func foreign(t *audit.Term) string {
	if t == nil {
		return ""
	}
	if t.Test != nil && rollFields[t.Test.Field.Name] == "" {
		return t.Test.Field.Name
	}
	for _, x := range append(append([]*audit.Term(nil), t.All...), t.Any...) {
		if bad := foreign(x); bad != "" {
			return bad
		}
	}
	return ""
}

// evidence is a filter that finds the calls of a line, and makes its times readable.
func evidence(f *audit.RollupFilter, r *audit.Rollup, from, to int64) string {
	var parts []string
	if f.Where != nil {
		parts = append(parts, "("+f.Where.String()+")")
	}
	for i, name := range f.By {
		size := map[string]int64{"hour": hour, "day": day}[name]
		if size == 0 {
			parts = append(parts, fmt.Sprintf(rollBy[name].filter, quoted(r.By[i])))
			continue
		}
		start, _ := strconv.ParseInt(r.By[i], 10, 64)
		from, to = max(from, start), min(to, start+size)
		r.By[i] = time.Unix(start, 0).UTC().Format(map[string]string{"hour": "2006-01-02T15:00Z", "day": "2006-01-02"}[name])
	}
	if from > 0 {
		parts = append(parts, "at >= "+time.Unix(from, 0).UTC().Format(time.RFC3339))
	}
	if to < 1<<40 {
		parts = append(parts, "at < "+time.Unix(to, 0).UTC().Format(time.RFC3339))
	}
	return strings.Join(parts, " AND ")
}

// quoted is s as a value of a filter.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `*`, `\*`).Replace(s) + `"`
}

// Coverage is what became of the tool calls that models asked for, by agent and name,
// those with the most that never passed first.
func (x *Index) Coverage(ctx context.Context, agent string, since, until time.Time) ([]audit.Coverage, error) {
	var w where
	w.text("c.agent = $", agent)
	ok, err := x.within(ctx, &w, stretch{since, until})
	if err != nil || !ok {
		return []audit.Coverage{}, err
	}
	for i, term := range w.terms { // a proposal comes after its call
		w.terms[i] = strings.Replace(strings.Replace(term, "seq >=", "w.seq >=", 1), "seq <=", "c.seq <=", 1)
	}
	link := func(kind string) string {
		return "EXISTS (SELECT 1 FROM links l WHERE l.from_id = w.id AND l.kind = '" + kind + "' AND l.tool_use = w.tool_use AND l.superseded = 0)"
	}
	rows, err := x.db.read.QueryContext(ctx, "SELECT agent, name, sum(1), sum(passed), sum(CASE WHEN passed = 0 AND out = 1 THEN 1 ELSE 0 END), sum(CASE WHEN passed = 0 AND out = 0 AND off = 1 THEN 1 ELSE 0 END),"+
		" coalesce(max(CASE WHEN passed = 0 THEN id END), '') FROM (SELECT c.agent, w.name, w.id, CASE WHEN w.effect = 'deny' THEN 1 ELSE 0 END AS out,"+
		" CASE WHEN "+link(audit.LinkProposed)+" THEN 1 ELSE 0 END AS passed, CASE WHEN "+link(audit.LinkOffGateway)+" THEN 1 ELSE 0 END AS off"+
		" FROM wants w JOIN calls c ON c.id = w.id"+w.String()+") AS asked GROUP BY agent, name LIMIT "+strconv.Itoa(mostLines), w.values...)
	if err != nil {
		return nil, explain("query the index", err)
	}
	defer rows.Close()
	list := []audit.Coverage{}
	for rows.Next() {
		var c audit.Coverage
		var example string
		if err := rows.Scan(&c.Agent, &c.Name, &c.Asked, &c.Passed, &c.TakenOut, &c.OffGateway, &example); err != nil {
			return nil, explain("query the index", err)
		}
		c.Unseen = c.Asked - c.Passed - c.TakenOut - c.OffGateway
		if c.Examples = []string{}; example != "" {
			c.Examples = append(c.Examples, example)
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b audit.Coverage) int {
		if n := (b.OffGateway + b.Unseen) - (a.OffGateway + a.Unseen); n != 0 {
			return int(n)
		}
		return strings.Compare(a.Agent+" "+a.Name, b.Agent+" "+b.Name)
	})
	return list, explain("query the index", rows.Err())
}

const maxDeeds = 500_000

// Unlike is the runs that are not like others of their agent, the most surprising
// first.
func (x *Index) Unlike(ctx context.Context, agent string, since, until time.Time) ([]audit.Unlike, error) {
	w := where{terms: []string{"kind = 'tool'", "run <> ''"}}
	w.text("agent = $", agent)
	ok, err := x.within(ctx, &w, stretch{since, until})
	if err != nil || !ok {
		return []audit.Unlike{}, err
	}
	rows, err := x.db.read.QueryContext(ctx, "SELECT id, run, agent, target || '/' || resource, at_us FROM calls"+w.String()+" ORDER BY seq DESC LIMIT "+strconv.Itoa(maxDeeds), w.values...)
	if err != nil {
		return nil, explain("query the index", err)
	}
	defer rows.Close()
	var deeds []audit.Deed
	for rows.Next() {
		var d audit.Deed
		if err := rows.Scan(&d.Call, &d.Run, &d.Agent, &d.Tool, &d.At); err != nil {
			return nil, explain("query the index", err)
		}
		deeds = append(deeds, d)
	}
	slices.Reverse(deeds)
	return audit.FindUnlike(deeds), explain("query the index", rows.Err())
}
