package identity_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"callgate/identity"

	jose "github.com/go-jose/go-jose/v4"
)

// proof is claims as a DPoP proof of o, which has its key in the header.
func (o *other) proof(t testing.TB, claims map[string]any, change ...func(*jose.SignerOptions)) string {
	t.Helper()
	options := (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt")
	for _, f := range change {
		f(options)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: o.alg, Key: o.key}, options)
	if err != nil {
		t.Fatal(err)
	}
	return compact(t, s, claims)
}

func (o *other) thumbprint(t testing.TB) string {
	t.Helper()
	sum, err := (&jose.JSONWebKey{Key: o.key.Public()}).Thumbprint(5) // crypto.SHA256
	if err != nil {
		t.Fatal(err)
	}
	return b64(sum)
}

// A prover makes one proof after another.
type prover struct {
	*other
	h *house
	t testing.TB
	n int
}

func (p *prover) claims(method, path, token string, pairs ...any) map[string]any {
	p.n++
	m := map[string]any{"htm": method, "htu": gateURL + path, "iat": p.h.clock.Load(), "jti": fmt.Sprint("p", p.n)}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		m["ath"] = b64(sum[:])
	}
	return with(m, pairs...)
}

func (p *prover) forToken(pairs ...any) func(*http.Request) {
	text := p.proof(p.t, p.claims("POST", "/oauth/token", "", pairs...))
	return func(r *http.Request) { r.Header.Set("DPoP", text) }
}

// comes is what becomes of a request for path with these headers.
func (h *house) comes(method, path string, header http.Header) (p identity.Principal, w *httptest.ResponseRecorder, err error) {
	w = httptest.NewRecorder()
	r := httptest.NewRequest(method, gateURL+path, nil)
	r.Header = header
	h.Prove(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		p, err = h.Verify(r.Context(), token, path)
	})).ServeHTTP(w, r)
	return p, w, err
}

func newProver(t testing.TB, h *house, alg jose.SignatureAlgorithm) *prover {
	return &prover{other: newOther(t, alg, ""), h: h, t: t}
}

func TestATokenThatIsBoundToAKey(t *testing.T) {
	h := newHouse(t)
	_, secret := create(t, h.registry, identity.Agent{Name: "bot"})
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"bot"}, "client_secret": {secret.Reveal()}}.Encode()
	for _, alg := range []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.EdDSA, jose.RS256, jose.PS256} {
		p := newProver(t, h, alg)
		token, got := h.issues(t, form, p.forToken())
		if got["token_type"] != "DPoP" {
			t.Errorf("%s: token_type %v", alg, got["token_type"])
		}
		if c := claimsOf(t, identity.Token{Access: identity.NewSecret(token)}); c["cnf"].(map[string]any)["jkt"] != p.thumbprint(t) {
			t.Errorf("%s: cnf %v", alg, c["cnf"])
		}
		for range 2 { // a fresh proof each time
			header := http.Header{"Authorization": {"DPoP " + token}, "Dpop": {p.proof(t, p.claims("POST", "/mcp", token))}}
			if who, _, err := h.comes("POST", "/mcp", header); err != nil || who.Subject != "agent:bot" {
				t.Errorf("%s: %+v %v", alg, who, err)
			}
		}
	}
}

