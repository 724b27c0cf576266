package identity

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Verify says who presents token for route, the path that is called. It is
// the only way in: whatever is not proven here is refused, with a [Refusal] that
// says why.
func (a *Authority) Verify(ctx context.Context, token, route string) (Principal, error) {
	v, agent, err := a.present(ctx, token)
	proof := proofOf(ctx)
	switch {
	case err != nil:
		return Principal{}, err
	case proof.wrong != nil:
		return Principal{}, proof.wrong
	case !covers(v.path, route):
		return Principal{}, errAudience
	case v.confirm != confirmation{} && !proof.of(v.confirm):
		return Principal{}, errUnproven
	case agent.DPoP && v.confirm == confirmation{}:
		return Principal{}, errUnbound
	}
	return v.principal(agent), nil
}

// principal is who presents v, whose acting agent is agent.
func (v *verified) principal(agent *Agent) Principal {
	p := v.says
	p.Tenant, p.Roles, p.Owner, p.Within = agent.Tenant, agent.Roles, agent.Owner, v.within()
	p.User = agent.Owner
	if len(p.Actors) > 0 {
		p.Above, p.User = v.above(len(p.Actors)), v.person()
	}
	return p
}

// person is the human at the root of a chain, or who answers for the agent there.
func (v *verified) person() string {
	if strings.HasPrefix(v.says.Subject, "user:") {
		return v.says.Subject
	}
	if agent := v.chain[len(v.chain)-1].place.agent.Load(); agent != nil {
		return agent.Owner
	}
	return ""
}

// present is what token says, and its acting agent, if it holds now.
func (a *Authority) present(ctx context.Context, token string) (*verified, *Agent, error) {
	v := a.seen.find(token)
	if v == nil {
		one, err, _ := a.flight.Do(token, func() (any, error) { return a.prove(context.WithoutCancel(ctx), token) })
		if err != nil {
			return nil, nil, err
		}
		v = one.(*verified)
	}
	agent, err := a.stands(v)
	return v, agent, err
}

// A Proof is what whoever presents a token has shown to hold, besides it: see
// [WithProof].
type Proof struct {
	Thumbprint  string // of the key of a DPoP proof for this request and token
	Certificate string // of the client's certificate on this connection

	wrong error  // with a proof that was sent
	id    string // jti of one that is not used up yet
}

type proofKey struct{}

// WithProof is ctx for a request whose client has shown proof.
func WithProof(ctx context.Context, proof Proof) context.Context {
	return context.WithValue(ctx, proofKey{}, proof)
}

func proofOf(ctx context.Context) Proof {
	proof, _ := ctx.Value(proofKey{}).(Proof)
	return proof
}

// of says whether p shows all that a token is bound to.
func (p Proof) of(c confirmation) bool {
	return (c.Thumbprint == "" || c.Thumbprint == p.Thumbprint) && (c.Certificate == "" || c.Certificate == p.Certificate)
}

// stands says whether what was proven once still holds, and is the acting agent: all
// of its chain are known and active, and nothing of it was revoked.
func (a *Authority) stands(v *verified) (*Agent, error) {
	at := a.cfg.Now()
	if !at.Before(v.says.Expires.Add(leeway)) {
		return nil, errExpired
	}
	if v.key.gone.Load() {
		return nil, errForeign
	}
	if err := a.unrevoked(v); err != nil {
		return nil, err
	}
	var acting *Agent
	for i := range v.chain {
		agent := v.chain[i].place.agent.Load()
		if agent == nil {
			return nil, errUnknown
		}
		if err := agent.halted(at); err != nil {
			return nil, err
		}
		switch {
		case agent.Epoch != v.chain[i].epoch:
			return nil, errEnded
		case i == 0:
			acting = agent
		}
	}
	if v.user != nil {
		if u := v.user.user.Load(); u != nil && u.Status != Active {
			return nil, errDismissed
		}
	}
	v.chain[0].place.mark(at)
	return acting, nil
}

// unrevoked looks at the revocations, if there are any that v was not held to yet.
func (a *Authority) unrevoked(v *verified) error {
	r := a.cfg.Revocations
	if r.Stale() {
		return errStale
	}
	times := r.times.Load() + 1
	if v.checked.Load() == times {
		return nil
	}
	if r.Ended(RevokedToken, v.says.TokenID) || r.Ended(RevokedChain, v.says.Txn) || v.says.Run != "" && r.Ended(RevokedRun, v.says.Run) ||
		slices.ContainsFunc(v.hops, func(h Hop) bool { return r.Ended(RevokedGrant, h.Grant) }) {
		return errWithdrawn
	}
	v.checked.Store(times)
	return nil
}

