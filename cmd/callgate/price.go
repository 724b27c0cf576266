package main

import (
	"callgate/firewall"

	"github.com/goccy/go-yaml/ast"
)

// A Price is what a model costs: tokens in US dollars per million, pictures and searches
// in US dollars each.
type Price struct {
	Input          Amount `yaml:"input"`
	Output         Amount `yaml:"output"`
	CacheRead      Amount `yaml:"cache_read"`       // default: Input
	CacheWrite     Amount `yaml:"cache_write"`      // default: Input
	CacheWriteHour Amount `yaml:"cache_write_hour"` // default: CacheWrite
	Reasoning      Amount `yaml:"reasoning"`        // default: Output
	AudioIn        Amount `yaml:"audio_in"`         // default: Input
	AudioCached    Amount `yaml:"audio_cached"`     // default: CacheRead
	AudioOut       Amount `yaml:"audio_out"`        // default: Output
	ImageIn        Amount `yaml:"image_in"`         // default: Input
	ImageOut       Amount `yaml:"image_out"`        // default: Output
	Image          Amount `yaml:"image"`            // each that is made
	Search         Amount `yaml:"search"`           // each on the web
	Above          Count  `yaml:"above"`            // input tokens, from more than which on Long holds
	Long           struct {
		Input          Amount `yaml:"input"`
		Output         Amount `yaml:"output"`
		CacheRead      Amount `yaml:"cache_read"`
		CacheWrite     Amount `yaml:"cache_write"`
		CacheWriteHour Amount `yaml:"cache_write_hour"`
	} `yaml:"long"`
	Batch    Amount `yaml:"batch"` // by what tokens are multiplied in a tier
	Flex     Amount `yaml:"flex"`
	Priority Amount `yaml:"priority"`
	Fast     Amount `yaml:"fast"`
	Regional Amount `yaml:"regional"` // and where the vendor keeps them to one region
}

func (p *Price) check(r *reader, n ast.Node, key string) {
	if !p.Input.Given || !p.Output.Given {
		r.note(n, "%s: write input and output: US dollars per million tokens", key)
	}
	if (p.Above > 0) != (p.Long.Input.Given && p.Long.Output.Given) {
		r.note(n, "%s: above and long belong together: write above: 200000 and long: {input: …, output: …}", key)
	}
}

// price is what p means.
func (p *Price) price() firewall.Price {
	q := firewall.Price{
		Input: p.Input.Value, Output: p.Output.Value, CacheRead: p.CacheRead.or(p.Input), CacheWrite: p.CacheWrite.or(p.Input), CacheWriteHour: p.CacheWriteHour.Value,
		Reasoning: p.Reasoning.Value, AudioIn: p.AudioIn.Value, AudioCached: p.AudioCached.Value, AudioOut: p.AudioOut.Value, ImageIn: p.ImageIn.Value, ImageOut: p.ImageOut.Value,
		Image: p.Image.Value, Search: p.Search.Value, Above: int64(p.Above),
		Batch: p.Batch.Value, Flex: p.Flex.Value, Priority: p.Priority.Value, Fast: p.Fast.Value, Regional: p.Regional.Value,
	}
	if p.Above > 0 {
		l := &p.Long
		q.Long = &firewall.Price{Input: l.Input.Value, Output: l.Output.Value, CacheRead: l.CacheRead.or(l.Input), CacheWrite: l.CacheWrite.or(l.Input), CacheWriteHour: l.CacheWriteHour.Value}
	}
	return q
}
