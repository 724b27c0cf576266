package firewall

import "iter"

// An Event is one message of a reply. A plain reply is a stream of one Event.
type Event struct {
	Name  string // of the event or notification on the wire; "" for a plain reply
	Body  Body
	Frame []byte // the event as it came, framing included: what leaves if Body is not Edited
	Media bool   // Frame is no text and Body is empty: bytes that no guard can read
	More  bool   // the next event has already arrived, so the door need not flush yet
	Last  bool   // nothing follows
	Mark  int    // the Upstream's own note from Forward to Read

	// Set by [Upstream.Read], from the event as it will leave.
	Usage Usage  // totals so far; the last one reported wins
	Wants []Want // tool calls that a model asks for, complete with this event
	Fault string // the target's own error, in a few words that hold no content: "http 429", "isError"
}

// A Want is a tool call that a model asks for.
type Want struct {
	ID   string // on the model's side: tool_use id, call_id…
	Name string // as the model says it
	Args []byte // JSON
}

// Events is a reply on its way to the agent. Breaking the loop frees everything
// behind it.
type Events = iter.Seq2[Event, error]
