package audit_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"callgate/audit"
)

// mounted is a file system of its own, of size bytes.
func mounted(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprint("size=", size)); err != nil {
		t.Skipf("this test needs a file system of its own, and this process may not mount one: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestAFullDiskRefusesCallsUntilThereIsRoomAgain(t *testing.T) {
	dir := mounted(t, 12<<20)
	c := newClock()
	l, err := audit.Open(filepath.Join(dir, "ledger"), audit.Config{Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	act := note("act")
	act.Acts = true
	large := note("large")
	large.State = strings.Repeat("x", 64<<10)
	if err := l.Append(act).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept := []string{"act"}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 5<<20), 0o600); err != nil {
		t.Fatal(err)
	}

	short := false
	for {
		c.Move(time.Second)
		if err := l.Append(act).Wait(t.Context()); err == nil {
			kept = append(kept, "act")
		} else if short = errors.Is(err, audit.ErrLowSpace); !short {
			t.Fatalf("an act got %v", err)
		}
		err := l.Append(large).Wait(t.Context())
		if err == nil {
			kept = append(kept, "large")
			continue
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("got %v", err)
		}
		break
	}
	if !short {
		t.Error("acts were not refused before the disk was full")
	}
	if err := l.Ready(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("ready: %v", err)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	c.Move(time.Second)
	if err := l.Append(act).Wait(t.Context()); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	kept = append(kept, "act")
	if err := l.Ready(); err != nil {
		t.Errorf("with room again: ready: %v", err)
	}
	if got := names(t, l); !slices.Equal(got, kept) {
		t.Errorf("%d records, want %d", len(got), len(kept))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, open(t, filepath.Join(dir, "ledger"))); !slices.Equal(got, kept) {
		t.Errorf("opened again: %d records, want %d", len(got), len(kept))
	}
}

func TestAReadOnlyDiskRefusesCallsUntilItIsWritableAgain(t *testing.T) {
	dir := mounted(t, 12<<20)
	ledger := filepath.Join(dir, "ledger")
	l := open(t, ledger)
	if err := keep(l, "a"); err != nil {
		t.Fatal(err)
	}
	l.Close()
	remount := func(flags uintptr) {
		t.Helper()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}

	remount(syscall.MS_RDONLY)
	c := newClock()
	l, err := audit.Open(ledger, audit.Config{Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := keep(l, "b"); !errors.Is(err, syscall.EROFS) {
		t.Fatalf("got %v", err)
	}
	if err := l.Ready(); !errors.Is(err, syscall.EROFS) {
		t.Errorf("ready: %v", err)
	}
	if _, err := audit.Open(filepath.Join(dir, "new"), audit.Config{}); !errors.Is(err, syscall.EROFS) {
		t.Errorf("a new ledger: %v", err)
	}

	remount(0)
	c.Move(time.Second)
	if err := keep(l, "c"); err != nil {
		t.Fatalf("writable again: %v", err)
	}
	if got := names(t, l); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("got %v", got)
	}
}
