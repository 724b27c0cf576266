package guards

import (
	"cmp"
	"math"
	"regexp"
	"strings"
	"sync"

	"github.com/pelletier/go-toml/v2"
	"github.com/zricethezav/gitleaks/v8/config"
)

// version says whose rules these are, and of which release. A test holds it to go.mod.
const version = "gitleaks 8.30.1"

// A rule is one of gitleaks' rules, made ready to be asked at one place of a
// text: where one of its keywords stands.
type rule struct {
	id       string
	mask     string // what a secret becomes
	order    int    // among all rules
	generic  bool   // it knows secrets by their names alone
	place    place
	back     int    // most bytes from the beginning of the secret to the keyword
	ahead    int    // most bytes from the keyword to the end of the word that holds the secret; what is longer is cut there
	edge     bool   // no letter, digit or underscore stands before the secret
	head     string // what the keyword must be, to the letter; "" if it may be more than one thing
	keywords []string
	entropy  float64 // of the secret, in bits a byte: more than this
	group    int     // of the regular expression, that is the secret; 0 means the first that is not empty
	whole    bool    // mask all that matches: the group is but a piece of the secret
	source   string
	allow    []*allowlist

	once sync.Once
	re   *regexp.Regexp
}

// A place says where a secret stands, as seen from its rule's keyword.
type place uint8

const (
	here     place = iota // it begins with the keyword, or a little before it, in the same word
	value                 // it is given to a name that holds the keyword: api_key = "…"
	near                  // it is a word close behind the keyword
	argument              // the keyword is a flag of a curl command, and it is the flag's argument
	block                 // the keyword opens a block of many lines
)

// The parts of which gitleaks makes the rules for "a name, a sign, a value".
const (
	nameBefore = `[\w.-]{0,50}?`
	signBefore = `(?:=|>|:{1,3}=|\|\||:|=>|\?=|,)[\x60'"\s=]{0,5}`
)

// behind is the rules whose keyword stands inside their secret: the most bytes
// from the secret's beginning to the keyword, and from there to its end.
var behind = map[string]struct{ back, ahead int }{
	"azure-ad-client-secret":  {5, 40},
	"hashicorp-tf-api-token":  {15, 90},
	"maxmind-license-key":     {36, 10},
	"microsoft-teams-webhook": {80, 240},
	"openai-api-key":          {85, 90},
	"sidekiq-sensitive-url":   {26, 40},
	"slack-webhook-url":       {8, 90},
}

// apart is the rules that ask for a keyword anywhere around their secret. Anywhere
// cannot be known of a stream; close before it can.
var apart = map[string]bool{
	"airtable-personnal-access-token": true,
	"facebook-access-token":           true,
	"sourcegraph-access-token":        true,
}

// pieces is the rules whose groups are parts of the secret.
var pieces = map[string]bool{
	"jwt-base64":              true,
	"microsoft-teams-webhook": true,
}

// flags is the rules for curl commands, and the flags whose argument they are about.
var flags = map[string][]string{
	"curl-auth-header": {"curl", "-h", "--header"},
	"curl-auth-user":   {"curl", "-u", "--user"},
}

// names is the rules of a value whose keyword stands elsewhere than at the end of
// the name, and what does stand there.
var names = map[string][]string{
	"lob-api-key":                 {"lob"},
	"lob-pub-api-key":             {"lob"},
	"new-relic-browser-api-token": {"new-relic", "newrelic", "new_relic"},
	"new-relic-insert-key":        {"new-relic", "newrelic", "new_relic"},
	"new-relic-user-api-key":      {"new-relic", "newrelic", "new_relic"},
	"nytimes-access-token":        {"nytimes", "newyorktimes", "new-york-times,"},
	"typeform-api-token":          {"typeform"},
}

// generic is in the ids of rules that know secrets by their names alone.
const generic = "generic"

// plainNames is names that those rules take for a secret's, and that agents,
// models and tools give to what is none.
const plainNames = `(?i)(?:prompt[_.-]?cache[_.-]?key|idempotency[_.-]?key|(?:continuation|next|page|progress|resume|sync)[_.-]?token)`

// document is gitleaks' configuration, as far as it is about texts without a path.
type document struct {
	Rules []struct {
		ID          string
		Regex       string
		Path        string
		SecretGroup int
		Entropy     float64
		Keywords    []string
		Allowlists  []allowed
	}
	Allowlist allowed
}

type allowed struct {
	Condition   string
	Paths       []string
	RegexTarget string
	Regexes     []string
	StopWords   []string
}

// load reads gitleaks' rules. It compiles none of their 200 regular expressions:
// each is, when its keyword is seen for the first time.
func load() []*rule {
	var doc document
	if err := toml.Unmarshal([]byte(config.DefaultConfig), &doc); err != nil {
		panic("guards: gitleaks' rules: " + err.Error())
	}
	var rules []*rule
	everywhere := newAllowlists([]allowed{doc.Allowlist})
	for _, d := range doc.Rules {
		if d.Path != "" { // about files
			continue
		}
		if strings.Contains(d.ID, generic) {
			d.Allowlists = append(d.Allowlists, allowed{RegexTarget: "match", Regexes: []string{plainNames}})
		}
		allow := append(everywhere[:len(everywhere):len(everywhere)], newAllowlists(d.Allowlists)...)
		for _, source := range split(d.Regex) {
			r := &rule{
				id: d.ID, mask: "[secret:" + d.ID + "]", order: len(rules), generic: strings.Contains(d.ID, generic), keywords: d.Keywords,
				entropy: d.Entropy, group: d.SecretGroup, whole: pieces[d.ID], source: source, allow: allow,
			}
			r.settle()
			rules = append(rules, r)
		}
	}
	return rules
}

