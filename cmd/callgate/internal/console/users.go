package console

import (
	"context"
	"net/http"

	"callgate/identity"
)

func (c *Console) users(w http.ResponseWriter, _ *http.Request) {
	list := []User{}
	for _, u := range c.cfg.Registry.Users() {
		list = append(list, person(u))
	}
	answer(w, http.StatusOK, list)
}

func (c *Console) groups(w http.ResponseWriter, _ *http.Request) {
	list := []Group{}
	for _, g := range c.cfg.Registry.Groups() {
		list = append(list, Group{g.Name, g.Purpose, append([]string{}, g.Members...)})
	}
	answer(w, http.StatusOK, list)
}

func (c *Console) user(w http.ResponseWriter, r *http.Request) {
	name, ok := named(w, r)
	if !ok {
		return
	}
	u, ok := c.cfg.Registry.User(name)
	if !ok {
		refuse(w, http.StatusNotFound, "not_found", "there is no user %.80q; callgate user list shows those there are", name)
		return
	}
	s := person(u)
	for _, a := range c.cfg.Registry.Orphans(name, c.members) {
		s.Agents = append(s.Agents, a.Name)
	}
	answer(w, http.StatusOK, s)
}

// named is the full name of the user that the path names, or answers what is wrong
// with it.
func named(w http.ResponseWriter, r *http.Request) (string, bool) {
	name, err := identity.UserName(r.PathValue("name"))
	if err != nil {
		failed(w, err)
		return "", false
	}
	return name, true
}

func (c *Console) stepUser(take func(ctx context.Context, name, by string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var s Step
		name, ok := named(w, r)
		if !ok || !read(w, r, &s) || !optional(w, &s.By) {
			return
		}
		if err := take(r.Context(), name, s.By); err != nil {
			failed(w, err)
			return
		}
		c.user(w, r)
	}
}

// offboard is for somebody who leaves.
func (c *Console) offboard(w http.ResponseWriter, r *http.Request) {
	var l Leave
	name, ok := named(w, r)
	if !ok || !read(w, r, &l) || !optional(w, &l.By) {
		return
	}
	done := Offboarding{User: name, Status: identity.Offboarded, Agents: []string{}, DryRun: l.DryRun}
	var agents []identity.Agent
	if l.DryRun {
		agents = c.cfg.Registry.Orphans(name, c.members)
	} else {
		var err error
		if _, agents, err = c.cfg.Registry.Offboard(r.Context(), name, l.By, c.members); err != nil {
			failed(w, err)
			return
		}
	}
	for _, a := range agents {
		done.Agents = append(done.Agents, a.Name)
	}
	answer(w, http.StatusOK, done)
}

// members is the users in a group by the policy in force.
func (c *Console) members(group string) []string {
	if p := c.cfg.Policies.Standing().Active; p != nil {
		return p.Members("default", group)
	}
	return nil
}

func person(u identity.User) User {
	return User{
		Name: u.Name, Status: u.Status, Email: u.Email, Groups: append([]string{}, u.Groups...), Source: u.Source, Issuer: u.Issuer, Subject: u.Subject,
		Created: u.Created.UTC(), Since: since(u.Since), LastLogin: since(u.LastLogin),
	}
}
