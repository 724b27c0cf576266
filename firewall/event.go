package firewall

import "iter"

// An Event is one message of a reply. A plain reply is a stream of one Event. One
// without a document and a frame says nothing: it sends what waits at the door.
type Event struct {
	Name  string // of the event or notification on the wire; "" for a plain reply
	Body  Body
	Frame []byte // the event as it came, framing included: what leaves if Body is not Edited
	Media bool   // Frame is no text and Body is empty: bytes that no guard can read
	More  bool   // the next event has already arrived, so the door need not flush yet
	Last  bool   // nothing follows
	Mark  int    // the Upstream's own note from Forward to Read

	// Set by [Upstream.Read], from the event as it will leave.
	Usage  Usage    // totals so far; the last one reported wins
	Begins []string // names of the tool calls that begin with it, "" for one that is not known yet
	Open   bool     // one that began is not whole yet
	Said   string   // what the model says with it, without what it only thinks
	Wants  []Want   // tool calls that a model asks for, whole with this event
	Fault  string   // the target's own error, in a few words that hold no content: "http 429", "isError"
}

// A Want is a tool call that a model asks for.
type Want struct {
	ID    string // on the model's side: tool_use id, call_id…
	Name  string // as the model says it
	Args  []byte // JSON
	Place [2]int // in the reply; the Upstream's own note

	known bool // the gate has a tool that may be meant

	Refused *Error // why the agent may not make it; nil where it may, or nobody was asked
}

// Events is a reply on its way to the agent. Breaking the loop frees everything
// behind it.
type Events = iter.Seq2[Event, error]
