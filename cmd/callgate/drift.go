package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"callgate/audit"
	"callgate/cmd/callgate/internal/console"
	"callgate/firewall"
)

const learnTimeout = time.Minute

// An outlook is what those go by who look at the record now and then, beside the calls. It
// has a lock of its own: they end while the house is held.
type outlook struct {
	mu     sync.Mutex
	cfg    Config                  // in force
	habits map[string]*audit.Habit // of agents, as they were last looked at
}

// config is the configuration in force.
func (o *outlook) config() Config {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.cfg
}

// learn learns what is usual of agents, as often as the configuration says, off the way of
// calls.
func (h *house) learn(ctx context.Context) {
	for at := uint64(0); ; {
		if seq := h.index.Indexed(); seq != at {
			if err := h.lookAtHabits(ctx); err != nil && ctx.Err() == nil {
				h.log.Warn("what is usual of agents is not learned anew", "error", err)
			}
			at = seq
		}
		select {
		case <-time.After(time.Duration(h.outlook.config().Drift.Every)):
		case <-ctx.Done():
			return
		}
	}
}

func (h *house) lookAtHabits(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, learnTimeout)
	defer cancel()
	habits, err := h.index.Habits(ctx, time.Now().Add(-time.Duration(h.outlook.config().Drift.Learn)))
	if err != nil {
		return err
	}
	o := &h.outlook
	o.mu.Lock()
	defer o.mu.Unlock()
	o.habits = habits
	h.gate.SetExpectations(o.cfg.expectations(o.habits))
	return nil
}

// expect puts in force what cfg expects of agents, over what was learned.
func (h *house) expect(cfg *Config) {
	o := &h.outlook
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cfg = *cfg
	h.gate.SetExpectations(cfg.expectations(o.habits))
	h.alerts.aim(string(cfg.Drift.Webhook.URL), cfg.Drift.Webhook.Secret.Secret)
	h.asking.aim(string(cfg.Approvals.Webhook.URL), cfg.Approvals.Webhook.Secret.Secret)
}

// drifted hands a departure on to where the operator wants to hear of it.
func (h *house) drifted(call *firewall.Call, d audit.Departure) {
	if d.Action == firewall.DriftRecord.String() {
		return
	}
	h.alerts.add(alert{Type: "drift", At: call.At.UTC(), Drift: &audit.Drift{
		Departure: d, At: call.At.UnixMicro(), Agent: call.Caller.Agent(), Run: call.Run, Call: call.ID,
		CallKind: call.Kind.String(), Target: call.Target, Resource: call.Resource,
	}})
}

// suspend takes from an agent that departs from what is expected all that it may do.
func (h *house) suspend(ctx context.Context, agent, why string) error {
	h.log.WarnContext(ctx, "an agent is suspended, since a run of it is not as expected", "agent", agent, "why", why)
	if err := h.registry.Suspend(ctx, agent, "drift"); err != nil {
		return fmt.Errorf("suspend %s: %w", agent, err)
	}
	return nil
}

// expected is what is expected of agents now, by name; of one alone where it is named.
func (h *house) expected(agent string) []console.Expectation {
	x := h.gate.Expectations()
	list := []console.Expectation{}
	for _, name := range x.Names() {
		if agent != "" && name != agent {
			continue
		}
		e := x.Agents[name]
		for _, l := range e.Lines() {
			list = append(list, console.Expectation{Agent: name, Kind: l.Kind.String(), Expected: l.Expected, By: l.By, Action: x.Actions[l.Kind].String(), Runs: e.Runs})
		}
	}
	return list
}
