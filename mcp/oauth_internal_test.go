package mcp

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"callgate/identity"
)

func TestWhatServersNameIsOnTheInternet(t *testing.T) {
	dialer := func(raw ...string) *publicDialer {
		var urls []*url.URL
		for _, r := range raw {
			u, err := url.Parse(r)
			if err != nil {
				t.Fatal(err)
			}
			urls = append(urls, u)
		}
		return newPublicDialer(urls...)
	}
	outside, inside, here := dialer("https://a.example/mcp"), dialer("https://a.example/mcp", "https://10.1.2.3"), dialer("http://localhost:8080/mcp")
	for _, test := range []struct {
		ip                    string
		outside, inside, here bool
	}{
		{"93.184.216.34", true, true, true},
		{"2606:2800:220:1::1", true, true, true},
		{"10.0.0.1", false, true, true},
		{"172.16.9.9", false, true, true},
		{"192.168.1.1", false, true, true},
		{"fd00::1", false, true, true},
		{"::ffff:10.0.0.1", false, true, true},
		{"127.0.0.1", false, false, true},
		{"127.8.8.8", false, false, true},
		{"::1", false, false, true},
		{"::ffff:127.0.0.1", false, false, true},
		{"169.254.169.254", false, false, false},
		{"::ffff:169.254.169.254", false, false, false},
		{"fe80::1", false, false, false},
		{"fe80::1%eth0", false, false, false},
		{"0.0.0.0", false, false, false},
		{"0.1.2.3", false, false, false},
		{"::", false, false, false},
		{"::7f00:1", false, false, false},
		{"100.64.0.1", false, false, false},
		{"100.100.100.200", false, false, false},
		{"192.0.0.192", false, false, false},
		{"198.18.0.1", false, false, false},
		{"224.0.0.1", false, false, false},
		{"255.255.255.255", false, false, false},
		{"64:ff9b::a9fe:a9fe", false, false, false},
		{"2002:a9fe:a9fe::1", false, false, false},
		{"ff02::1", false, false, false},
	} {
		ip := netip.MustParseAddr(test.ip)
		if outside.may(ip) != test.outside || inside.may(ip) != test.inside || here.may(ip) != test.here {
			t.Errorf("%s: %v %v %v", ip, outside.may(ip), inside.may(ip), here.may(ip))
		}
	}
	for _, raw := range []string{"http://a.example", "http://127.0.0.1", "ftp://a.example", "https://u:p@a.example", "https://a.example/#x", "https:a.example", "//a.example", "https://a.example/ x", "https://a.example/\x1b[2J", "https://" + strings.Repeat("a", maxURL)} {
		if u, err := newErrands("", &url.URL{Scheme: "https", Host: "b.example"}).allowed(raw); err == nil {
			t.Errorf("%q was taken as %s", raw, u)
		}
	}
}

func TestChallengesAreRead(t *testing.T) {
	for _, test := range []struct {
		name   string
		header []string
		want   challenge
	}{
		{"none", nil, challenge{}},
		{"another scheme", []string{`Basic realm="Bearer error=x"`}, challenge{}},
		{"all in one", []string{`Bearer realm="a", error="insufficient_scope", scope="b a b", resource_metadata="https://a.example/x"`}, challenge{"https://a.example/x", []string{"a", "b"}, "insufficient_scope"}},
		{"after another", []string{`Digest a="b", qop="auth,auth-int", bearer Error=invalid_token`}, challenge{err: "invalid_token"}},
		{"before another", []string{`Bearer error="x", Basic error="y"`}, challenge{err: "x"}},
		{"in a second header", []string{`Basic realm="a"`, `Bearer scope = "a"`}, challenge{scopes: []string{"a"}}},
		{"with escapes", []string{`Bearer realm="a\", error=\"x", error="y"`}, challenge{err: "y"}},
		{"with scopes that a shell would read", []string{"Bearer scope=\"ok $(id) `id` a;b tools:read\""}, challenge{scopes: []string{"ok", "tools:read"}}},
		{"twice the same", []string{`Bearer error="x", error="y"`}, challenge{err: "x"}},
		{"without an end", []string{`Bearer error="x`}, challenge{}},
		{"alone", []string{`Bearer`}, challenge{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := challengeOf(http.Header{"Www-Authenticate": test.header})
			if got.metadata != test.want.metadata || got.err != test.want.err || strings.Join(got.scopes, " ") != strings.Join(test.want.scopes, " ") {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

func FuzzChallenge(f *testing.F) {
	f.Add(`Bearer realm="a\"b", error=insufficient_scope , scope="x y"`)
	f.Add(`Basic QUJD==, Bearer`)
	f.Fuzz(func(t *testing.T, line string) {
		for _, scope := range challengeOf(http.Header{"Www-Authenticate": {line}}).scopes { // must not panic
			if !isScope(scope) {
				t.Errorf("%q", scope)
			}
		}
	})
}

// openOAuth is the OAuth of a server whose holders have tokens that live.
func openOAuth(t testing.TB, whose string, holders ...string) *oauth {
	v, err := OpenVault(t.Context(), VaultConfig{PublicURL: "https://gate.example", Store: new(MemoryTokens), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(ServerConfig{Name: "a", URL: "https://a.example/mcp", OAuth: &OAuthConfig{Vault: v, Per: whose}, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { s.Close(context.Background()); v.Close() })
	o := s.wire.(*httpWire).oauth
	for _, h := range holders {
		b := &bearer{Server: "a", Holder: h, Fit: o.fit, Access: h, Got: time.Now(), Expires: time.Now().Add(time.Hour)}
		v.account("a", h).now.Store(b.ready())
	}
	return o
}

func TestTheCurrentTokenCostsNoMemory(t *testing.T) {
	o := openOAuth(t, PerAgent, "agent:ana", "agent:bob")
	ana := &identity.Principal{Subject: "agent:ana"}
	n := testing.AllocsPerRun(100, func() {
		a, err := o.account(ana)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := o.bearer(t.Context(), a); err != nil || b.Access != "agent:ana" {
			t.Fatal(b, err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCurrentToken(b *testing.B) {
	o := openOAuth(b, PerAgent, "agent:ana", "agent:bob")
	ana := &identity.Principal{Subject: "agent:ana"}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if a, err := o.account(ana); err != nil {
				b.Error(err)
			} else if _, err := o.bearer(context.Background(), a); err != nil {
				b.Error(err)
			}
		}
	})
}
