package console

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// forHere lets a request through that was meant for this listener: a page of a
// browser that was led here by a name of its own making (DNS rebinding) is sent
// away, whatever it knows and wherever it goes.
func forHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !meant(r) {
			refuse(w, http.StatusForbidden, "forbidden", "ask for this listener by its IP address or as localhost")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// guard lets a request through that has the admin token.
func (c *Console) guard(next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(c.cfg.Token.Reveal()))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(token))) // hashed, so that lengths compare too
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse(w, http.StatusUnauthorized, "unauthenticated", "send the admin token, which stands in admin.token of the data folder, as Authorization: Bearer")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// meant says whether the request names this listener by an address or as
// localhost, and comes from no page of another origin.
func meant(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host && origin != "https://"+r.Host {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || strings.EqualFold(host, "localhost")
}
