package mcp

import (
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// confusable is letters of other scripts that look like Latin ones.
var confusable = func() map[rune]rune {
	m := make(map[rune]rune)
	pairs := "аaеeоoрpсcхxуyіiјjѕsԁdһhӏlԛqԝwгrкkмmтtвbнhпnАAВBЕEКKМMНHОOРPСCТTХXУYІIЈJЅSԌGԚQԜWЗ3" + // Cyrillic
		"αaοoνvρpτtυuιiκkγyηnχxϲcϳjωwεeΑAΒBΕEΖZΗHΙIΚKΜMΝNΟOΡPΤTΥYΧXϹC" + // Greek
		"օoսuցgհhոnզqһhքpԼL" + // Armenian
		"ɑaɡgıiɩiʀrʏyᴀaᴄcᴅdᴇeᴊjᴋkᴍmᴏoᴘpᴛtᴜuᴠvᴡwᴢzꜱsɪiʟlɴnʙbʜh" // Latin itself
	runes := []rune(pairs)
	for i := 0; i+1 < len(runes); i += 2 {
		m[runes[i]] = runes[i+1]
	}
	return m
}()

// looks is two texts that names have in common if a reader may take one for the
// other: one without case and signs between words, one for the eye.
func looks(name string) [2]string {
	var c, v strings.Builder
	sign := false
	for _, r := range norm.NFKC.String(name) {
		if invisible(r) {
			continue
		}
		if r == '_' || r == '-' || r == '.' || r == '/' || unicode.IsSpace(r) || unicode.Is(unicode.Pd, r) {
			if !sign {
				c.WriteByte('_')
				v.WriteByte('_')
			}
			sign = true
			continue
		}
		sign = false
		if to, ok := confusable[r]; ok {
			r = to
		}
		c.WriteRune(unicode.ToLower(r))
		switch r {
		case 'I', '1', '|', 'l':
			r = 'l'
		case '0', 'O':
			r = 'o'
		}
		v.WriteRune(unicode.ToLower(r))
	}
	return [2]string{"c:" + c.String(), "v:" + strings.NewReplacer("rn", "m", "vv", "w").Replace(v.String())}
}

// mixed says whether a name has letters of Latin and of a script that looks like it.
func mixed(name string) bool {
	latin, other := false, false
	for _, r := range name {
		switch {
		case r < 0x80 && unicode.IsLetter(r):
			latin = true
		case r >= 0x80:
			_, ok := confusable[r]
			other = other || ok
		}
	}
	return latin && other
}

// references finds names as they are advertised at /mcp, with or without what
// clients put before them.
var references = regexp.MustCompile(`\b(?:mcp__)?([a-z0-9]+(?:-[a-z0-9]+)*)__([A-Za-z0-9][A-Za-z0-9_.-]*)`)

// words finds what may be names of tools.
var words = regexp.MustCompile(`[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)+|[a-z]+[A-Z][A-Za-z0-9]+`)

// distinctive says whether a tool's name is no word that a text may hold by chance.
func distinctive(name string) bool {
	return len(name) >= 8 && words.FindString(name) == name
}
