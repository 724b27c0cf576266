package main

import (
	"context"
	"os"
	"strings"
	"time"

	"callgate/identity"

	"github.com/goccy/go-yaml/ast"
)

// A Credential is a secret for something upstream: where it is, and not what. It is
// found when it is used; see [identity.Sources].
type Credential struct {
	Ref    string          // env:NAME, file:/path, secret:NAME, vault:PATH#FIELD, gcp:SCOPE, azure:RESOURCE, aws:default; "" for none
	Bearer bool            // "Bearer " goes before it
	Text   identity.Secret // what stands in the file itself, where Ref is empty
}

func (c *Credential) read(r *reader, n ast.Node, key string) {
	if c.readAny(r, n, key); strings.HasPrefix(c.Ref, "aws:") {
		r.note(n, "%s: %s", key, awsElsewhere)
	}
}

// readAny reads a credential that may be one that signs.
func (c *Credential) readAny(r *reader, n ast.Node, key string) {
	t, ok := r.text(n, key)
	if !ok {
		return
	}
	if c.refer(r, n, t, key); c.Bearer {
		r.note(n, "%s: write the reference alone; callgate puts Bearer before it", key)
	}
	if c.Ref == "" {
		r.note(n, "%s: a secret must not stand in the file; write secret:NAME, env:NAME or file:/path", key)
		c.Ref = "env:" // it is given, and told
	}
}

// refer fills c where text is a reference.
func (c *Credential) refer(r *reader, n ast.Node, text, key string) {
	ref, bearer := strings.CutPrefix(text, "Bearer ")
	kind, place, is := strings.Cut(ref, ":")
	if !is {
		return
	}
	switch kind {
	case "env", "file":
		r.resolve(n, ref, key) // which notes what is wrong with it now
		if kind == "file" {
			place = r.path(place)
		}
	case "secret":
		if !agentName.MatchString(place) {
			r.note(n, "%s: %q is no name for a secret: it has 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit", key, place)
		}
	case "vault":
		r.vaulted = append(r.vaulted, need{n, key})
		if identity.CheckHashiPlace(place) != nil {
			r.note(n, "%s: want vault:MOUNT/PATH#FIELD", key)
		}
	case "gcp", "azure":
		if place == "" || strings.ContainsAny(place, " \t") {
			r.note(n, "%s: want gcp:SCOPE or azure:RESOURCE", key)
		}
	case "aws":
		if place != "default" {
			r.note(n, "%s: want aws:default: what the environment, the container or the machine has", key)
		}
	default:
		return
	}
	*c = Credential{Ref: kind + ":" + place, Bearer: bearer}
}

// A need is a place of the file that needs something else there.
type need struct {
	n   ast.Node
	key string
}

// A Value is a text of the file, or a [Credential].
type Value struct{ Credential }

func (v *Value) read(r *reader, n ast.Node, key string) {
	t, ok := r.text(n, key)
	if !ok {
		return
	}
	switch v.refer(r, n, t, key); {
	case v.Ref == "":
		v.Text = identity.NewSecret(t)
	case strings.HasPrefix(v.Ref, "aws:"):
		r.note(n, "%s: %s", key, awsElsewhere)
	}
}

// A HashiVault is a HashiCorp Vault, and who callgate is there.
type HashiVault struct {
	Address   ServerURL `yaml:"address"`
	Namespace string    `yaml:"namespace"` // of Vault Enterprise
	CA        File      `yaml:"ca"`        // PEM of who signs its certificate
	Token     Reference `yaml:"token"`
	AppRole   struct {
		Mount    string    `yaml:"mount"`
		RoleID   string    `yaml:"role_id"`
		SecretID Reference `yaml:"secret_id"`
	} `yaml:"approle"`
	Kubernetes struct {
		Mount string `yaml:"mount"`
		Role  string `yaml:"role"`
		JWT   string `yaml:"jwt"` // path of the service account's token
	} `yaml:"kubernetes"`
	TTL Duration `yaml:"ttl"` // that what was read is good
}

func (h *HashiVault) check(r *reader, n ast.Node, key string) {
	if h.Address == "" {
		r.note(n, "%s: write address: https://vault.example:8200", key)
		return
	}
	if h.AppRole.SecretID.Given != (h.AppRole.RoleID != "") {
		r.note(at(n, "approle"), "%s.approle: write role_id and secret_id", key)
		return
	}
	if _, err := identity.NewHashi(h.reached(func(string) identity.Credential { return identity.Secret{} })); err != nil {
		r.note(n, "%s: %v", key, err)
	}
}

