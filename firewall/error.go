package firewall

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Code is the kind of failure of a call. Each front door maps it to its wire.
type Code uint8

const (
	Internal        Code = iota // a fault of ours
	Unauthenticated             // no token, or one that is not valid here
	Denied                      // policy or a guard said no
	Pending                     // a person must approve first
	Exhausted                   // a limit or budget is used up
	Invalid                     // the request is malformed or contradicts itself
	NotFound                    // no such server, tool, model…
	Unavailable                 // the target, or the record, cannot be reached
	Timeout                     // the target did not answer in time
	Canceled                    // the agent hung up
)

var codes = [...]string{"internal", "unauthenticated", "denied", "pending", "exhausted", "invalid", "not_found", "unavailable", "timeout", "canceled"}

func (c Code) String() string { return codes[c] }

// An Error is why a call failed, in words the agent may see.
type Error struct {
	Code     Code
	Reason   string        // one sentence that helps the agent act; no secret, no prompt, no upstream body
	Rule     string        // rule or guard that refused, if one did
	Call     string        // id of the call, once it has one
	Approval string        // id of the approval that people have to decide about, or have
	Retry    time.Duration // when trying again may help; 0 = unknown
	Err      error         // the cause, for the log and the record
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Reason, e.Err)
	}
	return e.Code.String() + ": " + e.Reason
}

func (e *Error) Unwrap() error { return e.Err }

// Refuse makes an [Error] of code whose reason is formatted as by [fmt.Sprintf].
func Refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Reason: fmt.Sprintf(format, args...)}
}

// asError makes any error one that the agent may see. What is not an [Error]
// already is our own fault and keeps its text to itself.
func asError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		c := *e // a copy: the call's id is put in, and the error may be shared
		return &c
	case errors.Is(err, context.Canceled):
		return &Error{Code: Canceled, Reason: "the client closed the request", Err: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: Timeout, Reason: "the call took too long", Err: err}
	}
	return &Error{Code: Internal, Reason: "callgate failed; the call's record has the cause", Err: err}
}
