package policy

import (
	"maps"
	"slices"
	"strings"
)

// How many rows with a condition one call may have to read. Every one of them
// costs time that somebody waits for, and whoever chooses the call can choose the
// worst one.
const (
	manyConditions = 64
	mostConditions = 1024
)

// crowded finds the subjects for which one call can meet too many rows with a
// condition.
func (c *checker) crowded() {
	rows := make(map[string][]row) // with a condition, by subject
	tenants := make(map[string]bool)
	for _, r := range c.rows {
		if (r.fields[0] == "p" || r.fields[0] == "p2") && r.fields[1+colCondition] != always {
			rows[r.fields[1+colSubject]] = append(rows[r.fields[1+colSubject]], r)
			tenants[r.fields[1+colTenant]] = true
		}
	}
	for tenant := range c.members {
		tenants[tenant] = true
	}
	told := make(map[string]bool) // by the row that a problem was told of
	for _, tenant := range slices.Sorted(maps.Keys(tenants)) {
		names := c.members[tenant].names()
		names = append(names, slices.Sorted(maps.Keys(rows))...)
		for _, name := range names {
			all := slices.Clone(rows[everyone])
			for _, held := range c.members[tenant].closure(name) {
				if held != everyone {
					all = append(all, rows[held]...)
				}
			}
			all = slices.DeleteFunc(all, func(r row) bool {
				in := r.fields[1+colTenant]
				return in != anywhere && in != tenant
			})
			if len(all) <= manyConditions { // nearly always: no need to look closer
				continue
			}
			n, object, last := c.worst(all)
			if n <= manyConditions || told[last.at()] {
				continue
			}
			told[last.at()] = true
			if n > mostConditions {
				c.fail(last, "a call of %s to %s meets %d rows with a condition, want at most %d: say it with fewer rows, or name objects more exactly", name, cut(object), n, mostConditions)
			} else {
				c.warn(last, "a call of %s to %s meets %d rows with a condition, and has to wait for all of them", name, cut(object), n)
			}
		}
	}
}

// worst is the object for which most of rows are read, how many, and the last of them.
func (c *checker) worst(rows []row) (most int, object string, last row) {
	exact, patterns := make(map[string]int), make(map[string]int)
	objects := make(map[string]row)
	for _, r := range rows {
		name := r.fields[1+colObject]
		if begin, ok := strings.CutSuffix(name, "*"); ok {
			patterns[begin]++
		} else {
			exact[name]++
		}
		objects[name] = r
	}
	for name := range c.classes {
		if _, ok := objects[name]; !ok {
			objects[name] = row{}
		}
	}
	lengths := make(map[int]bool)
	for begin := range patterns {
		lengths[len(begin)] = true
	}
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		begin, _ := strings.CutSuffix(name, "*")
		n := exact[name]
		for _, class := range c.classes.closure(name)[1:] {
			n += exact[class]
		}
		for length := range lengths {
			if length <= len(begin) {
				n += patterns[begin[:length]]
			}
		}
		if n > most {
			most, object, last = n, name, objects[name]
		}
	}
	if last.fields == nil {
		last = rows[len(rows)-1]
	}
	return most, object, last
}
