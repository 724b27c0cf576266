package firewall_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"

	"github.com/google/go-cmp/cmp"
)

// A deed is one call of a script: what it is, what the model wants then, or what the tool
// answers, and how it fails.
type deed struct {
	call  *firewall.Call
	wants []firewall.Want
	says  string // the model, or the tool
	err   error
}

// speaking is an upstream that does as a deed says.
type speaking struct{ deed }

func (u speaking) Forward(context.Context, *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		ev := event(`1`, true)
		if u.call.Kind == firewall.Tool {
			ev = event(fmt.Sprintf(`{"content":[{"type":"text","text":%q}]}`, u.says), true)
		}
		yield(ev, u.err)
	}
}

func (u speaking) Read(ev *firewall.Event) {
	ev.Wants = u.wants
	if u.call.Kind == firewall.Model {
		ev.Said = u.says
	}
}

// model is a model call with a conversation: a line for each thing that was said, as
// "user hello", "model hello", "use t1 look {}", "result t1 a door".
func model(lines ...string) *firewall.Call {
	c := modelCall()
	c.History = &firewall.History{}
	for _, line := range lines {
		kind, rest, _ := strings.Cut(line, " ")
		s := firewall.Said{By: firewall.User, Text: rest}
		switch kind {
		case "system":
			s.By = firewall.System
		case "model":
			s.By = firewall.Assistant
		case "use":
			id, rest, _ := strings.Cut(rest, " ")
			name, args, _ := strings.Cut(rest, " ")
			s = firewall.Said{By: firewall.Assistant, Kind: firewall.SaidUse, ID: id, Name: name, JSON: []byte(args)}
		case "result":
			id, text, _ := strings.Cut(rest, " ")
			s = firewall.Said{By: firewall.User, Kind: firewall.SaidResult, ID: id, Text: text}
		}
		c.History.Said = append(c.History.Said, s)
	}
	return c
}

func want(id, name, args string) firewall.Want {
	return firewall.Want{ID: id, Name: name, Args: []byte(args)}
}

func refund(args string, change ...func(*firewall.Call)) *firewall.Call {
	c := toolCall("refund", args)
	for _, f := range change {
		f(c)
	}
	return c
}

func tell(s string) string { return strings.Repeat(s+" ", 20) }

