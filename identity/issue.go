package identity

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// MintOptions are what a token may be asked to be. The zero MintOptions ask for
// one of the default life that is good for all of the gate.
type MintOptions struct {
	TTL      time.Duration // up to the agent's MaxTTL; 0 is the default, or MaxTTL if that is less
	Scope    string        // mcp:<server> and model:<provider>; "" for what policy allows
	Caps     []Cap         // no more than these; nil for what policy allows
	Audience string        // the gate's URL, or one below it: the only resource that the token is for
	Run      string        // the only run that it is for
	By       string        // who asked, for the record; default "admin"

	Thumbprint  string // of the DPoP key that it is bound to; "" for none
	Certificate string // of the client's certificate that it is bound to; "" for none
}

// A Token is an access token as it was issued.
type Token struct {
	Access   Secret // the token itself
	ID       string // its jti
	Audience string // the resource that it is for
	Scope    string
	Caps     []Cap // that the acting agent was given
	Grant    string
	Bound    bool // by DPoP
	TTL      time.Duration
	Expires  time.Time
}

// Mint issues a token to the agent of that name, which acts for itself. The error is
// [ErrUnknown], [ErrRevoked], [ErrEnded], [ErrInvalid], or for a scope or audience [ErrScope] or
// [ErrTarget].
func (a *Authority) Mint(ctx context.Context, name string, o MintOptions) (Token, error) {
	agent, err := a.active(name)
	if err != nil {
		return Token{}, err
	}
	g, err := a.root(agent, agent.subject(), o)
	if err != nil {
		return Token{}, err
	}
	if o.TTL > agent.MaxTTL { // of a grant for longer, tokens would be renewed
		return Token{}, invalid("a token of agent %s lives for at most %v, so not for %v", name, agent.MaxTTL, o.TTL)
	}
	if ttl := a.life(agent, o.TTL); len(o.Caps) > 0 || g.Scope != "" || g.Run != "" {
		g.ID = newGrantID()
		g.Hops[0].Grant = g.ID
		if err := a.give(ctx, g, ttl+leeway, o.By); err != nil {
			return Token{}, err
		}
	}
	return a.issue(agent, g, o)
}

// root is what agent is given first on behalf of subject, which may be itself.
func (a *Authority) root(agent Agent, subject string, o MintOptions) (*Grant, error) {
	path, err := a.target(o.Audience)
	if err != nil {
		return nil, err
	}
	scope, err := ScopeCaps(o.Scope)
	if err != nil {
		return nil, err
	}
	if len(o.Run) > maxResource || strings.ContainsFunc(o.Run, func(c rune) bool { return !wordly(c) }) {
		return nil, invalid("run %.80q: write a word of letters, digits, - _ .", o.Run)
	}
	id := rootID(&agent)
	return &Grant{
		ID: id, Tenant: agent.Tenant, Subject: subject, Txn: randomID(), Path: path, Scope: strings.Join(strings.Fields(o.Scope), " "), Run: o.Run,
		Hops:     []Hop{{Agent: agent.subject(), Grant: id, Epoch: agent.Epoch, Caps: o.Caps, Scope: scope}},
		MaxDepth: depthOf(o.Caps, maxDepth),
	}, nil
}

// give puts g in force for as long as life: on record, and then in the store.
func (a *Authority) give(ctx context.Context, g *Grant, life time.Duration, by string) error {
	g.Created = a.cfg.Now().UTC().Truncate(time.Microsecond)
	g.NotAfter = g.Created.Add(life)
	g.Hops[0].Life = life
	state := fmt.Sprintf("for %s, txn %s, until %s", g.Subject, g.Txn, g.NotAfter.Format(time.RFC3339))
	if len(g.Hops) > 1 {
		state += ", from " + g.Hops[1].Grant
	}
	if len(g.Hops[0].Caps) > 0 {
		caps, _ := json.Marshal(g.Hops[0].Caps) // texts and numbers
		state += ", no more than " + string(caps)
	}
	if by == "" {
		by = "admin"
	}
	if err := a.cfg.Record("grant.given", by, g.acting(), g.ID+" "+state); err != nil {
		return fmt.Errorf("nothing is delegated to %s, since that could not be recorded: %w", g.acting(), err)
	}
	return a.grants.put(ctx, g)
}

