package guards

import (
	"cmp"
	"slices"
	"strings"
	"unsafe"
)

const (
	before  = 512     // bytes before a secret that its rule may look at
	longest = 2 << 10 // most bytes of a word that are read before it is judged; its rest shares its fate
	reach   = 256     // how far behind a keyword a rule that is near to it looks
	command = 1 << 10 // how far behind curl a flag is one of its flags
	back    = 128     // most bytes from the beginning of a secret to the end of its keyword
)

// A scan finds the secrets in one text, which comes in pieces.
//
// That the pieces do not matter is by construction. Each keyword's hit is judged
// on its own, from nothing but the text before and behind it, and not before that
// text has come as far as the answer depends on it: to the end of a word, mostly.
// Until then nothing leaves that could belong to a secret. What is masked is the
// union of all that the hits found.
type scan struct {
	plain
	rules *Secrets
	lane  bool // a lane of a stream, not a document
	json  bool // the text is a JSON document
	began bool // json is known

	read  int    // up to where keywords were looked for
	state uint16 // of that search
	curl  int    // where curl was called last

	hits   []hit   // that are not judged to the end, in order
	found  []found // that have not left
	masked int     // up to where the last mask reaches
	edits  []edit
}

// hit is a keyword of a rule in the text.
type hit struct {
	*rule
	from, to int
	seen     int  // up to where it was looked at for the end of a word
	open     int  // up to where its secret is masked, if it goes on; 0 if there is none yet
	row      bool // a row of a key's characters may go on there
}

// found is a secret, or, with more, the next part of the secret before it.
type found struct {
	from, to int
	rule     *rule
	more     bool
}

// edit is an answer in raw offsets: mask from to to, in the name of rule, or,
// without one, remove it because the mask stands before it.
type edit struct {
	from, to int
	rule     *rule
}

func (s *scan) reset(lane bool) {
	s.plain.reset()
	clear(s.hits)
	clear(s.found)
	*s = scan{plain: s.plain, rules: s.rules, lane: lane, json: !lane, began: !lane, curl: -command - 1,
		hits: s.hits[:0], found: s.found[:0], edits: s.edits[:0]}
}

// feed reads the next piece of the text, and with end the last one. It returns
// the raw offset up to which the text is decided now; what changes up to there is
// in s.edits, in order.
func (s *scan) feed(raw string, end bool) int {
	s.edits = s.edits[:0]
	s.take(raw, end)
	s.search()
	decided := s.end()
	if !end {
		decided = s.word(s.end(), back)
	}
	needed := decided
	n := 0
	for i := range s.hits {
		h := &s.hits[i]
		hold, done := s.judge(h, end)
		if done {
			continue
		}
		decided, needed = min(decided, hold), min(needed, max(h.from, h.open))
		s.hits[n] = *h
		n++
	}
	clear(s.hits[n:])
	s.hits = s.hits[:n]
	s.settle(decided)
	s.forget(min(needed, decided) - 2*before)
	return s.where(decided)
}

// search looks for keywords in what is new.
func (s *scan) search() {
	if !s.began {
		s.begin()
	}
	k, state := s.rules.words, s.state
	fresh := s.text[s.read-s.base:]
	for i, b := range fresh {
		state = k.next[int(state)<<6|int(k.class[b])]
		if state >= k.first {
			for _, w := range k.ends[state-k.first] {
				s.hit(w, s.read+i+1)
			}
		}
	}
	s.state, s.read = state, s.end()
}

// begin finds out whether the text is an object, as a tool's arguments are.
func (s *scan) begin() {
	for _, b := range s.text[s.read-s.base:] {
		if !isSpace(b) {
			s.began, s.json = true, b == '{'
			return
		}
	}
}

// hit notes that word number w of the rules' words ends at offset to, unless it is
// plain that nothing will come of it.
func (s *scan) hit(w int32, to int) {
	word := s.rules.all[w]
	r, from := word.rule, to-word.size
	switch {
	case r.edge && isLetter(s.at(from-1)):
		return
	case r.head != "" && !strings.HasPrefix(s.from(from, to), r.head[:min(len(r.head), word.size)]):
		return
	case r.place == argument && s.at(from) != '-':
		s.curl = from
		return
	case r.place == argument && (from-s.curl > command || !isSpace(s.at(from-1))):
		return
	}
	h := hit{rule: r, from: from, to: to, seen: to}
	if r.back > 0 {
		h.from = s.word(from, r.back)
		if r.place == near {
			if s.again(h) {
				return
			}
			h.seen = h.from
		}
	}
	s.hits = append(s.hits, h)
}

