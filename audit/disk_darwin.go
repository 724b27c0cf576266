package audit

import (
	"errors"
	"os"
	"syscall"
)

type syncer struct{ file *os.File }

func newSyncer(f *os.File) *syncer { return &syncer{f} }

func (s *syncer) sync() error { return s.file.Sync() } // F_FULLFSYNC

func (s *syncer) close() {}

func allocate(*os.File, int64, int64) error { return errors.ErrUnsupported }

// space is how many bytes are free for callgate where path is, and how many there are.
func space(path string) (free, total uint64, err error) {
	var s syscall.Statfs_t
	err = syscall.Statfs(path, &s)
	return s.Bavail * uint64(s.Bsize), s.Blocks * uint64(s.Bsize), err
}
