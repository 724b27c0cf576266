// Command callgate stands between AI agents and what they act on: their models
// and their MCP tool servers. serve runs the gate; the other commands ask a gate
// that runs, or read its files.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"callgate/mcp"

	"github.com/spf13/cobra"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == mcp.ConfineWord { // not a command: package mcp starts callgate so
		fmt.Fprintf(os.Stderr, "callgate: %v\n", mcp.Confine(os.Args[2:]))
		os.Exit(1)
	}
	if isFirst(os.Args[1:]) {
		status, err := first(os.Args[1:])
		if err != nil {
			fmt.Fprintf(os.Stderr, "callgate: %v\n", err)
			status = 1
		}
		os.Exit(status)
	}
	p := &program{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.LookupEnv}
	os.Exit(p.run(context.Background(), os.Args[1:]))
}

// A program is one run of the command line.
type program struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) (string, bool)
	data     string // --data
	json     bool   // --json
}

// run carries out args and returns the exit status: 0 done, 1 not done, 2 not understood.
func (p *program) run(ctx context.Context, args []string) int {
	root := p.root()
	root.SetArgs(args)
	root.SetOut(p.out)
	root.SetErr(p.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var u usageError
	var wrong Mistakes
	switch {
	case errors.As(err, &u):
		fmt.Fprintf(p.err, "callgate: %v\n", err)
		return 2
	case errors.As(err, &wrong):
		fmt.Fprintf(p.err, "%v\ncallgate: mistakes: %d; nothing was started\n", wrong, len(wrong))
	case !errors.Is(err, errSaid):
		fmt.Fprintf(p.err, "callgate: %v\n", err)
	}
	return 1
}

// errSaid is the error of a command that has said all there is to say.
var errSaid = errors.New("said")

// A usageError is a command line that makes no sense.
type usageError struct{ error }

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "callgate",
		Short: "a gate between AI agents and their models and tools",
		Long: `callgate stands between AI agents and what they act on: their models (OpenAI,
Anthropic…) and their tools (MCP servers). Each agent has an identity of its
own, every call is decided by your policy, read by guards, and put on record.

Begin here:
  callgate demo                        see all of it at work, with nothing to set up
  callgate serve                       run a gate with safe defaults: it denies everything
  callgate agent create bot --role dev register an agent
  callgate audit tail -f               watch what happens`,
		SilenceErrors: true, SilenceUsage: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				hint := ""
				if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
					hint = "; did you mean " + near[0] + "?"
				}
				return usageError{fmt.Errorf("there is no command %q%s (callgate --help lists them)", args[0], hint)}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SuggestionsMinimumDistance = 2
	root.PersistentFlags().StringVar(&p.data, "data", "", "folder of the gate's ledger, keys and admin token (env CALLGATE_DATA; default ./"+defaultData+")")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (%s --help tells more)", err, cmd.CommandPath())}
	})
	root.AddCommand(p.serve(), p.demo(), p.agent(), p.user(), p.token(), p.secret(), p.stop(), p.revoke(), p.restore(), p.keys(), p.policy(), p.approvals(), p.audit(), p.mcp(), p.providers(), p.doctor(), p.reload(), p.version())
	return root
}

// folder is the data folder, and whether a flag named it.
func (p *program) folder() (string, bool) {
	if p.data != "" {
		return p.data, true
	}
	if dir, ok := p.env("CALLGATE_DATA"); ok && dir != "" {
		return dir, false
	}
	return defaultData, false
}

// exactly is a rule for arguments that tells what they are.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("want %s (%s --help shows examples)", what, cmd.CommandPath())}
		}
		return nil
	}
}

// withJSON gives cmd the --json flag.
func (p *program) withJSON(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&p.json, "json", false, "print JSON")
	return cmd
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("there is no command %q (%s --help lists them)", cmd.Name()+" "+args[0], cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}
