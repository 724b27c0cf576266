package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"callgate/audit"
)

// payload answers with the document itself that passed: of a request, or of a reply, each
// of whose events is a document in a line.
func (c *Console) payload(of func(*audit.Call) *audit.Payload) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), queryTimeout)
		defer cancel()
		if !c.caughtUp(ctx, w) {
			return
		}
		id := r.PathValue("id")
		found, ok, err := c.cfg.Index.Call(ctx, id)
		if err != nil {
			refuse(w, http.StatusServiceUnavailable, "unavailable", "%v", err)
			return
		}
		if !ok {
			refuse(w, http.StatusNotFound, "not_found", "no call %.80q is on record", id)
			return
		}
		at := of(&found)
		if at == nil {
			refuse(w, http.StatusNotFound, "not_found", "nothing is kept of that of call %s", id)
			return
		}
		doc, err := c.cfg.Payloads.Get(*at)
		switch {
		case errors.Is(err, audit.ErrErased), errors.Is(err, audit.ErrNoPayload):
			refuse(w, http.StatusGone, "gone", "%v", err)
		case err != nil:
			refuse(w, http.StatusInternalServerError, "internal", "%v", err)
		default:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Callgate-Payload-Digest", at.Digest)
			_, _ = w.Write(doc)
		}
	}
}

// An Erasure asks for what runs have said to be destroyed.
type Erasure struct {
	Runs    []string `json:"runs,omitempty"`
	Subject string   `json:"subject,omitempty"` // all runs that this agent or user was in
	Reason  string   `json:"reason"`
}

// Erased says what was.
type Erased struct {
	Runs int `json:"runs"`
	Keys int `json:"keys"` // that were destroyed
}

const maxReason = 500 // bytes

// erase destroys the keys of runs. What is on record of it stays, and an erasure is on
// record itself.
func (c *Console) erase(w http.ResponseWriter, r *http.Request) {
	var e Erasure
	if !read(w, r, &e) {
		return
	}
	if e.Reason = strings.TrimSpace(e.Reason); e.Reason == "" || len(e.Reason) > maxReason || (len(e.Runs) == 0) == (e.Subject == "") {
		refuse(w, http.StatusBadRequest, "invalid", "want runs or a subject, and a reason of at most %d bytes", maxReason)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), queryTimeout)
	defer cancel()
	if e.Subject != "" {
		if !c.caughtUp(ctx, w) {
			return
		}
		runs, err := c.cfg.Index.RunsOf(ctx, e.Subject)
		if err != nil {
			refuse(w, http.StatusServiceUnavailable, "unavailable", "%v", err)
			return
		}
		e.Runs = runs
	}
	keys, err := c.cfg.Payloads.Erase(e.Runs...)
	if errors.Is(err, audit.ErrHeld) {
		refuse(w, http.StatusConflict, "conflict", "%v; callgate audit hold lists the holds", err)
		return
	}
	if err == nil {
		err = c.cfg.Record("payloads.erased", "admin", e.Subject+strings.Join(few(e.Runs), " "), fmt.Sprintf("%d runs, %d keys: %s", len(e.Runs), keys, e.Reason))
	}
	if err != nil {
		refuse(w, http.StatusInternalServerError, "internal", "%v", err)
		return
	}
	answer(w, http.StatusOK, Erased{len(e.Runs), keys})
}

// few is the first of runs, as many as a record is to name.
func few(runs []string) []string { return runs[:min(len(runs), 20)] }
