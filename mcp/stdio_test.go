package mcp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"callgate/firewall"
	"callgate/mcp"

	"github.com/tidwall/gjson"
)

// code is the code of an error for the agent, or its text if it is none.
func code(err error) string {
	var e *firewall.Error
	if errors.As(err, &e) {
		return e.Code.String()
	}
	return fmt.Sprint(err)
}

func TestProgressGoesToWhoeverAskedForIt(t *testing.T) {
	eachServer(t, func(t *testing.T, s *mcp.Server, _ bool) {
		if !strings.Contains(t.Name(), "streams") {
			var all sync.WaitGroup
			for i := range 16 {
				all.Go(func() {
					who := fmt.Sprintf("agent-%d", i)
					token := fmt.Sprintf(`"token-%d"`, i%3) // clients choose the same ones
					for range 5 {
						got, _, err := call(t.Context(), s, who, fmt.Sprintf(`{"name":"progress","arguments":{"n":10,"who":%q},"_meta":{"progressToken":%s}}`, who, token))
						if err != nil || len(got) != 10 {
							t.Errorf("%s got %d notifications: %v", who, len(got), err)
							return
						}
						for n, m := range got {
							want := fmt.Sprintf(`{"progressToken":%s,"progress":%d,"message":%q,"big":12345678901234567890}`, token, n, who)
							if string(m.Params) != want {
								t.Errorf("%s got %s, want %s", who, m.Params, want)
							}
						}
					}
				})
			}
			all.Wait()
		}
	})
}

func TestALogLineIsNeverShownToAStranger(t *testing.T) {
	t.Run("the only principal sees it", func(t *testing.T) {
		s := overStdio(t, "legacy")
		got, _, err := call(t.Context(), s, "ana", `{"name":"log","arguments":{"n":3}}`)
		if err != nil || len(got) != 3 {
			t.Errorf("got %d lines: %v", len(got), err)
		}
	})
	t.Run("nobody does while another one has a request", func(t *testing.T) {
		s := overStdio(t, "legacy")
		ctx, cancel := context.WithCancel(t.Context())
		started := make(chan struct{})
		var done sync.WaitGroup
		done.Go(func() {
			for m, err := range s.Do(ctx, agent("eve"), mcp.Request{Method: "tools/call", Params: []byte(`{"name":"hang-after-progress","arguments":{},"_meta":{"progressToken":1}}`)}) {
				if err == nil && m.Method == "notifications/progress" {
					close(started)
				}
				if m.Method == "notifications/message" {
					t.Error("a stranger saw the line")
				}
			}
		})
		<-started
		got, _, err := call(t.Context(), s, "ana", `{"name":"log","arguments":{"n":3}}`)
		if err != nil || len(got) != 0 {
			t.Errorf("got %d lines: %v", len(got), err)
		}
		cancel()
		done.Wait()
	})
	t.Run("nobody does a moment after another one had a request", func(t *testing.T) {
		s := overStdio(t, "legacy")
		if _, _, err := call(t.Context(), s, "eve", `{"name":"echo"}`); err != nil {
			t.Fatal(err)
		}
		got, _, err := call(t.Context(), s, "ana", `{"name":"log","arguments":{"n":3}}`)
		if err != nil || len(got) != 0 {
			t.Errorf("got %d lines: %v", len(got), err)
		}
	})
}

