package main

import (
	"cmp"
	"log/slog"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"callgate/identity"
	"callgate/providers"

	"github.com/goccy/go-yaml/ast"
)

// A Config is what callgate.yaml says. docs/config.md tells each key; a field
// with the tag restart keeps its value until the process is started anew.
type Config struct {
	Listen    Address `yaml:"listen" restart:"yes"`     // where agents come in
	PublicURL BaseURL `yaml:"public_url" restart:"yes"` // what agents call this gate; the issuer of their tokens
	TLS       TLS     `yaml:"tls"`                      // of where agents come in
	Strangers Count   `yaml:"strangers" restart:"yes"`  // connections of one address that have shown no token yet
	Data      Folder  `yaml:"data" restart:"yes"`       // ledger, index, keys

	Database Reference `yaml:"database" restart:"yes"` // of what replicas must all know; none: in Data

	Admin struct {
		Listen Address `yaml:"listen" restart:"yes"` // where people and commands come in
	} `yaml:"admin"`

	MCP struct {
		Servers map[string]Server `yaml:"servers"`
		Import  []File            `yaml:"import"` // files with the mcpServers JSON of MCP clients
		Lock    LockFile          `yaml:"lock"`   // of definitions that may be used
	} `yaml:"mcp"`
	Client struct {
		Tools map[string]ClientTool `yaml:"tools"`
	} `yaml:"client"` // the agents' own programs
	Catalog   []File              `yaml:"catalog"` // more kinds of providers
	Providers map[string]Provider `yaml:"providers"`
	Models    map[string]Model    `yaml:"models"` // that stand for several
	Cache     struct {
		Memory Size      `yaml:"memory" restart:"yes"` // for replies that routes keep
		Redis  Reference `yaml:"redis" restart:"yes"`  // for those of all replicas, instead
	} `yaml:"cache"`
	Agents []Agent    `yaml:"agents"`
	Users  []User     `yaml:"users"`
	Groups []Group    `yaml:"groups"`
	Policy []File     `yaml:"policy"`
	Guards Guards     `yaml:"guards"`
	Vault  HashiVault `yaml:"vault"` // where vault: leads

	Identity struct {
		TTL     Duration  `yaml:"ttl" restart:"yes"`      // of a token for which no other was asked
		SealKey Reference `yaml:"seal_key" restart:"yes"` // age identity that the signing keys are sealed to
		Alg     KeyAlg    `yaml:"alg" restart:"yes"`      // of the signing keys
		Rotate  Duration  `yaml:"rotate" restart:"yes"`   // how long a key signs

		Clients      []OAuthClient `yaml:"clients"`                     // programs by which people let agents act for them
		DefaultAgent string        `yaml:"default_agent" restart:"yes"` // that clients act as which have no agent of their own
		OIDC         OIDC          `yaml:"oidc" restart:"yes"`          // where people log in
		RefreshTTL   Duration      `yaml:"refresh_ttl" restart:"yes"`   // of what a person allows a client
		Registration bool          `yaml:"registration" restart:"yes"`  // clients may register themselves
		DPoPNonce    Requirement   `yaml:"dpop_nonce" restart:"yes"`    // DPoP proofs need a nonce of ours
		Federation   []Federation  `yaml:"federation"`                  // whose JWTs are taken in the place of credentials
	} `yaml:"identity"`
	Runs struct {
		Idle Duration `yaml:"idle" restart:"yes"` // a run ends after this long without a call
	} `yaml:"runs"`

	Drift Drift `yaml:"drift"` // of runs from what is expected

	Audit Audit `yaml:"audit"`

	Approvals Approvals `yaml:"approvals"`

	ShutdownTimeout Duration `yaml:"shutdown_timeout"` // for calls in flight

	file    string                           // that it was read from; "" if there is none
	env     func(name string) (string, bool) // that it was read with; nil: of the process
	secrets []string                         // files that secrets were read from
	catalog *providers.Kinds                 // kinds of providers, with those of Catalog; nil: that are built in
}

