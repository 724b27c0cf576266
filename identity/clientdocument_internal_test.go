package identity

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestAddressesThatAreNotOfTheInternet(t *testing.T) {
	for _, ip := range []string{
		"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "fc00::1",
		"100.100.100.200", "168.63.129.16", "0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1", "192.0.0.192", "198.18.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::7f00:1", "2001:db8::1", "fec0::1",
	} {
		if isPublic(netip.MustParseAddr(ip)) {
			t.Errorf("%s", ip)
		}
	}
	for _, ip := range []string{"1.1.1.1", "8.8.8.8", "2606:4700::1111", "172.32.0.1"} {
		if !isPublic(netip.MustParseAddr(ip)) {
			t.Errorf("%s", ip)
		}
	}
}

func TestDocumentsAreAskedForOnlyOnTheInternet(t *testing.T) {
	var hits atomic.Int64
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer s.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	d := newDocuments(time.Now, guarded{roots: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs})
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "127.1", "0.0.0.0", "2130706433", "0x7f000001"} {
		if _, err := d.client(t.Context(), "https://"+net.JoinHostPort(strings.Trim(host, "[]"), port)+"/client", true); err == nil {
			t.Errorf("%s: fetched", host)
		}
	}
	if hits.Load() > 0 {
		t.Errorf("%d requests came in", hits.Load())
	}
	for _, id := range []string{"http://a.example/c", "https://a.example", "https://a.example/", "https://u@a.example/c", "https://a.example/c#x", "https://a.example/../c", "https://a.example/%2e%2e/c", "https://A.example/c", "https://a.example\\@b/c", "https:///c"} {
		if isDocumentURL(id) {
			t.Errorf("%q", id)
		}
	}
}

// TestANameThatLeadsElsewhereTheSecondTime shows DNS rebinding: what the name led to
// when it was looked at first does not matter, since the address that is dialled is
// looked at.
func TestANameThatLeadsElsewhereTheSecondTime(t *testing.T) {
	var hits, looks atomic.Int64
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer s.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	d := newDocuments(time.Now, guarded{roots: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, allowed: func(ip netip.Addr) bool {
		looks.Add(1)
		return isPublic(ip)
	}})
	id := "https://localhost:" + port + "/client" // a name, which leads here by the time it is dialled
	if _, err := d.client(t.Context(), id, true); err == nil || !strings.Contains(err.Error(), "not one of the internet") {
		t.Error(err)
	}
	if hits.Load() > 0 || looks.Load() == 0 {
		t.Error(hits.Load(), looks.Load())
	}
}

func TestDocuments(t *testing.T) {
	var doc, control, kind atomic.Value
	var hits, status atomic.Int64
	control.Store("max-age=600")
	kind.Store("application/json")
	status.Store(200)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		w.Header().Set("Cache-Control", control.Load().(string))
		w.Header().Set("Content-Type", kind.Load().(string))
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(int(status.Load()))
		fmt.Fprint(w, doc.Load())
	}))
	defer s.Close()
	now := time.Unix(1_800_000_000, 0)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	d := newDocuments(func() time.Time { return now }, guarded{roots: pool, allowed: func(netip.Addr) bool { return true }})
	id := s.URL + "/client"
	good := `{"client_id":"` + id + `","client_name":"Code","redirect_uris":["http://localhost/callback","http://127.0.0.1/callback"],"token_endpoint_auth_method":"none"}`
	doc.Store(good)
	if _, err := d.client(t.Context(), id, false); err != errNotFetched || hits.Load() > 0 {
		t.Error("fetched before anybody logged in", err)
	}
	for range 3 {
		c, err := d.client(context.Background(), id, true)
		if err != nil || c.Name != "Code" || c.Source != FromDocument || !leads(c.Redirects, "http://localhost:4711/callback") {
			t.Fatal(c, err)
		}
	}
	if hits.Load() != 1 {
		t.Error("not kept:", hits.Load())
	}
	now = now.Add(601 * time.Second)
	if _, err := d.client(t.Context(), id, true); err != nil || hits.Load() != 2 {
		t.Error(err, hits.Load())
	}
	for i, test := range []struct {
		name, doc, kind string
		status          int64
	}{
		{"another client_id", strings.Replace(good, id, id+"x", 1), "application/json", 200},
		{"no redirects", `{"client_id":"` + id + `"}`, "application/json", 200},
		{"a redirect that is none", strings.Replace(good, "http://localhost/callback", "javascript:alert(1)", 1), "application/json", 200},
		{"a secret", strings.Replace(good, `"none"`, `"none","client_secret":"x"`, 1), "application/json", 200},
		{"a name twice", strings.Replace(good, `"none"`, `"none","client_id":"`+id+`"`, 1), "application/json", 200},
		{"another method", strings.Replace(good, `"none"`, `"client_secret_basic"`, 1), "application/json", 200},
		{"longer than 5 KiB", strings.Replace(good, "}", strings.Repeat(" ", 5<<10)+"}", 1), "application/json", 200},
		{"HTML", good, "text/html", 200},
		{"a redirect", good, "application/json", 302},
		{"not there", good, "application/json", 404},
	} {
		doc.Store(test.doc)
		kind.Store(test.kind)
		status.Store(test.status)
		now = now.Add(48 * time.Hour)
		before := hits.Load()
		if _, err := d.client(t.Context(), id, true); err == nil {
			t.Errorf("%d %s: taken", i, test.name)
		}
		if n := hits.Load() - before; n != 1 {
			t.Errorf("%s: %d requests", test.name, n)
		}
		if _, err := d.client(t.Context(), id, true); err == nil || hits.Load()-before != 1 {
			t.Errorf("%s: asked again at once", test.name)
		}
	}
	for header, want := range map[string]time.Duration{"": time.Hour, "no-store": time.Minute, "max-age=9999999999": 24 * time.Hour, "public, max-age=7200": 2 * time.Hour, "max-age=-1": time.Hour, "max-age=0": time.Minute} {
		if got := lifeOf(http.Header{"Cache-Control": {header}}); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}
