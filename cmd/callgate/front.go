package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	headerTimeout = 10 * time.Second // to send a request's head
	idleTimeout   = 2 * time.Minute  // between two requests on a connection
	maxHeader     = 64 << 10         // bytes
	cutTimeout    = 5 * time.Second  // for requests that were cut off to put that on record
)

// A front is one listener and the requests on their way through it. Replies may
// stream for hours, so nothing bounds their length; everything that a client
// sends is bounded.
type front struct {
	listener net.Listener
	server   http.Server
	next     http.Handler
	pace     pace                       // of bodies
	secured  atomic.Pointer[tls.Config] // what connections are made with; nil: without TLS

	busy    sync.RWMutex    // read-held by each request
	leaving context.Context // ends when streams that only wait for news must
	leave   context.CancelFunc
	cut     context.CancelFunc // ends every request
}

func newFront(l net.Listener, next http.Handler, log *slog.Logger) *front {
	f := &front{listener: l, next: next, pace: pace{grace: 10 * time.Second, rate: 16 << 10, most: 10 * time.Minute}}
	f.leaving, f.leave = context.WithCancel(context.Background())
	base, cut := context.WithCancel(context.Background())
	f.cut = cut
	f.server = http.Server{
		Handler:           f,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext:       introduce,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what clients do wrong below HTTP
	}
	return f
}

// addr is where the front listens.
func (f *front) addr() string { return f.listener.Addr().String() }

// serve returns when the front is stopped, or cannot go on.
func (f *front) serve() error {
	serve := f.server.Serve
	if f.secured.Load() != nil {
		f.server.TLSConfig = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return f.secured.Load(), nil }}
		serve = func(l net.Listener) error { return f.server.ServeTLS(l, "", "") }
	}
	if err := serve(f.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.busy.RLock()
	defer f.busy.RUnlock()
	if r.ContentLength != 0 {
		r.Body = f.pace.paced(r.Body, w)
	}
	if waits(r) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(f.leaving, cancel)()
		r = r.WithContext(ctx)
	}
	f.next.ServeHTTP(w, r)
}

// waits says whether r only waits for news, and is not a call that must finish.
func waits(r *http.Request) bool {
	if r.Header.Get("Mcp-Method") == "subscriptions/listen" { // the door sees to it that the body says so too
		return true
	}
	if r.Header.Get("Upgrade") != "" { // a session that goes on until somebody ends it
		return true
	}
	return r.Method == http.MethodGet && (strings.Contains(r.Header.Get("Accept"), "text/event-stream") || strings.Contains(r.URL.RawQuery, "wait="))
}

// stop takes no new requests and waits for those on their way, which have
// timeout to finish and are then cut off. It says whether all finished.
func (f *front) stop(timeout time.Duration) bool {
	f.leave()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	finished := f.server.Shutdown(ctx) == nil
	if !finished {
		f.cut()
	}
	done := make(chan struct{})
	go func() {
		f.busy.Lock() // a request that begins even now waits here for the end of the process
		close(done)
	}()
	select {
	case <-done: // with the sessions whose connections are no server's any more
	case <-time.After(cutTimeout):
		finished = false
	}
	last, end := context.WithTimeout(context.Background(), time.Second)
	defer end()
	f.server.Shutdown(last) // the server sends the end of a reply after its handler has returned
	f.server.Close()
	return finished
}

// routes is what agents find at the gate.
func routes(models, tools, tokens, logins http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/mcp", tools)
	mux.Handle("/mcp/{server}", tools)
	mux.Handle("/sse", tools) // for clients of 2024-11-05
	mux.Handle("/sse/{server}", tools)
	mux.Handle("/v1/", models)
	mux.Handle("/v1beta/", models) // Google's
	mux.Handle("/oauth/", tokens)
	mux.Handle("/oauth/callback", logins)
	mux.Handle("/oauth/client-metadata.json", logins)
	mux.Handle("/.well-known/", tokens)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{\"status\":\"ok\"}\n")
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, "callgate: MCP at /mcp, model APIs at /v1, tokens at /oauth/token\n")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"error":{"type":"not_found","code":"not_found","message":"callgate has nothing at this path: MCP is at /mcp, model APIs are at /v1, tokens at /oauth/token"}}`+"\n")
	})
	return mux
}
