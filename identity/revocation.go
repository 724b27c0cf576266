package identity

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Revocation ends something before its time. It is never taken back, except those
// of objects, runs and labels, which stop calls and end no credential.
type Revocation struct {
	Seq   int64     // position in the feed, from 1
	Kind  string    // one of those below
	ID    string    // what is ended: a jti, a grant's id, a txn…
	By    string    // who ended it
	At    time.Time //
	Until time.Time // when nothing is left that it could end; zero is never
	Lift  bool      // it takes back the one before it
}

// What can be revoked.
const (
	RevokedToken  = "token"  // a jti
	RevokedGrant  = "grant"  // and all that came of it
	RevokedChain  = "chain"  // a txn: everything that one root began
	RevokedRun    = "run"    // a run, by its id or by the name that its client gives it
	RevokedObject = "object" // an object of policy, whoever calls it: tool:shop/refund
	RevokedLabel  = "label"  // every run that has read such text: untrusted
	RevokedAgent  = "agent"  // what is known of an agent is to be read again
	RevokedUser   = "user"   // and of a user
	RevokedKey    = "key"    // and of the signing keys
)

// isNews says whether a revocation of that kind only says that something is to be
// read again.
func isNews(kind string) bool {
	return kind == RevokedAgent || kind == RevokedUser || kind == RevokedKey
}

// A RevocationStore keeps the feed: it only grows.
type RevocationStore interface {
	// PutRevocation makes r durable, and is the place that it got in the feed.
	PutRevocation(ctx context.Context, r Revocation) (seq int64, err error)
	// RevocationsAfter is what came after seq, in order.
	RevocationsAfter(ctx context.Context, seq int64) ([]Revocation, error)
	// DropRevocations forgets those whose Until is before a time.
	DropRevocations(ctx context.Context, before time.Time) error
}

// Revocations is what was revoked and could still be presented. It is used by many
// goroutines at once; a question that nothing was revoked since costs one load. In the
// zero Revocations nothing is revoked, and nothing can be.
type Revocations struct {
	store   RevocationStore
	now     func() time.Time
	record  func(what, by, name, state string) error
	longest time.Duration // that a revoked thing could still be presented

	times   atomic.Uint64 // changes so far
	stops   atomic.Int64  // runs, objects and labels that are stopped
	mu      sync.RWMutex
	ended   map[ending]time.Time // until
	seen    int64                // of the feed
	listens []func()
	fresh   atomic.Int64 // unix microseconds of the last good look at the feed
	shared  atomic.Bool  // other processes write to it too
	reread  func(ctx context.Context, kind, name string) error
}

// An ending is what was revoked.
type ending struct{ kind, id string }

func (e ending) stops() bool { return stoppable(e.kind) }

// stoppable says whether what is of that kind is stopped, and may go on again.
func stoppable(kind string) bool {
	return kind == RevokedRun || kind == RevokedObject || kind == RevokedLabel
}

// OpenRevocations reads what is still to be refused from store. longest is how long
// any credential can live.
func OpenRevocations(ctx context.Context, store RevocationStore, longest time.Duration, now func() time.Time, record func(what, by, name, state string) error) (*Revocations, error) {
	r := &Revocations{store: store, now: now, record: record, longest: longest, ended: make(map[ending]time.Time)}
	return r, r.look(ctx)
}

// look reads what is new in the feed.
func (r *Revocations) look(ctx context.Context) error {
	r.mu.RLock()
	seen := r.seen
	r.mu.RUnlock()
	at := r.now()
	news, err := r.store.RevocationsAfter(ctx, seen)
	if err != nil {
		return fmt.Errorf("read revocations: %w", err)
	}
	if len(news) == 0 {
		r.fresh.Store(at.UnixMicro())
		return nil
	}
	last := news[len(news)-1].Seq
	changed := make(map[ending]bool)
	for _, n := range news {
		if isNews(n.Kind) {
			changed[ending{n.Kind, n.ID}] = true
		}
	}
	for e := range changed {
		if r.reread == nil {
			break
		}
		if err := r.reread(ctx, e.kind, e.id); err != nil {
			return err
		}
	}
	r.take(slices.DeleteFunc(news, func(n Revocation) bool { return changed[ending{n.Kind, n.ID}] })...)
	r.mu.Lock()
	r.seen = last
	r.mu.Unlock()
	r.fresh.Store(at.UnixMicro())
	return nil
}

// take puts list in force, and tells who listens.
func (r *Revocations) take(list ...Revocation) {
	r.mu.Lock()
	for _, n := range list {
		e := ending{n.Kind, n.ID}
		_, had := r.ended[e]
		switch {
		case !n.Lift:
			r.ended[e] = n.Until
		case had:
			delete(r.ended, e)
		}
		if e.stops() && had == n.Lift {
			r.stops.Add(map[bool]int64{true: -1, false: 1}[n.Lift])
		}
		r.seen = max(r.seen, n.Seq)
	}
	r.mu.Unlock()
	r.tell()
}

// tell has everybody look again.
func (r *Revocations) tell() {
	r.times.Add(1)
	r.mu.RLock()
	listens := r.listens
	r.mu.RUnlock()
	for _, f := range listens {
		f()
	}
}

