package identity_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"callgate/identity"

	jose "github.com/go-jose/go-jose/v4"
)

var proofs atomic.Int64 // that were made, for a jti each

// proof is a DPoP proof of o for a request, whose claims are otherwise as pairs say.
func (o *other) proof(t testing.TB, at time.Time, method, url, token string, pairs ...any) string {
	t.Helper()
	return o.prove(t, "dpop+jwt", proofClaims(at, method, url, token, pairs...))
}

func proofClaims(at time.Time, method, url, token string, pairs ...any) map[string]any {
	claims := map[string]any{"htm": method, "htu": url, "iat": at.Unix(), "jti": fmt.Sprint("p", proofs.Add(1))}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		claims["ath"] = b64(sum[:])
	}
	return with(claims, pairs...)
}

func (o *other) prove(t testing.TB, typ string, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: o.alg, Key: o.key}, (&jose.SignerOptions{EmbedJWK: true}).WithType(jose.ContentType(typ)))
	if err != nil {
		t.Fatal(err)
	}
	return compact(t, s, claims)
}

// thumbprint is the RFC 7638 thumbprint of o, as go-jose makes it.
func (o *other) thumbprint(t testing.TB) string {
	t.Helper()
	sum, err := (&jose.JSONWebKey{Key: o.key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return b64(sum)
}

const tokenURL = gateURL + "/oauth/token"

func showing(proof ...string) func(*http.Request) {
	return func(r *http.Request) { r.Header["Dpop"] = proof }
}

// bound is a token of bot that is bound to o.
func (h *house) bound(t testing.TB, o *other, form string, client func(*http.Request)) string {
	t.Helper()
	token, got := h.issues(t, form, both(client, showing(o.proof(t, h.now(), "POST", tokenURL, ""))))
	if got["token_type"] != "DPoP" {
		t.Fatalf("token_type %v", got["token_type"])
	}
	return token
}

// door is what stands behind Prove: it answers 204 to who may come in.
func (h *house) door() http.Handler {
	return h.Prove(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		err := errors.New("no token")
		if ok {
			_, err = h.Verify(r.Context(), token, r.URL.Path)
		}
		if err != nil {
			w.Header().Set("WWW-Authenticate", h.Challenge(r.URL.Path, err))
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
}

func (h *house) knock(method, path, authorization string, proof ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	if len(proof) > 0 {
		r.Header["Dpop"] = proof
	}
	w := httptest.NewRecorder()
	h.door().ServeHTTP(w, r)
	return w
}

func newBound(t testing.TB, change func(*identity.Config)) (*house, func(*http.Request)) {
	if change == nil {
		change = func(*identity.Config) {}
	}
	h := newHouseAs(t, change)
	_, secret := create(t, h.registry, identity.Agent{Name: "bot"})
	return h, func(r *http.Request) { r.SetBasicAuth("bot", secret.Reveal()) }
}

func TestATokenIsBoundToAKey(t *testing.T) {
	h, client := newBound(t, nil)
	for _, alg := range []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.EdDSA, jose.RS256, jose.PS256} {
		key := newOther(t, alg, "")
		token := h.bound(t, key, grant, client)
		if cnf := claimsOf(t, identity.Token{Access: identity.NewSecret(token)})["cnf"]; fmt.Sprint(cnf) != "map[jkt:"+key.thumbprint(t)+"]" {
			t.Errorf("%s: cnf %v, want jkt %s", alg, cnf, key.thumbprint(t))
		}
		for _, test := range []struct{ method, path, htu string }{
			{"POST", "/mcp", gateURL + "/mcp"},
			{"GET", "/v1/models", gateURL + "/v1/models"},
			{"POST", "/mcp/shop?x=1", gateURL + "/mcp/shop"},
			{"POST", "/mcp/shop?x=1", gateURL + "/mcp/shop?x=2#y"}, // "ignoring any query and fragment parts"
			{"POST", "/mcp/a%2fb", gateURL + "/mcp/a%2fb"},
			{"POST", "/mcp", strings.ToUpper(gateURL[:4]) + gateURL[4:] + "/mcp/"},
		} {
			for _, scheme := range []string{"DPoP ", "dpop ", "DPOP   "} {
				if w := h.knock(test.method, test.path, scheme+token, key.proof(t, h.now(), test.method, test.htu, token)); w.Code != http.StatusNoContent {
					t.Errorf("%s %s%s: %d %s", alg, scheme, test.path, w.Code, w.Body)
				}
			}
		}
	}
}

// Every line of RFC 9449, section 4.3, wrong once: at the token endpoint, and with a
// token.
func TestProofsThatAreRefused(t *testing.T) {
	h, client := newBound(t, nil)
	key, stranger := newOther(t, jose.ES256, ""), newOther(t, jose.ES256, "")
	token := h.bound(t, key, grant, client)
	another := h.bound(t, key, grant, client)
	used := key.proof(t, h.now(), "POST", gateURL+"/mcp", token)
	if w := h.knock("POST", "/mcp", "DPoP "+token, used); w.Code != http.StatusNoContent {
		t.Fatal(w.Code, w.Body)
	}
	usedThere := key.proof(t, h.now(), "POST", tokenURL, "")
	h.issues(t, grant, both(client, showing(usedThere)))

	type made struct{ here, there []string } // proofs for /mcp, and for the token endpoint
	make := func(f func(url, token string) string) made {
		return made{[]string{f(gateURL+"/mcp", token)}, []string{f(tokenURL, "")}}
	}
	claims := func(pairs ...any) made {
		return make(func(url, token string) string { return key.proof(t, h.now(), "POST", url, token, pairs...) })
	}
	raw := func(header func(jwk string) string) made {
		return make(func(url, token string) string {
			jwk, err := json.Marshal(jose.JSONWebKey{Key: key.key.Public()})
			if err != nil {
				t.Fatal(err)
			}
			doc, _ := json.Marshal(proofClaims(h.now(), "POST", url, token))
			return sign(t, key.key.(*ecdsa.PrivateKey), header(string(jwk)), string(doc))
		})
	}
	private, err := (&jose.JSONWebKey{Key: key.key}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	stolen, err := json.Marshal(jose.JSONWebKey{Key: stranger.key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	hmac := make(func(url, token string) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte("0123456789abcdef0123456789abcdef")}, (&jose.SignerOptions{}).WithType("dpop+jwt").WithHeader("jwk", jose.JSONWebKey{Key: key.key.Public()}))
		if err != nil {
			t.Fatal(err)
		}
		return compact(t, s, proofClaims(h.now(), "POST", url, token))
	})
	good := claims()
	tests := map[string]struct {
		made
		says string
	}{
		"two headers":                {made{[]string{good.here[0], claims().here[0]}, []string{good.there[0], claims().there[0]}}, "there are two"},
		"two proofs in one header":   {made{[]string{good.here[0] + "," + claims().here[0]}, []string{good.there[0] + "," + claims().there[0]}}, "can be read"},
		"an empty header":            {made{[]string{""}, []string{""}}, "can be read"},
		"no JWT":                     {made{[]string{"x.y.z"}, []string{"x.y.z"}}, "can be read"},
		"a claim twice":              {raw(func(jwk string) string { return `{"alg":"ES256","alg":"ES256","typ":"dpop+jwt","jwk":` + jwk + `}` }), "can be read"},
		"no jti":                     {claims("jti", nil), "jti"},
		"an empty jti":               {claims("jti", ""), "jti"},
		"a jti without end":          {claims("jti", strings.Repeat("x", 257)), "jti"},
		"no htm":                     {claims("htm", nil), "another request"},
		"no htu":                     {claims("htu", nil), "another request"},
		"no iat":                     {claims("iat", nil), "too old"},
		"another typ":                {make(func(url, token string) string { return key.prove(t, "JWT", proofClaims(h.now(), "POST", url, token)) }), "dpop+jwt"},
		"no typ":                     {raw(func(jwk string) string { return `{"alg":"ES256","jwk":` + jwk + `}` }), "dpop+jwt"},
		"a typ in capitals":          {raw(func(jwk string) string { return `{"alg":"ES256","typ":"DPOP+JWT","jwk":` + jwk + `}` }), "dpop+jwt"},
		"alg none":                   {raw(func(jwk string) string { return `{"alg":"none","typ":"dpop+jwt","jwk":` + jwk + `}` }), "can be read"},
		"a symmetric alg":            {hmac, "can be read"},
		"a symmetric key":            {raw(func(string) string { return `{"alg":"ES256","typ":"dpop+jwt","jwk":{"kty":"oct","k":"AAAA"}}` }), "no public key"},
		"an alg of another key":      {raw(func(jwk string) string { return `{"alg":"ES384","typ":"dpop+jwt","jwk":` + jwk + `}` }), "not signed"},
		"a signature of another key": {raw(func(string) string { return `{"alg":"ES256","typ":"dpop+jwt","jwk":` + string(stolen) + `}` }), "not signed"},
		"no key":                     {raw(func(string) string { return `{"alg":"ES256","typ":"dpop+jwt"}` }), "no public key"},
		"a kid, which is no key":     {raw(func(jwk string) string { return `{"alg":"ES256","typ":"dpop+jwt","kid":"k1","jwk":` + jwk + `}` }), "can be read"},
		"a place of keys": {raw(func(jwk string) string {
			return `{"alg":"ES256","typ":"dpop+jwt","jku":"https://evil.example","jwk":` + jwk + `}`
		}), "can be read"},
		"crit": {raw(func(jwk string) string {
			return `{"alg":"ES256","typ":"dpop+jwt","crit":["x"],"x":1,"jwk":` + jwk + `}`
		}), "can be read"},
		"a private key":            {raw(func(string) string { return `{"alg":"ES256","typ":"dpop+jwt","jwk":` + string(private) + `}` }), "no private part"},
		"another method":           {claims("htm", "GET"), "another request"},
		"the method in lower case": {claims("htm", "post"), "another request"},
		"another path":             {claims("htu", gateURL+"/v1/models"), "another request"},
		"a path with more":         {make(func(url, token string) string { return key.proof(t, h.now(), "POST", url+"/x", token) }), "another request"},
		"a path in another case":   {claims("htu", strings.ToUpper(gateURL+"/mcp")), "another request"},
		"another host": {make(func(url, token string) string {
			return key.proof(t, h.now(), "POST", strings.Replace(url, "127.0.0.1", "127.0.0.2", 1), token)
		}), "another request"},
		"another port": {make(func(url, token string) string {
			return key.proof(t, h.now(), "POST", strings.Replace(url, ":8700", "", 1), token)
		}), "another request"},
		"another scheme": {make(func(url, token string) string {
			return key.proof(t, h.now(), "POST", strings.Replace(url, "http:", "https:", 1), token)
		}), "another request"},
		"a user in the URL": {make(func(url, token string) string {
			return key.proof(t, h.now(), "POST", strings.Replace(url, "//", "//a@", 1), token)
		}), "another request"},
		"a path alone":                    {claims("htu", "/mcp"), "another request"},
		"an iat of long ago":              {claims("iat", h.now().Unix()-61), "too old"},
		"an iat to come":                  {claims("iat", h.now().Unix()+61), "too old"},
		"an iat that is a text":           {claims("iat", fmt.Sprint(h.now().Unix())), "can be read"},
		"an iat before 1970":              {claims("iat", -1), "can be read"},
		"an exp that is over":             {claims("exp", h.now().Unix()-6), "too old"},
		"a nonce that is none of ours":    {claims("nonce", "AAAA"), "nonce"},
		"a nonce that somebody has built": {claims("nonce", strings.Repeat("A", 32)), "nonce"},
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		test := tests[name]
		t.Run(name, func(t *testing.T) {
			code := "invalid_dpop_proof"
			if strings.Contains(name, "nonce") {
				code = "use_dpop_nonce"
			}
			w := h.knock("POST", "/mcp", "DPoP "+token, test.here...)
			challenge := w.Header().Get("WWW-Authenticate")
			if w.Code != 401 || !strings.Contains(w.Body.String(), test.says) || !strings.HasPrefix(challenge, `DPoP error="`+code+`"`) || !strings.Contains(challenge, `algs="ES256 `) {
				t.Errorf("with a token: %d %s %s", w.Code, w.Body, challenge)
			}
			h.refuses(t, grant, both(both(client, from(name)), showing(test.there...)), 400, code, test.says)
		})
	}
	for name, test := range map[string]struct {
		authorization string
		proof         []string
		says, code    string
	}{
		"without a proof":                  {"DPoP " + token, nil, "missing", "invalid_dpop_proof"},
		"downgraded to Bearer":             {"Bearer " + token, nil, "bound to a key", "invalid_token"},
		"as Bearer, with its proof":        {"Bearer " + token, claims().here, "bound to a key", "invalid_token"}, // RFC 9449, 7.1: only by its own scheme
		"with a proof that was used":       {"DPoP " + token, []string{used}, "used already", "invalid_dpop_proof"},
		"with another key's proof":         {"DPoP " + token, []string{stranger.proof(t, h.now(), "POST", gateURL+"/mcp", token)}, "another key", "invalid_token"},
		"with another token's proof":       {"DPoP " + token, []string{key.proof(t, h.now(), "POST", gateURL+"/mcp", another)}, "another token", "invalid_dpop_proof"},
		"with no token's proof":            {"DPoP " + token, []string{key.proof(t, h.now(), "POST", gateURL+"/mcp", "")}, "another token", "invalid_dpop_proof"},
		"a token that is none":             {"DPoP x.y.z", []string{key.proof(t, h.now(), "POST", gateURL+"/mcp", "x.y.z")}, "access token", "invalid_token"},
		"a proof as a token":               {"Bearer " + claims().here[0], nil, "", "invalid_token"},
		"a proof as a token, with a proof": {"DPoP " + claims().here[0], claims().here, "", "invalid_token"},
	} {
		t.Run(name, func(t *testing.T) {
			w := h.knock("POST", "/mcp", test.authorization, test.proof...)
			if w.Code != 401 || !strings.Contains(w.Body.String(), test.says) || !strings.Contains(w.Header().Get("WWW-Authenticate"), `error="`+test.code+`"`) {
				t.Errorf("%d %s %s", w.Code, w.Body, w.Header().Get("WWW-Authenticate"))
			}
		})
	}
	h.refuses(t, grant, both(both(client, from("used there")), showing(usedThere)), 400, "invalid_dpop_proof", "used already")

	// a token that is bound to nothing goes by its own scheme
	plain, _ := h.issues(t, grant, client)
	if w := h.knock("POST", "/mcp", "DPoP "+plain, key.proof(t, h.now(), "POST", gateURL+"/mcp", plain)); w.Code != 401 || !strings.Contains(w.Body.String(), "not bound") {
		t.Error(w.Code, w.Body)
	}
	if w := h.knock("POST", "/mcp", "Bearer "+plain); w.Code != http.StatusNoContent {
		t.Error(w.Code, w.Body)
	}
	// and what was wrong with others' proofs has not used up anything
	if w := h.knock("POST", "/mcp", "DPoP "+token, good.here...); w.Code != http.StatusNoContent {
		t.Error(w.Code, w.Body)
	}
}

func TestAProofIsGoodOnceForAsLongAsItIsGood(t *testing.T) {
	h, client := newBound(t, nil)
	key := newOther(t, jose.ES256, "")
	token := h.bound(t, key, grant, client)
	early := key.proof(t, h.now().Add(60*time.Second), "POST", gateURL+"/mcp", token) // by a clock that is fast
	if w := h.knock("POST", "/mcp", "DPoP "+token, early); w.Code != http.StatusNoContent {
		t.Fatal(w.Code, w.Body)
	}
	for range 13 { // until its iat is a minute ago
		h.pass(10 * time.Second)
		h.knock("POST", "/mcp", "DPoP "+token, key.proof(t, h.now(), "POST", gateURL+"/mcp", token)) // which has old ones forgotten
		if w := h.knock("POST", "/mcp", "DPoP "+token, early); w.Code == http.StatusNoContent {
			t.Fatalf("a proof was good twice, at %v", h.now())
		}
	}
}

func TestNonces(t *testing.T) {
	h, client := newBound(t, func(c *identity.Config) { c.Nonce = true })
	key := newOther(t, jose.ES256, "")
	w := post(h.handler(), grant, both(client, showing(key.proof(t, h.now(), "POST", tokenURL, ""))))
	nonce := w.Header().Get("DPoP-Nonce")
	if w.Code != 400 || fields(t, w)["error"] != "use_dpop_nonce" || nonce == "" {
		t.Fatalf("%d %s %v", w.Code, w.Body, w.Header())
	}
	token, _ := h.issues(t, grant, both(client, showing(key.proof(t, h.now(), "POST", tokenURL, "", "nonce", nonce))))
	w = h.knock("POST", "/mcp", "DPoP "+token, key.proof(t, h.now(), "POST", gateURL+"/mcp", token))
	if w.Code != 401 || !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), `DPoP error="use_dpop_nonce"`) || w.Header().Get("DPoP-Nonce") == "" {
		t.Fatal(w.Code, w.Header())
	}
	again := func(nonce string) *httptest.ResponseRecorder {
		return h.knock("POST", "/mcp", "DPoP "+token, key.proof(t, h.now(), "POST", gateURL+"/mcp", token, "nonce", nonce))
	}
	if w := again(nonce); w.Code != http.StatusNoContent || w.Header().Get("DPoP-Nonce") != "" {
		t.Fatal(w.Code, w.Header())
	}
	h.pass(3 * time.Minute) // it is still good, and the next is told
	w = again(nonce)
	next := w.Header().Get("DPoP-Nonce")
	if w.Code != http.StatusNoContent || next == "" || next == nonce {
		t.Fatal(w.Code, w.Header())
	}
	h.pass(119 * time.Second)
	if w := again(nonce); w.Code != http.StatusNoContent {
		t.Fatal(w.Code, w.Body)
	}
	token, _ = h.issues(t, grant, both(client, showing(key.proof(t, h.now(), "POST", tokenURL, "", "nonce", next))))
	h.pass(2 * time.Second)
	if w := again(nonce); w.Code != 401 {
		t.Error("a nonce is good for ever")
	}
	if w := again(next[:len(next)-1] + "_"); w.Code != 401 {
		t.Error("a nonce can be made up")
	}
	// another replica, by the same keys, knows it; one by others does not
	for _, known := range []bool{true, false} {
		dir := h.dir
		if !known {
			dir = filepath.Join(t.TempDir(), "keys")
		}
		r := identity.New(identity.Config{Issuer: gateURL, Now: h.now, Logger: quiet(), Nonce: true, Revocations: h.revocations}, openKeys(t, dir), h.registry)
		w := post(r.Handler(), grant, both(client, showing(key.proof(t, h.now(), "POST", tokenURL, "", "nonce", next))))
		if (w.Code == http.StatusOK) != known {
			t.Errorf("known %v: %d %s", known, w.Code, w.Body)
		}
	}
}

func TestAnAgentWhoseTokensMustBeBound(t *testing.T) {
	h := newHouse(t)
	key := newOther(t, jose.ES256, "k1")
	free := identity.Agent{Name: "bot", JWKS: key.jwks(t)}
	must := free
	must.DPoP = true
	configure(t, h.registry, free)
	asks := func() string { return byKey(key.sign(t, "JWT", h.assertion("bot", fmt.Sprint(proofs.Add(1))))) }
	early, _ := h.issues(t, asks(), nil)
	configure(t, h.registry, must)
	w := post(h.handler(), asks(), nil)
	if got := fields(t, w); w.Code != 400 || got["error"] != "invalid_request" || !strings.Contains(fmt.Sprint(got["error_description"]), "DPoP proof") || got["access_token"] != nil {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !h.has("token.refused | agent:bot", "bind its tokens") {
		t.Errorf("no record: %q", h.recorded())
	}
	if _, err := h.Mint(t.Context(), "bot", identity.MintOptions{}); !errors.Is(err, identity.ErrInvalid) {
		t.Errorf("minted: %v", err)
	}
	if w := h.knock("POST", "/mcp", "Bearer "+early); w.Code != 401 || !strings.Contains(w.Body.String(), "must bind its tokens") {
		t.Errorf("a token from before: %d %s", w.Code, w.Body)
	}
	token := h.bound(t, key, asks(), func(*http.Request) {})
	if w := h.knock("POST", "/mcp", "DPoP "+token, key.proof(t, h.now(), "POST", gateURL+"/mcp", token)); w.Code != http.StatusNoContent {
		t.Error(w.Code, w.Body)
	}
}

func TestWhatIsExchangedStaysBound(t *testing.T) {
	h := family(t)
	parent, child := newOther(t, jose.ES256, "k1"), newOther(t, jose.EdDSA, "k1")
	configure(t, h.registry, identity.Agent{Name: "p", JWKS: parent.jwks(t)}, identity.Agent{Name: "q", JWKS: child.jwks(t)})
	token := h.bound(t, parent, byKey(parent.sign(t, "JWT", h.assertion("p", "1"))), func(*http.Request) {})
	asks := func(o *other, name string) string {
		return byKey(o.sign(t, "JWT", h.assertion(name, fmt.Sprint(proofs.Add(1)))), "grant_type", "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token", token, "subject_token_type", "urn:ietf:params:oauth:token-type:access_token")
	}
	// no proof: what comes of a bound token is bound
	h.refuses(t, asks(child, "q"), nil, 400, "invalid_request", "bound to a key")
	h.refuses(t, asks(parent, "p"), nil, 400, "invalid_request", "bound to a key")
	if _, err := h.Exchange(t.Context(), token, "q", identity.MintOptions{}); !errors.Is(err, identity.ErrInvalid) {
		t.Errorf("exchanged: %v", err)
	}
	for _, test := range []struct {
		who  *other
		name string
	}{{child, "q"}, {parent, "p"}} { // rebound to who acts, or kept
		got := h.bound(t, test.who, asks(test.who, test.name), func(*http.Request) {})
		if w := h.knock("POST", "/mcp", "DPoP "+got, test.who.proof(t, h.now(), "POST", gateURL+"/mcp", got)); w.Code != http.StatusNoContent {
			t.Error(w.Code, w.Body)
		}
		for _, o := range []*other{parent, child} {
			if o != test.who {
				if w := h.knock("POST", "/mcp", "DPoP "+got, o.proof(t, h.now(), "POST", gateURL+"/mcp", got)); w.Code != 401 {
					t.Errorf("the other's key opens it: %d", w.Code)
				}
			}
		}
	}
	// an actor_token that is bound needs its own proof
	own := h.bound(t, child, byKey(child.sign(t, "JWT", h.assertion("q", "own"))), func(*http.Request) {})
	by := func(proof ...string) *httptest.ResponseRecorder {
		form := strings.Join([]string{"grant_type=urn:ietf:params:oauth:grant-type:token-exchange", "subject_token=" + token, "subject_token_type=urn:ietf:params:oauth:token-type:access_token",
			"actor_token=" + own, "actor_token_type=urn:ietf:params:oauth:token-type:access_token"}, "&")
		return post(h.handler(), form, showing(proof...))
	}
	if w := by(parent.proof(t, h.now(), "POST", tokenURL, "")); w.Code != 400 || !strings.Contains(w.Body.String(), "bound to a key") {
		t.Errorf("another's proof: %d %s", w.Code, w.Body)
	}
	if w := by(child.proof(t, h.now(), "POST", tokenURL, "")); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestARefreshTokenIsBound(t *testing.T) {
	h := newFrontHouse(t, nil)
	b := h.browser(t)
	b.login()
	key, thief := newOther(t, jose.ES256, ""), newOther(t, jose.ES256, "")
	code := b.code(ask())
	redeem := "grant_type=authorization_code&client_id=code&code=" + code + "&code_verifier=" + verifier + "&redirect_uri=" + landing
	_, got := h.issues(t, redeem, showing(key.proof(t, h.now(), "POST", tokenURL, "")))
	renew := func(got map[string]any) string {
		return "grant_type=refresh_token&client_id=code&refresh_token=" + got["refresh_token"].(string)
	}
	if got["token_type"] != "DPoP" {
		t.Fatal(got)
	}
	h.refuses(t, renew(got), from("none"), 400, "invalid_grant", "DPoP proof")
	h.refuses(t, renew(got), both(from("thief"), showing(thief.proof(t, h.now(), "POST", tokenURL, ""))), 400, "invalid_grant", "DPoP proof")
	token, next := h.issues(t, renew(got), showing(key.proof(t, h.now(), "POST", tokenURL, ""))) // which those have not used up
	if next["token_type"] != "DPoP" {
		t.Error(next)
	}
	if w := h.knock("POST", "/mcp", "DPoP "+token, key.proof(t, h.now(), "POST", gateURL+"/mcp", token)); w.Code != http.StatusNoContent {
		t.Error(w.Code, w.Body)
	}
	h.refuses(t, renew(next), both(from("thief"), showing(thief.proof(t, h.now(), "POST", tokenURL, ""))), 400, "invalid_grant", "DPoP proof")
	h.issues(t, renew(next), showing(key.proof(t, h.now(), "POST", tokenURL, "")))
	// a lost reply is not told to who has not the key
	h.refuses(t, renew(next), both(from("thief"), showing(thief.proof(t, h.now(), "POST", tokenURL, ""))), 400, "invalid_grant", "DPoP proof")
}

func TestAnAssertionThatIsBoundNeedsItsKey(t *testing.T) {
	h := newHouse(t)
	create(t, h.registry, identity.Agent{Name: "bot"})
	issuer, key, thief := newOther(t, jose.ES256, "k1"), newOther(t, jose.ES256, ""), newOther(t, jose.ES256, "")
	h.federate(t, identity.Federation{Issuer: "https://i.example", JWKS: issuer.jwks(t), Agent: "bot", Claims: map[string][]string{"sub": {"w"}}})
	form := bearing(issuer.sign(t, "JWT", map[string]any{"iss": "https://i.example", "sub": "w", "aud": gateURL, "exp": h.clock.Load() + 60, "jti": "1", "cnf": map[string]any{"jkt": key.thumbprint(t)}}))
	h.refuses(t, form, from("none"), 400, "invalid_grant", "bound to a key")
	h.refuses(t, form, both(from("thief"), showing(thief.proof(t, h.now(), "POST", tokenURL, ""))), 400, "invalid_grant", "bound to a key")
	h.bound(t, key, form, func(*http.Request) {})
}

func TestWhoKeepsShowingWrongProofsWaits(t *testing.T) {
	h, client := newBound(t, nil)
	key := newOther(t, jose.ES256, "")
	old := func() func(*http.Request) {
		return showing(key.proof(t, h.now().Add(-time.Hour), "POST", tokenURL, ""))
	}
	for range 10 {
		h.refuses(t, grant, both(client, old()), 400, "invalid_dpop_proof", "too old")
	}
	records := len(h.recorded())
	w := post(h.handler(), grant, both(client, old()))
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" || len(h.recorded()) != records {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	h.refuses(t, grant, both(both(client, from("elsewhere")), old()), 400, "invalid_dpop_proof", "too old")
	h.bound(t, key, grant, client) // who does it right is not slowed down by it
}

func TestAKeyThatSendsTooMuchBlocksItselfAlone(t *testing.T) {
	h, client := newBound(t, nil)
	key, other := newOther(t, jose.EdDSA, ""), newOther(t, jose.EdDSA, "")
	token, others := h.bound(t, key, grant, client), h.bound(t, other, grant, client)
	n := 0
	for ; n < 20_000; n++ {
		if w := h.knock("POST", "/mcp", "DPoP "+token, key.proof(t, h.now(), "POST", gateURL+"/mcp", token)); w.Code != http.StatusNoContent {
			if !strings.Contains(w.Body.String(), "send fewer") {
				t.Fatal(w.Body)
			}
			break
		}
	}
	if n < 10_000 || n == 20_000 {
		t.Errorf("stopped after %d", n)
	}
	if w := h.knock("POST", "/mcp", "DPoP "+others, other.proof(t, h.now(), "POST", gateURL+"/mcp", others)); w.Code != http.StatusNoContent {
		t.Error(w.Code, w.Body)
	}
	h.pass(3 * time.Minute)
	if w := h.knock("POST", "/mcp", "DPoP "+token, key.proof(t, h.now(), "POST", gateURL+"/mcp", token)); w.Code != http.StatusNoContent {
		t.Error(w.Code, w.Body)
	}
}
