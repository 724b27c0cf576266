package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"callgate/firewall"
	"callgate/identity"

	"github.com/go-json-experiment/json/jsontext"
)

// A Request is what a [Server] is asked for on behalf of a caller.
type Request struct {
	Method string
	Params json.RawMessage   // an object, as it was judged; nil for none
	Modern bool              // the client speaks 2026-07-28 or later: Params has its own _meta
	Header map[string]string // Mcp-Param-* headers that the client sent and that agree with Params

	endless bool                // its reply goes on until the client wants no more
	own     bool                // it is callgate's own idea, perhaps in the midst of another one
	lent    func(identity.Loan) // told which credentials are used for it; nil: nobody wants to know
}

// Info is what a server said of itself when it was discovered.
type Info struct {
	Version      string          // protocol version that callgate speaks with it
	Modern       bool            // Version is 2026-07-28 or later
	Capabilities json.RawMessage // as it came
	ServerInfo   json.RawMessage // as it came
	Instructions string
}

// ServerConfig says how one MCP server is reached: by Command or by URL. A
// reload makes a new Server of it.
type ServerConfig struct {
	Name    string                         // [a-z0-9-], 1 to 32 characters
	Command []string                       // program and arguments; started without a shell
	Env     map[string]string              // added to the few variables that Command's process gets
	Secrets map[string]identity.Credential // added to Env when the process is started; it is started anew when one of them has changed
	Dir     string                         // working directory of Command; "" is callgate's own
	URL     string                         // streamable HTTP endpoint
	Headers map[string]identity.Credential // sent with each request to URL
	Opens   []string                       // hosts, besides its own, whose pages the server may ask users to open
	OAuth   *OAuthConfig                   // how access tokens for URL are got; nil for none
	Timeout time.Duration                  // of one request without a sign of progress; default 60 s. With progress a request may take 10 minutes.
	Shared  bool                           // one process of Command serves all principals; default: a legacy server has one for each
	Trusted bool                           // believe what the server's annotations say of its tools' impact
	Guess   func() bool                    // whether tools that nobody has labelled are judged by what can be guessed of them; nil: they are not
	Labels  firewall.Labels                // of what the server's replies bring, but for tools that have their own
	Tools   map[string]ToolConfig          // what the operator says of single tools, and of all under "*"
	Resolve Resolver                       // finds the hosts that arguments name; nil: by the system
	Seen    func([]Definition)             // told each list of the server's tools that may be used, when it has arrived; may be nil
	Pins    *Pins                          // hold the server to what it first said of itself; nil for none
	Limits  firewall.Limits                // of one message from the server
	Version string                         // callgate's own, as told to the server; default "dev"
	Logger  *slog.Logger                   // required

	Prefix      string      // of its tools' and prompts' names at /mcp; [a-z0-9-], 1 to 32 characters; default Name
	Concurrency int         // requests in flight to it; more wait for their turn, within Timeout; default 256
	Confine     Confinement // what Command's process may take of this machine, and sees of it
	Helper      []string    // program, and first arguments, that calls [Confine]; default: this program and [ConfineWord]
}

