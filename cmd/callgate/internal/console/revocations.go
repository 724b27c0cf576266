package console

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"callgate/firewall"
	"callgate/identity"
)

// A Revocation is something that was ended, or stopped.
type Revocation struct {
	Kind  string     `json:"kind"` // token, grant, chain, run, object, label
	ID    string     `json:"id"`
	By    string     `json:"by"`
	At    time.Time  `json:"at"`
	Until *time.Time `json:"until,omitempty"` // when it is forgotten, since nothing is left that it could end
}

// NewRevocation asks for something to be revoked, or restored.
type NewRevocation struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	By   string `json:"by,omitempty"` // default admin
}

// kinds that somebody can revoke by hand; agents have an endpoint of their own.
var kinds = []string{identity.RevokedToken, identity.RevokedGrant, identity.RevokedChain, identity.RevokedRun, identity.RevokedObject, identity.RevokedLabel}

func (c *Console) revocations(w http.ResponseWriter, r *http.Request) {
	list, err := c.cfg.Revoked.List(r.Context())
	if err != nil {
		failed(w, err)
		return
	}
	told := []Revocation{}
	for _, n := range list {
		x := Revocation{Kind: n.Kind, ID: n.ID, By: n.By, At: n.At}
		if !n.Until.IsZero() {
			x.Until = &n.Until
		}
		told = append(told, x)
	}
	answer(w, http.StatusOK, told)
}

func (c *Console) revoke(w http.ResponseWriter, r *http.Request) {
	if n, ok := readRevocation(w, r); ok {
		if err := c.cfg.Revoked.Revoke(r.Context(), n.Kind, n.ID, n.By); err != nil {
			failed(w, err)
			return
		}
		answer(w, http.StatusOK, n)
	}
}

func (c *Console) restore(w http.ResponseWriter, r *http.Request) {
	if n, ok := readRevocation(w, r); ok {
		if err := c.cfg.Revoked.Lift(r.Context(), n.Kind, n.ID, n.By); err != nil {
			failed(w, err)
			return
		}
		answer(w, http.StatusOK, n)
	}
}

func readRevocation(w http.ResponseWriter, r *http.Request) (NewRevocation, bool) {
	var n NewRevocation
	if !read(w, r, &n) {
		return n, false
	}
	if n.By == "" {
		n.By = "admin"
	}
	if !slices.Contains(kinds, n.Kind) || n.ID == "" || len(n.ID) > 512 || strings.ContainsAny(n.ID, "\r\n") {
		refuse(w, http.StatusBadRequest, "invalid", "want kind (%s) and id; agents have /api/v1/agents/NAME/revoke", strings.Join(kinds, ", "))
		return n, false
	}
	if _, known := firewall.ParseLabel(n.ID); n.Kind == identity.RevokedLabel && !known {
		refuse(w, http.StatusBadRequest, "invalid", "%q is no label: they are untrusted, private and secret", n.ID)
		return n, false
	}
	return n, true
}
