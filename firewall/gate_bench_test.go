package firewall_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"callgate/audit"
	"callgate/firewall"
)

// nowhere is a log that keeps nothing, so that a benchmark measures the gate.
type nowhere struct{ durable audit.Ticket }

func newNowhere() nowhere {
	var m audit.Memory
	return nowhere{m.Append(&audit.Record{})}
}

func (n nowhere) Append(*audit.Record) audit.Ticket { return n.durable }

func BenchmarkParseBody(b *testing.B) {
	for _, size := range []int{1 << 10, 32 << 10} {
		doc := []byte(`{"model":"m","messages":[{"role":"system","content":"You are helpful."},{"role":"user","content":"` + strings.Repeat("the quick brown fox ", size/20) + `"}]}`)
		b.Run(fmt.Sprint(len(doc)), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(doc)))
			for b.Loop() {
				if _, err := firewall.ParseBody(doc, firewall.Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDo(b *testing.B) {
	gate := newGate(newNowhere(), everything)
	up := &replies{events: []firewall.Event{event(`{"choices":[]}`, true)}}
	down := func(firewall.Event) error { return nil }
	b.ReportAllocs()
	for b.Loop() {
		if err := gate.Do(context.Background(), modelCall(), up, down); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWindowed(b *testing.B) {
	pass := func(string) firewall.Editor {
		return func(text string, _ int, _ bool) (int, []firewall.Edit, error) { return len(text), nil, nil }
	}
	var events []firewall.Event
	for range 100 {
		events = append(events, firewall.Event{Body: firewall.Body{JSON: []byte(`"brown fox "`), Spans: []firewall.Span{{End: 12, Text: "brown fox ", Lane: "0"}}}})
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range firewall.Windowed(func(yield func(firewall.Event, error) bool) {
			for _, ev := range events {
				if !yield(ev, nil) {
					return
				}
			}
		}, pass) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkDrift is a tool call as expected, with and without something that is expected:
// the difference is what it costs to look.
func BenchmarkDrift(b *testing.B) {
	var tools, hosts []string
	after := make(map[string]firewall.Order)
	for i := range 200 {
		tools, hosts = append(tools, fmt.Sprintf("shop/t%d", i)), append(hosts, fmt.Sprintf("h%d.example", i))
	}
	tools = append(tools, "shop/find")
	among := make(map[string]struct{})
	for _, tool := range tools {
		among[tool] = struct{}{}
		after[tool] = firewall.Order{After: firewall.NewExpected(firewall.ByHabit, tools), Among: among}
	}
	e := &firewall.Envelope{
		Tools: firewall.NewExpected(firewall.ByHabit, tools), Hosts: firewall.NewExpected(firewall.ByHabit, hosts), LabelsBy: firewall.ByHabit,
		RunCalls: firewall.Ceiling{Max: 1 << 60, By: firewall.ByHabit}, RunCost: firewall.Ceiling{Max: 1 << 60, By: firewall.ByHabit}, HourCalls: firewall.Ceiling{Max: 1 << 60, By: firewall.ByConfig}, After: after,
	}
	for _, x := range []struct {
		name string
		x    *firewall.Expectations
	}{{"off", nil}, {"on", &firewall.Expectations{Agents: map[string]*firewall.Envelope{"agent:bot": e}}}} {
		b.Run(x.name, func(b *testing.B) {
			gate := newGate(newNowhere(), rules{"tool:shop/find": firewall.Allow})
			gate.SetExpectations(x.x)
			up := &replies{events: []firewall.Event{event(`{}`, true)}}
			down := func(firewall.Event) error { return nil }
			call := toolCall("find", `{"at":"https://h7.example/a/long/path/of/something"}`)
			b.ReportAllocs()
			for b.Loop() {
				c := *call
				if err := gate.Do(context.Background(), &c, up, down); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
