package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"callgate/audit"
)

// maxChain is the most calls of one chain.
const maxChain = 1000

const callColumns = `SELECT seq, at_us, id, agent, run, chain, kind, target, resource, args_hash, effect, outcome, places FROM calls`

// A where collects conditions and their values.
type where struct {
	terms  []string
	values []any
}

// add takes a condition in which each $ stands for the value.
func (w *where) add(term string, value any) {
	w.values = append(w.values, value)
	w.terms = append(w.terms, strings.ReplaceAll(term, "$", "$"+strconv.Itoa(len(w.values))))
}

func (w *where) text(term, value string) {
	if value != "" {
		w.add(term, value)
	}
}

// credential takes calls for which a credential was used, in any version if none is
// said.
func (w *where) credential(name string) {
	if name == "" {
		return
	}
	name = strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(name)
	w.values = append(w.values, "% "+name+" %", "% "+name+"@%")
	n := len(w.values)
	w.terms = append(w.terms, fmt.Sprintf(`(credential LIKE $%d ESCAPE '\' OR credential LIKE $%d ESCAPE '\')`, n-1, n))
}

func (w *where) String() string {
	if len(w.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.terms, " AND ")
}

// Calls is the calls that f asks for, newest first.
func (x *Index) Calls(ctx context.Context, f audit.Filter) ([]audit.Call, error) {
	p, err := x.Page(ctx, f)
	return p.Calls, err
}

// Call is the call id, and whether there is one.
func (x *Index) Call(ctx context.Context, id string) (audit.Call, bool, error) {
	list, err := x.calls(ctx, callColumns+" WHERE id = $1", id)
	if err != nil || len(list) == 0 {
		return audit.Call{}, false, err
	}
	return list[0], true, nil
}

// Chain is what belongs to id: the calls that are connected to a call, or those of
// a run, or those of a chain that a client named. It is at most 1,000 of them: the
// nearest to a call, the first of a run. It is empty if nothing has that id.
func (x *Index) Chain(ctx context.Context, id string) (audit.Chain, error) {
	list, more, err := x.connected(ctx, id)
	for _, column := range []string{"run", "chain"} {
		if err != nil || len(list) > 0 {
			break
		}
		list, err = x.calls(ctx, callColumns+" WHERE "+column+" = $1 AND "+column+" <> '' ORDER BY seq LIMIT "+strconv.Itoa(maxChain+1), id)
		if more = len(list) > maxChain; more {
			list = list[:maxChain]
		}
	}
	if err != nil {
		return audit.Chain{}, err
	}
	c := audit.NewChain(list)
	c.More = more
	return c, nil
}

// connected is the call id and all that links lead to from there, either way.
func (x *Index) connected(ctx context.Context, id string) (list []audit.Call, more bool, err error) {
	seen := map[string]bool{id: true}
	for next := []string{id}; len(next) > 0; {
		if room := maxChain - len(list); len(next) > room {
			next, more = next[:room], true
		}
		if len(next) == 0 {
			break
		}
		calls, err := x.calls(ctx, callColumns+" WHERE id IN "+marks(1, len(next)), anys(next)...)
		if err != nil {
			return nil, false, err
		}
		list = append(list, calls...)
		next = nil
		for i := range calls {
			for _, l := range calls[i].Links {
				if !seen[l.From] {
					seen[l.From] = true
					next = append(next, l.From)
				}
			}
			for _, e := range calls[i].Led {
				if !seen[e.To] {
					seen[e.To] = true
					next = append(next, e.To)
				}
			}
		}
	}
	return list, more, nil
}

func anys(list []string) []any {
	v := make([]any, len(list))
	for i, s := range list {
		v[i] = s
	}
	return v
}

// calls answers a query for [callColumns] with the calls that it finds, as their
// records in the ledger tell them.
func (x *Index) calls(ctx context.Context, query string, values ...any) ([]audit.Call, error) {
	found, err := x.rows(ctx, query, values...)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	list := make([]audit.Call, len(found))
	at := make(map[string]int, len(found))
	ids := make([]string, len(found))
	reader := x.ledger.Reader()
	defer reader.Close()
	for i := range found {
		list[i] = x.tell(reader, &found[i])
		at[found[i].id], ids[i] = i, found[i].id
	}
	rows, err := x.db.read.QueryContext(ctx, "SELECT from_id, to_id, kind, method, conf, tool_use, message, superseded FROM links WHERE from_id IN "+marks(1, len(ids))+
		" ORDER BY from_id, to_id", anys(ids)...)
	if err != nil {
		return nil, explain("query the index", err)
	}
	defer rows.Close()
	for rows.Next() {
		var e audit.Edge
		if err := rows.Scan(&e.From, &e.To, &e.Kind, &e.Method, &e.Conf, &e.ID, &e.Message, &e.Superseded); err != nil {
			return nil, explain("query the index", err)
		}
		list[at[e.From]].Lead(e)
	}
	return list, explain("query the index", rows.Err())
}

