package firewall

import (
	"context"
	"strings"
	"time"
	"unsafe"

	"callgate/audit"
	"callgate/identity"

	"github.com/tidwall/gjson"
)

// A Kind says what a call acts on. The zero Kind is no kind and is refused.
type Kind uint8

const (
	_        Kind = iota
	Session       // the gate itself: initialize, server/discover, log levels. Needs an identity and nothing more.
	List          // what the caller may use: tools, resources, prompts, models. Needs an identity; its items are filtered.
	Model         // a model generates, embeds or counts, or its provider keeps files and batches
	Tool          // a tool of an MCP server is called
	Resource      // a resource of an MCP server is read or subscribed to
	Prompt        // a prompt of an MCP server is fetched
)

var kinds = [...]string{"", "session", "list", "model", "tool", "resource", "prompt"}

func (k Kind) String() string { return kinds[k] }

// Hints are what the client claims about a call. They help to join records and
// to name runs; they never grant anything.
type Hints struct {
	Run     string   // the client's own name for its run (Callgate-Run, or the trace id of traceparent)
	Session string   // the client's session, as it calls it; of a tool call, that of its connection
	Client  string   // the client's session on a tool call, as the client calls it in model calls
	Thread  string   // the client's name for a conversation in its session
	Parent  string   // that of the conversation that set this one to work
	Name    string   // the tool's name as this client sees it, where that is not Resource
	ToolUse string   // id of the proposed tool call that this call carries out
	Results []string // ids of the proposed tool calls whose results this model call carries
}

// A Call is one governed request by an agent. The front door fills the first
// part from the wire; [Gate.Do] sets the second, stage by stage.
type Call struct {
	Kind      Kind
	Target    string // provider or MCP server, by its name in the config; "" for the gate itself
	Method    string // "chat", "responses", "messages", "tools/call", "resources/read"…
	Resource  string // model, tool, prompt or resource that Method acts on, by its name at Target
	Route     string // path that was asked for, as a resource indicator: the token's audience must cover it
	Token     string // as presented; never recorded, never forwarded
	Hints     Hints
	Body      Body     // the request as it is judged and as it will be forwarded
	Written   []byte   // the arguments as the client wrote them, where the front door has made them canonical; nil: as they are in Body
	ArgsAt    string   // where in Body.JSON the arguments of a tool or prompt are, as a gjson path; "" if there are none
	ResultAt  []string // where the documents of its result are in the body of a reply, as gjson paths; a text there is a document of its own, or should be
	Impact    Impact
	Acting    *Acting                   // what it acts on; nil: it does nothing for anybody
	Client    bool                      // of a tool of the agent's own program: allowed unless a rule forbids it
	Trusted   bool                      // what the target answers is as good as what the user says
	Brings    Labels                    // that the reply's content has
	From      string                    // IP address that the request came from
	Estimate  Estimate                  // what a model call will take
	Routes    []Route                   // other ways to carry it out, in the order in which they are tried
	Price     *Price                    // of the model; nil: not known
	Media     Sides                     // of the call that may hold what is no text
	Unread    int64                     // bytes of the request beside Body, that no guard can read
	When      func(*Call) (bool, error) // as in Route
	Continues string                    // id of an allowed call of the same caller that this request goes on with, by the word of the front door
	Part      bool                      // of a call that took its share of limits: it takes none itself
	Hosted    []Hosted                  // tools that the target may run by itself in the course of it, past the gate
	History   *History                  // of a model call: what it tells of the conversation so far; nil where that is not known
	Tool      []byte                    // what the target says of the tool, with its inputSchema; nil where that is not known
	Kept      string                    // id under which the target keeps the reply, once it is known
	During    *Call                     // the call in the course of which its server asks the client for this; nil for what an agent asks for

	// Definition is the SHA-256 of what the target says of what is called; "" if that is
	// not known. An approval is for no other.
	Definition string

	// Resolve puts into Body what the arguments lead to outside of the call, and says
	// whether that is anything else. It is asked once the law has let the call pass;
	// then the law is asked again. It is nil where they lead nowhere.
	Resolve func(context.Context) (bool, error)

	ID       string // UUIDv7
	At       time.Time
	Caller   identity.Principal
	Run      string // the run of the caller that this call belongs to
	Chain    string // the run as the client names it, else Run
	Thread   string // the conversation that it is of, by the id of the model call that began it
	Links    []audit.Link
	Signals  []string          // what is not as it should be; see [SignalOrphan]
	Drift    []audit.Departure // what of it is not expected of the agent
	Labels   Labels            // what the run has read before
	Before   Progress          // of the run
	Approval string            // id, of the approval that this call carries or waits for
	Decision Decision
	Findings []audit.Finding
	Checks   []audit.Check
	Usage    Usage
	Cached   bool            // its reply was there from an earlier one, and costs nothing
	Lossy    []string        // what of the request its target could not be told, by paths
	Attempts []audit.Attempt // to carry it out, where there were several ways

	run      *run
	parent   *run // the run of who the agent acts for directly
	mets     mets // what its run has met, and those for whom it acts, where the law wants to know
	origins  *Origins
	came     []byte       // the arguments, or the body where there are none, as they came
	argsHash string       // of the arguments as they came
	judged   bool         // every guard has read the body: what is left in it may be recorded
	fault    string       // the target's own error
	sent     int64        // bytes of the reply that went down
	blind    int64        // bytes of it that no guard could read
	due      audit.Ticket // the record that must be durable before more goes down
	closed   bool         // the record of the end is written
	brought  Labels       // that the run did not have before this reply
	limits   []Obligation // of what its callers were given
	shares   []share      // of limits, that were taken and are not settled
	order    []Route      // the ways that are left, where there were several
	bills    []bill       // for tries before the one that Usage is of
	heard    bool         // the words of the reply are listened to
	said     []byte       // what they are so far
	above    []string     // the runs of those that the agent acts for, in the order of the chain

	stays   Keep           // of what passes
	keeping bool           // the request is kept, and so is the reply
	asks    *audit.Payload // what is kept of the request
	reply   *[]byte        // what went down so far
	cut     bool           // and more than that
	events  []Event        // the same, where it is to be redacted
	gotten  int            // bytes of that

	hosts    []string          // that URLs in the arguments name
	fewHosts [4]string         // room for them
	strays   []string          // what people must agree to before the run goes on with it
	weighed  Labels            // of those that were brought: whether they are expected is known
	late     []audit.Departure // that were noticed after the call was opened

	credential string // those that were used for it, with spaces between them
}

