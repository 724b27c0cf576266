package providers

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
)

// all allows everything.
type all struct{}

func (all) Decide(*firewall.Call) firewall.Decision {
	return firewall.Decision{Effect: firewall.Allow, Policy: "p"}
}
func (all) May(*identity.Principal, string, string) firewall.Answer { return firewall.Yes }
func (all) Member(_, _, _ string) bool                              { return false }
func (all) Groups(_, _ string) []string                             { return nil }
func (all) Names(*identity.Principal, string, string) bool          { return false }

type lost struct{ done audit.Ticket }

func (l lost) Append(*audit.Record) audit.Ticket { return l.done }

type silent struct{}

func (silent) Forward(context.Context, *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) { yield(firewall.Event{Last: true}, nil) }
}
func (silent) Read(*firewall.Event) {}

// BenchmarkHistory measures what it costs to read what a request tells of its
// conversation, and to find the call that it goes on with: the difference between
// joined and alone.
func BenchmarkHistory(b *testing.B) {
	for _, size := range []int{1 << 10, 32 << 10} {
		var doc strings.Builder
		doc.WriteString(`{"model":"claude","max_tokens":9,"system":"` + strings.Repeat("Be kind.\\n", size/30) + `","messages":[{"role":"user","content":"What is there?"}`)
		for n := 0; n == 0 || doc.Len() < size-800; n++ {
			fmt.Fprintf(&doc, `,{"role":"assistant","content":[{"type":"text","text":"I look."},{"type":"tool_use","id":"t%d","name":"look","input":{"path":"/a/%d"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t%d","content":%q}]}`,
				n, n, n, strings.Repeat("some text of a file\n", size/800))
		}
		doc.WriteString("]}")
		body, err := firewall.ParseBody([]byte(doc.String()), firewall.Limits{})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint("read/", doc.Len()), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				historyOf("messages", &body)
			}
		})
		for _, kind := range []string{"alone", "joined"} {
			b.Run(fmt.Sprint(kind, "/", doc.Len()), func(b *testing.B) {
				gate := firewall.New(firewall.Config{
					Verify: func(context.Context, string, string) (identity.Principal, error) {
						return identity.Principal{Tenant: "default", Subject: "agent:bot"}, nil
					},
					Log: lost{new(audit.Memory).Append(new(audit.Record))}, Runs: firewall.NewRuns(0, new(firewall.Memory), time.Now), Budgets: firewall.NewBudgets(time.Now),
					Approvals: firewall.NewApprovals(new(firewall.Memory), 0, time.Now), Stops: new(identity.Revocations), Now: time.Now, Logger: slog.New(slog.DiscardHandler),
				}, &firewall.Law{Policy: all{}})
				b.ReportAllocs()
				for b.Loop() {
					call := firewall.Call{Kind: firewall.Model, Method: "messages", Token: "t", Body: body}
					if kind == "joined" {
						call.History = historyOf("messages", &body)
					}
					if err := gate.Do(b.Context(), &call, silent{}, func(firewall.Event) error { return nil }); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
