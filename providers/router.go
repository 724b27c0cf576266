package providers

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"callgate/audit"
	"callgate/firewall"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// A router carries a call out at one of several targets: at the next one, or once more
// at the same, as long as nothing that a model said has gone down to the client. From
// then on the reply is that of the one target. It is the call's [firewall.Upstream].
type router struct {
	x       exchange // as it begins, without a provider
	behind  *catalog
	model   *Model
	said    string         // the model as the client names it
	reading func() reading // a new one for each reply
	now     *exchange      // under way
	waited  time.Duration
}

const (
	maxHeld     = 64        // events that are kept back until a model has said something
	maxHeldSize = 256 << 10 // bytes of them
	waitFirst   = 500 * time.Millisecond
	waitMost    = 8 * time.Second
	waitAll     = 30 * time.Second // before all tries of a call together
)

// Forward implements [firewall.Upstream].
func (x *router) Forward(ctx context.Context, call *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		ways := append([]firewall.Route{{Target: call.Target, Resource: call.Resource, Price: call.Price}}, call.Routes...)
		ways = x.awake(ways)
		var last *attempt
		for i, tries := 0, 0; i < len(ways); {
			if i+tries == 0 && x.hedgeable(call, ways) {
				last, i = x.race(ctx, call, ways, yield)
				i--
			} else {
				call.Take(ways[i])
				last = x.try(ctx, call, yield)
			}
			again := last.again
			if again == noMore {
				return
			}
			tries++
			more := tries <= x.model.Retries
			switch {
			case again == elsewhere || !more || last.wait > waitMost && i+1 < len(ways):
				i, tries = i+1, 0
			case !x.pause(ctx, tries, last.wait):
				i = len(ways)
			}
		}
		x.now.account = account{over: true} // what it took is noted with the try
		last.give(yield)
	}
}

// awake is ways without those to providers that rest, if there are others.
func (x *router) awake(ways []firewall.Route) []firewall.Route {
	now := x.x.cfg.Now()
	var awake []firewall.Route
	for _, w := range ways {
		if len(ways) == 1 || !x.behind.byName[w.Target].health.resting(now) {
			awake = append(awake, w)
		}
	}
	if len(awake) == 0 {
		return ways
	}
	return awake
}

