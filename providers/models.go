package providers

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"callgate/firewall"
	"callgate/identity"

	"github.com/tidwall/gjson"
)

const (
	askTimeout = 5 * time.Second // for a provider to tell its models
	askedFor   = 5 * time.Minute // that its answer is good
	failedFor  = 30 * time.Second
	maxList    = 8 << 20 // bytes of its answer
	maxModels  = 10_000  // of one provider
	maxNamed   = 20      // models that an error names
)

// A shelf remembers the models that a provider told of.
type shelf struct {
	mu     sync.Mutex // held while the provider is asked, so that it is asked once
	models []string
	until  time.Time
}

// models is what the provider has: as configured, or else as it says.
func (p *provider) models(ctx context.Context, cfg *Config) []string {
	if len(p.Models) > 0 || p.paths["models"] == "" {
		return p.Models
	}
	p.shelf.mu.Lock()
	defer p.shelf.mu.Unlock()
	if now := cfg.Now(); now.Before(p.shelf.until) {
		return p.shelf.models
	}
	models, err := p.ask(ctx, cfg.Now())
	good := askedFor
	if err != nil {
		cfg.Logger.WarnContext(ctx, "provider does not tell its models", "provider", p.name, "err", err)
		models, good = p.shelf.models, failedFor // what it told before is better than nothing
	}
	p.shelf.models, p.shelf.until = models, cfg.Now().Add(good)
	return models
}

// ask asks the provider for its models. It goes on when ctx ends: others wait for
// the answer too.
func (p *provider) ask(ctx context.Context, now time.Time) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	header := http.Header{"Accept": {"application/json"}, "Accept-Encoding": {"identity"}}
	query := ""
	if p.speaks == Anthropic {
		header["Anthropic-Version"] = []string{"2023-06-01"}
		query = "limit=1000"
	}
	maps.Copy(header, p.fixed)
	u, err := p.address(p.paths["models"], "", query)
	if err != nil {
		return nil, err
	}
	req := (&http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: header}).WithContext(ctx)
	if _, err := p.shows.put(ctx, req, nil, nil, p.keys.pick("", "", now, nil), now); err != nil {
		return nil, err
	}
	resp, err := p.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New("it answered " + resp.Status)
	}
	doc, err := readAll(resp.Body, resp.ContentLength, maxList)
	if err != nil {
		return nil, err
	}
	if !gjson.ValidBytes(doc) {
		return nil, errors.New("its answer is not JSON")
	}
	var models []string
	list := gjson.GetBytes(doc, "data")
	if !list.Exists() {
		list = gjson.GetBytes(doc, "models") // of Google and Cohere
	}
	for _, m := range list.Array() {
		if id := cmp.Or(m.Get("id").Str, strings.TrimPrefix(m.Get("name").Str, "models/")); id != "" && len(id) <= maxModel && len(models) < maxModels {
			models = append(models, strings.Clone(id))
		}
	}
	return models, nil
}

// remembered is models without asking anyone.
func (p *provider) remembered() []string {
	if len(p.Models) > 0 {
		return p.Models
	}
	if !p.shelf.mu.TryLock() {
		return nil
	}
	defer p.shelf.mu.Unlock()
	return p.shelf.models
}

// unknown is the refusal of a model that no provider can be found for. It names
// what the caller may use instead.
func (h *Handler) unknown(caller *identity.Principal, behind *catalog, said string) error {
	var named []string
	for _, p := range behind.all {
		for _, model := range p.remembered() {
			if len(named) < maxNamed && h.gate.May(caller, firewall.Model, p.name, model) != firewall.No {
				named = append(named, p.name+"/"+model)
			}
		}
	}
	hint := "write it as provider/model"
	if len(named) > 0 {
		hint = "there is " + strings.Join(named, ", ")
	}
	return firewall.Refuse(firewall.NotFound, "no provider is known for model %s: %s", clip(said), hint)
}

