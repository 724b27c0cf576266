package guards

import "strings"

// ibans is how long an IBAN is, by country (the SWIFT registry of 2024).
var ibans = map[string]int{
	"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22,
	"DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28,
	"IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22,
	"MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24,
	"SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}

// iban is how long the IBAN is at the beginning of text; 0 is none.
func iban(text string) int {
	if len(text) < 15 || text[1] < 'A' || text[1] > 'Z' || !digit(text[2]) || !digit(text[3]) {
		return 0
	}
	size := ibans[text[:2]]
	if size == 0 {
		return 0
	}
	number, n := make([]byte, 0, size), 0
	for ; n < len(text) && len(number) < size; n++ {
		switch c := text[n]; {
		case digit(c), c >= 'A' && c <= 'Z':
			number = append(number, c)
		case (c == ' ' || c == '-') && n > 0 && len(number)%4 == 0 && text[n-1] != c:
		default:
			return 0
		}
	}
	if len(number) < size || !ends(text, n) {
		return 0
	}
	rest := 0 // modulo 97, with the first four moved to the end
	for i := range size {
		switch c := number[(i+4)%size]; {
		case digit(c):
			rest = (rest*10 + int(c-'0')) % 97
		default:
			rest = (rest*100 + int(c-'A') + 10) % 97
		}
	}
	if rest != 1 {
		return 0
	}
	return n
}

// nino is the length of a national insurance number of the UK.
func nino(text string) int {
	got, n := shape(text, "AA 00 00 00 A")
	if n == 0 || strings.IndexByte("DFIQUV", got[0]) >= 0 || strings.IndexByte("DFIQUVO", got[1]) >= 0 || got[8] > 'D' {
		return 0
	}
	switch got[:2] {
	case "BG", "GB", "KN", "NK", "NT", "TN", "ZZ":
		return 0
	}
	return n
}

const dniLetters = "TRWAGMYFPDXBNJZSQVHLCKE"

// nie is the length of the number of a foreigner in Spain.
func nie(text string) int {
	got, n := shape(text, "A 0000000 A")
	if n == 0 || got[0] < 'X' || got[0] > 'Z' || dniLetters[(int(got[0]-'X')*10_000_000+numeral(got[1:8]))%23] != got[8] {
		return 0
	}
	return n
}

// codiceFiscale is the length of a tax code of Italy.
func codiceFiscale(text string) int {
	got, n := shape(text, "AAA AAA 00A00 A000A")
	if n == 0 || strings.IndexByte("ABCDEHLMPRST", got[8]) < 0 {
		return 0
	}
	odd := [...]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}
	sum := 0
	for i := range 15 {
		v := int(got[i] - '0')
		if got[i] >= 'A' {
			v = int(got[i] - 'A')
		}
		if i%2 == 0 {
			v = odd[v]
		}
		sum += v
	}
	if int(got[15]-'A') != sum%26 {
		return 0
	}
	return n
}

func numeral(digits string) (v int) {
	for i := range len(digits) {
		v = v*10 + int(digits[i]-'0')
	}
	return v
}

var (
	taxWords = []string{"steuer-id", "steuerid", "steuer-identifikationsnummer", "identifikationsnummer", "idnr", "steueridnr", "tin", "tax id"}
	nhsWords = []string{"nhs", "nhs number"}
)

// nationalID is how long such a number is at i of text; 0 is none.
func (d *number) nationalID(text string, i int) int {
	rest := text[i:min(len(text), i+Reach)]
	if got, n := shape(rest, "00000000 A"); n > 0 && dniLetters[numeral(got[:8])%23] == got[8] {
		return n
	}
	if s, end, ok := d.are(3, 2, 4); ok && d.alone(text, i, 3) && d.seps[1] != '.' && d.seps[1] != '/' && s[:3] != "000" && s[:3] != "666" && s[0] != '9' && s[3:5] != "00" && s[5:] != "0000" {
		return end
	}
	if len(d.groups) > 3 && d.groups[0] == 3 && d.groups[1] == 3 && d.groups[2] == 3 && d.groups[3] == 2 && d.seps[:4] == "\x00..-" {
		if s, end := d.first(4); cpf(s) {
			return end
		}
	}
	for n := 1; n <= len(d.groups); n++ {
		s, end := d.first(n)
		switch len(s) {
		case 15:
			if (n == 1 || n >= 6) && (s[0] == '1' || s[0] == '2') && monthLike(s[3:5]) && 97-numeral(s[:13])%97 == numeral(s[13:]) && d.seps[0] == 0 {
				return end // France
			}
		case 12:
			if g := d.groups; n == 3 && g[0] == 4 && g[1] == 4 && s[0] >= '2' && d.seps[0] == 0 && d.alone(text, i, 3) && verhoeff(s) {
				return end // India
			}
		case 11:
			if d.seps[0] == 0 && s[0] != '0' && wordBefore(text, i, taxWords) && steuerID(s) {
				return end // Germany
			}
		case 10:
			if d.seps[0] == 0 && wordBefore(text, i, nhsWords) && nhs(s) {
				return end
			}
		}
	}
	return 0
}

// monthLike says whether two digits are the month in a number of France.
func monthLike(s string) bool { return s >= "01" && s <= "12" || s >= "20" && s <= "42" || s >= "50" }

// cpf says whether the check digits of a number of Brazil hold.
func cpf(s string) bool {
	if strings.Trim(s, s[:1]) == "" {
		return false
	}
	for n := 9; n <= 10; n++ {
		sum := 0
		for i := range n {
			sum += int(s[i]-'0') * (n + 1 - i)
		}
		if sum*10%11%10 != int(s[n]-'0') {
			return false
		}
	}
	return true
}

// steuerID says whether the check digit of a number of Germany holds (ISO 7064, MOD 11,10).
func steuerID(s string) bool {
	p := 10
	for i := range 10 {
		sum := (int(s[i]-'0') + p) % 10
		if sum == 0 {
			sum = 10
		}
		p = sum * 2 % 11
	}
	return (11-p)%10 == int(s[10]-'0')
}

// nhs says whether the check digit of a patient's number in England holds.
func nhs(s string) bool {
	sum := 0
	for i := range 9 {
		sum += int(s[i]-'0') * (10 - i)
	}
	return (11-sum%11)%11 == int(s[9]-'0')
}

// verhoeff says whether the check digit holds that J. Verhoeff found.
func verhoeff(s string) bool {
	times := func(a, b int) int { // of the dihedral group of ten
		switch {
		case a < 5 && b < 5:
			return (a + b) % 5
		case a < 5:
			return 5 + (a+b-5)%5
		case b < 5:
			return 5 + (a-5-b+5)%5
		}
		return (a - b + 5) % 5
	}
	turn := [...]int{1, 5, 7, 6, 2, 8, 3, 0, 9, 4}
	c := 0
	for i := range len(s) {
		v := int(s[len(s)-1-i] - '0')
		for range i % 8 {
			v = turn[v]
		}
		c = times(c, v)
	}
	return c == 0
}
