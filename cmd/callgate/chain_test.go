package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"callgate/audit"

	"github.com/google/go-cmp/cmp"
)

// told is what printChain makes of calls, without its heading.
func told(t *testing.T, env func(string) (string, bool), calls ...audit.Call) string {
	t.Helper()
	for i := range calls {
		calls[i].Seq = uint64(i + 1)
		calls[i].At = time.Date(2026, 11, 23, 8, 0, i, 0, time.Local).UnixMicro()
		calls[i].Run, calls[i].Agent = "run-1", "agent:bot"
	}
	chain := audit.NewChain(calls)
	var out bytes.Buffer
	p := &program{out: &out, env: env}
	if err := p.printChain(&chain); err != nil {
		t.Fatal(err)
	}
	_, story, _ := strings.Cut(out.String(), "\n\n")
	return story
}

func model(id string, links ...audit.Link) audit.Call {
	return audit.Call{ID: id, Kind: "model", Target: "lab", Resource: "m", Effect: "allow", Rule: "M1", Outcome: "ok", Links: links, Usage: &audit.Usage{Input: 10, Output: 2}}
}

func tool(id, name, effect string, links ...audit.Link) audit.Call {
	c := audit.Call{ID: id, Kind: "tool", Target: "till", Resource: name, Args: []byte(`{"n":1}`), Effect: effect, Rule: "T1", Outcome: "ok", Links: links}
	if effect == "deny" {
		c.Rule, c.Outcome, c.Reason = "", "denied", "no rule allows it"
	}
	return c
}

func asked(from, method string) audit.Link {
	return audit.Link{From: from, Kind: "proposed", Method: method}
}
func result(from string) audit.Link {
	return audit.Link{From: from, Kind: "result", Method: "tool_use_id"}
}

