package identity

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	codeLife = 60 * time.Second

	byCode    = "authorization_code"
	byRefresh = "refresh_token"
)

// redeemed answers a client that comes with an authorization code. Whatever is wrong
// with a code ends it, and all that it was given for: it was in the wrong hands.
func (a *Authority) redeemed(r *http.Request, form map[string]string) (answered, error) {
	id, err := a.caller(r, form)
	if err != nil {
		return answered{}, err
	}
	if form["code"] == "" || form["code_verifier"] == "" {
		return answered{}, a.ungranted(r, id, "", "invalid_request", "code and code_verifier are needed")
	}
	v, ok, err := a.front.cfg.Vouchers.Voucher(r.Context(), hashed(form["code"]))
	if err != nil {
		return answered{}, fmt.Errorf("read a code: %w", err)
	}
	if !ok || v.Kind != codeVoucher {
		return answered{}, a.ungranted(r, id, "", "invalid_grant", "there is no such code: it may have expired")
	}
	var p promise
	if err := json.Unmarshal(v.Body, &p); err != nil {
		return answered{}, fmt.Errorf("read a code: %w", err)
	}
	first, err := a.front.cfg.Vouchers.UseVoucher(r.Context(), v.Hash, a.cfg.Now())
	if err != nil {
		return answered{}, fmt.Errorf("use a code: %w", err)
	}
	challenge := base64.RawURLEncoding.EncodeToString(sum(form["code_verifier"]))
	why := ""
	switch redirect, has := form["redirect_uri"]; {
	case !first:
		why = "the code was used before"
	case id != p.Client:
		why = "the code is another client's"
	case has && redirect != p.Redirect:
		why = "redirect_uri is not the one that the code was sent to"
	case subtle.ConstantTimeCompare([]byte(challenge), []byte(p.Challenge)) != 1:
		why = "code_verifier is not the one of the code"
	case !a.cfg.Now().Before(v.Expires):
		return answered{}, a.ungranted(r, id, p.Grant.acting(), "invalid_grant", "the code has expired: it is good for a minute")
	}
	if why != "" {
		return answered{}, a.betrayed(r, id, &p.Grant, why)
	}
	return a.fulfilled(r, id, form, p)
}

// fulfilled gives a client what a person promised it.
func (a *Authority) fulfilled(r *http.Request, id string, form map[string]string, p promise) (answered, error) {
	g := p.Grant.clone()
	o, err := a.asked(r, form)
	if err != nil {
		return answered{}, err
	}
	if err := a.asBefore(&g, o); err != nil {
		return answered{}, err
	}
	if o.Audience != "" {
		g.Path, _ = a.target(o.Audience) // asBefore has read it
	}
	agent, err := a.stillActing(&g, p.Epoch)
	if err != nil {
		return answered{}, a.ungranted(r, id, g.acting(), "invalid_grant", err.Error())
	}
	if err := a.give(r.Context(), &g, a.front.cfg.RefreshTTL, g.Subject); err != nil {
		return answered{}, err
	}
	return a.renewable(r.Context(), agent, &g, o, renewal{Grant: g.ID, Client: id, Epoch: p.Epoch, Bound: o.Thumbprint, Shown: o.Certificate})
}

// asBefore says whether o asks for no other than what g is: less is to be had by
// token exchange, more by asking the person.
func (a *Authority) asBefore(g *Grant, o MintOptions) error {
	if o.Audience != "" {
		path, err := a.target(o.Audience)
		if err != nil {
			return explained(err)
		}
		if !covers(g.Path, path) {
			return badRequest("invalid_target", "resource is none that the person allowed")
		}
	}
	if o.Scope != "" {
		asked, has := strings.Fields(o.Scope), strings.Fields(g.Scope)
		slices.Sort(asked)
		slices.Sort(has)
		if !slices.Equal(slices.Compact(asked), slices.Compact(has)) {
			return badRequest("invalid_scope", "scope is not as the person allowed it: leave it away, and get less by token exchange")
		}
	}
	if len(o.Caps) > 0 || o.Run != g.Run {
		return badRequest("invalid_request", "authorization_details and run are not said here: get less by token exchange")
	}
	return nil
}

// stillActing is the agent of g, if it and the person are as they were when the
// person allowed it. epoch is the person's then.
func (a *Authority) stillActing(g *Grant, epoch int64) (Agent, error) {
	agent, err := a.active(strings.TrimPrefix(g.acting(), "agent:"))
	if err != nil {
		return agent, err
	}
	if agent.Epoch != g.Hops[0].Epoch {
		return agent, invalid("all that was issued for the agent so far was ended: ask the person again")
	}
	now, err := a.standing(g.Subject)
	if err != nil {
		return agent, err
	}
	if now != epoch {
		return agent, invalid("all that was issued for the person so far was ended: ask again")
	}
	if r := a.cfg.Revocations; r.Ended(RevokedGrant, g.ID) || r.Ended(RevokedChain, g.Txn) {
		return agent, invalid("this was revoked: ask the person again")
	}
	return agent, nil
}

// ungranted is that a client gets nothing, on record.
func (a *Authority) ungranted(r *http.Request, id, agent, code, why string) error {
	by := "client:" + clipped(id)
	if agent == "" {
		agent = by
	}
	a.refused(r, "token.refused", by, agent+": "+why)
	return badRequest(code, "%s", why)
}

// betrayed ends what was given, since a secret of it was in the wrong hands.
func (a *Authority) betrayed(r *http.Request, id string, g *Grant, why string) error {
	err := a.ungranted(r, id, g.acting(), "invalid_grant", why)
	if failed := a.cfg.Revocations.Revoke(context.WithoutCancel(r.Context()), RevokedGrant, g.ID, "client:"+clipped(id)); failed != nil {
		a.cfg.Logger.ErrorContext(r.Context(), "a grant is revoked, but that is not kept", "grant", g.ID, "error", failed)
	}
	return err
}
