package identity

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// A Grant is the record of a delegation: who may act, for whom, how far and until
// when. It is the truth; what a token says of it is for logs. It does not change,
// and never allows more than the one that it came from.
type Grant struct {
	ID       string    `json:"id"`               // gr_<ulid>
	Tenant   string    `json:"tenant"`           //
	Subject  string    `json:"subject"`          // on whose behalf it all is: user:ana, or the agent that began
	Client   string    `json:"client,omitempty"` // client_id that got it, where that is not the acting agent's name
	Txn      string    `json:"txn"`              // minted at the root, the same down to the last
	Path     string    `json:"path,omitempty"`   // of its audience, below the gate's own URL
	Scope    string    `json:"scope,omitempty"`
	Run      string    `json:"run,omitempty"` // the only run that its tokens are for
	Hops     []Hop     `json:"hops"`          // who acts, first, to the first who did
	MaxDepth int       `json:"max_depth"`     // how many hops a grant that comes of it may have, less one
	Created  time.Time `json:"created"`
	NotAfter time.Time `json:"not_after"`
	Renews   bool      `json:"renews,omitempty"` // refresh tokens come of it
}

// A Hop is one agent of a chain, and what it was given.
type Hop struct {
	Agent string        `json:"agent"`          // agent:bot
	Grant string        `json:"grant"`          // by which
	Epoch int64         `json:"epoch"`          // of the agent, at that time
	Life  time.Duration `json:"life,omitempty"` // of that grant: what is counted for it is counted that long
	Caps  []Cap         `json:"caps,omitempty"` // none: all that policy allows
	Scope []Cap         `json:"scope,omitempty"`
}

// maxDepth is how often a right can be delegated.
const maxDepth = 4

const maxGrants = 1 << 20 // held in memory at once

// A GrantStore keeps grants.
type GrantStore interface {
	// PutGrant makes g durable before it returns nil.
	PutGrant(ctx context.Context, g Grant) error
	// Grant is the one of that id, and whether there is one.
	Grant(ctx context.Context, id string) (Grant, bool, error)
	// DropGrants forgets those that ended before a time.
	DropGrants(ctx context.Context, before time.Time) error
}

// grants holds those that are in use in memory, before a store.
type grants struct {
	store GrantStore
	mu    sync.RWMutex
	held  map[string]*Grant
}

func newGrants(store GrantStore) *grants {
	return &grants{store: store, held: make(map[string]*Grant)}
}

func (s *grants) put(ctx context.Context, g *Grant) error {
	if err := s.store.PutGrant(ctx, *g); err != nil {
		return fmt.Errorf("store grant %s: %w", g.ID, err)
	}
	s.hold(g)
	return nil
}

func (s *grants) hold(g *Grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.held) < maxGrants { // others are read when they are needed
		s.held[g.ID] = g
	}
}

// find is the grant of that id; nil if there is none.
func (s *grants) find(ctx context.Context, id string) (*Grant, error) {
	s.mu.RLock()
	g := s.held[id]
	s.mu.RUnlock()
	if g != nil {
		return g, nil
	}
	read, ok, err := s.store.Grant(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read grant %s: %w", id, err)
	}
	if !ok {
		return nil, nil
	}
	s.hold(&read)
	return &read, nil
}

// tidy forgets grants that ended before a time.
func (s *grants) tidy(ctx context.Context, before time.Time) error {
	s.mu.Lock()
	for id, g := range s.held {
		if g.NotAfter.Before(before) {
			delete(s.held, id)
		}
	}
	s.mu.Unlock()
	if err := s.store.DropGrants(ctx, before); err != nil {
		return fmt.Errorf("forget grants: %w", err)
	}
	return nil
}

// newGrantID is the id of a grant that is about to be.
func newGrantID() string { return "gr_" + ulid.Make().String() }

// rootID is the grant that every agent has by being registered. It is not stored:
// the registry is its record.
func rootID(agent *Agent) string {
	sum := sha256.Sum256([]byte(agent.Tenant + "/" + agent.subject()))
	return "gr_" + ulid.ULID(sum[:16]).String()
}

// acting is the agent that acts by g.
func (g *Grant) acting() string { return g.Hops[0].Agent }

// actors is the act chain of a token of g: every agent, but for the first who acted
// where that is the subject itself.
func (g *Grant) actors() []string {
	var list []string
	for i, h := range g.Hops {
		if i < len(g.Hops)-1 || h.Agent != g.Subject {
			list = append(list, h.Agent)
		}
	}
	return list
}

func (g Grant) clone() Grant {
	g.Hops = slices.Clone(g.Hops)
	return g
}

// MemoryGrants is a [GrantStore] in memory. The zero MemoryGrants is empty and ready.
type MemoryGrants struct {
	mu     sync.Mutex
	grants map[string]Grant
}

// PutGrant implements [GrantStore].
func (m *MemoryGrants) PutGrant(_ context.Context, g Grant) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.grants == nil {
		m.grants = make(map[string]Grant)
	}
	m.grants[g.ID] = g.clone()
	return nil
}

// Grant implements [GrantStore].
func (m *MemoryGrants) Grant(_ context.Context, id string) (Grant, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, ok := m.grants[id]
	return g.clone(), ok, nil
}

// DropGrants implements [GrantStore].
func (m *MemoryGrants) DropGrants(_ context.Context, before time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, g := range m.grants {
		if g.NotAfter.Before(before) {
			delete(m.grants, id)
		}
	}
	return nil
}
