package store_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"callgate/audit"
	"callgate/cmd/callgate/internal/store"

	"github.com/google/go-cmp/cmp"
	_ "github.com/jackc/pgx/v5/stdlib"
)

// rich gives records what questions can be about.
func rich(r *rand.Rand, records []audit.Record) []audit.Record {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	for i := range records {
		c := &records[i]
		switch c.Type {
		case audit.Opened, audit.Refused:
			c.Subject, c.Token, c.Policy, c.Approval = pick("", "user:ana", "user:an_"), pick("t1", "t2"), pick("p1", "p2"), pick("", "", "ap-1")
			c.Rule = pick("R", "R%", "R[x]", "r")
			c.Args = []byte(fmt.Sprintf(`{"amount":%d,"order":%q}`, r.IntN(100), pick("A-1", "B-2")))
			c.Signals = [][]string{nil, nil, {"orphan"}, {"orphan", "loop"}, {"args_changed"}}[r.IntN(5)]
			c.Bytes = int64(r.IntN(500))
			if r.IntN(4) == 0 {
				c.Otherwise = &audit.Otherwise{Policy: "p3", Effect: pick("deny", "allow")}
			}
			if c.Type == audit.Refused {
				c.TookUS = int64(r.IntN(1000))
			}
		case audit.Closed:
			if c.Kind == "" {
				c.TookUS, c.Credential = int64(r.IntN(1_000_000)), pick("", "secret:a@1", "secret:a@2 env:B")
				if r.IntN(2) == 0 {
					cost := int64(r.IntN(5)) * 250_000
					c.Usage, c.Cost = &audit.Usage{Input: int64(r.IntN(50)), Output: int64(r.IntN(50))}, &cost
				}
				if r.IntN(6) == 0 {
					cost := int64(7)
					c.Attempts = []audit.Attempt{{Target: "x", Resource: "y", Fault: "http 429", Usage: &audit.Usage{Input: 3}, Cost: &cost}, {Target: "shop", Resource: "x"}}
				}
			}
		}
	}
	return records
}

// question is a filter of random tests.
func question(r *rand.Rand, depth int) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	if depth > 0 && r.IntN(2) == 0 {
		op := pick(" AND ", " OR ")
		parts := []string{question(r, depth-1)}
		for range 1 + r.IntN(2) {
			parts = append(parts, question(r, depth-1))
		}
		return pick("", "NOT ") + "(" + strings.Join(parts, op) + ")"
	}
	at := time.UnixMicro(1795420800000000 + int64(r.IntN(400))*1000).UTC().Format(time.RFC3339Nano)
	return pick("", "", "NOT ") + pick(
		"agent = "+pick("a", "b", `""`, `"agent:*"`), `agent != "agent:a"`, "agent : a", "subject = "+pick("user:ana", "user:an_", `""`), "subject : *", `subject : "an_"`,
		"token = t1", "run = "+pick("run-1", `""`), "run : *-2", "chain = "+pick("trip", `""`), "chain != trip", "kind = "+pick("tool", "model", `""`), "kind != tool",
		"target = "+pick("shop", `"s*"`), "resource = x", `resource : "\""`, "tool = "+pick("shop/x", `"shop/*"`, `"*"`, `""`, "nothing"), "tool != shop/x", "tool : "+pick("op/x", `"*"`, `""`),
		"model = files/x", `model != "*/x"`, "args_hash = h1", "effect = "+pick("allow", "deny", "ask", `""`), "effect != deny", `rule = "R%"`, `rule = "R[x]"`, `rule = "R*"`, `rule : "["`, "rule = r",
		"policy = p1", "otherwise = deny", `otherwise != ""`, "approval = ap-1", "signal : "+pick("orphan", `"or*"`, `"*p"`, "loop", `"*"`, "none", "phan"), "outcome = "+pick("ok", "open", "outcome_unknown", "denied", `""`), "outcome != "+pick("open", "ok"),
		"cost > "+pick("0", "0.25", "0.6", "0.0000003"), "cost <= 0.5", "cost != 0.5", "cost = 0.75", "tokens >= 40", "tokens < 1", "took > "+pick("0s", "500ms"), "took <= 300ms", "seq > 50", "seq = 7",
		"credential : "+pick("secret:a@1", `"secret:a@*"`, `"sec*B"`, "secret"), "at "+pick("<", "<=", ">", ">=")+" "+at,
		"args.amount > 50", "args.order = A-1", `args : "B-2"`, `label : "*"`, "method = x", "asked_for : n", "found : twin",
	)
}

