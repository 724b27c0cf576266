package firewall

import (
	"context"
	"sync"

	"callgate/identity"
)

// flying is the calls that are under way, and streams that clients listen on, so that
// they end when their caller loses the right to them.
type flying struct {
	mu  sync.Mutex
	all map[*flight]struct{}
}

// A flight is one of them.
type flight struct {
	of           *flying
	asked        context.Context // that of the request without its end: what its client has shown besides token is asked for again
	cut          context.CancelCauseFunc
	token, route string // "" for what a server asks: that ends with what it is part of

	object, run, chain string // what [Call] says of it; guarded by of.mu
}

// take begins a flight that ends by itself when token is not good for route any more,
// or what it is about is stopped. It must land.
func (f *flying) take(ctx context.Context, token, route string) (context.Context, *flight) {
	ctx, cut := context.WithCancelCause(ctx)
	one := &flight{of: f, asked: context.WithoutCancel(ctx), cut: cut, token: token, route: route}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = make(map[*flight]struct{})
	}
	f.all[one] = struct{}{}
	return ctx, one
}

func (f *flight) land() {
	f.of.mu.Lock()
	delete(f.of.all, f)
	f.of.mu.Unlock()
	f.cut(nil)
}

// is notes what the flight is about. What was stopped before that is seen when the
// call is decided about.
func (f *flight) is(call *Call) {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	f.object, f.run, f.chain = call.Object(), call.Run, call.Chain
}

// Attend is ctx for as long as token is good for route: a stream on which a client
// listens ends with it. done is to be called when it is over.
func (g *Gate) Attend(ctx context.Context, token, route string) (_ context.Context, done func()) {
	ctx, f := g.flying.take(ctx, token, route)
	return ctx, f.land
}

// recheck ends what is under way and may not be any more. It is called when something
// was revoked.
func (g *Gate) recheck() {
	g.flying.mu.Lock()
	list := make([]flight, 0, len(g.flying.all))
	for f := range g.flying.all {
		list = append(list, *f)
	}
	g.flying.mu.Unlock()
	for i := range list {
		f := &list[i]
		if what := g.stopped(f.object, f.run, f.chain); what != "" {
			f.cut(&Error{Code: Denied, Rule: stoppedRule, Reason: what + " was stopped while the call was under way"})
		} else if f.token != "" {
			if _, err := g.Authenticate(f.asked, f.token, f.route); err != nil {
				f.cut(err)
			}
		}
	}
}

// halted is why call may not go on now, if what it is about was stopped, or all runs
// that have read what it has.
func (g *Gate) halted(call *Call) error {
	what := g.stopped(call.Object(), call.Run, call.Chain)
	for i, label := range labels {
		if what == "" && call.Labels&(1<<i) != 0 && g.cfg.Stops.Stopped(identity.RevokedLabel, label) {
			what = "what has read " + label + " text"
		}
	}
	if what == "" {
		return nil
	}
	return &Error{Code: Denied, Rule: stoppedRule, Reason: what + " is stopped: ask whoever runs this gate"}
}

// stoppedRule stands where the rule would that refuses.
const stoppedRule = "(stopped)"

// stopped is what of these is stopped by whoever runs the gate; "" if nothing is.
func (g *Gate) stopped(object, run, chain string) string {
	s := g.cfg.Stops
	switch {
	case s.Stopped(identity.RevokedObject, object):
		return object
	case s.Stopped(identity.RevokedRun, run):
		return "run " + run
	case chain != run && s.Stopped(identity.RevokedRun, chain):
		return "run " + chain
	}
	return ""
}
