package identity

import (
	"context"
	"errors"
	"sync/atomic"
)

// A Credential is what callgate shows to a target: a key, a password, a token. Its
// value is asked for when a request is sent and kept nowhere on the way. A [Secret]
// is a Credential without a name, which everybody may use.
type Credential interface {
	// Use lends the value for one request on behalf of who; nil is callgate itself.
	// The error is a [*Withheld].
	Use(ctx context.Context, who *Principal) (Loan, error)
}

// A Loan is the value of a credential for one request.
type Loan struct {
	Value Secret
	Name  string // what the record calls it: secret:openai@3; "" for one without a name

	raw  Secret // Value without what was put in front of it
	from lender // nil where asking again makes no sense
}

// A lender says whether it has another value by now than one that was refused.
type lender interface {
	renewed(ctx context.Context, refused Secret) bool
}

// Refused says that the target did not take the value, and returns whether there
// is another one by now, so that it is worth to ask once more.
func (l Loan) Refused(ctx context.Context) bool {
	return l.from != nil && l.from.renewed(ctx, l.raw)
}

// Use implements [Credential].
func (s Secret) Use(context.Context, *Principal) (Loan, error) { return Loan{Value: s}, nil }

// A Withheld is why a credential is not lent.
type Withheld struct {
	Reason string // one sentence that the agent may see
	Denied bool   // who asks may not use it; else it cannot be had now
	Err    error  // the cause, for the log and the record; nil for none
}

func (w *Withheld) Error() string {
	if w.Err != nil {
		return w.Reason + ": " + w.Err.Error()
	}
	return w.Reason
}

func (w *Withheld) Unwrap() error { return w.Err }

// A Header is a credential as the value of an HTTP header. It makes the header once
// for each value, so that sending it costs nothing. It is used by many goroutines
// at once.
type Header struct {
	of     Credential
	before string
	made   atomic.Pointer[madeHeader]
}

type madeHeader struct {
	of    Secret
	value []string
}

// NewHeader returns of as a header, with before, such as "Bearer ", in front of it.
func NewHeader(of Credential, before string) *Header { return &Header{of: of, before: before} }

// Use is the header's value for one request on behalf of who, which must not be
// changed, and the loan that it is made of. There is none where the credential is
// empty. The error is a [*Withheld].
func (h *Header) Use(ctx context.Context, who *Principal) ([]string, Loan, error) {
	loan, err := h.of.Use(ctx, who)
	if err != nil {
		return nil, loan, err
	}
	if m := h.made.Load(); m != nil && m.of == loan.Value {
		return m.value, loan, nil
	}
	text := loan.Value.Reveal()
	if text == "" {
		return nil, loan, nil
	}
	if !fitsHeader(text) {
		return nil, loan, &Withheld{Reason: "the credential for this target cannot be sent, since it is no text that a header can carry: its operator must mend it", Err: errors.New(loan.Name + " holds a control character")}
	}
	m := &madeHeader{loan.Value, []string{h.before + text}}
	h.made.Store(m)
	return m.value, loan, nil
}

// fitsHeader says whether a header can carry text: it has no control characters.
func fitsHeader(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// A Prefixed is a credential with a text in front of it, such as "Bearer ".
type Prefixed struct {
	of     Credential
	before string
	made   atomic.Pointer[[2]Secret] // what it was made of, and what came of it
}

// NewPrefixed returns of with before in front of it.
func NewPrefixed(of Credential, before string) *Prefixed {
	return &Prefixed{of: of, before: before}
}

// Use implements [Credential].
func (p *Prefixed) Use(ctx context.Context, who *Principal) (Loan, error) {
	loan, err := p.of.Use(ctx, who)
	if err != nil {
		return loan, err
	}
	made := p.made.Load()
	if made == nil || made[0] != loan.Value {
		made = &[2]Secret{loan.Value, NewSecret(p.before + loan.Value.Reveal())}
		p.made.Store(made)
	}
	loan.Value = made[1]
	return loan, nil
}
