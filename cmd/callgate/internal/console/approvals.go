package console

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"callgate/firewall"
)

// approvals answers those that wait for people, or with state all.
func (c *Console) approvals(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	state := q.Get("state")
	if q.Del("state"); len(q) > 0 {
		refuse(w, http.StatusBadRequest, "invalid", "there is one parameter here: state")
		return
	}
	if state == "" {
		state = firewall.ApprovalAsked
	}
	states := []string{firewall.ApprovalAsked, firewall.ApprovalGranted, firewall.ApprovalDenied, firewall.ApprovalUsed, firewall.ApprovalExpired, "all"}
	if !slices.Contains(states, state) {
		refuse(w, http.StatusBadRequest, "invalid", "state %.40q: want %s", state, strings.Join(states, ", "))
		return
	}
	list := []Approval{}
	for _, a := range c.cfg.Approvals.List() {
		if state == "all" || a.State == state {
			list = append(list, ShowApproval(a))
		}
	}
	answer(w, http.StatusOK, list)
}

func (c *Console) approval(w http.ResponseWriter, r *http.Request) {
	for _, a := range c.cfg.Approvals.List() {
		if a.ID == r.PathValue("id") {
			answer(w, http.StatusOK, ShowApproval(a))
			return
		}
	}
	refuse(w, http.StatusNotFound, "not_found", "there is no approval %.80q", r.PathValue("id"))
}

// decide takes what somebody says of an approval.
func (c *Console) decide(w http.ResponseWriter, r *http.Request) {
	var v NewVote
	if !read(w, r, &v) {
		return
	}
	if v.Decision != "approve" && v.Decision != "deny" {
		refuse(w, http.StatusBadRequest, "invalid", "decision %.40q: want approve or deny", v.Decision)
		return
	}
	if !signed(w, v.By, v.Note) {
		return
	}
	a, err := c.cfg.Approve(r.Context(), r.PathValue("id"), firewall.Vote{By: v.By, Yes: v.Decision == "approve", Note: v.Note})
	switch {
	case errors.Is(err, firewall.ErrNoApproval):
		refuse(w, http.StatusNotFound, "not_found", "%v", err)
	case errors.Is(err, firewall.ErrDecided):
		refuse(w, http.StatusConflict, "conflict", "%v", err)
	case errors.Is(err, firewall.ErrMayNot):
		refuse(w, http.StatusForbidden, "forbidden", "%v", err)
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, "unavailable", "%v", err)
	default:
		answer(w, http.StatusOK, ShowApproval(a))
	}
}

// ShowApproval is an approval as people are shown it.
func ShowApproval(a firewall.Approval) Approval {
	return Approval{
		ID: a.ID, State: a.State, Call: a.Call, Run: a.Run, Tenant: a.Tenant, Agent: a.Agent(), Subject: a.Subject, Actors: a.Actors,
		Action: a.Action, Object: a.Object, Definition: a.Definition, Args: a.Args, Policy: a.Policy, Rule: a.Rule, Reason: a.Reason,
		Labels: a.Labels, Evidence: a.Evidence, Groups: a.Groups, Votes: append([]firewall.Vote{}, a.Votes...), Asked: a.Asked.UTC(), Expires: a.Expires.UTC(), UsedBy: a.UsedBy,
	}
}
