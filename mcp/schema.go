package mcp

import (
	"encoding/json"
	"errors"
	"fmt"
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
	raw     string
	formats bool // are asserted
	once    sync.Once
	err     error  // why it cannot be used
	quick   *quick // nil where the schema says more than that can judge

	idle chan *referee // by the library
	mu   sync.Mutex
	made int // referees
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
func newSchema(raw gjson.Result, formats bool) *schema {
	if !raw.Exists() || raw.Type == gjson.True || raw.Raw == "{}" {
		return nil
	}
	return &schema{raw: strings.Clone(raw.Raw), formats: formats, idle: make(chan *referee, maxReferees)}
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
		if s.quick = newQuick(parsed(doc), s.formats); s.quick == nil {
			r, err := s.take()
			s.err = err
			s.leave(r)
		}
	})
	return s.err
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

// take is a referee that judges nothing else until it is left.
func (s *schema) take() (*referee, error) {
	select {
	case r := <-s.idle:
		return r, nil
	default:
	}
	s.mu.Lock()
	mine := s.made < maxReferees
	if mine {
		s.made++
	}
	s.mu.Unlock()
	if !mine {
		return <-s.idle, nil // soon: each judgment is bounded
	}
	r, err := newReferee(s.raw, s.formats)
	if err != nil {
		s.mu.Lock()
		s.made--
		s.mu.Unlock()
	}
	return r, err
}

func (s *schema) leave(r *referee) {
	if r != nil {
		s.idle <- r
	}
}

// slow judges by the library.
func (s *schema) slow(doc gjson.Result) (*misfit, error) {
	v, err := decode(doc.Raw)
	if err != nil {
		return nil, err
	}
	r, err := s.take()
	if err != nil {
		return nil, err
	}
	defer s.leave(r)
	return r.judge(v)
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
