package main

import (
	"errors"

	"callgate/identity"

	"github.com/goccy/go-yaml/ast"
)

// A Federation is an issuer whose JWTs are taken in the place of credentials.
type Federation struct {
	Issuer   string           `yaml:"issuer"`   // its iss, exactly
	JWKSURI  string           `yaml:"jwks_uri"` // where it publishes its keys
	JWKS     File             `yaml:"jwks"`     // its keys, instead
	Audience string           `yaml:"audience"` // the one aud of its JWTs
	Agent    string           `yaml:"agent"`    // who their bearer is
	Claims   map[string]Texts `yaml:"claims"`   // what they must say, exactly
	Reuse    bool             `yaml:"reuse"`    // one is good until it expires, and not once
	Users    bool             `yaml:"users"`    // instead of agent: its ID-JAGs name the user that a client acts for
}

// Texts are one text or a list of them.
type Texts []string

func (t *Texts) read(r *reader, n ast.Node, key string) {
	items := []ast.Node{n}
	if s, ok := n.(*ast.SequenceNode); ok {
		items = s.Values
	}
	for _, item := range items {
		if s, ok := r.text(item, key); ok {
			*t = append(*t, s)
		}
	}
}

func (f *Federation) check(r *reader, n ast.Node, key string) {
	if _, err := identity.Federations([]identity.Federation{f.federation()}); err != nil {
		r.note(n, "%s: %v", key, err)
	}
}

func (f *Federation) federation() identity.Federation {
	claims := make(map[string][]string, len(f.Claims))
	for name, values := range f.Claims {
		claims[name] = values
	}
	return identity.Federation{
		Issuer: f.Issuer, JWKSURI: f.JWKSURI, JWKS: string(f.JWKS.Text), Audience: f.Audience, Agent: f.Agent, Claims: claims, Reuse: f.Reuse, Users: f.Users,
	}
}

// federate puts the issuers of cfg in place of those that were trusted before.
func (h *house) federate(cfg *Config) error {
	var list []identity.Federation
	for i := range cfg.Identity.Federation {
		list = append(list, cfg.Identity.Federation[i].federation())
	}
	err := h.authority.Federate(list)
	if errors.Is(err, identity.ErrInvalid) {
		return Mistakes{{Text: err.Error()}}
	}
	return err
}

// A Requirement is whether something is required, or as it comes.
type Requirement bool

func (q *Requirement) read(r *reader, n ast.Node, key string) {
	s, ok := r.text(n, key)
	if !ok {
		return
	}
	if s != "required" {
		r.note(n, "%s: want required, or leave it away", key)
	}
	*q = s == "required"
}
