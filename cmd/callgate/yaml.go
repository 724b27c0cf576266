package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// A reader fills a struct from a YAML document, strictly, and notes each mistake
// instead of stopping at the first. A field takes the key of its yaml tag.
type reader struct {
	file     string // as the mistakes name it
	dir      string // what relative paths are relative to
	env      func(name string) (string, bool)
	mistakes Mistakes
	secrets  []string // files that secrets were read from
	vaulted  []need   // that want a HashiCorp Vault
}

// A setting is a value with a reading of its own.
type setting interface {
	read(r *reader, n ast.Node, key string)
}

// A checked struct has rules between its keys. check is called when they are
// read; n is where they stand.
type checked interface {
	check(r *reader, n ast.Node, key string)
}

const maxFile = 4 << 20 // bytes of any file that the configuration names

// document fills v, a pointer to a struct, from text.
func (r *reader) document(text []byte, v any) ast.Node {
	f, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey()) // told with the other mistakes
	if err != nil {
		r.syntax(err)
		return nil
	}
	var body ast.Node
	for _, d := range f.Docs {
		switch {
		case d.Body == nil:
		case body != nil:
			r.note(d.Body, "a second document: write all in one, without ---")
		default:
			body = d.Body
		}
	}
	if body != nil {
		r.fill(reflect.ValueOf(v).Elem(), body, "")
	}
	return body
}

func (r *reader) syntax(err error) {
	m := Mistake{File: r.file, Text: "not valid YAML: " + err.Error()}
	var s *yaml.SyntaxError
	if errors.As(err, &s) {
		m.Text = "not valid YAML: " + s.Message
		if t := s.Token; t != nil && t.Position != nil {
			m.Line, m.Col = t.Position.Line, t.Position.Column
		}
	}
	r.mistakes = append(r.mistakes, m)
}

// note puts a mistake at n on the list.
func (r *reader) note(n ast.Node, format string, args ...any) {
	m := Mistake{File: r.file, Text: fmt.Sprintf(format, args...)}
	if mapping, ok := n.(*ast.MappingNode); ok && len(mapping.Values) > 0 {
		n = mapping.Values[0].Key // the token of a mapping is its first colon
	}
	if n != nil {
		if t := n.GetToken(); t != nil && t.Position != nil {
			m.Line, m.Col = t.Position.Line, t.Position.Column
		}
	}
	r.mistakes = append(r.mistakes, m)
}

// fill reads n into v. An empty value leaves v as it is.
func (r *reader) fill(v reflect.Value, n ast.Node, key string) {
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		r.note(n, "%s: anchors, aliases and tags are not read here; write the value itself", key)
		return
	case *ast.NullNode:
	default:
		if s, ok := v.Addr().Interface().(setting); ok {
			s.read(r, n, key)
			return
		}
		r.shape(v, n, key)
	}
	if c, ok := v.Addr().Interface().(checked); ok {
		c.check(r, n, key)
	}
}

// shape reads n by the kind of Go value that it is for.
func (r *reader) shape(v reflect.Value, n ast.Node, key string) {
	switch v.Kind() {
	case reflect.Struct:
		r.object(v, n, key)
	case reflect.Map:
		r.names(v, n, key)
	case reflect.Slice:
		r.list(v, n, key)
	case reflect.String:
		if s, ok := r.text(n, key); ok {
			v.SetString(s)
		}
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			r.note(n, "%s: want true or false", key)
			return
		}
		v.SetBool(b.Value)
	default:
		panic("no reading for " + v.Type().String())
	}
}

// object reads the keys of a struct.
func (r *reader) object(v reflect.Value, n ast.Node, key string) {
	fields := make(map[string]int, v.NumField())
	var known []string
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("yaml"); name != "" {
			fields[name] = i
			known = append(known, name)
		}
	}
	r.pairs(n, key, func(name string, at, value ast.Node) {
		i, ok := fields[name]
		if !ok {
			r.unknown(at, join(key, name), name, known)
			return
		}
		r.fill(v.Field(i), value, join(key, name))
	})
}

func (r *reader) unknown(at ast.Node, key, name string, known []string) {
	if near := closest(name, known); near != "" {
		r.note(at, "unknown key %s; did you mean %s?", key, near)
		return
	}
	slices.Sort(known)
	r.note(at, "unknown key %s; known here: %s", key, strings.Join(known, ", "))
}

// names reads a map whose keys the operator chooses.
func (r *reader) names(v reflect.Value, n ast.Node, key string) {
	v.Set(reflect.MakeMap(v.Type()))
	r.pairs(n, key, func(name string, at, value ast.Node) {
		item := reflect.New(v.Type().Elem()).Elem()
		r.fill(item, value, join(key, name))
		v.SetMapIndex(reflect.ValueOf(name), item)
	})
}

func (r *reader) list(v reflect.Value, n ast.Node, key string) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		r.note(n, "%s: want a list: [one, two]", key)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(s.Values), len(s.Values)))
	for i, item := range s.Values {
		if _, empty := item.(*ast.NullNode); empty {
			r.note(item, "%s: an empty item", key)
			continue
		}
		r.fill(v.Index(i), item, key)
	}
}

// pairs calls each for every key of a mapping, once.
func (r *reader) pairs(n ast.Node, key string, each func(name string, at, value ast.Node)) {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		if key == "" {
			key = "the file"
		}
		r.note(n, "%s: want keys and values, one a line: key: value", key)
		return
	}
	seen := make(map[string]bool, len(m.Values))
	for _, pair := range m.Values {
		name, ok := pair.Key.(*ast.StringNode)
		switch {
		case !ok:
			r.note(pair.Key, "%s: a key must be a plain word", join(key, pair.Key.GetToken().Value))
		case seen[name.Value]:
			r.note(name, "%s stands here twice", join(key, name.Value))
		default:
			seen[name.Value] = true
			each(name.Value, name, pair.Value)
		}
	}
}

// text is what a scalar says. Numbers and the like must be quoted, so that
// nothing is read as something else than what stands there.
func (r *reader) text(n ast.Node, key string) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		r.note(n, "%s: want a text; put it in quotes", key)
	default:
		r.note(n, "%s: want a text", key)
	}
	return "", false
}

// at is the value of name in n, or n itself where there is none: the place to
// complain about it.
func at(n ast.Node, name string) ast.Node {
	if m, ok := n.(*ast.MappingNode); ok {
		for _, pair := range m.Values {
			if pair.Key.GetToken().Value == name {
				return pair.Value
			}
		}
	}
	return n
}

// path is where a path of the file leads.
func (r *reader) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(r.dir, p)
}

// load reads a file that the configuration names.
func (r *reader) load(name string) ([]byte, error) { return readFile(r.path(name)) }

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}
