package mcp

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/tidwall/gjson"
	"golang.org/x/text/unicode/norm"
)

// A Finding is something in a definition that a person should see before a model
// does. One that is [High] withholds what is seen for the first time.
type Finding struct {
	Grade Grade  `json:"grade"`
	Rule  string `json:"rule"` // hidden, control, instruction, reference, lookalike, schema
	At    string `json:"at"`   // path within the definition; "" for the whole
	Text  string `json:"text"` // in words, in ASCII
}

const (
	maxFindings = 32  // that are told of one definition
	maxAt       = 200 // bytes of a path
	maxHidden   = 200 // characters of a hidden text that are told
)

// A scanning collects what is found in one definition.
type scanning struct {
	kind string
	list []Finding
	each func(at, text string) // also called with each text
}

func (s *scanning) found(g Grade, rule, at, text string) {
	if len(at) > maxAt {
		at = at[:maxAt] + "…"
	}
	f := Finding{g, rule, ascii(at), text}
	for i, other := range s.list {
		if other == f {
			return
		}
		if len(s.list) >= maxFindings && other.Grade < g { // a flood of small ones hides none that is grave
			s.list[i] = f
			return
		}
	}
	if len(s.list) < maxFindings {
		s.list = append(s.list, f)
	}
}

// scan reads all texts of a definition, names of members too, for what is hidden
// in them or is meant to command the model.
func scan(kind, raw string, each func(at, text string)) []Finding {
	s := &scanning{kind: kind, each: each}
	if kind == PinInstructions {
		s.text("", raw)
		return s.list
	}
	s.walk("", gjson.Parse(raw))
	return s.list
}

func (s *scanning) walk(at string, v gjson.Result) {
	switch {
	case v.Type == gjson.String:
		s.text(at, v.Str)
	case v.IsObject(), v.IsArray():
		object, i := v.IsObject(), 0
		v.ForEach(func(key, value gjson.Result) bool {
			below := fmt.Sprintf("%s[%d]", at, i)
			if i++; object {
				below = strings.TrimPrefix(at+"."+key.Str, ".")
				if !plainName(key.Str) {
					s.text(below, key.Str)
				}
			}
			s.walk(below, value)
			return true
		})
	}
}

// plainName says that there is nothing in a member's name to be read.
func plainName(name string) bool {
	return len(name) <= 32 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-$") == ""
}

func (s *scanning) text(at, text string) {
	if text == "" {
		return
	}
	if !isPlain(text) {
		s.characters(at, text)
	}
	if s.each != nil {
		s.each(at, text)
	}
	read := readable(text)
	for _, o := range orders {
		if !o.mayMatch(read) {
			continue
		}
		if m := o.re.FindString(read); m != "" {
			g := o.grade
			if s.kind == PinInstructions && g < High {
				g = Low // a server may tell how its tools are used
			}
			s.found(g, "instruction", at, o.what+": "+named(m))
		}
	}
}

// isPlain says that a text is ASCII without control characters.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c >= 0x7f || c < ' ' && c != '\n' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}

// readable is a text as a model understands it: without what is hidden, in lower
// case, letters that only look like others as those, and one space between words.
func readable(text string) string {
	if !isPlain(text) {
		text = strings.Map(func(r rune) rune {
			if invisible(r) {
				return -1
			}
			if unicode.IsControl(r) {
				return ' '
			}
			if to, ok := confusable[r]; ok {
				return to
			}
			return r
		}, norm.NFKC.String(escapes.ReplaceAllString(text, " ")))
	}
	return strings.Join(strings.Fields(strings.ToLower(text)), " ")
}

// escapes is what a terminal takes as commands.
var escapes = regexp.MustCompile("(\x1b\\[|\u009b)[0-9;?]*[ -/]*[@-~]|\x1b\\][^\a\x1b]*(\a|\x1b\\\\)")

// invisible says whether nobody sees a character, though a model may read it.
func invisible(r rune) bool {
	switch {
	case r < 0xad:
		return false
	case r == 0xad, r == 0x34f, r == 0x61c, r == 0x115f, r == 0x1160, r == 0x17b4, r == 0x17b5, r == 0x3164, r == 0xffa0, r == 0xfeff,
		r >= 0x180b && r <= 0x180f, r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x206f,
		r >= 0xfe00 && r <= 0xfe0f, r >= 0xfff0 && r <= 0xfffb, r >= 0x1d173 && r <= 0x1d17a, r >= 0xe0000 && r <= 0xe0fff:
		return true
	}
	return false
}

