package firewall

import "math"

// MicroUSD is an amount of money, in millionths of a US dollar.
type MicroUSD int64

// USD is m in dollars.
func (m MicroUSD) USD() float64 { return float64(m) / 1e6 }

// A Price is what a model costs: tokens in US dollars per million, which is MicroUSD
// per token; pictures and searches in US dollars each.
type Price struct {
	Input, Output         float64
	CacheRead, CacheWrite float64 // of input tokens that were read from a cache, or written to one, instead of Input

	// Where one of these is 0, its tokens cost what is said behind it.
	CacheWriteHour float64 // CacheWrite
	Reasoning      float64 // Output
	AudioIn        float64 // Input
	AudioCached    float64 // CacheRead
	AudioOut       float64 // Output
	ImageIn        float64 // Input
	ImageOut       float64 // Output

	Image  float64 // each that is made, besides tokens
	Search float64 // each on the web, besides tokens

	Above int64  // input tokens from which on all of the call costs Long; 0: there is no such bound
	Long  *Price // of which Above, Long and the factors are not read

	// By what tokens are multiplied in a tier, and where the vendor kept them to one region;
	// 0 is not known.
	Batch, Flex, Priority, Fast, Regional float64
}

// An Estimate is what a model call will take, as far as that can be told before.
type Estimate struct {
	Calls         int64 // that it stands for; 0 is one
	Tokens        int64
	Cost          MicroUSD
	Priced        bool  // Cost is known
	Input, Output int64 // of Tokens
}

// Estimate is that of a call which will take u. Without a price, p is nil.
func (p *Price) Estimate(u Usage) Estimate {
	cost, priced := p.of(u)
	return Estimate{Tokens: u.tokens(), Cost: cost, Priced: priced, Input: u.Input, Output: u.Output}
}

// of is what u costs, rounded up, and whether that is known. Where only what a tier adds
// is not known, it is what u costs without that.
func (p *Price) of(u Usage) (MicroUSD, bool) {
	if p == nil {
		return 0, false
	}
	rates := p
	if p.Long != nil && p.Above > 0 && u.Input > p.Above {
		rates = p.Long
	}
	factor, known := p.factor(&u)
	cost := rates.tokens(&u)*factor + (float64(u.Images)*p.Image+float64(u.Searches)*p.Search)*1e6
	return MicroUSD(math.Ceil(min(cost-1e-6, 1<<53))), known // a whole number that floating point made a bit larger stays one
}

// factor is by what the price of the tokens of u is multiplied. A tier that saves saves
// nothing as long as its factor is not known.
func (p *Price) factor(u *Usage) (float64, bool) {
	f, known := 1.0, true
	switch u.Tier {
	case TierBatch:
		f = p.Batch
	case TierFlex:
		f = p.Flex
	case TierPriority:
		f, known = p.Priority, p.Priority > 0
	case TierFast:
		f, known = p.Fast, p.Fast > 0
	}
	if f == 0 {
		f = 1
	}
	if u.Regional && p.Regional > 0 {
		f *= p.Regional
	}
	return f, known
}

// tokens is what the tokens of u cost. Each of them is of one class: sound that was
// cached is neither counted as sound again nor as cached.
func (p *Price) tokens(u *Usage) float64 {
	or := func(a, b float64) float64 {
		if a == 0 {
			return b
		}
		return a
	}
	cost := 0.0
	take := func(from *int64, n int64, price float64) {
		n = max(min(n, *from), 0)
		*from -= n
		cost += float64(n) * price
	}
	cached, written, in, out := u.CacheRead, u.CacheWrite, u.Input, u.Output
	take(&cached, u.AudioCached, or(p.AudioCached, p.CacheRead))
	take(&written, u.CacheWriteHour, or(p.CacheWriteHour, p.CacheWrite))
	cost += float64(cached)*p.CacheRead + float64(written)*p.CacheWrite
	in = max(in-u.CacheRead-u.CacheWrite, 0)
	take(&in, u.AudioIn-u.AudioCached, or(p.AudioIn, p.Input))
	take(&in, u.ImageIn, or(p.ImageIn, p.Input))
	take(&out, u.AudioOut, or(p.AudioOut, p.Output))
	take(&out, u.ImageOut, or(p.ImageOut, p.Output))
	take(&out, u.Reasoning, or(p.Reasoning, p.Output))
	return cost + float64(in)*p.Input + float64(out)*p.Output
}