// Check says what is wrong with c, all at once.
func (c ServerConfig) Check() error {
	var errs []error
	if len(c.Name) < 1 || len(c.Name) > 32 || strings.Trim(c.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		errs = append(errs, fmt.Errorf("name %q: use 1 to 32 of a-z, 0-9 and -", c.Name))
	}
	if c.Prefix != "" && !isServerName(c.Prefix) {
		errs = append(errs, fmt.Errorf("prefix %q: use 1 to 32 of a-z, 0-9 and -", c.Prefix))
	}
	if c.Concurrency < 0 || c.Concurrency > maxConcurrency {
		errs = append(errs, fmt.Errorf("concurrency: want 1 to %d", maxConcurrency))
	}
	if (len(c.Command) == 0) == (c.URL == "") {
		errs = append(errs, errors.New("give either a command or a url"))
	}
	if c.URL != "" {
		errs = append(errs, checkURL(c.URL))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		errs = append(errs, checkHeader(name))
	}
	if c.URL == "" && len(c.Headers) > 0 {
		errs = append(errs, errors.New("headers are for servers with a url"))
	}
	if c.OAuth != nil {
		errs = append(errs, c.checkOAuth())
	}
	for _, host := range c.Opens {
		if u, err := url.Parse("https://" + host); err != nil || u.Host != host || u.Hostname() != strings.ToLower(host) {
			errs = append(errs, fmt.Errorf("opens: %q: write the name of a host, without a scheme or path", host))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Tools)) {
		errs = append(errs, c.Tools[name].check(name))
	}
	if c.URL != "" && c.Shared {
		errs = append(errs, errors.New("shared is for servers with a command"))
	}
	if c.URL != "" && (len(c.Env)+len(c.Secrets) > 0 || c.Dir != "" || !c.Confine.none()) {
		errs = append(errs, errors.New("env, dir and process are for servers with a command"))
	}
	if err := c.Confine.check(); err != nil {
		errs = append(errs, fmt.Errorf("process: %w", err))
	}
	return errors.Join(errs...)
}

const (
	defaultTimeout = time.Minute
	maxTimeout     = 10 * time.Minute // of a request that shows progress
)

// A Server is one MCP server behind callgate, by any transport. It is used by
// many goroutines at once.
type Server struct {
	cfg   ServerConfig
	about string // callgate, as its servers know it: clientInfo
	wire  wire
	lists listings
	known schemas       // of its tools
	ids   atomic.Uint64 // of requests, and of their progress tokens
	pins  pinned

	credentials credentials
	breaker     breaker
	slots       *slots
	health      health
	restarts    atomic.Uint64        // of its process, or stream
	last        atomic.Pointer[Info] // what it was when a list was last asked for

	life context.Context // ends when Close gives up waiting
	end  context.CancelFunc
	work sync.WaitGroup // goroutines of the server's own

	mu      sync.Mutex
	closing bool
	calls   int
	idle    chan struct{} // closed when closing and no call is left
	notices map[int]func(Message)
	unwatch context.CancelFunc // while there are notices
	heeds   chan struct{}      // closed when the watch hears the server, or cannot

	subscribers map[subscription]map[int]func(Message) // with sessions of a legacy server
	pages       map[sentTo]map[int]func(Message)       // that users are sent to
	next        int                                    // of notices, subscribers and those who await pages
}

// A wire reaches a server by one transport.
type wire interface {
	// start begins to reach the server, without waiting for it.
	start()
	// info waits until the server is discovered. Who asks matters where the server
	// must be asked with a token of theirs.
	info(ctx context.Context, client *Client) (*Info, error)
	// known is what info is if it is that for everybody and needs no waiting, else nil.
	known() *Info
	// link is the way to the server for one client.
	link(ctx context.Context, client *Client) (link, error)
	// tell sends a notification to the session of a client, if there is one.
	tell(client *Client, msg []byte)
	// hearken listens to the session of a client with a legacy server. For callgate
	// itself it returns when the server speaks no more, and says whether it did; ready
	// is told when it does.
	hearken(ctx context.Context, client *Client, ready func()) bool
	// close ends what the wire holds, when no link is to be used any more.
	close()
}

// A link takes requests of one client to a server that is discovered.
type link interface {
	info() *Info
	// send yields what belongs to the request, its response last. Requests by the
	// server are among it where the client takes any; each is to be answered before
	// the next message is taken. It returns errGone if the server forgot the link
	// before it saw the request.
	send(ctx context.Context, out outgoing) iter.Seq2[Message, error]
}

// outgoing is one request on its way to a server.
type outgoing struct {
	id     uint64
	method string
	params []byte
	header map[string]string // Mcp-Param-* by full name, as they go on the wire
	hand   []lent            // headers with credentials, where the transport has such
	lent   func(identity.Loan)
}

