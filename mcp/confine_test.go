//go:build linux

package mcp_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

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
		t.Skip(err)
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

func TestAProcessRunsAsItsUser(t *testing.T) {
	who, err := user.Lookup("nobody")
	if os.Getuid() != 0 || err != nil {
		t.Skip("needs root, and the user nobody")
	}
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
	for _, test := range []struct {
		name        string
		confine     mcp.Confinement
		path        string
		read, write bool
	}{
		{"the machine can be read", mcp.Confinement{}, home, true, false},
		{"but not what is hidden", mcp.Confinement{Hidden: []string{filepath.Dir(secret)}}, secret, false, false},
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

func TestNoSocketOfTheMachineIsInASandbox(t *testing.T) {
	sandboxed(t)
	dir, err := os.MkdirTemp("/run", "callgate-test-")
	if err != nil {
		t.Skipf("nothing can be put into /run: %v", err)
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
			s := overStdio(t, "legacy", func(c *mcp.ServerConfig) {
				c.Confine = mcp.Confinement{Sandbox: mcp.SandboxAuto, Nice: 3}
			})
			if n := said(t, s, `{"name":"nice"}`).Int(); n < 3 {
				t.Errorf("without a sandbox there are limits still: nice %d", n)
			}
		})
	}
}

func TestCloseEndsWhatAProcessStarted(t *testing.T) {
	for _, test := range []struct {
		name    string
		confine mcp.Confinement
		away    bool // it leaves its parent's session
	}{
		{"a child that ignores SIGTERM", mcp.Confinement{}, false},
		{"within limits", mcp.Confinement{Nice: 1}, false},
		{"in a sandbox, of whatever session", mcp.Confinement{Sandbox: mcp.SandboxRequired}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.confine.Sandbox != "" {
				sandboxed(t)
			}
			dir := t.TempDir()
			pipe := filepath.Join(dir, "pipe")
			if err := syscall.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			s := overStdio(t, "legacy", func(c *mcp.ServerConfig) {
				c.Confine = test.confine
				if c.Confine.Sandbox != "" {
					c.Confine.Writable = []string{dir}
				}
			})
			if _, _, err := call(t.Context(), s, "ana", fmt.Sprintf(`{"name":"fork","arguments":{"pipe":%q,"away":%v}}`, pipe, test.away)); err != nil {
				t.Fatal(err)
			}
			held, err := os.Open(pipe) // when the child has opened it
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			var ended sync.WaitGroup
			ended.Go(func() {
				if err := held.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
					t.Error(err)
				}
				if _, err := io.ReadAll(held); err != nil {
					t.Errorf("the child lives: %v", err)
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			s.Close(ctx)
			ended.Wait()
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
		{"paths without a sandbox", mcp.Confinement{Writable: []string{"/x"}}, "have no effect without a sandbox"},
		{"no network without a sandbox", mcp.Confinement{Offline: true}, "have no effect without a sandbox"},
		{"a relative path", mcp.Confinement{Sandbox: mcp.SandboxAuto, Writable: []string{"x"}}, `path "x": use an absolute path`},
		{"everything", mcp.Confinement{Sandbox: mcp.SandboxAuto, Writable: []string{"/"}}, `path "/": use an absolute path`},
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
