// Package engines puts callgate's policy beside other engines: the same rules, in
// the words of each, and the same requests. It is a module of its own, so that the
// product depends on none of them.
package engines

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A rule allows or denies a role an action on an object, or on all whose names
// begin so, where Most is 0 or the argument n is at most that.
type rule struct {
	ID, Role, Object, Action string
	Prefix                   bool
	Most                     int
	Deny                     bool
}

// A book is rules, and who has which roles.
type book struct {
	rules   []rule
	roles   map[string][]string // of agents
	parents map[string]string   // of roles
}

// A request is one that every engine is asked about.
type request struct {
	Agent, Object, Action string
	N                     int
}

// newBook is n rules: six in ten about one tool, three about a server, one about a
// provider; a quarter of those about tools have a condition, a tenth deny. Agents
// have one role or two, and every other role has another.
func newBook(n int) *book {
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	roles := max(10, n/10)
	b := &book{roles: make(map[string][]string), parents: make(map[string]string)}
	for i := range n {
		r := rule{ID: fmt.Sprintf("R%d", i), Role: fmt.Sprintf("role:r%d", rnd.IntN(roles)), Action: "call", Deny: rnd.IntN(10) == 0}
		server := rnd.IntN(20)
		switch k := rnd.IntN(10); {
		case k < 6:
			r.Object = fmt.Sprintf("tool:s%d/t%d", server, rnd.IntN(50))
		case k < 9:
			r.Object, r.Prefix = fmt.Sprintf("tool:s%d/", server), true
		default:
			r.Object, r.Prefix, r.Action = fmt.Sprintf("model:p%d/", server%5), true, "generate"
		}
		if r.Action == "call" && rnd.IntN(4) == 0 {
			r.Most = 1 + rnd.IntN(100)
		}
		b.rules = append(b.rules, r)
	}
	for i := range roles {
		if i%2 == 1 {
			b.parents[fmt.Sprintf("role:r%d", i)] = fmt.Sprintf("role:r%d", i-1)
		}
	}
	for i := range 2 * roles {
		agent := fmt.Sprintf("agent:a%d", i)
		for range 1 + rnd.IntN(2) {
			b.roles[agent] = append(b.roles[agent], fmt.Sprintf("role:r%d", rnd.IntN(roles)))
		}
	}
	return b
}

// requests is n of them, by agents that a rule is about more often than not.
func (b *book) requests(n int) []request {
	rnd := rand.New(rand.NewPCG(2, uint64(len(b.rules))))
	holders := make(map[string][]string)
	for i := range 2 * max(10, len(b.rules)/10) {
		agent := fmt.Sprintf("agent:a%d", i)
		for _, role := range b.all(agent) {
			holders[role] = append(holders[role], agent)
		}
	}
	var list []request
	for len(list) < n {
		r := b.rules[rnd.IntN(len(b.rules))]
		q := request{Agent: fmt.Sprintf("agent:a%d", rnd.IntN(2*max(10, len(b.rules)/10))), Object: r.Object, Action: r.Action, N: rnd.IntN(120)}
		if h := holders[r.Role]; len(h) > 0 && rnd.IntN(4) > 0 {
			q.Agent = h[rnd.IntN(len(h))]
		}
		if r.Prefix {
			q.Object += fmt.Sprintf("t%d", rnd.IntN(50))
		}
		list = append(list, q)
	}
	return list
}

// all is the roles of an agent, and those of these.
func (b *book) all(agent string) []string {
	var all []string
	seen := make(map[string]bool)
	for _, role := range b.roles[agent] {
		for ; role != "" && !seen[role]; role = b.parents[role] {
			seen[role] = true
			all = append(all, role)
		}
	}
	return all
}

// csv is the book as rows of Casbin, for callgate and for Casbin itself.
func (b *book) csv() string {
	var out strings.Builder
	for _, r := range b.rules {
		object, condition, effect := r.Object, "true", "allow"
		if r.Prefix {
			object += "*"
		}
		if r.Most > 0 {
			condition = fmt.Sprintf("r.env.args.n <= %d", r.Most)
		}
		if r.Deny {
			effect = "deny"
		}
		fmt.Fprintf(&out, "p, %s, *, %s, %s, %s, %s, %s\n", r.Role, object, r.Action, condition, effect, r.ID)
	}
	for agent, roles := range b.roles {
		for _, role := range roles {
			fmt.Fprintf(&out, "g, %s, %s, default\n", agent, role)
		}
	}
	for role, parent := range b.parents {
		fmt.Fprintf(&out, "g, %s, %s, default\n", role, parent)
	}
	return out.String()
}

// cedar is the book as Cedar policies. A prefix is a pattern of the object's name.
func (b *book) cedar() string {
	var out strings.Builder
	for _, r := range b.rules {
		effect, resource, when := "permit", "resource", ""
		if r.Deny {
			effect = "forbid"
		}
		if r.Prefix {
			when = fmt.Sprintf("resource.name like %q", r.Object+"*")
		} else {
			resource = fmt.Sprintf("resource == Object::%q", r.Object)
		}
		if r.Most > 0 {
			if when != "" {
				when += " && "
			}
			when += fmt.Sprintf("context.n <= %d", r.Most)
		}
		fmt.Fprintf(&out, "%s (principal in Role::%q, action == Action::%q, %s)", effect, r.Role, r.Action, resource)
		if when != "" {
			out.WriteString(" when { " + when + " }")
		}
		out.WriteString(";\n")
	}
	return out.String()
}

// linear and indexed are the book's meaning in Rego. The first looks at every
// rule; the second finds those of a role and an action in the data.
const (
	linear = `package gate
import rego.v1

hit contains rule.deny if {
	some rule in data.rules
	rule.action == input.action
	rule.role in data.members[input.agent]
	fits(rule)
	holds(rule)
}
` + common
	indexed = `package gate
import rego.v1

hit contains rule.deny if {
	some role in data.members[input.agent]
	some rule in data.rules[role][input.action]
	fits(rule)
	holds(rule)
}
` + common
	common = `
fits(rule) if { not rule.prefix; rule.object == input.object }
fits(rule) if { rule.prefix; startswith(input.object, rule.object) }
holds(rule) if rule.most == 0
holds(rule) if { rule.most > 0; input.n <= rule.most }

default allow := false
allow if { false in hit; not true in hit }
`
)

// data is the book for Rego: rules in a list, or by role and action.
func (b *book) data(byRole bool) map[string]any {
	members, list, tree := map[string]any{}, []any{}, map[string]any{}
	for agent := range b.roles {
		var roles []any
		for _, role := range b.all(agent) {
			roles = append(roles, role)
		}
		members[agent] = roles
	}
	for _, r := range b.rules {
		one := map[string]any{"role": r.Role, "object": r.Object, "action": r.Action, "prefix": r.Prefix, "most": r.Most, "deny": r.Deny}
		list = append(list, one)
		of, _ := tree[r.Role].(map[string]any)
		if of == nil {
			of = map[string]any{}
			tree[r.Role] = of
		}
		rules, _ := of[r.Action].([]any)
		of[r.Action] = append(rules, one)
	}
	if byRole {
		return map[string]any{"members": members, "rules": tree}
	}
	return map[string]any{"members": members, "rules": list}
}
