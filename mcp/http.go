package mcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	maxReply    = 256 << 20        // bytes of all that comes back for one request
	maxMessages = 100_000          // that come back for one request
	maxSessions = 1024             // of one server
	sessionIdle = 30 * time.Minute // after which a session is ended
	aside       = 5 * time.Second  // for a message that nobody waits for
)

// httpWire reaches a server by streamable HTTP. A modern server is one link for
// all; on a legacy one each client has a session of its own, because what a
// server keeps in a session must not pass from one principal to another. The
// wire puts in the operator's credentials; it never has an agent's token.
type httpWire struct {
	*Server
	url    *url.URL
	client *http.Transport // driven by hand: no redirect is followed
	common http.Header     // of each request; credentials aside
	post   *http.Request   // without headers and body
	oauth  *oauth          // gets tokens; nil where none are needed

	mu       sync.Mutex
	found    *flight[*Info]
	old      *piped               // where the server speaks HTTP+SSE
	sessions map[string]*httpLink // by client
	swept    time.Time
	asides   int // messages on their way that nobody waits for
}

func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("url %q: use http://host/path or https://host/path", raw)
	}
	if u.User != nil {
		return errors.New("url: put credentials in headers, not in the url")
	}
	return nil
}

// checkHeader refuses headers that HTTP or MCP itself needs, and those that are
// none.
func checkHeader(name string) error {
	canonical := http.CanonicalHeaderKey(name)
	switch canonical {
	case "Accept", "Accept-Encoding", "Connection", "Content-Length", "Content-Type", "Host", "Transfer-Encoding", "Upgrade":
		return fmt.Errorf("header %q is callgate's own to set", name)
	}
	if !isToken(name) || strings.HasPrefix(canonical, "Mcp-") {
		return fmt.Errorf("header %q cannot be set", name)
	}
	return nil
}

func newHTTPWire(s *Server) *httpWire {
	u, _ := url.Parse(s.cfg.URL) // checked
	dial := net.Dialer{Timeout: 10 * time.Second}
	w := &httpWire{
		Server: s,
		url:    u,
		common: http.Header{
			"Content-Type": {"application/json"},
			"Accept":       {"application/json, text/event-stream"},
			"User-Agent":   {"callgate/" + s.cfg.Version},
		},
		post: &http.Request{Method: http.MethodPost, URL: u, Host: u.Host},
		client: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            dial.DialContext,
			TLSHandshakeTimeout:    10 * time.Second,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    256,
			IdleConnTimeout:        90 * time.Second,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		sessions: make(map[string]*httpLink),
	}
	if s.cfg.OAuth != nil {
		w.oauth = newOAuth(s)
	}
	return w
}

