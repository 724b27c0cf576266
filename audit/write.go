package audit

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// A writer is where the ledger's end is.
type writer struct {
	file  file    // nil while there is no segment to write to
	seg   segment // that file is
	path  string
	end   int64  // offset of the next batch
	alloc int64  // bytes allocated; -1 where that did not work
	held  uint64 // batches in the segment
	no    uint64 // of the next segment
	next  uint64 // seq of the next record
	last  link   // of the last batch, or of the current segment's head
	prev  link   // of the last batch: what the next segment follows
}

// write commits what comes, batch after batch, until the ledger is closed. It
// runs in a goroutine of its own.
func (l *Ledger) write() {
	defer close(l.ended)
	defer l.late.Stop()
	for open := true; open; {
		select {
		case <-l.wake:
		case <-l.late.C:
		case <-l.quit:
			open = false
		}
		runtime.Gosched() // those whose records were committed just now are about to append the next
		l.commit()
	}
}

// commit makes the open batch durable, or fails it.
func (l *Ledger) commit() {
	l.mu.Lock()
	p := l.open
	l.open = nil
	probe := p == nil && l.asked && l.failure != nil && l.refuses() == nil
	l.asked = false
	l.mu.Unlock()
	if p == nil && !probe {
		return
	}
	var err error
	var at mark
	switch {
	case p == nil:
		err = l.begin() // a segment that can be begun is sign enough
	default:
		at, err = l.put(p)
	}
	l.settle(p, at, err)
}

// put writes p behind everything before it.
func (l *Ledger) put(p *pending) (mark, error) {
	w := &l.w
	if w.file != nil && w.end >= l.cfg.segment {
		if err := w.seal(l.cfg.Now()); err != nil { // its records are durable, seal or not
			l.cfg.Logger.Warn("ledger segment could not be sealed", "segment", w.path, "error", err)
		}
	}
	if w.file == nil {
		if err := l.begin(); err != nil {
			return mark{}, err
		}
	}
	p.page = appendPadding(p.page)
	h := batchHeader{
		size: uint32(len(p.page) - batchHead), count: uint32(p.count), first: w.next,
		at: l.cfg.Now().UnixMicro(), prev: w.last, root: rootOf(p.leaves),
	}
	last := h.encode(p.page)
	at := w.end
	err := w.append(p.page)
	if err == nil {
		err = w.check()
	}
	if err != nil {
		return mark{}, l.abandon(err)
	}
	w.last, w.prev = last, last
	w.next += p.count
	w.held++
	return mark{h.first, at}, nil
}

// append writes b, whole sectors, to the end of the segment and makes it durable.
func (w *writer) append(b []byte) error {
	if need := w.end + int64(len(b)); w.alloc >= 0 && need > w.alloc {
		if grow := (need - w.alloc + prealloc - 1) / prealloc * prealloc; w.file.Allocate(w.alloc, grow) == nil {
			w.alloc += grow
		} else {
			w.alloc = -1 // the write itself will tell whether there is space
		}
	}
	if _, err := w.file.WriteAt(b, w.end); err != nil {
		return fmt.Errorf("write to the ledger: %w", err)
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("sync the ledger's %s: %w", w.path, err)
	}
	w.end += int64(len(b))
	return nil
}

// check says whether what was written can be found again.
func (w *writer) check() error {
	there, err := w.file.Exists()
	if err != nil {
		return fmt.Errorf("look after the ledger's %s: %w", w.path, err)
	}
	if !there {
		return fmt.Errorf("the ledger's %s was deleted or replaced while in use: restore it from a backup", w.path)
	}
	return nil
}

// begin begins a segment. Whatever is stored of one where that failed holds no
// record, and is passed over.
func (l *Ledger) begin() error {
	w := &l.w
	s := segment{w.no, w.next}
	path := s.path(l.dir)
	w.no++
	f, err := l.disk.create(path)
	if err != nil {
		return fmt.Errorf("begin a ledger segment: %w", err)
	}
	w.file, w.seg, w.path, w.end, w.alloc, w.held = f, s, path, 0, 0, 0
	h := head{segment: s, created: l.cfg.Now().UnixMicro(), ledger: l.id, prev: w.prev}
	b := h.encode()
	err = w.append(b)
	if err == nil {
		err = l.disk.syncDir(l.dir)
	}
	if err != nil {
		return l.abandon(err)
	}
	w.last = headLink(b)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments, l.marks = append(l.segments, s), nil
	return nil
}

// abandon leaves the segment after err and returns err: its end cannot be
// trusted, since a sync that failed may have thrown away what a second one would
// then call stored.
func (l *Ledger) abandon(err error) error {
	w := &l.w
	w.file.Truncate(w.end) // what failed should better not be found again; this may fail too
	w.file.Close()
	w.file = nil
	if w.held > 0 {
		return err
	}
	l.disk.remove(w.path) // it holds no record that counts; if it stays, it is passed over
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.segments); n > 0 && l.segments[n-1] == w.seg {
		l.segments = l.segments[: n-1 : n-1]
	}
	return err
}

// settle tells those who wait what became of p, which is nil after a probe.
func (l *Ledger) settle(p *pending, at mark, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && l.failure == nil {
		l.cfg.Logger.Error("ledger cannot write, calls are refused", "error", err)
	} else if err == nil && l.failure != nil {
		l.cfg.Logger.Info("ledger writes again")
	}
	l.failure = err
	if err != nil { // what waits already is tried at once, what comes is not
		l.retry = l.cfg.Now().Add(pause)
	}
	if p == nil {
		return
	}
	p.err = err
	if err == nil {
		p.first = at.first
		l.head = at.first + p.count - 1
		if n := len(l.marks); n == 0 || at.at-l.marks[n-1].at >= markGap {
			l.marks = append(l.marks, at)
		}
		l.tell()
	}
	close(p.done)
	if l.spare == nil && cap(p.page) <= kept {
		l.spare = p
	}
}

// seal ends the segment cleanly: nothing may follow, and its last bytes say so.
// Its records were durable before.
func (w *writer) seal(now time.Time) error {
	if w.file == nil {
		return nil
	}
	s := seal{no: w.seg.no, at: uint64(w.end), next: w.next, when: now.UnixMicro(), last: w.last}
	size := w.end + sector
	_, err := w.file.WriteAt(s.encode(), w.end)
	if err == nil {
		err = w.file.Truncate(size)
	}
	if err == nil {
		err = w.file.Sync()
	}
	err = errors.Join(err, w.file.Close())
	w.file = nil
	if err != nil {
		return fmt.Errorf("seal the ledger's %s: %w", w.path, err)
	}
	return nil
}
