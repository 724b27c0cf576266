package audit

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
)

// An Entry is a record as it stands in the ledger.
type Entry struct {
	Seq   uint64
	Place Place
	JSON  []byte // valid until the next Entry is asked for
}

// A Place is where a record is in the ledger: its segment's number, and the
// offset there.
type Place uint64

func place(no uint64, at int64) Place { return Place(no<<32 | uint64(at)) }

func (p Place) segment() uint64 { return uint64(p) >> 32 }
func (p Place) offset() int64   { return int64(p & (1<<32 - 1)) }

// errBroken says that what stands in a file is no batch that is whole.
var errBroken = errors.New("no whole batch")

// Unreadable is the error of records that are in the ledger's count and cannot be
// read any more.
type Unreadable struct {
	First, Last uint64 // seq of the records
	Err         error
}

func (u *Unreadable) Error() string {
	return fmt.Sprintf("records %d to %d of the ledger cannot be read: %v", u.First, u.Last, u.Err)
}

func (u *Unreadable) Unwrap() error { return u.Err }

// Records is the durable records from seq on, in order. An error is an
// [*Unreadable]; whoever goes on gets the records behind it.
func (l *Ledger) Records(from uint64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for e, err := range l.Entries(from) {
			var r Record
			if err == nil {
				if r, err = decode(e.JSON); err != nil {
					err = &Unreadable{e.Seq, e.Seq, err}
				}
				r.Seq = e.Seq
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// Entries is like [Ledger.Records], without decoding the records.
func (l *Ledger) Entries(from uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		from := max(from, 1)
		segments, marks, head := l.snapshot()
		for i, s := range segments {
			last, at := head, int64(sector)
			if i < len(segments)-1 {
				last = min(head, segments[i+1].first-1)
			} else {
				at = before(marks, from)
			}
			if from > last {
				continue
			}
			if s.first > from {
				if !yield(Entry{}, &Unreadable{from, s.first - 1, errors.New("no segment holds them")}) {
					return
				}
				from = s.first
			}
			r := span{from: from, last: last}
			err := r.read(s.path(l.dir), s, at, yield)
			if r.enough || err != nil && !yield(Entry{}, &Unreadable{r.from, last, err}) {
				return
			}
			from = last + 1
		}
	}
}

// before is where to begin reading for the record from.
func before(marks []mark, from uint64) int64 {
	i, found := slices.BinarySearchFunc(marks, from, func(m mark, from uint64) int {
		switch {
		case m.first < from:
			return -1
		case m.first > from:
			return 1
		}
		return 0
	})
	if found {
		return marks[i].at
	}
	if i == 0 {
		return sector
	}
	return marks[i-1].at
}

// A span is records that are wanted.
type span struct {
	from, last uint64 // those not yet read
	enough     bool   // no more are wanted
}

// read yields the span's records from segment s, where a batch begins at offset at.
func (r *span) read(path string, s segment, at int64, yield func(Entry, error) bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	next, prev := uint64(0), link{} // not known in the middle of a segment
	if at == sector {
		b := make([]byte, sector)
		if _, err := io.ReadFull(f, b); err != nil {
			return err
		}
		if _, err := decodeHead(b, s); err != nil {
			return err
		}
		next, prev = s.first, headLink(b)
	}
	for in := newBatches(f, at); r.from <= r.last; {
		h, b, link, err := in.next()
		if err == nil && next != 0 && (h.first != next || h.prev != prev) {
			err = errBroken
		}
		if err != nil {
			return fmt.Errorf("%s is damaged at byte %d: %w", path, in.at, err)
		}
		next, prev = h.first+uint64(h.count), link
		frames := b[batchHead:]
		for seq := h.first; seq < next && r.from < next; seq++ {
			at := in.at + int64(len(b)-len(frames))
			var payload []byte
			payload, frames, _, _ = cutFrame(frames)
			if seq < r.from {
				continue
			}
			r.from++
			if !yield(Entry{seq, place(s.no, at), payload}, nil) {
				r.enough = true
				return nil
			}
		}
		in.at += int64(len(b))
	}
	return nil
}

// At is the record at p, without its Seq.
func (l *Ledger) At(p Place) (Record, error) {
	doc, err := l.Read(p)
	if err != nil {
		return Record{}, err
	}
	return decode(doc)
}

// Read is the record at p as it stands there.
func (l *Ledger) Read(p Place) ([]byte, error) {
	path, ok := l.segmentAt(p)
	if !ok {
		return nil, fmt.Errorf("no segment %d in %s", p.segment(), l.dir)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAt(f, p)
}

// segmentAt is the file that p is in.
func (l *Ledger) segmentAt(p Place) (string, bool) {
	segments, _, _ := l.snapshot()
	i, ok := slices.BinarySearchFunc(segments, p.segment(), func(s segment, no uint64) int { return cmp.Compare(s.no, no) })
	if !ok {
		return "", false
	}
	return segments[i].path(l.dir), true
}

// readAt is the record at p, which is in f.
func readAt(f *os.File, p Place) ([]byte, error) {
	b := make([]byte, 2<<10) // most records are smaller
	n, err := f.ReadAt(b, p.offset())
	if err != nil && err != io.EOF {
		return nil, err
	}
	if size := frameSize(b[:n]); size > n && size <= frameHead+MaxRecord {
		b = make([]byte, size)
		if n, err = f.ReadAt(b, p.offset()); err != nil && err != io.EOF {
			return nil, err
		}
	}
	payload, _, pad, ok := cutFrame(b[:n])
	if !ok || pad {
		return nil, fmt.Errorf("%s is damaged at byte %d", f.Name(), p.offset())
	}
	return payload, nil
}

func decode(doc []byte) (r Record, err error) {
	err = json.Unmarshal(doc, &r)
	return r, err
}

// batches reads a segment's batches one after the other.
type batches struct {
	f   *os.File
	at  int64  // offset of the batch that next reads; the caller moves on
	off int64  // offset of buf in the file
	buf []byte // what was read ahead
}

const readAhead = 64 << 10

func newBatches(f *os.File, at int64) *batches { return &batches{f: f, at: at, off: at} }

// next is the batch at r.at, valid until the next call, and its link. The error
// is errBroken if there is none that is whole.
func (r *batches) next() (batchHeader, []byte, link, error) {
	b, err := r.peek(batchHead)
	if err != nil {
		return batchHeader{}, nil, link{}, err
	}
	h, l, ok := decodeBatch(b)
	if !ok {
		return h, nil, l, errBroken
	}
	b, err = r.peek(batchHead + int(h.size))
	if err != nil {
		return h, nil, l, err
	}
	rest := b[batchHead:]
	for i := uint32(0); i <= h.count; i++ { // the records, and the padding
		payload, after, pad, ok := cutFrame(rest)
		if !ok || pad != (i == h.count) || pad && !allZero(payload) {
			return h, nil, l, errBroken
		}
		rest = after
	}
	if len(rest) > 0 {
		return h, nil, l, errBroken
	}
	return h, b, l, nil
}

// peek is the n bytes at r.at.
func (r *batches) peek(n int) ([]byte, error) {
	from := int(r.at - r.off)
	if from+n <= len(r.buf) {
		return r.buf[from : from+n], nil
	}
	keep := 0
	if from < len(r.buf) {
		keep = copy(r.buf, r.buf[from:])
	}
	r.off = r.at
	if size := max(n, readAhead); cap(r.buf) < size {
		r.buf = append(make([]byte, 0, size), r.buf[:keep]...)
	}
	read, err := r.f.ReadAt(r.buf[keep:cap(r.buf)], r.off+int64(keep))
	r.buf = r.buf[:keep+read]
	if len(r.buf) >= n {
		return r.buf[:n], nil
	}
	if err == io.EOF {
		return nil, errBroken
	}
	return nil, err
}
