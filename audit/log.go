package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
)

// A Log takes records in order and says when each is durable. It is written to
// by many goroutines at once.
type Log interface {
	// Append puts r behind all records appended before it and returns at once.
	// The record is encoded before Append returns; r may be reused.
	Append(r *Record) Ticket
}

// ErrClosed is the error of a record that was appended to a closed log.
var ErrClosed = errors.New("audit log is closed")

// A Ticket stands for one appended record. The zero Ticket stands for no record
// and is never durable.
type Ticket struct {
	batch *batch
	seq   uint64
}

// batch is the records that become durable, or fail, together.
type batch struct {
	done chan struct{} // closed when err is set
	err  error
}

// Seq is the record's position in the log, 0 if it was not taken.
func (t Ticket) Seq() uint64 { return t.seq }

// Wait returns nil once the record is durable, or why it is not. When ctx ends
// first the record may still become durable.
func (t Ticket) Wait(ctx context.Context) error {
	if t.batch == nil {
		return errors.New("audit: no record was appended")
	}
	select {
	case <-t.batch.done: // the usual case: no need to look at ctx
		return t.batch.err
	default:
	}
	select {
	case <-t.batch.done:
		return t.batch.err
	case <-ctx.Done():
		return fmt.Errorf("wait for audit record: %w", context.Cause(ctx))
	}
}

func failed(err error) Ticket {
	b := &batch{done: make(chan struct{}), err: err}
	close(b.done)
	return Ticket{batch: b}
}

// Memory is a [Log] in memory, for tests and for trying things out. The zero
// Memory is empty and ready.
type Memory struct {
	mu      sync.Mutex
	records []Record
	err     error
}

var inMemory = func() *batch { b := &batch{done: make(chan struct{})}; close(b.done); return b }()

// Append implements [Log].
func (m *Memory) Append(r *Record) Ticket {
	doc, err := json.Marshal(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err = errors.Join(err, m.err); err != nil {
		return failed(err)
	}
	var c Record
	if err := json.Unmarshal(doc, &c); err != nil {
		return failed(err)
	}
	c.Seq = uint64(len(m.records) + 1)
	m.records = append(m.records, c)
	return Ticket{inMemory, c.Seq}
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
