package providers

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"callgate/firewall"
	"callgate/providers/dialect"
)

// A vendor is what callgate knows of one provider by its kind, with nothing left to be
// filled in.
type vendor struct {
	base   *url.URL
	speaks string            // in which it is asked what is translated: OpenAI, Anthropic, or another dialect's name
	signer string            // whose signatures of thoughts it takes: "openai", "anthropic", "google"
	paths  map[string]string // of the endpoints that it has, by the door's methods, below the base
	asked  string            // the endpoint at which it is asked what comes in at one that it has not
	shows  *shows            // how it is told who calls
	fixed  http.Header       // goes with each request
	body   map[string]string // is set in the body at Anthropic's endpoints
	drop   []string          // leaves the body where the path names the model
	betas  bool              // Anthropic's betas go into the body

	oldLimit, noUsage bool // see [dialect.Target]
}

// paramValue is what may be filled in: it cannot leave the place in the URL where it
// stands.
var paramValue = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// vendor is k with base, where that is given, in the place of its own, and params filled in.
func (k *Kind) vendor(base string, params map[string]string) (*vendor, error) {
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(params)) {
		switch {
		case k.Params[name] == "" && len(k.Params) == 0:
			wrong = append(wrong, fmt.Errorf("params: nothing is to be filled in for this kind"))
		case k.Params[name] == "":
			wrong = append(wrong, fmt.Errorf("params: %s is none of its kind's: %s", name, strings.Join(slices.Sorted(maps.Keys(k.Params)), ", ")))
		case !paramValue.MatchString(params[name]) || strings.Contains(params[name], ".."):
			wrong = append(wrong, fmt.Errorf("params: %s: want letters, digits, . _ -", name))
		}
	}
	fill := func(text string) string {
		return blank.ReplaceAllStringFunc(text, func(b string) string {
			name := b[1 : len(b)-1]
			switch {
			case name == "model":
				return b
			case params[name] != "":
				return params[name]
			case k.Defaults[name] != "":
				return k.Defaults[name]
			}
			missing := fmt.Errorf("params: write %s: %s", name, k.Params[name])
			if !slices.ContainsFunc(wrong, func(e error) bool { return e.Error() == missing.Error() }) {
				wrong = append(wrong, missing)
			}
			return "x"
		})
	}
	if base == "" {
		base = fill(k.Base)
	}
	v := &vendor{signer: k.Signer, asked: k.Asked, speaks: speaker(k.Asked), body: k.Body, drop: k.Drop, betas: k.Betas == "body", oldLimit: k.OldLimit, noUsage: k.NoUsage, paths: make(map[string]string, len(k.Paths))}
	for method, path := range k.Paths {
		v.paths[method] = fill(path)
	}
	for name, value := range k.Headers {
		if v.fixed == nil {
			v.fixed = make(http.Header, len(k.Headers))
		}
		v.fixed.Set(name, value)
	}
	var err error
	if v.base, err = baseOf(base); err != nil {
		wrong = append(wrong, err)
	}
	if v.shows, err = k.shows(func(name string) string { return fill("{" + name + "}") }); err != nil {
		wrong = append(wrong, err)
	}
	return v, errors.Join(wrong...)
}

func baseOf(base string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(base, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, errors.New("base URL must be like https://host/v1, without user or query")
	}
	return u, nil
}

// speaker is who speaks at an endpoint.
func speaker(method string) string {
	switch strings.TrimSuffix(method, streamed) {
	case "messages", "count_tokens":
		return Anthropic
	case "gemini", "gemini_count", "gemini_embed", "gemini_embeds":
		return string(dialect.Gemini)
	case "converse":
		return string(dialect.Converse)
	case "cohere":
		return string(dialect.Cohere)
	}
	return OpenAI
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

// place is the endpoint of the provider for what comes in at one of the door's.
func (p *provider) place(at endpoint) string {
	if p.paths[at.method] != "" {
		return at.method
	}
	return p.asked
}
