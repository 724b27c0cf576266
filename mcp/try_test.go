//go:build linux

package mcp_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"callgate/mcp"
)

func TestTrySaysWhatKeepsAServerFromStarting(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.MkdirTemp(home, "callgate-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(own) })
	program := filepath.Join(own, "server")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	closed := filepath.Join(forAll(t) + ".d")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	boxed := mcp.Confinement{Sandbox: mcp.SandboxRequired}
	for _, test := range []struct {
		name  string
		cfg   mcp.ServerConfig
		want  string
		grave bool
	}{
		{"all is well", mcp.ServerConfig{Command: []string{"sh"}, Dir: dir}, "", false},
		{"all is well in a sandbox", mcp.ServerConfig{Command: []string{"sh"}, Dir: dir, Confine: boxed}, "", false},
		{"a server with a URL", mcp.ServerConfig{URL: "http://a"}, "", false},
		{"a program that nobody has", mcp.ServerConfig{Command: []string{"no-such-program"}}, "no-such-program", true},
		{"a file that is no program", mcp.ServerConfig{Command: []string{file}}, "permission denied", true},
		{"a folder that is not there", mcp.ServerConfig{Command: []string{"sh"}, Dir: dir + "/gone"}, "its folder dir cannot be entered", true},
		{"a folder that its user may not enter", mcp.ServerConfig{Command: []string{"sh"}, Dir: closed, Confine: mcp.Confinement{User: "nobody"}}, "its folder dir cannot be entered", true},
		{"a program that its user may not start", mcp.ServerConfig{Command: []string{program}, Confine: mcp.Confinement{User: "nobody"}}, "may not be started", true},
		{"what is to be readable is not there", mcp.ServerConfig{Command: []string{"sh"}, Confine: mcp.Confinement{Sandbox: mcp.SandboxAuto, Readable: []string{dir + "/gone"}}}, "gone is not there", true},
		{"a program in a home", mcp.ServerConfig{Command: []string{program}, Confine: boxed}, "of which the sandbox shows the program alone", false},
		{"whose folder is named", mcp.ServerConfig{Command: []string{program}, Confine: mcp.Confinement{Sandbox: mcp.SandboxRequired, Readable: []string{own}}}, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.cfg.Confine.Sandbox != "" {
				sandboxed(t)
			}
			if test.cfg.Confine.User != "" {
				needNobody(t)
			}
			test.cfg.Name, test.cfg.Logger = "a", slog.New(slog.DiscardHandler)
			test.cfg.Helper = []string{exe, mcp.ConfineWord}
			got := test.cfg.Try(t.Context())
			switch {
			case test.want == "" && len(got) == 0:
			case test.want == "" || len(got) != 1 || !strings.Contains(got[0].What, test.want) || got[0].Grave != test.grave || got[0].Mend == "":
				t.Errorf("got %+v, want %q", got, test.want)
			}
		})
	}
}
