package store

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"callgate/audit"

	"github.com/tidwall/gjson"
)

// A runRow is what a batch tells of a run.
type runRow struct {
	run, agent  string
	first, last int64
	calls, cost int64
	tools       []string // that it called, in order
}

// A trait is something that a run did.
type trait struct{ run, what, thing string }

const maxThing = 300 // bytes of what a run did; what is longer teaches nothing

// habit notes what a record tells of the run that it is of.
func (b *batch) habit(t audit.Type, r *row, env, labels gjson.Result) {
	if r.run == "" {
		return
	}
	u := b.runs[r.run]
	if u == nil {
		u = &runRow{run: r.run, first: r.at, last: r.at}
		b.runs[r.run] = u
	}
	u.first, u.last = min(u.first, r.at), max(u.last, r.at)
	u.cost += r.tried.cost
	for _, l := range labels.Array() {
		b.did(r.run, audit.TraitLabel, l.Str)
	}
	if t != audit.Opened && t != audit.Refused {
		return
	}
	u.calls++
	if strings.HasPrefix(r.agent, "agent:") { // and not what a server asks for in its course
		u.agent = r.agent
	}
	if t != audit.Opened {
		return
	}
	for _, l := range env.Get("labels").Array() {
		b.did(r.run, audit.TraitLabel, l.Str)
	}
	switch name := r.target + "/" + r.resource; {
	case !strings.HasPrefix(r.agent, "agent:"):
	case r.kind == "model":
		b.did(r.run, audit.TraitModel, name)
	case r.kind == "tool":
		b.did(r.run, audit.TraitTool, name)
		for _, h := range env.Get("hosts").Array() {
			b.did(r.run, audit.TraitHost, h.Str)
		}
		u.tools = append(u.tools, name)
	}
}

func (b *batch) did(run, what, thing string) {
	if thing != "" && len(thing) <= maxThing {
		b.traits[trait{run, what, thing}] = struct{}{}
	}
}

const (
	insertRuns = `INSERT INTO runs (run, agent, first_us, last_us, calls, cost, tool) VALUES `
	onRun      = ` ON CONFLICT (run) DO UPDATE SET
		agent    = CASE WHEN excluded.agent <> '' THEN excluded.agent ELSE runs.agent END,
		first_us = CASE WHEN excluded.first_us < runs.first_us THEN excluded.first_us ELSE runs.first_us END,
		last_us  = CASE WHEN excluded.last_us  > runs.last_us  THEN excluded.last_us  ELSE runs.last_us  END,
		calls    = runs.calls + excluded.calls,
		cost     = runs.cost + excluded.cost,
		tool     = CASE WHEN excluded.tool <> '' THEN excluded.tool ELSE runs.tool END`
	insertTraits = `INSERT INTO traits (run, what, thing) VALUES `
	onTrait      = ` ON CONFLICT (run, what, thing) DO NOTHING`
)

// keepHabits stores what runs did, and which tool came after which.
func (b *batch) keepHabits(ctx context.Context, tx *sql.Tx) error {
	var ids []string
	for id, u := range b.runs {
		if len(u.tools) > 0 {
			ids = append(ids, id)
		}
	}
	last := make(map[string]string, len(ids))
	for some := range slices.Chunk(ids, 500) {
		rows, err := tx.QueryContext(ctx, "SELECT run, tool FROM runs WHERE run IN "+marks(1, len(some)), anys(some)...)
		if err != nil {
			return err
		}
		for rows.Next() {
			var run, tool string
			if err := rows.Scan(&run, &tool); err != nil {
				rows.Close()
				return err
			}
			last[run] = tool
		}
		if err := rows.Close(); err != nil {
			return err
		}
	}
	runs := slices.SortedFunc(maps.Values(b.runs), func(a, b *runRow) int { return strings.Compare(a.run, b.run) })
	for _, u := range runs {
		before := last[u.run]
		if before == "" {
			before = audit.AtStart
		}
		for _, tool := range u.tools {
			b.did(u.run, audit.TraitOrder, before+"\n"+tool)
			before = tool
		}
	}
	err := insert(ctx, tx, insertRuns, onRun, runs, 7, func(v []any, p **runRow) []any {
		u, tool := *p, ""
		if n := len(u.tools); n > 0 {
			tool = u.tools[n-1]
		}
		return append(v, u.run, u.agent, u.first, u.last, u.calls, u.cost, tool)
	})
	if err != nil {
		return err
	}
	traits := slices.SortedFunc(maps.Keys(b.traits), func(a, b trait) int {
		return strings.Compare(a.run+a.what+a.thing, b.run+b.what+b.thing)
	})
	return insert(ctx, tx, insertTraits, onTrait, traits, 3, func(v []any, t *trait) []any { return append(v, t.run, t.what, t.thing) })
}

