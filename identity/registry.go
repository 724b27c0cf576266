package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

	mu     sync.Mutex       // never held for long: a revocation waits for nothing else
	known  map[string]Agent // every agent that ever was, by name
	record func(what, by, name, state string) error
	lost   func() // told when agents have lost something
}

// A place is where an agent is found for as long as the process lives: a token
// that was verified once leads there. It is empty while the config does not name
// its agent.
type place struct{ agent atomic.Pointer[Agent] }

// OpenRegistry reads all agents from store. Those that come from the config are
// unknown until [Registry.Configure] names them.
func OpenRegistry(ctx context.Context, store Store) (*Registry, error) {
	agents, err := store.Agents(ctx)
	if err != nil {
		return nil, fmt.Errorf("read agents: %w", err)
	}
	r := &Registry{store: store, known: make(map[string]Agent, len(agents)), record: func(_, _, _, _ string) error { return nil }, lost: func() {}}
	for _, a := range agents {
		if a.Source == FromConfig && a.Status != Revoked {
			r.known[a.Name] = a
			continue
		}
		r.settle(a)
	}
	return r, nil
}

// Create registers a, which needs a Name and may have Roles, Owner, Purpose and
// MaxTTL, and returns it complete with its secret, which is told this once. The
// error is [ErrInvalid], or [ErrTaken] if an agent ever had that name.
func (r *Registry) Create(ctx context.Context, a Agent) (Agent, Secret, error) {
	a, err := a.register()
	if err != nil {
		return Agent{}, Secret{}, err
	}
	secret := randomSecret()
	a.Status, a.Source, a.Epoch = Active, FromAPI, 1
	a.SecretHash = secret.Hash()
	a.Created, a.Revoked = now(), time.Time{}

	r.writing.Lock()
	defer r.writing.Unlock()
	if _, ok := r.remember(a.Name); ok {
		return Agent{}, Secret{}, &mistake{ErrTaken, "the name " + a.Name + " is taken, and names are never used again: choose another one"}
	}
	if err := r.tell("agent.created", "admin", a); err != nil {
		return Agent{}, Secret{}, fmt.Errorf("agent %s is not created, since that could not be recorded: %w", a.Name, err)
	}
	if err := r.store.PutAgent(ctx, a); err != nil {
		_ = r.tell("agent.removed", "admin", a)
		return Agent{}, Secret{}, fmt.Errorf("create agent %s: %w", a.Name, err)
	}
	r.mu.Lock()
	r.settle(a)
	r.mu.Unlock()
	return a.clone(), secret, nil
}

// Revoke ends the agent for good: no call with any of its tokens passes any
// more, at once, and whether the error is nil or not. An error other than
// [ErrUnknown] says that it is not on record, or that the store does not have it
// yet; then Revoke must be called again, or the agent is back after a restart.
// Revoking twice is no error.
func (r *Registry) Revoke(ctx context.Context, name string) error {
	a, news, ok := r.end(name)
	if !ok {
		return unknown(name)
	}
	var unrecorded error
	if news {
		if err := r.tell("agent.revoked", "admin", a); err != nil {
			unrecorded = fmt.Errorf("agent %s is revoked, but that could not be recorded: %w", name, err)
		}
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	if err := r.store.PutAgent(ctx, a); err != nil {
		return errors.Join(unrecorded, fmt.Errorf("agent %s is revoked, but that is not stored and would not outlive a restart; revoke it again: %w", name, err))
	}
	return unrecorded
}

// end revokes the agent in memory, before it is stored: a store that hangs must
// not keep the agent going. news says that it was not revoked before.
func (r *Registry) end(name string) (a Agent, news, ok bool) {
	defer r.less()
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, ok = r.Get(name); !ok || a.Status == Revoked {
		return a, false, ok
	}
	a.Status, a.Revoked = Revoked, now()
	a.Epoch++
	r.settle(a)
	return a, true, true
}

// Configure makes agents the ones that come from the config. Those that the
// config named until now and does not name any more are unknown from their next
// call on; the revoked stay revoked. A changed SecretHash ends the tokens issued
// before. When an error is returned, of [ErrInvalid] or [ErrTaken] or of the
// store, the agents in force are still those from before.
func (r *Registry) Configure(ctx context.Context, agents []Agent) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	next, err := r.configured(agents)
	if err != nil {
		return err
	}
	for _, a := range next {
		if old, ok := r.remember(a.Name); ok && same(old, a) {
			continue
		}
		if err := r.store.PutAgent(ctx, a); err != nil {
			return fmt.Errorf("configure agent %s: %w", a.Name, err)
		}
	}
	defer r.less()
	for _, c := range r.swap(next) {
		_ = r.tell(c.what, "config", c.agent) // whoever read the config has that on record, or takes it back
	}
	return nil
}

