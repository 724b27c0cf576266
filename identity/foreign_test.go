package identity_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
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

// other is somebody who signs with go-jose: an issuer that shares no code with
// callgate.
type other struct {
	key crypto.Signer
	alg jose.SignatureAlgorithm
	kid string
}

func newOther(t testing.TB, alg jose.SignatureAlgorithm, kid string) *other {
	t.Helper()
	var key crypto.Signer
	var err error
	switch alg {
	case jose.EdDSA:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case jose.RS256, jose.PS256:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case jose.ES384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &other{key, alg, kid}
}

func (o *other) jwk() jose.JSONWebKey {
	return jose.JSONWebKey{Key: o.key.Public(), KeyID: o.kid, Algorithm: string(o.alg), Use: "sig"}
}

// jwks is what o publishes.
func (o *other) jwks(t testing.TB) string {
	t.Helper()
	doc, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{o.jwk()}})
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

// sign is claims as a JWT of typ, whose header has more besides.
func (o *other) sign(t testing.TB, typ string, claims map[string]any, more ...string) string {
	t.Helper()
	options := new(jose.SignerOptions)
	if typ != "" {
		options = options.WithType(jose.ContentType(typ))
	}
	for i := 0; i < len(more); i += 2 {
		options = options.WithHeader(jose.HeaderKey(more[i]), more[i+1])
	}
	var key any = o.key
	if o.kid != "" {
		key = jose.JSONWebKey{Key: o.key, KeyID: o.kid}
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: o.alg, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	return compact(t, s, claims)
}

// compact is claims as s signs them.
func compact(t testing.TB, s jose.Signer, claims map[string]any) string {
	t.Helper()
	doc, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(doc)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// with is a copy of claims in which what is named is otherwise; nil takes it out.
func with(claims map[string]any, pairs ...any) map[string]any {
	m := make(map[string]any, len(claims))
	for k, v := range claims {
		m[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		if m[pairs[i].(string)] = pairs[i+1]; pairs[i+1] == nil {
			delete(m, pairs[i].(string))
		}
	}
	return m
}

const assertedBy = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// byKey is a request of a client that shows assertion.
func byKey(assertion string, more ...string) string {
	form := url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {assertedBy}, "client_assertion": {assertion}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return form.Encode()
}

// refuses says that the token endpoint answers form with an error, issues nothing, and
// has put that on record.
func (h *house) refuses(t testing.TB, form string, change func(*http.Request), status int, code, because string) {
	t.Helper()
	before := len(h.recorded())
	w := post(h.handler(), form, change)
	got := fields(t, w)
	text, _ := got["error_description"].(string)
	if w.Code != status || got["error"] != code || !strings.Contains(text, because) || got["access_token"] != nil || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s, want %d %s: …%s…", w.Code, w.Body, status, code, because)
	}
	refused := false
	for _, line := range h.recorded()[before:] {
		if strings.HasPrefix(line, "token.issued") || strings.HasPrefix(line, "grant.given") {
			t.Errorf("something was issued: %s", line)
		}
		refused = refused || strings.HasPrefix(line, "token.refused")
	}
	if !refused {
		t.Errorf("the refusal is not on record: %s", w.Body)
	}
}

func (h *house) issues(t testing.TB, form string, change func(*http.Request)) (token string, got map[string]any) {
	t.Helper()
	w := post(h.handler(), form, change)
	got = fields(t, w)
	token, _ = got["access_token"].(string)
	if w.Code != http.StatusOK || token == "" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return token, got
}

func (h *house) assertion(client, id string) map[string]any {
	at := h.clock.Load()
	return map[string]any{"iss": client, "sub": client, "aud": gateURL, "exp": at + 60, "iat": at, "jti": id}
}

func TestAClientProvesItselfByItsKey(t *testing.T) {
	h := newHouse(t)
	for _, alg := range []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.EdDSA, jose.RS256, jose.PS256} {
		name := "bot-" + strings.ToLower(string(alg))
		key := newOther(t, alg, "k1")
		create(t, h.registry, identity.Agent{Name: name, JWKS: key.jwks(t)})
		for i, aud := range []any{gateURL, gateURL + "/oauth/token", []string{gateURL}} {
			form := byKey(key.sign(t, "JWT", with(h.assertion(name, string(rune('a'+i))), "aud", aud)), "client_id", name)
			token, _ := h.issues(t, form, nil)
			if p, err := h.Verify(t.Context(), token, "/mcp"); err != nil || p.Subject != "agent:"+name {
				t.Error(alg, p, err)
			}
		}
	}
}

func TestClientAssertionsThatAreRefused(t *testing.T) {
	h := newHouse(t)
	key, stranger := newOther(t, jose.ES256, "k1"), newOther(t, jose.ES256, "k1")
	_, secret := create(t, h.registry, identity.Agent{Name: "plain"})
	create(t, h.registry, identity.Agent{Name: "bot", JWKS: key.jwks(t)})
	create(t, h.registry, identity.Agent{Name: "gone", JWKS: key.jwks(t)})
	if err := h.registry.Suspend(t.Context(), "gone", "admin"); err != nil {
		t.Fatal(err)
	}
	public := []byte(key.jwks(t)) // what an attacker has of the key
	mac := func() string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: public}, new(jose.SignerOptions).WithHeader("kid", "k1"))
		if err != nil {
			t.Fatal(err)
		}
		doc, _ := json.Marshal(h.assertion("bot", "mac"))
		jws, err := s.Sign(doc)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := jws.CompactSerialize()
		return text
	}
	good := h.assertion("bot", "1")
	used := key.sign(t, "JWT", h.assertion("bot", "used"))
	h.issues(t, byKey(used), nil)
	_, claims, _ := strings.Cut(used, ".")
	claims, _, _ = strings.Cut(claims, ".")
	at := h.clock.Load()
	raw := func(header, claims string) string { return sign(t, key.key.(*ecdsa.PrivateKey), header, claims) }
	plain := `{"iss":"bot","sub":"bot","aud":"` + gateURL + `","exp":1800000060,"jti":"x"`

	for _, test := range []struct {
		name, form, because string
	}{
		{"used already", byKey(used), "used already"},
		{"without a signature", byKey(b64([]byte(`{"alg":"none"}`)) + "." + claims + "."), "this is not a JWT that can be read"},
		{"alg none with a signature", byKey(b64([]byte(`{"alg":"none","kid":"k1"}`)) + "." + claims + ".AAAA"), "algorithm"},
		{"HS256 keyed by the public key", byKey(mac()), "algorithm"},
		{"of another key with the same kid", byKey(stranger.sign(t, "JWT", good)), "signature"},
		{"of a kid that is a path", byKey(raw(`{"alg":"ES256","kid":"../../dev/null"}`, plain+`}`)), "not known"},
		{"of a kid that is SQL", byKey(raw(`{"alg":"ES256","kid":"x' OR 1=1 --"}`, plain+`}`)), "not known"},
		{"with a jku", byKey(key.sign(t, "JWT", good, "jku", "https://evil.example/jwks")), "more than alg"},
		{"with an unknown crit", byKey(raw(`{"alg":"ES256","kid":"k1","crit":["b64"],"b64":false}`, plain+`}`)), ""},
		{"with a claim twice", byKey(raw(`{"alg":"ES256","kid":"k1"}`, plain+`,"sub":"plain"}`)), "this is not a JWT that can be read"},
		{"with a claim in capitals for another", byKey(raw(`{"alg":"ES256","kid":"k1"}`, strings.Replace(plain, `"iss"`, `"ISS"`, 1)+`}`)), "iss and sub"},
		{"with a huge exp", byKey(raw(`{"alg":"ES256","kid":"k1"}`, strings.Replace(plain, "1800000060", "1e300", 1)+`}`)), "another type"},
		{"with line breaks", byKey(used[:40] + "\n" + used[40:]), "this is not a JWT that can be read"},
		{"an access token", byKey(key.sign(t, "at+jwt", good)), "typ"},
		{"an ID-JAG", byKey(key.sign(t, "oauth-id-jag+jwt", good)), "typ"},
		{"a DPoP proof", byKey(key.sign(t, "dpop+jwt", good)), "typ"},
		{"a call assertion", byKey(key.sign(t, "callgate-call+jwt", good)), "typ"},
		{"of another subject than its issuer", byKey(key.sign(t, "JWT", with(good, "iss", "plain"))), "iss and sub"},
		{"for another client_id", byKey(key.sign(t, "JWT", good), "client_id", "plain"), "iss and sub"},
		{"for an agent without keys", byKey(key.sign(t, "JWT", h.assertion("plain", "2"))), "not known"},
		{"for no agent", byKey(key.sign(t, "JWT", h.assertion("nobody", "2"))), "not known"},
		{"for an agent that is suspended", byKey(key.sign(t, "JWT", h.assertion("gone", "2"))), "suspended"},
		{"for another server", byKey(key.sign(t, "JWT", with(good, "aud", "https://other.example"))), "aud"},
		{"for another server too", byKey(key.sign(t, "JWT", with(good, "aud", []string{gateURL, "https://other.example"}))), "aud"},
		{"for a resource", byKey(key.sign(t, "JWT", with(good, "aud", gateURL+"/mcp"))), "aud"},
		{"for nobody", byKey(key.sign(t, "JWT", with(good, "aud", nil))), "aud"},
		{"that has expired", byKey(key.sign(t, "JWT", with(good, "exp", at-6))), "expired"},
		{"that never expires", byKey(key.sign(t, "JWT", with(good, "exp", nil))), "expired"},
		{"that lives too long", byKey(key.sign(t, "JWT", with(good, "exp", at+306))), "too long"},
		{"from the future", byKey(key.sign(t, "JWT", with(good, "iat", at+60))), "not valid yet"},
		{"not valid yet", byKey(key.sign(t, "JWT", with(good, "nbf", at+60))), "not valid yet"},
		{"without a jti", byKey(key.sign(t, "JWT", with(good, "jti", nil))), "lacks a claim"},
		{"that is none", byKey("a.b"), "this is not a JWT that can be read"},
		{"that is too long", byKey(strings.Repeat("a", 9000)), "longer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			// from a network of its own, so that the tries before do not count
			address := func(r *http.Request) { r.RemoteAddr = "[2001:db8:" + ownNet(test.name) + "::1]:1" }
			h.refuses(t, test.form, address, http.StatusUnauthorized, "invalid_client", test.because)
		})
	}
	twice := byKey(key.sign(t, "JWT", h.assertion("bot", "3")), "client_secret", secret.Reveal())
	if w := post(h.handler(), twice, nil); w.Code != http.StatusBadRequest || fields(t, w)["error"] != "invalid_request" {
		t.Errorf("authenticated twice: %d %s", w.Code, w.Body)
	}
	if w := post(h.handler(), byKey(key.sign(t, "JWT", h.assertion("bot", "4")), "client_assertion_type", "saml"), nil); w.Code != http.StatusBadRequest {
		t.Errorf("of another type: %d %s", w.Code, w.Body)
	}
}

