package mcp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// An authServer is what an authorization server says of itself (RFC 8414).
type authServer struct {
	issuer        string
	authorization string // endpoint
	token         string
	registration  string
	revocation    string
	scopes        []string
	methods       []string // by which clients authenticate at the token endpoint
	documents     bool     // takes the URL of a metadata document for a client_id
	tellsIssuer   bool     // puts iss into the answer of an authorization (RFC 9207)
	s256          bool
	at            time.Time
}

// needs is what a server says of the tokens that it takes (RFC 9728).
type needs struct {
	resource string
	issuers  []string
	scopes   []string
}

// probe asks the server without a token, so that it says where to get one.
const probeBody = `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"` + metaVersion + `":"` + modernVersion + `","` + metaCapabilities + `":{}}}}`

// describe finds out which tokens the server takes.
func (o *oauth) describe(ctx context.Context) (*needs, error) {
	o.mu.Lock()
	n, at := o.needs, o.needsAt
	o.mu.Unlock()
	if n != nil && o.vault.cfg.Now().Sub(at) < factsTTL {
		return n, nil
	}
	n, err := o.askNeeds(ctx)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	o.needs, o.needsAt = n, o.vault.cfg.Now()
	o.mu.Unlock()
	return n, nil
}

func (o *oauth) askNeeds(ctx context.Context) (*needs, error) {
	own, _ := url.Parse(o.Server.cfg.URL)
	var c challenge
	reply, err := o.errands.post(ctx, o.Server.cfg.URL, "application/json", []byte(probeBody), http.Header{
		"Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {modernVersion}, "Mcp-Method": {"server/discover"}})
	if err == nil && reply.status == http.StatusUnauthorized {
		c = challengeOf(reply.header)
	}
	at := []string{c.metadata}
	if c.metadata == "" {
		const well = "/.well-known/oauth-protected-resource"
		root := own.Scheme + "://" + own.Host + well
		at = []string{root + strings.TrimSuffix(own.EscapedPath(), "/"), root}
	}
	for i, raw := range at {
		if i > 0 && raw == at[0] {
			break
		}
		reply, err := o.errands.get(ctx, raw)
		if err != nil {
			return nil, fmt.Errorf("ask which tokens the server takes: %w", err)
		}
		if reply.status/100 == 4 && c.metadata == "" {
			continue
		}
		n, err := readNeeds(reply, own)
		if err != nil {
			return nil, fmt.Errorf("read which tokens the server takes, at %s: %w", raw, err)
		}
		if c.scopes != nil {
			n.scopes = c.scopes
		}
		return n, nil
	}
	// It says nothing, as servers of 2025-03-26 do: they are their own authorization servers.
	return &needs{resource: canonical(own), issuers: []string{own.Scheme + "://" + own.Host}, scopes: c.scopes}, nil
}

func readNeeds(reply errandReply, own *url.URL) (*needs, error) {
	if reply.status != http.StatusOK || !reply.doc.Exists() {
		return nil, fmt.Errorf("the answer is HTTP %d, or no JSON", reply.status)
	}
	resource, err := member(reply.doc, "resource")
	if err != nil {
		return nil, err
	}
	if u, err := url.Parse(resource); err != nil || !covers(u, own) {
		return nil, fmt.Errorf("it is about another resource, %.200q", resource)
	}
	n := &needs{resource: resource, issuers: textsOf(reply.doc, "authorization_servers"), scopes: scopesOf(strings.Join(textsOf(reply.doc, "scopes_supported"), " "))}
	if len(n.issuers) == 0 {
		return nil, errors.New("it names no authorization server")
	}
	return n, nil
}

// covers says whether a token for resource is one for the server at own: it is
// that, or stands above it at the same place.
func covers(resource, own *url.URL) bool {
	if resource.Scheme != own.Scheme || !strings.EqualFold(resource.Host, own.Host) || resource.Fragment != "" || resource.User != nil {
		return false
	}
	if resource.RawQuery != "" && resource.RawQuery != own.RawQuery {
		return false
	}
	above, path := strings.TrimSuffix(resource.EscapedPath(), "/"), strings.TrimSuffix(own.EscapedPath(), "/")
	return above == path || strings.HasPrefix(path, above+"/")
}

// canonical is how RFC 8707 has a server's URL named.
func canonical(own *url.URL) string {
	u := *own
	u.Scheme, u.Host, u.Fragment = strings.ToLower(u.Scheme), strings.ToLower(u.Host), ""
	if u.Path == "/" {
		u.Path = ""
	}
	return u.String()
}

// choose is the authorization server to use: the operator's, or the one that was
// used before, or else the first that the server names. Another one than before
// is refused, because a server that was taken over could name its own.
func (o *oauth) choose(n *needs) (string, error) {
	want, why := o.cfg.Issuer, "the configuration names"
	if want == "" {
		want, why = o.vault.issuer(o.Name(), o.Server.cfg.URL), "was used so far"
	}
	switch {
	case want == "":
		return n.issuers[0], nil
	case slices.Contains(n.issuers, want):
		return want, nil
	}
	return "", fmt.Errorf("the server names the authorization server %.200q now, and %q is the one that %s: if the new one is right, callgate mcp logout %s --all and log in again, or write it as oauth.issuer",
		n.issuers[0], want, why, o.Name())
}

// at is what the authorization server with this issuer says of itself.
func (o *oauth) at(ctx context.Context, issuer string) (*authServer, error) {
	now := o.vault.cfg.Now()
	o.mu.Lock()
	as := o.known[issuer]
	o.mu.Unlock()
	if as != nil && now.Sub(as.at) < factsTTL {
		return as, nil
	}
	u, err := o.errands.allowed(issuer)
	if err == nil && u.RawQuery != "" {
		err = errors.New("it has a query")
	}
	if err != nil {
		return nil, fmt.Errorf("the issuer of an authorization server: %w", err)
	}
	root, path := u.Scheme+"://"+u.Host, strings.TrimSuffix(u.EscapedPath(), "/")
	places := []string{root + "/.well-known/oauth-authorization-server" + path, root + "/.well-known/openid-configuration" + path}
	if path != "" {
		places = append(places, root+path+"/.well-known/openid-configuration")
	}
	for _, raw := range places {
		reply, err := o.errands.get(ctx, raw)
		if err != nil {
			return nil, fmt.Errorf("ask the authorization server about itself: %w", err)
		}
		if reply.status/100 == 4 {
			continue
		}
		as, err := o.readServer(reply, issuer)
		if err != nil {
			return nil, fmt.Errorf("what the authorization server says of itself at %s: %w", raw, err)
		}
		as.at = now
		o.mu.Lock()
		defer o.mu.Unlock()
		if len(o.known) >= 8 {
			clear(o.known)
		}
		o.known[issuer] = as
		return as, nil
	}
	return nil, fmt.Errorf("the authorization server %s says nothing of itself", issuer)
}

func (o *oauth) readServer(reply errandReply, issuer string) (*authServer, error) {
	if reply.status != http.StatusOK || !reply.doc.Exists() {
		return nil, fmt.Errorf("the answer is HTTP %d, or no JSON", reply.status)
	}
	as := &authServer{
		scopes: textsOf(reply.doc, "scopes_supported"), methods: textsOf(reply.doc, "token_endpoint_auth_methods_supported"),
		documents:   reply.doc.Get("client_id_metadata_document_supported").Bool(),
		tellsIssuer: reply.doc.Get("authorization_response_iss_parameter_supported").Bool(),
		s256:        slices.Contains(textsOf(reply.doc, "code_challenge_methods_supported"), "S256"),
	}
	for name, to := range map[string]*string{
		"issuer": &as.issuer, "authorization_endpoint": &as.authorization, "token_endpoint": &as.token,
		"registration_endpoint": &as.registration, "revocation_endpoint": &as.revocation,
	} {
		v, err := member(reply.doc, name)
		if err == nil && v != "" && name != "issuer" {
			_, err = o.errands.allowed(v)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		*to = v
	}
	switch {
	case as.issuer != issuer: // exactly: another one's metadata would send codes and secrets there
		return nil, fmt.Errorf("it says that it is %.200q, and not %q", as.issuer, issuer)
	case as.token == "":
		return nil, errors.New("it names no token endpoint")
	}
	if len(as.methods) == 0 {
		as.methods = []string{authBasic} // RFC 8414
	}
	return as, nil
}
