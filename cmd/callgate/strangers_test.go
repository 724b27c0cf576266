package main

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/firewall"
)

// elsewhere is a listener whose connections come from where the test says: the
// sockets are real, and of this machine.
type elsewhere struct {
	net.Listener
	from chan string
}

type from struct {
	net.Conn
	addr net.Addr
}

func (f *from) RemoteAddr() net.Addr { return f.addr }

func (e *elsewhere) Accept() (net.Conn, error) {
	conn, err := e.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &from{conn, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(<-e.from))}, nil
}

// A street is a gate's door with room for two strangers of an address. Requests
// with the token "good" are known.
type street struct {
	t     *testing.T
	at    *elsewhere
	bound *strangers
	mu    sync.Mutex
	told  []string
	clock time.Time
}

func newStreet(t *testing.T) *street {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &street{t: t, at: &elsewhere{l, make(chan string, 1)}, clock: time.Now()}
	s.bound = newStrangers(s.at, 2, func(from string, e *firewall.Error) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.told = append(s.told, from+" "+e.Code.String())
		return e
	})
	s.bound.now = func() time.Time { return s.clock }
	f := newFront(s.bound, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer good" {
			known(r.Context())
		}
		io.WriteString(w, "hello")
	}), slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- f.serve() }()
	t.Cleanup(func() {
		f.stop(0)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// comes connects from an address.
func (s *street) comes(from string) net.Conn {
	s.t.Helper()
	s.at.from <- from
	conn, err := net.Dial("tcp", s.at.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// asks makes a request on a connection and returns the status.
func (s *street) asks(conn net.Conn, token string) int {
	s.t.Helper()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+token+"\r\n\r\n"); err != nil {
		s.t.Fatal(err)
	}
	return s.hears(conn)
}

func (s *street) hears(conn net.Conn) int {
	s.t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if res.StatusCode == http.StatusTooManyRequests && (res.Header.Get("Retry-After") == "" || !strings.Contains(string(body), `"code":"exhausted"`)) {
		s.t.Errorf("sent away with %v %s", res.Header, body)
	}
	return res.StatusCode
}

func TestAnAddressHasFewStrangers(t *testing.T) {
	s := newStreet(t)
	const here = "192.0.2.1:1000"
	first, second := s.comes(here), s.comes(here)
	if got := s.asks(first, "bad"); got != 200 { // what is asked has no part in it
		t.Errorf("the first stranger: %d", got)
	}
	if got := s.hears(s.comes(here)); got != 429 {
		t.Errorf("a third stranger: %d", got)
	}
	if got := s.asks(s.comes("192.0.2.2:1000"), "bad"); got != 200 {
		t.Errorf("of another address: %d", got)
	}
	if got := s.asks(second, "good"); got != 200 {
		t.Errorf("the second: %d", got)
	}
	if got := s.asks(s.comes(here), "bad"); got != 200 { // in the place of the second, who is known
		t.Errorf("a fourth: %d", got)
	}
	if got := s.asks(second, "bad"); got != 200 {
		t.Errorf("who is known stays: %d", got)
	}
	if got := s.hears(s.comes(here)); got != 429 {
		t.Errorf("a fifth: %d", got)
	}
	s.clock = s.clock.Add(tellAgain)
	if got := s.hears(s.comes(here)); got != 429 {
		t.Errorf("a sixth: %d", got)
	}
	first.Close()
	for { // until the door has seen that it is closed
		conn := s.comes(here)
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err == nil {
			if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil && res.StatusCode == 200 {
				break
			}
		}
		if t.Failed() {
			return
		}
	}
	s.bound.telling.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := strings.Join(s.told, ", "); got != "192.0.2.1 exhausted, 192.0.2.1 exhausted" { // one a minute
		t.Errorf("on record: %s", got)
	}
}

func TestAMachineOfIPv6IsOneAddress(t *testing.T) {
	s := newStreet(t)
	s.asks(s.comes("[2001:db8::1]:1000"), "bad")
	s.asks(s.comes("[2001:db8::2]:1000"), "bad")
	if got := s.hears(s.comes("[2001:db8::3]:1000")); got != 429 {
		t.Errorf("a third address of one /64: %d", got)
	}
	if got := s.asks(s.comes("[2001:db8:0:1::3]:1000"), "bad"); got != 200 {
		t.Errorf("of another /64: %d", got)
	}
}

func TestThisMachineIsNoStranger(t *testing.T) {
	s := newStreet(t)
	for _, here := range []string{"127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1", "[::1]:1", "[::1]:1", "[::1]:1"} {
		if got := s.asks(s.comes(here), "bad"); got != 200 {
			t.Errorf("%s: %d", here, got)
		}
	}
}
