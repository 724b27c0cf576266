package identity

import (
	"net/url"
	"slices"
	"strings"
)

const (
	maxRedirect  = 1 << 10 // bytes
	maxRedirects = 32      // of one client
)

// loopbacks are the hosts of redirects to the person's own machine, as they must be
// written. A program there cannot know its port before it runs (RFC 8252 7.3).
var loopbacks = []string{"127.0.0.1", "[::1]", "localhost"}

// neverSchemes are those of URIs that a browser would run, or read files by.
var neverSchemes = []string{"javascript", "data", "vbscript", "file", "blob", "about", "view-source", "filesystem", "ftp", "ws", "wss", "http", "jar", "chrome", "intent"}

// checkRedirect says what is wrong with a redirect URI of a client: it must be https,
// http to a loopback host, or a scheme of the client's own. What two parsers could
// read in two ways is wrong.
func checkRedirect(uri string) string {
	if len(uri) == 0 || len(uri) > maxRedirect || strings.ContainsFunc(uri, func(c rune) bool { return c <= ' ' || c >= 0x7f }) || strings.ContainsAny(uri, "\\\"<>^`{|}#") {
		return "want a URI of printable ASCII, without # and \\"
	}
	if _, _, ok := cutLoopback(uri); ok {
		return ""
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil || u.Scheme == "" || !strings.HasPrefix(uri, u.Scheme+":"): // lower case, as it is compared
		return "want a URI whose scheme is in lower case"
	case u.User != nil:
		return "want a URI without user and password"
	case u.Scheme == "https":
		if u.Hostname() == "" || u.Host != strings.ToLower(u.Host) || strings.Contains(u.Host, "%") {
			return "want a host in lower case"
		}
		return ""
	case slices.Contains(neverSchemes, u.Scheme):
		return "want https, http to 127.0.0.1, [::1] or localhost, or a scheme of the client's own"
	}
	return ""
}

// cutLoopback is the host and what follows the port of an http URI that leads to a
// loopback host, and whether it is one. It reads the text itself, so that nothing
// that a parser would put right counts as the same.
func cutLoopback(uri string) (host, rest string, ok bool) {
	after, ok := strings.CutPrefix(uri, "http://")
	if !ok {
		return "", "", false
	}
	for _, host := range loopbacks {
		rest, ok := strings.CutPrefix(after, host)
		if !ok {
			continue
		}
		if port, has := strings.CutPrefix(rest, ":"); has {
			n := 0
			for n < len(port) && port[n] >= '0' && port[n] <= '9' {
				n++
			}
			if n == 0 || n > 5 || port[0] == '0' {
				return "", "", false
			}
			rest = port[n:]
		}
		if rest != "" && rest[0] != '/' && rest[0] != '?' {
			return "", "", false
		}
		return host, rest, true
	}
	return "", "", false
}

// leads says whether uri, which a client asks to be answered at, is one of those it
// registered: exactly, but for the port of a loopback host.
func leads(registered []string, uri string) bool {
	if checkRedirect(uri) != "" {
		return false
	}
	host, rest, local := cutLoopback(uri)
	return slices.ContainsFunc(registered, func(r string) bool {
		if r == uri {
			return true
		}
		h, tail, ok := cutLoopback(r)
		return local && ok && h == host && tail == rest
	})
}

// hostOf is where a redirect leads, as a person may know it.
func hostOf(uri string) string {
	if host, _, ok := cutLoopback(uri); ok {
		return host
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return ""
	case u.Scheme == "https":
		return u.Host
	}
	return u.Scheme + ":"
}

// isLocal says whether all redirects lead to the person's own machine.
func isLocal(redirects []string) bool {
	return !slices.ContainsFunc(redirects, func(r string) bool { return strings.HasPrefix(r, "https:") })
}