func TestProofsThatAreRefused(t *testing.T) {
	h := newHouse(t)
	_, secret := create(t, h.registry, identity.Agent{Name: "bot"})
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"bot"}, "client_secret": {secret.Reveal()}}.Encode()
	p, thief := newProver(t, h, jose.ES256), newProver(t, h, jose.ES256)
	bound, _ := h.issues(t, form, p.forToken())
	stolen, _ := h.issues(t, form, thief.forToken())
	plain, _ := h.issues(t, form, nil)
	at := h.clock.Load()
	good := func(pairs ...any) map[string]any { return p.claims("POST", "/mcp", bound, pairs...) }
	used := p.proof(t, good())
	if _, _, err := h.comes("POST", "/mcp", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {used}}); err != nil {
		t.Fatal(err)
	}
	noJWK := func(o *jose.SignerOptions) { o.EmbedJWK = false }
	private := func(o *jose.SignerOptions) {
		o.EmbedJWK = false
		o.WithHeader("jwk", jose.JSONWebKey{Key: p.key})
	}
	foreignKey := func(o *jose.SignerOptions) {
		o.EmbedJWK = false
		o.WithHeader("jwk", jose.JSONWebKey{Key: thief.key.Public()})
	}
	hmac := func(o *jose.SignerOptions) {
		o.EmbedJWK = false
		o.WithHeader("jwk", map[string]string{"kty": "oct", "k": "AAAA"})
	}
	for _, test := range []struct {
		name   string
		header http.Header
		want   string
	}{
		{"none", http.Header{"Authorization": {"DPoP " + bound}}, "missing"},
		{"a bound token as a bearer's", http.Header{"Authorization": {"Bearer " + bound}}, "bound to a key"},
		{"a bound token as a bearer's, with a proof", http.Header{"Authorization": {"Bearer " + bound}, "Dpop": {p.proof(t, good())}}, "bound to a key"},
		{"two", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good()), p.proof(t, good())}}, "two"},
		{"a token that is not bound", http.Header{"Authorization": {"DPoP " + plain}, "Dpop": {p.proof(t, p.claims("POST", "/mcp", plain))}}, "not bound"},
		{"used already", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {used}}, "used already"},
		{"of another key", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {thief.proof(t, thief.claims("POST", "/mcp", bound))}}, "another key"},
		{"for another token", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, p.claims("POST", "/mcp", stolen))}}, "another token"},
		{"for no token", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good("ath", nil))}}, "another token"},
		{"for another method", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good("htm", "GET"))}}, "another request"},
		{"for a method in small letters", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good("htm", "post"))}}, "another request"},
		{"for another path", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good("htu", gateURL+"/mcp/files"))}}, "another request"},
		{"for another host", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good("htu", "https://evil.example/mcp"))}}, "another request"},
		{"for a URL with a user", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good("htu", strings.Replace(gateURL, "://", "://x@", 1)+"/mcp"))}}, "another request"},
		{"too old", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good("iat", at-61))}}, "too old"},
		{"from the future", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good("iat", at+61))}}, "too old"},
		{"without a time", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good("iat", nil))}}, "too old"},
		{"without a jti", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good("jti", nil))}}, "jti"},
		{"with a long jti", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good("jti", strings.Repeat("j", 300)))}}, "jti"},
		{"with a nonce of somebody else", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good("nonce", "AAAA"))}}, "nonce"},
		{"of another typ", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good(), func(o *jose.SignerOptions) { o.WithType("JWT") })}}, "dpop+jwt"},
		{"with a kid", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good(), func(o *jose.SignerOptions) { o.WithHeader("kid", "x") })}}, "dpop+jwt"},
		{"without its key", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good(), noJWK)}}, "jwk"},
		{"with the private key", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good(), private)}}, "jwk"},
		{"with another's key", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good(), foreignKey)}}, "signed"},
		{"with a shared key", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {p.proof(t, good(), hmac)}}, "jwk"},
		{"that is none", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {"a.b.c"}}, "dpop+jwt"},
		{"an access token", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {bound}}, "dpop+jwt"},
	} {
		if who, _, err := h.comes("POST", "/mcp", test.header); err == nil || !strings.Contains(err.Error(), test.want) || who.Subject != "" {
			t.Errorf("%s: %v %v, want …%s…", test.name, who.Subject, err, test.want)
		}
	}
	h.pass(30 * time.Second) // the proof could still be in time
	if _, _, err := h.comes("POST", "/mcp", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {used}}); err == nil {
		t.Error("used again after half a minute")
	}
	for _, test := range []struct {
		name   string
		change func(*http.Request)
	}{
		{"for another URL", p.forToken("htu", gateURL+"/mcp")},
		{"too old", p.forToken("iat", h.clock.Load()-61)},
		{"two", func(r *http.Request) {
			r.Header["Dpop"] = []string{p.proof(t, p.claims("POST", "/oauth/token", "")), p.proof(t, p.claims("POST", "/oauth/token", ""))}
		}},
	} {
		h.refuses(t, form, test.change, 400, "invalid_dpop_proof", "")
	}
	again := p.forToken()
	h.issues(t, form, again)
	h.refuses(t, form, again, 400, "invalid_dpop_proof", "used already")
}

