package console

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"callgate/identity"
)

func (c *Console) agents(w http.ResponseWriter, _ *http.Request) {
	list := []Agent{} // [] and not null
	for _, a := range c.cfg.Registry.List() {
		list = append(list, shown(a))
	}
	answer(w, http.StatusOK, list)
}

func (c *Console) agent(w http.ResponseWriter, r *http.Request) {
	if a, ok := c.known(w, r); ok {
		answer(w, http.StatusOK, shown(a))
	}
}

// known is the agent that the path names; where there is none it has answered so.
func (c *Console) known(w http.ResponseWriter, r *http.Request) (identity.Agent, bool) {
	a, ok := c.cfg.Registry.Get(r.PathValue("name"))
	if !ok {
		failed(w, identity.ErrUnknown)
	}
	return a, ok
}

func (c *Console) createAgent(w http.ResponseWriter, r *http.Request) {
	var n NewAgent
	if !read(w, r, &n) {
		return
	}
	ttl, ok := duration(w, "max_ttl", n.MaxTTL)
	if !ok {
		return
	}
	a, secret, err := c.cfg.Registry.Create(r.Context(), identity.Agent{
		Name: n.Name, Roles: n.Roles, Owner: n.Owner, Purpose: n.Purpose, MaxTTL: ttl})
	if err != nil {
		failed(w, err)
		return
	}
	answer(w, http.StatusCreated, Credentials{a.Name, secret.Reveal()})
}

func (c *Console) revokeAgent(w http.ResponseWriter, r *http.Request) {
	var nothing struct{}
	if !read(w, r, &nothing) {
		return
	}
	if err := c.cfg.Registry.Revoke(r.Context(), r.PathValue("name")); err != nil {
		failed(w, err)
		return
	}
	c.agent(w, r)
}

func (c *Console) mintToken(w http.ResponseWriter, r *http.Request) {
	var n NewToken
	if !read(w, r, &n) {
		return
	}
	ttl, ok := duration(w, "ttl", n.TTL)
	if !ok {
		return
	}
	o := identity.MintOptions{TTL: ttl, Scope: n.Scope, Audience: n.Resource, Run: n.Run}
	if len(n.Details) > 0 {
		caps, err := identity.ParseCaps(n.Details)
		if err != nil {
			refuse(w, http.StatusBadRequest, "invalid", "%v", err)
			return
		}
		o.Caps = caps
	}
	t, err := c.minted(r.Context(), r.PathValue("name"), n.From, o)
	if err != nil {
		failed(w, err)
		return
	}
	answer(w, http.StatusOK, Token{t.Access.Reveal(), "Bearer", int64(t.TTL.Seconds()), t.Grant, t.Scope, t.Caps})
}

// minted is a token of the agent name, by which it acts for from, if there is one: an
// agent, or whoever has that access token.
func (c *Console) minted(ctx context.Context, name, from string, o identity.MintOptions) (identity.Token, error) {
	if from == "" {
		return c.cfg.Authority.Mint(ctx, name, o)
	}
	if !strings.HasPrefix(from, "eyJ") { // as every JWT begins, and no name
		parent, err := c.cfg.Authority.Mint(ctx, from, identity.MintOptions{TTL: o.TTL})
		if err != nil {
			return parent, err
		}
		from = parent.Access.Reveal()
	}
	return c.cfg.Authority.Exchange(ctx, from, name, o)
}

// duration reads an optional duration, or answers what is wrong with it.
func duration(w http.ResponseWriter, name, text string) (time.Duration, bool) {
	if text == "" {
		return 0, true
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		refuse(w, http.StatusBadRequest, "invalid", "%s %q is no duration; write 15m or 4h", name, text)
		return 0, false
	}
	return d, true
}

// failed answers what the registry or the authority refused.
func failed(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, identity.ErrUnknown):
		refuse(w, http.StatusNotFound, "not_found", "%v; callgate agent list shows the agents", err)
	case errors.Is(err, identity.ErrTaken):
		refuse(w, http.StatusConflict, "conflict", "%v", err)
	case errors.Is(err, identity.ErrRevoked):
		refuse(w, http.StatusConflict, "revoked", "%v", err)
	case errors.Is(err, identity.ErrInvalid), errors.Is(err, identity.ErrScope), errors.Is(err, identity.ErrTarget), errors.As(err, new(identity.Refusal)):
		refuse(w, http.StatusBadRequest, "invalid", "%v", err)
	default:
		refuse(w, http.StatusServiceUnavailable, "unavailable", "%v", err)
	}
}

func shown(a identity.Agent) Agent {
	s := Agent{
		Name: a.Name, Roles: a.Roles, Owner: a.Owner, Purpose: a.Purpose, Status: a.Status, Source: a.Source,
		MaxTTL: a.MaxTTL.String(), Created: a.Created.UTC(),
	}
	if !a.Revoked.IsZero() {
		at := a.Revoked.UTC()
		s.Revoked = &at
	}
	return s
}
