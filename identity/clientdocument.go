package identity

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/singleflight"
)

const (
	maxDocument     = 5 << 10 // bytes
	documentTimeout = 5 * time.Second
	documentLife    = time.Hour      // where its server does not say
	longestDocument = 24 * time.Hour // whatever its server says
	failedDocument  = 30 * time.Second
	maxDocuments    = 1000 // kept
	maxFetches      = 8    // at once
)

// errNotFetched says that a client's document would have to be fetched first.
var errNotFetched = errors.New("the client's document is not known yet")

// documents fetches what clients publish about themselves (client ID metadata
// documents). Their addresses come from anybody, so that only the internet is asked:
// the check is of the address that is dialled, whatever its name led to before.
type documents struct {
	http    *http.Transport
	now     func() time.Time
	flight  singleflight.Group
	fetches chan struct{}

	mu   sync.Mutex
	held map[string]held
}

// held is a document, or why there is none, for a time.
type held struct {
	client Client
	err    error
	until  time.Time
}

// guarded is what a test may have otherwise; the zero guarded is what holds.
type guarded struct {
	allowed func(netip.Addr) bool // default [isPublic]
	roots   *x509.CertPool
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
}

func newDocuments(now func() time.Time, g guarded) *documents {
	if g.allowed == nil {
		g.allowed = isPublic
	}
	if g.dial == nil {
		dialer := &net.Dialer{Timeout: documentTimeout, Control: func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil || !g.allowed(at.Addr()) {
				return errors.New("its address is not one of the internet")
			}
			return nil
		}}
		g.dial = dialer.DialContext
	}
	t := &http.Transport{ // no proxy, which would resolve the name itself
		DialContext: g.dial, TLSHandshakeTimeout: documentTimeout, ResponseHeaderTimeout: documentTimeout,
		DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10, DisableCompression: true,
	}
	if g.roots != nil {
		t.TLSClientConfig = tlsWith(g.roots)
	}
	return &documents{http: t, now: now, fetches: make(chan struct{}, maxFetches), held: make(map[string]held)}
}

// isDocumentURL says whether a client_id may be the address of a document.
func isDocumentURL(id string) bool {
	u, err := url.Parse(id)
	if err != nil || len(id) > maxURI || !strings.HasPrefix(id, "https://") || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c >= 0x7f }) ||
		strings.ContainsAny(id, "\\#") || u.User != nil || u.Hostname() == "" || u.Host != strings.ToLower(u.Host) || len(u.Path) < 2 {
		return false
	}
	return !slices.ContainsFunc(strings.Split(u.Path, "/"), func(s string) bool { return s == "." || s == ".." })
}

// client is what the document at id says.
func (d *documents) client(ctx context.Context, id string, fetch bool) (Client, error) {
	if !isDocumentURL(id) {
		return Client{}, invalid("client_id is no address of a client ID metadata document: want https, a host in lower case and a path, without user, # and ..")
	}
	d.mu.Lock()
	h, ok := d.held[id]
	d.mu.Unlock()
	if ok && d.now().Before(h.until) {
		return h.client, h.err
	}
	if !fetch {
		return Client{}, errNotFetched
	}
	c, err, _ := d.flight.Do(id, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), documentTimeout)
		defer cancel()
		c, life, err := d.fetch(ctx, id)
		if err != nil {
			err = invalid("the client's document at its client_id is not usable: %v", err)
			life = failedDocument
		}
		d.keep(id, held{c, err, d.now().Add(life)})
		return c, err
	})
	return c.(Client), err
}

func (d *documents) keep(id string, h held) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for old, had := range d.held { // begins anywhere
		if len(d.held) < maxDocuments && d.now().Before(had.until) {
			break
		}
		delete(d.held, old)
	}
	d.held[id] = h
}

func (d *documents) fetch(ctx context.Context, id string) (Client, time.Duration, error) {
	select {
	case d.fetches <- struct{}{}:
		defer func() { <-d.fetches }()
	case <-ctx.Done():
		return Client{}, 0, errors.New("too many are being fetched at once; try again")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, id, nil)
	if err != nil {
		return Client{}, 0, errors.New("it is no URL")
	}
	req.Header.Set("Accept", "application/json")
	resp, err := d.http.RoundTrip(req) // which follows no redirects
	if err != nil {
		return Client{}, 0, fmt.Errorf("it cannot be fetched: %w", plainer(err))
	}
	defer resp.Body.Close()
	doc, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode != http.StatusOK:
		return Client{}, 0, &statusError{resp.StatusCode}
	case err != nil:
		return Client{}, 0, errors.New("it was cut off")
	case len(doc) > maxDocument:
		return Client{}, 0, fmt.Errorf("it is longer than %d bytes", maxDocument)
	case kind != "application/json" && !strings.HasSuffix(kind, "+json"):
		return Client{}, 0, errors.New("it is not application/json")
	}
	c, err := readDocument(id, doc)
	return c, lifeOf(resp.Header), err
}

// plainer is err without what stands in it of the network here.
func plainer(err error) error {
	var dns *net.DNSError
	var late net.Error
	switch {
	case errors.As(err, &dns):
		return errors.New("its host is not found")
	case errors.As(err, &late) && late.Timeout():
		return errors.New("it takes too long")
	case strings.Contains(err.Error(), "not one of the internet"):
		return errors.New("its address is not one of the internet")
	}
	return errors.New("its server does not answer by HTTPS")
}

// readDocument is the client that a document describes. It must be public: there is
// nobody with whom it could share a secret.
func readDocument(id string, doc []byte) (Client, error) {
	if !jsontext.Value(doc).IsValid() { // no name twice, valid UTF-8
		return Client{}, errors.New("it is no JSON object, or has a name twice")
	}
	var m struct {
		ID        string   `json:"client_id"`
		Name      string   `json:"client_name"`
		Redirects []string `json:"redirect_uris"`
		Method    string   `json:"token_endpoint_auth_method"`
		Grants    []string `json:"grant_types"`
		Secret    any      `json:"client_secret"`
	}
	switch err := json.Unmarshal(doc, &m); {
	case err != nil:
		return Client{}, errors.New("it is no JSON object as it should be")
	case m.ID != id:
		return Client{}, errors.New("its client_id is not its own address")
	case m.Secret != nil:
		return Client{}, errors.New("it has a client_secret")
	case m.Method != "" && m.Method != "none":
		return Client{}, errors.New("it wants to authenticate at the token endpoint, but callgate takes documents of public clients only: token_endpoint_auth_method none")
	case len(m.Grants) > 0 && !slices.Contains(m.Grants, byCode):
		return Client{}, errors.New("its grant_types are without authorization_code")
	}
	c := Client{ID: id, Name: m.Name, Redirects: m.Redirects, Source: FromDocument}
	return c, c.Check()
}

// lifeOf is how long a document may be kept.
func lifeOf(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(strings.ToLower(h.Get("Cache-Control")), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch name {
		case "no-store", "no-cache":
			return time.Minute // for the person who reads the page
		case "max-age":
			if n, err := strconv.Atoi(value); err == nil && n >= 0 {
				return min(max(time.Duration(min(n, int(longestDocument/time.Second)))*time.Second, time.Minute), longestDocument)
			}
		}
	}
	return documentLife
}

// isPublic says whether ip is an address of the internet, as far as anybody can say.
func isPublic(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return false
	}
	for _, p := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"168.63.129.16/32",                                                                                                          // of Azure's own
		"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10", // among them those that hold an IPv4 address
	} {
		if netip.MustParsePrefix(p).Contains(ip) {
			return false
		}
	}
	return true
}
