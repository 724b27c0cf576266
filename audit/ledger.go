// Package audit is the record of what agents called and what it led to. The
// [Ledger] is the truth: a [Record] for each fact, in files that are only ever
// appended to. A call waits for its records to be durable, so that nothing
// happens that is not on record. Whatever answers questions is an index of it.
package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Errors that callers branch on. What wraps them says more.
var (
	ErrTaken    = errors.New("the ledger is in use by another callgate: stop that one, or use another data folder")
	ErrLowSpace = errors.New("disk space is low")
)

// A Ledger is a [Log] in files. It is used by many goroutines at once.
//
// Records that come together are written and synced together, by one goroutine:
// a slow disk costs time and not throughput. A record whose ticket says nil
// outlives the process and the machine. One whose ticket says an error is not in
// the ledger, unless the process ends before the ledger has gone on: then it may
// be found there at the next Open.
//
// Where writing or syncing fails, the ledger leaves that file for good, since
// nobody can know what of it is stored, and goes on in a new one with the first
// record that comes when that is possible again.
type Ledger struct {
	dir   string
	cfg   Config
	disk  disk
	id    [16]byte
	began uint64 // seq that came next when the ledger was opened
	room  room
	taken io.Closer     // the folder's lock
	wake  chan struct{} // tells the writer that somebody waits
	late  *time.Timer   // tells the writer that nobody did
	quit  chan struct{} // closed by Close
	ended chan struct{} // closed when the writer is through

	mu       sync.Mutex
	closed   bool
	open     *pending      // takes records; nil while none wait
	spare    *pending      // to be used again
	segments []segment     // in order; those that hold records, and the current one
	marks    []mark        // into the current segment
	head     uint64        // seq of the last durable record
	grown    chan struct{} // closed when head moves; nil while nobody waits for that
	failure  error         // of the last write, nil if it succeeded
	retry    time.Time     // no new segment is tried before
	asked    bool          // by Ready, whether writing works again

	w writer // owned by the writer's goroutine
}

// Config is what a Ledger can be told. Every field has a default.
type Config struct {
	Logger *slog.Logger     // default: nothing is logged
	Now    func() time.Time // default time.Now

	Patience time.Duration // for a record that nobody waits for; default 5 ms

	disk    disk  // default osDisk
	segment int64 // bytes from which on a segment is full; default maxSegment
}

// pending is a batch that is being filled.
type pending struct {
	*batch
	count  uint64
	page   []byte // the batch as it will be written, without its head and padding
	leaves []byte // of the records, behind a free byte
}

// A mark is where in the current segment a batch begins.
type mark struct {
	first uint64
	at    int64
}

// entry is a record on its way into a batch.
type entry struct{ frame []byte }

var entries = sync.Pool{New: func() any { return new(entry) }}

const (
	patience = 5 * time.Millisecond   // for a record that nobody waits for
	pause    = 200 * time.Millisecond // between two attempts to begin a segment
	kept     = 1 << 20                // bytes of buffers that are worth keeping
	markGap  = 64 << 10               // bytes between two marks
)

// Open opens the ledger in dir, which it makes if need be, for this process
// alone. A process that was killed, or a power cut, may have left the last
// records unfinished: those nobody was promised, and they are cut off. Whatever
// else is wrong with the last segment is an error.
func Open(dir string, cfg Config) (*Ledger, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Patience == 0 {
		cfg.Patience = patience
	}
	if cfg.disk == nil {
		cfg.disk = osDisk{}
	}
	if cfg.segment == 0 {
		cfg.segment = maxSegment
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	taken, err := lock(dir)
	if err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", dir, err)
	}
	l := &Ledger{
		dir: dir, cfg: cfg, disk: cfg.disk, room: room{disk: cfg.disk, dir: dir, now: cfg.Now}, taken: taken,
		wake: make(chan struct{}, 1), late: time.NewTimer(cfg.Patience), quit: make(chan struct{}), ended: make(chan struct{}),
	}
	if err := l.recover(); err != nil {
		taken.Close()
		return nil, fmt.Errorf("open ledger %s: %w", dir, err)
	}
	l.began = l.head + 1
	l.room.check()
	go l.write()
	return l, nil
}

