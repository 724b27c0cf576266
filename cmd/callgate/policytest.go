package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"callgate/firewall/policy"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/spf13/cobra"
)

// A Table is what callgate policy test reads: a policy, and what it must answer.
type Table struct {
	Policy []string   `yaml:"policy"`
	Tests  []TestCase `yaml:"tests"`
}

// A TestCase is one call and the answer that is wanted.
type TestCase struct {
	Name   string   `yaml:"name"`
	Who    string   `yaml:"who"`
	Roles  []string `yaml:"roles"`
	For    string   `yaml:"for"`
	What   string   `yaml:"what"`
	Action string   `yaml:"action"`
	Args   document `yaml:"args"`
	Hints  []string `yaml:"hints"`
	Labels []string `yaml:"labels"`
	Env    document `yaml:"env"`
	At     moment   `yaml:"at"`
	Want   string   `yaml:"want"`
	Rule   string   `yaml:"rule"`

	place ast.Node
}

func (c *TestCase) check(r *reader, n ast.Node, key string) {
	c.place = n
	switch {
	case c.Want != "allow" && c.Want != "ask" && c.Want != "deny":
		r.note(at(n, "want"), "%s: want is %q: write allow, ask or deny", key, c.Want)
	case len(c.Env) > 0 && c.env() == nil:
		r.note(at(n, "env"), "%s: env: want names and values: {session.calls: 3}", key)
	default:
		if _, err := c.question().call(); err != nil {
			r.note(n, "%s: %v", key, err)
		}
	}
}

func (c *TestCase) question() *Question {
	q := &Question{Who: c.Who, Roles: c.Roles, For: c.For, What: c.What, Action: c.Action, Args: json.RawMessage(c.Args), Hints: c.Hints, Labels: c.Labels, Env: c.env(), At: time.Time(c.At)}
	if q.At.IsZero() {
		q.At = time.Now()
	}
	return q
}

// env is what stands behind the key env, nil if that is no names and values.
func (c *TestCase) env() map[string]any {
	var env map[string]any
	if json.Unmarshal(c.Env, &env) != nil {
		return nil
	}
	return env
}

// A document is any YAML value, as JSON.
type document json.RawMessage

func (d *document) read(r *reader, n ast.Node, key string) {
	var v any
	err := yaml.NodeToValue(n, &v)
	if err == nil {
		*d, err = json.Marshal(v)
	}
	if err != nil {
		r.note(n, "%s: not a value that JSON has: %v", key, err)
	}
}

// A moment is a time in RFC 3339.
type moment time.Time

func (m *moment) read(r *reader, n ast.Node, key string) {
	s, ok := r.text(n, key)
	if !ok {
		return
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		r.note(n, "%s: want a time like \"2026-11-23T09:00:00Z\"", key)
	}
	*m = moment(t)
}

// A verdict is what came of one test.
type verdict struct {
	Name   string `json:"name"`
	Line   int    `json:"line"`
	Pass   bool   `json:"pass"`
	Want   string `json:"want"`
	Got    string `json:"got"`
	Rule   string `json:"rule"`
	Reason string `json:"reason,omitempty"`
}

func (p *program) policyTest() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use:   "test TABLE.yaml",
		Short: "hold a policy to a table of calls and answers; needs no gate",
		Long: `Hold a policy to a table of calls and the answers that are wanted. The exit status
is 1 if an answer is another. A table:

  policy: [policy.csv]           # relative to the table
  tests:
    - name: small refunds pass
      who: agent:bot
      roles: [support]           # that it is registered with
      what: tool:shop/refund
      args: {amount: 40}
      hints: [destructive]       # optional: what a trusted server says of the tool
      labels: [untrusted]        # optional: what the run has read
      env: {session.calls: 3}    # optional: tokens, cost, session.calls, session.cost, priced, net.ip, bound, approved, orphan, loop
      want: allow                # allow, ask or deny
      rule: T1                   # optional: the row that decides
    - {who: agent:bot, for: user:ana, what: model:openai/gpt-5, at: "2026-11-23T09:00:00Z", want: deny}`,
		Example: "  callgate policy test policy_test.yaml",
		Args:    exactly(1, "a table"),
		RunE: func(_ *cobra.Command, words []string) error {
			table, err := readTable(words[0])
			if err != nil {
				return err
			}
			law, err := loadPolicy(table.Policy)
			if err != nil {
				return err
			}
			var all []verdict
			failed := 0
			for i := range table.Tests {
				v := table.Tests[i].verdict(law, i)
				if !v.Pass {
					failed++
				}
				all = append(all, v)
			}
			if err := p.printVerdicts(words[0], all, failed); err != nil {
				return err
			}
			if failed > 0 {
				return errSaid
			}
			return nil
		},
	})
}

func readTable(file string) (*Table, error) {
	text, err := readFile(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %s", file, plain(err))
	}
	var t Table
	r := &reader{file: file, dir: filepath.Dir(file)}
	n := r.document(text, &t)
	if n != nil && len(t.Policy) == 0 {
		r.note(n, "policy: name the files of the policy to test")
	}
	if len(t.Tests) == 0 && len(r.mistakes) == 0 {
		r.mistakes = append(r.mistakes, Mistake{File: file, Text: "no tests: a table that tests nothing would always pass"})
	}
	if len(r.mistakes) > 0 {
		return nil, r.mistakes.sorted()
	}
	for i := range t.Policy {
		t.Policy[i] = r.path(t.Policy[i])
	}
	return &t, nil
}

func (c *TestCase) verdict(law *policy.Policy, i int) verdict {
	v := verdict{Name: c.Name, Want: c.Want}
	if v.Name == "" {
		v.Name = fmt.Sprintf("%d: %s %s", i+1, c.Who, c.What)
	}
	if t := c.place.GetToken(); t != nil && t.Position != nil {
		v.Line = t.Position.Line
	}
	call, err := c.question().call() // which check has made already
	if err != nil {
		v.Reason = err.Error()
		return v
	}
	d := law.Decide(call)
	v.Got, v.Rule, v.Reason = d.Effect.String(), d.Rule, d.Reason
	v.Pass = v.Got == c.Want && (c.Rule == "" || c.Rule == d.Rule)
	if c.Rule != "" {
		v.Want += " by " + c.Rule
	}
	return v
}

func (p *program) printVerdicts(file string, all []verdict, failed int) error {
	if p.json {
		return p.printJSON(all)
	}
	for _, v := range all {
		if v.Pass {
			continue
		}
		got := v.Got
		if v.Rule != "" {
			got += " by " + v.Rule
		}
		if v.Reason != "" {
			got += ": " + v.Reason
		}
		fmt.Fprintf(p.out, "%s:%d: %s: %s\n  want %s\n  got  %s\n", file, v.Line, p.colour(red, "FAIL"), tame(v.Name), v.Want, tame(got))
	}
	if failed > 0 {
		_, err := fmt.Fprintf(p.out, "%d of %d tests failed\n", failed, len(all))
		return err
	}
	_, err := fmt.Fprintf(p.out, "%s: %d tests\n", p.colour(green, "ok"), len(all))
	return err
}
