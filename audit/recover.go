package audit

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// errNoHead says that a file does not begin as a segment does.
var errNoHead = errors.New("it does not begin as a segment of a ledger does")

// recover finds the ledger's end, so that the next record follows the last.
func (l *Ledger) recover() error {
	segments, err := listSegments(l.dir)
	if err != nil {
		return err
	}
	w := &l.w
	w.no, w.next = 1, 1
	if n := len(segments); n > 0 {
		w.no = segments[n-1].no + 1
	}
	for len(segments) > 0 {
		s := segments[len(segments)-1]
		t, err := recoverSegment(s.path(l.dir), s)
		if errors.Is(err, errUnborn) {
			l.cfg.Logger.Warn("ledger segment was never begun, it is removed", "segment", s.name())
			if err := l.disk.remove(s.path(l.dir)); err != nil {
				return err
			}
			segments = segments[:len(segments)-1]
			continue
		}
		if disk := (*fs.PathError)(nil); errors.As(err, &disk) {
			return err
		}
		if err != nil {
			return fmt.Errorf("segment %s: %w; restore it from a backup, or move the whole folder away to keep it as it is and begin a new ledger", s.name(), err)
		}
		if t.cut > 0 {
			l.cfg.Logger.Warn("ledger was not closed cleanly, its unfinished end is cut off", "segment", s.name(), "bytes", t.cut)
		}
		l.id, w.next, w.prev, l.head = t.ledger, t.next, t.last, t.next-1
		l.segments = segments
		return nil
	}
	rand.Read(l.id[:]) // never fails
	return nil
}

// listSegments is the segments in dir, in order.
func listSegments(dir string) ([]segment, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var segments []segment
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), extension) {
			continue
		}
		s, ok := parseName(f.Name())
		if !ok {
			return nil, fmt.Errorf("%s is not a name of a segment: files of a ledger must not be renamed", filepath.Join(dir, f.Name()))
		}
		segments = append(segments, s)
	}
	slices.SortFunc(segments, func(a, b segment) int {
		if a.no < b.no {
			return -1
		}
		return 1 // names, and so numbers, differ
	})
	for i := 1; i < len(segments); i++ {
		if a, b := segments[i-1], segments[i]; a.no == b.no || a.first > b.first {
			return nil, fmt.Errorf("%s and %s are not of one ledger", a.name(), b.name())
		}
	}
	return segments, nil
}

// A tail is how a segment ends.
type tail struct {
	head
	next uint64 // seq behind its last record
	last link   // of its last batch, or, where it has none, of the batch before the segment
	cut  int64  // bytes that were cut off because they were never promised
}

// errUnborn says that a segment was never begun: nothing was ever promised in it.
var errUnborn = errors.New("never begun")

// recoverSegment finds the end of the ledger's last segment and makes it a
// durable one.
func recoverSegment(path string, s segment) (tail, error) {
	t, lastAt, end, err := endOf(path, s)
	if err != nil || end == 0 {
		return t, err
	}
	return t, cement(path, lastAt, end)
}

// endOf finds the end of the ledger's last segment: where its last batch begins,
// and what follows it. They are 0 if the segment was closed cleanly.
func endOf(path string, s segment) (t tail, lastAt, end int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return tail{}, 0, 0, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return tail{}, 0, 0, err
	}
	b := make([]byte, sector)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return tail{}, 0, 0, err
	}
	h, err := decodeHead(b[:n], s)
	if errors.Is(err, errNoHead) { // batches come only when the head is durable
		if none, err := zeroFrom(f, sector, size); err != nil {
			return tail{}, 0, 0, err
		} else if none {
			return tail{}, 0, 0, errUnborn
		}
	}
	if err != nil {
		return tail{}, 0, 0, err
	}
	t = tail{head: h, next: h.first, last: h.prev}
	if sealed, err := t.sealed(f, size); sealed || err != nil {
		return t, 0, 0, err
	}
	end, lastAt, err = t.walk(f, headLink(b))
	if err != nil {
		return tail{}, 0, 0, err
	}
	if none, err := zeroFrom(f, end, size); err != nil {
		return tail{}, 0, 0, err
	} else if !none {
		t.cut = size - end
	}
	return t, lastAt, end, nil
}

