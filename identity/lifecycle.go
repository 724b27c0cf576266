package identity

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Revoke ends the agent for good: no call with any of its tokens passes any
// more, at once, and whether the error is nil or not. An error other than
// [ErrUnknown] says that it is not on record, or that the store does not have it
// yet; then Revoke must be called again, or the agent is back after a restart.
// Revoking twice is no error.
func (r *Registry) Revoke(ctx context.Context, name string) error {
	return r.take(ctx, name, "agent.revoked", "admin", Revoked)
}

// Suspend takes all that the agent may do from it until it is resumed, as
// [Registry.Revoke] does for good. Its tokens do not come back.
func (r *Registry) Suspend(ctx context.Context, name, by string) error {
	return r.take(ctx, name, "agent.suspended", by, Suspended)
}

// Retire ends the agent for good, in good order: as [Registry.Revoke] does, by
// another name.
func (r *Registry) Retire(ctx context.Context, name, by string) error {
	return r.take(ctx, name, "agent.retired", by, Retired)
}

// Resume lets a suspended agent go on. It is on record before it counts. The error
// is [ErrEnded] or [ErrRevoked] if the agent has ended for good.
func (r *Registry) Resume(ctx context.Context, name, by string) error {
	_, err := r.give(ctx, name, "agent.resumed", by, func(a *Agent) error {
		if a.Status != Active && a.Status != Suspended {
			return a.over()
		}
		if a.Status != Active {
			a.Status, a.Since = Active, now()
		}
		return nil
	})
	return err
}

// Change makes of the agent of that name what edit makes of its description: roles,
// owner, purpose, environment, models, servers, expiry, longest life of tokens and
// public keys. What else edit touches stays as it is. The error may be one of edit,
// and then nothing is changed.
func (r *Registry) Change(ctx context.Context, name, by string, edit func(*Agent) error) (Agent, error) {
	return r.give(ctx, name, "agent.changed", by, func(a *Agent) error {
		if a.Source != FromAPI {
			return invalid("agent %s comes from the config: change it there", a.Name)
		}
		if a.Status != Active && a.Status != Suspended {
			return a.over()
		}
		edited := a.clone()
		if err := edit(&edited); err != nil {
			return err
		}
		edited.Tenant, edited.Name = a.Tenant, a.Name
		edited, err := edited.register()
		if err != nil {
			return err
		}
		a.Roles, a.Owner, a.Purpose, a.MaxTTL = edited.Roles, edited.Owner, edited.Purpose, edited.MaxTTL
		a.Environment, a.Models, a.Servers, a.Expires = edited.Environment, edited.Models, edited.Servers, edited.Expires
		a.JWKS, a.JWKSURI = edited.JWKS, edited.JWKSURI
		return nil
	})
}

const longestOverlap = 30 * 24 * time.Hour

// Rotate gives the agent a new secret, which is told this once. The old one stays
// good for overlap; without an overlap it is over at once, and so are the tokens
// that were issued before.
func (r *Registry) Rotate(ctx context.Context, name, by string, overlap time.Duration) (Agent, Secret, error) {
	if overlap < 0 || overlap > longestOverlap {
		return Agent{}, Secret{}, invalid("an overlap of %v: want at most %v", overlap, longestOverlap)
	}
	secret := randomSecret()
	a, err := r.give(ctx, name, "agent.rotated", by, func(a *Agent) error {
		if a.Source != FromAPI {
			return invalid("the secret of agent %s comes from the config: put another one there, and the one before under old_secret for as long as it is in use", a.Name)
		}
		if a.Status != Active && a.Status != Suspended {
			return a.over()
		}
		at := now()
		a.OldSecret, a.OldUntil = nil, time.Time{}
		if overlap > 0 && len(a.SecretHash) > 0 {
			a.OldSecret, a.OldUntil = a.SecretHash, at.Add(overlap)
		} else {
			a.Epoch++
		}
		a.SecretHash, a.SecretSince = secret.Hash(), at
		return nil
	})
	if err != nil {
		return Agent{}, Secret{}, err
	}
	return a, secret, nil
}

