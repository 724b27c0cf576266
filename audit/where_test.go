package audit_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"callgate/audit"
)

var whereNow = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func whereCall() *audit.Call {
	cost := int64(700_000)
	return &audit.Call{
		ID: "c1", Seq: 7, At: whereNow.Add(-time.Hour).UnixMicro(), Ended: 1, TookUS: 250_000,
		Agent: "agent:bot", Subject: "user:ana", Actors: []string{"agent:bot", "agent:boss"}, Token: "jti-1", Run: "r1",
		Kind: "tool", Target: "shop", Method: "tools/call", Resource: "refund",
		Args:   json.RawMessage(`{"order":{"id":"A-1001"},"amount":40,"tags":["x","y"],"no":"7"}`),
		Effect: "deny", Rule: "SMALL", Reason: "no rule allows it", Policy: "abc", Obligations: []string{"limit:calls=5/1h"},
		Findings: []audit.Finding{{Guard: "secrets", Rule: "aws"}}, Signals: []string{"orphan"},
		Outcome: "denied", Cost: &cost, Usage: &audit.Usage{Input: 10, Output: 5}, Credential: "secret:openai@3 file:/k@9",
		Env: &audit.Env{Roles: []string{"role:dev"}, Labels: []string{"web"}, IP: "10.0.0.1"}, Labels: []string{"confidential"},
		Wants: []audit.Want{{Proposal: audit.Proposal{Name: "shop__refund"}}}, Links: []audit.Link{{Method: "twin"}},
	}
}

func TestWhereFindsTheCallsThatItSays(t *testing.T) {
	for _, c := range []struct {
		where string
		want  bool
	}{
		{`agent = "agent:bot" AND effect != "allow" AND at > "2026-11-01" AND (tool : "shop/*" OR cost > 0.5)`, true},
		{``, true},
		{`agent = bot`, true},
		{`agent = agent:other`, false},
		{`agent : bo`, true},
		{`agent : "*"`, true},
		{`chain : "*"`, false},
		{`chain = ""`, true},
		{`tool = "shop/*"`, true},
		{`tool = "shop/ref*d"`, true},
		{`tool = "*fund"`, true},
		{`tool = "shop/\*"`, false},
		{`tool : "op/re"`, true},
		{`model : "*"`, false},
		{`kind = tool`, true},
		{`kind = tool OR kind = model`, true},
		{`NOT kind = tool`, false},
		{`-(kind = model OR effect = allow)`, true},
		{`NOT (kind = tool AND effect = allow)`, true},
		{`NOT NOT kind = tool`, true},
		{`at > -2h AND at < -30m`, true},
		{`at >= "2026-11-24T11:00:00Z" AND at < 2026-11-24T11:00:01Z`, true},
		{`took >= 250ms AND took < 1s`, true},
		{`took > 1d`, false},
		{`cost > 0.69 AND cost <= 0.7`, true},
		{`cost != 0.7`, false},
		{`tokens = 15 AND seq = 7`, true},
		{`actor : agent:boss`, true},
		{`actor : boss`, false},
		{`actor : "*:boss"`, true},
		{`role : role:dev AND label : web AND label : confidential`, true},
		{`ip = 10.0.0.1`, true},
		{`args.amount > 39 AND args.amount <= 40`, true},
		{`args.amount = 40.0`, true},
		{`args.amount : 4`, true},
		{`args.order.id = "A-1001"`, true},
		{`args.order.id : 1001`, true},
		{`args.tags : y`, true},
		{`args.tags : z`, false},
		{`args.no = "7"`, true},
		{`args.no > 6`, false},
		{`args.missing != 3`, true},
		{`args.missing = 3`, false},
		{`NOT args.missing > 3`, true},
		{`args : "A-1001"`, true},
		{`finding : secrets/* AND signal : orphan`, true},
		{`credential : "secret:openai@3"`, true},
		{`credential : "secret:openai@*"`, true},
		{`credential : openai`, false},
		{`asked_for : "*refund" AND found : twin`, true},
		{`duty : "limit:*"`, true},
		{`reason : 'no rule'`, true},
	} {
		w, err := audit.ParseWhere(c.where, whereNow)
		if err != nil {
			t.Errorf("%s: %v", c.where, err)
			continue
		}
		if got := w.Fits(whereCall()); got != c.want {
			t.Errorf("%s: %v, want %v", c.where, got, c.want)
		}
	}
}

func TestWhereOfACallWithoutAValue(t *testing.T) {
	for where, want := range map[string]bool{
		`cost > 0`: false, `cost <= 0`: false, `cost != 1`: true, `NOT cost > 0`: true, `took < 1s`: false, `args.a = 1`: false, `tokens >= 0`: false,
		`agent = ""`: true, `agent != "agent:x"`: true, `label : "*"`: false, `tool = ""`: true, `effect = ""`: true,
	} {
		w, err := audit.ParseWhere(where, whereNow)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.Fits(&audit.Call{}); got != want {
			t.Errorf("%s: %v, want %v", where, got, want)
		}
	}
}

