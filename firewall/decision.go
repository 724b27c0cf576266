package firewall

import "slices"

// An Effect is the answer to "may it?". The zero Effect denies, and a smaller
// Effect is stricter.
type Effect uint8

const (
	Deny Effect = iota
	Ask         // a person must approve first
	Allow
)

func (e Effect) String() string { return [...]string{"deny", "ask", "allow"}[e] }

// A Decision is an [Effect], what must be done along with it, and why. The zero
// Decision denies.
type Decision struct {
	Effect      Effect
	Obligations []Obligation
	Rule        string    // id of the rule that decided, or the name of the guard
	Reason      string    // one sentence for the agent; holds no secret
	Policy      string    // digest of the policy in force
	Otherwise   *Decision // what a candidate would have decided, where it is something else
}

// An Obligation is a duty that comes with an allowed call.
type Obligation struct {
	Do    string // [Redact], [LimitTo] or [RequireApproval]
	With  string // what Do applies to: paths, a limit, a group
	Limit Limit  // With, of LimitTo
	Rule  string // that asks for it
	Hops  uint64 // of the caller's chain that it is asked of, a bit each, the acting agent's first; 0 is all
}

// asks says whether o is asked of one of the caller's chain.
func (o *Obligation) asks(hop int) bool { return o.Hops == 0 || o.Hops>>min(hop, 63)&1 == 1 }

// String is what o asks for, as a policy writes it.
func (o Obligation) String() string { return o.Do + ":" + o.With }

// What an [Obligation] may ask for.
const (
	Redact          = "redact"           // take values out of arguments and results: With is args.<path> and result.<path>, separated by ;
	LimitTo         = "limit"            // count the call, and refuse it when the count is full
	Flag            = "flag"             // nothing: it stands on record
	RequireApproval = "require_approval" // someone of the group that With names must approve first
)

// And is the stricter of d and o, with the obligations of both. Where both are
// equally strict, d explains.
func (d Decision) And(o Decision) Decision {
	if o.Effect < d.Effect {
		d, o = o, d
	}
	d.Obligations = d.Obligations[:len(d.Obligations):len(d.Obligations)]
	for _, more := range o.Obligations {
		if !slices.Contains(d.Obligations, more) { // which another way is under, too
			d.Obligations = append(d.Obligations, more)
		}
	}
	if d.Policy == "" {
		d.Policy = o.Policy
	}
	if d.Otherwise == nil {
		d.Otherwise = o.Otherwise
	}
	return d
}

// An Answer is what a policy says of a thing before all is known about the call
// that would use it.
type Answer uint8

const (
	No      Answer = iota
	Depends        // on arguments that are not known yet
	Yes
)
