package providers

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"callgate/firewall"
	"callgate/identity"
)

// The dialects that a provider may speak.
const (
	OpenAI    = "openai"    // chat completions, responses, embeddings
	Anthropic = "anthropic" // messages
)

// A Provider is a model API that calls may go to. All of it may change at reload.
type Provider struct {
	Kind    string              // one of Kinds; default is the provider's name, if that is one of them
	Kinds   *Kinds              // default is BuiltIn
	BaseURL string              // up to and with /v1; default is the kind's own
	Params  map[string]string   // that the kind's URLs need
	APIKey  identity.Credential // sent with each call; nil, or an empty one, sends none
	Keys    []Key               // more of them, of which each call takes one
	Models  []string            // that it has; where empty it is asked

	Cache time.Duration // for which its replies are kept for the same request; 0: they are not

	Strict bool // a request that it can be asked only in part is refused

	Prices   map[string]firewall.Price // by model; a * at the end of a name stands for all that begin so
	PricedAs string                    // whose list in prices.yaml holds for what is not in Prices; default is that of the vendor whose host BaseURL names, NoList is none

	ReplyTokens int64 // that a reply is taken to have where a request does not bound it, and is bound to under a limit of tokens or money; default 4096

	ConnectTimeout   time.Duration // default 10 s
	FirstByteTimeout time.Duration // until a reply begins; default 10 min, because models think
	IdleTimeout      time.Duration // between two pieces of a reply; default 5 min
}

const (
	defaultConnect   = 10 * time.Second
	defaultFirstByte = 10 * time.Minute
	defaultIdle      = 5 * time.Minute
)

// NoList is the name of no vendor's list of prices.
const NoList = "none"

// provider is a Provider in use. Nothing in it changes but what it remembers of
// its models.
type provider struct {
	Provider
	*vendor
	name      string
	list      *priceList // nil: none
	keys      keys
	transport *http.Transport
	shelf     shelf
	health    *health
}

// newProvider takes over the connections of old, which has the same name, where
// they are made in the same way.
func newProvider(name string, p Provider, old *provider) (*provider, error) {
	if p.Kinds == nil {
		p.Kinds = BuiltIn()
	}
	if p.Kind == "" {
		p.Kind = name
	}
	kind := p.Kinds.Get(p.Kind)
	switch {
	case strings.ContainsAny(name, "/ ") || name == "":
		return nil, fmt.Errorf("provider %q: a name must not be empty or hold / or spaces", name)
	case kind == nil:
		return nil, fmt.Errorf("provider %s: kind: there is none that is called %s", name, clip(p.Kind))
	}
	setDefault(&p.ConnectTimeout, defaultConnect)
	setDefault(&p.FirstByteTimeout, defaultFirstByte)
	setDefault(&p.IdleTimeout, defaultIdle)
	if p.ReplyTokens <= 0 {
		p.ReplyTokens = defaultReply
	}
	v, err := kind.vendor(p.BaseURL, p.Params)
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", name, err)
	}
	list, err := listOf(p.PricedAs, v.base.Hostname())
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", name, err)
	}
	q := &provider{Provider: p, vendor: v, name: name, list: list}
	if q.keys, err = newKeys(&p, v.shows); err != nil {
		return nil, fmt.Errorf("provider %s: %w", name, err)
	}
	if old != nil && old.ConnectTimeout == p.ConnectTimeout {
		q.transport, q.health = old.transport, old.health
	} else {
		q.transport, q.health = newTransport(p.ConnectTimeout), new(health)
	}
	return q, nil
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

// newTransport is driven by hand: no redirects, no cookies, nothing decoded.
func newTransport(connect time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: connect, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: connect,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
		MaxIdleConnsPerHost: 1024,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
		ReadBufferSize:      8 << 10,
		WriteBufferSize:     16 << 10, // so that the head and a usual body leave in one write

		MaxResponseHeaderBytes: 256 << 10,
	}
}

// catalog is the providers behind the door at one time. It is never changed.
type catalog struct {
	all     []*provider // in order of their names
	byName  map[string]*provider
	byModel map[string][]*provider // that say to have it
	byKind  map[string][]*provider // by what they speak
	models  map[string]Model       // that stand for others
}

func newCatalog(list map[string]Provider, models map[string]Model, old *catalog) (*catalog, error) {
	c := &catalog{byName: make(map[string]*provider, len(list)), byModel: make(map[string][]*provider), byKind: make(map[string][]*provider)}
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(list)) {
		p, err := newProvider(name, list[name], old.byName[name])
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		c.all = append(c.all, p)
		c.byName[name] = p
		c.byKind[p.speaks] = append(c.byKind[p.speaks], p)
		for _, model := range p.Models {
			c.byModel[model] = append(c.byModel[model], p)
		}
	}
	return c, errors.Join(append(wrong, c.logical(models))...)
}

// release lets go of the idle connections that next did not take over. Calls in
// flight keep theirs until they end.
func (c *catalog) release(next *catalog) {
	for _, p := range c.all {
		if q := next.byName[p.name]; q == nil || q.transport != p.transport {
			p.transport.CloseIdleConnections()
		}
	}
}

// find is the provider of the model that a client names, and the model as the
// provider calls it: provider/model, or a model that only one provider can be
// meant by. It must speak kind. There is no provider and no error where nothing
// of that name is known.
func (c *catalog) find(said string, at endpoint) (*provider, string, error) {
	kind := at.speaks
	if name, model, ok := strings.Cut(said, "/"); ok && model != "" {
		if p := c.byName[name]; p != nil {
			return p, model, p.serves(at)
		}
	}
	has := c.byModel[said]
	switch {
	case len(has) == 1:
		return has[0], said, has[0].serves(at)
	case len(has) > 1:
		if p := onlyOf(kind, has); p != nil {
			return p, said, nil
		}
		return nil, said, firewall.Refuse(firewall.Invalid, "more than one provider has model %s: write it as provider/%s", clip(said), clip(said))
	case len(c.byKind[kind]) == 1:
		return c.byKind[kind][0], said, nil
	}
	return nil, said, nil
}

// onlyOf is the only one of list that speaks kind.
func onlyOf(kind string, list []*provider) *provider {
	var only *provider
	for _, p := range list {
		if p.speaks != kind {
			continue
		}
		if only != nil {
			return nil
		}
		only = p
	}
	return only
}
