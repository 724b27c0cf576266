package main

import (
	"strconv"
	"strings"
	"time"

	"callgate/firewall"
	"callgate/firewall/policy"
	"callgate/providers"

	"github.com/goccy/go-yaml/ast"
)

// A Model is a name that agents use for several models, of which one answers.
type Model struct {
	Targets []ModelTarget `yaml:"targets"` // in the order in which they are tried
	Retries Least         `yaml:"retries"` // at each of them

	FallbackOn []Answer `yaml:"fallback_on"` // what of what they answer leads to the next one
	FirstToken Duration `yaml:"first_token"` // that each of them has to say something
	Hedge      Hedge    `yaml:"hedge"`       // another one that is asked while the first says nothing
	Cache      Duration `yaml:"cache"`       // for which replies are kept for the same request
}

// A Hedge is when a second target is asked while the first one says nothing.
type Hedge struct {
	After   Duration `yaml:"after"`
	Percent Percent  `yaml:"percent"` // of calls
	USD     Amount   `yaml:"usd"`     // in an hour
}

func (h *Hedge) check(r *reader, n ast.Node, key string) {
	if h.After == 0 && (h.Percent > 0 || h.USD.Given) {
		r.note(n, "%s: it needs after: how long the first target may say nothing", key)
	}
}

// A ModelTarget is one of them.
type ModelTarget struct {
	Model  string `yaml:"model"`  // provider/model
	Weight Least  `yaml:"weight"` // share of the runs that begin here
	When   When   `yaml:"when"`   // calls that it is for
}

// An Answer is what a target may answer: an HTTP status, or a word for it.
type Answer string

func (a *Answer) read(r *reader, n ast.Node, key string) {
	if v, number := n.(*ast.IntegerNode); number {
		*a = Answer(v.GetToken().Value)
		return
	}
	if text, ok := r.text(n, key); ok {
		*a = Answer(text)
	}
}

// A When is a condition in the words of policies.
type When struct {
	holds func(*firewall.Call) (bool, error)
}

func (w *When) read(r *reader, n ast.Node, key string) {
	text, ok := r.text(n, key)
	if !ok {
		return
	}
	var err error
	if w.holds, err = policy.NewWhen(text); err != nil {
		r.note(n, "%s: %v", key, err)
	}
}

const defaultRetries = 2

func (m *Model) check(r *reader, n ast.Node, key string) {
	if len(m.Targets) == 0 {
		r.note(n, "%s: a model needs targets: [{model: provider/name}]", key)
	}
	for i, t := range m.Targets {
		if provider, model, ok := strings.Cut(t.Model, "/"); !ok || provider == "" || model == "" {
			r.note(item(at(n, "targets"), i), "%s.targets[%d]: write model as provider/name", key, i)
		}
	}
}

// logical are the models of c that stand for others.
func (c *Config) logical() map[string]providers.Model {
	list := make(map[string]providers.Model, len(c.Models))
	for name, m := range c.Models {
		to := providers.Model{Retries: defaultRetries, FirstToken: time.Duration(m.FirstToken), Cache: time.Duration(m.Cache),
			Hedge: providers.Hedge{After: time.Duration(m.Hedge.After), Percent: float64(m.Hedge.Percent), Spend: firewall.MicroUSD(m.Hedge.USD.Value * 1e6)}}
		if m.Retries.Given {
			to.Retries = m.Retries.N
		}
		for _, a := range m.FallbackOn {
			to.FallbackOn = append(to.FallbackOn, string(a))
		}
		for _, t := range m.Targets {
			to.Targets = append(to.Targets, providers.Target{Model: t.Model, Weight: t.Weight.N, When: t.When.holds})
		}
		list[name] = to
	}
	return list
}

// A Least is a number from 0 on.
type Least struct {
	N     int
	Given bool
}

func (l *Least) read(r *reader, n ast.Node, key string) {
	v, err := strconv.Atoi(n.GetToken().Value)
	if _, whole := n.(*ast.IntegerNode); !whole || err != nil || v < 0 || v > maxCount {
		r.note(n, "%s: want a whole number from 0 to %d", key, maxCount)
		return
	}
	*l = Least{v, true}
}

// A Strictness is whether a request that can be translated only in part is refused.
type Strictness bool

func (s *Strictness) read(r *reader, n ast.Node, key string) {
	switch word, ok := r.text(n, key); {
	case !ok:
	case word == "strict" || word == "lossy":
		*s = word == "strict"
	default:
		r.note(n, "%s: want lossy or strict", key)
	}
}
