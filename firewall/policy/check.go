package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A checker reads sources and finds all that is wrong with them. What it has
// read of good rows goes into the [Policy].
type checker struct {
	rows       []row
	problems   Problems
	conditions map[string]*condition // by text; nil for true
	members    map[string]links      // by tenant, of g
	classes    links                 // of g2
	columns    map[string]string     // of each type of row
	shape      *shape                // of a model that is not the built-in one; else nil
}

func check(sources []Source) *checker {
	c := &checker{conditions: make(map[string]*condition), members: make(map[string]links), classes: make(links), columns: columns}
	c.replaced(sources)
	for _, s := range sources {
		if !strings.HasSuffix(s.Name, confExtension) {
			c.read(s)
		}
	}
	if c.shape != nil {
		c.custom()
		return c
	}
	ids := make(map[string]row)
	for _, r := range c.rows {
		switch r.fields[0] {
		case "p", "p2":
			c.rule(r, ids)
		case "g":
			c.member(r)
		case "g2":
			c.class(r)
		}
	}
	c.linked()
	if c.problems.only(Error) == nil { // links have no cycles then
		c.crowded()
	}
	c.meant(sources)
	c.sort(sources)
	return c
}

// sort puts problems in the order of the rows.
func (c *checker) sort(sources []Source) {
	order := func(p Problem) int {
		return slices.IndexFunc(sources, func(s Source) bool { return s.Name == p.File })
	}
	slices.SortStableFunc(c.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a.Line, b.Line))
	})
}

// replaced reads the model that takes the place of the built-in one, if there is one.
func (c *checker) replaced(sources []Source) {
	seen := false
	for _, s := range sources {
		if !strings.HasSuffix(s.Name, confExtension) {
			continue
		}
		top := row{file: s.Name, line: 1}
		if seen {
			c.fail(top, "a second model: a policy has one")
			return
		}
		seen = true
		shape, err := parseShape(s)
		if !c.must(top, err) || shape == nil {
			continue
		}
		c.shape, c.columns = shape, shape.columns()
	}
}

func (c *checker) fail(r row, format string, args ...any) { c.tell(r, Error, format, args...) }
func (c *checker) warn(r row, format string, args ...any) { c.tell(r, Warning, format, args...) }

func (c *checker) tell(r row, s Severity, format string, args ...any) {
	c.problems = append(c.problems, Problem{r.file, r.line, s, fmt.Sprintf(format, args...)})
}

// must notes err as a mistake in r and says whether there is none.
func (c *checker) must(r row, err error) bool {
	if err != nil {
		c.fail(r, "%v", err)
	}
	return err == nil
}

// rule checks a p or p2 row.
func (c *checker) rule(r row, ids map[string]row) {
	f := r.fields[1:]
	c.must(r, checkSubject(f[colSubject]))
	c.must(r, checkTenant(f[colTenant]))
	if c.must(r, checkObject(f[colObject], true)) {
		c.must(r, checkAction(f[colAction], f[colObject]))
	}
	c.condition(r, f[colCondition])
	id := f[len(f)-1]
	if r.fields[0] == "p" {
		c.effect(r, f[colEffect])
	} else {
		if f[colEffect] != "allow" {
			c.fail(r, "effect %s: a p2 row adds to what a p row allows, so write allow; to deny, write a p row", quote(f[colEffect]))
		}
		if o, err := parseObligation(f[colDuty], id); c.must(r, err) {
			c.must(r, owed(o, f[colObject]))
		}
	}
	if !c.must(r, checkID(id)) {
		return
	}
	if other, ok := ids[id]; ok {
		c.fail(r, "id %s is taken by %s: records name rules by it, so write another", id, other.at())
		return
	}
	ids[id] = r
}

func (c *checker) effect(r row, effect string) {
	switch do, _, _ := strings.Cut(effect, ":"); {
	case effect == "allow", effect == "deny":
	case do == "require_approval", do == "redact", do == "limit":
		c.fail(r, "effect %s: write allow here, and the obligation in a p2 row", quote(effect))
	default:
		c.fail(r, "unknown effect %s: write allow or deny", quote(effect))
	}
}

func (c *checker) condition(r row, text string) {
	if _, ok := c.conditions[text]; ok {
		return
	}
	parsed, err := parseCondition(text)
	if c.must(r, err) {
		c.conditions[text] = parsed
	}
}

