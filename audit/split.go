package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"sync"
)

// A prompt of today is the one of before and a little more. A split finds what of a
// document may have been there before: each value of smallest bytes or more is a block of
// its own, and so is each array up to each of its elements, which stands for all before it.
// Blocks are known by their hashes, which depend on nothing but the document.

const (
	smallest = 256 // bytes of a value that is worth a block
	step     = 64  // bytes that an array must go on by to be worth another one
)

// A block is doc[at:to], behind the block prev where that is not none. What of it is
// kids stands there only as their hashes.
type block struct {
	prev       int
	from       int // where all that it stands for begins: at, but for what is behind a prev
	at, to     int
	kids, last int // split.kids[kids:last]
	hash       link
}

const none = -1

// split is a document, cut into blocks. The last one is all of it.
type split struct {
	doc    []byte
	blocks []block
	kids   []int // of all blocks, in the order of the document
	open   []int // of those that are being read
	buf    []byte
}

var splits = sync.Pool{New: func() any { return new(split) }}

// cut makes s the blocks of doc, which is one JSON document, or is one block.
func (s *split) cut(doc []byte) {
	s.doc, s.blocks, s.kids, s.open = doc, s.blocks[:0], s.kids[:0], s.open[:0]
	at := blank(doc, 0)
	if at < len(doc) && (doc[at] == '{' || doc[at] == '[') {
		end, b, ok := s.value(at, 0)
		if ok && blank(doc, end) == len(doc) {
			if b != none && s.blocks[b].from == 0 && s.blocks[b].to == len(doc) {
				return
			}
			if b != none {
				s.open = append(s.open, b)
			}
			s.add(block{prev: none, at: 0, to: len(doc)}, 0)
			return
		}
	}
	s.blocks, s.kids, s.open = s.blocks[:0], s.kids[:0], s.open[:0]
	s.add(block{prev: none, at: 0, to: len(doc)}, 0)
}

func (s *split) root() *block { return &s.blocks[len(s.blocks)-1] }

// add adds b, whose kids are those that are open from the given one on.
func (s *split) add(b block, from int) int {
	b.from = b.at
	if b.prev != none {
		b.from = s.blocks[b.prev].from
	}
	b.kids = len(s.kids)
	s.kids = append(s.kids, s.open[from:]...)
	b.last = len(s.kids)
	s.open = s.open[:from]
	s.buf = s.hashed(s.buf[:0], &b)
	b.hash = sha256.Sum256(s.buf)
	s.blocks = append(s.blocks, b)
	return len(s.blocks) - 1
}

// hashed appends what the hash of b is of.
func (s *split) hashed(to []byte, b *block) []byte {
	if b.prev != none {
		to = append(append(to, 2), s.blocks[b.prev].hash[:]...)
	}
	at := b.at
	literal := func(end int) {
		if end > at {
			to = binary.AppendUvarint(append(to, 0), uint64(end-at))
			to = append(to, s.doc[at:end]...)
		}
	}
	for _, k := range s.kids[b.kids:b.last] {
		kid := &s.blocks[k]
		literal(kid.from)
		to = append(append(to, 1), kid.hash[:]...)
		at = kid.to
	}
	literal(b.to)
	return to
}

// value reads the value at i: where it ends, and its block, if it has one.
func (s *split) value(i, depth int) (end, b int, ok bool) {
	doc := s.doc
	if i >= len(doc) || depth > 1<<10 {
		return i, none, false
	}
	switch doc[i] {
	case '"':
		if end = quoted(doc, i); end < 0 {
			return i, none, false
		}
		if end-i >= smallest {
			return end, s.add(block{prev: none, at: i, to: end}, len(s.open)), true
		}
		return end, none, true
	case '{':
		return s.object(i, depth)
	case '[':
		return s.array(i, depth)
	}
	for end = i; end < len(doc) && doc[end] != ',' && doc[end] != '}' && doc[end] != ']' && doc[end] > ' '; {
		end++
	}
	return end, none, end > i
}

func (s *split) object(i, depth int) (end, b int, ok bool) {
	doc, from := s.doc, len(s.open)
	at := blank(doc, i+1)
	for at < len(doc) && doc[at] != '}' {
		if doc[at] != '"' {
			return i, none, false
		}
		if at = quoted(doc, at); at < 0 {
			return i, none, false
		}
		if at = blank(doc, at); at >= len(doc) || doc[at] != ':' {
			return i, none, false
		}
		if at, ok = s.kid(blank(doc, at+1), depth); !ok {
			return i, none, false
		}
		if at = blank(doc, at); at < len(doc) && doc[at] == ',' {
			at = blank(doc, at+1)
		}
	}
	if at >= len(doc) {
		return i, none, false
	}
	if end = at + 1; end-i < smallest {
		return end, none, true
	}
	return end, s.add(block{prev: none, at: i, to: end}, from), true
}

// array is blocks up to some of its elements, of which each stands for all before it. Its
// end is not in them: what was the end may be the middle of the next document.
func (s *split) array(i, depth int) (end, b int, ok bool) {
	doc, from := s.doc, len(s.open)
	begin, last := i, none
	at := blank(doc, i+1)
	for at < len(doc) && doc[at] != ']' {
		if at, ok = s.kid(at, depth); !ok {
			return i, none, false
		}
		if at-begin >= step && (last != none || at-i >= smallest) {
			last = s.add(block{prev: last, at: begin, to: at}, from)
			begin = at
		}
		if at = blank(doc, at); at < len(doc) && doc[at] == ',' {
			at = blank(doc, at+1)
		}
	}
	if at >= len(doc) {
		return i, none, false
	}
	return at + 1, last, true // a block in what is behind last would have made a step of that
}

// kid reads a value inside of another one.
func (s *split) kid(i, depth int) (end int, ok bool) {
	end, b, ok := s.value(i, depth+1)
	if b != none {
		s.open = append(s.open, b)
	}
	return end, ok
}

// quoted is where the string that begins at i ends, -1 if it does not.
func quoted(doc []byte, i int) int {
	for at := i + 1; ; {
		n := bytes.IndexByte(doc[at:], '"')
		if n < 0 {
			return -1
		}
		at += n
		slashes := 0
		for doc[at-1-slashes] == '\\' {
			slashes++
		}
		if at++; slashes%2 == 0 {
			return at
		}
	}
}

func blank(doc []byte, i int) int {
	for i < len(doc) && (doc[i] == ' ' || doc[i] == '\n' || doc[i] == '\r' || doc[i] == '\t') {
		i++
	}
	return i
}
