package identity_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"callgate/identity"

	jose "github.com/go-jose/go-jose/v4"
)

const jwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// bearing is a request of somebody who shows the JWT of an issuer.
func bearing(assertion string, more ...string) string {
	form := url.Values{"grant_type": {jwtBearer}, "assertion": {assertion}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return form.Encode()
}

// from is a request from a network of its own, so that the tries of other tests do not
// count for it.
func from(name string) func(*http.Request) {
	return func(r *http.Request) { r.RemoteAddr = "[2001:db8:" + ownNet(name) + "::1]:1" }
}

func (h *house) federate(t testing.TB, list ...identity.Federation) {
	t.Helper()
	if err := h.Federate(list); err != nil {
		t.Fatal(err)
	}
}

// A platform is one whose workloads have JWTs, what one of them says, and which
// conditions tell that workload.
type platform struct {
	name   string
	alg    jose.SignatureAlgorithm
	typ    string
	claims map[string]any
	ask    map[string][]string
	wrong  map[string]any // for each condition, by the way to the claim, what somebody else's JWT says there
	reuse  bool
}

// platforms are as their documentation shows them.
var platforms = []platform{
	{
		name: "a Kubernetes projected token", alg: jose.RS256, reuse: true,
		claims: map[string]any{
			"iss": "https://kubernetes.example.com", "sub": "system:serviceaccount:shop:bot", "aud": []string{gateURL}, "exp": 3600, "iat": 0, "nbf": 0, "jti": "0aa1e8b5-6c0c-4a3e-9d4b-1f5e3f0a7f10",
			"kubernetes.io": map[string]any{"namespace": "shop", "serviceaccount": map[string]any{"name": "bot", "uid": "2f4b"}, "pod": map[string]any{"name": "bot-7f", "uid": "91cc"}, "node": map[string]any{"name": "n1"}, "warnafter": 1},
		},
		ask:   map[string][]string{"kubernetes.io/namespace": {"shop"}, "kubernetes.io/serviceaccount/name": {"bot", "bot-canary"}},
		wrong: map[string]any{"kubernetes.io/namespace": "other", "kubernetes.io/serviceaccount/name": "bot-2"},
	},
	{
		name: "a GitHub Actions token", alg: jose.RS256, typ: "JWT",
		claims: map[string]any{
			"iss": "https://token.actions.githubusercontent.com", "sub": "repo:acme/shop:ref:refs/heads/main", "aud": gateURL, "exp": 300, "iat": 0, "nbf": -5, "jti": "6f4d",
			"ref": "refs/heads/main", "repository": "acme/shop", "repository_owner": "acme", "repository_owner_id": "12345", "repository_id": "67890", "environment": "prod", "event_name": "push", "runner_environment": "github-hosted",
		},
		ask:   map[string][]string{"repository": {"acme/shop"}, "repository_owner_id": {"12345"}, "ref": {"refs/heads/main"}, "environment": {"prod"}},
		wrong: map[string]any{"repository": "acme/shop-fork", "repository_owner_id": "99999", "ref": "refs/pull/7/merge", "environment": "dev"},
	},
	{
		name: "a SPIFFE JWT-SVID", alg: jose.ES256, typ: "JOSE", reuse: true,
		claims: map[string]any{"iss": "https://spire.example.com", "sub": "spiffe://example.com/ns/shop/sa/bot", "aud": []string{gateURL}, "exp": 300, "iat": 0},
		ask:    map[string][]string{"sub": {"spiffe://example.com/ns/shop/sa/bot"}},
		wrong:  map[string]any{"sub": "spiffe://example.com/ns/shop/sa/bot/x"},
	},
	{
		name: "a Google Cloud identity token", alg: jose.RS256, typ: "JWT",
		claims: map[string]any{"iss": "https://accounts.google.com", "sub": "113774264463038321964", "azp": "113774264463038321964", "aud": gateURL, "exp": 3600, "iat": 0, "email": "bot@acme.iam.gserviceaccount.com", "email_verified": true},
		ask:    map[string][]string{"sub": {"113774264463038321964"}, "email_verified": {"true"}},
		wrong:  map[string]any{"sub": "113774264463038321965", "email_verified": false},
	},
	{
		name: "a token of AWS for the outside", alg: jose.ES384, typ: "JWT",
		claims: map[string]any{"iss": "https://0aaa.tokens.sts.global.api.aws", "sub": "arn:aws:iam::123456789012:role/bot", "aud": gateURL, "exp": 300, "iat": 0, "jti": "j1",
			"https://sts.amazonaws.com/": map[string]any{"aws_account": "123456789012", "org_id": "o-1"}},
		ask:   map[string][]string{"sub": {"arn:aws:iam::123456789012:role/bot"}},
		wrong: map[string]any{"sub": "arn:aws:iam::123456789012:role/bot2"},
	},
}

// at is p's claims as of now, with the claim at a path of / otherwise; nil takes it out.
func (p *platform) at(h *house, path string, value any) map[string]any {
	claims := with(p.claims)
	for _, name := range []string{"exp", "iat", "nbf"} {
		if off, ok := claims[name].(int); ok {
			claims[name] = h.clock.Load() + int64(off)
		}
	}
	if path == "" {
		return claims
	}
	if _, whole := claims[path]; whole || !strings.HasPrefix(path, "kubernetes.io/") {
		return with(claims, path, value)
	}
	below := claims
	names := strings.Split(path, "/")
	for _, name := range names[:len(names)-1] {
		copied := with(below[name].(map[string]any))
		below[name], below = copied, copied
	}
	if below[names[len(names)-1]] = value; value == nil {
		delete(below, names[len(names)-1])
	}
	return claims
}

func TestWorkloadsLogInWithWhatTheirPlatformGivesThem(t *testing.T) {
	for _, p := range platforms {
		t.Run(p.name, func(t *testing.T) {
			h := newHouse(t)
			create(t, h.registry, identity.Agent{Name: "bot"})
			create(t, h.registry, identity.Agent{Name: "plain"})
			issuer := newOther(t, p.alg, "k1")
			h.federate(t, identity.Federation{Issuer: p.claims["iss"].(string), JWKS: issuer.jwks(t), Agent: "bot", Claims: p.ask, Reuse: p.reuse})
			sign := func(claims map[string]any) string { return issuer.sign(t, p.typ, claims) }

			good := p.at(h, "", nil)
			n := 0
			fresh := func(claims map[string]any) string {
				if n++; claims["jti"] != nil {
					claims = with(claims, "jti", fmt.Sprint("n", n))
				}
				return sign(with(claims, "n", n))
			}
			token, got := h.issues(t, bearing(sign(good)), nil)
			if got["token_type"] != "Bearer" || got["refresh_token"] != nil {
				t.Error(got)
			}
			who, err := h.Verify(t.Context(), token, "/mcp")
			if err != nil || who.Subject != "agent:bot" || who.Client != "bot" {
				t.Error(who, err)
			}
			h.issues(t, bearing(fresh(good), "client_id", "bot"), nil)
			h.issues(t, bearing(fresh(with(good, "aud", gateURL+"/"))), nil) // a slash at the end is tolerated, nothing more
			token, _ = h.issues(t, bearing(fresh(good), "resource", gateURL+"/mcp/shop", "scope", "mcp:shop"), nil)
			if _, err := h.Verify(t.Context(), token, "/v1/models"); err == nil {
				t.Error("a token for one resource is good for another")
			}

			if !p.reuse {
				h.refuses(t, bearing(sign(good)), from("again"), 400, "invalid_grant", "used already")
			} else {
				h.issues(t, bearing(sign(good)), nil)
			}
			for path, value := range p.wrong {
				h.refuses(t, bearing(fresh(p.at(h, path, value))), from("otherwise "+path), 400, "invalid_grant", "not those that the configuration asks for")
				h.refuses(t, bearing(fresh(p.at(h, path, nil))), from("without "+path), 400, "invalid_grant", "not those that the configuration asks for")
				h.refuses(t, bearing(fresh(p.at(h, path, []any{p.ask[path][0]}))), from("a list of "+path), 400, "invalid_grant", "")
				h.refuses(t, bearing(fresh(p.at(h, path, map[string]any{"": p.ask[path][0]}))), from("an object at "+path), 400, "invalid_grant", "")
				h.refuses(t, bearing(fresh(p.at(h, path, nil)), "client_id", "bot", path, p.ask[path][0]), from("said in the form "+path), 400, "invalid_grant", "")
			}
			at := h.clock.Load()
			for name, test := range map[string]struct{ assertion, because string }{
				"for another":          {fresh(with(good, "aud", "https://other.example")), "aud"},
				"for the cluster":      {fresh(with(good, "aud", "https://kubernetes.default.svc")), "aud"},
				"for another, too":     {fresh(with(good, "aud", []string{gateURL, "https://other.example"})), "aud"},
				"for a resource":       {fresh(with(good, "aud", gateURL+"/mcp")), "aud"},
				"for nobody":           {fresh(with(good, "aud", nil)), "aud"},
				"of another issuer":    {fresh(with(good, "iss", "https://other.example")), "not one that this gate takes"},
				"of an issuer with /":  {fresh(with(good, "iss", good["iss"].(string)+"/")), "not one that this gate takes"},
				"of no issuer":         {fresh(with(good, "iss", nil)), "not one that this gate takes"},
				"of another key":       {newOther(t, p.alg, "k1").sign(t, p.typ, good), "signature"},
				"of an unknown key":    {newOther(t, p.alg, "k2").sign(t, p.typ, good), "not known"},
				"that has expired":     {fresh(with(good, "exp", at-6)), "expired"},
				"that never expires":   {fresh(with(good, "exp", nil)), "expired"},
				"that lives for years": {fresh(with(good, "exp", at+25*3600)), "too long"},
				"from the future":      {fresh(with(good, "iat", at+60)), "not valid yet"},
				"not valid yet":        {fresh(with(good, "nbf", at+60)), "not valid yet"},
				"an access token":      {issuer.sign(t, "at+jwt", good), "typ"},
				"a DPoP proof":         {issuer.sign(t, "dpop+jwt", good), "typ"},
				"an identity of ours":  {issuer.sign(t, "callgate-call+jwt", good), "typ"},
				"a typ in capitals":    {issuer.sign(t, "OAUTH-ID-JAG+JWT", good), "typ"},
				"bound to a key":       {fresh(with(good, "cnf", map[string]any{"jkt": "abc"})), "bound to a key"},
				"bound in some way":    {fresh(with(good, "cnf", map[string]any{})), "bound to a key"},
				"with a key along":     {embedding(t, issuer, p.typ, good), "more than alg"},
				"with a place of keys": {issuer.sign(t, p.typ, good, "jku", "https://evil.example"), "more than alg"},
				"that is none":         {"not.a.jwt", "not a JWT that can be read"},
			} {
				t.Run(name, func(t *testing.T) {
					h.refuses(t, bearing(test.assertion), from(name), 400, "invalid_grant", test.because)
				})
			}
			h.refuses(t, bearing(fresh(good), "client_id", "plain"), from("as another"), 400, "invalid_grant", "not one that this gate takes")
			if err := h.registry.Suspend(t.Context(), "bot", "admin"); err != nil {
				t.Fatal(err)
			}
			h.refuses(t, bearing(fresh(good)), from("suspended"), 400, "invalid_grant", "suspended")
			h.federate(t) // a reload without it
			h.refuses(t, bearing(fresh(good)), from("forgotten"), 400, "invalid_grant", "not one that this gate takes")
		})
	}
}

// embedding is a JWT that brings the key along with which it is signed.
func embedding(t testing.TB, o *other, typ string, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: o.alg, Key: o.key}, (&jose.SignerOptions{EmbedJWK: true}).WithType(jose.ContentType(typ)))
	if err != nil {
		t.Fatal(err)
	}
	return compact(t, s, claims)
}

