package audit

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"
)

// Files is the records in the folder of a ledger, in order, for whoever does not
// write there: they are only read, also while callgate writes more. Segments whose
// records are all older than since are passed over. An error is an [*Unreadable]
// where whoever goes on gets the records behind it; any other is the last.
func Files(dir string, since time.Time) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		segments, err := listSegments(dir)
		if err != nil {
			yield(Entry{}, fmt.Errorf("read the ledger: %w", err))
			return
		}
		for i, s := range segments {
			r := span{from: s.first}
			if i+1 < len(segments) {
				next := segments[i+1]
				if begun, err := begun(next.path(dir), next); err == nil && begun.Before(since) {
					continue
				}
				r.last = next.first - 1
			} else {
				t, _, _, err := endOf(s.path(dir), s)
				if errors.Is(err, errUnborn) {
					return
				}
				if err != nil {
					yield(Entry{}, &Unreadable{s.first, s.first, err})
					return
				}
				r.last = t.next - 1
			}
			err := r.read(s.path(dir), s, sector, yield)
			if r.enough || err != nil && !yield(Entry{}, &Unreadable{r.from, r.last, err}) {
				return
			}
		}
	}
}

// begun is when a segment was.
func begun(path string, s segment) (time.Time, error) {
	f, err := os.Open(path)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	b := make([]byte, sector)
	if _, err := io.ReadFull(f, b); err != nil {
		return time.Time{}, err
	}
	h, err := decodeHead(b, s)
	return time.UnixMicro(h.created), err
}
