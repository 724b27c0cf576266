package guards

import (
	"strings"
)

// A number is digits as people write them, in groups.
type number struct {
	digits string // all of them
	groups []int  // how many are in each
	ends   []int  // where in the text each group ends
	seps   string // what stands before each group: 0 for nothing
}

const mostGroups = 10

// readNumber reads the number at the beginning of text, up to what is none.
func readNumber(text string) (d number) {
	var digits, seps []byte
	for n := 0; n < len(text) && len(d.groups) < mostGroups; {
		sep := byte(0)
		from := n
		for n < len(text) && strings.IndexByte(" -./()+", text[n]) >= 0 && n-from < 3 {
			if text[n] == '+' && n > 0 {
				break
			}
			if sep == 0 || sep == ' ' {
				sep = text[n]
			}
			n++
		}
		begin := n
		for n < len(text) && text[n] >= '0' && text[n] <= '9' {
			n++
		}
		if n == begin || begin > from+1 && len(d.groups) > 0 && !strings.ContainsAny(text[from:begin], "()") || begin == from && len(d.groups) > 0 || !ends(text, n) {
			break
		}
		digits, seps = append(digits, text[begin:n]...), append(seps, sep)
		d.groups, d.ends = append(d.groups, n-begin), append(d.ends, n)
	}
	d.digits, d.seps = string(digits), string(seps)
	return d
}

// first is the first n groups: their digits, and where they end.
func (d *number) first(n int) (digits string, end int) {
	size := 0
	for _, g := range d.groups[:n] {
		size += g
	}
	return d.digits[:size], d.ends[n-1]
}

// are says whether the number begins with groups of these sizes, all with the same
// separator between them, and ends there.
func (d *number) are(sizes ...int) (digits string, end int, ok bool) {
	if len(d.groups) < len(sizes) || d.seps[0] != 0 {
		return "", 0, false
	}
	for i, size := range sizes {
		if d.groups[i] != size || i > 1 && d.seps[i] != d.seps[1] {
			return "", 0, false
		}
	}
	digits, end = d.first(len(sizes))
	return digits, end, true
}

// alone says whether a number of several groups that begins at i of text is no part of a
// longer row of such: a table, say.
func (d *number) alone(text string, i, groups int) bool {
	if groups == 1 {
		return i < 2 || !digit(text[i-2]) || strings.IndexByte("-./+", text[i-1]) < 0
	}
	sep := d.seps[1]
	return (i < 2 || text[i-1] != sep || !digit(text[i-2])) && (len(d.groups) == groups || d.seps[groups] != sep || d.groups[groups] != d.groups[groups-1])
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// card is how long the card's number is at i of text; 0 is none.
func (d *number) card(text string, i int) int {
	for _, sizes := range [...][]int{{16}, {15}, {14}, {13}, {19}, {4, 4, 4, 4}, {4, 6, 5}, {4, 6, 4}, {4, 4, 4, 4, 3}} {
		digits, end, ok := d.are(sizes...)
		if ok && issued(digits) && luhn(digits) && d.alone(text, i, len(sizes)) && strings.Trim(digits, digits[:1]) != "" {
			return end
		}
	}
	return 0
}

// issued says whether an issuer of cards has numbers like this one.
func issued(digits string) bool {
	two, four := digits[:2], digits[:4]
	switch n := len(digits); {
	case digits[0] == '4':
		return n == 13 || n == 16 || n == 19
	case two >= "51" && two <= "55", four >= "2221" && four <= "2720":
		return n == 16
	case two == "34", two == "37":
		return n == 15
	case four == "6011", two == "65", four >= "6440" && four <= "6499", four >= "3528" && four <= "3589":
		return n == 16 || n == 19
	case two == "62":
		return n >= 16
	case two == "36", two == "38", two == "39", four >= "3000" && four <= "3059":
		return n == 14
	}
	return false
}

func luhn(digits string) bool {
	sum := 0
	for i := range len(digits) {
		n := int(digits[len(digits)-1-i] - '0')
		if i%2 == 1 {
			if n *= 2; n > 9 {
				n -= 9
			}
		}
		sum += n
	}
	return sum%10 == 0
}

// phoneWords stand before a telephone number.
var phoneWords = []string{"tel", "telefon", "telephone", "phone", "mobile", "mobil", "cell", "handy", "fax", "call", "whatsapp", "sms", "ring", "teléfono", "telefono", "móvil", "tél", "téléphone", "portable", "celular", "cellulare", "rufnummer", "reach me at", "text me at"}

// phone is how long the telephone number is at i of text; 0 is none.
func (d *number) phone(text string, i int) int {
	if len(d.groups) == 0 {
		return 0
	}
	rest := text[i:]
	international := rest[0] == '+' && d.digits[0] != '0'
	if strings.HasPrefix(d.digits, "00") && (i < 2 || !digit(text[i-2])) && d.groups[0] <= 4 && len(d.groups) > 2 && !strings.HasPrefix(d.digits, "000") && !strings.ContainsAny(d.seps, ".") {
		international = true
	}
	for n := len(d.groups); n > 0; n-- {
		digits, end := d.first(n)
		size := len(digits)
		if rest[0] == '(' && !strings.Contains(rest[:end], ")") {
			continue
		}
		switch {
		case international && size >= 8 && size <= 15:
			return end
		case rest[0] == '+' || size < 7 || size > 15 || !d.alone(text, i, 1) && n == 1:
		case northAmerican(d, n, digits, rest[0] == '('):
			if d.alone(text, i, max(n, 2)) {
				return end
			}
		case wordBefore(text, i, phoneWords) && !dated(d, n):
			return end
		}
	}
	return 0
}

// northAmerican says whether the first n groups are a number as it is written there.
func northAmerican(d *number, n int, digits string, area bool) bool {
	if n == 4 && d.groups[0] == 1 && digits[0] == '1' {
		digits = digits[1:]
	} else if n != 3 {
		return false
	}
	if len(digits) != 10 || d.groups[n-1] != 4 || d.groups[n-2] != 3 || digits[0] < '2' || digits[3] < '2' {
		return false
	}
	last := d.seps[n-1]
	return last == '-' || last == '.' && d.seps[n-2] == '.' || area
}

// dated says whether the first n groups may be a day: 2026-11-24.
func dated(d *number, n int) bool {
	return n == 3 && (d.groups[0] == 4 && d.groups[1] <= 2 && d.groups[2] <= 2 || d.groups[2] == 4 && d.groups[0] <= 2 && d.groups[1] <= 2)
}

// wordBefore says whether one of words stands before i of text, with no more than a few
// signs and one short word between.
func wordBefore(text string, i int, words []string) bool {
	before := strings.ToLower(text[max(0, i-32):i])
	before = strings.TrimRight(before, " :.#=\"'(")
	for range 3 {
		for _, w := range words {
			if rest, ok := strings.CutSuffix(before, w); ok && (rest == "" || classes[rest[len(rest)-1]]&inWord == 0) {
				return true
			}
		}
		short := strings.LastIndexAny(before, " :.")
		if short < 0 || len(before)-short > 8 {
			return false
		}
		before = strings.TrimRight(before[:short], " :.#=\"'(")
	}
	return false
}
