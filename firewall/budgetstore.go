package firewall

import (
	"context"
	"fmt"
	"maps"
	"time"
)

// A Count is what a limit has counted for one of those it is counted for.
type Count struct {
	Name   string // rule, limit, and for whom
	Window time.Duration
	Used   map[int64]int64 // amount by part of time
}

// A CountStore keeps counts, so that a limit outlives the process.
type CountStore interface {
	// Counts is all that are kept.
	Counts(ctx context.Context) ([]Count, error)
	// PutCounts puts counts in place of those of the same names. One that has
	// counted nothing is forgotten.
	PutCounts(ctx context.Context, counts []Count) error
}

// Restore takes up what store has kept. It must happen before the first call.
func (b *Budgets) Restore(ctx context.Context, store CountStore) error {
	kept, err := store.Counts(ctx)
	if err != nil {
		return fmt.Errorf("restore limits: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range kept {
		b.counts[k.Name] = &count{name: k.Name, window: k.Window, used: maps.Clone(k.Used)}
	}
	return nil
}

// Save keeps in store what has changed since the last Save, and forgets what no
// window reaches back to any more.
func (b *Budgets) Save(ctx context.Context, store CountStore) error {
	b.mu.Lock()
	var changed []Count
	now := b.now()
	for name, c := range b.counts {
		if c.used == nil { // calls that are under way, which no other process will see the end of
			if c.open == 0 {
				delete(b.counts, name)
			}
			continue
		}
		c.full(now, 0) // which drops slots that are over
		if len(c.used) == 0 {
			c.changed = true
			delete(b.counts, name)
		}
		if c.changed {
			changed = append(changed, Count{name, c.window, maps.Clone(c.used)})
			c.changed = false
		}
	}
	b.mu.Unlock()
	if changed == nil {
		return nil
	}
	if err := store.PutCounts(ctx, changed); err != nil {
		b.mu.Lock()
		for _, k := range changed { // to be tried again
			if c := b.counts[k.Name]; c != nil {
				c.changed = true
			}
		}
		b.mu.Unlock()
		return fmt.Errorf("save limits: %w", err)
	}
	return nil
}
