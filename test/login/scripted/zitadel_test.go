package scripted

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"callgate/test/program"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/client/rs"
	"github.com/zitadel/oidc/v3/pkg/client/tokenexchange"
	zhttp "github.com/zitadel/oidc/v3/pkg/http"
	zitadel "github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
)

type claims = *zitadel.IDTokenClaims

// A web application as zitadel's package makes it: its handlers for the way there
// and back, its cookies, its PKCE. Its callback page shows what it got.
func TestZitadelsWebApplication(t *testing.T) {
	g := newGate(t)
	var party rp.RelyingParty
	var got *zitadel.Tokens[claims]
	mux := http.NewServeMux()
	app := httptest.NewServer(mux)
	t.Cleanup(app.Close)
	cookies := zhttp.NewCookieHandler([]byte("0123456789abcdef0123456789abcdef"), []byte("0123456789abcdef"), zhttp.WithUnsecure())
	party, err := rp.NewRelyingPartyOAuth(&oauth2.Config{
		ClientID: "web", ClientSecret: webSecret, RedirectURL: app.URL + "/callback", Endpoint: oauth2.Endpoint{AuthURL: g.url + "/oauth/authorize", TokenURL: g.url + "/oauth/token"},
	}, rp.WithCookieHandler(cookies), rp.WithPKCE(cookies))
	must(t, err)
	mux.Handle("/login", rp.AuthURLHandler(func() string { return "a state" }, party))
	mux.Handle("/callback", rp.CodeExchangeHandler(func(w http.ResponseWriter, _ *http.Request, tokens *zitadel.Tokens[claims], state string, _ rp.RelyingParty) {
		got = tokens
		w.Write([]byte("welcome with " + state))
	}, party))

	person := program.NewPerson(t, g.data)
	there, _ := person.Follow(app.URL + "/login")
	if _, shown := person.Follow(person.Allow(there)); shown != "welcome with a state" {
		t.Fatalf("the application shows %q", shown)
	}
	g.useful(oauth2.NewClient(t.Context(), oauth2.StaticTokenSource(got.Token)))
	next, err := rp.RefreshTokens[claims](t.Context(), party, got.RefreshToken, "", "")
	must(t, err)
	if next.RefreshToken == "" || next.RefreshToken == got.RefreshToken {
		t.Error("the refresh token did not rotate")
	}
	g.useful(oauth2.NewClient(t.Context(), oauth2.StaticTokenSource(next.Token)))
}

// What zitadel's package finds by discovery alone: devices, revocation,
// introspection, token exchange and an agent for itself.
func TestZitadelsDiscovery(t *testing.T) {
	t.Parallel() // it waits for 5 seconds between two questions
	g := newGate(t)
	party, err := rp.NewRelyingPartyOIDC(t.Context(), g.url, "app", "", g.landing, nil)
	must(t, err)
	device, err := rp.DeviceAuthorization(t.Context(), nil, party, nil)
	must(t, err)
	if to := program.NewPerson(t, g.data).Allow(device.VerificationURIComplete); to != "" {
		t.Errorf("the person is sent to %s", to)
	}
	token, err := rp.DeviceAccessToken(t.Context(), device.DeviceCode, time.Duration(device.Interval)*time.Second, party)
	must(t, err)
	hc := oauth2.NewClient(t.Context(), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token.AccessToken}))
	g.useful(hc)

	secret := g.agent("robot")
	exchanger, err := tokenexchange.NewTokenExchangerClientCredentials(t.Context(), g.url, "robot", secret)
	must(t, err)
	child, err := tokenexchange.ExchangeToken(t.Context(), exchanger, token.AccessToken, zitadel.AccessTokenType, "", "", []string{g.url + "/mcp/till"}, nil, nil, zitadel.AccessTokenType)
	must(t, err)
	if got := g.call(oauth2.NewClient(t.Context(), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: child.AccessToken})), "echo"); got != "you said hello" {
		t.Errorf("with an exchanged token: %q", got)
	}
	server, err := rs.NewResourceServerClientCredentials(t.Context(), g.url, "robot", secret)
	must(t, err)
	about, err := rs.Introspect[*zitadel.IntrospectionResponse](t.Context(), server, child.AccessToken)
	must(t, err)
	if !about.Active || about.Subject != "user:admin" || about.ClientID != "robot" || about.Issuer != g.url || !slices.Equal(about.Audience, []string{g.url + "/mcp/till"}) {
		t.Errorf("introspection says %+v", about)
	}

	must(t, rp.RevokeToken(t.Context(), party, token.RefreshToken, "refresh_token"))
	if _, err := rp.RefreshTokens[claims](t.Context(), party, token.RefreshToken, "", ""); err == nil || !strings.Contains(err.Error(), "invalid_grant") {
		t.Errorf("refresh after the revocation: %v", err)
	}
	if r := g.get(hc); r != http.StatusUnauthorized {
		t.Errorf("a call after the revocation: %d", r)
	}
	if about, err := rs.Introspect[*zitadel.IntrospectionResponse](t.Context(), server, child.AccessToken); err != nil || about.Active {
		t.Errorf("the child lives on: %+v %v", about, err)
	}
}

// Who verifies tokens elsewhere finds the keys by OpenID discovery.
func TestCoreosFindsTheKeys(t *testing.T) {
	g := newGate(t)
	provider, err := oidc.NewProvider(t.Context(), g.url)
	must(t, err)
	g.agent("robot")
	raw := strings.TrimSpace(program.Command(t, binary, g.data, "token", "robot"))
	token, err := provider.Verifier(&oidc.Config{ClientID: g.url, SupportedSigningAlgs: []string{oidc.ES256}}).Verify(t.Context(), raw)
	must(t, err)
	if token.Subject != "agent:robot" {
		t.Errorf("subject %s", token.Subject)
	}
}
