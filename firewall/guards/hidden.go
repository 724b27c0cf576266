package guards

import (
	"context"
	"slices"
	"unicode"
	"unicode/utf8"

	"callgate/audit"
	"callgate/firewall"

	"github.com/go-json-experiment/json/jsontext"
)

// Hidden is a [firewall.Guard] that takes out characters that a model reads and a
// person does not see, and those that command a terminal: of all that agents get
// from models and tools, streamed or not, and of what models get from agents, who
// may have read it elsewhere. What an agent gives to a tool stays as it is: a file
// may hold what it likes.
//
//	tag        tag characters, but those of the flags of England, Scotland and Wales
//	selector   variation selectors behind one another, or behind what has no variants
//	zero-width the third and all further characters without width in a row, and joiners of Latin letters
//	bidi       characters that write what follows in the wrong direction
//	control    ESC and its like. The rest of an escape sequence stays, for all to see
//
// Whether a character goes is decided by those before it alone, so nothing of a
// stream is held back, and for every way to cut it the agent sees the same.
type Hidden struct{}

const hiddenVersion = "1"

// Name implements [firewall.Guard].
func (Hidden) Name() string { return "hidden" }

// Request implements [firewall.Guard]. It always allows: what it finds is taken out.
func (h Hidden) Request(_ context.Context, call *firewall.Call) (firewall.Decision, error) {
	if call.Kind == firewall.Model {
		size := len(call.Body.JSON)
		var s sight
		if err := s.clear(call, "request", &call.Body); err != nil {
			return firewall.Decision{}, err
		}
		call.Checks = append(call.Checks, audit.Check{Guard: h.Name(), Version: hiddenVersion, Request: int64(size)})
	}
	return firewall.Decision{Effect: firewall.Allow}, nil
}

// Media implements [firewall.MediaGuard]: nobody's eye passes over a character there.
func (Hidden) Media(*firewall.Call) firewall.Decision {
	return firewall.Decision{Effect: firewall.Allow}
}

// Reply implements [firewall.Guard].
func (h Hidden) Reply(_ context.Context, call *firewall.Call, events firewall.Events) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		var s sight
		for ev, err := range events {
			if err == nil {
				err = s.clear(call, "reply", &ev.Body)
				judged(call, h.Name(), hiddenVersion, len(ev.Body.JSON))
			}
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
}

// sight reads the documents of one side of a call.
type sight struct {
	lanes []laneEye // few at a time, so that a search beats a map
	cuts  []hole    // of the document that is read
}

type laneEye struct {
	name string
	eye  eye
}

// hole is what is taken out of a document.
type hole struct{ from, to int }

// clear takes out of body what is hidden in it.
func (s *sight) clear(call *firewall.Call, side string, body *firewall.Body) error {
	s.cuts = s.cuts[:0]
	doc, at := body.JSON, 0
	var rest eye
	for i := range body.Spans {
		sp := &body.Spans[i]
		if sp.Lane == "" {
			continue
		}
		s.read(call, side, &rest, doc, at, sp.At)
		at = sp.End
		s.read(call, side+" "+sp.Lane, s.eye(sp.Lane), doc, sp.At+1, sp.End-1)
		if sp.Close {
			s.lanes = slices.DeleteFunc(s.lanes, func(l laneEye) bool { return l.name == sp.Lane })
		}
	}
	s.read(call, side, &rest, doc, at, len(doc))
	if len(s.cuts) == 0 {
		return nil
	}
	if err := s.cut(body); err != nil {
		return &firewall.Error{Code: firewall.Unavailable, Rule: "hidden", Reason: "there are hidden characters that cannot be taken out", Err: err}
	}
	return nil
}

// eye is that of a lane.
func (s *sight) eye(lane string) *eye {
	for i := range s.lanes {
		if s.lanes[i].name == lane {
			return &s.lanes[i].eye
		}
	}
	s.lanes = append(s.lanes, laneEye{name: lane})
	return &s.lanes[len(s.lanes)-1].eye
}

// read lets e pass over doc[from:to], JSON text, and notes what goes.
func (s *sight) read(call *firewall.Call, where string, e *eye, doc []byte, from, to int) {
	plain := from // from there on e has seen nothing yet
	for i := from; i < to; {
		if c := doc[i]; c < 0x7f && c != '\\' {
			i++
			continue
		}
		if i > plain {
			*e = eye{before: rune(doc[i-1])}
		}
		r, n := character(doc[i:to])
		if rule := e.sees(r); rule != "" {
			note(call, "hidden", rule, masked, where)
			if k := len(s.cuts) - 1; k >= 0 && s.cuts[k].to == i {
				s.cuts[k].to += n
			} else {
				s.cuts = append(s.cuts, hole{i, i + n})
			}
		}
		i += n
		plain = i
	}
	if to > plain {
		*e = eye{before: rune(doc[to-1])}
	}
}

