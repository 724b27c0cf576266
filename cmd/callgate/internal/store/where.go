package store

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"callgate/audit"
)

// A dialect is how a database says what SQL leaves open.
type dialect int

const (
	sqliteDialect dialect = iota
	postgresDialect
)

// like is the condition that column is pieces with any letters between them. Capitals
// count, which they do not in SQLite's LIKE.
func (d dialect) like(w *where, column string, pieces []string) string {
	if d == postgresDialect {
		escape := strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`)
		return column + " LIKE " + w.value(joined(pieces, escape, "%")) + ` ESCAPE '\'`
	}
	return column + " GLOB " + w.value(joined(pieces, strings.NewReplacer("[", "[[]", "*", "[*]", "?", "[?]"), "*"))
}

func joined(pieces []string, escape *strings.Replacer, star string) string {
	all := make([]string, len(pieces))
	for i, p := range pieces {
		all[i] = escape.Replace(p)
	}
	return strings.Join(all, star)
}

// alone is column so that no index is chosen for it.
func (d dialect) alone(column string) string {
	if d == sqliteDialect {
		return "+" + column
	}
	return column
}

// A compiler makes conditions of a question, for a table that has columns for some
// of its fields. For a field that has none the condition is true: whoever asks must
// look at what is found, unless the compiler is exact.
type compiler struct {
	w       *where
	dialect dialect
	columns map[string]string // by field
	began   int64             // position of the first record of the process that runs
	exact   bool
}

// callFields are the columns of calls, by field.
var callFields = map[string]string{
	"call": "id", "seq": "seq", "at": "at_us", "took": "took_us", "agent": "agent", "subject": "subject", "token": "token", "run": "run", "chain": "chain",
	"kind": "kind", "target": "target", "resource": "resource", "tool": "tool", "model": "model", "args_hash": "args_hash", "effect": "effect", "rule": "rule", "policy": "policy",
	"otherwise": "otherwise", "approval": "approval", "signal": "signals", "outcome": "outcome", "cost": "cost", "tokens": "tokens", "credential": "credential",
}

// term is the condition that t is.
func (c *compiler) term(t *audit.Term) string {
	switch {
	case t == nil:
		return ""
	case t.Test != nil:
		return c.test(t.Test)
	}
	list, between := t.All, " AND "
	if t.Any != nil {
		list, between = t.Any, " OR "
	}
	parts := make([]string, len(list))
	for i, x := range list {
		parts[i] = c.term(x)
	}
	return "(" + strings.Join(parts, between) + ")"
}

const always = "1 = 1"

func (c *compiler) test(t *audit.Test) string {
	column, ok := c.columns[t.Field.Name]
	if !ok {
		c.exact = false
		return always
	}
	before := len(c.w.values)
	is, exact := c.compare(t, column)
	if !exact {
		c.exact = false
		if t.Not { // of more than is asked for
			c.w.values = c.w.values[:before]
			return always
		}
	}
	if t.Not {
		return "NOT (" + is + ")"
	}
	return is
}

// compare is what a test says without its NOT, or more than that if it is not exact.
func (c *compiler) compare(t *audit.Test, column string) (is string, exact bool) {
	stars := len(t.Pieces) > 1
	switch f := t.Field; f.Type {
	case audit.TypeName:
		return c.name(t, column), true
	case audit.TypeList:
		if !stars {
			return c.dialect.like(c.w, column, []string{"", " " + t.Text + " ", ""}), !strings.Contains(t.Text, " ")
		}
		pieces := slices.Clone(t.Pieces) // what stands between two of the list may lie in a star
		pieces[0] = " " + pieces[0]
		pieces[len(pieces)-1] += " "
		return c.dialect.like(c.w, column, append(append([]string{""}, pieces...), "")), false
	case audit.TypeText:
		if f.Name == "tool" || f.Name == "model" {
			return c.thing(t), true
		}
		return c.text(t, column), true
	case audit.TypeTime:
		return column + " " + string(t.Op) + " " + c.w.value(t.Time.UnixMicro()), true
	}
	var value string
	if n := int64(t.Number); float64(n) == t.Number && math.Abs(t.Number) < 1<<53 {
		value = c.w.value(n)
	} else {
		value = "CAST(" + c.w.value(t.Number) + " AS DOUBLE PRECISION)"
	}
	if t.Op == audit.IsNot {
		return column + " <> " + value, true
	}
	is = column + " " + string(t.Op) + " " + value
	if t.Field.Name != "seq" {
		is = "(" + column + " >= 0 AND " + is + ")" // less than nothing is that there is none
	}
	return is, true
}

