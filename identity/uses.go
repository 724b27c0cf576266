package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"
)

// A UseStore remembers what is good for once, such as the jti of an assertion. Replicas
// share it.
type UseStore interface {
	// Use makes durable that key is used up, until a time, and says whether it was not
	// before. Of any number of callers at once, one is first.
	Use(ctx context.Context, key string, until time.Time) (first bool, err error)
	// DropUses forgets what was used up until a time before this one.
	DropUses(ctx context.Context, before time.Time) error
}

// MemoryUses is a [UseStore] in memory. The zero MemoryUses is empty and ready.
type MemoryUses struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// Use implements [UseStore].
func (m *MemoryUses) Use(_ context.Context, key string, until time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.until == nil {
		m.until = make(map[string]time.Time)
	}
	if _, used := m.until[key]; used {
		return false, nil
	}
	m.until[key] = until
	return true, nil
}

// DropUses implements [UseStore].
func (m *MemoryUses) DropUses(_ context.Context, before time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, until := range m.until {
		if until.Before(before) {
			delete(m.until, key)
		}
	}
	return nil
}

// once uses up f, whose signature is proven: kind says what for.
func (a *Authority) once(ctx context.Context, kind string, f *foreign) error {
	if f.id == "" || len(f.id) > maxJTI {
		return errJWTIncomplete
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %s %s", kind, len(f.issuer), f.issuer, f.id))
	first, err := a.cfg.Uses.Use(ctx, hex.EncodeToString(sum[:]), time.Unix(f.expires, 0).Add(2*leeway))
	if err != nil {
		return fmt.Errorf("note that a JWT was used: %w", err)
	}
	if !first {
		return errJWTUsed
	}
	return nil
}