// cut takes the holes out of body. No document that somebody may still hold is
// changed.
func (s *sight) cut(body *firewall.Body) error {
	doc, spans := body.JSON, slices.Clone(body.Spans)
	out := make([]byte, 0, len(doc))
	at := 0 // doc[:at] is in out
	for _, h := range s.cuts {
		out, at = append(out, doc[at:h.from]...), h.to
	}
	out = append(out, doc[at:]...)
	if _, err := firewall.ParseBody(out, firewall.Limits{Bytes: len(out), Depth: len(out)}); err != nil {
		return err // two names have become the same
	}
	gone, next := 0, 0
	pass := func(offset int) int { // where a byte outside of holes stands now
		for next < len(s.cuts) && s.cuts[next].from < offset {
			gone += s.cuts[next].to - s.cuts[next].from
			next++
		}
		return offset - gone
	}
	for i := range spans {
		sp := &spans[i]
		size := sp.End - sp.At
		sp.At, sp.End = pass(sp.At), pass(sp.End)
		if sp.End-sp.At == size {
			continue
		}
		text, err := jsontext.AppendUnquote(nil, out[sp.At:sp.End])
		if err != nil {
			return err
		}
		sp.Text = string(text)
	}
	body.JSON, body.Spans, body.Edited = out, spans, true
	return nil
}

// character is the first of a JSON text, and how many bytes it takes there.
func character(text []byte) (rune, int) {
	if text[0] != '\\' || len(text) < 2 {
		return utf8.DecodeRune(text)
	}
	switch text[1] {
	case 'b':
		return '\b', 2
	case 'u':
		high, ok := hex4(text)
		if !ok {
			return utf8.RuneError, 2
		}
		if low, ok := hex4(text[6:]); ok && high >= 0xd800 && high < 0xdc00 && low >= 0xdc00 && low < 0xe000 {
			return (high-0xd800)<<10 + low - 0xdc00 + 0x10000, 12
		}
		return high, 6
	}
	return ' ', 2
}

// hex4 is the number of an escape \uXXXX at the beginning of text.
func hex4(text []byte) (n rune, ok bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	for _, c := range text[2:6] {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 + rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			n = n<<4 + rune(c|0x20-'a') + 10
		default:
			return 0, false
		}
	}
	return n, true
}

// An eye passes over the characters of a text in order.
type eye struct {
	before rune
	zero   int   // characters without width that it has just seen in a row
	flags  uint8 // of flags, those that what it has just seen may still become
	at     int   // characters of a flag that it has just seen
}

// regions are the tag characters of those flags that are emoji by Unicode's list,
// as ASCII.
var regions = [...]string{"gbeng\x7f", "gbsct\x7f", "gbwls\x7f"}

const blackFlag = 0x1f3f4 // begins them

// sees is the rule by which r goes, "" if it stays.
func (e *eye) sees(r rune) (rule string) {
	switch {
	case r >= 0xe0000 && r <= 0xe007f:
		if !e.inFlag(byte(r - 0xe0000)) {
			rule = "tag"
		}
		e.before, e.zero = r, 0
		return rule
	case isSelector(r):
		switch {
		case isSelector(e.before), r >= 0xe0100 && !unicode.Is(unicode.Han, e.before), e.before < 0x80 && !keycap(e.before):
			rule = "selector"
		}
	case r == 0x200d && e.before < 0x250 && unicode.IsLetter(e.before):
		rule = "zero-width"
	case r == 0x202d, r == 0x202e:
		rule = "bidi"
	case r == 0x1b, r == '\b', r == 0x7f, r == 0x90, r == 0x9b, r == 0x9d:
		rule = "control"
	}
	if widthless(r) {
		if e.zero++; e.zero > 2 {
			rule = "zero-width"
		}
	} else {
		e.zero = 0
	}
	e.before, e.flags = r, 0
	if r == blackFlag {
		e.flags, e.at = 1<<len(regions)-1, 0
	}
	return rule
}

// inFlag says whether the tag character for c goes on with a flag.
func (e *eye) inFlag(c byte) bool {
	for i, f := range regions {
		if e.at >= len(f) || f[e.at] != c {
			e.flags &^= 1 << i
		}
	}
	e.at++
	return e.flags != 0
}

func isSelector(r rune) bool { return r >= 0xfe00 && r <= 0xfe0f || r >= 0xe0100 && r <= 0xe01ef }

// keycap says whether r has a variant that is a key of a telephone.
func keycap(r rune) bool { return r == '#' || r == '*' || r >= '0' && r <= '9' }

// widthless says whether r takes no place in a line of text.
func widthless(r rune) bool {
	return r >= 0x200b && r <= 0x200f || r >= 0x2060 && r <= 0x2064 || r == 0xfeff || r == 0x180e
}
