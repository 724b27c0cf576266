package mcp

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxReferees are as many documents as are judged by one schema at once; each has
// compiled it for itself, because the library counts for nobody.
const maxReferees = 4

// A referee judges documents by a schema that the library compiled, one at a time.
type referee struct {
	compiled *jsonschema.Schema
	fuel     int           // that is left of this judgment
	took     time.Duration // with patterns that can take for ever
}

// newReferee compiles a schema. Its dialect is the library's, if it names none.
func newReferee(raw string, formats bool) (*referee, error) {
	v, err := decode(raw)
	if err != nil {
		return nil, err
	}
	if err := ownRefs(v); err != nil {
		return nil, err
	}
	if err := new(extent).measure(v); err != nil {
		return nil, err
	}
	r, unreadable := new(referee), false
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(nowhere{})
	c.UseRegexpEngine(func(text string) (jsonschema.Regexp, error) {
		p, err := newPattern(text, r)
		unreadable = unreadable || err != nil
		return p, err
	})
	if formats {
		c.AssertFormat()
	}
	if err := c.AddResource(schemaAt, v); err != nil {
		return nil, errors.New("cannot be read")
	}
	compiled, err := c.Compile(schemaAt)
	var remote *jsonschema.LoadURLError
	switch {
	case errors.As(err, &remote):
		return nil, errors.New("refers to another document, and callgate fetches none")
	case err != nil && unreadable:
		return nil, errPattern
	case err != nil:
		return nil, errors.New("is not a valid JSON Schema")
	}
	if chain(compiled, make(map[*jsonschema.Schema]int)) > maxChain {
		return nil, fmt.Errorf("applies more than %d schemas inside one another to one value", maxChain)
	}
	if err := r.meter(compiled, formats, make(map[*jsonschema.Schema]bool)); err != nil {
		return nil, err
	}
	r.compiled = compiled
	return r, nil
}

// judge says where a decoded document does not fit.
func (r *referee) judge(v any) (bad *misfit, err error) {
	r.fuel, r.took = maxFuel, 0
	defer func() {
		if p := recover(); p != nil {
			if p != errFuel {
				panic(p)
			}
			bad, err = nil, errFuel
		}
	}()
	var e *jsonschema.ValidationError
	if !errors.As(r.compiled.Validate(v), &e) {
		return nil, nil
	}
	return locate(e), nil
}

// nowhere loads no schema.
type nowhere struct{}

var errNowhere = errors.New("callgate fetches no schema")

// Load implements [jsonschema.URLLoader].
func (nowhere) Load(string) (any, error) { return nil, errNowhere }

// meter makes judging by c, and by all that is below it, burn fuel, so that a
// schema whose parts multiply is not judged for ever. The content of texts is an
// annotation in callgate, as it is in 2020-12, and so are formats that it does not
// know, or is not to assert.
func (r *referee) meter(c *jsonschema.Schema, formats bool, done map[*jsonschema.Schema]bool) error {
	if c == nil || done[c] {
		return nil
	}
	done[c] = true
	if !strings.HasPrefix(c.Location, schemaAt) {
		return errors.New("refers to another document, and callgate fetches none")
	}
	c.ContentEncoding, c.ContentMediaType, c.ContentSchema = nil, nil, nil
	cost, fits := costOf(c), (func(any) error)(nil)
	if formats && c.Format != nil && asserted(c.Format.Name) {
		fits = c.Format.Validate
	}
	c.Format = &jsonschema.Format{Name: "fuel", Validate: func(v any) error {
		if r.fuel -= cost.of(v); r.fuel < 0 {
			panic(errFuel)
		}
		if fits != nil {
			return fits(v)
		}
		return nil
	}}
	var err error
	eachSchema(reflect.ValueOf(c).Elem(), func(below *jsonschema.Schema) {
		if e := r.meter(below, formats, done); e != nil {
			err = e
		}
	})
	return err
}

// chain is the longest way on which schemas apply to the same value, each by way
// of the one before: references, and what all, any or one of must fit.
func chain(c *jsonschema.Schema, known map[*jsonschema.Schema]int) int {
	if c == nil {
		return 0
	}
	if n, ok := known[c]; ok {
		return n
	}
	known[c] = 0 // on the way: the library itself ends a circle
	longest := 0
	for _, list := range [][]*jsonschema.Schema{{c.Ref, c.Not, c.If, c.Then, c.Else}, c.AllOf, c.AnyOf, c.OneOf, slices.Collect(maps.Values(c.DependentSchemas))} {
		for _, below := range list {
			longest = max(longest, chain(below, known))
		}
	}
	for _, below := range c.Dependencies {
		if s, ok := below.(*jsonschema.Schema); ok {
			longest = max(longest, chain(s, known))
		}
	}
	known[c] = longest + 1
	return longest + 1
}

// A cost is what a schema takes to look at one value, besides what the schemas
// below it take.
type cost struct{ flat, text, member int }

func costOf(c *jsonschema.Schema) cost {
	k := cost{flat: 1 + len(c.Required) + len(c.AllOf) + len(c.AnyOf) + len(c.OneOf) + len(c.Properties) + len(c.DependentRequired) + len(c.DependentSchemas) + len(c.Dependencies), member: 1}
	if c.Enum != nil {
		k.flat += 4 * len(c.Enum.Values)
	}
	if p, ok := c.Pattern.(*pattern); ok {
		k.text = p.size
	}
	for p := range c.PatternProperties {
		k.member += 1 + p.(*pattern).size
	}
	return k
}

func (c cost) of(v any) int {
	switch v := v.(type) {
	case string:
		return c.flat + len(v)*(1+c.text)/64
	case []any:
		return c.flat + len(v)
	case map[string]any:
		return c.flat + len(v)*c.member
	}
	return c.flat
}

var typeOfSchema = reflect.TypeFor[*jsonschema.Schema]()

// eachSchema calls do for the schemas that the exported fields of a schema hold.
func eachSchema(v reflect.Value, do func(*jsonschema.Schema)) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				eachSchema(v.Field(i), do)
			}
		}
	case reflect.Pointer:
		if v.Type() == typeOfSchema && !v.IsNil() {
			do(v.Interface().(*jsonschema.Schema))
		}
	case reflect.Interface:
		if !v.IsNil() {
			eachSchema(v.Elem(), do)
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachSchema(v.Index(i), do)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			eachSchema(v.MapIndex(key), do)
		}
	}
}
