package firewall

import "callgate/identity"

// ByIdentity is the rule of what is decided by who calls, and by no row.
const ByIdentity = "identity"

// Within is d, or a denial where an agent of the call is kept from its object by its
// registration, whatever policy allows.
func (c *Call) Within(d Decision) Decision {
	if len(c.Caller.Within) == 0 || permitted(&c.Caller, c.Object()) {
		return d
	}
	return d.And(Decision{
		Rule:   ByIdentity,
		Reason: "the registration of " + c.Caller.Agent() + " keeps it from " + c.Object() + ": callgate agent show tells what it is kept to",
	})
}

// permitted says whether caller is kept from nothing that leads to object.
func permitted(caller *identity.Principal, object string) bool {
	for i := range caller.Within {
		if !caller.Within[i].Permits(object) {
			return false
		}
	}
	return true
}
