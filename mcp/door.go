// Package mcp is the tool side of the gate: agents come in by a [Handler], and
// what they may use is behind [Server]s.
//
// A request passes so: the door authenticates, reads the body whole and parses
// it strictly, once; finds out which server it is for; makes it a
// [firewall.Call] and gives it to [firewall.Gate.Do], which has it carried out
// by [Server.Do]. What comes back goes down as it came. Only the envelope is
// callgate's: everything in it, known to callgate or not, stays as it is.
package mcp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"callgate/firewall"
	"callgate/identity"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
)

// Config is what a [Handler] needs. A change of it needs a new Handler.
type Config struct {
	PublicURL   string                               // what agents call this gate; its host is answered to besides those of loopback
	Challenge   func(route string, err error) string // WWW-Authenticate of a 401; required
	Limits      firewall.Limits                      // of one message, or batch, from a client
	Version     string                               // callgate's own; default "dev"
	Wait        time.Duration                        // that /mcp waits for each of its servers before it answers without it; default 5 s
	SessionIdle time.Duration                        // after which a legacy client's session ends; default 30 min
	Sessions    int                                  // of legacy clients of one agent at once; default 10,000
	Streams     int                                  // on which clients of one agent listen at once; default 1,000
	Logger      *slog.Logger                         // required
}

const (
	defaultWait        = 5 * time.Second
	defaultSessionIdle = 30 * time.Minute
	defaultSessions    = 10_000
	singleWait         = time.Minute // that /mcp/<server> waits: nothing else waits with it
)

// A Handler is the front door for MCP, of every version: all servers in one at
// /mcp, and each as it is at /mcp/<server>, or at /sse and /sse/<server> for clients
// that speak no later version than 2024-11-05. It is used by many
// goroutines at once.
type Handler struct {
	cfg       Config
	gate      *firewall.Gate
	public    string // host of PublicURL, without its port
	behind    atomic.Pointer[behind]
	sessions  sessions
	seals     *sealer
	exchanges exchanges
	streams   streams
	tasks     tasks
}

// behind is the servers behind the door at one time. It is never changed.
type behind struct {
	servers []*Server // in order of their names
	byName  map[string]*Server
	gone    chan struct{} // closed when others take their place

	byPrefix map[string]*Server
}

// New returns a Handler whose calls pass gate. It has no servers yet.
func New(cfg Config, gate *firewall.Gate) *Handler {
	if cfg.Version == "" {
		cfg.Version = "dev"
	}
	if cfg.Wait <= 0 {
		cfg.Wait = defaultWait
	}
	if cfg.SessionIdle <= 0 {
		cfg.SessionIdle = defaultSessionIdle
	}
	if cfg.Sessions <= 0 {
		cfg.Sessions = defaultSessions
	}
	h := &Handler{cfg: cfg, gate: gate, seals: newSealer()}
	if u, err := url.Parse(cfg.PublicURL); err == nil {
		h.public = strings.ToLower(u.Hostname())
	}
	h.sessions.idle, h.sessions.most = cfg.SessionIdle, cfg.Sessions
	if h.streams.most = cfg.Streams; cfg.Streams <= 0 {
		h.streams.most = defaultStreams
	}
	h.behind.Store(&behind{gone: make(chan struct{})})
	return h
}

// Close ends the calls that wait for clients to come back with what a server asked
// for. It is called when h gets no more requests, before the servers are closed.
func (h *Handler) Close() { h.exchanges.close() }

// SetServers puts servers, by their names, in the place of those behind the
// door. Calls in flight end with the server that they began with; the caller
// closes it. Clients that listen are told that the lists changed. Each server must
// have a prefix of its own.
func (h *Handler) SetServers(servers map[string]*Server) {
	next := &behind{byName: make(map[string]*Server, len(servers)), byPrefix: make(map[string]*Server, len(servers)), gone: make(chan struct{})}
	for _, s := range servers {
		next.byName[s.Name()] = s // the name that lists show is the one that calls are judged by
	}
	for _, name := range slices.Sorted(maps.Keys(next.byName)) {
		s := next.byName[name]
		if of := next.byPrefix[s.Prefix()]; of != nil {
			panic("mcp servers " + of.Name() + " and " + name + " have one prefix")
		}
		next.byPrefix[s.Prefix()] = s
		next.servers = append(next.servers, s)
	}
	close(h.behind.Swap(next).gone)
}

// Changed tells clients that listen that the lists may be others now, for another
// reason than their servers: the policy is.
func (h *Handler) Changed() {
	old := h.behind.Load()
	next := &behind{servers: old.servers, byName: old.byName, byPrefix: old.byPrefix, gone: make(chan struct{})}
	if h.behind.CompareAndSwap(old, next) { // else they are told by who was first
		close(old.gone)
	}
}

