package policy

import (
	"slices"
	"strings"
)

// A cover finds, for a row, an unconditional row of one effect whose subject,
// tenant, object and action take in all that the row is about. It is built once,
// and finds without looking at all rows.
type cover struct {
	c    *checker
	rows map[string]*covering // by subject
}

type covering struct {
	exact    map[string][]row // by object, or class
	patterns map[string][]row // by the object up to its *
	lengths  []int
}

// covers is a cover of the unconditional p rows of an effect.
func (c *checker) covers(effect string) *cover {
	v := &cover{c: c, rows: make(map[string]*covering)}
	for _, r := range c.rows {
		f := r.fields[1:]
		if r.fields[0] != "p" || f[colCondition] != always || f[colEffect] != effect {
			continue
		}
		u := v.rows[f[colSubject]]
		if u == nil {
			u = &covering{exact: make(map[string][]row), patterns: make(map[string][]row)}
			v.rows[f[colSubject]] = u
		}
		begin, isPattern := strings.CutSuffix(f[colObject], "*")
		if !isPattern {
			u.exact[begin] = append(u.exact[begin], r)
			continue
		}
		u.patterns[begin] = append(u.patterns[begin], r)
		if i, found := slices.BinarySearch(u.lengths, len(begin)); !found {
			u.lengths = slices.Insert(u.lengths, i, len(begin))
		}
	}
	return v
}

// of is a row that covers r and is not r itself.
func (v *cover) of(r row) (row, bool) {
	f := r.fields[1:]
	begin, isPattern := strings.CutSuffix(f[colObject], "*")
	for _, subject := range v.subjects(f[colSubject], f[colTenant]) {
		u := v.rows[subject]
		if u == nil {
			continue
		}
		if !isPattern {
			for _, object := range v.c.classes.closure(begin) {
				if by, ok := wider(u.exact[object], r); ok {
					return by, true
				}
			}
		}
		for _, n := range u.lengths {
			if n > len(begin) {
				break
			}
			if by, ok := wider(u.patterns[begin[:n]], r); ok {
				return by, true
			}
		}
	}
	return row{}, false
}

// subjects are those whose rows are about a subject wherever a row of tenant is.
func (v *cover) subjects(subject, tenant string) []string {
	all := []string{subject}
	if tenant != anywhere { // else the links of no tenant are sure
		all = v.c.members[tenant].closure(subject)
	}
	if subject != everyone {
		all = append(all, v.c.members[tenant].closure(everyone)...)
	}
	return all
}

// wider is the first of rows that is about the tenant and all actions of r, and
// says more than r or the same before it.
func wider(rows []row, r row) (row, bool) {
	want, _ := parseActions(r.fields[1+colAction])
	for _, by := range rows {
		if by.file == r.file && by.line == r.line {
			continue
		}
		has, _ := parseActions(by.fields[1+colAction])
		in := by.fields[1+colTenant]
		if has&want != want || in != anywhere && in != r.fields[1+colTenant] {
			continue
		}
		return by, true
	}
	return row{}, false
}

// shadowed warns of rows that others leave nothing to do.
func (c *checker) shadowed() {
	allows, denies := c.covers("allow"), c.covers("deny")
	told := make(map[string]bool) // rows that are said to add nothing, so that of two that cover each other one stays
	for _, r := range slices.Backward(c.rows) {
		if r.fields[0] != "p" {
			continue
		}
		f := r.fields[1:]
		deny, denied := denies.of(r)
		allow, allowed := allows.of(r)
		switch {
		case f[colEffect] == "deny" && denied && !told[deny.at()]:
			c.warn(r, "adds nothing: %s denies as much", deny.at())
			told[r.at()] = true
		case f[colEffect] == "deny":
		case denied:
			c.warn(r, "never allows: %s denies as much", deny.at())
		case allowed && f[colCondition] != always:
			c.warn(r, "its condition limits nothing: %s allows as much without one", allow.at())
		case allowed && !told[allow.at()]:
			c.warn(r, "adds nothing: %s allows as much", allow.at())
			told[r.at()] = true
		}
	}
	c.unmet()
}

// unmet warns of p2 rows about what no p row allows to anybody.
func (c *checker) unmet() {
	type allowed struct {
		object string
		acts   actions
	}
	var exact, patterns []allowed
	for _, r := range c.rows {
		if r.fields[0] != "p" || r.fields[1+colEffect] != "allow" {
			continue
		}
		acts, _ := parseActions(r.fields[1+colAction])
		for _, object := range c.within(r.fields[1+colObject]) {
			if begin, ok := strings.CutSuffix(object, "*"); ok {
				patterns = append(patterns, allowed{begin, acts})
			} else {
				exact = append(exact, allowed{object, acts})
			}
		}
	}
	byObject := func(a, b allowed) int { return strings.Compare(a.object, b.object) }
	slices.SortFunc(exact, byObject)
	slices.SortFunc(patterns, byObject)
	among := func(list []allowed, begin string, acts actions) bool { // one that begins so
		i, _ := slices.BinarySearchFunc(list, begin, func(a allowed, s string) int { return strings.Compare(a.object, s) })
		for ; i < len(list) && strings.HasPrefix(list[i].object, begin); i++ {
			if list[i].acts&acts != 0 {
				return true
			}
		}
		return false
	}
	meets := func(object string, acts actions) bool {
		begin, isPattern := strings.CutSuffix(object, "*")
		if isPattern && (among(exact, begin, acts) || among(patterns, begin, acts)) {
			return true
		}
		i, _ := slices.BinarySearchFunc(exact, object, func(a allowed, s string) int { return strings.Compare(a.object, s) })
		for ; !isPattern && i < len(exact) && exact[i].object == object; i++ {
			if exact[i].acts&acts != 0 {
				return true
			}
		}
		for n := range len(begin) + 1 { // patterns that it begins with
			j, found := slices.BinarySearchFunc(patterns, begin[:n], func(a allowed, s string) int { return strings.Compare(a.object, s) })
			for ; found && j < len(patterns) && patterns[j].object == begin[:n]; j++ {
				if patterns[j].acts&acts != 0 {
					return true
				}
			}
		}
		return false
	}
	for _, r := range c.rows {
		if r.fields[0] != "p2" {
			continue
		}
		acts, _ := parseActions(r.fields[1+colAction])
		if !slices.ContainsFunc(c.within(r.fields[1+colObject]), func(object string) bool { return meets(object, acts) }) {
			c.warn(r, "never applies: no p row allows anything of %s", cut(r.fields[1+colObject]))
		}
	}
}

// within is an object, and, of a class, what is in it.
func (c *checker) within(object string) []string {
	all := []string{object}
	if !strings.HasPrefix(object, "class:") {
		return all
	}
	for member := range c.classes {
		if slices.Contains(c.classes.closure(member)[1:], object) {
			all = append(all, member)
		}
	}
	return all
}
