package audit

import (
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A syncer makes what was written to a file durable. It has the kernel do that on
// its own and tell an eventfd when it is done, since a thread that waits for a
// disk costs Go's scheduler more than the sync itself. Where the kernel does not
// do that, it waits.
type syncer struct {
	file  int
	ctx   uintptr  // of the kernel's asynchronous I/O; 0 where there is none
	event *os.File // readable when the sync is done
	ask   iocb
	asked *iocb
	told  ioEvent
}

// iocb and ioEvent are the structs of io_submit(2) and io_getevents(2), without
// names for what is always 0 here.
type iocb struct {
	_            [2]uint64
	opcode       uint16
	_            int16
	file         uint32
	_            [4]uint64
	flags, event uint32
}

type ioEvent struct {
	_      [2]uint64
	result int64
	_      int64
}

const (
	opDatasync  = 3 // IOCB_CMD_FDSYNC
	tellEventFD = 1 // IOCB_FLAG_RESFD
)

func newSyncer(f *os.File) *syncer {
	s := &syncer{file: int(f.Fd())}
	if _, _, e := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&s.ctx)), 0); e != 0 {
		return s
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		s.close()
		return s
	}
	s.event = os.NewFile(uintptr(fd), "eventfd")
	s.ask = iocb{opcode: opDatasync, file: uint32(s.file), flags: tellEventFD, event: uint32(fd)}
	s.asked = &s.ask
	return s
}

func (s *syncer) sync() error {
	if s.ctx == 0 {
		return s.wait()
	}
	if _, _, e := unix.Syscall(unix.SYS_IO_SUBMIT, s.ctx, 1, uintptr(unsafe.Pointer(&s.asked))); e != 0 {
		return s.wait()
	}
	var count [8]byte
	if _, err := s.event.Read(count[:]); err != nil {
		return err
	}
	err := again(func() error {
		n, _, e := unix.Syscall6(unix.SYS_IO_GETEVENTS, s.ctx, 1, 1, uintptr(unsafe.Pointer(&s.told)), 0, 0)
		switch {
		case e != 0:
			return e
		case n != 1:
			return syscall.EIO
		}
		return nil
	})
	if err == nil && s.told.result != 0 {
		err = syscall.Errno(-s.told.result)
	}
	return err
}

// wait syncs with the thread.
func (s *syncer) wait() error {
	return again(func() error { return syscall.Fdatasync(s.file) })
}

func (s *syncer) close() {
	if s.ctx != 0 {
		unix.Syscall(unix.SYS_IO_DESTROY, s.ctx, 0, 0)
		s.ctx = 0
	}
	if s.event != nil {
		s.event.Close()
	}
}

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
