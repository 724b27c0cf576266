package audit

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// What a question may be.
const (
	maxWhere = 4096 // bytes
	maxTests = 64
	maxDepth = 24 // parentheses and NOTs
)

// A WhereError says what is wrong with a question, where, and what to write.
type WhereError struct {
	At   int    // letter, from 1
	Near string // what stands there, "" at the end
	Why  string
}

func (e *WhereError) Error() string {
	if e.Near == "" {
		return fmt.Sprintf("filter, at its end: %s", e.Why)
	}
	return fmt.Sprintf("filter, letter %d, at %q: %s", e.At, e.Near, e.Why)
}

// ParseWhere reads a question. now is the time that times like -24h are before. An
// empty text asks for every call, and is nil. The error is a [WhereError].
func ParseWhere(text string, now time.Time) (*Where, error) {
	p := &parser{text: text, now: now}
	if len(text) > maxWhere {
		return nil, p.wrong(0, "it has %d bytes, and may have %d", len(text), maxWhere)
	}
	if !utf8.ValidString(text) {
		return nil, p.wrong(0, "it is no UTF-8")
	}
	p.space()
	if p.at == len(text) {
		return nil, nil
	}
	root, err := p.sequence(0)
	if err != nil {
		return nil, err
	}
	if p.at < len(text) {
		return nil, p.wrong(p.at, "write AND or OR before it; a ) needs a ( before it")
	}
	return &Where{text: strings.TrimSpace(text), root: root}, nil
}

// A parser reads a question from left to right, once.
type parser struct {
	text  string
	at    int
	tests int
	now   time.Time
}

