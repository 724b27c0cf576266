package console

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"callgate/audit"
)

// spends tells what calls of models have taken.
func (c *Console) spends(w http.ResponseWriter, r *http.Request) {
	var f audit.SpendFilter
	for name, values := range r.URL.Query() {
		var err error
		switch {
		case len(values) > 1:
			err = errors.New("is there more than once")
		case name == "by" && values[0] != "":
			f.By = strings.Split(values[0], ",")
		case name == "by":
		case name == "agent":
			f.Agent = values[0]
		case name == "since":
			f.Since, err = time.Parse(time.RFC3339Nano, values[0])
		case name == "until":
			f.Until, err = time.Parse(time.RFC3339Nano, values[0])
		default:
			err = errors.New("is not known here; want by, agent, since, until")
		}
		if err != nil {
			refuse(w, http.StatusBadRequest, "invalid", "parameter %.40q: %v", name, err)
			return
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), queryTimeout)
	defer cancel()
	if !c.caughtUp(ctx, w) {
		return
	}
	list, err := c.cfg.Index.Spends(ctx, f)
	switch {
	case errors.Is(err, audit.ErrFilter):
		refuse(w, http.StatusBadRequest, "invalid", "%v", err)
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, "unavailable", "%v", err)
	default:
		answer(w, http.StatusOK, list)
	}
}
