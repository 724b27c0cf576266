package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Configure makes agents the ones that come from the config. Those that the
// config named until now and does not name any more are unknown from their next
// call on; those that have ended stay so. A Status that is given can only take
// away: [Suspended] or [Retired]. A SecretHash that is neither the one before nor
// has that as its OldSecret ends the tokens issued before. When an error is
// returned, of [ErrInvalid] or [ErrTaken] or of the store, the agents in force are
// still those from before.
func (r *Registry) Configure(ctx context.Context, agents []Agent) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	next, err := r.configured(agents)
	if err != nil {
		return err
	}
	for _, n := range next {
		if n.base != nil && changes(n.base, &n.agent) == "" {
			continue
		}
		if err := r.store.PutAgent(ctx, n.agent); err != nil {
			return fmt.Errorf("configure agent %s: %w", n.agent.Name, err)
		}
	}
	defer r.less()
	for _, c := range r.swap(next) {
		_ = r.tell(c.what, "config", c.name, c.state) // whoever read the config has that on record, or takes it back
	}
	return nil
}

// A configured agent is one as it will be, and what was known of it when that was
// made out.
type configured struct {
	agent Agent
	base  *Agent
}

// configured is agents as they will be, with what is known of them already, or
// all that is wrong with them.
func (r *Registry) configured(agents []Agent) (map[string]configured, error) {
	next := make(map[string]configured, len(agents))
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
		old := r.remember(a.Name)
		if old != nil && old.Source != FromConfig {
			wrong = append(wrong, &mistake{ErrTaken, "agent " + a.Name +
				" in the config has the name of one that was made by callgate agent create: choose another name for the one in the config"})
			continue
		}
		if a.Status != "" && a.Status != Active && a.Status != Suspended && a.Status != Retired {
			wrong = append(wrong, invalid("agent %s: status %.40q: want suspended or retired, or leave it away", a.Name, a.Status))
			continue
		}
		next[a.Name] = configured{a.after(old), old}
	}
	return next, errors.Join(wrong...)
}

// after is the agent that the config describes as a, when it comes after old, which
// may be nil.
func (a Agent) after(old *Agent) Agent {
	want, at := a.Status, now()
	a.Source, a.LastSeen = FromConfig, time.Time{}
	a.Status, a.Epoch, a.Created, a.Since, a.SecretSince, a.Revoked = Active, 1, at, at, at, time.Time{}
	if old != nil {
		a.Status, a.Epoch, a.Created, a.Since, a.Revoked = old.Status, old.Epoch, old.Created, old.Since, old.Revoked
		a.SecretSince = old.SecretSince
		if !bytes.Equal(a.SecretHash, old.SecretHash) {
			a.SecretSince = at
			if len(a.OldSecret) == 0 || !bytes.Equal(a.OldSecret, old.SecretHash) {
				a.Epoch++
			}
		}
	}
	if len(a.SecretHash) == 0 {
		a.SecretSince = time.Time{}
	}
	if a.Status == Active && (want == Suspended || want == Retired) || a.Status == Suspended && want == Retired {
		a.Status, a.Since = want, at
		a.Epoch++
	}
	return a
}

// A change is something that the config did to an agent.
type change struct{ what, name, state string }

// swap puts the configured agents in force, and says what that changed.
func (r *Registry) swap(next map[string]configured) (list []change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, a := range r.known {
		if _, stays := next[name]; stays || a.Source != FromConfig || a.Status == Revoked {
			continue
		}
		if p := r.place(name); p != nil && p.agent.Swap(nil) != nil {
			list = append(list, change{"agent.removed", a.subject(), describe(a)})
		}
	}
	for name, n := range next {
		a, old := n.agent, r.known[name]
		if old != n.base { // something was taken from it since next was made out
			a.Status, a.Epoch, a.Since, a.Revoked = old.Status, max(old.Epoch, a.Epoch)+1, old.Since, old.Revoked
		}
		r.settle(&a)
		if old == nil {
			list = append(list, change{"agent.created", a.subject(), describe(&a)})
		} else if what := changes(old, &a); what != "" {
			list = append(list, change{"agent.changed", a.subject(), what})
		}
	}
	slices.SortFunc(list, func(a, b change) int { return strings.Compare(a.name, b.name) })
	return list
}

// describe is the state of the agent in a few words, for the record.
func describe(a *Agent) string {
	s := fmt.Sprintf("%s, epoch %d", a.Status, a.Epoch)
	for _, f := range a.fields() {
		if f.value != "" && f.name != "status" && f.name != "epoch" && (f.name != "max ttl" || a.MaxTTL != defaultMaxTTL) {
			s += ", " + f.name + " " + f.value
		}
	}
	return s
}

// changes is what of an agent is otherwise in a than in old, for the record: "" if
// nothing is that is worth a write.
func changes(old, a *Agent) string {
	var list []string
	was := old.fields()
	for i, f := range a.fields() {
		if f.value != was[i].value {
			list = append(list, f.name+" "+orNone(was[i].value)+" → "+orNone(f.value))
		}
	}
	if !bytes.Equal(old.SecretHash, a.SecretHash) {
		list = append(list, "another secret")
	}
	if !bytes.Equal(old.OldSecret, a.OldSecret) || !old.OldUntil.Equal(a.OldUntil) {
		switch {
		case len(a.OldSecret) == 0:
			list = append(list, "no old secret any more")
		case a.OldUntil.IsZero():
			list = append(list, "an old secret is good besides")
		default:
			list = append(list, "the old secret is good until "+a.OldUntil.Format(time.RFC3339))
		}
	}
	return strings.Join(list, "; ")
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func required(yes bool) string {
	if yes {
		return "required"
	}
	return ""
}

// A field is one thing about an agent or a user, in words that may stand on record.
type field struct{ name, value string }

// fields is all about the agent that is no secret, always in the same order.
func (a *Agent) fields() []field {
	expires := ""
	if !a.Expires.IsZero() {
		expires = a.Expires.Format(time.RFC3339)
	}
	return []field{
		{"status", a.Status}, {"epoch", fmt.Sprint(a.Epoch)}, {"roles", strings.Join(a.Roles, " ")}, {"owner", a.Owner},
		{"environment", a.Environment}, {"models", strings.Join(a.Models, " ")}, {"servers", strings.Join(a.Servers, " ")},
		{"expires", expires}, {"max ttl", a.MaxTTL.String()}, {"purpose", a.Purpose}, {"keys", keysOf(a.JWKS)}, {"jwks_uri", a.JWKSURI},
		{"dpop", required(a.DPoP)},
	}
}
