package audit

import (
	"errors"
	"io/fs"
	"os"
)

// A disk is what the ledger asks of a file system when it writes.
type disk interface {
	create(path string) (file, error) // an error where path exists
	remove(path string) error
	syncDir(path string) error // makes created and removed files durable
	space(path string) (free, total uint64, err error)
}

// A file is one that is written to.
type file interface {
	WriteAt(b []byte, at int64) (int, error)
	Sync() error                // makes what was written durable, and the size
	Allocate(at, n int64) error // zeros, so that a sync of what replaces them has no more to do; it may fail
	Truncate(size int64) error
	Exists() (bool, error) // under its path still
	Close() error
}

// osDisk is the real thing.
type osDisk struct{}

type osFile struct {
	*os.File
	*syncer
	info fs.FileInfo
}

func (osDisk) create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return osFile{f, newSyncer(f), info}, nil
}

func (osDisk) remove(path string) error { return os.Remove(path) }

func (osDisk) syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (osDisk) space(path string) (free, total uint64, err error) { return space(path) }

func (f osFile) Sync() error { return f.sync() }

func (f osFile) Close() error {
	f.close()
	return f.File.Close()
}

func (f osFile) Allocate(at, n int64) error {
	if err := allocate(f.File, at, n); err != nil {
		return err
	}
	for n > 0 {
		done, err := f.WriteAt(zeros[:min(n, int64(len(zeros)))], at)
		if err != nil {
			return err
		}
		at, n = at+int64(done), n-int64(done)
	}
	return nil
}

func (f osFile) Exists() (bool, error) {
	named, err := os.Lstat(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(f.info, named), err
}
