package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// A symptom is what a check says of one thing.
type symptom struct {
	Check string `json:"check"`
	State string `json:"state"`          // ok, warning, failed, skipped
	What  string `json:"what"`           // was found
	Why   string `json:"why,omitempty"`  // it matters
	Mend  string `json:"mend,omitempty"` // what to do about it
}

// States of symptoms.
const (
	fine    = "ok"
	warning = "warning"
	failed  = "failed"
	skipped = "skipped"
)

// A patient is the set-up that checks look at. They leave it as it is.
type patient struct {
	cfg     Config
	wrong   error   // with cfg, which is then as far as it could be read
	gate    *client // that runs, nil where none does
	absent  error   // why gate is nil
	now     time.Time
	program *program
}

// A check looks at one side of a set-up.
type check struct {
	name    string // of its symptoms, unless they have one of their own
	examine func(context.Context, *patient) []symptom
}

// checks are all of them, in the order of the report.
func checks() []check {
	return []check{
		{"config", checkConfig},
		{"files", checkFiles},
		{"data", checkData},
		{"clock", checkClock},
		{"doors", checkDoors},
		{"sandbox", checkSandbox},
		{"process", checkProcesses},
		{"policy", checkPolicy},
		{"gate", checkGate},
		{"nhi", checkIdentities},
	}
}

// A checkup is a run of doctor.
type checkup struct {
	OK       bool      `json:"ok"` // nothing failed
	Symptoms []symptom `json:"checks"`
}

func (p *program) doctor() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "doctor", Short: "check the set-up: files, rights, clock, doors, sandbox, servers, policy",
		Long: `Check the set-up: whether the configuration can be read and holds no secrets,
who can read and change its files and the data folder, the clock, the addresses to
listen on, whether each MCP server's program can be started by its user and in its
sandbox, whether the policy means what it says and is about what there is, and
what the servers of the gate that runs answer. Each finding says what it is, why it
matters and what to do. The exit status is 1 if something failed; warnings alone do
not.`,
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
		rows = append(rows, []string{f.Check, f.State, f.What})
		if f.Why != "" {
			rows = append(rows, []string{"", "", "  why: " + f.Why})
		}
		if f.Mend != "" {
			rows = append(rows, []string{"", "", "  mend: " + f.Mend})
		}
	}
	return p.table(rows)
}

// examine looks at everything.
func (p *program) examine(ctx context.Context, file string) *checkup {
	var over Overrides
	over.Data = p.data
	if over.Data == "" {
		over.Data, _ = p.env("CALLGATE_DATA")
	}
	x := &patient{program: p, now: time.Now()}
	x.cfg, _, x.wrong = readAll(file, over, p.env)
	x.gate, x.absent = p.client()
	c := &checkup{OK: true}
	for _, check := range checks() {
		for _, f := range check.examine(ctx, x) {
			f.Check = cmp.Or(f.Check, check.name)
			c.OK = c.OK && f.State != failed
			c.Symptoms = append(c.Symptoms, f)
		}
	}
	return c
}

// well is the only symptom of a check that found nothing.
func well(list []symptom, format string, args ...any) []symptom {
	if len(list) == 0 {
		return []symptom{{State: fine, What: fmt.Sprintf(format, args...)}}
	}
	return list
}

func checkConfig(_ context.Context, x *patient) []symptom {
	var wrong Mistakes
	if x.wrong == nil {
		return well(nil, "%s", cmp.Or(x.cfg.file, "no file: all defaults"))
	}
	if !errors.As(x.wrong, &wrong) {
		wrong = Mistakes{{Text: x.wrong.Error()}}
	}
	var list []symptom
	for _, m := range wrong {
		list = append(list, symptom{State: failed, What: m.String(), Why: "a gate does not start, or reload, with a mistake"})
	}
	return list
}