// active is the agent of that name, if it may get tokens.
func (a *Authority) active(name string) (Agent, error) {
	agent, ok := a.registry.Get(name)
	if !ok {
		return Agent{}, unknown(name)
	}
	return agent, agent.tokenless(a.cfg.Now())
}

// life is how long a token lives for which ttl was asked.
func (a *Authority) life(agent Agent, ttl time.Duration) time.Duration {
	if ttl == 0 {
		ttl = min(a.cfg.TTL, agent.MaxTTL)
	}
	return ttl.Truncate(time.Second)
}

// issue signs a token of g for agent, which acts by it. It does not outlive g.
func (a *Authority) issue(agent Agent, g *Grant, o MintOptions) (Token, error) {
	now := a.cfg.Now()
	ttl := a.life(agent, o.TTL)
	if !g.NotAfter.IsZero() {
		ttl = min(ttl, g.NotAfter.Sub(now).Truncate(time.Second))
	}
	if !agent.Expires.IsZero() {
		ttl = min(ttl, agent.Expires.Sub(now).Truncate(time.Second))
	}
	switch {
	case agent.DPoP && o.Thumbprint == "" && o.Certificate == "":
		return Token{}, &mistake{ErrInvalid, string(errUnbound)}
	case o.TTL < 0:
		return Token{}, invalid("a token cannot live for %v", o.TTL)
	case ttl <= 0:
		return Token{}, invalid("a token lives for whole seconds; ask for at least 1s")
	}
	at := now.Unix()
	c := &claims{
		Issuer: a.cfg.Issuer, Subject: g.Subject, Profile: profileOf(g.Subject), Audience: []string{a.audience(g.Path)}, Client: agent.Name,
		Expires: at + int64(ttl/time.Second), Issued: at, From: at,
		ID: randomID(), Txn: g.Txn, Scope: g.Scope, Run: g.Run, Grant: g.ID, Tenant: agent.Tenant, Epoch: agent.Epoch,
	}
	if g.Client != "" {
		c.Client = g.Client
	}
	actors := g.actors()
	for i := len(actors) - 1; i >= 0; i-- {
		c.Actor = &actor{a.cfg.Issuer, actors[i], agentSubs, c.Actor}
	}
	if caps := g.Hops[0].Caps; len(caps) > 0 {
		if doc, err := json.Marshal(caps); err == nil && len(doc) <= maxDetails { // else only the grant tells: a token goes with each request
			c.Details = doc
		}
	}
	if o.Thumbprint != "" || o.Certificate != "" {
		c.Confirm = &confirmation{o.Thumbprint, o.Certificate}
	}
	text, err := a.keys.ring.Load().active.sign(tokenType, c)
	if err != nil {
		return Token{}, fmt.Errorf("sign a token for %s: %w", c.Subject, err)
	}
	if o.By == "" {
		o.By = "admin"
	}
	if err := a.cfg.Record("token.issued", o.By, g.acting(), fmt.Sprintf("jti %s, for %v, at %s, of %s", c.ID, ttl, c.Audience[0], g.ID)); err != nil {
		return Token{}, fmt.Errorf("a token of %s is not issued, since that could not be recorded: %w", g.acting(), err)
	}
	return Token{
		Access: NewSecret(text), ID: c.ID, Audience: c.Audience[0], Scope: g.Scope, Caps: g.Hops[0].Caps, Grant: g.ID,
		Bound: o.Thumbprint != "", TTL: ttl, Expires: time.Unix(c.Expires, 0),
	}, nil
}

const maxDetails = 1 << 10 // bytes of authorization_details in a token
