package providers

import (
	"strings"

	"callgate/firewall"
)

// price is what a model costs, nil if that is not known. The most exact name counts.
func (p *provider) price(model string) *firewall.Price {
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
	return found
}

const (
	bytesPerToken = 4    // of a request; a rough mean for text as JSON
	bytesPerHeard = 1024 // of sound or a picture, for a token; rougher still
	usualReply    = 4096 // tokens, where a request does not bound its reply
)

// estimateOf is what call will take, at a price, if its reply may have so many tokens.
func estimateOf(call *firewall.Call, most int, price *firewall.Price) firewall.Estimate {
	u := firewall.Usage{Input: int64(len(call.Body.JSON)+bytesPerToken-1)/bytesPerToken + call.Unread/bytesPerHeard}
	switch call.Method {
	case "count_tokens", "input_tokens", "moderations": // are free
		return firewall.Estimate{Priced: true}
	case "embeddings": // replies with numbers, which cost nothing
	default:
		u.Output = usualReply
		if most > 0 {
			u.Output = int64(most)
		}
	}
	return price.Estimate(u)
}
