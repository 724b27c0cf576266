package providers

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"callgate/firewall"
)

const (
	maxLanes = 1024 // that one reply may have open
	maxDepth = 128  // of nested values in an event
)

// texts collects the spans of the events of one reply. They are cut from blocks,
// so that many small events cost few allocations.
type texts struct {
	block []firewall.Span // block[from:] is of the event that is being read
	from  int
	lanes map[lane]string
}

// A lane is one text that is streamed: which one of its kind, and which one
// within that.
type lane struct {
	kind string // with a # in the place of a and of b, if it has one
	a, b int
}

func (l lane) String() string {
	a, b := strconv.Itoa(l.a), strconv.Itoa(l.b)
	if !strings.Contains(l.kind, "#") {
		return l.kind + " " + a + "." + b
	}
	return strings.Replace(strings.Replace(l.kind, "#", a, 1), "#", b, 1)
}

// take is the spans since the last take, in the order of the document.
func (t *texts) take() []firewall.Span {
	spans := t.block[t.from:len(t.block):len(t.block)]
	t.from = len(t.block)
	byPlace := func(a, b firewall.Span) int { return cmp.Compare(a.At, b.At) }
	if !slices.IsSortedFunc(spans, byPlace) {
		slices.SortStableFunc(spans, byPlace)
	}
	return spans
}

func (t *texts) add(s firewall.Span) {
	if len(t.block) == cap(t.block) {
		mine := t.block[t.from:]
		t.block = append(make([]firewall.Span, 0, max(32, 2*len(mine))), mine...)
		t.from = 0
	}
	t.block = append(t.block, s)
}

// slice takes the string that comes next as the next piece of lane l. What is no
// string is taken whole.
func (t *texts) slice(c *cursor, l lane) error {
	if c.kind() != '"' {
		return t.whole(c)
	}
	at, end := c.literal()
	if end-at == len(`""`) {
		return nil
	}
	name, ok := t.lanes[l]
	if !ok {
		if len(t.lanes) >= maxLanes {
			return fmt.Errorf("%w: more than %d texts at once", errTooLong, maxLanes)
		}
		if t.lanes == nil {
			t.lanes = make(map[lane]string)
		}
		l.kind = strings.Clone(l.kind) // it may be part of the document
		name = l.String()
		t.lanes[l] = name
	}
	t.add(firewall.Span{At: at, End: end, Text: text(c.doc[at:end]), Lane: name})
	return nil
}

// close ends lane l, if it was begun. The event that says so has no text of the
// lane, so the span is an empty one behind the document.
func (t *texts) close(doc []byte, l lane) {
	if name, ok := t.lanes[l]; ok {
		delete(t.lanes, l)
		t.add(firewall.Span{At: len(doc), End: len(doc), Lane: name, Close: true})
	}
}

// object walks over the object that comes next. What member does not know is
// taken whole, and so is a value that is no object.
func (t *texts) object(c *cursor, member func(name string) (known bool, err error)) error {
	if !c.enter('{') {
		return t.whole(c)
	}
	for c.more() {
		known, err := member(c.name())
		if err == nil && !known {
			err = t.whole(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// array walks over the array that comes next. A value that is no array is taken
// whole.
func (t *texts) array(c *cursor, item func(n int) error) error {
	if !c.enter('[') {
		return t.whole(c)
	}
	for n := 0; c.more(); n++ {
		if err := item(n); err != nil {
			return err
		}
	}
	return nil
}

// whole takes every string in the value that comes next as a text of its own,
// but for names and for what is data and no text.
func (t *texts) whole(c *cursor) error { return t.within(c, true, 0) }

// all is whole without the exceptions, for what callgate does not know.
func (t *texts) all(c *cursor) error { return t.within(c, false, 0) }

func (t *texts) within(c *cursor, known bool, depth int) error {
	switch c.kind() {
	case '"':
		at, end := c.literal()
		if end-at > len(`""`) {
			t.add(firewall.Span{At: at, End: end, Text: text(c.doc[at:end])})
		}
		return nil
	case '{', '[':
	default:
		c.skip()
		return nil
	}
	if depth >= maxDepth {
		return fmt.Errorf("%w: nested deeper than %d levels", errTooLong, maxDepth)
	}
	object := c.kind() == '{'
	for c.at++; c.more(); {
		known := known
		if object {
			name := c.name()
			if known && opaque(name) {
				c.skip()
				continue
			}
			known = known && name != "input" // a model chose the names in there
		}
		if err := t.within(c, known, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// opaque says that a member of this name holds bytes that only the provider can
// read, or media: a guard that changed them would break the conversation.
func opaque(name string) bool {
	switch name {
	case "signature", "encrypted_content", "encrypted_index", "data", "b64_json", "partial_image_b64":
		return true
	}
	return false
}

// withoutLogprobs is doc without the log probabilities, which tell each token of
// a text a second time: where a guard has changed the text, they would give it
// away.
func withoutLogprobs(doc []byte) []byte {
	var out []byte
	from := 0
	c := cursor{doc: doc}
	for depth := 0; ; {
		switch c.kind() {
		case '{', '[':
			depth++
			c.at++
		case '}', ']':
			depth--
			c.at++
		case '"':
			at, end := c.literal()
			if text(doc[at:end]) != "logprobs" || !isName(doc[end:]) {
				continue
			}
			empty := "null"
			value := c // behind the white space
			if value.kind() == '[' {
				empty = "[]"
			}
			out = append(append(out, doc[from:value.at]...), empty...)
			c.skip()
			from = c.at
		default:
			c.scalar()
		}
		if depth == 0 {
			break
		}
	}
	if out == nil {
		return doc
	}
	return append(out, doc[from:]...)
}

// isName says whether what comes before rest in a document is a name.
func isName(rest []byte) bool {
	rest = bytes.TrimLeft(rest, " \t\r\n")
	return len(rest) > 0 && rest[0] == ':'
}
