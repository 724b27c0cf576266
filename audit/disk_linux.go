package audit

import (
	"errors"
	"os"
	"syscall"
)

func datasync(f *os.File) error { return again(func() error { return syscall.Fdatasync(int(f.Fd())) }) }

func allocate(f *os.File, at, n int64) error {
	return again(func() error { return syscall.Fallocate(int(f.Fd()), 0, at, n) })
}

// space is how many bytes are free for callgate where path is, and how many there are.
func space(path string) (free, total uint64, err error) {
	var s syscall.Statfs_t
	err = again(func() error { return syscall.Statfs(path, &s) })
	return s.Bavail * uint64(s.Bsize), s.Blocks * uint64(s.Bsize), err
}

func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