func TestFederationsThatAreRefused(t *testing.T) {
	h := newHouse(t)
	key := newOther(t, jose.RS256, "k1").jwks(t)
	github := identity.Federation{Issuer: "https://token.actions.githubusercontent.com", JWKS: key, Agent: "bot"}
	kubernetes := identity.Federation{Issuer: "https://kubernetes.example.com", JWKS: key, Agent: "bot"}
	type claims = map[string][]string
	as := func(f identity.Federation, c claims) identity.Federation { f.Claims = c; return f }
	in := func(f identity.Federation, change func(*identity.Federation)) identity.Federation {
		f.Claims = claims{"sub": {"x"}}
		change(&f)
		return f
	}
	for name, test := range map[string]struct {
		f    identity.Federation
		says string
	}{
		"a wildcard":                     {as(github, claims{"sub": {"repo:acme/*"}, "repository_owner_id": {"1"}}), "no wildcards"},
		"a wildcard for one character":   {as(kubernetes, claims{"sub": {"system:serviceaccount:shop:bot?"}}), "no wildcards"},
		"a wildcard for all":             {as(kubernetes, claims{"sub": {"*"}}), "no wildcards"},
		"no conditions":                  {as(kubernetes, nil), "which workload"},
		"a namespace alone":              {as(kubernetes, claims{"kubernetes.io/namespace": {"shop"}}), "which workload"},
		"an account in any namespace":    {as(kubernetes, claims{"kubernetes.io/serviceaccount/name": {"bot"}}), "which workload"},
		"GitHub by sub alone":            {as(github, claims{"sub": {"repo:acme/shop:ref:refs/heads/main"}}), "repository_owner_id"},
		"GitHub by repository alone":     {as(github, claims{"repository": {"acme/shop"}, "repository_owner_id": {"1"}}), "ref or environment"},
		"GitHub by a name for the owner": {as(github, claims{"sub": {"x"}, "repository_owner_id": {"acme"}}), "a number"},
		"a claim of nothing":             {as(kubernetes, claims{"sub": {}}), "1 to 32 texts"},
		"a claim of an empty text":       {as(kubernetes, claims{"sub": {""}}), "exact text"},
		"two lines":                      {as(kubernetes, claims{"sub": {"a\nb"}}), "exact text"},
		"no issuer":                      {in(kubernetes, func(f *identity.Federation) { f.Issuer = "" }), "issuer"},
		"no keys":                        {in(kubernetes, func(f *identity.Federation) { f.JWKS = "" }), "jwks_uri"},
		"keys twice":                     {in(kubernetes, func(f *identity.Federation) { f.JWKSURI = "https://x.example/jwks" }), "one of the two"},
		"keys in clear":                  {in(kubernetes, func(f *identity.Federation) { f.JWKS, f.JWKSURI = "", "http://x.example/jwks" }), "https"},
		"keys in a file":                 {in(kubernetes, func(f *identity.Federation) { f.JWKS, f.JWKSURI = "", "file:///etc/passwd" }), "https"},
		"keys with a password":           {in(kubernetes, func(f *identity.Federation) { f.JWKS, f.JWKSURI = "", "https://a:b@x.example/jwks" }), "https"},
		"a private key":                  {in(kubernetes, func(f *identity.Federation) { f.JWKS = privately(t) }), "private key"},
		"a symmetric key":                {in(kubernetes, func(f *identity.Federation) { f.JWKS = `{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"k1"}]}` }), "private key"},
		"a name twice in the keys":       {in(kubernetes, func(f *identity.Federation) { f.JWKS = `{"keys":[],"keys":[]}` }), "no JWK Set"},
		"too many keys":                  {in(kubernetes, func(f *identity.Federation) { f.JWKS = `{"keys":[` + strings.Repeat(`{},`, 128) + `{}]}` }), "129 keys"},
		"no agent":                       {in(kubernetes, func(f *identity.Federation) { f.Agent = "" }), "agent"},
		"an agent and users":             {in(kubernetes, func(f *identity.Federation) { f.Users = true }), "users: stands without agent"},
		"the cluster's own audience":     {in(kubernetes, func(f *identity.Federation) { f.Audience = "https://kubernetes.default.svc.cluster.local" }), "every pod has"},
	} {
		t.Run(name, func(t *testing.T) {
			err := h.Federate([]identity.Federation{test.f})
			if !errors.Is(err, identity.ErrInvalid) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want …%s…", err, test.says)
			}
		})
	}
	many := make([]identity.Federation, 257)
	if err := h.Federate(many); !errors.Is(err, identity.ErrInvalid) {
		t.Error(err)
	}
}

