package policy

import (
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Source is one policy file: Casbin's CSV rows. Several Sources are one policy,
// in the order given.
type Source struct {
	Name string // of the file, for [Problem]
	Text []byte
}

const (
	maxLine = 8 << 10 // bytes of one row
	maxRows = 1 << 20 // of one policy
)

// A row is one line of a policy and where it stands.
type row struct {
	file   string
	line   int
	fields []string // type first: p, p2, g, g2
}

func (r row) at() string { return fmt.Sprintf("%s:%d", r.file, r.line) }

// columns of each type of row, as they are named in messages.
var columns = map[string]string{
	"p":  "p, subject, tenant, object, action, condition, effect, id",
	"p2": "p2, subject, tenant, object, action, condition, allow, obligation, id",
	"g":  "g, member, role, tenant",
	"g2": "g2, object, class",
}

// read splits a source into rows. Each line stands for itself; empty lines and
// those that begin with # say nothing.
func (c *checker) read(s Source) {
	text := strings.TrimPrefix(string(s.Text), "\uFEFF") // as spreadsheets write it
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		r := row{file: s.Name, line: n}
		if len(c.rows) == maxRows {
			c.fail(r, "more than %d rows: a policy is larger than callgate takes", maxRows)
			return
		}
		fields, err := split(line)
		if err != nil {
			c.fail(r, "%v", err)
			continue
		}
		r.fields = fields
		want, ok := c.columns[fields[0]]
		if !ok && c.shape != nil {
			c.fail(r, "unknown type of row %s: the model has %s", quote(fields[0]), strings.Join(slices.Sorted(maps.Keys(c.columns)), ", "))
			continue
		}
		if !ok {
			c.fail(r, "unknown type of row %s: write p (allow or deny), p2 (obligation), g (member of a role) or g2 (object of a class)", quote(fields[0]))
			continue
		}
		if count := strings.Count(want, ",") + 1; len(fields) != count {
			c.fail(r, "%d columns, want the %d of %q; a field that holds a comma stands in double quotes", len(fields), count, want)
			continue
		}
		if i := indexEmpty(fields); i >= 0 {
			c.fail(r, "column %d is empty; want %q", i+1, want)
			continue
		}
		c.rows = append(c.rows, r)
	}
}

// split is the fields of one line, without the space around them.
func split(line string) ([]string, error) {
	if len(line) > maxLine {
		return nil, fmt.Errorf("longer than %d bytes", maxLine)
	}
	if !utf8.ValidString(line) {
		return nil, errors.New("not valid UTF-8")
	}
	if strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
		return nil, errors.New("a control character: write only text")
	}
	fields := strings.Split(line, ",")
	if strings.Contains(line, `"`) {
		r := csv.NewReader(strings.NewReader(line))
		r.TrimLeadingSpace = true
		var err error
		if fields, err = r.Read(); err != nil {
			return nil, errors.New(`a double quote out of place: a field is in double quotes whole or not at all, and texts in a condition are in single quotes`)
		}
	}
	for i, f := range fields {
		fields[i] = strings.TrimSpace(f)
	}
	return fields, nil
}

func indexEmpty(fields []string) int {
	for i, f := range fields {
		if f == "" {
			return i
		}
	}
	return -1
}

// quote is s as a message shows it: whole if it is short.
func quote(s string) string {
	return fmt.Sprintf("%q", cut(s))
}

const maxShown = 200 // bytes of a name in a sentence

// cut is the beginning of s, if s is too long to be shown.
func cut(s string) string {
	if len(s) <= maxShown {
		return s
	}
	n := maxShown
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