var (
	errGone    = errors.New("the server ended the session")
	errTimeout = errors.New("no answer in time")
	errClosed  = errors.New("closed")
)

// NewServer makes a Server of cfg, which must be right by [ServerConfig.Check].
// Nothing is started before it is needed, or before Start.
func NewServer(cfg ServerConfig) *Server {
	if err := cfg.Check(); err != nil {
		panic("mcp server " + cfg.Name + ": " + err.Error())
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Version == "" {
		cfg.Version = "dev"
	}
	if cfg.Prefix == "" {
		cfg.Prefix = cfg.Name
	}
	if cfg.Concurrency <= 0 {
		cfg.Concurrency = defaultConcurrency
	}
	version, _ := jsontext.AppendQuote(nil, cfg.Version)
	s := &Server{cfg: cfg, about: `{"name":"callgate","version":` + string(version) + `}`, idle: make(chan struct{}), notices: make(map[int]func(Message)), subscribers: make(map[subscription]map[int]func(Message))}
	s.cfg.Logger = cfg.Logger.With("server", cfg.Name)
	s.credentials = cfg.credentials()
	s.breaker.now, s.slots = time.Now, newSlots(cfg.Concurrency)
	s.life, s.end = context.WithCancel(context.Background())
	if cfg.URL != "" {
		s.wire = newHTTPWire(s)
	} else {
		s.wire = newStdio(s)
	}
	return s
}

// Name is the server's name in the config.
func (s *Server) Name() string { return s.cfg.Name }

// Prefix is what the names of its tools and prompts begin with at /mcp.
func (s *Server) Prefix() string { return s.cfg.Prefix }

// Start begins to reach the server, so that it is there when it is needed. It
// does not wait.
func (s *Server) Start() {
	s.wire.start()
	if s.cfg.URL != "" && s.cfg.OAuth == nil {
		s.health.tended.Do(func() { s.work.Go(s.tend) })
	}
}

// Info waits until the server is discovered, or ctx ends.
func (s *Server) Info(ctx context.Context) (Info, error) { return s.InfoFor(ctx, nil) }

// InfoFor is Info on behalf of client, whose token is used where the server gives
// none without and is not discovered yet.
func (s *Server) InfoFor(ctx context.Context, client *Client) (Info, error) {
	if err := s.enter(); err != nil {
		return Info{}, err
	}
	defer s.leave()
	info, err := s.wire.info(ctx, client)
	if err != nil {
		return Info{}, s.explain(ctx, err)
	}
	return s.cleared(ctx, info), nil
}

// Do sends one request for client and yields the notifications that belong to
// it, as they come, and at last its response. In between there may be requests by
// the server, if the client can answer any: a caller that goes on without
// [Message.Answer] refuses them. Breaking the loop, or the end of ctx, cancels the
// request at the server. An error is a [*firewall.Error], or that of ctx.
func (s *Server) Do(ctx context.Context, client *Client, req Request) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		if err := s.enter(); err != nil {
			yield(Message{}, err)
			return
		}
		defer s.leave()
		if err := s.run(ctx, client, req, func(m Message) bool { return yield(m, nil) }); err != nil {
			yield(Message{}, err)
		}
	}
}

// tell sends a notification to the session that a client has, if it has one.
func (s *Server) tell(client *Client, method string) {
	if s.enter() == nil {
		defer s.leave()
		if info := s.wire.known(); info != nil {
			client = client.seenBy(s, info)
		}
		s.wire.tell(client, request(0, method, nil))
	}
}

