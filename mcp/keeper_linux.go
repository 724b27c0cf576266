package mcp

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keeps says whether there are keepers on this system.
const keeps = true

const (
	endTime  = stopTime * 3 / 4 // to end all that a server left behind, before the keeper itself is killed
	endPause = 5 * time.Millisecond
)

// keep runs argv and returns the status that it ended with, as shells tell it, when
// nothing is left of it.
func keep(argv []string) (int, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("take what the server leaves behind: %w", err)
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP) // they are for the server, which is in the same group
	leash := os.NewFile(leashFD, "leash")
	syscall.CloseOnExec(leashFD)
	child, err := os.StartProcess(argv[0], argv, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", argv[0], err)
	}
	_ = os.Stdin.Close() // whether the server has closed its own is to be seen
	_ = os.Stdout.Close()
	debug.FreeOSMemory() // what all of callgate takes at its start: the keeper needs none of it, and there is one for each server
	let := make(chan struct{})
	go func() {
		_, _ = leash.Read(make([]byte, 1)) // ends when callgate lets go, or is gone
		close(let)
	}()
	ended := make(chan int, 1)
	go func() { ended <- reap(child.Pid) }()
	for {
		select {
		case sig := <-signals:
			signalOthers(sig.(syscall.Signal))
		case <-let:
			return 128 + int(syscall.SIGKILL), endAll()
		case status := <-ended:
			return status, endAll()
		}
	}
}

// reap takes the ends of all children until that of main.
func reap(main int) int {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil: // the keeper's own end has taken it
			return 0
		case pid == main && status.Signaled():
			return 128 + int(status.Signal())
		case pid == main:
			return status.ExitStatus()
		}
	}
}

// signalOthers passes a signal on to what the server started and that went to
// another group: the kernel tells the others.
func signalOthers(sig syscall.Signal) {
	own := syscall.Getpgrp()
	for _, d := range descendants() {
		if d.group != own {
			d.signal(sig)
		}
	}
}

// endAll ends all descendants. They are stopped first, so that none can start
// another while the list is gone through.
func endAll() error {
	for deadline := time.Now().Add(endTime); ; {
		list := descendants()
		for _, d := range list {
			d.signal(syscall.SIGSTOP)
		}
		for _, d := range list {
			d.signal(syscall.SIGKILL)
		}
		for { // those that became children of the keeper when their parents ended
			var status syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
			if err == syscall.ECHILD {
				return nil
			}
			if pid <= 0 {
				break
			}
		}
		if time.Now().After(deadline) {
			return errors.New("processes that the server started do not end")
		}
		time.Sleep(endPause)
	}
}

// A descendant is a process that this one, or another descendant, started.
type descendant struct{ pid, parent, group int }

// signal sends d a signal, if its number is not another process's by now.
func (d descendant) signal(sig syscall.Signal) {
	fd, held := unix.PidfdOpen(d.pid, 0)
	if held == nil {
		defer unix.Close(fd)
	}
	now, err := processAt(d.pid)
	switch {
	case err != nil || now.parent != d.parent && now.parent != os.Getpid(): // its parent may have ended since
	case held == nil:
		_ = unix.PidfdSendSignal(fd, sig, nil, 0)
	default: // a system before Linux 5.3, or one that forbids it
		_ = syscall.Kill(d.pid, sig)
	}
}

// descendants is all of them, parents before their children.
func descendants() []descendant {
	entries, _ := os.ReadDir("/proc")
	children := make(map[int][]descendant)
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if d, err := processAt(pid); err == nil {
				children[d.parent] = append(children[d.parent], d)
			}
		}
	}
	list := slices.Clone(children[os.Getpid()])
	for i := 0; i < len(list); i++ {
		list = append(list, children[list[i].pid]...)
	}
	return list
}

// processAt reads who a process belongs to: "pid (name) state parent group …", where
// the name may hold anything.
func processAt(pid int) (descendant, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return descendant{}, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 3 {
		return descendant{}, errors.New("not as proc(5) says")
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return descendant{}, err
	}
	group, err := strconv.Atoi(string(fields[2]))
	return descendant{pid, parent, group}, err
}
