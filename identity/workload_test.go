package identity_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"callgate/identity"

	jose "github.com/go-jose/go-jose/v4"
)

// byJWT is a request of who shows the JWT of an issuer.
func byJWT(assertion string, more ...string) string {
	form := url.Values{"grant_type": {jwtBearer}, "assertion": {assertion}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return form.Encode()
}

// A workload is what a platform's JWT says, and what is asked of it here.
type workload struct {
	issuer string
	says   map[string]any
	asks   map[string][]string
}

// workloads are JWTs as the platforms issue them.
var workloads = map[string]workload{
	"kubernetes": {"https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE",
		map[string]any{"sub": "system:serviceaccount:agents:biller", "kubernetes.io": map[string]any{"namespace": "agents", "serviceaccount": map[string]any{"name": "biller", "uid": "u-1"}}},
		map[string][]string{"kubernetes.io/namespace": {"agents"}, "kubernetes.io/serviceaccount/name": {"biller"}}},
	"github": {"https://token.actions.githubusercontent.com",
		map[string]any{"sub": "repo:acme/shop:environment:prod", "repository": "acme/shop", "repository_owner_id": "4711", "environment": "prod", "ref": "refs/heads/main", "jti": "g1"},
		map[string][]string{"repository_owner_id": {"4711"}, "repository": {"acme/shop"}, "environment": {"prod", "staging"}}},
	"spiffe": {"https://spire.acme.example",
		map[string]any{"sub": "spiffe://acme.example/ns/agents/sa/biller"},
		map[string][]string{"sub": {"spiffe://acme.example/ns/agents/sa/biller"}}},
	"gcp": {"https://accounts.google.com",
		map[string]any{"sub": "1047", "azp": "1047", "email": "biller@acme.iam.gserviceaccount.com", "email_verified": true},
		map[string][]string{"sub": {"1047"}, "email_verified": {"true"}}},
}

func (h *house) says(w workload) map[string]any {
	at := h.clock.Load()
	m := map[string]any{"iss": w.issuer, "aud": gateURL, "exp": at + 600, "iat": at}
	maps.Copy(m, w.says)
	return m
}

func TestAWorkloadNeedsNoSecret(t *testing.T) {
	h := newHouse(t)
	keys := make(map[string]*other)
	var list []identity.Federation
	for name, w := range workloads {
		keys[name] = newOther(t, jose.RS256, name)
		create(t, h.registry, identity.Agent{Name: name})
		list = append(list, identity.Federation{Issuer: w.issuer, JWKS: keys[name].jwks(t), Agent: name, Claims: w.asks})
	}
	if err := h.Federate(list); err != nil {
		t.Fatal(err)
	}
	for name, w := range workloads {
		token, _ := h.issues(t, byJWT(keys[name].sign(t, "JWT", h.says(w)), "scope", "mcp:files", "resource", gateURL+"/mcp"), nil)
		p, err := h.Verify(t.Context(), token, "/mcp")
		if err != nil || p.Subject != "agent:"+name || p.Client != name {
			t.Errorf("%s: %+v %v", name, p, err)
		}
		if _, err := h.Verify(t.Context(), token, "/v1/models"); err == nil {
			t.Errorf("%s: its token is good for more than it asked for", name)
		}
	}
	// none of them is any other
	for name := range workloads {
		for of, w := range workloads {
			if name != of {
				h.refuses(t, byJWT(keys[name].sign(t, "JWT", with(h.says(w), "jti", nil))), ownAddress(name+of), 400, "invalid_grant", "")
				h.refuses(t, byJWT(keys[of].sign(t, "JWT", with(h.says(w), "jti", nil)), "client_id", name), ownAddress("c"+name+of), 400, "invalid_grant", "issuer of the JWT is not one")
			}
		}
	}
	if err := h.Federate(nil); err != nil {
		t.Fatal(err)
	}
	h.refuses(t, byJWT(keys["spiffe"].sign(t, "JWT", h.says(workloads["spiffe"]))), ownAddress("none"), 400, "invalid_grant", "not one that this gate takes")
}

// ownAddress has a request come from a network of its own, so that the tries before do
// not count.
func ownAddress(name string) func(*http.Request) {
	return func(r *http.Request) { r.RemoteAddr = "[2001:db8:" + ownNet(name) + "::1]:1" }
}

func TestJWTsOfWorkloadsThatAreRefused(t *testing.T) {
	h := newHouse(t)
	w := workloads["kubernetes"]
	key, stranger := newOther(t, jose.ES256, "k1"), newOther(t, jose.ES256, "k1")
	_, secret := create(t, h.registry, identity.Agent{Name: "biller"})
	_, others := create(t, h.registry, identity.Agent{Name: "other"})
	if err := h.Federate([]identity.Federation{{Issuer: w.issuer, JWKS: key.jwks(t), Agent: "biller", Claims: w.asks}}); err != nil {
		t.Fatal(err)
	}
	good := h.says(w)
	at := h.clock.Load()
	once := key.sign(t, "JWT", with(good, "jti", "once"))
	h.issues(t, byJWT(once, "client_id", "biller", "client_secret", secret.Reveal()), nil)
	kube := func(namespace, account any) map[string]any {
		return map[string]any{"namespace": namespace, "serviceaccount": map[string]any{"name": account}}
	}
	for _, test := range []struct {
		name, form, because string
	}{
		{"used already", byJWT(once), "used already"},
		{"of another namespace", byJWT(key.sign(t, "JWT", with(good, "kubernetes.io", kube("evil", "biller")))), "no workload"},
		{"of another account", byJWT(key.sign(t, "JWT", with(good, "kubernetes.io", kube("agents", "biller2")))), "no workload"},
		{"whose claim is a list", byJWT(key.sign(t, "JWT", with(good, "kubernetes.io", kube([]string{"agents", "evil"}, "biller")))), "no workload"},
		{"whose claim is flat", byJWT(key.sign(t, "JWT", with(good, "kubernetes.io", nil, "kubernetes.io/namespace", "evil", "kubernetes.io/serviceaccount/name", "biller"))), "no workload"},
		{"whose claim is missing", byJWT(key.sign(t, "JWT", with(good, "kubernetes.io", nil))), "no workload"},
		{"of another issuer", byJWT(key.sign(t, "JWT", with(good, "iss", w.issuer+"/"))), "not one that this gate takes"},
		{"of an issuer in capitals", byJWT(key.sign(t, "JWT", with(good, "iss", strings.ToUpper(w.issuer)))), "not one that this gate takes"},
		{"for another audience", byJWT(key.sign(t, "JWT", with(good, "aud", "https://kubernetes.default.svc"))), "aud"},
		{"for two audiences", byJWT(key.sign(t, "JWT", with(good, "aud", []string{gateURL, "https://other.example"}))), "aud"},
		{"for none", byJWT(key.sign(t, "JWT", with(good, "aud", nil))), "aud"},
		{"that has expired", byJWT(key.sign(t, "JWT", with(good, "exp", at-6))), "expired"},
		{"that never expires", byJWT(key.sign(t, "JWT", with(good, "exp", nil))), "expired"},
		{"that lives for days", byJWT(key.sign(t, "JWT", with(good, "exp", at+25*3600))), "too long"},
		{"not valid yet", byJWT(key.sign(t, "JWT", with(good, "nbf", at+60))), "not valid yet"},
		{"of another key with the same kid", byJWT(stranger.sign(t, "JWT", good)), "signature"},
		{"an access token", byJWT(key.sign(t, "at+jwt", good)), "typ"},
		{"a logout token", byJWT(key.sign(t, "logout+jwt", good)), "typ"},
		{"without a signature", byJWT(b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(`{}`)) + "."), "not a JWT"},
		{"with another client's secret besides", byJWT(key.sign(t, "JWT", good), "client_id", "other", "client_secret", others.Reveal()), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.refuses(t, test.form, ownAddress(test.name), 400, "invalid_grant", test.because)
		})
	}
	if err := h.registry.Suspend(t.Context(), "biller", "admin"); err != nil {
		t.Fatal(err)
	}
	h.refuses(t, byJWT(key.sign(t, "JWT", good)), ownAddress("suspended"), 400, "invalid_grant", "suspended")
	for i := range 40 { // who guesses is slowed down
		w := post(h.handler(), byJWT(stranger.sign(t, "JWT", with(good, "jti", fmt.Sprint(i)))), ownAddress("guesser"))
		if i == 39 && w.Code != http.StatusTooManyRequests {
			t.Errorf("after %d wrong JWTs: %d", i, w.Code)
		}
	}
}

