package audit

import "encoding/json"

// A Type says what a [Record] tells.
type Type string

const (
	Opened   Type = "opened"   // a call was allowed and is about to be, or is being, forwarded
	Proposed Type = "proposed" // the reply to a model call asks for a tool call
	Closed   Type = "closed"   // a call is over, and how
	Refused  Type = "refused"  // a call was not forwarded, and why
	Changed  Type = "changed"  // not a call: an agent was created or revoked, a policy came into force…
)

// A Record is one fact, said once. A call is told by one Opened and one Closed
// record, with a Proposed for each tool call that a model asked for in between;
// or by one Refused record; or, where it only asked the gate itself, by one
// Closed record that holds everything.
//
// A record is JSON in the ledger, and times are in microseconds, so that any
// tool can read it.
type Record struct {
	Seq  uint64 `json:"-"` // position in the log, from 1; set by the log
	Type Type   `json:"type"`
	At   int64  `json:"at_us"` // microseconds since 1970-01-01 UTC

	// Which call. All but Changed have it.
	Call string `json:"call,omitempty"` // UUIDv7

	// Who.
	Tenant  string   `json:"tenant,omitempty"`
	Agent   string   `json:"agent,omitempty"`   // the acting agent: agent:bot
	Subject string   `json:"subject,omitempty"` // for whom, where that is not the agent itself
	Actors  []string `json:"actors,omitempty"`  // the delegation chain, current actor first
	Token   string   `json:"token,omitempty"`   // the token's jti
	Grant   string   `json:"grant,omitempty"`   // the record of the delegation that it came from
	Txn     string   `json:"txn,omitempty"`     // of the root of that: the same down to the last sub-agent
	Run     string   `json:"run,omitempty"`
	Chain   string   `json:"chain,omitempty"` // the run's name by the client, where it is not Run
	Session string   `json:"session,omitempty"`
	Thread  string   `json:"thread,omitempty"` // the conversation within the run: the id of the model call that began it

	// What.
	Kind     string          `json:"kind,omitempty"`
	Target   string          `json:"target,omitempty"`
	Method   string          `json:"method,omitempty"`
	Resource string          `json:"resource,omitempty"`
	Args     json.RawMessage `json:"args,omitempty"`      // arguments as forwarded, after masking; absent when too large
	ArgsHash string          `json:"args_hash,omitempty"` // of the canonical arguments (RFC 8785) as they came
	Bytes    int64           `json:"bytes,omitempty"`     // of the body: the request's in Opened and Refused, the reply's in Closed
	Unjudged int64           `json:"unjudged,omitempty"`  // bytes of these that are no text, so that no guard could read them
	Links    []Link          `json:"links,omitempty"`     // what led to this call
	Sent     *Payload        `json:"sent,omitempty"`      // the request, as it was forwarded; in Opened and Refused
	Got      *Payload        `json:"got,omitempty"`       // the reply, as it went down, a document to a line; in Closed
	Signals  []string        `json:"signals,omitempty"`   // what is not as it should be between the two planes: "orphan", "args_changed"…
	Drift    []Departure     `json:"drift,omitempty"`     // what of it is not expected of the agent
	Env      *Env            `json:"env,omitempty"`       // what a policy could read of the call, beside all this

	// Under which law.
	Effect      string     `json:"effect,omitempty"` // allow, ask, deny
	Rule        string     `json:"rule,omitempty"`
	Reason      string     `json:"reason,omitempty"`
	Policy      string     `json:"policy,omitempty"` // digest of the policy in force
	Obligations []string   `json:"obligations,omitempty"`
	Otherwise   *Otherwise `json:"otherwise,omitempty"`
	Approval    string     `json:"approval,omitempty"` // id: in Refused, a person has to decide about it; in Opened, it was granted
	Findings    []Finding  `json:"findings,omitempty"`
	Checks      []Check    `json:"checks,omitempty"`

	// What came of it.
	Outcome    string    `json:"outcome,omitempty"` // "ok", "fault" (the target's own error), or the code of the error
	Fault      string    `json:"fault,omitempty"`   // the cause: what the target answered, or what broke
	TookUS     int64     `json:"took_us,omitempty"` // from the call's arrival, in microseconds
	Usage      *Usage    `json:"usage,omitempty"`
	Cost       *int64    `json:"cost_microusd,omitempty"` // of Usage, in millionths of a US dollar; absent where no price is known
	Labels     []string  `json:"labels,omitempty"`        // that the reply brought into the run, which did not have them
	Credential string    `json:"credential,omitempty"`    // which of callgate's own were used: names and versions, with spaces between them
	Cached     bool      `json:"cached,omitempty"`        // the reply was that of an earlier call for the same
	Lossy      []string  `json:"lossy,omitempty"`         // what of the request its target could not be told, by paths
	Attempts   []Attempt `json:"attempts,omitempty"`      // to carry it out, where there were several ways
	Proposal   *Proposal `json:"proposal,omitempty"`      // in Proposed

	// In Changed: what, by whom, and the new state in a few words.
	What  string `json:"what,omitempty"` // "agent.created", "agent.revoked", "policy.activated", "gate.started"…
	By    string `json:"by,omitempty"`   // "admin", "config", "system"
	Name  string `json:"name,omitempty"`
	State string `json:"state,omitempty"`

	// Acts marks the intent of a call that may change something outside. A log
	// that is short of space refuses these first.
	Acts bool `json:"acts,omitempty"`
}

