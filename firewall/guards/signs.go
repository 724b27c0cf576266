package guards

// The kinds of bytes that rules tell apart.
const (
	letter uint8 = 1 << iota // letters, digits and the underscore: \w
	name                     // what names are made of, before a sign: [\w.-]
	word                     // what secrets are made of, but for quoted ones
	space                    // \s
	quote                    // all three of them
	sign                     // stands between a name and its value, or is the beginning of what does
	base64                   // what keys are written in
)

var kinds = func() (kinds [256]uint8) {
	set := func(kind uint8, bytes string) {
		for i := range len(bytes) {
			kinds[bytes[i]] |= kind
		}
	}
	const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	set(letter, alphanumeric+"_")
	set(name, alphanumeric+"_.-")
	set(word, alphanumeric+`_.-=+/~%|:@$\`)
	set(space, "\t\n\f\r ")
	set(quote, "\"'`")
	set(sign, "=>:|?,")
	set(base64, alphanumeric+"+/=")
	return kinds
}()

func isLetter(b byte) bool { return kinds[b]&letter != 0 }
func isName(b byte) bool   { return kinds[b]&name != 0 }
func isWord(b byte) bool   { return kinds[b]&word != 0 }
func isSpace(b byte) bool  { return kinds[b]&space != 0 }
func isQuote(b byte) bool  { return kinds[b]&quote != 0 }
func isSign(b byte) bool   { return kinds[b]&sign != 0 }
func isKey(b byte) bool    { return kinds[b]&base64 != 0 }

// isNumber says whether s could be a number in a JSON document.
func isNumber(s string) bool {
	for i := range len(s) {
		switch b := s[i]; {
		case '0' <= b && b <= '9', b == '.', b == '-', b == '+', b == 'e', b == 'E':
		default:
			return false
		}
	}
	return true
}
