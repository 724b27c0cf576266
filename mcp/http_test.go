package mcp_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callgate/firewall"
	"callgate/identity"
	"callgate/mcp"

	"github.com/tidwall/gjson"
)

// token is a credential of the operator.
func token(text string) identity.Secret { return identity.NewSecret(text) }

// only returns the requests whose body asks for a method.
func (w *web) only(keep func(*http.Request) bool) []*http.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []*http.Request
	for _, r := range w.requests {
		if keep(r) {
			found = append(found, r)
		}
	}
	return found
}

func TestEachPrincipalHasASessionOfItsOwn(t *testing.T) {
	w := newWeb(false, true)
	s := overHTTP(t, w)
	for range 3 {
		for _, who := range []string{"ana", "bob"} {
			if _, _, err := call(t.Context(), s, who, `{"name":"plain","arguments":{"who":"`+who+`"}}`); err != nil {
				t.Fatal(err)
			}
		}
	}
	ids := make(map[string]bool)
	for _, r := range w.only(func(r *http.Request) bool { return r.Header.Get("Mcp-Session-Id") != "" && r.Method == http.MethodPost }) {
		ids[r.Header.Get("Mcp-Session-Id")] = true
		if r.Header.Get("Mcp-Protocol-Version") != "2025-11-25" {
			t.Errorf("a request said version %q", r.Header.Get("Mcp-Protocol-Version"))
		}
	}
	if len(ids) != 3 { // one to find out what the server is, and two
		t.Errorf("sessions %v", ids)
	}
	s.Close(t.Context())
	if len(w.sessions) != 0 || len(w.deleted) != 3 {
		t.Errorf("left %v, ended %v", w.sessions, w.deleted)
	}
}

func TestASessionThatTheServerForgotIsBegunAnew(t *testing.T) {
	w := newWeb(false, false)
	s := overHTTP(t, w)
	if _, _, err := call(t.Context(), s, "ana", `{"name":"echo"}`); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	clear(w.sessions)
	w.mu.Unlock()
	if _, _, err := call(t.Context(), s, "ana", `{"name":"echo"}`); err != nil {
		t.Error(err)
	}
}

func TestAServerThatForgetsEverySessionIsGivenUp(t *testing.T) {
	w := newWeb(false, false)
	var calls atomic.Int32
	s := overHTTP(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if calls.Add(1); r.Header.Get("Mcp-Session-Id") != "" && r.Method == http.MethodPost {
			w.mu.Lock()
			initialized := len(w.seen) > 0 && strings.Contains(w.seen[len(w.seen)-1], `"initialize"`)
			if !initialized {
				clear(w.sessions)
			}
			w.mu.Unlock()
		}
		w.ServeHTTP(rw, r)
	}))
	if _, _, err := call(t.Context(), s, "ana", `{"name":"echo"}`); code(err) != "unavailable" {
		t.Errorf("error %v", err)
	}
	if n := calls.Load(); n > 20 {
		t.Errorf("%d requests for one call", n)
	}
}

