//go:build linux

package mcp_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"callgate/mcp"

	"github.com/tidwall/gjson"
)

// said is what a tool of the fixture answers.
func said(t *testing.T, s *mcp.Server, params string) gjson.Result {
	t.Helper()
	_, m, err := call(t.Context(), s, "ana", params)
	if err != nil {
		t.Fatal(err)
	}
	return gjson.GetBytes(m.Result, "structuredContent")
}

// sandboxed skips a test where there can be no sandbox.
func sandboxed(t *testing.T) {
	t.Helper()
	if err := mcp.TrySandbox(t.Context()); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
}

func TestAProcessIsWithinItsLimits(t *testing.T) {
	s := overStdio(t, "legacy", func(c *mcp.ServerConfig) {
		c.Confine = mcp.Confinement{Nice: 10, OpenFiles: 256}
	})
	got := said(t, s, `{"name":"limits"}`).Str
	for _, want := range []string{`Max open files +256 +256 `, `Max data size +unlimited`, `NoNewPrivs:\t1`} {
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	if n := said(t, s, `{"name":"nice"}`).Int(); n < 10 {
		t.Errorf("nice %d", n)
	}
}

// TestMemoryIsBoundBeforeTheCommandRuns uses a command that is no MCP server, so that
// nothing but the limit is looked at.
func TestMemoryIsBoundBeforeTheCommandRuns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "limits")
	s := newServer(t, func(c *mcp.ServerConfig) {
		c.Command = []string{"/bin/sh", "-c", `cat /proc/self/limits > "$0"`, file}
		c.Confine = mcp.Confinement{Memory: 512 << 20}
	})
	if _, err := s.Info(t.Context()); err == nil {
		t.Fatal("no server answers")
	}
	got, err := os.ReadFile(file)
	if want := `Max data size +536870912 +536870912 `; err != nil || !regexp.MustCompile(want).Match(got) {
		t.Errorf("no %s in %s: %v", want, got, err)
	}
}

func TestAProcessHasTheMemoryThatItMayHaveAndNoMore(t *testing.T) {
	s := overStdio(t, "legacy", func(c *mcp.ServerConfig) { c.Confine.Memory = 512 << 20 })
	if got := said(t, s, `{"name":"reserve","arguments":{"bytes":8589934592}}`); !got.Bool() { // as runtimes do, that of node first
		t.Errorf("addresses that nothing is written to count: %s", got.Raw)
	}
	if _, _, err := call(t.Context(), s, "ana", `{"name":"take","arguments":{"bytes":1073741824}}`); code(err) != "unavailable" {
		t.Errorf("twice as much as it may have: %v", err)
	}
	free := overStdio(t, "legacy")
	if got := said(t, free, `{"name":"take","arguments":{"bytes":1073741824}}`); !got.Bool() {
		t.Errorf("without a limit: %s", got.Raw)
	}
}

// needNobody skips a test where processes cannot run as the user nobody.
func needNobody(t *testing.T) *user.User {
	t.Helper()
	who, err := user.Lookup("nobody")
	if os.Getuid() != 0 || err != nil {
		t.Skip("SKIPPED: only root can start processes as another user, here nobody")
	}
	return who
}

// forAll is this program where all may start it.
func forAll(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/var/tmp", "callgate-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "server")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(file, text, 0o755)); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAProcessRunsAsItsUser(t *testing.T) {
	who := needNobody(t)
	file := filepath.Join(t.TempDir(), "who")
	for dir := filepath.Dir(file); dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	s := newServer(t, func(c *mcp.ServerConfig) {
		c.Command = []string{"/bin/sh", "-c", `echo "$(id -u) $(id -g) $HOME $USER" > "$0"`, file}
		c.Confine = mcp.Confinement{User: "nobody"}
	})
	if _, err := s.Info(t.Context()); err == nil {
		t.Fatal("no server answers")
	}
	got, err := os.ReadFile(file)
	if want := who.Uid + " " + who.Gid + " " + who.HomeDir + " nobody\n"; string(got) != want || err != nil {
		t.Errorf("it runs as %q, want %q: %v", got, want, err)
	}
}