// serviceAccount is where Kubernetes puts the token of a pod's service account.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// reached says how it is reached. find is the credential of a reference.
func (h *HashiVault) reached(find func(ref string) identity.Credential) identity.HashiConfig {
	c := identity.HashiConfig{Address: string(h.Address), Namespace: h.Namespace, CA: h.CA.Text, TTL: time.Duration(h.TTL)}
	if h.Token.Given {
		c.Token = find(h.Token.Ref)
	}
	if a := h.AppRole; a.RoleID != "" {
		c.AppRole = &identity.AppRole{Mount: a.Mount, RoleID: a.RoleID, SecretID: find(a.SecretID.Ref)}
	}
	if k := h.Kubernetes; k.Role != "" {
		jwt := k.JWT
		if jwt == "" {
			jwt = serviceAccount
		}
		c.Kubernetes = &identity.KubernetesLogin{Mount: k.Mount, Role: k.Role, JWT: find("file:" + jwt)}
	}
	return c
}

// openSources makes what finds credentials.
func (h *house) openSources(ctx context.Context, cfg *Config, seal *identity.Seal) (err error) {
	h.secrets, err = identity.OpenVault(ctx, identity.VaultConfig{Store: h.db.Secrets(), Seal: seal, Record: h.changed, Member: h.member})
	if err != nil {
		return err
	}
	env := cfg.env
	if env == nil {
		env = os.LookupEnv
	}
	google, _ := env("GCE_METADATA_HOST")
	azure, _ := env("AZURE_POD_IDENTITY_AUTHORITY_HOST")
	h.sources = identity.NewSources(identity.SourcesConfig{
		Vault: h.secrets, Logger: h.log,
		Resolvers: map[string]identity.Resolver{
			"env": identity.Environment(env), "file": identity.Files{},
			"gcp": identity.NewGoogleCloud(google, nil), "azure": identity.NewAzure(azure, nil),
			"aws": identity.NewAWS(env, nil),
		},
	})
	return h.reach(cfg)
}

// member says whether a subject belongs to a role or group by the policy in force.
func (h *house) member(tenant, subject, of string) bool {
	return h.versions.Standing().Active.Member(tenant, subject, of)
}

// reach has the HashiCorp Vault of cfg asked from now on.
func (h *house) reach(cfg *Config) error {
	if h.unreach != nil {
		h.unreach()
		h.unreach = nil
	}
	if cfg.Vault.Address == "" {
		h.sources.SetResolver("vault", nil)
		return nil
	}
	c := cfg.Vault.reached(func(ref string) identity.Credential { return h.find(ref, "vault") })
	c.Logger = h.log
	hashi, err := identity.NewHashi(c)
	if err != nil {
		return Mistakes{{Text: "vault: " + err.Error()}}
	}
	h.sources.SetResolver("vault", hashi)
	ctx, cancel := context.WithCancel(context.Background())
	h.unreach = cancel
	h.working.Go(func() { hashi.Run(ctx) })
	return nil
}

// lend is a credential of the configuration for one target.
func (h *house) lend(c Credential, target string) identity.Credential {
	if c.Ref == "" {
		return c.Text
	}
	if found := h.find(c.Ref, target); c.Bearer {
		return identity.NewPrefixed(found, "Bearer ")
	} else {
		return found
	}
}

func (h *house) find(ref, target string) identity.Credential {
	found, err := h.sources.Credential(ref, target)
	if err != nil {
		return lost{err}
	}
	return found
}

// lost is a credential of a reference that leads nowhere.
type lost struct{ why error }

// Use implements [identity.Credential].
func (l lost) Use(context.Context, *identity.Principal) (identity.Loan, error) {
	return identity.Loan{}, &identity.Withheld{Reason: "the credential of this target leads nowhere: its operator must mend the configuration", Err: l.why}
}

// references is every reference of c to something upstream, with its target.
func (c *Config) references(each func(ref, target string)) {
	for name, p := range c.Providers {
		for _, k := range p.APIKey {
			each(k.Key.Ref, "provider:"+name)
		}
	}
	for name, s := range c.MCP.Servers {
		each(s.OAuth.ClientSecret.Ref, "server:"+name)
		for _, v := range s.Env {
			each(v.Ref, "server:"+name)
		}
		for _, v := range s.Headers {
			each(v.Ref, "server:"+name)
		}
	}
}

// warnOfSecrets says which named secrets the configuration uses that are not there,
// or not for what it uses them for.
func (h *house) warnOfSecrets(cfg *Config) {
	cfg.references(func(ref, target string) {
		name, named := strings.CutPrefix(ref, "secret:")
		if !named {
			return
		}
		if e, ok := h.secrets.Get(name); !ok {
			h.log.Warn("a secret is not there, so that calls which need it fail; callgate secret put makes it", "secret", name, "for", target)
		} else if !e.Leads(target) {
			h.log.Warn("a secret is not for what the configuration uses it for; callgate secret scope changes that", "secret", name, "for", target)
		}
	})
}
