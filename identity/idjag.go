package identity

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	jagType    = "oauth-id-jag+jwt"
	jagProfile = "urn:ietf:params:oauth:grant-profile:id-jag"
	longestJAG = time.Hour // from now until it expires
)

const (
	errJAGClient   Refusal = "the client_id in the ID-JAG is not the client that authenticates"
	errJAGResource Refusal = "the resource in the ID-JAG is not this gate, or one below it"
)

// bridged issues a token to a client that acts for a user, whom an identity provider
// vouches for by j, an ID-JAG (draft-ietf-oauth-identity-assertion-authz-grant).
func (a *Authority) bridged(r *http.Request, form map[string]string, j *foreign) (Token, error) {
	name, err := a.client(r, form)
	if err != nil {
		return Token{}, err
	}
	o, err := a.asked(r, form)
	if err != nil {
		return Token{}, err
	}
	address, at := origin(r.RemoteAddr), a.cfg.Now()
	o.By = "agent:" + name
	if err := a.vouchedFor(r.Context(), j, name, &o, at); err != nil {
		return Token{}, a.unproven(name, name, address, "assertion", err, badGrant)
	}
	t, err := a.actFor(r.Context(), j, name, o)
	return t, a.unissued(o.By, "assertion", err)
}

// vouchedFor says whether j lets the client name act for j's subject, and narrows o to
// what j is for.
func (a *Authority) vouchedFor(ctx context.Context, j *foreign, name string, o *MintOptions, at time.Time) error {
	_, err := a.federated(ctx, j, at, func(f *Federation) bool { return f.Users })
	switch {
	case err != nil:
		return err
	case j.claim("client_id") != name:
		return errJAGClient
	case j.subject == "" || j.issued == 0:
		return errJWTIncomplete
	case time.Unix(j.expires, 0).Sub(at) > longestJAG+leeway:
		return errJWTLong
	}
	if doc, is := j.more["resource"]; is {
		resource := scalar(doc)
		if resource == "" {
			var list []string
			if json.Unmarshal(doc, &list) != nil || len(list) != 1 {
				return errJAGResource
			}
			resource = list[0]
		}
		path, err := a.target(resource)
		if err != nil {
			return errJAGResource
		}
		if o.Audience == "" {
			o.Audience = a.audience(path)
		} else if narrow, err := a.target(o.Audience); err != nil || !covers(path, narrow) {
			return Refusal("the ID-JAG is for another resource than the one that is asked for")
		}
	}
	if _, is := j.more["authorization_details"]; is {
		return Refusal("the ID-JAG has authorization_details, which are not taken from it: let the client ask for them here")
	}
	if doc, is := j.more["scope"]; is {
		scope := scalar(doc)
		if strings.TrimSpace(scope) == "" {
			return errJWTIncomplete
		}
		if o.Scope == "" {
			o.Scope = scope
		} else if !subset(o.Scope, scope) {
			return Refusal("scope asks for more than the ID-JAG has")
		}
	}
	return a.once(ctx, "id-jag", j)
}

// actFor signs the subject of j in, and issues a token by which the agent of that name
// acts for that user.
func (a *Authority) actFor(ctx context.Context, j *foreign, name string, o MintOptions) (Token, error) {
	agent, err := a.active(name)
	if err != nil {
		return Token{}, err
	}
	if _, err := a.root(agent, agent.subject(), o); err != nil { // before anything is written
		return Token{}, err
	}
	email := ""
	if j.claim("email_verified") == "true" {
		email = j.claim("email")
	}
	var groups []string
	if doc, is := j.more["groups"]; is && json.Unmarshal(doc, &groups) != nil {
		return Token{}, invalid("the groups of the ID-JAG are no list of texts")
	}
	u, err := a.registry.SignIn(ctx, j.issuer, j.subject, email, slices.Clone(groups))
	if errors.Is(err, ErrEnded) {
		return Token{}, badGrant(err.Error())
	}
	if err != nil {
		return Token{}, err
	}
	g, err := a.root(agent, u.Name, o)
	if err != nil {
		return Token{}, err
	}
	g.ID = newGrantID()
	g.Hops[0].Grant = g.ID
	if err := a.give(ctx, g, a.life(agent, o.TTL)+leeway, o.By); err != nil {
		return Token{}, err
	}
	return a.issue(agent, g, o)
}
