package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"callgate/cmd/callgate/internal/console"
	"callgate/firewall"
	"callgate/firewall/guards"
	"callgate/firewall/policy"
	"callgate/identity"
)

// An inventory is what is known of the identities here that are no people's: what
// stands in the configuration, and what the gate says, if one runs.
type inventory struct {
	now     time.Time
	cfg     *Config
	law     *policy.Policy // nil if it cannot be loaded
	running bool           // the gate was asked
	agents  []console.Agent
	users   map[string]console.User
	reused  []identity.Reuse
	issued  []note
}

// A note is what counts here of a record.
type note struct {
	What string `json:"what"`
	By   string `json:"by"`
	Name string `json:"name"`
}

const (
	longUnused  = 90 * 24 * time.Hour
	longSecret  = 90 * 24 * time.Hour
	longToken   = 24 * time.Hour
	manyTold    = 5    // findings of one check that are told one by one
	newestNotes = 1000 // records that are looked at
)

// nhiChecks are the OWASP Non-Human Identities Top 10 (2025), as far as registry and
// configuration show them. Each look says what is wrong, and what mends it.
var nhiChecks = [...]struct {
	name string
	look func(*inventory) []string
}{
	{"nhi1 offboarding", (*inventory).offboarding},
	{"nhi2 secret leakage", (*inventory).leakage},
	{"nhi3 third parties", (*inventory).thirdParties},
	{"nhi4 authentication", (*inventory).authentication},
	{"nhi5 privileges", (*inventory).privileges},
	{"nhi6 cloud", (*inventory).cloud},
	{"nhi7 long-lived secrets", (*inventory).longLived},
	{"nhi8 environments", (*inventory).environments},
	{"nhi9 reuse", (*inventory).reuse},
	{"nhi10 human use", (*inventory).humanUse},
}

// checkIdentities looks at all of nhiChecks.
func checkIdentities(ctx context.Context, x *patient) (list []symptom) {
	n := x.program.inventory(ctx, &x.cfg)
	for _, check := range nhiChecks {
		found := check.look(n)
		for i, what := range found {
			if i == manyTold {
				list = append(list, symptom{Check: check.name, State: warning, What: fmt.Sprintf("and %d more of the kind", len(found)-i)})
				break
			}
			list = append(list, symptom{Check: check.name, State: warning, What: what})
		}
		if len(found) == 0 {
			list = append(list, symptom{Check: check.name, State: fine, What: "nothing found"})
		}
	}
	return list
}

func (p *program) inventory(ctx context.Context, cfg *Config) *inventory {
	n := &inventory{now: time.Now(), cfg: cfg, users: make(map[string]console.User)}
	n.law, _ = policy.Load(cfg.sources()...) // what is wrong with it another check says
	gate, err := p.client()
	if err == nil {
		err = n.ask(ctx, gate)
	}
	if n.running = err == nil; !n.running {
		n.agents = nil
		for _, a := range registered(cfg.Agents) {
			n.agents = append(n.agents, console.Agent{
				Name: a.Name, Status: identity.Active, Source: identity.FromConfig, Roles: prefixed("role:", a.Roles), Owner: ownerOf(a.Owner),
				MaxTTL: a.MaxTTL.String(), Environment: a.Environment, JWKSURI: a.JWKSURI,
			})
		}
	}
	return n
}

// ask takes what the gate that runs knows.
func (n *inventory) ask(ctx context.Context, gate *client) (err error) {
	if n.agents, err = gate.agents(ctx); err != nil {
		return err
	}
	var users []console.User
	var records struct {
		Records []note `json:"records"`
	}
	err = errors.Join(
		gate.call(ctx, http.MethodGet, "/users", nil, &users),
		gate.call(ctx, http.MethodGet, "/identity/reuse", nil, &n.reused),
		gate.call(ctx, http.MethodGet, fmt.Sprintf("/records?last=%d", newestNotes), nil, &records))
	for _, u := range users {
		n.users[u.Name] = u
	}
	n.issued = records.Records
	return err
}

// prefixed is list with prefix before each that has none.
func prefixed(prefix string, list []string) []string {
	all := slices.Clone(list)
	for i, s := range all {
		all[i] = prefix + strings.TrimPrefix(s, prefix)
	}
	return all
}

