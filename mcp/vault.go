package mcp

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"callgate/identity"
)

// VaultConfig is what a [Vault] needs. A change of it needs a new Vault.
type VaultConfig struct {
	PublicURL string     // of the gate: people come back to it when they have logged in; required
	Store     TokenStore // required
	// Assert makes a token by which callgate vouches at an authorization server,
	// the audience, for a client or for whom it asks on behalf of: the subject.
	// Required where the grant is GrantExchange, or a client has no secret.
	Assert func(ctx context.Context, issuer, subject, audience string) (identity.Secret, error)
	// Record puts on record that a login was made, refused or ended. What cannot be
	// recorded is not done, except what takes something away. nil records nothing.
	Record func(what, by, name, state string) error
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // required
}

// A TokenStore keeps what callgate is given by authorization servers. All of it is
// secret. It is used by one [Vault].
type TokenStore interface {
	// Tokens is all that was put and not dropped, by name.
	Tokens(ctx context.Context) (map[string]identity.Secret, error)
	// PutToken makes value durable before it returns nil, in place of what has its
	// name.
	PutToken(ctx context.Context, name string, value identity.Secret) error
	// DropToken forgets a name durably. One that is not there is no error.
	DropToken(ctx context.Context, name string) error
}

// MemoryTokens is a [TokenStore] in memory, for tests and for trying things out.
// The zero MemoryTokens is empty and ready.
type MemoryTokens struct {
	mu   sync.Mutex
	kept map[string]identity.Secret
}

// Tokens implements [TokenStore].
func (m *MemoryTokens) Tokens(context.Context) (map[string]identity.Secret, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.kept), nil
}

// PutToken implements [TokenStore].
func (m *MemoryTokens) PutToken(_ context.Context, name string, value identity.Secret) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept == nil {
		m.kept = make(map[string]identity.Secret)
	}
	m.kept[name] = value
	return nil
}

// DropToken implements [TokenStore].
func (m *MemoryTokens) DropToken(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.kept, name)
	return nil
}

// A Vault holds what callgate has at authorization servers: its tokens, its
// registrations, and the logins that are under way. It outlives the servers that
// use it, and is used by many goroutines at once.
type Vault struct {
	cfg      VaultConfig
	redirect string // where people come back to

	life context.Context
	end  context.CancelFunc
	work sync.WaitGroup // renewals

	accounts atomic.Pointer[map[accountKey]*account] // never changed, only replaced

	mu      sync.Mutex
	clients map[string]*registration // by their names in the store
	issuers map[string]usedIssuer    // by server
	logins  map[string]*login        // by id
	strays  time.Time                // when a callback of no login was last put on record
}

// accountKey is whose token, at which server.
type accountKey struct{ server, holder string }

// An account is the place of one holder's token at one server, for as long as the
// process lives.
type account struct {
	accountKey
	now atomic.Pointer[bearer] // nil where there is none

	mu       sync.Mutex
	renewing *flight[*bearer]
	wanted   []string // scopes that the server has asked for and that the token lacks
}

// A bearer is an access token, and what it takes to get the next one. It is never
// changed once made.
type bearer struct {
	Server   string    `json:"server"` // and Holder: whose it is, so that what is stored cannot be put in another's place
	Holder   string    `json:"holder"`
	Fit      string    `json:"fit"`   // see oauth
	Login    string    `json:"login"` // id of the login that it began with
	Issuer   string    `json:"issuer"`
	Client   string    `json:"client"`
	Resource string    `json:"resource"`
	Access   string    `json:"access"`
	Refresh  string    `json:"refresh,omitempty"`
	Scopes   []string  `json:"scopes,omitempty"`
	Got      time.Time `json:"got"`
	Expires  time.Time `json:"expires,omitzero"` // zero where the authorization server did not say

	header []string  // of Authorization
	renew  time.Time // when to get the next one; zero is when it is refused
}

// usedIssuer is the authorization server that a server's logins were made at.
type usedIssuer struct {
	URL    string `json:"url"` // of the server
	Issuer string `json:"issuer"`
}

// ready makes b one that can be sent.
func (b *bearer) ready() *bearer {
	b.header = []string{"Bearer " + b.Access}
	if !b.Expires.IsZero() {
		b.renew = b.Expires.Add(-min(30*time.Second, b.Expires.Sub(b.Got)/10))
	}
	return b
}

// Names in the store begin with what is kept there.
const (
	keptToken  = "token\x00"  // and server, holder
	keptClient = "client\x00" // and issuer, client_id
	keptIssuer = "issuer\x00" // and server
)

func (k accountKey) kept() string { return keptToken + k.server + "\x00" + k.holder }

