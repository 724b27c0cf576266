// Package program builds callgate as tests run it, and runs programs around a test.
package program

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Build builds callgate into dir, with the race detector if race, and returns its
// path.
func Build(dir string, race bool) (string, error) {
	path := filepath.Join(dir, "callgate")
	at, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "callgate").Output() // also from a module of tests alone
	if err != nil {
		return "", fmt.Errorf("find callgate: %w", err)
	}
	args := []string{"build", "-C", strings.TrimSpace(string(at)), "-o", path}
	if race {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "callgate/cmd/callgate")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build callgate: %w\n%s", err, out)
	}
	return path, nil
}

// A Program is one that runs until the test ends.
type Program struct {
	Args  []string // its path first
	Dir   string   // where it runs
	Env   []string // nil for the test's own
	Log   string   // file that gets all it says; shown where the test failed
	Clean bool     // it must end without an error when it is interrupted
}

const stopTime = 20 * time.Second // for a program to end when it is interrupted

// Start runs p. The test fails if p does not stop when it is interrupted, or says
// that it has a data race.
func Start(t testing.TB, p Program) *exec.Cmd {
	t.Helper()
	log, err := os.Create(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(p.Args[0], p.Args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.Dir, p.Env, log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(p.Args[0])
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case err := <-done:
			if p.Clean && err != nil {
				t.Errorf("%s did not stop cleanly: %v", name, err)
			}
		case <-time.After(stopTime):
			_ = cmd.Process.Kill()
			<-done
			t.Errorf("%s did not stop when asked", name)
		}
		_ = log.Close()
		said, _ := os.ReadFile(p.Log)
		if bytes.Contains(said, []byte("DATA RACE")) {
			t.Errorf("%s has a data race", name)
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", name, said[max(0, len(said)-6000):])
		}
	})
	return cmd
}

// Command runs callgate at path with the data folder data, and returns what it
// prints.
func Command(t testing.TB, path, data string, args ...string) string {
	t.Helper()
	cmd := exec.Command(path, append(args, "--data", data)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("callgate %s: %v\n%s%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String()
}

// Ports that systems do not give out by themselves, to a listener on :0 or to a
// connection's own end: between choosing one of them and listening on it nobody
// else gets it by chance.
const firstPort, lastPort = 12000, 32000

var given sync.Map // the ports that FreePort has given in this process

// FreePort is a port that nobody listens on, and that nobody else will get.
func FreePort(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := strconv.Itoa(firstPort + rand.IntN(lastPort-firstPort))
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue // somebody's
		}
		_ = l.Close()
		if _, twice := given.LoadOrStore(port, true); !twice {
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

// WaitFor returns once url answers anything.
func WaitFor(t testing.TB, url string) {
	t.Helper()
	var last error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		res, err := http.Get(url)
		if err == nil {
			_ = res.Body.Close()
			return
		}
		last = err
	}
	t.Fatalf("%s does not answer: %v", url, last)
}
