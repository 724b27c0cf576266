package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// GoogleCloud finds access tokens of the service account that the machine, or the
// workload in GKE, runs as, by the metadata server. A place is the scopes that are
// asked for, with commas between them. It is a [Resolver].
type GoogleCloud struct {
	host string
	now  func() time.Time
	at   *service
}

// NewGoogleCloud returns a resolver that asks the metadata server at host, or where
// that is empty at metadata.google.internal. now may be nil.
func NewGoogleCloud(host string, now func() time.Time) *GoogleCloud {
	if host == "" {
		host = "metadata.google.internal"
	}
	return &GoogleCloud{host, now, newService(false)}
}

// Resolve implements [Resolver].
func (g *GoogleCloud) Resolve(ctx context.Context, place string, _ *Found) (*Found, error) {
	u := &url.URL{Scheme: "http", Host: g.host, Path: "/computeMetadata/v1/instance/service-accounts/default/token", RawQuery: url.Values{"scopes": {place}}.Encode()}
	var t struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
		TokenType   string `json:"token_type"`
	}
	head, err := g.at.do(ctx, &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{"Metadata-Flavor": {"Google"}}}, &t)
	switch {
	case statusOf(err) == http.StatusNotFound:
		return nil, errors.New("the metadata server knows no service account here")
	case err != nil:
		return nil, fmt.Errorf("the metadata server of Google Cloud: %w", err)
	case head.Get("Metadata-Flavor") != "Google": // whoever answers is not the metadata server
		return nil, errors.New("what answers is not the metadata server of Google Cloud")
	}
	return bearing(g.now, t.AccessToken, t.TokenType, t.ExpiresIn)
}

// Azure finds access tokens of the managed identity that the machine runs as, by the
// instance metadata service. A place is the resource that the token is for, and may
// end in #CLIENT_ID where the machine has several identities. It is a [Resolver].
type Azure struct {
	base string
	now  func() time.Time
	at   *service
}

// NewAzure returns a resolver that asks the service at base, or where that is empty
// at http://169.254.169.254. now may be nil.
func NewAzure(base string, now func() time.Time) *Azure {
	if base == "" {
		base = "http://169.254.169.254"
	}
	return &Azure{strings.TrimRight(base, "/"), now, newService(false)}
}

// Resolve implements [Resolver].
func (a *Azure) Resolve(ctx context.Context, place string, _ *Found) (*Found, error) {
	resource, client, _ := strings.Cut(place, "#")
	q := url.Values{"api-version": {"2018-02-01"}, "resource": {resource}}
	if client != "" {
		q.Set("client_id", client)
	}
	u, err := url.Parse(a.base + "/metadata/identity/oauth2/token?" + q.Encode())
	if err != nil {
		return nil, errors.New("the address of Azure's metadata service is no URL")
	}
	var t struct {
		AccessToken string      `json:"access_token"`
		ExpiresIn   json.Number `json:"expires_in"` // a string there
		TokenType   string      `json:"token_type"`
		Resource    string      `json:"resource"`
	}
	if _, err := a.at.do(ctx, &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{"Metadata": {"true"}}}, &t); err != nil {
		if statusOf(err) == http.StatusBadRequest {
			return nil, errors.New("the metadata service of Azure has no identity here that fits, or does not know the resource")
		}
		return nil, fmt.Errorf("the metadata service of Azure: %w", err)
	}
	seconds, err := t.ExpiresIn.Int64()
	if err != nil || t.Resource != "" && strings.TrimRight(t.Resource, "/") != strings.TrimRight(resource, "/") {
		return nil, errors.New("the metadata service of Azure answered with a token for something else")
	}
	return bearing(a.now, t.AccessToken, t.TokenType, seconds)
}

// bearing is an access token that lives for seconds. It is replaced in good time,
// but not at once over and over where the same one comes again.
func bearing(clock func() time.Time, token, kind string, seconds int64) (*Found, error) {
	now := time.Now
	if clock != nil {
		now = clock
	}
	if token == "" || !strings.EqualFold(kind, "Bearer") || seconds <= 0 || seconds > int64(longestTTL/time.Second) {
		return nil, errors.New("what it answered is no bearer token that lives")
	}
	at, life := now(), time.Duration(seconds)*time.Second
	ends := at.Add(life - min(10*time.Second, life/10)) // it must still live when it arrives
	renew := ends.Add(-min(4*time.Minute, life/2))
	if soon := at.Add(min(30*time.Second, life/4)); renew.Before(soon) {
		renew = soon
	}
	return &Found{Value: NewSecret(token), Version: strconv.FormatInt(at.Unix(), 10), Renew: renew, Expires: ends}, nil
}
