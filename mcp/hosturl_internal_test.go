package mcp

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"callgate/firewall"
)

func TestURLArguments(t *testing.T) {
	open, private, only := Mark{Class: URLClass}, Mark{Class: URLClass, Private: true}, Mark{Class: URLClass, Hosts: []string{"example.com", "93.184.216.34"}}
	const canonical = "http://example.com/"
	for _, c := range []struct {
		name string
		mark Mark
		text string
		want string // "" is a refusal
	}{
		{"plain", open, "https://example.com/a?b=c#d", "https://example.com/a?b=c#d"},
		{"capitals", open, "HTTPS://EXAMPLE.com/A", "https://example.com/A"},
		{"a dot at the end", open, "http://example.com./", canonical},
		{"a port", open, "http://example.com:08080/", "http://example.com:8080/"},
		{"full width letters", open, "http://ｅｘａｍｐｌｅ.com/", canonical},
		{"another script", open, "http://bücher.example/", "http://xn--bcher-kva.example/"},
		{"the dot of another script", open, "http://example。com/", canonical},
		{"an address", open, "http://93.184.216.34/", "http://93.184.216.34/"},
		{"a decimal address", open, "http://1572395042/", "http://93.184.216.34/"},
		{"a short address", open, "http://8.8.2056/", "http://8.8.8.8/"},
		{"IPv6", open, "http://[2606:4700:0::1111]:80/", "http://[2606:4700::1111]:80/"},
		{"an at sign in the path", open, "http://example.com/@a:b", "http://example.com/@a:b"},

		{"dot segments", open, "http://example.com/public/../admin/./x", "http://example.com/admin/x"},
		{"dot segments at the end", open, "http://example.com/a/b/..", "http://example.com/a/"},
		{"dot segments above all", open, "http://example.com/../../a?../b", "http://example.com/a?../b"},
		{"no path", open, "http://example.com?a", "http://example.com/?a"},
		{"an encoded slash", open, "http://example.com/group%2Fproject", "http://example.com/group%2Fproject"},
		{"encoded dots", open, "http://example.com/public/%2e%2E/admin", ""},
		{"dots encoded twice", open, "http://example.com/public/%252e%252e/admin", ""},
		{"dots behind an encoded slash", open, "http://example.com/public/..%2fadmin", ""},
		{"dots encoded four times", open, "http://example.com/public/%25252525252e/admin", ""},
		{"dots encoded overlong", open, "http://example.com/public/%c0%ae%c0%ae/admin", ""},
		{"dots encoded overlong in three", open, "http://example.com/public/%e0%80%ae%e0%80%ae/admin", ""},
		{"dots encoded overlong in four", open, "http://example.com/public/%f0%80%80%ae/admin", ""},
		{"a slash encoded overlong", open, "http://example.com/public/..%c0%afadmin", ""},
		{"dots in the code of old servers", open, "http://example.com/public/%u002e%u002e/admin", ""},
		{"dots in the code of old servers, encoded", open, "http://example.com/public/%25u002e/admin", ""},
		{"full width dots", open, "http://example.com/public/\uff0e\uff0e/admin", ""},
		{"encoded full width dots", open, "http://example.com/public/%ef%bc%8e%ef%bc%8e/admin", ""},
		{"a two dot leader", open, "http://example.com/public/\u2025/admin", ""},
		{"a division slash", open, "http://example.com/public/..\u2215admin", ""},
		{"dots before a semicolon", open, "http://example.com/public/..;/admin", ""},
		{"dots before an encoded semicolon", open, "http://example.com/public/..%3bx/admin", ""},
		{"an encoded backslash", open, "http://example.com/public/..%5cadmin", ""},
		{"an encoded NUL", open, "http://example.com/a%00.txt", ""},
		{"an encoded line break", open, "http://example.com/a%0d%0aHost:%20x", ""},
		{"a percent sign that encodes nothing", open, "http://example.com/100%/a", ""},
		{"letters that need no code", open, "http://example.com/%61dmin%2D%7e?%61=%2f%2F#%41", "http://example.com/admin-~?a=%2F%2F#A"},
		{"letters that do", open, "http://example.com/ü/%c3%bc?ü=50%", "http://example.com/%C3%BC/%C3%BC?%C3%BC=50%25"},
		{"parameters of a segment", open, "http://example.com/a;v=1/b", "http://example.com/a;v=1/b"},
		{"a space, encoded twice", open, "http://example.com/a%2520b", "http://example.com/a%2520b"},

		{"an address in translated form", open, "http://[::ffff:0:169.254.169.254]/", ""},
		{"the metadata of another cloud", open, "http://168.63.129.16/", ""},

		{"another scheme", open, "file:///etc/passwd", ""},
		{"gopher", open, "gopher://example.com/", ""},
		{"no scheme", open, "//example.com/", ""},
		{"one slash", open, "http:/example.com/", ""},
		{"no host", open, "http:///x", ""},
		{"a user", open, "http://example.com@evil.example/", ""},
		{"a user by its code", open, "http://example.com%40evil.example/", ""},
		{"a backslash", open, `http://example.com\@evil.example/`, ""},
		{"a tab", open, "http://exam\tple.com/", ""},
		{"a space before", open, " http://example.com/", ""},
		{"a line break", open, "http://example.com/\r\nHost: x", ""},
		{"an invisible sign", open, "http://exam\u200bple.com/", ""},
		{"an encoded host", open, "http://%31%32%37.0.0.1/", ""},
		{"a port that is none", open, "http://example.com:0x50/", ""},
		{"a port too high", open, "http://example.com:65536/", ""},
		{"empty labels", open, "http://example..com/", ""},
		{"five numbers", open, "http://1.2.3.4.5/", ""},
		{"a number too large", open, "http://4294967296/", ""},
		{"a zone", open, "http://[fe80::1%25eth0]/", ""},

		{"metadata", open, "http://169.254.169.254/latest/meta-data/", ""},
		{"metadata in decimal", open, "http://2852039166/", ""},
		{"metadata in octal", open, "http://0251.0376.0251.0376/", ""},
		{"metadata in hex", open, "http://0xa9fea9fe/", ""},
		{"metadata in hex parts", open, "http://0xA9.0xFE.0xA9.0xFE/", ""},
		{"metadata, short", open, "http://169.254.43518/", ""},
		{"metadata, mixed", open, "http://0xa9.254.0251.254./", ""},
		{"metadata, mapped", open, "http://[::ffff:169.254.169.254]/", ""},
		{"metadata, mapped in hex", open, "http://[::ffff:a9fe:a9fe]/", ""},
		{"metadata, compatible", open, "http://[::169.254.169.254]/", ""},
		{"metadata, NAT64", open, "http://[64:ff9b::a9fe:a9fe]/", ""},
		{"metadata, 6to4", open, "http://[2002:a9fe:a9fe::1]/", ""},
		{"metadata, Teredo", open, "http://[2001:0:1:2:3:4:5601:5601]/", ""},
		{"metadata in full width digits", open, "http://１６９.２５４.１６９.２５４/", ""},
		{"metadata in circled digits", open, "http://①⑥⑨.②⑤④.①⑥⑨.②⑤④/", ""},
		{"metadata with dots of another script", open, "http://169。254。169。254/", ""},
		{"metadata by name", open, "http://metadata.google.internal/computeMetadata/v1/", ""},
		{"metadata by name and dot", open, "http://Metadata.Google.Internal./", ""},
		{"metadata of EC2 by IPv6", open, "http://[fd00:ec2::254]/", ""},
		{"metadata of Alibaba", open, "http://100.100.100.200/", ""},
		{"metadata where private is allowed", private, "http://169.254.169.254/", ""},
		{"metadata of EC2 where private is allowed", private, "http://[fd00:ec2::254]/", ""},
		{"metadata of Alibaba where private is allowed", private, "http://100.100.100.200/", ""},
		{"metadata by name where private is allowed", private, "http://metadata.google.internal/", ""},

		{"loopback", open, "http://127.0.0.1:8701/", ""},
		{"loopback, short", open, "http://127.1/", ""},
		{"loopback in octal", open, "http://0177.1/", ""},
		{"loopback IPv6", open, "http://[::1]/", ""},
		{"localhost", open, "http://LOCALHOST:8701/", ""},
		{"below localhost", open, "http://a.localhost/", ""},
		{"ten", open, "http://10.1.2.3/", ""},
		{"172.16", open, "http://172.31.0.1/", ""},
		{"192.168", open, "http://192.168.1.1/", ""},
		{"carrier grade NAT", open, "http://100.64.0.1/", ""},
		{"unique local", open, "http://[fd12::1]/", ""},
		{"link local", open, "http://169.254.1.1/", ""},
		{"link local IPv6", open, "http://[fe80::1]/", ""},
		{"site local IPv6", open, "http://[fec0::1]/", ""},
		{"multicast", open, "http://224.0.0.1/", ""},
		{"multicast IPv6", open, "http://[ff02::1]/", ""},
		{"broadcast", open, "http://255.255.255.255/", ""},
		{"unspecified", open, "http://0.0.0.0/", ""},
		{"unspecified as zero", open, "http://0/", ""},
		{"unspecified IPv6", open, "http://[::]/", ""},
		{"NAT64 of one's own", open, "http://[64:ff9b:1::a00:1]/", ""},
		{"loopback where private is allowed", private, "http://127.1/", "http://127.0.0.1/"},
		{"ten where private is allowed", private, "http://012.1.2.3/", "http://10.1.2.3/"},
		{"localhost where private is allowed", private, "http://localhost:3000/", "http://localhost:3000/"},
		{"link local where private is allowed", private, "http://169.254.1.1/", ""},

		{"a host of the list", only, "http://EXAMPLE.com./", canonical},
		{"below a host of the list", only, "http://a.b.example.com/", "http://a.b.example.com/"},
		{"an address of the list", only, "http://0x5db8d822/", "http://93.184.216.34/"},
		{"what ends like a host of the list", only, "http://notexample.com/", ""},
		{"what begins like a host of the list", only, "http://example.com.evil.example/", ""},
		{"below an address of the list", only, "http://a.93.184.216.34/", ""},
		{"another host", only, "http://example.org/", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.mark.url(c.text)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Fatalf("%q, %v, want %q", got, err, c.want)
			}
			if again, err := c.mark.url(got); c.want != "" && (err != nil || again != got) {
				t.Errorf("%q becomes %q, %v", got, again, err)
			}
		})
	}
}

