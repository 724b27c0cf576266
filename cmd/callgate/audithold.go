package main

import (
	"fmt"
	"net/http"
	"time"

	"callgate/audit"
	"callgate/cmd/callgate/internal/console"

	"github.com/spf13/cobra"
)

func (p *program) auditHold() *cobra.Command {
	var n console.NewHold
	cmd := &cobra.Command{
		Use: "hold [RUN | agent:NAME | user:NAME]", Short: "keep what is on record of a run or an agent from being deleted; lists what is held",
		Long: `Keep what is on record of a run, or of all runs of an agent or user, from being
deleted: payloads from audit.keep and from callgate audit erase, records from
audit.retention. Without an argument it lists what is held. It is on record itself.`,
		Example: "  callgate audit hold agent:support-bot --why 'case 4711' --as user:ana\n  callgate audit hold",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return p.listHolds(cmd)
			}
			n.ID = args[0]
			var x audit.Hold
			if err := p.ask(cmd, http.MethodPost, "/holds", n, &x); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(x)
			}
			_, err := fmt.Fprintf(p.out, "%s is held: callgate audit release %s --why … ends that\n", x.ID, x.ID)
			return err
		},
	}
	cmd.Flags().StringVar(&n.Why, "why", "", "why, in a few words; goes on record")
	return p.withJSON(acting(cmd, &n.By))
}

func (p *program) listHolds(cmd *cobra.Command) error {
	var list []audit.Hold
	return p.answered(cmd, "/holds", &list, func() error {
		if len(list) == 0 {
			fmt.Fprintln(p.err, "Nothing is held.")
			return nil
		}
		rows := [][]string{{"HELD", "SINCE", "BY", "WHY"}}
		for _, x := range list {
			rows = append(rows, []string{x.ID, x.At.Local().Format(time.DateTime), x.By, x.Why})
		}
		return p.table(rows)
	})
}

func (p *program) auditRelease() *cobra.Command {
	var n console.NewHold
	cmd := &cobra.Command{
		Use: "release RUN | agent:NAME | user:NAME", Short: "end a legal hold",
		Long:    "End a legal hold: what it kept may be deleted again when its time has come, or when it is\nasked for. It is on record.",
		Example: "  callgate audit release agent:support-bot --why 'case 4711 is closed'",
		Args:    exactly(1, "what is held"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n.ID = args[0]
			var done map[string]string
			if err := p.ask(cmd, http.MethodDelete, "/holds", n, &done); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(done)
			}
			_, err := fmt.Fprintf(p.out, "%s is not held any more\n", n.ID)
			return err
		},
	}
	cmd.Flags().StringVar(&n.Why, "why", "", "why, in a few words; goes on record")
	return p.withJSON(acting(cmd, &n.By))
}
