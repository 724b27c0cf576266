package firewall

import (
	"time"

	"callgate/audit"
)

// maxArgs is the most bytes of arguments that stand in a record themselves;
// larger ones are known by their hash.
const maxArgs = 8 << 10

// opened is the record of a call that was allowed.
func (c *Call) opened() *audit.Record {
	r := c.about(audit.Opened, c.At)
	r.Acts = c.acts()
	return r
}

// refused is the record of a call that was not forwarded.
func (c *Call) refused(e *Error, now time.Time) *audit.Record {
	r := c.about(audit.Refused, now)
	c.outcome(r, e, now)
	if r.Effect == "" || e.Code != Pending {
		r.Effect = Deny.String()
	}
	r.Rule, r.Reason = e.Rule, e.Reason
	return r
}

// ended is the record of a call that is over. Where there was no record of its
// beginning, it tells all.
func (c *Call) ended(e *Error, now time.Time) *audit.Record {
	r := &audit.Record{Type: audit.Closed, At: now.UnixMicro(), Call: c.ID, Run: c.Run}
	if c.idle() {
		r = c.about(audit.Closed, now)
	}
	if len(c.late) > 0 {
		r.Signals, r.Drift = []string{SignalDrift}, c.late
	}
	r.Cached = c.Cached
	r.Bytes, r.Findings, r.Checks, r.Credential, r.Attempts, r.Lossy = c.sent, c.Findings, c.Checks, c.credential, c.Attempts, c.Lossy
	r.Unjudged = c.blind
	c.outcome(r, e, now)
	return r
}

// proposed is the record of a tool call that the reply to c asks for.
func (c *Call) proposed(w Want, now time.Time) *audit.Record {
	p := &audit.Proposal{ToolUse: w.ID, Name: w.Name, ArgsHash: HashArgs(w.Args)}
	if len(w.Args) <= maxArgs {
		p.Args = w.Args
	}
	if e := w.Refused; e != nil {
		p.Effect, p.Rule, p.Reason = Deny.String(), e.Rule, e.Reason
	}
	return &audit.Record{Type: audit.Proposed, At: now.UnixMicro(), Call: c.ID, Run: c.Run, Proposal: p}
}

// about tells who asks for what, under which law.
func (c *Call) about(t audit.Type, at time.Time) *audit.Record {
	r := &audit.Record{
		Type: t, At: at.UnixMicro(), Call: c.ID,
		Tenant: c.Caller.Tenant, Agent: c.Caller.Agent(), Actors: c.Caller.Actors, Token: c.Caller.TokenID,
		Grant: c.Caller.Grant, Txn: c.Caller.Txn,
		Run: c.Run, Session: c.Hints.Session, Thread: c.Thread,
		Kind: c.Kind.String(), Target: c.Target, Method: c.Method, Resource: c.Resource,
		Sent: c.asks, Env: c.env(), Approval: c.Approval,
		ArgsHash: c.argsHash, Bytes: int64(len(c.Body.JSON)) + c.Unread, Unjudged: c.Unread, Links: c.Links, Signals: c.Signals, Drift: c.Drift,
		Rule: c.Decision.Rule, Reason: c.Decision.Reason, Policy: c.Decision.Policy,
		Findings: c.Findings, Checks: c.Checks,
	}
	if r.Agent != c.Caller.Subject {
		r.Subject = c.Caller.Subject
	}
	if c.Chain != c.Run {
		r.Chain = c.Chain
	}
	if c.Decision.Policy != "" {
		r.Effect = c.Decision.Effect.String()
	}
	r.Obligations = c.Decision.duties()
	if o := c.Decision.Otherwise; o != nil {
		r.Otherwise = &audit.Otherwise{Policy: o.Policy, Effect: o.Effect.String(), Rule: o.Rule, Reason: o.Reason, Obligations: o.duties()}
	}
	if args := c.Args(); c.judged && len(args) <= maxArgs {
		r.Args = args
	}
	return r
}

// duties is what the decision asks for, in words.
func (d *Decision) duties() []string {
	var all []string
	for _, o := range d.Obligations {
		all = append(all, o.String())
	}
	return all
}

// env is what a policy could read, for whoever asks later what another policy
// would have said. It is nil before the call is attributed to a run.
func (c *Call) env() *audit.Env {
	if c.run == nil || c.idle() {
		return nil
	}
	e := &audit.Env{
		Roles: c.Caller.Roles, Above: c.Caller.Above, Hints: c.Impact.Names(), Labels: c.Labels.Names(),
		Tokens: c.Estimate.Tokens, Calls: c.Before.Calls, Spent: int64(c.Before.Spent), IP: c.From, Hosts: c.hosts,
	}
	e.Acts = c.Acting != nil
	if o := c.origins; o != nil && e.Acts {
		e.To, e.Object, e.Intent = o.To.String(), o.Object.String(), o.Intent.String()
	}
	if c.Estimate.Priced {
		cost := int64(c.Estimate.Cost)
		e.Cost = &cost
	}
	return e
}

func (c *Call) outcome(r *audit.Record, e *Error, now time.Time) {
	r.TookUS = now.Sub(c.At).Microseconds()
	if u := c.Usage; u != (Usage{}) {
		r.Usage = (*audit.Usage)(&u)
		if cost, known := c.Price.of(u); known {
			r.Cost = (*int64)(&cost)
		}
	}
	r.Labels = c.brought.Names()
	switch {
	case e != nil:
		r.Outcome = e.Code.String()
		if e.Err != nil {
			r.Fault = e.Err.Error()
		}
	case c.fault != "":
		r.Outcome, r.Fault = "fault", c.fault
	default:
		r.Outcome = "ok"
	}
}
