package identity

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Registry knows all agents and holds them in memory, so that a call is never
// kept waiting for the store; what changes is in the store first. It is used by
// many goroutines at once.
type Registry struct {
	store  Store
	places sync.Map // name → *place

	writing sync.Mutex // held while the store is written, so that it gets changes in order

	mu     sync.Mutex        // never held for long: a revocation waits for nothing else
	known  map[string]*Agent // every agent that ever was, by name
	names  []string          // of known; those that came last may be out of order
	ranked bool              // names are in order
	record func(what, by, name, state string) error
	lost   func() // told when agents or users have lost something

	people people // users and groups; guarded as agents are
}

// A place is where an agent is found for as long as the process lives: a token
// that was verified once leads there. It is empty while the config does not name
// its agent.
type place struct {
	agent atomic.Pointer[Agent]
	seen  atomic.Int64 // when a token of it was last verified, in seconds since 1970; 0: never
	saved int64        // of seen, what the store has; owned by whoever holds writing
	from  networks     // that its credentials came from
}

// OpenRegistry reads all agents from store. Those that come from the config are
// unknown until [Registry.Configure] names them.
func OpenRegistry(ctx context.Context, store Store) (*Registry, error) {
	agents, err := store.Agents(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("read agents: %w", err)
	}
	users, err := store.Users(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	r := &Registry{store: store, known: make(map[string]*Agent, len(agents)), record: func(_, _, _, _ string) error { return nil }, lost: func() {}}
	slices.SortFunc(agents, func(a, b Agent) int { return strings.Compare(a.Name, b.Name) })
	for _, a := range agents {
		seen := a.LastSeen
		a.LastSeen = time.Time{} // is told by the place
		if a.Source == FromConfig && a.Status != Revoked {
			r.remembered(&a)
		} else {
			r.settle(&a)
		}
		if !seen.IsZero() {
			p := r.placed(a.Name)
			p.saved = seen.Unix()
			p.seen.Store(p.saved)
		}
	}
	r.people.open(users)
	return r, nil
}

// Create registers a, which needs a Name and may have what describes it besides,
// and returns it complete with its secret, which is told this once. One that has
// public keys gets no secret. The error is [ErrInvalid], or [ErrTaken] if an agent
// ever had that name.
func (r *Registry) Create(ctx context.Context, a Agent) (Agent, Secret, error) {
	a, err := a.register()
	if err != nil {
		return Agent{}, Secret{}, err
	}
	at := now()
	if !a.Expires.IsZero() && !at.Before(a.Expires) {
		return Agent{}, Secret{}, invalid("agent %s would have expired already, at %s", a.Name, a.Expires.Format(time.RFC3339))
	}
	a.Status, a.Source, a.Epoch = Active, FromAPI, 1
	a.Created, a.Since, a.Revoked, a.LastSeen = at, at, time.Time{}, time.Time{}
	a.SecretHash, a.SecretSince, a.OldSecret, a.OldUntil = nil, time.Time{}, nil, time.Time{}
	var secret Secret
	if a.JWKS == "" && a.JWKSURI == "" {
		secret = randomSecret()
		a.SecretHash, a.SecretSince = secret.Hash(), at
	}

	r.writing.Lock()
	defer r.writing.Unlock()
	if r.remember(a.Name) != nil {
		return Agent{}, Secret{}, &mistake{ErrTaken, "the name " + a.Name + " is taken, and names are never used again: choose another one"}
	}
	if err := r.tell("agent.created", "admin", a.subject(), describe(&a)); err != nil {
		return Agent{}, Secret{}, fmt.Errorf("agent %s is not created, since that could not be recorded: %w", a.Name, err)
	}
	if err := r.store.PutAgent(ctx, a); err != nil {
		_ = r.tell("agent.removed", "admin", a.subject(), "not created, since it could not be stored")
		return Agent{}, Secret{}, fmt.Errorf("create agent %s: %w", a.Name, err)
	}
	r.mu.Lock()
	r.settle(&a)
	r.mu.Unlock()
	return a.clone(), secret, nil
}

// Get is the agent of that name, and whether there is one.
func (r *Registry) Get(name string) (Agent, bool) {
	if p := r.place(name); p != nil {
		if a := p.agent.Load(); a != nil {
			return p.told(a), true
		}
	}
	return Agent{}, false
}

// List is all agents, those that have ended too, by name.
func (r *Registry) List() []Agent { return r.Page("", 0) }

// Page is at most limit agents, by name, from the first one after the name after.
// A limit of 0 is none.
func (r *Registry) Page(after string, limit int) []Agent {
	names := r.ordered()
	i, found := slices.BinarySearch(names, after)
	if found {
		i++
	}
	var list []Agent
	for _, name := range names[i:] {
		if limit > 0 && len(list) == limit {
			break
		}
		if a, ok := r.Get(name); ok {
			list = append(list, a)
		}
	}
	return list
}

// ordered is the names of all agents that ever were, in order.
func (r *Registry) ordered() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ranked {
		names := slices.Clone(r.names) // others may be reading what was in order before
		slices.Sort(names)
		r.names, r.ranked = names, true
	}
	return r.names
}

