package store

import (
	"cmp"
	"context"
	"database/sql"
	"strconv"
	"strings"

	"callgate/audit"

	"github.com/tidwall/gjson"
)

// A batch is records on their way into the index.
type batch struct {
	records int
	seq     uint64 // of the last one
	place   audit.Place
	last    string // the last one itself, "" if it could not be read
	calls   []row
	at      map[string]int // calls by id
	links   []audit.Edge
	spends  []spend
	changes []change
}

// A row is what the index holds of a call. Of one that began in an earlier batch it
// is what is new.
type row struct {
	seq                                                                                 uint64
	at                                                                                  int64
	id, agent, run, chain, kind, target, resource, argsHash, effect, otherwise, outcome string
	credential                                                                          string
	places                                                                              []byte
}

// A change is what the index holds of a record of no call.
type change struct {
	seq        uint64
	at         int64
	what, name string
	place      audit.Place
}

// A spend is what the index holds of what a call has taken.
type spend struct {
	id, model                                    string
	try                                          int64 // that it was for; 0 is the reply
	input, output, cacheRead, cacheWrite, reason int64
	cost                                         int64 // -1: no price is known
	estimated                                    int64 // 1: not all was told
}

// spendOf is what a usage says.
func spendOf(id string, try int, model string, usage gjson.Result, cost gjson.Result) spend {
	s := spend{id, model, int64(try), usage.Get("input").Int(), usage.Get("output").Int(), usage.Get("cache_read").Int(), usage.Get("cache_write").Int(), usage.Get("reasoning").Int(), -1, 0}
	if cost.Exists() {
		s.cost = cost.Int()
	}
	if usage.Get("estimated").Bool() {
		s.estimated = 1
	}
	return s
}

func newBatch() *batch { return &batch{at: make(map[string]int)} }

// skip goes past records that nobody can read.
func (b *batch) skip(lost *audit.Unreadable) { b.seq, b.place, b.last = lost.Last, 0, "" }

// add takes over what the index needs of e. It reads no more of the record than
// that: records are many, and what the ledger holds was written by callgate and is
// checked already.
func (b *batch) add(e audit.Entry) {
	b.records++
	b.seq, b.place, b.last = e.Seq, e.Place, string(e.JSON) // a copy, which the row's texts are parts of

	var r row
	var links, usage, cost, attempts gjson.Result
	var what, name, model string
	gjson.Parse(b.last).ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "at_us":
			r.at = v.Int()
		case "call":
			r.id = v.Str
		case "agent":
			r.agent = v.Str
		case "run":
			r.run = v.Str
		case "chain":
			r.chain = v.Str
		case "kind":
			r.kind = v.Str
		case "target":
			r.target = v.Str
		case "resource":
			r.resource = v.Str
		case "args_hash":
			r.argsHash = v.Str
		case "links":
			links = v
		case "effect":
			r.effect = v.Str
		case "otherwise":
			r.otherwise = v.Get("effect").Str
		case "outcome":
			r.outcome = v.Str
		case "credential":
			r.credential = " " + v.Str + " "
		case "usage":
			usage = v
		case "cost_microusd":
			cost = v
		case "attempts":
			attempts = v
			if n := v.Get("#").Int(); n > 0 {
				last := v.Get(strconv.FormatInt(n-1, 10))
				model = last.Get("target").Str + "/" + last.Get("resource").Str
			}
		case "what":
			what = v.Str
		case "name":
			name = v.Str
		}
		return true
	})
	if r.id == "" {
		b.changes = append(b.changes, change{e.Seq, r.at, what, name, e.Place})
		return
	}
	if usage.Exists() {
		b.spends = append(b.spends, spendOf(r.id, 0, model, usage, cost))
	}
	try := 0
	attempts.ForEach(func(_, a gjson.Result) bool {
		if try++; a.Get("usage").Exists() {
			b.spends = append(b.spends, spendOf(r.id, try, a.Get("target").Str+"/"+a.Get("resource").Str, a.Get("usage"), a.Get("cost_microusd")))
		}
		return true
	})
	n, known := b.at[r.id]
	if !known {
		n = len(b.calls)
		b.at[r.id] = n
		r.seq = e.Seq
		b.calls = append(b.calls, r)
	} else {
		b.calls[n].merge(&r)
	}
	c := &b.calls[n]
	c.places = strconv.AppendUint(append(c.places, ' '), uint64(e.Place), 36)
	links.ForEach(func(_, l gjson.Result) bool {
		b.links = append(b.links, audit.Edge{
			From: l.Get("from").Str, To: cmp.Or(l.Get("to").Str, r.id), Kind: l.Get("kind").Str, Method: l.Get("method").Str, ID: l.Get("tool_use").Str})
		return true
	})
}

