package mcp

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"callgate/firewall"

	"golang.org/x/net/idna"
)

const (
	maxURLText  = 8192 // bytes
	maxHost     = 253  // bytes of a name
	resolveTime = 2 * time.Second
)

// A Resolver finds the addresses of a host's name, as [net.Resolver.LookupNetIP]
// does for the network "ip".
type Resolver func(ctx context.Context, host string) ([]netip.Addr, error)

func resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host+".") // not completed by the search domains of this machine
}

// A host is what a URL asks: an address, in whatever way it is written, or a name.
type host struct {
	text string     // canonical: IPv6 without brackets
	addr netip.Addr // not valid: text is a name
}

// parseHost reads a host as browsers and libraries do, all of them: an address may
// be written in decimal, octal and hexadecimal numbers, in one to four parts, and
// a name in any script.
func parseHost(s string) (host, error) {
	refuse := func(why string) (host, error) { return host{}, firewall.Refuse(firewall.Invalid, "%s", why) }
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		if !ok || err != nil || !addr.Is6() || addr.Zone() != "" {
			return refuse("its host in brackets is no IPv6 address")
		}
		return host{addr.String(), addr}, nil
	}
	name, err := names.ToASCII(s)
	if err != nil || !utf8.ValidString(s) {
		return refuse("its host is no name of a host")
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if name == "" || len(name) > maxHost || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return refuse("its host is no name of a host")
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 {
			return refuse("its host is no name of a host")
		}
	}
	if !isNumber(labels[len(labels)-1]) {
		return host{text: name}, nil
	}
	addr, ok := parseIPv4(labels)
	if !ok {
		return refuse("its host is no address: write four decimal numbers")
	}
	return host{addr.String(), addr}, nil
}

// names maps names as browsers do: full width letters and digits, and the dots of
// other scripts, become plain ones.
var names = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false))

