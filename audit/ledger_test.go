package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"callgate/audit"
)

// open opens the ledger in dir; it is closed at the end of the test.
func open(t testing.TB, dir string) *audit.Ledger {
	t.Helper()
	l, err := audit.Open(dir, audit.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// note is a record that is told from others by its name.
func note(name string) *audit.Record {
	return &audit.Record{Type: audit.Changed, At: 1, What: "test", Name: name, State: strings.Repeat("x", 40)}
}

// keep appends a record of that name and waits for it.
func keep(l *audit.Ledger, name string) error { return l.Append(note(name)).Wait(context.Background()) }

// names is the names of all records that l can read, in order.
func names(t testing.TB, l *audit.Ledger) []string {
	t.Helper()
	var list []string
	for r, err := range l.Records(1) {
		if err != nil {
			t.Fatalf("behind record %d: %v", len(list), err)
		}
		if r.Seq != uint64(len(list)+1) {
			t.Fatalf("record %d has seq %d", len(list)+1, r.Seq)
		}
		list = append(list, r.Name)
	}
	return list
}

// clone copies the files of a ledger, as a crash would leave them.
func clone(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		doc, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // removed meanwhile
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, f.Name()), doc, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// segments is the paths of the segments in dir, in order.
func segments(t testing.TB, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A clock is moved by hand.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.at.Store(time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) Now() time.Time       { return time.Unix(0, c.at.Load()) }
func (c *clock) Move(d time.Duration) { c.at.Add(int64(d)) }

func TestRecordsOutliveTheLedger(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for round := range 3 {
		l := open(t, dir)
		if got := l.Head(); got != uint64(len(want)) {
			t.Fatalf("round %d begins at %d", round, got)
		}
		if got := l.Began(); got != uint64(len(want)+1) {
			t.Fatalf("round %d began at %d", round, got)
		}
		for i := range 10 {
			name := fmt.Sprint(round, i)
			ticket := l.Append(note(name))
			if err := ticket.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			want = append(want, name)
			if ticket.Seq() != uint64(len(want)) {
				t.Fatalf("record %d has seq %d", len(want), ticket.Seq())
			}
		}
		if got := names(t, l); !slices.Equal(got, want) {
			t.Fatalf("round %d: got %v", round, got)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(segments(t, dir)); n != 3 {
		t.Errorf("%d segments", n)
	}
}

func TestALedgerThatIsNotWrittenToLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		if err := open(t, dir).Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := segments(t, dir); got != nil {
		t.Errorf("got %v", got)
	}
}

func TestRecordsAreReadFromAnyPositionOn(t *testing.T) {
	dir := t.TempDir()
	l, err := audit.OpenOn(dir, audit.Config{}, nil, 4<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const n = 500
	big := strings.Repeat("y", 3000) // larger than what is read at first
	var last audit.Ticket
	for i := range n {
		r := note(fmt.Sprint(i))
		if i%50 == 7 {
			r.State = big
		}
		if last = l.Append(r); i%7 == 0 {
			if err := last.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := last.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(segments(t, dir)) < 5 {
		t.Fatal("no segment was full")
	}
	for from := range uint64(n + 2) {
		next := max(from, 1)
		for e, err := range l.Entries(from) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Seq != next {
				t.Fatalf("from %d: got %d, want %d", from, e.Seq, next)
			}
			doc, err := l.Read(e.Place)
			if err != nil || !bytes.Equal(doc, e.JSON) {
				t.Fatalf("record %d is read as %q, %v", e.Seq, doc, err)
			}
			next++
			if next > from+20 {
				break
			}
		}
		if want := min(max(from, 1)+20, n+1); next < want && next != from+21 {
			t.Fatalf("from %d: ended before %d", from, next)
		}
	}
	if r, err := l.At(12345); err == nil {
		t.Errorf("read %v from nowhere", r)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	if _, err := audit.Open(dir, audit.Config{}); !errors.Is(err, audit.ErrTaken) {
		t.Fatalf("a second one got %v", err)
	}
	l.Close()
	open(t, dir)
}

func TestAClosedLedgerTakesNothing(t *testing.T) {
	l := open(t, t.TempDir())
	waiting := make(chan error)
	go func() { waiting <- l.Wait(context.Background(), 10) }()
	pending := l.Append(note("last"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := pending.Wait(t.Context()); err != nil {
		t.Errorf("what was taken before failed: %v", err)
	}
	if err := keep(l, "late"); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if err := <-waiting; !errors.Is(err, audit.ErrClosed) {
		t.Errorf("who waited got %v", err)
	}
	if err := l.Ready(); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("ready: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

func TestARecordThatIsTooLargeIsRefused(t *testing.T) {
	l := open(t, t.TempDir())
	r := note("x")
	r.State = strings.Repeat("x", audit.MaxRecord)
	if err := l.Append(r).Wait(t.Context()); err == nil {
		t.Fatal("it was taken")
	}
	if err := keep(l, "small"); err != nil {
		t.Fatal(err)
	}
}

func TestATicketStandsForTheOneBeforeToo(t *testing.T) {
	var m audit.Memory
	good := m.Append(note("a"))
	m.Fail(errors.New("no"))
	bad := m.Append(note("b"))
	for _, c := range []struct {
		name   string
		ticket audit.Ticket
		fails  bool
	}{
		{"both durable", good.After(good), false},
		{"the earlier failed", good.After(bad), true},
		{"the later failed", bad.After(good), true},
		{"there is no earlier one", good.After(audit.Ticket{}), false},
		{"there is no later one", audit.Ticket{}.After(good), true},
		{"an earlier one of three failed", good.After(good.After(bad)), true},
	} {
		if err := c.ticket.Wait(t.Context()); (err != nil) != c.fails {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Whatever fails, in whatever way: what was promised is there, what was refused is
// not, and the ledger goes on when it can.
func TestEachWriteFailsInEachWay(t *testing.T) {
	const records = 9
	counted := &audit.Faults{}
	history(t, counted, newClock(), records, func(int, error) {})
	ops := counted.Ops
	for at := 1; at <= len(ops); at++ {
		for how, word := range map[audit.Fault]string{audit.Lost: "lost", audit.Torn: "torn", audit.Stored: "stored"} {
			for _, long := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d %s %s long=%v", at, ops[at-1], word, long), func(t *testing.T) {
					t.Parallel()
					d := &audit.Faults{At: at, How: how, Long: long}
					c := newClock()
					var kept, refused []string
					dir, l := history(t, d, c, records, func(i int, err error) {
						if err == nil {
							kept = append(kept, fmt.Sprint(i))
							return
						}
						if !errors.Is(err, audit.ErrFault) {
							t.Errorf("record %d: %v", i, err)
						}
						refused = append(refused, fmt.Sprint(i))
					})
					d.Heal()
					if err := keep(l, "end"); err != nil { // what failed may be stored until the ledger has gone on
						t.Fatalf("it never went on: %v", err)
					}
					kept = append(kept, "end")
					if !long && len(refused) > 3 {
						t.Errorf("%d records were refused for one fault", len(refused))
					}
					if got := names(t, l); !slices.Equal(got, kept) {
						t.Errorf("while it runs: got %v, want %v", got, kept)
					}
					crashed := open(t, clone(t, dir))
					if got := names(t, crashed); !slices.Equal(got, kept) {
						t.Errorf("after a crash: got %v, want %v", got, kept)
					}
					if err := l.Close(); err != nil && !errors.Is(err, audit.ErrFault) {
						t.Error(err)
					}
					d.Heal()
					again := open(t, dir)
					if got := names(t, again); !slices.Equal(got, kept) {
						t.Errorf("opened again: got %v, want %v", got, kept)
					}
					if err := keep(again, "more"); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}

// history writes records to a ledger on d, one after the other, and heals d a few
// records behind its first fault. Segments are so small that some get full.
func history(t *testing.T, d *audit.Faults, c *clock, records int, told func(i int, err error)) (dir string, l *audit.Ledger) {
	t.Helper()
	dir = t.TempDir()
	l, err := audit.OpenOn(dir, audit.Config{Now: c.Now}, d, 2<<10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	failed := 0
	for i := range records {
		err := keep(l, fmt.Sprint(i))
		told(i, err)
		if err != nil {
			if failed++; failed == 3 {
				d.Heal()
			}
		}
		c.Move(time.Second)
	}
	return dir, l
}

// A batch that failed and is on disk all the same may be there after a crash, but
// only if nothing was written since.
func TestWhatFailedButIsStoredIsThereOnlyIfNothingFollows(t *testing.T) {
	counted := &audit.Faults{}
	history(t, counted, newClock(), 2, func(int, error) {})
	last := len(counted.Ops)
	if counted.Ops[last-1] != "sync" {
		t.Fatalf("operations: %v", counted.Ops)
	}
	for _, follows := range []bool{false, true} {
		d := &audit.Faults{At: last, How: audit.Stored, Uncut: true}
		c := newClock()
		dir, l := history(t, d, c, 2, func(int, error) {})
		want := []string{"0", "1"}
		if follows {
			d.Heal()
			c.Move(time.Second)
			if err := keep(l, "2"); err != nil {
				t.Fatal(err)
			}
			want = []string{"0", "2"}
		}
		crashed := open(t, clone(t, dir))
		if err := keep(crashed, "more"); err != nil {
			t.Fatal(err)
		}
		if got := names(t, crashed); !slices.Equal(got, append(want, "more")) {
			t.Errorf("follows=%v: got %v", follows, got)
		}
	}
}

func TestABatchFailsAloneAndTheNextOneIsTried(t *testing.T) {
	d := &audit.Faults{}
	l, err := audit.OpenOn(t.TempDir(), audit.Config{Now: newClock().Now}, d, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := keep(l, "a"); err != nil {
		t.Fatal(err)
	}
	d.Hold()
	first := l.Append(note("b"))
	d.Held() // the writer is at it
	second := l.Append(note("c"))
	d.FailNext()
	d.Release()
	if err := first.Wait(t.Context()); !errors.Is(err, audit.ErrFault) {
		t.Errorf("b: %v", err)
	}
	if err := second.Wait(t.Context()); err != nil {
		t.Errorf("c: %v", err)
	}
	if got := names(t, l); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("got %v", got)
	}
	if first.Seq() != 0 || second.Seq() != 2 {
		t.Errorf("seq %d and %d", first.Seq(), second.Seq())
	}
	if err := l.Ready(); err != nil {
		t.Error(err)
	}
}

func TestABrokenDiskIsNotAskedAllTheTime(t *testing.T) {
	d := &audit.Faults{At: 1, Long: true}
	c := newClock()
	l, err := audit.OpenOn(t.TempDir(), audit.Config{Now: c.Now}, d, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 1000 {
		if err := keep(l, "x"); !errors.Is(err, audit.ErrFault) {
			t.Fatal(err)
		}
	}
	if n := d.Count(); n > 3 {
		t.Errorf("%d operations for one moment", n)
	}
	c.Move(time.Second)
	keep(l, "x")
	if n := d.Count(); n > 6 {
		t.Errorf("%d operations for two moments", n)
	}
}

// A gate that is not ready gets no calls, so nobody would find out that the disk
// works again.
func TestAskingWhetherItIsReadyMakesItTryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &audit.Faults{At: 1, Long: true}
		l, err := audit.OpenOn(t.TempDir(), audit.Config{}, d, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := keep(l, "x"); err == nil {
			t.Fatal("a broken disk took a record")
		}
		time.Sleep(time.Second)
		if err := l.Ready(); !errors.Is(err, audit.ErrFault) {
			t.Errorf("broken: %v", err)
		}
		synctest.Wait()
		d.Heal()
		time.Sleep(time.Second)
		l.Ready()
		synctest.Wait()
		if err := l.Ready(); err != nil {
			t.Errorf("healed: %v", err)
		}
	})
}

func TestLowSpaceRefusesOnlyWhatActs(t *testing.T) {
	var free atomic.Uint64
	for _, c := range []struct {
		name                string
		total, least        uint64
		withEnough, without uint64
	}{
		{"a small disk needs 4 MiB", 16 << 20, 4 << 20, 4 << 20, 4<<20 - 1},
		{"a usual one needs 1 %", 10 << 30, 10 << 30 / 100, 10 << 30 / 100, 10<<30/100 - 1},
		{"a large one needs 256 MiB", 10 << 40, 256 << 20, 256 << 20, 256<<20 - 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &audit.Faults{Free: func() (uint64, uint64, error) { return free.Load(), c.total, nil }}
			now := newClock()
			free.Store(c.withEnough)
			l, err := audit.OpenOn(t.TempDir(), audit.Config{Now: now.Now}, d, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			act := note("act")
			act.Acts = true
			for _, step := range []struct {
				free uint64
				want error
			}{{c.withEnough, nil}, {c.without, audit.ErrLowSpace}, {c.withEnough, nil}} {
				free.Store(step.free)
				now.Move(100 * time.Millisecond)
				if err := l.Append(act).Wait(t.Context()); !errors.Is(err, step.want) {
					t.Errorf("%d free: an act got %v", step.free, err)
				}
				if err := keep(l, "read"); err != nil {
					t.Errorf("%d free: a read got %v", step.free, err)
				}
				if err := l.Ready(); !errors.Is(err, step.want) {
					t.Errorf("%d free: ready: %v", step.free, err)
				}
			}
		})
	}
}

func TestASegmentThatIsDeletedIsNoticed(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(path string) error
	}{
		{"deleted", os.Remove},
		{"renamed", func(path string) error { return os.Rename(path, path+".old") }},
		{"replaced", func(path string) error {
			doc, err := os.ReadFile(path)
			return errors.Join(err, os.Remove(path), os.WriteFile(path, doc, 0o600))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, now := t.TempDir(), newClock()
			l, err := audit.Open(dir, audit.Config{Now: now.Now})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if err := keep(l, "a"); err != nil {
				t.Fatal(err)
			}
			if err := c.do(segments(t, dir)[0]); err != nil {
				t.Fatal(err)
			}
			if err := keep(l, "b"); err == nil || !strings.Contains(err.Error(), "deleted or replaced") {
				t.Fatalf("got %v", err)
			}
			now.Move(time.Second)
			if err := keep(l, "c"); err != nil {
				t.Fatal(err)
			}
			last := ""
			for r, err := range l.Records(1) {
				if err == nil {
					last = r.Name
				}
			}
			if last != "c" {
				t.Errorf("the last record is %q", last)
			}
		})
	}
}

// What is read before a missing or damaged segment, and behind it, is read.
func TestUnreadableRecordsAreToldAndPassedOver(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(path string) error
	}{
		{"a missing segment", os.Remove},
		{"a damaged one", func(path string) error {
			doc, err := os.ReadFile(path)
			doc[700] ^= 1
			return errors.Join(err, os.WriteFile(path, doc, 0o600))
		}},
		{"one without a head", func(path string) error {
			doc, err := os.ReadFile(path)
			clear(doc[:512])
			return errors.Join(err, os.WriteFile(path, doc, 0o600))
		}},
		{"one cut short", func(path string) error { return os.Truncate(path, 600) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for round := range 3 {
				l := open(t, dir)
				for i := range 2 {
					if err := keep(l, fmt.Sprint(round, i)); err != nil {
						t.Fatal(err)
					}
				}
				l.Close()
			}
			if err := c.do(segments(t, dir)[1]); err != nil {
				t.Fatal(err)
			}
			var got []string
			for r, err := range open(t, dir).Records(1) {
				var lost *audit.Unreadable
				switch {
				case err == nil:
					got = append(got, r.Name)
				case errors.As(err, &lost):
					got = append(got, fmt.Sprintf("%d to %d", lost.First, lost.Last))
				default:
					t.Fatal(err)
				}
			}
			if want := []string{"0 0", "0 1", "3 to 4", "2 0", "2 1"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// A process that is killed leaves the files at any moment of writing.
func TestNothingThatWasPromisedIsLostInACrash(t *testing.T) {
	dir := t.TempDir()
	l, err := audit.OpenOn(dir, audit.Config{}, nil, 8<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var promised sync.Map
	var writing sync.WaitGroup
	var stop atomic.Bool
	for w := range 8 {
		writing.Go(func() {
			for i := 0; !stop.Load(); i++ {
				name := fmt.Sprint(w, ".", i)
				if err := keep(l, name); err != nil {
					t.Error(err)
					return
				}
				promised.Store(name, true)
			}
		})
	}
	for range 15 {
		for n := l.Head(); l.Head() < n+uint64(rand.IntN(200)); {
			if err := l.Wait(t.Context(), l.Head()); err != nil {
				t.Fatal(err)
			}
		}
		var want []string
		promised.Range(func(name, _ any) bool {
			want = append(want, name.(string))
			return true
		})
		crashed := open(t, clone(t, dir))
		got := make(map[string]bool)
		for _, name := range names(t, crashed) {
			got[name] = true
		}
		for _, name := range want {
			if !got[name] {
				t.Fatalf("record %s is lost", name)
			}
		}
		crashed.Close()
	}
	stop.Store(true)
	writing.Wait()
}

// crashed is a folder with a ledger that was never closed, and where its batches
// of one record each begin.
func crashed(t *testing.T, records int) (dir string, at []int) {
	t.Helper()
	live := t.TempDir()
	l := open(t, live)
	for i := range records {
		if err := keep(l, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	dir = clone(t, live)
	doc, err := os.ReadFile(segments(t, dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(doc); i += 512 {
		if bytes.HasPrefix(doc[i:], []byte("cgbatch\x01")) {
			at = append(at, i)
		}
	}
	if len(at) != records {
		t.Fatalf("%d batches", len(at))
	}
	if err := os.Truncate(segments(t, dir)[0], int64(at[records-1]+at[1]-at[0]+512)); err != nil {
		t.Fatal(err)
	}
	return dir, at
}

func TestATornTailIsCutAtEveryByte(t *testing.T) {
	const records = 4
	dir, at := crashed(t, records)
	path := segments(t, dir)[0]
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	end := at[records-1] + (at[1] - at[0])
	for cut := at[records-2] - 3; cut <= end; cut++ {
		for _, zeros := range []bool{false, true} { // the file ends there, or its space was allocated
			torn := doc[:cut]
			if zeros {
				torn = append(slices.Clone(torn), make([]byte, end+512-cut)...)
			}
			if err := os.WriteFile(path, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			whole := 0
			for _, a := range at {
				if len(bytes.TrimRight(doc[a:a+at[1]-at[0]], "\x00")) <= cut-a && (zeros || a+at[1]-at[0] <= cut) {
					whole++
				}
			}
			l, err := audit.Open(dir, audit.Config{})
			if err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			if got := names(t, l); len(got) != whole {
				t.Fatalf("cut at %d, zeros=%v: %d records, want %d", cut, zeros, len(got), whole)
			}
			if cut%64 == 0 {
				if err := keep(l, "more"); err != nil {
					t.Fatal(err)
				}
				if got := names(t, l); len(got) != whole+1 {
					t.Fatalf("cut at %d: %d records after one more", cut, len(got))
				}
			}
			l.Close()
			for _, s := range segments(t, dir)[1:] {
				os.Remove(s)
			}
		}
	}
}

// A damaged batch is cut off only if it is the last: then nobody can tell it from
// one that was never promised.
func TestDamageAtAnyByteIsAnErrorUnlessNothingFollows(t *testing.T) {
	const records = 3
	dir, at := crashed(t, records)
	path := segments(t, dir)[0]
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < at[records-1]+at[1]-at[0]; i++ {
		damaged := slices.Clone(doc)
		damaged[i] ^= 0x20
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := audit.Open(dir, audit.Config{})
		switch {
		case i < at[records-1] && err == nil:
			t.Fatalf("damage at byte %d was not noticed", i)
		case i >= at[records-1] && err != nil:
			t.Fatalf("byte %d of the last batch: %v", i, err)
		case err != nil && i >= at[0] && !strings.Contains(err.Error(), "damaged at byte"):
			t.Fatalf("byte %d: %v", i, err)
		case err == nil:
			if got := names(t, l); len(got) != records-1 {
				t.Fatalf("byte %d: %d records", i, len(got))
			}
			l.Close()
		}
	}
}

func TestASegmentThatWasNeverBegunIsPassedOver(t *testing.T) {
	for _, c := range []struct {
		name string
		doc  []byte
	}{
		{"an empty file", nil},
		{"half a head", []byte("callgate ledger\n\x01")},
		{"allocated space", make([]byte, 1<<20)},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir)
			if err := keep(l, "a"); err != nil {
				t.Fatal(err)
			}
			l.Close()
			if err := os.WriteFile(filepath.Join(dir, "00000002-00000000000000000002.seg"), c.doc, 0o600); err != nil {
				t.Fatal(err)
			}
			l = open(t, dir)
			if err := keep(l, "b"); err != nil {
				t.Fatal(err)
			}
			if got := names(t, l); !slices.Equal(got, []string{"a", "b"}) {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestFilesThatAreNotOfThisLedgerAreRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(dir, segment string) error
		want string
	}{
		{"a segment that was renamed", func(dir, s string) error {
			return os.Rename(s, filepath.Join(dir, "00000002-00000000000000000001.seg"))
		}, "must not be renamed"},
		{"a name that is none", func(dir, s string) error { return os.Rename(s, filepath.Join(dir, "backup.seg")) }, "not a name of a segment"},
		{"something else", func(dir, s string) error { return os.WriteFile(s, []byte(strings.Repeat("hello", 1000)), 0o600) }, "does not begin as"},
		{"another version", func(dir, s string) error {
			doc, err := os.ReadFile(s)
			doc[16] = 2
			audit.SumSector(doc)
			return errors.Join(err, os.WriteFile(s, doc, 0o600))
		}, "version 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir)
			if err := keep(l, "a"); err != nil {
				t.Fatal(err)
			}
			l.Close()
			if err := c.do(dir, segments(t, dir)[0]); err != nil {
				t.Fatal(err)
			}
			if _, err := audit.Open(dir, audit.Config{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}