func TestWhereSaysWhatIsWrongAndWhere(t *testing.T) {
	for _, c := range []struct {
		where string
		at    int
		says  string
	}{
		{`agnt = "bot"`, 1, "did you mean agent?"},
		{`colour = red`, 1, "there are call seq at"},
		{`agent = "bot" AND`, 0, "something is missing"},
		{`agent = "bot`, 9, "quote is not closed"},
		{`agent`, 0, "after agent write one of = != :"},
		{`agent > "b"`, 7, "agent is a text: write one of = != :"},
		{`agent == "b"`, 7, "write one of ="},
		{`label = web`, 7, "label is a list: write one of :"},
		{`effect = denied`, 10, "allow, ask, deny"},
		{`kind = to*`, 8, "one of session"},
		{`kind = tool AND effect = deny OR cost > 1`, 31, "put what belongs together in ( )"},
		{`kind = tool and effect = deny`, 13, "write AND in capitals"},
		{`kind = tool effect = deny`, 13, "write AND or OR"},
		{`(kind = tool`, 1, "not closed"},
		{`kind = tool)`, 12, "needs a ( before it"},
		{`cost > lots`, 8, "write a number"},
		{`cost > NaN`, 8, "write a number"},
		{`took > -1s`, 8, "250ms"},
		{`at > yesterday`, 6, "2026-11-23"},
		{`at = 2026-11-23`, 4, "one of < <= > >="},
		{`args.a..b = 1`, 1, "single dots"},
		{`args. = 1`, 1, "single dots"},
		{`args > 1`, 8, "args.amount > 1"},
		{`args.n < x`, 10, "compares numbers"},
		{`agent = "a\n"`, 11, `after \`},
		{`é = 1`, 1, "begins with the name of a field"},
		{`agent = é AND kind = x`, 22, "one of session"},
		{strings.Repeat("(", 100) + "kind = tool", 25, "more than 24"},
		{strings.Repeat("NOT ", 100) + "kind = tool", 97, "more than 24"},
		{strings.TrimSuffix(strings.Repeat("seq = 1 OR ", 65), " OR "), 705, "more than 64 tests"},
		{"seq = 1 " + strings.Repeat(" ", 4096), 1, "may have 4096"},
		{"agent = \xff", 1, "no UTF-8"},
	} {
		_, err := audit.ParseWhere(c.where, whereNow)
		var e *audit.WhereError
		if !errors.As(err, &e) {
			t.Errorf("%.40s: error %v, want a WhereError", c.where, err)
			continue
		}
		if !strings.Contains(err.Error(), c.says) || c.at > 0 && e.At != c.at {
			t.Errorf("%.60s: %v; want letter %d and %q", c.where, err, c.at, c.says)
		}
	}
}

// Every field is in docs/filter.md, with its type, in the order of the program.
func TestFieldsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/filter.md")
	if err != nil {
		t.Fatal(err)
	}
	rest := string(doc)
	for _, f := range audit.Fields() {
		found := " "
		if !f.Indexed {
			found = " records "
		}
		row := "| `" + f.Name + "` | " + string(f.Type) + " |" + found + "| " + f.Means
		_, after, ok := strings.Cut(rest, row)
		if !ok {
			t.Errorf("docs/filter.md has no row, or not in this place: %s", row)
			continue
		}
		rest = after
	}
}

func FuzzParseWhere(f *testing.F) {
	for _, s := range []string{
		`agent = "agent:bot" AND effect != "allow" AND at > "2026-11-01" AND (tool : "shop/*" OR cost > 0.5)`,
		`NOT (args.a.b >= 1e3 OR -took < 5m)`, `label : "a\"*\\"`, `((`, `at > -7d`, `é`, "x = \xff",
	} {
		f.Add(s)
	}
	call := whereCall()
	f.Fuzz(func(t *testing.T, text string) {
		w, err := audit.ParseWhere(text, whereNow)
		var e *audit.WhereError
		if err != nil {
			if !errors.As(err, &e) || e.Why == "" || e.At < 1 {
				t.Fatalf("%q: error %#v tells nothing", text, err)
			}
			return
		}
		if w == nil {
			return
		}
		again, err := audit.ParseWhere(w.String(), whereNow)
		if err != nil {
			t.Fatalf("%q is not read again: %v", text, err)
		}
		if w.Fits(call) != again.Fits(call) {
			t.Fatalf("%q means two things", text)
		}
		if len(text) < 4000 {
			if no, err := audit.ParseWhere("NOT ("+text+")", whereNow); err == nil && no.Fits(call) == w.Fits(call) {
				t.Fatalf("%q and its opposite are the same", text)
			}
		}
	})
}
