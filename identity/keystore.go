package identity

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
)

// A KeyStore keeps the signing keys, sealed. Several processes may share one.
type KeyStore interface {
	// Ring is the keys as they were last put, and how many times that was: nil and 0
	// if they never were.
	Ring(ctx context.Context) (sealed []byte, times int64, err error)
	// PutRing makes sealed durable as what was put for that time, and tells others by
	// a [RevokedKey] in their feed of revocations. It says no, with false, if another
	// process was faster.
	PutRing(ctx context.Context, sealed []byte, time int64) (bool, error)
}

// A keyFolder is a [KeyStore] of one process, in a file.
type keyFolder struct{ dir string }

func (f keyFolder) file() string { return filepath.Join(f.dir, signingFile) }

// Ring implements [KeyStore].
func (f keyFolder) Ring(context.Context) ([]byte, int64, error) {
	sealed, err := readPrivate(f.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	return sealed, 1, err
}

// PutRing implements [KeyStore].
func (f keyFolder) PutRing(_ context.Context, sealed []byte, _ int64) (bool, error) {
	return true, writePrivate(f.file(), sealed)
}