// A visit is one HTTP request at the door.
type visit struct {
	*Handler
	w      http.ResponseWriter
	r      *http.Request
	behind *behind // as it was when the request came
	name   string  // of the server that was asked for; "" for all in one
	only   *Server // that server
	token  string
	route  string
	caller identity.Principal

	modern  bool     // the client speaks 2026-07-28 or later
	version string   // that it speaks
	session *session // of a legacy client, once it has one
	level   string   // least severe log message that it wants; "" is all, or none for a modern client
	said    string   // its capabilities, as it declared them; "" for none
	out     *reply   // to this request

	cut context.CancelCauseFunc // ends the one call of this request; nil where there may be more, or it ends with the request
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := &visit{Handler: h, w: w, r: r, behind: h.behind.Load(), route: "/mcp"}
	rest, sse := isSSE(r.URL.Path)
	if !sse {
		rest = strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/mcp"), "/")
	}
	if rest != "" {
		v.name, v.only = rest, v.behind.byName[rest]
	}
	if isServerName(v.name) {
		v.route += "/" + v.name
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	ctx := r.Context()
	if f := v.enter(ctx); f != nil {
		v.refuse(ctx, nil, f)
		return
	}
	switch {
	case sse && r.Method == http.MethodGet:
		ctx, done := v.gate.Attend(ctx, v.token, v.route)
		defer done()
		v.openSSE(ctx)
	case sse && r.Method == http.MethodPost:
		v.postSSE(ctx)
	case r.Method == http.MethodPost:
		v.post(ctx)
	case isModern(r.Header.Get(mcpgo.HeaderProtocolVersion)) || r.Method != http.MethodGet && r.Method != http.MethodDelete:
		v.refuse(ctx, nil, v.notAllowed())
	case r.Method == http.MethodGet:
		ctx, done := v.gate.Attend(ctx, v.token, v.route)
		defer done()
		v.listen(ctx)
	default:
		v.leave(ctx)
	}
}

// enter sees who comes, before anything of the body is read.
func (v *visit) enter(ctx context.Context) *fault {
	v.token = token(v.r.Header)
	if f := v.fromHere(); f != nil {
		return f
	}
	caller, err := v.gate.Authenticate(ctx, v.token, v.route)
	if err != nil {
		return v.unauthenticated(err)
	}
	v.caller = caller
	if v.name != "" && v.only == nil {
		return v.noServer(ctx)
	}
	return nil
}

// fromHere refuses requests that a web page elsewhere has made a browser send:
// by a name that it lets point to this machine, or openly from its own origin.
func (v *visit) fromHere() *fault {
	if !v.isOurs(v.r.Host) {
		return forbidden("this gate does not answer to the host in the request: use its public_url")
	}
	for _, origin := range v.r.Header["Origin"] {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || !v.isOurs(u.Host) {
			return forbidden("requests of web pages from another origin are not answered")
		}
	}
	return nil
}

// isOurs says whether host, with or without a port, is a name of this gate.
func (h *Handler) isOurs(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return host != "" && host == h.public || isLoopback(host)
}

// token is the access token of a request, "" if there is none, or more than one
// that could be meant.
func token(h http.Header) string {
	if auth := h["Authorization"]; len(auth) > 0 {
		scheme, token, _ := strings.Cut(auth[0], " ")
		if len(auth) > 1 || !strings.EqualFold(scheme, "Bearer") {
			return ""
		}
		return strings.TrimSpace(token)
	}
	for _, name := range [...]string{"X-Api-Key", "X-Goog-Api-Key"} {
		if keys := h[name]; len(keys) > 0 {
			if len(keys) > 1 {
				return ""
			}
			return keys[0]
		}
	}
	return ""
}

// post answers one message, or a batch of them.
func (v *visit) post(ctx context.Context) {
	out, f := v.answerer()
	if f != nil {
		v.refuse(ctx, nil, f)
		return
	}
	doc, f := v.read()
	if f != nil {
		v.refuse(ctx, nil, f)
		return
	}
	if first := bytes.TrimLeft(doc, " \t\r\n"); len(first) > 0 && first[0] == '[' {
		v.batch(ctx, doc, out)
		return
	}
	m, f := v.parse(doc)
	if f == nil {
		f = v.meet(&m)
	}
	if f != nil {
		v.refuse(ctx, &m, f)
		return
	}
	v.out = out
	ctx, cut, done := v.outlive(ctx, out)
	defer done()
	v.cut = cut
	v.take(ctx, &m, out)
	out.end()
}

// read takes the whole body, within the limit.
func (v *visit) read() ([]byte, *fault) {
	limit := messageLimit(v.cfg.Limits)
	if enc := v.r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return nil, bad(http.StatusUnsupportedMediaType, mcpgo.INVALID_REQUEST, "send the body without Content-Encoding")
	}
	if v.r.ContentLength > int64(limit) {
		return nil, tooLarge(limit)
	}
	doc, err := readBody(v.r, limit)
	switch {
	case errors.Is(err, errTooLarge):
		return nil, tooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		f := bad(http.StatusRequestTimeout, mcpgo.INVALID_REQUEST, "the body did not arrive in time: send it faster")
		f.Err = err
		return nil, f
	case err != nil:
		f := bad(http.StatusBadRequest, mcpgo.INVALID_REQUEST, "the body broke off")
		f.Err = err
		return nil, f
	}
	return doc, nil
}

