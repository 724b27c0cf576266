package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/user"
	"strconv"
	"strings"

	"callgate/cmd/callgate/internal/console"
	"callgate/firewall/policy"

	"github.com/spf13/cobra"
)

// rehearse makes the policy of files the candidate, if there are any.
func (h *house) rehearse(ctx context.Context, files []string) error {
	if len(files) == 0 {
		return nil
	}
	candidate, err := loadPolicy(files)
	if err != nil {
		return fmt.Errorf("--shadow: %w", err)
	}
	number, err := h.versions.Add(ctx, candidate, "system", "serve --shadow", false)
	if err == nil {
		err = h.versions.Do(ctx, policy.Act{What: policy.Rehearse, Version: number, By: "system"})
	}
	if errors.Is(err, policy.ErrInForce) { // it was the candidate already
		return nil
	}
	return err
}

// author is who a command says that it acts for.
type author struct{ by, comment string }

// flags adds those that say who acts, and why, to cmd.
func (a *author) flags(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&a.by, "as", "", "who does this: user:NAME (default: user: and your name on this machine)")
	cmd.Flags().StringVarP(&a.comment, "message", "m", "", "why, in a few words; goes on record")
	return cmd
}

// name is who acts.
func (a *author) name() string {
	by := a.by
	if by == "" {
		if me, err := user.Current(); err == nil {
			by = me.Username
		}
	}
	if !strings.Contains(by, ":") {
		by = "user:" + by
	}
	return by
}

func (p *program) policyVersions() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "versions", Short: "list the policies that were ever in force or sent in", Args: exactly(0, "no arguments"),
		Example: "  callgate policy versions",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodGet, "/policies", nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var list []console.PolicyVersion
			if err := json.Unmarshal(raw, &list); err != nil {
				return err
			}
			if len(list) == 0 {
				fmt.Fprintln(p.err, "No policy was in force yet: name one in callgate.yaml, or callgate policy apply FILE")
				return nil
			}
			rows := [][]string{{"VERSION", "", "DIGEST", "AUTHOR", "CREATED", "LAST ACTIVATED", "COMMENT"}}
			for _, v := range list {
				state, last := "", "never"
				if n := len(v.Activated); n > 0 {
					last = local(v.Activated[n-1].At) + " by " + v.Activated[n-1].By
				}
				switch {
				case v.Active:
					state = "in force"
				case v.Candidate:
					state = "candidate"
				}
				rows = append(rows, []string{strconv.FormatInt(v.Version, 10), state, v.Digest, v.Author, local(v.Created), last, v.Comment})
			}
			return p.table(rows)
		},
	})
}

func (p *program) policyShow() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "show VERSION", Short: "print the files of a version", Args: exactly(1, "a version"),
		Example: "  callgate policy show 3\n  callgate policy show 3 > policy.csv",
		RunE: func(cmd *cobra.Command, words []string) error {
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodGet, "/policies/"+words[0], nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var v console.PolicyVersion
			if err := json.Unmarshal(raw, &v); err != nil {
				return err
			}
			for _, f := range v.Files {
				if len(v.Files) > 1 {
					fmt.Fprintf(p.out, "# %s\n", f.Name)
				}
				fmt.Fprintln(p.out, strings.TrimSuffix(f.Text, "\n"))
			}
			return nil
		},
	})
}

