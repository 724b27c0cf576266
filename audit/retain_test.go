package audit_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callgate/audit"
)

// aged is a ledger of many small segments, a record an hour.
type aged struct {
	dir, secret, public string
	now                 time.Time
	disk                *audit.Faults
	ledger              *audit.Ledger
	sealer              *audit.Sealer
}

func (a *aged) open(t *testing.T) {
	t.Helper()
	var err error
	a.disk = &audit.Faults{}
	if a.ledger, err = audit.OpenOn(a.dir, audit.Config{Now: func() time.Time { return a.now }}, a.disk, 4<<10); err != nil {
		t.Fatal(err)
	}
	if a.secret == "" {
		if a.secret, a.public, err = audit.NewLogKey(a.ledger.Origin()); err != nil {
			t.Fatal(err)
		}
	}
	if a.sealer, err = audit.NewSealer(a.ledger, audit.SealerConfig{Key: a.secret, Every: time.Hour}); err != nil {
		t.Fatal(err)
	}
}

func (a *aged) close(t *testing.T) {
	t.Helper()
	if err := a.sealer.Close(); err != nil {
		t.Error(err)
	}
	if err := a.ledger.Close(); err != nil {
		t.Error(err)
	}
}

func (a *aged) verify(t *testing.T) *audit.Verification {
	t.Helper()
	v, err := audit.Verify(a.dir, audit.VerifyConfig{Key: a.public})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func newAged(t *testing.T) *aged {
	a := &aged{dir: t.TempDir(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	a.open(t)
	for i := 1; i <= 100; i++ {
		r := audit.Record{Type: audit.Opened, At: a.now.UnixMicro(), Call: fmt.Sprintf("call-%03d", i), Run: fmt.Sprintf("run-%d", i/10), Agent: "agent:bot", Reason: strings.Repeat("x", 500)}
		if err := a.ledger.Append(&r).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := a.sealer.Seal(); err != nil {
			t.Fatal(err)
		}
		a.now = a.now.Add(time.Hour)
	}
	return a
}

func (a *aged) drop(t *testing.T, older time.Duration, held func(*audit.Hollow) bool) (uint64, error) {
	t.Helper()
	return a.ledger.Drop(t.Context(), audit.Retention{Before: a.now.Add(-older), Held: held, Sealer: a.sealer, Why: "older than it is kept"})
}

func TestWhatIsDroppedLeavesAllProofsGood(t *testing.T) {
	a := newAged(t)
	early, err := audit.Prove(a.dir, "call-003", 0, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if last, err := a.drop(t, 1000*time.Hour, nil); last != 0 || err != nil {
		t.Fatalf("nothing is so old: %d, %v", last, err)
	}
	last, err := a.drop(t, 40*time.Hour, nil)
	if err != nil || last < 40 || last > 60 {
		t.Fatalf("dropped up to %d, %v", last, err)
	}
	v := a.verify(t)
	if len(v.Flaws) > 0 || v.Dropped != last || v.First != last+1 || v.Signed != 101 || v.Checkpoints != 101 {
		t.Errorf("%+v", v)
	}
	if list, err := audit.CheckProof(early, a.public); err != nil || len(list) != 1 || list[0].Seq != 3 {
		t.Errorf("a proof from before: %v", err)
	}
	if _, err := audit.Prove(a.dir, "call-003", 0, time.Time{}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("records 1 to %d are not there any more", last)) {
		t.Error(err)
	}
	late, err := audit.Prove(a.dir, "call-099", 0, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := audit.CheckProof(late, a.public); err != nil {
		t.Error(err)
	}
	a.close(t)
	a.now = a.now.Add(30 * time.Hour)
	a.open(t) // it goes on, and drops more
	more, err := a.drop(t, 40*time.Hour, nil)
	if err != nil || more <= last {
		t.Errorf("then up to %d, %v", more, err)
	}
	a.close(t)
	if v := a.verify(t); len(v.Flaws) > 0 || v.Dropped != more {
		t.Errorf("%+v", v)
	}

	// What is taken out besides is found.
	files, _ := filepath.Glob(filepath.Join(a.dir, "*.seg"))
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if v := a.verify(t); len(v.Flaws) != 1 || !strings.Contains(v.Flaws[0].Reason, "no record that is signed says") {
		t.Errorf("%+v", v)
	}
}

func TestHashesOfWhatIsDroppedAreThoseThatWereSigned(t *testing.T) {
	a := newAged(t)
	if _, err := a.drop(t, 40*time.Hour, nil); err != nil {
		t.Fatal(err)
	}
	a.close(t)
	f, err := os.OpenFile(filepath.Join(a.dir, "hashes"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("another hash"), 32*4); err != nil {
		t.Fatal(err)
	}
	if v := a.verify(t); len(v.Flaws) == 0 {
		t.Error("a changed hash is not found")
	}
}

func TestDroppingCanBeCutOffAnywhere(t *testing.T) {
	base := newAged(t)
	base.close(t)
	for cut := 1; ; cut++ {
		a := &aged{dir: t.TempDir(), secret: base.secret, public: base.public, now: base.now}
		if err := os.CopyFS(a.dir, os.DirFS(base.dir)); err != nil {
			t.Fatal(err)
		}
		a.open(t)
		a.disk.At, a.disk.Long = a.disk.Seen+cut, true
		last, err := a.drop(t, 40*time.Hour, nil)
		a.disk.Heal()
		if err == nil {
			if cut < 5 {
				t.Fatalf("only %d steps", cut)
			}
			a.close(t)
			return
		}
		if last != 0 {
			t.Fatalf("%d after %v", last, err)
		}
		if v := a.verify(t); a.ledger.Head() > base.ledger.Head() && len(v.Flaws) > 0 { // as a process would find it that comes after a kill
			t.Fatalf("cut at step %d (%v): %+v", cut, err, v)
		}
		a.close(t)
		a.open(t)
		if _, err := a.drop(t, 40*time.Hour, nil); err != nil {
			t.Fatal(err)
		}
		a.close(t)
		if v := a.verify(t); len(v.Flaws) > 0 || v.Dropped < 40 {
			t.Fatalf("and again after step %d: %+v", cut, v)
		}
	}
}

func TestWhatIsHeldStays(t *testing.T) {
	a := newAged(t)
	defer a.close(t)
	last, err := a.drop(t, 40*time.Hour, func(h *audit.Hollow) bool { return h.Run == "run-2" })
	if err != nil || last == 0 || last >= 20 {
		t.Fatalf("dropped up to %d, %v", last, err)
	}
	if _, err := audit.Prove(a.dir, "call-021", 0, time.Time{}); err != nil {
		t.Error(err)
	}
	if last, err = a.drop(t, 40*time.Hour, func(h *audit.Hollow) bool { return h.Agent == "agent:bot" }); last != 0 || err != nil {
		t.Errorf("dropped up to %d, %v", last, err)
	}
}

func TestASecondPlaceGetsWhatItMissed(t *testing.T) {
	a := newAged(t)
	a.close(t)
	place := filepath.Join(t.TempDir(), "there")
	file := filepath.Join(place, "checkpoints")
	var err error
	if a.ledger, err = audit.OpenOn(a.dir, audit.Config{}, nil, 4<<10); err != nil {
		t.Fatal(err)
	}
	if a.sealer, err = audit.NewSealer(a.ledger, audit.SealerConfig{Key: a.secret, Every: time.Hour, Copy: file}); err != nil {
		t.Fatal(err)
	}
	sign := func() {
		t.Helper()
		if err := a.ledger.Append(&audit.Record{Type: audit.Changed}).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := a.sealer.Seal(); err != nil { // whatever becomes of the copy
			t.Fatal(err)
		}
	}
	sign()
	sign()
	if err := os.Mkdir(place, 0o700); err != nil {
		t.Fatal(err)
	}
	sign()
	a.close(t)
	against, err := os.ReadFile(file)
	if err != nil || strings.Count(string(against), a.ledger.Origin()+"\n") != 3 {
		t.Fatalf("%v: %s", err, against)
	}
	v, err := audit.Verify(a.dir, audit.VerifyConfig{Key: a.public, Against: append(against, "torn"...)})
	if err != nil || len(v.Flaws) > 0 || v.Checkpoints != 106 || v.Unread != 4 {
		t.Errorf("%+v, %v", v, err)
	}
	other := newAged(t) // a ledger in its place
	other.close(t)
	if _, err := audit.Verify(other.dir, audit.VerifyConfig{Against: against}); err == nil {
		t.Error("another ledger's checkpoints are taken")
	}
}