func TestAModernServerCanRouteByHeaders(t *testing.T) {
	w := newWeb(true, false)
	s := overHTTP(t, w, func(c *mcp.ServerConfig) {
		c.Headers = map[string]identity.Credential{"Authorization": token("Bearer operator")}
	})
	for m, err := range s.Do(t.Context(), agent("ana"), mcp.Request{
		Method: "tools/call",
		Params: []byte(`{"name":"echo","arguments":{"region":" Zürich","deep":{"n":1.2e1}}}`),
		Header: map[string]string{"Mcp-Param-Region": "forged", "mcp-param-other": "kept", "Authorization": "Bearer agent", "Mcp-Name": "forged"},
	}) {
		if err != nil || m.Error != nil {
			t.Fatalf("%s, %v", m.Raw, err)
		}
	}
	calls := w.only(func(r *http.Request) bool { return r.Header.Get("Mcp-Method") == "tools/call" })
	if len(calls) != 1 {
		t.Fatalf("%d calls", len(calls))
	}
	for name, want := range map[string]string{
		"Mcp-Protocol-Version": "2026-07-28", "Mcp-Name": "echo", "Mcp-Session-Id": "",
		"Mcp-Param-Region": "=?base64?" + base64.StdEncoding.EncodeToString([]byte(" Zürich")) + "?=",
		"Mcp-Param-Deep-N": "12", "Mcp-Param-Other": "kept", "Authorization": "Bearer operator",
		"Accept": "application/json, text/event-stream", "Content-Type": "application/json",
	} {
		if got := calls[0].Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// modern answers server/discover, and leaves the rest to h.
func modern(h http.HandlerFunc) http.Handler {
	w := newWeb(true, false)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Method") == "server/discover" || r.Header.Get("Mcp-Method") == "tools/list" {
			w.ServeHTTP(rw, r)
			return
		}
		doc, _ := io.ReadAll(r.Body) // or the server does not see the client leave
		r.Body = io.NopCloser(bytes.NewReader(doc))
		h(rw, r)
	})
}