func (p *program) policyApply() *cobra.Command {
	var who author
	var keep bool
	return p.withJSON(who.flags(flagged(&cobra.Command{
		Use:   "apply FILE…",
		Short: "send a policy to the gate and put it in force",
		Long: `Send a policy to the gate, which stores it for good and puts it in force, in the
place of the one of the configuration's files: until these change, or another one
is activated. A policy with a mistake changes nothing.`,
		Example: "  callgate policy apply policy.csv -m 'refunds up to 200'\n  callgate policy apply base.csv team.csv --no-activate",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{fmt.Errorf("want policy files (%s --help shows examples)", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, files []string) error {
			v, err := p.send(cmd, files, &who, !keep)
			if err != nil {
				return err
			}
			if p.json {
				return p.printJSON(v)
			}
			state := "is stored"
			if v.Active {
				state = "is in force"
			}
			_, err = fmt.Fprintf(p.out, "version %d (policy %s) %s\n", v.Version, v.Digest, state)
			return err
		},
	}, func(cmd *cobra.Command) {
		cmd.Flags().BoolVar(&keep, "no-activate", false, "store it only")
	})))
}

// flagged is cmd with flags of its own.
func flagged(cmd *cobra.Command, add func(*cobra.Command)) *cobra.Command {
	add(cmd)
	return cmd
}

// send sends a policy to the gate.
func (p *program) send(cmd *cobra.Command, files []string, who *author, activate bool) (console.PolicyVersion, error) {
	n := console.NewPolicy{Author: who.name(), Comment: who.comment, Activate: activate}
	var v console.PolicyVersion
	sources, err := readSources(files)
	if err != nil {
		return v, err
	}
	for _, s := range sources {
		n.Files = append(n.Files, console.PolicyFile{Name: s.Name, Text: string(s.Text)})
	}
	return v, p.ask(cmd, http.MethodPost, "/policies", n, &v)
}

// act asks the gate to do something with a version, and says what came of it.
func (p *program) act(cmd *cobra.Command, method, path string, who *author, done string) error {
	var v console.PolicyVersion
	if err := p.ask(cmd, method, "/policies/"+path, console.NewAct{By: who.name(), Comment: who.comment}, &v); err != nil {
		return err
	}
	if p.json {
		return p.printJSON(v)
	}
	_, err := fmt.Fprintf(p.out, "version %d (policy %s) %s\n", v.Version, v.Digest, done)
	return err
}

func (p *program) policyActivate() *cobra.Command {
	var who author
	return p.withJSON(who.flags(&cobra.Command{
		Use: "activate VERSION", Short: "put a version in force", Args: exactly(1, "a version"),
		Example: "  callgate policy activate 3 -m 'back to the rules of spring'",
		RunE: func(cmd *cobra.Command, words []string) error {
			return p.act(cmd, http.MethodPost, words[0]+"/activate", &who, "is in force")
		},
	}))
}

func (p *program) policyRollback() *cobra.Command {
	var who author
	return p.withJSON(who.flags(&cobra.Command{
		Use: "rollback", Short: "put the version in force that was so before the one that is", Args: exactly(0, "no arguments"),
		Example: "  callgate policy rollback -m 'agents were denied their work'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.act(cmd, http.MethodPost, "rollback", &who, "is in force")
		},
	}))
}

func (p *program) policyShadow() *cobra.Command {
	var who author
	var off bool
	return p.withJSON(who.flags(flagged(&cobra.Command{
		Use:   "shadow VERSION | FILE… | --off",
		Short: "ask a candidate about live calls, without effect",
		Long: `Ask a candidate about every call that the policy in force decides about. What it
says has no effect. Where it would have decided otherwise, that stands in the
call's record (callgate audit query --otherwise any), and callgate policy versions
and GET /api/v1/status say how often.`,
		Example: "  callgate policy shadow new.csv\n  callgate policy shadow 4\n  callgate policy shadow --off",
		Args: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 0) != off {
				return usageError{fmt.Errorf("want a version, policy files, or --off alone (%s --help shows examples)", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, words []string) error {
			if off {
				return p.act(cmd, http.MethodDelete, "shadow", &who, "is no candidate any more")
			}
			version := words[0]
			if _, err := strconv.ParseInt(version, 10, 64); err != nil || len(words) > 1 {
				v, err := p.send(cmd, words, &who, false)
				if err != nil {
					return err
				}
				version = strconv.FormatInt(v.Version, 10)
			}
			return p.act(cmd, http.MethodPost, version+"/shadow", &who, "is asked about every call, without effect")
		},
	}, func(cmd *cobra.Command) {
		cmd.Flags().BoolVar(&off, "off", false, "ask no candidate any more")
	})))
}
