package identity

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A FrontConfig is what the half of the authorization server needs that people see.
// Its zero value lets nobody log in.
type FrontConfig struct {
	DefaultAgent string        // the name of the agent that clients act as which have none; "": the person chooses
	Provider     Provider      // where people log in
	Admin        Secret        // the admin token, by which one logs in as user:admin; empty: nobody does
	RefreshTTL   time.Duration // of what a person allows, and so of its refresh tokens; default 30 days
	Registration bool          // clients may register themselves (RFC 7591)
	Vouchers     VoucherStore  // default in memory
	Registered   ClientStore   // default in memory

	guarded guarded // of tests
}

const (
	authorizePath = "/oauth/authorize"
	loginPath     = "/oauth/login"
	startPath     = "/oauth/login/start"
	returnPath    = "/oauth/login/callback"
	logoutPath    = "/oauth/logout"

	localAdmin        = "user:admin"
	defaultRefreshTTL = 30 * 24 * time.Hour
	maxQuery          = 16 << 10 // bytes of what a client asks for
)

// Check says what is wrong with c, all of it.
func (c FrontConfig) Check() error {
	var wrong []error
	if c.DefaultAgent != "" && !isName(c.DefaultAgent) {
		wrong = append(wrong, invalid("default_agent %.80q is no agent's name", c.DefaultAgent))
	}
	return errors.Join(append(wrong, c.Provider.check())...)
}

// front is what the pages that people see need.
type front struct {
	cfg       FrontConfig
	clients   atomic.Pointer[map[string]Client] // of the config, by id
	documents *documents
	sessions  *sessions
	provider  *provider // nil: there is none
	pages     *template.Template

	devices, polls, registering bucket // so that nobody asks too often: by address, by device code, by address
}

//go:embed pages.html
var pageFiles embed.FS

func newFront(cfg FrontConfig, issuer string, now func() time.Time) *front {
	if err := cfg.Check(); err != nil {
		panic(err) // whoever reads the config has checked it
	}
	if cfg.RefreshTTL <= 0 {
		cfg.RefreshTTL = defaultRefreshTTL
	}
	if cfg.Vouchers == nil {
		cfg.Vouchers = new(MemoryVouchers)
	}
	if cfg.Registered == nil {
		cfg.Registered = new(MemoryClients)
	}
	f := &front{
		cfg: cfg, documents: newDocuments(now, cfg.guarded),
		sessions: newSessions(now, strings.HasPrefix(issuer, "https:")), pages: template.Must(template.ParseFS(pageFiles, "pages.html")),
		devices:     bucket{free: 20, forget: 10 * time.Second, until: make(map[string]time.Time)},
		polls:       bucket{free: 1, forget: deviceInterval - time.Second, until: make(map[string]time.Time)}, // clocks differ
		registering: bucket{free: 10, forget: time.Minute, until: make(map[string]time.Time)},
	}
	f.clients.Store(new(map[string]Client))
	if cfg.Provider.Issuer != "" {
		f.provider = newProvider(cfg.Provider, strings.TrimSuffix(issuer, "/")+returnPath, now)
	}
	return f
}

// doors are the pages that people see.
func (a *Authority) doors(mux *http.ServeMux) {
	mux.HandleFunc("GET "+authorizePath, a.guard(a.authorize))
	mux.HandleFunc("POST "+authorizePath, a.guard(a.decide))
	mux.HandleFunc("GET "+loginPath, a.guard(a.login))
	mux.HandleFunc("POST "+loginPath, a.guard(a.enter))
	mux.HandleFunc("GET "+startPath, a.guard(a.leave))
	mux.HandleFunc("GET "+returnPath, a.guard(a.comeBack))
	mux.HandleFunc("POST "+logoutPath, a.guard(a.logout))
	mux.HandleFunc("GET "+devicePath, a.guard(a.deviceForm))
	mux.HandleFunc("POST "+devicePath, a.guard(a.deviceDecide))
	mux.HandleFunc("POST "+deviceAuthorizationPath, a.device)
	if a.front.cfg.Registration {
		mux.HandleFunc("POST "+registerPath, a.register)
	}
}

