package guards

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// PII is a [Detector] of personal data: what has a shape and, where there is one, a check
// digit that holds.
//
//	email        addresses of up to 62 characters
//	phone        +49 …, 00 49 …, (212) 555-0100, and digits behind a word as "tel"
//	iban         with the length of its country and its check digits
//	card         numbers of payment cards, by issuer, length and Luhn's digit
//	national_id  of the US, the UK, Spain, France, Italy, Germany, Brazil and India
//
// Names and addresses have no such shape and are not found.
type PII struct{}

// Name implements [Detector].
func (PII) Name() string { return "pii" }

// Version implements [Detector].
func (PII) Version() string { return "1" }

// Kinds implements [Detector].
func (PII) Kinds() []string { return []string{"email", "phone", "iban", "card", "national_id"} }

// Find implements [Detector].
func (PII) Find(dst []Match, text string) []Match {
	for i := 0; i < len(text); {
		c := text[i]
		if classes[c]&begins == 0 || i > 0 && classes[text[i-1]]&inWord != 0 && c != '@' {
			i++
			continue
		}
		from, to, kind := personal(text, i)
		if kind == "" || to-from >= Reach || len(dst) > 0 && from < dst[len(dst)-1].To {
			i++
			continue
		}
		dst = append(dst, Match{From: from, To: to, Kind: kind, Mask: "[pii:" + kind + "]"})
		i = to
	}
	return dst
}

// personal is what begins at i, or of an e-mail address, has its @ there.
func personal(text string, i int) (from, to int, kind string) {
	c := text[i]
	if c == '@' {
		from, to = email(text, i)
		if to > 0 {
			kind = "email"
		}
		return from, to, kind
	}
	rest := text[i:min(len(text), i+Reach)]
	n := 0
	switch {
	case c >= 'A' && c <= 'Z':
		if n = iban(rest); n > 0 {
			kind = "iban"
		} else if n = longestOf(rest, nino, nie, codiceFiscale); n > 0 {
			kind = "national_id"
		}
	default:
		d := readNumber(rest)
		if n = d.card(text, i); n > 0 {
			kind = "card"
		} else if n = d.nationalID(text, i); n > 0 {
			kind = "national_id"
		} else if n = d.phone(text, i); n > 0 {
			kind = "phone"
		}
	}
	return i, i + n, kind
}

// What a byte may be.
const (
	begins  = 1 << iota // something may begin with it
	inWord              // nothing begins behind it
	inLocal             // it may be in the local part of an address
	inHost              // and in its domain
)

var classes = func() (t [256]uint8) {
	for c := range 256 {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		digit := c >= '0' && c <= '9'
		if letter || digit {
			t[c] |= inWord | inLocal | inHost
		}
		if digit || c >= 'A' && c <= 'Z' || c == '+' || c == '(' || c == '@' {
			t[c] |= begins
		}
		if c == '_' || c >= utf8.RuneSelf {
			t[c] |= inWord
		}
		if strings.IndexByte("._%+-'", byte(c)) >= 0 {
			t[c] |= inLocal
		}
		if c == '.' || c == '-' {
			t[c] |= inHost
		}
	}
	return t
}()

// files are endings of names of files that look like domains: logo@2x.png.
var files = []string{"png", "jpg", "jpeg", "gif", "svg", "webp", "js", "css", "html", "json", "service", "timer", "md", "py", "go", "ts"}

// email is where the address stands whose @ is at i; to is 0 if there is none.
func email(text string, i int) (from, to int) {
	from, to = i, i+1
	for from > 0 && i-from <= Reach && classes[text[from-1]]&inLocal != 0 {
		from--
	}
	for to < len(text) && to-i <= Reach && classes[text[to]]&inHost != 0 {
		to++
	}
	for from < i && strings.IndexByte(".'-+%", text[from]) >= 0 {
		from++
	}
	host := strings.TrimRight(text[i+1:to], ".-")
	to = i + 1 + len(host)
	dot := strings.LastIndexByte(host, '.')
	switch {
	case from == i || text[i-1] == '.' || dot < 1 || strings.Contains(host, "..") || host[0] == '-':
		return 0, 0
	case from > 0 && (text[from-1] == '/' || text[from-1] == ':' && !strings.HasSuffix(strings.ToLower(text[:from]), "mailto:") && from > 1 && classes[text[from-2]]&inWord != 0 && strings.Contains(text[max(0, from-24):from], "//")):
		return 0, 0 // the user of a URL
	case to+1 < len(text) && text[to] == ':' && text[to+1] != ' ' && text[to+1] != '\n' || to < len(text) && (text[to] == '/' || text[to] == '@'):
		return 0, 0 // git@host:path
	}
	top := strings.ToLower(host[dot+1:])
	if len(top) < 2 || len(top) > 18 || strings.IndexFunc(top, func(r rune) bool { return r < 'a' || r > 'z' }) >= 0 && !strings.HasPrefix(top, "xn--") || slices.Contains(files, top) {
		return 0, 0
	}
	return from, to
}

// longestOf is the longest of what ways find at the beginning of text.
func longestOf(text string, ways ...func(string) int) (n int) {
	for _, way := range ways {
		n = max(n, way(text))
	}
	return n
}

// shape reads characters of text by a pattern: A is a capital letter, 0 a digit, a space
// one that may be missing. What it read, and how long that was; ended says that no word
// goes on there.
func shape(text, pattern string) (got string, n int) {
	b := make([]byte, 0, 24)
	for i := 0; i < len(pattern); i++ {
		if pattern[i] == ' ' {
			if n < len(text) && (text[n] == ' ' || text[n] == '-') {
				n++
			}
			continue
		}
		if n >= len(text) {
			return "", 0
		}
		c := text[n]
		if pattern[i] == 'A' && (c < 'A' || c > 'Z') || pattern[i] == '0' && (c < '0' || c > '9') {
			return "", 0
		}
		b = append(b, c)
		n++
	}
	if !ends(text, n) {
		return "", 0
	}
	return string(b), n
}

// ends says whether no word goes on at n.
func ends(text string, n int) bool { return n >= len(text) || classes[text[n]]&inWord == 0 }
