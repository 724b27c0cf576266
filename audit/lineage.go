package audit

import (
	"encoding/base64"
	"encoding/hex"
	"hash/maphash"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// A Lineage knows the words of what a run has met, and so from where a value may have come
// that it uses later. It compares words: spaces, punctuation and case do not count. The zero
// Lineage has met nothing. It is not used by several goroutines at once.
type Lineage struct {
	seed    maphash.Seed
	words   []uint32         // of all sources, one behind the other
	before  []int32          // for each word, where the same one stood before, plus 1
	last    map[uint32]int32 // where a word stood last, plus 1
	sources []source
	full    bool // it has met more than it remembers
}

// source is where the words of one begin.
type source struct {
	id int
	at int32
}

// MaxWords is how many words a Lineage remembers. What comes then it does not.
const MaxWords = 1 << 20

const (
	gap0       = 0  // between what does not belong together; no word's hash
	maxFound   = 8  // sources of one value
	maxLooks   = 64 // places that are compared for one value
	passage    = 8  // words from which on a value may be known by its parts
	gram       = 4  // words of such a part
	enoughPart = 0.5
	shortest   = 3 // signs of a value that can be told from others
	maxDecoded = 64 << 10
)

// An Origin is a source that a value may have come from.
type Origin struct {
	Source int     // as it was given to Add
	Method string  // "exact"; "percent", "base64", "hex", "json": when that is decoded; "joined": without what stands between its parts; "passage": some of its words
	Share  float64 // of the value's words that are there; 1 but for passages
}

// Add has the lineage meet text, from a source that the caller knows by a number. Sources
// are added in the order in which the run met them.
func (l *Lineage) Add(id int, text string) {
	if l.last == nil {
		l.seed, l.last = maphash.MakeSeed(), make(map[uint32]int32)
	}
	if n := len(l.sources); n == 0 || l.sources[n-1].id != id {
		l.sources = append(l.sources, source{id, int32(len(l.words))})
	}
	l.add(text)
	if strings.Contains(text, "%") {
		if plain, err := url.PathUnescape(text); err == nil && plain != text {
			l.add(plain)
		}
	}
}

// Full says that the run met more than the lineage remembers.
func (l *Lineage) Full() bool { return l.full }

func (l *Lineage) add(text string) {
	var parts parts
	var decoded []string
	var buf [64]byte
	eachWord(text, func(w string, near bool) bool {
		if l.full {
			return false
		}
		lower := appendLower(buf[:0], w)
		l.word(l.hash(lower))
		if len(w) >= 16 {
			if plain, ok := unbase64(w); ok {
				decoded = append(decoded, plain)
			}
		}
		if !near || len(w) > 6 || !hasDigit(w) && len(w) > 4 || parts.n == len(parts.at)-1 {
			l.join(&parts)
		}
		if len(w) <= 6 && (hasDigit(w) || parts.n > 0) {
			parts.text = append(parts.text, lower...)
			parts.n++
			parts.at[parts.n] = len(parts.text)
		}
		return true
	})
	l.join(&parts)
	l.word(gap0)
	for _, plain := range decoded {
		eachWord(plain, func(w string, _ bool) bool {
			l.word(l.hash(appendLower(buf[:0], w)))
			return !l.full
		})
		l.word(gap0)
	}
}

// parts are words that may be one number, as people write it: +1 (555) 123-4567, or
// ES91 2100 0418 4502 0005 1332.
type parts struct {
	text []byte
	at   [9]int // where each ends
	n    int
}

// join adds what parts are without what stands between them, all of them and some.
func (l *Lineage) join(p *parts) {
	for from := 0; from < p.n-1; from++ {
		for to := from + 2; to <= p.n; to++ {
			if w := p.text[p.at[from]:p.at[to]]; len(w) >= 6 && hasDigit(string(w)) {
				l.word(l.hash(w))
				l.word(gap0)
			}
		}
	}
	p.text, p.n = p.text[:0], 0
}

func (l *Lineage) word(h uint32) {
	if len(l.words) >= MaxWords {
		l.full = true
		return
	}
	at := int32(len(l.words))
	l.words = append(l.words, h)
	if h == gap0 {
		l.before = append(l.before, 0)
		return
	}
	l.before = append(l.before, l.last[h])
	l.last[h] = at + 1
}

// hash is never gap0.
func (l *Lineage) hash(word []byte) uint32 { return uint32(maphash.Bytes(l.seed, word)) | 1 }

// Find is where value may have come from: the sources that have it, in the order in which
// the run met them, at most 8. Those that have it as it is come alone.
func (l *Lineage) Find(value string) []Origin {
	if l.last == nil {
		return nil
	}
	for _, v := range variants(value) {
		if found := l.whole(v.text, v.method); found != nil {
			return found
		}
	}
	if found := l.joined(value); found != nil {
		return found
	}
	return l.passages(value)
}

// variant is one reading of a value.
type variant struct{ text, method string }

// variants are the readings of a value, itself first.
func variants(value string) []variant {
	list := []variant{{value, "exact"}}
	if strings.Contains(value, "%") {
		if plain, err := url.QueryUnescape(value); err == nil && plain != value {
			list = append(list, variant{plain, "percent"})
		}
	}
	if plain, ok := unbase64(value); ok {
		list = append(list, variant{plain, "base64"})
	}
	if len(value) >= 8 && len(value)%2 == 0 && len(value) <= maxDecoded {
		if plain, err := hex.DecodeString(value); err == nil && printable(plain) {
			list = append(list, variant{string(plain), "hex"})
		}
	}
	if s := strings.TrimSpace(value); len(s) > 1 && (s[0] == '{' || s[0] == '[') && gjson.Valid(s) {
		var b strings.Builder
		Leaves([]byte(s), func(_, text string) { b.WriteString(text); b.WriteByte(' ') })
		list = append(list, variant{b.String(), "json"})
	}
	return list
}

func unbase64(s string) (string, bool) {
	s = strings.TrimRight(s, "=")
	if len(s) < 8 || len(s) > maxDecoded {
		return "", false
	}
	enc := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		enc = base64.RawURLEncoding
	}
	plain, err := enc.DecodeString(s)
	if err != nil || !printable(plain) {
		return "", false
	}
	return string(plain), true
}

