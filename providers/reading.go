package providers

import (
	"slices"
	"strings"

	"callgate/firewall"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"
)

// A reading follows one reply in its dialect. What it finds on the way in, before
// the guards, it leaves in [firewall.Event.Mark]; what the reply reports it reads
// on the way out, from the document that leaves.
type reading interface {
	// event finds the texts in ev, whose document is valid JSON.
	event(ev *firewall.Event, t *texts) error
	// read notes what the marked event ev of a stream reports.
	read(ev *firewall.Event)
	// whole notes what ev, a plain reply, reports.
	whole(ev *firewall.Event)
	// asking says whether a tool call has begun and is not whole.
	asking() bool
	// without is events, in which all of wants became whole, with the reason in the place
	// of each that is refused.
	without(events []firewall.Event, wants []firewall.Want) []firewall.Event
	// mend has ev, which comes after such a call, fit what is left of the reply.
	mend(ev *firewall.Event)
	// broken is how a stream ends that failed after it began.
	broken(f failure) []byte
}

// What is to be read in an event when it leaves.
const (
	markUsage = 1 << iota
	markCalls
	markError
	markPlain // all of the reply in one
	markBegun // the reply has begun, and the model has said nothing yet
	markLine  // one of the documents that the reply is
	markText  // all of the reply, and no document but a text
)

// maxArgs bounds the arguments of the tool calls that are being streamed. No
// tool takes more.
const maxArgs = 32 << 20

// pending is a tool call that a stream is about to ask for.
type pending struct {
	a, b     int // where it is in the reply
	id, name string
	args     []byte
}

// pendings are the tool calls of a stream that are not complete yet, in the
// order in which they began.
type pendings struct {
	calls []*pending
	bytes int
}

func (p *pendings) find(a, b int) *pending {
	for _, c := range p.calls {
		if c.a == a && c.b == b {
			return c
		}
	}
	return nil
}

func (p *pendings) begin(a, b int) *pending {
	c := &pending{a: a, b: b}
	p.calls = append(p.calls, c)
	return c
}

// grow adds a piece of arguments. Those that grow beyond all bounds are not kept;
// they are no call that a tool takes.
func (p *pendings) grow(c *pending, piece string) {
	if p.bytes += len(piece); p.bytes <= maxArgs {
		c.args = append(c.args, piece...)
	}
}

// finish takes out the calls that which names and adds them to wants.
func (p *pendings) finish(wants []firewall.Want, which func(*pending) bool) []firewall.Want {
	p.calls = slices.DeleteFunc(p.calls, func(c *pending) bool {
		if !which(c) {
			return false
		}
		p.bytes -= len(c.args)
		w := want(c.id, c.name, c.args)
		w.Place = [2]int{c.a, c.b}
		wants = append(wants, w)
		return true
	})
	return wants
}

// want is a tool call that a model asks for. Arguments that are not JSON are a
// text; none are an empty object.
func want(id, name string, args []byte) firewall.Want {
	w := firewall.Want{ID: strings.Clone(id), Name: strings.Clone(name)}
	switch {
	case len(args) == 0:
		w.Args = []byte("{}")
	case jsontext.Value(args).IsValid():
		w.Args = args
	default:
		w.Args, _ = jsontext.AppendQuote(nil, args) // what is not UTF-8 becomes U+FFFD
	}
	return w
}

// argsOf is the arguments in v: a text that holds JSON, or JSON itself.
func argsOf(v gjson.Result) []byte {
	if v.Type == gjson.String {
		return []byte(v.Str)
	}
	return []byte(v.Raw)
}

// faultOf says in a few words which error an event tells of. Its kind is one word
// of the dialect, or left out.
func faultOf(kind string) string {
	if kind == "" || len(kind) > 64 || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return "error event"
	}
	return "error event " + kind
}

// numbers reads replies that are all numbers: embeddings, counts.
type numbers struct{ kind string }

func (numbers) event(ev *firewall.Event, t *texts) error {
	return t.all(&cursor{doc: ev.Body.JSON})
}

func (numbers) read(*firewall.Event) {}

func (numbers) whole(ev *firewall.Event) {
	c := cursor{doc: ev.Body.JSON}
	c.members(func(name string) {
		if name == "usage" {
			ev.Usage = openAIUsage(&c)
		} else {
			c.skip()
		}
	})
}

func (numbers) without(events []firewall.Event, _ []firewall.Want) []firewall.Event { return events }

func (numbers) asking() bool { return false }

func (numbers) mend(*firewall.Event) {}

func (n numbers) broken(f failure) []byte {
	switch n.kind {
	case Anthropic:
		return new(messages).broken(f)
	case Google:
		return new(google).broken(f)
	}
	return new(chat).broken(f)
}

// A head is what an event says of itself in the dialects whose events have kinds.
type head struct {
	kind   string // aliases the document
	index  int    // of the content block
	output int    // index of the item
	part   int    // index of the part of the item's content, or of its summary
	seq    int    // number of the event
}

func headOf(doc []byte) (h head) {
	c := cursor{doc: doc}
	if !c.enter('{') {
		return h
	}
	for c.more() {
		switch c.name() {
		case "type":
			h.kind = c.str()
		case "index":
			h.index = c.integer()
		case "output_index":
			h.output = c.integer()
		case "content_index", "summary_index":
			h.part = c.integer()
		case "sequence_number":
			h.seq = c.integer()
		default:
			c.skip()
		}
	}
	return h
}
