package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

// A GoogleToken is a credential that stands for another one: the JSON of a service
// account, or of what else Google tells credentials in, becomes an access token, which is
// kept while it is good. Any other text is a token already. It is a [Credential], and
// used by many goroutines at once.
type GoogleToken struct {
	of    Credential
	scope string
	now   func() time.Time
	http  *http.Client
	made  atomic.Pointer[googleMade]

	mu sync.Mutex // held while a token is got, so that one is
}

// A googleMade is a token, and the text that it was got for.
type googleMade struct {
	of         string
	token      Secret
	got        time.Time
	renew, end time.Time
}

const googleTimeout = 10 * time.Second // for Google to give a token

// NewGoogleToken returns the credential that of stands for. now may be nil.
func NewGoogleToken(of Credential, scope string, now func() time.Time) *GoogleToken {
	if now == nil {
		now = time.Now
	}
	client := &http.Client{Timeout: googleTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &GoogleToken{of: of, scope: scope, now: now, http: client}
}

// Use implements [Credential].
func (g *GoogleToken) Use(ctx context.Context, who *Principal) (Loan, error) {
	loan, err := g.of.Use(ctx, who) // always: it may not be for everyone
	if err != nil {
		return loan, err
	}
	text := strings.TrimSpace(loan.Value.Reveal())
	if !strings.HasPrefix(text, "{") {
		return loan, nil
	}
	m, err := g.get(ctx, text)
	if err != nil {
		return Loan{}, &Withheld{Reason: "the access token for this target cannot be had now: try again, and if that does not help its operator must look at callgate's log", Err: fmt.Errorf("%s: %w", loan.Name, err)}
	}
	return Loan{Value: m.token, Name: loan.Name, raw: m.token, from: g}, nil
}

// get is a good token for text. One that will end soon is replaced by who comes first,
// and used by the others meanwhile.
func (g *GoogleToken) get(ctx context.Context, text string) (*googleMade, error) {
	m, now := g.made.Load(), g.now()
	good := m != nil && m.of == text && now.Before(m.end)
	if good && now.Before(m.renew) {
		return m, nil
	}
	if !good {
		g.mu.Lock()
	} else if !g.mu.TryLock() {
		return m, nil
	}
	defer g.mu.Unlock()
	if other := g.made.Load(); other != m && other.of == text && now.Before(other.renew) {
		return other, nil // another one got it in the meantime
	}
	next, err := g.ask(ctx, text)
	if err != nil {
		if good {
			return m, nil
		}
		return nil, err
	}
	g.made.Store(next)
	return next, nil
}

// ask gets a token. It goes on when ctx ends: others may wait for it.
func (g *GoogleToken) ask(ctx context.Context, text string) (*googleMade, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), googleTimeout)
	defer cancel()
	ctx = context.WithValue(ctx, oauth2.HTTPClient, g.http)
	var doc struct {
		Type string `json:"type"`
	}
	if json.Unmarshal([]byte(text), &doc) != nil {
		return nil, errors.New("its JSON cannot be read")
	}
	kind := google.CredentialsType(doc.Type)
	switch kind {
	case google.ServiceAccount, google.AuthorizedUser, google.ExternalAccount, google.ImpersonatedServiceAccount:
	default:
		return nil, errors.New("its JSON is of no type that gives tokens: want service_account, authorized_user, external_account or impersonated_service_account")
	}
	c, err := google.CredentialsFromJSONWithType(ctx, []byte(text), kind, g.scope)
	if err != nil {
		return nil, errors.New("its JSON is not complete") // and not err, which may quote it
	}
	t, err := c.TokenSource.Token()
	now := g.now()
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused):
		return nil, fmt.Errorf("no token is given for it: HTTP %d %s", refused.Response.StatusCode, plainWord(refused.ErrorCode))
	case err != nil:
		return nil, errors.New("no token can be had for it: its key is none, or Google cannot be reached")
	}
	life := longestTTL
	if !t.Expiry.IsZero() {
		life = time.Until(t.Expiry)
	}
	f, err := bearing(func() time.Time { return now }, t.AccessToken, t.Type(), int64(min(life, time.Hour)/time.Second))
	if err != nil {
		return nil, err
	}
	return &googleMade{text, f.Value, now, f.Renew, f.Expires}, nil
}

// plainWord is an error code of OAuth, if it looks like one.
func plainWord(s string) string {
	if len(s) > 64 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return ""
	}
	return s
}

// renewed implements lender: a token that was refused is got anew, once in a while.
func (g *GoogleToken) renewed(ctx context.Context, refused Secret) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.made.Load()
	switch {
	case m == nil:
		return false
	case m.token != refused:
		return true
	case g.now().Sub(m.got) < freshTime:
		return false // it would be the same
	}
	next, err := g.ask(ctx, m.of)
	if err != nil {
		return false
	}
	g.made.Store(next)
	return true
}
