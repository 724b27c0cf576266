package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A registration is how an authorization server knows callgate.
type registration struct {
	Issuer   string    `json:"issuer"`
	Redirect string    `json:"redirect"`
	ID       string    `json:"id"`
	Secret   string    `json:"secret,omitempty"`
	Method   string    `json:"method"` // by which it authenticates
	Expires  time.Time `json:"expires,omitzero"`
}

// kept is its name in the store.
func (c *registration) kept() string { return keptClient + c.Issuer + "\x00" + c.ID }

// How a client authenticates at a token endpoint.
const (
	authBasic  = "client_secret_basic"
	authPost   = "client_secret_post"
	authNone   = "none"
	authSigned = "private_key_jwt"
)

// client is callgate as the authorization server knows it: as the operator
// registered it, or by a document that callgate serves, or as it registers itself
// now, which it does only for a person who logs in.
//
// Where a token is to be renewed it is the client that got it: the one with id.
func (o *oauth) client(ctx context.Context, as *authServer, id string, register bool) (*registration, error) {
	c := &registration{Issuer: as.issuer, Redirect: o.vault.redirect}
	if o.cfg.ClientID != "" {
		c.ID = o.cfg.ClientID
		if o.cfg.ClientSecret != nil {
			loan, err := o.cfg.ClientSecret.Use(ctx, nil)
			if err != nil {
				return nil, err
			}
			c.Secret = loan.Value.Reveal()
		}
		return c, c.choose(as, o.cfg.grant() != GrantCode)
	}
	if as.documents && o.vault.public().Scheme == "https" {
		c.ID, c.Method = o.vault.documentURL(), authNone
		return c, nil
	}
	if known := o.vault.client(as.issuer, id); known != nil {
		return known, nil
	}
	if !register {
		return nil, errors.New("callgate's registration at the authorization server has ended")
	}
	if as.registration == "" {
		return nil, fmt.Errorf("the authorization server %s lets no client register itself: register callgate there, with the redirect URI %s, and write oauth.client_id", as.issuer, o.vault.redirect)
	}
	return o.register(ctx, as)
}

// choose takes the best way to authenticate that the authorization server offers.
func (c *registration) choose(as *authServer, must bool) error {
	switch {
	case c.Secret != "" && slices.Contains(as.methods, authBasic):
		c.Method = authBasic
	case c.Secret != "" && slices.Contains(as.methods, authPost):
		c.Method = authPost
	case c.Secret != "":
		return fmt.Errorf("the authorization server takes no client_secret, but %.200q", strings.Join(as.methods, " "))
	case slices.Contains(as.methods, authSigned) && (must || !slices.Contains(as.methods, authNone)):
		c.Method = authSigned
	case must:
		return errors.New("oauth.client_secret is missing: the authorization server does not take private_key_jwt")
	default:
		c.Method = authNone
	}
	return nil
}

// document is what callgate says of itself to authorization servers.
func (v *Vault) document() map[string]any {
	kind := "web"
	if isLoopback(v.public().Hostname()) {
		kind = "native"
	}
	return map[string]any{
		"client_name":                "callgate",
		"client_uri":                 v.cfg.PublicURL,
		"redirect_uris":              []string{v.redirect},
		"grant_types":                []string{"authorization_code", "refresh_token"},
		"response_types":             []string{"code"},
		"token_endpoint_auth_method": authNone,
		"application_type":           kind,
	}
}

// register has callgate registered (RFC 7591), and keeps what comes of it.
func (o *oauth) register(ctx context.Context, as *authServer) (*registration, error) {
	doc := o.vault.document()
	for _, method := range []string{authBasic, authPost, authNone} {
		if slices.Contains(as.methods, method) {
			doc["token_endpoint_auth_method"] = method
			break
		}
	}
	body, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	reply, err := o.errands.post(ctx, as.registration, "application/json", body, nil)
	if err != nil {
		return nil, fmt.Errorf("register callgate: %w", err)
	}
	if reply.status != http.StatusCreated && reply.status != http.StatusOK {
		return nil, fmt.Errorf("register callgate: %w", faultOf(reply))
	}
	c := &registration{Issuer: as.issuer, Redirect: o.vault.redirect}
	for name, to := range map[string]*string{"client_id": &c.ID, "client_secret": &c.Secret, "token_endpoint_auth_method": &c.Method} {
		if *to, err = member(reply.doc, name); err != nil {
			return nil, fmt.Errorf("register callgate: %w", err)
		}
	}
	if c.ID == "" {
		return nil, errors.New("register callgate: the answer has no client_id")
	}
	if c.Method == "" { // it is as it was asked for; some give a secret all the same
		c.Method, _ = doc["token_endpoint_auth_method"].(string)
	}
	switch {
	case c.Secret == "" && c.Method != authNone, c.Method != authBasic && c.Method != authPost && c.Method != authNone:
		err = fmt.Errorf("callgate should authenticate by %.40q, and cannot", c.Method)
	}
	if err != nil {
		return nil, fmt.Errorf("register callgate: %w", err)
	}
	if n := reply.doc.Get("client_secret_expires_at").Int(); n > 0 {
		c.Expires = time.Unix(n, 0)
	}
	return c, o.vault.keep(ctx, c)
}

// client is a registration that is good now: the one with id, or, for a login,
// one that leads back to where this gate is.
func (v *Vault) client(issuer, id string) *registration {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.clients {
		if c.Issuer == issuer && (c.ID == id || id == "" && c.Redirect == v.redirect) && (c.Expires.IsZero() || v.cfg.Now().Before(c.Expires)) {
			return c
		}
	}
	return nil
}

func (v *Vault) keep(ctx context.Context, c *registration) error {
	if err := v.cfg.Record("mcp.client.registered", "system", c.Issuer, "client_id "+c.ID); err != nil {
		return err
	}
	if err := v.put(ctx, c.kept(), c); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.clients[c.kept()] = c
	return nil
}

// unregister forgets a registration that the authorization server has forgotten.
func (v *Vault) unregister(ctx context.Context, c *registration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.clients[c.kept()] != c {
		return
	}
	delete(v.clients, c.kept())
	if err := v.cfg.Store.DropToken(ctx, c.kept()); err != nil {
		v.cfg.Logger.Error("a registration that has ended is still stored", "issuer", c.Issuer, "error", err)
	}
}

// sign adds to form, or returns as headers, that it is client c who asks.
func (o *oauth) sign(ctx context.Context, as *authServer, c *registration, form url.Values) (http.Header, error) {
	switch c.Method {
	case authBasic:
		req := http.Request{Header: make(http.Header)}
		req.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret)) // RFC 6749 2.3.1
		return req.Header, nil
	case authPost:
		form.Set("client_secret", c.Secret)
	case authSigned:
		assertion, err := o.vault.cfg.Assert(ctx, c.ID, c.ID, as.issuer)
		if err != nil {
			return nil, err
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion.Reveal())
	}
	form.Set("client_id", c.ID)
	return nil, nil
}
