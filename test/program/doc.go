package program

import (
	"os"
	"strings"
	"testing"
)

// Written holds a part of a document to what a test has found: text stands between comments
// that name the part. With update it is written there instead.
func Written(t testing.TB, file, part, text string, update bool) {
	t.Helper()
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+part+": written by its test, with -update -->\n", "<!-- end of "+part+" -->\n"
	head, rest, ok := strings.Cut(string(doc), begin)
	old, tail, closed := strings.Cut(rest, end)
	switch {
	case !ok || !closed:
		t.Fatalf("%s has no place for %s", file, part)
	case old == text:
	case !update:
		t.Errorf("%s says otherwise of %s; look at it, and run the test with -update:\n%s", file, part, text)
	default:
		if err := os.WriteFile(file, []byte(head+begin+text+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
