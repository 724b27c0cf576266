package audit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// WhatDropped is what a record of [Ledger.Drop] says. Its name is the range of the records
// that are not kept any more, as 1-5000.
const WhatDropped = "ledger.dropped"

// Retention says what a ledger need not keep.
type Retention struct {
	Before time.Time          // records that are all from before then
	Held   func(*Hollow) bool // says that a record is to stay; nil holds none
	Sealer *Sealer            // by which they are signed, and who says that they are gone
	Why    string             // goes on record
}

// A Hollow is what [Retention] is asked about of a record.
type Hollow struct {
	Run, Agent, Subject string
	Actors              []string
}

// Drop deletes the oldest segments: those whose records are all older, and signed, up to
// the first that has one which is held. Before any is deleted a record says so, and is
// signed; so that whoever verifies knows what was dropped from what was taken out. It
// answers the seq of the last record that was, 0 if none was.
//
// What was proven stays so: the hashes of all records are kept.
func (l *Ledger) Drop(ctx context.Context, r Retention) (last uint64, err error) {
	segments, _, _ := l.snapshot()
	signed, err := r.Sealer.Last()
	if err != nil || signed == nil {
		return 0, err
	}
	n := 0
	for ; n+1 < len(segments); n++ {
		next := segments[n+1]
		at, err := begun(next.path(l.dir), next)
		if err != nil {
			return 0, fmt.Errorf("drop old records: %w", err)
		}
		if !at.Before(r.Before) || next.first-1 > uint64(signed.Size) {
			break
		}
		held, err := l.holds(segments[n].first, next.first-1, r.Held)
		if err != nil {
			return 0, err
		}
		if held {
			break
		}
		last = next.first - 1
	}
	if n == 0 || last == 0 {
		return 0, nil
	}
	told := Record{Type: Changed, At: l.cfg.Now().UnixMicro(), What: WhatDropped, By: "retention", Name: "1-" + strconv.FormatUint(last, 10),
		State: fmt.Sprintf("%s: %d files; their hashes stay, and the checkpoint of %d records covers them", r.Why, n, signed.Size)}
	if err := l.Append(&told).Wait(ctx); err != nil {
		return 0, fmt.Errorf("drop old records: %w", err)
	}
	if err := r.Sealer.Seal(); err != nil {
		return 0, fmt.Errorf("drop old records: %w", err)
	}
	for range n { // the oldest first: what is left has no gap
		if err := l.disk.remove(segments[0].path(l.dir)); err != nil {
			return 0, errors.Join(fmt.Errorf("drop old records: %w", err), l.disk.syncDir(l.dir))
		}
		l.mu.Lock()
		l.segments = l.segments[1:]
		l.mu.Unlock()
		segments = segments[1:]
	}
	if err := l.disk.syncDir(l.dir); err != nil {
		return 0, fmt.Errorf("drop old records: %w", err)
	}
	return last, nil
}

// holds says whether one of these records is held.
func (l *Ledger) holds(first, last uint64, held func(*Hollow) bool) (bool, error) {
	if held == nil {
		return false, nil
	}
	for e, err := range l.Entries(first) {
		if err != nil { // nobody knows what they were
			return true, nil
		}
		if e.Seq > last {
			break
		}
		var h Hollow
		gjson.ParseBytes(e.JSON).ForEach(func(key, v gjson.Result) bool {
			switch key.Str {
			case "run":
				h.Run = v.Str
			case "agent":
				h.Agent = v.Str
			case "subject":
				h.Subject = v.Str
			case "actors":
				for _, a := range v.Array() {
					h.Actors = append(h.Actors, a.Str)
				}
			}
			return true
		})
		if held(&h) {
			return true, nil
		}
	}
	return false, nil
}

// droppedBy is the seq of the last record that a record of [Ledger.Drop] says is gone.
func droppedBy(record []byte) uint64 {
	if gjson.GetBytes(record, "what").Str != WhatDropped || gjson.GetBytes(record, "type").Str != string(Changed) {
		return 0
	}
	first, last, _ := strings.Cut(gjson.GetBytes(record, "name").Str, "-")
	n, err := strconv.ParseUint(last, 10, 64)
	if err != nil || first != "1" {
		return 0
	}
	return n
}