// take makes the status of an agent one that allows it nothing: in memory first, so
// that a store that hangs does not keep the agent going.
func (r *Registry) take(ctx context.Context, name, what, by, status string) error {
	was, a, err := r.end(name, status)
	if err != nil {
		return err
	}
	var unrecorded error
	if was != nil {
		if err := r.tell(what, by, a.subject(), changes(was, a)); err != nil {
			unrecorded = fmt.Errorf("agent %s is %s, but that could not be recorded: %w", name, status, err)
		}
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	if err := r.store.PutAgent(ctx, *r.remember(name)); err != nil {
		return errors.Join(unrecorded, fmt.Errorf("agent %s is %s, but that is not stored and would not outlive a restart; say it again: %w", name, status, err))
	}
	return unrecorded
}

// end gives the agent a status in memory. was is what it was before, nil if it had
// that status already.
func (r *Registry) end(name, status string) (was, a *Agent, err error) {
	defer r.less()
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.place(name)
	if p == nil || p.agent.Load() == nil {
		return nil, nil, unknown(name)
	}
	was = p.agent.Load()
	switch {
	case was.Status == status:
		return nil, was, nil
	case was.Status == Revoked, was.Status == Retired && status == Suspended:
		return nil, nil, was.over()
	}
	next := was.clone()
	next.Status, next.Since = status, now()
	next.Epoch++
	if status == Revoked {
		next.Revoked = next.Since
	}
	r.settle(&next)
	return was, &next, nil
}

// give makes of an agent what edit makes of it, once that is on record and stored.
func (r *Registry) give(ctx context.Context, name, what, by string, edit func(*Agent) error) (Agent, error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	for {
		p := r.place(name)
		if p == nil || p.agent.Load() == nil {
			return Agent{}, unknown(name)
		}
		old := p.agent.Load()
		a := old.clone()
		if err := edit(&a); err != nil {
			return Agent{}, err
		}
		state := changes(old, &a)
		if state == "" {
			return p.told(&a), nil
		}
		if err := r.tell(what, by, a.subject(), state); err != nil {
			return Agent{}, fmt.Errorf("agent %s is not changed, since that could not be recorded: %w", name, err)
		}
		if err := r.store.PutAgent(ctx, a); err != nil {
			_ = r.tell("agent.changed", by, a.subject(), "not done, since it could not be stored: "+state)
			return Agent{}, fmt.Errorf("change agent %s: %w", name, err)
		}
		if r.replace(old, &a) {
			r.less() // of roles, models, servers or time, perhaps
			return p.told(&a), nil
		}
		// Something was taken from it meanwhile, and whoever did it waits to store that.
	}
}

// replace puts a in force in the place of old, if that is still what is.
func (r *Registry) replace(old, a *Agent) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[a.Name] != old {
		return false
	}
	r.settle(a)
	return true
}

// over is why nothing can be done with an agent that has ended for good.
func (a *Agent) over() error {
	if a.Status == Revoked {
		return &mistake{ErrRevoked, "agent " + a.Name + " was revoked, which is for good: create another one"}
	}
	return &mistake{ErrEnded, "agent " + a.Name + " was retired, which is for good: create another one"}
}

// halted is why the agent's calls do not pass at a time, nil if they may.
func (a *Agent) halted(at time.Time) error {
	if a.Status == Active && (a.Expires.IsZero() || at.Before(a.Expires)) {
		return nil
	}
	switch a.Status {
	case Active:
		return errLapsed
	case Suspended:
		return errSuspended
	case Retired:
		return errRetired
	}
	return errRevoked
}

// tokenless is why the agent gets no tokens at a time, nil if it may.
func (a *Agent) tokenless(at time.Time) error {
	switch a.halted(at) {
	case nil:
		return nil
	case errLapsed:
		return &mistake{ErrEnded, "agent " + a.Name + " has expired, at " + a.Expires.Format(time.RFC3339) + ", and gets no tokens any more"}
	case errSuspended:
		return &mistake{ErrEnded, "agent " + a.Name + " is suspended, and gets no tokens until it is resumed"}
	case errRetired:
		return &mistake{ErrEnded, "agent " + a.Name + " was retired, and gets no tokens any more"}
	}
	return &mistake{ErrRevoked, "agent " + a.Name + " was revoked, and gets no tokens any more"}
}