// A Server is an MCP server: a command to run, or a URL to reach it at.
type Server struct {
	Command []string         `yaml:"command"`
	URL     ServerURL        `yaml:"url"`
	Env     map[string]Value `yaml:"env"`     // for Command; it gets little else
	Headers map[string]Value `yaml:"headers"` // for URL
	OAuth   OAuth            `yaml:"oauth"`   // how access tokens for URL are got
	Dir     Folder           `yaml:"dir"`     // where Command starts
	Timeout Duration         `yaml:"timeout"` // of one request
	Shared  bool             `yaml:"shared"`  // one process of Command serves all agents
	Opens   []string         `yaml:"opens"`   // hosts whose pages it may ask users to open
	Trusted bool             `yaml:"trusted"` // what it says of its tools' effects is believed
	Trust   Trust            `yaml:"trust"`   // how far it may choose what it says of itself
	Reads   Labels           `yaml:"reads"`   // what its replies bring into a run
	Process Process          `yaml:"process"` // what the process of Command may take and see

	Prefix      string `yaml:"prefix"`      // of its names at /mcp
	Concurrency Count  `yaml:"concurrency"` // requests in flight to it

	MaxReply Size `yaml:"max_reply"` // of one message from it

	Owner   string `yaml:"owner"` // who answers for it
	Purpose string `yaml:"purpose"`

	Tools map[string]Tool `yaml:"tools"` // what is otherwise with single tools, and, under *, with all
}

// A Process is what the process of a server may take of this machine, and sees of
// it.
type Process struct {
	User      string   `yaml:"user"`       // whom it runs as
	Nice      Count    `yaml:"nice"`       // how far it gives way to others
	Memory    Size     `yaml:"memory"`     // of its own, of each of its processes
	OpenFiles Count    `yaml:"open_files"` // of each of its processes
	Processes Count    `yaml:"processes"`  // that its user may have
	Sandbox   string   `yaml:"sandbox"`    // off, auto, required
	Network   Switch   `yaml:"network"`    // whether the sandbox has one; it has
	Writable  []Folder `yaml:"writable"`   // what may be changed in the sandbox
	Readable  []Folder `yaml:"readable"`   // what is there, besides the system's programs; all but what is private, where this is empty
	Home      Folder   `yaml:"home"`       // its HOME, which may be changed in the sandbox
}

// OAuth says how callgate gets access tokens for an MCP server.
type OAuth struct {
	Grant        string     `yaml:"grant"` // authorization_code, client_credentials, token_exchange
	Per          string     `yaml:"per"`   // whose they are: gate, agent, user
	Issuer       string     `yaml:"issuer"`
	ClientID     string     `yaml:"client_id"`
	ClientSecret Credential `yaml:"client_secret"`
	Scopes       []string   `yaml:"scopes"`

	given bool // the key stands there, whatever is behind it
}

func (o *OAuth) check(*reader, ast.Node, string) { o.given = true } // the rest is for package mcp to say

// A Tool is what the operator says of a tool.
type Tool struct {
	Reads     OwnLabels           `yaml:"reads"`     // what its results bring into a run
	Trusted   bool                `yaml:"trusted"`   // its results are as good as what the user says
	Acts      bool                `yaml:"acts"`      // it does something outside
	To        []string            `yaml:"to"`        // arguments that say for whom
	Object    []string            `yaml:"object"`    // arguments that say on what
	Timeout   Duration            `yaml:"timeout"`   // of one call
	Arguments map[string]Argument `yaml:"arguments"` // that are paths or URLs
}

// An Argument is what the operator says of an argument of a tool.
type Argument struct {
	Class   string   `yaml:"class"`   // path or url
	Within  []string `yaml:"within"`  // directories that a path must be in
	Windows bool     `yaml:"windows"` // a path is one of Windows
	Hosts   []string `yaml:"hosts"`   // that a URL may name
	Private bool     `yaml:"private"` // a URL may lead into private networks
}

// A Provider is a model API.
type Provider struct {
	Kind     string           `yaml:"kind"`    // of the catalogue
	APIKey   ProviderKeys     `yaml:"api_key"` // or several
	BaseURL  ServerURL        `yaml:"base_url"`
	Params   Params           `yaml:"params"`       // that the kind's URLs need
	Models   []string         `yaml:"models"`       // that it has; asked for where empty
	Strict   Strictness       `yaml:"translate"`    // strict: what would be lost in translation is refused
	Cache    Duration         `yaml:"cache"`        // for which replies are kept for the same request
	Prices   map[string]Price `yaml:"prices"`       // by model, or by what the names of several begin with and *
	PricedAs string           `yaml:"priced_as"`    // whose list of prices holds for the rest
	Reply    Count            `yaml:"reply_tokens"` // that a reply is taken to have where nobody says it
	Timeouts struct {
		Connect   Duration `yaml:"connect"`
		FirstByte Duration `yaml:"first_byte"`
		Idle      Duration `yaml:"idle"`
	} `yaml:"timeouts"`
}

