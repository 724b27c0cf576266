package identity

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Store keeps agents and users. It is used by one [Registry].
type Store interface {
	// Agents is all agents that were ever put, in any order; or the one of a name,
	// where that is not "".
	Agents(ctx context.Context, name string) ([]Agent, error)
	// PutAgent makes a durable before it returns nil, in place of the agent that
	// has its tenant and name; LastSeen is left to PutSeen. Times are kept to the
	// microsecond.
	PutAgent(ctx context.Context, a Agent) error
	// PutSeen notes when agents were last seen, by their names.
	PutSeen(ctx context.Context, tenant string, at map[string]time.Time) error
	// Users is all users that were ever put, in any order; without their Groups,
	// which follow from Claims and the configuration. Or the one of a name.
	Users(ctx context.Context, name string) ([]User, error)
	// PutUser makes u durable before it returns nil, in place of the user that has
	// its tenant and name.
	PutUser(ctx context.Context, u User) error
}

// Memory is a [Store] in memory, for tests and for trying things out. The zero
// Memory is empty and ready.
type Memory struct {
	mu     sync.Mutex
	agents map[string]Agent
	users  map[string]User
}

// Agents implements [Store].
func (m *Memory) Agents(_ context.Context, name string) ([]Agent, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Agent, 0, len(m.agents))
	for _, a := range m.agents {
		if name == "" || name == a.Name {
			list = append(list, a.clone())
		}
	}
	return list, nil
}

// PutAgent implements [Store].
func (m *Memory) PutAgent(_ context.Context, a Agent) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.agents == nil {
		m.agents = make(map[string]Agent)
	}
	a = a.clone()
	a.LastSeen = m.agents[a.Tenant+"/"+a.Name].LastSeen
	m.agents[a.Tenant+"/"+a.Name] = a
	return nil
}

// PutSeen implements [Store].
func (m *Memory) PutSeen(_ context.Context, tenant string, at map[string]time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, t := range at {
		if a, ok := m.agents[tenant+"/"+name]; ok {
			a.LastSeen = t
			m.agents[tenant+"/"+name] = a
		}
	}
	return nil
}

// Users implements [Store].
func (m *Memory) Users(_ context.Context, name string) ([]User, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.SortedFunc(maps.Values(m.users), func(a, b User) int { return strings.Compare(a.Name, b.Name) })
	return slices.DeleteFunc(list, func(u User) bool { return name != "" && name != u.Name }), nil
}

// PutUser implements [Store].
func (m *Memory) PutUser(_ context.Context, u User) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.users == nil {
		m.users = make(map[string]User)
	}
	u = u.clone()
	u.Groups = nil
	m.users[u.Tenant+"/"+u.Name] = u
	return nil
}
