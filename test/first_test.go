//go:build linux

package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestAsTheFirstProcessOfAContainer runs callgate in process ids of its own, where
// what has lost its parent becomes a child of the first process: it must take the
// end of it, and pass signals on to the gate.
func TestAsTheFirstProcessOfAContainer(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: only root can make process ids of their own (unshare --pid)")
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("SKIPPED: there is no unshare here; util-linux has it")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "callgate.yaml")
	if err := os.WriteFile(config, []byte("listen: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}\ndata: data\nmcp: {servers: {idle: {command: [sleep, '600']}}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(unshare, "--pid", "--fork", "--mount-proc", "--kill-child", filepath.Join(build(t), "callgate"), "serve", "-c", config)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &out, time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })

	line := []int{cmd.Process.Pid} // unshare, the first process, the gate, the keeper, the server
	for _, what := range []string{"the first process", "the gate", "a keeper", "the server"} {
		parent := line[len(line)-1]
		line = append(line, awaitOne(t, what, func() int { return childOf(parent) }))
	}
	first, keeper, idle := line[1], line[3], line[4]
	if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitOne(t, "the end of a server that lost its keeper", func() int {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", idle)); errors.Is(err, os.ErrNotExist) {
			return 1
		}
		return 0
	})
	if err := syscall.Kill(first, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v:\n%s", err, out.String())
		}
	case <-time.After(20 * time.Second):
		t.Errorf("it did not end:\n%s", out.String())
	}
}

// awaitOne returns what get says once that is not 0.
func awaitOne(t *testing.T, what string, get func() int) int {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if n := get(); n != 0 {
			return n
		}
	}
	t.Fatalf("waited for %s in vain", what)
	return 0
}

// childOf is the first child of a process, 0 if it has none.
func childOf(parent int) int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && fields[1] == strconv.Itoa(parent) && fields[0] != "Z" {
			return pid
		}
	}
	return 0
}
