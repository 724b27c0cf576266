package mcp

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

const (
	maxPatternLen = 1024 // bytes
	maxProgram    = 4096 // steps of a pattern

	// Of patterns that can take for ever:
	maxBackText = 16 << 10              // characters of the text
	maxBackTime = 50 * time.Millisecond // of one look at it; the clock behind it is a tenth of a second coarse
	maxBackSum  = 250 * time.Millisecond
)

var errPattern = errors.New("has a pattern that callgate cannot read")

// A pattern is a regular expression of a schema. Go's engine, which never takes
// long, judges by those that it can read. Those with a look ahead, a back reference
// or an escape of JavaScript's are for an engine that tries, and is stopped when it
// takes too long.
type pattern struct {
	text string
	re   *regexp.Regexp  // nil: back judges
	back *regexp2.Regexp // as JavaScript reads it
	size int             // of re's program; of back it is time that is counted
	of   *referee        // whose time back takes
}

func newPattern(text string, of *referee) (*pattern, error) {
	p := &pattern{text: text, of: of, size: 1}
	if size := programSize(text); size > 0 {
		p.size = size
		if re, err := regexp.Compile(text); err == nil {
			p.re = re
			return p, nil
		}
	}
	back, err := regexp2.Compile(text, regexp2.ECMAScript|regexp2.Unicode)
	if err != nil {
		return nil, errPattern
	}
	back.MatchTimeout = maxBackTime
	p.back = back
	return p, nil
}

// programSize is how large Go's program of a pattern is, 0 if there is none.
func programSize(text string) int {
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return 0
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return 0
	}
	return len(program.Inst)
}

// MatchString implements [jsonschema.Regexp]. It panics with errFuel where it would
// take too long.
func (p *pattern) MatchString(s string) bool {
	if p.re != nil {
		return p.re.MatchString(s)
	}
	if utf8.RuneCountInString(s) > maxBackText {
		panic(errFuel)
	}
	began := time.Now()
	ok, err := p.back.MatchString(s)
	if p.of.took += time.Since(began); err != nil || p.of.took > maxBackSum {
		panic(errFuel)
	}
	return ok
}

// String implements [fmt.Stringer].
func (p *pattern) String() string { return p.text }
