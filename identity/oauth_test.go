package identity_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"callgate/identity"

	"github.com/google/go-cmp/cmp"
)

const grant = "grant_type=client_credentials"

func basic(client, secret string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(client, secret) }
}

func fields(t testing.TB, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return m
}

func TestTokenEndpoint(t *testing.T) {
	h := newHouse(t)
	_, made := create(t, h.registry, identity.Agent{Name: "bot"})
	secret := made.Reveal()
	const chosen = "s3cret+with/odd=chars%20&more:and more"
	configure(t, h.registry, identity.Agent{Name: "conf.bot", SecretHash: identity.NewSecret(chosen).Hash()})

	for _, test := range []struct {
		name, form string
		change     func(*http.Request)
		client     string
		audience   string
	}{
		{"by HTTP Basic", grant, basic("bot", secret), "bot", gateURL},
		{"by HTTP Basic in lower case", grant, func(r *http.Request) {
			r.Header.Set("Authorization", "basic "+base64.StdEncoding.EncodeToString([]byte("bot:"+secret)))
		}, "bot", gateURL},
		{"by HTTP Basic, form-encoded", grant, basic(url.QueryEscape("conf.bot"), url.QueryEscape(chosen)), "conf.bot", gateURL},
		{"by HTTP Basic, as it is", grant, basic("conf.bot", chosen), "conf.bot", gateURL},
		{"by HTTP Basic, and client_id in the body", grant + "&client_id=bot", basic("bot", secret), "bot", gateURL},
		{"in the body", grant + "&client_id=bot&client_secret=" + secret, nil, "bot", gateURL},
		{"in the body, with odd characters", grant + "&client_id=conf.bot&client_secret=" + url.QueryEscape(chosen), nil, "conf.bot", gateURL},
		{"with a charset", grant, func(r *http.Request) {
			r.SetBasicAuth("bot", secret)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
		}, "bot", gateURL},
		{"with parameters that are empty or unknown", grant + "&scope=&resource=&authorization_details=&foo=bar", basic("bot", secret), "bot", gateURL},
		{"for a resource", grant + "&resource=" + url.QueryEscape(gateURL+"/mcp/"), basic("bot", secret), "bot", gateURL + "/mcp"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := post(h.handler(), test.form, test.change)
			got := fields(t, w)
			token, _ := got["access_token"].(string)
			if w.Code != http.StatusOK || len(got) != 3 || got["token_type"] != "Bearer" || got["expires_in"] != 300. {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
				t.Error(w.Header())
			}
			if p, err := h.Verify(t.Context(), token, strings.TrimPrefix(test.audience, gateURL)); err != nil || p.Subject != "agent:"+test.client {
				t.Error(p, err)
			}
			if _, err := h.Verify(t.Context(), token, "/v1/models"); (err == nil) != (test.audience == gateURL) {
				t.Errorf("at another route: %v", err)
			}
		})
	}
}