// privately is a set in which an issuer shows its private key.
func privately(t testing.TB) string {
	key := newOther(t, jose.ES256, "k1")
	doc, err := (&jose.JSONWebKey{Key: key.key, KeyID: "k1"}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return `{"keys":[` + string(doc) + `]}`
}

func TestOneIssuerForManyAgents(t *testing.T) {
	h := newHouse(t)
	issuer := newOther(t, jose.ES256, "k1")
	var list []identity.Federation
	for _, name := range []string{"a", "b"} {
		create(t, h.registry, identity.Agent{Name: name})
		list = append(list, identity.Federation{Issuer: "https://i.example", JWKS: issuer.jwks(t), Agent: name, Claims: map[string][]string{"sub": {"shared", "of-" + name}}, Audience: "gate-" + name})
	}
	h.federate(t, list...)
	n := 0
	says := func(sub, aud string) string {
		n++
		return issuer.sign(t, "JWT", map[string]any{"iss": "https://i.example", "sub": sub, "aud": aud, "exp": h.clock.Load() + 60, "jti": fmt.Sprint(n)})
	}
	for sub, name := range map[string]string{"of-a": "a", "of-b": "b"} {
		token, _ := h.issues(t, bearing(says(sub, "gate-"+name)), nil)
		if p, err := h.Verify(t.Context(), token, "/mcp"); err != nil || p.Subject != "agent:"+name {
			t.Error(p, err)
		}
	}
	h.refuses(t, bearing(says("of-a", "gate-b")), from("1"), 400, "invalid_grant", "")
	h.refuses(t, bearing(says("of-a", gateURL)), from("2"), 400, "invalid_grant", "aud") // an audience of its own, and not the gate's
	for i := range list {
		list[i].Audience = ""
	}
	h.federate(t, list...)
	h.refuses(t, bearing(says("shared", gateURL)), from("3"), 400, "invalid_grant", "several agents")
	h.issues(t, bearing(says("shared", gateURL), "client_id", "b"), nil)

	// who authenticates as another besides is nobody
	_, secret := create(t, h.registry, identity.Agent{Name: "c"})
	h.refuses(t, bearing(says("of-a", gateURL)), func(r *http.Request) { r.SetBasicAuth("c", secret.Reveal()) }, 400, "invalid_grant", "is not the agent of the JWT")
	h.refuses(t, bearing(says("of-a", gateURL)), func(r *http.Request) { r.SetBasicAuth("c", "wrong") }, 401, "invalid_client", "")
}

func TestKeysThatAnIssuerPublishes(t *testing.T) {
	h := newHouse(t)
	create(t, h.registry, identity.Agent{Name: "bot"})
	old, next := newOther(t, jose.ES256, "old"), newOther(t, jose.ES256, "next")
	type answer struct {
		status int
		header http.Header
		text   string
	}
	var asked, elsewhere atomic.Int64
	var said atomic.Pointer[answer]
	said.Store(&answer{status: 200, text: old.jwks(t)})
	secret := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { elsewhere.Add(1); w.Write([]byte(next.jwks(t))) }))
	defer secret.Close()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		a := said.Load()
		for name, values := range a.header {
			w.Header()[name] = values
		}
		w.WriteHeader(a.status)
		w.Write([]byte(a.text))
	}))
	defer site.Close()
	h.federate(t, identity.Federation{Issuer: "https://i.example", JWKSURI: site.URL + "/keys", Agent: "bot", Claims: map[string][]string{"sub": {"w"}}})
	n := 0
	says := func(o *other) string {
		n++
		return bearing(o.sign(t, "JWT", map[string]any{"iss": "https://i.example", "sub": "w", "aud": gateURL, "exp": h.clock.Load() + 60, "jti": fmt.Sprint(n)}))
	}
	h.issues(t, says(old), nil)
	for range 3 { // whoever makes up key names causes no request
		h.refuses(t, says(next), from("early"), 400, "invalid_grant", "not known")
	}
	if got := asked.Load(); got != 1 {
		t.Errorf("asked %d times", got)
	}
	h.pass(time.Minute)
	for name, a := range map[string]*answer{
		"a redirect":             {status: 302, header: http.Header{"Location": {secret.URL}}},
		"a redirect for good":    {status: 308, header: http.Header{"Location": {secret.URL}}, text: next.jwks(t)},
		"an error with keys":     {status: 500, text: next.jwks(t)},
		"a private key":          {status: 200, text: privately(t)},
		"no JSON":                {status: 200, text: "<html>"},
		"a name twice":           {status: 200, text: `{"keys":[],` + strings.TrimPrefix(next.jwks(t), "{")},
		"too many keys":          {status: 200, text: `{"keys":[` + strings.Repeat(`{"kty":"oct"},`, 200) + `{}]}`},
		"too long":               {status: 200, text: strings.TrimSuffix(next.jwks(t), "}") + `,"x":"` + strings.Repeat("x", 1<<20) + `"}`},
		"keys for encryption":    {status: 200, text: strings.Replace(next.jwks(t), `"sig"`, `"enc"`, 1)},
		"keys of another family": {status: 200, text: strings.Replace(next.jwks(t), `"ES256"`, `"ES384"`, 1)},
	} {
		said.Store(a)
		h.pass(time.Minute)
		before := asked.Load()
		h.refuses(t, says(next), from(name), 400, "invalid_grant", "not known")
		h.issues(t, says(old), nil) // what was known stays
		if asked.Load() != before+1 {
			t.Errorf("%s: asked %d times", name, asked.Load()-before)
		}
	}
	if got := elsewhere.Load(); got != 0 {
		t.Errorf("redirects were followed %d times", got)
	}
	said.Store(&answer{status: 200, text: next.jwks(t)})
	h.pass(time.Minute)
	h.issues(t, says(next), nil)
	h.refuses(t, says(old), from("rotated"), 400, "invalid_grant", "not known")

	said.Store(&answer{status: 503})
	h.pass(25 * time.Hour) // longer than anybody's keys are believed without being asked for
	h.refuses(t, says(next), from("down"), 503, "temporarily_unavailable", "try again")
	said.Store(&answer{status: 200, text: next.jwks(t)})
	h.pass(time.Minute)
	h.issues(t, says(next), nil)
}

