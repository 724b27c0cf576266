package mcp

import (
	"slices"
	"strings"
)

const maxMentions = 2000 // words of a definition that are looked up

// A reading is what was read in a definition, before it is held against others.
type reading struct {
	findings   []Finding
	references []mention // of names at /mcp
	words      []mention // that may be names of tools
}

// mention is a name in a text.
type mention struct{ at, server, name string }

// newReading reads a definition. left is how many bytes of schemas may be tried yet.
func newReading(kind, raw string, left *int) *reading {
	r := new(reading)
	if kind == PinTool {
		r.findings = unusable(raw, left)
	}
	r.findings = append(r.findings, scan(kind, raw, func(at, text string) {
		if kind != PinInstructions && at == "name" {
			return // see lookalikes
		}
		if n := maxMentions - len(r.references); strings.Contains(text, joint) && n > 0 {
			for _, m := range references.FindAllStringSubmatch(text, n) {
				r.references = append(r.references, mention{at, m[1], m[2]})
			}
		}
		if n := maxMentions - len(r.words); n > 0 {
			for _, m := range words.FindAllString(text, n) {
				r.words = append(r.words, mention{at: at, name: m})
			}
		}
	})...)
	return r
}

// findings is what was read, and what comes of holding it against what other
// servers have, and against the server's own names.
func (p *Pins) findings(key bookKey, name string, r *reading, listed map[string]bool) []Finding {
	s := &scanning{kind: key.kind, list: slices.Clone(r.findings)}
	for _, m := range r.references {
		if _, there := p.trusted(m.server); there && p.trust.Load() != nil && m.server != key.server {
			s.found(High, "reference", m.at, "it speaks of "+named(m.server+joint+m.name)+", which is another server's")
		}
	}
	for _, m := range r.words {
		if listed[m.name] || p.book(bookKey{key.server, key.view, PinTool}).pins[m.name] != nil {
			continue
		}
		if of := p.names.tools[m.name]; of != "" && of != key.server {
			s.list = addFinding(s.list, speaksOf(Medium, ascii(clip(m.at)), m.name, of))
		}
	}
	if key.kind == PinTool || key.kind == PinPrompt {
		if mixed(name) {
			s.found(High, "lookalike", "name", "its name has letters of another script among Latin ones: "+named(name))
		}
		if like := p.names.like(key, name); like != "" {
			s.found(High, "lookalike", "name", "its name looks like "+named(like))
		}
	}
	return s.list
}

func addFinding(list []Finding, f Finding) []Finding {
	if len(list) >= maxFindings || slices.ContainsFunc(list, func(g Finding) bool { return g.Text == f.Text }) {
		return list
	}
	return append(list, f)
}

func speaksOf(g Grade, at, tool, server string) Finding {
	return Finding{g, "reference", at, "it speaks of " + named(tool) + ", a tool of server " + server}
}
