package firewall

import (
	"strings"
	"unicode"

	"callgate/audit"

	"github.com/tidwall/gjson"
)

// metRecord is an object of an answer, whose members say what it is. Records of one source
// stand beside each other.
type metRecord struct {
	source  int
	members []member
}

type member struct{ name, text string } // in lower case

// field is a place in a record.
type field struct{ record, at int32 }

const (
	maxFields  = 1 << 14
	maxField   = 160 // bytes of a value that stands for itself
	maxMembers = 64
)

// answered notes what a tool answered: texts, and records. Only the tool itself makes
// records. What looks like one within a text of a record was written by whoever wrote the text.
func (m *met) answered(call *Call, doc []byte) {
	from := metSource{OriginUntrusted, call.ID, call.Target + "/" + call.Resource}
	if call.Trusted && !call.misled() {
		from.from = OriginTrusted
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.source(from)
	audit.Leaves(doc, func(_, text string) { m.line.Add(n, text) })
	v := gjson.ParseBytes(doc)
	if r := v.Get("result"); r.IsObject() {
		v = r
	}
	content := v.Get("content")
	if contents := v.Get("contents"); contents.IsArray() { // of a resource
		content = contents
	}
	if !content.IsArray() {
		m.gather(n, v, 0)
		return
	}
	blocks := content.Array()
	for _, block := range blocks {
		text := block.Get("text").Str
		m.saw(User, SaidResult, text) // it is met again in what the model is told
		m.saw(User, SaidPart, text)
		m.document(n, text, 0)
		if len(blocks) > 1 && len(text) <= maxField && !structured(text) && !strings.Contains(text, "\n") { // one of a list
			m.record(n, []member{{"", normal(text)}})
		}
	}
	m.gather(n, v.Get("structuredContent"), 0)
}

// misled says that a lookup asks for what only anybody's text has: an answer to that is nobody's
// word.
func (call *Call) misled() (by bool) {
	audit.Leaves(call.Args(), func(_, value string) {
		if !by && strings.IndexFunc(value, unicode.IsLetter) >= 0 {
			from, _ := call.mets.origin(value, true, IntentUnknown, nil)
			by = from == OriginUntrusted
		}
	})
	return by
}

// texts notes a text that may be a document, or have records in it.
func (m *met) texts(from metSource, text string) {
	n := m.source(from)
	if structured(text) {
		audit.Leaves([]byte(strings.TrimSpace(text)), func(_, leaf string) { m.line.Add(n, leaf) })
	} else {
		m.line.Add(n, text)
	}
	m.document(n, text, 0)
}

// document notes the records in a text that is all that a tool answers.
func (m *met) document(source int, text string, depth int) {
	if structured(text) {
		m.gather(source, gjson.Parse(strings.TrimSpace(text)), depth)
		return
	}
	m.lines(source, text)
}

func structured(text string) bool {
	s := strings.TrimSpace(text)
	return len(s) > 1 && (s[0] == '{' || s[0] == '[') && gjson.Valid(s)
}

// gather notes the records in v: objects with short members, and short texts of lists.
func (m *met) gather(source int, v gjson.Result, depth int) {
	if depth > 64 || len(m.fields) > maxFields {
		return
	}
	switch {
	case v.IsObject():
		var members []member
		count := 0
		v.ForEach(func(name, v gjson.Result) bool {
			count++
			switch {
			case v.Type == gjson.String && len(v.Str) <= maxField:
				members = append(members, member{strings.ToLower(name.Str), normal(v.Str)})
			case v.Type == gjson.Number:
				members = append(members, member{strings.ToLower(name.Str), v.Raw})
			case v.IsArray(): // short lists are members, too: recipients, labels
				v.ForEach(func(_, item gjson.Result) bool {
					if item.Type == gjson.String && len(item.Str) <= maxField {
						members = append(members, member{strings.ToLower(name.Str), normal(item.Str)})
					}
					return len(members) < maxMembers
				})
			}
			if v.IsObject() || v.IsArray() {
				m.gather(source, v, depth+1)
			}
			return len(members) < maxMembers
		})
		if only := v.Get("@values.0"); count == 1 && only.Type == gjson.String { // {"result": "…"}
			m.document(source, only.Str, depth+1)
		}
		m.record(source, members)
	case v.IsArray():
		v.ForEach(func(_, v gjson.Result) bool {
			switch {
			case v.Type == gjson.String && depth == 0 && len(v.Str) <= maxField:
				m.record(source, []member{{"", normal(v.Str)}})
			case v.Type != gjson.String:
				m.gather(source, v, depth+1)
			}
			return true
		})
	}
}

func (m *met) record(source int, members []member) {
	if len(members) == 0 || len(m.fields) > maxFields {
		return
	}
	n := int32(len(m.records))
	m.records = append(m.records, metRecord{source, members})
	for i, x := range members {
		if at := m.fields[x.text]; len(at) < 16 {
			m.fields[x.text] = append(at, field{n, int32(i)})
		}
	}
}

// lines notes the records of a text that is nothing but lines of names and values, as YAML
// has them. A value that goes on in lines further in is a text of its own.
func (m *met) lines(source int, text string) {
	if !strings.Contains(text, "\n") {
		return
	}
	p := lineReader{last: -1}
	for line := range strings.Lines(text) {
		if !p.read(line) {
			return // prose
		}
	}
	p.leave(-1)
	for _, members := range p.out {
		m.record(source, members)
	}
}

// lineReader reads records in lines, by how far in these stand.
type lineReader struct {
	open  []openRecord // each further in than the one before
	out   [][]member
	last  int    // how far in the last name stands whose value goes on in lines further in; -1
	in    string // sign that ends a text in quotes
	list  string // name of the list that items may follow of
	text  bool   // the last value may have blank lines in it
	blank bool   // there was a blank line
}

type openRecord struct {
	at      int
	members []member
}

// leave ends the records that stand at least so far in.
func (p *lineReader) leave(at int) {
	for n := len(p.open); n > 0 && p.open[n-1].at >= at; n-- {
		if r := p.open[n-1]; len(r.members) > 0 {
			p.out = append(p.out, r.members)
		}
		p.open = p.open[:n-1]
	}
}

// read takes a line, and says whether it is one of names and values.
func (p *lineReader) read(line string) bool {
	rest := strings.TrimRight(line, " \t\r\n")
	at := len(rest) - len(strings.TrimLeft(rest, " "))
	rest = rest[at:]
	switch {
	case p.in != "":
		if strings.HasSuffix(rest, p.in) {
			p.in = ""
		}
		return true
	case rest == "":
		p.blank = true
		return true
	case p.last >= 0 && at > p.last:
		return true
	case rest == "---" || rest == "-":
		p.leave(-1)
		p.last = -1
		return true
	}
	if p.blank && !p.text { // between records that are nothing but lines
		p.leave(-1)
	}
	p.blank, p.text = false, false
	item := strings.HasPrefix(rest, "- ")
	for strings.HasPrefix(rest, "- ") {
		trimmed := strings.TrimLeft(rest[2:], " ")
		at += len(rest) - len(trimmed)
		rest = trimmed
	}
	name, value, named := strings.Cut(rest, ":")
	named = named && len(name) <= 40 && !strings.ContainsAny(name, ".?!") && (value == "" || value[0] == ' ')
	switch {
	case !named && !item:
		return false
	case !named: // of a list
		p.last = at - 1
		p.add(p.list, rest)
		return true
	case item:
		p.leave(at)
	default:
		p.leave(at + 1)
	}
	if n := len(p.open); n == 0 || p.open[n-1].at < at {
		p.open = append(p.open, openRecord{at: at})
	}
	name, value = strings.ToLower(strings.Trim(name, `"'* `)), strings.TrimSpace(value)
	p.last, p.list = at, name
	switch {
	case value == "":
		p.last = -1
	case value[0] == '|' || value[0] == '>':
		p.text = true
	case (value[0] == '"' || value[0] == '\'') && (len(value) == 1 || value[len(value)-1] != value[0]):
		p.in, p.text = value[:1], true
	default:
		p.add(name, value)
	}
	return true
}

// add puts a member into the innermost record; without one it is a record of its own.
func (p *lineReader) add(name, value string) {
	value = strings.Trim(value, `"'`)
	n := len(p.open)
	switch {
	case value == "" || len(value) > maxField:
	case n == 0:
		p.out = append(p.out, []member{{name, normal(value)}})
	case len(p.open[n-1].members) < maxMembers:
		p.open[n-1].members = append(p.open[n-1].members, member{name, normal(value)})
	}
}