// OpenVault reads what is in the store.
func OpenVault(ctx context.Context, cfg VaultConfig) (*Vault, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Record == nil {
		cfg.Record = func(_, _, _, _ string) error { return nil }
	}
	v := &Vault{
		cfg: cfg, redirect: strings.TrimSuffix(cfg.PublicURL, "/") + callbackPath,
		clients: make(map[string]*registration), issuers: make(map[string]usedIssuer), logins: make(map[string]*login),
	}
	v.life, v.end = context.WithCancel(context.Background())
	kept, err := cfg.Store.Tokens(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the tokens for servers: %w", err)
	}
	accounts := make(map[accountKey]*account)
	for name, value := range kept {
		kind, rest, _ := strings.Cut(name, "\x00")
		switch doc := []byte(value.Reveal()); kind + "\x00" {
		case keptToken:
			b := new(bearer)
			if err = json.Unmarshal(doc, b); err == nil {
				a := &account{accountKey: accountKey{b.Server, b.Holder}}
				if a.kept() != name {
					err = fmt.Errorf("it is another's")
				}
				a.now.Store(b.ready())
				accounts[a.accountKey] = a
			}
		case keptClient:
			c := new(registration)
			if err = json.Unmarshal(doc, c); err == nil && c.kept() != name {
				err = fmt.Errorf("it is another's")
			}
			v.clients[name] = c
		case keptIssuer:
			var u usedIssuer
			err = json.Unmarshal(doc, &u)
			v.issuers[rest] = u
		}
		if err != nil {
			return nil, fmt.Errorf("read the tokens for servers: %q: %w", name, err)
		}
	}
	v.accounts.Store(&accounts)
	return v, nil
}

// Close ends renewals. What was renewed is stored first.
func (v *Vault) Close() {
	done := make(chan struct{})
	go func() {
		v.work.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(aside):
	}
	v.end()
	<-done
}

// account is the place of a holder's token at a server.
func (v *Vault) account(server, holder string) *account {
	key := accountKey{server, holder}
	if a := (*v.accounts.Load())[key]; a != nil {
		return a
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	accounts := *v.accounts.Load()
	if a := accounts[key]; a != nil {
		return a
	}
	next := maps.Clone(accounts)
	if len(next) >= maxAccounts { // agents come and go; places without a token are made again
		maps.DeleteFunc(next, func(_ accountKey, a *account) bool { return a.now.Load() == nil })
	}
	next[key] = &account{accountKey: key}
	v.accounts.Store(&next)
	return next[key]
}

const maxAccounts = 4096 // beyond which those without a token are forgotten

// replace puts next in the place of old, unless that was ended or replaced
// meanwhile. A token that a person logged in for is stored first.
func (v *Vault) replace(ctx context.Context, a *account, old, next *bearer) (*bearer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now.Load() != old {
		if b := a.now.Load(); b != nil && b.Fit == next.Fit {
			return b, nil
		}
		return nil, fmt.Errorf("the login was ended while its token was renewed")
	}
	if next.Login != "" {
		if err := v.put(ctx, a.kept(), next); err != nil { // the old one may be of no use any more, so the new one is used all the same
			v.cfg.Logger.Error("a renewed token is not stored; after a restart its login is needed again", "server", a.server, "holder", a.holder, "error", err)
		}
	}
	a.now.Store(next)
	return next, nil
}

// settle puts the token of a login in place.
func (v *Vault) settle(ctx context.Context, a *account, serverURL string, next *bearer) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := v.put(ctx, a.kept(), next); err != nil {
		return err
	}
	if err := v.remember(ctx, a.server, usedIssuer{serverURL, next.Issuer}); err != nil {
		return err
	}
	a.wanted = nil
	a.now.Store(next)
	return nil
}

// forget ends the token b of an account.
func (v *Vault) forget(ctx context.Context, a *account, b *bearer, why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now.Load() != b {
		return
	}
	a.now.Store(nil)
	if err := v.cfg.Store.DropToken(ctx, a.kept()); err != nil {
		v.cfg.Logger.Error("a token that has ended is still stored", "server", a.server, "holder", a.holder, "error", err)
	}
	v.cfg.Logger.Warn("a login has ended", "server", a.server, "holder", a.holder, "why", why)
	_ = v.cfg.Record("mcp.login.ended", "system", "mcp:"+a.server, a.holder+": "+why)
}

// want notes scopes that the server asks for, and says whether there is one that
// was not asked for yet.
func (a *account) want(scopes []string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := united(a.wanted, scopes)
	if len(all) > maxScopes || len(all) == len(a.wanted) {
		return false
	}
	a.wanted = all
	return true
}

func (v *Vault) put(ctx context.Context, name string, value any) error {
	doc, err := json.Marshal(value)
	if err == nil {
		err = v.cfg.Store.PutToken(ctx, name, identity.NewSecret(string(doc)))
	}
	if err != nil {
		return fmt.Errorf("store what an authorization server gave: %w", err)
	}
	return nil
}

// issuer is the authorization server that logins at a server were made at; ""
// while there was none.
func (v *Vault) issuer(server, serverURL string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if u := v.issuers[server]; u.URL == serverURL {
		return u.Issuer
	}
	return ""
}

func (v *Vault) remember(ctx context.Context, server string, u usedIssuer) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.issuers[server] == u {
		return nil
	}
	if err := v.put(ctx, keptIssuer+server, u); err != nil {
		return err
	}
	v.issuers[server] = u
	return nil
}

// public is the gate's own URL.
func (v *Vault) public() *url.URL {
	u, err := url.Parse(v.cfg.PublicURL)
	if err != nil {
		return new(url.URL)
	}
	return u
}