// above is what those may be taken for in whose name the acting agent acts: as many
// as there are.
func (v *verified) above(n int) [][]string {
	list := make([][]string, n)
	for i := 1; i < len(v.chain) && i <= n; i++ { // the last may be a human, who has no place
		if agent := v.chain[i].place.agent.Load(); agent != nil {
			list[i-1] = agent.Roles
		}
	}
	if v.user != nil {
		if u := v.user.user.Load(); u != nil {
			list[n-1] = u.Groups
		}
	}
	return list
}

// within is what the agents of the chain are kept to: nothing, which costs nothing,
// unless one is.
func (v *verified) within() (all []Within) {
	for i := range v.chain {
		if agent := v.chain[i].place.agent.Load(); agent != nil && (len(agent.Models) > 0 || len(agent.Servers) > 0) {
			all = append(all, Within{agent.Models, agent.Servers})
		}
	}
	return all
}

// prove checks what does not change as long as the token lives, and keeps it.
func (a *Authority) prove(ctx context.Context, token string) (*verified, error) {
	c, err := a.read(token)
	if err != nil {
		return nil, err
	}
	v := &verified{
		says: Principal{
			Subject: c.Subject, Actors: c.chain(), Client: c.Client, TokenID: c.ID, Grant: c.Grant, Txn: c.Txn, Run: c.Run,
			Expires: time.Unix(c.Expires, 0),
		},
		path: c.path, scope: c.Scope, key: c.key,
	}
	if c.Confirm != nil {
		v.confirm = *c.Confirm
		v.says.Bound = ByProof
		if c.Confirm.Thumbprint == "" {
			v.says.Bound = ByCertificate
		}
	}
	if strings.HasPrefix(c.Subject, "user:") {
		v.user = a.registry.people.seat(c.Subject)
	}
	if err := a.chained(ctx, v, c); err != nil {
		return nil, err
	}
	a.seen.keep(strings.Clone(token), v, a.cfg.Now())
	return v, nil
}

// chained finds who is in the chain of a token, by the record of its grant.
func (a *Authority) chained(ctx context.Context, v *verified, c *claims) error {
	acting := Agent{Tenant: c.Tenant, Name: strings.TrimPrefix(c.acting(), "agent:")}
	if a.registry.place(acting.Name) == nil {
		return errUnknown
	}
	client := acting.Name
	if c.Actor == nil && c.Grant == rootID(&acting) { // by being registered, and nothing else
		if c.Scope != "" || c.Run != "" || c.detailed {
			return errNoGrant
		}
		v.hops, v.deepest = []Hop{{Agent: c.acting(), Grant: c.Grant, Epoch: c.Epoch}}, maxDepth
	} else {
		g, err := a.grants.find(ctx, c.Grant)
		if err != nil {
			a.cfg.Logger.ErrorContext(ctx, "a token is refused because its grant cannot be read", "grant", c.Grant, "error", err)
			return errStale
		}
		if g == nil || g.Subject != c.Subject || g.Txn != c.Txn || g.Run != c.Run || g.Path != c.path || g.Scope != c.Scope || !slices.Equal(g.actors(), c.chain()) ||
			!a.cfg.Now().Before(g.NotAfter.Add(leeway)) {
			return errNoGrant
		}
		if g.Client != "" {
			client = g.Client
		}
		v.hops, v.deepest = g.Hops, g.MaxDepth
	}
	if c.Client != client {
		return errIncomplete
	}
	for i, h := range v.hops {
		p := a.registry.place(strings.TrimPrefix(h.Agent, "agent:"))
		if p == nil {
			return errUnknown
		}
		epoch := h.Epoch
		if i == 0 {
			epoch = c.Epoch
		}
		v.chain = append(v.chain, member{p, epoch})
		if len(h.Caps) > 0 || len(h.Scope) > 0 {
			v.says.Hops = append(v.says.Hops, h)
		}
	}
	return nil
}

// read is the claims of an access token of ours, its signature and times checked.
func (a *Authority) read(token string) (*claims, error) {
	h, err := readHeader(token)
	if err != nil {
		return nil, err
	}
	k := a.keys.find(h.kid)
	if k == nil {
		return nil, errForeign
	}
	if h.alg != k.method.Alg() {
		return nil, errAlg
	}
	c := &claims{base: a.base, key: k}
	hash := hashOf(token)
	if a.proven.by(k, hash) {
		if _, _, err = a.parser.ParseUnverified(token, c); err == nil {
			err = a.validator.Validate(c)
		}
	} else if _, err = a.parser.ParseWithClaims(token, c, func(t *jwt.Token) (any, error) {
		if t.Method != k.method { // the library read the same header as we did
			return nil, errAlg
		}
		return k.private.Public(), nil
	}); err == nil {
		a.proven.keep(hash, k, c.Expires, a.cfg.Now())
	}
	if err != nil {
		return nil, refusal(err)
	}
	return c, nil
}
