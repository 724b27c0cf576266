package identity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"callgate/identity"

	jose "github.com/go-jose/go-jose/v4"
)

// newProvider is an OpenID Connect provider that lets everybody in as ana, with
// claims that a test can change: nil is none, and "userinfo" is what it tells there.
func newProvider(t *testing.T, claims map[string]any) (*httptest.Server, *url.Values) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	asked := new(url.Values)
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	write := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		metadata := map[string]any{"issuer": s.URL, "authorization_endpoint": s.URL + "/auth", "token_endpoint": s.URL + "/token", "jwks_uri": s.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"}}
		if _, ok := claims["userinfo"]; ok {
			metadata["userinfo_endpoint"] = s.URL + "/userinfo"
		}
		write(w, metadata)
	})
	mux.HandleFunc("/userinfo", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer x" || claims["userinfo"] == nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		write(w, claims["userinfo"])
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		write(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("/auth", func(w http.ResponseWriter, r *http.Request) {
		*asked = r.URL.Query()
		http.Redirect(w, r, asked.Get("redirect_uri")+"?code=c0de&state="+url.QueryEscape(asked.Get("state")), http.StatusFound)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		challenge := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		if r.PostFormValue("code") != "c0de" || b64(challenge[:]) != asked.Get("code_challenge") {
			w.WriteHeader(400)
			write(w, map[string]string{"error": "invalid_grant"})
			return
		}
		all := map[string]any{"iss": s.URL, "sub": "u-1", "aud": "callgate", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(), "nonce": asked.Get("nonce"),
			"email": "ana@corp.example", "email_verified": true, "groups": []string{"finance"}}
		for name, v := range claims {
			all[name] = v
			if v == nil || name == "userinfo" {
				delete(all, name)
			}
		}
		doc, _ := json.Marshal(all)
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
		if err != nil {
			t.Error(err)
			return
		}
		jws, _ := signer.Sign(doc)
		text, _ := jws.CompactSerialize()
		write(w, map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": text})
	})
	return s, asked
}

func TestAPersonLogsInAtTheProvider(t *testing.T) {
	for _, test := range []struct {
		name   string
		claims map[string]any
		fails  bool
	}{
		{"as they should", nil, false},
		{"with what its userinfo tells", map[string]any{"email": nil, "email_verified": nil, "groups": nil, "userinfo": map[string]any{"sub": "u-1", "email": "ana@corp.example", "email_verified": true, "groups": []string{"finance"}}}, false},
		{"with a mail address that the token has", map[string]any{"groups": nil, "userinfo": map[string]any{"sub": "u-1", "email": "eve@corp.example", "email_verified": true, "groups": []string{"finance"}}}, false},
		{"with userinfo about somebody else", map[string]any{"groups": nil, "userinfo": map[string]any{"sub": "u-2", "groups": []string{"finance"}}}, true},
		{"with userinfo that cannot be had", map[string]any{"groups": nil, "userinfo": nil}, true},
		{"with another nonce", map[string]any{"nonce": "x"}, true},
		{"with a token for another client", map[string]any{"aud": "other"}, true},
		{"with a token by another client", map[string]any{"azp": "other"}, true},
		{"with a token of another issuer", map[string]any{"iss": "https://evil.example"}, true},
		{"with a token that has expired", map[string]any{"exp": 1}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			idp, asked := newProvider(t, test.claims)
			h := newFrontHouse(t, func(f *identity.FrontConfig) {
				f.Provider = identity.Provider{Issuer: idp.URL, ClientID: "callgate", ClientSecret: identity.NewSecret("x")}
			})
			b := h.browser(t)
			page := b.do("GET", ask(), nil)
			if !strings.Contains(page.body, "Log in at "+strings.TrimPrefix(idp.URL, "http://")) {
				t.Fatal(page.body)
			}
			to := b.do("GET", "/oauth/login/start?next="+url.QueryEscape(ask()), nil)
			back := b.do("GET", to.location.String(), nil)
			for _, name := range []string{"state", "nonce", "code_challenge"} {
				if len(asked.Get(name)) < 40 {
					t.Errorf("%s %q", name, asked.Get(name))
				}
			}
			if asked.Get("redirect_uri") != gateURL+"/oauth/login/callback" {
				t.Error(asked.Get("redirect_uri"))
			}
			home := back.location.RequestURI()
			if s := h.browser(t).do("GET", home+"x", nil); s.status != 403 {
				t.Error("another state", s.status)
			}
			s := b.do("GET", home, nil)
			if test.fails {
				if s.status != 403 || !h.has("login.refused", "") || h.has("login.done", "") {
					t.Error(s.status, h.recorded())
				}
				return
			}
			if s.location == nil || s.location.RequestURI() != ask() || !h.has("login.done | user:ana@corp.example", idp.URL) {
				t.Fatal(s.status, s.location, h.recorded())
			}
			if groups, err := h.registry.Person("user:ana@corp.example"); err != nil || !slices.Contains(groups, "group:finance") {
				t.Error(groups, err)
			}
			if s := b.do("GET", home, nil); s.status != 403 {
				t.Error("a login comes twice", s.status)
			}
			_, got := h.redeem(t, b.code(ask()))
			if p, err := h.Verify(t.Context(), got["access_token"].(string), "/mcp"); err != nil || p.Subject != "user:ana@corp.example" {
				t.Error(p, err)
			}
			if _, _, err := h.registry.Offboard(t.Context(), "user:ana@corp.example", "admin", nil); err != nil {
				t.Fatal(err)
			}
			if s := b.do("GET", ask(), nil); !strings.Contains(s.body, `name="password"`) {
				t.Error("still logged in after leaving")
			}
		})
	}
}

func TestALoginThatAnotherBrowserBegan(t *testing.T) {
	idp, _ := newProvider(t, nil)
	h := newFrontHouse(t, func(f *identity.FrontConfig) {
		f.Provider = identity.Provider{Issuer: idp.URL, ClientID: "callgate"}
	})
	mallory := h.browser(t)
	to := mallory.do("GET", "/oauth/login/start", nil)
	back := mallory.do("GET", to.location.String(), nil)
	victim := h.browser(t)
	victim.do("GET", "/oauth/login", nil)
	if s := victim.do("GET", back.location.RequestURI(), nil); s.status != 403 || h.has("login.done", "") || !h.has("login.refused", "") {
		t.Error(s.status, h.recorded())
	}
}
