package mcp

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A sandbox is what bubblewrap makes for a process: processes, and names of the
// machine, of its own; perhaps no network; files that it cannot change, but for
// those that the operator names; an empty /tmp that is gone with it.

const sandboxTime = 5 * time.Second // to find out whether there can be one

// systemPaths are in each sandbox, where the machine has them: programs and what
// they need, and nothing that is somebody's own.
var systemPaths = []string{
	"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/opt", "/nix/store",
	"/etc/alternatives", "/etc/ca-certificates", "/etc/crypto-policies", "/etc/fonts", "/etc/gai.conf", "/etc/group", "/etc/host.conf", "/etc/hosts",
	"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types", "/etc/nsswitch.conf", "/etc/os-release", "/etc/passwd",
	"/etc/pki/ca-trust", "/etc/pki/tls/cert.pem", "/etc/pki/tls/certs", "/etc/pki/tls/openssl.cnf", "/etc/protocols", "/etc/resolv.conf", "/etc/services",
	"/etc/ssl/cert.pem", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/timezone",
}

// runPaths are what is left of /run: where /etc/resolv.conf may lead, and where
// NixOS has its programs.
var runPaths = []string{"/run/current-system", "/run/systemd/resolve/resolv.conf", "/run/systemd/resolve/stub-resolv.conf", "/run/resolvconf/resolv.conf", "/run/NetworkManager/resolv.conf"}

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
	argv := append(c.walls(bwrap), "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--", "true")
	bare := ServerConfig{Helper: c.Helper} // whether it works is no matter of limits
	cmd, err := bare.helped(who, true, argv)
	if err != nil {
		return err
	}
	cmd = exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = "/", environment(as(who, nil)), time.Second
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

// A mount is a part of a sandbox's files.
type mount struct {
	path string
	kind string // option of bubblewrap
	rank int    // which of two at one path counts
}

// sandboxed is argv, run in a sandbox.
func (c *ServerConfig) sandboxed(argv []string) ([]string, error) {
	bwrap, err := bubblewrap()
	if err != nil {
		return nil, err
	}
	out := c.walls(bwrap)
	var mounts []mount
	if len(c.Confine.Readable) == 0 {
		out = append(out, "--ro-bind", "/", "/")
	}
	for _, path := range systemPaths {
		if len(c.Confine.Readable) > 0 {
			mounts = append(mounts, mount{path, "--ro-bind-try", 0})
		}
	}
	mounts = append(mounts, mount{"/dev", "--dev", 1}, mount{"/proc", "--proc", 1}, mount{"/tmp", "--tmpfs", 1})
	if len(c.Confine.Readable) == 0 { // the sockets there lead out of any sandbox
		mounts = append(mounts, mount{"/run", "--tmpfs", 1})
		for _, path := range runPaths {
			if there(path) {
				mounts = append(mounts, mount{path, "--ro-bind", 2})
			}
		}
	}
	for _, path := range c.Confine.Hidden {
		if there(path) {
			mounts = append(mounts, mount{path, "--tmpfs", 5}) // whatever else is said of it
		}
	}
	program, err := filepath.Abs(argv[0])
	if err != nil {
		return nil, err
	}
	mounts = append(mounts, mount{program, "--ro-bind", 2})
	if real, err := filepath.EvalSymlinks(program); err == nil {
		mounts = append(mounts, mount{real, "--ro-bind", 2})
	}
	dir := "/tmp"
	if c.Dir != "" {
		if dir, err = filepath.Abs(c.Dir); err != nil {
			return nil, err
		}
		mounts = append(mounts, mount{dir, "--ro-bind", 2})
	}
	for _, path := range c.Confine.Readable {
		mounts = append(mounts, mount{path, "--ro-bind", 3})
	}
	for _, path := range c.Confine.Writable {
		mounts = append(mounts, mount{path, "--bind", 4})
	}
	slices.SortStableFunc(mounts, func(a, b mount) int { // what is within another comes after it, or would be hidden by it
		return cmp.Or(strings.Compare(a.path, b.path), b.rank-a.rank)
	})
	mounts = slices.CompactFunc(mounts, func(a, b mount) bool { return a.path == b.path })
	for i, m := range mounts {
		switch {
		case m.rank <= 2 && m.rank != 1 && covered(m.path, mounts[:i]): // the other way of it has it already, perhaps to be changed
		case m.kind == "--tmpfs", m.kind == "--dev", m.kind == "--proc":
			out = append(out, m.kind, m.path)
		case m.rank > 0 && !there(m.path):
			return nil, fmt.Errorf("its sandbox: %s is not there", m.path)
		default:
			out = append(out, m.kind, m.path, m.path)
		}
	}
	argv = append([]string{program}, argv[1:]...)
	return append(append(out, "--chdir", dir, "--"), argv...), nil
}

// covered says whether the last of the mounts that path is within shows it as the
// machine has it.
func covered(path string, before []mount) bool {
	for _, m := range slices.Backward(before) {
		if strings.HasPrefix(path, m.path+"/") {
			return strings.HasSuffix(m.kind, "bind") || strings.HasSuffix(m.kind, "bind-try")
		}
	}
	return false
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
