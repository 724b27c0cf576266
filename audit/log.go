package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// A Log takes records in order and says when each is durable. It is written to
// by many goroutines at once.
type Log interface {
	// Append puts r behind all records appended before it and returns at once.
	// The record is encoded before Append returns; r may be reused. It becomes
	// durable soon, and at once if somebody waits for it.
	Append(r *Record) Ticket
}

// ErrClosed is the error of a record that was appended to a closed log.
var ErrClosed = errors.New("audit log is closed")

// A Ticket stands for one appended record. The zero Ticket stands for no record
// and is never durable.
type Ticket struct {
	batch  *batch
	index  uint64  // of the record in the batch
	before *Ticket // must be durable too; nil if there is none, or it is
}

// batch is the records that become durable, or fail, together.
type batch struct {
	wanted  atomic.Bool     // somebody waits
	awaited chan<- struct{} // told of that
	done    chan struct{}   // closed when the rest is set
	err     error
	first   uint64 // seq of the first record
}

func newBatch(awaited chan<- struct{}) *batch {
	return &batch{awaited: awaited, done: make(chan struct{})}
}

func (b *batch) isDone() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// Seq is the record's position in the log, 0 while it is not durable.
func (t Ticket) Seq() uint64 {
	if t.batch == nil || !t.batch.isDone() || t.batch.err != nil {
		return 0
	}
	return t.batch.first + t.index
}

// Failed says that it is known by now that the record did not become durable.
func (t Ticket) Failed() bool {
	return t.batch != nil && t.batch.isDone() && t.batch.err != nil || t.before != nil && t.before.Failed()
}

// After is a Ticket for t's record and the one of before: it waits for both. Of
// two records that were appended one after the other, the first may fail and the
// second not.
func (t Ticket) After(before Ticket) Ticket {
	switch {
	case t.batch == nil, before.batch == nil:
		// nothing to wait for, or nothing else
	case before.batch.isDone() && before.batch.err == nil && before.before == nil:
		// durable already
	case before.batch == t.batch && before.before == nil:
		// they share their fate
	default:
		t.before = &before
	}
	return t
}

// Wait returns nil once the record is durable, or why it is not. When ctx ends
// first the record may still become durable.
func (t Ticket) Wait(ctx context.Context) error {
	if t.batch == nil {
		return errors.New("audit: no record was appended")
	}
	if t.before != nil {
		if err := t.before.Wait(ctx); err != nil {
			return err
		}
	}
	if t.batch.isDone() { // the usual case: no need to look at ctx
		return t.batch.err
	}
	if !t.batch.wanted.Swap(true) {
		poke(t.batch.awaited)
	}
	select {
	case <-t.batch.done:
		return t.batch.err
	case <-ctx.Done():
		return fmt.Errorf("wait for audit record: %w", context.Cause(ctx))
	}
}

// poke tells whoever listens to c, who may have been told already.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func failed(err error) Ticket {
	b := newBatch(nil)
	b.err = err
	close(b.done)
	return Ticket{batch: b}
}

func stored() *batch {
	b := newBatch(nil)
	close(b.done)
	return b
}

// Memory is a [Log] in memory, for tests and for trying things out. The zero
// Memory is empty and ready.
type Memory struct {
	mu      sync.Mutex
	records []Record
	err     error
}

var inMemory = stored()

// Append implements [Log].
func (m *Memory) Append(r *Record) Ticket {
	doc := appendJSON(nil, r)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return failed(m.err)
	}
	var c Record
	if err := json.Unmarshal(doc, &c); err != nil {
		return failed(err)
	}
	c.Seq = uint64(len(m.records) + 1)
	m.records = append(m.records, c)
	return Ticket{batch: inMemory, index: c.Seq}
}

// Fail makes every later Append fail with err; nil ends that.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// Records is what was appended so far.
func (m *Memory) Records() []Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Record(nil), m.records...)
}