func TestAnAssertionIsGoodOnceOnAllReplicas(t *testing.T) {
	uses := new(identity.MemoryUses)
	issuer := newOther(t, jose.ES256, "k1")
	var replicas []*house
	for range 2 {
		h := newHouseAs(t, func(c *identity.Config) { c.Uses = uses })
		create(t, h.registry, identity.Agent{Name: "bot"})
		h.federate(t, identity.Federation{Issuer: "https://i.example", JWKS: issuer.jwks(t), Agent: "bot", Claims: map[string][]string{"sub": {"w"}}})
		replicas = append(replicas, h)
	}
	form := bearing(issuer.sign(t, "JWT", map[string]any{"iss": "https://i.example", "sub": "w", "aud": gateURL, "exp": replicas[0].clock.Load() + 60, "jti": "1"}))
	codes := make(chan int, 16)
	for i := range 16 {
		go func() { codes <- post(replicas[i%2].handler(), form, nil).Code }()
	}
	good := 0
	for range 16 {
		if <-codes == http.StatusOK {
			good++
		}
	}
	if good != 1 {
		t.Errorf("one JWT gave %d tokens", good)
	}
	for _, h := range replicas { // it is forgotten only once it has expired
		h.pass(30 * time.Second)
		if err := uses.DropUses(t.Context(), h.now()); err != nil {
			t.Fatal(err)
		}
		h.refuses(t, form, from("later"), 400, "invalid_grant", "used already")
	}
}

