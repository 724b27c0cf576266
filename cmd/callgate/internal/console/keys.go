package console

import (
	"net/http"
	"time"
)

// A SigningKey is a key that tokens are signed or verified with.
type SigningKey struct {
	ID      string     `json:"kid"`
	Alg     string     `json:"alg"`
	State   string     `json:"state"` // pending, active, retiring
	Created time.Time  `json:"created"`
	Since   time.Time  `json:"since"`           // in that state
	Until   *time.Time `json:"until,omitempty"` // of one that retires: when it is forgotten
}

// NewRotation asks for another signing key.
type NewRotation struct {
	Now bool   `json:"now,omitempty"` // it signs at once, although others may not know it yet
	By  string `json:"by,omitempty"`  // default admin
}

// DroppedKey asks for a signing key to be taken away.
type DroppedKey struct {
	By string `json:"by,omitempty"` // default admin
}

func (c *Console) signingKeys(w http.ResponseWriter, _ *http.Request) {
	list := []SigningKey{}
	for _, k := range c.cfg.Authority.SigningKeys() {
		x := SigningKey{ID: k.ID, Alg: k.Alg, State: k.State, Created: k.Created, Since: k.Since}
		if !k.Until.IsZero() {
			x.Until = &k.Until
		}
		list = append(list, x)
	}
	answer(w, http.StatusOK, list)
}

func (c *Console) rotateKeys(w http.ResponseWriter, r *http.Request) {
	var n NewRotation
	if !read(w, r, &n) {
		return
	}
	if err := c.cfg.Authority.RotateKeys(n.Now, orAdmin(n.By)); err != nil {
		failed(w, err)
		return
	}
	c.signingKeys(w, r)
}

func (c *Console) dropKey(w http.ResponseWriter, r *http.Request) {
	var n DroppedKey
	if !read(w, r, &n) {
		return
	}
	if err := c.cfg.Authority.DropKey(r.PathValue("kid"), orAdmin(n.By)); err != nil {
		failed(w, err)
		return
	}
	c.signingKeys(w, r)
}

func orAdmin(by string) string {
	if by == "" {
		return "admin"
	}
	return by
}