func TestArgumentsArriveAsTheyStand(t *testing.T) {
	args := []string{"a b", "$(touch /tmp/x)", "`id`", ";", "|", "&& exit", "*", "'", `"`, "\\", "--", "-x", "", "ünï", "$HOME", "line\nbreak"}
	for _, test := range []struct {
		name    string
		confine mcp.Confinement
	}{
		{"on its own", mcp.Confinement{}},
		{"by the helper", mcp.Confinement{Nice: 1}},
		{"in a sandbox", mcp.Confinement{Sandbox: mcp.SandboxRequired}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.confine.Sandbox != "" {
				sandboxed(t)
			}
			s := overStdio(t, "legacy", func(c *mcp.ServerConfig) {
				c.Confine, c.Command = test.confine, append(c.Command, args...)
			})
			got := said(t, s, `{"name":"args"}`).Array()
			if len(got) != len(args) {
				t.Fatalf("got %v", got)
			}
			for i := range args {
				if got[i].Str != args[i] {
					t.Errorf("argument %d is %q, want %q", i, got[i].Str, args[i])
				}
			}
		})
	}
}

func TestASandboxShowsWhatItIsToShow(t *testing.T) {
	sandboxed(t)
	dir := t.TempDir()
	path := func(name string) string {
		p := filepath.Join(dir, name)
		if err := os.Mkdir(p, 0o700); err != nil {
			t.Fatal(err)
		}
		return p
	}
	read, write, other := path("read"), path("write"), path("other")
	home, err := os.MkdirTemp("/var/tmp", "callgate-test-") // is not in /tmp, which is another one there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	secret := filepath.Join(home, "keys", "key")
	if err := os.MkdirAll(filepath.Dir(secret), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(secret), filepath.Join(home, "link")); err != nil {
		t.Fatal(err)
	}
	me, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	ofUser, err := os.MkdirTemp(me, "callgate-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(ofUser) })
	for _, test := range []struct {
		name        string
		confine     mcp.Confinement
		path        string
		read, write bool
	}{
		{"the machine can be read", mcp.Confinement{}, home, true, false},
		{"but not what is hidden", mcp.Confinement{Hidden: []string{filepath.Dir(secret)}}, secret, false, false},
		{"nor a file that is", mcp.Confinement{Hidden: []string{secret}}, secret, false, false},
		{"nor what is, where a link leads to it", mcp.Confinement{Hidden: []string{filepath.Join(home, "link")}}, secret, false, false},
		{"nor within what is readable", mcp.Confinement{Hidden: []string{secret}, Readable: []string{home}}, secret, false, false},
		{"nor within what is writable", mcp.Confinement{Hidden: []string{filepath.Dir(secret)}, Writable: []string{home}}, secret, false, false},
		{"nor by a link that is readable", mcp.Confinement{Hidden: []string{secret}, Readable: []string{filepath.Join(home, "link")}}, filepath.Join(home, "link", "key"), false, false},
		{"what is private is empty", mcp.Confinement{Private: []string{home}}, secret, false, false},
		{"but for what is readable", mcp.Confinement{Private: []string{home}, Readable: []string{filepath.Dir(secret)}}, secret, true, false},
		{"or writable", mcp.Confinement{Private: []string{home}, Writable: []string{filepath.Dir(secret)}}, filepath.Dir(secret), true, true},
		{"a home that is named can be changed", mcp.Confinement{Private: []string{home}, Home: filepath.Dir(secret)}, filepath.Dir(secret), true, true},
		{"nobody's home is there", mcp.Confinement{}, ofUser, false, false},
		{"but for what is writable in it", mcp.Confinement{Writable: []string{ofUser}}, ofUser, true, true},
		{"/tmp is another one", mcp.Confinement{}, other, false, false},
		{"what is readable cannot be written", mcp.Confinement{Readable: []string{read}}, read, true, false},
		{"what is writable can", mcp.Confinement{Readable: []string{read}, Writable: []string{write}}, write, true, true},
		{"with readable, nothing else is there", mcp.Confinement{Readable: []string{read}}, home, false, false},
		{"programs are", mcp.Confinement{Readable: []string{read}}, "/bin/sh", true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.confine.Sandbox = mcp.SandboxRequired
			s := overStdio(t, "legacy", func(c *mcp.ServerConfig) { c.Confine = test.confine })
			got := said(t, s, fmt.Sprintf(`{"name":"look","arguments":{"path":%q}}`, test.path))
			if got.Get("read").Bool() != test.read || got.Get("write").Bool() != test.write {
				t.Errorf("%s: %s", test.path, got.Raw)
			}
		})
	}
}