// Append implements [Log]. It refuses records at once while the ledger is closed
// or cannot write, and those with Acts while space is low.
func (l *Ledger) Append(r *Record) Ticket {
	e := entries.Get().(*entry)
	defer entries.Put(e)
	e.frame = appendJSON(append(e.frame[:0], zeros[:frameHead]...), r)
	if len(e.frame) > MaxRecord {
		e.frame = nil
		return failed(errTooLarge)
	}
	leaf := leafOf(e.frame[frameHead-1:])
	putFrame(e.frame, 0)
	if r.Acts {
		if err := l.room.check(); err != nil {
			return failed(err)
		}
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refuses(); err != nil {
		return failed(err)
	}
	p := l.open
	if p == nil {
		p = l.fresh()
		l.open = p
		l.late.Reset(l.cfg.Patience)
	}
	if len(p.page)+len(e.frame) > maxBatch {
		return failed(fmt.Errorf("the disk of %s does not keep up: %d records wait for it", l.dir, p.count))
	}
	p.page = append(p.page, e.frame...)
	p.leaves = append(p.leaves, leaf[:]...)
	p.count++
	return Ticket{batch: p.batch, index: p.count - 1}
}

// refuses says why no record can be taken now. l.mu is held.
func (l *Ledger) refuses() error {
	switch {
	case l.closed:
		return ErrClosed
	case l.failure != nil && l.cfg.Now().Before(l.retry):
		return l.failure
	}
	return nil
}

// fresh is an empty batch. l.mu is held.
func (l *Ledger) fresh() *pending {
	p := l.spare
	l.spare = nil
	if p == nil {
		p = new(pending)
	}
	*p = pending{batch: newBatch(l.wake), page: append(p.page[:0], zeros[:batchHead]...), leaves: append(p.leaves[:0], 0)}
	return p
}

// Head is the position of the last durable record, 0 if there is none.
func (l *Ledger) Head() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// Began is the position of the first record that this process could write.
// Whoever wrote those before it is gone.
func (l *Ledger) Began() uint64 { return l.began }

// ID tells this ledger from all others.
func (l *Ledger) ID() [16]byte { return l.id }

// Grown is closed when the ledger has grown beyond seq, or is closed.
func (l *Ledger) Grown(seq uint64) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.head > seq || l.closed {
		return inMemory.done
	}
	if l.grown == nil {
		l.grown = make(chan struct{})
	}
	return l.grown
}

// Wait returns when the ledger has grown beyond seq, or with an error when ctx
// ends or the ledger is closed first.
func (l *Ledger) Wait(ctx context.Context, seq uint64) error {
	select {
	case <-l.Grown(seq):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if l.Head() <= seq {
		return ErrClosed
	}
	return nil
}

// tell wakes those who wait for the ledger to grow. l.mu is held.
func (l *Ledger) tell() {
	if l.grown != nil {
		close(l.grown)
		l.grown = nil
	}
}

// Ready says why the ledger refuses records, or some of them, and nil when it
// takes all. Asking is enough to make it try again, so that it recovers even when
// nobody sends calls to a gate that is not ready.
func (l *Ledger) Ready() error {
	l.mu.Lock()
	err := l.refuses()
	if err == nil && l.failure != nil {
		err = l.failure
		l.asked = true
		poke(l.wake)
	}
	l.mu.Unlock()
	if err != nil {
		return err
	}
	return l.room.check()
}

// Close makes durable what waits, seals the ledger and gives it free. Records
// that come later are refused.
func (l *Ledger) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		<-l.ended
		return nil
	}
	l.closed = true
	close(l.quit)
	l.tell()
	l.mu.Unlock()
	<-l.ended
	err := l.w.seal(l.cfg.Now())
	return errors.Join(err, l.taken.Close())
}

// snapshot is what is durable now.
func (l *Ledger) snapshot() (segments []segment, marks []mark, head uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.segments), l.marks, l.head // marks are only appended to, or replaced
}

// room watches the space on the file system.
type room struct {
	disk    disk
	dir     string
	now     func() time.Time
	checked atomic.Int64          // when, in nanoseconds
	problem atomic.Pointer[error] // nil while there is enough
}

const (
	roomEvery = 100 * time.Millisecond
	leastRoom = 4 << 20   // bytes below which a file system is never written to by what may wait
	mostRoom  = 256 << 20 // bytes that are enough for every file system
)

// check says whether there is space for records of what may change something
// outside. It looks not more often than each roomEvery.
func (r *room) check() error {
	now, last := r.now().UnixNano(), r.checked.Load()
	if (last == 0 || now-last >= int64(roomEvery) || now < last) && r.checked.CompareAndSwap(last, now) {
		r.problem.Store(r.look())
	}
	if p := r.problem.Load(); p != nil {
		return *p
	}
	return nil
}

func (r *room) look() *error {
	free, total, err := r.disk.space(r.dir)
	if err != nil {
		err = fmt.Errorf("look for free space of %s: %w", r.dir, err)
		return &err
	}
	if need := min(max(leastRoom, total/100), mostRoom); free < need {
		err = fmt.Errorf("%w: %d MiB free where %s is, and calls that change something need %d MiB: make room there", ErrLowSpace, free>>20, r.dir, need>>20)
		return &err
	}
	return nil
}
