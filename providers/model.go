package providers

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"callgate/firewall"
)

// A Model is a name that agents use for several models, of which one answers.
type Model struct {
	Targets []Target // in the order in which they are tried, but for weights
	Retries int      // at each target, of what may well pass; 0 is none

	FallbackOn []string      // of what a target answers, what another one is asked after: HTTP statuses, [ContextLength], [ContentFilter], [Quota]; nil: what docs/models.md says
	FirstToken time.Duration // that a target has to say something, before another one is asked; 0: as long as the provider may take

	Hedge Hedge // a second target that is asked too

	Cache time.Duration // for which replies are kept for the same request; 0: as long as the provider says

	hedging *hedging
}

// A Target is one of the models that a [Model] stands for.
type Target struct {
	Model  string // provider/model
	Weight int    // share of runs that begin here; where none has any, the first one is the first

	When func(*firewall.Call) (bool, error) // calls that it is for; nil: all
}

// What a target may answer, beside HTTP statuses, that [Model.FallbackOn] names.
const (
	ContextLength = "context_length" // the prompt is too long for the model
	ContentFilter = "content_filter" // the provider's content policy does not take it
	Quota         = "quota"          // callgate's account there has no money left
)

const (
	maxTargets = 32
	maxRetries = 10
	maxWeight  = 1_000_000
)

// check says what is wrong with m, all of it.
func (m *Model) check(name string, behind *catalog) error {
	var wrong []error
	switch {
	case name == "" || strings.ContainsAny(name, "/ ") || len(name) > maxModel:
		wrong = append(wrong, fmt.Errorf("model %q: a name has no / and no spaces, and at most %d bytes", clip(name), maxModel))
	case len(m.Targets) == 0 || len(m.Targets) > maxTargets:
		wrong = append(wrong, fmt.Errorf("model %s: want 1 to %d targets", name, maxTargets))
	case m.Hedge.After < 0 || m.Hedge.Percent < 0 || m.Hedge.Percent > 100 || m.Hedge.Spend < 0:
		wrong = append(wrong, fmt.Errorf("model %s: hedge: want a time, 0 to 100 percent and no negative amount", name))
	case m.Retries < 0 || m.Retries > maxRetries:
		wrong = append(wrong, fmt.Errorf("model %s: retries: want 0 to %d", name, maxRetries))
	}
	for _, what := range m.FallbackOn {
		if status, err := strconv.Atoi(what); what != ContextLength && what != ContentFilter && what != Quota && (err != nil || status < 400 || status > 599) {
			wrong = append(wrong, fmt.Errorf("model %s: fallback_on: %q: want an HTTP status from 400 to 599, %s, %s or %s", name, clip(what), ContextLength, ContentFilter, Quota))
		}
	}
	for _, t := range m.Targets {
		provider, model, ok := strings.Cut(t.Model, "/")
		switch {
		case !ok || model == "":
			wrong = append(wrong, fmt.Errorf("model %s: target %q: write it as provider/model", name, clip(t.Model)))
		case behind.byName[provider] == nil:
			wrong = append(wrong, fmt.Errorf("model %s: target %q: there is no provider %s", name, clip(t.Model), clip(provider)))
		case t.Weight < 0 || t.Weight > maxWeight:
			wrong = append(wrong, fmt.Errorf("model %s: target %q: weight: want 0 to %d", name, clip(t.Model), maxWeight))
		}
	}
	return errors.Join(wrong...)
}

// logical checks the names of models that stand for others.
func (c *catalog) logical(models map[string]Model) error {
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(models)) {
		m := models[name]
		if err := m.check(name, c); err != nil {
			wrong = append(wrong, err)
		}
	}
	for name, m := range models {
		m.hedging = &hedging{left: 1}
		m.Hedge.Percent = cmp.Or(m.Hedge.Percent, defaultPercent)
		models[name] = m
	}
	c.models = models
	return errors.Join(wrong...)
}

// runSeed makes the order of targets this process's own: nobody can choose a run's
// name by where it leads.
var runSeed = maphash.MakeSeed()

// order is the targets of m in the order in which they are tried for a run. Weights say
// how likely each is the first one; a run keeps its own, so that what the provider has
// cached for it is of use, and so do most runs when targets come and go (weighted
// rendezvous hashing).
func (m *Model) order(run string) []Target {
	if !slices.ContainsFunc(m.Targets, func(t Target) bool { return t.Weight > 0 }) {
		return m.Targets
	}
	list := slices.Clone(m.Targets)
	score := func(t Target) float64 {
		if t.Weight == 0 {
			return math.Inf(1)
		}
		var h maphash.Hash
		h.SetSeed(runSeed)
		h.WriteString(run + "\x00" + t.Model)
		return -math.Log((float64(h.Sum64()>>11)+0.5)/(1<<53)) / float64(t.Weight)
	}
	slices.SortStableFunc(list, func(a, b Target) int { return cmp.Compare(score(a), score(b)) })
	return list
}

// stickyTo is what the calls of one run have in common, as far as it is known before
// they are attributed to it.
func stickyTo(call *firewall.Call) string {
	return cmp.Or(call.Caller.Run, call.Hints.Run, call.Hints.Session, call.Caller.Txn, call.Caller.Agent())
}

// ways are the routes of a call that names m, the first one first.
func (c *catalog) ways(m *Model, call *firewall.Call, at endpoint, said *request, now time.Time) ([]firewall.Route, error) {
	var ways []firewall.Route
	var wrong error
	for _, t := range m.order(stickyTo(call)) {
		provider, model, _ := strings.Cut(t.Model, "/")
		to := c.byName[provider]
		if err := to.serves(at); err != nil {
			wrong = err
			continue
		}
		if !to.keys.serve(model) {
			wrong = to.keyless(model)
			continue
		}
		price := to.price(model, now)
		ways = append(ways, firewall.Route{Target: provider, Resource: model, Price: price, Estimate: to.estimate(call, said, price), When: t.When})
	}
	if len(ways) == 0 {
		return nil, wrong
	}
	return ways, nil
}