// split parts a regular expression that is either a value's or a token's.
func split(source string) []string {
	name, token, both := strings.Cut(source, `|\b(`)
	if both && strings.Contains(name, signBefore) {
		return []string{name, `\b(` + token}
	}
	return []string{source}
}

// settle finds out where the rule's secrets stand, and cuts off its regular
// expression what comes before that place.
func (r *rule) settle() {
	switch {
	case flags[r.id] != nil:
		r.place, r.ahead, r.keywords = argument, longest, flags[r.id]
		r.source = r.source[strings.Index(r.source, `[ \t\n\r](?:-`):]
	case r.id == "private-key":
		r.place = block
	case apart[r.id]:
		r.place, r.back, r.ahead = near, 80, reach
	case strings.Contains(r.source, signBefore):
		r.place, r.ahead, r.source = value, 512, strings.ReplaceAll(r.source, nameBefore, "")
		if names[r.id] != nil {
			r.keywords = names[r.id]
		}
	default:
		r.place, r.back, r.ahead = here, behind[r.id].back, cmp.Or(behind[r.id].ahead, longest)
	}
	if r.place == here && r.back == 0 {
		source, fold := strings.CutPrefix(r.source, "(?i)")
		source, r.edge = strings.CutPrefix(source, `\b`)
		if !fold {
			r.head = literal(source)
		}
	}
}

// literal is the letters and digits that every match of source begins with.
func literal(source string) string {
	for strings.HasPrefix(source, "(") && !strings.HasPrefix(source, "(?") {
		source = source[1:]
	}
	n := 0
	for n < len(source) && (isName(source[n]) && source[n] != '.' || source[n] == '~') {
		n++
	}
	if n < len(source) && strings.IndexByte("?*+{|", source[n]) >= 0 {
		n = max(n-1, 0) // the last one may be missing
	}
	return source[:n]
}

// A secret is where one stands in the text that a rule was asked about.
type secret struct{ from, to int }

// find calls yield with each secret in text, which begins one byte before the
// first that may belong to a match. line is all of the line before text, and name
// what belongs to the match before it.
func (r *rule) find(text, name, line string, yield func(secret)) {
	r.once.Do(r.compile)
	for _, m := range r.re.FindAllStringSubmatchIndex(text, -1) {
		if r.place == here && r.back == 0 || r.place == value {
			m[0]++ // the byte before
		}
		from, to := r.captured(m)
		s, match := text[from:to], strings.Trim(name+text[m[0]:m[1]], "\n")
		if r.entropy > 0 && entropy(s) <= r.entropy || r.allows(s, match, line+text) {
			continue
		}
		if r.whole {
			from, to = m[0], m[1]
		}
		yield(secret{from, to})
	}
}

func (r *rule) allows(secret, match, line string) bool {
	for _, a := range r.allow {
		if a.allows(secret, match, line) {
			return true
		}
	}
	return false
}

func (r *rule) compile() {
	source := r.source
	switch r.place {
	case here, value:
		if r.back == 0 { // it begins with the keyword: what is elsewhere need not be tried
			source = `\A(?s:.)(?:` + source + `)`
		}
	case argument:
		source = `\A(?:` + source + `)`
	}
	r.re = regexp.MustCompile(source)
}

// captured is the group of a match that holds the secret, or all of the match.
func (r *rule) captured(m []int) (from, to int) {
	if r.group > 0 {
		return m[2*r.group], m[2*r.group+1]
	}
	for i := 2; i < len(m); i += 2 {
		if m[i] < m[i+1] {
			return m[i], m[i+1]
		}
	}
	return m[0], m[1]
}

// entropy is Shannon's, in bits a byte.
func entropy(s string) float64 {
	var counts [256]int
	for i := range len(s) {
		counts[s[i]]++
	}
	bits := 0.0
	for _, n := range counts {
		if n > 0 {
			p := float64(n) / float64(len(s))
			bits -= p * math.Log2(p)
		}
	}
	return bits
}

// An allowlist says what is no secret although it looks like one.
type allowlist struct {
	allowed
	once  sync.Once
	re    *regexp.Regexp
	words *keywords
}

// newAllowlists leaves out what is about files alone.
func newAllowlists(all []allowed) []*allowlist {
	var lists []*allowlist
	for _, a := range all {
		if len(a.Paths) > 0 && a.Condition == "AND" || len(a.Regexes)+len(a.StopWords) == 0 {
			continue
		}
		lists = append(lists, &allowlist{allowed: a})
	}
	return lists
}

func (a *allowlist) compile() {
	if len(a.Regexes) > 0 {
		a.re = regexp.MustCompile("(?:" + strings.Join(a.Regexes, ")|(?:") + ")")
	}
	if len(a.StopWords) > 0 {
		a.words = newKeywords(a.StopWords)
	}
}

func (a *allowlist) allows(secret, match, line string) bool {
	a.once.Do(a.compile)
	target := secret
	switch a.RegexTarget {
	case "match":
		target = match
	case "line":
		target = line
	}
	looks := a.re != nil && a.re.MatchString(target)
	stops := a.words != nil && a.words.in(secret)
	if a.Condition == "AND" {
		return (looks || a.re == nil) && (stops || a.words == nil)
	}
	return looks || stops
}
