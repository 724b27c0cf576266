package audit

import (
	"encoding/json"
	"slices"
)

// What the Outcome of a [Call] may be besides what a [Record] says.
const (
	OutcomeOpen    = "open"            // it is not over yet
	OutcomeUnknown = "outcome_unknown" // the process that made it ended before it was over
)

// A Call is one governed call, as its records together tell it.
type Call struct {
	ID    string `json:"call"`
	Seq   uint64 `json:"seq"`                // of its first record
	At    int64  `json:"at_us"`              // of its first record, in microseconds since 1970-01-01 UTC
	Ended int64  `json:"ended_us,omitempty"` // 0 while it is not known to be over

	// Who.
	Tenant  string   `json:"tenant,omitempty"`
	Agent   string   `json:"agent,omitempty"`
	Subject string   `json:"subject,omitempty"`
	Actors  []string `json:"actors,omitempty"`
	Token   string   `json:"token,omitempty"`
	Grant   string   `json:"grant,omitempty"`
	Txn     string   `json:"txn,omitempty"`
	Run     string   `json:"run,omitempty"`
	Chain   string   `json:"chain,omitempty"`
	Session string   `json:"session,omitempty"`
	Thread  string   `json:"thread,omitempty"`

	// What.
	Kind     string          `json:"kind,omitempty"`
	Target   string          `json:"target,omitempty"`
	Method   string          `json:"method,omitempty"`
	Resource string          `json:"resource,omitempty"`
	Args     json.RawMessage `json:"args,omitempty"`
	ArgsHash string          `json:"args_hash,omitempty"`
	Asks     *Payload        `json:"sent,omitempty"`
	Got      *Payload        `json:"got,omitempty"`
	Env      *Env            `json:"env,omitempty"`
	Sent     int64           `json:"request_bytes,omitempty"`
	Received int64           `json:"reply_bytes,omitempty"`

	// Under which law.
	Effect      string     `json:"effect,omitempty"`
	Rule        string     `json:"rule,omitempty"`
	Reason      string     `json:"reason,omitempty"`
	Policy      string     `json:"policy,omitempty"`
	Obligations []string   `json:"obligations,omitempty"`
	Otherwise   *Otherwise `json:"otherwise,omitempty"`
	Approval    string     `json:"approval,omitempty"`
	Findings    []Finding  `json:"findings,omitempty"`
	Checks      []Check    `json:"checks,omitempty"`

	// What came of it.
	Outcome    string    `json:"outcome"` // as a [Record] says, or OutcomeOpen or OutcomeUnknown
	Fault      string    `json:"fault,omitempty"`
	TookUS     int64     `json:"took_us,omitempty"`
	Usage      *Usage    `json:"usage,omitempty"`
	Cost       *int64    `json:"cost_microusd,omitempty"`
	Attempts   []Attempt `json:"attempts,omitempty"`
	Cached     bool      `json:"cached,omitempty"`
	Lossy      []string  `json:"lossy,omitempty"`
	Labels     []string  `json:"labels,omitempty"`     // that the reply brought into the run
	Credential string    `json:"credential,omitempty"` // which of callgate's own were used
	Wants      []Want    `json:"proposals,omitempty"`

	// What led to it, and what it led to.
	Links   []Link   `json:"links,omitempty"`
	Led     []Edge   `json:"led_to,omitempty"`
	Signals []string `json:"signals,omitempty"`

	Drift []Departure `json:"drift,omitempty"` // what of it is not expected of the agent
}

// A Want is a tool call that a model asked for, and what became of that.
type Want struct {
	Proposal
	At     int64  `json:"at_us"`
	Call   string `json:"call,omitempty"`   // that carried it out, or tried to; "" if none was seen
	Method string `json:"method,omitempty"` // how that was found out, as in [Link]
}

// An Edge is a [Link] told from both ends.
type Edge struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Kind   string `json:"kind"`
	Method string `json:"method"`
	Conf   int    `json:"conf,omitempty"`
	ID     string `json:"tool_use,omitempty"`

	Message    int  `json:"message,omitempty"`
	Superseded bool `json:"superseded,omitempty"` // a later call showed that it was not so
}

// Tell joins records, which are in order, to the calls that they tell of, in the
// order in which these began. What does not belong to a call is left out. began is
// the position of the first record of the process that still runs; a call from
// before it that is not over never will be.
func Tell(records []Record, began uint64) []Call {
	var calls []Call
	at := make(map[string]int)
	for i := range records {
		r := &records[i]
		if r.Call == "" {
			continue
		}
		n, known := at[r.Call]
		if !known {
			n = len(calls)
			at[r.Call] = n
			calls = append(calls, Call{ID: r.Call, Seq: r.Seq, At: r.At, Outcome: OutcomeOpen})
		}
		calls[n].add(r)
	}
	for i := range calls {
		if c := &calls[i]; c.Outcome == OutcomeOpen && c.Seq < began {
			c.Outcome = OutcomeUnknown
		}
	}
	join(calls)
	return calls
}

