package identity

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// Offboard is for somebody who leaves: the user is [Offboarded], for good, and the
// agents that [Registry.Orphans] tells are suspended, at once, each on record. A user
// that the registry does not know is offboarded too, so that nobody comes by that
// name later. An error may stand beside what was done nevertheless; then Offboard
// must be called again.
func (r *Registry) Offboard(ctx context.Context, name, by string, also func(group string) []string) (User, []Agent, error) {
	u, err := r.dismiss(ctx, name, "user.offboarded", by, Offboarded)
	if u.Name == "" {
		return User{}, nil, err
	}
	wrong := []error{err}
	list := r.Orphans(name, also)
	for i, a := range list {
		wrong = append(wrong, r.take(ctx, a.Name, "agent.suspended", by, Suspended))
		list[i], _ = r.Get(a.Name)
	}
	return u, list, errors.Join(wrong...)
}

// Orphans is the active agents that nobody would answer for without the user, by
// name: those that the user owns, and those of a group that nobody else is in who is
// there. also is who else is in a group, for all that the registry does not know; it
// may be nil.
func (r *Registry) Orphans(name string, also func(group string) []string) (list []Agent) {
	members := make(map[string][]string)
	for _, g := range r.Groups() {
		members[g.Name] = g.Members
	}
	was, _ := r.Person(name)
	left := make(map[string]bool) // groups that nobody is in without the user
	for p, a := range r.all() {
		if a.Status != Active {
			continue
		}
		if _, known := left[a.Owner]; !known && strings.HasPrefix(a.Owner, "group:") {
			all := members[a.Owner]
			if also != nil {
				all = slices.Concat(all, also(a.Owner))
			}
			in := slices.Contains(was, a.Owner) || slices.Contains(all, name)
			left[a.Owner] = in && !slices.ContainsFunc(all, func(m string) bool {
				_, gone := r.Person(m)
				return m != name && gone == nil
			})
		}
		if left[a.Owner] || strings.EqualFold(a.Owner, name) {
			list = append(list, p.told(a))
		}
	}
	slices.SortFunc(list, func(a, b Agent) int { return strings.Compare(a.Name, b.Name) })
	return list
}