// merge puts what a later record tells to what is known of a call.
func (r *row) merge(later *row) {
	if r.kind == "" && later.kind != "" {
		r.agent, r.run, r.chain = later.agent, later.run, later.chain
		r.kind, r.target, r.resource, r.argsHash, r.otherwise = later.kind, later.target, later.resource, later.argsHash, later.otherwise
	}
	if later.effect != "" {
		r.effect = later.effect
	}
	if later.outcome != "" {
		r.outcome = later.outcome
	}
	if later.credential != "" {
		r.credential = later.credential
	}
}

const (
	insertCalls = `INSERT INTO calls (seq, at_us, id, agent, run, chain, kind, target, resource, args_hash, effect, otherwise, outcome, credential, places) VALUES `
	onCall      = ` ON CONFLICT (id) DO UPDATE SET
		effect  = CASE WHEN excluded.effect  <> '' THEN excluded.effect  ELSE calls.effect  END,
		outcome = CASE WHEN excluded.outcome <> '' THEN excluded.outcome ELSE calls.outcome END,
		credential = CASE WHEN excluded.credential <> '' THEN excluded.credential ELSE calls.credential END,
		places  = calls.places || excluded.places`
	insertLinks   = `INSERT INTO links (from_id, to_id, kind, method, tool_use) VALUES `
	onLink        = ` ON CONFLICT (from_id, to_id, kind, tool_use) DO NOTHING`
	insertSpends  = `INSERT INTO spends (id, try, model, input, output, cache_read, cache_write, reasoning, cost, estimated) VALUES `
	onSpend       = ` ON CONFLICT (id, try) DO NOTHING`
	insertChanges = `INSERT INTO changes (seq, at_us, what, name, place) VALUES `
	onChange      = ` ON CONFLICT (seq) DO NOTHING`
	setProgress   = `UPDATE progress SET ledger = $1, seq = $2, place = $3, hash = $4`
)

// store puts the batch into the index.
func (b *batch) store(ctx context.Context, tx *sql.Tx, ledger string) error {
	err := insert(ctx, tx, insertCalls, onCall, b.calls, 15, func(v []any, c *row) []any {
		return append(v, int64(c.seq), c.at, c.id, c.agent, c.run, c.chain, c.kind, c.target, c.resource, c.argsHash, c.effect, c.otherwise, c.outcome, c.credential, string(c.places))
	})
	if err == nil {
		err = insert(ctx, tx, insertLinks, onLink, b.links, 5, func(v []any, e *audit.Edge) []any {
			return append(v, e.From, e.To, e.Kind, e.Method, e.ID)
		})
	}
	if err == nil {
		err = insert(ctx, tx, insertSpends, onSpend, b.spends, 10, func(v []any, s *spend) []any {
			return append(v, s.id, s.try, s.model, s.input, s.output, s.cacheRead, s.cacheWrite, s.reason, s.cost, s.estimated)
		})
	}
	if err == nil {
		err = insert(ctx, tx, insertChanges, onChange, b.changes, 5, func(v []any, c *change) []any {
			return append(v, int64(c.seq), c.at, c.what, c.name, int64(c.place))
		})
	}
	if err != nil {
		return err
	}
	hash := ""
	if b.last != "" {
		hash = hashOf(b.last)
	}
	_, err = tx.ExecContext(ctx, setProgress, ledger, int64(b.seq), int64(b.place), hash)
	return err
}

const atOnce = 100 // rows in one statement

// insert puts list into a table, many rows in one statement.
func insert[R any](ctx context.Context, tx *sql.Tx, head, tail string, list []R, columns int, values func([]any, *R) []any) error {
	var full *sql.Stmt
	v := make([]any, 0, atOnce*columns)
	for len(list) > 0 {
		n := min(len(list), atOnce)
		v = v[:0]
		for i := range n {
			v = values(v, &list[i])
		}
		list = list[n:]
		var err error
		switch {
		case n < atOnce:
			_, err = tx.ExecContext(ctx, head+marks(n, columns)+tail, v...)
		case full == nil:
			if full, err = tx.PrepareContext(ctx, head+marks(n, columns)+tail); err != nil {
				return err
			}
			defer full.Close()
			fallthrough
		default:
			_, err = full.ExecContext(ctx, v...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// marks is the parameters of n rows: (?,?),(?,?). Numbered ones would have SQLite
// search a list for each of them.
func marks(n, columns int) string {
	row := "(" + strings.Repeat("?,", columns-1) + "?)"
	return strings.Repeat(row+",", n-1) + row
}