// printable says whether b could be a text.
func printable(b []byte) bool {
	if len(b) < 4 || !utf8.Valid(b) {
		return false
	}
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\t' && c != '\r' || c == 0x7f {
			return false
		}
	}
	return true
}

// hashes are the words of text.
func (l *Lineage) hashes(text string) (list []uint32, signs int) {
	var buf [64]byte
	eachWord(text, func(w string, _ bool) bool {
		list = append(list, l.hash(appendLower(buf[:0], w)))
		signs += len(w)
		return len(list) < 1<<14
	})
	return list, signs
}

// whole finds all words of text, one behind the other.
func (l *Lineage) whole(text, method string) []Origin {
	words, signs := l.hashes(text)
	if signs < shortest {
		return nil
	}
	return l.run(words, method)
}

// run finds words that stand one behind the other.
func (l *Lineage) run(words []uint32, method string) (found []Origin) {
	// By the word that stood somewhere longest ago, or never: it is likely the rarest.
	rare := 0
	for i, w := range words {
		at, ok := l.last[w]
		if !ok {
			return nil
		}
		if at < l.last[words[rare]] {
			rare = i
		}
	}
	var at []int32
	for p, looks := l.last[words[rare]], 0; p != 0 && looks < maxLooks*64; p, looks = l.before[p-1], looks+1 {
		from := p - 1 - int32(rare)
		if from >= 0 && int(from)+len(words) <= len(l.words) && slices.Equal(l.words[from:int(from)+len(words)], words) {
			at = append(at, from)
		}
	}
	slices.Sort(at)
	for _, p := range at {
		if id := l.of(p); len(found) < maxFound && (len(found) == 0 || found[len(found)-1].Source != id) {
			found = append(found, Origin{id, method, 1})
		}
	}
	return found
}

// joined finds a value whose parts stand apart in its source, or do so in the value.
func (l *Lineage) joined(value string) []Origin {
	var b []byte
	eachWord(value, func(w string, _ bool) bool {
		b = appendLower(b, w)
		return len(b) < 256
	})
	if len(b) < 6 || len(b) >= 256 || !hasDigit(string(b)) {
		return nil
	}
	return l.run([]uint32{l.hash(b)}, "joined")
}

