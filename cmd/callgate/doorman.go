package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"callgate/firewall"
)

// A doorman sends away what was not meant for the gate: requests that a web page
// has made a browser send, by a name that it lets lead here (DNS rebinding), or
// openly from its own origin. It leaves MCP to package mcp, which does the same in
// its own dialect.
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
	if r.URL.Path == "/mcp" || strings.HasPrefix(r.URL.Path, "/mcp/") || d.meant(r) {
		d.next.ServeHTTP(w, r)
		return
	}
	call := &firewall.Call{Kind: firewall.Session, Method: r.Method, Route: "/"}
	if first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); first == "v1" || first == "oauth" || first == ".well-known" {
		call.Route += first
	}
	call.From, _, _ = net.SplitHostPort(r.RemoteAddr)
	err := d.refuse(r.Context(), call, firewall.Refuse(firewall.Denied, "this gate answers neither to this name nor to web pages from elsewhere: use its public_url"))
	reason := "this request is not for this gate"
	if e := (*firewall.Error)(nil); errors.As(err, &e) {
		reason = e.Reason
		if e.Call != "" {
			w.Header().Set("Callgate-Call", e.Call)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusForbidden)
	fmt.Fprintf(w, "{\"error\":{\"type\":\"permission_error\",\"code\":\"denied\",\"message\":%q}}\n", reason)
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
