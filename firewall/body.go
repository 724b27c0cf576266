package firewall

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"
)

// A Body is one JSON document in flight. Its bytes are never changed in place:
// an edit makes new ones, so bytes that no guard touches leave as they came in.
type Body struct {
	JSON   []byte
	Spans  []Span // the strings in JSON, in order
	Edited bool   // JSON is no longer what came in
}

// A Span is one string in a [Body] that a person, a model or a tool wrote.
type Span struct {
	At, End int    // JSON[At:End] is the string's literal, quotes included
	Text    string // what it says; aliases JSON where it holds no escape
	Lane    string // joins the slices of one text that is streamed; "" for a text that is whole
	Close   bool   // the last slice of Lane
}

// Limits bound a document. The zero value of a field means its default.
type Limits struct {
	Bytes int // default 32 MiB
	Depth int // of nested objects and arrays; default 128
}

const (
	defaultBytes = 32 << 20
	defaultDepth = 128
)

func (l Limits) bytes() int {
	if l.Bytes > 0 {
		return l.Bytes
	}
	return defaultBytes
}

func (l Limits) depth() int {
	if l.Depth > 0 {
		return l.Depth
	}
	return defaultDepth
}

// A walker reads one document; walkers are pooled because their decoder is not small.
type walker struct {
	buf   bytes.Buffer
	dec   jsontext.Decoder
	spans []Span
}

var walkers = sync.Pool{New: func() any { return new(walker) }}

// ParseBody reads doc strictly: one JSON value, valid UTF-8, no name twice in an
// object, within lim. Everything that decides about a call reads this document,
// and this document is what is forwarded, so that no peer can read another one
// out of the same bytes. The errors say what is wrong and where, and never
// quote the document.
func ParseBody(doc []byte, lim Limits) (Body, error) {
	if len(doc) > lim.bytes() {
		return Body{}, fmt.Errorf("larger than %d bytes", lim.bytes())
	}
	w := walkers.Get().(*walker)
	defer walkers.Put(w)
	w.buf = *bytes.NewBuffer(doc) // the decoder reads a Buffer's bytes in place
	w.dec.Reset(&w.buf)
	w.spans = w.spans[:0]
	err := w.walk(doc, lim.depth())
	spans := append([]Span(nil), w.spans...)
	clear(w.spans) // so that the pool keeps no document alive
	w.buf = bytes.Buffer{}
	if err != nil {
		return Body{}, err
	}
	return Body{JSON: doc, Spans: spans}, nil
}

func (w *walker) walk(doc []byte, depth int) error {
	d := &w.dec
	for {
		switch kind := d.PeekKind(); kind {
		case '"':
			in, n := d.StackIndex(d.StackDepth())
			v, err := d.ReadValue()
			if err != nil {
				return explain(err)
			}
			if in == '{' && n%2 == 0 { // a name, not a value
				continue
			}
			end := int(d.InputOffset())
			w.spans = append(w.spans, Span{At: end - len(v), End: end, Text: unquote(v)})
		case '{', '[':
			if d.StackDepth() >= depth {
				return fmt.Errorf("nested deeper than %d levels at byte %d", depth, d.InputOffset())
			}
			fallthrough
		default:
			if _, err := d.ReadToken(); err != nil {
				if err == io.EOF {
					return errEmpty
				}
				return explain(err)
			}
		}
		if d.StackDepth() == 0 {
			return w.rest(doc)
		}
	}
}

var errEmpty = errors.New("empty")

// rest refuses anything but white space behind the value.
func (w *walker) rest(doc []byte) error {
	at := int(w.dec.InputOffset())
	if len(bytes.TrimLeft(doc[at:], " \t\r\n")) > 0 {
		return fmt.Errorf("more than one JSON value: byte %d", at)
	}
	return nil
}

// explain says what the decoder found without quoting the document.
func explain(err error) error {
	var s *jsontext.SyntacticError
	if !errors.As(err, &s) {
		return fmt.Errorf("read: %w", err)
	}
	what := "not valid JSON"
	switch {
	case errors.Is(s.Err, jsontext.ErrDuplicateName):
		what = "a name stands twice in one object"
	case errors.Is(s.Err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrUnexpectedEOF):
		what = "cut off"
	case strings.Contains(s.Error(), "UTF-8"):
		what = "not valid UTF-8"
	}
	return fmt.Errorf("%s: byte %d", what, s.ByteOffset)
}

// unquote is the text of a string literal that the decoder has accepted.
func unquote(literal []byte) string {
	inner := literal[1 : len(literal)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return unsafe.String(unsafe.SliceData(inner), len(inner)) // documents are never changed in place
	}
	text, err := jsontext.AppendUnquote(nil, literal)
	if err != nil {
		return string(inner) // cannot happen: the literal was accepted
	}
	return string(text)
}

// Rewrite asks edit for the new text of each span and makes a document with the
// answers. Spans for which edit returns false stay byte for byte.
func (b *Body) Rewrite(edit func(i int, s Span) (string, bool)) {
	var out []byte
	from, shift := 0, 0
	for i := range b.Spans {
		s := &b.Spans[i]
		text, changed := edit(i, *s)
		at, end := s.At, s.End
		if changed && text != s.Text {
			if out == nil {
				out = make([]byte, 0, len(b.JSON)+64)
			}
			out = append(out, b.JSON[from:at]...)
			start := len(out)
			out, _ = jsontext.AppendQuote(out, text) // invalid UTF-8 becomes U+FFFD
			s.At, s.End, s.Text = start, len(out), text
			from = end
			shift = len(out) - end
			continue
		}
		s.At, s.End = at+shift, end+shift
	}
	if out == nil {
		return
	}
	b.JSON, b.Edited = append(out, b.JSON[from:]...), true
}
