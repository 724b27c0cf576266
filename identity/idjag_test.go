package identity_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"callgate/identity"

	jose "github.com/go-jose/go-jose/v4"
)

const enterpriseIDP = "https://idp.acme.example"

// enterprise is a house whose people an identity provider vouches for, and who signs
// in its name. The client is bot.
func enterprise(t testing.TB) (h *house, provider *other, client func(*http.Request)) {
	h = newHouse(t)
	_, secret := create(t, h.registry, identity.Agent{Name: "bot", Roles: []string{"dev"}})
	provider = newOther(t, jose.RS256, "k1")
	h.federate(t, identity.Federation{Issuer: enterpriseIDP, JWKS: provider.jwks(t), Users: true})
	return h, provider, func(r *http.Request) { r.SetBasicAuth("bot", secret.Reveal()) }
}

// jag is what the provider says by an ID-JAG, a new one each time.
func (h *house) jag() map[string]any {
	at := h.clock.Load()
	return map[string]any{"iss": enterpriseIDP, "sub": "00u1", "aud": gateURL, "client_id": "bot", "exp": at + 300, "iat": at, "jti": fmt.Sprint(len(h.recorded())),
		"resource": gateURL + "/mcp", "scope": "mcp:shop model:openai", "email": "ana@acme.example", "email_verified": true, "groups": []string{"finance", "all"}, "auth_time": at - 60, "amr": []string{"pwd"}}
}

func TestAClientActsForAUserOfAnIdentityProvider(t *testing.T) {
	h, provider, client := enterprise(t)
	token, got := h.issues(t, bearing(provider.sign(t, "oauth-id-jag+jwt", h.jag())), client)
	if got["scope"] != "mcp:shop model:openai" || got["refresh_token"] != nil {
		t.Error(got)
	}
	p, err := h.Verify(t.Context(), token, "/mcp/shop")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.Chain(), []string{"agent:bot", "user:ana@acme.example"}) || p.Client != "bot" {
		t.Errorf("%+v", p)
	}
	if groups := p.Held(1); !slices.Contains(groups, "group:finance") {
		t.Errorf("groups %v", groups)
	}
	if _, err := h.Verify(t.Context(), token, "/v1/models"); err == nil {
		t.Error("it is good for another resource than that of the ID-JAG")
	}
	if u, ok := h.registry.User("user:ana@acme.example"); !ok || u.Issuer != enterpriseIDP || u.Subject != "00u1" {
		t.Errorf("%+v", u)
	}

	// less may be asked for
	token, got = h.issues(t, bearing(provider.sign(t, "oauth-id-jag+jwt", h.jag()), "scope", "mcp:shop", "resource", gateURL+"/mcp/shop"), client)
	if _, err := h.Verify(t.Context(), token, "/mcp/other"); err == nil || got["scope"] != "mcp:shop" {
		t.Error(err, got)
	}
	// without them the gate's own hold
	plain := with(h.jag(), "resource", nil, "scope", nil, "email", nil, "groups", nil)
	token, _ = h.issues(t, bearing(provider.sign(t, "oauth-id-jag+jwt", plain)), client)
	if p, err := h.Verify(t.Context(), token, "/v1/models"); err != nil || p.Subject != "user:ana@acme.example" || slices.Contains(p.Held(1), "group:finance") {
		t.Error(p, err) // the same person, by iss and sub, whose groups are those of now
	}
	// a mail address that nobody has verified names nobody
	other := with(h.jag(), "sub", "00u2", "email_verified", false)
	token, _ = h.issues(t, bearing(provider.sign(t, "oauth-id-jag+jwt", other)), client)
	if p, err := h.Verify(t.Context(), token, "/mcp"); err != nil || p.Subject == "user:ana@acme.example" || !strings.HasPrefix(p.Subject, "user:u-") {
		t.Error(p, err)
	}
	// one resource in a list is one
	h.issues(t, bearing(provider.sign(t, "oauth-id-jag+jwt", with(h.jag(), "resource", []string{gateURL}))), client)

	// who leaves is out, with all that was issued
	if _, _, err := h.registry.Offboard(t.Context(), "user:ana@acme.example", "admin", nil); err != nil {
		t.Fatal(err)
	}
	h.refuses(t, bearing(provider.sign(t, "oauth-id-jag+jwt", h.jag())), client, 400, "invalid_grant", "offboarded")
}

