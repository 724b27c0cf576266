package identity

import (
	"context"
	"fmt"
	"time"
)

// reread takes over what another replica has stored of an agent or a user. What was
// taken from them here and is not stored yet stays taken.
func (r *Registry) reread(ctx context.Context, kind, name string) error {
	r.writing.Lock() // what this replica is about to store is newer
	defer r.writing.Unlock()
	if kind == RevokedUser {
		users, err := r.store.Users(ctx, name)
		if err != nil {
			return fmt.Errorf("read user %s again: %w", name, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, u := range users {
			if old := r.people.users[name]; !u.onlyConfigured() && (old == nil || old.Epoch <= u.Epoch) {
				u.Groups = r.people.roster.of(&u)
				r.people.settle(&u)
			}
		}
		return nil
	}
	agents, err := r.store.Agents(ctx, name)
	if err != nil {
		return fmt.Errorf("read agent %s again: %w", name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range agents {
		a.LastSeen = time.Time{} // is told by the place
		old := r.known[name]
		switch inForce := r.place(name) != nil && r.place(name).agent.Load() != nil; {
		case old != nil && old.Epoch > a.Epoch:
		case a.Source == FromConfig && a.Status != Revoked && !inForce: // unless this replica's config names it, too
			r.remembered(&a)
		default:
			r.settle(&a)
		}
	}
	return nil
}
