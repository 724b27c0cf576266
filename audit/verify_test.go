package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// signedLedger is a ledger of three segments in a folder, closed, and its public key.
func signedLedger(t testing.TB, records int) (dir, key string) {
	t.Helper()
	dir = t.TempDir()
	secret := ""
	for range 3 {
		l, err := Open(dir, Config{})
		if err != nil {
			t.Fatal(err)
		}
		if secret == "" {
			if secret, _, err = NewLogKey(l.Origin()); err != nil {
				t.Fatal(err)
			}
		}
		s, err := NewSealer(l, SealerConfig{Key: secret, Every: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		for i := range records / 3 {
			last := l.Append(&Record{Type: Changed, At: int64(i), What: "test.made", Name: fmt.Sprint("record ", l.Head())})
			if i%5 == 4 {
				if err := last.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if i%10 == 9 {
				if err := s.Seal(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := errors.Join(l.Append(&Record{Type: Changed, What: "test.last"}).Wait(t.Context()), s.Close(), l.Close()); err != nil {
			t.Fatal(err)
		}
		key = s.Key()
	}
	return dir, key
}

func verified(t testing.TB, dir string, cfg VerifyConfig) *Verification {
	t.Helper()
	v, err := Verify(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestALedgerThatIsWholeIsVerified(t *testing.T) {
	dir, key := signedLedger(t, 90)
	for _, cfg := range []VerifyConfig{{}, {Key: key}} {
		v := verified(t, dir, cfg)
		if len(v.Flaws) > 0 || v.Records != 93 || v.Signed != 93 || v.First != 1 || v.Last != 93 || v.Checkpoints < 9 || v.Segments != 3 {
			t.Errorf("%+v", v)
		}
	}
	_, other := signedLedger(t, 3)
	if v := verified(t, dir, VerifyConfig{Key: other}); len(v.Flaws) == 0 {
		t.Error("the key of another ledger verifies it")
	}
}

func TestVerifyWhileTheLedgerGrows(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, Config{})
	if err != nil {
		t.Fatal(err)
	}
	secret, _, err := NewLogKey(l.Origin())
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSealer(l, SealerConfig{Key: secret, Every: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	const n = 500
	if err := l.Append(&Record{Type: Changed, What: "test.first"}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range n - 1 {
			if err := l.Append(&Record{Type: Changed, At: int64(i), What: "test.made"}).Wait(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}()
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		if v := verified(t, dir, VerifyConfig{}); len(v.Flaws) > 0 {
			t.Fatalf("%+v", v.Flaws)
		}
	}
	if err := errors.Join(s.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if v := verified(t, dir, VerifyConfig{}); v.Signed != n {
		t.Errorf("%+v", v)
	}
}

// Each byte counts: one that is changed is found, whichever it is.
func TestEachChangedByteIsFound(t *testing.T) {
	dir, key := signedLedger(t, 30)
	segments, err := listSegments(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := []string{checkpointsName}
	for _, s := range segments {
		files = append(files, s.name())
	}
	for _, name := range files {
		path := filepath.Join(dir, name)
		was := contents(t, path)
		missed := 0
		for i := range was {
			b := bytes.Clone(was)
			b[i] ^= 0x20
			overwrite(t, path, b)
			if v, err := Verify(dir, VerifyConfig{Key: key, patience: 1}); err == nil && len(v.Flaws) == 0 {
				if missed++; missed < 5 {
					t.Errorf("byte %d of the %d of %s was changed, and it is not found", i, len(was), name)
				}
			}
		}
		overwrite(t, path, was)
	}
}

// Records that are taken out, put in, moved, cut off or written anew are found, also where
// somebody makes every checksum, hash and link right again.
func TestEachChangeOfRecordsIsFound(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, dir string, segments []segment)
	}{
		{"the last segment is taken out", func(t *testing.T, dir string, s []segment) { remove(t, s[2].path(dir)) }},
		{"the one in the middle is taken out", func(t *testing.T, dir string, s []segment) { remove(t, s[1].path(dir)) }},
		{"the first one is taken out", func(t *testing.T, dir string, s []segment) { remove(t, s[0].path(dir)) }},
		{"the first one is taken out, with its hashes", func(t *testing.T, dir string, s []segment) {
			remove(t, s[0].path(dir))
			remove(t, filepath.Join(dir, hashesName))
		}},
		{"two change their places", func(t *testing.T, dir string, s []segment) {
			a, b := contents(t, s[0].path(dir)), contents(t, s[1].path(dir))
			overwrite(t, s[0].path(dir), b)
			overwrite(t, s[1].path(dir), a)
		}},
		{"the seal and what stands before are cut off", func(t *testing.T, dir string, s []segment) {
			b := contents(t, s[2].path(dir))
			overwrite(t, s[2].path(dir), b[:len(b)-2*sector])
		}},
		{"all is cut off behind the head", func(t *testing.T, dir string, s []segment) {
			overwrite(t, s[2].path(dir), contents(t, s[2].path(dir))[:sector])
		}},
		{"written anew with another record", func(t *testing.T, dir string, s []segment) { rewrite(t, dir, s, "forged") }},
		{"written anew without a record", func(t *testing.T, dir string, s []segment) { rewrite(t, dir, s, "") }},
		{"cut off with its checkpoints, of which somebody has one", func(t *testing.T, dir string, s []segment) {
			remove(t, s[2].path(dir))
			notes, _, err := readNotes(filepath.Join(dir, checkpointsName))
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, filepath.Join(dir, checkpointsName), append(bytes.Clone(notes[0]), '\n'))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, key := signedLedger(t, 60)
			notes, _, err := readNotes(filepath.Join(dir, checkpointsName))
			if err != nil {
				t.Fatal(err)
			}
			segments, err := listSegments(dir)
			if err != nil {
				t.Fatal(err)
			}
			c.change(t, dir, segments)
			v := verified(t, dir, VerifyConfig{Key: key, Checkpoint: notes[len(notes)-1]})
			if len(v.Flaws) == 0 {
				t.Errorf("it is not found: %+v", v)
			}
			for _, f := range v.Flaws {
				if strings.Contains(c.name, "anew") && !strings.Contains(f.Reason, "signed") {
					t.Errorf("the forgery is not as good as it should be: %v", f)
				}
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func overwrite(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// rewrite writes the ledger anew as whoever knows its format would, with another fifth
// record, or without it.
func rewrite(t *testing.T, dir string, segments []segment, fifth string) {
	t.Helper()
	fake := t.TempDir()
	l, err := Open(fake, Config{})
	if err != nil {
		t.Fatal(err)
	}
	copy(l.id[:], contents(t, segments[0].path(dir))[48:])
	n := 0
	for e, err := range Files(dir, time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		r, err := decode(e.JSON)
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 5 {
			if fifth == "" {
				continue
			}
			r.Name = fifth
		}
		l.Append(&r)
	}
	if fifth == "" {
		l.Append(&Record{Type: Changed, What: "test.more"})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, s := range segments {
		remove(t, s.path(dir))
	}
	made, err := listSegments(fake)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range made {
		overwrite(t, s.path(dir), contents(t, s.path(fake)))
	}
}

func TestAProofNeedsNothingElse(t *testing.T) {
	dir, key := signedLedger(t, 60)
	proof, err := Prove(dir, "", 17, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := CheckProof(proof, key)
	if err != nil || len(list) != 1 || list[0].Seq != 17 || !bytes.Contains(list[0].Record, []byte("test.made")) {
		t.Fatalf("%+v, %v", list, err)
	}
	missed := 0
	for i := range proof {
		b := bytes.Clone(proof)
		b[i] ^= 1
		if _, err := CheckProof(b, key); err == nil {
			if missed++; missed < 5 {
				t.Errorf("byte %d of the %d of the proof is changed to %q, and it still holds", i, len(proof), b[i])
			}
		}
	}
	_, other := signedLedger(t, 3)
	if _, err := CheckProof(proof, other); err == nil {
		t.Error("the key of another ledger verifies it")
	}
	at := bytes.Index(proof, []byte("\n\n")) + 2 // from here on it is a signed note, for standard tools
	v, err := note.NewVerifier(key)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(proof[at:], note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	if tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + strings.SplitN(n.Text, "\n", 2)[1])); err != nil || tree.N != 63 {
		t.Errorf("%+v, %v", tree, err)
	}
	if _, err := Prove(dir, "", 1000, time.Time{}); err == nil {
		t.Error("a record is proven that there is not")
	}
}

// A sealer goes on after anything but another ledger.
func TestASealerGoesOn(t *testing.T) {
	cut := func(n int) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			b := contents(t, filepath.Join(dir, checkpointsName))
			overwrite(t, filepath.Join(dir, checkpointsName), b[:len(b)-n])
		}
	}
	for _, c := range []struct {
		name   string
		change func(t *testing.T, dir string)
		fails  bool
	}{
		{"closed", func(*testing.T, string) {}, false},
		{"hashes are gone", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, hashesName)) }, false},
		{"hashes are damaged", func(t *testing.T, dir string) {
			b := contents(t, filepath.Join(dir, hashesName))
			for i := range b {
				b[i] ^= 0xff
			}
			overwrite(t, filepath.Join(dir, hashesName), b)
		}, false},
		{"a checkpoint was cut off by a crash", cut(10), false},
		{"a checkpoint was cut off behind its signature", cut(1), false},
		{"the ledger is another one", func(t *testing.T, dir string) {
			segments, err := listSegments(dir)
			if err != nil {
				t.Fatal(err)
			}
			rewrite(t, dir, segments, "forged")
			remove(t, filepath.Join(dir, hashesName))
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			l, err := Open(dir, Config{})
			if err != nil {
				t.Fatal(err)
			}
			secret, _, err := NewLogKey(l.Origin())
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				s, err := NewSealer(l, SealerConfig{Key: secret, Every: time.Hour})
				if err != nil {
					t.Fatal(err)
				}
				for range 30 {
					l.Append(&Record{Type: Changed, What: "test.made"})
				}
				if err := errors.Join(l.Append(&Record{Type: Changed, What: "test.last"}).Wait(t.Context()), s.Close()); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			c.change(t, dir)
			if l, err = Open(dir, Config{}); err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			s, err := NewSealer(l, SealerConfig{Key: secret, Every: time.Hour})
			if c.fails {
				if !errors.Is(err, errNotSigned) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(l.Append(&Record{Type: Changed, What: "test.more"}).Wait(t.Context()), s.Close()); err != nil {
				t.Fatal(err)
			}
			if v := verified(t, dir, VerifyConfig{}); len(v.Flaws) > 0 || v.Signed != 63 {
				t.Errorf("%+v", v)
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	dir := b.TempDir()
	l, err := Open(dir, Config{})
	if err != nil {
		b.Fatal(err)
	}
	r := Record{Type: Opened, At: 1, Call: "0199d3a2-7a51-7c3e-9f7e-1b1f0a6c2d4e", Tenant: "default", Agent: "agent:support-bot", Token: "abcdefghijklmnop", Run: "0199d3a2-7a51-7c3e-9f7e-1b1f0a6c2d4f", Kind: "tool", Target: "shop", Method: "tools/call", Resource: "refund",
		Args: []byte(`{"order":7,"amount":30,"note":"` + strings.Repeat("a long note ", 20) + `"}`), ArgsHash: "00112233445566778899aabbccddeeff", Effect: "allow", Rule: "T1", Policy: "3f0c9a1be877"}
	const n = 200_000
	for i := range n {
		t := l.Append(&r)
		if i%1000 == 999 {
			if err := t.Wait(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	secret, _, err := NewLogKey(l.Origin())
	if err != nil {
		b.Fatal(err)
	}
	s, err := NewSealer(l, SealerConfig{Key: secret, Every: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	if err := s.Seal(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(n/time.Since(began).Seconds(), "sealed/s")
	if err := errors.Join(s.Close(), l.Close()); err != nil {
		b.Fatal(err)
	}
	began = time.Now()
	runs := 0
	for b.Loop() {
		runs++
		if v := verified(b, dir, VerifyConfig{}); len(v.Flaws) > 0 {
			b.Fatal(v.Flaws)
		}
	}
	b.ReportMetric(n*float64(runs)/time.Since(began).Seconds(), "records/s")
}
