package mcp

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"callgate/firewall"
)

func TestPathsAreCanonical(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{ // want "" is a refusal
		{"plain", "/srv/docs/a.txt", "/srv/docs/a.txt"},
		{"a dot", "/srv/./docs/.", "/srv/docs"},
		{"up and down", "/home/u/documents/../.ssh", "/home/u/.ssh"},
		{"above the root", "/../../etc/passwd", "/etc/passwd"},
		{"double slashes inside", "/srv//docs///a", "/srv/docs/a"},
		{"a slash at the end", "/srv/docs/", "/srv/docs"},
		{"the root", "/", "/"},
		{"relative", "docs/../a/b", "a/b"},
		{"here", "./", "."},
		{"other scripts", "/srv/Straße/日本.txt", "/srv/Straße/日本.txt"},
		{"a space inside", "/srv/my docs/a b", "/srv/my docs/a b"},
		{"a hidden file", "/srv/.env", "/srv/.env"},
		{"a percent sign that encodes nothing", "/srv/100%/50%off", "/srv/100%/50%off"},
		{"an encoded letter", "/srv/%41%20%C3%A9", "/srv/%41%20%C3%A9"},
		{"a colon of a time", "/srv/12:30.txt", "/srv/12:30.txt"},
		{"a tilde inside", "/srv/a~b", "/srv/a~b"},

		{"empty", "", ""},
		{"out of a relative one", "../a", ""},
		{"out of a relative one, later", "a/../../b", ""},
		{"encoded dots", "/srv/%2e%2e/etc", ""},
		{"encoded dots in capitals", "/srv/%2E%2E/etc", ""},
		{"one encoded dot", "/srv/.%2e/etc", ""},
		{"an encoded slash", "/srv/..%2fetc", ""},
		{"an encoded backslash", "/srv/..%5cetc", ""},
		{"encoded twice", "/srv/%252e%252e/etc", ""},
		{"encoded overlong", "/srv/%c0%ae%c0%ae/etc", ""},
		{"an encoded full width dot", "/srv/%ef%bc%8e/etc", ""},
		{"an encoded NUL", "/srv/a%00.txt", ""},
		{"the encoding of old servers", "/srv/%u002e%u002e/etc", ""},
		{"backslashes", `\srv\docs`, ""},
		{"a backslash after a slash", `/srv/..\etc`, ""},
		{"a drive", "C:/Windows", ""},
		{"a drive without a slash", "C:Windows", ""},
		{"a drive behind a dot", "./C:/Windows", ""},
		{"UNC", "//server/share", ""},
		{"UNC of backslashes", `\\server\share`, ""},
		{"a device path", `\\?\C:\x`, ""},
		{"a scheme", "file:///etc/passwd", ""},
		{"a stream", "/srv/a.txt::$DATA", ""},
		{"NUL", "/srv/a\x00.txt", ""},
		{"a line break", "/srv/a\n/etc", ""},
		{"DEL", "/srv/\x7f", ""},
		{"C1", "/srv/\u0085", ""},
		{"home", "~/.ssh", ""},
		{"another's home", "~root/x", ""},
		{"home later", "/srv/~/x", ""},
		{"a short name", "/srv/PROGRA~1", ""},
		{"full width dots", "/srv/\uff0e\uff0e/etc", ""},
		{"a full width slash", "/srv/..\uff0fetc", ""},
		{"a full width backslash", "/srv/..\uff3cetc", ""},
		{"a division slash", "/srv/..\u2215etc", ""},
		{"a fraction slash", "/srv/..\u2044etc", ""},
		{"a big solidus", "/srv/..\u29f8etc", ""},
		{"a set minus", "/srv/..\u2216etc", ""},
		{"a yen sign", "/srv/..\u00a5etc", ""},
		{"one dot leader", "/srv/\u2024\u2024/etc", ""},
		{"two dot leader", "/srv/\u2025/etc", ""},
		{"an ellipsis", "/srv/\u2026/etc", ""},
		{"a full width tilde", "\uff5e/x", ""},
		{"an invisible sign", "/srv/.\u200b./etc", ""},
		{"a sign that turns the text", "/srv/\u202egnp.exe", ""},
		{"dots and a space", "/srv/.. /etc", ""},
		{"three dots", "/srv/.../etc", ""},
		{"a dot at the end", "/srv/secret.txt.", ""},
		{"not UTF-8", "/srv/\xc0\xae", ""},
		{"long", "/" + strings.Repeat("a", maxPath), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := canonicalPath(c.text)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestPathsStayWithin(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"docs/sub", "docs2", "secret"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "docs/a.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"docs/out": "../secret", "docs/in": "sub", "docs/dangling": "../secret/new.txt", "docs/circle": "circle", "linked": "docs"} {
		if err := os.Symlink(to, filepath.Join(root, from)); err != nil {
			t.Fatal(err)
		}
	}
	if resolved, err := filepath.EvalSymlinks(root); err == nil { // it may be below a link itself
		root = resolved
	}
	at := filepath.ToSlash(root)
	local := &Server{cfg: ServerConfig{Command: []string{"x"}, Dir: root}}
	remote := &Server{cfg: ServerConfig{URL: "https://example.com"}}
	for _, c := range []struct {
		name   string
		server *Server
		within []string
		text   string
		want   string // "" is a refusal
	}{
		{"the directory itself", local, []string{at + "/docs"}, at + "/docs", at + "/docs"},
		{"below it", local, []string{at + "/docs"}, at + "/docs/a.txt", at + "/docs/a.txt"},
		{"what is not there yet", local, []string{at + "/docs"}, at + "/docs/new/deep/b.txt", at + "/docs/new/deep/b.txt"},
		{"below a file", local, []string{at + "/docs"}, at + "/docs/a.txt/b", at + "/docs/a.txt/b"},
		{"one of several", local, []string{at + "/docs", at + "/docs2"}, at + "/docs2/x", at + "/docs2/x"},
		{"a name that begins the same", local, []string{at + "/docs"}, at + "/docs2/x", ""},
		{"another case", local, []string{at + "/docs"}, at + "/DOCS/a.txt", ""},
		{"up and out", local, []string{at + "/docs"}, at + "/docs/../secret/x", ""},
		{"a link that leads out", local, []string{at + "/docs"}, at + "/docs/out/x", ""},
		{"a link that stays in", local, []string{at + "/docs"}, at + "/docs/in/x", at + "/docs/sub/x"},
		{"a link that leads to nothing yet", local, []string{at + "/docs"}, at + "/docs/dangling", ""},
		{"a link to itself", local, []string{at + "/docs"}, at + "/docs/circle/x", ""},
		{"a directory that is a link", local, []string{at + "/linked"}, at + "/linked/a.txt", at + "/linked/a.txt"},
		{"a link out that another directory allows", local, []string{at + "/docs", at + "/docs/out"}, at + "/docs/out/x", at + "/docs/out/x"},
		{"a directory of another machine", remote, []string{"/no/such/dir"}, "/no/such/dir/x", "/no/such/dir/x"},
		{"relative, from where the command starts", local, []string{"docs"}, "docs/a.txt", "docs/a.txt"},
		{"relative, by a link that leads out", local, []string{"docs"}, "docs/out/x", ""},
		{"relative where absolute is wanted", local, []string{at + "/docs"}, "docs/a.txt", ""},
		{"anything relative", remote, []string{"."}, "x/y", "x/y"},
		{"absolute where relative is wanted", remote, []string{"."}, "/x/y", ""},
		{"anywhere on the disk", remote, []string{"/"}, "/no/such/x", "/no/such/x"},
		{"a link from one directory into another", local, []string{at + "/docs", at + "/secret"}, at + "/docs/out/x", at + "/secret/x"},
		{"a link back by a directory that is a link", local, []string{at + "/linked"}, at + "/linked/in/x", at + "/linked/sub/x"},
		{"a hidden file that is not there yet", local, []string{at + "/docs"}, at + "/docs/.env", at + "/docs/.env"},
		{"a hidden file, relative", local, []string{"."}, ".env", ".env"},
		{"nowhere in particular", local, nil, at + "/docs/a.txt", at + "/docs/a.txt"},
		{"nowhere in particular, by a link", local, nil, at + "/docs/out/x", at + "/secret/x"},
		{"nowhere in particular, relative", local, nil, "docs/in/x", "docs/sub/x"},
		{"nowhere in particular, by a link to nothing", local, nil, at + "/docs/dangling", ""},
		{"nowhere in particular, on another machine", remote, nil, at + "/docs/out/x", at + "/docs/out/x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := Mark{Class: PathClass, Within: c.within}
			got, err := m.path(c.text)
			if err == nil {
				got, err = m.led(c.server, got)
			}
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("%q, error %v, want %q", got, err, c.want)
			}
			var e *firewall.Error
			if err != nil {
				if e = err.(*firewall.Error); e.Code != firewall.Denied || strings.Contains(e.Reason, "secret") {
					t.Errorf("error %v", e)
				}
			}
		})
	}
}

func FuzzCanonicalPath(f *testing.F) {
	for _, s := range []string{"/srv/../a", "a/../../b", "./C:/x", "%2e%2e/", "/a//b/./c", "~", "//", "/..", "a/./../..", "/ a/b.", "\uff0e./x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		clean, err := canonicalPath(text)
		if err != nil {
			return
		}
		for element := range strings.SplitSeq(clean, "/") {
			if element == ".." {
				t.Fatalf("%q has ..", clean)
			}
		}
		if again, err := canonicalPath(clean); err != nil || again != clean {
			t.Fatalf("%q becomes %q becomes %q, %v", text, clean, again, err)
		}
		if strings.Contains(clean, "//") || strings.ContainsAny(clean, "\\\x00") {
			t.Fatalf("%q", clean)
		}
	})
}
