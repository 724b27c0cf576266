package dialect

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"
)

// Google has two languages for schemas: its own, which is like OpenAPI's, and JSON Schema.
// All other vendors have the second one.

// geminiSchema is v, a schema in Google's own language, as JSON Schema.
func geminiSchema(v gjson.Result) json.RawMessage {
	return reschemed(raw(v), func(s object) {
		for name, value := range s {
			if c := Camel(name); c != name {
				delete(s, name)
				s[c] = value
			}
		}
		if kind, ok := s["type"].(string); ok {
			s["type"] = strings.ToLower(kind)
			if kind == "TYPE_UNSPECIFIED" {
				delete(s, "type")
			}
		}
		for _, name := range []string{"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"} {
			if n, ok := s[name].(string); ok { // as Google writes large integers
				s[name] = json.Number(n)
				if !gjson.Valid(n) {
					delete(s, name)
				}
			}
		}
		if s["nullable"] == true && s["type"] != nil {
			s["type"] = []any{s["type"], "null"}
			if list, ok := s["enum"].([]any); ok {
				s["enum"] = append(list, nil)
			}
		}
		delete(s, "nullable")
		delete(s, "propertyOrdering")
	})
}

// schemaForGemini is a JSON Schema of which Google understands all that it can: const is
// an enum of one.
func schemaForGemini(schema json.RawMessage) json.RawMessage {
	if !bytes.Contains(schema, []byte(`"const"`)) {
		return schema
	}
	return reschemed(schema, func(s object) {
		if only, ok := s["const"]; ok && s["enum"] == nil {
			delete(s, "const")
			s["enum"] = []any{only}
		}
	})
}

// reschemed is a schema of which f has changed each schema that is in it.
func reschemed(schema json.RawMessage, f func(object)) json.RawMessage {
	d := json.NewDecoder(bytes.NewReader(schema))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return schema // it was parsed: there is no such error
	}
	eachSchema(v, f, 0)
	return encode(v)
}

const maxSchemaDepth = 128 // beyond which a schema is left as it is

func eachSchema(v any, f func(object), depth int) {
	s, ok := v.(object)
	if !ok || depth > maxSchemaDepth {
		return
	}
	f(s)
	for name, value := range s {
		switch name {
		case "items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames":
			eachSchema(value, f, depth+1)
		case "anyOf", "oneOf", "allOf", "prefixItems":
			list, _ := value.([]any)
			for _, item := range list {
				eachSchema(item, f, depth+1)
			}
		case "properties", "$defs", "definitions", "patternProperties":
			all, _ := value.(object)
			for _, item := range all {
				eachSchema(item, f, depth+1)
			}
		}
	}
}