func (x *Index) rows(ctx context.Context, query string, values ...any) ([]row, error) {
	rows, err := x.db.read.QueryContext(ctx, query, values...)
	if err != nil {
		return nil, explain("query the index", err)
	}
	defer rows.Close()
	var list []row
	for rows.Next() {
		var r row
		err := rows.Scan(&r.seq, &r.at, &r.id, &r.agent, &r.run, &r.chain, &r.kind, &r.target, &r.resource, &r.argsHash, &r.effect, &r.outcome, &r.places)
		if err != nil {
			return nil, explain("query the index", err)
		}
		list = append(list, r)
	}
	return list, explain("query the index", rows.Err())
}

// tell reads the call's records from the ledger. Where one cannot be read, the call
// is told as far as the index knows it.
func (x *Index) tell(reader *audit.Reader, r *row) audit.Call {
	var records []audit.Record
	for word := range strings.FieldsSeq(string(r.places)) {
		p, err := strconv.ParseUint(word, 36, 64)
		var record audit.Record
		if err == nil {
			record, err = reader.At(audit.Place(p))
		}
		if err == nil && record.Call != r.id {
			err = errors.New("another call's record stands where the index points")
		}
		if err != nil {
			return audit.Call{
				ID: r.id, Seq: r.seq, At: r.at, Agent: r.agent, Run: r.run, Chain: r.chain,
				Kind: r.kind, Target: r.target, Resource: r.resource, ArgsHash: r.argsHash,
				Effect: r.effect, Outcome: cmp.Or(r.outcome, audit.OutcomeUnknown), Fault: "its records cannot be read: " + err.Error(),
			}
		}
		record.Seq = r.seq // of the first one: it tells where the call began
		records = append(records, record)
	}
	return audit.Tell(records, x.ledger.Began())[0]
}

// Changes is the changes that f asks for, newest first.
func (x *Index) Changes(ctx context.Context, f audit.ChangeFilter) ([]audit.Record, error) {
	var w where
	if before, ok := strings.CutSuffix(f.What, "."); ok {
		w.add("what >= $", f.What)
		w.add("what < $", before+"/") // the sign behind the dot
	} else {
		w.text("what = $", f.What)
	}
	w.text("name = $", f.Name)
	if !f.Since.IsZero() {
		w.add("at_us >= $", f.Since.UnixMicro())
	}
	if !f.Until.IsZero() {
		w.add("at_us < $", f.Until.UnixMicro())
	}
	if f.Before > 0 {
		w.add("seq < $", int64(f.Before))
	}
	rows, err := x.db.read.QueryContext(ctx, "SELECT seq, place FROM changes"+w.String()+" ORDER BY seq DESC LIMIT "+strconv.Itoa(f.Most()), w.values...)
	if err != nil {
		return nil, explain("query the index", err)
	}
	defer rows.Close()
	var list []audit.Record
	for rows.Next() {
		var seq, place int64
		if err := rows.Scan(&seq, &place); err != nil {
			return nil, explain("query the index", err)
		}
		r, err := x.ledger.At(audit.Place(place))
		if err != nil {
			return nil, err
		}
		r.Seq = uint64(seq)
		list = append(list, r)
	}
	return list, explain("query the index", rows.Err())
}

// RunsOf are the runs that a subject was in.
func (x *Index) RunsOf(ctx context.Context, subject string) ([]string, error) {
	rows, err := x.db.read.QueryContext(ctx, "SELECT DISTINCT run FROM calls WHERE (agent = $1 OR subject = $1) AND run <> ''", subject)
	if err != nil {
		return nil, fmt.Errorf("find runs: %w", err)
	}
	defer rows.Close()
	var runs []string
	for rows.Next() {
		var run string
		if err := rows.Scan(&run); err != nil {
			return nil, fmt.Errorf("find runs: %w", err)
		}
		runs = append(runs, run)
	}
	return runs, rows.Err()
}
