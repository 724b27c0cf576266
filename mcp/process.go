package mcp

import (
	"bufio"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"time"

	"callgate/identity"
)

const (
	stopTime  = 2 * time.Second // that a process has for each invitation to end
	maxSaid   = 4 << 10         // bytes of a line of standard error that are logged
	maxLogged = 50              // lines a second
)

// process is a server's process, the leader of a group of its own, or the keeper
// that is, so that what it starts ends with it.
type process struct {
	cmd   *exec.Cmd
	leash *os.File // of the keeper; nil where there is none
	in    *os.File // its standard input
	out   *os.File // its standard output
	errs  *os.File
	gone  chan struct{} // closed when it has ended

	lines lineReader // of out

	held     map[string]identity.Secret // that it was started with, by variable
	outdated atomic.Pointer[time.Time]  // when one of them was first seen to have changed
}

// newProcess starts cfg.Command, within cfg.Confine. It gets few variables of
// callgate's own environment: nothing that could be a secret. boxes is whether this
// machine has made a sandbox like that of the server before.
func newProcess(ctx context.Context, cfg *ServerConfig, boxes *atomic.Bool) (_ *process, err error) {
	own := *cfg
	var held map[string]identity.Secret
	if own.Env, held, err = cfg.furnished(ctx); err != nil {
		return nil, err
	}
	cmd, boxed, err := own.command(ctx, boxes)
	if err != nil {
		return nil, err
	}
	var leash *os.File
	if keeps && !boxed {
		if cmd, leash, err = own.kept(cmd); err != nil {
			return nil, err
		}
	}
	p := &process{cmd: cmd, leash: leash, held: held, gone: make(chan struct{})}
	setGroup(p.cmd)
	theirs := cmd.ExtraFiles

	ours := []*os.File{leash}
	defer func() {
		closeAll(theirs...)
		if err != nil {
			closeAll(ours...)
		}
	}()
	pipe := func() (*os.File, *os.File) {
		if err != nil {
			return nil, nil
		}
		var r, w *os.File
		r, w, err = os.Pipe()
		return r, w
	}
	stdin, in := pipe()
	out, stdout := pipe()
	errs, stderr := pipe()
	theirs, ours = append(theirs, stdin, stdout, stderr), append(ours, in, out, errs)
	if err != nil {
		return nil, err
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, stdout, stderr
	p.in, p.out, p.errs = in, out, errs
	p.lines = lineReader{bufio.NewReaderSize(out, 64<<10), messageLimit(cfg.Limits)}
	if err = p.cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		_ = f.Close() // nothing to do where it is nil
	}
}

// environment is what a server's process is told of the machine.
func environment(more map[string]string) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "USER", "LANG", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			if _, own := more[name]; !own {
				env = append(env, name+"="+value)
			}
		}
	}
	for name, value := range more {
		env = append(env, name+"="+value)
	}
	return env
}

func (p *process) next() ([]byte, error) { return p.lines.next() }

// write writes a line. A process that does not take it in time is stuck, and half
// a message cannot be taken back.
func (p *process) write(msg []byte) error {
	_ = p.in.SetWriteDeadline(time.Now().Add(writeTime))
	_, err := p.in.Write(append(oneLine(msg), '\n'))
	return err
}

// kill ends all of it at once.
func (p *process) kill() {
	if p.leash == nil {
		kill(p.cmd)
		return
	}
	closeAll(p.leash) // the keeper kills, and knows whom
}

func (p *process) name() string { return "process " + strconv.Itoa(p.cmd.Process.Pid) }

// wait takes the process's end. What it has said until then is still read, but
// not what its children may say: they end, too.
func (p *process) wait() {
	_ = p.cmd.Wait()
	close(p.gone)
	last := time.Now().Add(time.Second)
	_ = p.out.SetReadDeadline(last)
	_ = p.errs.SetReadDeadline(last)
}

// stop ends the process: it closes its input, then asks, then kills, each time all
// of it; a keeper that does nothing of that is killed at last. It returns when the
// process has ended.
func (p *process) stop() {
	_ = p.in.Close()
	for _, insist := range []func(){func() { terminate(p.cmd) }, p.kill, func() { kill(p.cmd) }} {
		timer := time.NewTimer(stopTime)
		select {
		case <-p.gone:
		case <-timer.C:
			insist()
		}
		timer.Stop()
	}
	<-p.gone
	kill(p.cmd) // what the process left behind: its group outlives it
	closeAll(p.leash, p.out, p.errs)
}

// log passes on what the process says on standard error, within bounds.
func (p *process) log(logger *slog.Logger) {
	r := bufio.NewReaderSize(p.errs, maxSaid)
	var quiet limiter
	for {
		line, more, err := r.ReadLine()
		if err != nil {
			return
		}
		if quiet.allow(time.Now(), logger) {
			logger.Info("server said", "line", string(line))
		}
		for more && err == nil { // the rest of a long line
			_, more, err = r.ReadLine()
		}
	}
}

// A limiter bounds how many lines of a server are logged in a second.
type limiter struct {
	since   time.Time
	lines   int
	dropped int
}

// allow says whether one more may be logged, and logs how many were not.
func (l *limiter) allow(now time.Time, logger *slog.Logger) bool {
	if now.Sub(l.since) >= time.Second {
		if l.dropped > 0 {
			logger.Warn("server wrote more than is logged", "lines", l.dropped)
		}
		*l = limiter{since: now}
	}
	if l.lines++; l.lines > maxLogged {
		l.dropped++
		return false
	}
	return true
}
