package audit

import (
	"strings"
	"time"
)

// A Where is a question about calls in the filter language, which docs/filter.md
// tells: agent = "bot" AND effect != "allow" AND (tool : "shop/*" OR cost > 0.5).
// It is read by [ParseWhere]. A nil Where lets every call pass. It is never changed.
type Where struct {
	text string
	root *Term
}

// A Term is a part of a [Where]: one [Test], or several Terms of which all, or any,
// must be so. What is denied in a question is denied in its Tests alone.
type Term struct {
	Test *Test
	All  []*Term
	Any  []*Term
}

// A Test compares one field of a call with a value.
type Test struct {
	Field *Field
	Path  string // of Field args: where in the arguments, as names with dots between them
	Op    Op
	Not   bool // it must not be so

	Text   string   // as it was written, without quotes
	Pieces []string // Text around each star; one of them if there is none
	Number float64  // microseconds of a duration, millionths of a US dollar
	Time   time.Time
}

// An Op is how a [Test] compares.
type Op string

// The Ops there are.
const (
	Is      Op = "="
	IsNot   Op = "!="
	Less    Op = "<"
	AtMost  Op = "<="
	More    Op = ">"
	AtLeast Op = ">="
	Has     Op = ":" // a text holds the value; a list has it
)

// String is the question as it was asked.
func (w *Where) String() string {
	if w == nil {
		return ""
	}
	return w.text
}

// Root is what the question is made of; nil where nothing is asked.
func (w *Where) Root() *Term {
	if w == nil {
		return nil
	}
	return w.root
}

// Fits says whether c is a call that w asks for.
func (w *Where) Fits(c *Call) bool { return w == nil || w.root.fits(c) }

func (t *Term) fits(c *Call) bool {
	switch {
	case t == nil:
		return true
	case t.Test != nil:
		return t.Test.fits(c)
	case t.Any != nil:
		for _, x := range t.Any {
			if x.fits(c) {
				return true
			}
		}
		return false
	}
	for _, x := range t.All {
		if !x.fits(c) {
			return false
		}
	}
	return true
}

func (t *Test) fits(c *Call) bool { return t.holds(c) != t.Not }

// holds says whether the comparison is so. A call without a value is less or more
// than nothing, and it is not the value.
func (t *Test) holds(c *Call) bool {
	f := t.Field
	switch f.Type {
	case TypeText, TypeName:
		return t.text(f.text(c))
	case TypeList:
		for _, s := range f.list(c) {
			if t.matches(s) {
				return true
			}
		}
		return false
	case TypeJSON:
		return t.json(c.Args)
	case TypeTime:
		return t.compare(float64(c.At), float64(t.Time.UnixMicro()))
	}
	n, ok := f.number(c)
	if !ok {
		return t.Op == IsNot
	}
	return t.compare(n, t.Number)
}

func (t *Test) text(s string) bool {
	switch t.Op {
	case IsNot:
		return !t.matches(s)
	case Has:
		if len(t.Pieces) == 1 {
			return strings.Contains(s, t.Text)
		}
		return s != "" && t.matches(s) // a star alone asks for any value
	}
	return t.matches(s)
}

func (t *Test) compare(a, b float64) bool {
	switch t.Op {
	case Is:
		return a == b
	case IsNot:
		return a != b
	case Less:
		return a < b
	case AtMost:
		return a <= b
	case More:
		return a > b
	case AtLeast:
		return a >= b
	}
	return false
}

// matches says whether s is Text, in which a star stands for any letters.
func (t *Test) matches(s string) bool {
	if len(t.Pieces) == 1 {
		return s == t.Pieces[0]
	}
	last := len(t.Pieces) - 1
	s, ok := strings.CutPrefix(s, t.Pieces[0])
	if !ok {
		return false
	}
	for _, p := range t.Pieces[1:last] {
		at := strings.Index(s, p)
		if at < 0 {
			return false
		}
		s = s[at+len(p):]
	}
	return strings.HasSuffix(s, t.Pieces[last])
}