func TestAServerThatMisbehavesOverHTTP(t *testing.T) {
	reply := func(status int, kind, body string) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			doc, _ := io.ReadAll(r.Body)
			rw.Header().Set("Content-Type", kind)
			rw.Header().Set("Retry-After", "7")
			rw.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
			rw.WriteHeader(status)
			_, _ = io.WriteString(rw, strings.ReplaceAll(body, "ID", gjson.GetBytes(doc, "id").Raw))
		}
	}
	const good = `{"jsonrpc":"2.0","id":ID,"result":{}}`
	const failed = `{"jsonrpc":"2.0","id":ID,"error":{"code":-32602,"message":"no","data":{"big":98765432109876543210}}}`
	endless := func(kind, head, piece string) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", kind)
			_, err := io.WriteString(rw, head)
			for err == nil {
				_, err = io.WriteString(rw, piece)
			}
		}
	}
	tests := []struct {
		name string
		h    http.HandlerFunc
		want string // code, "" for a response, "error" for one with an error
	}{
		{"a plain answer", reply(200, "application/json", good), ""},
		{"a plain answer with a charset", reply(200, "Application/JSON; charset=utf-8", good), ""},
		{"a stream", reply(200, "text/event-stream", "data: "+good+"\n\n"), ""},
		{"a stream that goes on for ever behind the answer", func(rw http.ResponseWriter, r *http.Request) {
			reply(200, "text/event-stream", "data: "+good+"\n\n")(rw, r)
			rw.(http.Flusher).Flush()
			<-r.Context().Done()
		}, ""},
		{"an error of the protocol", reply(200, "application/json", failed), "error"},
		{"an error of the protocol with its status", reply(400, "application/json", failed), "error"},
		{"an error that does not know the id", reply(400, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}`), "error"},
		{"an error without an id", reply(400, "application/json", `{"jsonrpc":"2.0","error":{"code":-32700,"message":"no"}}`), "error"},
		{"an answer to another request", reply(200, "application/json", `{"jsonrpc":"2.0","id":999999,"result":{}}`), "unavailable"},
		{"an answer to a string", reply(200, "application/json", `{"jsonrpc":"2.0","id":"ID","result":{}}`), "unavailable"},
		{"an error of no request", reply(200, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}`), "unavailable"},
		{"an error without an id of no request", reply(200, "application/json", `{"jsonrpc":"2.0","error":{"code":1,"message":""}}`), "unavailable"},
		{"an answer that can be read in two ways", reply(200, "application/json", `{"jsonrpc":"2.0","id":ID,"result":{},"result":{"a":1}}`), "unavailable"},
		{"a batch", reply(200, "application/json", `[`+good+`]`), "unavailable"},
		{"garbage", reply(200, "application/json", `<html>`), "unavailable"},
		{"nothing", reply(200, "application/json", ``), "unavailable"},
		{"a web page", reply(200, "text/html", `<html>`), "unavailable"},
		{"no content type", reply(200, "", good), "unavailable"},
		{"only an acknowledgment", reply(202, "", ``), "unavailable"},
		{"a stream without an answer", reply(200, "text/event-stream", ": nothing\n\n"), "unavailable"},
		{"a stream that is cut off", reply(200, "text/event-stream", "data: "+good+"\n"), "unavailable"},
		{"a stream of garbage", reply(200, "text/event-stream", "data: <html>\n\n"), "unavailable"},
		{"a redirection", reply(307, "application/json", good), "unavailable"},
		{"wrong credentials", reply(401, "application/json", failed), "unavailable"},
		{"too few rights", reply(403, "application/json", failed), "unavailable"},
		{"too many requests", reply(429, "application/json", failed), "unavailable"},
		{"a failure", reply(500, "text/plain", "stack trace"), "unavailable"},
		{"a result with the status of a failure", reply(500, "application/json", good), "unavailable"},
		{"a compressed answer", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Encoding", "gzip")
			reply(200, "application/json", good)(rw, r)
		}, "unavailable"},
		{"a connection that breaks", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "unavailable"},
		{"a body that breaks", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Length", "1000")
			reply(200, "application/json", good)(rw, r)
		}, "unavailable"},
		{"an endless body", endless("application/json", `{"a":"`, strings.Repeat("x", 1<<16)), "unavailable"},
		{"an endless event", endless("text/event-stream", "data: ", strings.Repeat("x", 1<<16)), "unavailable"},
		{"endless notifications", endless("text/event-stream", "", strings.Repeat(`data: {"jsonrpc":"2.0","method":"notifications/message","params":{}}`+"\n\n", 1000)), "unavailable"},
		{"a length that is announced too large", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Length", "10000000000")
			reply(200, "application/json", good)(rw, r)
		}, "unavailable"},
		{"silence", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "timeout"},
		{"silence behind the head", func(rw http.ResponseWriter, r *http.Request) {
			reply(200, "text/event-stream", ": wait\n\n")(rw, r)
			rw.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "timeout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := overHTTP(t, modern(tt.h), func(c *mcp.ServerConfig) {
				c.Limits.Bytes = 1 << 20
				if tt.want == "timeout" {
					c.Timeout = 100 * time.Millisecond
				}
			})
			_, m, err := call(t.Context(), s, "ana", `{"name":"plain"}`)
			switch {
			case tt.want == "error" && err == nil && m.Error != nil:
			case tt.want == "" && err == nil && m.Result != nil:
			case err != nil && code(err) == tt.want:
				var e *firewall.Error
				if errors.As(err, &e); strings.ContainsAny(e.Reason, "<{") || strings.Contains(e.Reason, "stack") {
					t.Errorf("the reason quotes the server: %s", e.Reason)
				}
				if strings.HasPrefix(tt.name, "too many") && e.Retry != 7*time.Second {
					t.Errorf("retry after %v", e.Retry)
				}
			default:
				t.Errorf("got %s, %v; want %q", m.Raw, err, tt.want)
			}
		})
	}
}

func TestAServerThatCannotBeReached(t *testing.T) {
	ts := httptest.NewServer(http.NotFoundHandler())
	ts.Close()
	s := newServer(t, func(c *mcp.ServerConfig) { c.URL = ts.URL })
	for range 2 {
		if _, err := s.Info(t.Context()); code(err) != "unavailable" {
			t.Errorf("error %v", err)
		}
	}
}

func TestAServerThatRefusesOurCredentialsIsNotAskedAgainAsALegacyOne(t *testing.T) {
	var n atomic.Int32
	s := overHTTP(t, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		rw.Header().Set("WWW-Authenticate", "Bearer")
		rw.WriteHeader(http.StatusUnauthorized)
	}))
	_, err := s.Info(t.Context())
	if code(err) != "unavailable" || !strings.Contains(err.Error(), "credentials") || n.Load() != 1 {
		t.Errorf("%d requests, %v", n.Load(), err)
	}
}