// An Attempt is one try to carry out a call. The last one has the call's own outcome.
type Attempt struct {
	Target   string `json:"target"`
	Resource string `json:"resource"`
	Fault    string `json:"fault,omitempty"` // why another one followed: "http 429", "unavailable", "timeout"
	Key      string `json:"key,omitempty"`   // that the target refused: where it is kept, as in Credential
	TookUS   int64  `json:"took_us"`
	Usage    *Usage `json:"usage,omitempty"`         // of one that failed, where the target told any
	Cost     *int64 `json:"cost_microusd,omitempty"` // of that
}

// An Env is what the conditions of a policy can read of a call that stands
// nowhere else in its record, as it was when the call was decided about. Records
// of versions before there was an Env have none.
type Env struct {
	Roles  []string   `json:"roles,omitempty"`         // of the acting agent, by the registry
	Above  [][]string `json:"above,omitempty"`         // of those it acts for, in the order of the chain
	Hints  []string   `json:"hints,omitempty"`         // what a trusted server says of the tool: "declared", and "readOnly"…
	Labels []string   `json:"labels,omitempty"`        // of the run
	Tokens int64      `json:"tokens,omitempty"`        // that the call was estimated to take
	Cost   *int64     `json:"cost_microusd,omitempty"` // of these; absent where no price is known
	Calls  int64      `json:"calls,omitempty"`         // of the run before this one
	Spent  int64      `json:"spent_microusd,omitempty"`
	IP     string     `json:"ip,omitempty"`    // that the client called from
	Hosts  []string   `json:"hosts,omitempty"` // that URLs in the arguments name

	Acts   bool   `json:"acts,omitempty"`   // for a party, or on an object
	To     string `json:"to,omitempty"`     // from where the parties come, where somebody asked
	Object string `json:"object,omitempty"` // from where the objects come
	Intent string `json:"intent,omitempty"` // whether the user asked for such an act
}

// An Otherwise is what a candidate for a policy would have decided, where that is
// something else.
type Otherwise struct {
	Policy      string   `json:"policy"` // digest
	Effect      string   `json:"effect"`
	Rule        string   `json:"rule,omitempty"`
	Reason      string   `json:"reason,omitempty"`
	Obligations []string `json:"obligations,omitempty"`
}

