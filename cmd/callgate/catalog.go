package main

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"callgate/identity"
	"callgate/providers"

	"github.com/goccy/go-yaml/ast"
)

// ProviderKeys are the keys of a provider: one, or a list.
type ProviderKeys []ProviderKey

// A ProviderKey is one of them.
type ProviderKey struct {
	Key    Credential `yaml:"key"`
	Weight Least      `yaml:"weight"` // share of the runs that it is for
	Models []string   `yaml:"models"` // the only ones that it is for; a * at the end stands for all that begin so
}

func (k *ProviderKeys) read(r *reader, n ast.Node, key string) {
	list, many := n.(*ast.SequenceNode)
	if !many {
		list = &ast.SequenceNode{Values: []ast.Node{n}}
	}
	if len(list.Values) == 0 {
		r.note(n, "%s: an empty list; write a key, or leave it away", key)
	}
	for _, item := range list.Values {
		var one ProviderKey
		if mapping, ok := item.(*ast.MappingNode); ok && many {
			one.fill(r, mapping, key)
		} else {
			one.Key.readAny(r, item, key)
		}
		*k = append(*k, one)
	}
}

// fill reads a key with more to say of it.
func (k *ProviderKey) fill(r *reader, n *ast.MappingNode, key string) {
	r.pairs(n, key, func(name string, at, value ast.Node) {
		switch name {
		case "key":
			k.Key.readAny(r, value, join(key, name))
		case "weight":
			if k.Weight.read(r, value, join(key, name)); k.Weight.Given && k.Weight.N == 0 {
				r.note(value, "%s: want at least 1", join(key, name))
			}
		case "models":
			list, _ := value.(*ast.SequenceNode)
			if list == nil {
				r.note(value, "%s: want a list: [one, two]", join(key, name))
				return
			}
			for _, m := range list.Values {
				text, ok := r.text(m, join(key, name))
				if begin, _ := strings.CutSuffix(text, "*"); ok && (text == "" || strings.ContainsAny(begin, "*| \t\n")) {
					r.note(m, "%s: %q: write a model's name, or what names begin with and a *", join(key, name), text)
				}
				k.Models = append(k.Models, text)
			}
		default:
			r.unknown(at, join(key, name), name, []string{"key", "weight", "models"})
		}
	})
	if k.Key.Ref == "" {
		r.note(n, "%s: write key: secret:NAME, env:NAME or file:/path", key)
	}
}

// given says whether there is a key.
func (k ProviderKeys) given() bool {
	return slices.ContainsFunc(k, func(one ProviderKey) bool { return one.Key.Ref != "" || one.Key.Text.Reveal() != "" })
}

// Params are what is filled in into the URLs of a kind of providers.
type Params map[string]string

func (p *Params) read(r *reader, n ast.Node, key string) {
	*p = make(Params)
	r.pairs(n, key, func(name string, _, value ast.Node) {
		if text, ok := r.text(value, join(key, name)); ok {
			(*p)[name] = text
		}
	})
}

// kinds is the catalogue with what the files of c say.
func (c *Config) kinds() *providers.Kinds {
	if c.catalog == nil {
		return providers.BuiltIn()
	}
	return c.catalog
}

// checkProviders notes what is wrong with the catalogue's files, and with providers by
// what it says of their kinds.
func (c *Config) checkProviders(r *reader, n ast.Node) {
	c.catalog = providers.BuiltIn()
	for i, f := range c.Catalog {
		if f.Text == nil {
			continue // which is told
		}
		next, err := c.catalog.With(f.Path, f.Text)
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if line = strings.TrimSpace(line); line != "" {
					r.note(item(at(n, "catalog"), i), "catalog: %s", line)
				}
			}
			continue
		}
		c.catalog = next
	}
	for _, name := range slices.Sorted(maps.Keys(c.Providers)) {
		p := c.Providers[name]
		p.checkKind(r, at(at(n, "providers"), name), "providers."+name, name, c.catalog)
		c.Providers[name] = p
	}
}

// checkKind notes what does not go with the kind of p.
func (p *Provider) checkKind(r *reader, n ast.Node, key, name string, kinds *providers.Kinds) {
	if p.Kind == "" && kinds.Get(name) != nil {
		p.Kind = name
	}
	kind := kinds.Get(p.Kind)
	if kind == nil {
		near := ""
		if word := cmp.Or(p.Kind, name); len(word) > 3 { // shorter ones are near to anything
			near = closest(word, kinds.Names())
		}
		if near != "" {
			near = "; did you mean " + near + "?"
		}
		if p.Kind == "" {
			r.note(n, "%s: write kind: what it is, as openai-compatible%s (callgate providers lists them)", key, near)
		} else {
			r.note(at(n, "kind"), "%s.kind: there is none that is called %s%s (callgate providers lists them)", key, p.Kind, near)
		}
		return
	}
	base := string(p.BaseURL)
	switch {
	case p.BaseURL.wrong() != "" && base != "":
		return // which is told
	case base == "" && kind.Base == "":
		r.note(n, "%s: write base_url: the URL before /chat/completions or /messages", key)
		return
	case base == "" && !kind.Keyless && kind.Auth != "none" && !p.APIKey.given():
		r.note(n, "%s: write api_key: %s", key, usualKey(kind))
	case kind.Auth == "none" && p.APIKey.given():
		r.note(at(n, "api_key"), "%s.api_key: %s takes no key", key, kind.Title)
	}
	for i, k := range p.APIKey {
		if strings.HasPrefix(k.Key.Ref, "aws:") && kind.Auth != "aws" {
			r.note(item(at(n, "api_key"), i), "%s.api_key: %s", key, awsElsewhere)
		}
	}
	if err := kind.Check(base, p.Params); err != nil {
		for line := range strings.Lines(err.Error()) {
			r.note(at(n, "params"), "%s.%s", key, strings.TrimSpace(line))
		}
	}
}

const awsElsewhere = "aws: is for providers of Amazon Bedrock alone: elsewhere AWS wants each request signed, and not a token"

// usualKey is what people write for the key of a kind.
func usualKey(kind *providers.Kind) string {
	switch env := "env:" + kind.Env[0]; kind.Auth {
	case "aws":
		return "aws:default, or " + env
	case "google":
		return "gcp:https://www.googleapis.com/auth/cloud-platform, or file:/path of a service account's JSON"
	case "azure":
		return env + ", or azure:https://cognitiveservices.azure.com"
	default:
		return env
	}
}

// pool are the keys of a provider as package providers takes them.
func (p *Provider) pool(lend func(Credential) identity.Credential) []providers.Key {
	var list []providers.Key
	for _, k := range p.APIKey {
		list = append(list, providers.Key{Credential: lend(k.Key), Name: k.Key.Ref, Weight: k.Weight.N, Models: k.Models})
	}
	return list
}
