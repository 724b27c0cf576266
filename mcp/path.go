package mcp

import (
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"callgate/firewall"

	"golang.org/x/text/unicode/norm"
)

const maxPath = 4096 // bytes

var (
	scheme       = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`) // also a drive
	escapedSigns = regexp.MustCompile(`(?:%[0-9A-Fa-f]{2})+`)
	oldEscape    = regexp.MustCompile(`%[uU][0-9A-Fa-f]{4}`)
	shortName    = regexp.MustCompile(`~[0-9]`)
)

// slashes that are none, but that some program takes for / or \, besides those
// that Unicode says are the same.
const lookAlikes = "\u2044\u2215\u29f8\u2571\u27cb\u31d3\u1735\u2216\u29f5\u29f9\u27cd\u2572\u31d4\u00a5\u20a9\u2024\ua4f8\u0701\u0702\u3002\uff61"

// canonicalPath is text as the one path that it can mean: without . and .., and
// with single slashes. It refuses what two programs read differently. The path
// never has an element .., and is its own canonical form.
func canonicalPath(text string) (string, error) {
	refuse := func(why string) (string, error) { return "", firewall.Refuse(firewall.Invalid, "%s", why) }
	switch {
	case text == "":
		return refuse("an empty text is no path")
	case len(text) > maxPath:
		return refuse("the path is too long")
	case !utf8.ValidString(text):
		return refuse("the path is not valid UTF-8")
	case strings.Contains(text, `\`):
		return refuse(`a backslash may separate directories: write /`)
	case strings.HasPrefix(text, "//"):
		return refuse("a path with two slashes at its beginning may name another machine: write one")
	case strings.Contains(text, ":$"):
		return refuse("a path may not name a stream of a file")
	}
	for _, c := range text {
		switch {
		case unicode.IsControl(c) || unicode.Is(unicode.Cf, c) || unicode.Is(unicode.Zl, c) || unicode.Is(unicode.Zp, c):
			return refuse("the path has a control character or an invisible one")
		case isLookAlike(c):
			return refuse("the path has a character that looks like a slash, a dot or ~ and is none")
		}
	}
	for _, run := range escapedSigns.FindAllString(text, -1) {
		if !harmless(run) {
			return refuse("the path has an encoded slash, dot or other sign that another program may decode: write it plainly")
		}
	}
	if oldEscape.MatchString(text) {
		return refuse("the path has an encoded sign that another program may decode: write it plainly")
	}
	for element := range strings.SplitSeq(text, "/") {
		switch {
		case element == "" || element == "." || element == "..":
		case element[0] == '~' || shortName.MatchString(element):
			return refuse("~ may stand for another directory: write the path in full")
		case strings.HasSuffix(element, ".") || strings.TrimSpace(element) != element:
			return refuse("a name that ends in a dot, or has a space at its beginning or end, is another name to some systems")
		}
	}
	clean := path.Clean(text)
	switch {
	case clean == ".." || strings.HasPrefix(clean, "../"):
		return refuse("the path leads out of where it begins: write it without ..")
	case scheme.MatchString(clean):
		return refuse("a drive or a scheme may not stand before a path")
	}
	return clean, nil
}

func isLookAlike(c rune) bool {
	if c < utf8.RuneSelf {
		return false
	}
	return strings.ContainsRune(lookAlikes, c) || strings.ContainsAny(norm.NFKC.String(string(c)), `/\.~%:`)
}

// harmless says whether a run of escapedSigns decodes to nothing that matters in a path.
func harmless(run string) bool {
	plain, err := url.PathUnescape(run)
	if err != nil || !utf8.ValidString(plain) {
		return false
	}
	return !strings.ContainsFunc(plain, func(c rune) bool {
		return strings.ContainsRune(`./\%~:`, c) || unicode.IsControl(c) || unicode.Is(unicode.Cf, c) || isLookAlike(c)
	})
}

// path is the canonical form of a path that m allows, as far as its text says.
func (m Mark) path(text string) (string, error) {
	clean, err := canonicalPath(text)
	if err != nil || len(m.Within) == 0 || slices.ContainsFunc(m.Within, func(dir string) bool { return below(clean, dir) }) {
		return clean, err
	}
	return "", firewall.Refuse(firewall.Denied, "it must be in %s", strings.Join(m.Within, " or "))
}

// below says whether a canonical path is dir or in it, name by name.
func below(clean, dir string) bool {
	switch {
	case clean == dir:
		return true
	case dir == ".":
		return !path.IsAbs(clean)
	case dir == "/":
		return path.IsAbs(clean)
	}
	return strings.HasPrefix(clean, dir+"/")
}
