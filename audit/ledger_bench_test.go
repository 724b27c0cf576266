package audit_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"callgate/audit"
)

// opened is a record as the gate writes it before a tool call.
func opened() *audit.Record {
	return &audit.Record{
		Type: audit.Opened, At: 1795420800123456, Call: "019ab3c1-7c4e-7d52-9b6f-0d4f5a6b7c8d",
		Tenant: "default", Agent: "agent:support-bot", Token: "Yk3x9Qm2pLw7", Run: "019ab3c1-0000-7d52-9b6f-0d4f5a6b7c8d",
		Kind: "tool", Target: "shop", Method: "tools/call", Resource: "refund",
		Args: json.RawMessage(`{"order":"A-1001","amount":40,"reason":"the parcel never came"}`), ArgsHash: "5d41402abc4b2a76b9719d911017c592", Bytes: 412,
		Links:  []audit.Link{{From: "019ab3c1-7c4e-7d52-9b6f-000000000001", Kind: "proposed", Method: "tool_use_id", ID: "toolu_01A09q90qw90lq917835lq9"}},
		Effect: "allow", Rule: "SMALL-REFUNDS", Policy: "9f86d081884c7d65",
		Checks: []audit.Check{{Guard: "secrets", Version: "1", Request: 412}},
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, waiters := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("durable/waiters=%d", waiters), func(b *testing.B) {
			l, err := audit.Open(b.TempDir(), audit.Config{})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			b.ReportAllocs()
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			var all sync.WaitGroup
			for range waiters {
				all.Go(func() {
					r := opened()
					for left.Add(-1) >= 0 {
						if err := l.Append(r).Wait(context.Background()); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
	b.Run("taken", func(b *testing.B) { // what the caller itself spends
		l, err := audit.Open(b.TempDir(), audit.Config{})
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		r := opened()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if t := l.Append(r); i%1000 == 999 {
				b.StopTimer()
				if err := t.Wait(context.Background()); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		}
	})
}
