package mcp

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// A quick judges by the plain part of JSON Schema, without decoding the document.
// It judges as the library does, or says that it is not sure.
type quick struct {
	types    kindSet        // 0: any
	values   []gjson.Result // of enum or const; nil: any
	word     string         // enum or const
	props    map[string]*quick
	required []string
	closed   bool // additionalProperties: false
	items    *quick
	min, max *float64
	shortest int // characters; -1: any
	longest  int // characters; -1: any
	format   func(any) error

	formats bool // are asserted
}

type kindSet uint8

const (
	kindNull kindSet = 1 << iota
	kindBoolean
	kindInteger
	kindNumber
	kindString
	kindArray
	kindObject
)

var kindNames = map[string]kindSet{"null": kindNull, "boolean": kindBoolean, "integer": kindInteger, "number": kindNumber, "string": kindString, "array": kindArray, "object": kindObject}

const (
	maxQuickValues = 64
	maxQuickDigits = 15 // of a number, so that a float64 holds it apart from all others
)

// plainDialects are those in which what quick knows means the same.
var plainDialects = map[string]bool{
	"https://json-schema.org/draft/2020-12/schema": true,
	"http://json-schema.org/draft-07/schema#":      true,
	"http://json-schema.org/draft-07/schema":       true,
}

// newQuick is nil where schema says more than it can judge, or what is not valid.
func newQuick(schema gjson.Result, formats bool) *quick {
	if !schema.IsObject() {
		return nil
	}
	if dialect := schema.Get("$schema"); dialect.Exists() && !plainDialects[dialect.Str] {
		return nil
	}
	return quickly(schema, true, formats)
}

func quickly(schema gjson.Result, root, formats bool) *quick {
	q := &quick{shortest: -1, longest: -1, formats: formats}
	if schema.Type == gjson.True {
		return q
	}
	if !schema.IsObject() {
		return nil
	}
	ok := true
	schema.ForEach(func(key, v gjson.Result) bool {
		ok = q.learn(key.Str, v, root)
		return ok
	})
	if !ok {
		return nil
	}
	return q
}

// learn takes one keyword, and says whether quick can judge by it.
func (q *quick) learn(word string, v gjson.Result, root bool) bool {
	switch word {
	case "title", "description", "$comment":
		return v.Type == gjson.String
	case "format":
		if q.formats && asserted(v.Str) {
			q.format = judges()[v.Str]
		}
		return v.Type == gjson.String
	case "default":
		return true
	case "examples":
		return v.IsArray()
	case "deprecated", "readOnly", "writeOnly":
		return v.IsBool()
	case "$schema":
		return root
	case "type":
		return q.learnTypes(v)
	case "enum", "const":
		return q.learnValues(word, v)
	case "properties":
		if !v.IsObject() {
			return false
		}
		q.props = make(map[string]*quick)
		ok := true
		v.ForEach(func(name, below gjson.Result) bool {
			p := quickly(below, false, q.formats)
			q.props[name.Str], ok = p, p != nil
			return ok
		})
		return ok
	case "required":
		return q.learnRequired(v)
	case "additionalProperties":
		q.closed = v.Type == gjson.False
		return v.IsBool()
	case "items":
		q.items = quickly(v, false, q.formats)
		return q.items != nil
	case "minimum":
		q.min = plainNumber(v)
		return q.min != nil
	case "maximum":
		q.max = plainNumber(v)
		return q.max != nil
	case "minLength":
		return length(v, &q.shortest)
	case "maxLength":
		return length(v, &q.longest)
	}
	return strings.HasPrefix(word, "x-")
}

func (q *quick) learnTypes(v gjson.Result) bool {
	names := v.Array() // a single name is an array of one
	for _, name := range names {
		k := kindNames[name.Str]
		if name.Type != gjson.String || k == 0 || q.types&k != 0 {
			return false
		}
		q.types |= k
	}
	return len(names) > 0
}

func (q *quick) learnValues(word string, v gjson.Result) bool {
	if q.word != "" { // both of them
		return false
	}
	q.word, q.values = word, []gjson.Result{v}
	if word == "enum" {
		if !v.IsArray() {
			return false
		}
		q.values = v.Array()
	}
	for _, value := range q.values {
		if value.Type == gjson.JSON || value.Type == gjson.Number && plainNumber(value) == nil {
			return false
		}
	}
	return len(q.values) > 0 && len(q.values) <= maxQuickValues
}

func (q *quick) learnRequired(v gjson.Result) bool {
	if !v.IsArray() {
		return false
	}
	for _, name := range v.Array() {
		if name.Type != gjson.String {
			return false
		}
		for _, before := range q.required {
			if before == name.Str {
				return false
			}
		}
		q.required = append(q.required, name.Str)
		if len(q.required) > maxQuickValues {
			return false
		}
	}
	return true
}

