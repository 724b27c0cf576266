// Package firewall decides about calls by agents, and carries out those it
// allows. A model call and a tool call are the same thing to it: each protocol
// is an adapter that turns a request into a [Call], and the way to its target
// into an [Upstream]. Every call takes the one way through [Gate.Do].
package firewall

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"callgate/audit"
	"callgate/identity"
)

// A Gate is what every call passes. It is used by many goroutines at once.
type Gate struct {
	cfg    Config
	law    atomic.Pointer[Law]
	keeps  atomic.Pointer[[]KeepRule]
	expect atomic.Pointer[Expectations]
	flying flying
}

// Config is what a Gate needs. All fields but the last ones are required.
type Config struct {
	Verify    func(ctx context.Context, token, route string) (identity.Principal, error) // proves who presents a token for a route
	Log       audit.Log
	Runs      *Runs
	Budgets   *Budgets
	Approvals *Approvals
	Stops     *identity.Revocations // runs and objects that are stopped, and what was revoked
	Patience  time.Duration         // how long a call that is held waits for people, before it is refused as pending
	Now       func() time.Time
	Logger    *slog.Logger

	// Person is the groups of a user of the registry, and why nothing goes on for
	// that user any more. nil knows nobody.
	Person func(name string) (groups []string, err error)

	// Tools is what a model may mean by a tool call that it asks for on behalf of caller;
	// nothing where that is no tool behind the gate. Without Args it is asked about the
	// tool alone. nil knows none.
	Tools func(caller *identity.Principal, w Want) []Meaning

	// Drifted is told of each departure of a run, after what is done about it is decided. It
	// must not wait. Suspend takes from an agent all that it may do, from its next event on.
	// Both may be nil where nothing is expected of agents.
	Drifted func(call *Call, d audit.Departure)
	Suspend func(ctx context.Context, agent, why string) error

	Window    bool    // who only reads does not wait for the record: at most what the log keeps waiting is lost with the power
	Redactors []Guard // take out of what is kept as [KeepRedacted] all that they know
	Payloads  Keeper  // of what passes; nil keeps nothing
}

// A Law is what calls are judged by. A Law in force is never changed, only
// replaced; a call is judged from beginning to end by the one it began under.
type Law struct {
	Policy Policy
	Guards []Guard               // asked in order; the strictest answer wins
	Client map[string]ClientTool // what is said of tools that are not behind the gate, by name
	Trace  bool                  // the policy asks from where values come: what runs meet is to be known
}

// A Policy answers from its rules alone: the same question, the same answer.
type Policy interface {
	// Decide answers for call, whose Caller is known. What it cannot evaluate it denies.
	Decide(call *Call) Decision
	// May answers for caller and an object whose call is not made yet.
	May(caller *identity.Principal, object, action string) Answer
	// Member says whether a subject belongs to a group or role of a tenant.
	Member(tenant, subject, of string) bool
	// Groups are those of a tenant that a subject belongs to, but for group:everyone; a
	// group belongs to itself.
	Groups(tenant, subject string) []string
	// Names says whether any rule could speak of caller and object.
	Names(caller *identity.Principal, object, action string) bool
}

// A Guard reads what passes, and may edit it.
type Guard interface {
	Name() string
	// Request reads call.Body and may edit it. The zero Decision denies.
	Request(ctx context.Context, call *Call) (Decision, error)
	// Reply passes on events and may edit them.
	Reply(ctx context.Context, call *Call, events Events) Events
}

// An Upstream takes a call to its target.
type Upstream interface {
	// Forward sends call.Body and yields the reply. Credentials for the target
	// are put in here and nowhere earlier.
	Forward(ctx context.Context, call *Call) Events
	// Read notes in ev what it reports: usage, wants, fault. It is asked once for
	// each event, in order, when no guard will change it any more.
	Read(ev *Event)
}

