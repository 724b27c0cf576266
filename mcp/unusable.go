package mcp

import (
	"slices"
	"strings"
)

// unusableRule is the rule of a [Finding] that says that a tool cannot be called
// because of a schema. Nobody's word changes that: the server must.
const unusableRule = "schema"

// maxSchemasRead is how many bytes of the schemas of one list are tried when it is
// pinned. What is beyond is tried when its tool is called.
const maxSchemasRead = 2 << 20

// unusable is what is found of the schemas of a tool: those that callgate cannot
// judge by. left is how many bytes may be tried yet.
func unusable(raw string, left *int) []Finding {
	def := parsed([]byte(raw))
	var list []Finding
	for _, name := range []string{"inputSchema", "outputSchema"} {
		doc := def.Get(name)
		if *left -= len(doc.Raw); *left < 0 {
			return list
		}
		if err := newSchema(doc, name == "inputSchema").usable(); err != nil {
			list = append(list, Finding{High, unusableRule, name, "the tool cannot be called, because callgate cannot judge by its " + name + ": it " + err.Error()})
		}
	}
	return list
}

// unusable is what was found of the schemas of what is accepted, "" if they serve.
func (p *Pin) unusable() string {
	if p == nil || p.Kind != PinTool || p.Accepted == nil {
		return ""
	}
	i := slices.IndexFunc(p.Accepted.Findings, func(f Finding) bool { return f.Rule == unusableRule })
	if i < 0 {
		return ""
	}
	_, why, _ := strings.Cut(p.Accepted.Findings[i].Text, "because ")
	return "tool " + clip(p.Name) + " of server " + p.Server + " cannot be called: " + why + "; its server must change that"
}
