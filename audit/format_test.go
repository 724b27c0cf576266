package audit_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"callgate/audit"
)

// A reader of a ledger's files that knows nothing but docs/ledger.md. It accounts
// for every byte.

var le = binary.LittleEndian

func crc(parts ...[]byte) uint32 {
	return crc32.Checksum(bytes.Join(parts, nil), crc32.MakeTable(crc32.Castagnoli))
}

type reading struct {
	names  []string // of the records
	next   uint64
	link   [32]byte // of the last batch
	ledger []byte
	sealed bool
}

func (r *reading) segment(path string) error {
	doc, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head := doc[:512]
	var no, first uint64
	if _, err := fmt.Sscanf(filepath.Base(path), "%08d-%020d.seg", &no, &first); err != nil {
		return err
	}
	switch {
	case string(head[:16]) != "callgate ledger\n", le.Uint32(head[508:]) != crc(head[:508]):
		return fmt.Errorf("head")
	case le.Uint32(head[16:]) != 1, le.Uint32(head[20:]) != 0, !bytes.Equal(head[96:508], make([]byte, 412)):
		return fmt.Errorf("version or reserved bytes")
	case le.Uint64(head[24:]) != no, le.Uint64(head[32:]) != first, first != r.next:
		return fmt.Errorf("number or first record")
	case le.Uint64(head[40:]) == 0:
		return fmt.Errorf("time")
	case r.ledger != nil && !bytes.Equal(r.ledger, head[48:64]):
		return fmt.Errorf("ledger")
	case [32]byte(head[64:96]) != r.link:
		return fmt.Errorf("link to the segment before")
	}
	r.ledger, r.sealed = head[48:64], false
	prev := sha256.Sum256(head[:508])
	for at := 512; at < len(doc); {
		b := doc[at:]
		if string(b[:8]) == "cg-seal\x01" {
			b = b[:512]
			switch {
			case le.Uint32(b[508:]) != crc(b[:508]), len(doc) != at+512:
				return fmt.Errorf("seal")
			case le.Uint64(b[8:]) != no, le.Uint64(b[16:]) != uint64(at), le.Uint64(b[24:]) != r.next, le.Uint64(b[32:]) == 0:
				return fmt.Errorf("what the seal says")
			case !bytes.Equal(b[40:64], make([]byte, 24)), [32]byte(b[64:96]) != prev, !bytes.Equal(b[96:508], make([]byte, 412)):
				return fmt.Errorf("link in the seal")
			}
			r.sealed = true
			return nil
		}
		size, count := int(le.Uint32(b[8:])), le.Uint32(b[12:])
		switch {
		case string(b[:8]) != "cgbatch\x01", le.Uint32(b[100:]) != crc(b[:100]), le.Uint32(b[96:]) != 0:
			return fmt.Errorf("head of the batch at %d", at)
		case (104+size)%512 != 0, le.Uint64(b[16:]) != r.next, le.Uint64(b[24:]) == 0, [32]byte(b[32:64]) != prev:
			return fmt.Errorf("what the batch at %d says", at)
		}
		leaves := []byte{2}
		frames := b[104 : 104+size]
		for i := range count + 1 {
			length := le.Uint32(frames)
			if padding := length>>31 == 1; padding != (i == count) {
				return fmt.Errorf("padding of the batch at %d", at)
			}
			payload := frames[8 : 8+length&^(1<<31)]
			if le.Uint32(frames[4:]) != crc(frames[:4], payload) {
				return fmt.Errorf("frame %d of the batch at %d", i, at)
			}
			frames = frames[8+len(payload):]
			if i == count {
				if len(frames) > 0 || !bytes.Equal(payload, make([]byte, len(payload))) || len(payload) >= 512 {
					return fmt.Errorf("end of the batch at %d", at)
				}
				break
			}
			leaf := sha256.Sum256(append([]byte{0}, payload...))
			leaves = append(leaves, leaf[:]...)
			var record audit.Record
			if err := json.Unmarshal(payload, &record); err != nil {
				return err
			}
			r.names = append(r.names, record.Name)
			r.next++
		}
		if sha256.Sum256(leaves) != [32]byte(b[64:96]) {
			return fmt.Errorf("root of the batch at %d", at)
		}
		prev = sha256.Sum256(b[:100])
		r.link = prev
		at += 104 + size
	}
	return nil
}

func TestTheFilesAreAsTheirDocumentationSays(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for round := range 3 {
		l, err := audit.OpenOn(dir, audit.Config{}, nil, 4<<10)
		if err != nil {
			t.Fatal(err)
		}
		var last audit.Ticket
		for i := range 100 {
			want = append(want, fmt.Sprint(round, i))
			last = l.Append(note(want[len(want)-1]))
			if i%9 == 0 {
				if err := last.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r := reading{next: 1}
	files := segments(t, dir)
	if len(files) < 6 {
		t.Fatalf("%d segments", len(files))
	}
	for _, path := range files {
		if err := r.segment(path); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if !r.sealed {
			t.Errorf("%s is not sealed", path)
		}
	}
	if !slices.Equal(r.names, want) {
		t.Errorf("got %v", r.names)
	}
}

// FuzzSegment opens a ledger whose last segment may be anything.
func FuzzSegment(f *testing.F) {
	dir := f.TempDir()
	l := open(f, dir)
	for i := range 3 {
		if err := keep(l, fmt.Sprint(i)); err != nil {
			f.Fatal(err)
		}
	}
	whole, err := os.ReadFile(segments(f, dir)[0])
	if err != nil {
		f.Fatal(err)
	}
	l.Close()
	sealed, err := os.ReadFile(segments(f, dir)[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(whole[:len(sealed)])
	f.Add(whole[:len(sealed)-700])
	f.Add(whole[:600])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, doc []byte) {
		if len(doc) > 1<<16 {
			return
		}
		audit.Mend(doc) // else nothing gets behind the first checksum
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "00000001-00000000000000000001.seg"), doc, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := audit.Open(dir, audit.Config{})
		if err != nil {
			return
		}
		defer l.Close()
		had := l.Head()
		if err := keep(l, "more"); err != nil {
			t.Fatal(err)
		}
		if l.Head() != had+1 {
			t.Fatalf("head %d after %d", l.Head(), had)
		}
		for e, err := range l.Entries(1) {
			if err == nil {
				l.At(e.Place)
			}
		}
	})
}
