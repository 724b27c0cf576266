package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall/policy"
)

// BenchmarkBacktest reads a ledger of calls, as the gate writes them, from its
// files, and asks a policy of 100 rules about each.
func BenchmarkBacktest(b *testing.B) {
	const calls = 50_000
	data := b.TempDir()
	ledger, err := audit.Open(filepath.Join(data, "ledger"), audit.Config{})
	if err != nil {
		b.Fatal(err)
	}
	var last audit.Ticket
	for i := range calls {
		id, cost := fmt.Sprintf("01a208ba-e777-7915-9672-%012d", i), int64(1200)
		opened := audit.Record{
			Type: audit.Opened, At: time.Now().UnixMicro(), Call: id, Tenant: "default", Agent: "agent:bot", Token: "01a208ba-e777-7915-9672-6abfc41cfd24", Run: "01a208ba-e777-7915-9672-6abfc41cfd25",
			Kind: "tool", Target: "shop", Method: "tools/call", Resource: fmt.Sprintf("t%d", i%50), Args: []byte(fmt.Sprintf(`{"amount":%d,"order":"o-%d","note":"as agreed with the customer on the phone"}`, i%200, i)),
			ArgsHash: "44136fa355b3678a1146ad16f7e8649e", Bytes: 120, Env: &audit.Env{Roles: []string{"role:support"}, Calls: int64(i % 100), IP: "127.0.0.1", Cost: &cost},
			Effect: "allow", Rule: "R1", Policy: "0123456789ab", Checks: []audit.Check{{Guard: "secrets", Version: "gitleaks 8.30.1", Request: 120}}, Acts: true,
		}
		ledger.Append(&opened)
		last = ledger.Append(&audit.Record{Type: audit.Closed, At: time.Now().UnixMicro(), Call: id, Run: opened.Run, Bytes: 300, Checks: opened.Checks, Outcome: "ok", TookUS: 900})
		if i%100 == 99 { // a log takes only so much at once
			if err := last.Wait(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := ledger.Close(); err != nil {
		b.Fatal(err)
	}
	rows := ""
	for i := range 50 {
		rows += fmt.Sprintf("p, role:support, *, tool:shop/t%d, call, r.env.args.amount <= 100, allow, A%d\np, role:team%d, *, tool:shop/*, call, true, allow, B%d\n", i, i, i, i)
	}
	candidate, err := policy.Load(policy.Source{Name: "p", Text: []byte(rows)})
	if err != nil {
		b.Fatal(err)
	}
	p := &program{data: data, err: io.Discard}
	n := 0
	for b.Loop() {
		w := period{since: "1h"}
		if err := w.settle(time.Now().Add(time.Minute)); err != nil {
			b.Fatal(err)
		}
		t := policy.NewBacktest(candidate, 1)
		if _, err := p.past(&w, t.Add); err != nil {
			b.Fatal(err)
		}
		if n += t.Calls; t.Calls != calls {
			b.Fatalf("%d calls", t.Calls)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "calls/s")
}