// configured is agents as they will be, with what is known of them already, or
// all that is wrong with them.
func (r *Registry) configured(agents []Agent) (map[string]Agent, error) {
	next := make(map[string]Agent, len(agents))
	var wrong []error
	for _, given := range agents {
		a, err := given.register()
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		if _, twice := next[a.Name]; twice {
			wrong = append(wrong, invalid("agent %s stands in the config twice", a.Name))
			continue
		}
		a.Status, a.Source, a.Epoch = Active, FromConfig, 1
		a.Created, a.Revoked = now(), time.Time{}
		if old, ok := r.remember(a.Name); ok {
			if old.Source != FromConfig {
				wrong = append(wrong, &mistake{ErrTaken, "agent " + a.Name +
					" in the config has the name of one that was made by callgate agent create: choose another name for the one in the config"})
				continue
			}
			a.Status, a.Epoch, a.Created, a.Revoked = old.Status, old.Epoch, old.Created, old.Revoked
			if !bytes.Equal(a.SecretHash, old.SecretHash) {
				a.Epoch++
			}
		}
		next[a.Name] = a
	}
	return next, errors.Join(wrong...)
}

// A change is something that the config did to an agent.
type change struct {
	what  string
	agent Agent
}

// swap puts the configured agents in force, and says what that changed.
func (r *Registry) swap(next map[string]Agent) (changes []change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, a := range r.known {
		if _, stays := next[name]; stays || a.Source != FromConfig || a.Status == Revoked {
			continue
		}
		if p := r.place(name); p != nil && p.agent.Swap(nil) != nil {
			changes = append(changes, change{"agent.removed", a})
		}
	}
	for name, a := range next {
		old, ok := r.known[name]
		if ok && old.Status == Revoked { // perhaps since next was made
			a.Status, a.Epoch, a.Revoked = old.Status, old.Epoch, old.Revoked
		}
		r.settle(a)
		switch {
		case !ok:
			changes = append(changes, change{"agent.created", a})
		case !same(old, a):
			changes = append(changes, change{"agent.changed", a})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.agent.Name, b.agent.Name) })
	return changes
}

// Get is the agent of that name, and whether there is one.
func (r *Registry) Get(name string) (Agent, bool) {
	if p := r.place(name); p != nil {
		if a := p.agent.Load(); a != nil {
			return a.clone(), true
		}
	}
	return Agent{}, false
}

// List is all agents, the revoked too, by name.
func (r *Registry) List() []Agent {
	var list []Agent
	r.places.Range(func(_, p any) bool {
		if a := p.(*place).agent.Load(); a != nil {
			list = append(list, a.clone())
		}
		return true
	})
	slices.SortFunc(list, func(a, b Agent) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// place is where the agent of that name is found, nil if there never was one.
func (r *Registry) place(name string) *place {
	if p, ok := r.places.Load(name); ok {
		return p.(*place)
	}
	return nil
}

// remember is what is known of the agent of that name, in force or not.
func (r *Registry) remember(name string) (Agent, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.known[name]
	return a, ok
}

// settle puts a in force; mu is held. What is in force is never changed, only
// replaced.
func (r *Registry) settle(a Agent) {
	a = a.clone()
	r.known[a.Name] = a
	p, _ := r.places.LoadOrStore(a.Name, new(place))
	p.(*place).agent.Store(&a)
}

// tellTo has every later change told to record, and to lost that agents may have lost
// something.
func (r *Registry) tellTo(record func(what, by, name, state string) error, lost func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.record, r.lost = record, lost
}

// less tells that agents may have lost something, so that what they are about is ended.
func (r *Registry) less() {
	r.mu.Lock()
	lost := r.lost
	r.mu.Unlock()
	lost()
}

// tell puts a change of a on record. No lock is held: it may take a while.
func (r *Registry) tell(what, by string, a Agent) error {
	r.mu.Lock()
	record := r.record
	r.mu.Unlock()
	return record(what, by, a.subject(), describe(a))
}

func unknown(name string) error {
	return &mistake{ErrUnknown, fmt.Sprintf("there is no agent %.80q: create it, or name it in the config", name)}
}

// same says whether nothing about an agent changed that is worth a write.
func same(a, b Agent) bool {
	return a.Owner == b.Owner && a.Purpose == b.Purpose && a.Status == b.Status && a.MaxTTL == b.MaxTTL && a.Epoch == b.Epoch &&
		slices.Equal(a.Roles, b.Roles) && bytes.Equal(a.SecretHash, b.SecretHash)
}

// describe is the state of the agent in a few words, for the record.
func describe(a Agent) string {
	s := fmt.Sprintf("%s, epoch %d", a.Status, a.Epoch)
	if len(a.Roles) > 0 {
		s += ", roles " + strings.Join(a.Roles, " ")
	}
	if a.Owner != "" {
		s += ", owner " + a.Owner
	}
	return s
}

// now is the time at the precision that a [Store] keeps.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