func (w *httpWire) start() {
	if w.oauth != nil && w.oauth.gate.now.Load() == nil && w.oauth.cfg.grant() == GrantCode {
		return // nobody has logged in
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.discovery(w.own())
}

func (w *httpWire) info(ctx context.Context, client *Client) (*Info, error) {
	if w.oauth != nil {
		return w.infoAs(ctx, client.principal())
	}
	w.mu.Lock()
	f := w.discovery(nil)
	w.mu.Unlock()
	return f.wait(ctx)
}

func (w *httpWire) known() *Info {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.oauth != nil || w.found == nil || !w.found.landed() {
		return nil
	}
	return w.found.val
}

// discovery is the one that is done or under way, else a new one. It needs mu.
func (w *httpWire) discovery(a *account) *flight[*Info] {
	if w.found != nil && !(w.found.landed() && w.found.err != nil) {
		return w.found
	}
	f := newFlight[*Info]()
	w.found = f
	w.work.Go(func() {
		ctx, cancel := context.WithTimeout(w.life, discoverTime)
		defer cancel()
		s := &httpLink{wire: w, account: a}
		info, err := w.discover(ctx, s.ask)
		switch {
		case errors.Is(err, errForeign) && w.oauth == nil: // that transport is older than OAuth
			info, err = w.discoverSSE(ctx, err)
		case err == nil && !info.Modern:
			err = s.greet(ctx, &info)
		}
		if err != nil {
			f.land(nil, w.explain(ctx, err))
		} else {
			w.cfg.Logger.Info("server discovered", "version", info.Version)
			f.land(&info, nil)
		}
		w.discard(s) // a session that was begun to find out is nobody's
	})
	return f
}

// discoverSSE tries the transport of 2024-11-05 with a server that does not answer
// by streamable HTTP: why is how it did not.
func (w *httpWire) discoverSSE(ctx context.Context, why error) (Info, error) {
	first, err := newSSECarrier(w)
	if err != nil {
		return Info{}, why
	}
	first.kill() // each session opens its own
	old := newPiped(w.Server, func() (carrier, error) {
		c, err := newSSECarrier(w)
		if err != nil {
			return nil, err // and not a carrier that is nil
		}
		return c, nil
	})
	info, err := old.info(ctx, nil)
	if err != nil {
		old.own.end()
		return Info{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.old = old
	return *info, nil
}

// rediscover forgets what info says: the server is not what it was.
func (w *httpWire) rediscover(info *Info) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.found != nil && w.found.landed() && w.found.val == info {
		w.found = nil
	}
}

func (w *httpWire) link(ctx context.Context, client *Client) (link, error) {
	info, err := w.info(ctx, client)
	if err != nil {
		return nil, err
	}
	a, b, err := w.standing(ctx, client.principal())
	if err != nil {
		return nil, err
	}
	if old := w.sse(); old != nil {
		return old.link(ctx, client)
	}
	if info.Modern {
		return &httpLink{wire: w, about: info, version: info.Version, account: a}, nil
	}
	s, err := w.session(client, sessionKey(client, b), a, info).opening.wait(ctx)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// sse is the way to a server of 2024-11-05, nil if it is of another kind.
func (w *httpWire) sse() *piped {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.old
}

func (w *httpWire) tell(client *Client, msg []byte) {
	if old := w.sse(); old != nil {
		old.tell(client, msg)
		return
	}
	key := client.key()
	w.mu.Lock()
	var its []*httpLink
	for _, s := range w.sessions {
		if s.client.key() == key && s.opening.landed() && s.opening.err == nil {
			its = append(its, s)
		}
	}
	w.mu.Unlock()
	for _, s := range its {
		s.aside(msg)
	}
}

// session is the session of a client, open or opening.
func (w *httpWire) session(client *Client, key string, a *account, about *Info) *httpLink {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if now.Sub(w.swept) >= time.Minute {
		w.sweep(now)
	}
	s := w.sessions[key]
	if s != nil && !(s.opening.landed() && s.opening.err != nil) {
		s.used = now
		return s
	}
	if len(w.sessions) >= maxSessions {
		if oldest := w.sweep(now); oldest != nil && len(w.sessions) >= maxSessions {
			w.drop(oldest)
		}
	}
	s = &httpLink{wire: w, client: client, key: key, account: a, used: now, opening: newFlight[*httpLink]()}
	w.sessions[key] = s
	w.work.Go(func() {
		ctx, cancel := context.WithTimeout(w.life, w.cfg.Timeout)
		defer cancel()
		info, err := w.initialize(ctx, s.ask, client)
		if err == nil {
			err = s.greet(ctx, &Info{Version: info.Version})
		}
		if err != nil {
			w.rediscover(about)
			err = w.explain(ctx, err)
		} else {
			uris := w.subscribed(client)
			if client.answers() || uris != nil {
				s.hearken(ctx)
			}
			for _, uri := range uris {
				s.aside(request(w.ids.Add(1), "resources/subscribe", []byte(`{"uri":`+quoted(uri)+`}`)))
			}
		}
		s.opening.land(s, err)
	})
	return s
}

// sweep ends sessions that have been idle for long. Of the others that nobody uses
// now, it returns the one that has been idle for longest. It needs mu.
func (w *httpWire) sweep(now time.Time) (oldest *httpLink) {
	w.swept = now
	for _, s := range w.sessions {
		switch {
		case s.busy > 0 || !s.opening.landed():
		case now.Sub(s.used) > sessionIdle:
			w.drop(s)
		case oldest == nil || s.used.Before(oldest.used):
			oldest = s
		}
	}
	return oldest
}

// drop forgets a session and ends it at the server. It needs mu.
func (w *httpWire) drop(s *httpLink) {
	if w.sessions[s.key] == s {
		delete(w.sessions, s.key)
	}
	s.deafen()
	w.work.Go(func() { w.discard(s) })
}

// close ends all sessions at the server.
func (w *httpWire) close() {
	w.mu.Lock()
	for _, s := range w.sessions {
		if s.opening.landed() {
			w.drop(s)
		}
	}
	w.mu.Unlock()
	w.work.Wait()
	w.client.CloseIdleConnections()
}

// discard ends a session at the server, which need not have it any more.
func (w *httpWire) discard(s *httpLink) {
	if s.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), aside)
	defer cancel()
	hand, err := w.lend(ctx, s.client.principal(), nil)
	if err != nil {
		return
	}
	resp, err := w.client.RoundTrip((&http.Request{
		Method: http.MethodDelete, URL: w.url, Host: w.url.Host, Header: s.header(outgoing{}, hand),
	}).WithContext(ctx))
	if err == nil {
		_ = resp.Body.Close()
	}
}
