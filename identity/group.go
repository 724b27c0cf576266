package identity

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// A Group is people who belong together in policy: "group:finance".
type Group struct {
	Name    string   // "group:finance"
	Purpose string   // what it is for, in a few words
	Members []string // "user:ana"
	Claims  []string // what the identity provider calls it; then its own name, from there, means nothing
}

// register is the group that whoever described g meant, or what is wrong with that.
func (g Group) register() (Group, error) {
	name, err := GroupName(g.Name)
	if err != nil {
		return g, err
	}
	g.Name, g.Members, g.Claims = name, slices.Clone(g.Members), slices.Clone(g.Claims)
	for i, m := range g.Members {
		if g.Members[i], err = UserName(m); err != nil {
			return g, invalid("%s: %v", g.Name, err)
		}
	}
	for _, c := range g.Claims {
		if !isPlain(c, maxClaim) {
			return g, invalid("%s: claim %.80q: want one line of at most %d bytes", g.Name, c, maxClaim)
		}
	}
	if g.Purpose != "" && !isPlain(g.Purpose, maxPurpose) {
		return g, invalid("%s: want a purpose of one line and at most %d bytes", g.Name, maxPurpose)
	}
	return g, nil
}

// A roster is who belongs to which group, as the config says. It does not change.
type roster struct {
	groups  map[string]Group
	claimed map[string][]string // groups, by what a provider calls them
	members map[string][]string // groups, by user
}

func newRoster(groups []Group) (*roster, error) {
	t := &roster{make(map[string]Group), make(map[string][]string), make(map[string][]string)}
	var wrong []error
	for _, given := range groups {
		g, err := given.register()
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		if _, twice := t.groups[g.Name]; twice {
			wrong = append(wrong, invalid("%s stands in the config twice", g.Name))
			continue
		}
		t.groups[g.Name] = g
		for _, m := range g.Members {
			t.members[m] = append(t.members[m], g.Name)
		}
		for _, c := range g.Claims {
			t.claimed[c] = append(t.claimed[c], g.Name)
		}
	}
	return t, errors.Join(wrong...)
}

// of is the groups that u belongs to, in order.
func (t *roster) of(u *User) []string {
	all := slices.Concat(u.given, t.members[u.Name])
	for _, c := range u.Claims {
		if to := t.claimed[c]; to != nil {
			all = append(all, to...)
			continue
		}
		if strings.Contains(c, ":") { // which would be another kind of name
			continue
		}
		if name, err := GroupName(c); err == nil && len(t.groups[name].Claims) == 0 {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Groups is all groups that the config names or that somebody is in, by name, each
// with the active users in it.
func (r *Registry) Groups() []Group {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string]Group)
	for name, g := range r.people.roster.groups {
		g.Members = nil
		all[name] = g
	}
	for _, u := range r.people.users {
		if u.Status != Active {
			continue
		}
		for _, name := range u.Groups {
			g := all[name]
			g.Name, g.Members = name, append(g.Members, u.Name)
			all[name] = g
		}
	}
	list := slices.SortedFunc(maps.Values(all), func(a, b Group) int { return strings.Compare(a.Name, b.Name) })
	for i := range list {
		slices.Sort(list[i].Members)
	}
	return list
}