// An Agent is an agent that the file registers, as callgate agent create does.
type Agent struct {
	Name    string    `yaml:"name"`
	Roles   []string  `yaml:"roles"`
	Owner   string    `yaml:"owner"`
	Purpose string    `yaml:"purpose"`
	Secret  Reference `yaml:"secret"` // with which it gets tokens itself
	MaxTTL  Duration  `yaml:"max_ttl"`

	Environment string    `yaml:"environment"` // where it works, one word
	Models      []string  `yaml:"models"`      // the only ones that it may use
	Servers     []string  `yaml:"servers"`     // the only ones that it may reach
	Expires     Moment    `yaml:"expires"`     // from then on nothing passes
	Status      string    `yaml:"status"`      // suspended, retired
	OldSecret   Reference `yaml:"old_secret"`  // that is still good
	Keys        File      `yaml:"keys"`        // public ones, with which it may prove who it is
	JWKSURI     string    `yaml:"jwks_uri"`    // where it publishes them, instead

	DPoP Requirement `yaml:"dpop"` // its tokens are bound to a key that it shows

	Expects Expects `yaml:"expects"` // of its runs
}

// Safe defaults: this machine only, nothing configured, and so everything denied.
const (
	defaultListen      = "127.0.0.1:8700"
	defaultAdminListen = "127.0.0.1:8701"
	defaultData        = "callgate-data"
	defaultTTL         = 300 * time.Second
	defaultIdle        = 30 * time.Minute
	defaultShutdown    = 30 * time.Second
	defaultApproval    = time.Hour
	defaultRefreshTTL  = 30 * 24 * time.Hour
	defaultMaxTTL      = time.Hour
	defaultTimeout     = 60 * time.Second
	defaultKeep        = 30 * 24 * time.Hour
	defaultCache       = 64 << 20 // bytes
)

func defaults() Config {
	var c Config
	c.Strangers = defaultStrangers
	c.Listen, c.Admin.Listen, c.Data = defaultListen, defaultAdminListen, defaultData
	c.Identity.TTL, c.Runs.Idle, c.ShutdownTimeout = Duration(defaultTTL), Duration(defaultIdle), Duration(defaultShutdown)
	c.Cache.Memory = defaultCache
	c.Audit.Payloads, c.Audit.Keep = "full", Duration(defaultKeep)
	c.Drift.Learn, c.Drift.MinRuns, c.Drift.Every = Duration(defaultLearn), defaultMinRuns, Duration(defaultEvery)
	c.Approvals.TTL, c.Identity.RefreshTTL = Duration(defaultApproval), Duration(defaultRefreshTTL)
	return c
}

// Overrides are what the command line says instead of the file.
type Overrides struct {
	Listen, AdminListen, Data, Import string
	Shadow                            []string // policy files of a candidate
}

// readConfig reads file, or takes the defaults where file is empty. Its error is
// [Mistakes]: everything that is wrong, in the file and in what it names.
func readConfig(file string, over Overrides, env func(string) (string, bool)) (Config, error) {
	c := defaults()
	c.file, c.env = file, env
	r := &reader{file: file, dir: filepath.Dir(file), env: env}
	var root ast.Node
	if file != "" {
		text, err := readFile(file)
		if err != nil {
			return c, Mistakes{{File: file, Text: "cannot be read: " + plain(err)}}
		}
		root = r.document(text, &c)
	}
	over.apply(&c, r)
	c.check(r, root)
	c.importServers(r)
	slices.Sort(r.secrets)
	c.secrets = slices.Compact(r.secrets)
	if len(r.mistakes) == 0 {
		c.reach(r, root)
	}
	if len(r.mistakes) > 0 {
		return c, r.mistakes.sorted()
	}
	return c, nil
}