func (p *parser) wrong(at int, why string, args ...any) error {
	near := p.text[min(at, len(p.text)):]
	end := strings.IndexAny(near, " \t\n")
	if end < 0 {
		end = len(near)
	}
	near = near[:end]
	if utf8.RuneCountInString(near) > 24 {
		near = string([]rune(near)[:24]) + "…"
	}
	return &WhereError{At: utf8.RuneCountInString(p.text[:min(at, len(p.text))]) + 1, Near: near, Why: fmt.Sprintf(why, args...)}
}

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// word is the next letters that may be a field or a keyword.
func (p *parser) word() string {
	end := p.at
	for end < len(p.text) && (isLetter(p.text[end]) || end > p.at && (isDigit(p.text[end]) || p.text[end] == '.' || p.text[end] == '-')) {
		end++
	}
	return p.text[p.at:end]
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// sequence reads terms between which there are ANDs, or ORs.
func (p *parser) sequence(depth int) (*Term, error) {
	first, err := p.term(depth)
	if err != nil {
		return nil, err
	}
	all, between := []*Term{first}, ""
	for {
		p.space()
		w := p.word()
		if w != "AND" && w != "OR" {
			if up := strings.ToUpper(w); up == "AND" || up == "OR" {
				return nil, p.wrong(p.at, "write %s in capitals", up)
			}
			break
		}
		if between != "" && w != between {
			return nil, p.wrong(p.at, "AND and OR stand side by side, which can be read in two ways: put what belongs together in ( )")
		}
		between = w
		p.at += len(w)
		next, err := p.term(depth)
		if err != nil {
			return nil, err
		}
		all = append(all, next)
	}
	switch between {
	case "AND":
		return &Term{All: all}, nil
	case "OR":
		return &Term{Any: all}, nil
	}
	return first, nil
}

// term reads one test, or what is in parentheses, with or without a NOT before it.
func (p *parser) term(depth int) (*Term, error) {
	p.space()
	if depth >= maxDepth {
		return nil, p.wrong(p.at, "there are more than %d parentheses and NOTs within each other", maxDepth)
	}
	if p.at == len(p.text) {
		return nil, p.wrong(p.at, `something is missing: write a test, such as effect = "deny"`)
	}
	switch {
	case p.word() == "NOT", p.text[p.at] == '-':
		p.at += max(len(p.word()), 1)
		t, err := p.term(depth + 1)
		if err != nil {
			return nil, err
		}
		return t.not(), nil
	case p.text[p.at] == '(':
		open := p.at
		p.at++
		t, err := p.sequence(depth + 1)
		if err != nil {
			return nil, err
		}
		if p.space(); p.at == len(p.text) || p.text[p.at] != ')' {
			if p.at == len(p.text) {
				return nil, p.wrong(open, "this parenthesis is not closed: write )")
			}
			return nil, p.wrong(p.at, "write AND, OR or ) before it")
		}
		p.at++
		return t, nil
	}
	t, err := p.test()
	if err != nil {
		return nil, err
	}
	return &Term{Test: t}, nil
}

// not is the opposite of t, which it may change.
func (t *Term) not() *Term {
	if t.Test != nil {
		t.Test.Not = !t.Test.Not
	}
	for _, x := range t.All {
		x.not()
	}
	for _, x := range t.Any {
		x.not()
	}
	t.All, t.Any = t.Any, t.All
	return t
}

var ops = []Op{IsNot, AtMost, AtLeast, Is, Less, More, Has} // longer ones first

func (p *parser) test() (*Test, error) {
	begin := p.at
	name := p.word()
	if name == "" {
		return nil, p.wrong(p.at, "a test begins with the name of a field: %s", names())
	}
	if p.tests++; p.tests > maxTests {
		return nil, p.wrong(p.at, "there are more than %d tests", maxTests)
	}
	t := &Test{}
	bare, path, _ := strings.Cut(name, ".")
	for i := range fields {
		if f := &fields[i]; f.Name == name || f.Type == TypeJSON && f.Name == bare {
			t.Field = f
		}
	}
	switch {
	case t.Field == nil:
		return nil, p.wrong(begin, "there is no field %.40q%s", name, suggested(name))
	case t.Field.Type == TypeJSON:
		if t.Path = path; path != "" && (strings.HasSuffix(path, ".") || strings.Contains(path, "..") || strings.HasPrefix(path, ".")) || name == bare+"." {
			return nil, p.wrong(begin, "write names with single dots between them: args.order.id")
		}
	}
	p.at += len(name)
	p.space()
	at := p.at
	for _, op := range ops {
		if strings.HasPrefix(p.text[p.at:], string(op)) {
			t.Op = op
			break
		}
	}
	if t.Op == "" {
		return nil, p.wrong(p.at, "after %s write one of %s", name, strings.Join(t.Field.ops(), " "))
	}
	p.at += len(t.Op)
	if p.at < len(p.text) && strings.IndexByte("=<>!:", p.text[p.at]) >= 0 {
		return nil, p.wrong(at, "write one of %s", strings.Join(t.Field.ops(), " "))
	}
	if !slices.Contains(t.Field.ops(), string(t.Op)) {
		return nil, p.wrong(at, "%s is a %s: write one of %s", name, t.Field.Type, strings.Join(t.Field.ops(), " "))
	}
	p.space()
	at = p.at
	if err := p.value(t); err != nil {
		return nil, err
	}
	return t, p.settle(t, at)
}

// ops are those that a field can be asked with.
func (f *Field) ops() []string {
	switch f.Type {
	case TypeText:
		return []string{"=", "!=", ":"}
	case TypeName:
		return []string{"=", "!="}
	case TypeList:
		return []string{":"}
	case TypeTime:
		return []string{"<", "<=", ">", ">="}
	case TypeJSON:
		return []string{"=", "!=", ":", "<", "<=", ">", ">="}
	}
	return []string{"=", "!=", "<", "<=", ">", ">="}
}

// value reads what a field is compared with.
func (p *parser) value(t *Test) error {
	if p.at == len(p.text) {
		return p.wrong(p.at, `a value is missing: write one in quotes, as %s %s "…"`, t.Field.Name, t.Op)
	}
	var piece strings.Builder
	done := func() {
		t.Pieces = append(t.Pieces, piece.String())
		piece.Reset()
	}
	if q := p.text[p.at]; q == '"' || q == '\'' {
		open := p.at
		for p.at++; p.at < len(p.text); p.at++ {
			switch c := p.text[p.at]; c {
			case q:
				p.at++
				done()
				t.Text = strings.Join(t.Pieces, "*")
				return nil
			case '*':
				done()
			case '\\':
				if p.at++; p.at == len(p.text) || strings.IndexByte(`"'*\`, p.text[p.at]) < 0 {
					return p.wrong(p.at-1, `after \ comes " ' * or \`)
				}
				piece.WriteByte(p.text[p.at])
			default:
				piece.WriteByte(c)
			}
		}
		return p.wrong(open, "this quote is not closed")
	}
	begin := p.at
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n()\"'\\=<>!,", p.text[p.at]) < 0 {
		if c := p.text[p.at]; c == '*' {
			done()
		} else {
			piece.WriteByte(c)
		}
		p.at++
	}
	if p.at == begin {
		return p.wrong(p.at, `write the value in quotes, as %s %s "…"`, t.Field.Name, t.Op)
	}
	done()
	t.Text = p.text[begin:p.at]
	return nil
}

