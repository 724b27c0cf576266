package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"callgate/audit"
)

// An Index answers questions about the ledger. It holds what is needed to find
// calls, and reads them from the ledger. It is used by many goroutines at once.
type Index struct {
	db     *DB
	ledger *audit.Ledger
	log    *slog.Logger
	demand chan struct{} // somebody waits

	writing sync.Mutex // held while the index changes

	mu      sync.Mutex
	indexed uint64        // seq of the last record in the index
	moved   chan struct{} // closed when indexed moves; nil while nobody waits for that
	failure error         // of the last batch, nil if it succeeded
}

const (
	gap        = 250 * time.Millisecond // between two batches that nobody waits for
	retryAfter = 2 * time.Second        // a batch that failed
	maxRecords = 4096                   // in one batch
)

// NewIndex returns the Index of ledger in db. It is filled by [Index.Run].
func NewIndex(db *DB, ledger *audit.Ledger, log *slog.Logger) *Index {
	return &Index{db: db, ledger: ledger, log: log, demand: make(chan struct{}, 1)}
}

// Run fills the index with what comes into the ledger, until ctx ends or the
// ledger is closed. It goes on where it ended the last time. An index that does
// not fit the ledger is made anew. There must be one Run at a time.
func (x *Index) Run(ctx context.Context) {
	for {
		err := x.follow(ctx)
		if ctx.Err() != nil || errors.Is(err, audit.ErrClosed) {
			return
		}
		x.log.ErrorContext(ctx, "index of the ledger cannot be written, it is tried again", "error", err)
		x.mu.Lock()
		x.failure = err
		x.mu.Unlock()
		if !x.pause(ctx, retryAfter) {
			return
		}
	}
}

// follow fills the index until something is in the way.
func (x *Index) follow(ctx context.Context) error {
	if err := x.resume(ctx); err != nil {
		return err
	}
	for {
		at := x.Indexed()
		select {
		case <-x.ledger.Grown(at):
		case <-x.demand: // after a Rebuild, there is more to do than before
			continue
		case <-ctx.Done():
			return ctx.Err()
		}
		if x.ledger.Head() <= at {
			return audit.ErrClosed
		}
		for more := true; more; {
			var err error
			if more, err = x.take(ctx); err != nil {
				return err
			}
		}
		if !x.pause(ctx, gap) {
			return ctx.Err()
		}
	}
}

// pause returns after d, or when somebody waits for the index. It says false if
// ctx ended.
func (x *Index) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-x.demand:
	case <-ctx.Done():
		return false
	}
	return true
}

// resume finds out how far the index is, and empties it if that is not in this
// ledger.
func (x *Index) resume(ctx context.Context) error {
	x.writing.Lock()
	defer x.writing.Unlock()
	var ledger, hash string
	var seq, place int64
	err := x.db.write.QueryRowContext(ctx, "SELECT ledger, seq, place, hash FROM progress").Scan(&ledger, &seq, &place, &hash)
	if err != nil {
		return explain("read how far the index is", err)
	}
	if seq > 0 && !(ledger == x.ledgerID() && uint64(seq) <= x.ledger.Head() && x.holds(audit.Place(place), hash)) {
		x.log.WarnContext(ctx, "index is not of this ledger, it is made anew", "indexed", seq, "head", x.ledger.Head())
		if err := x.db.emptyIndex(ctx); err != nil {
			return explain("empty the index", err)
		}
		seq = 0
	}
	x.settle(uint64(seq))
	return nil
}

// holds says whether the ledger has at place the record that hash is of.
func (x *Index) holds(place audit.Place, hash string) bool {
	if hash == "" { // the last records could not be read
		return true
	}
	doc, err := x.ledger.Read(place)
	return err == nil && hashOf(string(doc)) == hash
}

func (x *Index) ledgerID() string {
	id := x.ledger.ID()
	return hex.EncodeToString(id[:])
}

func hashOf(record string) string {
	sum := sha256.Sum256([]byte(record))
	return hex.EncodeToString(sum[:16])
}

// take brings the next records into the index, and says whether there may be more.
func (x *Index) take(ctx context.Context) (more bool, err error) {
	x.writing.Lock()
	defer x.writing.Unlock()
	at := x.Indexed()
	b := newBatch()
	for e, err := range x.ledger.Entries(at + 1) {
		var lost *audit.Unreadable
		if errors.As(err, &lost) {
			x.log.ErrorContext(ctx, "records cannot be indexed", "error", err)
			b.skip(lost)
			continue
		}
		b.add(e)
		if b.records == maxRecords {
			more = true
			break
		}
	}
	if b.seq <= at {
		return false, nil
	}
	if err := within(ctx, x.db.write, func(tx *sql.Tx) error { return b.store(ctx, tx, x.ledgerID()) }); err != nil {
		return false, explain(fmt.Sprintf("index records %d to %d", at+1, b.seq), err)
	}
	x.settle(b.seq)
	return more, nil
}

// Indexed is the position of the last record in the index.
func (x *Index) Indexed() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.indexed
}

// settle tells those who wait that the index is at seq now.
func (x *Index) settle(seq uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.indexed, x.failure = seq, nil
	if x.moved != nil {
		close(x.moved)
		x.moved = nil
	}
}

// Sync returns when the index has reached the end that the ledger has now. The
// error is of ctx, or why the index does not move; indexed and head say how far it
// is.
func (x *Index) Sync(ctx context.Context) (indexed, head uint64, err error) {
	head = x.ledger.Head()
	for {
		x.mu.Lock()
		indexed, err = x.indexed, x.failure
		if indexed >= head {
			x.mu.Unlock()
			return indexed, head, nil
		}
		if x.moved == nil {
			x.moved = make(chan struct{})
		}
		moved := x.moved
		x.mu.Unlock()
		select {
		case x.demand <- struct{}{}:
		default:
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return indexed, head, errors.Join(fmt.Errorf("index is at record %d of %d: %w", indexed, head, context.Cause(ctx)), err)
		}
	}
}

// Rebuild empties the index, so that [Index.Run] makes it anew.
func (x *Index) Rebuild(ctx context.Context) error {
	x.writing.Lock()
	defer x.writing.Unlock()
	if err := x.db.emptyIndex(ctx); err != nil {
		return explain("empty the index", err)
	}
	x.settle(0)
	select {
	case x.demand <- struct{}{}:
	default:
	}
	return nil
}

// Forget takes out of the index the calls and changes that began at last or before: the
// ledger does not have them any more. What they were added up to stays.
func (x *Index) Forget(ctx context.Context, last uint64) error {
	x.writing.Lock()
	defer x.writing.Unlock()
	return explain("forget old calls", within(ctx, x.db.write, func(tx *sql.Tx) error {
		for _, q := range []string{
			"DELETE FROM links WHERE to_id IN (SELECT id FROM calls WHERE seq <= $1) OR from_id IN (SELECT id FROM calls WHERE seq <= $1)",
			"DELETE FROM spends WHERE id IN (SELECT id FROM calls WHERE seq <= $1)",
			"DELETE FROM wants WHERE seq <= $1", "DELETE FROM changes WHERE seq <= $1", "DELETE FROM calls WHERE seq <= $1",
			"DELETE FROM traits WHERE run NOT IN (SELECT run FROM calls)", "DELETE FROM runs WHERE run NOT IN (SELECT run FROM calls)",
		} {
			args := []any{int64(last)}
			if !strings.Contains(q, "$1") {
				args = nil
			}
			if _, err := tx.ExecContext(ctx, q, args...); err != nil {
				return err
			}
		}
		return nil
	}))
}
