package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// A Client is a program by which people let an agent act for them: Claude Code, an
// editor, a web application. It is no agent and may do nothing by itself.
type Client struct {
	ID         string    `json:"id"` // client_id
	Name       string    `json:"name,omitempty"`
	Redirects  []string  `json:"redirects"`             // where a person is sent back to
	SecretHash []byte    `json:"secret_hash,omitempty"` // SHA-256; empty if it is public
	Agent      string    `json:"agent,omitempty"`       // the name of the agent that it acts as; "": the person chooses
	Source     string    `json:"source"`                // FromConfig, FromDocument or FromRegistration
	Created    time.Time `json:"created,omitzero"`
	Allowed    bool      `json:"allowed,omitempty"` // a person has allowed it something
}

// Spare says whether c may make room for another one that registers itself: nobody
// has allowed it anything, within an hour.
func (c *Client) Spare(now time.Time) bool { return !c.Allowed && now.Sub(c.Created) > time.Hour }

// What a [Client]'s Source may be, besides [FromConfig].
const (
	FromDocument     = "document"     // which it publishes at its id
	FromRegistration = "registration" // RFC 7591
)

const (
	maxClientName = 128 // bytes
	maxClients    = 1000
)

// A ClientStore keeps clients that registered themselves.
type ClientStore interface {
	// PutClient makes c durable before it returns nil. When there are as many as limit
	// the oldest that is to spare when c is created makes room; if none is, it says
	// no, with false.
	PutClient(ctx context.Context, c Client, limit int) (bool, error)
	// AllowClient notes, durably, that a person has allowed a client something.
	AllowClient(ctx context.Context, id string) error
	// Client is the one of that id, and whether there is one.
	Client(ctx context.Context, id string) (Client, bool, error)
}

// SetClients puts list in the place of the clients that were known beforehand. The
// error, of [ErrInvalid], says all that is wrong with it; then nothing is changed.
func (a *Authority) SetClients(list []Client) error {
	var wrong []error
	next := make(map[string]Client, len(list))
	for _, c := range list {
		c.Source = FromConfig
		if err := c.Check(); err != nil {
			wrong = append(wrong, err)
		}
		if _, twice := next[c.ID]; twice {
			wrong = append(wrong, invalid("client %.80s stands here twice", c.ID))
		}
		next[c.ID] = c
	}
	if len(wrong) > 0 {
		return errors.Join(wrong...)
	}
	a.front.clients.Store(&next)
	return nil
}