func isTag(r rune) bool { return r >= 0xe0000 && r <= 0xe007f }

func isSelector(r rune) bool { return r >= 0xfe00 && r <= 0xfe0f || r >= 0xe0100 && r <= 0xe01ef }

func isDirection(r rune) bool { return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 }

// characters looks for those that are not what a reader sees.
func (s *scanning) characters(at, text string) {
	runes := []rune(text)
	var zero, private, selected int
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case r == '\n' || r == '\t' || r == '\r':
		case r == 0x1b || r == 0x9b || r == 0x9d || r == 0x90:
			s.found(High, "control", at, "it holds terminal escape sequences")
		case r < ' ' || r >= 0x7f && r < 0xa0:
			s.found(High, "control", at, fmt.Sprintf("it holds the control character U+%04X", r))
		case isDirection(r):
			s.found(High, "hidden", at, fmt.Sprintf("it changes the direction of what stands beside it (U+%04X)", r))
		case isTag(r):
			run := i
			for run < len(runes) && isTag(runes[run]) {
				run++
			}
			if !isFlag(runes, i, run) {
				s.found(High, "hidden", at, "it holds an invisible text of tag characters: "+named(tagText(runes[i:run])))
			}
			i = run - 1
		case isSelector(r):
			run := i
			for run < len(runes) && isSelector(runes[run]) {
				run++
			}
			switch before := previous(runes, i); {
			case run-i > 1:
				s.found(High, "hidden", at, fmt.Sprintf("it holds a run of %d variation selectors, which may hide a text: %s", run-i, named(selectorText(runes[i:run]))))
			case r >= 0xe0100 && !unicode.Is(unicode.Han, before), before < 0x80 && before != '#' && before != '*' && (before < '0' || before > '9'):
				selected++
			}
			i = run - 1
		case unicode.Is(unicode.Co, r):
			private++
		case invisible(r) && !joins(runes, i):
			zero++
		}
	}
	if zero > 0 {
		s.found(High, "hidden", at, fmt.Sprintf("it holds %d invisible characters", zero))
	}
	if selected > 0 {
		s.found(High, "hidden", at, fmt.Sprintf("it holds %d variation selectors behind characters that have no variants: %s", selected, named(selectorText(runes))))
	}
	if private > 0 {
		g := Medium
		if private > 3 {
			g = High
		}
		s.found(g, "hidden", at, fmt.Sprintf("it holds %d characters of private use", private))
	}
}

func previous(runes []rune, i int) rune {
	if i == 0 {
		return 0
	}
	return runes[i-1]
}

// isFlag says whether tag characters are those of an emoji: the flag of a region.
func isFlag(runes []rune, from, to int) bool {
	return from > 0 && runes[from-1] == 0x1f3f4 && to-from <= 7 && runes[to-1] == 0xe007f
}

// tagText is what tag characters say.
func tagText(runes []rune) string {
	var b strings.Builder
	for _, r := range runes[:min(len(runes), maxHidden)] {
		if c := r - 0xe0000; c >= ' ' && c < 0x7f {
			b.WriteByte(byte(c))
		}
	}
	return b.String()
}

// selectorText is the bytes that variation selectors may stand for.
func selectorText(runes []rune) string {
	var b []byte
	for _, r := range runes {
		switch {
		case len(b) >= maxHidden:
		case r >= 0xfe00 && r <= 0xfe0f:
			b = append(b, byte(r-0xfe00))
		case r >= 0xe0100 && r <= 0xe01ef:
			b = append(b, byte(r-0xe0100+16))
		}
	}
	return string(b)
}

// joins says whether an invisible character has a use where it stands: within an
// emoji, in a script that is joined, or to mark the direction of one that runs to
// the left. At the begin of a text a byte order mark is common.
func joins(runes []rune, i int) bool {
	before, after := previous(runes, i), rune(0)
	if i+1 < len(runes) {
		after = runes[i+1]
	}
	switch runes[i] {
	case 0x200c, 0x200d:
		return before >= 0x600 && before < 0x1100 || before >= 0x2190 && !invisible(before) && after >= 0x2190 || isSelector(before) && after >= 0x2190
	case 0x200e, 0x200f, 0x61c:
		return toTheLeft(before) || toTheLeft(after)
	}
	return false
}

func toTheLeft(r rune) bool {
	return unicode.In(r, unicode.Arabic, unicode.Hebrew, unicode.Syriac, unicode.Thaana)
}