// readBody takes memory for a large body only as it arrives.
func readBody(r *http.Request, limit int) ([]byte, error) {
	if n := r.ContentLength; 0 <= n && n <= 64<<10 {
		doc := make([]byte, n)
		_, err := io.ReadFull(r.Body, doc)
		return doc, err
	}
	doc, err := io.ReadAll(&bounded{r.Body, limit + 1})
	if err == nil && len(doc) > limit {
		err = errTooLarge
	}
	return doc, err
}

// parse reads one message.
func (v *visit) parse(doc []byte) (Message, *fault) {
	m, err := parseMessage(doc, v.cfg.Limits)
	if err == nil {
		return m, nil
	}
	if _, not := firewall.ParseBody(doc, v.cfg.Limits); not != nil {
		return Message{}, bad(http.StatusBadRequest, mcpgo.PARSE_ERROR, "the body is not JSON as callgate takes it: %v", not)
	}
	if m.ID != nil && !validID(parsed(m.ID)) {
		m.ID = nil
	}
	return m, bad(http.StatusBadRequest, mcpgo.INVALID_REQUEST, "not a JSON-RPC message as callgate takes it: %v", err)
}

// take deals with one message whose client is known.
func (v *visit) take(ctx context.Context, m *Message, out *reply) {
	switch {
	case m.IsRequest():
		v.serve(ctx, m, out)
	case v.session == nil: // what a modern client says on its own concerns nobody
	case m.IsResponse():
		v.sessions.answer(v.session, m)
	case m.Method == "notifications/cancelled":
		if id := parsed(m.Params).Get("requestId"); id.Exists() {
			v.sessions.cancel(v.session, callKey(id))
		}
	case m.Method == "notifications/roots/list_changed":
		for _, s := range v.servers() {
			s.tell(v.client(s), m.Method)
		}
	}
}

// serve passes one request through the gate.
func (v *visit) serve(ctx context.Context, m *Message, out *reply) {
	if v.modern && m.Method == listenMethod {
		ctx, done := v.gate.Attend(ctx, v.token, v.route)
		defer done()
		v.listenModern(ctx, m, out)
		return
	}
	if v.session != nil {
		var done func()
		ctx, done = v.begin(ctx, m)
		defer done()
	}
	v.pass(ctx, m, out)
}

// begin notes that a request of the session is under way. Its context ends with
// errUnwanted when the client cancels it, or the session ends.
func (v *visit) begin(ctx context.Context, m *Message) (context.Context, func()) {
	cut := v.cut
	if cut == nil {
		ctx, cut = context.WithCancelCause(ctx)
	}
	c := v.sessions.begin(v.session, callKey(parsed(m.ID)), cut)
	return ctx, func() {
		v.sessions.over(v.session, c)
		cut(nil)
	}
}

// pass is serve for a request that has begun.
func (v *visit) pass(ctx context.Context, m *Message, out *reply) {
	call, up, f := v.call(ctx, m)
	if f == nil {
		err := v.gate.Do(ctx, call, up, func(ev firewall.Event) error { return v.down(m, call, ev, out) })
		if err == nil {
			return
		}
		if f = v.fault(err, m.Method); v.modern {
			f.lacked()
		}
		if m.Method == "initialize" && v.session != nil {
			v.sessions.end(v.session) // the client never learned of it
		}
	} else {
		f.Error = v.onRecord(ctx, call, f)
	}
	if context.Cause(ctx) == errUnwanted {
		return
	}
	v.deny(m, f, out)
}

// down writes one event of the reply to m.
func (v *visit) down(m *Message, call *firewall.Call, ev firewall.Event, out *reply) error {
	v.about(call.ID)
	if ev.Name == paused { // a client that can come back need not hold its connection
		if out.keep != nil {
			out.open()
		}
		return nil
	}
	if ev.Name != "" {
		if !v.wants(&ev) {
			return nil
		}
		return out.notify(ev.Name, ev.Body.JSON, ev.More)
	}
	if ev.Mark == markError {
		return out.failed(m.ID, v.statusOf(ev.Body.JSON), ev.Body.JSON)
	}
	doc := ev.Body.JSON
	if v.modern {
		doc = complete(doc, cacheable(m.Method))
	} else if m.Method == "initialize" {
		v.w.Header().Set(mcpgo.HeaderSessionID, v.session.id)
	}
	return out.succeeded(m.ID, doc)
}

// about puts the id of a call into the head of the reply, while there is one.
func (v *visit) about(call string) {
	if v.out != nil {
		v.out.settle()
	}
	about(v.w.Header(), call)
}

func about(head http.Header, call string) {
	if call != "" && !slices.Contains(head["Callgate-Call"], call) {
		head.Add("Callgate-Call", call)
	}
}

// isServerName says whether name can be one of a server, and so stand in a header.
func isServerName(name string) bool {
	return name != "" && len(name) <= 32 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