// name is a comparison with one of a few words, which stand in the condition
// themselves, so that indexes of a part of the table are found.
func (c *compiler) name(t *audit.Test, column string) string {
	quoted := "'" + t.Text + "'" // one that the field may have
	is := column + " = " + quoted
	if t.Field.Name == "outcome" {
		switch t.Text {
		case audit.OutcomeOpen:
			is = "(outcome = '' AND seq >= " + c.w.value(c.began) + ")"
		case audit.OutcomeUnknown:
			is = "(outcome = '' AND seq < " + c.w.value(c.began) + ")"
		case "":
			is = "1 = 0" // there is always one
		}
	}
	if t.Op == audit.IsNot {
		return "NOT (" + is + ")"
	}
	if c.columns["seq"] != "" && t.Field.Name == "effect" && (t.Text == "deny" || t.Text == "ask") && !t.Not {
		return "(effect IN ('ask', 'deny') AND " + is + ")"
	}
	return is
}

// partly are columns with an index of those rows alone that have one.
var partly = []string{"run", "chain", "subject", "token", "approval"}

func (c *compiler) text(t *audit.Test, column string) string {
	stars := len(t.Pieces) > 1
	some := ""
	if t.Text != "" && c.columns["seq"] != "" && slices.Contains(partly, column) {
		some = " AND " + column + " <> ''"
	}
	switch {
	case t.Op == audit.IsNot && stars:
		return "NOT (" + c.dialect.like(c.w, column, t.Pieces) + ")"
	case t.Op == audit.IsNot:
		return column + " <> " + c.w.value(t.Text)
	case t.Op == audit.Has && !stars:
		return c.dialect.like(c.w, column, []string{"", t.Text, ""})
	case t.Op == audit.Has:
		return "(" + c.dialect.like(c.w, column, t.Pieces) + " AND " + column + " <> '')"
	case stars:
		return c.dialect.like(c.w, column, t.Pieces)
	}
	if column == "target" || column == "agent" && c.columns["seq"] == "" {
		column = c.dialect.alone(column) // for its own index has more columns, and another order
	}
	return "(" + column + " = " + c.w.value(t.Text) + some + ")"
}

// thing is a test of a tool or a model, which is two columns.
func (c *compiler) thing(t *audit.Test) string {
	kind := "kind = '" + t.Field.Name + "'"
	is := t.Op == audit.Is || t.Op == audit.IsNot
	target, resource, ok := strings.Cut(t.Text, "/")
	var found string
	switch {
	case is && len(t.Pieces) == 1 && t.Text == "":
		found = "NOT (" + kind + ")"
	case is && len(t.Pieces) == 1 && ok:
		found = "(" + kind + " AND target = " + c.w.value(target) + " AND resource = " + c.w.value(resource) + ")"
	case is && len(t.Pieces) == 1:
		found = "1 = 0"
	default:
		pieces := t.Pieces
		if t.Op == audit.Has && len(pieces) == 1 {
			pieces = []string{"", t.Text, ""}
		}
		if found = always; t.Op == audit.Has && len(t.Pieces) > 1 || strings.Join(pieces, "") != "" { // else no tool at all is as it says, too
			found = "(" + kind + " AND " + c.dialect.like(c.w, "target || '/' || resource", pieces) + ")"
		}
	}
	if t.Op == audit.IsNot {
		return "NOT (" + found + ")"
	}
	return found
}

// A stretch of time is from one on, and before another one.
type stretch struct{ since, until time.Time }

// narrow makes s what all of a question says of time.
func (s *stretch) narrow(t *audit.Term) {
	if t == nil {
		return
	}
	for _, x := range t.All {
		s.narrow(x)
	}
	if t.Test == nil || t.Test.Field.Type != audit.TypeTime {
		return
	}
	from := t.Test.Op == audit.More || t.Test.Op == audit.AtLeast
	if t.Test.Not {
		from = !from
	}
	switch at := t.Test.Time; {
	case from && at.After(s.since):
		s.since = at
	case !from && (s.until.IsZero() || at.Before(s.until)):
		s.until = at.Add(time.Microsecond)
	}
}

