package console

import (
	"net/http"
	"strings"
	"time"

	"callgate/audit"
)

// A NewHold asks for a legal hold, or for the end of one.
type NewHold struct {
	ID  string `json:"id"` // of a run, or agent:NAME, user:NAME
	Why string `json:"why"`
	By  string `json:"by,omitempty"`
}

func (c *Console) holds(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, append([]audit.Hold{}, c.cfg.Holds.List()...))
}

// readHold reads n, or answers what is wrong with it.
func (c *Console) readHold(w http.ResponseWriter, r *http.Request, n *NewHold) bool {
	if !read(w, r, n) || !optional(w, &n.By) {
		return false
	}
	n.ID, n.Why = strings.TrimSpace(n.ID), strings.TrimSpace(n.Why)
	if n.ID == "" || len(n.ID) > 200 || n.Why == "" || len(n.Why) > maxReason {
		refuse(w, http.StatusBadRequest, "invalid", "want the id of a run, agent:NAME or user:NAME, and why, in at most %d bytes", maxReason)
		return false
	}
	return true
}

// hold keeps what is on record of a run or an agent. It is on record before it is told.
func (c *Console) hold(w http.ResponseWriter, r *http.Request) {
	var n NewHold
	if !c.readHold(w, r, &n) {
		return
	}
	x := audit.Hold{ID: n.ID, Why: n.Why, By: n.By, At: time.Now().UTC().Truncate(time.Second)}
	err := c.cfg.Holds.Put(x) // first what keeps
	if err == nil {
		err = c.cfg.Record("hold.placed", n.By, n.ID, n.Why)
	}
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, "unavailable", "%v", err)
		return
	}
	answer(w, http.StatusCreated, x)
}

// release ends a hold, once that is on record.
func (c *Console) release(w http.ResponseWriter, r *http.Request) {
	var n NewHold
	if !c.readHold(w, r, &n) {
		return
	}
	err := c.cfg.Record("hold.released", n.By, n.ID, n.Why)
	was := false
	if err == nil {
		was, err = c.cfg.Holds.Release(n.ID)
	}
	switch {
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, "unavailable", "%v", err)
	case !was:
		refuse(w, http.StatusNotFound, "not_found", "nothing of %.80q is held", n.ID)
	default:
		answer(w, http.StatusOK, map[string]string{"released": n.ID})
	}
}
