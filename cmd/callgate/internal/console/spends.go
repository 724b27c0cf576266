package console

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"callgate/audit"
)

// spends tells what calls of models have taken.
func (c *Console) spends(ctx context.Context, q url.Values, _ *http.Request) (any, int, error) {
	f := audit.SpendFilter{Agent: q.Get("agent")}
	if by := q.Get("by"); by != "" {
		f.By = strings.Split(by, ",")
	}
	var err error
	if f.Since, f.Until, err = times(q); err != nil {
		return nil, 0, errAsked{err}
	}
	list, err := c.cfg.Index.Spends(ctx, f)
	return list, len(list), err
}