func TestIDJAGsThatAreRefused(t *testing.T) {
	h, provider, client := enterprise(t)
	_, secret := create(t, h.registry, identity.Agent{Name: "spy"})
	spy := func(r *http.Request) { r.SetBasicAuth("spy", secret.Reveal()) }
	used := provider.sign(t, "oauth-id-jag+jwt", h.jag())
	h.issues(t, bearing(used), client)
	at := h.clock.Load()
	users := len(h.registry.Users())
	type test struct {
		typ     string
		claims  map[string]any
		form    []string
		code    string
		because string
	}
	tests := map[string]test{
		"of another client":        {claims: with(h.jag(), "client_id", "spy"), because: "client_id in the ID-JAG"},
		"of no client":             {claims: with(h.jag(), "client_id", nil), because: "client_id in the ID-JAG"},
		"of a list of clients":     {claims: with(h.jag(), "client_id", []string{"bot"}), because: "client_id in the ID-JAG"},
		"for another resource":     {claims: with(h.jag(), "resource", "https://other.example/mcp"), because: "resource"},
		"for a path that climbs":   {claims: with(h.jag(), "resource", gateURL+"/mcp/../v1"), because: "resource"},
		"for two resources":        {claims: with(h.jag(), "resource", []string{gateURL + "/mcp", gateURL + "/v1"}), because: "resource"},
		"for an empty resource":    {claims: with(h.jag(), "resource", ""), because: "resource"},
		"for an object":            {claims: with(h.jag(), "resource", map[string]any{}), because: "resource"},
		"and more of the resource": {claims: h.jag(), form: []string{"resource", gateURL}, because: "another resource"},
		"and another resource":     {claims: h.jag(), form: []string{"resource", gateURL + "/v1"}, because: "another resource"},
		"and more scope":           {claims: h.jag(), form: []string{"scope", "mcp:shop mcp:bank"}, because: "scope asks for more"},
		"of an empty scope":        {claims: with(h.jag(), "scope", " "), because: "lacks a claim"},
		"of a list of scopes":      {claims: with(h.jag(), "scope", []string{"mcp:shop"}), because: "lacks a claim"},
		"of scopes of others":      {claims: with(h.jag(), "scope", "chat.read"), code: "invalid_scope"},
		"with caps":                {claims: with(h.jag(), "authorization_details", []any{}), because: "authorization_details"},
		"for another server":       {claims: with(h.jag(), "aud", "https://other.example"), because: "aud"},
		"for another server, too":  {claims: with(h.jag(), "aud", []string{gateURL, "https://other.example"}), because: "aud"},
		"for the token endpoint":   {claims: with(h.jag(), "aud", gateURL+"/oauth/token"), because: "aud"},
		"of another provider":      {claims: with(h.jag(), "iss", "https://evil.example"), because: "not one that this gate takes"},
		"of nobody":                {claims: with(h.jag(), "sub", nil), because: "lacks a claim"},
		"without a jti":            {claims: with(h.jag(), "jti", nil), because: "lacks a claim"},
		"without iat":              {claims: with(h.jag(), "iat", nil), because: "lacks a claim"},
		"that has expired":         {claims: with(h.jag(), "exp", at-6), because: "expired"},
		"that lives for a day":     {claims: with(h.jag(), "exp", at+24*3600), because: "too long"},
		"with groups of no list":   {claims: with(h.jag(), "groups", "finance"), code: "invalid_request", because: "groups"},
		"bound to a key":           {claims: with(h.jag(), "cnf", map[string]any{"jkt": "x"}), because: "bound to a key"},
		"as a plain JWT":           {typ: "JWT", claims: h.jag(), because: "not one that this gate takes"}, // it is of no workload
		"as an access token":       {typ: "at+jwt", claims: h.jag(), because: "typ"},
		"as an ID token":           {typ: "id_token+jwt", claims: h.jag(), because: "typ"},
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		test := tests[name]
		t.Run(name, func(t *testing.T) {
			if test.typ == "" {
				test.typ = "oauth-id-jag+jwt"
			}
			if test.code == "" {
				test.code = "invalid_grant"
			}
			claims := test.claims
			if claims["jti"] != nil {
				claims = with(claims, "jti", "of "+name)
			}
			h.refuses(t, bearing(provider.sign(t, test.typ, claims), test.form...), both(client, from(name)), 400, test.code, test.because)
		})
	}
	h.refuses(t, bearing(used), both(client, from("used")), 400, "invalid_grant", "used already")
	h.refuses(t, bearing(provider.sign(t, "oauth-id-jag+jwt", h.jag())), both(spy, from("spy")), 400, "invalid_grant", "client_id in the ID-JAG")
	h.refuses(t, bearing(provider.sign(t, "oauth-id-jag+jwt", h.jag())), both(func(r *http.Request) { r.SetBasicAuth("bot", "wrong") }, from("wrong")), 401, "invalid_client", "")
	h.refuses(t, bearing(newOther(t, jose.RS256, "k1").sign(t, "oauth-id-jag+jwt", h.jag())), both(client, from("key")), 400, "invalid_grant", "signature")
	if w := post(h.handler(), bearing(provider.sign(t, "oauth-id-jag+jwt", h.jag())), from("nobody")); w.Code != 401 || fields(t, w)["error"] != "invalid_client" {
		t.Errorf("without a client: %d %s", w.Code, w.Body) // an ID-JAG is no credential
	}
	if got := len(h.registry.Users()); got != users {
		t.Errorf("%d users were made by what was refused", got-users)
	}
	// an ID-JAG is no other thing, either
	jag := provider.sign(t, "oauth-id-jag+jwt", h.jag())
	if _, err := h.Verify(t.Context(), jag, "/mcp"); err == nil {
		t.Error("an ID-JAG is an access token")
	}
	h.refuses(t, byKey(jag), from("as a client"), 401, "invalid_client", "")
}

// both is a request that is changed twice.
func both(a, b func(*http.Request)) func(*http.Request) {
	return func(r *http.Request) { a(r); b(r) }
}

func TestWorkloadsAreNoUsers(t *testing.T) {
	h, provider, client := enterprise(t)
	h.federate(t, identity.Federation{Issuer: enterpriseIDP, JWKS: provider.jwks(t), Agent: "bot", Claims: map[string][]string{"sub": {"00u1"}}})
	h.refuses(t, bearing(provider.sign(t, "oauth-id-jag+jwt", h.jag())), client, 400, "invalid_grant", "not one that this gate takes")

	h.federate(t, identity.Federation{Issuer: enterpriseIDP, JWKS: provider.jwks(t), Users: true, Claims: map[string][]string{"tenant": {"acme"}}})
	h.refuses(t, bearing(provider.sign(t, "oauth-id-jag+jwt", h.jag())), client, 400, "invalid_grant", "not those that the configuration asks for")
	h.issues(t, bearing(provider.sign(t, "oauth-id-jag+jwt", with(h.jag(), "tenant", "acme"))), client)
}
