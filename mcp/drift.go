package mcp

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// A Change is one respect in which a definition is not what it was.
type Change struct {
	Grade Grade  `json:"grade"`
	Text  string `json:"text"`          // in words; what a server chose in it is quoted, in ASCII
	Old   string `json:"old,omitempty"` // of texts: what it was, as it came
	New   string `json:"new,omitempty"`
}

const (
	maxChanges   = 100     // that are told of one definition
	maxDiffDepth = 64      // below which schemas are compared as wholes
	maxDiffText  = 4 << 10 // bytes of a text that are shown
)

// Diff says how two definitions of a kind differ, the gravest change first. There
// is at least one change, unless their bytes are the same.
func Diff(kind, before, after string) []Change {
	if before == after {
		return nil
	}
	d := new(differ)
	if kind == PinInstructions {
		d.text(Medium, "the text", before, after)
		return d.list
	}
	a, ok := members(before)
	b, too := members(after)
	switch {
	case !ok:
		d.text(High, "what it was cannot be compared any more: the definition", "", after)
	case !too:
		d.text(High, "it is no JSON object any more: the definition", before, after)
	default:
		d.definition(a, b)
	}
	if len(d.list) == 0 {
		d.add(Low, "only the order of its members, or their spelling, is another")
	}
	slices.SortStableFunc(d.list, func(x, y Change) int { return int(y.Grade) - int(x.Grade) })
	if n := len(d.list) - maxChanges; n > 0 {
		d.list = append(d.list[:maxChanges], Change{Grade: d.list[maxChanges].Grade, Text: "and more: " + strconv.Itoa(n)})
	}
	return d.list
}

// members is a JSON object. Numbers stay as they are written.
func members(doc string) (map[string]any, bool) {
	dec := json.NewDecoder(strings.NewReader(doc))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil || m == nil {
		return nil, false
	}
	_, err := dec.Token()
	return m, err == io.EOF
}

// differ collects changes.
type differ struct{ list []Change }

func (d *differ) add(g Grade, text string) { d.list = append(d.list, Change{Grade: g, Text: text}) }

func (d *differ) text(g Grade, what, before, after string) {
	how := " changed"
	switch {
	case before == "":
		how = " is new"
	case after == "":
		how = " is gone"
	}
	d.list = append(d.list, Change{g, what + how, shown(before), shown(after)})
}

// shown is a value as much as is shown of it.
func shown(s string) string {
	if len(s) > maxDiffText {
		s = strings.ToValidUTF8(s[:maxDiffText], "") + "…"
	}
	return s
}

// named is a name that a server chose, such that nothing of it is hidden.
func named(s string) string { return `"` + ascii(clip(s)) + `"` }

