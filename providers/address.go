package providers

import (
	"net/url"
	"strings"

	"callgate/firewall"
)

// address is where the provider has an endpoint: path, which is below its base and may end
// in a query of its own, for a model, with the query that a client sent. Nothing that a
// client sends can lead to another host, or to another path than the one for its model.
func (p *provider) address(path, model, query string) (*url.URL, error) {
	path, own, _ := strings.Cut(path, "?")
	u := *p.base
	if strings.Contains(path, "{model}") {
		segment, ok := escaped(model)
		if !ok {
			return nil, firewall.Refuse(firewall.Invalid, "provider %s takes models by their path, in which %s cannot stand: use letters, digits and - _ . : / @ + ~", p.name, clip(model))
		}
		raw := p.base.EscapedPath() + strings.ReplaceAll(path, "{model}", segment)
		plain, err := url.PathUnescape(raw)
		if err != nil {
			return nil, err // of the config: an operator sees it
		}
		u.Path, u.RawPath = plain, raw
	} else {
		u.Path += path
		if u.RawPath != "" {
			u.RawPath += path
		}
	}
	u.RawQuery = joined(own, query)
	return &u, nil
}

// escaped is a model's name as one segment of a path. Names that a server, or something
// on the way to it, might read as more than that are refused: with dots alone, with an
// escape of their own, with what ends a path.
func escaped(model string) (string, bool) {
	for part := range strings.SplitSeq(model, "/") {
		if strings.Trim(part, ".") == "" {
			return "", false
		}
	}
	var b strings.Builder
	for i := range len(model) {
		switch c := model[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == '~', c == '@':
			b.WriteByte(c)
		case c == ':', c == '/', c == '+':
			b.WriteString(map[byte]string{':': "%3A", '/': "%2F", '+': "%2B"}[c])
		default:
			return "", false
		}
	}
	return b.String(), true
}

// joined is the query of an endpoint with what a client adds to it: nothing that the
// endpoint says itself, and nothing that says who calls.
func joined(own, query string) string {
	if query == "" {
		return own
	}
	if own == "" && !strings.ContainsAny(query, "%;") && !credentialed(query) {
		return query // as it came
	}
	fixed, _ := url.ParseQuery(own)
	out := own
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if pair == "" || err != nil || strings.Contains(pair, ";") || fixed.Has(name) || isCredential(name) {
			continue
		}
		if out != "" {
			out += "&"
		}
		out += pair
	}
	return out
}

func credentialed(query string) bool {
	for pair := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(pair, "="); isCredential(name) {
			return true
		}
	}
	return false
}

// isCredential says whether a parameter of a query says who calls, at some vendor.
func isCredential(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "key", "api_key", "api-key", "apikey", "access_token", "token", "subscription-key":
		return true
	}
	return strings.HasPrefix(name, "x-amz-") || strings.HasPrefix(name, "x-goog-")
}