// member checks a g row.
func (c *checker) member(r row) {
	name, of, tenant := r.fields[1], r.fields[2], r.fields[3]
	ok := c.must(r, checkSubject(name))
	ok = c.must(r, checkHeld(of)) && ok
	if tenant == anywhere {
		c.fail(r, "tenant *: a role is held in one tenant; write its name, default where there is only one")
		ok = false
	}
	if !c.must(r, checkTenant(tenant)) || !ok {
		return
	}
	l := c.members[tenant]
	if l == nil {
		l = make(links)
		c.members[tenant] = l
	}
	c.link(r, l, name, of)
}

// class checks a g2 row.
func (c *checker) class(r row) {
	object, class := r.fields[1], r.fields[2]
	ok := c.must(r, checkObject(object, false))
	if err := checkObject(class, false); err != nil || !strings.HasPrefix(class, "class:") {
		c.fail(r, "class %s: write class:NAME", quote(class))
		ok = false
	}
	if ok {
		c.link(r, c.classes, object, class)
	}
}

func (c *checker) link(r row, l links, from, to string) {
	if slices.Contains(l[from], to) {
		c.warn(r, "%s is in %s already", from, to)
		return
	}
	l[from] = append(l[from], to)
}

// linked refuses cycles of links and chains that Casbin would cut off.
func (c *checker) linked() {
	tenants := make([]string, 0, len(c.members))
	for name := range c.members {
		tenants = append(tenants, name)
	}
	slices.Sort(tenants)
	for _, name := range tenants {
		c.chains(c.members[name], "g", name)
	}
	c.chains(c.classes, "g2", "")
}

func (c *checker) chains(l links, kind, tenant string) {
	cycle, chain := l.check()
	if cycle != nil {
		c.fail(c.linkRow(kind, tenant, cycle[0], cycle[1]), "a cycle: %s; take one link out", strings.Join(cycle, " → "))
	}
	if chain != nil {
		c.fail(c.linkRow(kind, tenant, chain[0], chain[1]), "a chain of %d links, want at most %d: %s; link the first nearer to the last", len(chain)-1, maxRoleDepth, strings.Join(chain[:maxRoleDepth+2], " → "))
	}
}

// linkRow is the row of one link.
func (c *checker) linkRow(kind, tenant, from, to string) row {
	for _, r := range c.rows {
		if f := r.fields; f[0] == kind && f[1] == from && f[2] == to && (kind == "g2" || f[3] == tenant) {
			return r
		}
	}
	return row{}
}

// meant warns of rows that are valid and still cannot do what they seem to.
func (c *checker) meant(sources []Source) {
	var (
		same    = make(map[string]row)
		tenants []string
		joined  = map[string]bool{everyone: true}
		rules   int
		strange row
	)
	for _, r := range c.rows {
		f := r.fields[1:]
		switch r.fields[0] {
		case "p":
			rules++
		case "g":
			joined[f[1]] = true
		}
	}
	for _, r := range c.rows {
		f := r.fields[1:]
		if r.fields[0] != "p" && r.fields[0] != "p2" {
			continue
		}
		text := strings.Join(r.fields[:len(r.fields)-1], "\x1f")
		if other, ok := same[text]; ok {
			c.warn(r, "never decides: %s says the same before it", other.at())
		} else {
			same[text] = r
		}
		if f[colAction] == "list" {
			c.warn(r, "has no effect: a list shows what the rows for its items allow")
		}
		if s := f[colSubject]; strings.HasPrefix(s, "group:") && !joined[s] {
			c.warn(r, "nobody is in %s: add a g row", s)
		}
		if t := f[colTenant]; t != anywhere && t != "default" && !slices.Contains(tenants, t) {
			if tenants = append(tenants, t); strange.fields == nil {
				strange = r
			}
		}
	}
	if tenants != nil {
		c.warn(strange, "rows for the tenants %s apply only where there are such tenants; a set-up with one tenant calls it default", cut(strings.Join(tenants, ", ")))
	}
	if rules == 0 && len(sources) > 0 {
		c.warn(row{file: sources[0].Name, line: 1}, "no p row: every call is denied")
	}
}
