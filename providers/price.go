package providers

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"callgate/firewall"
)

// price is what a model costs at a time, nil if that is not known. What the config says
// comes before what the vendor's list does, and there the most exact name counts.
func (p *provider) price(model string, at time.Time) *firewall.Price {
	if price, ok := p.Prices[model]; ok {
		return &price
	}
	best := -1
	var found *firewall.Price
	for name, price := range p.Prices {
		if begin, ok := strings.CutSuffix(name, "*"); ok && len(begin) > best && strings.HasPrefix(model, begin) {
			best, found = len(begin), &price
		}
	}
	if found == nil && p.list != nil {
		found = p.list.find(model, at)
	}
	return found
}

// lists is the vendor whose list holds, "" for none.
func (p *provider) lists() string {
	if p.list == nil {
		return ""
	}
	return p.list.name
}

// listOf is the list of prices of a name, or else of a host; nil if there is none.
func listOf(name, host string) (*priceList, error) {
	all, err := ourPrices()
	switch {
	case err != nil || name == NoList:
		return nil, err
	case name == "":
		return pricesOf(host, all), nil
	case all[name] == nil:
		return nil, fmt.Errorf("there are no prices of %s: %s, or %s", clip(name), strings.Join(slices.Sorted(maps.Keys(all)), ", "), NoList)
	}
	return all[name], nil
}

// PriceLists are the vendors whose prices callgate knows.
func PriceLists() []string {
	all, err := ourPrices()
	if err != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(all))
}

const (
	bytesPerToken = 4    // of a request; a rough mean for text as JSON
	bytesPerHeard = 1024 // of sound or a picture, for a token; rougher still
	defaultReply  = 4096 // tokens, where a request does not bound its reply
)

// estimate is what a call will take of a model of p, whose price is given, as said asks
// for it: at the dearest that may apply.
func (p *provider) estimate(call *firewall.Call, said *request, price *firewall.Price) firewall.Estimate {
	u := firewall.Usage{Input: int64(len(call.Body.JSON)+bytesPerToken-1)/bytesPerToken + call.Unread/bytesPerHeard}
	switch call.Method {
	case "count_tokens", "input_tokens", "gemini_count", "moderations": // are free
		return firewall.Estimate{Priced: true}
	case "embeddings", "gemini_embed", "gemini_embeds": // replies with numbers, which cost nothing
	default:
		u.Output = p.ReplyTokens
		if said.most > 0 {
			u.Output = int64(said.most)
		}
		u.Output *= int64(max(said.replies, 1))
	}
	u.Tier = said.tier
	if price != nil && price.CacheWrite > price.Input && (p.Kind != Anthropic || bytes.Contains(call.Body.JSON, []byte("cache_control"))) {
		u.CacheWrite = u.Input // some vendors put there what they like
		if price.CacheWriteHour > price.CacheWrite && (bytes.Contains(call.Body.JSON, []byte(`"ttl"`)) || bytes.Contains(call.Body.JSON, []byte("cache_retention"))) {
			u.CacheWriteHour = u.Input
		}
	}
	return price.Estimate(u)
}
