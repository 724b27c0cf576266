package policy

import (
	"slices"
	"strings"
)

// A rule is one p or p2 row, ready to be judged.
type rule struct {
	id   string
	acts actions
	deny bool
	cond *condition // nil: always
	duty *duty      // of a p2 row
}

// An index finds the rules that may apply to a question without looking at the
// others. It is built once and never changed.
type index struct {
	rules   []rule // in the order of the rows
	tenants map[string]tenant
	rest    tenant // any tenant that no row names
}

// tenant knows the buckets of every name in it: its own, and those of what it is
// a member of. A name that is not known is a member of nothing.
type tenant map[string][]*bucket

// bucket holds the rules of one tenant and subject by their object. Rules are
// named by their place in index.rules.
type bucket struct {
	exact    map[string][]int32 // by object, or by class
	patterns map[string][]int32 // by the object up to its *
	lengths  []int              // of the keys of patterns, ascending
}

// builder makes an index.
type builder struct {
	index
	buckets map[place]*bucket
}

type place struct{ tenant, subject string }

// add puts a rule behind those that were added before it.
func (b *builder) add(at place, object string, r rule) {
	u := b.buckets[at]
	if u == nil {
		u = &bucket{exact: make(map[string][]int32), patterns: make(map[string][]int32)}
		b.buckets[at] = u
	}
	n := int32(len(b.rules))
	b.rules = append(b.rules, r)
	if begin, ok := strings.CutSuffix(object, "*"); ok {
		u.patterns[begin] = append(u.patterns[begin], n)
		if i, found := slices.BinarySearch(u.lengths, len(begin)); !found {
			u.lengths = slices.Insert(u.lengths, i, len(begin))
		}
		return
	}
	u.exact[object] = append(u.exact[object], n)
}

// build closes the index over members, the links of each tenant.
func (b *builder) build(members map[string]links) *index {
	b.tenants = make(map[string]tenant)
	b.rest = make(tenant)
	for at, u := range b.buckets {
		if at.tenant == anywhere {
			b.rest[at.subject] = []*bucket{u}
		} else {
			b.reach(at, members)
		}
	}
	for name, l := range members {
		for member := range l {
			b.reach(place{name, member}, members)
		}
	}
	return &b.index
}

// reach notes the buckets of one name in a tenant that rows name.
func (b *builder) reach(at place, members map[string]links) {
	t := b.tenants[at.tenant]
	if t == nil {
		t = make(tenant)
		b.tenants[at.tenant] = t
	}
	if _, ok := t[at.subject]; ok {
		return
	}
	all := []*bucket{}
	for _, name := range members[at.tenant].closure(at.subject) {
		for _, in := range []string{at.tenant, anywhere} {
			if u := b.buckets[place{in, name}]; u != nil {
				all = append(all, u)
			}
		}
	}
	t[at.subject] = all
}

// of is the buckets of name in a tenant.
func (x *index) of(in, name string) []*bucket {
	if all, ok := x.tenants[in][name]; ok {
		return all
	}
	return x.rest[name]
}

// candidates are the rules that apply to q for its hop, unless their conditions
// say otherwise, in the order of the rows. They are valid until q asks again.
func (x *index) candidates(q *question, hop int) []int32 {
	tenant, name, dst := q.caller.Tenant, q.hop(hop), q.found[:0]
	dst = x.collect(dst, x.of(tenant, name), q)
	for _, role := range q.caller.Held(hop) {
		if prefixed(role, held) { // so that no role can be somebody's name
			dst = x.collect(dst, x.of(tenant, role), q)
		}
	}
	dst = x.collect(dst, x.of(tenant, everyone), q)
	q.found = dst
	slices.Sort(dst)
	return slices.Compact(dst)
}

func (x *index) collect(dst []int32, buckets []*bucket, q *question) []int32 {
	for _, u := range buckets {
		dst = x.fitting(dst, u.exact[string(q.object)], q.act)
		for _, class := range q.classes {
			dst = x.fitting(dst, u.exact[class], q.act)
		}
		for _, n := range u.lengths {
			if n > len(q.object) {
				break
			}
			dst = x.fitting(dst, u.patterns[string(q.object[:n])], q.act)
		}
	}
	return dst
}

// fitting appends those of rules that are about act.
func (x *index) fitting(dst, rules []int32, act actions) []int32 {
	for _, n := range rules {
		if x.rules[n].acts&act != 0 {
			dst = append(dst, n)
		}
	}
	return dst
}
