package main

import "reflect"

// A Key is one key of callgate.yaml.
type Key struct {
	Name    string // mcp.servers.<name>.url
	Restart bool   // takes effect at a start, not at a reload
	field   []int  // where it is in Config, for a key that no name or list stands before
}

// keys is every key that callgate.yaml may have, in the order of [Config].
func keys() []Key { return keysOf(reflect.TypeFor[Config](), "", nil) }

func keysOf(t reflect.Type, prefix string, at []int) []Key {
	var list []Key
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("yaml")
		if name == "" {
			continue
		}
		k := Key{join(prefix, name), f.Tag.Get("restart") != "", append(at[:len(at):len(at)], i)}
		inner := f.Type
		suffix := ""
		switch inner.Kind() {
		case reflect.Map:
			inner, suffix = inner.Elem(), ".<name>"
		case reflect.Slice:
			inner, suffix = inner.Elem(), "[]"
		}
		if inner.Kind() == reflect.Struct && hasKeys(inner) {
			list = append(list, keysOf(inner, k.Name+suffix, k.field)...)
			continue
		}
		list = append(list, k)
	}
	return list
}

func hasKeys(t reflect.Type) bool {
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("yaml") != "" {
			return true
		}
	}
	return false
}

// restarts is the keys whose values differ between c and next although they take
// effect only at a start.
func (c *Config) restarts(next *Config) []string {
	var names []string
	for _, k := range keys() {
		if !k.Restart {
			continue
		}
		a := reflect.ValueOf(c).Elem().FieldByIndex(k.field)
		b := reflect.ValueOf(next).Elem().FieldByIndex(k.field)
		if !a.Equal(b) {
			names = append(names, k.Name)
		}
	}
	return names
}

// keep takes over from old what takes effect only at a start.
func (c *Config) keep(old *Config) {
	for _, k := range keys() {
		if k.Restart {
			reflect.ValueOf(c).Elem().FieldByIndex(k.field).Set(reflect.ValueOf(old).Elem().FieldByIndex(k.field))
		}
	}
}