// again says whether h is near to another hit of its rule, which then goes on from
// h instead: so that each word is looked at once.
func (s *scan) again(h hit) bool {
	for i := range s.hits {
		if o := &s.hits[i]; o.rule == h.rule && h.from < o.to+reach {
			o.to = h.to
			return true
		}
	}
	return false
}

// judge looks at what stands around h. If more of the text could make a
// difference, it is not done, and says from where on the text must be held.
func (s *scan) judge(h *hit, end bool) (hold int, done bool) {
	switch h.place {
	case value:
		return s.value(h, end)
	case near:
		return s.near(h, end)
	case argument:
		return s.argument(h, end)
	case block:
		return s.block(h, end)
	}
	return s.token(h, end)
}

// token judges the word that h stands in.
func (s *scan) token(h *hit, end bool) (hold int, done bool) {
	if h.open > 0 {
		return s.goOn(h, end)
	}
	limit := h.to + h.ahead
	to, whole := s.wordEnd(h, limit, end)
	if !whole {
		return h.from, false
	}
	if s.within(h) { // another of the same: each text is read once
		return 0, true
	}
	if to == limit {
		s.find(h, to)
		if n := len(s.found); n > 0 && s.found[n-1].rule == h.rule && s.found[n-1].to == to {
			h.open = to
			return s.goOn(h, end)
		}
		return 0, true
	}
	for !s.find(h, to) && to > h.to && (s.at(to-1) == '.' || s.at(to-1) == ':') {
		to-- // the sentence's, not the word's
	}
	return 0, true
}

// find notes the secrets of h's rule between h and offset to.
func (s *scan) find(h *hit, to int) (any bool) {
	h.find(s.from(h.from-1, to), "", s.line(h.from-1), func(x secret) {
		s.add(h.rule, max(h.from-1+x.from, h.from), h.from-1+x.to)
		any = true
	})
	return any
}

// goOn masks the rest of a word whose beginning was masked.
func (s *scan) goOn(h *hit, end bool) (hold int, done bool) {
	to, whole := s.wordEnd(h, s.end()+1, end)
	s.extend(h, to)
	return to, whole
}

// within says whether h stands in a secret that its own rule has found.
func (s *scan) within(h *hit) bool {
	return slices.ContainsFunc(s.found, func(f found) bool { return f.rule == h.rule && f.from <= h.from && h.from < f.to })
}

// value judges what is given to the name that h stands in.
func (s *scan) value(h *hit, end bool) (hold int, done bool) {
	const tail = 40 // most bytes from a keyword to the sign
	i, last := h.to, min(h.to+tail, s.end())
	for i < last && kinds[s.at(i)]&(name|space|quote) != 0 {
		i++
	}
	if i == s.end() {
		return i, end
	}
	begin := i
	if !isSign(s.at(i)) {
		return 0, true
	}
	for last = min(begin+10, s.end()); i < last && kinds[s.at(i)]&(sign|space|quote) != 0; {
		i++
	}
	if i == s.end() && i < begin+10 {
		return begin, end
	}
	h.seen = max(h.seen, i)
	limit := i + h.ahead
	to, whole := s.wordEnd(h, limit, end)
	if !whole {
		return begin, false
	}
	if to-begin < 10 {
		return 0, true
	}
	if to < limit && to < s.end() {
		to++ // the sign behind a value belongs to the match
	}
	name := h.from
	for name > h.from-50 && name-1 >= s.base && isName(s.at(name-1)) {
		name--
	}
	h.find(s.from(h.from-1, to), s.from(name, h.from), s.line(h.from-1), func(x secret) {
		s.add(h.rule, h.from-1+x.from, h.from-1+x.to)
	})
	return 0, true
}

// near judges the words close behind h, and the one it stands in.
func (s *scan) near(h *hit, end bool) (hold int, done bool) {
	for {
		from := h.seen
		for from < s.end() && !isWord(s.at(from)) {
			from++
		}
		if from >= h.to+reach && !isWord(s.at(from-1)) { // never in the middle of a word: see again
			return 0, true
		}
		h.seen = from
		to, whole := s.wordEnd(h, from+h.ahead, end)
		if !whole || from == to {
			h.from, h.seen = from, from
			return from, end
		}
		if to-from < 40 { // the shortest of these secrets
			continue
		}
		h.find(s.from(from-1, to), "", s.line(from-1), func(x secret) {
			s.add(h.rule, max(from-1+x.from, from), from-1+x.to)
		})
	}
}