// sealed reads the seal of a segment that was closed cleanly.
func (t *tail) sealed(f *os.File, size int64) (bool, error) {
	if size < 2*sector || size%sector != 0 {
		return false, nil
	}
	b := make([]byte, sector)
	if _, err := f.ReadAt(b, size-sector); err != nil {
		return false, err
	}
	s, ok := decodeSeal(b)
	if !ok {
		return false, nil
	}
	if s.no != t.no || s.at != uint64(size-sector) || s.next < t.first {
		return false, fmt.Errorf("its seal is not its own: damaged at byte %d", size-sector)
	}
	if s.next > t.first {
		t.last = s.last
	}
	t.next = s.next
	return true, nil
}

// walk goes over all batches to the first that is not whole. It answers where
// that begins, and where the last whole one does, 0 if there is none.
func (t *tail) walk(f *os.File, prev link) (end, lastAt int64, err error) {
	r := newBatches(f, sector)
	for {
		h, b, last, err := r.next()
		if err == nil && (h.first != t.next || h.prev != prev) {
			err = errBroken
		}
		if err == nil {
			err = whole(h, b)
		}
		switch {
		case errors.Is(err, errBroken):
			return r.at, lastAt, t.torn(f, r.at)
		case err != nil:
			return 0, 0, err
		}
		lastAt = r.at
		r.at += int64(len(b))
		t.next += uint64(h.count)
		t.last, prev = last, last
	}
}

// torn returns nil if what stands at offset at of f is only the unfinished end of
// the segment, and an error if more was promised: a batch is written only when the
// one before it is durable.
func (t *tail) torn(f *os.File, at int64) error {
	b := make([]byte, batchHead)
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if n, _ := f.ReadAt(b, at); n == batchHead {
		if h, _, ok := decodeBatch(b); ok && h.first == t.next { // so its length is known
			if none, err := zeroFrom(f, at+batchHead+int64(h.size), size); err != nil {
				return err
			} else if !none {
				return fmt.Errorf("damaged at byte %d: records %d to %d cannot be read, and others follow them", at, h.first, h.first+uint64(h.count)-1)
			}
			return nil
		}
	}
	for next := at; next+batchHead <= size; next += sector {
		if _, err := f.ReadAt(b, next); err != nil {
			return err
		}
		if h, _, ok := decodeBatch(b); ok {
			return fmt.Errorf("damaged at byte %d: the records from %d on cannot be read, and at byte %d record %d follows", at, t.next, next, h.first)
		}
	}
	return nil
}

// cement makes what was found durable. The last batch may have been read from
// memory though it never reached the disk, if its sync failed; so it is written
// once more. What is behind it was never promised and goes.
func cement(path string, lastAt, end int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(end); err != nil {
		return err
	}
	if lastAt > 0 {
		b := make([]byte, end-lastAt)
		if _, err := f.ReadAt(b, lastAt); err != nil {
			return err
		}
		if _, err := f.WriteAt(b, lastAt); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return &fs.PathError{Op: "sync", Path: path, Err: err}
	}
	return nil
}

// whole checks the hash of a batch's records.
func whole(h batchHeader, b []byte) error {
	leaves := make([]byte, 1, 1+int(h.count)*linkSize)
	frames := b[batchHead:]
	free := make([]byte, 0, 1<<10)
	for range h.count {
		var payload []byte
		payload, frames, _, _ = cutFrame(frames)
		free = append(append(free[:0], 0), payload...)
		leaf := leafOf(free)
		leaves = append(leaves, leaf[:]...)
	}
	if rootOf(leaves) != h.root {
		return errBroken
	}
	return nil
}

// zeroFrom says whether f holds nothing but zeros between from and size.
func zeroFrom(f *os.File, from, size int64) (bool, error) {
	b := make([]byte, 64<<10)
	for from < size {
		n, err := f.ReadAt(b[:min(int64(len(b)), size-from)], from)
		if err != nil && err != io.EOF {
			return false, err
		}
		if !allZero(b[:n]) {
			return false, nil
		}
		if n == 0 {
			break
		}
		from += int64(n)
	}
	return true, nil
}