// join tells each call what it led to among calls.
func join(calls []Call) {
	at := make(map[string]int, len(calls))
	for i := range calls {
		at[calls[i].ID] = i
	}
	for i := range calls {
		for _, l := range calls[i].Links {
			if from, ok := at[l.From]; ok && l.To == "" {
				calls[from].Lead(l.to(calls[i].ID))
			}
		}
	}
	for i := range calls { // what was found out later, in order
		for _, l := range calls[i].Links {
			if l.To == "" {
				continue
			}
			for n := range calls {
				calls[n].unlead(l.To, l.Kind)
			}
			if from, ok := at[l.From]; ok {
				calls[from].Lead(l.to(calls[i].ID))
			}
		}
	}
}

// to is the link as an edge; held is the call whose record holds it.
func (l Link) to(held string) Edge {
	if l.To != "" {
		held = l.To
	}
	return Edge{From: l.From, To: held, Kind: l.Kind, Method: l.Method, Conf: l.Conf, ID: l.ID, Message: l.Message}
}

// Lead notes that the call led to another one, as e says. An edge that is known
// already is left as it is.
func (c *Call) Lead(e Edge) {
	for i := range c.Led {
		if k := &c.Led[i]; k.From == e.From && k.To == e.To && k.Kind == e.Kind && k.Method == e.Method && k.ID == e.ID {
			k.Conf, k.Message = max(k.Conf, e.Conf), max(k.Message, e.Message)
			return
		}
	}
	c.Led = append(c.Led, e)
	if e.Kind != LinkProposed || e.Superseded {
		return
	}
	for i := range c.Wants {
		if w := &c.Wants[i]; w.ToolUse == e.ID && w.Call == "" {
			w.Call, w.Method = e.To, e.Method
			return
		}
	}
}

// unlead notes that the call did not lead to another one in a way that was held to be so.
func (c *Call) unlead(to, kind string) {
	for i := range c.Led {
		if e := &c.Led[i]; e.To == to && e.Kind == kind {
			e.Superseded = true
		}
	}
	for i := range c.Wants {
		if w := &c.Wants[i]; kind == LinkProposed && w.Call == to {
			w.Call, w.Method = "", ""
		}
	}
}

// add puts what r tells to what is known.
func (c *Call) add(r *Record) {
	if c.Run == "" {
		c.Run = r.Run
	}
	switch r.Type {
	case Opened:
		c.about(r)
		c.Sent = r.Bytes
	case Proposed:
		if r.Proposal != nil {
			c.Wants = append(c.Wants, Want{Proposal: *r.Proposal, At: r.At})
		}
	case Closed:
		if r.Kind != "" { // the only record of the call
			c.about(r)
		}
		c.Received = r.Bytes
		c.end(r)
	case Refused:
		c.about(r)
		c.Sent = r.Bytes
		c.end(r)
	}
}

// about takes over who asked for what, under which law.
func (c *Call) about(r *Record) {
	c.Tenant, c.Agent, c.Subject, c.Actors, c.Token, c.Grant, c.Txn = r.Tenant, r.Agent, r.Subject, r.Actors, r.Token, r.Grant, r.Txn
	c.Chain, c.Session, c.Thread = r.Chain, r.Session, r.Thread
	c.Kind, c.Target, c.Method, c.Resource = r.Kind, r.Target, r.Method, r.Resource
	c.Asks, c.Env, c.Otherwise, c.Approval = r.Sent, r.Env, r.Otherwise, r.Approval
	c.Args, c.ArgsHash, c.Links, c.Signals = r.Args, r.ArgsHash, r.Links, r.Signals
	c.Drift = r.Drift
	c.Effect, c.Rule, c.Reason, c.Policy, c.Obligations = r.Effect, r.Rule, r.Reason, r.Policy, r.Obligations
	c.Findings, c.Checks = r.Findings, r.Checks
}

// end takes over how the call ended. What guards saw is told in full at the end.
func (c *Call) end(r *Record) {
	if r.Kind == "" { // what was noticed by then, besides
		c.Signals, c.Drift = slices.Concat(c.Signals, r.Signals), slices.Concat(c.Drift, r.Drift)
	}
	c.Got = r.Got
	c.Ended, c.Outcome, c.Fault, c.TookUS, c.Usage = r.At, r.Outcome, r.Fault, r.TookUS, r.Usage
	c.Cost, c.Labels, c.Credential, c.Attempts, c.Lossy, c.Cached = r.Cost, r.Labels, r.Credential, r.Attempts, r.Lossy, r.Cached
	if r.Findings != nil {
		c.Findings = r.Findings
	}
	if r.Checks != nil {
		c.Checks = r.Checks
	}
}