// Hosted is a tool that the target of a model call runs by itself. Its object is
// tool:<target>/<name>. A Remote one leads to a server of somebody else's and needs a
// rule that allows it; the others are the target's own, and are used unless a rule forbids
// it.
type Hosted struct {
	Name   string
	Remote bool
}

// Object is the name of what the call acts on, in the words of the policy:
// model:<provider>/<name>, tool:<server>/<name>, resource:<server>|<uri> or
// prompt:<server>/<name>. It is empty for calls that need no rule.
func (c *Call) Object() string { return Object(c.Kind, c.Target, c.Resource) }

// Object names a thing in the words of the policy; see [Call.Object].
func Object(kind Kind, target, resource string) string {
	switch kind {
	case Model:
		return "model:" + target + "/" + resource
	case Tool:
		return "tool:" + target + "/" + resource
	case Resource:
		return "resource:" + target + "|" + resource
	case Prompt:
		return "prompt:" + target + "/" + resource
	}
	return ""
}

// Action is what the call does to its object, in the words of the policy.
func (c *Call) Action() string { return action(c.Kind, c.Method) }

func action(kind Kind, method string) string {
	switch kind {
	case Model:
		switch {
		case method == "embeddings":
			return "embed"
		case strings.HasPrefix(method, "files/"), strings.HasPrefix(method, "batches/") && method != "batches/create":
			return "store"
		}
		return "generate"
	case Tool:
		return "call"
	case Resource:
		if method == "resources/subscribe" {
			return "subscribe"
		}
		return "read"
	case Prompt:
		return "get"
	case List:
		return "list"
	}
	return ""
}

// Args is the call's arguments as they stand in Body, nil if it has none.
func (c *Call) Args() []byte {
	if c.ArgsAt == "" {
		return nil
	}
	doc := c.Body.JSON
	r := gjson.Get(unsafe.String(unsafe.SliceData(doc), len(doc)), c.ArgsAt) // documents are never changed in place
	if !r.Exists() {
		return nil
	}
	return doc[r.Index : r.Index+len(r.Raw)]
}

// ArgsHash is the SHA-256 of the arguments as the client wrote them, in canonical form; "" if
// the call has none.
func (c *Call) ArgsHash() string { return c.argsHash }

// acts says whether forwarding the call may change something outside: then its
// record must be durable first.
func (c *Call) acts() bool { return c.Kind == Tool && c.Impact&ReadOnly == 0 }

// answerable says whether a server asks the client of a call for what is the
// client's to give, its words or the names of its folders, and no rule speaks of
// it: then the client decides. To use the client's model is to spend its owner's
// money, and needs a rule.
func (c *Call) answerable() bool {
	return c.During != nil && c.Kind != Model && c.Decision.Effect == Deny && c.Decision.Rule == ""
}

// idle says that the call does nothing but answer from what the gate knows: one
// record, of its end, is enough.
func (c *Call) idle() bool { return c.Kind == Session || c.Kind == List }

// Progress is what a run has done so far.
type Progress struct {
	Calls int64    // that were attributed to it, but for those to the gate itself
	Spent MicroUSD // on calls that are over
}