// A Proposer is an Upstream whose replies may ask for tool calls.
type Proposer interface {
	Upstream
	// Without is events of a reply with, in the place of those of wants that are
	// refused, what tells the model why. All of wants became whole in events. It is
	// asked before the events that follow are read.
	Without(events []Event, wants []Want) []Event
}

// New returns a Gate that judges by law.
func New(cfg Config, law *Law) *Gate {
	g := &Gate{cfg: cfg}
	g.SetLaw(law)
	cfg.Stops.Listen(g.recheck)
	return g
}

// SetLaw replaces the law for calls that begin from now on.
func (g *Gate) SetLaw(law *Law) {
	if law.Trace {
		g.cfg.Runs.trace.Store(true) // and from then on: what was not noted is not known later
	}
	g.law.Store(law)
}

// SetKeep replaces what says how much is kept of what passes: the first rule that fits, or
// everything where none does.
func (g *Gate) SetKeep(rules []KeepRule) { g.keeps.Store(&rules) }

// SetExpectations replaces what is expected of agents; nil expects anything.
func (g *Gate) SetExpectations(x *Expectations) { g.expect.Store(x) }

// Expectations are what is expected of agents now.
func (g *Gate) Expectations() *Expectations { return g.expect.Load() }

// Do takes call from the agent to up and its reply from up to down, and returns
// when the call is over and on record. down is called once per event, in order,
// from the calling goroutine. The error, if any, is an [*Error].
func (g *Gate) Do(ctx context.Context, call *Call, up Upstream, down func(Event) error) (err error) {
	law := g.law.Load()
	g.begin(call)
	defer func() {
		if p := recover(); p != nil {
			g.cfg.Logger.ErrorContext(ctx, "call panicked", "call", call.ID, "panic", p, "stack", string(debug.Stack()))
			err = g.finish(ctx, call, fmt.Errorf("panic: %v", p))
		}
	}()

	ctx, flight := g.flying.take(ctx, call.Token, call.Route)
	defer flight.land()
	if err := g.authenticate(ctx, call); err != nil {
		return g.refuse(ctx, call, err)
	}
	g.cfg.Runs.attribute(call)
	flight.is(call)
	call.carries(law)
	g.cfg.Runs.heard(law, call)
	if err := g.decide(ctx, law, call); err != nil {
		return g.refuse(ctx, call, err)
	}
	if err := g.cfg.Budgets.reserve(call, teams{law.Policy, g.cfg.Person}); err != nil {
		return g.refuse(ctx, call, err)
	}
	if err := g.approve(ctx, law, call); err != nil {
		return g.refuse(ctx, call, err)
	}
	if err := g.resolve(ctx, law, call); err != nil {
		return g.refuse(ctx, call, err)
	}
	if err := g.open(ctx, call); err != nil {
		return g.refuse(ctx, call, err)
	}
	return g.finish(ctx, call, g.forward(ctx, law, call, up, down))
}

func (g *Gate) begin(call *Call) {
	if call.ID == "" {
		call.ID, call.At = newID(), g.cfg.Now()
	}
}

func (g *Gate) authenticate(ctx context.Context, call *Call) error {
	if of := call.During; of != nil { // a server has no token: its connection is callgate's own
		call.Caller = identity.Principal{Tenant: of.Caller.Tenant, Subject: "server:" + of.Target, User: of.user()}
		return nil
	}
	p, err := g.Authenticate(ctx, call.Token, call.Route)
	if err != nil {
		return err
	}
	call.Caller = p
	return nil
}

// Authenticate says who presents token for route. Front doors ask before they
// read a body; Do asks again.
func (g *Gate) Authenticate(ctx context.Context, token, route string) (identity.Principal, error) {
	if token == "" {
		return identity.Principal{}, &Error{Code: Unauthenticated, Reason: "no access token: send one as Authorization: Bearer"}
	}
	p, err := g.cfg.Verify(ctx, token, route)
	if err != nil {
		return p, &Error{Code: Unauthenticated, Reason: err.Error(), Err: err}
	}
	return p, nil
}