// Check says what is wrong with c. The error is of [ErrInvalid].
func (c *Client) Check() error {
	switch {
	case !isPlain(c.ID, maxURI) || strings.ContainsFunc(c.ID, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return invalid("client id %.80q: want 1 to %d printable ASCII characters without spaces", c.ID, maxURI)
	case strings.HasPrefix(c.ID, registeredPrefix) && c.Source == FromConfig:
		return invalid("client %s: ids that begin with %s are those of clients that registered themselves", c.ID, registeredPrefix)
	case len(c.Redirects) == 0 || len(c.Redirects) > maxRedirects:
		return invalid("client %.80s: want 1 to %d redirect_uris", c.ID, maxRedirects)
	case c.Agent != "" && !isName(c.Agent):
		return invalid("client %.80s: agent %.80q is no agent's name", c.ID, c.Agent)
	case len(c.Name) > maxClientName || !utf8.ValidString(c.Name) || strings.ContainsFunc(c.Name, func(r rune) bool { return !unicode.IsGraphic(r) }):
		return invalid("client %.80s: want a name of one line and at most %d bytes", c.ID, maxClientName)
	}
	for _, uri := range c.Redirects {
		if why := checkRedirect(uri); why != "" {
			return invalid("client %.80s: redirect URI %.200q: %s", c.ID, uri, why)
		}
	}
	return nil
}

// app is the client of that id, for a person who is asked about it. A document is
// fetched where fetch says so; where not, and it is not known yet, the error is
// errNotFetched.
func (a *Authority) app(ctx context.Context, id string, fetch bool) (Client, error) {
	if c, ok := (*a.front.clients.Load())[id]; ok {
		return c, nil
	}
	if strings.HasPrefix(id, registeredPrefix) {
		c, ok, err := a.front.cfg.Registered.Client(ctx, id)
		if err != nil {
			return Client{}, fmt.Errorf("read client: %w", err)
		}
		if ok {
			return c, nil
		}
	}
	if strings.HasPrefix(id, "https://") {
		return a.front.documents.client(ctx, id, fetch)
	}
	return Client{}, invalid("callgate knows no client of this client_id: name it under identity.clients, or let it publish a client ID metadata document")
}

// caller is the id of the client that comes to the token endpoint with a code or a
// refresh token. One that has a secret must show it. A client that publishes a
// document is public, so that nothing needs to be fetched here.
func (a *Authority) caller(r *http.Request, form map[string]string) (string, error) {
	c := credentials{client: form["client_id"]}
	if r.Header.Get("Authorization") != "" || form["client_secret"] != "" {
		var err error
		if c, err = readCredentials(r.Header, form); err != nil {
			return "", err
		}
	}
	if c.client == "" {
		return "", badRequest("invalid_request", "client_id is missing")
	}
	address, at := origin(r.RemoteAddr), a.cfg.Now()
	known, err := Client{}, error(nil)
	named := "client:?"
	if pre, ok := (*a.front.clients.Load())[c.client]; ok || !strings.HasPrefix(c.client, "https://") {
		if known = pre; !ok {
			known, err = a.app(r.Context(), c.client, false)
		}
		if err == nil {
			named = "client:" + known.ID
		}
	} else if !isDocumentURL(c.client) {
		err = invalid("no such client")
	}
	if wait := a.failures.wait(named, address, at); wait > 0 {
		return "", &fault{http.StatusTooManyRequests, "temporarily_unavailable", "too many wrong tries: wait before the next", wait}
	}
	right := 0
	for _, secret := range c.secrets {
		right |= subtle.ConstantTimeCompare(sum(secret), orZeros(known.SecretHash))
	}
	public := !slices.ContainsFunc(c.secrets, func(s string) bool { return s != "" })
	if err == nil && (right == 1 || public && len(known.SecretHash) == 0) {
		return c.client, nil
	}
	a.failures.note(named, address, at)
	_ = a.cfg.Record("token.refused", named, named, "wrong client_id or client_secret, from "+address) // it is refused in any case
	return "", badClient("client_id or client_secret is wrong")
}

func sum(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}

// orZeros is hash, or one that nothing has.
func orZeros(hash []byte) []byte {
	if len(hash) == 0 {
		return make([]byte, sha256.Size)
	}
	return hash
}

// MemoryClients is a [ClientStore] in memory. The zero MemoryClients is empty and ready.
type MemoryClients struct {
	mu      sync.Mutex
	clients map[string]Client
}

// PutClient implements [ClientStore].
func (m *MemoryClients) PutClient(_ context.Context, c Client, limit int) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.clients) >= limit {
		oldest := Client{Created: c.Created}
		for _, old := range m.clients {
			if old.Spare(c.Created) && old.Created.Before(oldest.Created) {
				oldest = old
			}
		}
		if oldest.ID == "" {
			return false, nil
		}
		delete(m.clients, oldest.ID)
	}
	if m.clients == nil {
		m.clients = make(map[string]Client)
	}
	m.clients[c.ID] = c
	return true, nil
}

// AllowClient implements [ClientStore].
func (m *MemoryClients) AllowClient(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c, ok := m.clients[id]; ok {
		c.Allowed = true
		m.clients[id] = c
	}
	return nil
}

// Client implements [ClientStore].
func (m *MemoryClients) Client(_ context.Context, id string) (Client, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.clients[id]
	return c, ok, nil
}
