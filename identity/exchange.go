package identity

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

const (
	accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
	jwtType         = "urn:ietf:params:oauth:token-type:jwt"
)

// Exchange gives the agent child a token that acts for whoever presents parent, an
// access token, with no more rights than that has (RFC 8693). What is asked for must
// be within them; what is not asked for is as the parent has it. The error is as that
// of [Authority.Mint], or a [Refusal] of parent.
func (a *Authority) Exchange(ctx context.Context, parent, child string, o MintOptions) (Token, error) {
	v, from, err := a.present(ctx, parent)
	if err != nil {
		return Token{}, err
	}
	agent, err := a.active(child)
	if err != nil {
		return Token{}, err
	}
	if agent.subject() != v.hops[0].Agent { // who narrows its own rights asks nobody
		p := v.principal(from)
		if err := a.cfg.Delegate(ctx, &p, agent.subject()); err != nil {
			return Token{}, &mistake{ErrInvalid, fmt.Sprintf("%s may not have %s act for it: %v", v.hops[0].Agent, agent.subject(), err)}
		}
	}
	g, err := a.narrower(v, agent, o)
	if err != nil {
		return Token{}, err
	}
	if err := a.give(ctx, g, v.says.Expires.Sub(a.cfg.Now()), o.By); err != nil {
		return Token{}, err
	}
	return a.issue(agent, g, o)
}

// narrower is what agent is given of v, if that is no more than v.
func (a *Authority) narrower(v *verified, agent Agent, o MintOptions) (*Grant, error) {
	if v.confirm != (confirmation{}) && o.Thumbprint == "" && o.Certificate == "" {
		return nil, invalid("the subject_token is bound to a key, and so must be what comes of it: send a DPoP proof of the key of whom it is for")
	}
	if len(v.hops) > v.deepest {
		return nil, invalid("the right was delegated %d times already, which is as often as it may be", len(v.hops)-1)
	}
	g, err := a.root(agent, v.says.Subject, o)
	if err != nil {
		return nil, err
	}
	switch {
	case len(o.Caps) > 0 && slices.ContainsFunc(v.hops, func(h Hop) bool { return !covered(o.Caps, h.Caps) }):
		return nil, &mistake{ErrScope, "authorization_details ask for more than the subject_token allows: each must be within one of its own"}
	case o.Scope == "":
		g.Scope = v.scope
	case !subset(g.Scope, v.scope):
		return nil, &mistake{ErrScope, "scope asks for more than the subject_token has"}
	}
	switch {
	case o.Audience == "":
		g.Path = v.path
	case !covers(v.path, g.Path):
		return nil, &mistake{ErrTarget, "resource is none that the subject_token is for"}
	}
	switch {
	case o.Run == "":
		g.Run = v.says.Run
	case v.says.Run != "" && o.Run != v.says.Run:
		return nil, invalid("the subject_token is for another run")
	}
	g.ID, g.Txn = newGrantID(), v.says.Txn
	g.Hops[0].Grant = g.ID
	g.MaxDepth = min(v.deepest, len(v.hops)+depthOf(o.Caps, maxDepth))
	g.Hops = append(g.Hops, v.hops...)
	return g, nil
}

// subset says whether all words of narrow are among those of wide, or wide is all.
func subset(narrow, wide string) bool {
	all := strings.Fields(wide)
	return wide == "" || !slices.ContainsFunc(strings.Fields(narrow), func(w string) bool { return !slices.Contains(all, w) })
}

// exchanged answers a request for token exchange. Who asks is the one that is to act:
// by its credentials as a client, or by an actor_token of its own.
func (a *Authority) exchanged(r *http.Request, form map[string]string) (Token, error) {
	for name, want := range map[string]string{"subject_token_type": form["subject_token_type"], "actor_token_type": form["actor_token_type"], "requested_token_type": form["requested_token_type"]} {
		if want != "" && want != accessTokenType && want != jwtType {
			return Token{}, badRequest("invalid_request", "%s: there are only access tokens: %s", name, accessTokenType)
		}
	}
	if form["subject_token"] == "" || form["subject_token_type"] == "" {
		return Token{}, badRequest("invalid_request", "subject_token and subject_token_type are missing: send the access token of whom you will act for")
	}
	child, err := a.actorOf(r, form)
	if err != nil {
		return Token{}, err
	}
	o, err := a.asked(r, form)
	if err != nil {
		return Token{}, err
	}
	o.By = "agent:" + child
	t, err := a.Exchange(r.Context(), form["subject_token"], child, o)
	if err != nil {
		_ = a.cfg.Record("token.refused", o.By, o.By, "exchange: "+clipped(err.Error())) // it is refused in any case
	}
	if why, ok := err.(Refusal); ok {
		return t, badRequest("invalid_request", "subject_token: %s", string(why))
	}
	return t, explained(err)
}

// actorOf is the name of the agent that asks to act. An actor_token must be the
// agent's own, not one by which it acts for somebody: chains are not spliced.
func (a *Authority) actorOf(r *http.Request, form map[string]string) (string, error) {
	token := form["actor_token"]
	if token == "" {
		return a.client(r, form)
	}
	if form["actor_token_type"] == "" {
		return "", badRequest("invalid_request", "actor_token_type is missing: %s", accessTokenType)
	}
	v, _, err := a.present(r.Context(), token)
	if err == nil && v.confirm != (confirmation{}) && !proofOf(r.Context()).of(v.confirm) {
		err = errUnproven
	}
	if err != nil {
		return "", badRequest("invalid_request", "actor_token: %v", err)
	}
	name := strings.TrimPrefix(v.hops[0].Agent, "agent:")
	if len(v.says.Actors) > 0 {
		_ = a.cfg.Record("token.refused", v.hops[0].Agent, v.hops[0].Agent, "exchange: its actor_token acts for "+v.says.Subject)
		return "", badRequest("invalid_request", "actor_token: it acts for %s; send one by which %s acts for itself", v.says.Subject, v.hops[0].Agent)
	}
	if r.Header.Get("Authorization") != "" || form["client_secret"] != "" || form["client_assertion"] != "" {
		client, err := a.client(r, form)
		if err != nil {
			return "", err
		}
		if client != name {
			return "", badRequest("invalid_request", "actor_token is not of the client that authenticates")
		}
	}
	return name, nil
}

// clipped is s, short enough for a record.
func clipped(s string) string { return s[:min(len(s), maxResource)] }
