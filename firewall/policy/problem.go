package policy

import (
	"fmt"
	"strings"
)

// A Severity says whether a policy with a [Problem] can be put in force.
type Severity uint8

const (
	Error   Severity = iota // the policy is refused
	Warning                 // it is loaded; a row may not do what its author meant
)

func (s Severity) String() string { return [...]string{"error", "warning"}[s] }

// MarshalText is s in JSON: "error" or "warning".
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Problem is one thing that is wrong with a policy: where, and what to write
// instead.
type Problem struct {
	File     string   `json:"file"`
	Line     int      `json:"line"` // from 1
	Severity Severity `json:"severity"`
	Text     string   `json:"text"`
}

func (p Problem) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Severity, p.Text)
}

// Problems are all that is wrong with a policy, in the order of its rows. As an
// error it is one line for each.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, x := range p {
		lines[i] = x.String()
	}
	return strings.Join(lines, "\n")
}

// only is the problems of severity s.
func (p Problems) only(s Severity) Problems {
	var some Problems
	for _, x := range p {
		if x.Severity == s {
			some = append(some, x)
		}
	}
	return some
}