// ascii is a text such that nothing of it is hidden.
func ascii(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < ' ' || r >= 0x7f {
			fmt.Fprintf(&b, `\u{%x}`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// written is a value as JSON.
func written(v any) string {
	doc, err := json.Marshal(v)
	if err != nil || v == nil {
		return ""
	}
	return string(doc)
}

// plainly is a value as JSON, in ASCII.
func plainly(v any) string { return ascii(clip(written(v))) }

func keysOf(a, b map[string]any) []string {
	keys := make(map[string]bool)
	for k := range a {
		keys[k] = true
	}
	for k := range b {
		keys[k] = true
	}
	return slices.Sorted(maps.Keys(keys))
}

// value is the change of a member about which no more is known.
func (d *differ) value(g Grade, what string, a, b any) {
	if reflect.DeepEqual(a, b) {
		return
	}
	before, after := written(a), written(b)
	if s, ok := a.(string); ok {
		before = s
	}
	if s, ok := b.(string); ok {
		after = s
	}
	d.text(g, what, before, after)
}

// definition compares items of lists.
func (d *differ) definition(a, b map[string]any) {
	for _, key := range keysOf(a, b) {
		switch key {
		case "annotations":
			d.annotations(a[key], b[key])
		case "inputSchema", "outputSchema":
			d.optional(key, a, b)
		case "arguments":
			d.arguments(a[key], b[key])
		case "title", "icons", "mimeType", "size":
			d.value(Low, "the "+key, a[key], b[key])
		case "description", "name":
			d.value(Medium, "the "+key, a[key], b[key])
		default:
			d.value(Medium, "the member "+named(key), a[key], b[key])
		}
	}
}

// optional compares schemas that may not be there.
func (d *differ) optional(key string, a, b map[string]any) {
	x, had := a[key]
	y, has := b[key]
	if had && has {
		d.schema(key, x, y, 0)
		return
	}
	d.value(Medium, key, x, y)
}

// annotations compares what a tool says of its effects. What it leaves out has
// the default that MCP gives it.
func (d *differ) annotations(a, b any) {
	before, _ := a.(map[string]any)
	after, _ := b.(map[string]any)
	if before == nil && a != nil || after == nil && b != nil {
		d.value(High, "the annotations", a, b)
		return
	}
	for _, key := range keysOf(before, after) {
		g := Medium
		switch key {
		case "readOnlyHint", "destructiveHint":
			g = High
		case "title":
			g = Low
		}
		if x, y := before[key], after[key]; !reflect.DeepEqual(x, y) {
			if strings.HasSuffix(key, "Hint") {
				d.add(g, key+" was "+hint(x)+" and is "+hint(y))
			} else {
				d.value(g, "the annotation "+named(key), x, y)
			}
		}
	}
}

func hint(v any) string {
	if v == nil {
		return "not given"
	}
	return plainly(v)
}

// arguments compares those of a prompt.
func (d *differ) arguments(a, b any) {
	before, ok := byName(a)
	after, too := byName(b)
	if !ok || !too {
		d.value(Medium, "the arguments", a, b)
		return
	}
	count := len(d.list)
	for _, name := range keysOf(before, after) {
		x, y := before[name], after[name]
		what := "argument " + named(name)
		switch {
		case x == nil:
			d.add(Medium, what+" is new")
		case y == nil:
			d.add(Low, what+" is gone")
		default:
			m, n := x.(map[string]any), y.(map[string]any)
			for _, key := range keysOf(m, n) {
				g := Medium
				if key == "title" {
					g = Low
				}
				d.value(g, what+": "+named(key), m[key], n[key])
			}
		}
	}
	if len(d.list) == count && !reflect.DeepEqual(a, b) {
		d.add(Low, "the order of its arguments is another")
	}
}

// byName is a list of objects by their names.
func byName(list any) (map[string]any, bool) {
	items, ok := list.([]any)
	if !ok && list != nil {
		return nil, false
	}
	m := make(map[string]any, len(items))
	for _, item := range items {
		object, _ := item.(map[string]any)
		name, _ := object["name"].(string)
		if _, twice := m[name]; name == "" || twice {
			return nil, false
		}
		m[name] = object
	}
	return m, true
}

// schema compares what stands at a path of an item. Where more is let through than
// before, that is medium; where less is, low.
func (d *differ) schema(path string, a, b any, depth int) {
	if reflect.DeepEqual(a, b) {
		return
	}
	x, ok := a.(map[string]any)
	y, too := b.(map[string]any)
	switch {
	case takesAll(b):
		d.add(Medium, path+" takes anything now")
	case depth > maxDiffDepth || !ok || !too:
		d.value(Medium, path, a, b)
	default:
		for _, key := range keysOf(x, y) {
			if !reflect.DeepEqual(x[key], y[key]) {
				d.keyword(path, key, x, y, depth+1)
			}
		}
	}
}

func takesAll(schema any) bool {
	m, ok := schema.(map[string]any)
	return schema == true || ok && len(m) == 0
}

// keyword compares one that differs.
func (d *differ) keyword(path, key string, x, y map[string]any, depth int) {
	a, had := x[key]
	b, has := y[key]
	at := path + "." + key
	switch key {
	case "properties", "patternProperties", "$defs", "definitions", "dependentSchemas":
		d.properties(path, key, x, y, depth)
	case "required":
		d.set(at, a, b, "demands", Medium, "does not demand any more", Medium)
	case "enum":
		d.choice(at, a, b, had, has, "other values are taken too", "only these values are taken: ", "takes more values:")
	case "type":
		d.choice(at, a, b, had, has, "any type is taken", "", "takes too:")
	case "additionalProperties", "unevaluatedProperties", "additionalItems", "unevaluatedItems":
		d.additional(at, a, b, had, has, depth)
	case "oneOf", "anyOf", "allOf", "prefixItems":
		d.alternatives(at, key == "allOf", a, b, depth)
	case "items", "not", "if", "then", "else", "contains", "propertyNames":
		if had && has {
			d.schema(at, a, b, depth)
			return
		}
		d.value(Medium, at, a, b)
	case "minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties":
		d.limit(at, a, b, had, has, false)
	case "maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties":
		d.limit(at, a, b, had, has, true)
	case "pattern", "format", "const", "uniqueItems", "multipleOf", "$ref", "dependentRequired":
		d.limit(at, a, b, had, has, false)
	case "title", "deprecated", "readOnly", "writeOnly", "$schema", "$id":
		d.value(Low, at, a, b)
	default:
		d.value(Medium, path+"."+word(key), a, b)
	}
}

// choice compares keywords that say what is taken, of which none takes all.
func (d *differ) choice(at string, a, b any, had, has bool, gone, added, more string) {
	switch {
	case !has:
		d.add(Medium, at+" is gone: "+gone)
	case !had:
		d.add(Low, at+" is new: "+added+plainly(b))
	default:
		d.set(at, a, b, more, Medium, "does not take any more:", Low)
	}
}

// word is a key as part of a path.
func word(key string) string {
	if key != "" && len(key) <= 64 && strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-$") == "" {
		return key
	}
	return named(key)
}

// properties compares schemas by names.
func (d *differ) properties(path, key string, x, y map[string]any, depth int) {
	a, ok := x[key].(map[string]any)
	b, too := y[key].(map[string]any)
	if !ok && x[key] != nil || !too && y[key] != nil {
		d.value(Medium, path+"."+key, x[key], y[key])
		return
	}
	if len(a)+len(b) == 0 {
		d.value(Low, path+"."+key, x[key], y[key])
	}
	for _, name := range keysOf(a, b) {
		p, had := a[name]
		q, has := b[name]
		switch {
		case had && has:
			d.schema(path+"."+word(name), p, q, depth)
		case has && slices.Contains(texts(y["required"]), name):
			d.list = append(d.list, Change{Medium, path + ": required property " + named(name) + " is new", "", shown(written(q))})
		case has:
			d.list = append(d.list, Change{Medium, path + ": optional property " + named(name) + " is new", "", shown(written(q))})
		default:
			d.add(Low, path+": property "+named(name)+" is gone")
		}
	}
}

func texts(list any) []string {
	var all []string
	items, _ := list.([]any)
	for _, item := range items {
		if s, ok := item.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

// set compares lists whose order means nothing, or single values.
func (d *differ) set(at string, a, b any, more string, wider Grade, less string, narrower Grade) {
	before, after := values(a), values(b)
	if added := minus(after, before); len(added) > 0 {
		d.add(wider, at+" "+more+" "+strings.Join(added, ", "))
	}
	if gone := minus(before, after); len(gone) > 0 {
		d.add(narrower, at+" "+less+" "+strings.Join(gone, ", "))
	}
	if len(minus(after, before))+len(minus(before, after)) == 0 {
		d.add(Low, at+" is written in another way")
	}
}

func values(v any) []string {
	list, ok := v.([]any)
	if !ok && v != nil {
		list = []any{v}
	}
	var all []string
	for _, item := range list {
		all = append(all, plainly(item))
	}
	return all
}

func minus(list, not []string) []string {
	var rest []string
	for _, s := range list {
		if !slices.Contains(not, s) {
			rest = append(rest, s)
		}
	}
	return rest
}

// additional compares what is said of properties or items that no schema names.
func (d *differ) additional(at string, a, b any, had, has bool, depth int) {
	before, after := openness(a, had), openness(b, has)
	switch {
	case after > before:
		d.add(Medium, at+" is looser: others are taken now")
	case after < before:
		d.add(Low, at+" is stricter")
	case had && has && before == 1:
		d.schema(at, a, b, depth)
	default:
		d.add(Low, at+" is written in another way")
	}
}

func openness(v any, given bool) int {
	switch {
	case !given || takesAll(v):
		return 2
	case v == false:
		return 0
	}
	return 1
}

// alternatives compares lists of schemas.
func (d *differ) alternatives(at string, all bool, a, b any, depth int) {
	x, ok := a.([]any)
	y, too := b.([]any)
	if !ok || !too {
		d.value(Medium, at, a, b)
		return
	}
	for i := range min(len(x), len(y)) {
		d.schema(at+"["+strconv.Itoa(i)+"]", x[i], y[i], depth)
	}
	switch n := len(y) - len(x); {
	case n > 0 && !all, n < 0 && all:
		d.value(Medium, at, a, b)
	case n != 0:
		d.value(Low, at, a, b)
	}
}

// limit compares one of a value. upper says that more of it lets more through.
func (d *differ) limit(at string, a, b any, had, has, upper bool) {
	switch {
	case !has:
		d.add(Medium, at+" is gone; it was "+plainly(a))
		return
	case !had:
		d.value(Low, at, a, b)
		return
	}
	x, ok := size(a)
	y, too := size(b)
	if ok && too && (y < x) == upper && y != x {
		d.value(Low, at, a, b)
		return
	}
	d.value(Medium, at, a, b)
}

func size(v any) (float64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	f, err := n.Float64()
	return f, err == nil
}
