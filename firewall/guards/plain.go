package guards

import (
	"bytes"
	"strconv"
	"strings"
)

// plain is the text of one lane or document with its escape sequences undone: a
// \n would be a letter before a secret, and \u0041 a letter of it. It grows at
// its end and is forgotten at its beginning. Offsets count from the beginning of
// the whole plain text; raw ones from that of the text as it came.
type plain struct {
	text    []byte
	base    int // offset of text[0]
	raw     int // raw offset behind what was taken
	escapes []escape
	extra   int    // bytes by which all that was taken is longer than its plain text
	rest    []byte // the beginning of an escape sequence that is not complete
}

// escape is one byte of plain text that came as a sequence.
type escape struct{ at, extra int }

// maxSlashes is the most backslashes that one sequence begins with: texts quoted
// within texts double them at each level.
const maxSlashes = 16

// hidden is what a sequence for something beyond ASCII becomes: part of no word.
const hidden = 0x1a

func (p *plain) reset() {
	*p = plain{text: append(p.text[:0], '\n'), base: -1, escapes: p.escapes[:0], rest: p.rest[:0]}
}

func (p *plain) end() int { return p.base + len(p.text) }

func (p *plain) at(i int) byte { return p.text[i-p.base] }

// from is the text from offset i on, to or its end.
func (p *plain) from(i, to int) string {
	return view(p.text[max(i-p.base, 0) : min(to, p.end())-p.base])
}

// take adds raw to the text. An escape sequence that is cut off waits for the
// next piece, unless end says that there is none.
func (p *plain) take(raw string, end bool) {
	if len(p.rest) > 0 {
		raw = string(append(p.rest, raw...))
		p.raw -= len(p.rest)
		p.rest = p.rest[:0]
	}
	p.raw += len(raw)
	for {
		i := strings.IndexByte(raw, '\\')
		if i < 0 {
			p.text = append(p.text, raw...)
			return
		}
		p.text = append(p.text, raw[:i]...)
		raw = raw[i:]
		b, size, cut := sequence(raw)
		switch {
		case cut && !end:
			p.rest = append(p.rest, raw...)
			return
		case size == 1 || cut: // a backslash that escapes nothing
			p.text = append(p.text, raw[:size]...)
		default:
			p.escapes = append(p.escapes, escape{p.end(), size - 1})
			p.extra += size - 1
			p.text = append(p.text, b)
		}
		raw = raw[size:]
	}
}

// sequence reads what raw begins with: backslashes, and what they escape. It is
// size bytes and stands for b: of backslashes that escape nothing else, for one.
// With cut, more of raw could make it another one.
func sequence(raw string) (b byte, size int, cut bool) {
	n := 1
	for n < len(raw) && n < maxSlashes && raw[n] == '\\' {
		n++
	}
	if n == maxSlashes {
		return '\\', n, false
	}
	if n == len(raw) {
		return '\\', n, true
	}
	switch c := raw[n]; c {
	case 'n', 'r':
		return '\n', n + 1, false
	case 't', 'b', 'f':
		return ' ', n + 1, false
	case '/':
		return '/', n + 1, false
	case '"', '\'':
		if n%2 == 1 {
			return c, n + 1, false
		}
	case 'u':
		digits := raw[n+1 : min(n+5, len(raw))]
		v, err := strconv.ParseUint(digits, 16, 16)
		switch {
		case len(digits) == 0, err == nil && len(digits) < 4:
			return '\\', n, true
		case err != nil:
		case v == 0 || v > 0x7e:
			return hidden, n + 5, false
		default:
			return byte(v), n + 5, false
		}
	}
	return '\\', n, false
}

// where is the raw offset of the byte at offset i.
func (p *plain) where(i int) int {
	n := i + p.extra
	for j := len(p.escapes) - 1; j >= 0 && p.escapes[j].at >= i; j-- {
		n -= p.escapes[j].extra
	}
	return n
}

// escaped says whether the byte at offset i came as a sequence.
func (p *plain) escaped(i int) bool {
	for j := len(p.escapes) - 1; j >= 0 && p.escapes[j].at >= i; j-- {
		if p.escapes[j].at == i {
			return true
		}
	}
	return false
}

// forget drops the text before offset i, once that is worth the while.
func (p *plain) forget(i int) {
	n := i - p.base
	if n < 4096 || n < len(p.text)/2 {
		return
	}
	p.text = p.text[:copy(p.text, p.text[n:])]
	p.base = i
	old := 0
	for old < len(p.escapes) && p.escapes[old].at < i {
		old++
	}
	p.escapes = append(p.escapes[:0], p.escapes[old:]...)
}

// line is what stands before offset i in its line, as far as it is remembered.
func (p *plain) line(i int) string {
	text := p.text[max(i-before-p.base, 0) : i-p.base]
	return view(text[bytes.LastIndexByte(text, '\n')+1:])
}