func TestAProcessInASandboxHasAHomeOfItsOwn(t *testing.T) {
	sandboxed(t)
	kept := t.TempDir()
	for _, test := range []struct {
		name    string
		confine mcp.Confinement
		env     string
		want    string
	}{
		{"an empty one", mcp.Confinement{}, "", "/tmp/home"},
		{"with readable, too", mcp.Confinement{Readable: []string{"/srv"}}, "", "/tmp/home"},
		{"one that stays", mcp.Confinement{Home: kept}, "", kept},
		{"what env says", mcp.Confinement{}, "/elsewhere", "/elsewhere"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.confine.Sandbox = mcp.SandboxRequired
			s := overStdio(t, "legacy", func(c *mcp.ServerConfig) {
				c.Confine = test.confine
				if test.env != "" {
					c.Env["HOME"] = test.env
				}
			})
			if env := said(t, s, `{"name":"env"}`).Raw; !strings.Contains(env, `"HOME=`+test.want+`"`) {
				t.Errorf("no home %s in %s", test.want, env)
			}
			if test.env == "" {
				if got := said(t, s, fmt.Sprintf(`{"name":"look","arguments":{"path":%q}}`, test.want)); !got.Get("write").Bool() {
					t.Errorf("its home cannot be changed: %s", got.Raw)
				}
			}
		})
	}
	if _, err := os.Stat(filepath.Join(kept, "new")); err != nil {
		t.Errorf("the home that stays lost what was put there: %v", err)
	}
}

// TestAnotherUserSandboxedSeesNothingHidden has files hidden in a folder that the
// user may not enter: bubblewrap, which runs as that user, could not get there.
func TestAnotherUserSandboxedSeesNothingHidden(t *testing.T) {
	sandboxed(t)
	needNobody(t)
	dir, err := os.MkdirTemp("/var/tmp", "callgate-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	secret := filepath.Join(dir, "key")
	if err := os.WriteFile(secret, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	exe := forAll(t)
	for _, mode := range []os.FileMode{0o700, 0o755} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		s := overStdio(t, "legacy", func(c *mcp.ServerConfig) {
			c.Command, c.Helper = []string{exe}, []string{exe, mcp.ConfineWord}
			c.Confine = mcp.Confinement{User: "nobody", Sandbox: mcp.SandboxRequired, Hidden: []string{secret}}
		})
		if got := said(t, s, fmt.Sprintf(`{"name":"look","arguments":{"path":%q}}`, secret)); got.Get("read").Bool() {
			t.Errorf("mode %v: %s", mode, got.Raw)
		}
	}
}

func TestNoSocketOfTheMachineIsInASandbox(t *testing.T) {
	sandboxed(t)
	dir, err := os.MkdirTemp("/run", "callgate-test-")
	if err != nil {
		t.Skipf("SKIPPED: nothing can be put into /run: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for sandbox, want := range map[mcp.Sandbox]bool{"": true, mcp.SandboxRequired: false} {
		s := overStdio(t, "legacy", func(c *mcp.ServerConfig) { c.Confine.Sandbox = sandbox })
		if got := said(t, s, fmt.Sprintf(`{"name":"dial","arguments":{"net":"unix","addr":%q}}`, l.Addr())).Bool(); got != want {
			t.Errorf("sandbox %q: reached %v", sandbox, got)
		}
	}
}

func TestASandboxMayHaveNoNetwork(t *testing.T) {
	sandboxed(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, offline := range []bool{false, true} {
		s := overStdio(t, "legacy", func(c *mcp.ServerConfig) {
			c.Confine = mcp.Confinement{Sandbox: mcp.SandboxRequired, Offline: offline}
		})
		if reached := said(t, s, fmt.Sprintf(`{"name":"dial","arguments":{"addr":%q}}`, l.Addr())).Bool(); reached == offline {
			t.Errorf("offline %v: reached %v", offline, reached)
		}
	}
}

func TestWithoutBubblewrapARequiredSandboxStartsNothing(t *testing.T) {
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "bwrap"), []byte("#!/bin/sh\necho no permission >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, path string
		want       []string
	}{
		{"none is there", t.TempDir(), []string{"its sandbox is required", "there is no bubblewrap", "apt install bubblewrap"}},
		{"it may not", broken, []string{"its sandbox is required", "no permission", "user namespaces"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("PATH", test.path)
			_, err := overStdio(t, "legacy", func(c *mcp.ServerConfig) {
				c.Confine = mcp.Confinement{Sandbox: mcp.SandboxRequired}
			}).Info(t.Context())
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q", err, want)
				}
			}
			for what, c := range map[string]mcp.Confinement{
				"network: false": {Offline: true}, "readable": {Readable: []string{"/usr"}}, "writable": {Writable: []string{"/usr"}},
			} {
				c.Sandbox = mcp.SandboxAuto
				_, err := overStdio(t, "legacy", func(cfg *mcp.ServerConfig) { cfg.Confine = c }).Info(t.Context())
				for _, want := range append(test.want[1:], "process."+what+" cannot be kept without a sandbox") {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("%s is not kept: %v, want %q", what, err, want)
					}
				}
			}
			s := overStdio(t, "legacy", func(c *mcp.ServerConfig) {
				c.Confine = mcp.Confinement{Sandbox: mcp.SandboxAuto, Nice: 3}
			})
			if n := said(t, s, `{"name":"nice"}`).Int(); n < 3 {
				t.Errorf("without a sandbox there are limits still: nice %d", n)
			}
		})
	}
}

