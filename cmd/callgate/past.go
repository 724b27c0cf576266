package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"callgate/audit"
	"callgate/firewall"

	"github.com/spf13/cobra"
)

// A period is which calls of the record a command is about.
type period struct {
	since, until string
	agent        string
	from, to     time.Time
}

func (w *period) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.since, "since", "30d", "calls since then: 30d, 12h, or a time like 2026-11-23T09:00:00Z")
	cmd.Flags().StringVar(&w.until, "until", "", "calls before then (default: now)")
}

// settle reads the bounds, as seen at now.
func (w *period) settle(now time.Time) error {
	var err error
	if w.from, err = instant(w.since, now); err != nil {
		return usageError{fmt.Errorf("--since %w", err)}
	}
	w.to = now
	if w.until != "" {
		if w.to, err = instant(w.until, now); err != nil {
			return usageError{fmt.Errorf("--until %w", err)}
		}
	}
	if w.agent != "" && !strings.Contains(w.agent, ":") {
		w.agent = "agent:" + w.agent
	}
	return nil
}

// instant is a time, or so long before now.
func instant(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	text := s
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil {
			text = strconv.Itoa(24*n) + "h"
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return time.Time{}, fmt.Errorf("is %q: want 30d, 12h or a time like 2026-11-23T09:00:00Z", s)
	}
	return now.Add(-d), nil
}

// A gleaning is what was read of the record.
type gleaning struct {
	Records    int `json:"records"`            // of the period
	Other      int `json:"refused_otherwise"`  // calls that something else than the policy refused
	Unreadable int `json:"unreadable_records"` // which the ledger should have
}

// past calls each for every call of the period that a policy decided about, as the
// ledger in the data folder tells it.
func (p *program) past(w *period, each func(*firewall.Past)) (g gleaning, err error) {
	dir, _ := p.folder()
	dir = filepath.Join(dir, "ledger")
	if _, err := os.Stat(dir); err != nil {
		return g, fmt.Errorf("there is no ledger in %s: say where the gate's data is with --data", dir)
	}
	var past firewall.Past
	for e, err := range audit.Files(dir, w.from) {
		var lost *audit.Unreadable
		if errors.As(err, &lost) {
			g.Unreadable += int(lost.Last - lost.First + 1)
			fmt.Fprintln(p.err, "warning:", err)
			continue
		}
		if err != nil {
			return g, err
		}
		ok, other := past.Read(e.JSON)
		if at := past.Call.At; at.Before(w.from) || !at.Before(w.to) || w.agent != "" && past.Call.Caller.Agent() != w.agent {
			continue
		}
		g.Records++
		switch {
		case ok:
			each(&past)
		case other != "":
			g.Other++
		}
	}
	return g, nil
}
