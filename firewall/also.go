package firewall

import (
	"context"
	"slices"
	"strings"

	"callgate/audit"
)

// Also decides about part, a call that whoever carries out call would make without the
// gate: a line of a batch. Policy and guards are asked as if it were made, and guards
// edit its body; it takes no share of limits and has no record of its own. What guards
// did is told with call. The error, if any, is an [*Error].
func (g *Gate) Also(ctx context.Context, call, part *Call) error {
	part.ID, part.At, part.Caller, part.From = call.ID, call.At, call.Caller, call.From
	part.run, part.Run, part.Chain, part.Labels, part.Before = call.run, call.Run, call.Chain, call.Labels, call.Before
	part.came = part.Body.JSON
	err := g.decide(ctx, g.law.Load(), part)
	call.told(part)
	switch {
	case err != nil:
		return asError(err)
	case part.Decision.Effect != Allow:
		return &Error{Code: Denied, Rule: part.Decision.Rule, Reason: "people must be asked about this call: make it by itself"}
	}
	return nil
}

// told takes over what guards did about part. Where in part is not told.
func (c *Call) told(part *Call) {
	if len(part.Drift) > 0 {
		c.Drift = append(c.Drift, part.Drift...)
		c.signal(SignalDrift)
	}
	for _, f := range part.Findings {
		f.Where, _, _ = strings.Cut(f.Where, "/")
		f.Where += "/file"
		i := slices.IndexFunc(c.Findings, func(o audit.Finding) bool {
			return o.Guard == f.Guard && o.Rule == f.Rule && o.Where == f.Where && o.Action == f.Action
		})
		if i < 0 {
			c.Findings = append(c.Findings, f)
		} else {
			c.Findings[i].Count += f.Count
		}
	}
	for _, k := range part.Checks {
		i := slices.IndexFunc(c.Checks, func(o audit.Check) bool { return o.Guard == k.Guard && o.Version == k.Version })
		if i < 0 {
			c.Checks = append(c.Checks, k)
		} else {
			c.Checks[i].Request += k.Request
		}
	}
}
