package audit_test

import (
	"context"
	"testing"

	"callgate/audit"
)

func TestARecordOutlivesTheLedger(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		l, err := audit.Open(dir, audit.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Head(); got != uint64(round*10) {
			t.Fatalf("head %d after %d rounds", got, round)
		}
		for i := range 10 {
			ticket := l.Append(&audit.Record{Type: audit.Changed, At: int64(i), What: "x"})
			if err := ticket.Wait(context.Background()); err != nil {
				t.Fatal(err)
			}
			if ticket.Seq() != uint64(round*10+i+1) {
				t.Fatalf("seq %d", ticket.Seq())
			}
		}
		n := 0
		for r, err := range l.Records(1) {
			if err != nil {
				t.Fatal(err)
			}
			n++
			if r.Seq != uint64(n) || r.At != int64((n-1)%10) {
				t.Fatalf("record %d is %+v", n, r)
			}
		}
		if n != (round+1)*10 {
			t.Fatalf("%d records", n)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
