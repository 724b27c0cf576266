package mcp

import (
	"slices"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// formats are those of JSON Schema that arguments must have.
var formats = []string{"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "iri", "iri-reference", "json-pointer", "relative-json-pointer", "time", "uri", "uri-reference", "uri-template", "uuid"}

func asserted(format string) bool { return slices.Contains(formats, format) }

// judges has for each of formats what says whether a text has it: the library's.
var judges = sync.OnceValue(func() map[string]func(any) error {
	all := make(map[string]func(any) error, len(formats))
	for _, name := range formats {
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		if err := c.AddResource(schemaAt, map[string]any{"format": name}); err != nil {
			panic(err)
		}
		all[name] = c.MustCompile(schemaAt).Format.Validate
	}
	return all
})