// Listen has f called after each change. It must not be called once calls are made.
func (r *Revocations) Listen(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listens = append(r.listens[:len(r.listens):len(r.listens)], f)
}

// Revoke ends what kind and id name: at once, and whether the error is nil or not.
// An error says that it is not on record, or not stored: then it must be called
// again, or it is forgotten at a restart.
func (r *Revocations) Revoke(ctx context.Context, kind, id, by string) error {
	at := r.now().UTC().Truncate(time.Microsecond)
	n := Revocation{Kind: kind, ID: id, By: by, At: at}
	if kind != RevokedObject && kind != RevokedLabel {
		n.Until = at.Add(r.longest + time.Minute)
	}
	r.take(n)
	return r.keep(ctx, n, "revoked")
}

// Lift takes back that a run, an object or a label is stopped. What cannot be recorded is not
// lifted.
func (r *Revocations) Lift(ctx context.Context, kind, id, by string) error {
	if !stoppable(kind) {
		return invalid("a revoked %s does not come back: get new credentials", kind)
	}
	n := Revocation{Kind: kind, ID: id, By: by, At: r.now().UTC().Truncate(time.Microsecond), Lift: true}
	n.Until = n.At.Add(r.longest)
	if err := r.keep(ctx, n, "restored"); err != nil {
		return err
	}
	r.take(n)
	return nil
}

func (r *Revocations) keep(ctx context.Context, n Revocation, did string) error {
	if err := r.record(n.Kind+"."+did, n.By, n.ID, ""); err != nil {
		return fmt.Errorf("%s %s is %s, but that could not be recorded: %w", n.Kind, n.ID, did, err)
	}
	if _, err := r.store.PutRevocation(ctx, n); err != nil { // its own entry in the feed comes back later, and changes nothing
		return fmt.Errorf("%s %s is %s, but that is not stored and would not outlive a restart; do it again: %w", n.Kind, n.ID, did, err)
	}
	return nil
}

// Ended says whether id was revoked.
func (r *Revocations) Ended(kind, id string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.ended[ending{kind, id}]
	return ok
}

// Stopped says whether a run, an object of policy or a label is stopped. Where nothing is,
// it costs a load.
func (r *Revocations) Stopped(kind, id string) bool { return r.stops.Load() > 0 && r.Ended(kind, id) }

// List is all that is in force, by kind and id.
func (r *Revocations) List(ctx context.Context) ([]Revocation, error) {
	all, err := r.store.RevocationsAfter(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("read revocations: %w", err)
	}
	last := make(map[ending]int)
	for i, n := range all {
		last[ending{n.Kind, n.ID}] = i
	}
	var list []Revocation
	for i, n := range all {
		if last[ending{n.Kind, n.ID}] == i && !n.Lift && !isNews(n.Kind) {
			list = append(list, n)
		}
	}
	return list, nil
}

// Tidy forgets what nothing could be left of.
func (r *Revocations) Tidy(ctx context.Context) error {
	now := r.now()
	r.mu.Lock()
	for e, until := range r.ended {
		if !until.IsZero() && until.Before(now) {
			delete(r.ended, e)
		}
	}
	r.mu.Unlock()
	if err := r.store.DropRevocations(ctx, now); err != nil {
		return fmt.Errorf("forget revocations: %w", err)
	}
	return nil
}

const (
	pollEvery = 250 * time.Millisecond
	staleFrom = time.Second
)

// Follow looks at the feed four times a second, until ctx ends, because other
// processes write to it too. From then on a feed that was not read for a second makes
// every token fail: see [Revocations.Stale].
func (r *Revocations) Follow(ctx context.Context, failed func(error)) {
	r.shared.Store(true)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			look, cancel := context.WithTimeout(ctx, staleFrom)
			if err := r.look(look); err != nil && ctx.Err() == nil {
				failed(err)
			}
			cancel()
		case <-ctx.Done():
			return
		}
	}
}

// Stale says that others may have revoked what this process would still take.
func (r *Revocations) Stale() bool {
	return r.shared.Load() && r.now().Sub(time.UnixMicro(r.fresh.Load())) > staleFrom
}

// MemoryRevocations is a [RevocationStore] in memory. The zero MemoryRevocations is
// empty and ready.
type MemoryRevocations struct {
	mu  sync.Mutex
	all []Revocation
	seq int64
}

// PutRevocation implements [RevocationStore].
func (m *MemoryRevocations) PutRevocation(_ context.Context, r Revocation) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seq++
	r.Seq = m.seq
	m.all = append(m.all, r)
	return r.Seq, nil
}

// RevocationsAfter implements [RevocationStore].
func (m *MemoryRevocations) RevocationsAfter(_ context.Context, seq int64) ([]Revocation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []Revocation
	for _, r := range m.all {
		if r.Seq > seq {
			list = append(list, r)
		}
	}
	return list, nil
}

// DropRevocations implements [RevocationStore].
func (m *MemoryRevocations) DropRevocations(_ context.Context, before time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.all[:0]
	for _, r := range m.all {
		if r.Until.IsZero() || !r.Until.Before(before) {
			kept = append(kept, r)
		}
	}
	m.all = kept
	return nil
}