func length(v gjson.Result, into *int) bool {
	n := plainNumber(v)
	if n == nil || *n < 0 || *n > 1<<30 || *n != float64(int(*n)) {
		return false
	}
	*into = int(*n)
	return true
}

// plainNumber is nil for what is not a number, or is one that a float64 may mix
// up with another.
func plainNumber(v gjson.Result) *float64 {
	if v.Type != gjson.Number || len(v.Raw) > maxQuickDigits || strings.ContainsAny(v.Raw, "eE") {
		return nil
	}
	n := v.Num
	return &n
}

// judge says where doc does not fit, and whether it is sure of its answer.
func (q *quick) judge(doc gjson.Result) (*misfit, bool) {
	w := walk{sure: true}
	w.visit(q, doc)
	if !w.sure {
		return nil, false
	}
	if w.keyword == "" {
		return nil, true
	}
	for i, j := 0, len(w.path)-1; i < j; i, j = i+1, j-1 { // it was collected on the way up
		w.path[i], w.path[j] = w.path[j], w.path[i]
	}
	return &misfit{pointer: pointer(w.path...), keyword: w.keyword}, true
}

// A walk is one judgment. It stops at the first misfit.
type walk struct {
	keyword string
	path    []string
	sure    bool
}

func (w *walk) fail(keyword string, path ...string) bool {
	w.keyword, w.path = keyword, path
	return false
}

func (w *walk) unsure() bool {
	w.sure = false
	return false
}

// visit says whether to go on.
func (w *walk) visit(q *quick, v gjson.Result) bool {
	is := typeOf(v)
	if is&(kindNumber|kindInteger) != 0 && plainNumber(v) == nil && (q.types&kindInteger != 0 || q.values != nil || q.min != nil || q.max != nil) {
		return w.unsure()
	}
	if q.types != 0 && q.types&is == 0 {
		return w.fail("type")
	}
	if q.values != nil && !q.has(v) {
		return w.fail(q.word)
	}
	switch {
	case v.IsObject():
		return w.object(q, v)
	case v.IsArray():
		return w.array(q, v)
	case v.Type == gjson.String && q.format != nil && q.format(v.Str) != nil:
		return w.fail("format")
	case v.Type == gjson.String && (q.shortest >= 0 || q.longest >= 0):
		n := utf8.RuneCountInString(v.Str)
		if q.shortest >= 0 && n < q.shortest {
			return w.fail("minLength")
		}
		if q.longest >= 0 && n > q.longest {
			return w.fail("maxLength")
		}
	case v.Type == gjson.Number:
		if q.min != nil && v.Num < *q.min {
			return w.fail("minimum")
		}
		if q.max != nil && v.Num > *q.max {
			return w.fail("maximum")
		}
	}
	return true
}

func (w *walk) object(q *quick, v gjson.Result) bool {
	if q.props == nil && q.required == nil && !q.closed {
		return true
	}
	var met uint64
	on := true
	v.ForEach(func(key, value gjson.Result) bool {
		for i, name := range q.required {
			if name == key.Str {
				met |= 1 << i
			}
		}
		below, known := q.props[key.Str]
		switch {
		case !known && q.closed:
			on = w.fail("additionalProperties", key.Str)
		case known:
			if on = w.visit(below, value); !on && w.sure {
				w.path = append(w.path, key.Str)
			}
		}
		return on
	})
	if !on {
		return false
	}
	for i, name := range q.required {
		if met&(1<<i) == 0 {
			return w.fail("required", name)
		}
	}
	return true
}

func (w *walk) array(q *quick, v gjson.Result) bool {
	if q.items == nil {
		return true
	}
	on, i := true, 0
	v.ForEach(func(_, item gjson.Result) bool {
		if on = w.visit(q.items, item); !on && w.sure {
			w.path = append(w.path, strconv.Itoa(i))
		}
		i++
		return on
	})
	return on
}

// typeOf is what v is. A number without fraction is an integer, too.
func typeOf(v gjson.Result) kindSet {
	switch v.Type {
	case gjson.Null:
		return kindNull
	case gjson.True, gjson.False:
		return kindBoolean
	case gjson.String:
		return kindString
	case gjson.Number:
		if v.Num == float64(int64(v.Num)) {
			return kindNumber | kindInteger
		}
		return kindNumber
	}
	if v.IsArray() {
		return kindArray
	}
	return kindObject
}

// has says whether v is one of the values.
func (q *quick) has(v gjson.Result) bool {
	for _, value := range q.values {
		if value.Type == v.Type && (v.Type != gjson.String || v.Str == value.Str) && (v.Type != gjson.Number || v.Num == value.Num) && v.Type != gjson.JSON {
			return true
		}
	}
	return false
}