// pause waits before another try at the same target: as long as that asks for, or else
// longer each time. It says no where that would be too long altogether, or the client is
// gone.
func (x *router) pause(ctx context.Context, tries int, asked time.Duration) bool {
	wait := min(waitFirst<<(tries-1), waitMost)
	wait -= time.Duration(rand.Int64N(int64(wait) / 4)) // so that clients do not come all at once
	wait = max(wait, asked)
	if x.waited += wait; x.waited > waitAll {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// again is what may follow a try.
type again uint8

const (
	noMore    again = iota // the reply has gone down, or nobody wants it
	elsewhere              // not here: another target may do it
	here                   // it may pass
)

// An attempt is one try, of which nothing has gone down yet.
type attempt struct {
	again again
	wait  time.Duration // that the target asks for
	held  []firewall.Event
	size  int
	err   error
}

// try carries call out at its target. What it answers is kept back until the model has
// said something, or is known to fail.
func (x *router) try(ctx context.Context, call *firewall.Call, yield func(firewall.Event, error) bool) *attempt {
	began := x.x.cfg.Now()
	waiting, grace := x.grace(ctx, call)
	defer grace.done()
	x.now = x.exchange(call, len(call.Attempts)+1)
	back := x.now.back
	a := &attempt{again: noMore}
	committed, wanted, fault := false, true, ""
	for ev, err := range x.now.Forward(waiting, call) {
		if committed {
			if wanted = yield(ev, err); !wanted {
				break
			}
			continue
		}
		if err != nil {
			a.err = err
			a.again, fault = afterError(ctx, err)
			break
		}
		a.keep(&ev)
		if ev.Mark&markError != 0 {
			a.again, fault = x.model.after(back.status, ev.Body.JSON)
			a.wait = retryAfter(back.header, x.x.cfg.Now())
			if a.again != noMore {
				break
			}
		}
		if ev.Last || says(&ev) || len(a.held) >= maxHeld || a.size >= maxHeldSize {
			if !grace.stop() { // it is over, and so is the reply
				continue
			}
			committed = true
			x.record(call, began, "")
			x.now.to.health.went(ev.Mark&markError == 0 || back.status < 500, x.x.cfg.Now())
			if wanted = a.give(yield); !wanted {
				break
			}
		}
	}
	if grace.over() {
		a.again, fault = elsewhere, "first token"
	}
	if !committed {
		x.record(call, began, fault)
		x.now.to.health.went(a.again == noMore, x.x.cfg.Now())
		if a.again == noMore {
			a.give(yield)
		}
	}
	return a
}

// exchange is that of a try at call's target, the tries-th of all.
func (x *router) exchange(call *firewall.Call, tries int) *exchange {
	n := x.x
	n.to, n.reading, n.named = x.behind.byName[call.Target], x.reading(), x.said
	n.cacheFor = x.model.Cache
	back := n.back
	back.header, back.status, back.broken, back.cache, back.text, back.media = nil, 0, nil, "", "", ""
	back.model, back.attempts = call.Target+"/"+call.Resource, tries
	return &n
}

// A grace ends a try of which nothing has been said in time.
type grace struct {
	timer *time.Timer // nil: it is endless
	ctx   context.Context
	slow  error
	end   context.CancelCauseFunc
}

// grace is that of a try of call.
func (x *router) grace(ctx context.Context, call *firewall.Call) (context.Context, *grace) {
	limit := x.model.FirstToken
	if limit <= 0 {
		return ctx, new(grace)
	}
	p := &grace{slow: &firewall.Error{Code: firewall.Timeout, Reason: "model " + call.Target + "/" + call.Resource + " said nothing within " + limit.String()}}
	p.ctx, p.end = context.WithCancelCause(ctx)
	p.timer = time.AfterFunc(limit, func() { p.end(p.slow) })
	return p.ctx, p
}

// stop says whether it lasted until now. From now on it does.
func (p *grace) stop() bool { return p.timer == nil || p.timer.Stop() || !p.over() }

// done lets go of it, when the reply is over.
func (p *grace) done() {
	if p.timer != nil {
		p.timer.Stop()
		p.end(nil)
	}
}

// over says whether it ended the try.
func (p *grace) over() bool { return p.timer != nil && context.Cause(p.ctx) == p.slow }

// keep keeps ev, whose bytes are the stream's.
func (a *attempt) keep(ev *firewall.Event) {
	own := *ev
	own.Frame, own.Body.JSON, own.Body.Spans = bytes.Clone(ev.Frame), bytes.Clone(ev.Body.JSON), slices.Clone(ev.Body.Spans)
	for i := range own.Body.Spans {
		own.Body.Spans[i].Text = strings.Clone(own.Body.Spans[i].Text)
	}
	own.More = false
	a.size += len(own.Frame) + len(own.Body.JSON)
	a.held = append(a.held, own)
}

// give passes on what was kept back, and the error that ended it.
func (a *attempt) give(yield func(firewall.Event, error) bool) bool {
	for _, ev := range a.held {
		if !yield(ev, nil) {
			return false
		}
	}
	a.held = nil
	return a.err == nil || yield(firewall.Event{}, a.err)
}

// record notes a try, and why another one followed.
func (x *router) record(call *firewall.Call, began time.Time, fault string) {
	call.Tried(audit.Attempt{Fault: fault, TookUS: x.x.cfg.Now().Sub(began).Microseconds()})
}

// Read implements [firewall.Upstream].
func (x *router) Read(ev *firewall.Event) { x.now.Read(ev) }

// says whether a model says something in ev: what comes before may be thrown away.
func says(ev *firewall.Event) bool {
	if ev.Media || ev.Mark&(markPlain|markCalls) != 0 {
		return true
	}
	if ev.Mark&markBegun != 0 {
		return false
	}
	for _, s := range ev.Body.Spans {
		if s.Text != "" && s.Lane != "" { // what is in no lane is about the reply: its id, its model
			return true
		}
	}
	return false
}

// afterError is what may follow where no reply came.
func afterError(ctx context.Context, err error) (again, string) {
	var e *firewall.Error
	if ctx.Err() != nil || !errors.As(err, &e) {
		return noMore, ""
	}
	switch e.Code {
	case firewall.Unavailable, firewall.Timeout:
		return here, e.Code.String()
	}
	return noMore, ""
}

// after is what may follow an error that a target told, as the model is configured.
func (m *Model) after(status int, doc []byte) (again, string) {
	then, fault := afterStatus(status, doc)
	if m.FallbackOn == nil || status == http.StatusOK {
		return then, fault
	}
	what := strconv.Itoa(status)
	switch {
	case tooLong(doc):
		what = ContextLength
	case filtered(doc):
		what = ContentFilter
	case exhausted(doc):
		what = Quota
	}
	switch {
	case !slices.Contains(m.FallbackOn, what):
		return noMore, ""
	case then == noMore:
		return elsewhere, "http " + strconv.Itoa(status)
	}
	return then, fault
}

// afterStatus is what may follow an error that a target told.
func afterStatus(status int, doc []byte) (again, string) {
	fault := "http " + strconv.Itoa(status)
	switch status {
	case http.StatusOK: // in a stream that had begun
		return here, "error event"
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		if exhausted(doc) {
			return elsewhere, fault
		}
		return here, fault
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound: // of callgate's key, or the model
		return elsewhere, fault
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		if tooLong(doc) || filtered(doc) {
			return elsewhere, fault
		}
		return noMore, ""
	}
	if status >= 500 {
		return here, fault
	}
	return noMore, ""
}

// exhausted says that it is money that has run out, and not patience.
func exhausted(doc []byte) bool {
	e := gjson.GetBytes(doc, "error")
	return e.Get("code").Str == "insufficient_quota" || e.Get("type").Str == "insufficient_quota" || e.Get("type").Str == "billing_error"
}

// tooLong says that the prompt is too long for the model: another one may take it.
func tooLong(doc []byte) bool {
	e := gjson.GetBytes(doc, "error")
	switch e.Get("code").Str {
	case "context_length_exceeded", "string_above_max_length":
		return true
	}
	return e.Get("type").Str == "request_too_large" || hasPrefix(e.Get("message").Str, "prompt is too long", "The input token count", "input length and `max_tokens` exceed")
}

// filtered says that the provider's content policy does not take the prompt.
func filtered(doc []byte) bool {
	switch gjson.GetBytes(doc, "error.code").Str {
	case "content_filter", "content_policy_violation":
		return true
	}
	return false
}

// retryAfter is how long a provider asks to wait, 0 if it does not say.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms > 0 {
		return time.Duration(min(ms, 3600e3)) * time.Millisecond
	}
	said := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(said, 64); err == nil && s > 0 {
		return time.Duration(min(s, 3600) * float64(time.Second))
	}
	if at, err := http.ParseTime(said); err == nil && at.After(now) {
		return min(at.Sub(now), time.Hour)
	}
	return 0
}

// renamed is doc for a model of another name. Nothing else of it changes.
func renamed(doc []byte, model string) []byte {
	out, err := sjson.SetBytes(doc, "model", model)
	if err != nil {
		return doc // it was parsed: there is no such error
	}
	return out
}
