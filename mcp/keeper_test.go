//go:build linux

package mcp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"callgate/mcp"
)

// A lifeline is a pipe that a process holds for as long as it lives.
type lifeline struct {
	path string
	held *os.File
}

func newLifeline(t *testing.T, dir string) *lifeline {
	t.Helper()
	l := &lifeline{path: filepath.Join(dir, "pipe")}
	if err := syscall.Mkfifo(l.path, 0o600); err != nil {
		t.Fatal(err)
	}
	return l
}

// taken returns when a process holds it.
func (l *lifeline) taken(t *testing.T) {
	t.Helper()
	var err error
	if l.held, err = os.Open(l.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.held.Close() })
}

// cut returns when nobody holds it any more.
func (l *lifeline) cut(t *testing.T) {
	t.Helper()
	if err := l.held.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(l.held); err != nil {
		t.Errorf("the child lives: %v", err)
	}
}

func TestNothingOutlivesItsServer(t *testing.T) {
	boxed, limited := mcp.Confinement{Sandbox: mcp.SandboxRequired}, mcp.Confinement{Nice: 1}
	for _, test := range []struct {
		name         string
		confine      mcp.Confinement
		away, orphan bool // it leaves its parent's session; its parent is gone
		end          string
	}{
		{"a child that ignores SIGTERM", mcp.Confinement{}, false, false, "close"},
		{"of another session", mcp.Confinement{}, true, false, "close"},
		{"of another session, whose parent is gone", mcp.Confinement{}, true, true, "close"},
		{"within limits", limited, false, false, "close"},
		{"within limits, of another session, whose parent is gone", limited, true, true, "close"},
		{"in a sandbox, of another session", boxed, true, false, "close"},
		{"in a sandbox, of another session, whose parent is gone", boxed, true, true, "close"},
		{"of another session, when the server ends by itself", mcp.Confinement{}, true, true, "die"},
		{"in a sandbox, of another session, when the server ends by itself", boxed, true, true, "die"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.confine.Sandbox != "" {
				sandboxed(t)
			}
			dir := t.TempDir()
			line := newLifeline(t, dir)
			s := overStdio(t, "legacy", func(c *mcp.ServerConfig) {
				c.Confine = test.confine
				if c.Confine.Sandbox != "" {
					c.Confine.Writable = []string{dir}
				}
			})
			if _, _, err := call(t.Context(), s, "ana", fmt.Sprintf(`{"name":"fork","arguments":{"pipe":%q,"away":%v,"orphan":%v}}`, line.path, test.away, test.orphan)); err != nil {
				t.Fatal(err)
			}
			line.taken(t)
			if test.end == "die" {
				if _, _, err := call(t.Context(), s, "ana", `{"name":"die"}`); err == nil {
					t.Error("it answers")
				}
			} else {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				s.Close(ctx)
			}
			line.cut(t)
		})
	}
}

// kept starts a shell under a keeper, and returns callgate's end of the leash.
func kept(t *testing.T, script string, args ...string) (*exec.Cmd, *os.File) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	theirs, leash, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	t.Cleanup(func() { leash.Close() })
	cmd := exec.Command(exe, append([]string{mcp.ConfineWord, `{"keep":true}`, "--", "/bin/sh", "-c", script, "sh"}, args...)...)
	cmd.ExtraFiles, cmd.Stderr = []*os.File{theirs}, t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, leash
}

const stubborn = `trap "" TERM HUP INT; exec 4> "$1"; while :; do sleep 60; done`

func TestAServerEndsWhenCallgateIsGone(t *testing.T) {
	line := newLifeline(t, t.TempDir())
	cmd, leash := kept(t, `setsid sh -c '`+stubborn+`' sh "$1" & `+stubborn, line.path)
	line.taken(t)
	leash.Close() // as the system does when callgate is killed
	line.cut(t)
	var status *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &status) || status.ExitCode() != 128+int(syscall.SIGKILL) {
		t.Errorf("the keeper ended with %v", err)
	}
}

func TestAKeeperEndsAsItsServerDid(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137} {
		cmd, _ := kept(t, script)
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != want {
			t.Errorf("%s: %v, want status %d", script, err, want)
		}
	}
}

// TestAKeeperOutpacesAForkBomb has processes that start others as fast as they can,
// in sessions of their own.
func TestAKeeperOutpacesAForkBomb(t *testing.T) {
	line := newLifeline(t, t.TempDir())
	cmd, leash := kept(t, `exec 4> "$1"; f() { while :; do setsid sh -c : & sleep 0.01; done; }; f & f & f & while :; do setsid sleep 60 & sleep 0.01; done`, line.path)
	line.taken(t)
	leash.Close()
	line.cut(t)
	_ = cmd.Wait()
}

// TestSIGTERMReachesAllOfAServer ends a server that waits for its child, which is in
// another session and ends when it is asked to.
func TestSIGTERMReachesAllOfAServer(t *testing.T) {
	line := newLifeline(t, t.TempDir())
	cmd, _ := kept(t, `trap : TERM; setsid sh -c 'trap "exit 0" TERM; exec 4> "$1"; while :; do sleep 0.1; done' sh "$1" & child=$!; while kill -0 $child; do wait $child; done 2>/dev/null; exit 5`, line.path)
	line.taken(t)
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	line.cut(t)
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("it ended with %v", err)
	}
}

// TestAHelperThatIsNoneStartsNoOther has a program that is started as the helper and
// goes about its own business, which is to start servers: it would go on for ever.
func TestAHelperThatIsNoneStartsNoOther(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, mcp.ConfineWord, `{"keep":true}`, "--", "/bin/sh")
	cmd.Env = append(os.Environ(), "CALLGATE_FIXTURE=deaf")
	said, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(said), "does not call mcp.Confine first") {
		t.Errorf("it said %s, %v", said, err)
	}
}

func TestProcessesOfAUserAreBound(t *testing.T) {
	needNobody(t)
	exe := forAll(t)
	out := filepath.Join(filepath.Dir(exe), "out")
	if err := os.WriteFile(out, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(out, 0o666); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, func(c *mcp.ServerConfig) {
		c.Command = []string{"/bin/sh", "-c", `cat /proc/self/limits >> "$0"; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 60 & done 2>> "$0"; echo every-one >> "$0"`, out}
		c.Confine = mcp.Confinement{User: "nobody", Processes: 16}
	})
	if _, err := s.Info(t.Context()); err == nil {
		t.Fatal("no server answers")
	}
	got, err := os.ReadFile(out)
	if err != nil || !regexp.MustCompile(`Max processes +16 +16 `).Match(got) || !strings.Contains(string(got), "fork") || strings.Contains(string(got), "every-one") {
		t.Errorf("twenty processes: %q, %v", got, err)
	}
}
