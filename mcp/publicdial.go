package mcp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// A publicDialer connects to hosts that a server has named, which may be of an
// attacker's choosing: to those of the internet, and to what the operator wrote.
// It looks at the address that is really connected to, so that no name leads
// elsewhere when it is looked up again.
type publicDialer struct {
	known    map[string]bool // host:port that the operator wrote: it may be anywhere
	loopback bool            // the operator wrote an address of this machine, so the rest of it may be reached too
	private  bool            // the same of a private network
}

const dialTime = 10 * time.Second

// newPublicDialer is a dialer for what servers at the operator's own urls name.
func newPublicDialer(urls ...*url.URL) *publicDialer {
	d := &publicDialer{known: make(map[string]bool)}
	for _, u := range urls {
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		d.known[net.JoinHostPort(u.Hostname(), port)] = true
		ip, err := netip.ParseAddr(u.Hostname())
		switch {
		case isLoopback(u.Hostname()):
			d.loopback, d.private = true, true
		case err == nil && ip.Unmap().IsPrivate():
			d.private = true
		}
	}
	return d
}

// isLoopback says whether host is this machine, by address or as localhost.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// DialContext is for [net/http.Transport].
func (d *publicDialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTime}
	if !d.known[addr] {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil || !d.may(at.Addr()) {
				return fmt.Errorf("%s is not an address of the internet, and a server must not name others", address)
			}
			return nil
		}
	}
	return dialer.DialContext(ctx, network, addr)
}

// special is what looks like an address of the internet and leads elsewhere, or
// nowhere.
var special = [...]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // carriers' own
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("64:ff9b::/96"), // these five have an IPv4 address inside
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("::ffff:0:0:0/96"),
	netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("fec0::/10"),
}

// may says whether ip may be connected to.
func (d *publicDialer) may(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	switch {
	case ip.IsLoopback():
		return d.loopback
	case ip.IsPrivate():
		return d.private
	case !ip.IsGlobalUnicast():
		return false // link-local, where clouds tell their secrets; multicast; none at all
	}
	for _, p := range special {
		if p.Contains(ip) {
			return false
		}
	}
	return true
}