// An order is a way to command a model where something should be described.
type order struct {
	what  string
	grade Grade
	need  []string // one of which stands in each text that matches
	re    *regexp.Regexp
}

func (o *order) mayMatch(text string) bool {
	for _, word := range o.need {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// orders are few, so that what describes a tool in earnest passes. They are matched
// with readable texts.
var orders = []order{
	{"it tells the model to forget its instructions", High, []string{"instruction", "prompt", "directive", "guideline", "rules"},
		regexp.MustCompile(`\b(ignore|disregard|forget|override|bypass)\b( \w+){0,3} (previous|prior|earlier|above|preceding|existing|original|system|other)( \w+){0,2} (instruction|prompt|directive|guideline|rule)s?\b`)},
	{"it is marked as a command to the model", High, []string{"<", "["},
		regexp.MustCompile(`<\|?/?(important|system|hidden|secret|critical|instructions?-for-(the-)?(ai|model|assistant)|system[-_ ](reminder|prompt|message|instructions?)|im_start|im_end|assistant)\|?>|<<sys>>|\[/?inst\]`)},
	{"it wants something kept from the user", High, []string{"user", "human", "operator"},
		regexp.MustCompile(`\b(do not|don'?t|never|must not|should not|avoid|without) (ever )?(tell|telling|inform|informing|notify|notifying|alert|alerting|warn|warning|mention(ing)?( (this|it|that|anything|any of this|these))? to|reveal(ing)?( (this|it|that|anything))? to|disclos(e|ing)( (this|it|that|anything))? to)( the| your| any)? (user|human|operator)s?\b|\b(hide|conceal|keep) (this|it|that|these)( \w+){0,2} (from|secret from|hidden from) the (user|human|operator)\b|\bwithout (the )?(user|human|operator)('s)? (knowing|knowledge|noticing|consent|approval)\b|\b(do not|don'?t|never) mention (this|that|these|any of this)( \w+){0,6} to the (user|human)\b`)},
	{"it wants something read or handed over before the tool is used", High, []string{"before", "prior to", "whenever", "when "},
		regexp.MustCompile(`\b(before|prior to|whenever|when) (using|calling|invoking|running|executing|you (use|call|invoke|run))\b( \w+){0,5} (tools?|functions?)\b[^.]{0,80}\b(read|open|cat|send|upload|pass|hand over|exfiltrate|collect|gather|leak)\b`)},
	{"it wants a file's contents handed over", High, []string{"content"},
		regexp.MustCompile(`\b(read|open|cat|load|fetch)\b.{0,120}\b(pass|send|include|put|provide|place|upload|post)\b( \w+){0,3} contents?\b.{0,20}\b(as|in|into|to|via|through|with)\b`)},
	{"it wants what is private to others handed over", High, []string{"~/", ".ssh", "id_rsa", "/etc/", "mcp.json", ".env", ".aws", "password", "credential", "api key", "private key", "system prompt"},
		regexp.MustCompile(`\b(read|cat|open|send|upload|forward|post|include|pass|copy|attach|append|reveal|repeat|print|leak|exfiltrate)\b[^.]{0,60}(~/\.\w+|\.ssh\b|\bid_rsa\b|/etc/(passwd|shadow)|\bmcp\.json\b|\.aws/|\b(system prompt|user'?s (passwords?|credentials?|api keys?|private keys?)))`)},
	{"it commands what the model must do first", Medium, []string{"must", "always", "have to", "required to"},
		regexp.MustCompile(`\byou (must|have to|are required to|should always) (first|always)\b|\b(must|always) (first )?(call|use|invoke|run) this (tool|function) (before|first|instead)\b|\bmust( always)? be (called|used|invoked|run) (first|before)\b|\byou must (call|use|invoke|run)\b`)},
	{"it wants to be used in the place of others", Medium, []string{"instead of", "rather than", "over any other", "over all other", "supersede", "replaces", "overrides"},
		regexp.MustCompile(`\b(always|must|only) (use|call|prefer|choose) this (tool|function)\b.{0,40}\b(instead of|rather than|over (any|all) other)\b|\bthis tool (supersedes|overrides|replaces) (all|any|every|the) (other )?tools?\b`)},
	{"it wants what was said before handed over", Medium, []string{"conversation", "chat history", "chain of thought", "previous messages"},
		regexp.MustCompile(`\b(include|send|pass|provide|put|attach|append|summari[sz]e)\b.{0,40}\b(full|entire|whole|complete|all)\b.{0,20}\b(conversation|chat history|previous messages|chain of thought)\b`)},
}