func TestTokenEndpointRefuses(t *testing.T) {
	h := newHouse(t)
	_, made := create(t, h.registry, identity.Agent{Name: "bot"})
	secret := made.Reveal()
	_, other := create(t, h.registry, identity.Agent{Name: "other"})
	_, goneSecret := create(t, h.registry, identity.Agent{Name: "gone"})
	if err := h.registry.Revoke(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	configure(t, h.registry, identity.Agent{Name: "mute"})
	good := basic("bot", secret)
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth("bot", secret); r.Header[name] = values }
	}
	const right = "&client_id=bot&client_secret="
	for i, test := range []struct {
		name, form string
		change     func(*http.Request)
		status     int
		code       string
	}{
		{"nothing", "", good, 400, "invalid_request"},
		{"no grant_type", "scope=x", good, 400, "invalid_request"},
		{"another grant_type", "grant_type=password&username=x&password=y", good, 400, "unsupported_grant_type"},
		{"a grant_type in upper case", "grant_type=CLIENT_CREDENTIALS", good, 400, "unsupported_grant_type"},
		{"grant_type twice", grant + "&" + grant, good, 400, "invalid_request"},
		{"grant_type twice, once encoded", grant + "&%67rant_type=password", good, 400, "invalid_request"},
		{"client_id twice", grant + right + secret + "&client_id=other", nil, 400, "invalid_request"},
		{"an unknown parameter twice", grant + "&x=1&x=2", good, 400, "invalid_request"},
		{"parameters in the URL", "", func(r *http.Request) { good(r); r.URL.RawQuery = grant }, 400, "invalid_request"},
		{"JSON", `{"grant_type":"client_credentials"}`, header("Content-Type", "application/json"), 400, "invalid_request"},
		{"no content type", grant, header("Content-Type"), 400, "invalid_request"},
		{"two content types", grant, header("Content-Type", "application/x-www-form-urlencoded", "application/json"), 400, "invalid_request"},
		{"a body that is no form", grant + "&x=%zz", good, 400, "invalid_request"},
		{"semicolons", grant + ";scope=x", good, 400, "invalid_request"},
		{"a body of 64 KiB and more", grant + "&x=" + strings.Repeat("x", 64<<10), good, 413, "invalid_request"},
		{"a body that is cut off", grant, func(r *http.Request) {
			good(r)
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader(grant), iotest.ErrReader(errors.New("gone"))))
		}, 400, "invalid_request"},

		{"no credentials", grant, nil, 401, "invalid_client"},
		{"client_id alone", grant + "&client_id=bot", nil, 401, "invalid_client"},
		{"a wrong secret", grant, basic("bot", "wrong"), 401, "invalid_client"},
		{"a wrong secret in the body", grant + right + "wrong", nil, 401, "invalid_client"},
		{"the secret of another", grant, basic("bot", other.Reveal()), 401, "invalid_client"},
		{"an empty secret", grant, basic("bot", ""), 401, "invalid_client"},
		{"an empty secret for an agent without one", grant, basic("mute", ""), 401, "invalid_client"},
		{"a client that is not there", grant, basic("nobody", secret), 401, "invalid_client"},
		{"a client by its subject", grant, basic("agent:bot", secret), 401, "invalid_client"},
		{"a name that is none", grant, basic("../bot", secret), 401, "invalid_client"},
		{"a revoked client", grant, basic("gone", goneSecret.Reveal()), 401, "invalid_client"},
		{"a token instead of a secret", grant, header("Authorization", "Bearer x"), 401, "invalid_client"},
		{"two Authorization headers", grant, header("Authorization", "Basic Ym90OngK", "Basic Ym90OngK"), 401, "invalid_client"},
		{"Basic that is not base64", grant, header("Authorization", "Basic !!"), 401, "invalid_client"},
		{"Basic without a colon", grant, header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("bot"))), 401, "invalid_client"},
		{"a client in Basic that is not form-encoded", grant, basic("%zz", secret), 401, "invalid_client"},
		{"both ways at once", grant + right + secret, good, 400, "invalid_request"},
		{"another client_id in the body", grant + "&client_id=other", good, 400, "invalid_request"},

		{"a scope that is none", grant + "&scope=admin", good, 400, "invalid_scope"},
		{"authorization details", grant + "&authorization_details=[]", good, 400, "invalid_authorization_details"},
		{"another's resource", grant + "&resource=https://evil.example", good, 400, "invalid_target"},
		{"a resource that begins like ours", grant + "&resource=" + gateURL + ".evil.example", good, 400, "invalid_target"},
		{"two resources", grant + "&resource=" + gateURL + "&resource=" + gateURL + "/mcp", good, 400, "invalid_target"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := post(h.handler(), test.form, func(r *http.Request) {
				if test.change != nil {
					test.change(r)
				}
				r.RemoteAddr = fmt.Sprintf("198.51.100.%d:1", i) // each test its own: none is throttled by the others
			})
			got := fields(t, w)
			if w.Code != test.status || got["error"] != test.code || got["error_description"] == "" || len(got) != 2 {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, test.status, test.code)
			}
			if w.Header().Get("Cache-Control") != "no-store" {
				t.Error("may be cached")
			}
			if challenge := w.Header().Get("WWW-Authenticate"); (w.Code == 401) != strings.HasPrefix(challenge, "Basic ") {
				t.Errorf("WWW-Authenticate %q", challenge)
			}
			for _, s := range []string{secret, other.Reveal(), goneSecret.Reveal()} {
				if strings.Contains(w.Body.String(), s) {
					t.Error("the answer tells a secret")
				}
			}
		})
	}
	for _, line := range h.recorded() {
		if strings.Contains(line, "token.issued") || strings.Contains(line, secret) {
			t.Errorf("record: %s", line)
		}
	}
}

