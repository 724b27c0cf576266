package providers

import (
	"bytes"
	"strconv"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"
)

// A cursor walks once over a document that is known to be valid JSON, so that
// commas and colons are no more to it than white space. It is a value: a copy
// stays where it was made.
type cursor struct {
	doc []byte
	at  int
}

// kind is the first byte of what comes next: of a value, or of an end.
func (c *cursor) kind() byte {
	for ; c.at < len(c.doc); c.at++ {
		switch b := c.doc[c.at]; b {
		case ' ', '\t', '\n', '\r', ',', ':':
		default:
			return b
		}
	}
	return 0
}

// enter steps into the object or array that comes next, if it opens with open.
func (c *cursor) enter(open byte) bool {
	if c.kind() != open {
		return false
	}
	c.at++
	return true
}

// more says whether the object or array goes on, and steps out of it if not.
func (c *cursor) more() bool {
	switch c.kind() {
	case '}', ']', 0:
		c.at++
		return false
	}
	return true
}

// name reads the name of a member. It is valid until the document is gone.
func (c *cursor) name() string {
	c.kind()
	at, end := c.literal()
	return text(c.doc[at:end])
}

// literal steps over the string that begins here and says where it is, quotes
// included.
func (c *cursor) literal() (at, end int) {
	at = c.at
	for i := at + 1; ; i++ {
		n := bytes.IndexByte(c.doc[i:], '"')
		i += n
		slashes := i
		for c.doc[slashes-1] == '\\' {
			slashes--
		}
		if (i-slashes)%2 == 0 {
			c.at = i + 1
			return at, c.at
		}
	}
}

// skip steps over the value that comes next.
func (c *cursor) skip() {
	for depth := 0; ; {
		switch c.kind() {
		case '"':
			c.literal()
		case '{', '[':
			depth++
			c.at++
		case '}', ']':
			depth--
			c.at++
		case 0:
			return
		default:
			c.scalar()
		}
		if depth <= 0 {
			return
		}
	}
}

// raw reads the value that comes next, whatever it is.
func (c *cursor) raw() []byte {
	c.kind()
	at := c.at
	c.skip()
	return c.doc[at:c.at]
}

// members walks over the object that comes next; member must read each value. A
// value that is no object is stepped over.
func (c *cursor) members(member func(name string)) {
	if !c.enter('{') {
		c.skip()
		return
	}
	for c.more() {
		member(c.name())
	}
}

// items walks over the array that comes next, as members does over an object.
func (c *cursor) items(item func()) {
	if !c.enter('[') {
		c.skip()
		return
	}
	for c.more() {
		item()
	}
}

// scalar steps over a number, true, false or null.
func (c *cursor) scalar() []byte {
	at := c.at
	for ; c.at < len(c.doc); c.at++ {
		switch c.doc[c.at] {
		case ' ', '\t', '\n', '\r', ',', ':', '}', ']':
			return c.doc[at:c.at]
		}
	}
	return c.doc[at:c.at]
}

// integer reads the value that comes next; it is -1 if that is no integer.
func (c *cursor) integer() int {
	if b := c.kind(); b < '0' || b > '9' {
		c.skip()
		return -1
	}
	n, err := strconv.Atoi(string(c.scalar()))
	if err != nil {
		return -1
	}
	return n
}

// str reads the value that comes next; it is "" if that is no string.
func (c *cursor) str() string {
	if c.kind() != '"' {
		c.skip()
		return ""
	}
	at, end := c.literal()
	return text(c.doc[at:end])
}

// text is what a valid string literal says; it aliases the literal where that
// holds no escape. Documents are never changed in place.
func text(literal []byte) string {
	inner := literal[1 : len(literal)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return unsafe.String(unsafe.SliceData(inner), len(inner))
	}
	out, err := jsontext.AppendUnquote(nil, literal)
	if err != nil {
		return string(inner) // cannot happen: the literal is valid
	}
	return string(out)
}
