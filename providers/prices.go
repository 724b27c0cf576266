package providers

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"callgate/firewall"

	"github.com/goccy/go-yaml"
)

// listed is prices.yaml, which says what it is.
//
//go:embed prices.yaml
var listed []byte

// vendors' prices, read once.
var ourPrices = sync.OnceValues(func() (map[string]*priceList, error) { return readPrices(listed) })

// A priceList is what the models of one vendor cost, and when.
type priceList struct {
	name   string
	hosts  []string
	strip  []string
	like   []*priceList
	models map[string][]datedPrice // the latest first
}

// A datedPrice holds from a day on.
type datedPrice struct {
	from  time.Time
	price *firewall.Price
}

// A priceLine is a line of prices.yaml.
type priceLine struct {
	From   string   `yaml:"from"`
	Models []string `yaml:"models"`
	Rates  rates    `yaml:",inline"`
	Above  int64    `yaml:"above"`
	Long   *rates   `yaml:"long"`
	Image  float64  `yaml:"image"`
	Search float64  `yaml:"search"`

	Batch    float64 `yaml:"batch"`
	Flex     float64 `yaml:"flex"`
	Priority float64 `yaml:"priority"`
	Fast     float64 `yaml:"fast"`
	Regional float64 `yaml:"regional"`
}

// rates are prices of tokens.
type rates struct {
	Input          *float64 `yaml:"input"`
	Output         *float64 `yaml:"output"`
	CacheRead      *float64 `yaml:"cache_read"`
	CacheWrite     *float64 `yaml:"cache_write"`
	CacheWriteHour float64  `yaml:"cache_write_hour"`
	Reasoning      float64  `yaml:"reasoning"`
	AudioIn        float64  `yaml:"audio_in"`
	AudioCached    float64  `yaml:"audio_cached"`
	AudioOut       float64  `yaml:"audio_out"`
	ImageIn        float64  `yaml:"image_in"`
	ImageOut       float64  `yaml:"image_out"`
}

// price is what r means.
func (r *rates) price() (*firewall.Price, error) {
	if r.Input == nil || r.Output == nil {
		return nil, fmt.Errorf("a price needs input and output")
	}
	p := &firewall.Price{
		Input: *r.Input, Output: *r.Output, CacheRead: *r.Input, CacheWrite: *r.Input, CacheWriteHour: r.CacheWriteHour, Reasoning: r.Reasoning,
		AudioIn: r.AudioIn, AudioCached: r.AudioCached, AudioOut: r.AudioOut, ImageIn: r.ImageIn, ImageOut: r.ImageOut,
	}
	if r.CacheRead != nil {
		p.CacheRead = *r.CacheRead
	}
	if r.CacheWrite != nil {
		p.CacheWrite = *r.CacheWrite
	}
	return p, nil
}

// price is what l means.
func (l *priceLine) price() (*firewall.Price, error) {
	p, err := l.Rates.price()
	if err != nil {
		return nil, err
	}
	if (l.Above > 0) != (l.Long != nil) {
		return nil, fmt.Errorf("above and long belong together")
	}
	if l.Long != nil {
		if p.Long, err = l.Long.price(); err != nil {
			return nil, fmt.Errorf("long: %w", err)
		}
	}
	p.Above, p.Image, p.Search = l.Above, l.Image, l.Search
	p.Batch, p.Flex, p.Priority, p.Fast, p.Regional = l.Batch, l.Flex, l.Priority, l.Fast, l.Regional
	return p, nil
}

