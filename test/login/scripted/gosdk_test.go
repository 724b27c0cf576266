package scripted

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"callgate/test/program"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/auth/extauth"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// connect has the MCP project's client go to a door of the gate, with nothing but
// its address, and returns what a tool answers.
func connect(t *testing.T, g *gate, handler auth.OAuthHandler) (string, error) {
	t.Helper()
	c := sdk.NewClient(&sdk.Implementation{Name: "go-sdk", Version: "1"}, nil)
	session, err := c.Connect(t.Context(), &sdk.StreamableClientTransport{Endpoint: g.url + "/mcp/till", OAuthHandler: handler}, nil)
	if err != nil {
		return "", err
	}
	defer session.Close()
	r, err := session.CallTool(t.Context(), &sdk.CallToolParams{Name: "echo", Arguments: map[string]any{"text": "hello"}})
	if err != nil {
		return "", err
	}
	return r.Content[0].(*sdk.TextContent).Text, nil
}

func TestTheGoSDK(t *testing.T) {
	for name, change := range map[string]func(*auth.AuthorizationCodeHandlerConfig){
		"a client of the config": func(c *auth.AuthorizationCodeHandlerConfig) {
			c.PreregisteredClient = &oauthex.ClientCredentials{ClientID: "app"}
		},
		"one with a secret": func(c *auth.AuthorizationCodeHandlerConfig) {
			c.PreregisteredClient = &oauthex.ClientCredentials{ClientID: "web", ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: webSecret}}
		},
		"one that registers itself": func(c *auth.AuthorizationCodeHandlerConfig) {
			c.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
				ClientName: "Go SDK", RedirectURIs: []string{c.RedirectURL}, GrantTypes: []string{"authorization_code", "refresh_token"},
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			person, asked := program.NewPerson(t, g.data), ""
			cfg := &auth.AuthorizationCodeHandlerConfig{RedirectURL: g.landing, AuthorizationCodeFetcher: func(_ context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
				asked = args.URL
				person.Follow(person.Allow(args.URL))
				q := g.came(t)
				return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
			}}
			change(cfg)
			handler, err := auth.NewAuthorizationCodeHandler(cfg)
			must(t, err)
			said, err := connect(t, g, handler)
			must(t, err)
			if said != "you said hello" {
				t.Errorf("the tool answers %q", said)
			}
			if u, err := url.Parse(asked); err != nil || u.Query().Get("resource") != g.url+"/mcp/till" {
				t.Errorf("it asked by %s", asked)
			}
		})
	}
}

func TestTheGoSDKOfAnAgentAlone(t *testing.T) {
	g := newGate(t)
	handler, err := extauth.NewClientCredentialsHandler(&extauth.ClientCredentialsHandlerConfig{
		Credentials: &oauthex.ClientCredentials{ClientID: "robot", ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: g.agent("robot")}},
	})
	must(t, err)
	said, err := connect(t, g, handler)
	must(t, err)
	if !strings.Contains(said, "hello") {
		t.Errorf("the tool answers %q", said)
	}
}
