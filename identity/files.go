package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

// Environment finds values in the environment of the process, which does not
// change. It is a [Resolver].
type Environment func(name string) (string, bool)

// Resolve implements [Resolver].
func (e Environment) Resolve(_ context.Context, place string, _ *Found) (*Found, error) {
	text, ok := e(place)
	if !ok {
		return nil, errors.New("it is not set in the environment of callgate")
	}
	return &Found{Value: NewSecret(text)}, nil
}

func (Environment) near() {}

// Files finds values in files: the text, without its last line breaks. A file is
// looked at again when it is used, once a second at most, and read again when it
// has changed. One that cannot be read is good for another minute, so that it may
// be replaced at leisure. It is a [Resolver].
type Files struct {
	Now func() time.Time // default time.Now
}

const (
	fileRenew = time.Second
	fileGood  = time.Minute
	coarse    = 3 * time.Second // by which the clock of a file system may be off, or its times be rounded
)

// A fileStamp tells whether a file is as it was.
type fileStamp struct{ info fs.FileInfo }

func (s fileStamp) same(now fs.FileInfo) bool {
	return s.info != nil && os.SameFile(s.info, now) && s.info.Size() == now.Size() && s.info.ModTime().Equal(now.ModTime())
}

// Resolve implements [Resolver].
func (f Files) Resolve(_ context.Context, place string, last *Found) (*Found, error) {
	now := time.Now
	if f.Now != nil {
		now = f.Now
	}
	at := now()
	if last != nil {
		info, err := os.Stat(place)
		if err != nil {
			return nil, plainly(err)
		}
		if last.stamp.same(info) && time.Since(info.ModTime()) > coarse {
			next := *last
			next.Renew, next.Expires = at.Add(fileRenew), at.Add(fileGood)
			return &next, nil
		}
	}
	text, info, err := readStill(place)
	if err != nil {
		return nil, plainly(err)
	}
	return &Found{
		Value:   NewSecret(strings.TrimRight(text, "\r\n")),
		Version: strconv.FormatInt(info.ModTime().UnixMilli(), 10),
		Renew:   at.Add(fileRenew), Expires: at.Add(fileGood), stamp: fileStamp{info},
	}, nil
}

func (Files) near() {}

// readStill reads a file that nobody changes meanwhile.
func readStill(name string) (string, fs.FileInfo, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return "", nil, err
	}
	if !before.Mode().IsRegular() {
		return "", nil, errors.New("it is no file")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", nil, err
	}
	if len(text) > maxSecret {
		return "", nil, fmt.Errorf("it is larger than %d bytes", maxSecret)
	}
	after, err := f.Stat()
	if err != nil {
		return "", nil, err
	}
	if !(fileStamp{before}).same(after) || int64(len(text)) != after.Size() {
		return "", nil, errors.New("it is being written")
	}
	return string(text), after, nil
}

// plainly is what went wrong with a file, without its path.
func plainly(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