// readPrices reads a document as prices.yaml is one.
func readPrices(doc []byte) (map[string]*priceList, error) {
	var vendors map[string]struct {
		Hosts  []string    `yaml:"hosts"`
		Source string      `yaml:"source"`
		Known  string      `yaml:"known"`
		Like   []string    `yaml:"like"`
		Strip  []string    `yaml:"strip"`
		Prices []priceLine `yaml:"prices"`
	}
	if err := yaml.UnmarshalWithOptions(doc, &vendors, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("read prices: %w", err)
	}
	all := make(map[string]*priceList, len(vendors))
	for name, v := range vendors {
		all[name] = &priceList{name: name, hosts: v.Hosts, strip: v.Strip, models: make(map[string][]datedPrice)}
	}
	for name, v := range vendors {
		list := all[name]
		if _, err := time.Parse(time.DateOnly, v.Known); err != nil || v.Source == "" {
			return nil, fmt.Errorf("prices of %s: say known, a day, and source", name)
		}
		for _, other := range v.Like {
			if all[other] == nil {
				return nil, fmt.Errorf("prices of %s: like %s, which there is not", name, other)
			}
			list.like = append(list.like, all[other])
		}
		for i := range v.Prices {
			if err := list.add(&v.Prices[i]); err != nil {
				return nil, fmt.Errorf("prices of %s, line %d: %w", name, i+1, err)
			}
		}
	}
	return all, nil
}

// add puts a line into the list.
func (p *priceList) add(l *priceLine) error {
	from, err := time.Parse(time.DateOnly, l.From)
	if err != nil {
		return fmt.Errorf("from: %w", err)
	}
	price, err := l.price()
	if err != nil {
		return err
	}
	for _, model := range l.Models {
		at, found := slices.BinarySearchFunc(p.models[model], from, func(d datedPrice, t time.Time) int { return t.Compare(d.from) })
		if found {
			return fmt.Errorf("%s has two prices from %s on", model, l.From)
		}
		p.models[model] = slices.Insert(p.models[model], at, datedPrice{from, price})
	}
	return nil
}

// find is what a model costs at a time, nil if that is not known.
func (p *priceList) find(model string, at time.Time) *firewall.Price {
	if found := p.exactly(model, at); found != nil {
		return found
	}
	for _, begin := range p.strip {
		model, _ = strings.CutPrefix(model, begin)
	}
	found := p.exactly(model, at)
	for _, other := range p.like {
		if found == nil {
			found = other.find(model, at)
		}
	}
	return found
}

func (p *priceList) exactly(model string, at time.Time) *firewall.Price {
	dates := p.models[model]
	if dates == nil {
		dates = p.models[undated(model)]
	}
	for _, d := range dates {
		if !at.Before(d.from) {
			return d.price
		}
	}
	return nil
}

// undated is a model's name without what says which version of it: -20251101, @20251101,
// -2025-08-07, -001, and -v1:0 behind that.
func undated(model string) string {
	if i := strings.LastIndex(model, "-v"); i > 0 && digits(strings.Replace(model[i+2:], ":", "", 1)) {
		model = model[:i]
	}
	cut := func(n int) (string, bool) {
		i := len(model) - n
		return model[:max(i, 0)], i > 0 && (model[i] == '-' || model[i] == '@')
	}
	if head, ok := cut(11); ok && model[len(head)+5] == '-' && model[len(head)+8] == '-' && digits(strings.ReplaceAll(model[len(head)+1:], "-", "")) {
		return head
	}
	for _, n := range [...]int{9, 4} {
		if head, ok := cut(n); ok && digits(model[len(head)+1:]) {
			return head
		}
	}
	return model
}

// digits says whether s is some, and nothing else.
func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// pricesOf is the list of the vendor that a host belongs to, nil if that is none.
func pricesOf(host string, all map[string]*priceList) *priceList {
	for _, list := range all {
		if slices.ContainsFunc(list.hosts, func(pattern string) bool { return fits(host, pattern) }) {
			return list
		}
	}
	return nil
}

// fits says whether host is as pattern says, where * is a part of a name without dots.
func fits(host, pattern string) bool {
	begin, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return host == pattern
	}
	part, found := strings.CutPrefix(host, begin)
	if !found {
		return false
	}
	part, found = strings.CutSuffix(part, rest)
	return found && part != "" && !strings.Contains(part, ".")
}