func TestAServerThatWasReplacedIsDiscoveredAgain(t *testing.T) {
	var now atomic.Pointer[web]
	s := overHTTP(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { now.Load().ServeHTTP(rw, r) }))
	for i, modern := range []bool{true, false, true} {
		now.Store(newWeb(modern, true))
		var err error
		for range 2 { // one call may find out
			if _, _, err = call(t.Context(), s, "ana", `{"name":"plain"}`); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatalf("replacement %d: %v", i, err)
		}
		if info, err := s.Info(t.Context()); err != nil || info.Modern != modern {
			t.Errorf("replacement %d is modern: %v, %v", i, info.Modern, err)
		}
	}
}

func TestWhoHangsUpCancelsAtTheServer(t *testing.T) {
	cancels := map[string]func(t *testing.T, s *mcp.Server){
		"by ending the context": func(t *testing.T, s *mcp.Server) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			for m, err := range s.Do(ctx, agent("ana"), mcp.Request{Method: "tools/call", Params: []byte(`{"name":"hang-after-progress","_meta":{"progressToken":"x"}}`)}) {
				if cancel(); err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("%s, %v", m.Raw, err)
				}
			}
		},
		"by breaking the loop": func(t *testing.T, s *mcp.Server) {
			for _, err := range s.Do(t.Context(), agent("ana"), mcp.Request{Method: "tools/call", Params: []byte(`{"name":"hang-after-progress","_meta":{"progressToken":"x"}}`)}) {
				if err != nil {
					t.Error(err)
				}
				break
			}
		},
	}
	for how, hangUp := range cancels {
		t.Run("a legacy server is told, "+how, func(t *testing.T) {
			w := newWeb(false, true)
			hangUp(t, overHTTP(t, w))
			var id string
			w.await(t, func(m string) bool {
				if gjson.Get(m, "method").Str == "tools/call" {
					id = gjson.Get(m, "id").Raw
				}
				return gjson.Get(m, "method").Str == "notifications/cancelled" && gjson.Get(m, "params.requestId").Raw == id
			})
		})
		t.Run("a modern server's stream is closed, "+how, func(t *testing.T) {
			w := newWeb(true, true)
			closed := make(chan struct{})
			var once sync.Once
			hangUp(t, overHTTP(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				w.ServeHTTP(rw, r)
				if r.Header.Get("Mcp-Method") == "tools/call" {
					<-r.Context().Done()
					once.Do(func() { close(closed) })
				}
			})))
			<-closed
		})
	}
}

func TestStreamsShareConnections(t *testing.T) {
	w := newWeb(true, true)
	ts := httptest.NewUnstartedServer(w)
	var opened atomic.Int32
	ts.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	ts.Start()
	defer ts.Close()
	s := newServer(t, func(c *mcp.ServerConfig) { c.URL = ts.URL })
	for range 100 {
		if _, _, err := call(t.Context(), s, "ana", `{"name":"echo"}`); err != nil {
			t.Fatal(err)
		}
	}
	if n := opened.Load(); n > 10 {
		t.Errorf("%d connections for 100 calls one after another", n)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("it begins more than a thousand sessions")
	}
	w := newWeb(false, false)
	s := overHTTP(t, w)
	for i := range 1100 {
		if _, _, err := call(t.Context(), s, fmt.Sprint("agent-", i), `{"name":"echo"}`); err != nil {
			t.Fatal(err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.sessions); n > 1030 {
		t.Errorf("%d sessions", n)
	}
	if !slices.ContainsFunc(w.requests, func(r *http.Request) bool { return r.Method == http.MethodDelete }) {
		t.Error("none was ended")
	}
}