// A listing answers which models the caller may use, or tells of one of them. It
// is the call's [firewall.Upstream].
type listing struct {
	*Handler
	of     *catalog
	one    string // provider/model; "" for all
	speaks string
	back   *reply
}

// Forward implements [firewall.Upstream].
func (l *listing) Forward(ctx context.Context, call *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		names := l.names(ctx, &call.Caller)
		doc := l.list(names)
		if l.one != "" {
			at := slices.IndexFunc(names, func(n name) bool { return n.String() == l.one || n.model == l.one })
			if at < 0 {
				yield(firewall.Event{}, firewall.Refuse(firewall.NotFound, "there is no model %s for this agent: GET %s lists those that are", clip(l.one), modelsPath))
				return
			}
			doc = l.item(names[at])
		}
		body, err := firewall.ParseBody(doc, firewall.Limits{})
		l.back.status = http.StatusOK
		yield(firewall.Event{Body: body, Last: true}, err)
	}
}

// Read implements [firewall.Upstream].
func (l *listing) Read(*firewall.Event) {}

// name is what a model is called at the door. One that stands for several has no
// provider.
type name struct{ provider, model string }

func (n name) String() string {
	if n.provider == "" {
		return n.model
	}
	return n.provider + "/" + n.model
}

// names is the models that caller may use, in order of their providers. The
// providers that must be asked are asked at the same time.
func (l *listing) names(ctx context.Context, caller *identity.Principal) []name {
	found := make([][]string, len(l.of.all))
	var asking sync.WaitGroup
	for i, p := range l.of.all {
		asking.Go(func() { found[i] = p.models(ctx, &l.cfg) })
	}
	asking.Wait()
	var names []name
	for _, logical := range slices.Sorted(maps.Keys(l.of.models)) {
		if slices.ContainsFunc(l.of.models[logical].Targets, func(t Target) bool {
			provider, model, _ := strings.Cut(t.Model, "/")
			return l.gate.May(caller, firewall.Model, provider, model) != firewall.No
		}) {
			names = append(names, name{"", logical})
		}
	}
	for i, p := range l.of.all {
		for _, model := range found[i] {
			if l.gate.May(caller, firewall.Model, p.name, model) != firewall.No {
				names = append(names, name{p.name, model})
			}
		}
	}
	return names
}

func (l *listing) list(names []name) []byte {
	doc := []byte(`{"object":"list","data":[`)
	switch l.speaks {
	case Anthropic:
		doc = []byte(`{"data":[`)
	case Google:
		doc = []byte(`{"models":[`)
	}
	for i, n := range names {
		if i > 0 {
			doc = append(doc, ',')
		}
		doc = append(doc, l.item(n)...)
	}
	if l.speaks != Anthropic {
		return append(doc, "]}"...)
	}
	first, last := []byte("null"), []byte("null")
	if len(names) > 0 {
		first, last = quote(names[0].String()), quote(names[len(names)-1].String())
	}
	doc = append(append(doc, `],"has_more":false,"first_id":`...), first...)
	return append(append(append(doc, `,"last_id":`...), last...), '}')
}

// item tells of one model. When it was made is not known here.
func (l *listing) item(n name) []byte {
	if l.speaks == Google {
		doc := append([]byte(`{"name":`), quote("models/"+n.String())...)
		doc = append(append(doc, `,"displayName":`...), quote(n.model)...)
		return append(doc, `,"supportedGenerationMethods":["generateContent","countTokens"]}`...)
	}
	doc := append([]byte(`{"id":`), quote(n.String())...)
	if l.speaks == Anthropic {
		doc = append(append(doc, `,"type":"model","display_name":`...), quote(n.model)...)
		return append(doc, `,"created_at":"1970-01-01T00:00:00Z"}`...)
	}
	doc = append(append(doc, `,"object":"model","created":0,"owned_by":`...), quote(cmp.Or(n.provider, "callgate"))...)
	return append(doc, '}')
}