// active is the agents that may call.
func (n *inventory) active() []console.Agent {
	return slices.DeleteFunc(slices.Clone(n.agents), func(a console.Agent) bool { return a.Status != identity.Active })
}

// mend is how something about an agent is put right: by a command, or in the config.
func mend(a *console.Agent, command, key string) string {
	if a.Source == identity.FromConfig {
		return "write " + key + " at the agent in the configuration"
	}
	return "callgate agent " + command
}

func (n *inventory) offboarding() (list []string) {
	for _, a := range n.active() {
		owner, known := n.users[a.Owner]
		last := a.LastSeen
		if last == nil {
			last = &a.Created
		}
		switch {
		case a.Expires != nil && n.now.After(*a.Expires):
			list = append(list, fmt.Sprintf("agent %s has expired and was not ended: %s", a.Name, mend(&a, "retire "+a.Name, "status: retired")))
		case a.Owner == "":
			list = append(list, fmt.Sprintf("nobody answers for agent %s: %s", a.Name, mend(&a, "set "+a.Name+" --owner user:NAME", "owner")))
		case known && owner.Status != identity.Active:
			list = append(list, fmt.Sprintf("%s, who answers for agent %s, is %s: %s", a.Owner, a.Name, owner.Status, mend(&a, "set "+a.Name+" --owner user:NAME, or suspend it", "another owner")))
		case !last.IsZero() && n.now.Sub(*last) > longUnused:
			list = append(list, fmt.Sprintf("agent %s was not seen for %d days: %s", a.Name, int(n.now.Sub(*last).Hours()/24), mend(&a, "retire "+a.Name, "status: retired")))
		}
	}
	return list
}

// leakage looks for texts of the configuration that look like secrets. They are not
// told.
func (n *inventory) leakage() (list []string) {
	for _, name := range slices.Sorted(maps.Keys(n.cfg.MCP.Servers)) {
		s := n.cfg.MCP.Servers[name]
		texts := map[string]string{"url": string(s.URL)}
		if u, err := url.Parse(string(s.URL)); err == nil {
			for key := range u.Query() {
				if secretive.MatchString(key) {
					list = append(list, fmt.Sprintf("mcp.servers.%s.url has %s in clear: put it in headers, as env:NAME", name, key))
				}
			}
		}
		for i, arg := range s.Command {
			texts[fmt.Sprintf("command[%d]", i)] = arg
			if key, value, ok := strings.Cut(arg, "="); ok && secretive.MatchString(key) && value != "" {
				list = append(list, fmt.Sprintf("mcp.servers.%s.command has %s in clear, where every user of this machine can read it: give it in env, as env:NAME", name, key))
			}
		}
		for kind, values := range map[string]map[string]Value{"env": s.Env, "headers": s.Headers} {
			for key, v := range values {
				if v.Ref == "" {
					texts[kind+"."+key] = v.Text.Reveal()
					if secretive.MatchString(key) && n.imported(v.Text.Reveal()) {
						list = append(list, fmt.Sprintf("mcp.servers.%s.%s.%s is in clear in an imported file: write ${NAME} there, and set it in callgate's environment", name, kind, key))
					}
				}
			}
		}
		for _, where := range slices.Sorted(maps.Keys(texts)) {
			if looksSecret(texts[where]) {
				list = append(list, fmt.Sprintf("mcp.servers.%s.%s looks like a secret: write env:NAME or file:/path", name, where))
			}
		}
	}
	return list
}

// imported says whether a text stands in a file with servers of other clients. The
// configuration itself is refused with a secret by such a name.
func (n *inventory) imported(text string) bool {
	return text != "" && slices.ContainsFunc(n.cfg.MCP.Import, func(f File) bool { return bytes.Contains(f.Text, []byte(text)) })
}

