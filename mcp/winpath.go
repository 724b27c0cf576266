package mcp

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"callgate/firewall"
)

// windowsPath is text as the one path of Windows that it can mean: with slashes, in
// lower case, without . and .., and with its drive, if it is not relative. It refuses
// what depends on the server's own place, names no file, or may be read differently.
func windowsPath(text string) (string, error) {
	refuse := func(why string) (string, error) { return "", firewall.Refuse(firewall.Invalid, "%s", why) }
	if len(text) > maxPath || !utf8.ValidString(text) {
		return refuse("the path is too long, or not valid UTF-8")
	}
	text = strings.ReplaceAll(text, `\`, "/")
	if strings.HasPrefix(text, "//") {
		return refuse("the path may name another machine or a device: begin with a drive")
	}
	drive, rest := "", text
	if len(text) >= 2 && text[1] == ':' && text[0]|0x20 >= 'a' && text[0]|0x20 <= 'z' {
		drive, rest = strings.ToLower(text[:2]), text[2:]
	}
	if (drive != "") != strings.HasPrefix(rest, "/") {
		return refuse("a path begins with a drive and a slash, or with neither")
	}
	if drive != "" {
		rest = "/" + strings.TrimLeft(rest, "/")
	}
	switch {
	case strings.ContainsAny(rest, `:<>"|?*`):
		return refuse("the path has a sign that no name of a file has, or names a stream of one")
	case strings.Count(rest, "%") > 1:
		return refuse("the path may have the name of a variable between percent signs")
	}
	rest = strings.Map(func(c rune) rune { return unicode.ToLower(unicode.ToUpper(c)) }, rest)
	clean, err := canonicalPath(rest)
	if err != nil {
		return "", err
	}
	return drive + clean, nil
}

// belowWindows says whether a canonical path of Windows is dir or in it.
func belowWindows(clean, dir string) bool {
	drive, rest := splitDrive(clean)
	on, at := splitDrive(dir)
	return drive == on && below(rest, at)
}

func splitDrive(clean string) (drive, rest string) {
	if len(clean) > 1 && clean[1] == ':' {
		return clean[:2], clean[2:]
	}
	return "", clean
}