func TestNobodyLearnsWhichAgentsThereAre(t *testing.T) {
	h := newHouse(t)
	create(t, h.registry, identity.Agent{Name: "bot"})
	_, _ = create(t, h.registry, identity.Agent{Name: "gone"})
	if err := h.registry.Revoke(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	want := post(h.handler(), grant, basic("nobody", "wrong"))
	for _, name := range []string{"bot", "gone", "NOT A NAME"} {
		got := post(h.handler(), grant, basic(name, "wrong"))
		if got.Code != want.Code || got.Body.String() != want.Body.String() || !maps.EqualFunc(got.Header(), want.Header(), slices.Equal) {
			t.Errorf("%s: %d %s, nobody: %d %s", name, got.Code, got.Body, want.Code, want.Body)
		}
	}
}

func TestWrongTriesAreSlowedDown(t *testing.T) {
	from := func(address, client, secret string) func(*http.Request) {
		return func(r *http.Request) { r.RemoteAddr = address; r.SetBasicAuth(client, secret) }
	}
	t.Run("for the client at that address alone", func(t *testing.T) {
		h := newHouse(t)
		_, secret := create(t, h.registry, identity.Agent{Name: "bot"})
		_, other := create(t, h.registry, identity.Agent{Name: "other"})
		status := func(address, client, secret string) int {
			return post(h.handler(), grant, from(address, client, secret)).Code
		}
		for i := range 10 {
			if got := status("192.0.2.1:1", "bot", "wrong"); got != 401 {
				t.Fatalf("try %d: %d", i, got)
			}
		}
		w := post(h.handler(), grant, from("192.0.2.1:2", "bot", secret.Reveal()))
		if wait, err := strconv.Atoi(w.Header().Get("Retry-After")); w.Code != 429 || err != nil || wait != 5 {
			t.Errorf("try 11: %d %v", w.Code, w.Header())
		}
		if got := status("192.0.2.1:1", "other", other.Reveal()); got != 200 {
			t.Errorf("another client there: %d", got)
		}
		if got := status("192.0.2.2:1", "bot", secret.Reveal()); got != 200 {
			t.Errorf("the client elsewhere: %d", got)
		}
		records := len(h.recorded())
		for range 100 {
			status("192.0.2.1:1", "bot", "wrong")
		}
		if got := len(h.recorded()); got != records {
			t.Errorf("%d records of tries that were not looked at", got-records)
		}
		h.pass(5 * time.Second)
		if got := status("192.0.2.1:1", "bot", secret.Reveal()); got != 200 {
			t.Errorf("5 s later: %d", got)
		}
	})
	t.Run("for an address that tries many names", func(t *testing.T) {
		h := newHouse(t)
		_, secret := create(t, h.registry, identity.Agent{Name: "bot"})
		for i := range 100 {
			post(h.handler(), grant, from(fmt.Sprintf("[2001:db8:1:2::%x]:1", i), fmt.Sprintf("bot-%d", i), "wrong"))
		}
		if got := post(h.handler(), grant, from("[2001:db8:1:2:ffff::1]:1", "bot", secret.Reveal())).Code; got != 429 {
			t.Errorf("the same network: %d", got)
		}
		if got := post(h.handler(), grant, from("[2001:db8:1:3::1]:1", "bot", secret.Reveal())).Code; got != 200 {
			t.Errorf("the network beside it: %d", got)
		}
	})
}

func TestMetadata(t *testing.T) {
	h := newHouse(t)
	algs := []any{"ES256", "ES384", "EdDSA", "RS256", "PS256"}
	resource := func(path string) map[string]any {
		return map[string]any{"resource": gateURL + path, "authorization_servers": []any{gateURL},
			"bearer_methods_supported": []any{"header"}, "resource_name": "callgate", "dpop_signing_alg_values_supported": algs}
	}
	for path, want := range map[string]map[string]any{
		"/.well-known/oauth-authorization-server": {
			"issuer": gateURL, "token_endpoint": gateURL + "/oauth/token", "jwks_uri": gateURL + "/.well-known/jwks.json",
			"introspection_endpoint": gateURL + "/oauth/introspect", "revocation_endpoint": gateURL + "/oauth/revoke",
			"authorization_details_types_supported": []any{"callgate_call"},
			"grant_types_supported": []any{"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code",
				"client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:grant-type:jwt-bearer"},
			"response_types_supported": []any{"code"}, "response_modes_supported": []any{"query"}, "code_challenge_methods_supported": []any{"S256"},
			"token_endpoint_auth_methods_supported": []any{"none", "client_secret_basic", "client_secret_post", "private_key_jwt"},
			"authorization_endpoint":                gateURL + "/oauth/authorize", "device_authorization_endpoint": gateURL + "/oauth/device_authorization",
			"client_id_metadata_document_supported": true, "authorization_response_iss_parameter_supported": true,
			"token_endpoint_auth_signing_alg_values_supported": algs, "dpop_signing_alg_values_supported": algs,
			"authorization_grant_profiles_supported": []any{"urn:ietf:params:oauth:grant-profile:id-jag"},
		},
		"/.well-known/oauth-protected-resource":           resource(""),
		"/.well-known/oauth-protected-resource/mcp":       resource("/mcp"),
		"/.well-known/oauth-protected-resource/mcp/files": resource("/mcp/files"),
	} {
		w := get(t, h.handler(), path)
		if d := cmp.Diff(want, fields(t, w)); d != "" {
			t.Errorf("%s: %s", path, d)
		}
		if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "max-age=300" {
			t.Errorf("%s: %v", path, w.Header())
		}
	}
	if d := cmp.Diff(get(t, h.handler(), "/.well-known/oauth-authorization-server").Body.String(), get(t, h.handler(), "/.well-known/openid-configuration").Body.String()); d != "" {
		t.Errorf("where libraries of OpenID look: %s", d)
	}
	for _, test := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/oauth/token", 405, "POST"},
		{"DELETE", "/oauth/token", 405, "POST"},
		{"POST", "/.well-known/jwks.json", 405, "GET, HEAD"},
		{"POST", "/.well-known/oauth-protected-resource/mcp/files", 405, "GET, HEAD"},
		{"HEAD", "/.well-known/jwks.json", 200, ""},
		{"GET", "/.well-known/webfinger", 404, ""},
		{"GET", "/.well-known/oauth-protected-resource/v1", 404, ""},
		{"GET", "/.well-known/oauth-protected-resource/mcp/a%22b", 404, ""},
		{"GET", "/.well-known/oauth-protected-resource/mcp/a%2Fb", 404, ""},
		{"GET", "/.well-known/oauth-protected-resource/mcp/files/more", 404, ""},
		{"GET", "/oauth/authorize", 400, ""},
		{"POST", "/oauth/register", 404, ""},
	} {
		w := httptest.NewRecorder()
		h.handler().ServeHTTP(w, httptest.NewRequest(test.method, test.path, nil))
		if w.Code != test.status || w.Header().Get("Allow") != test.allow {
			t.Errorf("%s %s: %d %v", test.method, test.path, w.Code, w.Header())
		}
	}
}

func TestChallenge(t *testing.T) {
	h := newHouse(t)
	_, expired := h.Verify(t.Context(), "sk-fake", "/mcp")
	const meta = gateURL + "/.well-known/oauth-protected-resource"
	for _, test := range []struct {
		name, route string
		err         error
		want        string
	}{
		{"no token", "/mcp", errors.New("no access token"), `Bearer resource_metadata="` + meta + `/mcp"`},
		{"nothing known", "/mcp", nil, `Bearer resource_metadata="` + meta + `/mcp"`},
		{"one server", "/mcp/files", nil, `Bearer resource_metadata="` + meta + `/mcp/files"`},
		{"a model API", "/v1/chat/completions", nil, `Bearer resource_metadata="` + meta + `"`},
		{"a route that would break out of the header", `/mcp/"x`, nil, `Bearer resource_metadata="` + meta + `"`},
		{"a token that is wrong", "/mcp", fmt.Errorf("unauthenticated: %w", expired),
			`Bearer error="invalid_token", error_description="this is not an access token of callgate; get one from POST /oauth/token", resource_metadata="` + meta + `/mcp"`},
	} {
		if got := h.Challenge(test.route, test.err); got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.name, got, test.want)
		}
	}
}
