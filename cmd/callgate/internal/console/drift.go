package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
)

// An Expectation is something that is expected of the runs of an agent.
type Expectation struct {
	Agent    string `json:"agent"`
	Kind     string `json:"kind"` // tools, models, hosts, labels, volume, order
	Expected string `json:"expected"`
	By       string `json:"by"`             // config, or learned
	Action   string `json:"action"`         // what is done when a run departs from it
	Runs     int    `json:"runs,omitempty"` // of the agent, from which was learned
}

// drift answers what runs did that was not expected of their agents.
func (c *Console) drift(ctx context.Context, q url.Values, _ *http.Request) (any, int, error) {
	since, until, err := times(q)
	limit, bad := count(q)
	if err = errors.Join(err, bad); err != nil {
		return nil, 0, errAsked{err}
	}
	if limit == 0 {
		limit = 100
	}
	list, err := c.cfg.Index.Drift(ctx, agentNamed(q.Get("agent")), q.Get("run"), since, until, limit)
	return list, len(list), err
}

// expected answers what is expected of agents now.
func (c *Console) expected(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	agent := q.Get("agent")
	if q.Del("agent"); len(q) > 0 {
		refuse(w, http.StatusBadRequest, "invalid", "there is one parameter here: agent")
		return
	}
	answer(w, http.StatusOK, c.cfg.Expected(agentNamed(agent)))
}
