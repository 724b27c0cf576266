package providers

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// A MemoryCache is a [Cache] of this process: of so many bytes, the values that were
// asked for last.
type MemoryCache struct {
	now  func() time.Time
	most int64

	mu    sync.Mutex
	size  int64
	order *list.List // of *memory, the latest first
	byKey map[string]*list.Element
}

type memory struct {
	key   string
	value []byte
	until time.Time
}

// NewMemoryCache makes one of at most so many bytes.
func NewMemoryCache(most int64, now func() time.Time) *MemoryCache {
	return &MemoryCache{now: now, most: most, order: list.New(), byKey: make(map[string]*list.Element)}
}

// Get implements [Cache].
func (c *MemoryCache) Get(_ context.Context, key string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[key]
	if e == nil {
		return nil, nil
	}
	m := e.Value.(*memory)
	if !c.now().Before(m.until) {
		c.drop(e)
		return nil, nil
	}
	c.order.MoveToFront(e)
	return m.value, nil
}

// Put implements [Cache].
func (c *MemoryCache) Put(_ context.Context, key string, value []byte, ttl time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byKey[key]; e != nil {
		c.drop(e)
	}
	m := &memory{key, value, c.now().Add(ttl)}
	if m.size() > c.most {
		return nil
	}
	c.size += m.size()
	c.byKey[key] = c.order.PushFront(m)
	for c.size > c.most {
		c.drop(c.order.Back())
	}
	return nil
}

// drop forgets one value. It needs mu.
func (c *MemoryCache) drop(e *list.Element) {
	m := c.order.Remove(e).(*memory)
	delete(c.byKey, m.key)
	c.size -= m.size()
}

// size is what m takes, about.
func (m *memory) size() int64 { return int64(len(m.key)+len(m.value)) + 256 }
