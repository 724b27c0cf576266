package firewall

import (
	"hash/maphash"
	"strings"
	"sync"

	"callgate/audit"

	"github.com/tidwall/gjson"
)

// met is what a run has met: what its user said, what tools answered. It says from where
// the values come that the run uses later. It lives as long as the process; what is not
// known any more counts as what nobody said.
type met struct {
	mu      sync.Mutex
	line    audit.Lineage
	sources []metSource // by their numbers in line
	seen    map[uint64]bool
	words   map[string]bool    // that the user said, in lower case
	system  map[string]bool    // that the system prompt said
	fields  map[string][]field // short values of answers that have fields, in lower case: where they stand
	records []metRecord        // that those are in
	spoken  bool               // the user has said something
}

type metSource struct {
	from Origin // OriginUser, OriginTrusted, OriginUntrusted; OriginComposed: the model
	call string
	tool string
}

// field is a place in a record.
type field struct{ record, at int32 }

// metRecord is an object of an answer, whose members say what it is.
type metRecord struct {
	source  int
	doc     int // of the answer: records of one are beside each other
	members []member
}

type member struct{ name, text string } // in lower case

// mets are what a run has met, and then the runs of those for whom it acts.
type mets []*met

const (
	maxFields   = 1 << 14
	maxField    = 160 // bytes of a value that stands for itself
	maxSeen     = 1 << 14
	maxWordsSet = 1 << 13
)

func newMet() *met {
	return &met{seen: make(map[uint64]bool), words: make(map[string]bool), system: make(map[string]bool), fields: make(map[string][]field)}
}

// heard notes what a model call says that was not said before. A run that acts for another
// one is told by that one's model: its words are nobody's.
func (m *met) heard(own map[string]ClientTool, call *Call, seed maphash.Seed, child bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	trusted := make(map[int]bool)
	answersOf(own, call.History, func(i int, t ClientTool) { trusted[i] = t.Trusted })
	for i := range call.History.Said {
		s := &call.History.Said[i]
		if s.Kind != SaidText && s.Kind != SaidPart && s.Kind != SaidResult || s.Text == "" {
			continue
		}
		sum := maphash.String(seed, s.Text) ^ uint64(s.By)<<1 ^ uint64(s.Kind)<<3
		if m.seen[sum] {
			continue
		}
		if len(m.seen) >= maxSeen {
			clear(m.seen)
		}
		m.seen[sum] = true
		switch {
		case s.Kind != SaidText: // of a tool whose answer may not have come through here
			from := OriginUntrusted
			if trusted[i] {
				from = OriginTrusted
			}
			m.texts(metSource{from, call.ID, s.Name}, s.Text)
		case s.By == Assistant || child:
			m.line.Add(m.source(metSource{OriginComposed, call.ID, ""}), s.Text)
		default:
			m.said(call, s)
		}
	}
}

// said notes what the user or the system prompt says. Of a user's text, those lines are not
// the user's that repeat what a tool answered: some clients put answers there.
func (m *met) said(call *Call, s *Said) {
	words := m.system
	if s.By == User {
		words, m.spoken = m.words, true
	}
	for line := range strings.Lines(s.Text) {
		from := OriginUser
		if s.By == User && m.repeats(line) {
			from = OriginUntrusted
		}
		m.line.Add(m.source(metSource{from, call.ID, ""}), line)
		if from == OriginUser {
			eachToken(line, func(w string) {
				if len(words) < maxWordsSet {
					words[w] = true
				}
			})
		}
	}
}

// repeats says that a line stands in an answer.
func (m *met) repeats(line string) bool {
	if len(line) < 40 {
		return false
	}
	for _, o := range m.line.Find(line) {
		if m.sources[o.Source].from == OriginUntrusted {
			return true
		}
	}
	return false
}

// answered notes what a tool answered: texts, and records.
func (m *met) answered(call *Call, doc []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	from := metSource{OriginUntrusted, call.ID, call.Target + "/" + call.Resource}
	if call.Trusted {
		from.from = OriginTrusted
	}
	audit.Leaves(doc, func(_, text string) { m.line.Add(m.source(from), text) })
	m.gather(m.source(from), gjson.ParseBytes(doc), 0)
}

// texts notes a text that may be a document, or have records in it.
func (m *met) texts(from metSource, text string) {
	if s := strings.TrimSpace(text); len(s) > 1 && (s[0] == '{' || s[0] == '[') && gjson.Valid(s) {
		audit.Leaves([]byte(s), func(_, leaf string) { m.line.Add(m.source(from), leaf) })
		m.gather(m.source(from), gjson.Parse(s), 0)
		return
	}
	n := m.source(from)
	m.line.Add(n, text)
	m.lines(n, text)
}

func (m *met) source(s metSource) int {
	if n := len(m.sources); n > 0 && m.sources[n-1] == s {
		return n - 1
	}
	m.sources = append(m.sources, s)
	return len(m.sources) - 1
}

// gather notes the records in v: objects with short members.
func (m *met) gather(source int, v gjson.Result, depth int) {
	if depth > 64 || len(m.fields) > maxFields {
		return
	}
	switch {
	case v.IsObject():
		var members []member
		v.ForEach(func(name, v gjson.Result) bool {
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
					return len(members) < 64
				})
			}
			m.gather(source, v, depth+1)
			return len(members) < 64
		})
		m.record(source, members)
	case v.IsArray():
		v.ForEach(func(_, v gjson.Result) bool {
			m.gather(source, v, depth+1)
			return true
		})
	case v.Type == gjson.String:
		if s := strings.TrimSpace(v.Str); len(s) > 1 && (s[0] == '{' || s[0] == '[') && gjson.Valid(s) {
			m.gather(source, gjson.Parse(s), depth+1)
		} else {
			m.lines(source, v.Str)
		}
	}
}

// lines notes the records in a text that has them as lines of names and values, with blank
// lines or dashes between them.
func (m *met) lines(source int, text string) {
	if !strings.Contains(text, "\n") {
		return
	}
	var members []member
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		begins := strings.HasPrefix(trimmed, "- ")
		if trimmed == "" || begins || trimmed == "-" || trimmed == "---" {
			m.record(source, members)
			members = nil
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(trimmed, "- "), ":")
		if value = strings.Trim(strings.TrimSpace(value), `"'`); ok && value != "" && len(name) <= 40 && len(value) <= maxField && !strings.ContainsAny(name, ".?!") && len(members) < 64 {
			members = append(members, member{strings.ToLower(strings.Trim(name, `"'* `)), normal(value)})
		}
	}
	m.record(source, members)
}

func (m *met) record(source int, members []member) {
	if len(members) == 0 || len(m.fields) > maxFields {
		return
	}
	n := int32(len(m.records))
	m.records = append(m.records, metRecord{source, source, members})
	for i, x := range members {
		if at := m.fields[x.text]; len(at) < 16 {
			m.fields[x.text] = append(at, field{n, int32(i)})
		}
	}
}

// normal is a value as it is compared.
func normal(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }

// eachToken cuts a text into words of letters and digits, in lower case.
func eachToken(text string, each func(word string)) {
	for _, w := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return r < 0x80 && !('a' <= r && r <= 'z' || '0' <= r && r <= '9')
	}) {
		each(w)
	}
}
