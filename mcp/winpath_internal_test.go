package mcp

import (
	"strings"
	"testing"
)

func TestPathsOfWindowsAreCanonical(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{ // want "" is a refusal
		{"plain", `C:\Srv\Docs\a.txt`, "c:/srv/docs/a.txt"},
		{"slashes", "c:/srv/docs/a.txt", "c:/srv/docs/a.txt"},
		{"both", `d:/srv\docs/.\a`, "d:/srv/docs/a"},
		{"up", `C:\Users\u\Documents\..\.ssh`, "c:/users/u/.ssh"},
		{"above the root", `C:\..\..\x`, "c:/x"},
		{"the root", `C:\`, "c:/"},
		{"several backslashes", `C:\\srv\\\a`, "c:/srv/a"},
		{"relative", `docs\..\a\b`, "a/b"},
		{"here", `.`, "."},
		{"another script", `C:\STRAẞE\ÄÖ`, "c:/straße/äö"},
		{"an accent by itself", "c:/E\u0301", "c:/é"},
		{"a Kelvin sign", "c:/\u212a", "c:/k"},
		{"a space inside", `C:\Program Files\x`, "c:/program files/x"},
		{"one percent sign", `C:\100%`, "c:/100%"},

		{"empty", "", ""},
		{"relative to a drive", `C:docs`, ""},
		{"a drive alone", `C:`, ""},
		{"relative to the drive", `\docs`, ""},
		{"relative to the drive, with a slash", `/docs`, ""},
		{"out of a relative one", `..\a`, ""},
		{"UNC", `\\server\share`, ""},
		{"UNC with slashes", `//server/share`, ""},
		{"UNC with both", `/\server\share`, ""},
		{"a device path", `\\.\PhysicalDrive0`, ""},
		{"a long path", `\\?\C:\x`, ""},
		{"an object path", `\??\C:\x`, ""},
		{"a device", `C:\srv\NUL`, ""},
		{"a device in another case", `c:/srv/Con.txt`, ""},
		{"a device, relative", `com1`, ""},
		{"a device with a colon", `CON:`, ""},
		{"a stream", `C:\srv\a.txt:hidden`, ""},
		{"the stream of all", `C:\srv\a.txt::$DATA`, ""},
		{"a stream of a folder", `C:\srv:$I30:$INDEX_ALLOCATION\a`, ""},
		{"a drive behind a dot", `.\C:\x`, ""},
		{"a drive on the way", `C:\srv\D:\x`, ""},
		{"a dot at the end", `C:\srv\secret.`, ""},
		{"a space at the end", `C:\srv\secret `, ""},
		{"dots and a space", `C:\srv\.. \x`, ""},
		{"three dots", `C:\srv\...\x`, ""},
		{"a short name", `C:\PROGRA~1\x`, ""},
		{"a variable", `C:\%USERNAME%\x`, ""},
		{"an encoded backslash", `C:\srv\..%5cx`, ""},
		{"a wild card", `C:\srv\*`, ""},
		{"an old wild card", `C:\srv\a<`, ""},
		{"a full width backslash", "C:\\srv\\..\uff3cx", ""},
		{"a yen sign", "C:\\srv\\..\u00a5x", ""},
		{"NUL", "C:\\srv\\a\x00", ""},
		{"not UTF-8", "C:\\srv\\\xc0\xae", ""},
		{"long", `C:\` + strings.Repeat("a", maxPath), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := windowsPath(c.text)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
		})
	}
	m := Mark{Class: PathClass, Windows: true, Within: []string{"c:/srv/docs", "d:/", "rel"}}
	for text, want := range map[string]string{
		`C:\SRV\Docs\a`: "c:/srv/docs/a", `C:\srv\docs`: "c:/srv/docs", `D:\x`: "d:/x", `D:\`: "d:/", `rel\x`: "rel/x",
		`C:\srv\docs2\a`: "", `C:\srv\docs\..\a`: "", `E:\srv\docs\a`: "", `C:\`: "", `x`: "", `D:x`: "", `.`: "",
	} {
		if got, err := m.path(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%s becomes %q, %v, want %q", text, got, err, want)
		}
	}
}

func FuzzWindowsPath(f *testing.F) {
	for _, s := range []string{`C:\srv\..\a`, `a\..\..\b`, `.\C:\x`, `\\?\C:`, "c:/e\u0301", "c:/\u212a\u0130\u0131", `C:`, "c://x", "%a%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		clean, err := windowsPath(text)
		if err != nil {
			return
		}
		if again, err := windowsPath(clean); err != nil || again != clean {
			t.Fatalf("%q becomes %q becomes %q, %v", text, clean, again, err)
		}
		_, rest := splitDrive(clean)
		if strings.ContainsAny(rest, `\:<>"|?*`) || strings.HasPrefix(clean, "/") {
			t.Fatalf("%q", clean)
		}
		for element := range strings.SplitSeq(rest, "/") {
			if element == ".." || isDevice(element) || strings.HasSuffix(element, ".") && element != "." {
				t.Fatalf("%q", clean)
			}
		}
	})
}
