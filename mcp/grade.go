package mcp

import "fmt"

// A Grade is how grave a change or a finding is. The zero Grade is Low.
type Grade uint8

// Grades.
const (
	Low    Grade = iota // worth a look
	Medium              // what the model reads, or may send, is another
	High                // what the tool is taken for is another, or somebody hides something
)

var grades = [...]string{"low", "medium", "high"}

func (g Grade) String() string { return grades[g] }

// MarshalText implements [encoding.TextMarshaler].
func (g Grade) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (g *Grade) UnmarshalText(text []byte) error {
	for i, name := range grades {
		if string(text) == name {
			*g = Grade(i)
			return nil
		}
	}
	return fmt.Errorf("%q is no grade", text)
}
