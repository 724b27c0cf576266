package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// isFirst says whether this process is the first of a container and is to
// serve: then nobody else takes the ends of processes that lost their parents, and
// they would stay for ever.
func isFirst(args []string) bool { return os.Getpid() == 1 && slices.Contains(args, "serve") }

// first runs callgate, again, as a child, passes signals on to it, and takes the
// ends of all others; it returns the child's status. The child starts processes of
// its own and waits for each, which would not go together with taking any.
func first(args []string) (int, error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	child, err := os.StartProcess(exe, append([]string{exe}, args...), &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Setpgid: true}, // a terminal's signals reach it once
	})
	if err != nil {
		return 0, fmt.Errorf("start callgate: %w", err)
	}
	go func() {
		for s := range signals {
			_ = child.Signal(s)
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, err
		case pid == child.Pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		case pid == child.Pid:
			return status.ExitStatus(), nil
		}
	}
}
