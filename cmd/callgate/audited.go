package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"

	"github.com/goccy/go-yaml/ast"
)

// Audit says what is kept on record, and for how long.
type Audit struct {
	Durability  string     `yaml:"durability" restart:"yes"`  // strict, or window
	Window      Duration   `yaml:"window" restart:"yes"`      // that the records of what only reads may be lost of, with the power; 0: none
	Payloads    Keep       `yaml:"payloads"`                  // how much is kept of prompts, arguments and replies
	Rules       []KeepRule `yaml:"rules"`                     // where it is otherwise; the first that fits
	Keep        Duration   `yaml:"keep" restart:"yes"`        // for how long payloads are
	Export      []Export   `yaml:"export"`                    // where else the record is told
	Checkpoints Folder     `yaml:"checkpoints" restart:"yes"` // a second place for what is signed; none: ""
	Retention   Duration   `yaml:"retention"`                 // for how long the ledger's records are; 0: for ever
}

const defaultWindow = 20 * time.Millisecond

func (a *Audit) check(r *reader, n ast.Node, key string) {
	names := make(map[string]bool)
	for _, e := range a.Export {
		if names[e.Name] {
			r.note(at(n, "export"), "%s.export: two have the name %s", key, e.Name)
		}
		names[e.Name] = true
	}
	switch {
	case a.Durability == "window" && a.Window == 0:
		a.Window = Duration(defaultWindow)
	case a.Durability == "strict" && a.Window > 0:
		r.note(at(n, "window"), "%s.window: durability is strict, so that nothing may be lost; take one of them out", key)
	case a.Durability != "" && a.Durability != "strict" && a.Durability != "window":
		r.note(at(n, "durability"), "%s.durability: %q; write strict or window", key, a.Durability)
	case a.Window > Duration(maxWindow):
		r.note(at(n, "window"), "%s.window: want at most %s", key, maxWindow)
	}
}

const maxWindow = time.Second

// A KeepRule says of which calls more or less is kept.
type KeepRule struct {
	Agent    string  `yaml:"agent"`  // agent:NAME, may end in *
	Object   string  `yaml:"object"` // as in the policy, may end in *
	Payloads Keep    `yaml:"payloads"`
	Sample   Percent `yaml:"sample"` // of the runs
}

// Keep is how much of what passes is kept; see [firewall.Keep].
type Keep string

func (k *Keep) read(r *reader, n ast.Node, key string) {
	s, ok := r.text(n, key)
	if !ok {
		return
	}
	if _, known := firewall.ParseKeep(s); !known {
		r.note(n, "%s: %q; write full, redacted, digests or none", key, s)
		return
	}
	*k = Keep(s)
}

// A Percent is more than 0 and at most 100; 0 stands for 100.
type Percent float64

func (p *Percent) read(r *reader, n ast.Node, key string) {
	var a Amount
	a.read(r, n, key)
	if v := a.Value; a.Given {
		if v <= 0 || v > 100 {
			r.note(n, "%s: want a part of 100, as 10 or 0.5", key)
			return
		}
		*p = Percent(v)
	}
}

// rules are the config's for the gate.
func (a *Audit) rules() []firewall.KeepRule {
	var rules []firewall.KeepRule
	for _, r := range a.Rules {
		how, _ := firewall.ParseKeep(string(r.Payloads))
		rules = append(rules, firewall.KeepRule{Agent: r.Agent, Object: r.Object, Keep: how, Percent: float64(r.Sample)})
	}
	how, _ := firewall.ParseKeep(string(a.Payloads))
	return append(rules, firewall.KeepRule{Keep: how})
}

// masterFile has the key that the keys of runs are sealed with, itself sealed.
const masterFile = "master"

// openPayloads opens the payloads in dir, by the master key that is there; it is made
// with the folder.
func openPayloads(dir string, seal *identity.Seal, keep time.Duration, held func([]string) ([]string, error), log *slog.Logger) (*audit.Payloads, error) {
	master, err := masterKey(dir, seal)
	if err != nil {
		return nil, err
	}
	return audit.OpenPayloads(dir, audit.PayloadConfig{Master: master, Keep: keep, Held: held, Logger: log})
}

func masterKey(dir string, seal *identity.Seal) (key [32]byte, err error) {
	file := filepath.Join(dir, masterFile)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if packs, _ := filepath.Glob(filepath.Join(dir, "*.pack")); len(packs) > 0 {
			return key, fmt.Errorf("%s is not there, so payloads in %s cannot be read: put it back, or move the folder away to begin anew", file, dir)
		}
		_, _ = rand.Read(key[:])
		sealed, err := seal.Close(masterFile, identity.NewSecret(base64.StdEncoding.EncodeToString(key[:])))
		if err == nil {
			err = os.MkdirAll(dir, 0o700)
		}
		if err == nil {
			err = writeFile(file, sealed+"\n")
		}
		return key, err
	}
	if err != nil {
		return key, fmt.Errorf("read the key of payloads: %w", err)
	}
	plain, err := seal.Open(masterFile, strings.TrimSpace(string(text)))
	if err != nil {
		return key, fmt.Errorf("%s: %w", file, err)
	}
	raw, err := base64.StdEncoding.DecodeString(plain.Reveal())
	if err != nil || len(raw) != len(key) {
		return key, fmt.Errorf("%s: it holds no key", file)
	}
	copy(key[:], raw)
	return key, nil
}

// copyOf is the file in the second place that has the checkpoints of l, "" if there is none.
func (a *Audit) copyOf(l *audit.Ledger) string {
	if a.Checkpoints == "" {
		return ""
	}
	return filepath.Join(string(a.Checkpoints), strings.TrimPrefix(l.Origin(), "callgate/")+".checkpoints")
}