// Count is how many agents there are, those that have ended too.
func (r *Registry) Count() int {
	n := 0
	for range r.all() {
		n++
	}
	return n
}

// all is every agent in force, in any order, as it is kept: it must not be changed.
func (r *Registry) all() iter.Seq2[*place, *Agent] {
	return func(yield func(*place, *Agent) bool) {
		r.places.Range(func(_, p any) bool {
			a := p.(*place).agent.Load()
			return a == nil || yield(p.(*place), a)
		})
	}
}

// told is a as others may have it.
func (p *place) told(a *Agent) Agent {
	t := a.clone()
	if s := p.seen.Load(); s > 0 {
		t.LastSeen = time.Unix(s, 0).UTC()
	}
	return t
}

// place is where the agent of that name is found, nil if there never was one.
func (r *Registry) place(name string) *place {
	if p, ok := r.places.Load(name); ok {
		return p.(*place)
	}
	return nil
}

// placed is the place of that name, which is made if there is none.
func (r *Registry) placed(name string) *place {
	if p := r.place(name); p != nil {
		return p
	}
	p, _ := r.places.LoadOrStore(name, new(place))
	return p.(*place)
}

// remember is what is known of the agent of that name, in force or not; nil if
// nothing is.
func (r *Registry) remember(name string) *Agent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[name]
}

// remembered makes a known; mu is held.
func (r *Registry) remembered(a *Agent) {
	if _, ok := r.known[a.Name]; !ok {
		r.ranked = r.ranked && (len(r.names) == 0 || r.names[len(r.names)-1] < a.Name)
		r.names = append(r.names, a.Name) // in the room behind, where nobody reads
	}
	r.known[a.Name] = a
}

// settle puts a in force; mu is held. What is in force is never changed, only
// replaced: nobody may change a any more.
func (r *Registry) settle(a *Agent) {
	r.remembered(a)
	r.placed(a.Name).agent.Store(a)
}

// tellTo has every later change told to record, and to lost that agents may have lost
// something.
func (r *Registry) tellTo(record func(what, by, name, state string) error, lost func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.record, r.lost = record, lost
}

// less tells that agents may have lost something, so that what they are about is
// ended. mu is not held.
func (r *Registry) less() {
	r.mu.Lock()
	lost := r.lost
	r.mu.Unlock()
	lost()
}

// tell puts a change on record. mu is not held: it may take a while.
func (r *Registry) tell(what, by, name, state string) error {
	r.mu.Lock()
	record := r.record
	r.mu.Unlock()
	return record(what, by, name, state)
}

func unknown(name string) error {
	return &mistake{ErrUnknown, fmt.Sprintf("there is no agent %.80q: create it, or name it in the config", name)}
}

// now is the time at the precision that a [Store] keeps.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
