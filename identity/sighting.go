package identity

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// markEvery is how exactly it is known when an agent was last seen.
const markEvery = 60 // seconds

// mark notes that the agent was seen. It is called for every call, takes no lock,
// and writes at most once in markEvery.
func (p *place) mark(at time.Time) {
	s := at.Unix()
	if last := p.seen.Load(); s-last >= markEvery {
		p.seen.CompareAndSwap(last, s)
	}
}

const maxSaved = 5000 // in one go, so that nobody waits for long to change an agent

// SaveSeen stores when agents were last seen, where that is news: of some thousands,
// and of the others when it is called again. What is not saved
// is lost when the process ends, and nothing but that.
func (r *Registry) SaveSeen(ctx context.Context) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	news := make(map[string]time.Time)
	for p, a := range r.all() {
		if s := p.seen.Load(); s != p.saved {
			news[a.Name] = time.Unix(s, 0).UTC()
		}
		if len(news) == maxSaved {
			break
		}
	}
	if len(news) == 0 {
		return nil
	}
	if err := r.store.PutSeen(ctx, tenant, news); err != nil {
		return fmt.Errorf("store when agents were last seen: %w", err)
	}
	for name, at := range news {
		r.place(name).saved = at.Unix()
	}
	return nil
}

// networks are where the credentials of one agent came from since the process began.
type networks struct {
	mu   sync.Mutex
	list []string
}

const maxNetworks = 8

func (n *networks) note(origin string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if origin != "" && len(n.list) < maxNetworks && !slices.Contains(n.list, origin) {
		n.list = append(n.list, origin)
	}
}

// A Reuse is credentials that are in more than one hand, as far as that shows.
type Reuse struct {
	Agents   []string `json:"agents"`             // more than one of them has the same secret, or one is used from several networks
	Networks []string `json:"networks,omitempty"` // that its credentials came from since the process began; at most 8
}

// Reused is the secrets that several agents have, and the agents whose credentials
// came from several networks, by name.
func (r *Registry) Reused() []Reuse {
	secrets := make(map[string][]string)
	var list []Reuse
	for p, a := range r.all() {
		if a.Status == Revoked || a.Status == Retired {
			continue
		}
		if len(a.SecretHash) > 0 {
			secrets[string(a.SecretHash)] = append(secrets[string(a.SecretHash)], a.Name)
		}
		p.from.mu.Lock()
		if len(p.from.list) > 1 {
			list = append(list, Reuse{[]string{a.Name}, slices.Clone(p.from.list)})
		}
		p.from.mu.Unlock()
	}
	for _, names := range secrets {
		if len(names) > 1 {
			slices.Sort(names)
			list = append(list, Reuse{Agents: names})
		}
	}
	slices.SortFunc(list, func(a, b Reuse) int { return slices.Compare(a.Agents, b.Agents) })
	return list
}
