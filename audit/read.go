package audit

import (
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

// Records is the durable records from seq on, in order. An error tells of records
// that cannot be read; whoever goes on gets those behind them.
func (l *Ledger) Records(from uint64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for e, err := range l.Entries(from) {
			var r Record
			if err == nil {
				r, err = decode(e.JSON)
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
			last, current := head, i == len(segments)-1
			if !current {
				last = min(head, segments[i+1].first-1)
			}
			if from > last {
				continue
			}
			if s.first > from {
				if !yield(Entry{}, fmt.Errorf("ledger %s: records %d to %d are missing", l.dir, from, s.first-1)) {
					return
				}
				from = s.first
			}
			at := int64(sector)
			if current {
				at = before(marks, from)
			}
			more, err := l.read(s, at, from, last, yield)
			if !more {
				return
			}
			if err != nil && !yield(Entry{}, fmt.Errorf("ledger segment %s: %w", s.path(l.dir), err)) {
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

// read yields the records from to last of segment s, where a batch begins at
// offset at. It says whether more are wanted.
func (l *Ledger) read(s segment, at int64, from, last uint64, yield func(Entry, error) bool) (more bool, err error) {
	f, err := os.Open(s.path(l.dir))
	if err != nil {
		return true, err
	}
	defer f.Close()
	var prev *link // not known in the middle of a segment
	next := uint64(0)
	if at == sector {
		b := make([]byte, sector)
		if _, err := io.ReadFull(f, b); err != nil {
			return true, err
		}
		if _, err := decodeHead(b, s); err != nil {
			return true, err
		}
		p := headLink(b)
		prev, next = &p, s.first
	}
	r := newBatches(f, at)
	for {
		h, b, link, err := r.next()
		if err == nil && (next != 0 && h.first != next || prev != nil && h.prev != *prev) {
			err = errBroken
		}
		if errors.Is(err, errBroken) {
			err = fmt.Errorf("damaged at byte %d: records %d to %d cannot be read", r.at, max(from, next), last)
		}
		if err != nil {
			return true, err
		}
		prev, next = &link, h.first+uint64(h.count)
		frames := b[batchHead:]
		for seq := h.first; seq < next && next > from; seq++ {
			at := r.at + int64(len(b)-len(frames))
			var payload []byte
			payload, frames, _, _ = cutFrame(frames)
			if seq >= from && !yield(Entry{seq, place(s.no, at), payload}, nil) {
				return false, nil
			}
		}
		r.at += int64(len(b))
		if next > last {
			return true, nil
		}
	}
}

// At is the record at p.
func (l *Ledger) At(p Place) (Record, error) {
	segments, _, _ := l.snapshot()
	i, ok := slices.BinarySearchFunc(segments, p.segment(), func(s segment, no uint64) int { return int(int64(s.no) - int64(no)) })
	if !ok {
		return Record{}, fmt.Errorf("ledger %s: segment %d is missing", l.dir, p.segment())
	}
	f, err := os.Open(segments[i].path(l.dir))
	if err != nil {
		return Record{}, err
	}
	defer f.Close()
	b := make([]byte, 2<<10) // most records are smaller
	n, err := f.ReadAt(b, p.offset())
	if err != nil && err != io.EOF {
		return Record{}, err
	}
	payload, _, pad, ok := cutFrame(b[:n])
	if size := frameSize(b[:n]); !ok && size > len(b) && size <= frameHead+MaxRecord {
		b = make([]byte, size)
		if _, err := f.ReadAt(b, p.offset()); err != nil {
			return Record{}, err
		}
		payload, _, pad, ok = cutFrame(b)
	}
	if !ok || pad {
		return Record{}, fmt.Errorf("ledger segment %s: damaged at byte %d", f.Name(), p.offset())
	}
	return decode(payload)
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
