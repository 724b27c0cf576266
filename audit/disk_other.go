//go:build !linux && !darwin

package audit

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

var errSystem = fmt.Errorf("the ledger needs file locks, which callgate knows on linux and darwin and not on %s", runtime.GOOS)

func lock(string) (*os.File, error) { return nil, errSystem }

func datasync(f *os.File) error { return f.Sync() }

func allocate(*os.File, int64, int64) error { return errors.ErrUnsupported }

func space(string) (free, total uint64, err error) { return 0, 0, errSystem }
