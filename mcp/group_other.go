//go:build !unix

package mcp

import "os/exec"

// Systems without process groups end the process alone.

func setGroup(*exec.Cmd) {}

func terminate(cmd *exec.Cmd) { kill(cmd) }

func kill(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
