package policy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"callgate/identity"
)

// A Change is what a policy means to one subject that another does not.
type Change struct {
	Subject string `json:"subject"`
	Object  string `json:"object"` // or the pattern of a row: whatever else begins so
	Action  string `json:"action"`
	Before  string `json:"before"` // "no", "yes", or what it depends on
	After   string `json:"after"`
}

// maxStandings bounds the pairs of subject and object that Diff looks at.
const maxStandings = 20_000_000

// Diff is who gains and loses what when b takes the place of a. It asks both for
// every subject that one of them names, and every object and action of their rows,
// as calls would ask. A role stands for an agent that has it and nothing else.
func Diff(a, b *Policy) ([]Change, error) {
	if a.custom != nil || b.custom != nil {
		return nil, errors.New("policies under another model than the built-in one cannot be compared: nobody knows what it means")
	}
	subjects, objects := make(map[string]bool), make(map[[2]string]bool)
	tenants := map[string]bool{"default": true}
	for _, p := range []*Policy{a, b} {
		p.name(subjects, objects, tenants)
	}
	if n := len(subjects) * len(objects) * len(tenants); n > maxStandings {
		return nil, fmt.Errorf("%d subjects, %d objects and %d tenants are too many to compare: split the policies", len(subjects), len(objects), len(tenants))
	}
	var all []Change
	for _, tenant := range slices.Sorted(maps.Keys(tenants)) {
		shared := make(map[[2]string]Change) // what changes for everyone is told once
		for _, subject := range append([]string{everyone}, slices.Sorted(maps.Keys(subjects))...) {
			caller := standIn(subject, tenant)
			for at := range objects {
				c := Change{Subject: subject, Object: at[0], Action: at[1], Before: a.standing(&caller, at), After: b.standing(&caller, at)}
				if tenant != "default" {
					c.Subject += " in " + tenant
				}
				if c.Before == c.After {
					continue
				}
				if x, ok := shared[at]; ok && x.Before == c.Before && x.After == c.After {
					continue
				}
				if subject == everyone {
					shared[at] = c
				}
				all = append(all, c)
			}
		}
	}
	slices.SortFunc(all, func(x, y Change) int {
		return cmp.Or(cmp.Compare(x.Subject, y.Subject), cmp.Compare(x.Object, y.Object), cmp.Compare(x.Action, y.Action))
	})
	return all, nil
}

// name notes what the rows of p name.
func (p *Policy) name(subjects map[string]bool, objects map[[2]string]bool, tenants map[string]bool) {
	for _, kind := range []string{"p", "p2"} {
		for _, r := range p.model["p"][kind].Policy {
			subjects[r[colSubject]] = r[colSubject] != everyone
			if r[colTenant] != anywhere {
				tenants[r[colTenant]] = true
			}
			for _, object := range append([]string{r[colObject]}, p.belonging(r[colObject])...) {
				prefix := object[:strings.IndexByte(object, ':')+1]
				can, _ := fits(prefix)
				for _, action := range []string{"call", "generate", "embed", "store", "read", "subscribe", "get", "delegate", "admin"} {
					set, _ := parseActions(action)
					if wanted, _ := parseActions(r[colAction]); set&can&wanted != 0 && prefix != "class:" {
						objects[[2]string{object, action}] = true
					}
				}
			}
		}
	}
	for tenant, l := range p.members {
		tenants[tenant] = true
		for member := range l {
			subjects[member] = true
		}
	}
	delete(subjects, everyone)
}

// belonging is the objects of a class.
func (p *Policy) belonging(class string) []string {
	var all []string
	for object, classes := range p.classes {
		if slices.Contains(classes, class) {
			all = append(all, object)
		}
	}
	return all
}

// standIn is a caller that has what subject has.
func standIn(subject, tenant string) identity.Principal {
	if prefixed(subject, held) {
		return identity.Principal{Tenant: tenant, Subject: "agent:?", Roles: []string{subject}}
	}
	return identity.Principal{Tenant: tenant, Subject: subject}
}

// standing is what p says to caller of an object and an action, before there is a
// call, in words that are the same if the answer to every call is.
func (p *Policy) standing(caller *identity.Principal, at [2]string) string {
	q := questions.Get().(*question)
	defer q.done()
	q.caller, q.object, q.classes = caller, append(q.object, at[0]...), p.classes[at[0]]
	q.act, _ = parseActions(at[1])
	always, parts := false, []string(nil)
	for _, n := range p.verdict.candidates(q, 0) {
		switch r := &p.verdict.rules[n]; {
		case r.cond != nil: // who stands in for a role is no caller that it could be asked of
			parts = append(parts, p.model["p"]["p"].Policy[n][colEffect]+" if "+p.model["p"]["p"].Policy[n][colCondition])
		case r.deny:
			return "no"
		default:
			always = true
		}
	}
	if !always && !slices.ContainsFunc(parts, func(s string) bool { return strings.HasPrefix(s, "allow") }) {
		return "no"
	}
	if always {
		parts = append(parts, "yes")
	}
	for _, n := range p.duties.candidates(q, 0) {
		r := p.model["p"]["p2"].Policy[n]
		if p.duties.rules[n].cond != nil {
			parts = append(parts, r[colDuty]+" if "+r[colCondition])
		} else {
			parts = append(parts, r[colDuty])
		}
	}
	slices.Sort(parts)
	return strings.Join(slices.Compact(parts), "; ")
}
