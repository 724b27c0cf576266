package audit

import (
	"fmt"
	"os"
)

// A Reader reads single records of a ledger, and keeps files open between them. It is
// used by one goroutine, and closed after use.
type Reader struct {
	ledger *Ledger
	open   map[uint64]*os.File // segments, by number
}

const maxOpen = 32 // files of one Reader

// Reader returns a Reader of l.
func (l *Ledger) Reader() *Reader { return &Reader{ledger: l, open: make(map[uint64]*os.File)} }

// Close closes the files.
func (r *Reader) Close() {
	for _, f := range r.open {
		f.Close() // which was only read
	}
	clear(r.open)
}

// At is the record at p.
func (r *Reader) At(p Place) (Record, error) {
	f := r.open[p.segment()]
	if f == nil {
		path, ok := r.ledger.segmentAt(p)
		if !ok {
			return Record{}, fmt.Errorf("no segment %d in %s", p.segment(), r.ledger.dir)
		}
		var err error
		if f, err = os.Open(path); err != nil {
			return Record{}, err
		}
		if len(r.open) >= maxOpen {
			r.Close()
		}
		r.open[p.segment()] = f
	}
	doc, err := readAt(f, p)
	if err != nil {
		return Record{}, err
	}
	return decode(doc)
}
