package console

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Lineage is where the values come from that a call was made with.
type Lineage struct {
	Call    string  `json:"call"`
	Run     string  `json:"run"`
	Values  []Value `json:"values"`
	Missing int     `json:"not_kept"`       // calls before it of which something is not kept
	Full    bool    `json:"more,omitempty"` // the run has met more than was searched
}

// A Value stands in the arguments. It has no origins where nothing like it was met before:
// the model made it up, worked it out, or put it in other words.
type Value struct {
	Path    string   `json:"path"` // JSON Pointer
	Value   string   `json:"value"`
	Origins []Origin `json:"origins"` // the earliest first
}

// An Origin is a text that had a value before.
type Origin struct {
	Call   string  `json:"call"`
	At     int64   `json:"at_us"`
	What   string  `json:"what"`         // "user", "system", "model", "result", or "result in the prompt", of a call that did not pass this gate
	Of     string  `json:"of,omitempty"` // the tool
	Method string  `json:"method"`       // as in audit.Origin
	Share  float64 `json:"share"`
}

// Travels is where a value went.
type Travels struct {
	Runs  int    `json:"runs"`
	Stops []Stop `json:"stops"` // by time
	More  bool   `json:"more,omitempty"`
}

// A Stop is a call that was sent the value, or got it.
type Stop struct {
	At      int64  `json:"at_us"`
	Run     string `json:"run"`
	Agent   string `json:"agent"`
	Call    string `json:"call"`
	Kind    string `json:"kind"`
	What    string `json:"what"`
	Side    string `json:"side"` // sent, got
	Effect  string `json:"effect"`
	Outcome string `json:"outcome"`
	Again   int    `json:"again,omitempty"` // later prompts of the run that had it
}

// Invalid is an error of who asks.
type Invalid struct{ Err error }

func (i Invalid) Error() string { return i.Err.Error() }

const searchTimeout = 5 * time.Minute

func (c *Console) lineage(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), queryTimeout)
	defer cancel()
	if !c.caughtUp(ctx, w) {
		return
	}
	found, err := c.cfg.Lineage(ctx, r.PathValue("id"))
	switch {
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, "unavailable", "%v", err)
	case found == nil:
		refuse(w, http.StatusNotFound, "not_found", "no call %.80q is on record", r.PathValue("id"))
	default:
		answer(w, http.StatusOK, found)
	}
}

// A Search asks where a value went. It is in a body, so that it is in no log of URLs.
type Search struct {
	Value string    `json:"value"`
	Since time.Time `json:"since,omitzero"`
}

func (c *Console) travels(w http.ResponseWriter, r *http.Request) {
	var s Search
	if !read(w, r, &s) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), searchTimeout)
	defer cancel()
	if !c.caughtUp(ctx, w) {
		return
	}
	found, err := c.cfg.Travels(ctx, s.Value, s.Since)
	var invalid Invalid
	switch {
	case errors.As(err, &invalid):
		refuse(w, http.StatusBadRequest, "invalid", "%v", err)
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, "unavailable", "%v", err)
	default:
		answer(w, http.StatusOK, found)
	}
}

// Flows are values that came from one server and went to another one.
type Flows struct {
	Runs    int    `json:"runs"`     // that were looked through
	Flows   []Flow `json:"flows"`    // by time
	Missing int    `json:"not_kept"` // calls of which something is not kept
	More    bool   `json:"more,omitempty"`
}

// A Flow is one of them.
type Flow struct {
	At      int64  `json:"at_us"`
	Run     string `json:"run"`
	Agent   string `json:"agent"`
	From    Origin `json:"from"`
	To      string `json:"to"` // call
	Tool    string `json:"tool"`
	Value   Value  `json:"value"`
	Effect  string `json:"effect"`
	Outcome string `json:"outcome"`
}

func (c *Console) flows(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	to, since := q.Get("to"), time.Time{}
	var err error
	if at := q.Get("since"); at != "" {
		since, err = time.Parse(time.RFC3339Nano, at)
	}
	if to == "" || err != nil {
		refuse(w, http.StatusBadRequest, "invalid", "want to, a server, and perhaps from, another one, and since, a time as RFC 3339 has it")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), searchTimeout)
	defer cancel()
	if !c.caughtUp(ctx, w) {
		return
	}
	found, err := c.cfg.Flows(ctx, q.Get("from"), to, since)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, "unavailable", "%v", err)
		return
	}
	answer(w, http.StatusOK, found)
}
