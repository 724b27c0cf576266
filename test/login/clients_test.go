package login

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/client/rs"
	"github.com/zitadel/oidc/v3/pkg/client/tokenexchange"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

func TestAPersonAllowsAClientInABrowser(t *testing.T) {
	g := newGate(t)
	redirect, came := back(t)
	ctx := within(t)
	client := oauth2.Config{ClientID: "cli", Endpoint: g.endpoint(), RedirectURL: redirect}
	p := newPerson(t)

	// not allowed first
	verifier := oauth2.GenerateVerifier()
	p.does("be on a phone", onAPhone(), chromedp.Navigate(client.AuthCodeURL("state-1", oauth2.S256ChallengeOption(verifier))), chromedp.WaitVisible(chromedp.CSS("#provider")))
	p.fits()
	p.logsIn(client.AuthCodeURL("state-1", oauth2.S256ChallengeOption(verifier)))
	p.does("see the consent page", chromedp.WaitVisible(chromedp.CSS("#allow")))
	p.fits()
	for _, want := range []string{"Command line", "bot", "127.0.0.1"} {
		if page := p.sees(); !strings.Contains(page, want) {
			t.Errorf("the page does not say %q: %s", want, page)
		}
	}
	p.answers("#deny")
	p.does("be back", chromedp.WaitVisible(chromedp.CSS("#back")))
	if got := <-came; got.Get("error") != "access_denied" || got.Get("state") != "state-1" || got.Get("iss") != g.url || got.Has("code") {
		t.Fatal(got)
	}

	// then allowed: who is logged in is not asked to log in again
	p.does("go again", chromedp.Navigate(client.AuthCodeURL("state-2", oauth2.S256ChallengeOption(verifier))))
	p.answers("#allow")
	p.does("be back", chromedp.WaitVisible(chromedp.CSS("#back")))
	got := <-came
	if got.Get("state") != "state-2" || got.Get("iss") != g.url {
		t.Fatal(got)
	}
	token, err := client.Exchange(ctx, got.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.good(client.Client(ctx, token)); err != nil {
		t.Error(err)
	}
	old := *token
	old.Expiry = time.Now().Add(-time.Hour) // so that the library renews it
	fresh, err := client.TokenSource(ctx, &old).Token()
	if err != nil || fresh.AccessToken == token.AccessToken || fresh.RefreshToken == token.RefreshToken {
		t.Fatal(fresh, err)
	}
	if err := g.good(client.Client(ctx, fresh)); err != nil {
		t.Error(err)
	}
	for what, want := range map[string]string{"login.done": "user:ana", "consent.denied": "client:cli", "consent.given": "agent:bot", "grant.given": "agent:bot", "token.issued": "agent:bot"} {
		if got := g.audit(what); !strings.Contains(got, want) {
			t.Errorf("on record of %s: %q", what, got)
		}
	}
	// what a thief does with a code that was used ends what came of it
	if _, err := client.Exchange(ctx, got.Get("code"), oauth2.VerifierOption(verifier)); err == nil {
		t.Error("the code is good twice")
	}
	if err := g.good(client.Client(ctx, &oauth2.Token{AccessToken: fresh.AccessToken})); err == nil {
		t.Error("a code came twice, and what came of it is still good")
	}
}

func TestTheLocalAdminAllowsADevice(t *testing.T) {
	g := newGate(t)
	ctx := within(t)
	client := oauth2.Config{ClientID: "cli", Endpoint: g.endpoint()}
	p := newPerson(t)
	device, err := client.DeviceAuth(ctx)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := os.ReadFile(filepath.Join(g.data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	p.does("be on a phone", onAPhone())
	p.logsInAsAdmin(device.VerificationURI, strings.TrimSpace(string(admin)))
	p.does("type the code", chromedp.WaitVisible(chromedp.CSS("#user_code")))
	p.fits()
	p.does("type the code", chromedp.SendKeys(chromedp.CSS("#user_code"), strings.ToLower(device.UserCode)), chromedp.Click(chromedp.CSS("#go")), chromedp.WaitVisible(chromedp.CSS("#allow")))
	p.fits()
	if page := p.sees(); !strings.Contains(page, device.UserCode) || !strings.Contains(page, "Command line") {
		t.Errorf("the page says %s", page)
	}
	p.answers("#allow")
	token, err := client.DeviceAccessToken(ctx, device)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.good(client.Client(ctx, token)); err != nil {
		t.Error(err)
	}
}

func TestOtherGrantsOfXOAuth2(t *testing.T) {
	g := newGate(t)
	ctx := within(t)
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams, oauth2.AuthStyleAutoDetect} {
		client := clientcredentials.Config{ClientID: g.agent.ID, ClientSecret: g.agent.Secret, TokenURL: g.endpoint().TokenURL, AuthStyle: style}
		if err := g.good(client.Client(ctx)); err != nil {
			t.Errorf("style %v: %v", style, err)
		}
	}
	wrong := clientcredentials.Config{ClientID: g.agent.ID, ClientSecret: "wrong", TokenURL: g.endpoint().TokenURL, AuthStyle: oauth2.AuthStyleInHeader}
	if _, err := wrong.Token(ctx); err == nil || !strings.Contains(err.Error(), "invalid_client") {
		t.Errorf("a wrong secret: %v", err)
	}
}

func TestZitadelsClients(t *testing.T) {
	g := newGate(t)
	redirect, came := back(t)
	ctx := within(t)
	at := g.endpoint()
	web, err := rp.NewRelyingPartyOAuth(&oauth2.Config{ClientID: "web", ClientSecret: webSecret, Endpoint: at, RedirectURL: redirect})
	if err != nil {
		t.Fatal(err)
	}
	p := newPerson(t)
	verifier := oauth2.GenerateVerifier()
	p.logsIn(rp.AuthURL("state", web, rp.WithCodeChallenge(oidc.NewSHACodeChallenge(verifier))))
	p.answers("#allow")
	p.does("be back", chromedp.WaitVisible(chromedp.CSS("#back")))
	tokens, err := rp.CodeExchange[*oidc.IDTokenClaims](ctx, (<-came).Get("code"), web, rp.WithCodeVerifier(verifier))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.good(web.OAuthConfig().Client(ctx, tokens.Token)); err != nil {
		t.Error(err)
	}

	resource, err := rs.NewResourceServerClientCredentials(ctx, g.url, g.agent.ID, g.agent.Secret, rs.WithStaticEndpoints(at.TokenURL, g.url+"/oauth/introspect"))
	if err != nil {
		t.Fatal(err)
	}
	bot := clientcredentials.Config{ClientID: g.agent.ID, ClientSecret: g.agent.Secret, TokenURL: at.TokenURL}
	own, err := bot.Token(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]bool{own.AccessToken: true, own.AccessToken + "x": false} {
		said, err := rs.Introspect[*oidc.IntrospectionResponse](ctx, resource, token)
		if err != nil || said.Active != want || want && said.Subject != "agent:bot" {
			t.Errorf("introspection: %+v %v", said, err)
		}
	}

	exchanger, err := tokenexchange.NewTokenExchangerClientCredentials(ctx, g.url, g.agent.ID, g.agent.Secret, tokenexchange.WithStaticTokenEndpoint(g.url, at.TokenURL))
	if err != nil {
		t.Fatal(err)
	}
	less, err := tokenexchange.ExchangeToken(ctx, exchanger, own.AccessToken, oidc.AccessTokenType, "", "", nil, nil, []string{"mcp:files"}, oidc.AccessTokenType)
	if err != nil {
		t.Fatal(err)
	}
	if less.AccessToken == "" || strings.Join(less.Scopes, " ") != "mcp:files" {
		t.Errorf("exchanged for %+v", less)
	}
	req, _ := http.NewRequest(http.MethodGet, g.url+"/v1/models", nil)
	req.Header.Set("Authorization", "Bearer "+less.AccessToken)
	if resp, err := http.DefaultClient.Do(req); err != nil || resp.StatusCode != http.StatusOK {
		t.Error(resp, err)
	} else {
		var list struct{ Data []any }
		if err := json.NewDecoder(resp.Body).Decode(&list); err != nil || len(list.Data) > 0 {
			t.Error("a token for files sees models", list, err)
		}
		resp.Body.Close()
	}
	if resp, err := http.PostForm(g.url+"/oauth/revoke", url.Values{"token": {own.AccessToken}, "client_id": {g.agent.ID}, "client_secret": {g.agent.Secret}}); err != nil || resp.StatusCode != http.StatusOK {
		t.Error(resp, err)
	}
	if said, err := rs.Introspect[*oidc.IntrospectionResponse](ctx, resource, own.AccessToken); err != nil || said.Active {
		t.Errorf("a token that was revoked: %+v %v", said, err)
	}
}
