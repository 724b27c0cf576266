package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"callgate/audit"
)

const (
	retainLeast   = time.Second
	retainMost    = 10 * time.Minute
	retainTimeout = 10 * time.Minute
	heldTimeout   = 30 * time.Second
)

// retain drops what the ledger need not keep any more, now and then.
func (h *house) retain(ctx context.Context) {
	for {
		keep := time.Duration(h.outlook.config().Audit.Retention)
		wait := retainMost
		if keep > 0 {
			wait = min(max(keep/10, retainLeast), retainMost)
			if err := h.dropOld(ctx, keep); err != nil && ctx.Err() == nil {
				h.log.Error("old records are not dropped", "error", err)
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// dropOld drops records that are older than keep, from the ledger and from its index.
func (h *house) dropOld(ctx context.Context, keep time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, retainTimeout)
	defer cancel()
	held, err := h.held(ctx)
	if err != nil {
		return err
	}
	var keeps func(*audit.Hollow) bool
	if held != nil {
		keeps = func(r *audit.Hollow) bool {
			return held[r.Run] || held[r.Agent] || held[r.Subject] || slices.ContainsFunc(r.Actors, func(a string) bool { return held[a] })
		}
	}
	last, err := h.ledger.Drop(ctx, audit.Retention{Before: time.Now().Add(-keep), Held: keeps, Sealer: h.sealer, Why: "older than " + keep.String()})
	if err != nil || last == 0 {
		return err
	}
	h.log.Info("old records were dropped", "up_to", last)
	return h.index.Forget(ctx, last)
}

// held is the runs, agents and users that legal holds name, and all runs of these; nil if
// there is none. Where it is not known nothing may be deleted.
func (h *house) held(ctx context.Context) (map[string]bool, error) {
	list := h.holds.List()
	if len(list) == 0 {
		return nil, nil
	}
	if _, _, err := h.index.Sync(ctx); err != nil {
		return nil, fmt.Errorf("find what legal holds keep: %w", err)
	}
	held := make(map[string]bool)
	for _, x := range list {
		held[x.ID] = true
		if !strings.Contains(x.ID, ":") {
			continue
		}
		runs, err := h.index.RunsOf(ctx, x.ID)
		if err != nil {
			return nil, fmt.Errorf("find what legal holds keep: %w", err)
		}
		for _, run := range runs {
			held[run] = true
		}
	}
	delete(held, "")
	return held, nil
}

// heldOf is those of runs that legal holds keep.
func (h *house) heldOf(runs []string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), heldTimeout)
	defer cancel()
	held, err := h.held(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(runs), func(run string) bool { return !held[run] }), nil
}
