package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"callgate/firewall"
)

// strangers bounds, for each address, the connections on which nobody has yet shown
// a credential that is good: opening them costs nothing, and each costs the gate
// memory for as long as its owner says nothing. An address is one of IPv4, or the
// /64 of IPv6 that one machine has. This machine itself is not bound: a proxy that
// all come by is here.
type strangers struct {
	net.Listener
	most   int
	refuse func(from string, e *firewall.Error) error // puts a refusal on record
	now    func() time.Time

	telling sync.WaitGroup
	mu      sync.Mutex
	open    map[netip.Prefix]*crowd
}

// A crowd is the strangers of one address.
type crowd struct {
	open int
	told time.Time // when a refusal was last put on record
}

const (
	defaultStrangers = 256
	tellAgain        = time.Minute // refusals of one address are on record this often
	farewell         = time.Second // to write a refusal
)

func newStrangers(l net.Listener, most int, refuse func(from string, e *firewall.Error) error) *strangers {
	return &strangers{Listener: l, most: most, refuse: refuse, now: time.Now, open: make(map[netip.Prefix]*crowd)}
}

// Accept implements [net.Listener]. It sends those away for whom there is no room.
func (s *strangers) Accept() (net.Conn, error) {
	for {
		conn, err := s.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from, bound := addressOf(conn)
		if !bound {
			return conn, nil
		}
		if s.enter(from) {
			return &stranger{Conn: conn, left: sync.OnceFunc(func() { s.leave(from) })}, nil
		}
		s.sendAway(conn)
	}
}

// Close implements [net.Listener].
func (s *strangers) Close() error {
	err := s.Listener.Close()
	s.telling.Wait()
	return err
}

// addressOf is whom conn is counted for, and whether it is.
func addressOf(conn net.Conn) (netip.Prefix, bool) {
	at, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Prefix{}, true // all of them together
	}
	ip, bits := at.Addr().Unmap(), 64
	if ip.Is4() {
		bits = 32
	}
	from, _ := ip.WithZone("").Prefix(bits)
	return from, !ip.IsLoopback()
}

func (s *strangers) enter(from netip.Prefix) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.open[from]
	if c == nil {
		c = new(crowd)
		s.open[from] = c
	}
	if c.open < s.most {
		c.open++
		return true
	}
	if now := s.now(); now.Sub(c.told) >= tellAgain {
		c.told = now
		s.telling.Go(func() {
			_ = s.refuse(from.Addr().String(), s.full()) // who is sent away is sent away
		})
	}
	return false
}

func (s *strangers) leave(from netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.open[from]; c != nil {
		if c.open--; c.open == 0 {
			delete(s.open, from)
		}
	}
}

func (s *strangers) full() *firewall.Error {
	return &firewall.Error{Code: firewall.Exhausted, Retry: headerTimeout, Reason: fmt.Sprintf("%d connections of this address have shown no token yet: authenticate on those, or try again in %d seconds", s.most, int(headerTimeout.Seconds()))}
}

// sendAway answers without reading: what was asked for is not known.
func (s *strangers) sendAway(conn net.Conn) {
	e := s.full()
	body := plainJSON.body(http.StatusTooManyRequests, "rate_limit_error", e)
	_ = conn.SetWriteDeadline(s.now().Add(farewell))
	fmt.Fprintf(conn, "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nRetry-After: %d\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", int(e.Retry.Seconds()), len(body), body)
	_ = conn.Close()
}

// A stranger is a connection that counts until it is closed, or known.
type stranger struct {
	net.Conn
	left func()
}

func (s *stranger) Close() error {
	s.left()
	return s.Conn.Close()
}

type strangerKey struct{}

// introduce lets the requests of a connection tell it that it is known.
func introduce(ctx context.Context, conn net.Conn) context.Context {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	if s, ok := conn.(*stranger); ok {
		return context.WithValue(ctx, strangerKey{}, s)
	}
	return ctx
}

// known notes that the request of ctx has shown a credential that is good.
func known(ctx context.Context) {
	if s, ok := ctx.Value(strangerKey{}).(*stranger); ok {
		s.left()
	}
}