// ownNet is four hexadecimal digits that are s's own, for an address.
func ownNet(s string) string {
	sum := 0
	for i := range len(s) {
		sum = (sum*31 + int(s[i])) & 0xffff
	}
	const digits = "0123456789abcdef"
	return string([]byte{digits[sum>>12], digits[sum>>8&15], digits[sum>>4&15], digits[sum&15]})
}

func TestKeysThatAClientPublishes(t *testing.T) {
	h := newHouse(t)
	old, next := newOther(t, jose.ES256, "old"), newOther(t, jose.RS256, "next")
	var asked atomic.Int64
	var doc atomic.Value
	doc.Store(old.jwks(t))
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		text := doc.Load().(string)
		if text == "" {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		w.Write([]byte(text))
	}))
	defer site.Close()
	create(t, h.registry, identity.Agent{Name: "bot", JWKSURI: site.URL})
	n := 0
	try := func(o *other) string {
		n++
		return byKey(o.sign(t, "JWT", h.assertion("bot", string(rune(0x4e00+n)))))
	}
	for range 5 {
		h.issues(t, try(old), nil)
	}
	if got := asked.Load(); got != 1 {
		t.Errorf("asked %d times for five requests", got)
	}
	for range 3 {
		h.refuses(t, try(next), nil, 401, "invalid_client", "not known")
	}
	if got := asked.Load(); got != 1 {
		t.Errorf("asked %d times within half a minute", got)
	}
	doc.Store(next.jwks(t))
	h.pass(time.Minute)
	h.issues(t, try(next), nil) // a key that is new is asked for
	h.refuses(t, try(old), nil, 401, "invalid_client", "not known")

	doc.Store("") // from now on nobody answers, or nothing that can be believed
	h.pass(time.Hour)
	h.issues(t, try(next), nil)
	for _, poison := range []string{"{}", `{"keys":[]}`, `{"keys":[{"kty":"oct","k":"AAAA","kid":"next"}]}`, `not json`, strings.Repeat(" ", 2<<20) + next.jwks(t)} {
		doc.Store(poison)
		h.pass(time.Hour)
		h.issues(t, try(next), nil)
	}
	h.pass(24 * time.Hour)
	h.refuses(t, try(next), nil, 503, "temporarily_unavailable", "try again")
	doc.Store(next.jwks(t))
	h.pass(time.Minute)
	h.issues(t, try(next), nil)
}
