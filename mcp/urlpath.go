package mcp

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"callgate/firewall"

	"golang.org/x/text/unicode/norm"
)

const maxEncoded = 4 // times that a segment may be encoded, each within the other

// plainURLPath is what follows a URL's host, without the dot segments of its path,
// as browsers and libraries send it, and with one way of encoding: what needs no
// code has none. Where dots are encoded, some servers would follow them and others
// would not.
func plainURLPath(rest string) (string, error) {
	end := strings.IndexAny(rest, "?#")
	if end < 0 {
		end = len(rest)
	}
	path, after := rest[:end], plainCodes(rest[end:])
	if path == "" {
		return "/" + after, nil
	}
	var kept []string
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		last := i == len(segments)-1
		switch why := oddSegment(segment); {
		case why != "":
			return "", firewall.Refuse(firewall.Invalid, "%s", why)
		case segment == "..":
			kept = kept[:max(len(kept)-1, 0)]
		case segment != ".":
			kept = append(kept, plainCodes(segment))
			continue
		}
		if last { // what it leads to is a folder
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/") + after, nil
}

// plainCodes is text with codes where they are needed and nowhere else, in capitals:
// %41 is A, and ü is %C3%BC.
func plainCodes(text string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		n, coded := code(text[i:])
		switch {
		case coded && unreserved(n):
			b.WriteByte(n)
			i += 2
		case coded:
			b.Write([]byte{'%', hex[n>>4], hex[n&15]})
			i += 2
		case c == '%' || c >= utf8.RuneSelf: // a sign that encodes nothing is itself
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// code is the byte that a code at the beginning of text stands for.
func code(text string) (byte, bool) {
	if len(text) < 3 || text[0] != '%' {
		return 0, false
	}
	plain, err := url.PathUnescape(text[:3])
	if err != nil {
		return 0, false
	}
	return plain[0], true
}

func unreserved(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || strings.IndexByte("-._~", c) >= 0
}

// oddSegment is why a segment of a URL's path is refused: it means one thing as it is
// written, and may mean another one to who decodes it once or more often, maps the
// letters of other scripts, or leaves out what follows a semicolon.
func oddSegment(segment string) string {
	if !strings.ContainsAny(segment, "%;") && isASCII(segment) {
		return ""
	}
	const dots = "the path of a URL may not have encoded dot segments"
	plain := segment
	for range maxEncoded {
		if hidesDots(segment, plain) {
			return dots
		}
		decoded, err := url.PathUnescape(plain)
		switch {
		case err != nil && plain == segment:
			return "the path of a URL has a percent sign that encodes nothing: write %25"
		case err != nil || decoded == plain:
			return ""
		case overlong(decoded):
			return "the path of a URL has codes that are no letters, and that some program may take for others"
		case strings.ContainsFunc(decoded, unicode.IsControl):
			return "the path of a URL may not have encoded control characters"
		}
		plain = decoded
	}
	return "the path of a URL is encoded more than once"
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return c >= utf8.RuneSelf }) < 0
}

// hidesDots says whether text, which a segment may mean, has an element of dots that
// the segment does not have as it is written.
func hidesDots(segment, text string) bool {
	if segment == "." || segment == ".." {
		return false
	}
	mapped := norm.NFKC.String(strings.ToValidUTF8(text, "?"))
	for _, look := range lookAlikes {
		if strings.ContainsRune(mapped, look) {
			mapped = strings.ReplaceAll(mapped, string(look), "/")
		}
	}
	for element := range strings.FieldsFuncSeq(mapped, func(c rune) bool { return c == '/' || c == '\\' }) {
		if name, _, _ := strings.Cut(element, ";"); name == "." || name == ".." {
			return true
		}
	}
	return false
}

// overlong says whether bytes are such as some decoder takes for an ASCII letter that
// is written longer than it may be.
func overlong(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == 0xc0, c == 0xc1:
			return true
		case (c == 0xe0 || c == 0xf0) && i+1 < len(s):
			if next := s[i+1]; next >= 0x80 && (c == 0xe0 && next < 0xa0 || c == 0xf0 && next < 0x90) {
				return true
			}
		}
	}
	return oldEscape.MatchString(s)
}
