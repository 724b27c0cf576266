package identity

import (
	"net/http"
	"slices"
	"strings"
)

// introspector is the role of agents that may ask about tokens of others.
const introspector = "role:introspect"

// introspect is POST /oauth/introspect (RFC 7662). Whoever asks must be the token's
// own client, or have [introspector]; to all others no token is active.
func (a *Authority) introspect(w http.ResponseWriter, r *http.Request) {
	form, client, err := a.asking(w, r)
	if err != nil {
		a.failed(w, r, err)
		return
	}
	told := map[string]any{"active": false}
	agent, _ := a.registry.Get(client)
	v, _, err := a.present(r.Context(), form["token"])
	if err == nil && (v.hops[0].Agent == agent.subject() || slices.Contains(agent.Roles, introspector)) {
		if c, err := a.read(form["token"]); err == nil {
			told = map[string]any{
				"active": true, "iss": c.Issuer, "sub": c.Subject, "sub_profile": c.Profile, "aud": c.Audience, "client_id": c.Client, "exp": c.Expires, "iat": c.Issued, "nbf": c.From,
				"jti": c.ID, "txn": c.Txn, "tenant": c.Tenant, "cg_g": c.Grant, "token_type": "Bearer",
			}
			for name, v := range map[string]any{"act": c.Actor, "cnf": c.Confirm} {
				if v != (*actor)(nil) && v != (*confirmation)(nil) {
					told[name] = v
				}
			}
			if c.Confirm != nil && c.Confirm.Thumbprint != "" {
				told["token_type"] = "DPoP"
			}
			if c.Scope != "" {
				told["scope"] = c.Scope
			}
			if caps := v.hops[0].Caps; len(caps) > 0 {
				told["authorization_details"] = caps
			}
		}
	}
	answer(w, http.StatusOK, told)
}

// revoke is POST /oauth/revoke (RFC 7009): it ends one access token of the client's
// own, or a refresh token and all that came with it. What is no such token is none any more, so that the answer tells nothing.
func (a *Authority) revoke(w http.ResponseWriter, r *http.Request) {
	form, err := readForm(w, r)
	done, client := false, ""
	if err == nil {
		done, err = a.withdraw(r, form)
	}
	if err == nil && !done {
		client, err = a.asks(r, form)
	}
	if err == nil && !done {
		if c, no := a.read(form["token"]); no == nil && c.acting() == "agent:"+client {
			err = a.cfg.Revocations.Revoke(r.Context(), RevokedToken, c.ID, "agent:"+client)
		}
	}
	if err != nil {
		a.failed(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

// asking is the form of a request about a token, and who asks.
func (a *Authority) asking(w http.ResponseWriter, r *http.Request) (map[string]string, string, error) {
	form, err := readForm(w, r)
	if err != nil {
		return nil, "", err
	}
	client, err := a.asks(r, form)
	return form, client, err
}

// asks is the agent that asks about a token.
func (a *Authority) asks(r *http.Request, form map[string]string) (string, error) {
	client, err := a.client(r, form)
	if err == nil && strings.TrimSpace(form["token"]) == "" {
		err = badRequest("invalid_request", "token is missing")
	}
	return client, err
}
