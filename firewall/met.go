package firewall

import (
	"bytes"
	"hash/maphash"
	"strings"
	"sync"
	"unicode"

	"callgate/audit"
)

// met is what a run has met: what its user said, what tools answered. It says from where
// the values come that the run uses later. It lives as long as the process; what is not
// known any more counts as what nobody said.
type met struct {
	mu      sync.Mutex
	seed    maphash.Seed
	line    audit.Lineage
	sources []metSource // by their numbers in line
	seen    map[uint64]bool
	words   map[string]bool    // that the user said, in lower case
	system  map[string]bool    // that the system prompt said
	text    []byte             // of the user, in lower case, for scripts that put nothing between words
	fields  map[string][]field // short values of answers that have fields, in lower case: where they stand
	records []metRecord        // that those are in
	spoken  bool               // the user has said something
}

type metSource struct {
	from Origin // OriginUser, OriginTrusted, OriginUntrusted; OriginComposed: the model
	call string
	tool string
}

// mets are what a run has met, and then the runs of those for whom it acts.
type mets []*met

const (
	maxSeen     = 1 << 14
	maxWordsSet = 1 << 13
	maxText     = 64 << 10
)

func newMet(seed maphash.Seed) *met {
	return &met{seed: seed, seen: make(map[uint64]bool), words: make(map[string]bool), system: make(map[string]bool), fields: make(map[string][]field)}
}

// heard notes what a model call says that was not said before. A run that acts for another
// one is told by that one's model: its words are nobody's.
func (m *met) heard(own map[string]ClientTool, call *Call, child bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	trusted := make(map[int]bool)
	answersOf(own, call.History, func(i int, t ClientTool) { trusted[i] = t.Trusted })
	for i := range call.History.Said {
		s := &call.History.Said[i]
		if s.Kind != SaidText && s.Kind != SaidPart && s.Kind != SaidResult || s.Text == "" {
			continue
		}
		if m.saw(s.By, s.Kind, s.Text) {
			continue
		}
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

// saw notes a text, and says whether it was noted before.
func (m *met) saw(by Speaker, kind SaidKind, text string) bool {
	sum := maphash.String(m.seed, text) ^ uint64(by)<<1 ^ uint64(kind)<<3
	if m.seen[sum] {
		return true
	}
	if len(m.seen) >= maxSeen {
		clear(m.seen)
	}
	m.seen[sum] = true
	return false
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
			if s.By == User && len(m.text) < maxText {
				m.text = append(m.text, strings.ToLower(line)...)
			}
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

func (m *met) source(s metSource) int {
	if n := len(m.sources); n > 0 && m.sources[n-1] == s {
		return n - 1
	}
	m.sources = append(m.sources, s)
	return len(m.sources) - 1
}

// normal is a value as it is compared.
func normal(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }

// eachToken cuts a text into words of letters and digits, in lower case.
func eachToken(text string, each func(word string)) {
	for _, w := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
	}) {
		each(w)
	}
}

// dense says that a word is of a script that puts nothing between words.
func dense(word string) bool {
	return strings.IndexFunc(word, func(r rune) bool {
		return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
	}) >= 0
}

// says is whether the user has said word.
func (m *met) says(word string) bool {
	return m.words[word] || len(word) >= 6 && dense(word) && bytes.Contains(m.text, []byte(word))
}
