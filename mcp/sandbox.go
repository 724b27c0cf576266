package mcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"time"
)

// A sandbox is what bubblewrap makes for a process: processes, and names of the
// machine, of its own; perhaps no network; files that it cannot change, but for
// those that the operator names; no home but its own; an empty /tmp that is gone
// with it.

const sandboxTime = 5 * time.Second // to find out whether there can be one

// bubblewrap is the program that makes sandboxes.
func bubblewrap() (string, error) {
	path, err := exec.LookPath("bwrap")
	if err != nil {
		return "", errors.New("there is no bubblewrap (bwrap) here: install it (apt install bubblewrap, dnf install bubblewrap), or take process.sandbox out")
	}
	return path, nil
}

// TrySandbox makes a sandbox, and says why this machine does not let callgate do
// so and what to do about it.
func TrySandbox(ctx context.Context) error {
	c := ServerConfig{Logger: slog.New(slog.DiscardHandler)}
	return c.trySandbox(ctx, nil)
}

// trySandbox tries a sandbox that is as that of the server will be, but for files.
func (c *ServerConfig) trySandbox(ctx context.Context, who *systemUser) error {
	if err := confinable(); err != nil {
		return err
	}
	bwrap, err := bubblewrap()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sandboxTime)
	defer cancel()
	argv := append(c.walls(bwrap), "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--dir", "/tmp/home", "--", "true")
	bare := ServerConfig{Helper: c.Helper} // whether it works is no matter of limits
	cmd, err := bare.helped(who, true, argv)
	if err != nil {
		return err
	}
	cmd = exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = "/", environment(as(who, "", nil)), time.Second
	said, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	said = bytes.TrimSpace(said[:min(len(said), 512)])
	return fmt.Errorf("bubblewrap (bwrap) is here but cannot make a sandbox (%w: %s): allow user namespaces (sysctl kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0, or a container whose seccomp profile has unshare and mount), or take process.sandbox out", err, said)
}

// walls is the beginning of a sandbox's command: all of it that is not about files.
func (c *ServerConfig) walls(bwrap string) []string {
	argv := []string{bwrap, "--die-with-parent", "--new-session", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--cap-drop", "ALL"}
	if c.Confine.Offline {
		argv = append(argv, "--unshare-net")
	}
	return argv
}