func TestAChainIsToldAsAStory(t *testing.T) {
	for _, test := range []struct {
		name  string
		calls []audit.Call
		want  string
	}{
		{"a loop stays on one level however long it is", []audit.Call{
			model("m1"), tool("t1", "look", "allow", asked("m1", "tool_use_id")),
			model("m2", result("t1")), tool("t2", "pay", "deny", asked("m2", "arguments")),
			model("m3", result("t2")),
		}, `
  1  08:00:00.000  agent:bot asks model lab/m  allow by M1  ok  10 tokens in, 2 out
  2  08:00:01.000  └─ agent:bot calls tool till/look {"n":1}  allow by T1  ok
                        asked for by the model (the ids agree): step 1
  3  08:00:02.000  agent:bot asks model lab/m  allow by M1  ok  10 tokens in, 2 out
                     brings the result back (the ids agree): step 2
  4  08:00:03.000  └─ agent:bot calls tool till/pay {"n":1}  deny  denied
                        no rule allows it
                        asked for by the model (same tool and arguments): step 3
  5  08:00:04.000  agent:bot asks model lab/m  allow by M1  ok  10 tokens in, 2 out
                     brings the result back (the ids agree): step 4
`},
		{"parallel calls stand side by side before what their results went into", []audit.Call{
			model("m1"), tool("t1", "look", "allow", asked("m1", "twin")), tool("t2", "look", "allow", asked("m1", "twin")),
			model("m2", result("t1"), result("t2")),
		}, `
  1  08:00:00.000  agent:bot asks model lab/m  allow by M1  ok  10 tokens in, 2 out
  2  08:00:01.000  └─ agent:bot calls tool till/look {"n":1}  allow by T1  ok
                        asked for by the model (same tool and arguments, more than once: in order): step 1
  3  08:00:02.000  └─ agent:bot calls tool till/look {"n":1}  allow by T1  ok
                        asked for by the model (same tool and arguments, more than once: in order): step 1
  4  08:00:03.000  agent:bot asks model lab/m  allow by M1  ok  10 tokens in, 2 out
                     brings the result back (the ids agree): step 2
                     brings the result back (the ids agree): step 3
`},
		{"what no model asked for, and what was asked for and never came, is said", []audit.Call{
			{ID: "m1", Kind: "model", Target: "lab", Resource: "m", Effect: "allow", Outcome: "ok", Wants: []audit.Want{{Proposal: audit.Proposal{Name: "till__pay", Args: []byte(`{"n":2}`)}}}},
			tool("t1", "pay", "allow"),
		}, `
  1  08:00:00.000  agent:bot asks model lab/m  allow  ok
                     it asked for till__pay {"n":2}, which never came
  2  08:00:01.000  agent:bot calls tool till/pay {"n":1}  allow by T1  ok
                     no model call on record asked for it
`},
		{"findings, faults and links out of sight are told", []audit.Call{
			{ID: "t1", Kind: "tool", Target: "till", Resource: "pay", Effect: "allow", Outcome: "fault", Fault: "isError", TookUS: 1500,
				Findings: []audit.Finding{{Guard: "secrets", Rule: "stripe", Where: "reply/a", Action: "mask", Count: 2}}, Links: []audit.Link{asked("gone", "ambiguous")}},
		}, `
  1  08:00:00.000  agent:bot calls tool till/pay  allow  fault in 1.5ms
                     asked for by the model (same tool and arguments, asked for by several: a guess): gone
                     secrets: 2 × stripe masked in reply/a
                     cause: isError
`},
		{"a sub-agent stands under who set it to work, and what was found out later is said", []audit.Call{
			{ID: "m1", Kind: "model", Target: "lab", Resource: "m", Effect: "allow", Outcome: "ok", Thread: "m1", Wants: []audit.Want{{Proposal: audit.Proposal{ToolUse: "u1", Name: "Task", Args: []byte(`{"prompt":"Look into it."}`)}}}},
			{ID: "s1", Kind: "model", Target: "lab", Resource: "m", Effect: "allow", Outcome: "ok", Thread: "s1", Links: []audit.Link{{From: "m1", Kind: "delegated", Method: "task_arg", Conf: 90}}},
			{ID: "t1", Kind: "tool", Target: "till", Resource: "look", Effect: "allow", Outcome: "ok", Thread: "s1", Links: []audit.Link{{From: "m1", Kind: "proposed", Method: "ambiguous", Conf: 50, ID: "u9"}}},
			{ID: "s2", Kind: "model", Target: "lab", Resource: "m", Effect: "allow", Outcome: "ok", Thread: "s1", Signals: []string{"result_cut"}, Links: []audit.Link{
				{From: "s1", Kind: "follows", Method: "prefix", Conf: 100}, {From: "s1", Kind: "proposed", Method: "content", Conf: 98, ID: "u2", To: "t1"}, {From: "t1", Kind: "result", Method: "tool_use_id+result_cut", Conf: 70}}},
			{ID: "t2", Kind: "tool", Target: "till", Resource: "pay", Effect: "ask", Outcome: "pending", Signals: []string{"orphan"}, Approval: "a1"},
			{ID: "m2", Kind: "model", Target: "lab", Resource: "m", Effect: "allow", Outcome: "ok", Thread: "m1", Signals: []string{"off_gateway"}, Links: []audit.Link{
				{From: "m1", Kind: "follows", Method: "tool_use_id", Conf: 95, Message: 2}, {From: "m1", Kind: "off_gateway", Method: "tool_use_id", Conf: 95, ID: "u1"}}},
		}, `
  1  08:00:00.000  agent:bot asks model lab/m  allow  ok
                     conversation 1 begins
                     it asked for Task {"prompt":"Look into it."}, which the client did by itself, past the gate
  2  08:00:01.000  └─ agent:bot asks model lab/m  allow  ok
                        conversation 2 begins
                        set to work by another agent (its first words are what was asked for): step 1
  3  08:00:02.000     └─ agent:bot calls tool till/look  allow  ok
                           asked for by the model (same tool and arguments, asked for by several: a guess), 50 % sure; later shown not to be so: step 1
  4  08:00:03.000  └─ agent:bot asks model lab/m  allow  ok
                        its results show that step 3 was asked for by step 2
                        brings the result back (the ids agree, but only a part of it), 70 % sure: step 3
                        the model is told a part of the result
  5  08:00:05.000  agent:bot asks model lab/m  allow  ok
                     goes on with the conversation (the ids agree), changed before answer 2: step 1
                     it brings results of what the client did by itself
  6  08:00:04.000  agent:bot calls tool till/pay  ask  pending
                     no model call on record asked for it
                     people are asked: approval a1
`},
		{"what tools and models wrote cannot play with the terminal", []audit.Call{
			{ID: "t1", Kind: "tool", Target: "till", Resource: "pay\x1b[2J", Args: []byte("{\"a\":\"\u202e\"}"), Effect: "deny", Reason: "no\r\nallowed", Links: []audit.Link{asked("\x1b]0;x\a", "\x1b[1m")}},
		}, "\n  1  08:00:00.000  agent:bot calls tool till/pay\ufffd[2J {\"a\":\"\ufffd\"}  deny\n                     no\ufffd\ufffdallowed\n                     asked for by the model (\ufffd[1m): \ufffd]0;x\ufffd\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(strings.TrimPrefix(test.want, "\n"), told(t, environment(), test.calls...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPrintedTablesAreTamed(t *testing.T) {
	var out bytes.Buffer
	p := &program{out: &out, env: environment()}
	if err := p.table([][]string{{"NAME", "WHAT"}, {"a\x1b[31m", "täglich"}, {"b", "x\ny"}}); err != nil {
		t.Fatal(err)
	}
	want := "NAME    WHAT\na\ufffd[31m  täglich\nb       x\ufffdy\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