// deafUses cannot note anything.
type deafUses struct{ identity.MemoryUses }

func (*deafUses) Use(context.Context, string, time.Time) (bool, error) {
	return true, errors.New("the disk is full")
}

func TestWhatCannotBeNotedAsUsedIsNotTaken(t *testing.T) {
	h := newHouseAs(t, func(c *identity.Config) { c.Uses = new(deafUses) })
	key := newOther(t, jose.ES256, "k1")
	create(t, h.registry, identity.Agent{Name: "bot", JWKS: key.jwks(t)})
	h.federate(t, identity.Federation{Issuer: "https://i.example", JWKS: key.jwks(t), Agent: "bot", Claims: map[string][]string{"sub": {"w"}}})
	h.refuses(t, byKey(key.sign(t, "JWT", h.assertion("bot", "1"))), nil, 500, "server_error", "log")
	h.refuses(t, bearing(key.sign(t, "JWT", map[string]any{"iss": "https://i.example", "sub": "w", "aud": gateURL, "exp": h.clock.Load() + 60, "jti": "1"})), nil, 500, "server_error", "log")
}

func TestWhoKeepsShowingWrongJWTsWaits(t *testing.T) {
	h := newHouse(t)
	create(t, h.registry, identity.Agent{Name: "bot"})
	issuer, stranger := newOther(t, jose.ES256, "k1"), newOther(t, jose.ES256, "k1")
	h.federate(t, identity.Federation{Issuer: "https://i.example", JWKS: issuer.jwks(t), Agent: "bot", Claims: map[string][]string{"sub": {"w", "v"}}})
	n := 0
	says := func(o *other, sub string) string {
		n++
		return bearing(o.sign(t, "JWT", map[string]any{"iss": "https://i.example", "sub": sub, "aud": gateURL, "exp": h.clock.Load() + 60, "jti": fmt.Sprint(n)}))
	}
	throttled := func(form string, change func(*http.Request)) bool {
		t.Helper()
		w := post(h.handler(), form, change)
		if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
			t.Error("it does not say how long")
		}
		return w.Code == http.StatusTooManyRequests
	}
	here, there := from("here"), from("there")
	for i := range 10 {
		if throttled(says(stranger, "w"), here) {
			t.Fatalf("after %d", i)
		}
	}
	records := len(h.recorded())
	if !throttled(says(stranger, "w"), here) || !throttled(says(issuer, "w"), here) {
		t.Error("after ten wrong tries there is no wait")
	}
	if got := len(h.recorded()); got != records {
		t.Errorf("%d records of tries that were turned away unseen", got-records)
	}
	if throttled(says(issuer, "w"), there) || throttled(says(issuer, "v"), here) {
		t.Error("a wrong try somewhere, or of somebody, slows others down")
	}
	for i := range 100 { // but an address has only so many
		throttled(says(stranger, fmt.Sprint("x", i)), here)
	}
	if !throttled(says(issuer, "v"), here) || throttled(says(issuer, "v"), there) {
		t.Error("an address goes on for ever")
	}
	h.pass(time.Minute)
	h.issues(t, says(issuer, "w"), here)
}
