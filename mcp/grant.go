package mcp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"callgate/firewall"
)

// An oauthFault is what an authorization server refused. It says no more than the
// code: the words of others are not for agents.
type oauthFault struct {
	status int
	code   string // invalid_grant…; "" where the answer had none
}

func (f *oauthFault) Error() string {
	if f.code == "" {
		return fmt.Sprintf("the authorization server answered HTTP %d", f.status)
	}
	return fmt.Sprintf("the authorization server answered HTTP %d, %s", f.status, f.code)
}

func faultOf(reply errandReply) *oauthFault {
	return &oauthFault{reply.status, codeOf(reply.doc.Get("error").String())}
}

// codeOf is code if it can be an error code of OAuth.
func codeOf(code string) string {
	if len(code) > 64 || strings.Trim(code, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return ""
	}
	return code
}

const (
	maxAccess = 16 << 10 // bytes of a token
	maxLife   = 10 * 365 * 24 * time.Hour
)

// exchange sends form to the token endpoint as client c, and reads the token.
func (o *oauth) exchange(ctx context.Context, a *account, as *authServer, c *registration, resource string, form url.Values) (*bearer, error) {
	form.Set("resource", resource)
	header, err := o.sign(ctx, as, c, form)
	if err != nil {
		return nil, err
	}
	at := o.vault.cfg.Now()
	reply, err := o.errands.post(ctx, as.token, "application/x-www-form-urlencoded", []byte(form.Encode()), header)
	if err != nil {
		return nil, err
	}
	if reply.status != http.StatusOK {
		f := faultOf(reply)
		if f.code == "invalid_client" {
			o.vault.unregister(ctx, c)
		}
		return nil, f
	}
	b := &bearer{
		Server: a.server, Holder: a.holder, Fit: o.fit, Issuer: as.issuer, Client: c.ID, Resource: resource, Got: at,
		Scopes: scopesOf(form.Get("scope")),
	}
	kind, err := member(reply.doc, "token_type")
	if err == nil {
		b.Access, err = member(reply.doc, "access_token")
	}
	if err == nil {
		b.Refresh, err = member(reply.doc, "refresh_token")
	}
	switch {
	case err != nil:
		return nil, err
	case !strings.EqualFold(kind, "Bearer"):
		return nil, errors.New("the authorization server gave a token that is not of the type Bearer")
	case b.Access == "" || len(b.Access) > maxAccess || len(b.Refresh) > maxAccess || strings.ContainsFunc(b.Access+b.Refresh, func(c rune) bool { return c <= ' ' || c > '~' }):
		return nil, errors.New("the authorization server gave no token that can be sent")
	}
	if scope := reply.doc.Get("scope"); scope.Exists() {
		b.Scopes = scopesOf(scope.String())
	}
	if n := reply.doc.Get("expires_in"); n.Exists() {
		b.Expires = at.Add(time.Duration(min(max(n.Float(), 0), maxLife.Seconds()) * float64(time.Second)))
	}
	return b.ready(), nil
}

// refresh gets the token after old from the authorization server that gave old.
func (o *oauth) refresh(ctx context.Context, a *account, old *bearer) (*bearer, error) {
	as, err := o.at(ctx, old.Issuer)
	if err != nil {
		return nil, err
	}
	c, err := o.client(ctx, as, old.Client, false)
	if err != nil {
		return nil, err
	}
	if c.ID != old.Client {
		return nil, &oauthFault{code: "invalid_grant"} // it is another client's
	}
	b, err := o.exchange(ctx, a, as, c, old.Resource, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old.Refresh}})
	if err != nil {
		return nil, err
	}
	b.Login = old.Login
	if b.Refresh == "" {
		b.Refresh = old.Refresh
	}
	if b.Scopes == nil {
		b.Scopes = old.Scopes
	}
	return b, nil
}

// ownToken gets a token with which no person has anything to do.
func (o *oauth) ownToken(ctx context.Context, a *account, wanted []string) (*bearer, error) {
	b, err := o.askOwn(ctx, a, wanted)
	var e *firewall.Error
	if err != nil && !errors.As(err, &e) {
		return nil, o.unavailable("has an authorization server that gave callgate no token: its operator finds the cause in the call's record", err)
	}
	return b, err
}

func (o *oauth) askOwn(ctx context.Context, a *account, wanted []string) (*bearer, error) {
	n, err := o.describe(ctx)
	if err != nil {
		return nil, err
	}
	issuer, err := o.choose(n)
	if err != nil {
		return nil, err
	}
	as, err := o.at(ctx, issuer)
	if err != nil {
		return nil, err
	}
	c, err := o.client(ctx, as, "", false)
	if err != nil {
		return nil, err
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if o.cfg.grant() == GrantExchange {
		// callgate's own word on whom it asks for; what the agent presented stays here
		word, err := o.vault.cfg.Assert(ctx, o.vault.cfg.PublicURL, a.holder, as.issuer)
		if err != nil {
			return nil, err
		}
		form = url.Values{
			"grant_type":           {"urn:ietf:params:oauth:grant-type:token-exchange"},
			"subject_token":        {word.Reveal()},
			"subject_token_type":   {"urn:ietf:params:oauth:token-type:jwt"},
			"requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		}
	}
	if scopes := o.asked(n, as, wanted); len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	b, err := o.exchange(ctx, a, as, c, n.resource, form)
	if err != nil {
		return nil, err
	}
	b.Refresh = "" // the grant itself is as good
	return b, nil
}
