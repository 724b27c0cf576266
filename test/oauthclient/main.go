// Command oauthclient is callgate's OAuth client under the conformance suite of
// MCP, which starts it with the URL of a server that wants tokens:
//
//	conformance client --command oauthclient --scenario auth/metadata-default
//
// It is an operator who logs in when callgate says so, and a browser that agrees
// to everything.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"callgate/firewall"
	"callgate/identity"
	"callgate/mcp"

	"github.com/golang-jwt/jwt/v5"
	"github.com/tidwall/gjson"
)

const public = "https://gate.example"

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	if err := run(ctx, os.Args[len(os.Args)-1], gjson.Parse(os.Getenv("MCP_CONFORMANCE_CONTEXT"))); err != nil {
		fmt.Fprintln(os.Stderr, "oauthclient:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url string, given gjson.Result) error {
	vault, err := mcp.OpenVault(ctx, mcp.VaultConfig{
		PublicURL: public, Store: new(mcp.MemoryTokens), Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Assert: func(_ context.Context, issuer, subject, audience string) (identity.Secret, error) { // with the suite's key, not a gate's
			key, err := jwt.ParseECPrivateKeyFromPEM([]byte(given.Get("private_key_pem").String()))
			if err != nil {
				return identity.Secret{}, err
			}
			now := time.Now()
			text, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.RegisteredClaims{
				Issuer: issuer, Subject: subject, Audience: jwt.ClaimStrings{audience}, ID: rand.Text(),
				IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(time.Minute)),
			}).SignedString(key)
			return identity.NewSecret(text), err
		},
	})
	if err != nil {
		return err
	}
	defer vault.Close()
	o := &mcp.OAuthConfig{Vault: vault, ClientID: given.Get("client_id").String()}
	if s := given.Get("client_secret").String(); s != "" {
		o.ClientSecret = identity.NewSecret(s)
	}
	if strings.Contains(os.Getenv("MCP_CONFORMANCE_SCENARIO"), "client-credentials") {
		o.Grant = mcp.GrantClient
	}
	if o.ClientSecret != nil || o.Grant != "" {
		if o.Issuer, err = named(ctx, url); err != nil {
			return err
		}
	}
	cfg := mcp.ServerConfig{Name: "server", URL: url, OAuth: o, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	if err := cfg.Check(); err != nil {
		return err
	}
	s := mcp.NewServer(cfg)
	defer s.Close(ctx)
	return retry(ctx, vault, s, func() error {
		tools, err := s.List(ctx, nil, "tools/list")
		if err != nil {
			return err
		}
		for _, tool := range tools {
			params, _ := json.Marshal(map[string]any{"name": tool.Name, "arguments": map[string]any{}})
			for _, err := range s.Do(ctx, nil, mcp.Request{Method: "tools/call", Params: params}) {
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// named is the authorization server that the operator has read of in the server's
// manual: here, what it says itself.
func named(ctx context.Context, url string) (string, error) {
	at := strings.TrimSuffix(url, "/mcp") + "/.well-known/oauth-protected-resource/mcp"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var doc struct {
		Servers []string `json:"authorization_servers"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil || len(doc.Servers) == 0 {
		return "", fmt.Errorf("no authorization server at %s: %w", at, err)
	}
	return doc.Servers[0], nil
}

// retry does what callgate tells an operator to do, a few times.
func retry(ctx context.Context, vault *mcp.Vault, s *mcp.Server, work func() error) error {
	for range 3 {
		err := work()
		var e *firewall.Error
		if !errors.As(err, &e) || !strings.Contains(e.Reason, "callgate mcp login") {
			return err
		}
		fmt.Fprintln(os.Stderr, "told:", e.Reason)
		var scopes []string
		for words := strings.Fields(e.Reason); len(words) > 1; words = words[1:] {
			if words[0] == "--scope" {
				scopes = append(scopes, words[1])
			}
		}
		err = login(ctx, vault, s, scopes)
		if err != nil && strings.Contains(err.Error(), "mcp logout") {
			fmt.Fprintln(os.Stderr, "told:", err)
			if _, err := s.EndLogin(ctx, "*"); err != nil {
				return err
			}
			err = login(ctx, vault, s, scopes)
		}
		if err != nil {
			return err
		}
	}
	return work()
}

// login agrees.
func login(ctx context.Context, vault *mcp.Vault, s *mcp.Server, scopes []string) error {
	begun, err := s.BeginLogin(ctx, "", scopes)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, begun.URL, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	back := resp.Header.Get("Location")
	if !strings.HasPrefix(back, public+"/") {
		return fmt.Errorf("the authorization server answered %s and sends the browser to %q", resp.Status, back)
	}
	vault.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, strings.TrimPrefix(back, public), nil))
	if done, _ := vault.Login(ctx, begun.ID); done.State != mcp.LoginDone {
		return errors.New("the login did not work: " + done.Reason)
	}
	return nil
}
