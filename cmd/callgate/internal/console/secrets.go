package console

import (
	"errors"
	"net/http"
	"time"

	"callgate/identity"
)

// A Secret is what may be known of a secret: all but its value.
type Secret struct {
	Name    string     `json:"name"`
	Version int        `json:"version"`
	For     []string   `json:"for"`    // provider:NAME, server:NAME; none: all
	Agents  []string   `json:"agents"` // agent:NAME, role:NAME, group:NAME, user:NAME; none: all
	Created time.Time  `json:"created"`
	Rotated time.Time  `json:"rotated"`
	Expires *time.Time `json:"expires,omitempty"`
	Expired bool       `json:"expired,omitempty"`
}

// NewSecret asks for a secret to be kept.
type NewSecret struct {
	Name    string   `json:"name"`
	Value   string   `json:"value"`
	For     []string `json:"for,omitempty"`
	Agents  []string `json:"agents,omitempty"`
	Expires string   `json:"expires,omitempty"` // in: 720h
}

// NewValue asks for a secret to get another value.
type NewValue struct {
	Value   string `json:"value"`
	Expires string `json:"expires,omitempty"` // in: 720h; never, if it is empty
}

// NewScope asks for a secret to be for something else.
type NewScope struct {
	For    []string `json:"for"`
	Agents []string `json:"agents"`
}

// maxSecretBody is bytes of a body with a value, which JSON may write longer than it
// is.
const maxSecretBody = 512 << 10

func (c *Console) secrets(w http.ResponseWriter, _ *http.Request) {
	list := []Secret{} // [] and not null
	for _, e := range c.cfg.Secrets.List() {
		list = append(list, shownSecret(e))
	}
	answer(w, http.StatusOK, list)
}

func (c *Console) secret(w http.ResponseWriter, r *http.Request) {
	e, ok := c.cfg.Secrets.Get(r.PathValue("name"))
	if !ok {
		refuse(w, http.StatusNotFound, "not_found", "there is no secret %.80q; callgate secret list shows them", r.PathValue("name"))
		return
	}
	answer(w, http.StatusOK, shownSecret(e))
}

func (c *Console) putSecret(w http.ResponseWriter, r *http.Request) {
	var n NewSecret
	if !readAtMost(w, r, &n, maxSecretBody) {
		return
	}
	life, ok := duration(w, "expires", n.Expires)
	if !ok {
		return
	}
	e, err := c.cfg.Secrets.Put(r.Context(), "admin", identity.Entry{
		Name: n.Name, Scope: identity.Scope{Targets: n.For, Agents: n.Agents}, Expires: after(life)}, identity.NewSecret(n.Value))
	toldSecret(w, http.StatusCreated, e, err)
}

func (c *Console) rotateSecret(w http.ResponseWriter, r *http.Request) {
	var n NewValue
	if !readAtMost(w, r, &n, maxSecretBody) {
		return
	}
	life, ok := duration(w, "expires", n.Expires)
	if !ok {
		return
	}
	e, err := c.cfg.Secrets.Rotate(r.Context(), "admin", r.PathValue("name"), identity.NewSecret(n.Value), after(life))
	toldSecret(w, http.StatusOK, e, err)
}

func (c *Console) scopeSecret(w http.ResponseWriter, r *http.Request) {
	var n NewScope
	if !read(w, r, &n) {
		return
	}
	e, err := c.cfg.Secrets.Rescope(r.Context(), "admin", r.PathValue("name"), identity.Scope{Targets: n.For, Agents: n.Agents})
	toldSecret(w, http.StatusOK, e, err)
}

func (c *Console) removeSecret(w http.ResponseWriter, r *http.Request) {
	if err := c.cfg.Secrets.Remove(r.Context(), "admin", r.PathValue("name")); err != nil {
		failedSecret(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]string{"removed": r.PathValue("name")})
}

// after is the time in d, or the zero Time where d is 0.
func after(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

func toldSecret(w http.ResponseWriter, status int, e identity.Entry, err error) {
	if err != nil {
		failedSecret(w, err)
		return
	}
	answer(w, status, shownSecret(e))
}

func failedSecret(w http.ResponseWriter, err error) {
	if errors.Is(err, identity.ErrNoSecret) {
		refuse(w, http.StatusNotFound, "not_found", "%v", err)
		return
	}
	failed(w, err)
}

func shownSecret(e identity.Entry) Secret {
	s := Secret{
		Name: e.Name, Version: e.Version, For: append([]string{}, e.Targets...), Agents: append([]string{}, e.Agents...),
		Created: e.Created.UTC(), Rotated: e.Rotated.UTC(),
	}
	if !e.Expires.IsZero() {
		at := e.Expires.UTC()
		s.Expires, s.Expired = &at, !time.Now().Before(at)
	}
	return s
}
