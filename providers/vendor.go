package providers

import (
	"cmp"

	"callgate/firewall"
	"callgate/providers/dialect"
)

// A vendor is what callgate knows of a kind of provider.
type vendor struct {
	base   string            // its own API; "" where each has its own
	speaks string            // in which it tells errors: OpenAI or Anthropic
	signer string            // whose signatures of thoughts it takes: "openai", "anthropic"
	paths  map[string]string // of the endpoints that it has, by the door's methods, below the base
	asked  string            // the endpoint at which it is asked what comes in at one that it has not
}

// vendors are the kinds of providers, by their names.
var vendors = map[string]*vendor{
	OpenAI: {
		base: "https://api.openai.com/v1", speaks: OpenAI, signer: "openai", asked: "chat",
		paths: map[string]string{
			"chat": "/chat/completions", "responses": "/responses", "embeddings": "/embeddings",
			"completions": "/completions", "moderations": "/moderations", "input_tokens": "/responses/input_tokens", "compact": "/responses/compact",
			"images": "/images/generations", "image_edits": "/images/edits", "image_variations": "/images/variations",
			"files": "/files", "batches": "/batches", "realtime": "/realtime", "speech": "/audio/speech", "transcriptions": "/audio/transcriptions", "translations": "/audio/translations",
		},
	},
	Anthropic: {
		base: "https://api.anthropic.com/v1", speaks: Anthropic, signer: "anthropic", asked: "messages",
		paths: map[string]string{"messages": "/messages", "count_tokens": "/messages/count_tokens"},
	},
}

// serves says whether the provider can be asked what comes in at an endpoint: in its own
// dialect, or in one that is translated.
func (p *provider) serves(at endpoint) error {
	if p.paths[at.method] != "" || p.between(at) != nil {
		return nil
	}
	if dialectAt(p.asked) != nil && at.speaks != p.speaks {
		return firewall.Refuse(firewall.Invalid, "provider %s speaks the %s dialect: call its models at %s", p.name, p.speaks, doorOf(p.asked))
	}
	return firewall.Refuse(firewall.Invalid, "provider %s has nothing for %s", p.name, at.route)
}

// doorOf is the path at the door of a method.
func doorOf(method string) string {
	if method == "messages" {
		return "/v1/messages"
	}
	return "/v1/chat/completions"
}

// between is the dialect in which the provider is asked what comes in at an endpoint
// that it has not; nil where that cannot be translated.
func (p *provider) between(at endpoint) *dialect.Dialect {
	if p.paths[at.method] != "" || dialectAt(at.method) == nil {
		return nil
	}
	return dialectAt(p.asked)
}

// path is where the provider has what comes in at an endpoint, below its base.
func (p *provider) path(at endpoint) string {
	return cmp.Or(p.paths[at.method], p.paths[p.asked])
}