// isNumber says whether a last label makes a host an address.
func isNumber(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// parseIPv4 reads one to four numbers, of which the last fills what is left.
func parseIPv4(parts []string) (netip.Addr, bool) {
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var value uint64
	for i, part := range parts {
		base := 10
		if hex, ok := strings.CutPrefix(part, "0x"); ok {
			part, base = "0"+hex, 16
		} else if len(part) > 1 && part[0] == '0' {
			base = 8
		}
		n, err := strconv.ParseUint(part, base, 64)
		room := uint64(1) << 8
		if i == len(parts)-1 {
			room = 1 << (8 * (5 - len(parts)))
		}
		if err != nil || n >= room {
			return netip.Addr{}, false
		}
		value = value*room + n
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(value))
	return netip.AddrFrom4(b), true
}

// url is the canonical form of a URL that m allows, as far as can be said without
// asking for its host: with a plain scheme and host, the rest as it is.
func (m Mark) url(text string) (string, error) {
	refuse := func(why string) (string, error) { return "", firewall.Refuse(firewall.Invalid, "%s", why) }
	if len(text) > maxURLText {
		return refuse("the URL is too long")
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(c rune) bool {
		return c == '\\' || unicode.IsControl(c) || unicode.IsSpace(c) || unicode.Is(unicode.Cf, c)
	}) {
		return refuse("a URL has no spaces, backslashes, control characters or invisible characters")
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if scheme = strings.ToLower(scheme); !ok || scheme != "http" && scheme != "https" {
		return refuse("it must be a URL that begins with http:// or https://")
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, rest := rest[:end], rest[end:]
	if strings.Contains(authority, "@") {
		return refuse("a URL may not have a user or password")
	}
	name, port := authority, ""
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		name, port = authority[:i], authority[i+1:]
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return refuse("its port is no number from 1 to 65535")
		}
		port = ":" + strconv.FormatUint(n, 10)
	}
	h, err := parseHost(name)
	if err != nil {
		return "", err
	}
	if err := m.allows(h); err != nil {
		return "", err
	}
	name = h.text
	if h.addr.Is6() {
		name = "[" + name + "]"
	}
	if rest, err = plainURLPath(rest); err != nil {
		return "", err
	}
	return scheme + "://" + name + port + rest, nil
}

// allows refuses hosts that m does not allow, by their names and addresses.
func (m Mark) allows(h host) error {
	if len(m.Hosts) > 0 && !slices.ContainsFunc(m.Hosts, func(name string) bool {
		return h.text == name || !h.addr.IsValid() && strings.HasSuffix(h.text, "."+name)
	}) {
		return firewall.Refuse(firewall.Denied, "its host must be %s, or below", strings.Join(m.Hosts, " or "))
	}
	if h.addr.IsValid() {
		return m.allowsAddr(h.addr)
	}
	if slices.Contains(metadataNames, h.text) {
		return errMetadata
	}
	if !m.Private && (h.text == "localhost" || strings.HasSuffix(h.text, ".localhost")) {
		return errPrivate
	}
	return nil
}

// metadataNames are those under which clouds give their credentials to whoever
// asks from inside.
var metadataNames = []string{"metadata.google.internal", "metadata.goog", "metadata", "instance-data", "instance-data.ec2.internal", "metadata.tencentyun.com", "metadata.packet.net"}

var (
	errMetadata = firewall.Refuse(firewall.Denied, "its host is where a cloud gives credentials to whoever asks from inside")
	errPrivate  = firewall.Refuse(firewall.Denied, "its host is in a private network or on this machine")
	errSpecial  = firewall.Refuse(firewall.Denied, "its host has an address that is none of a single public machine")
)

// prefixes of addresses. What is in special is reached by nobody's leave, what is
// in private where [Mark.Private] is set.
var (
	metadataAddrs = []netip.Addr{netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("169.254.170.2"), netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("192.0.0.192"), netip.MustParseAddr("168.63.129.16")}
	privateNets   = prefixes("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7")
	specialNets   = prefixes("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
		"::/128", "::ffff:0:0:0/96", "fe80::/9", "ff00::/8", "100::/64", "2001:db8::/32", "64:ff9b:1::/48")
	nat64, sixToFour, teredo, compatible = netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("2001::/32"), netip.MustParsePrefix("::/96")
)

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func (m Mark) allowsAddr(addr netip.Addr) error {
	addr = inner(addr)
	in := func(p netip.Prefix) bool { return p.Contains(addr) }
	switch {
	case slices.Contains(metadataAddrs, addr):
		return errMetadata
	case slices.ContainsFunc(privateNets, in):
		if m.Private {
			return nil
		}
		return errPrivate
	case slices.ContainsFunc(specialNets, in):
		return errSpecial
	}
	return nil
}

// inner is the IPv4 address that an IPv6 address leads to, where it is one of a
// gateway or tunnel.
func inner(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is4() || addr == netip.IPv6Unspecified() || addr == netip.IPv6Loopback() {
		return addr
	}
	b := addr.As16()
	switch {
	case nat64.Contains(addr), compatible.Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:]))
	case sixToFour.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6]))
	case teredo.Contains(addr):
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})
	}
	return addr
}

// reach refuses a canonical URL whose host has an address that m does not allow.
// The tool looks the name up again, and may find another one: that cannot be seen
// from here.
func (m Mark) reach(ctx context.Context, s *Server, canonical string) error {
	_, rest, _ := strings.Cut(canonical, "://")
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	if strings.HasPrefix(rest, "[") {
		return nil // an address, which was judged
	}
	name, _, _ := strings.Cut(rest, ":")
	if h, err := parseHost(name); err != nil || h.addr.IsValid() {
		return err
	}
	find := s.cfg.Resolve
	if find == nil {
		find = resolve
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	addrs, err := find(ctx, name)
	if err != nil || len(addrs) == 0 {
		if errors.Is(context.Cause(ctx), context.Canceled) {
			return context.Cause(ctx)
		}
		return &firewall.Error{Code: firewall.Unavailable, Reason: "no address was found for its host, so that it cannot be judged", Err: err}
	}
	for _, addr := range addrs {
		if err := m.allowsAddr(addr); err != nil {
			return err
		}
	}
	return nil
}