// argument judges the argument of the flag that h is.
func (s *scan) argument(h *hit, end bool) (hold int, done bool) {
	i := h.to
	for i < s.end() && i < h.to+5 && (s.at(i) == ' ' || s.at(i) == '\t' || s.at(i) == '=') {
		i++
	}
	if i == s.end() {
		return h.to, end
	}
	quote := s.at(i)
	quoted := quote == '"' || quote == '\''
	if quoted && s.closes(i) {
		return 0, true
	}
	hold = i
	if quoted {
		i++
	}
	h.seen = max(h.seen, i)
	for h.seen < s.end() && h.seen < hold+h.ahead && !s.ends(h.seen, quote) {
		h.seen++
	}
	switch {
	case h.seen == hold+h.ahead:
		return 0, true
	case h.seen == s.end() && !end:
		return hold, false
	}
	to := h.seen
	if quoted { // a word may not follow it at once
		if to+1 >= s.end() && !end {
			return hold, false
		}
		to += 2
	}
	to = min(to, s.end())
	h.find(s.from(h.from-1, to), "", s.line(h.from-1), func(x secret) {
		from, to := h.from-1+x.from, h.from-1+x.to
		for from < to && isQuote(s.at(from)) {
			from++
		}
		for from < to && isQuote(s.at(to-1)) {
			to--
		}
		s.add(h.rule, max(from, hold), to)
	})
	return 0, true
}

// ends says whether the byte at i is behind the argument that begins with quote.
func (s *scan) ends(i int, quote byte) bool {
	if quote == '"' || quote == '\'' {
		return s.at(i) == quote || s.closes(i)
	}
	return isSpace(s.at(i)) || s.closes(i)
}

// closes says whether the byte at i is a quote that opens or closes a string of
// the JSON document that the text is.
func (s *scan) closes(i int) bool {
	return s.json && s.at(i) == '"' && !s.escaped(i)
}

// extend notes that the secret of h goes on, or begins, and reaches offset to.
func (s *scan) extend(h *hit, to int) {
	f := found{max(h.open, h.from), to, h.rule, h.open > 0}
	if f.from < f.to {
		s.found = append(s.found, f)
	}
	h.open = to
}

// add notes a secret. A number that stands by itself in a tool's arguments is left
// alone: they must stay JSON.
func (s *scan) add(r *rule, from, to int) {
	if s.lane && s.json && isNumber(s.from(from, to)) && !isQuote(s.at(from-1)) {
		return
	}
	if from < to {
		s.found = append(s.found, found{from, to, r, false})
	}
}

// settle makes edits of what was found before offset decided. Secrets that overlap
// become one, in the name of the first; of several that begin together, of one
// that is not generic, and then of the longest.
func (s *scan) settle(decided int) {
	if len(s.found) == 0 {
		return
	}
	slices.SortFunc(s.found, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.from, b.from), -compare(a.more, b.more), compare(a.rule.generic, b.rule.generic),
			cmp.Compare(b.to, a.to), cmp.Compare(a.rule.order, b.rule.order))
	})
	later := s.found[:0]
	for _, f := range s.found {
		if f.from < decided {
			to := min(f.to, decided)
			from, r := f.from, f.rule
			if from < s.masked || f.more && from == s.masked {
				from, r = s.masked, nil
			}
			if from < to {
				s.edits = append(s.edits, edit{s.where(from), s.where(to), r})
				s.masked = to
			}
			f.from, f.more = to, true
		}
		if f.from < f.to {
			later = append(later, f)
		}
	}
	clear(s.found[len(later):])
	s.found = later
}

// word is where the word begins that ends at offset to, or most bytes before that.
func (s *scan) word(to, most int) int {
	from := to
	for from > to-most && from > s.base+1 && isWord(s.at(from-1)) {
		from--
	}
	return from
}

// wordEnd is where the word ends that h looks at, but not behind limit. It is
// not whole if more of the text could make it longer.
func (s *scan) wordEnd(h *hit, limit int, end bool) (to int, whole bool) {
	for h.seen < limit && h.seen < s.end() && isWord(s.at(h.seen)) {
		h.seen++
	}
	return h.seen, end || h.seen == limit || h.seen < s.end()
}

// compare orders false before true.
func compare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
