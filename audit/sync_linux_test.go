package audit

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestASyncSaysWhetherItWorked(t *testing.T) {
	for _, tt := range []struct {
		name string
		open func(f *os.File) *syncer
	}{
		{"by the kernel on its own", newSyncer},
		{"by a thread that waits, where the kernel does not", func(f *os.File) *syncer { return &syncer{file: int(f.Fd())} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "f"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			s := tt.open(f)
			defer s.close()
			for range 3 { // each is waited for on its own
				if _, err := f.WriteString("record"); err != nil {
					t.Fatal(err)
				}
				if err := s.sync(); err != nil {
					t.Fatal(err)
				}
			}
			// A pipe cannot be synced: the one file here whose sync fails for sure.
			var p [2]int
			if err := syscall.Pipe(p[:]); err != nil {
				t.Fatal(err)
			}
			defer syscall.Close(p[0])
			defer syscall.Close(p[1])
			s.file, s.ask.file = p[1], uint32(p[1])
			if err := s.sync(); !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.EROFS) {
				t.Errorf("sync of a pipe: %v", err)
			}
		})
	}
}

// What is written with a syncer that has the kernel's help is told by the kernel
// to be done, so the test above must not pass by the other way alone.
func TestTheKernelSyncsOnItsOwn(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := newSyncer(f)
	defer s.close()
	if s.ctx == 0 {
		t.Skip("this kernel, or this container, has no asynchronous I/O: the ledger waits with a thread")
	}
	s.file = -1 // so that waiting fails
	if err := s.sync(); err != nil {
		t.Errorf("sync: %v", err)
	}
}