func TestNoncesOfProofs(t *testing.T) {
	h := newHouse(t)
	registry := h.registry
	_, secret := create(t, registry, identity.Agent{Name: "bot"})
	h.Authority = identity.New(identity.Config{Issuer: gateURL, Now: h.now, Logger: quiet(), Nonce: true, Revocations: h.revocations}, openKeys(t, h.dir), registry)
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"bot"}, "client_secret": {secret.Reveal()}}.Encode()
	p := newProver(t, h, jose.ES256)
	w := post(h.handler(), form, p.forToken())
	nonce := w.Header().Get("DPoP-Nonce")
	if w.Code != 400 || fields(t, w)["error"] != "use_dpop_nonce" || nonce == "" {
		t.Fatalf("%d %s %v", w.Code, w.Body, w.Header())
	}
	w = post(h.handler(), form, p.forToken("nonce", nonce))
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	token, _ := fields(t, w)["access_token"].(string)
	comes := func(pairs ...any) (string, error) {
		_, w, err := h.comes("POST", "/mcp", http.Header{"Authorization": {"DPoP " + token}, "Dpop": {p.proof(t, p.claims("POST", "/mcp", token, pairs...))}})
		return w.Header().Get("DPoP-Nonce"), err
	}
	if _, err := comes("nonce", nonce); err != nil {
		t.Error(err)
	}
	if next, err := comes(); err == nil || next == "" {
		t.Errorf("without a nonce: %v, next %q", err, next)
	}
	h.pass(3 * time.Minute)
	if next, err := comes("nonce", nonce); err != nil || next == "" || next == nonce {
		t.Errorf("an older nonce: %v, next %q", err, next)
	}
	h.pass(3 * time.Minute)
	if _, err := comes("nonce", nonce); err == nil {
		t.Error("a nonce that is too old is taken")
	}
}

func TestBindingGoesOn(t *testing.T) {
	h := newHouse(t)
	h.delegate = func(*identity.Principal, string) error { return nil }
	_, secret := create(t, h.registry, identity.Agent{Name: "strict", DPoP: true})
	_, helper := create(t, h.registry, identity.Agent{Name: "helper"})
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"strict"}, "client_secret": {secret.Reveal()}}.Encode()
	w := post(h.handler(), form, nil)
	if got := fields(t, w); w.Code != 400 || !strings.Contains(got["error_description"].(string), "DPoP proof") {
		t.Errorf("an agent that must bind its tokens: %d %v", w.Code, got)
	}
	p, q := newProver(t, h, jose.ES256), newProver(t, h, jose.EdDSA)
	token, _ := h.issues(t, form, p.forToken())
	exchange := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "client_id": {"helper"}, "client_secret": {helper.Reveal()},
		"subject_token": {token}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"}}.Encode()
	child, got := h.issues(t, exchange, q.forToken())
	if got["token_type"] != "DPoP" || claimsOf(t, identity.Token{Access: identity.NewSecret(child)})["cnf"].(map[string]any)["jkt"] != q.thumbprint(t) {
		t.Errorf("what is exchanged is bound to the key of who exchanges: %v", got)
	}
	if _, _, err := h.comes("POST", "/mcp", http.Header{"Authorization": {"DPoP " + child}, "Dpop": {p.proof(t, p.claims("POST", "/mcp", child))}}); err == nil {
		t.Error("the key of the parent is good for the child's token")
	}
	if _, _, err := h.comes("POST", "/mcp", http.Header{"Authorization": {"DPoP " + child}, "Dpop": {q.proof(t, q.claims("POST", "/mcp", child))}}); err != nil {
		t.Error(err)
	}
}

func FuzzForeign(f *testing.F) {
	h := newHouse(f)
	key := newOther(f, jose.ES256, "k1")
	create(f, h.registry, identity.Agent{Name: "bot", JWKS: key.jwks(f)})
	if err := h.Federate([]identity.Federation{{Issuer: "https://i.example", JWKS: key.jwks(f), Agent: "bot", Claims: map[string][]string{"sub": {"bot"}}}}); err != nil {
		f.Fatal(err)
	}
	f.Add(key.sign(f, "JWT", with(h.assertion("bot", "1"), "iss", "https://i.example", "exp", h.clock.Load()-100)))
	f.Add("a.b.c")
	f.Add(b64([]byte(`{"alg":"ES256","typ":"oauth-id-jag+jwt"}`)) + "." + b64([]byte(`{"aud":[[[[]]]]}`)) + ".AA")
	n := 0
	f.Fuzz(func(t *testing.T, text string) {
		n++
		from := func(r *http.Request) {
			r.RemoteAddr = fmt.Sprintf("[2001:db8:%x:%x::1]:1", n>>16, n&0xffff)
			r.Header.Set("DPoP", strings.Map(func(c rune) rune {
				if c < ' ' || c > '~' {
					return -1
				}
				return c
			}, text))
		}
		for _, form := range []string{byJWT(text), byKey(text)} {
			for _, change := range []func(*http.Request){from, func(r *http.Request) { from(r); r.Header.Del("DPoP") }} {
				if w := post(h.handler(), form, change); w.Code < 400 || w.Code == 500 {
					t.Errorf("%q: %d %s", text, w.Code, w.Body)
				}
			}
		}
	})
}