// looksSecret asks the guard that looks for secrets in calls.
func looksSecret(text string) bool {
	doc, err := json.Marshal(map[string]any{"arguments": map[string]string{"value": text}})
	if err != nil || text == "" {
		return false
	}
	body, err := firewall.ParseBody(doc, firewall.Limits{})
	if err != nil {
		return false
	}
	call := &firewall.Call{Kind: firewall.Tool, Body: body, ArgsAt: "arguments"}
	_, err = guards.NewSecrets().Request(context.Background(), call)
	return err == nil && (len(call.Findings) > 0 || !bytes.Equal(call.Body.JSON, doc))
}

func (n *inventory) thirdParties() (list []string) {
	for _, name := range slices.Sorted(maps.Keys(n.cfg.MCP.Servers)) {
		s := n.cfg.MCP.Servers[name]
		if s.Trust == "open" {
			list = append(list, fmt.Sprintf("server %s may change what its tools are at any time: take out trust: open, or write trust: locked", name))
		}
		if pkg := unpinned(s.Command); pkg != "" {
			list = append(list, fmt.Sprintf("server %s runs whatever version of %s is the newest: write %s@VERSION", name, pkg, pkg))
		}
		if s.Trusted && s.URL != "" {
			list = append(list, fmt.Sprintf("what server %s says of its tools' effects is believed, and it is another's: take out trusted: true, unless it is yours", name))
		}
	}
	return list
}

// unpinned is the package that command fetches in whatever version there is, "" if
// it does not.
func unpinned(command []string) string {
	if len(command) < 2 {
		return ""
	}
	runner := command[0][strings.LastIndexByte(command[0], '/')+1:]
	if !slices.Contains([]string{"npx", "bunx", "uvx", "pnpx"}, runner) {
		return ""
	}
	for _, arg := range command[1:] {
		if strings.HasPrefix(arg, "-") {
			continue
		}
		if bare := strings.TrimPrefix(arg, "@"); strings.Contains(arg, "==") || strings.Contains(bare, "@") && !strings.HasSuffix(arg, "@latest") {
			return ""
		}
		return strings.TrimSuffix(arg, "@latest")
	}
	return ""
}

func (n *inventory) authentication() (list []string) {
	var names []string
	for _, a := range n.active() {
		if a.SecretSince != nil && len(a.Keys) == 0 && a.JWKSURI == "" {
			names = append(names, a.Name)
		}
	}
	if len(names) > 0 {
		list = append(list, fmt.Sprintf("agents that prove who they are by a secret, where a key would never leave them: %d (%s): callgate agent set NAME --key FILE", len(names), some(names)))
	}
	for _, name := range slices.Sorted(maps.Keys(n.cfg.MCP.Servers)) {
		s := n.cfg.MCP.Servers[name]
		if u, err := url.Parse(string(s.URL)); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) && s.credential() != "none" {
			list = append(list, fmt.Sprintf("the credential of server %s crosses a network in clear: write https in its url", name))
		}
	}
	return list
}

// some is the first of names.
func some(names []string) string {
	if len(names) > manyTold {
		return strings.Join(names[:manyTold], " ") + " …"
	}
	return strings.Join(names, " ")
}

func (n *inventory) privileges() (list []string) {
	if n.law == nil {
		return nil
	}
	for _, row := range n.law.Broad() {
		list = append(list, "row "+row+" without a condition: name what it is for")
	}
	var held []string
	for _, a := range n.active() {
		held = append(held, n.law.Inherited("default", a.Roles)...)
	}
	for _, role := range n.law.Roles() {
		if len(n.agents) > 0 && !slices.Contains(held, role) {
			list = append(list, fmt.Sprintf("the policy gives something to %s, and nobody has it: take its rows out, before somebody gets it", role))
		}
	}
	return list
}

// cloud looks at what of a cloud is believed here. There is no federation yet: a
// token that is callgate's for all stands where each agent could have its own.
func (n *inventory) cloud() (list []string) {
	for _, name := range slices.Sorted(maps.Keys(n.cfg.MCP.Servers)) {
		if o := n.cfg.MCP.Servers[name].OAuth; o.given && slices.ContainsFunc(o.Scopes, func(s string) bool { return strings.Contains(s, "*") || s == "all" || s == "admin" }) {
			list = append(list, fmt.Sprintf("mcp.servers.%s.oauth.scopes asks for everything: name the scopes that its tools need", name))
		}
	}
	return list
}