func TestAServerThatDiesFailsItsCallsAndComesBack(t *testing.T) {
	s := overStdio(t, "legacy")
	_, m, err := call(t.Context(), s, "ana", `{"name":"pid"}`)
	if err != nil {
		t.Fatal(err)
	}
	pid := int(gjson.GetBytes(m.Result, "structuredContent").Int())

	var all sync.WaitGroup
	var hanging atomic.Int32
	for range 100 {
		all.Go(func() {
			for m, err := range s.Do(t.Context(), agent("ana"), mcp.Request{Method: "tools/call", Params: []byte(`{"name":"hang-after-progress","arguments":{},"_meta":{"progressToken":1}}`)}) {
				if err != nil {
					if code(err) != "unavailable" || !strings.Contains(err.Error(), "server files stopped") {
						t.Errorf("a call in flight failed with %v", err)
					}
					return
				}
				if m.IsResponse() {
					t.Errorf("a response came: %s", m.Raw)
				}
				if hanging.Add(1) == 100 {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		})
	}
	all.Wait()
	_, m, err = call(t.Context(), s, "ana", `{"name":"pid"}`)
	if err != nil {
		t.Fatalf("a later call: %v", err)
	}
	if again := int(gjson.GetBytes(m.Result, "structuredContent").Int()); again == pid || again == 0 {
		t.Errorf("process %d was %d", again, pid)
	}
}

func TestAServerThatMisbehavesOnItsPipe(t *testing.T) {
	small := func(c *mcp.ServerConfig) { c.Limits.Bytes = 1 << 16 }
	tests := []struct {
		name, character, params string
		want                    string // code, "" for success
		set                     func(*mcp.ServerConfig)
	}{
		{"garbage lines are passed over", "legacy", `{"name":"garbage","arguments":{"n":500}}`, "", nil},
		{"nothing but garbage ends it", "legacy", `{"name":"garbage","arguments":{"n":2000}}`, "unavailable", nil},
		{"a huge line ends it", "legacy", `{"name":"huge","arguments":{"n":100000}}`, "unavailable", small},
		{"a long line is taken", "legacy", `{"name":"huge","arguments":{"n":1000000}}`, "", nil},
		{"a response that can be read in two ways is none", "legacy", `{"name":"two-ways"}`, "unavailable", nil},
		{"dying is told", "legacy", `{"name":"die"}`, "unavailable", nil},
		{"hanging is told in time", "legacy", `{"name":"hang"}`, "timeout", func(c *mcp.ServerConfig) { c.Timeout = 50 * time.Millisecond }},
		{"not knowing what modern clients ask, and falling silent", "legacy silent", `{"name":"echo"}`, "", nil},
		{"not knowing what modern clients ask, and dying", "legacy fragile", `{"name":"echo"}`, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.set == nil {
				tt.set = func(*mcp.ServerConfig) {}
			}
			s := overStdio(t, tt.character, tt.set)
			_, err := s.Info(t.Context())
			for err != nil && tt.character == "legacy fragile" {
				_, err = s.Info(t.Context())
			}
			if _, _, err = call(t.Context(), s, "ana", tt.params); err == nil && tt.want != "" || err != nil && code(err) != tt.want {
				t.Errorf("the call: %v, want %q", err, tt.want)
			}
			if _, _, err := call(t.Context(), s, "ana", `{"name":"echo"}`); err != nil {
				t.Errorf("a later call: %v", err)
			}
		})
	}
}

func TestAFloodDrownsOnlyWhoAskedForIt(t *testing.T) {
	s := overStdio(t, "legacy")
	released := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		first := true
		for m, err := range s.Do(t.Context(), agent("ana"), mcp.Request{Method: "tools/call", Params: []byte(`{"name":"progress","arguments":{"n":20000,"who":"ana"},"_meta":{"progressToken":1}}`)}) {
			if err != nil {
				if code(err) != "unavailable" {
					t.Errorf("the flood: %v", err)
				}
				return
			}
			if m.IsResponse() {
				t.Error("a client that takes nothing got all of it")
			}
			if first {
				first = false
				<-released
			}
		}
	})
	for range 50 {
		if _, _, err := call(t.Context(), s, "bob", `{"name":"echo"}`); err != nil {
			t.Errorf("another call: %v", err)
		}
	}
	close(released)
	all.Wait()
}

