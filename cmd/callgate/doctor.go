package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"callgate/cmd/callgate/internal/console"
	"callgate/firewall/policy"
	"callgate/mcp"

	"github.com/spf13/cobra"
)

// A symptom is what doctor says of one thing.
type symptom struct {
	Check  string `json:"check"`
	State  string `json:"state"` // ok, warning, failed, skipped
	Detail string `json:"detail,omitempty"`
}

const (
	fine    = "ok"
	warning = "warning"
	failed  = "failed"
	skipped = "skipped"
)

// A checkup is a run of doctor.
type checkup struct {
	OK       bool      `json:"ok"`
	Symptoms []symptom `json:"checks"`
}

func (c *checkup) say(check, state, format string, args ...any) {
	c.OK = c.OK && state != failed
	c.Symptoms = append(c.Symptoms, symptom{check, state, fmt.Sprintf(format, args...)})
}

func (p *program) doctor() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "doctor", Short: "check the set-up: files, rights, sandbox, servers, policy",
		Long: `Check the set-up: whether the configuration can be read, others can read the
data folder, processes can be shut in a sandbox, the MCP servers of the gate
that runs answer, and the policy means what it says. The exit status is 1 if a
check failed; warnings alone do not.`,
		Example: "  callgate doctor\n  callgate doctor -c /etc/callgate.yaml --json",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := p.examine(cmd.Context(), file)
			if err := p.report(c); err != nil {
				return err
			}
			if !c.OK {
				return errSaid
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration (default ./"+defaultConfig+" if it is there)")
	return p.withJSON(cmd)
}

func (p *program) report(c *checkup) error {
	if p.json {
		return p.printJSON(c)
	}
	rows := [][]string{{"CHECK", "STATE", "DETAIL"}}
	for _, f := range c.Symptoms {
		rows = append(rows, []string{f.Check, f.State, f.Detail})
	}
	return p.table(rows)
}

// examine looks at everything. It leaves all as it was.
func (p *program) examine(ctx context.Context, file string) *checkup {
	c := &checkup{OK: true}
	var over Overrides
	over.Data = p.data
	if over.Data == "" {
		over.Data, _ = p.env("CALLGATE_DATA")
	}
	cfg, _, err := readAll(file, over, p.env)
	var wrong Mistakes
	switch {
	case errors.As(err, &wrong):
		for _, m := range wrong {
			c.say("config", failed, "%s", m)
		}
	case err != nil:
		c.say("config", failed, "%v", err)
	default:
		c.say("config", fine, "%s", cmp.Or(cfg.file, "no file: all defaults"))
	}
	c.folder(string(cfg.Data))
	c.sandbox(ctx, &cfg)
	c.policy(&cfg)
	p.servers(ctx, c)
	p.identities(ctx, c, &cfg)
	return c
}

// folder looks at who can read what the gate keeps.
func (c *checkup) folder(dir string) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.say("data", skipped, "%s is not there yet; callgate serve makes it", dir)
		return
	case err != nil:
		c.say("data", failed, "%s: %s", dir, plain(err))
		return
	case !info.IsDir():
		c.say("data", failed, "%s is not a folder", dir)
		return
	}
	closed := info.Mode().Perm()&0o077 == 0
	if !closed {
		c.say("data", failed, "others can look into %s: chmod 700 %s", dir, dir)
	}
	for _, name := range [...]string{tokenFile, "keys", "ledger", "callgate.db"} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			c.say("data", failed, "%s: %s", path, plain(err))
		case !closed && info.Mode().Perm()&0o077 != 0:
			c.say("data", failed, "others can read %s: chmod go= %s", path, path)
		}
	}
	if f, err := os.CreateTemp(dir, "doctor-*"); err != nil {
		c.say("data", failed, "nothing can be written in %s: %s", dir, plain(err))
		return
	} else if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		c.say("data", failed, "%s: %s", dir, plain(err))
		return
	}
	if closed {
		c.say("data", fine, "%s is for its owner alone", dir)
	}
}

// sandbox makes one, and says whom it matters to if that does not work.
func (c *checkup) sandbox(ctx context.Context, cfg *Config) {
	err := mcp.TrySandbox(ctx)
	if err == nil {
		c.say("sandbox", fine, "bubblewrap makes one")
		return
	}
	state, whose := skipped, "no server asks for one"
	for _, name := range slices.Sorted(maps.Keys(cfg.MCP.Servers)) {
		switch mcp.Sandbox(cfg.MCP.Servers[name].Process.Sandbox) {
		case mcp.SandboxRequired:
			c.say("sandbox", failed, "server %s does not start without one: %v", name, err)
			return
		case mcp.SandboxAuto:
			state, whose = warning, "server "+name+" runs without one"
		}
	}
	c.say("sandbox", state, "%s; %v", whose, err)
}

func (c *checkup) policy(cfg *Config) {
	if len(cfg.Policy) == 0 {
		c.say("policy", warning, "no files: a gate without a policy denies everything")
		return
	}
	problems := policy.Check(cfg.sources()...)
	for _, x := range problems {
		c.say("policy", warning, "%s", x.String())
	}
	if len(problems) == 0 {
		c.say("policy", fine, "no warnings")
	}
}

// servers asks the gate that runs, if one does.
func (p *program) servers(ctx context.Context, c *checkup) {
	gate, err := p.client()
	if err != nil {
		c.say("gate", skipped, "%v", err)
		return
	}
	var servers []console.Server
	if err := gate.call(ctx, http.MethodGet, "/mcp/servers", nil, &servers); err != nil {
		c.say("gate", failed, "%v", err)
		return
	}
	c.say("gate", fine, "answers at %s", gate.base)
	for _, s := range servers {
		if s.State == "ready" {
			c.say("server "+s.Name, fine, "MCP %s, tools: %d", s.Version, len(s.Tools))
		} else {
			c.say("server "+s.Name, failed, "%s", s.Error)
		}
	}
}
