package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"callgate/firewall"
)

// maxFields is the fields that the head of a request may have. Agents send a dozen,
// and a few that a tool's arguments are mirrored in.
const maxFields = 100

// A doorman sends away what was not meant for the gate: requests that a web page
// has made a browser send, by a name that it lets lead here (DNS rebinding), or
// openly from its own origin. It leaves these of MCP to package mcp, which does the
// same. And it sends away heads with so many fields that reading them is the point.
type doorman struct {
	public string // host of public_url
	refuse func(ctx context.Context, call *firewall.Call, err error) error
	next   http.Handler
}

func newDoorman(public BaseURL, gate *firewall.Gate, next http.Handler) *doorman {
	d := &doorman{refuse: gate.Refuse, next: next}
	if u, err := url.Parse(string(public)); err == nil {
		d.public = strings.ToLower(u.Hostname())
	}
	return d
}

func (d *doorman) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch as := dialectOf(r.URL.Path); {
	case fields(r.Header) > maxFields:
		d.send(w, r, http.StatusRequestHeaderFieldsTooLarge, "invalid_request_error", firewall.Refuse(firewall.Invalid, "the request has more than %d header fields: send fewer", maxFields))
	case as != jsonRPC && !d.meant(r):
		d.send(w, r, http.StatusForbidden, "permission_error", firewall.Refuse(firewall.Denied, "this gate answers neither to this name nor to web pages from elsewhere: use its public_url"))
	default:
		d.next.ServeHTTP(w, r)
	}
}

// send puts a refusal on record and answers with it.
func (d *doorman) send(w http.ResponseWriter, r *http.Request, status int, kind string, e *firewall.Error) {
	call := &firewall.Call{Kind: firewall.Session, Method: r.Method, Route: route(r.URL.Path)}
	call.From, _, _ = net.SplitHostPort(r.RemoteAddr)
	if recorded := (*firewall.Error)(nil); errors.As(d.refuse(r.Context(), call, e), &recorded) {
		e = recorded
	}
	dialectOf(r.URL.Path).write(w, status, kind, e)
}

// fields is how many fields a head has: a name may stand there many times.
func fields(h http.Header) int {
	n := 0
	for _, values := range h {
		n += len(values)
	}
	return n
}

// meant says whether r names the gate, or an address, which nobody can let lead
// elsewhere, and comes from no page but the gate's own.
func (d *doorman) meant(r *http.Request) bool {
	host := bare(r.Host)
	if _, err := netip.ParseAddr(host); err != nil && !d.ours(host) {
		return false
	}
	for _, origin := range r.Header["Origin"] {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || !d.ours(bare(u.Host)) {
			return false
		}
	}
	return true
}

func (d *doorman) ours(host string) bool { return host != "" && host == d.public || loopback(host) }

// bare is a host without its port, in lower case.
func bare(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
}
