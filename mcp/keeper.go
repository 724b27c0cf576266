package mcp

import (
	"os"
	"os/exec"
	"path/filepath"
)

// A keeper stands between callgate and a server's process, so that nothing the
// server starts outlives it, whatever session or group it went to: it is the
// helper of [Confine] in another role. What the server leaves behind becomes a
// child of the keeper. When the server has ended, or callgate has let go of the
// leash, the keeper ends all that is left and then itself. A leash is a pipe that
// nothing is ever written to: the system lets go of it when callgate dies.
//
// A sandbox needs none: its processes end with it.

// leashFD is where the keeper finds its end of the leash.
const leashFD = 3

// kept is cmd with a keeper before it, and callgate's end of the leash.
func (c *ServerConfig) kept(cmd *exec.Cmd) (*exec.Cmd, *os.File, error) {
	program := cmd.Path
	if !filepath.IsAbs(program) {
		program = filepath.Join(cmd.Dir, program)
	}
	if _, err := exec.LookPath(program); cmd.Err == nil && err != nil {
		cmd.Err = err
	}
	if cmd.Err != nil {
		return nil, nil, cmd.Err
	}
	keeper, err := c.help(limits{Keep: true}, append([]string{cmd.Path}, cmd.Args[1:]...))
	if err != nil {
		return nil, nil, err
	}
	theirs, leash, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	keeper.Dir, keeper.Env, keeper.ExtraFiles = cmd.Dir, cmd.Env, []*os.File{theirs}
	return keeper, leash, nil
}
