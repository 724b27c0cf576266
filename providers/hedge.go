package providers

import (
	"context"
	"fmt"
	"iter"
	"runtime/debug"
	"sync"
	"time"

	"callgate/audit"
	"callgate/firewall"
)

// A Hedge asks a second target where the first one says nothing for a while. Whichever
// says something first answers; the other one is given up, and billed for what it took.
type Hedge struct {
	After   time.Duration     // without a word; 0: never
	Percent float64           // of calls that may be hedged; 0 means 5
	Spend   firewall.MicroUSD // that hedges may cost in an hour; 0: as much as they do
}

const (
	defaultPercent = 5
	maxBurst       = 10 // hedges at once, after a time with none
)

// hedging counts the hedges of one model.
type hedging struct {
	mu    sync.Mutex
	left  float64 // hedges that may be begun
	hour  int64   // of which spent is
	spent firewall.MicroUSD
}

// call notes that one more call was made, which may be hedged or not.
func (h *hedging) call(percent float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.left = min(h.left+percent/100, maxBurst)
}

// begin says whether a hedge may be begun that will cost so much, and takes that.
func (h *hedging) begin(cost, most firewall.MicroUSD, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if hour := now.Unix() / 3600; hour != h.hour {
		h.hour, h.spent = hour, 0
	}
	if h.left < 1 || most > 0 && h.spent+cost > most {
		return false
	}
	h.left--
	h.spent += cost
	return true
}

// settle puts what a hedge has cost in the place of what was taken for it.
func (h *hedging) settle(taken, cost firewall.MicroUSD) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.spent = max(0, h.spent+cost-taken)
}

// hedgeable says whether call may be asked twice: it is a conversation that leaves nothing
// behind at a provider, no limit of tokens or money counts it, since that was reserved
// once, and there are two ways.
func (x *router) hedgeable(call *firewall.Call, ways []firewall.Route) bool {
	if x.model.Hedge.After <= 0 || len(ways) < 2 || ways[0].Target == ways[1].Target && ways[0].Resource == ways[1].Resource || call.Rationed() {
		return false
	}
	switch x.x.back.at.method {
	case "chat", "messages", "gemini":
		return true
	}
	return false
}

// A runner is one of two tries at a call.
type runner struct {
	*attempt
	x     *exchange
	call  *firewall.Call // its own
	back  *reply         // its own
	began time.Time
	grace *grace
	stop  context.CancelFunc
	next  func() (firewall.Event, error, bool)
	end   func()
	said  bool // a model has said something, or it is over
	fault string
	cost  firewall.MicroUSD // taken for it
}

// runner begins to carry a call, which is its own, out at its target.
func (x *router) runner(ctx context.Context, call *firewall.Call, tries int) *runner {
	ctx, stop := context.WithCancel(ctx)
	waiting, grace := x.grace(ctx, call)
	n := x.exchange(call, tries)
	back := *n.back
	n.back = &back
	r := &runner{attempt: &attempt{again: noMore}, x: n, call: call, back: &back, began: x.x.cfg.Now(), grace: grace, stop: stop}
	r.next, r.end = iter.Pull2(n.Forward(waiting, call))
	return r
}

// lead takes events until a model has said something, or it is over.
func (r *runner) lead(ctx context.Context, m *Model, now func() time.Time) {
	for {
		ev, err, ok := r.next()
		switch {
		case !ok:
			if r.said = r.fault == "" && len(r.held) > 0; !r.said && r.fault == "" {
				r.again, r.fault = elsewhere, "empty"
			}
		case err != nil:
			r.err = err
			r.again, r.fault = afterError(ctx, err)
			r.said = r.again == noMore
		default:
			r.keep(&ev)
			if ev.Mark&markError != 0 {
				r.again, r.fault = m.after(r.back.status, ev.Body.JSON)
				r.wait = retryAfter(r.back.header, now())
				if r.again != noMore {
					break
				}
			}
			if !ev.Last && !says(&ev) && len(r.held) < maxHeld && r.size < maxHeldSize || !r.grace.stop() {
				continue
			}
			r.said = true
		}
		if r.grace.over() {
			r.again, r.fault, r.said = elsewhere, "first token", false
		}
		return
	}
}

