package mcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
	"unicode"

	"callgate/firewall"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"github.com/tidwall/gjson"
)

// A schema judges documents by the JSON Schema that a server gave. It is compiled
// when it is needed first, and never reads anything but its own text. It is used
// by many goroutines at once.
type schema struct {
	raw      string
	once     sync.Once
	err      error  // why it cannot be used
	quick    *quick // nil where the schema says more than that can judge
	compiled *jsonschema.Schema

	mu   sync.Mutex // held while compiled judges: its formats burn fuel
	fuel int
}

const (
	maxSchemaBytes = 256 << 10
	maxSchemaDepth = 64
	maxChain       = 128                                    // schemas that apply to one value, each by way of the one before
	maxFuel        = 1_000_000                              // steps of judging one document, of the order of 100 ns
	maxExponent    = 400                                    // of a number; beyond it an exact comparison takes for ever
	schemaAt       = "https://schema.callgate.invalid/tool" // a name; nothing is asked there
)

// A misfit is where a document does not fit its schema: the JSON pointer of the
// place and the keyword of the schema. It never quotes the value that is there.
type misfit struct{ pointer, keyword string }

var (
	errFuel   = errors.New("takes too long to be judged")
	errNumber = errors.New("has a number that nobody can compute with")
)

// newSchema is nil where raw accepts everything.
func newSchema(raw gjson.Result) *schema {
	if !raw.Exists() || raw.Type == gjson.True || raw.Raw == "{}" {
		return nil
	}
	return &schema{raw: raw.Raw}
}

// usable compiles the schema, once, and says why it cannot be used.
func (s *schema) usable() error {
	if s == nil {
		return nil
	}
	s.once.Do(func() {
		doc := []byte(s.raw)
		if _, err := firewall.ParseBody(doc, firewall.Limits{Bytes: maxSchemaBytes, Depth: maxSchemaDepth}); err != nil {
			s.err = err
			return
		}
		if s.quick = newQuick(parsed(doc)); s.quick == nil {
			s.err = s.compile()
		}
	})
	return s.err
}

// compile makes the schema one of the library, with its default dialect.
func (s *schema) compile() error {
	v, err := decode(s.raw)
	if err != nil {
		return err
	}
	if err := ownRefs(v); err != nil {
		return err
	}
	if err := new(extent).measure(v); err != nil {
		return err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(nowhere{})
	c.UseRegexpEngine(compilePattern)
	if err := c.AddResource(schemaAt, v); err != nil {
		return errors.New("cannot be read")
	}
	compiled, err := c.Compile(schemaAt)
	var remote *jsonschema.LoadURLError
	switch {
	case errors.As(err, &remote):
		return errors.New("refers to another document, and callgate fetches none")
	case err != nil:
		return errors.New("is not a valid JSON Schema")
	}
	if chain(compiled, make(map[*jsonschema.Schema]int)) > maxChain {
		return fmt.Errorf("applies more than %d schemas inside one another to one value", maxChain)
	}
	if err := s.meter(compiled, make(map[*jsonschema.Schema]bool)); err != nil {
		return err
	}
	s.compiled = compiled
	return nil
}

// What a schema may hold, because the library takes time with the square of it.
const (
	maxParts      = 4096 // schemas within it, or what could be one
	maxRefs       = 512
	maxPatterns   = 256
	maxPatternLen = 1024 // bytes
	maxProgram    = 4096 // steps of a pattern
)

// extent is how much a schema holds.
type extent struct{ parts, refs, patterns int }

// measure counts what v holds, and says when it is too much.
func (e *extent) measure(v any) error {
	switch v := v.(type) {
	case bool:
		e.parts++
	case []any:
		for _, item := range v {
			if err := e.measure(item); err != nil {
				return err
			}
		}
	case map[string]any:
		e.parts++
		for name, item := range v {
			switch name {
			case "$ref":
				e.refs++
			case "pattern":
				if err := e.pattern(item); err != nil {
					return err
				}
			case "patternProperties":
				if of, ok := item.(map[string]any); ok {
					for text := range of {
						if err := e.pattern(text); err != nil {
							return err
						}
					}
				}
			}
			if err := e.measure(item); err != nil {
				return err
			}
		}
	}
	if e.parts > maxParts || e.refs > maxRefs {
		return fmt.Errorf("has more than %d parts or %d references", maxParts, maxRefs)
	}
	return nil
}

func (e *extent) pattern(v any) error {
	text, ok := v.(string)
	if !ok {
		return nil
	}
	if e.patterns++; e.patterns > maxPatterns || len(text) > maxPatternLen {
		return fmt.Errorf("has more than %d patterns, or one of more than %d bytes", maxPatterns, maxPatternLen)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil // see compilePattern
	}
	if program, err := syntax.Compile(tree.Simplify()); err == nil && len(program.Inst) > maxProgram {
		return errors.New("has a pattern that is too large")
	}
	return nil
}

// judge says where doc does not fit, if it does not. The error is one of the
// schema, or says that it cannot judge doc.
func (s *schema) judge(doc gjson.Result) (*misfit, error) {
	if s == nil {
		return nil, nil
	}
	if err := s.usable(); err != nil {
		return nil, err
	}
	if s.quick != nil {
		bad, sure := s.quick.judge(doc)
		if sure {
			return bad, nil
		}
	}
	return s.slow(doc)
}

// slow judges by the library.
func (s *schema) slow(doc gjson.Result) (bad *misfit, err error) {
	v, err := decode(doc.Raw)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.compiled == nil { // quick was not sure
		if err := s.compile(); err != nil {
			return nil, err
		}
	}
	s.fuel = maxFuel
	defer func() {
		if p := recover(); p != nil {
			if p != errFuel {
				panic(p)
			}
			bad, err = nil, errFuel
		}
	}()
	var e *jsonschema.ValidationError
	if !errors.As(s.compiled.Validate(v), &e) {
		return nil, nil
	}
	return locate(e), nil
}

// locate finds the first place that explains e. Where one of several schemas had
// to fit, that is the place, and not what each of them missed.
func locate(e *jsonschema.ValidationError) *misfit {
	for len(e.Causes) > 0 {
		switch e.ErrorKind.(type) {
		case *kind.AnyOf, *kind.OneOf, *kind.Not, *kind.Contains:
		default:
			e = e.Causes[0]
			continue
		}
		break
	}
	m := &misfit{pointer: pointer(e.InstanceLocation...), keyword: "false"}
	if path := e.ErrorKind.KeywordPath(); len(path) > 0 {
		m.keyword = path[0]
	}
	at := e.InstanceLocation[:len(e.InstanceLocation):len(e.InstanceLocation)]
	switch what := e.ErrorKind.(type) {
	case *kind.RefCycle:
		m.keyword = "$ref"
	case *kind.Required:
		m.pointer = pointer(append(at, slices.Min(what.Missing))...)
	case *kind.AdditionalProperties:
		m.pointer = pointer(append(at, slices.Min(what.Properties))...)
	}
	return m
}

// pointer is a JSON pointer that can be shown.
func pointer(path ...string) string {
	var b strings.Builder
	for _, name := range path {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
	}
	return clip(strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return '?'
		}
		return c
	}, b.String()))
}