func TestWhatLedToACallIsFoundByWhatIsSaid(t *testing.T) {
	id := func(id string) func(*firewall.Call) { return func(c *firewall.Call) { c.Hints.ToolUse = id } }
	in := func(session string) func(*firewall.Call) {
		return func(c *firewall.Call) { c.Hints.Session = session }
	}
	schema := func(c *firewall.Call) {
		c.Tool = []byte(`{"inputSchema":{"properties":{"n":{"default":10},"o":{"properties":{"x":{"default":"y"}}}}}}`)
	}
	one := []firewall.Want{want("t1", "refund", `{"a":1}`)}
	ask := func(args string) []firewall.Want { return []firewall.Want{want("t1", "refund", args)} }
	gone := firewall.Refuse(firewall.Unavailable, "the server is gone")
	long := tell("the summary of all that was said so far")
	for _, tt := range []struct {
		name  string
		deeds []deed
		links []string // of each, by index
	}{
		{"defaults of the schema and nulls mean nothing", []deed{
			{call: model("user a"), wants: ask(`{"a":1,"n":10,"o":{}}`)}, {call: refund(`{"a":1.0,"o":{"x":"y"},"z":null}`, schema)},
		}, []string{"", "0 proposed args_semantic 92"}},
		{"arguments that a client adds are a change", []deed{
			{call: model("user a"), wants: one}, {call: refund(`{"a":1,"user":"ana"}`)},
		}, []string{"", "0 proposed args_subset 90 !args_changed"}},
		{"other values are no part of them", []deed{
			{call: model("user a"), wants: ask(`{"a":1,"b":2}`)}, {call: refund(`{"a":1,"b":3,"c":4}`)},
		}, []string{"", "!orphan"}},
		{"an id is believed, and other arguments are told", []deed{
			{call: model("user a"), wants: one}, {call: refund(`{"a":2}`, id("t1"))},
		}, []string{"", "0 proposed tool_use_id+args_changed 95 !args_changed"}},
		{"what fails may be tried again, and what does not may not", []deed{
			{call: model("user a"), wants: one}, {call: refund(`{"a":1}`), err: gone}, {call: refund(`{"a":1}`)}, {call: refund(`{"a":1}`)}, {call: refund(`{"a":1}`, id("t1"))},
		}, []string{"", "0 proposed arguments 97", "1 again arguments 97, 0 proposed arguments 97", "2 again arguments 50 !orphan !repeated", "2 again arguments 50 !orphan !repeated"}},
		{"of two conversations the one whose connection it is", []deed{
			{call: model("user a"), wants: ask(`{"x":1}`)}, {call: refund(`{"x":1}`, in("s1")), says: "ok"},
			{call: model("user b"), wants: ask(`{"y":1}`)}, {call: refund(`{"y":1}`, in("s2")), says: "ok"},
			{call: model("user a", "use t1 refund {\"x\":1}", "result t1 ok"), wants: []firewall.Want{want("t2", "refund", `{}`)}},
			{call: model("user b", "use t1 refund {\"y\":1}", "result t1 ok"), wants: []firewall.Want{want("t3", "refund", `{}`)}},
			{call: refund(`{}`, in("s1"))},
		}, []string{"", "0 proposed arguments 97", "", "2 proposed arguments 97", "0 follows prefix 100, 1 result tool_use_id+content 100", "2 follows prefix 100, 3 result tool_use_id+content 100", "4 proposed affinity 90"}},
		{"a conversation goes on, and what it says of a result is held against it", []deed{
			{call: model("system s", "user a"), wants: one, says: "hm"}, {call: refund(`{"a":1}`), says: tell("paid")},
			{call: model("system s", "user a", "model hm", `use t1 refund {"a":1}`, "result t1 "+tell("paid"))},
		}, []string{"", "0 proposed arguments 97", "0 follows prefix 100, 1 result tool_use_id+content 100"}},
		{"a result that is cut", []deed{
			{call: model("user a"), wants: one}, {call: refund(`{"a":1}`), says: tell("paid")},
			{call: model("user a", `use t1 refund {"a":1}`, "result t1 "+tell("paid")[:60]+" […]")},
		}, []string{"", "0 proposed arguments 97", "0 follows prefix 100, 1 result tool_use_id+result_cut 76 !result_cut"}},
		{"a result that is another one", []deed{
			{call: model("user a"), wants: one}, {call: refund(`{"a":1}`), says: tell("paid")},
			{call: model("user a", `use t1 refund {"a":1}`, "result t1 "+tell("lost"))},
		}, []string{"", "0 proposed arguments 97", "0 follows prefix 100, 1 result tool_use_id+result_changed 30 !result_changed"}},
		{"a result of what never came", []deed{
			{call: model("user a"), wants: one},
			{call: model("user a", `use t1 refund {"a":1}`, "result t1 "+tell("paid"))},
		}, []string{"", "0 follows prefix 100, 0 off_gateway tool_use_id 95 !off_gateway"}},
		{"equal calls that were taken for each other are told by their results", []deed{
			{call: model("user a"), wants: []firewall.Want{want("t1", "refund", `{}`), want("t2", "refund", `{}`)}},
			{call: refund(`{}`), says: tell("second")}, {call: refund(`{}`), says: tell("first")},
			{call: model("user a", `use t1 refund {}`, `use t2 refund {}`, "result t1 "+tell("first"), "result t2 "+tell("second"))},
		}, []string{"", "0 proposed twin 95", "0 proposed arguments 97",
			"0 follows prefix 100, 0 proposed content 98 to 2, 0 proposed content 80 to 1, 2 result tool_use_id+content 100, 1 result tool_use_id+content 100"}},
		{"what no rule joined is joined by its result", []deed{
			{call: model("user a"), wants: one}, {call: refund(`{"b":9}`), says: tell("paid")},
			{call: model("user a", `use t1 refund {"a":1}`, "result t1 "+tell("paid"))},
		}, []string{"", "!orphan", "0 follows prefix 100, 0 proposed content+args_changed 98 to 1, 1 result tool_use_id+content 100 !args_changed"}},
		{"a conversation that was summed up", []deed{
			{call: model("user a"), says: "yes"}, {call: model("user a", "model yes", "user Sum up."), says: long}, {call: model("user It was so: \n" + long + "\nGo on.")},
		}, []string{"", "0 follows prefix 100", "1 follows compaction 90"}},
		{"a history that was changed", []deed{
			{call: model("user a"), says: "yes"}, {call: model("user a", "model yes", "user b"), wants: one},
			{call: model("user A", "model yes", "user b", `use t1 refund {"a":1}`, "result t1 ok")},
		}, []string{"", "0 follows prefix 100", "1 follows tool_use_id 95, 1 off_gateway tool_use_id 95 !history_edited !off_gateway"}},
		{"an agent that another one set to work", []deed{
			{call: model("user a"), wants: []firewall.Want{want("t1", "Task", `{"prompt":"Look into the refunds of May."}`)}}, {call: model("system other", "user Look into the refunds of May.")},
		}, []string{"", "0 delegated task_arg 90"}},
		{"the same calls again and again", []deed{
			{call: model("user a"), wants: []firewall.Want{want("1", "refund", `{}`), want("2", "refund", `{}`), want("3", "refund", `{}`), want("4", "refund", `{}`), want("5", "refund", `{}`)}},
			{call: refund(`{}`)}, {call: refund(`{}`)}, {call: refund(`{}`)}, {call: refund(`{}`)}, {call: refund(`{}`)},
		}, []string{"", "0 proposed twin 95", "0 proposed twin 95", "0 proposed twin 95", "0 proposed twin 95", "0 proposed arguments 97 !loop"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log audit.Memory
			gate := newGate(&log, everything)
			index := map[string]int{}
			var got []string
			for i, d := range tt.deeds {
				_ = gate.Do(context.Background(), d.call, speaking{d}, func(firewall.Event) error { return nil })
				index[d.call.ID] = i
				var links []string
				for _, l := range d.call.Links {
					s := fmt.Sprint(index[l.From], " ", l.Kind, " ", l.Method, " ", l.Conf)
					if l.To != "" {
						s += fmt.Sprint(" to ", index[l.To])
					}
					links = append(links, s)
				}
				line := strings.Join(links, ", ")
				for _, s := range d.call.Signals {
					line += " !" + s
				}
				got = append(got, strings.TrimSpace(line))
			}
			if diff := cmp.Diff(tt.links, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestACallWithPartOfTheArgumentsIsAskedForByNone(t *testing.T) {
	for method, want := range map[string]bool{"arguments": true, "tool_use_id+args_changed": true, "args_subset": false} {
		if got := firewall.Asked([]audit.Link{{Kind: audit.LinkFollows}, {Kind: audit.LinkProposed, Method: method}}); got != want {
			t.Errorf("%s: %v", method, got)
		}
	}
	if firewall.Asked([]audit.Link{{Kind: audit.LinkProposed, Method: "content", To: "other"}}) {
		t.Error("what is said of another call is none of this one")
	}
}

func TestACallToAToolOfTheGateThatWentPastItIsTold(t *testing.T) {
	var log audit.Memory
	cfg := config(&log)
	cfg.Tools = func(_ *identity.Principal, w firewall.Want) []firewall.Meaning {
		if w.Name != "shop__refund" {
			return nil
		}
		return []firewall.Meaning{{Call: refund(`{}`)}}
	}
	gate := firewall.New(cfg, &firewall.Law{Policy: everything})
	first := model("user a")
	for _, d := range []deed{
		{call: first, wants: []firewall.Want{want("t1", "shop__refund", `{}`), want("t2", "Bash", `{}`)}},
		{call: model("user a", "use t1 shop__refund {}", "use t2 Bash {}", "result t1 paid", "result t2 done")},
	} {
		if err := gate.Do(context.Background(), d.call, proposing{speaking{d}}, func(firewall.Event) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, r := range log.Records() {
		if r.Type == audit.Opened && r.Call != first.ID {
			got = r.Signals
			if r.Thread != first.ID {
				t.Errorf("thread %s, want %s", r.Thread, first.ID)
			}
		}
	}
	if diff := cmp.Diff([]string{"bypassed", "off_gateway"}, got); diff != "" {
		t.Error(diff)
	}
}

// proposing is an upstream whose replies may ask for tool calls.
type proposing struct{ speaking }

func (proposing) Without(events []firewall.Event, _ []firewall.Want) []firewall.Event { return events }

func TestAnAgentThatActsForAnotherIsLinkedToIt(t *testing.T) {
	var log audit.Memory
	cfg := config(&log)
	cfg.Verify = func(_ context.Context, token, _ string) (identity.Principal, error) {
		p := identity.Principal{Tenant: "default", Subject: "agent:lead"}
		if token == "child" {
			p.Actors = []string{"agent:child"}
		}
		return p, nil
	}
	gate := firewall.New(cfg, &firewall.Law{Policy: everything})
	do := func(token string, d deed) *firewall.Call {
		d.call.Token = token
		if err := gate.Do(context.Background(), d.call, speaking{d}, func(firewall.Event) error { return nil }); err != nil {
			t.Fatal(err)
		}
		return d.call
	}
	lead := do("lead", deed{call: model("user a"), wants: []firewall.Want{want("t1", "Task", `{"prompt":"Look into the refunds of May."}`)}})
	do("lead", deed{call: model("user b")})
	child := do("child", deed{call: model("user Look into the refunds of May.")})
	if want := []audit.Link{{From: lead.ID, Kind: audit.LinkDelegated, Method: "act_claim+task_arg", Conf: 100, ID: "t1"}}; !cmp.Equal(child.Links, want) || child.Run == lead.Run {
		t.Errorf("links %+v, want %+v", child.Links, want)
	}
	if next := do("child", deed{call: model("user Something else.")}); next.Links != nil {
		t.Errorf("only the first call was set to work: %+v", next.Links)
	}
}
