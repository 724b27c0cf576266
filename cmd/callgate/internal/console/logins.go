package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"callgate/firewall"
)

// beginLogin says where a person has to go.
func (c *Console) beginLogin(w http.ResponseWriter, r *http.Request) {
	var n NewLogin
	if !read(w, r, &n) {
		return
	}
	if n.Agent != "" && n.User != "" {
		refuse(w, http.StatusBadRequest, "invalid", "agent and user: a login is for one of them")
		return
	}
	l, err := c.cfg.BeginLogin(r.Context(), r.PathValue("name"), n)
	if err != nil {
		refused(w, err)
		return
	}
	answer(w, http.StatusOK, l)
}

// login waits, if it is asked to, until the login is over.
func (c *Console) login(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	wait := time.Duration(0)
	if text := q.Get("wait"); text != "" {
		var ok bool
		if wait, ok = duration(w, "wait", text); !ok {
			return
		}
	}
	if q.Del("wait"); len(q) > 0 || wait > maxWait {
		refuse(w, http.StatusBadRequest, "invalid", "there is one parameter here: wait, of at most %v", maxWait)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	l, ok := c.cfg.Login(ctx, r.PathValue("id"))
	if !ok {
		refuse(w, http.StatusNotFound, "not_found", "there is no login %.80q", r.PathValue("id"))
		return
	}
	answer(w, http.StatusOK, l)
}

func (c *Console) logins(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, c.cfg.Logins())
}

func (c *Console) endLogin(w http.ResponseWriter, r *http.Request) {
	var o OldLogin
	if !read(w, r, &o) {
		return
	}
	if o.Agent != "" && o.User != "" || o.All && o.Agent+o.User != "" {
		refuse(w, http.StatusBadRequest, "invalid", "agent, user and all: say one of them")
		return
	}
	n, err := c.cfg.EndLogin(r.Context(), r.PathValue("name"), o)
	if err != nil {
		refused(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]int{"ended": n})
}

// refused answers an error of the gate, with its cause: the admin may see it.
func refused(w http.ResponseWriter, err error) {
	var e *firewall.Error
	if !errors.As(err, &e) {
		refuse(w, http.StatusInternalServerError, "internal", "%v", err)
		return
	}
	text := e.Reason
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	switch e.Code {
	case firewall.Invalid:
		refuse(w, http.StatusBadRequest, "invalid", "%s", text)
	case firewall.NotFound:
		refuse(w, http.StatusNotFound, "not_found", "%s", text)
	case firewall.Exhausted:
		refuse(w, http.StatusConflict, "conflict", "%s", text)
	default:
		refuse(w, http.StatusServiceUnavailable, "unavailable", "%s", text)
	}
}