func TestAProcessGetsLittleOfOurEnvironment(t *testing.T) {
	t.Setenv("CALLGATE_TEST_SECRET", "s3cret")
	t.Setenv("LANG", "C.UTF-8")
	s := overStdio(t, "legacy", func(c *mcp.ServerConfig) { c.Env["LANG"] = "C"; c.Env["OWN"] = "1" })
	_, m, err := call(t.Context(), s, "ana", `{"name":"env"}`)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, v := range gjson.GetBytes(m.Result, "structuredContent").Array() {
		name, value, _ := strings.Cut(v.Str, "=")
		names = append(names, name)
		if name == "LANG" && value != "C" {
			t.Errorf("LANG is %q", value)
		}
	}
	for _, name := range names {
		if !slices.Contains([]string{"PATH", "HOME", "USER", "LANG", "TMPDIR", "OWN", "CALLGATE_FIXTURE", "GORACE"}, name) {
			t.Errorf("the process got %s", name)
		}
	}
	if !slices.Contains(names, "OWN") || !slices.Contains(names, "PATH") {
		t.Errorf("the process got only %v", names)
	}
}

func TestAClientCannotPutALineOfItsOwnOnThePipe(t *testing.T) {
	for _, character := range []string{"legacy", "modern"} {
		for _, end := range []string{"\n", "\r", "\r\n"} {
			s := overStdio(t, character)
			smuggled := end + `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"die"}}` + end
			for range 2 {
				_, m, err := call(t.Context(), s, "ana", `{"name":"echo","arguments":{"a":`+smuggled+`,"b":"\n"},`+end+`"_meta":{"x":`+smuggled+`}}`)
				if err != nil {
					t.Fatalf("with %q: %v", end, err)
				}
				if got := gjson.GetBytes(m.Result, "structuredContent.arguments.a.params.name").Str; got != "die" {
					t.Errorf("with %q: the arguments were %s", end, m.Result)
				}
			}
		}
	}
}

func TestAServersOwnRequestsAreAnswered(t *testing.T) {
	eachServer(t, func(t *testing.T, s *mcp.Server, _ bool) {
		if strings.Contains(t.Name(), "without_streams") {
			t.Skip("a plain answer has no room for requests")
		}
		_, m, err := call(t.Context(), s, "ana", `{"name":"ask"}`)
		if err != nil {
			t.Fatal(err)
		}
		want := `[{"jsonrpc":"2.0","id":"ping","result":{}},` +
			`{"jsonrpc":"2.0","id":"sampling/createMessage","error":{"code":-32601,"message":"the client does not take this request"}}]`
		if got := gjson.GetBytes(m.Result, "structuredContent").Raw; got != want {
			t.Errorf("the server got %s", got)
		}
	})
}

func TestCloseEndsTheProcess(t *testing.T) {
	for _, character := range []string{"legacy", "legacy stubborn"} {
		t.Run(character, func(t *testing.T) {
			t.Parallel()
			s := overStdio(t, character)
			_, m, err := call(t.Context(), s, "ana", `{"name":"pid"}`)
			if err != nil {
				t.Fatal(err)
			}
			failed := make(chan error)
			go func() {
				_, _, err := call(t.Context(), s, "ana", `{"name":"hang"}`)
				failed <- err
			}()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			s.Close(ctx)
			if err := <-failed; code(err) != "unavailable" {
				t.Errorf("the call in flight: %v", err)
			}
			pid := int(gjson.GetBytes(m.Result, "structuredContent").Int())
			if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
				t.Errorf("process %d is still there: %v", pid, err)
			}
			if _, _, err := call(t.Context(), s, "ana", `{"name":"pid"}`); code(err) != "unavailable" {
				t.Errorf("a call after Close: %v", err)
			}
		})
	}
}

func TestACommandThatDoesNotExistIsTold(t *testing.T) {
	s := newServer(t, func(c *mcp.ServerConfig) { c.Command = []string{"/nonexistent/server"} })
	_, err := s.Info(t.Context())
	if code(err) != "unavailable" || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestStandardErrorGoesToTheLog(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	s := overStdio(t, "legacy", func(c *mcp.ServerConfig) {
		c.Logger = slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return log.Write(p)
		}), nil))
	})
	if _, _, err := call(t.Context(), s, "ana", `{"name":"echo"}`); err != nil {
		t.Fatal(err)
	}
	s.Close(t.Context())
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(log.String(), `msg="server said" server=files line="fixture is up"`) {
		t.Errorf("the log is %s", log.String())
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
