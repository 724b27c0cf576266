package mcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

const tryTime = 5 * time.Second // for each part of Try

// An Obstacle is something that keeps a server's process from starting, or from
// being what the operator wants.
type Obstacle struct {
	Grave bool   // it does not start
	What  string // it is, in words
	Mend  string // what to do about it
}

// Try finds out, without starting the server, whether its process could be started
// as c says: by its user, in its working directory, in its sandbox. c must be right
// by [ServerConfig.Check]. A server with a URL has no process.
func (c ServerConfig) Try(ctx context.Context) []Obstacle {
	if len(c.Command) == 0 {
		return nil
	}
	who, err := accountOf(c.Confine.User)
	if err != nil {
		return []Obstacle{{true, err.Error(), "write another process.user, or run callgate as root"}}
	}
	program := c.Command[0]
	if filepath.Base(program) != program && !filepath.IsAbs(program) && c.Confine.none() {
		program = filepath.Join(c.Dir, program)
	}
	if program, err = exec.LookPath(program); err != nil {
		return []Obstacle{{true, fmt.Sprintf("its program cannot be started: %v", err), "install it, or write where it is in command; PATH is that of callgate"}}
	}
	if program, err = filepath.Abs(program); err != nil {
		return []Obstacle{{true, err.Error(), "start callgate in a folder that is there"}}
	}
	var list []Obstacle
	if confinable() == nil {
		cmd, err := c.help(limits{Look: true, User: who.idsOf()}, []string{program, c.Dir})
		if err == nil {
			err = succeeds(ctx, cmd)
		}
		if err != nil {
			mend := "write a dir that is there, and a program that may be started"
			if who != nil {
				mend = fmt.Sprintf("let %s enter the folders on the way and start the program (ls -ld shows who may), or write another process.user", who.name)
			}
			list = append(list, Obstacle{true, err.Error(), mend})
		}
	}
	if !c.Confine.Sandbox.off() {
		list = append(list, c.tryBox(ctx, who, program)...)
	}
	return list
}

// tryBox makes the server's own sandbox, with nothing in it.
func (c *ServerConfig) tryBox(ctx context.Context, who *systemUser, program string) []Obstacle {
	if err := c.trySandbox(ctx, who); err != nil {
		if c.Confine.Sandbox == SandboxRequired || c.Confine.asks() != "" {
			return []Obstacle{{true, err.Error(), "let callgate make sandboxes, or do without and without what only they keep"}}
		}
		return []Obstacle{{false, "it runs without a sandbox: " + err.Error(), "let callgate make sandboxes, or write sandbox: off"}}
	}
	box, err := c.sandbox([]string{program}, who)
	if err != nil {
		return []Obstacle{{true, err.Error(), "make it, or take it out of process"}}
	}
	argv := append(slices.Clone(box.argv[:slices.Index(box.argv, "--")+1]), "true")
	bare := ServerConfig{Helper: c.Helper}
	cmd, err := bare.helped(who, true, argv)
	if err == nil {
		cmd.Dir = "/"
		err = succeeds(ctx, cmd)
	}
	if err != nil {
		return []Obstacle{{true, "its sandbox cannot be made: " + err.Error(), "see that its user may read what process names, and that dir is there"}}
	}
	if from := c.withheld(program, who); from != "" {
		return []Obstacle{{false, fmt.Sprintf("its program is in %s, of which the sandbox shows the program alone: what it needs beside it is not there", from), "name the folder where it is installed in process.readable"}}
	}
	return nil
}

// succeeds runs cmd, which says on standard error what is wrong.
func succeeds(ctx context.Context, cmd *exec.Cmd) error {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	run := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	run.Dir, run.Env, run.WaitDelay = cmd.Dir, environment(nil), time.Second
	said, err := run.CombinedOutput()
	if err == nil {
		return nil
	}
	said = bytes.TrimPrefix(bytes.TrimSpace(said[:min(len(said), 512)]), []byte("callgate: "))
	if len(said) == 0 {
		return err
	}
	return errors.New(string(said))
}