// decode is a document as the library takes it.
func decode(raw string) (any, error) {
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(raw))
	if err != nil {
		return nil, errors.New("cannot be read")
	}
	return v, computable(v)
}

// computable refuses numbers that take for ever to be compared: the library
// computes exactly.
func computable(v any) error {
	switch v := v.(type) {
	case json.Number:
		if !tameNumber(string(v)) {
			return errNumber
		}
	case []any:
		for _, item := range v {
			if err := computable(item); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, item := range v {
			if err := computable(item); err != nil {
				return err
			}
		}
	}
	return nil
}

func tameNumber(n string) bool {
	at := strings.IndexAny(n, "eE")
	if at < 0 {
		return len(n) <= 1000
	}
	exponent := strings.TrimLeft(n[at+1:], "+-0")
	return at <= 1000 && (len(exponent) < 3 || len(exponent) == 3 && exponent <= fmt.Sprint(maxExponent))
}

// nowhere loads no schema.
type nowhere struct{}

var errNowhere = errors.New("callgate fetches no schema")

// Load implements [jsonschema.URLLoader].
func (nowhere) Load(string) (any, error) { return nil, errNowhere }

// ownRefs refuses references that leave the document, also to the dialects that
// the library brings along, and those whose target depends on the way to them.
func ownRefs(v any) error {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			if err := ownRefs(item); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, item := range v {
			ref, text := item.(string)
			switch {
			case name == "$ref" && text && !strings.HasPrefix(ref, "#"):
				return errors.New("refers to another document, and callgate fetches none")
			case (name == "$dynamicRef" || name == "$recursiveRef") && text:
				return errors.New("uses " + name + ", which callgate does not follow")
			}
			if err := ownRefs(item); err != nil {
				return err
			}
		}
	}
	return nil
}

// meter makes judging by c, and by all that is below it, burn fuel, so that a
// schema whose parts multiply is not judged for ever. Formats and the content of
// texts are annotations in callgate, as they are in 2020-12.
func (s *schema) meter(c *jsonschema.Schema, done map[*jsonschema.Schema]bool) error {
	if c == nil || done[c] {
		return nil
	}
	done[c] = true
	if !strings.HasPrefix(c.Location, schemaAt) {
		return errors.New("refers to another document, and callgate fetches none")
	}
	for p := range c.PatternProperties {
		if p.(*pattern).re == nil {
			return errors.New("has a patternProperties that callgate cannot read")
		}
	}
	c.ContentEncoding, c.ContentMediaType, c.ContentSchema = nil, nil, nil
	cost := costOf(c)
	c.Format = &jsonschema.Format{Name: "fuel", Validate: func(v any) error {
		if s.fuel -= cost.of(v); s.fuel < 0 {
			panic(errFuel)
		}
		return nil
	}}
	var err error
	eachSchema(reflect.ValueOf(c).Elem(), func(below *jsonschema.Schema) {
		if e := s.meter(below, done); e != nil {
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

// A pattern is a regular expression of a schema. Those that Go cannot read, such
// as with a look ahead, match everything: the server judges by them itself.
type pattern struct {
	text string
	re   *regexp.Regexp // nil: matches everything
	size int            // of its program
}

func compilePattern(text string) (jsonschema.Regexp, error) {
	p := &pattern{text: text}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return p, nil
	}
	if program, err := syntax.Compile(tree.Simplify()); err == nil {
		p.size = len(program.Inst)
	}
	p.re, _ = regexp.Compile(text)
	return p, nil
}

// MatchString implements [jsonschema.Regexp].
func (p *pattern) MatchString(s string) bool { return p.re == nil || p.re.MatchString(s) }

// String implements [fmt.Stringer].
func (p *pattern) String() string { return p.text }