// settle makes of the value what the field is compared with.
func (p *parser) settle(t *Test, at int) error {
	f := t.Field
	stars := len(t.Pieces) > 1
	switch f.Type {
	case TypeName:
		if stars || t.Text != "" && !slices.Contains(f.Values, t.Text) {
			return p.wrong(at, "%s is one of %s", f.Name, strings.Join(f.Values, ", "))
		}
	case TypeText:
		if f.Name == "agent" && t.Op != Has && t.Text != "" && !stars && !strings.Contains(t.Text, ":") {
			t.Text = "agent:" + t.Text
			t.Pieces = []string{t.Text}
		}
	case TypeNumber, TypeMoney:
		n, err := strconv.ParseFloat(t.Text, 64)
		if err != nil || stars || math.IsNaN(n) || math.IsInf(n, 0) {
			return p.wrong(at, "%s is in %s: write a number, as 0.5", f.Name, f.Type)
		}
		if t.Number = n; f.Type == TypeMoney {
			t.Number = micro(n)
		}
	case TypeDuration:
		d, err := lasting(t.Text)
		if err != nil || stars {
			return p.wrong(at, "%s is a duration: write 250ms, 30s, 5m, 12h or 7d", f.Name)
		}
		t.Number = float64(d.Microseconds())
	case TypeTime:
		var err error
		if t.Time, err = moment(t.Text, p.now); err != nil || stars {
			return p.wrong(at, `%s is a time: write "2026-11-23", "2026-11-23T09:00:00Z", or -24h for so long ago`, f.Name)
		}
	case TypeJSON:
		if n, err := strconv.ParseFloat(t.Text, 64); err == nil && !stars && !math.IsNaN(n) {
			t.Number = n
		} else if t.Op != Is && t.Op != IsNot && t.Op != Has {
			return p.wrong(at, "%s compares numbers: write one, as 100", t.Op)
		}
		if t.Path == "" && t.Op != Is && t.Op != IsNot && t.Op != Has {
			return p.wrong(at, "say which of the arguments: args.amount %s %s", t.Op, t.Text)
		}
	}
	return nil
}

// micro is so many dollars in millionths, without what multiplying gets wrong.
func micro(usd float64) float64 {
	n := usd * 1e6
	if r := math.Round(n); math.Abs(n-r) < 1e-6*max(1, math.Abs(n)) {
		return r
	}
	return n
}

// numeric says whether the value of a test can be a number.
func (t *Test) numeric() bool {
	_, err := strconv.ParseFloat(t.Text, 64)
	return err == nil && len(t.Pieces) == 1 && t.Op != Has
}

// lasting is a duration, which may be in whole days.
func lasting(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.Atoi(n)
		if err != nil || days < 0 || days > 36600 {
			return 0, fmt.Errorf("%q is no number of days", s)
		}
		return time.Duration(days) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		err = fmt.Errorf("%q is less than nothing", s)
	}
	return d, err
}

// moment is a time, a day, or so long before now.
func moment(s string, now time.Time) (time.Time, error) {
	if ago, ok := strings.CutPrefix(s, "-"); ok {
		d, err := lasting(ago)
		return now.Add(-d), err
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() > 1677 && t.Year() < 2262 {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time", s)
}

func names() string {
	var all []string
	for i := range fields {
		all = append(all, fields[i].Name)
	}
	return strings.Join(all, " ")
}

// suggested is what a field that is not there may have been meant to be.
func suggested(name string) string {
	best, least := "", 3
	for i := range fields {
		if d := distance(strings.ToLower(name), fields[i].Name); d < least {
			best, least = fields[i].Name, d
		}
	}
	if best != "" {
		return "; did you mean " + best + "?"
	}
	return ": there are " + names()
}

// distance is how many letters must be changed, put in or left out to make b of a.
func distance(a, b string) int {
	if len(a) > 32 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost = 1 + min(last, row[j], row[j+1])
			}
			last, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
