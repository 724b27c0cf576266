package firewall

import (
	"context"
	"errors"
	"strings"

	"callgate/identity"
)

// Lend is the value of a header that carries a credential to the target of the call,
// on behalf of its caller, and what it was made of. Which credential it is stands in
// the record of the call's end.
func (c *Call) Lend(ctx context.Context, h *identity.Header) ([]string, identity.Loan, error) {
	value, loan, err := h.Use(ctx, &c.Caller)
	if err != nil {
		return nil, loan, Withheld(ctx, err)
	}
	c.Lent(loan)
	return value, loan, nil
}

// Lent notes for the record that a credential was used for the call.
func (c *Call) Lent(loan identity.Loan) {
	switch {
	case loan.Name == "" || loan.Name == c.credential:
	case c.credential == "":
		c.credential = loan.Name
	case !strings.Contains(" "+c.credential+" ", " "+loan.Name+" "):
		c.credential += " " + loan.Name
	}
}

// Withheld makes the error of a credential that is not lent one that the agent may
// see.
func Withheld(ctx context.Context, err error) error {
	var w *identity.Withheld
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !errors.As(err, &w):
		return &Error{Code: Unavailable, Reason: "the credential of the target cannot be had now", Err: err}
	case w.Denied:
		return &Error{Code: Denied, Rule: "credentials", Reason: w.Reason, Err: err}
	}
	return &Error{Code: Unavailable, Reason: w.Reason, Err: err}
}