const (
	maxTraits     = 200_000 // of all agents together
	maxHabitsRuns = 500_000
)

// Habits is what the runs of each agent did that began a call since then.
func (x *Index) Habits(ctx context.Context, since time.Time) (map[string]*audit.Habit, error) {
	habits := make(map[string]*audit.Habit)
	costs := make(map[string][]int64)
	calls := make(map[string][]int64)
	err := x.each(ctx, "SELECT agent, calls, cost FROM runs WHERE last_us >= $1 AND agent <> '' ORDER BY last_us DESC LIMIT "+strconv.Itoa(maxHabitsRuns), since.UnixMicro(), func(rows *sql.Rows) error {
		var agent string
		var n, cost int64
		if err := rows.Scan(&agent, &n, &cost); err != nil {
			return err
		}
		calls[agent], costs[agent] = append(calls[agent], n), append(costs[agent], cost)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for agent := range calls {
		habits[agent] = &audit.Habit{Agent: agent, Runs: len(calls[agent]), Calls: usual(calls[agent]), Cost: usual(costs[agent]), Traits: make(map[string]map[string]int), Novel: make(map[string]int)}
	}
	const things = "SELECT r.agent AS agent, t.what AS what, t.thing AS thing, count(*) AS n, min(t.run) AS run FROM runs r JOIN traits t ON t.run = r.run WHERE r.last_us >= $1 AND r.agent <> '' GROUP BY r.agent, t.what, t.thing"
	found := 0
	err = x.each(ctx, "SELECT agent, what, thing, n FROM ("+things+") AS t WHERE n > 1 LIMIT "+strconv.Itoa(maxTraits+1), since.UnixMicro(), func(rows *sql.Rows) error {
		var agent, what, thing string
		var n int
		if err := rows.Scan(&agent, &what, &thing, &n); err != nil {
			return err
		}
		if found++; found > maxTraits {
			return fmt.Errorf("agents did more than %d different things: what is usual is not learned", maxTraits)
		}
		if h := habits[agent]; h != nil {
			if h.Traits[what] == nil {
				h.Traits[what] = make(map[string]int)
			}
			h.Traits[what][thing] = n
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = x.each(ctx, "SELECT agent, what, count(DISTINCT run) FROM ("+things+") AS t WHERE n = 1 GROUP BY agent, what", since.UnixMicro(), func(rows *sql.Rows) error {
		var agent, what string
		var n int
		if err := rows.Scan(&agent, &what, &n); err != nil {
			return err
		}
		if h := habits[agent]; h != nil {
			h.Novel[what] = n
		}
		return nil
	})
	return habits, err
}

// usual is what 19 of 20 do not exceed.
func usual(list []int64) int64 {
	slices.Sort(list)
	return list[(len(list)*19+19)/20-1]
}

// each reads the rows of a query.
func (x *Index) each(ctx context.Context, query string, value any, row func(*sql.Rows) error) error {
	rows, err := x.db.read.QueryContext(ctx, query, value)
	if err != nil {
		return explain("query the index", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return explain("query the index", err)
		}
	}
	return explain("query the index", rows.Err())
}

// Drift is the departures of runs from what was expected of their agents, newest first:
// those of at most limit calls.
func (x *Index) Drift(ctx context.Context, agent, run string, since, until time.Time, limit int) ([]audit.Drift, error) {
	w := where{terms: []string{"signals <> ''", "signals LIKE '% drift %'"}}
	w.text("agent = $", agent)
	w.text("run = $", run)
	ok, err := x.within(ctx, &w, stretch{since, until})
	if err != nil || !ok {
		return []audit.Drift{}, err
	}
	calls, err := x.calls(ctx, callColumns+w.String()+" ORDER BY seq DESC LIMIT "+strconv.Itoa(limit), w.values...)
	if err != nil {
		return nil, err
	}
	list := []audit.Drift{}
	for i := range calls {
		if at := time.UnixMicro(calls[i].At); !at.Before(since) && (until.IsZero() || at.Before(until)) {
			list = append(list, calls[i].Drifts()...)
		}
	}
	return list, nil
}
