package identity

import (
	"errors"
	"fmt"
)

// Errors that callers branch on. Those that wrap them say more, in words that
// whoever asked may see.
var (
	ErrInvalid = errors.New("not valid")
	ErrTaken   = errors.New("name is taken")
	ErrUnknown = errors.New("no such agent")
	ErrRevoked = errors.New("agent is revoked")
	ErrEnded   = errors.New("agent or user is not active")
	ErrScope   = errors.New("no such scope")
	ErrTarget  = errors.New("no such resource")
)

// A mistake is one of the errors above, told by a text of its own.
type mistake struct {
	kind error
	text string
}

func (m *mistake) Error() string { return m.text }
func (m *mistake) Unwrap() error { return m.kind }

func invalid(format string, args ...any) error {
	return &mistake{ErrInvalid, fmt.Sprintf(format, args...)}
}
