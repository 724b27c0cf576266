// Package export carries the record to where others look at it: a SIEM, a collector of
// OpenTelemetry, a webhook. An [Exporter] reads the ledger behind the calls and remembers
// how far it is, so that nothing waits for it and nothing is left out: what cannot be
// sent now is sent later.
package export

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"callgate/audit"
)

// An Item is what is told at once: a call that is over, or a change of the gate.
type Item struct {
	Seq    uint64        // of the record that makes it whole
	Call   *audit.Call   // nil where it is a change
	Change *audit.Record // nil where it is a call
}

// A Sink takes items to where they are wanted. It is used by one goroutine at a time.
type Sink interface {
	// Send has items arrive, all of them, or says why they did not: then the same ones
	// are sent again. It returns soon after ctx ends.
	Send(ctx context.Context, items []Item) error
}

// Later is an error of a [Sink] that says when to try again.
type Later struct {
	After time.Duration
	Err   error
}

func (l *Later) Error() string { return l.Err.Error() }
func (l *Later) Unwrap() error { return l.Err }

// Config is what an [Exporter] needs. All fields are required.
type Config struct {
	Name   string // of the exporter, in logs and figures
	File   string // that keeps how far it is
	Ledger *audit.Ledger
	Sink   Sink
	Logger *slog.Logger
}

// An Exporter follows a ledger for one sink.
type Exporter struct {
	cfg  Config
	open calls
	at   position // what is told for sure
	read uint64   // the last record that was read
	left atomic.Uint64
	bad  atomic.Pointer[string] // why nothing gets through, at the moment
}

const (
	batch    = 500              // items that are sent at once
	deadline = 20 * time.Second // of one try
	briefest = time.Second      // between tries, twice as long after each
	longest  = time.Minute
)

// New returns an Exporter that goes on where its file says, or begins with the ledger's
// first record if the file is not there or is of another ledger.
func New(cfg Config) (*Exporter, error) {
	x := &Exporter{cfg: cfg}
	var err error
	if x.at, err = readPosition(cfg.File, cfg.Ledger.ID()); err != nil {
		return nil, err
	}
	x.read = x.at.From - 1
	return x, nil
}

// Name is the exporter's name.
func (x *Exporter) Name() string { return x.cfg.Name }

// Lag is how many durable records are not told yet, and why not if something is wrong.
func (x *Exporter) Lag() (records uint64, wrong string) {
	if bad := x.bad.Load(); bad != nil {
		wrong = *bad
	}
	done := x.left.Load()
	return max(x.cfg.Ledger.Head(), done) - done, wrong
}

// Run tells what there is and what comes, until ctx ends or the ledger is closed.
func (x *Exporter) Run(ctx context.Context) {
	x.left.Store(max(x.at.Sent, x.read))
	for {
		select {
		case <-x.cfg.Ledger.Grown(x.read):
		case <-ctx.Done():
			return
		}
		if x.cfg.Ledger.Head() <= x.read {
			return // it is closed
		}
		if !x.catchUp(ctx) {
			return
		}
	}
}

// catchUp tells what is in the ledger by now. It says false if ctx ended.
func (x *Exporter) catchUp(ctx context.Context) bool {
	var items []Item
	for r, err := range x.cfg.Ledger.Records(x.read + 1) {
		var gap *audit.Unreadable
		if errors.As(err, &gap) {
			x.cfg.Logger.Error("records cannot be read, so they are not exported", "export", x.cfg.Name, "first", gap.First, "last", gap.Last, "error", gap.Err)
			x.read = gap.Last
			continue
		}
		if x.read < x.cfg.Ledger.Began() && r.Seq >= x.cfg.Ledger.Began() { // who wrote those before is gone
			items = append(items, x.open.lost(r.Seq, x.at.Sent)...)
		}
		items = append(items, x.open.add(r, x.at.Sent)...)
		x.read = r.Seq
		if len(items) >= batch {
			if !x.send(ctx, items) {
				return false
			}
			items = nil
		}
	}
	return x.send(ctx, items)
}

// send has items arrive, however long that takes, and notes how far it is.
func (x *Exporter) send(ctx context.Context, items []Item) bool {
	pause := briefest
	for len(items) > 0 {
		try, cancel := context.WithTimeout(ctx, deadline)
		err := x.cfg.Sink.Send(try, items)
		cancel()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return false
		}
		if x.bad.Load() == nil {
			x.cfg.Logger.Warn("export does not get through; it goes on where it is once it does", "export", x.cfg.Name, "error", err)
		}
		why := err.Error()
		x.bad.Store(&why)
		var later *Later
		wait := pause
		if errors.As(err, &later) && later.After > 0 {
			wait = min(later.After, longest)
		}
		select {
		case <-time.After(wait):
			pause = min(2*pause, longest)
		case <-ctx.Done():
			return false
		}
	}
	if x.bad.Swap(nil) != nil {
		x.cfg.Logger.Info("export gets through again", "export", x.cfg.Name)
	}
	x.at.Sent, x.at.From = max(x.at.Sent, x.read), x.open.first(x.read)
	x.left.Store(x.at.Sent)
	if err := x.at.write(x.cfg.File); err != nil { // then some is told twice after a restart
		x.cfg.Logger.Warn("how far an export is cannot be written down", "export", x.cfg.Name, "error", err)
	}
	return true
}
