package guards

import (
	"regexp"
	"strings"
	"sync"
)

const (
	heading = 160 // most bytes of a block's first line
	opening = 64  // bytes that stand between a block's first line and its last, at the least
	key     = 40  // fewest characters in a row that look like a part of a key
	pause   = 512 // most bytes of a block between two such rows
)

// A frame is what the first and the last line of a private key look like.
type frame struct {
	source string // of the rule
	once   sync.Once
	first  *regexp.Regexp
	last   *regexp.Regexp
}

func (f *frame) compile() {
	first, last, _ := strings.Cut(f.source, `[\s\S-]{64,}?`)
	f.first = regexp.MustCompile(`\A(?U)` + first) // the shortest: more text must not make it longer
	f.last = regexp.MustCompile(`(?i)` + last)
}

// heading is the length of the first line that text begins with, 0 if there is
// none. More of text could make a difference if it is not certain.
func (f *frame) heading(text string) (n int, certain bool) {
	f.once.Do(f.compile)
	if m := f.first.FindStringIndex(text); m != nil {
		return m[1], true
	}
	for i := range len(text) {
		if b := text[i]; b != ' ' && b != '-' && !isLetter(b) {
			return 0, true
		}
	}
	return 0, len(text) >= heading
}

// ending is where the last line ends that stands in text first, 0 if none does.
// Before a block is open, its first line is not enough to tell: what documents
// write about keys is no key.
func (f *frame) ending(text string, open bool) int {
	skip := 0
	if !open {
		skip = min(opening, len(text))
	}
	if m := f.last.FindStringIndex(text[skip:]); m != nil {
		return skip + m[1]
	}
	return 0
}

// keyRow is the first row of characters in text that looks like a part of a key.
func keyRow(text string) (from, to int) {
	for i := range len(text) {
		if !isKey(text[i]) {
			from = i + 1
		} else if i+1-from == key {
			return from, i + 1
		}
	}
	return 0, 0
}

// block judges the block that begins with h: a private key. It is masked from
// where it is known for one, and as long as it goes on: to its last line, or, if
// that is missing, until nothing looks like a part of a key any more. In a tool's
// arguments it ends with the string that it is in, so that these stay JSON.
func (s *scan) block(h *hit, end bool) (hold int, done bool) {
	body := h.open
	if h.open == 0 {
		n, certain := s.rules.frame.heading(s.from(h.from, h.from+heading))
		if n == 0 {
			return h.from, certain || end
		}
		body = h.from + n
	}
	for {
		if h.row { // that was found last may go on
			for body < s.end() && isKey(s.at(body)) {
				body++
			}
			h.row = body == s.end()
			s.extend(h, body)
		}
		next := s.from(body, body+pause)
		if s.lane {
			if i := s.close(body, body+len(next)); i >= 0 {
				next, end = next[:i-body], true
			}
		}
		from, to := keyRow(next)
		last := s.rules.frame.ending(next, h.open > 0)
		switch {
		case last > 0 && (to == 0 || last <= from):
			s.extend(h, body+last)
			return 0, true
		case to > 0:
			body, h.row = body+to, true
			s.extend(h, body)
		case end || len(next) == pause:
			return 0, true
		default:
			return max(h.open, h.from), false
		}
	}
}

// close is where the first quote between from and to stands that closes a string
// of a JSON document, -1 if there is none.
func (s *scan) close(from, to int) int {
	for i := from; i < to; i++ {
		if s.closes(i) {
			return i
		}
	}
	return -1
}