func TestHostsAreLookedUp(t *testing.T) {
	for _, c := range []struct {
		name    string
		private bool
		addrs   string
		want    string // in the reason; "" is allowed
	}{
		{"a public address", false, "93.184.216.34", ""},
		{"public addresses of both kinds", false, "93.184.216.34 2606:4700::1111", ""},
		{"one private among public ones", false, "93.184.216.34 10.0.0.1", "private network"},
		{"loopback", false, "127.0.0.1", "this machine"},
		{"mapped loopback", false, "::ffff:127.0.0.1", "this machine"},
		{"metadata", false, "169.254.169.254", "credentials"},
		{"private where it is allowed", true, "10.0.0.1", ""},
		{"metadata where private is allowed", true, "100.100.100.200", "credentials"},
		{"none", false, "", "no address was found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := ""
			s := &Server{cfg: ServerConfig{Resolve: func(ctx context.Context, host string) ([]netip.Addr, error) {
				if _, ok := ctx.Deadline(); !ok {
					t.Error("the look-up has no end")
				}
				asked = host
				var all []netip.Addr
				for _, a := range strings.Fields(c.addrs) {
					all = append(all, netip.MustParseAddr(a))
				}
				if all == nil {
					return nil, errors.New("no such host")
				}
				return all, nil
			}}}
			err := Mark{Class: URLClass, Private: c.private}.reach(t.Context(), s, "https://api.example.com:8443/x")
			var e *firewall.Error
			if errors.As(err, &e) != (c.want != "") || c.want != "" && !strings.Contains(e.Reason, c.want) || asked != "api.example.com" {
				t.Errorf("%v after asking for %q, want %q", err, asked, c.want)
			}
		})
	}
}

func FuzzURLArgument(f *testing.F) {
	for _, s := range []string{"http://0x7f.1/", "http://[::ffff:1.2.3.4]:80", "https://ａ.b/?@", "http://1.2.3.4.", "http://a@b", "http://xn--a/", "http://08.8.8.8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m := Mark{Class: URLClass}
		got, err := m.url(text)
		if err != nil {
			return
		}
		if again, err := m.url(got); err != nil || again != got {
			t.Fatalf("%q becomes %q becomes %q, %v", text, got, again, err)
		}
		_, rest, _ := strings.Cut(got, "://")
		authority := rest[:strings.IndexAny(rest+"/", "/?#")]
		for _, c := range authority {
			if c > 127 || strings.ContainsRune(`@\%`, c) {
				t.Fatalf("%q", got)
			}
		}
	})
}
