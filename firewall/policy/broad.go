package policy

import (
	"slices"
	"strings"
)

// Broad is the rows that allow all there is of a kind without a condition, in words:
// "R1 allows role:dev to call tool:*". Of another model than the built-in one
// nothing is known.
func (p *Policy) Broad() []string {
	var list []string
	if p.custom != nil {
		return nil
	}
	for _, r := range p.model["p"]["p"].Policy {
		_, name, _ := strings.Cut(r[colObject], ":")
		if name == "*" && r[colEffect] == "allow" && r[colCondition] == always {
			list = append(list, r[colID]+" allows "+r[colSubject]+" "+r[colAction]+" of "+r[colObject])
		}
	}
	return list
}

// Roles is the roles that rows give something to, by name, but those that other
// subjects of the policy have by its g rows.
func (p *Policy) Roles() []string {
	var list []string
	if p.custom != nil {
		return nil
	}
	for _, r := range p.model["p"]["p"].Policy {
		role := r[colSubject]
		if strings.HasPrefix(role, "role:") && !slices.Contains(list, role) && !p.given(role) {
			list = append(list, role)
		}
	}
	slices.Sort(list)
	return list
}

// given says whether a g row makes somebody else than a role a member of role.
func (p *Policy) given(role string) bool {
	for _, members := range p.members {
		for name := range members {
			if !strings.HasPrefix(name, "role:") && slices.Contains(members.closure(name)[1:], role) {
				return true
			}
		}
	}
	return false
}

// Inherited is roles and all that they are members of, at any remove, in a tenant.
func (p *Policy) Inherited(tenant string, roles []string) []string {
	var all []string
	for _, role := range roles {
		all = append(all, p.members[tenant].closure(role)...)
	}
	return all
}