// rescue makes a panic, which nobody else would see in this goroutine, the error of the try.
func (r *runner) rescue() {
	if p := recover(); p != nil {
		r.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		r.again, r.fault, r.said = noMore, "panic", true
	}
}

// over lets go of what the runner holds. Nothing of it runs any more then.
func (r *runner) over() {
	r.stop()
	r.end()
	r.grace.done()
}

// race tries call at the first of ways, and at the second one too if that says nothing in
// time. It answers how the try went that the call goes on with, whose reply has gone down
// if it is noMore, and how many of ways it was at.
func (x *router) race(ctx context.Context, call *firewall.Call, ways []firewall.Route, yield func(firewall.Event, error) bool) (*attempt, int) {
	h, cfg := x.model.hedging, x.model.Hedge
	h.call(cfg.Percent)
	forks := [2]*firewall.Call{call.Fork(ways[0]), call.Fork(ways[1])}
	done := make(chan *runner, 2)
	start := func(i int) *runner {
		r := x.runner(ctx, forks[i], len(call.Attempts)+1+i)
		go func() {
			defer func() { done <- r }()
			defer r.rescue()
			r.lead(ctx, x.model, x.x.cfg.Now)
		}()
		return r
	}
	running := []*runner{start(0)}
	timer := time.NewTimer(cfg.After)
	defer timer.Stop()
	var first *runner
	for first == nil {
		select {
		case first = <-done:
		case <-timer.C:
			if cost := ways[1].Estimate.Cost; h.begin(cost, cfg.Spend, x.x.cfg.Now()) {
				running = append(running, start(1))
				running[1].cost = cost
			}
		}
	}
	other := func(r *runner) *runner {
		for _, o := range running {
			if o != r {
				return o
			}
		}
		return nil
	}
	if loser := other(first); loser != nil {
		if !first.said { // then the other one may still do it
			first, loser = <-done, first
		} else {
			loser.stop()
			<-done
			loser.fault = "slower"
		}
		x.lost(call, loser)
	}
	return x.won(call, first, yield), len(running)
}

// lost puts on record, and on the bill, a try that another one was faster than.
func (x *router) lost(call *firewall.Call, r *runner) {
	r.over()
	took := r.call.Spent()
	call.Lost(r.call, audit.Attempt{Fault: r.fault, TookUS: x.x.cfg.Now().Sub(r.began).Microseconds()})
	if r.fault != "slower" {
		r.x.to.health.went(r.again == noMore, x.x.cfg.Now())
	}
	if r.cost > 0 {
		x.model.hedging.settle(r.cost, took)
	}
}

// won has call go on with r: its reply goes down, if there is one.
func (x *router) won(call *firewall.Call, r *runner, yield func(firewall.Event, error) bool) *attempt {
	defer r.over()
	call.Join(r.call)
	x.now = r.x
	back := x.x.back
	back.header, back.status, back.broken, back.cache, back.age, back.text, back.media, back.lossy = r.back.header, r.back.status, r.back.broken, r.back.cache, r.back.age, r.back.text, r.back.media, r.back.lossy
	back.model, back.attempts = r.back.model, len(call.Attempts)+1
	failed := r.again != noMore
	x.record(call, r.began, r.fault)
	x.now.to.health.went(!failed && (len(r.held) == 0 || r.held[len(r.held)-1].Mark&markError == 0 || r.back.status < 500), x.x.cfg.Now())
	if failed {
		return r.attempt
	}
	if !r.give(yield) || r.err != nil {
		return r.attempt
	}
	for {
		ev, err, ok := r.next()
		if !ok || !yield(ev, err) {
			break
		}
	}
	r.end()                                 // so that it has said what it took
	if r.call.Usage != (firewall.Usage{}) { // it did not come to its end
		call.Usage = r.call.Usage
	}
	return r.attempt
}
