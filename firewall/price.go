package firewall

import "math"

// MicroUSD is an amount of money, in millionths of a US dollar.
type MicroUSD int64

// USD is m in dollars.
func (m MicroUSD) USD() float64 { return float64(m) / 1e6 }

// A Price is what a model's tokens cost, in US dollars per million tokens, which
// is MicroUSD per token. Tokens that were read from a cache, or written to one,
// cost CacheRead and CacheWrite instead of Input.
type Price struct{ Input, Output, CacheRead, CacheWrite float64 }

// An Estimate is what a model call will take, as far as that can be told before.
type Estimate struct {
	Calls  int64 // that it stands for; 0 is one
	Tokens int64
	Cost   MicroUSD
	Priced bool // Cost is known
}

// Estimate is that of a call which will take u. Without a price, p is nil.
func (p *Price) Estimate(u Usage) Estimate {
	cost, priced := p.of(u)
	return Estimate{Tokens: u.Input + u.Output, Cost: cost, Priced: priced}
}

// of is what u costs, rounded up, and whether there is a price.
func (p *Price) of(u Usage) (MicroUSD, bool) {
	if p == nil {
		return 0, false
	}
	plain := max(u.Input-u.CacheRead-u.CacheWrite, 0)
	cost := float64(plain)*p.Input + float64(u.CacheRead)*p.CacheRead + float64(u.CacheWrite)*p.CacheWrite + float64(u.Output)*p.Output
	return MicroUSD(math.Ceil(min(cost, 1<<53))), true
}
