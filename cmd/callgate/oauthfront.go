package main

import (
	"fmt"
	"time"

	"callgate/cmd/callgate/internal/store"
	"callgate/identity"

	"github.com/goccy/go-yaml/ast"
)

// An OAuthClient is a program by which people let an agent act for them.
type OAuthClient struct {
	ID           string    `yaml:"id"`            // client_id
	Name         string    `yaml:"name"`          // that people see
	RedirectURIs []string  `yaml:"redirect_uris"` // where they are sent back to
	Secret       Reference `yaml:"secret"`        // with which it authenticates; none: it is public
	Agent        string    `yaml:"agent"`         // that it acts as; the person chooses where there is none
}

// An OIDC is the identity provider where people log in.
type OIDC struct {
	Issuer       string    `yaml:"issuer" restart:"yes"`
	ClientID     string    `yaml:"client_id" restart:"yes"`
	ClientSecret Reference `yaml:"client_secret" restart:"yes"`
	GroupsClaim  string    `yaml:"groups_claim" restart:"yes"`
}

// client is c as package identity takes it.
func (c *OAuthClient) client() *identity.Client {
	return &identity.Client{ID: c.ID, Name: c.Name, Redirects: c.RedirectURIs, SecretHash: c.Secret.Secret.Hash(), Agent: c.Agent, Source: identity.FromConfig}
}

func (c *OAuthClient) check(r *reader, n ast.Node, key string) {
	if err := c.client().Check(); err != nil {
		r.note(n, "%s: %v", key, err)
	}
	if secret := c.Secret.Secret.Reveal(); secret != "" && len(secret) < 32 {
		r.note(at(n, "secret"), "%s.secret: want at least 32 characters", key)
	}
}

func (o *OIDC) check(r *reader, n ast.Node, key string) {
	if err := (identity.FrontConfig{Provider: o.provider()}).Check(); err != nil {
		r.note(n, "%v", fmt.Errorf("identity.%w", err))
	}
}

func (o *OIDC) provider() identity.Provider {
	return identity.Provider{Issuer: o.Issuer, ClientID: o.ClientID, ClientSecret: o.ClientSecret.Secret, GroupsClaim: o.GroupsClaim}
}

// oauthFront is the half of the authorization server that people see.
func (c *Config) oauthFront(admin identity.Secret, kept *store.Vouchers) identity.FrontConfig {
	return identity.FrontConfig{
		DefaultAgent: c.Identity.DefaultAgent, Provider: c.Identity.OIDC.provider(), Admin: admin, RefreshTTL: time.Duration(c.Identity.RefreshTTL),
		Registration: c.Identity.Registration, Vouchers: kept, Registered: kept,
	}
}

// clients is the programs that people know.
func (c *Config) clients() []identity.Client {
	var list []identity.Client
	for i := range c.Identity.Clients {
		list = append(list, *c.Identity.Clients[i].client())
	}
	return list
}

// checkFront notes what is wrong with all of it together.
func (c *Config) checkFront(r *reader, n ast.Node) {
	seen := make(map[string]bool)
	for i, client := range c.Identity.Clients {
		if seen[client.ID] {
			r.note(at(item(at(n, "clients"), i), "id"), "identity.clients: %s stands here twice", client.ID)
		}
		seen[client.ID] = true
	}
	if name := c.Identity.DefaultAgent; name != "" && !agentName.MatchString(name) {
		r.note(at(n, "default_agent"), "identity.default_agent: %.80q is no agent's name", name)
	}
}
