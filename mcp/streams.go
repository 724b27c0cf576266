package mcp

import (
	"sync"

	"callgate/firewall"
	"callgate/identity"
)

const defaultStreams = 1000

// streams counts who listens: each stream costs memory and a connection for as
// long as its client likes.
type streams struct {
	most int // of one agent

	mu     sync.Mutex
	agents map[string]int
}

// open counts a stream of caller until done is called.
func (s *streams) open(caller *identity.Principal) (done func(), err error) {
	key := caller.Tenant + "\x00" + caller.Agent()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agents[key] >= s.most {
		return nil, firewall.Refuse(firewall.Exhausted, "%d streams of this agent listen already: end some, or let its parts share them", s.most)
	}
	if s.agents == nil {
		s.agents = make(map[string]int)
	}
	s.agents[key]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.agents[key]--; s.agents[key] == 0 {
			delete(s.agents, key)
		}
	}, nil
}
