package audit_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"callgate/audit"

	"github.com/google/go-cmp/cmp"
)

// told gives records their positions and tells their calls.
func told(began uint64, records ...audit.Record) []audit.Call {
	for i := range records {
		records[i].Seq, records[i].At = uint64(i+1), int64(i+1)*10
	}
	return audit.Tell(records, began)
}

func TestACallIsToldFromItsRecords(t *testing.T) {
	ok := audit.Record{Type: audit.Closed, Call: "c", Run: "r", Outcome: "ok", Bytes: 7, TookUS: 9, Usage: &audit.Usage{Input: 1, Output: 2}}
	opened := audit.Record{Type: audit.Opened, Call: "c", Agent: "agent:a", Run: "r", Kind: "model", Resource: "m", Bytes: 5, Effect: "allow", Rule: "R"}
	want := audit.Record{Type: audit.Proposed, Call: "c", Run: "r", Proposal: &audit.Proposal{ToolUse: "u", Name: "n"}}
	refused := audit.Record{Type: audit.Refused, Call: "c", Agent: "agent:a", Run: "r", Kind: "tool", Bytes: 5, Effect: "deny", Rule: "R", Reason: "no", Outcome: "denied"}
	found := ok
	found.Findings = []audit.Finding{{Guard: "secrets"}}
	for _, c := range []struct {
		name    string
		began   uint64
		records []audit.Record
		want    []audit.Call
	}{
		{"opened, a proposal, closed", 1, []audit.Record{opened, want, found}, []audit.Call{{
			ID: "c", Seq: 1, At: 10, Ended: 30, Agent: "agent:a", Run: "r", Kind: "model", Resource: "m", Sent: 5, Received: 7,
			Effect: "allow", Rule: "R", Outcome: "ok", TookUS: 9, Usage: &audit.Usage{Input: 1, Output: 2},
			Findings: found.Findings, Wants: []audit.Want{{Proposal: *want.Proposal, At: 20}}}}},
		{"not over yet", 1, []audit.Record{opened}, []audit.Call{{
			ID: "c", Seq: 1, At: 10, Agent: "agent:a", Run: "r", Kind: "model", Resource: "m", Sent: 5, Effect: "allow", Rule: "R", Outcome: audit.OutcomeOpen}}},
		{"never over, since who made it is gone", 2, []audit.Record{opened}, []audit.Call{{
			ID: "c", Seq: 1, At: 10, Agent: "agent:a", Run: "r", Kind: "model", Resource: "m", Sent: 5, Effect: "allow", Rule: "R", Outcome: audit.OutcomeUnknown}}},
		{"over before who made it was gone", 3, []audit.Record{opened, ok}, []audit.Call{{
			ID: "c", Seq: 1, At: 10, Ended: 20, Agent: "agent:a", Run: "r", Kind: "model", Resource: "m", Sent: 5, Received: 7,
			Effect: "allow", Rule: "R", Outcome: "ok", TookUS: 9, Usage: &audit.Usage{Input: 1, Output: 2}}}},
		{"refused", 1, []audit.Record{refused}, []audit.Call{{
			ID: "c", Seq: 1, At: 10, Ended: 10, Agent: "agent:a", Run: "r", Kind: "tool", Sent: 5, Effect: "deny", Rule: "R", Reason: "no", Outcome: "denied"}}},
		{"allowed, and then refused since that could not be recorded", 1, []audit.Record{opened, refused}, []audit.Call{{
			ID: "c", Seq: 1, At: 10, Ended: 20, Agent: "agent:a", Run: "r", Kind: "tool", Sent: 5, Effect: "deny", Rule: "R", Reason: "no", Outcome: "denied"}}},
		{"one record that tells all", 1, []audit.Record{{Type: audit.Closed, Call: "c", Agent: "agent:a", Kind: "list", Bytes: 3, Outcome: "ok"}}, []audit.Call{{
			ID: "c", Seq: 1, At: 10, Ended: 10, Agent: "agent:a", Kind: "list", Received: 3, Outcome: "ok"}}},
		{"only its end is known", 1, []audit.Record{ok}, []audit.Call{{
			ID: "c", Seq: 1, At: 10, Ended: 10, Run: "r", Received: 7, Outcome: "ok", TookUS: 9, Usage: &audit.Usage{Input: 1, Output: 2}}}},
		{"no call at all", 1, []audit.Record{{Type: audit.Changed, What: "x"}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, told(c.began, c.records...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// script is a history, one call a line: its id, its run, its kind, and what led to
// it. A link is the earlier call, and behind a : the proposal's id or, for a
// result, nothing. A line that ends in ! is denied.
func script(lines string) []audit.Record {
	var records []audit.Record
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		words := strings.Fields(line)
		r := audit.Record{Type: audit.Opened, Call: words[0], Run: words[1], Kind: words[2], Effect: "allow"}
		denied := false
		var wants []string
		for _, w := range words[3:] {
			switch from, id, proposed := strings.Cut(w, ":"); {
			case w == "!":
				denied = true
			case strings.HasPrefix(w, "?"):
				wants = append(wants, w[1:])
			case proposed:
				r.Links = append(r.Links, audit.Link{From: from, Kind: "proposed", Method: "tool_use_id", ID: id})
			default:
				r.Links = append(r.Links, audit.Link{From: from, Kind: "result", Method: "tool_use_id"})
			}
		}
		if denied {
			r.Type, r.Effect, r.Outcome = audit.Refused, "deny", "denied"
			records = append(records, r)
			continue
		}
		records = append(records, r)
		for _, id := range wants {
			records = append(records, audit.Record{Type: audit.Proposed, Call: r.Call, Run: r.Run, Proposal: &audit.Proposal{ToolUse: id, Name: "n"}})
		}
		records = append(records, audit.Record{Type: audit.Closed, Call: r.Call, Run: r.Run, Outcome: "ok"})
	}
	return records
}

// drawn is trees as text, one call a line.
func drawn(branches []*audit.Branch, indent string) string {
	var b strings.Builder
	for _, branch := range branches {
		b.WriteString(indent + branch.Call.ID)
		if branch.Via != nil {
			b.WriteString(" " + branch.Via.Kind)
		}
		b.WriteString(" " + branch.Call.Outcome + "\n" + drawn(branch.Next, indent+"  "))
	}
	return b.String()
}

func TestAChainIsDrawnAsTrees(t *testing.T) {
	for _, c := range []struct{ name, history, want string }{
		{"a loop", `
			m1 r model ?a
			t1 r tool m1:a
			m2 r model t1`, `
			m1 ok
			  t1 proposed ok
			    m2 result ok`},
		{"tools at the same time, whose results come together", `
			m1 r model ?a ?b
			t1 r tool m1:a
			t2 r tool m1:b
			m2 r model t1 t2`, `
			m1 ok
			  t1 proposed ok
			  t2 proposed ok
			    m2 result ok`},
		{"a denied tool, whose refusal the model reads", `
			m1 r model ?a
			t1 r tool m1:a !
			m2 r model t1`, `
			m1 ok
			  t1 proposed denied
			    m2 result ok`},
		{"an orphan, which no model asked for", `
			m1 r model
			t1 r tool`, `
			m1 ok
			t1 ok`},
		{"two runs", `
			m1 r model ?a
			n1 s model ?a
			t1 r tool m1:a
			u1 s tool n1:a`, `
			m1 ok
			  t1 proposed ok
			n1 ok
			  u1 proposed ok`},
		{"links to what is not there, to itself and into the future", `
			m1 r model gone m1 t1
			t1 r tool m1:a`, `
			m1 ok
			  t1 proposed ok`},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := told(1, script(c.history)...)
			rand.Shuffle(len(calls), func(i, j int) { calls[i], calls[j] = calls[j], calls[i] })
			chain := audit.NewChain(calls)
			want := strings.ReplaceAll(strings.TrimPrefix(c.want, "\n"), "\t\t\t", "") + "\n"
			if got := drawn(chain.Trees(), ""); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestProposalsKnowWhatCarriedThemOut(t *testing.T) {
	calls := told(1, script(`
		m1 r model ?a ?b ?same ?same ?never
		t1 r tool m1:b
		t2 r tool m1:a
		t3 r tool m1:same
		t4 r tool m1:same !
		m2 r model t1 t2`)...)
	var got []string
	for _, w := range calls[0].Wants {
		got = append(got, w.ToolUse+" "+w.Call+" "+w.Method)
	}
	if diff := cmp.Diff([]string{"a t2 tool_use_id", "b t1 tool_use_id", "same t3 tool_use_id", "same t4 tool_use_id", "never  "}, got); diff != "" {
		t.Error(diff)
	}
	if got := len(calls[0].Led); got != 4 {
		t.Errorf("it led to %d calls", got)
	}
	if diff := cmp.Diff([]audit.Edge{{From: "t1", To: "m2", Kind: "result", Method: "tool_use_id"}}, calls[1].Led); diff != "" {
		t.Error(diff)
	}
}

func TestAChainIsMadeWithoutTouchingItsCalls(t *testing.T) {
	calls := told(1, script("m1 r model ?a\nt1 r tool m1:a")...)
	calls[0].Led, calls[0].Wants[0].Call, calls[0].Wants[0].Method = nil, "", ""
	before, err := json.Marshal(calls)
	if err != nil {
		t.Fatal(err)
	}
	chain := audit.NewChain(calls)
	if chain.Calls[0].Wants[0].Call != "t1" {
		t.Error("the chain does not know")
	}
	if after, _ := json.Marshal(calls); string(after) != string(before) {
		t.Errorf("got %s\nhad %s", after, before)
	}
}

// Every call is drawn once, whatever the links.
func TestTreesHoldEachCallOnce(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var lines []string
		n := 1 + r.IntN(30)
		for i := range n {
			line := fmt.Sprintf("c%d r model", i)
			for range r.IntN(4) {
				line += fmt.Sprintf(" c%d", r.IntN(n))
			}
			lines = append(lines, line)
		}
		chain := audit.NewChain(told(1, script(strings.Join(lines, "\n"))...))
		if got := strings.Count(drawn(chain.Trees(), ""), "\n"); got != n {
			t.Fatalf("seed %d: %d of %d calls are drawn", seed, got, n)
		}
	}
}
