package identity

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// An Agent is one that may call: a name, what it may be taken for, and who
// answers for it. The zero Agent is not active, so nothing is allowed to it.
type Agent struct {
	Tenant     string        // "default", the only one
	Name       string        // unique in its tenant and never used again: 1 to 64 of a-z 0-9 - _ . beginning with a letter or digit
	Roles      []string      // prefixed: "role:support"; what is given as "support" becomes that
	Owner      string        // who answers for it: "user:ana" or "group:ops"; "" if nobody was named
	Purpose    string        // what it is for, in a few words
	Status     string        // Active or Revoked
	SecretHash []byte        // SHA-256 of its secret; empty if it has none and so cannot get tokens itself
	MaxTTL     time.Duration // longest life of its tokens, in whole seconds; default 1 h
	Epoch      int64         // goes up when all tokens issued so far must end
	Created    time.Time
	Revoked    time.Time // zero unless Status is Revoked
	Source     string    // FromConfig or FromAPI
}

// What an [Agent]'s Status and Source may be.
const (
	Active  = "active"
	Revoked = "revoked"

	FromConfig = "config"
	FromAPI    = "api"
)

const (
	tenant        = "default"
	defaultMaxTTL = time.Hour
	longestTTL    = 366 * 24 * time.Hour
	maxName       = 64
	maxRoles      = 64
	maxPurpose    = 256 // bytes
)

// A Store keeps agents. It is used by one [Registry].
type Store interface {
	// Agents is all agents that were ever put, in any order.
	Agents(ctx context.Context) ([]Agent, error)
	// PutAgent makes a durable before it returns nil, in place of the agent that
	// has its tenant and name. Times are kept to the microsecond.
	PutAgent(ctx context.Context, a Agent) error
}

// Memory is a [Store] in memory, for tests and for trying things out. The zero
// Memory is empty and ready.
type Memory struct {
	mu     sync.Mutex
	agents map[string]Agent
}

// Agents implements [Store].
func (m *Memory) Agents(context.Context) ([]Agent, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Agent, 0, len(m.agents))
	for _, a := range m.agents {
		list = append(list, a.clone())
	}
	return list, nil
}

// PutAgent implements [Store].
func (m *Memory) PutAgent(_ context.Context, a Agent) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.agents == nil {
		m.agents = make(map[string]Agent)
	}
	m.agents[a.Tenant+"/"+a.Name] = a.clone()
	return nil
}

// subject is the agent's name as tokens, rules and records have it.
func (a *Agent) subject() string { return "agent:" + a.Name }

func (a Agent) clone() Agent {
	a.Roles, a.SecretHash = slices.Clone(a.Roles), slices.Clone(a.SecretHash)
	return a
}

// register is the agent that whoever described a meant: prefixes and defaults
// put in, everything checked.
func (a Agent) register() (Agent, error) {
	a = a.clone()
	if a.Tenant == "" {
		a.Tenant = tenant
	}
	if a.Tenant != tenant {
		return a, invalid("agent %s: there is no tenant %q; leave it away", a.Name, a.Tenant)
	}
	if !isName(a.Name) {
		return a, invalid("agent name %.80q: want 1 to %d of a-z 0-9 - _ . beginning with a letter or digit", a.Name, maxName)
	}
	if len(a.Roles) > maxRoles {
		return a, invalid("agent %s has %d roles: at most %d", a.Name, len(a.Roles), maxRoles)
	}
	for i, role := range a.Roles {
		bare := strings.TrimPrefix(role, "role:")
		if !isWord(bare) {
			return a, invalid("agent %s: role %.80q: want one word of letters, digits, - _ .", a.Name, role)
		}
		a.Roles[i] = "role:" + bare
	}
	slices.Sort(a.Roles)
	a.Roles = slices.Compact(a.Roles)
	if a.Owner != "" {
		kind, bare, prefixed := strings.Cut(a.Owner, ":")
		if !prefixed {
			kind, bare = "user", a.Owner
		}
		if kind != "user" && kind != "group" || !isOwner(bare) {
			return a, invalid("agent %s: owner %.80q: write user:NAME or group:NAME", a.Name, a.Owner)
		}
		a.Owner = kind + ":" + bare
	}
	if len(a.Purpose) > maxPurpose || !utf8.ValidString(a.Purpose) || strings.ContainsFunc(a.Purpose, unicode.IsControl) {
		return a, invalid("agent %s: want a purpose of one line and at most %d bytes", a.Name, maxPurpose)
	}
	if a.MaxTTL == 0 {
		a.MaxTTL = defaultMaxTTL
	}
	if a.MaxTTL < time.Second || a.MaxTTL > longestTTL {
		return a, invalid("agent %s: max ttl %v: want 1s to %v", a.Name, a.MaxTTL, longestTTL)
	}
	a.MaxTTL = a.MaxTTL.Truncate(time.Second) // as tokens count
	return a, nil
}

// isName says whether s may name an agent.
func isName(s string) bool {
	return isWord(s) && s == strings.ToLower(s) && s[0] != '-' && s[0] != '_' && s[0] != '.'
}

// isWord says whether s is one short word of the characters that need no
// quoting in a rule, a URL or a shell.
func isWord(s string) bool {
	return len(s) > 0 && len(s) <= maxName && !strings.ContainsFunc(s, func(c rune) bool { return !wordly(c) })
}

// isOwner says whether s may name a person, who is often known by a mail address.
func isOwner(s string) bool {
	return len(s) > 0 && len(s) <= 2*maxName && !strings.ContainsFunc(s, func(c rune) bool { return !wordly(c) && c != '@' && c != '+' })
}

func wordly(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}
