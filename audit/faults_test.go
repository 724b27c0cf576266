package audit

import (
	"encoding/binary"
	"fmt"
	"sync"
	"syscall"
)

// This file lets tests of package audit_test break the disk under a ledger.

// OpenOn is [Open] on a disk that fails as d says, with segments of size bytes.
func OpenOn(dir string, cfg Config, d *Faults, size int64) (*Ledger, error) {
	cfg.segment = size
	if d != nil {
		cfg.disk = d
	}
	return Open(dir, cfg)
}

// AppendJSON is what a record is encoded by.
func AppendJSON(b []byte, r *Record) []byte { return appendJSON(b, r) }

// A Fault is a way for an operation on the disk to fail.
type Fault int

const (
	Lost   Fault = iota // nothing of it was done
	Torn                // half of it was done
	Stored              // all of it was done, and yet an error came
)

// ErrFault is the error of what was made to fail.
var ErrFault = fmt.Errorf("fault: %w", syscall.EIO)

// Faults is the real disk, which fails when it is told to. Operations that change
// the disk are counted from 1.
type Faults struct {
	osDisk
	mu    sync.Mutex
	At    int   // the operation that fails; 0: none
	Long  bool  // all that follow fail too
	How   Fault //
	Seen  int   // operations so far
	Ops   []string
	Free  func() (free, total uint64, err error) // nil: as the system says
	Null  bool                                   // nothing is written at all
	Uncut bool                                   // no file can be made shorter

	held, released chan struct{}
}

// Heal ends all faults.
func (d *Faults) Heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.At = 0
}

// Failed says whether the fault has come.
func (d *Faults) Failed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.At > 0 && d.Seen >= d.At
}

func (d *Faults) op(name string, whole, half func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Null {
		return nil
	}
	d.Seen++
	d.Ops = append(d.Ops, name)
	if d.At == 0 || d.Seen != d.At && !(d.Long && d.Seen > d.At) {
		return whole()
	}
	switch {
	case d.How == Stored:
		whole()
	case d.How == Torn && half != nil:
		half()
	}
	return ErrFault
}

func (d *Faults) create(path string) (f file, err error) {
	err = d.op("create", func() error {
		f, err = d.osDisk.create(path)
		return err
	}, nil)
	if err != nil {
		if f != nil {
			f.Close()
		}
		return nil, err
	}
	if d.Null {
		if f, err = d.osDisk.create(path); err != nil {
			return nil, err
		}
	}
	return &faultyFile{file: f, disk: d}, nil
}

func (d *Faults) remove(path string) error {
	return d.op("remove", func() error { return d.osDisk.remove(path) }, nil)
}

func (d *Faults) syncDir(path string) error {
	return d.op("syncDir", func() error { return d.osDisk.syncDir(path) }, nil)
}

func (d *Faults) space(path string) (free, total uint64, err error) {
	if d.Free != nil {
		return d.Free()
	}
	return d.osDisk.space(path)
}

// faultyFile is a file of [Faults]. What was written to it and not synced may be
// lost when a sync fails.
type faultyFile struct {
	file
	disk  *Faults
	dirty []span64
}

type span64 struct{ at, end int64 }

func (f *faultyFile) WriteAt(b []byte, at int64) (int, error) {
	if d := f.disk; d.held != nil {
		close(d.held)
		<-d.released
		d.held = nil
	}
	write := func(b []byte) error {
		f.dirty = append(f.dirty, span64{at, at + int64(len(b))})
		_, err := f.file.WriteAt(b, at)
		return err
	}
	err := f.disk.op("write", func() error { return write(b) }, func() error { return write(b[:len(b)/2]) })
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

func (f *faultyFile) Sync() error {
	drop := func(spans []span64) error {
		for _, s := range spans {
			f.file.WriteAt(make([]byte, s.end-s.at), s.at)
		}
		return nil
	}
	done := false
	err := f.disk.op("sync", func() error { done = true; return f.file.Sync() }, func() error {
		done = true
		if n := len(f.dirty); n > 0 { // the second half never reached the disk
			s := f.dirty[n-1]
			return drop([]span64{{(s.at + s.end) / 2, s.end}})
		}
		return nil
	})
	if err != nil && !done {
		drop(f.dirty)
	}
	f.dirty = nil
	return err
}

func (f *faultyFile) Truncate(size int64) error {
	if f.disk.Uncut {
		return ErrFault
	}
	return f.disk.op("truncate", func() error { return f.file.Truncate(size) }, nil)
}

func (f *faultyFile) Allocate(at, n int64) error {
	if f.disk.Null {
		return nil
	}
	return f.file.Allocate(at, n)
}

// Hold makes the writer stop before its next write. Held returns when it has, and
// Release lets it go on.
func (d *Faults) Hold() { d.held, d.released = make(chan struct{}), make(chan struct{}) }

// Held returns when the writer has stopped.
func (d *Faults) Held() { <-d.held }

// Release ends Hold.
func (d *Faults) Release() { close(d.released) }

// FailNext makes the next operation fail, with nothing done.
func (d *Faults) FailNext() { d.At, d.How = d.Seen+1, Lost }

// Count is how many operations there were.
func (d *Faults) Count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.Seen
}

// SumSector puts the right checksum into a segment's head.
func SumSector(b []byte) { binary.LittleEndian.PutUint32(b[sumAt:], checksum(b[:sumAt])) }

// Mend puts right checksums wherever something in b looks like a piece of a ledger,
// so that a fuzzer gets behind them.
func Mend(b []byte) {
	for at := 0; at+sector <= len(b); at += sector {
		s := b[at : at+sector]
		switch {
		case string(s[:16]) == magicHead, string(s[:8]) == magicSeal:
			SumSector(s)
		case string(s[:8]) == magicBatch:
			binary.LittleEndian.PutUint32(s[100:], checksum(s[:100]))
		}
	}
}
