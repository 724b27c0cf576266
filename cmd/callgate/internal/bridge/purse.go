package bridge

import (
	"context"
	"errors"
	"time"

	"callgate/identity"
)

// A Token is an access token for the gate.
type Token struct {
	Access  identity.Secret
	Expires time.Time // zero: not known, and there is no other
}

// ErrRefused is in the error of a Mint that will not end otherwise when it is
// repeated: the gate knows who asks, and says no.
var ErrRefused = errors.New("refused")

const (
	mintTime = 15 * time.Second // for one token
	maxEarly = 30 * time.Second // that a token is renewed before it expires; less for one that lives for less than 150 s
)

// A purse holds the token of the moment.
type purse struct {
	mint func(context.Context) (Token, error)
	turn chan struct{} // taken by whoever looks into the purse

	have Token
	due  time.Time // when another is to take its place
}

func newPurse(mint func(context.Context) (Token, error)) *purse {
	return &purse{mint: mint, turn: make(chan struct{}, 1)}
}

// token is an access token that is good for a while yet, and is not the one that
// the gate refused. "" is none.
func (p *purse) token(ctx context.Context, refused string) (string, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	now := time.Now()
	have := p.have.Access.Reveal()
	if have != "" && have != refused && (p.have.Expires.IsZero() || now.Before(p.due)) {
		return have, nil
	}
	ctx, cancel := context.WithTimeout(ctx, mintTime)
	defer cancel()
	t, err := p.mint(ctx)
	if err != nil {
		if have != "" && have != refused && now.Before(p.have.Expires) {
			return have, nil // the gate may be back before it expires
		}
		return "", err
	}
	if p.have = t; !t.Expires.IsZero() {
		p.due = t.Expires.Add(-min(maxEarly, t.Expires.Sub(now)/5))
	}
	if fresh := t.Access.Reveal(); fresh != refused {
		return fresh, nil
	}
	return "", nil
}
