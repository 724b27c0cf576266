package identity

import (
	"slices"
	"strings"
)

// A Scope says where a secret may be sent, and on whose behalf. The zero Scope says
// anywhere and for everybody.
type Scope struct {
	Targets []string // provider:NAME, server:NAME; none: all
	Agents  []string // agent:NAME, role:NAME, group:NAME, user:NAME; none: all
}

const (
	maxScope     = 64  // entries of each kind
	maxScopeName = 128 // bytes of an entry
)

// check says what is wrong with s.
func (s Scope) check() error {
	for _, list := range []struct {
		entries []string
		kinds   []string
		hint    string
	}{
		{s.Targets, []string{"provider:", "server:"}, "write provider:NAME or server:NAME"},
		{s.Agents, []string{"agent:", "role:", "group:", "user:"}, "write agent:NAME, role:NAME, group:NAME or user:NAME"},
	} {
		if len(list.entries) > maxScope {
			return invalid("a scope has at most %d entries of a kind", maxScope)
		}
		for _, e := range list.entries {
			named := slices.ContainsFunc(list.kinds, func(k string) bool { return strings.HasPrefix(e, k) && len(e) > len(k) })
			if !named || len(e) > maxScopeName || strings.ContainsFunc(e, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '*' }) {
				return invalid("%.80q cannot stand in a scope: %s", e, list.hint)
			}
		}
	}
	return nil
}

// Leads says whether s lets a secret go to target.
func (s Scope) Leads(target string) bool {
	return len(s.Targets) == 0 || slices.Contains(s.Targets, target)
}

// has says whether who may use a secret: the user for whom the agents act is named,
// or in a group that is, or else each agent of the chain is named, or a role or group
// that it has, so that nobody gets by way of another what is not for them. callgate
// itself may: what it asks for, such as which tools there are, is no agent's call.
func (s Scope) has(who *Principal, member func(tenant, subject, of string) bool) bool {
	if len(s.Agents) == 0 || who == nil {
		return true
	}
	if strings.HasPrefix(who.Subject, "user:") {
		if s.names(who.Tenant, who.Subject, nil, member) {
			return true
		}
	} else if !s.names(who.Tenant, who.Subject, who.Held(len(who.Actors)), member) {
		return false
	}
	for hop, agent := range who.Actors {
		if !s.names(who.Tenant, agent, who.Held(hop), member) {
			return false
		}
	}
	return len(who.Actors) > 0 || !strings.HasPrefix(who.Subject, "user:")
}

// names says whether an entry is a subject, a role that it has, or a role or group
// that it belongs to.
func (s Scope) names(tenant, subject string, roles []string, member func(tenant, subject, of string) bool) bool {
	for _, e := range s.Agents {
		if e == subject || slices.Contains(roles, e) {
			return true
		}
		if member != nil && (strings.HasPrefix(e, "role:") || strings.HasPrefix(e, "group:")) && member(tenant, subject, e) {
			return true
		}
	}
	return false
}

// String is the scope in words, for the record.
func (s Scope) String() string {
	targets, agents := "anywhere", "for everybody"
	if len(s.Targets) > 0 {
		targets = "for " + strings.Join(s.Targets, " ")
	}
	if len(s.Agents) > 0 {
		agents = "by " + strings.Join(s.Agents, " ")
	}
	return targets + ", " + agents
}

func (s Scope) clone() Scope { return Scope{slices.Clone(s.Targets), slices.Clone(s.Agents)} }