// A Link is an edge of the causal chain: call From led to the call whose record
// holds it, or to To. Its Method says how that was found out, since only some ways
// prove it, and Conf how sure that is.
type Link struct {
	From    string `json:"from"`               // id of the earlier call
	Kind    string `json:"kind"`               // see below
	Method  string `json:"method"`             // "tool_use_id", "arguments", "twin", "ambiguous"…
	Conf    int    `json:"conf,omitempty"`     // of 100, which is proof; 0 in records of versions before there was any
	ID      string `json:"tool_use,omitempty"` // the proposal's id on the model's side
	To      string `json:"to,omitempty"`       // the call that From led to, where a later one shows it: this stands in the place of what was held to be so before
	Message int    `json:"message,omitempty"`  // of a conversation: the first one that is not as it was, from 1
}

// The kinds of links.
const (
	LinkProposed   = "proposed"    // From is a model call that asked for this one
	LinkResult     = "result"      // From is a tool call whose result this one carries
	LinkFollows    = "follows"     // From is the model call whose conversation this one goes on with
	LinkDelegated  = "delegated"   // From is a model call that set to work the agent whose first call this is
	LinkAgain      = "again"       // this one tries once more what From was to do
	LinkOffGateway = "off_gateway" // From is a model call that asked for a tool call which never came here, and whose result this one carries
	LinkAsked      = "asked"       // From is the call in whose course its server asked for this
	LinkContinued  = "continued"   // this one is the rest of From, with what its server asked for
	LinkWithin     = "within"      // this one is part of From, a session
)

// A Proposal is a tool call that a model asks for.
type Proposal struct {
	ToolUse  string          `json:"tool_use,omitempty"`
	Name     string          `json:"name"`
	Args     json.RawMessage `json:"args,omitempty"`
	ArgsHash string          `json:"args_hash,omitempty"`

	Effect string `json:"effect,omitempty"` // "deny": it was taken out of the reply
	Rule   string `json:"rule,omitempty"`   // that refused it
	Reason string `json:"reason,omitempty"` // as the model was told
}

// A Finding is something that a guard saw, without the thing itself.
type Finding struct {
	Guard  string `json:"guard"`
	Rule   string `json:"rule"`
	Where  string `json:"where"`  // "request" or "reply", then a JSON Pointer or a lane
	Action string `json:"action"` // "mask", "deny", "record"
	Count  int    `json:"count,omitempty"`
}

// A Check says what was read: a guard, its version, and how many bytes of the
// request and of the reply it has judged.
type Check struct {
	Guard   string `json:"guard"`
	Version string `json:"version"`
	Request int64  `json:"request"`
	Reply   int64  `json:"reply"`
}

// Usage is what a model call consumed, in tokens but for what is counted.
type Usage struct {
	Input      int64 `json:"input"`
	Output     int64 `json:"output"`
	CacheRead  int64 `json:"cache_read,omitempty"`  // of Input
	CacheWrite int64 `json:"cache_write,omitempty"` // of Input
	Reasoning  int64 `json:"reasoning,omitempty"`   // of Output

	CacheWriteHour int64 `json:"cache_write_hour,omitempty"` // of CacheWrite: to be kept for an hour or more
	AudioIn        int64 `json:"audio_in,omitempty"`         // of Input
	AudioCached    int64 `json:"audio_cached,omitempty"`     // of AudioIn and CacheRead
	AudioOut       int64 `json:"audio_out,omitempty"`        // of Output
	ImageIn        int64 `json:"image_in,omitempty"`         // of Input
	ImageOut       int64 `json:"image_out,omitempty"`        // of Output
	Images         int64 `json:"images,omitempty"`           // that were made
	Searches       int64 `json:"searches,omitempty"`         // by the provider, on the web

	Tier      string `json:"tier,omitempty"`      // batch, flex, priority, fast
	Regional  bool   `json:"regional,omitempty"`  // kept to one region by the vendor
	Estimated bool   `json:"estimated,omitempty"` // not, or not all, told by the provider
	Unknown   string `json:"unknown,omitempty"`   // names of what it told that callgate does not know
}
