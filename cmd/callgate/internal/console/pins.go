package console

import (
	"errors"
	"net/http"

	"callgate/mcp"
)

// pins answers what MCP servers are held to.
func (c *Console) pins(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	server := q.Get("server")
	if q.Del("server"); len(q) > 0 {
		refuse(w, http.StatusBadRequest, "invalid", "there is one parameter here: server")
		return
	}
	pins, err := c.cfg.Pins(r.Context(), server)
	if err != nil {
		refuse(w, http.StatusNotFound, "not_found", "%v", err)
		return
	}
	list := []Pin{}
	for i := range pins {
		list = append(list, pin(&pins[i]))
	}
	answer(w, http.StatusOK, list)
}

// accept takes a person's word that a definition may be used.
func (c *Console) accept(w http.ResponseWriter, r *http.Request) {
	var n NewAcceptance
	if !read(w, r, &n) || !signed(w, n.By, n.Note) {
		return
	}
	p, err := c.cfg.Accept(r.Context(), mcp.Acceptance{Server: n.Server, Kind: n.Kind, Name: n.Name, SHA256: n.SHA256, By: n.By, Note: n.Note})
	switch {
	case errors.Is(err, mcp.ErrNoPin):
		refuse(w, http.StatusNotFound, "not_found", "%v; callgate mcp pins lists them", err)
	case errors.Is(err, mcp.ErrAccepted), errors.Is(err, mcp.ErrMoved):
		refuse(w, http.StatusConflict, "conflict", "%v; callgate mcp pins shows what waits", err)
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, "unavailable", "%v", err)
	default:
		answer(w, http.StatusOK, pin(&p))
	}
}

func pin(p *mcp.Pin) Pin {
	shown := Pin{Server: p.Server, View: p.View, Kind: p.Kind, Name: p.Name, State: p.State()}
	if a := p.Accepted; a != nil {
		at := a.At.UTC()
		shown.SHA256, shown.Since, shown.By, shown.Note, shown.Findings = a.SHA256, &at, a.By, a.Note, a.Findings
	}
	if s := p.Waiting; s != nil {
		shown.Pending = &PendingPin{
			SHA256: s.SHA256, Seen: s.At.UTC(), Why: s.Why, Grade: p.Grade(), Like: s.Like, Changes: p.Changes(), Findings: s.Findings, Definition: s.Raw,
		}
	}
	return shown
}