func TestAConfinementThatMakesNoSenseIsTold(t *testing.T) {
	for _, test := range []struct {
		name    string
		confine mcp.Confinement
		want    string
	}{
		{"nice", mcp.Confinement{Nice: 20}, "nice: want 1 to 19"},
		{"memory", mcp.Confinement{Memory: 1}, "memory: want 16777216 to 140737488355328"},
		{"open files", mcp.Confinement{OpenFiles: 3}, "open_files: want 16 to 1048576"},
		{"a sandbox of another name", mcp.Confinement{Sandbox: "on"}, `sandbox "on": use off, auto or required`},
		{"paths without a sandbox", mcp.Confinement{Writable: []string{"/x"}}, "has no effect without a sandbox"},
		{"no network without a sandbox", mcp.Confinement{Offline: true}, "has no effect without a sandbox"},
		{"a relative path", mcp.Confinement{Sandbox: mcp.SandboxAuto, Writable: []string{"x"}}, `path "x": use an absolute path`},
		{"everything", mcp.Confinement{Sandbox: mcp.SandboxAuto, Writable: []string{"/"}}, `path "/": use an absolute path`},
		{"few processes", mcp.Confinement{Processes: 1}, "processes: want 8 to 1048576"},
		{"what is callgate's own", mcp.Confinement{Sandbox: mcp.SandboxAuto, Hidden: []string{"/var/lib/x"}, Writable: []string{"/var/lib/x/ledger"}}, `path "/var/lib/x/ledger": /var/lib/x is callgate's own`},
		{"a home that is callgate's own", mcp.Confinement{Hidden: []string{"/var/lib/x"}, Home: "/var/lib/x"}, `path "/var/lib/x": /var/lib/x is callgate's own`},
		{"a user whom nobody knows", mcp.Confinement{User: "nobody-of-that-name"}, "there is no user nobody-of-that-name on this machine"},
	} {
		err := mcp.ServerConfig{Name: "a", Command: []string{"x"}, Confine: test.confine}.Check()
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	if err := (mcp.ServerConfig{Name: "a", URL: "http://a", Confine: mcp.Confinement{Nice: 1}}).Check(); err == nil {
		t.Error("a server with a url takes limits of a process")
	}
}
