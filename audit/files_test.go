package audit_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"callgate/audit"

	"github.com/tidwall/gjson"
)

// fromFiles is the names of the records in a folder, and what could not be read.
func fromFiles(t *testing.T, dir string, since time.Time) (list []string, lost int) {
	t.Helper()
	for e, err := range audit.Files(dir, since) {
		var u *audit.Unreadable
		if errors.As(err, &u) {
			lost += int(u.Last - u.First + 1)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, gjson.GetBytes(e.JSON, "name").Str)
	}
	return list, lost
}

func TestFilesAreReadWhileTheLedgerIsWritten(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	var want []string
	for _, name := range []string{"a", "b", "c"} {
		if err := keep(l, name); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
		if got, lost := fromFiles(t, dir, time.Time{}); !slices.Equal(got, want) || lost > 0 {
			t.Errorf("got %v, %d lost, want %v", got, lost, want)
		}
	}
	before, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	if err := keep(again, "d"); err != nil {
		t.Fatal(err)
	}
	if got, lost := fromFiles(t, dir, time.Time{}); !slices.Equal(got, append(want, "d")) || lost > 0 {
		t.Errorf("over two segments: %v, %d lost (%d files before)", got, lost, len(before))
	}
	for _, err := range audit.Files(filepath.Join(dir, "none"), time.Time{}) {
		if err == nil {
			t.Error("a folder that is not there was read")
		}
	}
}

func TestOfOldSegmentsNothingIsRead(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	if err := errors.Join(keep(l, "old"), l.Close()); err != nil {
		t.Fatal(err)
	}
	between := time.Now()
	l = open(t, dir)
	if err := keep(l, "new"); err != nil {
		t.Fatal(err)
	}
	if got, _ := fromFiles(t, dir, between.Add(time.Minute)); !slices.Equal(got, []string{"new"}) {
		t.Errorf("since later: %v", got)
	}
	if got, _ := fromFiles(t, dir, between.Add(-time.Minute)); !slices.Equal(got, []string{"old", "new"}) {
		t.Errorf("since earlier: %v", got)
	}
}

func TestWhatIsDamagedIsToldAndPassedOver(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		l := open(t, dir)
		if err := errors.Join(keep(l, name), l.Close()); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	doc, err := os.ReadFile(files[1])
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(doc), `"name":"b"`)
	doc[at+8] = 'X'
	if err := os.WriteFile(files[1], doc, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, lost := fromFiles(t, dir, time.Time{}); !slices.Equal(got, []string{"a", "c"}) || lost != 1 {
		t.Errorf("got %v, %d lost", got, lost)
	}
	if err := os.Truncate(files[2], 600); err != nil { // the last one is torn
		t.Fatal(err)
	}
	if got, _ := fromFiles(t, dir, time.Time{}); !slices.Equal(got, []string{"a"}) {
		t.Errorf("with a torn end: %v", got)
	}
}
