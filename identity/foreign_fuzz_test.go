package identity_test

import (
	"crypto/ecdsa"
	"net/http"
	"slices"
	"strings"
	"testing"

	"callgate/identity"

	jose "github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json"
)

// What is taken as a JWT of somebody else, a reader of another make must take too, and
// read the same out of it. The fuzzer chooses what is signed with a key that is
// trusted, so that it comes past the signature.
func FuzzAssertionsAreReadAsOthersReadThem(f *testing.F) {
	h := newHouse(f)
	key := newOther(f, jose.ES256, "k1")
	create(f, h.registry, identity.Agent{Name: "bot"})
	h.federate(f, identity.Federation{Issuer: "https://i.example", JWKS: key.jwks(f), Agent: "bot", Claims: map[string][]string{"sub": {"w"}, "a/b": {"c"}}, Reuse: true})
	header, claims := `{"alg":"ES256","kid":"k1"}`, `{"iss":"https://i.example","sub":"w","aud":"`+gateURL+`","exp":1800000060,"a":{"b":"c"}}`
	f.Add(header, claims)
	f.Add(`{"alg":"none","kid":"k1"}`, claims)
	f.Add(`{"alg":"ES256","typ":"JOSE","kid":"k1","x5t":"AAAA"}`, strings.Replace(claims, `"`+gateURL+`"`, `["`+gateURL+`"]`, 1))
	f.Add(`{"alg":"ES256","kid":"k1","jwk":{"kty":"EC"}}`, claims)
	f.Add(header, strings.Replace(claims, `"sub":"w"`, `"SUB":"w","sub":"v","s\u0075b":"w"`, 1))
	f.Add(header, strings.Replace(claims, `{"b":"c"}`, `{"B":"c","b":["c"]}`, 1))
	f.Add(header, strings.Replace(claims, `"a":{"b":"c"}`, `"a/b":"c"`, 1))
	f.Add(header, strings.Replace(claims, `1800000060`, `18e8`, 1))
	handler := h.handler()
	f.Fuzz(func(t *testing.T, header, claims string) {
		text := sign(t, key.key.(*ecdsa.PrivateKey), header, claims)
		w := post(handler, bearing(text), from(claims+header)) // so that the tries before do not count
		if w.Code == http.StatusTooManyRequests {
			t.Skip()
		}
		if w.Code != http.StatusOK {
			if got := fields(t, w); w.Code >= 500 || got["error"] == "" || got["access_token"] != nil {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			return
		}
		jws, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatalf("taken, but go-jose cannot read it: %v\n%s\n%s", err, header, claims)
		}
		doc, err := jws.Verify(key.key.Public())
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := strict.Unmarshal(doc, &got); err != nil {
			t.Fatalf("taken, but another reader refuses it: %v\n%s", err, claims)
		}
		var audience []any
		if audience, _ = got["aud"].([]any); audience == nil {
			audience = []any{got["aud"]}
		}
		inner, _ := got["a"].(map[string]any)
		if got["iss"] != "https://i.example" || got["sub"] != "w" || len(audience) != 1 || !slices.Contains([]any{gateURL, gateURL + "/"}, audience[0]) || got["a/b"] != "c" && inner["b"] != "c" {
			t.Fatalf("taken, but says %s", doc)
		}
		if typ := jws.Signatures[0].Header.ExtraHeaders[jose.HeaderType]; typ != nil && !slices.Contains([]any{"", "JWT", "jwt", "JOSE"}, typ) {
			t.Fatalf("taken as a JWT, but it is %v", typ)
		}
	})
}