// guard keeps a page from what other pages may do with it: show it in a frame, send
// its forms, or have it called too often.
func (a *Authority) guard(next http.HandlerFunc) http.HandlerFunc {
	cross := http.NewCrossOriginProtection()
	return func(w http.ResponseWriter, r *http.Request) {
		address := origin(r.RemoteAddr)
		if wait := a.failures.addresses.wait(address, a.cfg.Now()); wait > 0 {
			a.show(w, http.StatusTooManyRequests, "sorry", page{Title: "Too many requests", Text: "Too much went wrong from this address. Wait a minute, then try again."})
			return
		}
		if err := cross.Check(r); err != nil {
			a.refused(r, "login.refused", "?", "a form that another page sent: "+r.URL.Path)
			a.show(w, http.StatusForbidden, "sorry", page{Title: "Not from here", Text: "This form was sent by a page that is not callgate's. Nothing was done."})
			return
		}
		if r.Method == http.MethodPost {
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		}
		next(w, r)
	}
}

// refused puts on record what a page did not do, and counts it against its address.
func (a *Authority) refused(r *http.Request, what, name, state string) {
	address := origin(r.RemoteAddr)
	a.failures.addresses.note(address, a.cfg.Now())
	_ = a.cfg.Record(what, name, name, clipped(state)+", from "+address) // it is refused in any case
}

// A page is what a template is filled with.
type page struct {
	Title, Text string
	Nonce       string
	User        string
	Token       string // against forms that another page sends

	Next     string // of login: where it goes on
	Admin    bool   // of login: with the admin token
	Provider string // of login: at this host
	Wrong    string // of login: what was wrong

	Client  Client
	Host    string
	Local   bool
	Agents  []Agent
	Asks    []string
	Until   string
	Request string

	Link, LinkText string
	UserCode       string
	forms          string // where its forms may lead in the end, besides here
}

// show writes a page. It runs nothing, is shown in no frame, and is kept by nobody.
func (a *Authority) show(w http.ResponseWriter, status int, name string, p page) {
	nonce := randomID()
	p.Nonce = nonce
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+nonce+"'; form-action 'self'"+p.forms+"; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin") // with no-referrer, browsers send the forms without saying from where
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := a.front.pages.ExecuteTemplate(w, name, p); err != nil {
		a.cfg.Logger.Debug("a page was not written whole", "page", name, "error", err)
	}
}

// broke shows that something of ours failed.
func (a *Authority) broke(w http.ResponseWriter, r *http.Request, err error) {
	a.cfg.Logger.ErrorContext(r.Context(), "a page of the authorization server failed", "path", r.URL.Path, "error", err)
	a.show(w, http.StatusInternalServerError, "sorry", page{Title: "Something failed", Text: "callgate could not do this; its log says why."})
}

// choices is the agents that may act for user when client asks: the one that the
// config names, or else those that the user or a group of the user answers for.
func (a *Authority) choices(client Client, user string) []Agent {
	at := a.cfg.Now()
	name := client.Agent
	if name == "" {
		name = a.front.cfg.DefaultAgent
	}
	if name != "" {
		if agent, ok := a.registry.Get(name); ok && agent.tokenless(at) == nil {
			return []Agent{agent}
		}
		return nil
	}
	groups, err := a.registry.Person(user)
	if err != nil {
		return nil
	}
	var list []Agent
	for _, agent := range a.registry.List() {
		if agent.tokenless(at) == nil && agent.Owner != "" && (agent.Owner == user || slices.Contains(groups, agent.Owner)) {
			list = append(list, agent)
		}
	}
	return list
}

// tidy forgets what has expired.
func (f *front) tidy(ctx context.Context, before time.Time) error {
	return f.cfg.Vouchers.DropVouchers(ctx, before)
}

// secretText is 256 random bits.
func secretText() string { return randomSecret().Reveal() }

func randomKey() (key [32]byte) {
	rand.Read(key[:]) // never fails
	return key
}

func tlsWith(roots *x509.CertPool) *tls.Config { return &tls.Config{RootCAs: roots} }