func (n *inventory) longLived() (list []string) {
	if d := time.Duration(n.cfg.Identity.TTL); d > longToken {
		list = append(list, fmt.Sprintf("tokens live for %v by default: write identity.ttl: 5m", d))
	}
	for _, a := range n.active() {
		if d, err := time.ParseDuration(a.MaxTTL); err == nil && d > longToken {
			list = append(list, fmt.Sprintf("tokens of agent %s may live for %v: %s", a.Name, d, mend(&a, "set "+a.Name+" --max-ttl 1h", "max_ttl: 1h")))
		}
		if a.SecretSince != nil && n.now.Sub(*a.SecretSince) > longSecret {
			list = append(list, fmt.Sprintf("the secret of agent %s is %d days old: %s", a.Name, int(n.now.Sub(*a.SecretSince).Hours()/24), mend(&a, "rotate "+a.Name+" --overlap 24h", "another secret, and this one under old_secret for a while,")))
		}
		if a.OldSecret && a.OldUntil == nil {
			list = append(list, fmt.Sprintf("agent %s has two secrets: take old_secret out of the configuration once the new one is in use", a.Name))
		}
	}
	return list
}

// environmentWords are what environments are called in the names of roles.
var environmentWords = map[string]string{
	"dev": "dev", "development": "dev", "test": "test", "testing": "test", "qa": "test", "staging": "staging", "stage": "staging", "prod": "prod", "production": "prod", "live": "prod",
}

func (n *inventory) environments() (list []string) {
	for _, a := range n.active() {
		in := make(map[string]bool)
		for _, role := range a.Roles {
			for _, part := range strings.FieldsFunc(strings.TrimPrefix(role, "role:"), func(c rune) bool { return c == '-' || c == '_' || c == '.' }) {
				if word, ok := environmentWords[strings.ToLower(part)]; ok {
					in[word] = true
				}
			}
		}
		if a.Environment != "" {
			if len(in) == 1 && slices.Contains(a.Roles, "role:dev") { // which is as often a trade
				clear(in)
			}
			in[cmp.Or(environmentWords[a.Environment], a.Environment)] = true
		}
		if len(in) > 1 {
			list = append(list, fmt.Sprintf("agent %s works in %s: register one for each", a.Name, strings.Join(slices.Sorted(maps.Keys(in)), " and ")))
		}
	}
	return list
}

func (n *inventory) reuse() (list []string) {
	if !n.running {
		owners := make(map[string][]string)
		for _, a := range n.cfg.Agents {
			if a.Secret.Given {
				hash := string(a.Secret.Secret.Hash())
				owners[hash] = append(owners[hash], a.Name)
			}
		}
		for _, names := range owners {
			if len(names) > 1 {
				n.reused = append(n.reused, identity.Reuse{Agents: names})
			}
		}
		slices.SortFunc(n.reused, func(a, b identity.Reuse) int { return slices.Compare(a.Agents, b.Agents) })
	}
	for _, r := range n.reused {
		if len(r.Agents) > 1 {
			list = append(list, fmt.Sprintf("agents %s have one secret: give each its own (callgate agent rotate NAME, or another secret in the configuration)", some(r.Agents)))
			continue
		}
		list = append(list, fmt.Sprintf("the credentials of agent %s came from %d networks (%s): if that is not one agent that moves, register one for each, and rotate its secret", r.Agents[0], len(r.Networks), some(r.Networks)))
	}
	return list
}

// humanUse looks for agents as which people come, too: that get tokens for
// themselves, and by hand.
func (n *inventory) humanUse() (list []string) {
	byHand, itself := make(map[string]int), make(map[string]bool)
	for _, r := range n.issued {
		switch {
		case r.What != "token.issued":
		case r.By == r.Name:
			itself[r.Name] = true
		default:
			byHand[r.Name]++
		}
	}
	for _, a := range slices.Sorted(maps.Keys(byHand)) {
		if itself[a] {
			list = append(list, fmt.Sprintf("tokens of %s were also got by hand, %d of late: register what is used by hand as an agent of its own (callgate agent create)", a, byHand[a]))
		}
	}
	return list
}
