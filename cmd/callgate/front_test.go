package main

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// listening starts a front with next behind it.
func listening(t *testing.T, next http.HandlerFunc, set ...func(*front)) *front {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := newFront(l, next, slog.New(slog.DiscardHandler))
	for _, s := range set {
		s(f)
	}
	ended := make(chan error, 1)
	go func() { ended <- f.serve() }()
	t.Cleanup(func() {
		f.stop(0)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestStopLetsACallInFlightFinish(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	f := listening(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-finish
		io.WriteString(w, "whole")
	})
	got := make(chan string)
	go func() {
		res, err := http.Get("http://" + f.addr())
		if err != nil {
			got <- err.Error()
			return
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		got <- string(text)
	}()
	<-begun
	clean := make(chan bool)
	go func() { clean <- f.stop(time.Minute) }()
	<-f.leaving.Done()
	close(finish)
	if text := <-got; text != "whole" {
		t.Errorf("the call in flight got %q", text)
	}
	if !<-clean {
		t.Error("stop says that a call was cut off")
	}
}

func TestStopCutsACallThatTakesTooLongAndWaitsForItsEnd(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	f := listening(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(ended) // here the gate writes its last record
	})
	go http.Get("http://" + f.addr())
	<-begun
	if f.stop(time.Millisecond) {
		t.Error("stop says that nothing was cut off")
	}
	select {
	case <-ended:
	default:
		t.Error("stop returned before the call had ended")
	}
}

func TestStopEndsStreamsThatOnlyWaitForNews(t *testing.T) {
	for _, test := range []struct{ name, method, header, value string }{
		{"of a legacy client", "GET", "Accept", "text/event-stream"},
		{"of a modern one", "POST", "Mcp-Method", "subscriptions/listen"},
	} {
		t.Run(test.name, func(t *testing.T) {
			begun := make(chan struct{})
			f := listening(t, func(w http.ResponseWriter, r *http.Request) {
				close(begun)
				<-r.Context().Done()
			})
			go func() {
				req, _ := http.NewRequest(test.method, "http://"+f.addr(), nil)
				req.Header.Set(test.header, test.value)
				http.DefaultClient.Do(req)
			}()
			<-begun
			if !f.stop(10 * time.Second) {
				t.Error("the stream had to be cut off")
			}
		})
	}
}

func TestABodyThatArrivedNoLongerHasADeadline(t *testing.T) {
	f := listening(t, func(w http.ResponseWriter, r *http.Request) {
		if _, ok := r.Body.(*pacedBody); !ok {
			t.Error("the body has no deadline")
		}
		text, err := io.ReadAll(r.Body)
		if err != nil || string(text) != "hello" {
			t.Errorf("read %q, %v", text, err)
		}
		w.Write(text)
	})
	conn, err := net.Dial("tcp", f.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 2 { // the connection is good for another request
		io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := io.ReadAll(res.Body); string(text) != "hello" {
			t.Errorf("answer %q", text)
		}
	}
}

func TestASlowBodyIsCutOff(t *testing.T) {
	read := make(chan error, 1)
	f := listening(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		read <- err
		w.WriteHeader(http.StatusBadRequest)
	}, func(f *front) { f.pace.grace = 30 * time.Millisecond })
	conn, err := net.Dial("tcp", f.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nhel") // and then nothing
	if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the body ended with %v", err)
	}
}

func TestASlowOrHugeHeadIsCutOff(t *testing.T) {
	f := listening(t, func(http.ResponseWriter, *http.Request) { t.Error("a request came through") },
		func(f *front) { f.server.ReadHeaderTimeout = 30 * time.Millisecond })
	for _, test := range []struct{ name, head, want string }{
		{"a slow one", "GET / HTTP/1.1\r\nHost: x\r\nX-", ""},
		{"a huge one", "GET / HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("a", 2*maxHeader) + "\r\n\r\n", "431"},
	} {
		conn, err := net.Dial("tcp", f.addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go io.WriteString(conn, test.head)
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn) // until the other side closes
		if errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(string(got), test.want) {
			t.Errorf("%s: got %.40q, %v", test.name, got, err)
		}
	}
}

func TestRoutesLeadWhereTheDesignSays(t *testing.T) {
	at := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name) })
	}
	f := listening(t, routes(at("models"), at("tools"), at("tokens"), at("logins")).ServeHTTP)
	for _, test := range []struct {
		name, method, path, want string
		status                   int
	}{
		{"all servers in one", "POST", "/mcp", "tools", 200},
		{"one server", "POST", "/mcp/files", "tools", 200},
		{"nothing below a server", "POST", "/mcp/files/x", "nothing at this path", 404},
		{"a model API", "POST", "/v1/chat/completions", "models", 200},
		{"Google's model API", "POST", "/v1beta/models/x:generateContent", "models", 200},
		{"tokens", "POST", "/oauth/token", "tokens", 200},
		{"who comes back from a login", "GET", "/oauth/callback?code=1", "logins", 200},
		{"what callgate says of itself", "GET", "/oauth/client-metadata.json", "logins", 200},
		{"metadata of one server", "GET", "/.well-known/oauth-protected-resource/mcp/files", "tokens", 200},
		{"health", "GET", "/healthz", `"ok"`, 200},
		{"the root, for clients that look there first", "GET", "/", "callgate", 200},
		{"the root without a body", "HEAD", "/", "", 200},
		{"an unknown path", "GET", "/admin", `"code":"not_found"`, 404},
		{"the admin API is not here", "GET", "/api/v1/agents", `"code":"not_found"`, 404},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, _ := http.NewRequest(test.method, "http://"+f.addr()+test.path, nil)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			text, _ := io.ReadAll(res.Body)
			if res.StatusCode != test.status || !strings.Contains(string(text), test.want) {
				t.Errorf("got %d %s, want %d %s", res.StatusCode, text, test.status, test.want)
			}
		})
	}
}
