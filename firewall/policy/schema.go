package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// CheckTools finds conditions on arguments that tools do not have, by the JSON
// schemas of their input: tools is those by object, as tool:shop/refund. Servers
// change, so what it finds keeps no policy from being loaded.
func CheckTools(tools map[string]json.RawMessage, sources ...Source) []Problem {
	c := check(sources)
	if c.shape != nil || c.problems.only(Error) != nil {
		return nil // Check tells what is wrong
	}
	c.problems = nil
	names := slices.Sorted(maps.Keys(tools))
	var strange []string
	var first row
	for _, r := range c.rows {
		if r.fields[0] != "p" && r.fields[0] != "p2" {
			continue
		}
		var about []string
		for _, object := range c.within(r.fields[1+colObject]) {
			if !strings.HasPrefix(object, "tool:") {
				continue
			}
			fit := fitting(names, object)
			if len(fit) == 0 && !slices.Contains(strange, object) {
				if strange = append(strange, object); first.fields == nil {
					first = r
				}
			}
			about = append(about, fit...)
		}
		cond := c.conditions[r.fields[1+colCondition]]
		if cond == nil || len(about) == 0 {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(cond.args)) {
			c.argument(r, name, cond.args[name], about, tools)
		}
	}
	if strange != nil {
		c.warn(first, "no server that is known has %s", cut(strings.Join(strange, ", ")))
	}
	c.sort(sources)
	return c.problems
}

// fitting is those of names that an object is, or begins.
func fitting(names []string, object string) []string {
	begin, isPattern := strings.CutSuffix(object, "*")
	i, found := slices.BinarySearch(names, begin)
	if !isPattern {
		if found {
			return names[i : i+1]
		}
		return nil
	}
	j := i
	for j < len(names) && strings.HasPrefix(names[j], begin) {
		j++
	}
	return names[i:j]
}

// argument holds one argument that a row reads to the tools that it is about.
func (c *checker) argument(r row, path string, want sort, about []string, tools map[string]json.RawMessage) {
	effect := "denied"
	if r.fields[0] == "p2" {
		effect = "under this row"
	}
	var lack, optional, other []string
	kind := ""
	for _, tool := range about {
		at := lookUp(tools[tool], path)
		switch {
		case !at.declared && !at.open:
			lack = append(lack, tool)
		case want != anySort && len(at.types) > 0 && !slices.ContainsFunc(at.types, func(t string) bool { return sortOf(t) == want }):
			other, kind = append(other, tool), at.types[0]
		case at.declared && !at.required:
			optional = append(optional, tool)
		}
	}
	switch {
	case len(lack) == len(about):
		c.fail(r, "r.env.args.%s: %s has no argument of this name, so that every call of it is %s", cut(path), some(lack), effect)
	case len(lack) > 0:
		c.warn(r, "r.env.args.%s: %s has no argument of this name, so that every call of it is %s", cut(path), some(lack), effect)
	}
	if len(other) > 0 {
		c.fail(r, "r.env.args.%s: it is compared as a %s, and %s has a %s there", cut(path), want, some(other), kind)
	}
	if len(optional) > 0 {
		c.warn(r, "r.env.args.%s: %s need not have this argument, and a call without it is %s", cut(path), some(optional), effect)
	}
}

// some is the first of names, and how many there are besides.
func some(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return fmt.Sprintf("%s (and %d more)", names[0], len(names)-1)
}

// sortOf is the sort of the values of a JSON schema's type.
func sortOf(t string) sort {
	switch t {
	case "string":
		return text
	case "number", "integer":
		return number
	case "boolean":
		return boolean
	}
	return list // or an object, which no condition compares with one value
}

// located is what a schema says of a place in a document.
type located struct {
	declared bool     // it is there, or may be
	required bool     // always
	open     bool     // the schema does not say what else there is
	types    []string // none: any
}

const maxSchema = 64 // levels, of which some may be references

// lookUp is what a schema says of the value at a path of names.
func lookUp(schema json.RawMessage, path string) located {
	root := gjson.ParseBytes(schema)
	if !root.IsObject() {
		return located{open: true}
	}
	at := located{declared: true, required: true}
	nodes := []gjson.Result{root}
	for name := range strings.SplitSeq(path, ".") {
		next := located{}
		var below []gjson.Result
		for _, n := range nodes {
			found := properties(root, n, name, 0)
			next.declared = next.declared || len(found.schemas) > 0
			next.open = next.open || found.open
			next.required = next.required || found.required
			below = append(below, found.schemas...)
		}
		next.required = next.required && at.required
		if nodes, at = below, next; !at.declared {
			return at
		}
	}
	for _, n := range nodes {
		types := typesOf(root, n, 0)
		if types == nil { // one of them says nothing, so it may be anything
			at.types = nil
			return at
		}
		at.types = append(at.types, types...)
	}
	return at
}

// member is what a schema says of one member of an object.
type member struct {
	schemas        []gjson.Result
	required, open bool
}

// properties looks for a member in a schema and in all that it is made of.
func properties(root, schema gjson.Result, name string, depth int) (m member) {
	if depth > maxSchema || !schema.IsObject() {
		return member{open: true}
	}
	props := schema.Get("properties")
	props.ForEach(func(key, value gjson.Result) bool {
		if key.String() == name {
			m.schemas = append(m.schemas, value)
		}
		return true
	})
	schema.Get("required").ForEach(func(_, v gjson.Result) bool {
		m.required = m.required || v.String() == name
		return true
	})
	parts := false
	add := func(part gjson.Result, all bool) {
		parts = true
		in := properties(root, part, name, depth+1)
		m.schemas = append(m.schemas, in.schemas...)
		m.open = m.open || in.open
		m.required = m.required || all && in.required
	}
	if ref := schema.Get(`\$ref`); ref.Exists() {
		add(resolve(root, ref.String()), true)
	}
	for _, of := range []string{"allOf", "anyOf", "oneOf"} {
		schema.Get(of).ForEach(func(_, part gjson.Result) bool {
			add(part, of == "allOf")
			return true
		})
	}
	extra := schema.Get("additionalProperties")
	switch {
	case extra.Exists() && extra.Type != gjson.False, schema.Get("patternProperties").Exists():
		m.open = true
	case !props.Exists() && !parts && !extra.Exists():
		m.open = true // it says nothing at all about members
	}
	return m
}

// resolve is the part of root that a local reference names. One that leads
// elsewhere is not followed.
func resolve(root gjson.Result, ref string) gjson.Result {
	rest, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return gjson.Result{}
	}
	at := root
	for name := range strings.SplitSeq(strings.TrimPrefix(rest, "/"), "/") {
		if name == "" {
			continue
		}
		name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
		at = at.Get(gjson.Escape(name))
	}
	return at
}

// typesOf is the types of the values that a schema allows, nil for any.
func typesOf(root, schema gjson.Result, depth int) []string {
	if depth > maxSchema || !schema.IsObject() {
		return nil
	}
	var types []string
	t := schema.Get("type")
	switch {
	case t.IsArray():
		for _, one := range t.Array() {
			types = append(types, one.String())
		}
	case t.Exists():
		types = append(types, t.String())
	case schema.Get(`\$ref`).Exists():
		return typesOf(root, resolve(root, schema.Get(`\$ref`).String()), depth+1)
	default:
		for _, of := range []string{"anyOf", "oneOf"} {
			for _, part := range schema.Get(of).Array() {
				some := typesOf(root, part, depth+1)
				if some == nil {
					return nil
				}
				types = append(types, some...)
			}
		}
	}
	return types
}