// decide asks the policy and then, whatever it said, every guard: what is
// refused is recorded too, and must be masked first.
func (g *Gate) decide(ctx context.Context, law *Law, call *Call) error {
	call.Decision = g.judge(law, call)
	if call.Decision.Effect == Ask && call.Approval == "" && g.cfg.Approvals.carry(call) {
		call.Decision = g.judge(law, call) // which can read now that there is an approval
	}
	if call.answerable() {
		call.Decision.Effect, call.Decision.Reason = Allow, "no rule forbids it, and the client answers for itself"
	}
	call.Decision = call.Within(call.Decision)
	if err := call.redactor().request(); err != nil {
		return err
	}
	for _, guard := range law.Guards {
		d, err := guard.Request(ctx, call)
		if err != nil {
			return &Error{Code: Unavailable, Rule: guard.Name(), Reason: "guard " + guard.Name() + " could not judge this call", Err: err}
		}
		call.Decision = call.Decision.And(d).And(unread(guard, call))
	}
	call.judged = true
	call.Decision = call.Decision.And(g.strays(ctx, call))
	if d := call.Decision; d.Effect == Deny {
		return &Error{Code: Denied, Rule: d.Rule, Reason: d.Reason}
	}
	if err := g.halted(call); err != nil {
		return err
	}
	return call.given()
}

// approve lets a call that is held pass only with the approval of people, which it
// uses up.
func (g *Gate) approve(ctx context.Context, law *Law, call *Call) error {
	if call.Decision.Effect != Ask {
		return nil
	}
	if call.Continues != "" && call.Approval != "" { // it was used for the same call
		call.Decision.Effect = Allow
		return nil
	}
	err := g.cfg.Approvals.pass(ctx, call)
	if g.cfg.Patience > 0 && pending(err) {
		err = g.await(ctx, law, call, err)
	}
	if err != nil {
		return err
	}
	call.Decision.Effect, call.Decision.Reason = Allow, "approval "+call.Approval+" was granted"
	return nil
}

// open puts the intent on record: no audit, no call. What may change something
// outside is not forwarded before that is durable. For the rest it is enough
// that no byte of the reply goes down before.
func (g *Gate) open(ctx context.Context, call *Call) error {
	if call.idle() {
		return nil
	}
	if err := g.keepRequest(call); err != nil {
		return recorded(err)
	}
	g.cfg.Runs.went(call)
	g.note(call, call.opened())
	if !call.acts() {
		return nil
	}
	return recorded(call.due.Wait(ctx))
}

func (g *Gate) forward(ctx context.Context, law *Law, call *Call, up Upstream, down func(Event) error) error {
	events := call.redactor().reply(up.Forward(ctx, call))
	for _, guard := range law.Guards {
		events = guard.Reply(ctx, call, events)
	}
	held := g.hold(law, call, up)
	for ev, err := range events {
		if err != nil {
			return err
		}
		if err := call.blinded(&ev); err != nil {
			return err
		}
		if err := g.cfg.Runs.read(ctx, call); err != nil {
			return err
		}
		if err := g.got(ctx, call); err != nil {
			return err
		}
		call.answered(&ev)
		up.Read(&ev)
		if held.lets(&ev) {
			if err := g.send(ctx, call, &ev, down); err != nil {
				return err
			}
			continue
		}
		ready, err := held.keep(ctx, ev)
		if err != nil {
			return err
		}
		for i := range ready {
			if err := g.send(ctx, call, &ready[i], down); err != nil {
				return err
			}
		}
	}
	return nil
}

// send has one event go down, once what must be on record before is.
func (g *Gate) send(ctx context.Context, call *Call, ev *Event, down func(Event) error) error {
	g.meter(call, ev)
	if err := g.settle(ctx, call); err != nil {
		return err
	}
	if err := down(*ev); err != nil {
		return &Error{Code: Canceled, Reason: "the client closed the request", Err: err}
	}
	return nil
}

