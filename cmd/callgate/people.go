package main

import (
	"context"
	"errors"
	"time"

	"callgate/identity"

	"github.com/goccy/go-yaml/ast"
)

// A User is a person whom the file describes.
type User struct {
	Name   string   `yaml:"name"`
	Email  string   `yaml:"email"` // by which a login at the identity provider is known for the user's
	Groups []string `yaml:"groups"`
}

// A Group is people who belong together in policy.
type Group struct {
	Name    string   `yaml:"name"`
	Purpose string   `yaml:"purpose"`
	Members []string `yaml:"members"` // users
	Claims  []string `yaml:"claims"`  // what the identity provider calls it
}

func (u *User) check(r *reader, n ast.Node, key string) {
	if _, err := identity.UserName(u.Name); err != nil {
		r.note(at(n, "name"), "%s: %v", key, err)
	}
	groupsOf(r, at(n, "groups"), key+".groups", u.Groups)
}

func (g *Group) check(r *reader, n ast.Node, key string) {
	groupsOf(r, at(n, "name"), key, []string{g.Name})
	for i, m := range g.Members {
		if _, err := identity.UserName(m); err != nil {
			r.note(item(at(n, "members"), i), "%s.members: %v", key, err)
		}
	}
}

func groupsOf(r *reader, n ast.Node, key string, names []string) {
	for i, name := range names {
		if _, err := identity.GroupName(name); err != nil {
			r.note(item(n, i), "%s: %v", key, err)
		}
	}
}

// item is the place of one item of a list.
func item(n ast.Node, i int) ast.Node {
	if s, ok := n.(*ast.SequenceNode); ok && i < len(s.Values) {
		return s.Values[i]
	}
	return n
}

// known is the users and groups of the file as the registry takes them.
func (c *Config) known() (users []identity.User, groups []identity.Group) {
	for _, u := range c.Users {
		users = append(users, identity.User{Name: u.Name, Email: u.Email, Groups: u.Groups})
	}
	for _, g := range c.Groups {
		groups = append(groups, identity.Group{Name: g.Name, Purpose: g.Purpose, Members: g.Members, Claims: g.Claims})
	}
	return users, groups
}

// A Moment is a point in time: 2027-01-31, at the beginning of that day in UTC, or
// 2027-01-31T18:00:00Z.
type Moment time.Time

func (m *Moment) read(r *reader, n ast.Node, key string) {
	s, ok := r.text(n, key)
	if !ok {
		return
	}
	t, err := parseMoment(s)
	if err != nil {
		r.note(n, "%s: %q is no time; write 2027-01-31 or 2027-01-31T18:00:00Z", key, s)
		return
	}
	*m = Moment(t)
}

func parseMoment(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t, err = time.Parse(time.DateOnly, s)
	}
	return t, err
}

// people puts the users and groups of cfg in place of those there are.
func (h *house) people(ctx context.Context, cfg *Config) error {
	users, groups := cfg.known()
	err := h.registry.ConfigurePeople(ctx, users, groups)
	if err == nil {
		err = h.authority.SetClients(cfg.clients())
	}
	if errors.Is(err, identity.ErrInvalid) {
		return Mistakes{{Text: err.Error()}}
	}
	return err
}

// registered is the agents of the file as the registry takes them.
func registered(list []Agent) []identity.Agent {
	agents := make([]identity.Agent, len(list))
	for i, a := range list {
		agents[i] = identity.Agent{
			Name: a.Name, Roles: a.Roles, Owner: a.Owner, Purpose: a.Purpose, MaxTTL: time.Duration(a.MaxTTL),
			Environment: a.Environment, Models: a.Models, Servers: a.Servers, Expires: time.Time(a.Expires), Status: a.Status,
			JWKS: string(a.Keys.Text), JWKSURI: a.JWKSURI, DPoP: bool(a.DPoP),
		}
		if a.Secret.Given {
			agents[i].SecretHash = a.Secret.Secret.Hash()
		}
		if a.OldSecret.Given {
			agents[i].OldSecret = a.OldSecret.Secret.Hash()
		}
	}
	return agents
}

func (a Agent) name() string { return a.Name }
func (u User) name() string  { return u.Name }
func (g Group) name() string { return g.Name }