// passages finds sources that have a good part of a longer value, in parts of four words.
func (l *Lineage) passages(value string) (found []Origin) {
	words, _ := l.hashes(value)
	if len(words) < passage {
		return nil
	}
	hits := make(map[int]int)
	n := 0
	for i := 0; i+gram <= len(words); i++ {
		n++
		seen := make(map[int]bool, 2)
		for _, o := range l.run(words[i:i+gram], "") {
			if !seen[o.Source] {
				seen[o.Source] = true
				hits[o.Source]++
			}
		}
	}
	for id, hit := range hits {
		if share := float64(hit) / float64(n); share >= enoughPart {
			found = append(found, Origin{id, "passage", share})
		}
	}
	slices.SortFunc(found, func(a, b Origin) int { return a.Source - b.Source })
	return found[:min(len(found), maxFound)]
}

// of is the source whose word is at p.
func (l *Lineage) of(p int32) int {
	i, ok := slices.BinarySearchFunc(l.sources, p, func(s source, p int32) int { return int(s.at - p) })
	if !ok {
		i--
	}
	return l.sources[i].id
}

// Notable are the parts of a longer text by which something can be reached or known:
// addresses, URLs, numbers and ids. Text that is one such thing is its only part.
func Notable(text string) []string {
	var list []string
	for _, f := range strings.FieldsFunc(text, func(r rune) bool {
		return r <= ' ' || strings.ContainsRune("\"'`<>()[]{}|,;", r)
	}) {
		f = strings.Trim(f, ".:!?*_")
		if len(f) < 6 || len(list) >= 64 {
			continue
		}
		at := strings.IndexByte(f, '@')
		if hasDigit(f) || strings.Contains(f, "://") || at > 0 && strings.IndexByte(f[at:], '.') > 0 || strings.HasPrefix(f, "www.") {
			list = append(list, f)
		}
	}
	return list
}

// Leaves are the texts and numbers in a JSON document, with their paths as JSON Pointers;
// a text that is itself a document has its own leaves instead.
func Leaves(doc []byte, each func(path, text string)) { leaves("", gjson.ParseBytes(doc), 0, each) }

func leaves(path string, v gjson.Result, depth int, each func(path, text string)) {
	if depth > 128 {
		return
	}
	switch {
	case v.IsObject():
		v.ForEach(func(name, v gjson.Result) bool {
			leaves(path+"/"+pointer.Replace(name.Str), v, depth+1, each)
			return true
		})
	case v.IsArray():
		i := 0
		v.ForEach(func(_, v gjson.Result) bool {
			leaves(path+"/"+strconv.Itoa(i), v, depth+1, each)
			i++
			return true
		})
	case v.Type == gjson.String:
		if s := strings.TrimSpace(v.Str); len(s) > 1 && (s[0] == '{' || s[0] == '[') && gjson.Valid(s) {
			leaves(path, gjson.Parse(s), depth+1, each)
			return
		}
		each(path, v.Str)
	case v.Type == gjson.Number:
		each(path, v.Raw)
	}
}

var pointer = strings.NewReplacer("~", "~0", "/", "~1")

// eachWord cuts text into words: letters and digits of any script. near says that no more
// than three signs stand between a word and the one before.
func eachWord(text string, each func(word string, near bool) bool) {
	end := -2
	for i := 0; i < len(text); {
		n := wordSign(text, i)
		if n < 0 {
			i -= n
			continue
		}
		from := i
		for n > 0 {
			if i += n; i == len(text) {
				break
			}
			n = wordSign(text, i)
		}
		if !each(text[from:i], from-end <= 3) {
			return
		}
		end = i
	}
}

// wordSign is how many bytes the sign at i has that is of a word; less than 0 for one that is not.
func wordSign(text string, i int) int {
	if c := text[i]; c < utf8.RuneSelf {
		if inWord[c] {
			return 1
		}
		return -1
	}
	r, n := utf8.DecodeRuneInString(text[i:])
	if r != utf8.RuneError && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) {
		return -n // quotes, dashes, stops
	}
	return n
}

// inWord are the signs of words in ASCII.
var inWord = func() (t [utf8.RuneSelf]bool) {
	for c := range t {
		t[c] = '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	return t
}()

func appendLower(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return b
}

func hasDigit(s string) bool {
	for i := range len(s) {
		if '0' <= s[i] && s[i] <= '9' {
			return true
		}
	}
	return false
}
