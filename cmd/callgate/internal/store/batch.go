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
	moved   []audit.Edge // of links, those that stand in the place of earlier ones
	wants   []want
	spends  []spend
	changes []change
	runs    map[string]*runRow
	traits  map[trait]struct{}
}

// A row is what the index holds of a call. Of one that began in an earlier batch it
// is what is new.
type row struct {
	seq                                       uint64
	at                                        int64
	id, agent, subject, token, run, chain     string
	kind, target, resource, argsHash          string
	effect, rule, policy, otherwise, approval string
	signals                                   string
	outcome                                   string
	credential                                string
	took, bytes, tokens, cost                 int64 // -1, but for bytes: not known
	places                                    []byte

	fresh bool  // no earlier batch has it, for sure
	tried spent // what all tries took, in this batch
}

// spent is tokens, and millionths of a US dollar.
type spent struct{ tokens, cost int64 }

// A want is what the index holds of a tool call that a model asks for.
type want struct {
	seq                       uint64
	id, toolUse, name, effect string
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

func newBatch() *batch {
	return &batch{at: make(map[string]int), runs: make(map[string]*runRow), traits: make(map[trait]struct{})}
}

// skip goes past records that nobody can read.
func (b *batch) skip(lost *audit.Unreadable) { b.seq, b.place, b.last = lost.Last, 0, "" }

// add takes over what the index needs of e. It reads no more of the record than
// that: records are many, and what the ledger holds was written by callgate and is
// checked already.
func (b *batch) add(e audit.Entry) {
	b.records++
	b.seq, b.place, b.last = e.Seq, e.Place, string(e.JSON) // a copy, which the row's texts are parts of

	r := row{took: -1, tokens: -1, cost: -1}
	var links, usage, cost, attempts, proposal, env, labels gjson.Result
	var kind, what, name, model string
	var took int64
	gjson.Parse(b.last).ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "type":
			kind = v.Str
		case "at_us":
			r.at = v.Int()
		case "call":
			r.id = v.Str
		case "agent":
			r.agent = v.Str
		case "subject":
			r.subject = v.Str
		case "token":
			r.token = v.Str
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
		case "bytes":
			r.bytes = v.Int()
		case "links":
			links = v
		case "signals":
			v.ForEach(func(_, s gjson.Result) bool {
				r.signals += " " + s.Str + " "
				return true
			})
		case "proposal":
			proposal = v
		case "env":
			env = v
		case "labels":
			labels = v
		case "effect":
			r.effect = v.Str
		case "rule":
			r.rule = v.Str
		case "policy":
			r.policy = v.Str
		case "approval":
			r.approval = v.Str
		case "took_us":
			took = v.Int()
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
	if r.outcome != "" {
		r.took = took
	}
	if cost.Exists() {
		r.cost = cost.Int()
	}
	if usage.Exists() {
		s := spendOf(r.id, 0, model, usage, cost)
		r.tokens = s.input + s.output
		r.tried.add(&s)
		b.spends = append(b.spends, s)
	}
	try := 0
	attempts.ForEach(func(_, a gjson.Result) bool {
		if try++; a.Get("usage").Exists() {
			s := spendOf(r.id, try, a.Get("target").Str+"/"+a.Get("resource").Str, a.Get("usage"), a.Get("cost_microusd"))
			r.tried.add(&s)
			b.spends = append(b.spends, s)
		}
		return true
	})
	b.habit(audit.Type(kind), &r, env, labels)
	n, known := b.at[r.id]
	if !known {
		n = len(b.calls)
		b.at[r.id] = n
		r.seq, r.fresh = e.Seq, kind == string(audit.Opened)
		b.calls = append(b.calls, r)
	} else {
		b.calls[n].merge(&r)
	}
	c := &b.calls[n]
	c.places = strconv.AppendUint(append(c.places, ' '), uint64(e.Place), 36)
	links.ForEach(func(_, l gjson.Result) bool {
		to := l.Get("to").Str
		edge := audit.Edge{From: l.Get("from").Str, To: cmp.Or(to, r.id), Kind: l.Get("kind").Str, Method: l.Get("method").Str,
			Conf: int(l.Get("conf").Int()), ID: l.Get("tool_use").Str, Message: int(l.Get("message").Int())}
		b.links = append(b.links, edge)
		if to != "" {
			b.moved = append(b.moved, edge)
		}
		return true
	})
	if proposal.Exists() {
		b.wants = append(b.wants, want{e.Seq, r.id, proposal.Get("tool_use").Str, proposal.Get("name").Str, proposal.Get("effect").Str})
	}
}

func (s *spent) add(of *spend) {
	s.tokens += of.input + of.output
	s.cost += max(of.cost, 0)
}

// merge puts what a later record tells to what is known of a call.
func (r *row) merge(later *row) {
	if later.kind != "" { // it tells again who asked for what
		if r.kind == "" {
			r.agent, r.run, r.chain, r.subject, r.token = later.agent, later.run, later.chain, later.subject, later.token
			r.kind, r.target, r.resource, r.argsHash = later.kind, later.target, later.resource, later.argsHash
		}
		r.rule, r.policy, r.otherwise, r.approval, r.signals = later.rule, later.policy, later.otherwise, later.approval, later.signals
	} else if !strings.Contains(r.signals, later.signals) {
		r.signals += later.signals
	}
	if later.effect != "" {
		r.effect = later.effect
	}
	if later.outcome != "" {
		r.outcome, r.took, r.tokens, r.cost = later.outcome, later.took, later.tokens, later.cost
	}
	if later.credential != "" {
		r.credential = later.credential
	}
	r.bytes += later.bytes
	r.tried.tokens += later.tried.tokens
	r.tried.cost += later.tried.cost
}

const (
	insertCalls = `INSERT INTO calls (seq, at_us, id, agent, subject, token, run, chain, kind, target, resource, args_hash, effect, rule, policy, otherwise, approval, signals,
		outcome, took_us, bytes, tokens, cost, credential, places) VALUES `
	onCall = ` ON CONFLICT (id) DO UPDATE SET
		effect  = CASE WHEN excluded.effect  <> '' THEN excluded.effect  ELSE calls.effect  END,
		rule      = CASE WHEN excluded.kind <> '' THEN excluded.rule      ELSE calls.rule      END,
		policy    = CASE WHEN excluded.kind <> '' THEN excluded.policy    ELSE calls.policy    END,
		otherwise = CASE WHEN excluded.kind <> '' THEN excluded.otherwise ELSE calls.otherwise END,
		approval  = CASE WHEN excluded.kind <> '' THEN excluded.approval  ELSE calls.approval  END,
		signals   = CASE WHEN excluded.kind <> '' THEN excluded.signals   ELSE calls.signals || excluded.signals END,
		outcome = CASE WHEN excluded.outcome <> '' THEN excluded.outcome ELSE calls.outcome END,
		took_us = CASE WHEN excluded.outcome <> '' THEN excluded.took_us ELSE calls.took_us END,
		tokens  = CASE WHEN excluded.outcome <> '' THEN excluded.tokens  ELSE calls.tokens  END,
		cost    = CASE WHEN excluded.outcome <> '' THEN excluded.cost    ELSE calls.cost    END,
		credential = CASE WHEN excluded.credential <> '' THEN excluded.credential ELSE calls.credential END,
		bytes   = calls.bytes + excluded.bytes,
		places  = calls.places || excluded.places`
	insertLinks   = `INSERT INTO links (from_id, to_id, kind, method, conf, tool_use, message, superseded) VALUES `
	onLink        = ` ON CONFLICT (from_id, to_id, kind, tool_use) DO UPDATE SET method = excluded.method, conf = excluded.conf, superseded = 0 WHERE links.superseded = 1`
	supersede     = `UPDATE links SET superseded = 1 WHERE to_id = $1 AND kind = $2 AND from_id <> $3`
	insertWants   = `INSERT INTO wants (seq, id, tool_use, name, effect) VALUES `
	onWant        = ` ON CONFLICT (seq) DO NOTHING`
	insertSpends  = `INSERT INTO spends (id, try, model, input, output, cache_read, cache_write, reasoning, cost, estimated) VALUES `
	onSpend       = ` ON CONFLICT (id, try) DO NOTHING`
	insertChanges = `INSERT INTO changes (seq, at_us, what, name, place) VALUES `
	onChange      = ` ON CONFLICT (seq) DO NOTHING`
	setProgress   = `UPDATE progress SET ledger = $1, seq = $2, place = $3, hash = $4`
)

// store puts the batch into the index.
func (b *batch) store(ctx context.Context, tx *sql.Tx, ledger string) error {
	before, err := b.known(ctx, tx)
	if err == nil {
		err = insert(ctx, tx, insertCalls, onCall, b.calls, 25, func(v []any, c *row) []any {
			return append(v, int64(c.seq), c.at, c.id, c.agent, c.subject, c.token, c.run, c.chain, c.kind, c.target, c.resource, c.argsHash, c.effect, c.rule, c.policy, c.otherwise, c.approval, c.signals,
				c.outcome, c.took, c.bytes, c.tokens, c.cost, c.credential, string(c.places))
		})
	}
	if err == nil {
		err = insert(ctx, tx, insertLinks, onLink, b.links, 8, func(v []any, e *audit.Edge) []any {
			return append(v, e.From, e.To, e.Kind, e.Method, int64(e.Conf), e.ID, int64(e.Message), 0)
		})
	}
	for i := 0; err == nil && i < len(b.moved); i++ {
		_, err = tx.ExecContext(ctx, supersede, b.moved[i].To, b.moved[i].Kind, b.moved[i].From)
	}
	if err == nil {
		err = insert(ctx, tx, insertWants, onWant, b.wants, 5, func(v []any, w *want) []any {
			return append(v, int64(w.seq), w.id, w.toolUse, w.name, w.effect)
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
	if err == nil {
		err = b.tally(ctx, tx, before)
	}
	if err == nil {
		err = b.keepHabits(ctx, tx)
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