// meter notes what the event says of the call, and writes the records that must
// be durable before it goes down: of each tool call that it asks for, and, with
// the last event, of the end.
func (g *Gate) meter(call *Call, ev *Event) {
	if ev.Usage != (Usage{}) && !call.Cached { // what it reports is of another call
		call.Usage = ev.Usage
	}
	if ev.Fault != "" {
		call.fault = ev.Fault
	}
	call.sent += int64(len(ev.Body.JSON))
	call.got(ev)
	if ev.Media {
		call.sent += int64(len(ev.Frame))
		call.blind += int64(len(ev.Frame))
	}
	g.cfg.Runs.tell(call, ev)
	for _, want := range ev.Wants {
		want.known = len(g.meant(call, Want{Name: want.Name})) > 0
		r := call.proposed(want, g.cfg.Now())
		g.cfg.Runs.propose(call, want, r.Proposal.ArgsHash)
		g.note(call, r)
	}
	if ev.Last {
		g.close(call, nil)
	}
}

// note appends r to the log; it is due, with what was due before.
func (g *Gate) note(call *Call, r *audit.Record) { call.due = g.cfg.Log.Append(r).After(call.due) }

// settle waits until what is due on record is durable.
func (g *Gate) settle(ctx context.Context, call *Call) error {
	if call.due == (audit.Ticket{}) || g.cfg.Window && !call.acts() && !call.due.Failed() {
		return nil
	}
	err := call.due.Wait(ctx)
	call.due = audit.Ticket{}
	if err != nil && call.closed && call.acts() {
		return &Error{Code: Unavailable, Reason: "audit_outcome_unrecorded: the call was made, but its outcome could not be recorded", Err: err}
	}
	return recorded(err)
}

func (g *Gate) close(call *Call, err *Error) {
	call.closed = true
	g.cfg.Runs.spend(call)
	failed := err != nil && err.Code != Canceled && call.sent == 0 // who hangs up has used it all the same
	g.cfg.Runs.over(call, err != nil)
	g.cfg.Budgets.settle(call, true, failed || call.fault != "")
	r := call.ended(err, g.cfg.Now())
	r.Got = g.keepReply(call)
	g.note(call, r)
}

// finish puts the end on record, if the last event has not, for every outcome.
func (g *Gate) finish(ctx context.Context, call *Call, err error) error {
	var e *Error
	if err != nil {
		if cut, ok := context.Cause(ctx).(*Error); ok { // the caller has lost the right to it
			err = cut
		}
		e = asError(err)
		e.Call = call.ID
	}
	if !call.closed {
		g.close(call, e)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := g.settle(ctx, call); err != nil && e == nil {
			e = asError(err)
			e.Call = call.ID
		}
	}
	if e == nil {
		return nil // not (*Error)(nil)
	}
	return e
}

// refuse puts on record that call was not forwarded, and why.
func (g *Gate) refuse(ctx context.Context, call *Call, err error) error {
	e := asError(err)
	e.Call = call.ID
	g.cfg.Runs.over(call, true)
	g.cfg.Budgets.settle(call, false, true)
	if call.judged && call.clean() {
		if err := g.keepRequest(call); err != nil {
			g.cfg.Logger.ErrorContext(ctx, "a refused request is not kept", "call", call.ID, "error", err)
		}
	}
	ticket := g.cfg.Log.Append(call.refused(e, g.cfg.Now()))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := ticket.Wait(ctx); err != nil {
		e.Err = errors.Join(e.Err, err)
	}
	return e
}

// Refuse puts on record a request that a front door could not make a call of,
// with what is known of it, and returns err as an [*Error].
func (g *Gate) Refuse(ctx context.Context, call *Call, err error) error {
	g.begin(call)
	if call.Caller.Subject == "" && call.Token != "" {
		call.Caller, _ = g.cfg.Verify(ctx, call.Token, call.Route) // for the record only
	}
	return g.refuse(ctx, call, err)
}

// recorded makes a failure of the log one that the agent may see.
func recorded(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: Unavailable, Reason: "the call could not be recorded, so it is refused", Retry: time.Second, Err: err}
}
