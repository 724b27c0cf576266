package mcp

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// confinable says whether this system can confine processes.
func confinable() error { return nil }

// become sets limits and then is argv. Rights come last but for memory: with less
// of that than this program has, nothing is certain to work but the end of it.
func become(l limits, argv []string) error {
	runtime.LockOSThread() // how nice a thread is, and what it may not gain, is its own; exec keeps what the thread has that calls it
	env := os.Environ()
	if l.Nice > 0 {
		if now, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err != nil || 20-now < l.Nice { // the kernel says 20-nice
			if err := unix.Setpriority(unix.PRIO_PROCESS, 0, l.Nice); err != nil {
				return fmt.Errorf("set nice: %w", err)
			}
		}
	}
	if err := lower(unix.RLIMIT_NOFILE, l.OpenFiles); err != nil {
		return fmt.Errorf("limit open files: %w", err)
	}
	if err := lower(unix.RLIMIT_NPROC, l.Processes); err != nil { // as root still, for whom it does not count
		return fmt.Errorf("limit processes: %w", err)
	}
	if l.User != nil {
		if err := l.User.take(); err != nil {
			return fmt.Errorf("become another user: %w", err)
		}
	}
	if !l.Boxed {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("give up gaining rights: %w", err)
		}
	}
	// Not RLIMIT_AS: node and others reserve far more addresses than they ever use.
	if err := lower(unix.RLIMIT_DATA, l.Memory); err != nil {
		return fmt.Errorf("limit memory: %w", err)
	}
	err := syscall.Exec(argv[0], argv, env)
	return fmt.Errorf("start %s: %w", argv[0], err)
}

func (u *ids) take() error {
	if err := syscall.Setgroups(u.Groups); err != nil {
		return err
	}
	if err := syscall.Setgid(u.GID); err != nil {
		return err
	}
	return syscall.Setuid(u.UID)
}

// look says, as who, what keeps args[0] from being started in the folder args[1];
// "" is any.
func look(who *ids, args []string) error {
	if len(args) != 2 {
		return errors.New("want a program and a folder")
	}
	if who != nil {
		if err := who.take(); err != nil {
			return fmt.Errorf("become another user: %w", err)
		}
	}
	if args[1] != "" {
		if err := os.Chdir(args[1]); err != nil {
			return fmt.Errorf("its folder dir cannot be entered: %w", err)
		}
	}
	if err := unix.Faccessat(unix.AT_FDCWD, args[0], unix.X_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("its program %s may not be started: %w", args[0], err)
	}
	return nil
}

// enters says whether who may go through a folder, as far as its mode says.
func (who *systemUser) enters(folder os.FileInfo) bool {
	stat, ok := folder.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	mode := folder.Mode().Perm()
	switch {
	case int(stat.Uid) == who.ids.UID:
		return mode&0o100 != 0
	case int(stat.Gid) == who.ids.GID || slices.Contains(who.ids.Groups, int(stat.Gid)):
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}

// lower sets a limit, which may have been lower before; 0 leaves it.
func lower(resource int, n uint64) error {
	if n == 0 {
		return nil
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(resource, &old); err != nil {
		return err
	}
	n = min(n, old.Max)
	return syscall.Setrlimit(resource, &syscall.Rlimit{Cur: n, Max: n})
}
