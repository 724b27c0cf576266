package identity_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"callgate/identity"

	jose "github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json"
)

// What Verify takes, a reader of another make must take too, and read the same
// out of it. The fuzzer chooses what is signed with the gate's own key, so that
// it comes past the signature.
func FuzzVerifyReadsWhatOthersRead(f *testing.F) {
	h := newHouse(f)
	create(f, h.registry, identity.Agent{Name: "bot"})
	key, kid := h.signingKey(f)
	header, claims, _ := strings.Cut(h.mint(f, "bot", identity.MintOptions{}).Access.Reveal(), ".")
	claims, _, _ = strings.Cut(claims, ".")
	plain := func(part string) string {
		doc, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			f.Fatal(err)
		}
		return string(doc)
	}
	f.Add(plain(header), plain(claims))
	f.Add(`{"alg":"none","typ":"at+jwt","kid":"`+kid+`"}`, plain(claims))
	f.Add(plain(header), strings.Replace(plain(claims), `"sub"`, `"SUB":"agent:root","sub"`, 1))
	f.Add(plain(header), strings.Replace(plain(claims), `"sub"`, `"sub":"agent:root","s\u0075b"`, 1))
	f.Add(plain(header), strings.Replace(plain(claims), `"cg_e":1`, `"cg_e":1e0`, 1))
	f.Add(plain(header), `{"aud":[["`+gateURL+`"]]}`)
	f.Fuzz(func(t *testing.T, header, claims string) {
		token := sign(t, key, header, claims)
		p, err := h.Verify(t.Context(), token, "/mcp")
		if err != nil {
			return
		}
		jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatalf("taken, but go-jose cannot read it: %v\n%s\n%s", err, header, claims)
		}
		doc, err := jws.Verify(&key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Subject string   `json:"sub"`
			Issuer  string   `json:"iss"`
			ID      string   `json:"jti"`
			Aud     []string `json:"aud"`
			Expires int64    `json:"exp"`
		}
		if err := strict.Unmarshal(doc, &got); err != nil {
			t.Fatalf("taken, but another reader refuses it: %v\n%s", err, claims)
		}
		if got.Subject != p.Subject || got.ID != p.TokenID || got.Expires != p.Expires.Unix() || got.Issuer != gateURL ||
			len(got.Aud) != 1 || !strings.HasPrefix(got.Aud[0], gateURL) || h.clock.Load() >= got.Expires+5 {
			t.Fatalf("taken as %+v, but says %s", p, doc)
		}
	})
}

func FuzzVerifyTakesOnlyWhatWasIssued(f *testing.F) {
	h := newHouse(f)
	create(f, h.registry, identity.Agent{Name: "bot"})
	token := h.mint(f, "bot", identity.MintOptions{}).Access.Reveal()
	f.Add(token, "/mcp")
	f.Add(token[:len(token)-1], "/mcp")
	f.Add(strings.Replace(token, ".", "..", 1), "")
	f.Add("eyJhbGciOiJub25lIn0.e30.", "/v1/models")
	f.Fuzz(func(t *testing.T, presented, route string) {
		_, err := h.Verify(t.Context(), presented, route)
		if (err == nil) != (presented == token) {
			t.Fatalf("%q: %v", presented, err)
		}
	})
}

func FuzzTokenEndpoint(f *testing.F) {
	h := newHouse(f)
	create(f, h.registry, identity.Agent{Name: "bot"})
	handler := h.handler()
	f.Add("grant_type=client_credentials&client_id=bot&client_secret=x", "", "application/x-www-form-urlencoded")
	f.Add("grant_type=client_credentials&resource="+gateURL, "Basic Ym90Ong=", "application/x-www-form-urlencoded; charset=utf-8")
	f.Add("grant_type=client_credentials&%67rant_type=a;b", "Basic %%%", "text/plain")
	f.Fuzz(func(t *testing.T, form, authorization, kind string) {
		h.pass(time.Hour) // so that the tries before do not count
		w := post(handler, form, func(r *http.Request) {
			r.Header["Content-Type"] = []string{kind}
			if authorization != "" {
				r.Header["Authorization"] = []string{authorization}
			}
		})
		got := fields(t, w)
		if w.Code < 400 || w.Code >= 500 || got["error"] == "" || w.Header().Get("Cache-Control") != "no-store" {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	})
}