// Whatever is asked, the index finds the calls whose records say so.
func TestQuestionsFindWhatTheRecordsSay(t *testing.T) {
	h := open(t, t.TempDir())
	r := rand.New(rand.NewPCG(7, 7))
	for i := range 6 { // in several batches, so that calls end in another one than they began
		h.put(t, rich(r, random(r, 1000*i, 120))...)
	}
	calls := told(t, h)
	now := time.Now()
	inexact := 0
	for range 600 {
		text := question(r, 3)
		w, err := audit.ParseWhere(text, now)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := range calls {
			if w.Fits(&calls[i]) {
				want = append(want, calls[i].ID)
			}
		}
		var got []string
		for f := (audit.Filter{Where: w, Limit: 1 + r.IntN(400)}); ; {
			page, err := h.index.Page(t.Context(), f)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if page.Read > len(page.Calls)+1 {
				inexact++
			}
			for i := range page.Calls {
				got = append(got, page.Calls[i].ID)
			}
			if page.Next == 0 {
				break
			}
			if len(page.Calls) != f.Limit {
				t.Fatalf("%s: a page of %d, and there is more", text, len(page.Calls))
			}
			f.Before = page.Next
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s (-records +index):\n%s", text, diff)
		}
	}
	if inexact == 0 {
		t.Error("no question needed the records")
	}
}

// told is all calls as their records tell them, newest first.
func told(t *testing.T, h *house) []audit.Call {
	t.Helper()
	var records []audit.Record
	for r, err := range h.ledger.Records(1) {
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	calls := audit.Tell(records, h.ledger.Began())
	slices.Reverse(calls)
	return calls
}

// A question finds in PostgreSQL what it finds in SQLite, by the same columns.
func TestQuestionsAreTheSameForPostgres(t *testing.T) {
	url := postgres(t)
	dir := t.TempDir()
	h := open(t, dir)
	r := rand.New(rand.NewPCG(8, 8))
	for i := range 4 {
		h.put(t, rich(r, random(r, 1000*i, 100))...)
	}
	h.stop()
	lite, err := sql.Open("sqlite", "file:"+dir+"/callgate-index.db")
	if err != nil {
		t.Fatal(err)
	}
	defer lite.Close()
	pg, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Close()
	const columns = "seq, id, at_us, agent, subject, token, run, chain, kind, target, resource, args_hash, effect, rule, policy, otherwise, approval, signals, outcome, took_us, tokens, cost, credential"
	if _, err := pg.Exec(`CREATE TABLE calls (seq BIGINT PRIMARY KEY, id TEXT, at_us BIGINT, agent TEXT, subject TEXT, token TEXT, run TEXT, chain TEXT, kind TEXT, target TEXT, resource TEXT, args_hash TEXT,
		effect TEXT, rule TEXT, policy TEXT, otherwise TEXT, approval TEXT, signals TEXT, outcome TEXT, took_us BIGINT, tokens BIGINT, cost BIGINT, credential TEXT)`); err != nil {
		t.Fatal(err)
	}
	rows, err := lite.Query("SELECT " + columns + " FROM calls")
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		v := make([]any, 23)
		into := make([]any, len(v))
		for i := range v {
			into[i] = &v[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		marks := make([]string, len(v))
		for i := range marks {
			marks[i] = fmt.Sprintf("$%d", i+1)
		}
		if _, err := pg.Exec("INSERT INTO calls ("+columns+") VALUES ("+strings.Join(marks, ", ")+")", v...); err != nil {
			t.Fatal(err)
		}
	}
	found := func(db *sql.DB, condition string, values []any) (ids []string) {
		rows, err := db.Query("SELECT id FROM calls WHERE "+condition+" ORDER BY seq", values...)
		if err != nil {
			t.Fatalf("%s: %v", condition, err)
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		return ids
	}
	for range 400 {
		text := question(r, 2)
		w, err := audit.ParseWhere(text, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		a, values, _ := store.Compiled(w, false, 1)
		in := found(lite, a, values)
		b, values, _ := store.Compiled(w, true, 1)
		if diff := cmp.Diff(in, found(pg, b, values)); diff != "" {
			t.Fatalf("%s (-SQLite +PostgreSQL):\n%s", text, diff)
		}
	}
}
