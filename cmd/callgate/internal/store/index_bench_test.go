package store_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"callgate/audit"
)

// busy is the CPU time that this process has used.
func busy() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkIndex measures what a call costs the index: its two records, with what a
// tool call has in them. The records are there before; the index is made of them
// in its usual batches.
func BenchmarkIndex(b *testing.B) {
	for _, there := range []int{0, 200_000} {
		b.Run(fmt.Sprintf("calls=%d", there), func(b *testing.B) {
			h := open(b, b.TempDir())
			write := func(from, to int) {
				var last audit.Ticket
				for i := from; i < to; i++ {
					id := fmt.Sprintf("019ab3c1-7c4e-7d52-9b6f-%012d", i)
					r := audit.Record{Type: audit.Opened, At: int64(1795420800000000 + i), Call: id, Tenant: "default",
						Agent: fmt.Sprintf("agent:bot-%d", i%50), Token: "Yk3x9Qm2pLw7", Run: fmt.Sprintf("019ab3c1-0000-7d52-9b6f-%012d", i/100),
						Kind: "tool", Target: "shop", Method: "tools/call", Resource: "refund", Args: []byte(`{"order":"A-1001","amount":40}`),
						ArgsHash: fmt.Sprintf("%032x", uint32(i)*2654435761), Bytes: 412,
						Effect: "allow", Rule: "SMALL-REFUNDS", Policy: "9f86d081884c7d65", Acts: true,
						Checks: []audit.Check{{Guard: "secrets", Version: "1", Request: 412}}}
					if i%2 == 0 {
						r.Links = []audit.Link{{From: fmt.Sprintf("019ab3c1-7c4e-7d52-9b6f-%012d", i-1), Kind: "proposed", Method: "tool_use_id", ID: "toolu_01A09q90qw90lq917835lq9"}}
					}
					h.ledger.Append(&r)
					last = h.ledger.Append(&audit.Record{Type: audit.Closed, At: r.At + 100, Call: id, Run: r.Run, Bytes: 100, Outcome: "ok", TookUS: 1234,
						Checks: []audit.Check{{Guard: "secrets", Version: "1", Request: 412, Reply: 100}}})
					if i%1000 == 0 {
						if err := last.Wait(b.Context()); err != nil {
							b.Fatal(err)
						}
					}
				}
				if to > from {
					if err := last.Wait(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
			}
			write(0, there)
			if _, _, err := h.index.Sync(b.Context()); err != nil {
				b.Fatal(err)
			}
			h.pause()
			write(there, there+b.N)
			h.resume()
			b.ResetTimer()
			before := busy()
			if _, _, err := h.index.Sync(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(busy()-before)/float64(b.N), "cpu-ns/call")
		})
	}
}
