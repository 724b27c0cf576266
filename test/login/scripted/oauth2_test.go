package scripted

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"callgate/test/program"

	"golang.org/x/oauth2"
)

// oauth2Config is what a program of the Go project's own package needs to know.
func (g *gate) oauth2Config(id, secret string) *oauth2.Config {
	return &oauth2.Config{ClientID: id, ClientSecret: secret, RedirectURL: g.landing, Endpoint: oauth2.Endpoint{
		AuthURL: g.url + "/oauth/authorize", TokenURL: g.url + "/oauth/token", DeviceAuthURL: g.url + "/oauth/device_authorization",
	}}
}

// came is the query that a client's redirect URI got.
func (g *gate) came(t *testing.T) url.Values {
	t.Helper()
	u, err := url.Parse(<-g.back)
	must(t, err)
	return u.Query()
}

func TestOAuth2OfTheGoProject(t *testing.T) {
	for name, c := range map[string]struct{ id, secret string }{"public": {"app", ""}, "with a secret": {"web", webSecret}} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			cfg, verifier := g.oauth2Config(c.id, c.secret), oauth2.GenerateVerifier()
			person := program.NewPerson(t, g.data)
			person.Follow(person.Allow(cfg.AuthCodeURL("a state", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("resource", g.url+"/mcp"))))
			q := g.came(t)
			if q.Get("state") != "a state" || q.Get("iss") != g.url || q.Get("code") == "" {
				t.Fatalf("it comes back with %v", q)
			}
			token, err := cfg.Exchange(t.Context(), q.Get("code"), oauth2.VerifierOption(verifier))
			must(t, err)
			g.useful(cfg.Client(t.Context(), token))

			old := token.RefreshToken
			token.Expiry = time.Now().Add(-time.Minute) // the package asks for another one by itself
			source := cfg.TokenSource(t.Context(), token)
			next, err := source.Token()
			must(t, err)
			if next.AccessToken == token.AccessToken || next.RefreshToken == old || next.RefreshToken == "" {
				t.Error("the refresh token did not rotate")
			}
			g.useful(oauth2.NewClient(t.Context(), source))
			said := g.records()
			for _, want := range []string{"login.done", "consent.given", "client " + c.id} {
				if !strings.Contains(said, want) {
					t.Errorf("no %s on record:\n%s", want, said)
				}
			}
		})
	}
}

func TestOAuth2OfTheGoProjectIsDenied(t *testing.T) {
	g := newGate(t)
	cfg, person := g.oauth2Config("app", ""), program.NewPerson(t, g.data)
	person.Follow(person.Deny(cfg.AuthCodeURL("a state", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))))
	if q := g.came(t); q.Get("error") != "access_denied" || q.Get("state") != "a state" || q.Get("iss") != g.url || q.Has("code") {
		t.Errorf("it comes back with %v", q)
	}
	if said := g.records(); !strings.Contains(said, "consent.denied") {
		t.Errorf("not on record:\n%s", said)
	}
}

func TestOAuth2OfTheGoProjectOnADevice(t *testing.T) {
	t.Parallel() // it waits for 5 seconds between two questions
	g := newGate(t)
	cfg := g.oauth2Config("app", "")
	device, err := cfg.DeviceAuth(t.Context(), oauth2.SetAuthURLParam("resource", g.url+"/mcp"))
	must(t, err)
	if to := program.NewPerson(t, g.data).Allow(device.VerificationURIComplete); to != "" {
		t.Errorf("the person is sent to %s", to)
	}
	token, err := cfg.DeviceAccessToken(t.Context(), device)
	must(t, err)
	g.useful(cfg.Client(t.Context(), token))
}