// within takes calls that can be in the stretch, by their positions. It says false
// if there are none.
func (x *Index) within(ctx context.Context, w *where, s stretch) (bool, error) {
	for _, end := range []struct {
		at         time.Time
		query, cut string
	}{
		{s.since, "SELECT min(first) FROM hours WHERE hour >= $1", "seq >= $"},
		{s.until, "SELECT max(last) FROM hours WHERE hour <= $1", "seq <= $"},
	} {
		if end.at.IsZero() {
			continue
		}
		var seq *int64
		if err := x.db.read.QueryRowContext(ctx, end.query, floor(end.at.Unix(), hour)/hour).Scan(&seq); err != nil {
			return false, explain("query the index", err)
		}
		if seq == nil {
			return false, nil
		}
		w.add(end.cut, *seq)
	}
	return true, nil
}

// value is the place of v among the values.
func (w *where) value(v any) string {
	w.values = append(w.values, v)
	return "$" + strconv.Itoa(len(w.values))
}

// maxRead is how many calls are read for one answer where no column says which are
// asked for.
const maxRead = 20_000

// Page is the calls that f asks for, newest first, and where to go on.
func (x *Index) Page(ctx context.Context, f audit.Filter) (audit.Page, error) {
	var p audit.Page
	w, exact, ok, err := x.asked(ctx, &f)
	if err != nil || !ok {
		return p, err
	}
	most := f.Most()
	for before := f.Before; ; {
		chunk := most + 1 - len(p.Calls)
		if !exact {
			chunk = 500
		}
		v := where{append([]string(nil), w.terms...), append([]any(nil), w.values...)}
		if before > 0 {
			v.add("seq < $", int64(before))
		}
		list, err := x.calls(ctx, callColumns+v.String()+" ORDER BY seq DESC LIMIT "+strconv.Itoa(chunk), v.values...)
		if err != nil {
			return p, err
		}
		for i := range list {
			if len(p.Calls) == most {
				p.Next = before
				return p, nil
			}
			before = list[i].Seq
			p.Read++
			if exact || f.Where.Fits(&list[i]) {
				p.Calls = append(p.Calls, list[i])
			}
		}
		switch {
		case len(list) < chunk:
			return p, nil
		case !exact && p.Read >= maxRead:
			p.Next, p.Reached = before, list[len(list)-1].At
			p.Note = fmt.Sprintf("%d calls were read, back to %s: go on with next_page_token, or say more of what the index knows, first of all at (docs/filter.md)",
				p.Read, time.UnixMicro(p.Reached).UTC().Format(time.RFC3339))
			return p, nil
		}
	}
}

// asked is the conditions of f, whether they say all of it, and whether any call
// can be so.
func (x *Index) asked(ctx context.Context, f *audit.Filter) (w *where, exact, ok bool, err error) {
	w = new(where)
	w.text("agent = $", f.Agent)
	w.text("run = $ AND run <> ''", f.Run) // as the index has it
	w.text("chain = $ AND chain <> ''", f.Chain)
	w.text("kind = $", f.Kind)
	if f.Resource == "" {
		w.text("+target = $", f.Target) // calls_thing has another order
	} else {
		w.text("target = $", f.Target)
	}
	w.text("resource = $", f.Resource)
	w.text("args_hash = $ AND args_hash <> ''", f.ArgsHash)
	if f.Effect == "deny" || f.Effect == "ask" {
		w.terms = append(w.terms, "effect IN ('ask', 'deny')")
	}
	w.text("effect = $", f.Effect)
	if f.Otherwise != "" {
		w.terms = append(w.terms, "otherwise <> ''")
	}
	if f.Otherwise != audit.Any {
		w.text("otherwise = $", f.Otherwise)
	}
	w.credential(f.Credential)
	began := int64(x.ledger.Began())
	switch f.Outcome {
	case audit.OutcomeOpen:
		w.add("outcome = '' AND seq >= $", began)
	case audit.OutcomeUnknown:
		w.add("outcome = '' AND seq < $", began)
	default:
		w.text("outcome = $", f.Outcome)
	}
	s := stretch{f.Since, f.Until}
	if !f.Since.IsZero() {
		w.add("at_us >= $", f.Since.UnixMicro())
	}
	if !f.Until.IsZero() {
		w.add("at_us < $", f.Until.UnixMicro())
	}
	c := compiler{w: w, columns: callFields, began: began, exact: true}
	if term := c.term(f.Where.Root()); term != "" {
		w.terms = append(w.terms, term)
		s.narrow(f.Where.Root())
	}
	ok, err = x.within(ctx, w, s)
	return w, c.exact, ok, err
}