// reach notes what package mcp would not take, wherever a server was named.
func (c *Config) reach(r *reader, root ast.Node) {
	owners := make(map[string]string, len(c.MCP.Servers))
	for _, name := range slices.Sorted(maps.Keys(c.MCP.Servers)) {
		prefix := cmp.Or(c.MCP.Servers[name].Prefix, name)
		if of, taken := owners[prefix]; taken {
			r.note(at(at(at(at(root, "mcp"), "servers"), name), "prefix"), "mcp.servers.%s: the prefix %s is that of server %s already; write prefix: with another one", name, prefix, of)
		}
		owners[prefix] = name
		if other, named := c.MCP.Servers[prefix]; named && cmp.Or(other.Prefix, prefix) != prefix && prefix != name { // policies and records go by names
			r.note(at(at(at(at(root, "mcp"), "servers"), name), "prefix"), "mcp.servers.%s: the prefix %s is the name of another server; write another prefix", name, prefix)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.MCP.Servers)) {
		if err := c.reached(name, slog.New(slog.DiscardHandler), unlent).Check(); err != nil {
			r.note(at(at(at(root, "mcp"), "servers"), name), "mcp.servers.%s: %s", name, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
}

// unlent is a credential where only its being there matters.
func unlent(Credential, string) identity.Credential { return identity.Secret{} }

func (o Overrides) apply(c *Config, r *reader) {
	flag := &reader{dir: "."} // what is wrong with a flag stands in no file
	if o.Listen != "" {
		c.Listen = Address(o.Listen)
		c.Listen.verify(flag, nil, "--listen")
	}
	if o.AdminListen != "" {
		c.Admin.Listen = Address(o.AdminListen)
		c.Admin.Listen.verify(flag, nil, "--admin-listen")
	}
	if o.Data != "" {
		c.Data = Folder(o.Data)
	}
	if o.Import != "" {
		f := File{Path: o.Import}
		var err error
		if f.Text, err = flag.load(o.Import); err != nil {
			flag.note(nil, "--mcp-config %s: %s", o.Import, plain(err))
		} else {
			c.MCP.Import = append(c.MCP.Import, f)
		}
	}
	r.mistakes = append(r.mistakes, flag.mistakes...)
}

func (c *Config) check(r *reader, n ast.Node) {
	if c.PublicURL == "" && !c.Listen.loopback() {
		r.note(at(n, "listen"), "listen: %s can be reached from other machines, so public_url must say the https URL at which agents do", c.Listen)
	}
	if c.Vault.Address == "" {
		for _, v := range r.vaulted {
			r.note(v.n, "%s: there is no HashiCorp Vault yet; write vault: {address: …}", v.key)
		}
	}
	seen := make(map[string]bool, len(c.Agents))
	list, _ := at(n, "agents").(*ast.SequenceNode)
	for i, a := range c.Agents {
		if a.Name != "" && seen[a.Name] {
			r.note(at(list.Values[i], "name"), "agents: %s stands here twice", a.Name)
		}
		seen[a.Name] = true
	}
	c.checkFront(r, at(n, "identity"))
	c.checkProviders(r, n)
	names(r, at(at(n, "mcp"), "servers"), "mcp.servers", serverName, c.MCP.Servers)
	names(r, at(n, "providers"), "providers", serverName, c.Providers)
}

var (
	serverName = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9])*$`)
	agentName  = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	roleName   = regexp.MustCompile(`^(role:)?[A-Za-z0-9._-]{1,64}$`)
	ownerName  = regexp.MustCompile(`^((user|group):)?[A-Za-z0-9._@+-]{1,128}$`)
)

// names checks the names that the operator gave to servers and providers: they
// stand in tool names, in the policy and in URLs.
func names[V any](r *reader, n ast.Node, key string, rule *regexp.Regexp, m map[string]V) {
	mapping, ok := n.(*ast.MappingNode)
	if !ok {
		return
	}
	for _, pair := range mapping.Values {
		name := pair.Key.GetToken().Value
		if _, read := m[name]; !read || rule.MatchString(name) && len(name) <= 32 {
			continue
		}
		r.note(pair.Key, "%s: a name has 1 to 32 of a-z 0-9 and single -; write %s", key, fitting(name))
	}
}

// fitting is a name like name that fits.
func fitting(name string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	s := b.String()
	s = strings.TrimSuffix(s[:min(len(s), 32)], "-")
	if s == "" {
		return "server-1"
	}
	return s
}

const minReply, maxReply = 1 << 10, 256 << 20 // bytes

func (s *Server) check(r *reader, n ast.Node, key string) {
	switch {
	case len(s.Command) == 0 && s.URL == "":
		r.note(n, "%s: write command: [program, argument] or url: https://…", key)
	case len(s.Command) > 0 && s.URL != "":
		r.note(at(n, "url"), "%s: has both command and url; write one of them", key)
	case s.URL != "" && len(s.Env) > 0:
		r.note(at(n, "env"), "%s.env: belongs to a command; a url takes headers", key)
	case s.URL != "" && s.Dir != "":
		r.note(at(n, "dir"), "%s.dir: belongs to a command", key)
	case len(s.Command) > 0 && len(s.Headers) > 0:
		r.note(at(n, "headers"), "%s.headers: belongs to a url; a command takes env", key)
	}
	if len(s.Command) > 0 && s.Command[0] == "" {
		r.note(at(n, "command"), "%s.command: begins with the program's name", key)
	}
	if s.MaxReply != 0 && (s.MaxReply < minReply || s.MaxReply > maxReply) {
		r.note(at(n, "max_reply"), "%s.max_reply: want at least 1KiB and at most 256MiB", key)
	}
	secrets(r, at(n, "env"), join(key, "env"), s.Env)
	secrets(r, at(n, "headers"), join(key, "headers"), s.Headers)
}

// secretive is what the name of a header or variable that holds a secret says.
var secretive = regexp.MustCompile(`(?i)auth|token|secret|passw|credential|cookie|api.?key|private.?key|access.?key`)

// secrets refuses values that stand in the file although their name says that
// they are secret.
func secrets(r *reader, n ast.Node, key string, values map[string]Value) {
	mapping, ok := n.(*ast.MappingNode)
	if !ok {
		return
	}
	for _, pair := range mapping.Values {
		name := pair.Key.GetToken().Value
		if v, ok := values[name]; ok && v.Ref == "" && v.Text.Reveal() != "" && secretive.MatchString(name) {
			r.note(pair.Value, "%s: a secret must not stand in the file; write secret:NAME, env:NAME or file:/path", join(key, name))
		}
	}
}

func (p *Provider) check(r *reader, n ast.Node, key string) {
	if strings.Contains(string(p.BaseURL), "?") {
		r.note(at(n, "base_url"), "%s.base_url: no query may stand in it", key)
	}
	for _, model := range slices.Sorted(maps.Keys(p.Prices)) {
		price := p.Prices[model]
		if begin, _ := strings.CutSuffix(model, "*"); strings.Contains(begin, "*") || model == "" {
			r.note(at(n, "prices"), "%s.prices: %q: write a model's name, or what names begin with and a *", key, model)
		}
		price.check(r, at(at(n, "prices"), model), key+".prices."+model)
	}
	if p.PricedAs != "" && p.PricedAs != providers.NoList && !slices.Contains(providers.PriceLists(), p.PricedAs) {
		r.note(at(n, "priced_as"), "%s.priced_as: want %s or %s", key, strings.Join(providers.PriceLists(), ", "), providers.NoList)
	}
	for i, m := range p.Models {
		if m == "" || strings.ContainsAny(m, "*| \t\n") {
			r.note(at(n, "models").(*ast.SequenceNode).Values[i], "%s.models: %q is no model's name", key, m)
		}
	}
}

func (a *Agent) check(r *reader, n ast.Node, key string) {
	switch {
	case a.Name == "":
		r.note(n, "%s: an agent needs a name", key)
	case !agentName.MatchString(a.Name):
		r.note(at(n, "name"), "%s: a name has 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit", key)
	}
	for i, role := range a.Roles {
		if !roleName.MatchString(role) {
			r.note(at(n, "roles").(*ast.SequenceNode).Values[i], "%s.roles: %q is no role; write one word", key, role)
		}
	}
	if a.Owner != "" && !ownerName.MatchString(a.Owner) {
		r.note(at(n, "owner"), "%s.owner: write user:NAME or group:NAME", key)
	}
	if v := a.Secret.Secret.Reveal(); v != "" && len(v) < 32 {
		r.note(at(n, "secret"), "%s.secret: want at least 32 characters; openssl rand -base64 32 makes such a one", key)
	}
	if v := a.OldSecret.Secret.Reveal(); v != "" && len(v) < 32 {
		r.note(at(n, "old_secret"), "%s.old_secret: want at least 32 characters", key)
	}
	if _, err := identity.NewWithin(a.Models, nil); err != nil {
		r.note(at(n, "models"), "%s.%v", key, err)
	}
	if _, err := identity.NewWithin(nil, a.Servers); err != nil {
		r.note(at(n, "servers"), "%s.%v", key, err)
	}
	switch a.Status {
	case "", identity.Suspended, identity.Retired:
	default:
		r.note(at(n, "status"), "%s.status: want suspended or retired, or leave it away", key)
	}
	if a.MaxTTL == 0 {
		a.MaxTTL = Duration(defaultMaxTTL)
	}
}
