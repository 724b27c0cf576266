package identity

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// An Agent is one that may call: a name, what it may be taken for, and who
// answers for it. The zero Agent is not active, so nothing is allowed to it.
type Agent struct {
	Tenant  string        // "default", the only one
	Name    string        // unique in its tenant and never used again: 1 to 64 of a-z 0-9 - _ . beginning with a letter or digit
	Roles   []string      // prefixed: "role:support"; what is given as "support" becomes that
	Owner   string        // who answers for it: "user:ana" or "group:ops"; "" if nobody was named
	Purpose string        // what it is for, in a few words
	Status  string        // Active, Suspended, Retired or Revoked
	MaxTTL  time.Duration // longest life of its tokens, in whole seconds; default 1 h
	Epoch   int64         // goes up when all tokens issued so far must end
	Created time.Time
	Revoked time.Time // zero unless Status is Revoked
	Source  string    // FromConfig or FromAPI

	Environment string    // where it works, one word: dev, staging, prod; "" if nobody said
	Models      []string  // the only models that it may use, as patterns: "model:openai/*"; none: no limit besides policy
	Servers     []string  // the only MCP servers that it may reach: "server:files"; none: no limit besides policy
	Expires     time.Time // from then on no call passes and no token is issued; zero: never
	Since       time.Time // when Status became what it is
	LastSeen    time.Time // when a token of it was last verified, within a minute; zero: never

	SecretHash  []byte    // SHA-256 of its secret; empty if it has none
	SecretSince time.Time // when it got that secret
	OldSecret   []byte    // SHA-256 of the secret before, while that is still good
	OldUntil    time.Time // when OldSecret ends; zero: when it is taken away
	JWKS        string    // public keys with which it may prove who it is (RFC 7523), as [ReadClientKeys] writes them
	JWKSURI     string    // where such keys are published, instead
	DPoP        bool      // only tokens that are bound to a key that it shows are for it (RFC 9449)
}

// What an [Agent]'s Status and Source may be, and a [User]'s.
const (
	Active    = "active"
	Suspended = "suspended" // until it is resumed; its tokens have ended
	Retired   = "retired"   // ended in good order, for good
	Revoked   = "revoked"   // ended by force, for good

	FromConfig = "config"
	FromAPI    = "api"
	FromLogin  = "login" // of a [User], by its identity provider
)

const (
	tenant        = "default"
	defaultMaxTTL = time.Hour
	longestTTL    = 366 * 24 * time.Hour
	maxName       = 64
	maxRoles      = 64
	maxPurpose    = 256 // bytes
	maxWithin     = 64  // patterns, of models and of servers
	maxURI        = 512 // bytes
)

// subject is the agent's name as tokens, rules and records have it.
func (a *Agent) subject() string { return "agent:" + a.Name }

func (a Agent) clone() Agent {
	a.Roles, a.SecretHash, a.OldSecret = slices.Clone(a.Roles), slices.Clone(a.SecretHash), slices.Clone(a.OldSecret)
	a.Models, a.Servers = slices.Clone(a.Models), slices.Clone(a.Servers)
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
	if a.Environment != "" && (!isWord(a.Environment) || a.Environment != strings.ToLower(a.Environment)) {
		return a, invalid("agent %s: environment %.80q: want one word of a-z 0-9 - _ ., such as dev, staging or prod", a.Name, a.Environment)
	}
	w, err := NewWithin(a.Models, a.Servers)
	if err != nil {
		return a, invalid("agent %s: %v", a.Name, err)
	}
	a.Models, a.Servers = w.Models, w.Servers
	if !a.Expires.IsZero() {
		a.Expires = a.Expires.UTC().Truncate(time.Microsecond)
	}
	if a.JWKS != "" && a.JWKSURI != "" {
		return a, invalid("agent %s has both keys and a jwks_uri: give it one of them", a.Name)
	}
	if a.JWKS != "" {
		if a.JWKS, err = ReadClientKeys([]byte(a.JWKS)); err != nil {
			return a, invalid("agent %s: %v", a.Name, err)
		}
	}
	if a.JWKSURI != "" && !isKeysURI(a.JWKSURI) {
		return a, invalid("agent %s: jwks_uri: want an https URL of at most %d bytes, without user and without # (http on this machine)", a.Name, maxURI)
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
