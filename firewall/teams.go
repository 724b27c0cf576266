package firewall

import "slices"

// teams knows in which groups users are.
type teams struct {
	policy Policy
	person func(name string) (groups []string, err error) // may be nil
}

// of is the groups of a user, by the registry and by the rows of the policy; of a group,
// itself and those that it is in.
func (t teams) of(tenant, user string) []string {
	var known []string
	if t.person != nil {
		known, _ = t.person(user) // who may not go on is refused elsewhere
	}
	all := t.policy.Groups(tenant, user)
	for _, g := range known {
		all = append(append(all, g), t.policy.Groups(tenant, g)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