func TestFederationsThatAreTooWide(t *testing.T) {
	key := newOther(t, jose.ES256, "k1")
	jwks := key.jwks(t)
	good := identity.Federation{Issuer: "https://i.example", JWKS: jwks, Agent: "bot", Claims: map[string][]string{"sub": {"a"}}}
	if _, err := identity.Federations([]identity.Federation{good}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*identity.Federation){
		"no issuer":               func(f *identity.Federation) { f.Issuer = "" },
		"no keys":                 func(f *identity.Federation) { f.JWKS = "" },
		"keys in two places":      func(f *identity.Federation) { f.JWKSURI = "https://i.example/jwks" },
		"keys over http":          func(f *identity.Federation) { f.JWKS, f.JWKSURI = "", "http://i.example/jwks" },
		"a private key":           func(f *identity.Federation) { f.JWKS = `{"keys":[{"kty":"oct","k":"AAAA"}]}` },
		"no agent":                func(f *identity.Federation) { f.Agent = "" },
		"no claims":               func(f *identity.Federation) { f.Claims = nil },
		"a wildcard":              func(f *identity.Federation) { f.Claims = map[string][]string{"sub": {"repo:acme/*"}} },
		"an empty claim":          func(f *identity.Federation) { f.Claims = map[string][]string{"sub": {}} },
		"half a workload":         func(f *identity.Federation) { f.Claims = map[string][]string{"kubernetes.io/namespace": {"agents"}} },
		"GitHub by names alone":   func(f *identity.Federation) { f.Issuer = workloads["github"].issuer },
		"the API server's tokens": func(f *identity.Federation) { f.Audience = "https://kubernetes.default.svc" },
		"users and an agent":      func(f *identity.Federation) { f.Users = true },
	} {
		f := good
		change(&f)
		if _, err := identity.Federations([]identity.Federation{f}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestAnIdentityProviderVouchesForAUser(t *testing.T) {
	h := newHouse(t)
	idp, stranger, client := newOther(t, jose.ES256, "idp"), newOther(t, jose.ES256, "idp"), newOther(t, jose.EdDSA, "c")
	create(t, h.registry, identity.Agent{Name: "bot", JWKS: client.jwks(t)})
	_, secret := create(t, h.registry, identity.Agent{Name: "other"})
	const issuer = "https://idp.acme.example"
	if err := h.Federate([]identity.Federation{{Issuer: issuer, JWKS: idp.jwks(t), Users: true}}); err != nil {
		t.Fatal(err)
	}
	at := h.clock.Load()
	n := 0
	jag := func(pairs ...any) map[string]any {
		n++
		return with(map[string]any{"iss": issuer, "sub": "u-1", "aud": gateURL, "client_id": "bot", "jti": fmt.Sprint("jag", n), "iat": at, "exp": at + 300,
			"scope": "mcp:files mcp:mail", "resource": gateURL + "/mcp", "email": "ana@acme.example", "email_verified": true, "groups": []string{"finance"}}, pairs...)
	}
	show := func(text string, more ...string) string { // with the client's own proof
		n++
		return byJWT(text, append([]string{"client_assertion_type", assertedBy, "client_assertion", client.sign(t, "JWT", h.assertion("bot", fmt.Sprint("own", n)))}, more...)...)
	}
	token, got := h.issues(t, show(idp.sign(t, "oauth-id-jag+jwt", jag())), nil)
	p, err := h.Verify(t.Context(), token, "/mcp")
	if err != nil || p.Subject != "user:ana@acme.example" || p.Agent() != "agent:bot" || got["scope"] != "mcp:files mcp:mail" {
		t.Fatalf("%+v %v %v", p, err, got)
	}
	if _, err := h.Verify(t.Context(), token, "/v1/models"); err == nil {
		t.Error("it is good for more than its resource")
	}
	if _, got := h.issues(t, show(idp.sign(t, "oauth-id-jag+jwt", jag()), "scope", "mcp:files"), nil); got["scope"] != "mcp:files" {
		t.Error("narrowed", got)
	}
	used := idp.sign(t, "oauth-id-jag+jwt", jag())
	h.issues(t, show(used), nil)
	for _, test := range []struct {
		name, form string
		status     int
		because    string
	}{
		{"used already", show(used), 400, "used already"},
		{"of another client", show(idp.sign(t, "oauth-id-jag+jwt", jag("client_id", "other"))), 400, "not the client that authenticates"},
		{"of no client", show(idp.sign(t, "oauth-id-jag+jwt", jag("client_id", nil))), 400, "not the client that authenticates"},
		{"shown by another client", byJWT(idp.sign(t, "oauth-id-jag+jwt", jag()), "client_id", "other", "client_secret", secret.Reveal()), 400, "not the client that authenticates"},
		{"without a client", byJWT(idp.sign(t, "oauth-id-jag+jwt", jag())), 401, ""},
		{"for another resource", show(idp.sign(t, "oauth-id-jag+jwt", jag("resource", "https://other.example"))), 400, "resource in the ID-JAG"},
		{"for two resources", show(idp.sign(t, "oauth-id-jag+jwt", jag("resource", []string{gateURL, gateURL + "/mcp"}))), 400, "resource in the ID-JAG"},
		{"with more scope asked for", show(idp.sign(t, "oauth-id-jag+jwt", jag()), "scope", "mcp:files mcp:bank"), 400, "more than the ID-JAG"},
		{"with a wider resource asked for", show(idp.sign(t, "oauth-id-jag+jwt", jag()), "resource", gateURL), 400, "another resource"},
		{"with an empty scope", show(idp.sign(t, "oauth-id-jag+jwt", jag("scope", " "))), 400, "lacks a claim"},
		{"for another server", show(idp.sign(t, "oauth-id-jag+jwt", jag("aud", "https://other.example"))), 400, "aud"},
		{"of another issuer", show(idp.sign(t, "oauth-id-jag+jwt", jag("iss", "https://evil.example"))), 400, "not one that this gate takes"},
		{"of another key", show(stranger.sign(t, "oauth-id-jag+jwt", jag())), 400, "signature"},
		{"without a subject", show(idp.sign(t, "oauth-id-jag+jwt", jag("sub", nil))), 400, "lacks a claim"},
		{"without a jti", show(idp.sign(t, "oauth-id-jag+jwt", jag("jti", nil))), 400, "lacks a claim"},
		{"without iat", show(idp.sign(t, "oauth-id-jag+jwt", jag("iat", nil))), 400, "lacks a claim"},
		{"that lives too long", show(idp.sign(t, "oauth-id-jag+jwt", jag("exp", at+2*3600))), 400, "too long"},
		{"that has expired", show(idp.sign(t, "oauth-id-jag+jwt", jag("exp", at-6))), 400, "expired"},
		{"an ID token of the same user", show(idp.sign(t, "JWT", jag())), 400, "not one that this gate takes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code := map[int]string{400: "invalid_grant", 401: "invalid_client"}[test.status]
			h.refuses(t, test.form, ownAddress(test.name), test.status, code, test.because)
		})
	}
	if err := h.registry.SuspendUser(t.Context(), "user:ana@acme.example", "admin"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Verify(t.Context(), token, "/mcp"); err == nil {
		t.Error("the user has left, and the agent still acts for her")
	}
	w := post(h.handler(), show(idp.sign(t, "oauth-id-jag+jwt", jag())), nil)
	if w.Code == http.StatusOK {
		t.Errorf("the user has left: %s", w.Body)
	}
}