// run sends one request and gives got what belongs to it, the response last. It
// returns nil when got has all, or wants no more.
func (s *Server) run(ctx context.Context, client *Client, req Request, got func(Message) bool) error {
	clock := s.clock(ctx, s.patience(&req), req.endless)
	defer clock.stop()
	hand, err := s.lend(clock.ctx, client.principal(), req.lent)
	if err != nil {
		return s.explain(clock.ctx, err)
	}
	err = s.admitted(clock, &req, got, func(got func(Message) bool) error {
		err := s.try(clock, client, req, hand, got)
		if err == errGone { // the server had not seen the request
			err = s.try(clock, client, req, hand, got)
		}
		return err
	})
	if err != nil {
		return s.explain(clock.ctx, err)
	}
	return nil
}

func (s *Server) try(clock *clock, client *Client, req Request, hand []lent, got func(Message) bool) error {
	l, err := s.wire.link(clock.ctx, client)
	if err != nil {
		return err
	}
	out := outgoing{id: s.ids.Add(1), method: req.Method, hand: hand, lent: req.lent}
	var token json.RawMessage
	out.params, token, err = hop{l.info().Version, s.about, client.can(), out.id}.params(req)
	if err != nil {
		return err
	}
	if l.info().Modern && s.cfg.URL != "" {
		out.header = s.mirror(clock.ctx, client, req)
	}
	n := 0
	for m, err := range l.send(clock.ctx, out) {
		if err != nil {
			return err
		}
		if n++; n > maxMessages && !req.endless {
			return s.unavailable("sent more messages than callgate takes for one request", nil)
		}
		s.health.heard()
		if m.Method == "notifications/progress" {
			if token == nil || progressOf(&m) != out.id {
				continue
			}
			clock.progress()
			if m, err = withToken(m, token, s.cfg.Limits); err != nil {
				return s.unavailable("answered what callgate cannot read", err)
			}
		}
		if m.IsRequest() && l.info().Modern { // in its era servers ask by their results
			s.cfg.Logger.Debug("request of a server that may make none", "method", m.Method)
			continue
		}
		if m.IsRequest() {
			clock.pause() // it is the client's turn
			more := got(m)
			m.refuse()
			clock.resume()
			if !more {
				return nil
			}
			continue
		}
		if !got(m) || m.IsResponse() {
			return nil
		}
	}
	return s.unavailable("broke off before it answered", nil)
}

// explain makes err one that the agent may see, where ctx is the request's.
func (s *Server) explain(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	var e *firewall.Error
	switch {
	case cause == errTimeout && errors.As(err, &e) && e.Code == firewall.Exhausted: // it waited for its turn
		return err
	case cause == errTimeout:
		return &firewall.Error{Code: firewall.Timeout, Reason: "server " + s.cfg.Name + " did not answer in time", Err: err}
	case cause == errClosed:
		return s.unavailable("is being closed", err)
	case cause != nil:
		return cause
	case errors.As(err, &e):
		return err
	case errors.Is(err, errForeign):
		return s.unavailable("does not answer as an MCP server does", err)
	}
	return s.unavailable("cannot be reached", err)
}

// unavailable says what a server did that makes it of no use now.
func (s *Server) unavailable(did string, err error) *firewall.Error {
	return &firewall.Error{Code: firewall.Unavailable, Reason: "server " + s.cfg.Name + " " + did, Err: err}
}

// enter counts a call in flight, so that Close can wait for it.
func (s *Server) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return s.unavailable("is closed", nil)
	}
	s.calls++
	return nil
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls--
	if s.closing && s.calls == 0 {
		close(s.idle)
	}
}

// Close takes no more requests, waits for those in flight until ctx ends, and
// then ends them, the server's process and its sessions.
func (s *Server) Close(ctx context.Context) {
	s.mu.Lock()
	again := s.closing
	s.closing = true
	if !again && s.calls == 0 {
		close(s.idle)
	}
	s.mu.Unlock()
	select {
	case <-s.idle:
	case <-ctx.Done():
	}
	s.end()
	select { // a call ends at once when its context does, unless its client does not read
	case <-s.idle:
	case <-time.After(aside):
	}
	if !again {
		s.wire.close()
	}
	s.work.Wait()
}
