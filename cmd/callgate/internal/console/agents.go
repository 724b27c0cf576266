package console

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"callgate/identity"
)

const maxAgents = 1000 // in one answer

// agents answers those after a name, by name.
func (c *Console) agents(w http.ResponseWriter, r *http.Request) {
	q, limit := r.URL.Query(), maxAgents
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxAgents {
			refuse(w, http.StatusBadRequest, "invalid", "limit %.20q: want a number from 1 to %d", text, maxAgents)
			return
		}
		limit = n
	}
	after := q.Get("after")
	q.Del("limit")
	if q.Del("after"); len(q) > 0 {
		refuse(w, http.StatusBadRequest, "invalid", "there are two parameters here: after and limit")
		return
	}
	list := []Agent{} // [] and not null
	for _, a := range c.cfg.Registry.Page(after, limit) {
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
	expires, ok := moment(w, "expires", n.Expires)
	if !ok {
		return
	}
	a, secret, err := c.cfg.Registry.Create(r.Context(), identity.Agent{
		Name: n.Name, Roles: n.Roles, Owner: n.Owner, Purpose: n.Purpose, MaxTTL: ttl,
		Environment: n.Environment, Models: n.Models, Servers: n.Servers, Expires: expires, JWKS: n.Keys, JWKSURI: n.JWKSURI})
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

// changeAgent makes an agent's description another one, in what the body names.
func (c *Console) changeAgent(w http.ResponseWriter, r *http.Request) {
	var n AgentChange
	if !read(w, r, &n) || !optional(w, &n.By) {
		return
	}
	var ttl time.Duration
	var expires time.Time
	ok := true
	if n.MaxTTL != nil {
		if ttl, ok = duration(w, "max_ttl", *n.MaxTTL); !ok {
			return
		}
	}
	if n.Expires != nil {
		if expires, ok = moment(w, "expires", *n.Expires); !ok {
			return
		}
	}
	_, err := c.cfg.Registry.Change(r.Context(), r.PathValue("name"), n.By, func(a *identity.Agent) error {
		put(&a.Roles, n.Roles)
		put(&a.Owner, n.Owner)
		put(&a.Purpose, n.Purpose)
		put(&a.Environment, n.Environment)
		put(&a.Models, n.Models)
		put(&a.Servers, n.Servers)
		if n.Keys != nil || n.JWKSURI != nil { // one takes the place of the other
			a.JWKS, a.JWKSURI = "", ""
		}
		put(&a.JWKS, n.Keys)
		put(&a.JWKSURI, n.JWKSURI)
		if n.MaxTTL != nil {
			a.MaxTTL = ttl
		}
		if n.Expires != nil {
			a.Expires = expires
		}
		return nil
	})
	if err != nil {
		failed(w, err)
		return
	}
	c.agent(w, r)
}

func put[V any](to *V, value *V) {
	if value != nil {
		*to = *value
	}
}

// step is a change of an agent's status that needs nothing but to be asked for.
func (c *Console) step(take func(ctx context.Context, name, by string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var s Step
		if !read(w, r, &s) || !optional(w, &s.By) {
			return
		}
		if err := take(r.Context(), r.PathValue("name"), s.By); err != nil {
			failed(w, err)
			return
		}
		c.agent(w, r)
	}
}

func (c *Console) rotateAgent(w http.ResponseWriter, r *http.Request) {
	var n Rotation
	if !read(w, r, &n) || !optional(w, &n.By) {
		return
	}
	overlap, ok := duration(w, "overlap", n.Overlap)
	if !ok {
		return
	}
	a, secret, err := c.cfg.Registry.Rotate(r.Context(), r.PathValue("name"), n.By, overlap)
	if err != nil {
		failed(w, err)
		return
	}
	answer(w, http.StatusOK, Credentials{a.Name, secret.Reveal()})
}

func (c *Console) reuse(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, append([]identity.Reuse{}, c.cfg.Registry.Reused()...))
}

// optional checks who does something, the admin where nobody is named.
func optional(w http.ResponseWriter, by *string) bool {
	if *by == "" {
		*by = "admin"
		return true
	}
	return signed(w, *by, "")
}

// moment reads an optional time, or answers what is wrong with it.
func moment(w http.ResponseWriter, name, text string) (time.Time, bool) {
	if text == "" {
		return time.Time{}, true
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid", "%s %.40q is no time; write 2027-01-31T18:00:00Z", name, text)
		return t, false
	}
	return t, true
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
	case errors.Is(err, identity.ErrEnded):
		refuse(w, http.StatusConflict, "conflict", "%v", err)
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
		Environment: a.Environment, Models: a.Models, Servers: a.Servers, JWKSURI: a.JWKSURI,
		Expires: since(a.Expires), Since: since(a.Since), LastSeen: since(a.LastSeen), SecretSince: since(a.SecretSince),
		OldSecret: len(a.OldSecret) > 0 && (a.OldUntil.IsZero() || time.Now().Before(a.OldUntil)), OldUntil: since(a.OldUntil),
	}
	keys, err := a.ClientKeys()
	if err != nil {
		s.Keys = []string{"that cannot be read"}
	}
	for _, k := range keys {
		s.Keys = append(s.Keys, k.Alg+" "+k.ID)
	}
	if !a.Revoked.IsZero() {
		at := a.Revoked.UTC()
		s.Revoked = &at
	}
	return s
}

// since is t for JSON, nil if there is none.
func since(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
